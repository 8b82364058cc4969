"""READMEs describe every word that a person may meet; their links resolve, and they name no machine of ours."""

from __future__ import annotations

import inspect
import re
from enum import StrEnum
from pathlib import Path

import pytest

from provisioner import errors
from provisioner.config import Settings
from provisioner.domain import attempt, connection, states
from provisioner.domain.audit import FindingKind
from provisioner.domain.events import EventKind
from provisioner.domain.spans import Spans
from provisioner.errors import FailureClass
from provisioner.steps.recipes import STEPS

ROOT = Path(__file__).parents[1]


#: what tools leave beside our files has a folder with a dot
PAGES = sorted(page for page in ROOT.rglob("*.md") if not page.relative_to(ROOT).as_posix().startswith("."))
SHIPPED = sorted(
    [*ROOT.glob("deploy/*.service"), *ROOT.glob("deploy/*.yaml"), *ROOT.glob("deploy/Dockerfile*"),
     ROOT / "deploy" / "provisioner.env.example", ROOT / "run"]
)  # fmt: skip
README = {page.parent.relative_to(ROOT).as_posix(): page.read_text() for page in PAGES if page.name == "README.md"}
DOMAIN = README["provisioner/domain"]
#: what an address in our files may point to: loopback, the networks and names that are kept free for examples
HOSTS = re.compile(
    r"([\w:]*@)?(127\.0\.0\.1|localhost|192\.0\.2\.\d+|198\.51\.100\.\d+|203\.0\.113\.\d+"
    r"|([\w-]+\.)*example\.(net|org|com)|host)([:/]|$)|…|\$|\{"
)
MACHINE = re.compile(r"(?<![\w.])/(work|home|root|Users|mnt)/\w")


def code(text: str) -> set[str]:
    """Return what stands in back-ticks, in words."""
    return {word for span in re.findall(r"`([^`\n]+)`", text) for word in re.findall(r"[\w.]+", span)}


def enums() -> list[type[StrEnum]]:
    modules = (states, attempt, connection)
    found = [one for module in modules for _name, one in inspect.getmembers(module, inspect.isclass)]
    mine = {one for one in found if issubclass(one, StrEnum) and one.__module__.startswith("provisioner.domain.")}
    return sorted(mine - {attempt.Repeat, attempt.Awaits}, key=lambda one: one.__name__)


@pytest.mark.parametrize("kind", enums(), ids=lambda kind: kind.__name__)
def test_every_state_and_verb_is_described(kind: type[StrEnum]) -> None:
    assert {member.value for member in kind} <= code(DOMAIN)


def test_every_kind_of_event_is_described() -> None:
    table = DOMAIN.partition("## Events")[2].partition("\n## ")[0]

    assert {kind.value for kind in EventKind} == {word for word in code(table) if "/" not in word}


def test_every_finding_is_described_and_no_other() -> None:
    table = DOMAIN.partition("## What an audit finds")[2].partition("\n## ")[0]

    assert {kind.value for kind in FindingKind} == code(table)


def test_every_class_of_failure_is_described() -> None:
    table = DOMAIN.partition("## Why a step failed")[2].partition("\n## ")[0]

    assert {kind.value for kind in FailureClass} <= code(table)


def test_every_error_is_described() -> None:
    table = DOMAIN.partition("## Errors")[2]
    known = {name for name, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, Exception)}

    assert known - code(table) == set()


def test_every_step_is_described_and_no_other() -> None:
    text = README["provisioner/steps"]
    rows = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)

    assert sorted(rows) == sorted(STEPS)


def test_every_setting_is_described() -> None:
    assert {f"PROVISIONER_{name.upper()}" for name in Settings.model_fields} <= code(README["provisioner/usecases"])


def test_every_span_is_described_where_an_operator_sets_it() -> None:
    text = (ROOT / "deploy" / "provisioner.env.example").read_text()

    assert set(Spans.__dataclass_fields__) <= set(re.findall(r"^# (\w+) ", text, re.MULTILINE))


@pytest.mark.parametrize("room", ["domain", "store", "usecases"])
def test_every_file_of_a_room_is_on_its_page(room: str) -> None:
    folder = ROOT / "provisioner" / room
    files = {file.name for file in folder.glob("*.py")} - {"__init__.py"}

    assert files - code(README[f"provisioner/{room}"]) == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_of_a_page_resolve(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]

    assert [link for link in links if link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_names_no_machine_and_no_host_of_ours(page: Path) -> None:
    text = page.read_text()
    hosts = re.findall(r"(\w+)://([^\s`\"'<>,;)]+)", text)

    assert [host for scheme, host in hosts if scheme != "file" and not HOSTS.match(host)] == []
    assert [found[0] for found in MACHINE.finditer(text)] == []


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_what_is_shipped_names_no_machine_and_no_host_of_ours(file: Path) -> None:
    test_a_page_names_no_machine_and_no_host_of_ours(file)

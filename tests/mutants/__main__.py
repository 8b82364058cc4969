"""
`./run mutants`: remove a rule of the engine from a copy of the tree, and see which tests go red.

Exit status 1 when a mutant survives, when it can't be made any more, or when the tests are red without it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPIED = ("provisioner", "workers", "tests", "pyproject.toml")
KILLS, RACES = "tests/integration/test_kills.py", "tests/integration/test_races.py"


@dataclass(frozen=True)
class Mutant:
    """A rule, the text in which it stands, what stands there without it, and the tests that guard it."""

    rule: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    only: str = ""  #: pytest's -k


MUTANTS = (
    Mutant(
        "the fence: a write names epoch and owner of its claim",
        "provisioner/store/engine.py",
        '''FENCE = """id = %(attempt)s AND epoch = %(epoch)s AND owner = %(owner)s AND state = 'running'"""''',
        '''FENCE = """id = %(attempt)s AND %(epoch)s::int > 0 AND %(owner)s::text <> ''"""''',
        (KILLS,),
        "wakes_up",
    ),
    Mutant(
        "one live claim a server: the partial unique index",
        "provisioner/store/migrations/versions/0001_engine.py",
        "CREATE UNIQUE INDEX claim_live_server ON",
        "CREATE INDEX claim_live_server ON",
        (RACES,),
        "second_live_claim",
    ),
    Mutant(
        "the memo is committed before the act",
        "provisioner/store/engine.py",
        "deadline_at = r.deadline_at, memo = r.memo, outcome = r.outcome",
        "deadline_at = r.deadline_at, outcome = r.outcome",
        (KILLS,),
        "matrix or address-after-add_address or install_os-after-install",
    ),
    Mutant(
        "look before acting again: after a lost reply the world is asked first",
        "provisioner/usecases/run_step.py",
        "        return Looked(outcome, self._now(), ctx.reading_at)",
        "        if self.row.acted_at is not None and self.row.state is not StepState.PENDING:\n"
        "            outcome = NotBegun(self.row.before)\n"
        "        return Looked(outcome, self._now(), self._now())",
        (KILLS,),
        "matrix or address-after-add_address or install_os-after-install or create_user",
    ),
    Mutant(
        "freshness: a flag counts only in a list that began after the step, or its act, did",
        "provisioner/steps/listing.py",
        "    if _too_old(ctx):",
        "    if False:",
        (RACES, "tests/unit/steps"),
        "believed or install or power or stale or list",
    ),
)


class Unmade(Exception):
    """A mutant's text is not in its file any more."""


def main() -> int:
    """Make and judge every mutant; returns the exit status."""
    words = sys.argv[1:]
    survived = []
    with tempfile.TemporaryDirectory(prefix="provisioner-mutants-") as folder:
        Path(folder).chmod(0o711)
        for mutant in MUTANTS:
            if not all(word in mutant.rule for word in words):
                continue
            began = time.monotonic()
            red = judge(mutant, Path(folder) / "tree")
            _say(f"without {mutant.rule}  ({time.monotonic() - began:.0f} s)")
            for name in red:
                _say(f"    red: {name}")
            if not red:
                _say("    SURVIVED")
                survived.append(mutant.rule)
    return 1 if survived else 0


def judge(mutant: Mutant, tree: Path) -> list[str]:
    """
    Give the names of the tests that go red.

    Raises:
        Unmade: the mutant can't be made, or its tests are red without it.
    """
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / name)
    file = tree / mutant.file
    text = file.read_text()
    if text.count(mutant.old) != 1:
        raise Unmade(f"{mutant.file} does not hold this once: {mutant.old}")
    red = _red(mutant, tree)
    if red:
        raise Unmade(f"red without the mutant: {', '.join(red)}")
    file.write_text(text.replace(mutant.old, mutant.new))
    return _red(mutant, tree)


def _red(mutant: Mutant, tree: Path) -> list[str]:
    only = ["-k", mutant.only] if mutant.only else []
    said = subprocess.run(
        [
            sys.executable, "-B", "-m", "pytest", "-q", "--tb=no", "-rfE", "-p", "no:cacheprovider", "-n", "2", *only,
            *mutant.tests,
        ],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    if said.returncode not in (0, 1):
        raise Unmade(f"pytest ended with {said.returncode}:\n{said.stdout[-2000:]}{said.stderr[-2000:]}")
    return [found[1] for line in said.stdout.splitlines() if (found := re.match(r"(?:FAILED|ERROR) (\S+)", line))]


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Unmade as error:
        sys.exit(f"mutants: {error}")

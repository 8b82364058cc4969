"""The file `run`: what it says on a machine that lacks something, and that it installs only once."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: All that `run` may need besides a shell and Python.
TOOLS = ["awk", "cat", "cksum", "cp", "df", "dirname", "id", "mkdir", "sh"]

#: A Python that answers what `run` asks of one, writes down what it is told, and installs nothing.
FAKE_PYTHON = r"""#!/bin/sh
case "$*" in
    *"$REFUSES"*) exit 1 ;;
    "-c import"* | "-c ") exit 0 ;;
    "-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
esac
printf '%s\n' "$*" >>told
"""


class Checkout:
    """A fresh clone on a machine of our making: nothing is on the path but TOOLS and fake Pythons."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "a fresh clone"
        self.path = folder / "some programs"
        self.refuses = "nothing at all"
        requirements = self.home / "deploy" / "requirements"
        requirements.mkdir(parents=True)
        self.path.mkdir()
        for name in ("runtime.txt", "dev.txt"):
            shutil.copy(ROOT / "deploy" / "requirements" / name, requirements)
        shutil.copy(ROOT / "run", self.home)
        for tool in TOOLS:
            (self.path / tool).symlink_to(shutil.which(tool) or tool)

    def program(self, name: str, text: str) -> None:
        (self.path / name).unlink(missing_ok=True)
        (self.path / name).write_text(text)
        (self.path / name).chmod(0o755)

    def run(self, *arguments: str, uid: int | None = None) -> subprocess.CompletedProcess[str]:
        """Run it from elsewhere, with no HOME and no input."""
        return subprocess.run(
            [str(self.home / "run"), *arguments],
            env={"PATH": str(self.path), "REFUSES": self.refuses},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            user=uid,
            group=uid,
        )

    @property
    def told(self) -> list[str]:
        """What the fake Python was told to do since the last look."""
        notes = self.home / "told"
        lines = notes.read_text().splitlines() if notes.exists() else []
        notes.unlink(missing_ok=True)
        return lines


@pytest.fixture
def checkout(state_dir: Path) -> Checkout:
    folder = Path(tempfile.mkdtemp(dir=state_dir))
    folder.chmod(0o755)
    return Checkout(folder)


@pytest.fixture
def ready(checkout: Checkout) -> Checkout:
    """Return a clone on a machine with a fake Python that works."""
    checkout.program("python3", FAKE_PYTHON)
    return checkout


@pytest.mark.parametrize("arguments", [[], ["bogus"], ["--help"], ["test", "--bogus"], ["bench"]])
def test_a_wrong_word_shows_the_few_right_ones(arguments: list[str], ready: Checkout) -> None:
    result = ready.run(*arguments)

    assert result.returncode == 2
    assert "./run demo" in result.stderr
    assert "./run test" in result.stderr
    assert "./run bench" not in result.stderr
    assert ready.told == []


def test_without_python_it_says_what_to_type(checkout: Checkout) -> None:
    result = checkout.run("demo")

    assert result.returncode == 1
    assert result.stderr == ("No Python 3.11 or newer found. On Debian, type: apt-get install python3 python3-venv\n")


def test_an_old_python_is_none(ready: Checkout) -> None:
    ready.refuses = "version_info"

    assert "No Python 3.11 or newer found" in ready.run("demo").stderr


def test_without_the_venv_module_it_says_what_to_type(ready: Checkout) -> None:
    ready.refuses = "ensurepip"

    result = ready.run("demo")

    assert result.returncode == 1
    assert "python3 cannot make virtual environments. On Debian, type: apt-get install python3-venv" in result.stderr


@pytest.mark.parametrize("name", ["python3.11", "python3.12", "python3.13"])
def test_a_shim_that_fails_is_passed_over(name: str, checkout: Checkout) -> None:
    checkout.program("python3", "#!/bin/sh\necho 'shim: command not found' >&2\nexit 127\n")
    checkout.program(name, FAKE_PYTHON)

    result = checkout.run("demo")

    assert result.returncode == 0
    assert "shim" not in result.stderr


def test_without_room_it_says_how_much_it_needs(ready: Checkout) -> None:
    ready.program("df", "#!/bin/sh\necho Filesystem; echo /dev/disk 100000 90000 10240 90% /\n")

    result = ready.run("demo")

    assert result.returncode == 1
    assert result.stderr.endswith("a fresh clone has 10 MB free and needs 350: make room.\n")
    assert ready.told == []


def test_in_a_folder_of_somebody_else_it_says_so(ready: Checkout) -> None:
    ready.home.chmod(0o555)

    result = ready.run("demo", uid=65534 if os.geteuid() == 0 else None)

    ready.home.chmod(0o755)
    assert result.returncode == 1
    assert f"cannot write to {ready.home}: run a copy of your own." in result.stderr


def test_a_failed_installation_is_told_and_tried_again(ready: Checkout) -> None:
    ready.refuses = "pip install"
    failed = ready.run("demo")
    ready.refuses = "nothing at all"

    again = ready.run("demo")

    assert failed.returncode == 1
    assert "Installing deploy/requirements/runtime.txt failed" in failed.stderr
    assert again.returncode == 0


def test_the_first_run_installs_by_hash_and_the_second_does_not(ready: Checkout) -> None:
    ready.run("demo", "--once", "two words")
    first = ready.told
    result = ready.run("cli", "job", "list")

    assert first[0] == "-m venv --clear .venv"
    assert "--require-hashes --only-binary :all: -r deploy/requirements/runtime.txt" in first[1]
    assert first[2:] == ["-m provisioner demo --once two words"]
    assert ready.told == ["-m provisioner job list"]
    assert result.stderr == ""


def test_a_new_lock_is_installed(ready: Checkout) -> None:
    ready.run("demo")
    with (ready.home / "deploy" / "requirements" / "runtime.txt").open("a") as lock:
        lock.write("# newer\n")
    assert ready.told

    ready.run("demo")

    assert [line for line in ready.told if "pip install" in line]


def test_what_test_installed_is_enough_for_the_demo(ready: Checkout) -> None:
    ready.run("test")
    assert [line for line in ready.told if "dev.txt" in line]

    ready.run("demo")

    assert ready.told == ["-m provisioner demo"]


@pytest.mark.parametrize(
    ("options", "marks"),
    [
        ([], "not long and not services"),
        (["--all"], "not services"),
        (["--services"], "not long"),
        (["--all", "--services"], ""),
    ],
)
def test_tools_come_before_tests_and_arguments_go_to_pytest(options: list[str], marks: str, ready: Checkout) -> None:
    result = ready.run("test", *options, "--", "-k", "one word")

    *tools, tests = [line for line in ready.told if "pip" not in line and "venv" not in line]
    assert [line.split()[1] for line in tools] == ["ruff", "ruff", "mypy", "from"]
    assert tests == f"-m pytest -n 2 --dist worksteal -m {marks} -k one word"
    assert result.stdout.splitlines() == ["ruff format: ok", "ruff check: ok", "mypy: ok", "lint-imports: ok"]


def test_a_red_tool_is_named_and_nothing_is_tested(ready: Checkout) -> None:
    ready.refuses = "mypy"

    result = ready.run("test")

    assert result.returncode == 1
    assert "mypy: FAILED" in result.stdout
    assert result.stderr.endswith("Not tested, since red: mypy\n")
    assert not [line for line in ready.told if "pytest" in line]


@pytest.mark.long
@pytest.mark.timeout(300)
def test_two_first_runs_at_once_make_one_environment_and_the_next_needs_no_network(
    checkout: Checkout,
) -> None:
    (checkout.home / "provisioner").mkdir()
    (checkout.home / "provisioner" / "__init__.py").touch()
    (checkout.home / "provisioner" / "__main__.py").write_text("import celery, psycopg2; print('both here')")
    command = [str(checkout.home / "run"), "demo"]

    firsts = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate() for process in firsts]
    offline = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}
    second = subprocess.run(command, env=offline, capture_output=True, text=True, check=False)

    assert [out for out, _ in said] == ["both here\n"] * 2, said
    assert sum("Installing" in err for _, err in said) == 1
    assert (second.stdout, second.stderr) == ("both here\n", "")

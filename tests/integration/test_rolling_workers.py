"""Two checkouts at work at once: a release that knows one step more beside one that does not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from provisioner.cli import processes
from tests.house import ROOT, House, house

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]

#: the step that the newer release adds; all that comes after it moves by one
POLISH = '''
class Polish:
    """What a newer release does, too: it looks, and is content."""

    name = "polish"
    policy = Policy()

    def check(self, ctx: object) -> Done:
        return Done("polished")

    def do(self, ctx: object) -> Acted:
        raise AssertionError


#: order of the source page'''


def newer(folder: Path) -> Path:
    """Make a checkout of the release after ours."""
    tree = folder / "newer"
    for part in ("provisioner", "workers", "tests"):
        shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    file = tree / "provisioner" / "steps" / "recipes.py"
    text = file.read_text()
    for old, new in (
        ("\n#: order of the source page", POLISH),
        ("    AssignDomain(),  # 02", "    Polish(),\n    AssignDomain(),"),
        ("from provisioner.domain.states", "from provisioner.domain.outcome import Acted, Done\n\\g<0>"),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new.replace("\\g<0>", old))
    file.write_text(text)
    return tree


def start(site: House, tree: Path, name: str, argv: list[str]) -> None:
    """Start a worker of the checkout at *tree*."""
    argv = ["tests.fake_workers" if word == "workers.app" else word for word in argv]
    site.children.start(name, argv, env=site._settings, log=site.log(name), cwd=tree, restart=True)


def lines(site: House, name: str, event: str) -> int:
    return site.log(name).read_text().count(event)


def test_orders_of_both_releases_end_well_while_both_are_at_work(
    database_url: str, state_dir: Path, tmp_path: Path
) -> None:
    tree = newer(tmp_path)
    with house(database_url, state_dir, "rolling", flower=False) as site:
        for ref in range(101, 113):
            site.world.add_server(str(ref))
        site.connect(url=site.address)
        site.package()
        before = [site.order(f"old-{i}").job_id for i in range(2)]
        site.wait(lambda: site.database.value("SELECT count(*) FROM attempt") == len(before), 30)

        # the healer first, so that what is planned from now on is of the newer release; its step worker comes later
        site.children.stop("control")
        start(site, tree, "control-new", processes.worker_argv("control,outbox", 2, "control-new"))
        after = [site.order(f"new-{i}").job_id for i in range(4)]
        site.wait(lambda: lines(site, "steps", "step_left") + lines(site, "steps", "message_left") >= 6, 60)
        assert site.database.value("SELECT count(*) FROM step WHERE name = 'polish' AND state = 'done'") == 0
        start(site, tree, "steps-new", processes.worker_argv("steps,observe", 2, "steps-new"))
        site.wait(site.ended(*before, *after), 120)

        states = {job: site.job(job)["state"] for job in (*before, *after)}
        assert set(states.values()) == {"succeeded"}, site.trail()
        polished = site.database.rows("SELECT job_id FROM attempt JOIN step ON attempt_id = id WHERE name = 'polish'")
        assert sorted(row["job_id"] for row in polished) == sorted(after)
        assert site.database.value("SELECT max(n) FROM attempt") == 1
        for name in ("steps", "steps-new", "control-new"):
            assert "Traceback" not in site.log(name).read_text(), site.log(name).read_text()

"""Real workers give signs of life, as long as their children work, and leave the list when they end by themselves."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner import __version__
from provisioner.drivers.fake import serve_fake
from provisioner.ports import Facts
from provisioner.store.reads import ReadsStore
from tests.house import OVERRIDES, SHORT_PATIENCE, House

pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]


@pytest.fixture
def site(database_url: str, state_dir: Path) -> Iterator[House]:
    made = House(database_url, state_dir, "alive")
    made.patience = {**SHORT_PATIENCE, "PROVISIONER_SPANS": json.dumps({**OVERRIDES, "worker_beat": 0.5})}
    try:
        with serve_fake(made.world, made.address):
            try:
                made.start(flower=False)
                yield made
            finally:
                made.children.stop(grace=5)
    finally:
        made.database.close()


def workers(site: House) -> dict[str, Facts]:
    return {row["name"].partition("@")[0]: row for row in ReadsStore(site.database).workers()}


def test_workers_say_what_they_serve_until_they_end_or_fall_silent(site: House) -> None:
    site.wait(lambda: workers(site).keys() == {"steps", "control"}, 30)
    found = workers(site)
    assert (found["steps"]["queues"], found["steps"]["version"]) == (["observe", "steps"], __version__)
    assert found["control"]["queues"] == ["control", "outbox"]

    # its children stand still: the main process is well, and yet nobody works
    pid = site.children.pid("steps")
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    for child in children:
        os.kill(child, signal.SIGSTOP)
    try:
        site.wait(lambda: workers(site)["steps"]["age_seconds"] > 3.0, 30)
        assert workers(site)["control"]["age_seconds"] < 3.0
    finally:
        for child in children:
            os.kill(child, signal.SIGCONT)
    site.wait(lambda: workers(site)["steps"]["age_seconds"] < 1.5, 30)

    site.children.stop("control", grace=20)

    assert workers(site).keys() == {"steps"}

"""The nightly audit, and a database that went back, with real Celery workers."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest

from provisioner.store.installation import InstallationStore
from provisioner.wakeup import OBSERVE, celery_app
from tests.house import house

pytestmark = pytest.mark.long


@pytest.mark.timeout(180)
def test_beats_message_makes_workers_audit_turn_by_turn_unseen_by_flower(database_url: str, state_dir: Path) -> None:
    with house(database_url, state_dir, "audit", flower=True) as site:
        for n in range(101, 401):
            site.world.add_server(str(n))
        site.connect(url=site.address)
        site.world.servers[next(iter(site.world.servers))].owner = site.world.administrator.ref

        hidden = celery_app(site.broker_url, site.spans, visible=False)
        hidden.send_task("control.audits", kwargs={"start": True}, queue=OBSERVE)
        site.wait(lambda: site.database.row("SELECT FROM finding") is not None, 60)

        calls = Counter(call.method for call in site.world.journal if call.method != "list_servers")
        assert calls == {"users": 1, "survey": 300}
        assert site.database.value("SELECT data ->> 'count' FROM event WHERE kind = 'audit_found'") == "1"
        assert "audit" not in str(site.flower("tasks?limit=1000"))


@pytest.mark.timeout(180)
def test_workers_of_a_database_that_went_back_take_nothing_until_it_was_accepted(
    database_url: str, state_dir: Path
) -> None:
    with house(database_url, state_dir, "restored", flower=False) as site:
        site.world.add_server("101")
        site.connect(url=site.address)
        site.package()
        site.database.rows("UPDATE installation SET system_identifier = '1'")
        for worker in ("steps", "control"):
            site.children.signal(worker, signal.SIGKILL)
        site.wait(lambda: bool(site.database.value("SELECT halted FROM installation")), 60)
        job = site.order().job_id
        site.wait(lambda: site.job(job)["waits_for"] == "site", 60)

        acts = site.world.calls(mutating=True)
        InstallationStore(site.database).accept(highest=9)
        site.wait(site.ended(job), 60)

        assert acts == []
        assert site.job(job)["state"] == "succeeded"
        assert site.database.value("SELECT min(id) FROM claim") == 10

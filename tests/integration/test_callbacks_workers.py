"""Real workers, a real receiver: billing hears by itself, and neither a kill nor a hang hinders that."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from provisioner.drivers.fake import serve_fake
from provisioner.usecases import callback
from provisioner.webhook import WebhookSender, networks
from tests.fakes.webhook_receiver import Trouble, WebhookReceiver
from tests.house import SHORT_PATIENCE, House

pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]


@contextmanager
def house(url: str, folder: Path, name: str) -> Iterator[House]:
    """Have workers up that may call loopback."""
    made = House(url, folder, name)
    made.patience = {**SHORT_PATIENCE, "PROVISIONER_CALLBACK_NETWORKS": "127.0.0.0/8"}
    try:
        with serve_fake(made.world, made.address):
            try:
                made.start(flower=False)
                made.connect(url=made.address)
                made.package()
                yield made
            finally:
                made.children.stop(grace=5)
    finally:
        made.database.close()


@contextmanager
def hearing(site: House, panel: str) -> Iterator[WebhookReceiver]:
    """Put up the panel's receiver."""
    sql = "INSERT INTO token (name, hash, role, panel) VALUES (%(p)s, %(p)s, 'billing', %(p)s)"
    site.database.rows(sql, p=panel)

    def save(to: str) -> str:
        sender = WebhookSender(allowed=networks("127.0.0.0/8"), total_seconds=10)
        return callback.save(
            panel, to, new_secret=False, callbacks=site.callbacks, webhooks=sender, vault=site.vault
        )[0]  # fmt: skip

    with WebhookReceiver(save("http://127.0.0.1:9/hook")) as receiver:
        save(receiver.url)
        yield receiver


def last(receiver: WebhookReceiver) -> str:
    return str(receiver.received[-1].body["service"]["state"]) if receiver.received else ""


def test_billing_hears_by_itself_while_another_panels_receiver_hangs(database_url: str, state_dir: Path) -> None:
    with (
        house(database_url, state_dir, "callbacks") as site,
        hearing(site, "panel") as receiver,
        hearing(site, "slow") as slow,
    ):
        slow.misbehave(Trouble.HANG, 1000)
        site.world.add_server("101")
        site.order("ord-s", panel="slow")
        job = site.order("ord-1").job_id
        site.wait(lambda: slow.calls > 0, 60)
        site.world.add_server("102")
        site.wait(site.ended(job), 60)
        site.wait(lambda: last(receiver) == "active", 60)

        assert slow.received == []
        assert receiver.refused == []


def test_a_worker_that_is_killed_in_mid_call_leaves_nothing_untold(database_url: str, state_dir: Path) -> None:
    with house(database_url, state_dir, "killed") as site, hearing(site, "panel") as receiver:
        receiver.misbehave(Trouble.HANG, taken=True)
        site.world.add_server("101")
        job = site.order().job_id
        site.wait(lambda: bool(receiver.received), 60)
        site.children.signal("control", signal.SIGKILL)
        receiver.let_go()
        site.wait(site.ended(job), 60)
        site.wait(lambda: last(receiver) == "active", 60)
        site.wait(lambda: site.database.row("SELECT FROM callback_due") is None, 60)

        numbers = [one.body["sequence"] for one in receiver.received]
        assert numbers == sorted(set(numbers))

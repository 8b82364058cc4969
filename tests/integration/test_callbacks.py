"""Billing hears by itself what became of its services: each change, the newest last, at least once, in its turn."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from provisioner.domain.events import EventKind
from provisioner.domain.matters import Department
from provisioner.domain.spans import Spans
from provisioner.domain.touch import OUT_OF_TIME
from provisioner.errors import Invalid, NotFound
from provisioner.ports import Callback
from provisioner.store.database import as_json
from provisioner.store.reads import ReadsStore
from provisioner.usecases import callback, life, tell
from provisioner.usecases.life import Asking
from provisioner.views import callbacks as views
from provisioner.views.callbacks import CallbackView
from provisioner.webhook import WebhookSender, networks
from tests.fakes.webhook_receiver import Received, Trouble, WebhookReceiver
from tests.site import SHORT, Site

PANEL = "panel"
#: what failed is due again at once, so that a test need not wait
AT_ONCE = replace(SHORT, tell_again=0.001, tell_gather=0.001)
URL_NOBODY_ASKS = "http://127.0.0.1:9/hook"


class Billing:
    """A site whose billing panels have receivers, and a worker that tells them."""

    def __init__(self, url: str, spans: Spans) -> None:
        self.site = Site(url, spans=spans, pool_size=6)
        self.reads = ReadsStore(self.site.database)
        self.webhooks = WebhookSender(allowed=networks("127.0.0.0/8"), total_seconds=10)
        self.receivers: dict[str, WebhookReceiver] = {}
        self._senders = 0

    def save(self, panel: str, url: str, *, new_secret: bool = False) -> str:
        return callback.save(
            panel, url, new_secret=new_secret, callbacks=self.site.callbacks, webhooks=self.webhooks,
            vault=self.site.vault,
        )[0]  # fmt: skip

    def token(self, panel: str) -> None:
        sql = "INSERT INTO token (name, hash, role, panel) VALUES (%(p)s, %(p)s, 'billing', %(p)s)"
        self.site.database.rows(sql, p=panel)

    def hear(self, panel: str = PANEL) -> WebhookReceiver:
        """Put up the panel's receiver."""
        self.token(panel)
        receiver = WebhookReceiver(self.save(panel, URL_NOBODY_ASKS))
        assert self.save(panel, receiver.url) == ""
        self.receivers[panel] = receiver.__enter__()
        return receiver

    def body(self, one: Callback) -> bytes:
        return views.body(one, reads=self.reads)

    def send(self, panel: str = PANEL, **changes: Any) -> str:
        self._senders += 1
        given = {
            "owner": f"test:{self._senders}",
            "callbacks": self.site.callbacks,
            "webhooks": self.webhooks,
            "vault": self.site.vault,
            "body": self.body,
            "waker": self.site.waker,
            **changes,
        }
        return callback.send(panel, **given)

    def flush(self, panel: str = PANEL) -> None:
        """Send all that is due, or is within the second."""
        soon = (
            "SELECT count(*) FROM callback_due WHERE panel = %(panel)s AND failed_at IS NULL "
            "AND due_at < clock_timestamp() + interval '1 s'"
        )
        while self.site.database.value(soon, panel=panel):
            self.send(panel)

    def order(self, ref: str = "ord-1", **changes: Any) -> int:
        return self.site.order(ref, **changes).service_id

    def happen(self, service: int, kind: EventKind = EventKind.JOB_ENDED) -> int:
        """Let something happen to a service, as the engine writes it; give its number."""
        found: int = self.site.database.value(
            "WITH n AS (UPDATE service SET next_seq = next_seq + 1 WHERE id = %(id)s RETURNING next_seq - 1 AS seq), "
            "e AS (INSERT INTO event (service_id, seq, kind, text) SELECT %(id)s, n.seq, %(kind)s, 'x' FROM n) "
            "SELECT seq FROM n",
            id=service,
            kind=kind,
        )
        return found

    def due(self) -> list[dict[str, Any]]:
        return [dict(row) for row in self.site.database.rows("SELECT * FROM callback_due ORDER BY service_id")]

    def stands(self, panel: str = PANEL) -> CallbackView:
        return views.show(panel, reads=self.reads)

    def age(self, days: int) -> None:
        """Let what fails have failed for so long, and be due."""
        for table in ("callback", "callback_due"):
            self.site.database.rows(f"UPDATE {table} SET failing_since = failing_since - interval '{days} days'")  # noqa: S608
        self.rested()

    def rested(self) -> None:
        """Let every distance be over."""
        self.site.database.rows("UPDATE callback SET rests_until = NULL")
        self.site.database.rows("UPDATE callback_due SET due_at = clock_timestamp()")


def made(url: str, spans: Spans) -> Iterator[Billing]:
    billing = Billing(url, spans)
    billing.site.connect()
    billing.site.package()
    try:
        yield billing
    finally:
        for receiver in billing.receivers.values():
            receiver.__exit__()
        billing.site.database.close()


@pytest.fixture
def billing(database_url: str) -> Iterator[Billing]:
    yield from made(database_url, AT_ONCE)


@pytest.fixture
def patient(database_url: str) -> Iterator[Billing]:
    yield from made(database_url, SHORT)


def states(receiver: WebhookReceiver) -> list[str]:
    return [one.body["service"]["state"] for one in receiver.received]


def numbers(receiver: WebhookReceiver) -> list[int]:
    return [one.body["sequence"] for one in receiver.received]


# --- what billing hears ---------------------------------------------------------------------------------------------


def test_billing_hears_of_each_turn_in_a_services_life_in_order(billing: Billing) -> None:
    receiver = billing.hear()
    site = billing.site
    site.world.add_server("101")

    def over(job: int) -> bool:
        billing.flush()
        return site.ended(job)()

    def live(job: int) -> None:
        site.run(lambda: over(job))
        billing.flush()

    live(site.order().job_id)
    asking = Asking(PANEL, "ord-1", "test", site.life, site.waker, site.policies)
    live(life.suspend(asking, "billing").job_id)
    live(life.resume(asking, "billing").job_id)
    live(life.close(asking).job_id)

    heard = list(dict.fromkeys(states(receiver)))
    assert heard[0] == "ordered"
    assert [state for state in heard if state in ("active", "suspended", "closed")] == ["active", "suspended", "closed"]
    assert numbers(receiver) == sorted(set(numbers(receiver)))
    assert states(receiver)[-1] == "closed"
    assert receiver.refused == receiver.repeated == []
    assert billing.due() == []


def test_what_is_said_is_the_state_at_the_time_of_sending_and_holds_no_secret(billing: Billing) -> None:
    receiver = billing.hear()
    site = billing.site
    site.world.add_server("101")
    site.run(site.ended(site.order(panel_password="planted-password").job_id))
    billing.flush()

    (one,) = receiver.received
    assert one.body["service"]["state"] == "active"
    assert one.body["service"]["server"]["server"] == "101"
    assert [job["state"] for job in one.body["service"]["jobs"]] == ["succeeded"]
    assert "planted" not in json.dumps(one.body)
    assert one.body["id"] == one.id


def test_newer_supersedes_older(billing: Billing) -> None:
    receiver = billing.hear()
    service = billing.order()
    last = [billing.happen(service) for _ in range(5)][-1]
    billing.flush()

    assert numbers(receiver) == [last]


@pytest.mark.parametrize("kind", [EventKind.STEP_BEGUN, EventKind.STEP_DONE, EventKind.CALLBACK_FAILED])
def test_what_does_not_concern_billing_is_not_told(billing: Billing, kind: EventKind) -> None:
    billing.hear()
    service = billing.order()
    billing.happen(service)
    billing.flush()

    billing.happen(service, kind)

    assert billing.due() == []


def test_a_panel_without_a_receiver_leaves_nothing_behind(billing: Billing) -> None:
    billing.happen(billing.order())

    assert billing.due() == []


def test_an_event_that_was_not_committed_is_not_told(billing: Billing) -> None:
    billing.hear()
    service = billing.order()

    def fail() -> None:
        with billing.site.database.transaction() as session:
            session.rows("INSERT INTO event (service_id, seq, kind, text) VALUES (%(i)s, 99, 'held', 'x')", i=service)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert billing.due() == []


# --- at least once, in its turn -------------------------------------------------------------------------------------


def test_what_was_refused_comes_again_under_the_same_id_with_growing_distance(patient: Billing) -> None:
    receiver = patient.hear()
    patient.happen(patient.order())
    receiver.misbehave(Trouble.ERROR, 3)
    wait = "SELECT extract(epoch FROM due_at - clock_timestamp())::float FROM callback_due"
    distances = []
    for _ in range(3):
        assert "answered 500" in patient.send()
        distances.append(patient.site.database.value(wait))
        assert patient.send() == "nothing to send"
        patient.rested()
    key = patient.site.database.value(
        "SELECT (SELECT left(name, 8) FROM installation) || '.' || service_id || '.' || seq FROM callback_due"
    )
    patient.send()

    assert [round(distance, -1) for distance in distances] == [60, 120, 240]
    assert [one.id for one in receiver.received] == [key]
    assert (patient.stands().failures, patient.stands().waiting, patient.stands().error) == (0, 0, "")


def test_a_sender_that_is_killed_after_the_call_sends_it_again_under_the_same_id(billing: Billing) -> None:
    receiver = billing.hear()
    billing.happen(billing.order())

    def killed(_: Callback) -> None:
        raise SystemExit  # the process ends between the call and its record

    dying = replace_sent(billing, killed)
    with pytest.raises(SystemExit):
        billing.send(callbacks=dying)
    meanwhile = billing.send()
    billing.site.database.rows("UPDATE callback SET lease_until = clock_timestamp()")
    billing.send()

    assert meanwhile == "nothing to send"
    assert receiver.repeated == [receiver.received[0].id]
    assert billing.due() == []


def replace_sent(billing: Billing, sent: Any) -> Any:  # noqa: ANN401 - a store of which one method differs
    real = billing.site.callbacks
    return type("Dying", (), {"take": real.take, "put_off": real.put_off, "ask": real.ask, "sent": staticmethod(sent)})


def test_an_answer_that_is_lost_is_asked_for_again(billing: Billing) -> None:
    receiver = billing.hear()
    billing.happen(billing.order())
    receiver.misbehave(Trouble.DROP, taken=True)
    billing.flush()

    assert receiver.repeated == [receiver.received[0].id]


def test_what_happens_while_a_call_is_on_its_way_is_told_next(billing: Billing) -> None:
    receiver = billing.hear()
    service = billing.order()
    first = billing.happen(service)
    later: list[int] = []

    def body(one: Callback) -> bytes:
        said = billing.body(one)
        later.append(billing.happen(service))
        return said

    billing.send(body=body)
    billing.flush()

    assert numbers(receiver) == [first, *later]
    assert len({one.id for one in receiver.received}) == 2


def test_a_newer_change_does_not_shorten_a_distance(patient: Billing) -> None:
    receiver = patient.hear()
    service = patient.order()
    patient.happen(service)
    receiver.misbehave(Trouble.ERROR)
    patient.send()
    patient.happen(service)

    assert patient.site.callbacks.ask() == []
    assert patient.send() == "nothing to send"


def test_a_slow_receiver_delays_no_other_panel_and_gets_one_call_at_a_time(billing: Billing) -> None:
    slow, quick = billing.hear("panel-a"), billing.hear("panel-b")
    for ref in ("ord-1", "ord-2"):
        billing.happen(billing.order(ref, panel="panel-a"))
        billing.happen(billing.order(f"{ref}-b", panel="panel-b"))
    slow.misbehave(Trouble.HANG)
    stuck = threading.Thread(target=billing.send, args=("panel-a",))
    stuck.start()
    try:
        billing.site.run(lambda: slow.calls == 1)
        billing.flush("panel-b")
        while_it_hangs = billing.send("panel-a")
    finally:
        slow.let_go()
        stuck.join()

    assert len(quick.received) == 2
    assert while_it_hangs == "nothing to send"
    assert slow.calls == 1


def test_a_receiver_that_is_slow_leaves_as_much_time_to_others_as_it_took(billing: Billing) -> None:
    billing.hear()
    for ref in ("ord-1", "ord-2"):
        billing.happen(billing.order(ref))

    def slow(one: Callback) -> bytes:
        billing.site.database.rows("UPDATE callback SET taken_at = taken_at - interval '8 s'")
        return billing.body(one)

    billing.send(body=slow)

    assert billing.send() == "nothing to send"
    rest = billing.site.database.value("SELECT extract(epoch FROM rests_until - sent_at)::float FROM callback")
    assert 7 < rest < 60


def test_one_service_that_is_never_taken_does_not_hold_up_the_others(patient: Billing) -> None:
    receiver = patient.hear()
    poison, *others = [patient.order(f"ord-{n}") for n in range(4)]
    for service in (poison, *others):
        patient.happen(service)

    def body(one: Callback) -> bytes:
        return b"no JSON" if one.service_id == poison else patient.body(one)

    told = []
    for _ in range(4):
        told.append(patient.send(body=body))
        rest = patient.site.database.value(
            "SELECT extract(epoch FROM rests_until - clock_timestamp())::float FROM callback"
        )
        assert rest is None or rest < 5
        patient.site.database.rows("UPDATE callback SET rests_until = NULL")

    assert "answered 400" in told[0]
    assert [one.body["service"]["id"] for one in receiver.received] == others
    assert [row["service_id"] for row in patient.due()] == [poison]


def test_a_receiver_that_is_back_hears_at_once_of_all_that_waited(patient: Billing) -> None:
    receiver = patient.hear()
    services = [patient.order(f"ord-{n}") for n in range(4)]
    for service in services:
        patient.happen(service)
    receiver.misbehave(Trouble.ERROR, 4)
    for _ in range(4):
        patient.send()
        patient.site.database.rows("UPDATE callback SET rests_until = NULL")
    patient.happen(patient.order("ord-new"))
    patient.flush()

    assert len(receiver.received) == 5


# --- who asks for it ------------------------------------------------------------------------------------------------


def test_a_tick_asks_once_a_panel_and_again_when_the_message_was_lost(billing: Billing) -> None:
    billing.hear("panel-a")
    billing.hear("panel-b")
    for panel in ("panel-a", "panel-b"):
        billing.happen(billing.order("ord-1", panel=panel))

    asked = [billing.site.callbacks.ask() for _ in range(2)]
    billing.site.database.rows("UPDATE callback SET asked_at = asked_at - interval '1 h'")
    again = billing.site.callbacks.ask()

    assert [sorted(one) for one in asked] == [["panel-a", "panel-b"], []]
    assert sorted(again) == ["panel-a", "panel-b"]


def test_an_idle_tick_asks_nobody_and_a_busy_one_wakes_a_sender(billing: Billing) -> None:
    billing.hear()
    callback.wake(callbacks=billing.site.callbacks, waker=billing.site.waker)
    idle = list(billing.site.waker.callbacks)
    billing.happen(billing.order())
    callback.wake(callbacks=billing.site.callbacks, waker=billing.site.waker)

    assert (idle, billing.site.waker.callbacks) == ([], [PANEL])


def test_a_sender_asks_for_the_next_one(billing: Billing) -> None:
    billing.hear()
    for ref in ("ord-1", "ord-2"):
        billing.happen(billing.order(ref))

    billing.send()
    after_one = list(billing.site.waker.callbacks)
    billing.send()

    assert after_one == billing.site.waker.callbacks == [PANEL]


# --- away for too long ----------------------------------------------------------------------------------------------


def given_up(billing: Billing, *refs: str) -> WebhookReceiver:
    """Have a receiver that was away for three days, and somebody in charge."""
    billing.site.tickets.save_department(Department("default", "oncall@example.net"))
    receiver = billing.hear()
    for ref in refs:
        billing.happen(billing.order(ref))
    receiver.misbehave(Trouble.ERROR, 2)
    billing.send()
    billing.age(3)
    billing.send()
    return receiver


def tickets(billing: Billing) -> list[tuple[str, str]]:
    tell.project(tickets=billing.site.tickets, waker=billing.site.waker, sweep=True)
    return [(row["matter"], row["state"]) for row in billing.site.database.rows("SELECT * FROM ticket ORDER BY id")]


def test_a_receiver_that_is_away_for_three_days_is_a_matter_for_people(billing: Billing) -> None:
    receiver = given_up(billing, "ord-1", "ord-2", "ord-3")
    billing.rested()

    opened = tickets(billing)
    asked = billing.site.callbacks.ask()
    stands = billing.stands()
    text = billing.site.database.value("SELECT text FROM delivery")

    assert opened == [("callback:panel", "open")]
    assert (asked, stands.given_up, stands.waiting) == ([], 3, 0)
    assert "provisioner callback replay panel --failed" in text
    assert "3 services are given up: callback via 127.0.0.1: answered 500" in text
    assert receiver.received == []


def test_a_day_is_not_too_long(billing: Billing) -> None:
    receiver = billing.hear()
    billing.happen(billing.order())
    receiver.misbehave(Trouble.ERROR, 2)
    billing.send()
    billing.age(2)
    billing.send()

    assert (billing.stands().given_up, billing.stands().waiting) == (0, 1)


def test_what_was_given_up_is_told_by_a_replay_and_the_matter_is_over(billing: Billing) -> None:
    receiver = given_up(billing, "ord-1", "ord-2")
    tickets(billing)

    count = callback.replay(PANEL, failed=True, callbacks=billing.site.callbacks, waker=billing.site.waker)
    billing.flush()

    assert count == 2
    assert sorted(one.body["service"]["external_ref"] for one in receiver.received) == ["ord-1", "ord-2"]
    assert tickets(billing) == [("callback:panel", "closed")]


def test_something_new_is_told_also_of_a_service_that_was_given_up(billing: Billing) -> None:
    receiver = given_up(billing, "ord-1")
    (row,) = billing.due()
    number = billing.happen(row["service_id"])
    billing.rested()
    billing.flush()

    assert numbers(receiver) == [number]


def test_one_poison_is_given_up_alone(billing: Billing) -> None:
    billing.hear()
    poison, good = billing.order("ord-1"), billing.order("ord-2")
    billing.happen(poison)

    def body(one: Callback) -> bytes:
        return b"no JSON" if one.service_id == poison else billing.body(one)

    billing.send(body=body)
    billing.happen(good)
    billing.rested()
    billing.site.database.rows(
        "UPDATE callback_due SET due_at = clock_timestamp() + interval '1 h' WHERE service_id = %(id)s", id=poison
    )
    billing.send(body=body)
    billing.age(3)
    billing.happen(good)
    billing.site.database.rows(
        "UPDATE callback_due SET due_at = due_at - interval '1 s' WHERE service_id = %(id)s", id=poison
    )
    billing.send(body=body)

    assert [(row["service_id"], row["failed_at"] is None) for row in billing.due()] == [(poison, False), (good, True)]


# --- replay, set-up -------------------------------------------------------------------------------------------------


def heard(billing: Billing, *refs: str) -> tuple[WebhookReceiver, list[Received]]:
    receiver = billing.hear()
    for ref in refs:
        billing.happen(billing.order(ref))
    billing.flush()
    return receiver, list(receiver.received)


def test_a_replay_has_an_id_of_its_own_and_the_number_that_stands(billing: Billing) -> None:
    receiver, (first,) = heard(billing, "ord-1")

    callback.replay(PANEL, service="ord-1", callbacks=billing.site.callbacks, waker=billing.site.waker)
    billing.flush()

    _, again = receiver.received
    assert again.id.startswith(f"{first.id}.")
    assert again.body["sequence"] == first.body["sequence"]
    assert billing.site.waker.callbacks[-1] == PANEL


def test_a_replay_takes_all_or_those_to_which_something_happened_since(billing: Billing) -> None:
    receiver, first = heard(billing, "ord-1", "ord-2")
    billing.order("ord-x", panel="elsewhere")
    billing.site.database.rows("UPDATE event SET at = at - interval '1 day' WHERE service_id = 1")
    store, waker = billing.site.callbacks, billing.site.waker

    since = callback.replay(PANEL, since=timedelta(hours=2), callbacks=store, waker=waker)
    billing.flush()
    everything = callback.replay(PANEL, callbacks=store, waker=waker)
    billing.flush()

    told = [one.body["service"]["external_ref"] for one in receiver.received[len(first) :]]
    assert (since, everything) == (1, 2)
    assert (told[0], sorted(told[1:])) == ("ord-2", ["ord-1", "ord-2"])


def test_a_replay_of_what_is_not_there_is_refused(billing: Billing) -> None:
    billing.hear()
    store, waker = billing.site.callbacks, billing.site.waker

    with pytest.raises(NotFound, match="no service 'ord-9'"):
        callback.replay(PANEL, service="ord-9", callbacks=store, waker=waker)
    with pytest.raises(NotFound, match="has no callback"):
        callback.replay("elsewhere", callbacks=store, waker=waker)
    with pytest.raises(Invalid, match="not both"):
        callback.replay(PANEL, service="ord-9", failed=True, callbacks=store, waker=waker)


def test_the_secret_is_made_once_kept_and_made_anew_at_a_word(billing: Billing) -> None:
    billing.token(PANEL)
    first = billing.save(PANEL, URL_NOBODY_ASKS)
    second = billing.save(PANEL, "http://127.0.0.1:10/hook")
    third = billing.save(PANEL, URL_NOBODY_ASKS, new_secret=True)

    secrets = billing.site.database.rows("SELECT k.* FROM secret k JOIN callback c ON c.secret_id = k.id")
    assert len(first) > 40
    assert second == ""
    assert third not in ("", first)
    assert billing.site.vault.open(bytes(secrets[0]["ciphertext"])) == third
    assert billing.site.database.value("SELECT count(*) FROM secret WHERE id > 1") == 1  # the first is the connection's


def test_a_panel_that_nobody_orders_for_is_refused(billing: Billing) -> None:
    billing.token("billmanager")

    with pytest.raises(Invalid, match="no token orders for panel 'bilmanager'; there are billmanager"):
        billing.save("bilmanager", URL_NOBODY_ASKS)


def test_another_address_is_tried_at_once(patient: Billing) -> None:
    receiver = patient.hear()
    url = receiver.url
    patient.save(PANEL, URL_NOBODY_ASKS)
    patient.happen(patient.order())
    assert "put off" in patient.send()

    patient.save(PANEL, url)
    patient.send()

    assert len(receiver.received) == 1


def test_a_callback_that_is_deleted_takes_its_secret_along_and_no_event_fails(billing: Billing) -> None:
    service = billing.order()
    count = "SELECT count(*) FROM secret"
    before = billing.site.database.value(count)
    billing.hear()
    billing.happen(service)
    callback.delete(PANEL, callbacks=billing.site.callbacks)
    billing.happen(service)

    assert billing.due() == []
    assert billing.site.database.value(count) == before
    assert billing.send() == "nothing to send"
    with pytest.raises(NotFound):
        callback.delete(PANEL, callbacks=billing.site.callbacks)


def test_no_log_line_holds_the_secret_or_the_path(billing: Billing, capsys: pytest.CaptureFixture[str]) -> None:
    billing.token(PANEL)
    secret = billing.save(PANEL, "http://127.0.0.1:9/planted-path")
    billing.happen(billing.order())
    billing.send()

    said = capsys.readouterr()
    events = [dict(row) for row in billing.site.database.rows("SELECT * FROM event")]
    lines = said.out + said.err + as_json(events)
    assert "callback_put_off" in lines
    assert secret not in lines
    assert "planted" not in lines


def test_an_error_that_nobody_foresaw_puts_it_off_too(billing: Billing) -> None:
    billing.hear()
    billing.happen(billing.order())

    def broken(_: Callback) -> bytes:
        raise LookupError("planted")

    assert billing.send(body=broken).endswith("put off: unforeseen: LookupError")
    assert billing.stands().failures == 1


def test_a_touch_whose_time_is_up_puts_it_off(billing: Billing) -> None:
    billing.hear()
    billing.happen(billing.order())

    def slow(_: Callback) -> bytes:
        raise KeyboardInterrupt

    assert billing.send(body=slow, interrupted=(KeyboardInterrupt,)).endswith(OUT_OF_TIME)

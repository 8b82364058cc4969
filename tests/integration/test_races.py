"""Somebody else is faster, and messages are lost: what an order does about it, seen in the world's journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest
from sqlalchemy.exc import IntegrityError

from provisioner.domain.server import Power, ServerRef
from provisioner.drivers.fake import Call, FakeServer, InstallEnd
from provisioner.ports import Wakeup
from tests.site import ListWaker, Site

OPEN = ["account", "claim", "domain", "address", "switch_port", "power_on", "install_os", "ping", "hand_over"]
UNDO = ["cancel_install", "close_ports", "drop_addresses", "free_domain", "quarantine"]


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    made = Site(database_url)
    made.connect()
    made.package(attempts_max=1, ipv4=2)
    yield made
    made.database.close()


def take(site: Site, call: Call) -> FakeServer:
    """Be another client of the panel, who sells the server that *call* is about."""
    server = site.world.servers[ServerRef(call.server)]
    server.owner, server.notes, server.domain = site.world.add_user("stranger").ref, "mine", "stranger.example.org"
    return server


def test_a_server_that_was_taken_between_list_and_claim_is_not_touched_and_the_next_is_sold(site: Site) -> None:
    for ref in ("101", "102"):
        site.world.add_server(ref)
    taken: list[FakeServer] = []
    site.world.fault("read", hook=lambda call: taken.append(take(site, call)))
    placed = site.order("ord-1")

    site.run(site.ended(placed.job_id))

    (lost,) = taken
    (other,) = (server for server in site.world.servers.values() if server is not lost)
    assert site.world.calls(server=lost.ref, mutating=True) == []
    assert (lost.notes, lost.domain) == ("mine", "stranger.example.org")
    assert site.job(placed.job_id)["state"] == "succeeded", site.trail()
    assert [user.login for user in site.world.users if user.ref == other.owner] == ["userord1"]


def test_a_server_that_was_taken_right_after_our_claim_is_left_alone_and_the_next_is_sold(site: Site) -> None:
    for ref in ("101", "102"):
        site.world.add_server(ref)
    taken: list[FakeServer] = []
    site.world.fault("edit_server", after=True, hook=lambda call: taken.append(take(site, call)))
    placed = site.order("ord-1")

    site.run(site.ended(placed.job_id))

    (lost,) = taken
    assert [call.method for call in site.world.calls(server=lost.ref, mutating=True)] == ["edit_server"]
    assert (lost.notes, lost.domain) == ("mine", "stranger.example.org")
    assert site.job(placed.job_id)["state"] == "succeeded", site.trail()


class EmptiedWaker(ListWaker):
    """Loses all that is under way, the message itself too, whenever *empties* says so."""

    def __init__(self, empties: Callable[[Wakeup], bool]) -> None:
        super().__init__()
        self.empties = empties
        self.emptied: list[Wakeup] = []

    def wake(self, wakeups: Sequence[Wakeup]) -> None:
        super().wake(wakeups)
        due = [message for message in wakeups if self.empties(message)]
        if due:
            self.emptied += due
            self.messages.clear()


def emptied(site: Site, empties: Callable[[Wakeup], bool]) -> EmptiedWaker:
    waker = EmptiedWaker(empties)
    site.waker, site.tools = waker, replace(site.tools, waker=waker)
    return waker


def run_and_lose(site: Site, step: str) -> None:
    """Run an order to its end; when the first message for *step* is sent, the broker is emptied."""
    waker = emptied(site, lambda message: message.step == step and message.sends == 1)
    placed = site.order("ord-1")
    site.run(site.ended(placed.job_id))
    assert len(waker.emptied) == 1, f"{step} never had a message"


@pytest.mark.parametrize("step", OPEN)
def test_an_emptied_queue_only_delays_an_open(step: str, site: Site) -> None:
    server = site.world.add_server("101")

    run_and_lose(site, step)

    assert [user.login for user in site.world.users if user.ref == server.owner] == ["userord1"]
    assert server.installs == 1


@pytest.mark.parametrize("step", UNDO)
def test_an_emptied_queue_only_delays_an_undo(step: str, site: Site) -> None:
    server = site.world.add_server("101")
    server.install_ends = [InstallEnd.FAILED]

    run_and_lose(site, step)

    assert server.disabled
    assert "quarantined:" in server.notes
    assert server.installs == 1


def test_an_order_completes_when_the_first_message_of_every_step_is_lost(site: Site) -> None:
    server = site.world.add_server("101")
    waker = emptied(site, lambda message: message.sends == 1)
    placed = site.order("ord-1")

    site.run(site.ended(placed.job_id))

    assert [message.step for message in waker.emptied] == OPEN
    assert server.installs == 1
    assert site.job(placed.job_id)["state"] == "succeeded"


def test_every_message_delivered_three_times_and_late_changes_nothing(site: Site) -> None:
    server = site.world.add_server("101")
    placed = site.order("ord-1")
    old: list[Wakeup] = []

    def ended() -> bool:
        now = list(site.waker.messages)
        site.waker.messages.extend([*now, *now, *old])
        old.extend(now)
        return site.ended(placed.job_id)()

    site.run(ended)

    assert site.job(placed.job_id)["state"] == "succeeded"
    assert server.installs == 1
    acts = [call.method for call in site.world.calls(mutating=True)]
    assert Counter(acts) == {
        "create_user": 1, "edit_server": 2, "set_domain": 1, "add_address": 1,
        "set_link": 2, "set_power": 1, "install": 1,
    }  # fmt: skip


def test_the_database_refuses_a_second_live_claim_on_a_server(site: Site) -> None:
    site.world.add_server("101")
    placed = site.order("ord-1")
    site.run(site.ended(placed.job_id))
    again = (
        "INSERT INTO claim (connection_id, server_ref, state, note_token) "
        "SELECT connection_id, server_ref, 'held', 'another' FROM claim RETURNING id"
    )

    with pytest.raises(IntegrityError, match="claim_live_server"):
        site.database.rows(again)


def test_a_flag_from_a_list_that_is_older_than_the_step_is_not_believed(site: Site) -> None:
    server = site.world.add_server("101")
    server.power = Power.ON

    def switched_off(message: Wakeup) -> bool:
        if message.step == "power_on" and message.sends == 1:
            server.power = Power.OFF
        return False

    emptied(site, switched_off)
    placed = site.order("ord-1")
    site.run(site.ended(placed.job_id))

    assert len(site.world.calls("set_power")) == 1
    assert site.job(placed.job_id)["state"] == "succeeded", site.trail()

"""
A whole open on the fake data centre, with every call failing in every way once, and every touch interrupted by a verb.

Whatever happens: one install, the addresses that were promised, no second user; or all undone, newest first.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from provisioner.domain.attempt import Result, Verb
from provisioner.domain.server import FREE_MARKER, Family, LinkKind, Power, User
from provisioner.domain.service import Package
from provisioner.domain.states import AttemptState, Direction
from provisioner.drivers.fake import Call, InstallEnd, Pace
from provisioner.errors import BadValue, Busy, NoSuchObject, RemoteError, Unreachable, Unsure, Unusable
from tests.builders import HOSTNAME, STRANGER, TOKEN, a_command
from tests.unit.steps.play import PACE, POLICIES, Play, kill

ACTS = [
    "create_user",
    "edit_server",
    "set_domain",
    "add_address",
    "add_address",
    "enable",
    "set_link",
    "set_link",
    "set_power",
    "install",
    "edit_server",
]
UNDO_ACTS = [
    "cancel_operation",
    "set_link",
    "set_link",
    "disable",
    "delete_address",
    "delete_address",
    "set_domain",
    "edit_server",
]
TOUCHES = range(1, 32)  #: an undisturbed open has fewer


def places(methods: list[str]) -> list[tuple[str, int]]:
    """Name each call by its method and how many of that method came before."""
    seen: Counter[str] = Counter()
    found = []
    for method in methods:
        found.append((method, seen[method]))
        seen[method] += 1
    return found


@dataclass(frozen=True)
class Trouble:
    """One way for a call to go wrong."""

    name: str
    error: type[RemoteError] | None = None
    after: bool = False
    hook: Callable[[Call], None] | None = None

    def __str__(self) -> str:
        return self.name


LOST_ON_THE_WAY = Trouble("lost on the way", Unsure)
REPLY_LOST = Trouble("reply lost", Unsure, after=True)
BUSY = Trouble("busy", Busy)
UNREACHABLE = Trouble("unreachable", Unreachable)
KILLED_BEFORE = Trouble("killed before", hook=kill)
KILLED_AFTER = Trouble("killed after", hook=kill, after=True)
PASSING = [LOST_ON_THE_WAY, REPLY_LOST, BUSY, UNREACHABLE, KILLED_BEFORE, KILLED_AFTER]


def troubled(play: Play, method: str, nth: int, trouble: Trouble) -> Play:
    play.world.fault(method, trouble.error, skip=nth, after=trouble.after, hook=trouble.hook)
    return play


# --- what must be so in the end -----------------------------------------------------------------------------------


def assert_handed_over(play: Play) -> None:
    server = play.server
    assert play.result is Result.SUCCEEDED, play.attempt.reason
    assert [user.login for user in play.world.users] == ["bill_admin", play.order.login]
    assert server.owner == play.customer == play.world.users[-1].ref
    assert server.notes == f"rack 4\n{TOKEN}"
    assert {row.domain for row in server.addresses} == {HOSTNAME}
    families = Counter(row.family for row in server.addresses)
    assert families == +Counter({Family.IPV4: play.package.ipv4, Family.IPV6: play.package.ipv6})
    assert not server.disabled
    assert {link.on for link in server.links if link.kind is LinkKind.SWITCH} == {True}
    assert (server.power, server.os, server.installs) == (Power.ON, play.order.os, 1)
    assert_the_bmc_was_left_alone(play)


def assert_undone(play: Play) -> None:
    """All that was ours is gone, whether the server is free again or kept out of sale."""
    server = play.server
    assert server.domain == FREE_MARKER
    assert {row.domain for row in server.addresses} <= {FREE_MARKER}
    assert [row.ref for row in server.addresses] == play.own_rows
    assert not any(link.on or link.busy for link in server.links)
    assert not server.installing
    assert server.installs <= 1
    assert server.disabled == (play.disabled or play.result is Result.QUARANTINED)
    assert_the_bmc_was_left_alone(play)


def assert_free_again(play: Play) -> None:
    assert play.result in {Result.RELEASED, Result.PASSED_OVER}, play.attempt.reason
    assert (play.server.owner, play.server.notes) == (None, "rack 4")
    assert_undone(play)


def assert_out_of_sale(play: Play) -> None:
    assert play.result is Result.QUARANTINED, play.attempt.reason
    assert play.server.owner == play.world.administrator.ref
    assert play.server.notes.splitlines()[-1] == TOKEN
    assert "quarantined: " in play.server.notes
    assert_undone(play)


def assert_the_bmc_was_left_alone(play: Play) -> None:
    bmc = {link.ref for link in play.server.links if link.kind is LinkKind.BMC}
    assert bmc.isdisjoint(str(call.args["link"]) for call in play.world.calls("set_link"))


# --- undisturbed --------------------------------------------------------------------------------------------------


def test_an_undisturbed_open_asks_for_each_thing_once() -> None:
    play = Play().run()

    assert_handed_over(play)
    assert play.acts == ACTS
    assert play.touches in TOUCHES
    assert play.handed is not None


def test_an_open_does_not_wait_for_a_change_that_never_comes() -> None:
    # whoever waits for a list is woken by a change, or by the first list that begins when it is due
    play = Play()
    began = play.clock.now()
    play.run()

    assert play.clock.now() - began < timedelta(minutes=15)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"disabled": False}, id="enabled"),
        pytest.param({"package": Package("one", "HP-E3-16G", ipv4=1)}, id="one address"),
        pytest.param({"package": Package("many", "HP-E3-16G", ipv4=3, ipv6=2)}, id="many addresses"),
        pytest.param({"package": Package("ssh", "HP-E3-16G", probe="ssh:22")}, id="ssh"),
        pytest.param({"address": None}, id="no address at first"),
    ],
)
def test_any_server_and_package_ends_as_promised(changes: dict[str, Any]) -> None:
    assert_handed_over(Play(**changes).run())


def test_a_server_with_an_old_system_is_handed_over_with_the_new_one() -> None:
    play = Play(package=Package("ssh", "HP-E3-16G", probe="ssh:22"))
    play.server.os, play.server.host_key, play.server.power = "old", "SHA256:old", Power.ON
    play.observe()
    play.run()

    assert_handed_over(play)
    assert play.row("install_os").before["host_key"] == "SHA256:old"


# --- every act fails once -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", PASSING, ids=str)
@pytest.mark.parametrize(("method", "nth"), places(ACTS))
def test_a_call_that_fails_once_changes_nothing_but_the_time(method: str, nth: int, trouble: Trouble) -> None:
    play = troubled(Play(), method, nth, trouble).run()

    assert_handed_over(play)


@pytest.mark.parametrize(("method", "nth"), places(ACTS))
def test_a_reply_that_was_lost_is_not_asked_for_again(method: str, nth: int) -> None:
    play = troubled(Play(), method, nth, REPLY_LOST).run()
    harmless = {"set_link"}  # the panel can't show whether a port is on, so it is asked again

    assert method in harmless or play.acts == ACTS


@pytest.mark.parametrize(("method", "nth"), places(ACTS[:-1]))
def test_an_act_that_is_refused_for_good_is_undone(method: str, nth: int) -> None:
    play = Play()
    play.world.fault(method, NoSuchObject, skip=nth)
    play.run()

    if method in {"create_user", "edit_server"}:  # no server is to blame yet
        assert_free_again(play)
    else:
        assert_out_of_sale(play)


def test_a_hand_over_that_is_refused_for_good_is_held_for_a_person_and_undoes_nothing() -> None:
    play = Play()
    play.world.fault("edit_server", NoSuchObject, skip=1)
    play.run()

    assert play.attempt.state is AttemptState.HELD
    assert play.acts == ACTS


@pytest.mark.parametrize(("method", "nth"), places(ACTS[:-1]))
def test_an_order_that_is_refused_as_wrong_gives_the_server_back(method: str, nth: int) -> None:
    play = Play()
    play.world.fault(method, BadValue, skip=nth)
    play.run()

    assert_free_again(play)


def test_an_install_that_was_lost_on_the_way_costs_minutes_and_not_its_deadline() -> None:
    for trouble in (LOST_ON_THE_WAY, KILLED_BEFORE):
        play = troubled(Play(), "install", 0, trouble)
        began = play.clock.now()
        play.run()

        assert play.clock.now() - began < timedelta(minutes=20)


@pytest.mark.parametrize(("method", "nth"), places(ACTS))
def test_a_call_that_is_lost_twice_is_sent_a_third_time(method: str, nth: int) -> None:
    play = Play()
    play.world.fault(method, Unsure, skip=nth, times=2)

    assert_handed_over(play.run())


@pytest.mark.parametrize("trouble", [UNREACHABLE, BUSY, Trouble("unusable", Unusable), KILLED_BEFORE], ids=str)
def test_a_look_that_fails_changes_nothing_but_the_time(trouble: Trouble) -> None:
    looks = [call.method for call in Play().run().world.calls(mutating=False)]
    for method, nth in places(looks):
        if method in {"read", "list_servers", "users"} and (method, nth) != ("list_servers", 0):
            play = troubled(Play(), method, nth - (method == "list_servers"), trouble)
            play.run()

            assert play.acts == ACTS, (method, nth)
            assert_handed_over(play)


def test_a_place_that_is_away_for_an_hour_costs_an_hour_and_no_server() -> None:
    play = Play()

    def go_away(one: Play) -> None:
        if one.touches == 12:
            one.world.fault("*", Unreachable, times=None)
        if one.touches == 60:
            one.world.heal()

    assert_handed_over(play.run(after_touch=go_away))


# --- every touch is interrupted by a verb -------------------------------------------------------------------------


def interrupted(verb: Verb, when: int, *, release: bool = False, **changes: Any) -> Play:
    """Give a command after so many touches, if the attempt has not ended by then."""

    def give(play: Play) -> None:
        if play.touches == when and play.attempt.state is not AttemptState.ENDED:
            play.command(a_command(verb, release=release))

    return Play(**changes).run(after_touch=give)


@pytest.mark.parametrize("when", TOUCHES)
def test_a_cancel_at_any_moment_gives_the_server_back(when: int) -> None:
    play = interrupted(Verb.CANCEL, when)

    if play.result is Result.SUCCEEDED:
        assert play.touches <= when
    else:
        assert_free_again(play)


@pytest.mark.parametrize("when", TOUCHES)
def test_a_swap_at_any_moment_keeps_the_server_out_of_sale(when: int) -> None:
    play = interrupted(Verb.SWAP, when)

    if play.result is Result.SUCCEEDED:
        assert play.touches <= when
    elif play.result is Result.PASSED_OVER:
        assert play.acts in ([], ["create_user"])
        assert_free_again(play)
    else:
        assert_out_of_sale(play)


@pytest.mark.parametrize("when", TOUCHES[::5])
def test_a_swap_with_release_gives_the_server_back(when: int) -> None:
    play = interrupted(Verb.SWAP, when, release=True)

    if play.result is not Result.SUCCEEDED:
        assert_free_again(play)


def test_a_cancel_of_a_server_without_rows_leaves_one_that_can_be_sold() -> None:
    play = undone(address=None)

    assert play.result is Result.RELEASED
    assert all(row.domain == FREE_MARKER for row in play.server.addresses)
    assert play.server.domain == FREE_MARKER


# --- every call of the undo fails once ----------------------------------------------------------------------------


def undone(method: str = "", nth: int = 0, trouble: Trouble = BUSY, **changes: Any) -> Play:
    """Cancel while the install runs; let a call of the undo fail."""
    play = Play(**changes)
    cancelled = False

    def cancel(one: Play) -> None:
        nonlocal cancelled
        if one.server.installing and not cancelled:
            cancelled = True
            one.command(a_command(Verb.CANCEL))
            if method:
                troubled(one, method, nth, trouble)

    return play.run(after_touch=cancel)


def test_an_undo_asks_for_each_thing_once_newest_first() -> None:
    play = undone()

    assert play.acts == [*ACTS[:-1], *UNDO_ACTS]
    assert_free_again(play)


@pytest.mark.parametrize("trouble", PASSING, ids=str)
@pytest.mark.parametrize(("method", "nth"), places(UNDO_ACTS))
def test_an_undo_whose_call_fails_once_still_ends(method: str, nth: int, trouble: Trouble) -> None:
    assert_free_again(undone(method, nth, trouble))


@pytest.mark.parametrize("method", ["cancel_operation", "disable", "delete_address", "set_domain"])
def test_an_undo_that_cant_be_done_keeps_the_server_out_of_sale_and_undoes_the_rest(method: str) -> None:
    play = Play()

    def cancel(one: Play) -> None:
        if one.server.installing and one.attempt.direction is Direction.FORWARD:
            one.command(a_command(Verb.CANCEL))
            one.world.fault(method, BadValue, times=None)

    play.run(after_touch=cancel)

    assert play.result is Result.INCOMPLETE
    assert play.server.owner == play.world.administrator.ref
    assert TOKEN in play.server.notes
    assert set(UNDO_ACTS) - {"edit_server"} <= set(play.acts)


# --- the world does as it likes -----------------------------------------------------------------------------------


def test_an_install_that_fails_is_undone_and_the_server_kept_out_of_sale() -> None:
    play = Play()
    play.server.install_ends = [InstallEnd.FAILED]

    assert_out_of_sale(play.run())


def test_an_install_that_hangs_is_cancelled_after_its_deadline() -> None:
    play = Play()
    play.server.install_ends = [InstallEnd.HANGS]
    began = play.clock.now()
    play.run(most=1000)

    assert_out_of_sale(play)
    assert play.clock.now() - began > POLICIES["install_os"].deadline


def test_a_system_that_never_answers_is_not_handed_over() -> None:
    play = Play()
    play.server.install_ends = [InstallEnd.SILENT]

    assert_out_of_sale(play.run(most=1000))


def test_an_old_failure_is_not_taken_for_ours() -> None:
    play = Play()
    play.server.operation_failed = True
    play.observe()

    assert_handed_over(play.run())


@pytest.mark.parametrize("span", [1, 60, 110])
def test_an_install_that_shows_late_is_not_sent_twice(span: int) -> None:
    play = Play()
    play.server.pace = Pace(**{**_fields(PACE), "install_after": timedelta(seconds=span)})
    troubled(play, "install", 0, REPLY_LOST).run()

    assert_handed_over(play)


def test_an_install_that_shows_behind_its_settle_time_is_still_not_sent_twice() -> None:
    play = Play()
    late = POLICIES["install_os"].settle + timedelta(seconds=30)
    play.server.pace = Pace(**{**_fields(PACE), "install_after": late})
    troubled(play, "install", 0, REPLY_LOST).run()

    assert play.server.installs == 1


def _fields(pace: Pace) -> dict[str, Any]:
    return {name: getattr(pace, name) for name in pace.__slots__}


@pytest.mark.parametrize("when", TOUCHES[2:])
def test_a_server_that_somebody_takes_is_never_touched_again(when: int) -> None:
    play = Play()
    acts_before: list[str] = []

    def take(one: Play) -> None:
        if one.touches == when:
            one.world.users.append(User(STRANGER, "petrov", administrator=False))
            one.server.owner, one.server.notes = STRANGER, "mine"
            acts_before[:] = one.acts

    play.run(after_touch=take)
    if play.touches <= when:
        return  # it was handed over before

    assert play.result in {Result.LOST, Result.PASSED_OVER}
    assert play.acts == acts_before
    assert (play.server.owner, play.server.notes) == (STRANGER, "mine")


def test_a_server_that_is_taken_between_list_and_claim_is_passed_over_untouched() -> None:
    play = Play()
    play.server.owner, play.server.notes = STRANGER, "mine"
    play.run()

    assert play.result is Result.PASSED_OVER
    assert play.acts == ["create_user"]
    assert (play.server.owner, play.server.notes) == (STRANGER, "mine")


@pytest.mark.parametrize("disabled", [True, False])
def test_a_second_order_of_the_same_customer_makes_no_second_user(disabled: bool) -> None:  # noqa: FBT001 - a case
    first = Play(disabled=disabled).run()
    second = Play(disabled=disabled)
    second.world.users, second.account = first.world.users, first.account
    second.run()

    assert "create_user" not in second.acts
    assert_handed_over(second)

"""What a person may command, and what becomes of the attempt; the refusals by sentence are in test_verbs.py."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from provisioner.domain.attempt import Attempt, Command, Result, StepRow, Verb
from provisioner.domain.engine import Commanded, Decision, IllegalFact, Looked, Poisoned, Then, decide
from provisioner.domain.events import EventKind
from provisioner.domain.outcome import Done
from provisioner.domain.states import AttemptState, Direction, JobKind, StepState
from provisioner.errors import FailureClass
from provisioner.steps import recipes
from tests.builders import (
    a_command,
    a_recipe,
    a_step_row,
    acted,
    an_attempt,
    an_undo_row,
    at,
    remembering,
)

POLICIES = recipes.policies()
NOW = at(5000)


def held(row: StepRow, **changes: Any) -> Attempt:
    return replace(an_attempt(pos=row.pos, state=AttemptState.HELD, reason="broken"), **changes)


def failed(name: str, failure_class: FailureClass = FailureClass.SERVER, **changes: Any) -> StepRow:
    row = acted(a_step_row(name), StepState.FAILED)
    return replace(row, **{"tries": 3, "refusals": 2, "reason_class": failure_class, "ended_at": at(60), **changes})


def told(attempt: Attempt, steps: Sequence[StepRow], command: Command) -> Decision:
    return decide(replace(attempt, command=command), steps, Commanded(command, NOW), POLICIES)


def by_name(decision: Decision) -> dict[str, StepRow]:
    return {row.name: row for row in decision.rows}


def kinds(decision: Decision) -> list[EventKind]:
    return [event.kind for event in decision.events]


# --- retry --------------------------------------------------------------------------------------------------------


def test_a_retry_runs_the_failed_step_again_with_all_its_tries() -> None:
    row = failed("power_on")
    decision = told(held(row), a_recipe(row), a_command(Verb.RETRY))
    again = by_name(decision)["power_on"]

    assert (decision.then, decision.attempt.state) == (Then.LOOK, AttemptState.RUNNING)
    assert (again.state, again.tries, again.refusals) == (StepState.PENDING, 0, 0)
    assert (again.arrived_at, again.deadline_at) == (NOW, NOW + POLICIES["power_on"].deadline)
    assert (again.ended_at, again.reason_class) == (None, None)


def test_a_retry_does_not_forget_that_the_step_has_acted() -> None:
    row = failed("power_on")
    decision = told(held(row), a_recipe(row), a_command(Verb.RETRY))

    assert by_name(decision)["power_on"].acted_at == row.acted_at


def test_a_retry_clears_why_the_attempt_was_held() -> None:
    row = failed("power_on")
    attempt = held(row, reason_class=FailureClass.SERVER, deliveries=4)
    decision = told(attempt, a_recipe(row), a_command(Verb.RETRY))

    assert (decision.attempt.reason, decision.attempt.reason_class) == ("", None)
    assert (decision.attempt.command, decision.attempt.deliveries) == (None, 0)


def test_a_retry_gives_new_tries_and_deadlines_to_all_later_rows() -> None:
    row = failed("power_on")
    steps = [
        replace(other, tries=2, refusals=1, deadline_at=at(1)) if other.pos > row.pos else other
        for other in a_recipe(row)
    ]
    later = [row for row in told(held(row), steps, a_command(Verb.RETRY)).rows if row.name != "power_on"]

    assert [row.name for row in later] == ["install_os", "ping", "hand_over"]
    assert {(row.tries, row.refusals, row.deadline_at) for row in later} == {(0, 0, None)}


def test_a_retry_does_not_touch_what_is_done() -> None:
    row = failed("power_on")
    decision = told(held(row), a_recipe(row), a_command(Verb.RETRY))

    assert all(row.pos >= 5 for row in decision.rows)


def test_a_memo_is_kept_by_a_retry_where_the_step_ended_unsure() -> None:
    row = remembering(failed("install_os", FailureClass.UNKNOWN), {"host_key": "old"}, seen={"up": True})
    decision = told(held(row), a_recipe(row), a_command(Verb.RETRY))

    assert by_name(decision)["install_os"].memo == row.memo


def test_a_memo_is_archived_by_a_retry_where_the_look_had_said_failed() -> None:
    row = remembering(failed("install_os"), {"operation_failed": False}, seen={"up": True})
    decision = told(held(row), a_recipe(row), a_command(Verb.RETRY))
    again = by_name(decision)["install_os"]

    assert (again.before, again.seen) == ({}, {})
    assert again.first == row.first
    assert again.memo["archive"] == [{"before": {"operation_failed": False}, "seen": {"up": True}}]


@pytest.mark.parametrize("verb", [Verb.RETRY, Verb.RETRY_FROM])
def test_a_retry_with_wipe_takes_the_memo_anew_also_where_the_step_ended_unsure(verb: Verb) -> None:
    row = remembering(failed("install_os", FailureClass.UNKNOWN), {"host_key": "old"}, seen={"up": True})
    decision = told(held(row), a_recipe(row), a_command(verb, step="install_os", wipe=True))
    again = by_name(decision)["install_os"]

    assert (again.before, again.seen) == ({}, {})
    assert again.memo["archive"] == [{"before": {"host_key": "old"}, "seen": {"up": True}}]


def test_each_retry_adds_to_the_archive() -> None:
    row = remembering(failed("install_os"), {"n": 1})
    row = replace(row, memo={**row.memo, "archive": [{"before": {"n": 0}, "seen": {}}]})
    decision = told(held(row), a_recipe(row), a_command(Verb.RETRY))

    assert [old["before"] for old in by_name(decision)["install_os"].memo["archive"]] == [{"n": 0}, {"n": 1}]


# --- retry from, skip ---------------------------------------------------------------------------------------------


def test_a_retry_from_an_earlier_step_runs_all_steps_between_again() -> None:
    row = failed("ping", acted_at=None, begun_at=None)
    command = a_command(Verb.RETRY_FROM, step="switch_port", wipe=True)
    decision = told(held(row), a_recipe(row), command)
    again = by_name(decision)

    assert (decision.attempt.pos, decision.then) == (4, Then.PROCEED)
    names = ("switch_port", "power_on", "install_os", "ping")
    assert [again[name].state for name in names] == [StepState.PENDING] * 4
    assert [again[name].tries for name in names] == [0] * 4
    assert (again["switch_port"].arrived_at, again["switch_port"].deadline_at) == (
        NOW,
        NOW + POLICIES["switch_port"].deadline,
    )


def test_a_retry_from_keeps_what_was_there_before_the_first_act() -> None:
    row = failed("ping")
    address = remembering(acted(a_step_row("address"), StepState.DONE), {"rows": ["901"]})
    steps = [address if other.name == "address" else other for other in a_recipe(row)]
    decision = told(held(row), steps, a_command(Verb.RETRY_FROM, step="address", wipe=True))
    again = by_name(decision)["address"]

    assert (again.first, again.acted_at) == ({"rows": ["901"]}, address.acted_at)


def test_a_hand_over_that_never_began_may_be_led_up_to_again() -> None:
    row = failed("hand_over", acted_at=None, begun_at=None, tries=0)  # such as: an address lost its domain
    decision = told(held(row), a_recipe(row), a_command(Verb.RETRY_FROM, step="ping"))

    assert (decision.attempt.pos, decision.then) == (7, Then.PROCEED)


def test_a_skip_passes_the_failed_step_and_keeps_its_undo_due() -> None:
    row = failed("install_os")
    decision = told(held(row), a_recipe(row), a_command(Verb.SKIP, reason="installed by hand"))
    skipped = by_name(decision)["install_os"]

    assert (skipped.state, skipped.acted_at) == (StepState.SKIPPED, row.acted_at)
    assert "installed by hand" in skipped.outcome
    assert (decision.then, decision.attempt.pos, decision.attempt.state) == (Then.PROCEED, 7, AttemptState.RUNNING)
    assert EventKind.STEP_SKIPPED in kinds(decision)


# --- swap, cancel -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("release", "last"), [(False, "quarantine"), (True, "release")])
def test_a_swap_ends_as_the_operator_says(release: bool, last: str) -> None:  # noqa: FBT001 - a case
    row = acted(a_step_row("install_os"))
    decision = told(an_attempt(pos=6), a_recipe(row), a_command(Verb.SWAP, release=release, reason="fan"))

    assert decision.rows[-1].name == last
    assert decision.attempt.given_up is Verb.SWAP
    assert "fan" in decision.attempt.reason
    assert decision.attempt.reason_class is None


@pytest.mark.parametrize("state", [StepState.PENDING, StepState.ACTING, StepState.UNSURE])
def test_a_cancelled_row_keeps_its_memo_and_token(state: StepState) -> None:
    row = replace(remembering(acted(a_step_row("address"), state), {"rows": ["901"]}), token={"row": "902"})
    decision = told(an_attempt(pos=3), a_recipe(row), a_command(Verb.CANCEL))
    cancelled = by_name(decision)["address"]

    assert cancelled.state is StepState.CANCELLED
    assert (cancelled.memo, cancelled.token) == (row.memo, row.token)
    assert [row.name for row in decision.rows if row.direction is Direction.BACK] == [
        "drop_addresses",
        "free_domain",
        "release",
    ]


def test_a_cancel_of_a_held_attempt_leaves_the_failed_row_as_it_failed() -> None:
    row = failed("install_os")
    decision = told(held(row), a_recipe(row), a_command(Verb.CANCEL))

    assert by_name(decision)["install_os"] == row
    assert (decision.attempt.given_up, decision.attempt.state) == (Verb.CANCEL, AttemptState.RUNNING)
    assert decision.rows[-1].name == "release"


def test_a_cancel_while_it_goes_back_lets_the_undo_go_on() -> None:
    row = an_undo_row("close_ports", undoes=4, pos=9)
    steps = (*a_recipe(failed("install_os")), row, an_undo_row("quarantine", undoes=1, pos=10))
    decision = told(an_attempt(pos=9, direction=Direction.BACK), steps, a_command(Verb.CANCEL))

    assert (decision.then, decision.attempt.given_up) == (Then.LOOK, Verb.CANCEL)
    assert decision.rows == (row,)


def test_a_command_finds_a_begun_row_only_after_its_save() -> None:
    row = acted(a_step_row("install_os"), StepState.BEGUN)

    with pytest.raises(IllegalFact):
        told(an_attempt(pos=6), a_recipe(row), a_command(Verb.CANCEL))


def test_a_cancelled_open_leaves_no_row_under_way() -> None:
    # poisoned at the install, then led back to the power: the install is still unsure behind it
    unsure = acted(a_step_row("install_os"), StepState.UNSURE)
    command = a_command(Verb.RETRY_FROM, step="power_on", wipe=True)
    again = told(held(unsure), a_recipe(unsure), command)
    rows = {row.pos: row for row in (*a_recipe(unsure), *again.rows)}
    decision = told(again.attempt, tuple(rows.values()), a_command(Verb.CANCEL))
    rows.update({row.pos: row for row in decision.rows})

    assert {row.state for row in rows.values()}.isdisjoint({StepState.BEGUN, StepState.ACTING, StepState.UNSURE})


# --- too late, poisoned -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", [Verb.CANCEL, Verb.SWAP])
def test_a_verb_that_came_too_late_is_consumed_and_said_to_be_refused(verb: Verb) -> None:
    row = acted(a_step_row("hand_over"))
    decision = told(an_attempt(pos=8), a_recipe(row), a_command(verb))

    assert decision.attempt.command is None
    assert kinds(decision) == [EventKind.COMMAND_REFUSED]
    assert (decision.then, decision.rows) == (Then.LOOK, (row,))


def test_a_verb_that_is_refused_leaves_a_held_attempt_held() -> None:
    row = failed("account")
    decision = told(held(row), a_recipe(row), a_command(Verb.SKIP))

    assert (decision.then, decision.attempt.state) == (Then.HOLD, AttemptState.HELD)
    assert decision.attempt.command is None


def test_a_verb_that_is_refused_does_not_wake_a_poisoned_attempt() -> None:
    row = acted(a_step_row("power_on"))
    decision = told(held(row), a_recipe(row), a_command(Verb.SKIP, reason=""))

    assert decision.attempt.state is AttemptState.HELD
    assert decision.then is Then.HOLD


def test_every_command_leaves_a_line_with_who_and_why() -> None:
    row = acted(a_step_row("install_os"))
    decision = told(an_attempt(pos=6), a_recipe(row), a_command(Verb.SWAP, by="anna", reason="fan is loud"))
    line = next(event for event in decision.events if event.kind is EventKind.COMMANDED)

    assert "anna" in line.text
    assert "fan is loud" in line.text


@pytest.mark.parametrize("state", [StepState.PENDING, StepState.ACTING, StepState.UNSURE])
def test_a_poisoned_attempt_is_held_for_a_person_and_not_compensated(state: StepState) -> None:
    row = acted(a_step_row("install_os"), state)
    decision = decide(an_attempt(pos=6), a_recipe(row), Poisoned(NOW), POLICIES)

    assert (decision.then, decision.attempt.state) == (Then.HOLD, AttemptState.HELD)
    assert decision.rows == (row,)
    assert EventKind.HELD in kinds(decision)


@pytest.mark.parametrize("state", [StepState.PENDING, StepState.ACTING, StepState.UNSURE])
def test_a_poisoned_step_goes_on_where_it_stood_when_retried(state: StepState) -> None:
    row = remembering(acted(a_step_row("install_os"), state), {"host_key": "old"})
    decision = told(held(row, deliveries=9), a_recipe(row), a_command(Verb.RETRY))
    again = by_name(decision)["install_os"]

    assert (again.state, again.memo, again.acted_at) == (state, row.memo, row.acted_at)
    assert (decision.then, decision.attempt.deliveries) == (Then.LOOK, 0)


def test_a_poisoned_step_has_all_its_tries_again_when_retried() -> None:
    row = acted(a_step_row("install_os"), StepState.UNSURE, tries=3, refusals=2)
    again = by_name(told(held(row), a_recipe(row), a_command(Verb.RETRY)))["install_os"]

    assert (again.tries, again.refusals) == (0, 0)


def test_a_poisoned_step_can_be_skipped() -> None:
    row = acted(a_step_row("power_on"), StepState.UNSURE)
    decision = told(held(row), a_recipe(row), a_command(Verb.SKIP))

    assert by_name(decision)["power_on"].state is StepState.SKIPPED
    assert (decision.then, decision.attempt.state) == (Then.PROCEED, AttemptState.RUNNING)


@pytest.mark.parametrize("state", [StepState.PENDING, StepState.ACTING, StepState.UNSURE])
def test_a_release_that_is_cancelled_ends_where_it_stands_and_is_called_incomplete(state: StepState) -> None:
    row = acted(a_step_row("close_ports", pos=0), state)
    attempt = an_attempt(kind=JobKind.RELEASE, pos=0)
    decision = told(attempt, (row, a_step_row("quarantine", pos=1)), a_command(Verb.CANCEL))

    assert (decision.then, decision.result) == (Then.END, Result.INCOMPLETE)
    assert decision.attempt.given_up is Verb.CANCEL
    assert EventKind.RELEASE_INCOMPLETE in kinds(decision)


def test_a_poisoned_undo_can_be_retried() -> None:
    row = an_undo_row("close_ports", undoes=4, pos=9)
    steps = (*a_recipe(failed("install_os")), row, an_undo_row("quarantine", undoes=1, pos=10))
    attempt = held(row, direction=Direction.BACK)
    decision = told(attempt, steps, a_command(Verb.RETRY))

    assert EventKind.COMMAND_REFUSED not in kinds(decision)
    assert (decision.then, decision.attempt.state, decision.attempt.pos) == (Then.LOOK, AttemptState.RUNNING, 9)


def test_an_attempt_that_reaches_its_last_step_has_succeeded() -> None:
    row = acted(a_step_row("hand_over"))
    decision = decide(an_attempt(pos=8), a_recipe(row), Looked(Done("theirs"), NOW, NOW), POLICIES)

    assert (decision.then, decision.result) == (Then.END, Result.SUCCEEDED)
    assert decision.attempt.state is AttemptState.ENDED

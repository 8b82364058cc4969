"""How an attempt ends, and what it undoes before: order, rows, memos of the undo, and the ends by class."""

from dataclasses import replace
from datetime import timedelta

import pytest

from provisioner.domain.attempt import Result, StepRow, Verb
from provisioner.domain.engine import (
    PUT_OFF_LIMIT,
    PUT_OFF_MAX,
    Commanded,
    Decision,
    Looked,
    NotTaken,
    Rejected,
    Then,
    decide,
)
from provisioner.domain.events import EventKind
from provisioner.domain.outcome import Done, Failed, NotBegun, Unknown
from provisioner.domain.states import AttemptState, Direction, JobKind, StepState
from provisioner.errors import FailureClass
from provisioner.steps import recipes
from tests.builders import (
    T0,
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
BLAMED = (FailureClass.SERVER, FailureClass.UNKNOWN)
NOT_OURS = (FailureClass.LOST, FailureClass.DRIFT)


def failing(name: str, failure_class: FailureClass, **changes: object) -> Decision:
    """Let the step *name* of an open fail after it acted; all before it acted too."""
    row = acted(a_step_row(name))
    attempt = replace(an_attempt(pos=row.pos), **changes)  # type: ignore[arg-type]  # fields of the attempt
    return decide(attempt, a_recipe(row), Looked(Failed(failure_class, "broken"), at(60), at(60)), POLICIES)


def appended(decision: Decision) -> list[StepRow]:
    return [row for row in decision.rows if row.direction is Direction.BACK]


def going_back(current: StepRow, *others: StepRow, claim: StepState = StepState.DONE) -> tuple[StepRow, ...]:
    """Give an open whose install failed, with the rows of its undo."""
    forward = a_recipe(acted(a_step_row("install_os"), StepState.FAILED))
    steps = tuple(replace(row, state=claim) if row.name == "claim" else row for row in forward)
    return (*steps, *sorted((current, *others), key=lambda row: row.pos))


# --- what is undone -----------------------------------------------------------------------------------------------


def test_what_acted_is_undone_newest_first_and_then_comes_the_end() -> None:
    decision = failing("install_os", FailureClass.SERVER)

    assert [(row.name, row.undoes) for row in appended(decision)] == [
        ("cancel_install", 6),
        ("close_ports", 4),
        ("drop_addresses", 3),
        ("free_domain", 2),
        ("quarantine", 1),
    ]


def test_the_rows_of_the_undo_stand_behind_the_recipe_without_a_gap() -> None:
    decision = failing("install_os", FailureClass.SERVER)

    assert [row.pos for row in appended(decision)] == [9, 10, 11, 12, 13]
    assert (decision.attempt.pos, decision.attempt.direction) == (9, Direction.BACK)
    assert decision.then is Then.PROCEED
    assert {row.state for row in appended(decision)} == {StepState.PENDING}


def test_the_first_row_of_the_undo_has_a_deadline_and_no_act() -> None:
    first, *others = appended(failing("install_os", FailureClass.SERVER))

    assert (first.arrived_at, first.deadline_at) == (at(60), at(60) + POLICIES["cancel_install"].deadline)
    assert all(row.deadline_at is None for row in others)
    assert all((row.acted_at, row.begun_at, row.tries) == (None, None, 0) for row in (first, *others))


def test_a_step_that_found_its_work_done_is_not_undone() -> None:
    row = acted(a_step_row("install_os"))
    steps = a_recipe(row, unacted=("domain", "switch_port"))
    decision = decide(an_attempt(pos=6), steps, Looked(Failed(FailureClass.SERVER, "broken"), at(60), at(60)), POLICIES)

    assert [row.name for row in appended(decision)] == ["cancel_install", "drop_addresses", "quarantine"]


def test_a_step_that_failed_before_its_first_act_is_not_undone() -> None:
    row = a_step_row("install_os")
    decision = decide(
        an_attempt(pos=6), a_recipe(row), Looked(Failed(FailureClass.INPUT, "wrong"), at(60), at(60)), POLICIES
    )

    assert [row.name for row in appended(decision)][:2] == ["close_ports", "drop_addresses"]


def test_an_act_that_was_refused_for_good_is_undone_all_the_same() -> None:
    row = acted(a_step_row("switch_port"), StepState.BEGUN)
    decision = decide(an_attempt(pos=4), a_recipe(row), Rejected(FailureClass.SERVER, "denied", at(5)), POLICIES)

    assert appended(decision)[0].name == "close_ports"


def test_a_skipped_step_that_acted_is_undone() -> None:
    row = acted(a_step_row("install_os"))
    steps = [
        replace(other, state=StepState.SKIPPED) if other.name == "switch_port" else other for other in a_recipe(row)
    ]
    decision = decide(an_attempt(pos=6), steps, Looked(Failed(FailureClass.SERVER, "broken"), at(60), at(60)), POLICIES)

    assert "close_ports" in [row.name for row in appended(decision)]


def test_what_acted_behind_a_retry_from_is_undone_too() -> None:
    row = acted(a_step_row("power_on"))
    later = replace(a_step_row("install_os"), acted_at=at(-60), begun_at=at(-60))
    steps = [later if other.name == "install_os" else other for other in a_recipe(row)]
    decision = decide(an_attempt(pos=5), steps, Looked(Failed(FailureClass.SERVER, "broken"), at(60), at(60)), POLICIES)

    assert appended(decision)[0].name == "cancel_install"


def test_an_account_a_power_on_and_a_ping_have_no_undo() -> None:
    assert [POLICIES[name].undo for name in ("account", "power_on", "ping", "claim")] == [None] * 4


# --- what an undo is told -----------------------------------------------------------------------------------------


def test_an_undo_gets_the_memo_and_the_token_of_its_step() -> None:
    row = remembering(acted(a_step_row("address")), {"rows": ["901"], "add": "ipv4"})
    row = replace(row, memo={**row.memo, "before": {"rows": ["901", "902"]}}, token={"row": "903"})
    decision = decide(
        an_attempt(pos=3), a_recipe(row), Looked(Failed(FailureClass.SITE, "empty"), at(60), at(60)), POLICIES
    )

    undone = appended(decision)[0].undone
    assert undone["before"] == {"rows": ["901", "902"]}
    assert undone["first"] == {"rows": ["901"], "add": "ipv4"}
    assert undone["token"] == {"row": "903"}


@pytest.mark.parametrize("state", [StepState.ACTING, StepState.UNSURE])
def test_an_undo_waits_for_a_late_effect_of_a_step_that_did_not_end_done(state: StepState) -> None:
    row = acted(a_step_row("install_os"), state, when=at(7))
    decision = decide(
        an_attempt(pos=6), a_recipe(row), Looked(Failed(FailureClass.SERVER, "broken"), at(60), at(60)), POLICIES
    )
    undo = {row.name: row.undone["settled_at"] for row in appended(decision)}

    assert undo["cancel_install"] == (at(7) + POLICIES["install_os"].settle).isoformat()
    assert undo["close_ports"] is None


def test_a_cancelled_claim_that_is_unsure_is_waited_for_by_the_release() -> None:
    row = acted(a_step_row("claim"), StepState.UNSURE, when=at(7))
    decision = decide(an_attempt(pos=1), a_recipe(row), Commanded(a_command(Verb.CANCEL), at(8)), POLICIES)
    release = appended(decision)[-1]

    assert release.name == "release"
    assert release.undone["settled_at"] == (at(7) + POLICIES["claim"].settle).isoformat()


# --- the end that the class asks for ------------------------------------------------------------------------------


@pytest.mark.parametrize("failure_class", BLAMED)
def test_a_server_that_is_to_blame_ends_in_quarantine(failure_class: FailureClass) -> None:
    assert appended(failing("power_on", failure_class))[-1].name == "quarantine"


@pytest.mark.parametrize("failure_class", [FailureClass.SITE, FailureClass.INPUT])
def test_a_server_that_is_not_to_blame_is_released(failure_class: FailureClass) -> None:
    decision = failing("power_on", failure_class)

    assert appended(decision)[-1].name == "release"
    assert decision.attempt.reason_class is failure_class


@pytest.mark.parametrize("failure_class", NOT_OURS)
def test_a_server_that_somebody_else_took_is_not_touched_again(failure_class: FailureClass) -> None:
    decision = failing("power_on", failure_class)

    assert (decision.then, decision.result) == (Then.END, Result.LOST)
    assert appended(decision) == []


def test_the_end_of_a_lost_server_lists_what_of_ours_stayed_there() -> None:
    decision = failing("power_on", FailureClass.LOST)
    ended = next(event for event in decision.events if event.kind is EventKind.ATTEMPT_ENDED)

    told = f"{ended.text} {ended.data}"
    assert all(name in told for name in ("domain", "address", "switch_port"))


@pytest.mark.parametrize("failure_class", FailureClass)
def test_before_the_claim_has_begun_nothing_is_touched_whatever_the_class(failure_class: FailureClass) -> None:
    row = a_step_row("claim")
    decision = decide(an_attempt(pos=1), a_recipe(row), Looked(Failed(failure_class, "no"), at(60), at(60)), POLICIES)

    assert (decision.then, decision.result) == (Then.END, Result.PASSED_OVER)
    assert appended(decision) == []


@pytest.mark.parametrize("failure_class", BLAMED)
def test_an_account_that_nobody_can_explain_is_the_places_fault(failure_class: FailureClass) -> None:
    row = acted(a_step_row("account"))
    decision = decide(an_attempt(pos=0), a_recipe(row), Looked(Failed(failure_class, "no"), at(60), at(60)), POLICIES)

    assert decision.attempt.reason_class is FailureClass.SITE
    assert decision.result is Result.PASSED_OVER


def test_a_claim_that_was_refused_gives_the_server_back_if_it_is_ours() -> None:
    row = acted(a_step_row("claim"), StepState.BEGUN)
    decision = decide(an_attempt(pos=1), a_recipe(row), Rejected(FailureClass.SERVER, "edit denied", at(5)), POLICIES)

    assert [row.name for row in appended(decision)] == ["release"]
    assert decision.attempt.reason_class is FailureClass.LOST  # passed over, costs no attempt of the limit


def test_a_claim_that_failed_ends_passed_over_once_the_release_has_looked() -> None:
    release = an_undo_row("release", undoes=1, pos=9)
    steps = going_back(release, claim=StepState.FAILED)
    attempt = an_attempt(pos=9, direction=Direction.BACK, reason_class=FailureClass.LOST)
    decision = decide(attempt, steps, Looked(Done("not ours"), at(60), at(60)), POLICIES)

    assert decision.result is Result.PASSED_OVER


def test_a_locked_server_is_passed_over_when_the_tries_are_used_up() -> None:
    tries = POLICIES["claim"].tries
    row, attempt, ends = a_step_row("claim"), an_attempt(pos=1), []
    for _ in range(tries):
        begun = decide(attempt, a_recipe(row), Looked(NotBegun(), at(1), at(1)), POLICIES).rows[0]
        decision = decide(attempt, a_recipe(begun), NotTaken("locked", at(2), locked=True), POLICIES)
        row = decision.rows[0]
        ends.append((decision.then, decision.result, decision.attempt.reason_class))

    assert ends[:-1] == [(Then.PARK, None, None)] * (tries - 1)
    assert ends[-1] == (Then.END, Result.PASSED_OVER, FailureClass.LOST)


def test_a_failure_that_goes_through_server_after_server_is_the_places_fault() -> None:
    decision = failing("install_os", FailureClass.SERVER, burnt_through=True)

    assert decision.attempt.reason_class is FailureClass.SITE
    assert appended(decision)[-1].name == "release"


@pytest.mark.parametrize("failure_class", [FailureClass.INPUT, FailureClass.LOST])
def test_the_guard_concerns_only_what_a_server_is_blamed_for(failure_class: FailureClass) -> None:
    decision = failing("install_os", failure_class, burnt_through=True)

    assert decision.attempt.reason_class is failure_class


def test_the_guard_does_not_concern_an_undo() -> None:
    steps = going_back(an_undo_row("close_ports", undoes=4, pos=9), an_undo_row("quarantine", undoes=1, pos=10))
    attempt = an_attempt(pos=9, direction=Direction.BACK, burnt_through=True)
    decision = decide(attempt, steps, Looked(Failed(FailureClass.SERVER, "stuck"), at(60), at(60)), POLICIES)

    assert decision.rows[0].reason_class is FailureClass.SERVER


def test_a_package_that_holds_on_failure_is_not_held_where_the_place_is_to_blame() -> None:
    held = failing("install_os", FailureClass.SERVER, hold_on_failure=True)
    place = failing("install_os", FailureClass.SERVER, hold_on_failure=True, burnt_through=True)

    assert (held.then, held.attempt.state) == (Then.HOLD, AttemptState.HELD)
    assert place.then is Then.PROCEED


def test_a_held_attempt_says_so_to_a_person_and_keeps_its_reason() -> None:
    decision = failing("install_os", FailureClass.SERVER, hold_on_failure=True)

    assert EventKind.HELD in [event.kind for event in decision.events]
    assert decision.attempt.reason == "broken"
    assert appended(decision) == []


@pytest.mark.parametrize("failure_class", FailureClass)
@pytest.mark.parametrize("state", [StepState.ACTING, StepState.UNSURE, StepState.PENDING])
def test_once_hand_over_has_begun_no_class_undoes_anything(failure_class: FailureClass, state: StepState) -> None:
    row = acted(a_step_row("hand_over"), state)
    decision = decide(an_attempt(pos=8), a_recipe(row), Looked(Failed(failure_class, "odd"), at(60), at(60)), POLICIES)

    assert decision.attempt.state is AttemptState.HELD
    assert appended(decision) == []
    assert EventKind.HELD in [event.kind for event in decision.events]


def test_a_hand_over_that_surely_never_began_is_undone_like_any_step() -> None:
    row = acted(a_step_row("hand_over"), StepState.BEGUN)
    refused = decide(an_attempt(pos=8), a_recipe(row), NotTaken("busy", at(5)), POLICIES).rows[0]
    failure = Looked(Failed(FailureClass.SERVER, "disabled"), at(60), at(60))
    decision = decide(an_attempt(pos=8), a_recipe(refused), failure, POLICIES)

    assert appended(decision)[-1].name == "quarantine"


# --- going back ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure_class", [c for c in FailureClass if c not in NOT_OURS])
def test_an_undo_that_fails_does_not_stop_the_rest(failure_class: FailureClass) -> None:
    current, rest = an_undo_row("close_ports", undoes=4, pos=9), an_undo_row("free_domain", pos=10)
    steps = going_back(current, rest, an_undo_row("release", undoes=1, pos=11))
    failure = Looked(Failed(failure_class, "stuck"), at(60), at(60))
    decision = decide(an_attempt(pos=9, direction=Direction.BACK), steps, failure, POLICIES)

    assert (decision.then, decision.attempt.pos) == (Then.PROCEED, 10)
    arriving = next(row for row in decision.rows if row.pos == 10)
    assert (arriving.arrived_at, arriving.deadline_at) == (at(60), at(60) + POLICIES["free_domain"].deadline)


def test_a_server_whose_undo_failed_is_quarantined_instead_of_released() -> None:
    current = an_undo_row("cancel_install", undoes=6, pos=9)
    steps = going_back(current, an_undo_row("release", undoes=1, pos=10))
    late = POLICIES["cancel_install"].deadline.total_seconds() + 60
    blind_no_more = Looked(Unknown("the flag is still up"), at(late), at(late))
    decision = decide(an_attempt(pos=9, direction=Direction.BACK), steps, blind_no_more, POLICIES)

    assert next(row for row in decision.rows if row.pos == 10).name == "quarantine"
    assert decision.rows[0].reason_class is FailureClass.UNKNOWN


def test_an_undo_that_failed_leaves_the_attempt_incomplete_at_its_end() -> None:
    failed = an_undo_row("close_ports", undoes=4, pos=9, state=StepState.FAILED)
    steps = going_back(an_undo_row("quarantine", undoes=1, pos=10), failed)
    decision = decide(
        an_attempt(pos=10, direction=Direction.BACK), steps, Looked(Done("noted"), at(60), at(60)), POLICIES
    )

    assert (decision.then, decision.result) == (Then.END, Result.INCOMPLETE)


@pytest.mark.parametrize("last", ["release", "quarantine"])
def test_an_end_that_itself_fails_leaves_the_attempt_incomplete(last: str) -> None:
    steps = going_back(an_undo_row(last, undoes=1, pos=9))
    failure = Looked(Failed(FailureClass.SERVER, "denied"), at(60), at(60))
    decision = decide(an_attempt(pos=9, direction=Direction.BACK), steps, failure, POLICIES)

    assert (decision.then, decision.result) == (Then.END, Result.INCOMPLETE)


@pytest.mark.parametrize(("last", "result"), [("release", Result.RELEASED), ("quarantine", Result.QUARANTINED)])
def test_a_whole_undo_ends_as_its_last_step_says(last: str, result: Result) -> None:
    undone = an_undo_row("close_ports", undoes=4, pos=9, state=StepState.DONE)
    steps = going_back(an_undo_row(last, undoes=1, pos=10), undone)
    decision = decide(
        an_attempt(pos=10, direction=Direction.BACK), steps, Looked(Done("seen"), at(60), at(60)), POLICIES
    )

    assert (decision.attempt.state, decision.result) == (AttemptState.ENDED, result)


@pytest.mark.parametrize("last", ["release", "quarantine"])
def test_a_server_that_is_kept_out_of_sale_leaves_a_line_with_the_reason(last: str) -> None:
    steps = going_back(an_undo_row(last, undoes=1, pos=9))
    attempt = an_attempt(pos=9, direction=Direction.BACK, reason="the install failed")
    done = decide(attempt, steps, Looked(Done("seen"), at(60), at(60)), POLICIES)
    stuck = decide(attempt, steps, Looked(Failed(FailureClass.SERVER, "stuck"), at(60), at(60)), POLICIES)
    lines = {event.kind: event.data for event in (*done.events, *stuck.events)}

    assert (EventKind.QUARANTINED in lines) is (last == "quarantine")
    assert lines.get(EventKind.QUARANTINED, {"reason": attempt.reason}) == {"reason": attempt.reason}
    assert lines[EventKind.RELEASE_INCOMPLETE] == {"reason": attempt.reason}


def test_a_server_that_is_lost_leaves_a_line_with_what_of_ours_stays_on_it() -> None:
    row = a_step_row("power_on")
    lost = Looked(Failed(FailureClass.LOST, "another owner"), at(60), at(60))
    decision = decide(an_attempt(pos=row.pos), a_recipe(row, unacted=["address"]), lost, POLICIES)
    ended = next(event for event in decision.events if event.kind is EventKind.ATTEMPT_ENDED)

    assert ended.data["left"] == ["domain", "switch_port"]


@pytest.mark.parametrize("hold", [True, False])
def test_a_package_that_holds_does_not_hold_an_undo(hold: bool) -> None:  # noqa: FBT001 - a case
    steps = going_back(an_undo_row("close_ports", undoes=4, pos=9), an_undo_row("quarantine", undoes=1, pos=10))
    attempt = an_attempt(pos=9, direction=Direction.BACK, hold_on_failure=hold)
    decision = decide(attempt, steps, Looked(Failed(FailureClass.SERVER, "stuck"), at(60), at(60)), POLICIES)

    assert decision.then is Then.PROCEED


def test_a_server_that_is_lost_while_it_is_undone_is_left_alone() -> None:
    steps = going_back(an_undo_row("close_ports", undoes=4, pos=9), an_undo_row("quarantine", undoes=1, pos=10))
    decision = decide(
        an_attempt(pos=9, direction=Direction.BACK),
        steps,
        Looked(Failed(FailureClass.LOST, "another owner"), at(60), at(60)),
        POLICIES,
    )

    assert (decision.then, decision.result) == (Then.END, Result.LOST)


def test_a_server_that_is_lost_while_it_is_undone_keeps_only_what_was_not_undone() -> None:
    undone = [an_undo_row("cancel_install", undoes=6, pos=9, state=StepState.DONE)]
    undone += [an_undo_row("close_ports", undoes=4, pos=10, state=StepState.DONE)]
    steps = going_back(an_undo_row("drop_addresses", undoes=3, pos=11), *undone)
    lost = Looked(Failed(FailureClass.LOST, "another owner"), at(60), at(60))
    decision = decide(an_attempt(pos=11, direction=Direction.BACK), steps, lost, POLICIES)
    ended = next(event for event in decision.events if event.kind is EventKind.ATTEMPT_ENDED)

    assert ended.data["left"] == ["domain", "address"]


@pytest.mark.parametrize("why", [FailureClass.INPUT, FailureClass.SITE, FailureClass.SERVER])
def test_a_loss_while_undoing_does_not_hide_why_the_order_went_back(why: FailureClass) -> None:
    steps = going_back(an_undo_row("close_ports", undoes=4, pos=9), an_undo_row("release", undoes=1, pos=10))
    attempt = an_attempt(pos=9, direction=Direction.BACK, reason_class=why, reason="why")
    decision = decide(attempt, steps, Looked(Failed(FailureClass.LOST, "taken"), at(60), at(60)), POLICIES)

    # an order that is wrong must not go on to the next candidate, a place that is to blame must be restricted
    assert decision.attempt.reason_class is why


# --- a release that goes on by itself -----------------------------------------------------------------------------


def put_off(times: int) -> Decision:
    row = acted(a_step_row("close_ports", pos=0), when=at(0))
    attempt = an_attempt(kind=JobKind.RELEASE, put_off=times)
    steps = (row, a_step_row("quarantine", pos=1))
    return decide(attempt, steps, Looked(Failed(FailureClass.SERVER, "stuck"), at(60), at(60)), POLICIES)


def test_a_release_is_tried_again_with_growing_distance() -> None:
    distances = []
    for times in range(PUT_OFF_LIMIT):
        resume_at = put_off(times).resume_at
        assert resume_at is not None
        distances.append(resume_at - at(60))

    assert distances == sorted(distances)
    assert distances[1] == 2 * distances[0]
    assert distances[-1] <= PUT_OFF_MAX


def test_a_release_that_is_put_off_begins_anew_when_it_is_due() -> None:
    decision = put_off(0)
    row = decision.rows[0]
    assert decision.resume_at is not None

    assert (decision.then, decision.attempt.put_off) == (Then.PARK, 1)
    assert (row.state, row.tries, row.refusals) == (StepState.PENDING, 0, 0)
    assert row.deadline_at == decision.resume_at + POLICIES["close_ports"].deadline
    assert row.acted_at == T0


def test_a_release_that_was_put_off_for_hours_is_not_judged_by_a_list_of_before() -> None:
    decision = put_off(PUT_OFF_LIMIT - 1)
    arrived_at = decision.rows[0].arrived_at

    # `stale` takes any list since `arrived_at`, and nobody reads the list while nothing is awaited
    assert arrived_at is not None
    assert arrived_at > at(60) or arrived_at == decision.resume_at


def test_a_release_that_failed_too_often_waits_for_a_person() -> None:
    decision = put_off(PUT_OFF_LIMIT)

    assert (decision.then, decision.attempt.state) == (Then.HOLD, AttemptState.HELD)
    assert decision.attempt.reason.startswith("release incomplete")
    assert EventKind.HELD in [event.kind for event in decision.events]


def test_a_release_of_a_server_that_is_anothers_by_now_ends() -> None:
    row = a_step_row("close_ports", pos=0)
    decision = decide(
        an_attempt(kind=JobKind.RELEASE),
        (row, a_step_row("quarantine", pos=1)),
        Looked(Failed(FailureClass.LOST, "another owner"), at(60), at(60)),
        POLICIES,
    )

    assert (decision.then, decision.result) == (Then.END, Result.LOST)


def test_a_late_look_of_a_release_is_put_off_too_and_never_compensated() -> None:
    row = replace(acted(a_step_row("close_ports", pos=0)), deadline_at=at(10))
    decision = decide(
        an_attempt(kind=JobKind.RELEASE),
        (row, a_step_row("quarantine", pos=1)),
        Looked(Unknown("who knows"), at(60) + timedelta(hours=1), at(60)),
        POLICIES,
    )

    assert decision.then is Then.PARK
    assert appended(decision) == []


@pytest.mark.parametrize(("last", "result"), [("release", Result.RELEASED), ("quarantine", Result.QUARANTINED)])
def test_a_release_that_went_on_by_itself_ends_as_its_last_step_says(last: str, result: Result) -> None:
    row = acted(a_step_row(last, pos=0))
    decision = decide(an_attempt(kind=JobKind.RELEASE), (row,), Looked(Done("seen"), at(60), at(60)), POLICIES)

    # a server that was seen to be nobody's keeps no claim: it would bar the server from sale for ever
    assert (decision.then, decision.result) == (Then.END, result)

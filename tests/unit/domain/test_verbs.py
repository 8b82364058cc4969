"""What may be commanded when, over the whole product of verbs, states, directions, kinds and places."""

import itertools
from dataclasses import dataclass, replace

import pytest

from provisioner.domain.attempt import Attempt, Command, StepRow, Verb
from provisioner.domain.states import ON_CLAIM, STEP_OPEN, AttemptState, Direction, JobKind, StepState
from provisioner.domain.verbs import (
    GOING_BACK,
    HANDED,
    INTERRUPTED,
    NOT_HELD,
    OTHER_KIND,
    forecast,
    hand_over_begun,
    refusal,
    refusal_interrupted,
)
from provisioner.steps import recipes
from tests.builders import T0, a_command, a_recipe, a_step_row, an_attempt, an_undo_row

POLICIES = recipes.policies()
PLACES = ("account", "claim", "domain", "install_os", "hand_over")
STANDING = (*sorted(STEP_OPEN - {StepState.BEGUN}), StepState.FAILED)

#: the first line that matches counts; `*` is any. "" of a sentence means: legal
TABLE = """
verb       | direction | kind    | attempt | place                  | row    | sentence
hold       | *         | *       | held    | *                      | *      | it is held already
hold       | *         | *       | *       | *                      | *      |
interrupt  | back      | *       | *       | *                      | *      | the attempt already undoes itself
interrupt  | *         | *       | *       | *                      | *      |
cancel     | *         | close   | *       | *                      | *      | a close is not taken back
cancel     | back      | *       | *       | *                      | *      |
retry      | back      | *       | held    | *                      | *      |
*          | back      | *       | *       | *                      | *      | the attempt already undoes itself
cancel     | *         | *       | *       | hand_over, acted       | *      | hand-over has begun
swap       | *         | open    | *       | hand_over, acted       | *      | hand-over has begun
cancel     | *         | *       | *       | *                      | *      |
swap       | *         | open    | *       | *                      | *      |
swap       | *         | *       | *       | *                      | *      | only an open
*          | *         | *       | goes on | *                      | *      | the attempt is not held
retry      | *         | *       | held    | *                      | *      |
skip       | *         | *       | held    | account                | *      | can't be skipped
skip       | *         | *       | held    | claim                  | *      | can't be skipped
skip       | *         | *       | held    | hand_over              | *      | can't be skipped
skip       | *         | *       | held    | *                      | *      |
retry_from | *         | *       | held    | claim                  | *      | can't be run again
retry_from | *         | *       | held    | hand_over              | *      | can't be run again
retry_from | *         | *       | held    | install_os, acted      | *      | wipe
retry_from | *         | *       | held    | *                      | *      |
"""


@dataclass(frozen=True)
class Asked:
    verb: Verb
    direction: Direction
    kind: JobKind
    state: AttemptState
    place: str
    row: StepState
    acted: bool

    def attempt(self) -> Attempt:
        pos = 9 if self.direction is Direction.BACK else self.the_row().pos
        return an_attempt(kind=self.kind, direction=self.direction, state=self.state, pos=pos)

    def the_row(self) -> StepRow:
        return a_step_row(self.place, state=self.row, acted_at=T0 if self.acted else None)

    def steps(self) -> tuple[StepRow, ...]:
        if self.direction is Direction.BACK:
            return (*a_recipe(replace(self.the_row(), state=StepState.FAILED)), an_undo_row(pos=9, state=self.row))
        return a_recipe(self.the_row())

    def command(self) -> Command:
        step = self.the_row().name if self.verb is Verb.RETRY_FROM else ""
        return a_command(self.verb, step=step)


def every_case() -> list[Asked]:
    held = (AttemptState.HELD, AttemptState.RUNNING, AttemptState.WAITING, AttemptState.READY)
    cases = itertools.starmap(Asked, itertools.product(Verb, Direction, JobKind, held, PLACES, STANDING, (True, False)))
    return [
        case
        for case in cases
        if not (case.row is StepState.FAILED and case.state is not AttemptState.HELD)  # it is held at once
        if not (case.row in {StepState.ACTING, StepState.UNSURE} and not case.acted)
        if not (case.direction is Direction.BACK and case.row is StepState.FAILED)  # it is left behind at once
        if not (case.direction is Direction.BACK and case.kind in ON_CLAIM)  # it has nothing to undo
        if not (case.direction is Direction.BACK and case.place == "hand_over" and case.acted)  # no way back
    ]


def lines() -> list[dict[str, str]]:
    head, *body = [[cell.strip() for cell in line.split("|")] for line in TABLE.strip().splitlines()]
    return [dict(zip(head, line, strict=True)) for line in body]


LINES = lines()


def line_of(case: Asked) -> dict[str, str] | None:
    known = {
        "verb": {case.verb.value},
        "direction": {case.direction.value},
        "kind": {case.kind.value},
        "attempt": {"held" if case.state is AttemptState.HELD else "goes on"},
        "place": {case.place, f"{case.place}, acted" if case.acted else case.place},
        "row": {"failed" if case.row is StepState.FAILED else "open"},
    }
    return next((line for line in LINES if all(line[key] in {"*", *words} for key, words in known.items())), None)


@pytest.mark.parametrize("verb", Verb)
def test_every_verb_is_legal_or_refused_as_the_table_says(verb: Verb) -> None:
    cases = [case for case in every_case() if case.verb is verb]
    wrong = []
    for case in cases:
        line = line_of(case)
        assert line is not None, case
        want = line["sentence"]
        got = refusal(case.command(), case.attempt(), case.steps(), POLICIES)
        if bool(want) != bool(got) or want not in got:
            wrong.append(f"{want!r} is right, {got!r} was said, where {case}")

    assert len(cases) > 100
    if wrong:
        pytest.fail(f"{len(wrong)} of {len(cases)}, such as\n" + "\n".join(wrong[:3]), pytrace=False)


def test_no_line_of_the_table_is_idle() -> None:
    used = [line_of(case) for case in every_case()]

    assert [line for line in LINES if line not in used] == []


def failed(name: str = "ping", *, acted: bool = True) -> tuple[Attempt, tuple[StepRow, ...]]:
    row = a_step_row(name, state=StepState.FAILED, acted_at=T0 if acted else None)
    return an_attempt(pos=row.pos, state=AttemptState.HELD), a_recipe(row)


def said(command: Command, name: str = "ping", *, acted: bool = True) -> str:
    return refusal(command, *failed(name, acted=acted), POLICIES)


@pytest.mark.parametrize("verb", Verb)
def test_an_interrupted_job_is_cancelled_unless_its_undo_would_meet_another_at_work(verb: Verb) -> None:
    for place, acted, at_work in itertools.product(PLACES, (True, False), ("job 9 (suspend)", "")):
        steps = (a_step_row(place, state=StepState.PENDING, acted_at=T0 if acted else None),)
        meets = bool(acted and POLICIES[place].undo and at_work)
        got = refusal_interrupted(a_command(verb), steps, POLICIES, at_work=at_work)
        if verb is Verb.CANCEL:
            assert bool(got) == meets
            assert at_work in got or not meets
        else:
            assert got == INTERRUPTED


def test_what_a_cancel_leaves_on_a_customers_disks_is_said() -> None:
    attempt = an_attempt(kind=JobKind.REINSTALL, state=AttemptState.WAITING)
    begun, before = (
        forecast(a_command(Verb.CANCEL), attempt, (a_step_row("install_os", pos=0, acted_at=acted),), POLICIES)
        for acted in (T0, None)
    )

    assert begun == (
        "undoes 1 steps (cancel_install), then ends the job; "
        "an install had begun: the old system is gone, and the new one may not start"
    )
    assert before == "ends the job; the disks stay as they are"


def test_it_is_said_of_a_reboot_that_it_may_be_a_second_one() -> None:
    attempt = an_attempt(kind=JobKind.POWER, state=AttemptState.HELD)
    steps = (a_step_row("reboot", pos=0, state=StepState.FAILED, acted_at=T0),)

    assert forecast(a_command(Verb.RETRY), attempt, steps, POLICIES).endswith(
        "reboot may have been done, and IS DONE AGAIN"
    )


def test_a_skip_needs_a_reason() -> None:
    assert said(a_command(Verb.SKIP, reason="")) == "a skip needs a reason"


@pytest.mark.parametrize("step", ["", "ping"])
def test_a_skip_may_name_the_failed_step(step: str) -> None:
    assert said(a_command(Verb.SKIP, step=step)) == ""


def test_a_skip_of_another_step_than_the_failed_one_is_refused() -> None:
    assert said(a_command(Verb.SKIP, step="power_on")) == "the attempt is held at ping, not at power_on"


@pytest.mark.parametrize("step", ["", "reboot", "hand_over", "free_domain"])
def test_a_retry_from_a_step_that_is_not_at_or_before_the_failed_one_is_refused(step: str) -> None:
    assert said(a_command(Verb.RETRY_FROM, step=step)) == f"no step {step} at or before ping"


@pytest.mark.parametrize("unacted", [(), ("claim",)])
def test_a_retry_from_before_the_claim_is_refused(unacted: tuple[str, ...]) -> None:
    attempt, _ = failed()
    steps = a_recipe(a_step_row("ping", state=StepState.FAILED), unacted=unacted)
    command = a_command(Verb.RETRY_FROM, step="account", wipe=True)

    assert "claim" in refusal(command, attempt, steps, POLICIES)


@pytest.mark.parametrize("step", ["domain", "switch_port", "power_on", "install_os"])
def test_crossing_an_install_needs_the_word_wipe(step: str) -> None:
    assert "wipe" in said(a_command(Verb.RETRY_FROM, step=step))
    assert said(a_command(Verb.RETRY_FROM, step=step, wipe=True)) == ""


def test_an_install_that_never_acted_needs_no_wipe() -> None:
    assert said(a_command(Verb.RETRY_FROM, step="power_on"), "install_os", acted=False) == ""


def test_a_retry_from_behind_the_install_needs_no_wipe() -> None:
    assert said(a_command(Verb.RETRY_FROM, step="ping")) == ""


def test_a_hand_over_that_never_began_may_be_led_up_to_again() -> None:
    assert said(a_command(Verb.RETRY_FROM, step="ping"), "hand_over", acted=False) == ""
    assert said(a_command(Verb.RETRY_FROM, step="hand_over"), "hand_over", acted=False) != ""


def test_a_hand_over_that_began_is_not_led_up_to_again() -> None:
    assert said(a_command(Verb.RETRY_FROM, step="ping"), "hand_over") != ""


@pytest.mark.parametrize(
    ("state", "acted", "begun"),
    [
        (StepState.PENDING, False, False),
        (StepState.PENDING, True, True),
        (StepState.BEGUN, True, True),
        (StepState.ACTING, True, True),
        (StepState.UNSURE, True, True),
        (StepState.DONE, False, True),  # somebody handed it over by hand
        (StepState.FAILED, False, False),
        (StepState.FAILED, True, True),
    ],
)
def test_hand_over_has_begun_with_its_first_act(state: StepState, acted: bool, begun: bool) -> None:  # noqa: FBT001 - a case
    row = a_step_row("hand_over", state=state, acted_at=T0 if acted else None)

    assert hand_over_begun(a_recipe(row)) is begun


def test_every_refusal_is_a_sentence_that_says_what_to_do_or_why() -> None:
    assert all(len(sentence.split()) > 4 for sentence in (GOING_BACK, HANDED, NOT_HELD, OTHER_KIND))

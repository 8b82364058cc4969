"""Owner and token in one edit, proven by a read afterwards; whatever else stands there is somebody else's."""

from dataclasses import replace

import pytest

from provisioner.domain.outcome import Done, Failed, NotBegun
from provisioner.domain.server import UserRef
from provisioner.domain.states import StepState
from provisioner.errors import FailureClass
from provisioner.steps.claim import Claim
from tests.builders import (
    ADMIN,
    SERVER,
    STRANGER,
    TOKEN,
    HandDriver,
    a_context,
    a_reading,
    a_step_row,
    acted,
    remembering,
)

STEP = Claim()
FREE = a_reading(owner=None, notes="rack 4, spare PSU")


def test_a_free_server_is_claimed_with_its_old_notes_in_mind() -> None:
    outcome = STEP.check(a_context(STEP, driver=HandDriver(FREE)))

    assert isinstance(outcome, NotBegun)
    assert outcome.memo == {"notes": "rack 4, spare PSU"}


def test_one_edit_sets_owner_and_token_and_keeps_the_old_notes() -> None:
    driver = HandDriver(FREE)
    row = remembering(acted(a_step_row("claim"), StepState.BEGUN), {"notes": "rack 4\nspare PSU"})
    STEP.do(a_context(STEP, row, driver=driver))

    assert driver.asked == [("edit_server", SERVER, ADMIN, f"rack 4\nspare PSU\n{TOKEN}")]


def test_a_token_that_is_there_already_is_not_written_twice() -> None:
    driver = HandDriver(FREE)
    row = remembering(acted(a_step_row("claim"), StepState.BEGUN), {"notes": f"{TOKEN}\nrack 4"})
    STEP.do(a_context(STEP, row, driver=driver))

    assert driver.asked[0][-1] == f"rack 4\n{TOKEN}"


def test_the_server_is_ours_when_owner_and_token_are_read_back() -> None:
    assert isinstance(STEP.check(a_context(STEP, acted(a_step_row("claim")))), Done)


@pytest.mark.parametrize(
    "notes", ["", "provisioner-claim-2-beef", f"{TOKEN}5", f"x{TOKEN}", "rack 4"], ids=["none", "other", "a", "b", "c"]
)
def test_our_administrator_without_our_token_is_another_claim(notes: str) -> None:
    outcome = STEP.check(a_context(STEP, acted(a_step_row("claim")), driver=HandDriver(a_reading(notes=notes))))

    assert isinstance(outcome, Failed)
    assert outcome.failure_class is FailureClass.LOST


@pytest.mark.parametrize("state", [StepState.PENDING, StepState.ACTING, StepState.UNSURE])
@pytest.mark.parametrize("owner", [STRANGER, UserRef("05")])
def test_another_owner_is_lost_also_when_our_token_stands_there(state: StepState, owner: UserRef) -> None:
    row = replace(a_step_row("claim"), state=state)
    outcome = STEP.check(a_context(STEP, row, driver=HandDriver(a_reading(owner=owner))))

    assert isinstance(outcome, Failed)
    assert outcome.failure_class is FailureClass.LOST


def test_a_token_without_an_owner_is_no_claim() -> None:
    outcome = STEP.check(a_context(STEP, acted(a_step_row("claim")), driver=HandDriver(a_reading(owner=None))))

    assert isinstance(outcome, NotBegun)


def test_a_server_that_was_marked_faulty_meanwhile_is_passed_over() -> None:
    outcome = STEP.check(a_context(STEP, driver=HandDriver(a_reading(owner=None, notes="", faulty=True))))

    assert isinstance(outcome, Failed)
    assert outcome.failure_class is FailureClass.LOST


def test_the_proof_is_a_read_that_began_in_this_look() -> None:
    ctx = a_context(STEP, view=None)
    STEP.check(ctx)

    assert ctx.reading_at == ctx.clock.now()


def test_being_refused_uses_up_the_tries_and_passes_the_candidate_over() -> None:
    assert STEP.policy.refusal_costs
    assert STEP.policy.exhausted is FailureClass.LOST
    assert not STEP.policy.skippable

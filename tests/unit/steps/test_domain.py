"""One row a touch until all carry the name; the undo puts `free.ds` on every row."""

from dataclasses import replace

import pytest

from provisioner.domain.outcome import Done, Failed, More, NotBegun, Wait
from provisioner.domain.states import StepState
from provisioner.errors import FailureClass
from provisioner.steps.base import Step
from provisioner.steps.domain import AssignDomain, FreeDomain
from tests.builders import (
    HOSTNAME,
    SERVER,
    STRANGER,
    HandDriver,
    a_context,
    a_reading,
    a_step_row,
    acted,
    an_address,
    an_undo_row,
    at,
    remembering,
)

STEP, UNDO = AssignDomain(), FreeDomain()


def rows(*domains: str) -> HandDriver:
    addresses = tuple(an_address(f"90{n}", domain=domain, main=n == 1) for n, domain in enumerate(domains, 1))
    return HandDriver(a_reading(addresses=addresses))


def test_the_first_row_that_is_wrong_is_the_next_act() -> None:
    outcome = STEP.check(a_context(STEP, driver=rows(HOSTNAME, "free.ds", "free.ds")))

    assert isinstance(outcome, NotBegun)
    assert outcome.memo == {"row": "902", "domain": HOSTNAME}


def test_the_act_names_the_remembered_row_and_no_other() -> None:
    driver = rows("free.ds", "free.ds")
    row = remembering(acted(a_step_row("domain"), StepState.BEGUN), {"row": "902", "domain": HOSTNAME})
    STEP.do(a_context(STEP, row, driver=driver))

    assert driver.asked == [("set_domain", SERVER, "902", HOSTNAME)]


def test_one_row_is_proven_and_the_next_is_due() -> None:
    row = remembering(acted(a_step_row("domain")), {"row": "901", "domain": HOSTNAME})
    outcome = STEP.check(a_context(STEP, row, driver=rows(HOSTNAME, "free.ds")))

    assert isinstance(outcome, More)
    assert outcome.memo["row"] == "902"


def test_a_row_whose_act_is_not_visible_yet_is_not_called_proven() -> None:
    row = remembering(acted(a_step_row("domain")), {"row": "901", "domain": HOSTNAME})

    assert isinstance(STEP.check(a_context(STEP, row, driver=rows("free.ds", "free.ds"))), NotBegun)


@pytest.mark.parametrize("shown", [HOSTNAME, HOSTNAME.upper(), f"{HOSTNAME}."])
def test_all_rows_carry_the_name_without_regard_to_case_and_final_dot(shown: str) -> None:
    assert isinstance(STEP.check(a_context(STEP, driver=rows(shown, HOSTNAME))), Done)


def test_a_server_without_rows_has_nowhere_to_put_it() -> None:
    assert isinstance(STEP.check(a_context(STEP, driver=rows())), Done)


@pytest.mark.parametrize("step", [STEP, UNDO], ids=["step", "undo"])
def test_a_server_that_is_not_ours_is_not_renamed(step: Step) -> None:
    outcome = step.check(a_context(step, driver=HandDriver(a_reading(owner=STRANGER))))

    assert isinstance(outcome, Failed)
    assert outcome.failure_class is FailureClass.LOST


def test_the_undo_marks_every_row_as_free() -> None:
    outcome = UNDO.check(a_context(UNDO, an_undo_row("free_domain"), driver=rows("free.ds", HOSTNAME)))

    assert isinstance(outcome, NotBegun)
    assert outcome.memo == {"row": "902", "domain": "free.ds"}


def test_the_undo_waits_for_a_late_effect_before_it_says_done() -> None:
    row = an_undo_row("free_domain")
    row = replace(row, memo={"undone": {**row.undone, "settled_at": at(100).isoformat()}})
    early = UNDO.check(a_context(UNDO, row, driver=rows("free.ds"), now=at(99)))
    late = UNDO.check(a_context(UNDO, row, driver=rows("free.ds"), now=at(100)))

    assert isinstance(early, Wait)
    assert early.until == at(100)
    assert isinstance(late, Done)

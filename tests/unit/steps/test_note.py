"""Our line in the notes of an adopted server: one edit, the owner kept; another's server is not touched."""

from __future__ import annotations

import pytest

from provisioner.domain.outcome import Done, Failed, Look, NotBegun
from provisioner.domain.server import UserRef
from provisioner.domain.states import JobKind, StepState
from provisioner.errors import FailureClass
from provisioner.steps.note import Note
from provisioner.steps.recipes import NOTE, SYNC, steps_of
from tests.builders import (
    ADMIN,
    CUSTOMER,
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

STEP = Note()


def look(owner: UserRef | None, notes: str) -> Look:
    driver = HandDriver(a_reading(owner=owner, notes=notes))
    return STEP.check(a_context(STEP, driver=driver, kind=JobKind.SYNC))


def test_a_customers_server_without_our_line_gets_it_with_its_old_notes_in_mind() -> None:
    outcome = look(CUSTOMER, "rack 4")

    assert isinstance(outcome, NotBegun)
    assert outcome.memo == {"notes": "rack 4"}


def test_one_edit_keeps_owner_and_notes() -> None:
    driver = HandDriver()
    row = remembering(acted(a_step_row("note"), StepState.BEGUN), {"notes": "rack 4\nspare PSU"})
    STEP.do(a_context(STEP, row, driver=driver, kind=JobKind.SYNC))

    assert driver.asked == [("edit_server", SERVER, CUSTOMER, f"rack 4\nspare PSU\n{TOKEN}")]


def test_a_line_that_is_there_is_not_written_again() -> None:
    assert isinstance(look(CUSTOMER, f"rack 4\n{TOKEN}"), Done)


@pytest.mark.parametrize("owner", [STRANGER, ADMIN, None])
def test_a_server_that_is_not_the_customers_is_not_touched(owner: UserRef | None) -> None:
    outcome = look(owner, "rack 4")

    assert isinstance(outcome, Failed)
    assert outcome.failure_class is FailureClass.DRIFT


def test_only_a_sync_that_is_asked_to_writes_notes() -> None:
    assert steps_of(JobKind.SYNC, {}) == SYNC
    assert steps_of(JobKind.SYNC, {"note": True}) == NOTE

"""How our hold on a server ends: given back in one edit, or kept out of sale with the reason in its notes."""

from dataclasses import replace
from typing import Any

import pytest

from provisioner.domain.attempt import StepRow
from provisioner.domain.outcome import Done, Failed, Look, More, NotBegun, Wait
from provisioner.domain.states import StepState
from provisioner.errors import FailureClass
from provisioner.steps.quarantine import REASON_LENGTH, Quarantine
from provisioner.steps.release import Release
from tests.builders import (
    ADMIN,
    SERVER,
    STRANGER,
    TOKEN,
    HandDriver,
    a_context,
    a_link,
    a_reading,
    acted,
    an_undo_row,
    at,
    remembering,
)

RELEASE, QUARANTINE = Release(), Quarantine()
LINE = "quarantined: the install failed"


def settling(row: StepRow, seconds: float) -> StepRow:
    """Give *row* as the end of a claim that may still take effect late."""
    return replace(row, memo={**row.memo, "undone": {**row.undone, "settled_at": at(seconds).isoformat()}})


def releasing(row: StepRow | None = None, *, now: float = 60, **reading: Any) -> Look:
    row = row or an_undo_row("release", undoes=1)
    return RELEASE.check(a_context(RELEASE, row, driver=HandDriver(a_reading(**reading)), now=at(now)))


def quarantining(row: StepRow | None = None, *, now: float = 60, reason: str | None = None, **reading: Any) -> Look:
    row = row or an_undo_row("quarantine", undoes=1)
    said = {"reason": reason} if reason is not None else {}
    return QUARANTINE.check(a_context(QUARANTINE, row, driver=HandDriver(a_reading(**reading)), now=at(now), **said))


# --- release ------------------------------------------------------------------------------------------------------


def test_a_server_that_is_ours_is_due_to_be_released() -> None:
    outcome = releasing(notes=f"rack 4\n{TOKEN}")

    assert isinstance(outcome, NotBegun)
    assert outcome.memo == {"notes": f"rack 4\n{TOKEN}"}


@pytest.mark.parametrize("notes", [f"rack 4\n{TOKEN}\nspare PSU", f"{TOKEN}\nrack 4\nspare PSU"])
def test_owner_and_token_leave_in_one_edit_and_the_old_notes_stay(notes: str) -> None:
    driver = HandDriver()
    row = remembering(acted(an_undo_row("release"), StepState.BEGUN), {"notes": notes})
    RELEASE.do(a_context(RELEASE, row, driver=driver))

    assert driver.asked == [("edit_server", SERVER, None, "rack 4\nspare PSU")]


def test_a_server_without_owner_and_token_is_released() -> None:
    assert isinstance(releasing(owner=None, notes="rack 4"), Done)


def test_a_release_touches_nothing_of_another_owner() -> None:
    outcome = releasing(owner=STRANGER, notes=TOKEN)

    assert isinstance(outcome, Done)
    assert "nothing was touched" in outcome.evidence


@pytest.mark.parametrize("notes", ["provisioner-claim-2-beef", f"{TOKEN}5", "rack 4"])
def test_a_release_touches_nothing_of_another_claim_of_our_own(notes: str) -> None:
    assert not isinstance(releasing(notes=notes), NotBegun)


def test_a_server_is_not_called_free_while_our_claim_may_still_take_effect() -> None:
    row = settling(an_undo_row("release", undoes=1), 100)
    early = releasing(row, owner=None, notes="", now=99)

    assert isinstance(early, Wait)
    assert early.until == at(100)
    assert isinstance(releasing(row, owner=STRANGER, notes="", now=99), Wait)
    assert isinstance(releasing(row, owner=None, notes="", now=100), Done)
    assert isinstance(releasing(row, owner=STRANGER, notes="", now=100), Done)


def test_a_claim_that_took_effect_late_is_released() -> None:
    assert isinstance(releasing(settling(an_undo_row("release", undoes=1), 100), now=99), NotBegun)


# --- quarantine ---------------------------------------------------------------------------------------------------


def test_first_the_reason_is_written() -> None:
    outcome = quarantining(notes=f"rack 4\n{TOKEN}")

    assert isinstance(outcome, NotBegun)
    assert outcome.memo == {"act": "note", "notes": f"rack 4\n{TOKEN}", "line": LINE}


def test_a_quarantine_keeps_the_owner_and_the_token_as_the_last_line() -> None:
    driver = HandDriver()
    memo = {"act": "note", "notes": f"{TOKEN}\nrack 4", "line": LINE}
    row = remembering(acted(an_undo_row("quarantine"), StepState.BEGUN), memo)
    QUARANTINE.do(a_context(QUARANTINE, row, driver=driver))

    assert driver.asked == [("edit_server", SERVER, ADMIN, f"rack 4\n{LINE}\n{TOKEN}")]


def test_then_the_server_is_disabled() -> None:
    row = remembering(acted(an_undo_row("quarantine")), {"act": "note"})
    outcome = quarantining(row, notes=f"{LINE}\n{TOKEN}")
    driver = HandDriver()
    assert isinstance(outcome, More)
    QUARANTINE.do(a_context(QUARANTINE, remembering(row, outcome.memo), driver=driver))

    assert driver.asked == [("disable", SERVER)]


def test_disabling_that_is_not_visible_yet_is_waited_for() -> None:
    row = remembering(acted(an_undo_row("quarantine")), {"act": "disable"})

    assert isinstance(quarantining(row, notes=f"{LINE}\n{TOKEN}"), NotBegun)


def test_a_server_with_the_reason_in_its_notes_disabled_and_settled_is_out_of_sale() -> None:
    row = remembering(acted(an_undo_row("quarantine")), {"act": "disable"})
    notes = f"{LINE}\n{TOKEN}"

    assert isinstance(quarantining(row, notes=notes, disabled=True), Done)
    assert isinstance(quarantining(row, notes=notes, disabled=True, links=(a_link("11", busy=True),)), Wait)


def test_a_reason_of_many_lines_becomes_one_short_line() -> None:
    outcome = quarantining(reason="the\ninstall\n\nfailed " + "x" * 1000)

    assert isinstance(outcome, NotBegun)
    line = outcome.memo["line"]
    assert line.startswith(LINE)
    assert "\n" not in line
    assert len(line) <= len("quarantined: ") + REASON_LENGTH


def test_a_quarantine_touches_nothing_of_another_owner() -> None:
    outcome = quarantining(owner=STRANGER)

    assert isinstance(outcome, Failed)
    assert outcome.failure_class is FailureClass.LOST


def test_a_quarantine_does_not_give_up_a_claim_that_may_still_take_effect() -> None:
    # swapped while the claim was unsure: not ours yet is not lost yet
    row = settling(an_undo_row("quarantine", undoes=1), 100)

    assert isinstance(quarantining(row, owner=None, notes="", now=99), Wait)
    assert not isinstance(quarantining(row, owner=None, notes="", now=100), Wait)


def test_a_quarantine_is_done_only_after_a_late_effect_of_the_claim() -> None:
    row = settling(remembering(acted(an_undo_row("quarantine")), {"act": "disable"}), 100)

    assert isinstance(quarantining(row, notes=f"{LINE}\n{TOKEN}", disabled=True, now=99), Wait)
    assert isinstance(quarantining(row, notes=f"{LINE}\n{TOKEN}", disabled=True, now=100), Done)


def test_neither_end_can_be_skipped() -> None:
    assert not RELEASE.policy.skippable
    assert not QUARANTINE.policy.skippable

"""Enabled first, then every switch port in turn, each asked and settled; never the port that carries the BMC."""

from dataclasses import replace
from typing import Any

import pytest

from provisioner.domain.attempt import StepRow
from provisioner.domain.engine import Looked, decide
from provisioner.domain.outcome import Done, Failed, Look, More, NotBegun, Wait
from provisioner.domain.server import Link, LinkKind
from provisioner.domain.states import StepState
from provisioner.errors import FailureClass
from provisioner.steps import recipes
from provisioner.steps.switch_port import ClosePorts, OpenPorts, ReopenPorts
from tests.builders import (
    SERVER,
    STRANGER,
    HandDriver,
    a_context,
    a_link,
    a_reading,
    a_recipe,
    a_step_row,
    acted,
    an_attempt,
    an_undo_row,
    at,
    remembering,
)

STEP, UNDO = OpenPorts(), ClosePorts()
ONE, TWO = a_link("11"), a_link("12")
BMC, PDU = a_link("19", kind=LinkKind.BMC), a_link("18", kind=LinkKind.PDU)
LINKS = (BMC, ONE, PDU, TWO)
BOTH = pytest.mark.parametrize("step", [STEP, UNDO], ids=["step", "undo"])


def look(
    row: StepRow | None = None, *, links: tuple[Link, ...] = LINKS, disabled: bool = False, **context: Any
) -> Look:
    return STEP.check(a_context(STEP, row, driver=HandDriver(a_reading(links=links, disabled=disabled)), **context))


def asked(act: str, *before: str, state: StepState = StepState.ACTING) -> StepRow:
    return remembering(acted(a_step_row("switch_port"), state), {"next": act, "asked": list(before), "disabled": True})


def busy(link: Link) -> tuple[Link, ...]:
    return tuple(replace(other, busy=True) if other.ref == link.ref else other for other in LINKS)


# --- opening ------------------------------------------------------------------------------------------------------


def test_a_disabled_server_is_enabled_before_its_ports_are_switched() -> None:
    outcome = look(disabled=True)

    assert isinstance(outcome, NotBegun)
    assert outcome.memo == {"next": "enable", "asked": [], "disabled": True}


def test_an_enabled_server_has_its_first_port_switched() -> None:
    outcome = look()

    assert isinstance(outcome, NotBegun)
    assert outcome.memo == {"next": "11", "asked": [], "disabled": False}


def test_enabling_is_proven_by_the_reading_and_the_first_port_follows() -> None:
    outcome = look(asked("enable"))

    assert isinstance(outcome, More)
    assert outcome.memo["next"] == "11"


def test_enabling_that_is_not_visible_yet_is_waited_for() -> None:
    assert isinstance(look(asked("enable"), disabled=True), NotBegun)


def test_enabling_without_an_answer_is_proven_by_the_reading_too() -> None:
    # at the last try "no effect" would fail a step whose act is plainly there
    outcome = look(asked("enable", state=StepState.UNSURE))

    assert isinstance(outcome, More)


def test_a_port_is_asked_once_the_one_before_has_settled() -> None:
    outcome = look(asked("11"))

    assert isinstance(outcome, More)
    assert (outcome.memo["next"], outcome.memo["asked"]) == ("12", ["11"])


@pytest.mark.parametrize("link", [ONE, TWO])
def test_a_port_that_has_not_settled_is_waited_for(link: Link) -> None:
    assert isinstance(look(asked("11"), links=busy(link)), Wait)


def test_asked_and_settled_is_all_the_evidence_there_is() -> None:
    outcome = look(asked("12", "11"))

    assert isinstance(outcome, Done)
    assert "asked and settled" in outcome.evidence
    assert "11" in outcome.evidence


def test_a_server_without_switch_ports_has_nothing_to_switch() -> None:
    assert isinstance(look(links=(BMC, PDU)), Done)


@pytest.mark.parametrize("state", [StepState.UNSURE, StepState.PENDING])
def test_a_port_whose_act_got_no_answer_is_asked_again(state: StepState) -> None:
    outcome = look(asked("12", "11", state=state))

    assert isinstance(outcome, NotBegun)
    assert (outcome.memo["next"], outcome.memo["asked"]) == ("12", ["11"])


def test_a_port_that_was_never_asked_is_not_proven_by_another_ports_being_busy() -> None:
    # no answer for 12; while 11 is busy for another's sake nothing of ours is seen under way
    row = asked("12", "11", state=StepState.UNSURE)
    meanwhile = Looked(look(row, links=busy(ONE)), at(10), at(10))
    row = decide(an_attempt(pos=4), a_recipe(row), meanwhile, recipes.policies()).rows[0]
    outcome = look(row)

    assert not isinstance(outcome, Done)


@pytest.mark.parametrize("disabled", [True, False])
def test_the_bmcs_link_is_never_switched(disabled: bool) -> None:  # noqa: FBT001 - a case
    driver = HandDriver(a_reading(links=LINKS, disabled=disabled))
    row = a_step_row("switch_port")
    for _ in range(10):
        outcome = STEP.check(a_context(STEP, row, driver=driver))
        if isinstance(outcome, Done):
            break
        assert isinstance(outcome, (NotBegun, More))
        row = remembering(acted(row), outcome.memo)
        STEP.do(a_context(STEP, row, driver=driver))
        driver.reading = a_reading(links=LINKS)

    enable = [("enable", SERVER)] if disabled else []
    assert driver.asked == [*enable, ("set_link", SERVER, "11", True), ("set_link", SERVER, "12", True)]


@BOTH
def test_no_port_of_a_server_that_is_not_ours_is_switched(step: OpenPorts | ClosePorts) -> None:
    outcome = step.check(a_context(step, driver=HandDriver(a_reading(owner=STRANGER))))

    assert isinstance(outcome, Failed)
    assert outcome.failure_class is FailureClass.LOST


# --- closing ------------------------------------------------------------------------------------------------------


def closing(*, was_disabled: bool, disabled: bool = False) -> tuple[list[tuple[Any, ...]], Look]:
    """Run the undo to its end on a server whose links settle at once."""
    driver = HandDriver(a_reading(links=LINKS, disabled=disabled))
    row = an_undo_row("close_ports", undoes=4)
    undone = {**row.undone, "first": {"disabled": was_disabled}}
    row = replace(row, memo={"undone": undone})
    outcome = UNDO.check(a_context(UNDO, row, driver=driver))
    while isinstance(outcome, (NotBegun, More)):
        row = remembering(acted(row), outcome.memo)
        row = replace(row, memo={**row.memo, "undone": undone})
        UNDO.do(a_context(UNDO, row, driver=driver))
        assert len(driver.asked) < 10
        driver.reading = a_reading(links=LINKS, disabled=driver.asked[-1][0] == "disable")
        outcome = UNDO.check(a_context(UNDO, row, driver=driver))
    return driver.asked, outcome


def test_the_undo_switches_every_port_off_and_not_the_bmcs() -> None:
    acts, outcome = closing(was_disabled=False)

    assert isinstance(outcome, Done)
    assert acts == [("set_link", SERVER, "11", False), ("set_link", SERVER, "12", False)]


def test_the_undo_disables_a_server_that_was_disabled_and_does_so_last() -> None:
    acts, outcome = closing(was_disabled=True)

    assert isinstance(outcome, Done)
    assert acts[-1] == ("disable", SERVER)
    assert len(acts) == 3


def test_the_undo_asks_nothing_of_ports_of_a_server_that_is_disabled() -> None:
    # the DCIM refuses to switch them; they are off
    acts, outcome = closing(was_disabled=True, disabled=True)

    assert isinstance(outcome, Done)
    assert acts == []


def test_the_undo_waits_for_a_late_effect() -> None:
    row = an_undo_row("close_ports", undoes=4)
    row = replace(row, memo={"undone": {**row.undone, "settled_at": at(100).isoformat()}})
    driver = HandDriver(a_reading(links=(BMC,)))

    assert isinstance(UNDO.check(a_context(UNDO, row, driver=driver, now=at(99))), Wait)
    assert isinstance(UNDO.check(a_context(UNDO, row, driver=driver, now=at(100))), Done)


# --- reopening, after a suspend -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("was_disabled", "is_disabled", "first"), [(False, False, "11"), (False, True, "enable"), (True, True, None)]
)
def test_what_a_suspend_closed_is_opened_again_and_nothing_else(
    was_disabled: bool,  # noqa: FBT001 - a case
    is_disabled: bool,  # noqa: FBT001 - a case
    first: str | None,
) -> None:
    row = an_undo_row("reopen_ports", undoes=0)
    row = replace(row, memo={"undone": {**row.undone, "first": {"disabled": was_disabled}}})
    reading = a_reading(links=LINKS, disabled=is_disabled)
    outcome = ReopenPorts().check(a_context(ReopenPorts(), row, driver=HandDriver(reading)))

    assert (outcome.memo["next"] if isinstance(outcome, NotBegun) else None) == first
    assert isinstance(outcome, Done) == (first is None)


def test_no_port_is_opened_while_a_late_effect_of_the_suspend_may_still_close_it() -> None:
    row = an_undo_row("reopen_ports", undoes=0)
    row = replace(row, memo={"undone": {**row.undone, "settled_at": at(100).isoformat()}})
    driver = HandDriver(a_reading(links=LINKS))
    early, later = (ReopenPorts().check(a_context(ReopenPorts(), row, driver=driver, now=at(now))) for now in (99, 100))

    assert isinstance(early, Wait)
    assert isinstance(later, NotBegun)

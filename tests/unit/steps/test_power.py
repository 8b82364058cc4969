"""Power on, proven by a list newer than the act; no flag is not off, and an old error is not ours."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from provisioner.domain.attempt import StepRow
from provisioner.domain.outcome import Done, Failed, Look, NotBegun, Unknown, Wait
from provisioner.domain.server import Power
from provisioner.domain.states import StepState
from provisioner.errors import FailureClass
from provisioner.steps.power import PowerOn
from tests.builders import (
    SERVER,
    STRANGER,
    HandDriver,
    a_context,
    a_listed_server,
    a_reading,
    a_step_row,
    a_view,
    acted,
    at,
    remembering,
)

STEP = PowerOn()


def look(
    row: StepRow,
    *,
    observed: float = 60,
    edges: dict[str, datetime] | None = None,
    driver: HandDriver | None = None,
    **listed: Any,
) -> Look:
    view = a_view(a_listed_server(**listed), observed_from=at(observed), edges=edges)
    return STEP.check(a_context(STEP, row, view=view, driver=driver, now=at(observed + 1)))


def asked(state: StepState = StepState.ACTING, **before: Any) -> StepRow:
    return remembering(acted(a_step_row("power_on"), state), before)


def test_a_server_that_is_on_needs_no_act() -> None:
    assert isinstance(look(a_step_row("power_on"), power=Power.ON), Done)


@pytest.mark.parametrize("power", [Power.OFF, Power.UNKNOWN])
def test_a_server_that_is_not_seen_on_is_asked_and_its_flags_are_remembered(power: Power) -> None:
    outcome = look(a_step_row("power_on"), power=power, power_error=True)

    assert isinstance(outcome, NotBegun)
    assert outcome.memo == {"power": power, "power_error": True}


def test_the_act_asks_for_power() -> None:
    driver = HandDriver()
    STEP.do(a_context(STEP, asked(), driver=driver))

    assert driver.asked == [("set_power", SERVER, Power.ON)]


def test_a_memo_is_taken_only_from_a_list_that_began_after_the_step_was_reached() -> None:
    row = a_step_row("power_on", arrived_at=at(60))

    assert isinstance(look(row, observed=59, power=Power.OFF), Wait)
    assert isinstance(look(row, observed=60, power=Power.OFF), NotBegun)


def test_an_act_is_judged_only_by_a_list_that_began_after_it() -> None:
    row = asked()

    assert isinstance(look(row, observed=-1, power=Power.ON), Wait)
    assert isinstance(look(row, observed=0, power=Power.ON), Done)


def test_without_any_list_nothing_is_concluded() -> None:
    outcome = STEP.check(a_context(STEP, view=None))

    assert isinstance(outcome, Wait)
    assert outcome.listed  # else nobody reads the list for it


def test_no_flag_is_not_off() -> None:
    assert isinstance(look(asked(), power=Power.UNKNOWN), Unknown)


def test_a_server_that_stays_off_shows_no_effect() -> None:
    assert isinstance(look(asked(), power=Power.OFF), NotBegun)


def test_an_error_that_came_with_our_act_is_the_servers_fault() -> None:
    outcome = look(asked(power_error=False), power=Power.OFF, power_error=True)

    assert isinstance(outcome, Failed)
    assert outcome.failure_class is FailureClass.SERVER


def test_an_error_that_was_there_before_counts_only_after_the_reading_changed() -> None:
    row = asked(power_error=True)
    old = look(row, power=Power.OFF, power_error=True)
    older = look(row, power=Power.OFF, power_error=True, edges={"power_error_rose": at(-5)})
    new = look(row, power=Power.OFF, power_error=True, edges={"power_error_rose": at(5)})

    assert isinstance(old, NotBegun)
    assert isinstance(older, NotBegun)
    assert isinstance(new, Failed)


def test_a_server_that_is_on_in_spite_of_an_error_is_on() -> None:
    assert isinstance(look(asked(power_error=False), power=Power.ON, power_error=True), Done)


def test_a_server_that_is_not_ours_is_not_switched_on() -> None:
    outcome = look(a_step_row("power_on"), driver=HandDriver(a_reading(owner=STRANGER)))

    assert isinstance(outcome, Failed)
    assert outcome.failure_class is FailureClass.LOST


def test_a_server_that_a_whole_list_lacks_is_lost() -> None:
    view = a_view(observed_from=at(60), gone_from=at(60))
    outcome = STEP.check(a_context(STEP, view=view))

    assert isinstance(outcome, Failed)
    assert outcome.failure_class is FailureClass.LOST


def test_an_act_that_is_refused_until_its_deadline_is_given_up_by_a_list_of_after_it() -> None:
    row = replace(a_step_row(STEP.name), arrived_at=at(0), deadline_at=at(60.5), refusals=2)

    assert isinstance(look(row, observed=60, power=Power.OFF), Wait)
    assert isinstance(look(row, observed=61, power=Power.OFF), NotBegun)
    assert isinstance(look(replace(row, refusals=0), observed=60, power=Power.OFF), NotBegun)

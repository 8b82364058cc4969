"""The install wipes disks: begun once, seen to run and to end, adopted from nobody, repeated if it never began."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from provisioner.domain.attempt import StepRow
from provisioner.domain.outcome import Done, Failed, Look, NotBegun, Unknown, Wait
from provisioner.domain.server import UserRef
from provisioner.domain.states import StepState
from provisioner.errors import FailureClass
from provisioner.steps.install import LISTS_NEEDED, CancelInstall, InstallOs
from tests.builders import (
    PASSWORD,
    SERVER,
    STRANGER,
    TEMPLATE,
    HandDriver,
    HandProber,
    a_context,
    a_listed_server,
    a_package,
    a_reading,
    a_step_row,
    a_view,
    acted,
    an_undo_row,
    at,
    remembering,
)

STEP, UNDO = InstallOs(), CancelInstall()
SETTLE = STEP.policy.settle.total_seconds()
IP = "10.10.0.15"
OLD, NEW = "SHA256:old", "SHA256:new"
IN_TIME = (5, 30, 60, 90)  #: lists between the act and its settle time


def look(
    row: StepRow,
    *,
    observed: float = 60,
    edges: dict[str, datetime] | None = None,
    lists: Sequence[float] = (),
    key: str | None = None,
    driver: HandDriver | None = None,
    probe: str = "ssh:22",
    **listed: Any,
) -> Look:
    view = a_view(
        a_listed_server(**listed), observed_from=at(observed), edges=edges, seen_since=[at(start) for start in lists]
    )
    prober = HandProber(keys={IP: key} if key else {})
    package = a_package(probe=probe)
    return STEP.check(
        a_context(STEP, row, view=view, prober=prober, package=package, driver=driver, now=at(observed + 1))
    )


def begun(state: StepState = StepState.ACTING, *, seen: dict[str, Any] | None = None, **before: Any) -> StepRow:
    memo = {"operation_failed": False, "host_key": None, **before}
    return remembering(acted(a_step_row("install_os"), state), memo, seen=seen)


# --- before the act -----------------------------------------------------------------------------------------------


def test_before_the_act_the_failure_flag_and_the_old_key_are_remembered() -> None:
    outcome = look(a_step_row("install_os"), operation_failed=True, key=OLD)

    assert isinstance(outcome, NotBegun)
    assert outcome.memo == {"operation_failed": True, "host_key": OLD}


def test_the_memo_is_taken_only_from_a_list_that_began_after_the_step_was_reached() -> None:
    row = a_step_row("install_os", arrived_at=at(60))

    assert isinstance(look(row, observed=59), Wait)
    assert isinstance(look(row, observed=60), NotBegun)


@pytest.mark.parametrize("flag", ["installing", "diagnosing"])
def test_an_operation_that_was_up_before_we_began_is_never_adopted(flag: str) -> None:
    row = a_step_row("install_os")
    flags: dict[str, Any] = {flag: True}
    while_up = look(row, **flags)
    afterwards = look(row, observed=900, edges={"install_rose": at(-30), "install_fell": at(600)})

    assert isinstance(while_up, Wait)
    assert "up" not in while_up.seen
    assert isinstance(afterwards, NotBegun)


def test_a_server_that_is_not_ours_is_not_installed() -> None:
    outcome = look(a_step_row("install_os"), driver=HandDriver(a_reading(owner=STRANGER)))

    assert isinstance(outcome, Failed)
    assert outcome.failure_class is FailureClass.LOST


def test_the_act_starts_the_ordered_system_with_the_services_password() -> None:
    driver = HandDriver()
    STEP.do(a_context(STEP, begun(StepState.BEGUN), driver=driver))

    assert driver.asked == [("install", SERVER, TEMPLATE, PASSWORD)]


# --- seen to run and to end ---------------------------------------------------------------------------------------


def test_a_flag_that_is_up_is_waited_for_and_remembered() -> None:
    outcome = look(begun(), installing=True)

    assert isinstance(outcome, Wait)
    assert outcome.seen == {"up": True}
    assert outcome.listed
    assert not outcome.soon


@pytest.mark.parametrize("state", [StepState.ACTING, StepState.UNSURE])
def test_a_flag_that_was_seen_and_is_gone_is_an_install_that_ended(state: StepState) -> None:
    assert isinstance(look(begun(state, seen={"up": True})), Done)


def test_a_rise_and_fall_between_two_touches_is_known_from_the_list() -> None:
    assert isinstance(look(begun(), edges={"install_rose": at(10), "install_fell": at(40)}), Done)


def test_a_rise_of_before_our_act_proves_nothing() -> None:
    outcome = look(begun(), edges={"install_rose": at(-600), "install_fell": at(-300)})

    assert not isinstance(outcome, Done)


def test_a_list_from_before_the_act_proves_nothing() -> None:
    assert isinstance(look(begun(seen={"up": True}), observed=-1), Wait)


def test_a_failure_that_rose_after_our_act_is_ours() -> None:
    outcome = look(begun(), operation_failed=True)

    assert isinstance(outcome, Failed)
    assert outcome.failure_class is FailureClass.SERVER


def test_a_failure_that_was_up_before_is_not_ours() -> None:
    outcome = look(begun(operation_failed=True), operation_failed=True)

    assert not isinstance(outcome, Failed)


@pytest.mark.parametrize("edge", ["failed_fell", "failed_rose"])
def test_a_failure_that_was_up_before_is_ours_once_it_was_seen_to_fall(edge: str) -> None:
    row = begun(operation_failed=True)
    before = look(row, operation_failed=True, edges={edge: at(-5)})
    after = look(row, operation_failed=True, edges={edge: at(5)})

    assert not isinstance(before, Failed)
    assert isinstance(after, Failed)


def test_a_failure_while_the_flag_is_up_is_not_judged_yet() -> None:
    assert isinstance(look(begun(), installing=True, operation_failed=True), Wait)


# --- never seen ---------------------------------------------------------------------------------------------------


def test_an_install_that_is_not_visible_yet_is_waited_for_up_to_the_grace() -> None:
    outcome = look(begun(), observed=SETTLE - 1, lists=IN_TIME)

    assert isinstance(outcome, Wait)
    assert outcome.until == at(SETTLE)
    assert outcome.soon, "three lists must be read before the settle time"


def test_an_install_never_seen_is_not_done_however_long_ago() -> None:
    for seconds in (SETTLE, 3_600, 86_400):
        assert not isinstance(look(begun(), observed=seconds, lists=IN_TIME), Done)
        assert not isinstance(look(begun(host_key=OLD), observed=seconds, lists=IN_TIME, key=NEW), Done)


def test_a_host_that_went_silent_and_came_back_with_another_key_is_the_second_witness() -> None:
    row = begun(host_key=OLD)
    silent = look(row, key=None)
    assert isinstance(silent, Unknown)
    row = replace(row, memo={**row.memo, "seen": dict(silent.seen)})

    assert isinstance(look(row, observed=3_600, key=NEW), Done)
    assert not isinstance(look(row, observed=3_600, key=OLD), Done)


def test_it_never_began_when_three_whole_lists_in_time_show_no_start() -> None:
    outcome = look(begun(host_key=OLD), observed=SETTLE, lists=(30, 60, 90), key=OLD)

    assert LISTS_NEEDED == 3
    assert isinstance(outcome, NotBegun)


@pytest.mark.parametrize(
    "lists",
    [
        (),
        IN_TIME[:2],
        (-10, -5, 30, 60),
        (30, 60, SETTLE + 1, SETTLE + 5),
        (60, 90, 110),
        (10, 20, 70, 110),
        (20, 40, 60),
    ],
    ids=[
        "none",
        "two",
        "before the act",
        "after the settle time",
        "a gap at first",
        "a gap in between",
        "a gap at last",
    ],
)
def test_with_a_gap_in_the_readings_it_is_unknown(lists: Sequence[float]) -> None:
    assert isinstance(look(begun(), observed=SETTLE + 60, lists=lists), Unknown)


@pytest.mark.parametrize("edge", ["install_fell", "power_rose", "power_fell", "failed_rose", "failed_fell"])
def test_anything_that_moved_is_a_trace_of_a_start(edge: str) -> None:
    moved = look(begun(), observed=SETTLE, lists=IN_TIME, edges={edge: at(20)})
    old = look(begun(), observed=SETTLE, lists=IN_TIME, edges={edge: at(-20)})

    assert isinstance(moved, Unknown)
    assert isinstance(old, NotBegun)


def test_a_host_that_is_silent_is_a_trace_of_a_start() -> None:
    row = begun(host_key=OLD, seen={"silent": True})

    assert isinstance(look(row, observed=SETTLE, lists=IN_TIME), Unknown)


def test_another_host_key_is_a_trace_of_a_start() -> None:
    # a fast install between two looks: no silence was seen, yet the old system is gone
    outcome = look(begun(host_key=OLD), observed=SETTLE, lists=IN_TIME, key=NEW)

    assert isinstance(outcome, Unknown)


def test_without_a_host_key_three_lists_are_enough() -> None:
    assert isinstance(look(begun(), observed=SETTLE, lists=IN_TIME, probe="tcp:22"), NotBegun)


# --- late, and again ----------------------------------------------------------------------------------------------


def test_a_late_install_of_ours_is_waited_for_and_not_called_anothers() -> None:
    row = begun(StepState.PENDING)  # no effect was seen, it was about to begin again
    outcome = look(row, observed=SETTLE + 60, installing=True)

    assert isinstance(outcome, Wait)
    assert outcome.seen == {"up": True}


@pytest.mark.parametrize(
    "witness",
    [
        {"seen": {"up": True}},
        {"edges": {"install_rose": at(SETTLE + 10), "install_fell": at(SETTLE + 600)}},
    ],
    ids=["seen up", "rose and fell"],
)
def test_a_late_install_of_ours_that_ended_is_not_begun_a_second_time(witness: dict[str, Any]) -> None:
    row = begun(StepState.PENDING, seen=witness.get("seen"))
    outcome = look(row, observed=SETTLE + 700, edges=witness.get("edges"))

    assert isinstance(outcome, Done)


def test_an_install_that_never_began_is_begun_again_with_a_new_memo() -> None:
    row = begun(StepState.PENDING, host_key=OLD)
    outcome = look(row, observed=SETTLE + 60, lists=IN_TIME, key=OLD, operation_failed=False)

    assert isinstance(outcome, NotBegun)
    assert outcome.memo == {"operation_failed": False, "host_key": OLD}


def test_a_retry_of_an_install_that_failed_does_not_see_its_own_old_failure() -> None:
    # the memo was archived: what is up now was up before
    row = replace(begun(StepState.PENDING), memo={"archive": [{"before": {"operation_failed": False}}]})
    outcome = look(row, observed=900, operation_failed=True, edges={"failed_rose": at(600), "install_rose": at(10)})

    assert isinstance(outcome, NotBegun)
    assert outcome.memo["operation_failed"] is True


# --- undo ---------------------------------------------------------------------------------------------------------


def cancelling(
    row: StepRow | None = None, *, observed: float = 60, owner: UserRef | None = None, **listed: Any
) -> Look:
    view = a_view(a_listed_server(**listed), observed_from=at(observed))
    driver = HandDriver(a_reading(owner=owner) if owner else None)
    row = row or an_undo_row("cancel_install", undoes=6)
    return UNDO.check(a_context(UNDO, row, view=view, driver=driver, now=at(observed + 1)))


def settling(row: StepRow, seconds: float) -> StepRow:
    return replace(row, memo={"undone": {**row.undone, "settled_at": at(seconds).isoformat()}})


def test_the_undo_cancels_an_install_that_runs() -> None:
    driver = HandDriver()
    assert isinstance(cancelling(installing=True), NotBegun)

    UNDO.do(a_context(UNDO, an_undo_row("cancel_install"), driver=driver))

    assert driver.asked == [("cancel_operation", SERVER)]


def test_the_undo_is_done_when_the_flag_was_seen_fallen() -> None:
    row = acted(an_undo_row("cancel_install"))

    assert isinstance(cancelling(row, installing=True), NotBegun)
    assert isinstance(cancelling(row), Done)
    assert isinstance(cancelling(row, observed=-1), Wait)


def test_the_undo_waits_until_an_install_can_no_longer_begin_late() -> None:
    row = settling(an_undo_row("cancel_install", undoes=6), 100)
    early = cancelling(row, observed=99)

    assert isinstance(early, Wait)
    assert (early.until, early.listed) == (at(100), True)
    assert isinstance(cancelling(row, observed=100), Done)
    assert isinstance(cancelling(row, observed=99, installing=True), NotBegun)


def test_the_undo_touches_no_install_of_another_owner() -> None:
    outcome = cancelling(installing=True, owner=STRANGER)

    assert isinstance(outcome, Failed)
    assert outcome.failure_class is FailureClass.LOST


def test_the_undo_looks_at_a_list_that_began_after_it_was_reached() -> None:
    assert isinstance(cancelling(an_undo_row("cancel_install", arrived_at=at(61))), Wait)


def test_an_install_is_known_to_wipe() -> None:
    assert STEP.policy.wipes
    assert STEP.policy.undo == UNDO.name

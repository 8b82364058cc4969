"""As many addresses as promised, one act a touch; an act whose reply was lost is found again by the rows before."""

from dataclasses import replace
from typing import Any

import pytest

from provisioner.domain.attempt import StepRow
from provisioner.domain.outcome import AddressesRead, Done, Failed, Look, More, NotBegun, Wait
from provisioner.domain.server import AddressRow, Family
from provisioner.domain.states import StepState
from provisioner.errors import FailureClass, NoSuchObject, PoolEmpty
from provisioner.steps.address import AssignAddress, DropAddresses
from tests.builders import (
    HOSTNAME,
    SERVER,
    STRANGER,
    HandDriver,
    HandProber,
    a_context,
    a_package,
    a_reading,
    a_step_row,
    acted,
    an_address,
    an_undo_row,
    at,
    remembering,
)

STEP, UNDO = AssignAddress(), DropAddresses()
MAIN = an_address("901", main=True, ip="10.10.0.15")
SECOND, THIRD, FOREIGN = (an_address(ref, ip=f"198.51.100.{ref[1:]}") for ref in ("902", "903", "950"))
V6 = an_address("961", ip="2001:db8::1", family=Family.IPV6)


def look(*addresses: AddressRow, row: StepRow | None = None, prober: HandProber | None = None, **package: Any) -> Look:
    driver = HandDriver(a_reading(addresses=addresses))
    return STEP.check(a_context(STEP, row, driver=driver, prober=prober, package=a_package(**package)))


def after(
    act: dict[str, object], *rows: str, state: StepState = StepState.ACTING, first: list[str] | None = None
) -> StepRow:
    row = remembering(acted(a_step_row("address"), state), {**act, "rows": list(rows)})
    return replace(row, memo={**row.memo, "first": {"rows": first}}) if first is not None else row


# --- how many -----------------------------------------------------------------------------------------------------


def test_the_main_address_counts() -> None:
    outcome = look(MAIN, ipv4=1)

    assert isinstance(outcome, Done)
    assert outcome.records == (AddressesRead((MAIN,)),)


def test_a_missing_address_is_added_and_the_rows_before_are_remembered() -> None:
    outcome = look(MAIN, ipv4=2)

    assert isinstance(outcome, NotBegun)
    assert outcome.memo == {"add": "ipv4", "rows": ["901"]}


def test_one_address_is_added_a_touch() -> None:
    first = look(MAIN, SECOND, row=after({"add": "ipv4"}, "901"), ipv4=3)

    assert isinstance(first, More)
    assert first.memo == {"add": "ipv4", "rows": ["901", "902"]}


def test_families_are_counted_apart() -> None:
    outcome = look(MAIN, SECOND, ipv4=2, ipv6=1)

    assert isinstance(outcome, NotBegun)
    assert outcome.memo["add"] == "ipv6"
    assert isinstance(look(MAIN, SECOND, V6, ipv4=2, ipv6=1), Done)


def test_an_address_is_taken_with_our_domain() -> None:
    driver = HandDriver()
    row = after({"add": "ipv6"}, "901", state=StepState.BEGUN)
    outcome = STEP.do(a_context(STEP, row, driver=driver))

    assert driver.asked == [("add_address", SERVER, Family.IPV6, HOSTNAME)]
    assert outcome.token == {"row": "999", "ip": "198.51.100.99"}


def test_a_new_row_that_lacks_our_domain_gets_it() -> None:
    nameless = replace(SECOND, domain="free.ds")
    outcome = look(MAIN, nameless, row=after({"add": "ipv4"}, "901"), ipv4=2)

    assert isinstance(outcome, More)
    assert outcome.memo["name"] == "902"


def test_a_server_that_had_more_than_promised_keeps_its_own() -> None:
    outcome = look(MAIN, SECOND, THIRD, row=remembering(a_step_row("address"), {"rows": ["901", "902", "903"]}), ipv4=1)

    assert isinstance(outcome, Done)


@pytest.mark.parametrize("addresses", [(), (MAIN,), (MAIN, SECOND, THIRD)])
def test_a_package_that_asks_for_no_address_before_the_install_gets_none(addresses: tuple[AddressRow, ...]) -> None:
    assert isinstance(look(*addresses, ipv4=2, ipv6=1, address_before_install=False), Done)


def test_a_package_that_asks_for_no_address_is_still_stopped_on_a_server_that_is_not_ours() -> None:
    package = a_package(address_before_install=False)
    outcome = STEP.check(a_context(STEP, driver=HandDriver(a_reading(owner=STRANGER)), package=package))

    assert isinstance(outcome, Failed)
    assert outcome.failure_class is FailureClass.LOST


# --- replies that were lost ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [StepState.UNSURE, StepState.ACTING, StepState.PENDING])
def test_a_row_that_appears_after_a_lost_reply_is_ours_and_no_second_is_taken(state: StepState) -> None:
    assert isinstance(look(MAIN, SECOND, row=after({"add": "ipv4"}, "901", state=state), ipv4=2), Done)


def test_a_lost_reply_without_a_new_row_shows_no_effect() -> None:
    outcome = look(MAIN, row=after({"add": "ipv4"}, "901", state=StepState.UNSURE), ipv4=2)

    assert isinstance(outcome, NotBegun)


def test_a_surplus_of_two_late_effects_is_dropped_the_newest_first() -> None:
    row = after({"add": "ipv4"}, "901", state=StepState.UNSURE, first=["901"])
    outcome = look(MAIN, SECOND, THIRD, row=row, ipv4=2)

    assert isinstance(outcome, More)
    assert outcome.memo["row"] == "903"
    assert "add" not in outcome.memo


def test_dropping_names_the_remembered_row() -> None:
    driver = HandDriver()
    STEP.do(a_context(STEP, after({"row": "903"}, "901", "902", "903", state=StepState.BEGUN), driver=driver))

    assert driver.asked == [("delete_address", SERVER, "903")]


def test_a_row_that_is_gone_already_counts_as_dropped() -> None:
    driver = HandDriver()
    driver.refuse = NoSuchObject("no such row")
    outcome = STEP.do(a_context(STEP, after({"row": "903"}, "901", state=StepState.BEGUN), driver=driver))

    assert outcome.token == {"gone": True}


def test_a_row_of_the_servers_own_is_never_surplus() -> None:
    row = after({"add": "ipv4"}, "901", "902", state=StepState.UNSURE, first=["901", "902"])
    outcome = look(MAIN, SECOND, THIRD, row=row, ipv4=2)

    assert isinstance(outcome, More)
    assert outcome.memo["row"] == "903"


def test_a_surplus_whose_drop_had_no_effect_is_still_surplus() -> None:
    row = after({"row": "903"}, "901", "902", "903", state=StepState.UNSURE, first=["901"])
    outcome = look(MAIN, SECOND, THIRD, row=row, ipv4=2)

    assert isinstance(outcome, NotBegun)
    assert outcome.memo["row"] == "903"


# --- whose fault --------------------------------------------------------------------------------------------------


def test_an_empty_pool_is_the_places_fault() -> None:
    assert PoolEmpty.failure_class is FailureClass.SITE
    assert STEP.policy.exhausted is FailureClass.SITE


def test_a_new_address_that_answers_already_is_in_use_somewhere() -> None:
    prober = HandProber(answering={SECOND.ip})
    outcome = look(MAIN, SECOND, row=after({"add": "ipv4"}, "901"), prober=prober, ipv4=2)

    assert isinstance(outcome, Failed)
    assert outcome.failure_class is FailureClass.SITE
    assert SECOND.ip in outcome.reason


def test_the_servers_own_address_may_answer() -> None:
    prober = HandProber(answering={MAIN.ip})

    assert isinstance(look(MAIN, ipv4=1, prober=prober), Done)
    assert isinstance(look(MAIN, SECOND, row=after({"add": "ipv4"}, "901"), prober=prober, ipv4=2), Done)
    assert MAIN.ip not in [ip for ip, _ in prober.asked]


def test_an_ipv6_address_is_not_probed() -> None:
    prober = HandProber(answering={V6.ip})
    outcome = look(MAIN, V6, row=after({"add": "ipv6"}, "901"), prober=prober, ipv4=1, ipv6=1)

    assert isinstance(outcome, Done)
    assert prober.asked == []


@pytest.mark.parametrize("step", [STEP, UNDO], ids=["step", "undo"])
def test_a_server_that_is_not_ours_gets_and_loses_no_address(step: AssignAddress | DropAddresses) -> None:
    outcome = step.check(a_context(step, driver=HandDriver(a_reading(owner=STRANGER))))

    assert isinstance(outcome, Failed)
    assert outcome.failure_class is FailureClass.LOST


# --- undo ---------------------------------------------------------------------------------------------------------


def undo(*addresses: AddressRow, first: list[str], row: StepRow | None = None, **context: Any) -> Look:
    row = row or an_undo_row("drop_addresses", undoes=3)
    row = replace(
        row, memo={**row.memo, "undone": {**row.undone, "first": {"rows": first}, **context.pop("undone", {})}}
    )
    return UNDO.check(a_context(UNDO, row, driver=HandDriver(a_reading(addresses=addresses)), **context))


def test_the_undo_drops_what_was_not_there_before_the_first_act() -> None:
    outcome = undo(MAIN, SECOND, THIRD, first=["901", "902"])

    assert isinstance(outcome, NotBegun)
    assert outcome.memo == {"row": "903"}


def test_the_undo_drops_one_row_a_touch() -> None:
    row = remembering(acted(an_undo_row("drop_addresses", undoes=3)), {"row": "903"})
    row = replace(row, memo={**row.memo, "undone": an_undo_row().undone})
    outcome = undo(MAIN, SECOND, first=["901"], row=row)

    assert isinstance(outcome, More)
    assert outcome.memo == {"row": "902"}


def test_the_undo_keeps_the_servers_own_rows() -> None:
    assert isinstance(undo(MAIN, SECOND, first=["901", "902"]), Done)


def test_the_undo_waits_for_an_address_that_may_still_come() -> None:
    pending = {"settled_at": at(100).isoformat()}

    assert isinstance(undo(MAIN, first=["901"], undone=pending, now=at(99)), Wait)
    assert isinstance(undo(MAIN, first=["901"], undone=pending, now=at(100)), Done)
    assert isinstance(undo(MAIN, SECOND, first=["901"], undone=pending, now=at(99)), NotBegun)


def test_the_undo_does_not_call_a_server_free_whose_first_row_is_ours() -> None:
    # it had no row, ours became the main one; with our host name on it nobody could ever sell it again
    outcome = undo(replace(SECOND, main=True), first=[])

    assert not isinstance(outcome, Done)


def test_the_undo_marks_a_main_row_that_is_ours_as_a_free_servers_last_of_all() -> None:
    # the DCIM never deletes a main address
    main = replace(SECOND, main=True)
    first = undo(main, THIRD, first=[])
    row = remembering(acted(an_undo_row("drop_addresses", undoes=3)), {"row": "903"})
    then = undo(main, first=[], row=row)
    assert isinstance(first, NotBegun)
    assert isinstance(then, More)
    driver = HandDriver()
    UNDO.do(a_context(UNDO, remembering(row, then.memo), driver=driver))

    assert (first.memo, then.memo) == ({"row": "903"}, {"name": "902"})
    assert driver.asked == [("set_domain", SERVER, "902", "free.ds")]
    assert isinstance(undo(replace(main, domain="free.ds"), first=[], row=remembering(row, then.memo)), Done)


def test_the_undo_does_not_call_a_row_marked_that_is_not() -> None:
    row = remembering(acted(an_undo_row("drop_addresses", undoes=3)), {"name": "902"})

    assert isinstance(undo(replace(SECOND, main=True), first=[], row=row), NotBegun)

"""The point of no return: all that was promised is read back first, then the owner changes once."""

from dataclasses import replace
from typing import Any

import pytest

from provisioner.domain.outcome import Done, Failed, HandedOver, Look, NotBegun
from provisioner.domain.server import AddressRow, Family, UserRef
from provisioner.domain.service import Package
from provisioner.domain.states import StepState
from provisioner.errors import FailureClass
from provisioner.steps.hand_over import HandOver
from tests.builders import (
    CUSTOMER,
    HOSTNAME,
    SERVER,
    STRANGER,
    TOKEN,
    HandDriver,
    a_context,
    a_package,
    a_reading,
    a_step_row,
    acted,
    an_address,
    remembering,
)

STEP = HandOver()
MAIN = an_address("901", main=True, ip="10.10.0.15")


def look(
    state: StepState = StepState.PENDING,
    *,
    package: Package | None = None,
    customer: UserRef | None = CUSTOMER,
    **reading: Any,
) -> Look:
    row = a_step_row("hand_over") if state is StepState.PENDING else acted(a_step_row("hand_over"), state)
    driver = HandDriver(a_reading(**reading))
    return STEP.check(a_context(STEP, row, driver=driver, customer=customer, package=package or a_package()))


def test_a_server_that_is_as_promised_is_handed_over_with_its_notes() -> None:
    outcome = look(notes=f"rack 4\n{TOKEN}")

    assert isinstance(outcome, NotBegun)
    assert outcome.memo == {"notes": f"rack 4\n{TOKEN}"}


def test_one_edit_makes_the_customer_its_owner_and_our_token_stays() -> None:
    driver = HandDriver()
    row = remembering(acted(a_step_row("hand_over"), StepState.BEGUN), {"notes": f"rack 4\n{TOKEN}"})
    STEP.do(a_context(STEP, row, driver=driver))

    assert driver.asked == [("edit_server", SERVER, CUSTOMER, f"rack 4\n{TOKEN}")]


@pytest.mark.parametrize("state", [StepState.PENDING, StepState.ACTING, StepState.UNSURE])
def test_the_server_is_the_customers_when_that_is_read_back(state: StepState) -> None:
    outcome = look(state, owner=CUSTOMER)

    assert isinstance(outcome, Done)
    (record,) = outcome.records
    assert isinstance(record, HandedOver)
    assert record.reading.owner == CUSTOMER
    assert record.ip == MAIN.ip


@pytest.mark.parametrize("domain", ["free.ds", "", "other.example.net", f"x{HOSTNAME}"])
def test_an_address_that_lost_its_domain_stops_the_hand_over(domain: str) -> None:
    outcome = look(addresses=(MAIN, an_address("902", domain=domain)))

    assert isinstance(outcome, Failed)
    assert outcome.failure_class is FailureClass.SERVER


@pytest.mark.parametrize("domain", [HOSTNAME.upper(), f"{HOSTNAME}."])
def test_a_domain_is_the_same_in_any_case_and_with_a_final_dot(domain: str) -> None:
    assert isinstance(look(addresses=(replace(MAIN, domain=domain),)), NotBegun)


@pytest.mark.parametrize(
    ("addresses", "package"),
    [
        ((), a_package(ipv4=1)),
        ((MAIN,), a_package(ipv4=2)),
        ((MAIN, an_address("902")), a_package(ipv4=1, ipv6=1)),
    ],
    ids=["none left", "one too few", "no IPv6"],
)
def test_a_server_with_fewer_addresses_than_promised_is_not_handed_over(
    addresses: tuple[AddressRow, ...], package: Package
) -> None:
    assert isinstance(look(addresses=addresses, package=package), Failed)


def test_all_promised_addresses_are_there() -> None:
    addresses = (MAIN, an_address("902"), an_address("961", family=Family.IPV6, ip="2001:db8::1"))

    assert isinstance(look(addresses=addresses, package=a_package(ipv4=2, ipv6=1)), NotBegun)


def test_addresses_that_the_package_does_not_ask_for_are_not_missed() -> None:
    package = a_package(ipv4=2, ipv6=1, address_before_install=False)

    assert isinstance(look(addresses=(), package=package), NotBegun)


def test_a_server_that_was_disabled_again_is_not_handed_over() -> None:
    assert isinstance(look(disabled=True), Failed)


def test_a_customer_that_nobody_knows_gets_nothing() -> None:
    outcome = look(customer=None)

    assert isinstance(outcome, Failed)
    assert outcome.failure_class is FailureClass.INPUT


def test_a_server_that_somebody_took_before_the_hand_over_began_is_lost() -> None:
    outcome = look(owner=STRANGER)

    assert isinstance(outcome, Failed)
    assert outcome.failure_class is FailureClass.LOST


@pytest.mark.parametrize("state", [StepState.ACTING, StepState.UNSURE])
def test_a_server_that_somebody_took_after_the_hand_over_began_has_drifted(state: StepState) -> None:
    outcome = look(state, owner=STRANGER)

    assert isinstance(outcome, Failed)
    assert outcome.failure_class is FailureClass.DRIFT


def test_a_hand_over_that_is_not_visible_yet_shows_no_effect() -> None:
    assert isinstance(look(StepState.UNSURE), NotBegun)


def test_a_hand_over_can_be_neither_skipped_nor_undone() -> None:
    assert not STEP.policy.skippable
    assert STEP.policy.undo is None

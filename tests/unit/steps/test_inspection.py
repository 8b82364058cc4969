"""A quarantined server goes back to stock only when nothing of an old order is left and no flag speaks against it."""

from typing import Any

import pytest

from provisioner.domain.outcome import Done, Failed, Look, Wait
from provisioner.domain.server import Power
from provisioner.errors import FailureClass
from provisioner.steps.inspection import Inspect
from tests.builders import (
    STRANGER,
    T0,
    HandDriver,
    a_context,
    a_link,
    a_listed_server,
    a_reading,
    a_step_row,
    a_view,
    an_address,
    at,
)

STEP = Inspect()
FREE = (an_address(main=True, ip="10.10.0.15", domain="FREE.ds."),)


def inspecting(
    *, failed_step: str = "", edges: dict[str, Any] | None = None, listed: dict[str, Any] | None = None, **reading: Any
) -> Look:
    view = a_view(a_listed_server(**(listed or {})), observed_from=at(30), edges=edges or {})
    driver = HandDriver(a_reading(**{"addresses": FREE, **reading}))
    params = {"since": T0.isoformat(), "failed_step": failed_step}
    return STEP.check(
        a_context(STEP, a_step_row("inspect", pos=0), driver=driver, view=view, now=at(60), params=params)
    )


@pytest.mark.parametrize("reading", [{"disabled": True}, {"disabled": False}])
def test_a_clean_server_may_be_sold_enabled_or_not_powered_or_not(reading: dict[str, Any]) -> None:
    assert isinstance(inspecting(listed={"power": Power.UNKNOWN}, **reading), Done)


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ({"blocked": True}, "it is blocked"),
        ({"diagnosing": True}, "diagnostics are running"),
        ({"installing": True}, "an install is running"),
        ({"power_error": True}, "its power can't be read or switched"),
        ({"ill": "its row has no type"}, "its row has no type"),
    ],
)
def test_a_flag_of_the_list_speaks_against_it(flag: dict[str, Any], sentence: str) -> None:
    outcome = inspecting(listed=flag)

    assert outcome == Failed(FailureClass.SERVER, sentence)


def test_a_failure_that_rose_while_it_was_ours_counts() -> None:
    outcome = inspecting(listed={"operation_failed": True}, edges={"failed_rose": at(10)})

    assert outcome == Failed(FailureClass.SERVER, "its last operation failed")


@pytest.mark.parametrize(
    ("failed_step", "rose"),
    [("install_os", 10), ("", -10)],
    ids=["it is in quarantine for that very failure", "it was up before we came, and did not bar sale"],
)
def test_a_failure_that_is_explained_does_not_count(failed_step: str, rose: float) -> None:
    outcome = inspecting(listed={"operation_failed": True}, edges={"failed_rose": at(rose)}, failed_step=failed_step)

    assert isinstance(outcome, Done)


def test_all_that_speaks_against_it_is_said_at_once() -> None:
    rows = (an_address("901", main=True, domain="old.example.net", ip="192.0.2.1"), an_address("902", ip="192.0.2.2"))
    outcome = inspecting(addresses=rows, faulty=True)

    assert isinstance(outcome, Failed)
    assert outcome.reason == (
        "address 192.0.2.1 carries old.example.net; address 192.0.2.2 carries srv1.example.net; "
        "it has addresses beyond its main one: 192.0.2.2; it is marked faulty"
    )


def test_a_link_that_has_not_settled_is_waited_for() -> None:
    assert isinstance(inspecting(links=(a_link("11", busy=True),)), Wait)


def test_a_server_that_is_not_ours_is_lost() -> None:
    outcome = inspecting(owner=STRANGER)

    assert isinstance(outcome, Failed)
    assert outcome.failure_class is FailureClass.LOST


def test_a_list_of_before_the_step_is_not_judged_by() -> None:
    view = a_view(observed_from=at(-5))

    assert isinstance(STEP.check(a_context(STEP, a_step_row("inspect", pos=0), view=view, now=at(60))), Wait)


def test_it_never_acts() -> None:
    with pytest.raises(AssertionError):
        STEP.do(a_context(STEP, a_step_row("inspect", pos=0)))

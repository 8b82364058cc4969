"""What all steps share: the context and the age of what it shows, notes by the line, lists that are new enough."""

from dataclasses import replace

import pytest

from provisioner.domain.outcome import Failed, More, Unknown, Wait
from provisioner.domain.server import ServerReading
from provisioner.domain.states import StepState
from provisioner.errors import FailureClass, Unusable
from provisioner.steps.address import AssignAddress, DropAddresses
from provisioner.steps.base import Step, not_ours, owned_by_us, unsettled, with_line, without_line
from provisioner.steps.domain import AssignDomain, FreeDomain
from provisioner.steps.listing import fell_since, rose_since, stale
from provisioner.steps.power import PowerOn
from provisioner.steps.quarantine import Quarantine
from provisioner.steps.switch_port import ClosePorts, OpenPorts
from tests.builders import (
    ADMIN,
    STRANGER,
    TOKEN,
    HandDriver,
    a_context,
    a_listed_server,
    a_package,
    a_reading,
    a_step_row,
    a_view,
    acted,
    an_address,
    an_undo_row,
    at,
    remembering,
)

STEP = PowerOn()


# --- readings -----------------------------------------------------------------------------------------------------


def test_a_server_is_read_once_a_look() -> None:
    driver = HandDriver()
    ctx = a_context(STEP, driver=driver)

    assert ctx.read() is ctx.read()
    assert driver.looks == 1


def test_a_look_is_as_old_as_the_oldest_that_it_rests_on() -> None:
    ctx = a_context(STEP, view=a_view(observed_from=at(10)), now=at(60))

    ctx.read()
    assert ctx.reading_at == at(60)
    ctx.listed()
    assert ctx.reading_at == at(10)
    ctx.probed()
    assert ctx.reading_at == at(10)


def test_a_read_counts_from_before_its_call() -> None:
    driver = HandDriver()
    ctx = a_context(STEP, driver=driver, now=at(60))
    slow = driver.reading

    def read(*_: object, **__: object) -> object:
        ctx.clock.advance(30)  # type: ignore[attr-defined]  # a hand clock
        return slow

    driver.read = read  # type: ignore[method-assign, assignment]  # slower
    ctx.read()

    assert ctx.reading_at == at(60)


def test_a_read_tells_the_main_address_of_the_last_list() -> None:
    driver = HandDriver()

    a_context(STEP, driver=driver, view=a_view(a_listed_server(ip="192.0.2.9"))).read()

    assert driver.main_ip == "192.0.2.9"


def test_a_look_at_nothing_rests_on_nothing() -> None:
    assert a_context(STEP).reading_at is None


def test_without_a_list_there_is_no_view() -> None:
    ctx = a_context(STEP, view=None)

    with pytest.raises(Unusable):
        ctx.listed()
    assert ctx.ip == ""


def test_the_address_is_the_lists_main_one() -> None:
    assert a_context(STEP, view=a_view(a_listed_server(ip="10.10.0.15"))).ip == "10.10.0.15"


# --- ours ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owner", "notes", "ours"),
    [
        (ADMIN, TOKEN, True),
        (ADMIN, f"rack 4\n{TOKEN}\nspare", True),
        (ADMIN, f"rack 4\r\n{TOKEN}\r\n", True),
        (ADMIN, "", False),
        (ADMIN, f"{TOKEN}0", False),
        (ADMIN, f"see {TOKEN}", False),
        (STRANGER, TOKEN, False),
        (None, TOKEN, False),
    ],
)
def test_a_server_is_ours_by_owner_and_token_together(owner: object, notes: str, ours: bool) -> None:  # noqa: FBT001 - a case
    ctx = a_context(STEP)
    reading = a_reading(owner=owner, notes=notes)
    lost = not_ours(ctx, reading)

    assert owned_by_us(ctx, reading) is ours
    assert (lost is None) is ours
    assert lost is None or lost.failure_class is FailureClass.LOST


# --- notes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("notes", "with_it", "without_it"),
    [
        ("", "x", ""),
        ("a", "a\nx", "a"),
        ("a\nb", "a\nb\nx", "a\nb"),
        ("x\na", "a\nx", "a"),
        ("x", "x", ""),
        ("ax\nx y", "ax\nx y\nx", "ax\nx y"),
    ],
)
def test_a_line_is_last_and_there_once_and_leaves_no_trace(notes: str, with_it: str, without_it: str) -> None:
    assert with_line(notes, "x") == with_it
    assert with_line(with_it, "x") == with_it
    assert without_line(notes, "x") == without_it
    assert without_line(with_it, "x") == without_it


# --- late effects -------------------------------------------------------------------------------------------------


def test_an_undo_of_a_step_that_ended_done_waits_for_nothing() -> None:
    assert unsettled(a_context(STEP, an_undo_row())) is None


@pytest.mark.parametrize(("reading_at", "waits"), [(None, True), (99, True), (100, False), (101, False)])
def test_a_late_effect_is_ruled_out_by_a_reading_and_not_by_the_clock(
    reading_at: float | None,
    waits: bool,  # noqa: FBT001 - a case
) -> None:
    row = an_undo_row()
    row = replace(row, memo={"undone": {**row.undone, "settled_at": at(100).isoformat()}})
    ctx = a_context(STEP, row, now=at(1000))
    ctx.reading_at = at(reading_at) if reading_at is not None else None
    outcome = unsettled(ctx)

    assert (outcome is not None) is waits
    assert outcome is None or outcome.until == at(100)


# --- lists --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [StepState.ACTING, StepState.UNSURE])
def test_an_act_is_judged_by_a_list_that_began_after_it(state: StepState) -> None:
    row = acted(a_step_row("power_on", arrived_at=at(0)), state, when=at(50))
    outcome = stale(a_context(STEP, row, view=a_view(observed_from=at(49))))

    # an unsure act is not called under way by a list of before it
    assert isinstance(outcome, Unknown if state is StepState.UNSURE else Wait)
    assert outcome.listed
    assert stale(a_context(STEP, row, view=a_view(observed_from=at(50)))) is None


@pytest.mark.parametrize("state", [StepState.PENDING, StepState.ACTING, StepState.UNSURE])
def test_a_wait_for_the_next_list_ends_with_it_although_nothing_changes(state: StepState) -> None:
    row = replace(acted(a_step_row("power_on", arrived_at=at(50)), when=at(50)), state=state)
    outcome = stale(a_context(STEP, row, view=a_view(observed_from=at(49)), now=at(60)))

    assert isinstance(outcome, (Wait, Unknown))
    assert outcome.listed
    assert outcome.until is not None
    assert outcome.until <= at(60) + STEP.policy.backoff


def test_a_memo_is_taken_from_a_list_that_began_after_the_arrival() -> None:
    row = a_step_row("power_on", arrived_at=at(50))
    outcome = stale(a_context(STEP, row, view=a_view(observed_from=at(49))))

    assert isinstance(outcome, Wait)
    assert outcome.listed
    assert stale(a_context(STEP, row, view=a_view(observed_from=at(50)))) is None


def test_a_server_that_a_whole_new_list_lacks_is_lost() -> None:
    row = a_step_row("power_on", arrived_at=at(50))
    old = stale(a_context(STEP, row, view=a_view(observed_from=at(49), gone_from=at(40))))
    new = stale(a_context(STEP, row, view=a_view(observed_from=at(50), gone_from=at(40))))

    assert isinstance(old, Wait)
    assert isinstance(new, Failed)
    assert new.failure_class is FailureClass.LOST


def test_an_edge_counts_only_since_the_act() -> None:
    row = acted(a_step_row("power_on"), when=at(50))
    edges = {"install_rose": at(50), "install_fell": at(49)}
    ctx = a_context(STEP, row, view=a_view(observed_from=at(60), edges=edges))

    assert rose_since(ctx, "install")
    assert not fell_since(ctx, "install")
    assert not rose_since(ctx, "failed")


def test_without_an_act_no_edge_counts() -> None:
    ctx = a_context(STEP, a_step_row("power_on"), view=a_view(edges={"install_rose": at(50)}))

    assert not rose_since(ctx, "install")


# --- More ---------------------------------------------------------------------------------------------------------

#: the first act of a step, refused; what somebody else did meanwhile looks like its effect
REFUSED_YET_THERE: list[tuple[Step, dict[str, object], ServerReading]] = [
    (AssignDomain(), {"row": "901"}, a_reading(addresses=(an_address("901"), an_address("902", domain="free.ds")))),
    (FreeDomain(), {"row": "901"}, a_reading(addresses=(an_address("901", domain="free.ds"), an_address("902")))),
    (AssignAddress(), {"add": "ipv4", "rows": ["901"]}, a_reading(addresses=(an_address("901"), an_address("902")))),
    (DropAddresses(), {"row": "903"}, a_reading(addresses=(an_address("901"), an_address("902")))),
    (DropAddresses(), {"row": "903"}, a_reading(addresses=(an_address("901", main=True),))),
    (OpenPorts(), {"next": "enable", "asked": []}, a_reading()),
    (ClosePorts(), {"next": "11", "asked": []}, a_reading()),
    (Quarantine(), {"act": "note"}, a_reading(notes=f"quarantined: the install failed\n{TOKEN}")),
]


@pytest.mark.parametrize(
    ("step", "before", "reading"),
    [pytest.param(*case, id=f"{number} {case[0].name}") for number, case in enumerate(REFUSED_YET_THERE)],
)
def test_a_step_whose_first_act_was_refused_never_says_more(
    step: Step, before: dict[str, object], reading: ServerReading
) -> None:
    # such a row never acted, and More on it is an illegal fact
    row = replace(remembering(a_step_row(step.name), before), refusals=1)
    ctx = a_context(step, row, driver=HandDriver(reading), package=a_package(ipv4=3))

    assert not isinstance(step.check(ctx), More)

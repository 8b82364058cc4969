"""The system that we installed answers, and goes on answering; three others answer too and do not count."""

from dataclasses import replace
from typing import Any

import pytest

from provisioner.domain.attempt import StepRow
from provisioner.domain.engine import Looked, decide
from provisioner.domain.outcome import Done, Look, Unknown, Wait
from provisioner.domain.server import Power
from provisioner.domain.states import StepState
from provisioner.errors import FailureClass
from provisioner.steps import recipes
from provisioner.steps.ping import Ping
from tests.builders import (
    HandProber,
    a_context,
    a_listed_server,
    a_package,
    a_recipe,
    a_step_row,
    a_view,
    acted,
    an_attempt,
    at,
    remembering,
)

STEP = Ping()
SETTLE = STEP.policy.settle.total_seconds()
IP = "10.10.0.15"
OLD, NEW, THIRD = "SHA256:old", "SHA256:new", "SHA256:third"


def look(
    row: StepRow | None = None,
    *,
    now: float = 60,
    observed: float | None = None,
    answers: bool = True,
    key: str | None = NEW,
    probe: str = "ssh:22",
    old_key: str | None = OLD,
    **listed: Any,
) -> Look:
    install = remembering(acted(a_step_row("install_os"), StepState.DONE), {"host_key": old_key})
    prober = HandProber(answering={IP} if answers else set(), keys={IP: key} if key and answers else {})
    view = a_view(
        a_listed_server(**{"power": Power.ON, **listed}), observed_from=at(now if observed is None else observed)
    )
    ctx = a_context(
        STEP,
        row,
        view=view,
        prober=prober,
        package=a_package(probe=probe),
        earlier={"install_os": install},
        now=at(now),
    )
    return STEP.check(ctx)


def after(first: Look, row: StepRow | None = None) -> StepRow:
    """Give the row after a look that waits."""
    assert isinstance(first, (Wait, Unknown))
    row = row or a_step_row("ping")
    return replace(row, memo={**row.memo, "seen": {**row.seen, **first.seen}})


@pytest.mark.parametrize("probe", ["icmp", "tcp:22", "ssh:22"])
def test_two_looks_a_settle_time_apart_agree(probe: str) -> None:
    first = look(now=60, probe=probe)
    second = look(after(first), now=60 + SETTLE, probe=probe)

    assert isinstance(first, Wait)
    assert first.until == at(60 + SETTLE)
    assert isinstance(second, Done)


def test_two_looks_too_close_together_are_one() -> None:
    row = after(look(now=60))
    second = look(row, now=60 + SETTLE - 1)

    assert isinstance(second, Wait)
    assert second.until == at(60 + SETTLE)


def test_a_machine_in_a_reboot_loop_begins_to_count_anew() -> None:
    row = after(look(now=60))
    row = after(look(row, now=70, answers=False), row)
    again = look(row, now=60 + SETTLE)

    assert isinstance(again, Wait)
    assert isinstance(look(after(again, row), now=60 + 2 * SETTLE), Done)


def test_another_key_at_the_second_look_begins_to_count_anew() -> None:
    row = after(look(now=60, key=NEW))

    assert isinstance(look(row, now=60 + SETTLE, key=THIRD), Wait)


def test_the_old_system_does_not_count() -> None:
    row = after(look(now=60, key=OLD))

    assert isinstance(look(row, now=60 + SETTLE, key=OLD), Wait)
    assert isinstance(look(row, now=60 + SETTLE, key=NEW), Wait)


def test_a_server_that_had_no_system_may_answer_with_any_key() -> None:
    row = after(look(now=60, old_key=None))

    assert isinstance(look(row, now=60 + SETTLE, old_key=None), Done)


def test_the_installers_own_listener_does_not_count_while_the_flag_is_up() -> None:
    # the flag rose again: only its last fall counts
    row = after(look(now=60))
    during = look(row, now=60 + SETTLE, installing=True)

    assert isinstance(during, Wait)
    assert isinstance(look(after(during, row), now=60 + SETTLE + 1), Wait)


def test_an_answer_counts_only_after_a_list_that_began_when_the_step_was_reached() -> None:
    row = a_step_row("ping", arrived_at=at(60))
    early = look(row, now=70, observed=59)

    assert isinstance(early, Wait)
    assert "since" not in early.seen


def test_silence_is_not_an_answer_and_says_what_the_panel_shows() -> None:
    powered = look(answers=False)
    off = look(answers=False, power=Power.OFF)

    assert isinstance(powered, Wait)
    assert "the DCIM shows power on, yet the host is silent" in powered.reason
    assert isinstance(off, Wait)
    assert "power on" not in off.reason


def test_a_server_without_an_address_does_not_answer() -> None:
    assert isinstance(look(ip=""), Wait)


def test_the_package_says_what_is_probed() -> None:
    prober = HandProber()
    STEP.check(a_context(STEP, prober=prober, package=a_package(probe="icmp")))

    assert prober.asked == [(IP, "icmp")]


def test_a_look_rests_on_the_probe_and_not_on_the_age_of_the_list() -> None:
    ctx = a_context(STEP, view=a_view(observed_from=at(10)), now=at(60))
    STEP.check(ctx)

    assert ctx.reading_at == at(60)


def test_a_silent_host_is_given_up_at_the_deadline_although_nobody_reads_the_list() -> None:
    row = a_step_row("ping", deadline_at=at(100))
    ctx = a_context(STEP, row, view=a_view(observed_from=at(10)), now=at(101))
    fact = Looked(STEP.check(ctx), at(101), ctx.reading_at)
    decision = decide(an_attempt(pos=7), a_recipe(row), fact, recipes.policies())

    assert decision.rows[0].reason_class is FailureClass.UNKNOWN


@pytest.mark.parametrize(("second", "ends"), [(NEW, StepState.DONE), (THIRD, StepState.FAILED)])
def test_a_host_that_answers_is_looked_at_twice_although_nobody_looked_before_the_deadline(
    second: str, ends: StepState
) -> None:
    def judged(row: StepRow, outcome: Look, now: float) -> StepRow:
        return decide(an_attempt(pos=7), a_recipe(row), Looked(outcome, at(now), at(now)), recipes.policies()).rows[0]

    row = a_step_row("ping", deadline_at=at(100))  # our workers were away for an hour
    once = judged(row, look(row, now=3700), 3700)
    early = judged(once, look(once, now=3701), 3701)
    last = judged(early, look(early, now=3700 + SETTLE, key=second), 3700 + SETTLE)

    assert (once.state, early.state, last.state) == (StepState.PENDING, StepState.PENDING, ends)


def test_a_ping_never_acts() -> None:
    with pytest.raises(NotImplementedError):
        STEP.do(a_context(STEP))

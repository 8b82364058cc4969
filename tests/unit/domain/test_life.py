"""One service, one job at a time: engine.md §6, the whole product of what stands and what arrives."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest

from provisioner.domain.life import (
    INTERRUPTIBLE,
    SWITCHING,
    Arrival,
    JobAt,
    Left,
    Phase,
    Standing,
    Turn,
    Wish,
    arrive,
    due,
    left,
)
from provisioner.domain.states import ON_SERVICE, Desired, JobKind, ServiceState

OPEN, LATER = 7, 8
ACTIVE = Standing(ServiceState.ACTIVE, Desired.ACTIVE, frozenset(), handed_over=True, claimed=True)
SUSPENDED = replace(
    ACTIVE, state=ServiceState.SUSPENDED, desired=Desired.SUSPENDED, suspended_by=frozenset({"billing"})
)
ORDERED = replace(ACTIVE, state=ServiceState.ORDERED, handed_over=False)
FAILED = replace(ACTIVE, state=ServiceState.FAILED, handed_over=False, claimed=False)
CLOSED = replace(ACTIVE, state=ServiceState.CLOSED, desired=Desired.CLOSED, claimed=False)


def job(kind: JobKind, phase: Phase = Phase.GOING, number: int = OPEN, **params: str) -> JobAt:
    return JobAt(number, kind, phase, params)


def wish(kind: JobKind, **params: object) -> Wish:
    return Wish(kind, params)


def suspend(reason: str = "billing") -> Wish:
    return wish(JobKind.SUSPEND, reason=reason)


def resume(reason: str = "billing") -> Wish:
    return wish(JobKind.RESUME, reason=reason)


CLOSE = wish(JobKind.CLOSE)


# --- close --------------------------------------------------------------------------------------------------------


def test_close_of_a_queued_open_cancels_it_and_nothing_was_touched() -> None:
    standing = replace(ORDERED, claimed=False, jobs=(job(JobKind.OPEN, Phase.QUEUED),))
    arrival = arrive(standing, CLOSE)

    assert (arrival.cancel, arrival.closed, bool(arrival.done)) == ((OPEN,), True, True)


@pytest.mark.parametrize("phase", [Phase.GOING, Phase.STUCK])
def test_close_of_a_running_open_cancels_it_and_waits_for_its_undo(phase: Phase) -> None:
    arrival = arrive(replace(ORDERED, jobs=(job(JobKind.OPEN, phase),)), CLOSE)

    assert arrival == Arrival(cancel=(OPEN,), desired=Desired.CLOSED)


def test_close_after_hand_over_has_begun_waits_for_the_open() -> None:
    arrival = arrive(replace(ORDERED, jobs=(job(JobKind.OPEN, Phase.PAST),)), CLOSE)

    assert arrival == Arrival(desired=Desired.CLOSED)


def test_close_of_an_open_held_past_hand_over_ends_it_as_it_stands() -> None:
    arrival = arrive(replace(ORDERED, jobs=(job(JobKind.OPEN, Phase.PAST_STUCK),)), CLOSE)

    assert arrival == Arrival(supersede=(OPEN,), desired=Desired.CLOSED)


def test_close_supersedes_what_is_queued_and_what_was_interrupted() -> None:
    jobs = (
        job(JobKind.SUSPEND),
        job(JobKind.REINSTALL, Phase.INTERRUPTED, 8),
        job(JobKind.RESUME, Phase.QUEUED, 9),
    )
    arrival = arrive(replace(SUSPENDED, jobs=jobs), CLOSE)

    assert arrival == Arrival(supersede=(8, 9), desired=Desired.CLOSED)


@pytest.mark.parametrize(
    ("kind", "stop"),
    [
        (JobKind.SUSPEND, "supersede"),
        (JobKind.RESUME, "supersede"),
        (JobKind.REINSTALL, "supersede"),
        (JobKind.ADD_ADDRESS, "cancel"),
        (JobKind.CHANGE_PASSWORD, "supersede"),
    ],
)
def test_close_does_not_wait_behind_a_job_that_stands_still(kind: JobKind, stop: str) -> None:
    arrival = arrive(replace(ACTIVE, jobs=(job(kind, Phase.STUCK),)), CLOSE)

    assert getattr(arrival, stop) == (OPEN,)


@pytest.mark.parametrize("standing", [ACTIVE, SUSPENDED])
def test_close_is_allowed_from_every_state_and_is_a_job_where_there_is_a_server(standing: Standing) -> None:
    arrival = arrive(standing, CLOSE)

    assert (arrival.refused, arrival.done, arrival.desired) == ("", "", Desired.CLOSED)


def test_close_where_there_is_no_server_is_done_at_once() -> None:
    assert arrive(FAILED, CLOSE).closed


def test_a_second_close_is_the_first() -> None:
    standing = replace(ACTIVE, desired=Desired.CLOSED, jobs=(job(JobKind.CLOSE, Phase.QUEUED),))

    assert arrive(standing, CLOSE).same == OPEN


def test_a_second_close_lets_a_job_make_way_that_stands_still_by_now() -> None:
    jobs = (job(JobKind.REINSTALL, Phase.STUCK), job(JobKind.CLOSE, Phase.QUEUED, LATER))
    arrival = arrive(replace(ACTIVE, desired=Desired.CLOSED, jobs=jobs), CLOSE)

    assert arrival == Arrival(same=LATER, supersede=(OPEN,), desired=Desired.CLOSED)


def test_a_close_that_waits_for_a_person_lets_nothing_make_way() -> None:
    held_back = replace(job(JobKind.CLOSE, Phase.QUEUED, LATER), guarded=True)
    jobs = (job(JobKind.REINSTALL, Phase.STUCK), held_back)

    assert arrive(replace(ACTIVE, jobs=jobs), CLOSE) == Arrival(same=LATER)


# --- suspend and resume -------------------------------------------------------------------------------------------


def test_reasons_are_kept_apart_and_ports_go_on_when_none_is_left() -> None:
    both = replace(SUSPENDED, suspended_by=frozenset({"billing", "abuse"}))
    first = arrive(both, resume("billing"))
    last = arrive(replace(SUSPENDED, suspended_by=frozenset({"abuse"})), resume("abuse"))

    assert first.done == "it stays suspended (abuse)"
    assert first.suspended_by == frozenset({"abuse"})
    assert (last.done, last.suspended_by, last.desired) == ("", frozenset(), Desired.ACTIVE)


def test_a_second_reason_changes_no_port() -> None:
    arrival = arrive(SUSPENDED, suspend("abuse"))

    assert arrival.done == "it is suspended already"
    assert arrival.suspended_by == frozenset({"billing", "abuse"})


def test_suspend_resume_suspend_in_the_queue_is_one_suspend() -> None:
    running = (job(JobKind.SYNC), job(JobKind.SUSPEND, Phase.QUEUED, LATER))
    after_resume = arrive(replace(ACTIVE, desired=Desired.SUSPENDED, jobs=running), resume())
    again = arrive(replace(ACTIVE, jobs=(job(JobKind.SYNC),)), suspend())

    assert after_resume.supersede == (LATER,)
    assert after_resume.done
    assert again == Arrival(desired=Desired.SUSPENDED, suspended_by=frozenset({"billing"}))


def test_what_is_being_done_is_not_asked_for_again_and_what_would_undo_it_is_dropped() -> None:
    jobs = (job(JobKind.SUSPEND), job(JobKind.RESUME, Phase.QUEUED, LATER))
    arrival = arrive(replace(ACTIVE, jobs=jobs), suspend())

    assert (arrival.same, arrival.supersede) == (OPEN, (LATER,))


def test_a_suspend_of_an_order_waits_behind_the_open_whatever_that_waits_for() -> None:
    for phase in (Phase.GOING, Phase.STUCK, Phase.PAST):
        arrival = arrive(replace(ORDERED, jobs=(job(JobKind.OPEN, phase),)), suspend())
        assert arrival == Arrival(desired=Desired.SUSPENDED, suspended_by=frozenset({"billing"}))


@pytest.mark.parametrize("kind", [JobKind.REINSTALL, JobKind.ADD_ADDRESS])
def test_only_abuse_interrupts(kind: JobKind) -> None:
    standing = replace(ACTIVE, jobs=(job(kind),))

    assert arrive(standing, suspend("abuse")).interrupt == (OPEN,)
    assert arrive(standing, suspend("billing")).interrupt == ()


@pytest.mark.parametrize(
    ("kind", "stop"),
    [
        (JobKind.SUSPEND, "supersede"),
        (JobKind.REINSTALL, "interrupt"),
        (JobKind.ADD_ADDRESS, "cancel"),
        (JobKind.POWER, "supersede"),
    ],
)
def test_a_resume_does_not_wait_behind_a_job_that_stands_still(kind: JobKind, stop: str) -> None:
    arrival = arrive(replace(SUSPENDED, jobs=(job(kind, Phase.STUCK),)), resume())

    assert getattr(arrival, stop) == (OPEN,)


# --- the rest -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(ON_SERVICE - {JobKind.CLOSE}))
def test_a_closed_service_takes_nothing_more(kind: JobKind) -> None:
    assert "closed" in arrive(CLOSED, wish(kind, reason="billing")).refused


@pytest.mark.parametrize("kind", sorted(ON_SERVICE))
def test_a_suspended_service_takes_what_the_table_names(kind: JobKind) -> None:
    refused = arrive(SUSPENDED, wish(kind, reason="billing")).refused
    named = {JobKind.SUSPEND, JobKind.RESUME, JobKind.CLOSE, JobKind.SYNC, JobKind.DELETE_ADDRESS}

    assert bool(refused) == (kind not in named)


@pytest.mark.parametrize("kind", [JobKind.DELETE_ADDRESS, JobKind.POWER, JobKind.SYNC])
def test_two_equal_ones_in_the_queue_are_one(kind: JobKind) -> None:
    standing = replace(ACTIVE, jobs=(job(JobKind.REINSTALL), job(kind, Phase.QUEUED, LATER, ip="192.0.2.7")))

    assert arrive(standing, wish(kind, ip="192.0.2.7")).same == LATER
    assert arrive(standing, wish(kind, ip="192.0.2.8")) == Arrival()


@pytest.mark.parametrize("phase", [Phase.STUCK, Phase.GOING])
def test_another_password_is_the_mend_of_one_that_stands_still(phase: Phase) -> None:
    standing = replace(ACTIVE, jobs=(job(JobKind.CHANGE_PASSWORD, phase),))

    assert arrive(standing, wish(JobKind.CHANGE_PASSWORD)).supersede == ((OPEN,) if phase is Phase.STUCK else ())
    assert arrive(standing, wish(JobKind.REINSTALL)) == Arrival()


# --- what was given up --------------------------------------------------------------------------------------------


def test_ports_that_a_suspend_left_half_way_are_switched_though_the_service_counts_as_active() -> None:
    half = replace(ACTIVE, half_switched=True)

    assert arrive(half, resume()).done == ""
    assert due(half, JobKind.RESUME).turn is Turn.RUN
    assert due(ACTIVE, JobKind.RESUME).turn is Turn.DONE


def test_a_wish_is_not_lost_in_a_job_that_undoes_itself() -> None:
    undoing = replace(ACTIVE, desired=Desired.SUSPENDED, jobs=(job(JobKind.SUSPEND, Phase.UNDOING),))

    assert arrive(undoing, suspend()).same is None


#: what is left when a job is cancelled: what the service is, jobs that remain, what was cancelled, what is wanted then
NOTHING: tuple[JobAt, ...] = ()
SUSPENDING, RESUMING = (job(JobKind.SUSPEND, reason="billing"),), (job(JobKind.RESUME, reason="billing"),)
GUARDED = (replace(job(JobKind.SUSPEND, Phase.QUEUED), guarded=True),)


@pytest.mark.parametrize(
    ("base", "jobs", "kind", "reasons", "expected"),
    [
        (ACTIVE, NOTHING, JobKind.CLOSE, "", Left(Desired.ACTIVE, frozenset())),
        (SUSPENDED, NOTHING, JobKind.CLOSE, "billing", Left(Desired.SUSPENDED, frozenset({"billing"}))),
        (ORDERED, (job(JobKind.OPEN),), JobKind.CLOSE, "", Left(Desired.ACTIVE, frozenset())),
        (ACTIVE, SUSPENDING, JobKind.CLOSE, "billing", Left(Desired.SUSPENDED, frozenset({"billing"}))),
        (ACTIVE, NOTHING, JobKind.SUSPEND, "billing abuse", Left(Desired.ACTIVE, frozenset())),
        (SUSPENDED, RESUMING, JobKind.SUSPEND, "billing", Left(Desired.ACTIVE, frozenset())),
        (ACTIVE, SUSPENDING, JobKind.RESUME, "", Left(Desired.SUSPENDED, frozenset({"billing"}))),
        (SUSPENDED, NOTHING, JobKind.RESUME, "", Left(Desired.SUSPENDED, frozenset({"billing"}))),
        (SUSPENDED, NOTHING, JobKind.RESUME, "abuse", Left(Desired.SUSPENDED, frozenset({"billing", "abuse"}))),
        (ACTIVE, GUARDED, JobKind.RESUME, "", Left(Desired.ACTIVE, frozenset())),
        (CLOSED, NOTHING, JobKind.SUSPEND, "", Left(Desired.CLOSED, frozenset())),
        (FAILED, NOTHING, JobKind.SUSPEND, "billing", Left(Desired.ACTIVE, frozenset())),
    ],
)
def test_what_is_wanted_goes_back_to_what_the_remaining_jobs_go_for(
    base: Standing, jobs: tuple[JobAt, ...], kind: JobKind, reasons: str, expected: Left
) -> None:
    standing = replace(base, desired=Desired.CLOSED, suspended_by=frozenset(reasons.split()), jobs=jobs)

    assert left(standing, kind, "billing" if kind in SWITCHING else "") == expected


def test_a_suspension_that_another_job_still_sets_is_kept_and_only_that() -> None:
    both = frozenset({"billing", "abuse"})
    behind = (job(JobKind.SUSPEND, Phase.QUEUED, reason="abuse"),)
    standing = replace(ACTIVE, suspended_by=both, jobs=behind)

    assert left(standing, JobKind.SUSPEND, "billing").suspended_by == {"abuse"}
    assert left(standing, JobKind.SUSPEND, "abuse").suspended_by == both


@pytest.mark.parametrize("kind", [JobKind.SUSPEND, JobKind.RESUME, JobKind.ADD_ADDRESS])
def test_a_close_does_not_wait_behind_an_undo_that_was_given_up(kind: JobKind) -> None:
    standing = replace(ACTIVE, jobs=(job(kind, Phase.UNDO_STUCK, reason="billing"),))

    assert arrive(standing, CLOSE) == Arrival(supersede=(OPEN,), desired=Desired.CLOSED)


def test_a_close_waits_for_what_an_order_took_to_be_given_back() -> None:
    standing = replace(ORDERED, jobs=(job(JobKind.OPEN, Phase.UNDO_STUCK),))

    assert arrive(standing, CLOSE).supersede == ()


def test_a_resume_whose_undo_was_given_up_makes_way_and_brings_its_reason_back() -> None:
    lifted = replace(SUSPENDED, desired=Desired.ACTIVE, suspended_by=frozenset())
    standing = replace(lifted, jobs=(job(JobKind.RESUME, Phase.UNDO_STUCK, reason="billing"),))
    abuse, again = arrive(standing, suspend("abuse")), arrive(standing, resume())

    assert (abuse.supersede, abuse.done) == (again.supersede, again.done) == ((OPEN,), "")
    assert abuse.suspended_by == frozenset({"abuse", "billing"})
    assert again.desired is Desired.ACTIVE


def test_a_suspend_waits_until_addresses_are_given_back() -> None:
    standing = replace(ACTIVE, jobs=(job(JobKind.ADD_ADDRESS, Phase.UNDO_STUCK),))

    assert arrive(standing, suspend()).supersede == ()


# --- the whole product --------------------------------------------------------------------------------------------


def every_standing() -> Iterator[Standing]:
    """Give every state with every job in every phase, and one queued behind it."""
    bases = (ACTIVE, SUSPENDED, ORDERED, FAILED, CLOSED, replace(ACTIVE, desired=Desired.CLOSED))
    kinds = (JobKind.OPEN, *sorted(ON_SERVICE))
    for base, kind, phase, behind in itertools.product(bases, kinds, Phase, (None, *sorted(ON_SERVICE))):
        if phase is Phase.INTERRUPTED and kind not in INTERRUPTIBLE:
            continue
        if phase in (Phase.PAST, Phase.PAST_STUCK) and kind is not JobKind.OPEN:
            continue
        jobs = [job(kind, phase, reason="billing")]
        if behind:
            jobs.append(job(behind, Phase.QUEUED, LATER, reason="billing"))
        yield replace(base, jobs=tuple(jobs))


WISHES = [Wish(kind, {"reason": reason}) for kind in sorted(ON_SERVICE) for reason in ("billing", "abuse")]


def test_whatever_stands_and_arrives_one_thing_follows_and_nothing_that_matters_is_lost() -> None:
    count = 0
    for standing, given in itertools.product(every_standing(), WISHES):
        count += 1
        arrival = arrive(standing, given)
        known = {one.id: one for one in standing.jobs}
        assert sum((bool(arrival.refused), arrival.same is not None, bool(arrival.done))) <= 1
        stopped = (*arrival.supersede, *arrival.cancel, *arrival.interrupt)
        assert len(stopped) == len(set(stopped)), "a job is stopped in one way"
        assert set(stopped) <= set(known)
        if arrival.refused:
            assert arrival == Arrival(refused=arrival.refused)
        for number in arrival.supersede:
            live = known[number].phase in (Phase.GOING, Phase.PAST, Phase.UNDOING)
            assert not live, "what is at work is never ended from outside"
            open_ = known[number].kind is JobKind.OPEN
            assert not open_ or known[number].phase is Phase.PAST_STUCK, "a paid order is never dropped"
            assert known[number].kind is not JobKind.CLOSE, "a close is never dropped"
        for number in arrival.interrupt:
            assert known[number].kind in INTERRUPTIBLE
        if arrival.same is not None:
            assert arrival.same not in stopped
    assert count > 10_000


@pytest.mark.parametrize("kind", [None, *sorted({*SWITCHING, JobKind.CLOSE})])
def test_whatever_is_given_up_what_is_wanted_is_what_is_or_what_somebody_goes_for(kind: JobKind | None) -> None:
    for standing, reasons in itertools.product(every_standing(), (frozenset(), frozenset({"billing", "abuse"}))):
        found = left(replace(standing, suspended_by=reasons), kind, "billing")
        kinds = {one.kind for one in standing.jobs if one.kind is JobKind.CLOSE or one.switching}
        closed = standing.state is ServiceState.CLOSED or JobKind.CLOSE in kinds
        assert (found.desired is Desired.CLOSED) == closed
        if found.desired is Desired.SUSPENDED:
            assert JobKind.SUSPEND in kinds or standing.state is ServiceState.SUSPENDED
            assert found.suspended_by or not reasons, "a reason is never lost while it stays suspended"
        if found.desired is Desired.ACTIVE:
            assert found.suspended_by == frozenset(), "nobody has a suspension that is not wanted"
            assert JobKind.RESUME in kinds or standing.state is not ServiceState.SUSPENDED


@pytest.mark.parametrize("kind", sorted(ON_SERVICE))
def test_a_turn_that_has_come_runs_or_says_why_not(kind: JobKind) -> None:
    for state, desired, claimed in itertools.product(ServiceState, Desired, (True, False)):
        standing = replace(ACTIVE, state=state, desired=desired, claimed=claimed)
        turn = due(standing, kind)
        assert (turn.turn is Turn.RUN) == (turn.says == "")
        if turn.turn is Turn.RUN and kind is not JobKind.CLOSE:
            assert state in (ServiceState.ACTIVE, ServiceState.SUSPENDED)
        if kind is JobKind.CLOSE:
            assert (turn.turn is Turn.RUN) == claimed

"""What the end of an attempt means for its job, its service, its claim and its connection: the whole table."""

import itertools
from dataclasses import dataclass, replace

import pytest

from provisioner.domain.attempt import Attempt, Result, Verb
from provisioner.domain.job import Conclusion, conclude
from provisioner.domain.states import ClaimState, JobKind, JobState, ServiceState, WaitsFor
from provisioner.errors import FailureClass
from tests.builders import an_attempt

#: engine.md §3, "How an attempt of `open` ends"; the first line that matches counts, `*` is any
OPEN = """
result      | given up | class           | limit   | job          | service | restrict | pass over
succeeded   | *        | *               | *       | succeeded    | -       | no       | no
*           | cancel   | *               | *       | cancelled    | failed  | no       | no
*           | *        | input           | *       | failed       | failed  | no       | no
*           | *        | site            | *       | queued: site | -       | yes      | no
*           | swap     | *               | *       | queued       | -       | no       | no
lost        | *        | server, unknown | left    | queued       | -       | no       | any
*           | *        | server, unknown | reached | failed       | failed  | no       | no
*           | *        | server, unknown | left    | queued       | -       | no       | no
*           | *        | lost            | *       | queued       | -       | no       | yes
"""

CLAIM = {
    Result.SUCCEEDED: ClaimState.HANDED,
    Result.RELEASED: ClaimState.ENDED,
    Result.QUARANTINED: ClaimState.QUARANTINED,
    Result.INCOMPLETE: ClaimState.QUARANTINED,
    Result.LOST: ClaimState.ENDED,
    Result.PASSED_OVER: ClaimState.ENDED,
}


@dataclass(frozen=True)
class Ending:
    result: Result
    given_up: Verb | None
    cancel_requested: bool
    failure_class: FailureClass | None
    counted: int

    @property
    def cancelled(self) -> bool:
        return self.given_up is Verb.CANCEL or self.cancel_requested

    def attempt(self) -> Attempt:
        return an_attempt(given_up=self.given_up, reason_class=self.failure_class, reason="broken")

    def concluded(self) -> Conclusion:
        return conclude(
            self.result,
            self.attempt(),
            cancel_requested=self.cancel_requested,
            counted=self.counted,
            attempts_max=3,
        )


def possible(it: Ending) -> bool:
    """Say whether `decide` can end an attempt like this; what it can't is no row of the table."""
    if it.result is Result.UNDONE:  # of a job on a service
        return False
    if it.result is Result.SUCCEEDED:
        return it.given_up is None and it.failure_class is None
    if it.failure_class is None:  # given up by a person
        return it.given_up is not None
    if it.failure_class is FailureClass.DRIFT:  # a customer's server; an open holds then, or calls it lost
        return False
    if it.result is Result.PASSED_OVER:  # before or at the claim no server is blamed
        return it.failure_class not in {FailureClass.SERVER, FailureClass.UNKNOWN}
    if it.failure_class is FailureClass.LOST:
        return it.result is Result.LOST
    return True


def endings() -> list[Ending]:
    axes = (Result, (None, Verb.CANCEL, Verb.SWAP), (True, False), (None, *FailureClass), (2, 3))
    return [it for it in itertools.starmap(Ending, itertools.product(*axes)) if possible(it)]


def lines() -> list[dict[str, str]]:
    head, *body = [[cell.strip() for cell in line.split("|")] for line in OPEN.strip().splitlines()]
    return [dict(zip(head, line, strict=True)) for line in body]


def matching(it: Ending) -> dict[str, str] | None:
    known = {
        "result": it.result.value,
        "given up": "cancel" if it.cancelled else str(it.given_up or ""),
        "class": str(it.failure_class or ""),
        "limit": "reached" if it.counted >= 3 else "left",
    }
    return next(
        (line for line in lines() if all(line[key] == "*" or known[key] in line[key].split(", ") for key in known)),
        None,
    )


@pytest.mark.parametrize("it", endings(), ids=str)
def test_the_end_of_an_open_means_what_the_table_says(it: Ending) -> None:
    line = matching(it)
    assert line is not None, "a row is missing"
    job, _, waits_for = line["job"].partition(": ")

    conclusion = it.concluded()

    assert conclusion.job == JobState(job)
    assert conclusion.waits_for == (WaitsFor(waits_for) if waits_for else None)
    assert conclusion.service == (None if line["service"] == "-" else ServiceState(line["service"]))
    assert conclusion.restrict == (line["restrict"] == "yes")
    assert line["pass over"] in ("any", "yes" if conclusion.pass_over else "no")


@pytest.mark.parametrize("it", endings(), ids=str)
def test_the_claim_goes_by_what_was_seen_of_the_server_and_by_nothing_else(it: Ending) -> None:
    assert it.concluded().claim is CLAIM[it.result]


@pytest.mark.parametrize("it", endings(), ids=str)
def test_an_undo_that_did_not_end_goes_on_as_a_job_of_its_own_whatever_becomes_of_the_order(it: Ending) -> None:
    assert it.concluded().release_job == (it.result is Result.INCOMPLETE)


@pytest.mark.parametrize("it", endings(), ids=str)
def test_a_job_that_ends_in_failure_says_why(it: Ending) -> None:
    conclusion = it.concluded()

    if conclusion.job in {JobState.FAILED, JobState.CANCELLED}:
        assert "broken" in conclusion.reason


def test_a_cancel_without_words_still_gives_a_reason() -> None:
    attempt = replace(an_attempt(), given_up=Verb.CANCEL)
    conclusion = conclude(Result.PASSED_OVER, attempt, cancel_requested=False, counted=0, attempts_max=3)

    assert conclusion.reason


def test_the_limit_is_named_in_the_sentence_for_billing() -> None:
    attempt = an_attempt(reason_class=FailureClass.SERVER, reason="the install failed")
    conclusion = conclude(Result.QUARANTINED, attempt, cancel_requested=False, counted=3, attempts_max=3)

    assert conclusion.job is JobState.FAILED
    assert "3" in conclusion.reason
    assert "the install failed" in conclusion.reason


def test_a_wrong_order_that_lost_its_server_while_undoing_takes_no_further_candidate() -> None:
    attempt = an_attempt(reason_class=FailureClass.INPUT, reason="no such template")
    conclusion = conclude(Result.LOST, attempt, cancel_requested=False, counted=0, attempts_max=3)

    assert (conclusion.job, conclusion.claim) == (JobState.FAILED, ClaimState.ENDED)


@pytest.mark.parametrize(
    ("result", "claim"),
    [
        (Result.RELEASED, ClaimState.ENDED),
        (Result.QUARANTINED, ClaimState.QUARANTINED),
        (Result.LOST, ClaimState.ENDED),
    ],
)
def test_a_release_that_went_on_by_itself_ends_the_claim_unless_the_server_is_still_ours(
    result: Result, claim: ClaimState
) -> None:
    attempt = an_attempt(kind=JobKind.RELEASE)
    conclusion = conclude(result, attempt, cancel_requested=False, counted=0, attempts_max=3)

    assert (conclusion.job, conclusion.claim) == (JobState.SUCCEEDED, claim)
    assert conclusion.service is None


def test_a_release_that_is_cancelled_leaves_the_server_in_quarantine_and_begins_no_other() -> None:
    attempt = an_attempt(kind=JobKind.RELEASE, given_up=Verb.CANCEL)
    conclusion = conclude(Result.INCOMPLETE, attempt, cancel_requested=True, counted=0, attempts_max=3)

    assert (conclusion.job, conclusion.claim) == (JobState.CANCELLED, ClaimState.QUARANTINED)
    assert not conclusion.release_job


@pytest.mark.parametrize(
    ("kind", "result", "job", "claim"),
    [
        (JobKind.RETEST, Result.RELEASED, JobState.SUCCEEDED, ClaimState.ENDED),
        (JobKind.RETEST, Result.QUARANTINED, JobState.FAILED, ClaimState.QUARANTINED),
        (JobKind.RETEST, Result.LOST, JobState.FAILED, ClaimState.ENDED),
        (JobKind.QUARANTINE, Result.QUARANTINED, JobState.SUCCEEDED, ClaimState.QUARANTINED),
        (JobKind.QUARANTINE, Result.LOST, JobState.FAILED, ClaimState.ENDED),
    ],
)
def test_a_job_on_a_claim_succeeds_only_with_what_was_asked(
    kind: JobKind, result: Result, job: JobState, claim: ClaimState
) -> None:
    conclusion = conclude(result, an_attempt(kind=kind), cancel_requested=False, counted=0, attempts_max=3)

    assert (conclusion.job, conclusion.claim, conclusion.service) == (job, claim, None)

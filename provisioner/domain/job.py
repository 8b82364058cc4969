"""What the end of an attempt means for its job, its service, its claim and its connection; pure."""

from dataclasses import dataclass

from provisioner.domain.attempt import Attempt, Result, Verb
from provisioner.domain.states import ON_CLAIM, ON_SERVICE, ClaimState, JobKind, JobState, ServiceState, WaitsFor
from provisioner.errors import FailureClass


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What becomes of everything around an attempt that has ended."""

    job: JobState
    claim: ClaimState | None  #: None: it stays
    reason: str = ""
    service: ServiceState | None = None  #: None: it stays
    waits_for: WaitsFor | None = None  #: of a queued job; None: it is planned at once
    restrict: bool = False  #: the place is to blame for the failed step
    pass_over: bool = False  #: the candidate is tried again only after a growing distance
    release_job: bool = False  #: a job on the claim goes on with the undo


def conclude(
    result: Result, attempt: Attempt, *, cancel_requested: bool, counted: int, attempts_max: int
) -> Conclusion:
    """
    Say what the end of *attempt* means.

    *counted* is the number of ended attempts of the job that a server was blamed for, this one included.
    """
    if attempt.kind in ON_CLAIM:
        return _on_claim(result, attempt)
    if attempt.kind in ON_SERVICE:
        return _on_service(result, attempt)
    if result is Result.SUCCEEDED:
        return Conclusion(JobState.SUCCEEDED, ClaimState.HANDED)
    kept = result in (Result.QUARANTINED, Result.INCOMPLETE)
    claim = ClaimState.QUARANTINED if kept else ClaimState.ENDED
    release_job = result is Result.INCOMPLETE
    reason = attempt.reason
    if cancel_requested or attempt.given_up is Verb.CANCEL:
        return Conclusion(
            JobState.CANCELLED,
            claim,
            reason or "cancelled",
            ServiceState.FAILED,
            release_job=release_job,
        )
    if attempt.reason_class is FailureClass.INPUT:
        return Conclusion(JobState.FAILED, claim, reason, ServiceState.FAILED, release_job=release_job)
    if attempt.reason_class is FailureClass.SITE:
        return Conclusion(
            JobState.QUEUED,
            claim,
            reason,
            waits_for=WaitsFor.SITE,
            restrict=True,
            release_job=release_job,
        )
    if attempt.given_up is Verb.SWAP:
        return Conclusion(JobState.QUEUED, claim, reason, release_job=release_job)
    if attempt.reason_class is FailureClass.LOST:
        return Conclusion(JobState.QUEUED, claim, reason, pass_over=True, release_job=release_job)
    if counted >= attempts_max:
        sentence = f"{counted} of at most {attempts_max} servers failed; the last: {reason}"
        return Conclusion(JobState.FAILED, claim, sentence, ServiceState.FAILED, release_job=release_job)
    return Conclusion(JobState.QUEUED, claim, reason, release_job=release_job)


#: of a job on a claim: the ends that its asker wanted; a release only goes on with what an open left
WANTED = {
    JobKind.RELEASE: frozenset(Result),
    JobKind.RETEST: frozenset({Result.RELEASED}),
    JobKind.QUARANTINE: frozenset({Result.QUARANTINED}),
}


def _on_claim(result: Result, attempt: Attempt) -> Conclusion:
    """Nobody's server: it is free again or somebody else's, or it stays out of sale."""
    gone = result in (Result.LOST, Result.RELEASED)
    claim = ClaimState.ENDED if gone else ClaimState.QUARANTINED
    if attempt.given_up is Verb.CANCEL:
        return Conclusion(JobState.CANCELLED, claim, attempt.reason)
    job = JobState.SUCCEEDED if result in WANTED[attempt.kind] else JobState.FAILED
    return Conclusion(job, claim, attempt.reason)


#: what the service is once a job has done what it was asked
BECOMES = {
    JobKind.CLOSE: ServiceState.CLOSED,
    JobKind.SUSPEND: ServiceState.SUSPENDED,
    JobKind.RESUME: ServiceState.ACTIVE,
}


def _on_service(result: Result, attempt: Attempt) -> Conclusion:
    """End the claim with a close that was seen through, and with nothing else."""
    if result is Result.SUCCEEDED:
        claim = ClaimState.ENDED if attempt.kind is JobKind.CLOSE else None
        return Conclusion(JobState.SUCCEEDED, claim, service=BECOMES.get(attempt.kind))
    if attempt.given_up is Verb.CANCEL:
        return Conclusion(JobState.CANCELLED, None, attempt.reason)
    return Conclusion(JobState.FAILED, None, attempt.reason)

"""On-call's verbs on a job; what is legal when stands in `domain/verbs.py`."""

from collections.abc import Mapping

from provisioner.domain.attempt import Command, Policy, Verb
from provisioner.domain.naming import storable
from provisioner.ports import Services, Waker


def retry(job_id: int, *, by: str, services: Services, waker: Waker, policies: Mapping[str, Policy]) -> None:
    """
    Run the failed step of a held attempt again, or give a failed or cancelled job its next attempt.

    Raises:
        NotFound: no such job.
        IllegalMove: not now; the sentence says why.
    """
    _give(job_id, Command(Verb.RETRY, by=by), services, waker, policies)


def cancel(
    job_id: int, *, by: str, reason: str, services: Services, waker: Waker, policies: Mapping[str, Policy]
) -> None:
    """Undo what a job did and end it; refused once hand-over has begun. Safe to repeat. Raises as `retry`."""
    said = storable(reason, field="reason", longest=500)
    _give(job_id, Command(Verb.CANCEL, by=by, reason=said), services, waker, policies)


def _give(job_id: int, command: Command, services: Services, waker: Waker, policies: Mapping[str, Policy]) -> None:
    waker.wake(services.command(job_id, command, policies))
    waker.tick()

"""On-call's verbs on a job; what is legal when stands in `domain/verbs.py`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from provisioner.domain.attempt import Command, Policy, Verb
from provisioner.domain.naming import storable
from provisioner.errors import Invalid, Refused
from provisioner.ports import Services, Waker

REASON_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Operator:
    """Who acts, and with what."""

    by: str
    services: Services
    waker: Waker
    policies: Mapping[str, Policy]
    dry_run: bool = False  #: say what would happen, and do nothing


def retry(job_id: int, who: Operator, *, step: str = "", wipe: bool = False, reason: str = "") -> str:
    """
    Run the failed step of a held attempt again, or from *step*; give a failed or cancelled job its next attempt.

    *wipe* accepts that an install is run again. Returns what it does, in one sentence.

    Raises:
        NotFound: no such job.
        IllegalMove: not now; the sentence says why.
    """
    verb = Verb.RETRY_FROM if step else Verb.RETRY
    step = storable(step, field="step", longest=100)
    return _give(job_id, Command(verb, by=who.by, step=step, wipe=wipe, reason=_said(reason)), who)


def cancel(job_id: int, who: Operator, *, reason: str = "") -> str:
    """Undo what a job did and end it; refused once hand-over has begun. Safe to repeat. Raises as `retry`."""
    return _give(job_id, Command(Verb.CANCEL, by=who.by, reason=_said(reason)), who)


def skip(job_id: int, who: Operator, *, step: str, reason: str) -> str:
    """Pass the step at which a job is held, with an obligatory reason. Raises as `retry`, and `Invalid`."""
    return _give(job_id, Command(Verb.SKIP, by=who.by, step=step, reason=_needed(reason, "a skip")), who)


def swap(job_id: int, who: Operator, *, reason: str, release: bool = False) -> str:
    """Give up this server, for quarantine or with *release* back to stock, and take the next. Raises as `skip`."""
    return _give(job_id, Command(Verb.SWAP, by=who.by, reason=_needed(reason, "a swap"), release=release), who)


def hold(job_id: int, who: Operator, *, reason: str) -> str:
    """Let a job stand still until it is retried or cancelled. Raises as `skip`."""
    return _give(job_id, Command(Verb.HOLD, by=who.by, reason=_needed(reason, "a hold")), who)


@dataclass(frozen=True, slots=True)
class Said:
    """What a verb came to on one job of many."""

    job: int
    does: str  #: what it does to the server, to the disks above all; or why it is refused
    refused: bool


def each(jobs: Iterable[int], verb: Callable[[int], str]) -> Sequence[Said]:
    """Give *verb* to each of *jobs*, in order; one that is refused does not hinder the next."""
    return [_one(job, verb) for job in jobs]


def _one(job: int, verb: Callable[[int], str]) -> Said:
    try:
        return Said(job, verb(job), refused=False)
    except Refused as error:
        return Said(job, f"refused: {error}", refused=True)


def _give(job_id: int, command: Command, who: Operator) -> str:
    says = who.services.forecast(job_id, command, who.policies)
    if who.dry_run:
        return says
    who.waker.wake(who.services.command(job_id, command, who.policies))
    who.waker.tick()
    return says


def _said(reason: str) -> str:
    return storable(reason, field="reason", longest=REASON_LONGEST)


def _needed(reason: str, what: str) -> str:
    said = _said(reason).strip()
    if not said:
        raise Invalid(f"{what} needs a reason: others read it", field="reason")
    return said

"""
What a wish about a service does to the jobs that are there: the table of `engine.md` §6, pure.

`arrive` is asked when a wish comes in, `due` when a job's turn has come, `left` when one ended without having done
what it wanted. All under the service's lock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from provisioner.domain.states import Desired, JobKind, ServiceState

CLOSED = "the service is closed; order it anew"
CLOSING = "the service is being closed"
NEVER_HANDED = "the service was not handed over yet"
FAILED = "the service's order failed, it has no server"

#: may be asked of a suspended service
WHILE_SUSPENDED = frozenset({JobKind.SUSPEND, JobKind.RESUME, JobKind.CLOSE, JobKind.SYNC, JobKind.DELETE_ADDRESS})
#: two equal ones that are queued are one
COALESCE = frozenset({JobKind.DELETE_ADDRESS, JobKind.SYNC, JobKind.POWER})
#: pressed twice they would be done twice: the caller must name the wish
NEED_KEY = frozenset({JobKind.ADD_ADDRESS, JobKind.REINSTALL, JobKind.CHANGE_PASSWORD})
SWITCHING = frozenset({JobKind.SUSPEND, JobKind.RESUME})
#: a suspension for abuse does not wait for these
INTERRUPTIBLE = frozenset({JobKind.REINSTALL, JobKind.ADD_ADDRESS, JobKind.CHANGE_PASSWORD, JobKind.POWER})
ABUSE = "abuse"

#: how long each usually takes, for the caller whose job waits behind it
USUALLY: Mapping[JobKind, str] = {
    JobKind.OPEN: "10 to 40 minutes",
    JobKind.CLOSE: "a few minutes",
    JobKind.SUSPEND: "about a minute",
    JobKind.RESUME: "about a minute",
    JobKind.ADD_ADDRESS: "about a minute",
    JobKind.DELETE_ADDRESS: "about a minute",
    JobKind.CHANGE_PASSWORD: "under a minute",
    JobKind.REINSTALL: "10 to 40 minutes",
    JobKind.POWER: "a few minutes",
    JobKind.SYNC: "under a minute",
}


class Phase(StrEnum):
    """How far a job that has not ended has come."""

    QUEUED = "queued"  #: no attempt under way
    GOING = "going"
    STUCK = "stuck"  #: held, or it waits for a person or the site
    PAST = "past"  #: an open whose hand-over has begun
    PAST_STUCK = "past_stuck"  #: the same, held
    UNDOING = "undoing"
    UNDO_STUCK = "undo_stuck"  #: the same, held: the undo failed for good
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class JobAt:
    """A job that has not ended."""

    id: int
    kind: JobKind
    phase: Phase
    params: Mapping[str, Any] = field(default_factory=dict)
    guarded: bool = False  #: the blast guard holds it: nobody has said yet that it is wanted

    @property
    def switching(self) -> bool:
        """Whether it goes for a suspend or a resume; one that undoes itself does not any more."""
        return self.kind in SWITCHING and self.phase not in (Phase.UNDOING, Phase.UNDO_STUCK)

    @property
    def reason(self) -> str:
        """Of suspend and resume: whose suspension."""
        return str(self.params.get("reason", ""))


@dataclass(frozen=True, slots=True)
class Standing:
    """A service as its lock shows it."""

    state: ServiceState
    desired: Desired
    suspended_by: frozenset[str]
    handed_over: bool  #: ever
    claimed: bool  #: a server is bound to it
    jobs: tuple[JobAt, ...] = ()  #: that have not ended, oldest first
    half_switched: bool = False  #: the last suspend or resume that touched its ports was given up half way

    @property
    def live(self) -> JobAt | None:
        """The one job that is under way, whatever it waits for."""
        return next((job for job in self.jobs if job.phase not in (Phase.QUEUED, Phase.INTERRUPTED)), None)

    @property
    def queued(self) -> tuple[JobAt, ...]:
        """Jobs whose turn has not come."""
        return tuple(job for job in self.jobs if job.phase is Phase.QUEUED)


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of a service."""

    kind: JobKind
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """Of suspend and resume: whose suspension."""
        return str(self.params.get("reason", ""))


@dataclass(frozen=True, slots=True)
class Arrival:
    """What becomes of a wish. Without `refused`, `same` and `done` it is a new job at the end of the queue."""

    refused: str = ""  #: why it is not taken; nothing changes
    same: int | None = None  #: this job carries it out already
    done: str = ""  #: true already: the new job ends at once and says this
    supersede: tuple[int, ...] = ()  #: jobs that end as they stand: the wish made them pointless
    cancel: tuple[int, ...] = ()  #: jobs that undo themselves first
    interrupt: tuple[int, ...] = ()  #: jobs that stand still until the suspension is over
    desired: Desired | None = None  #: None: as it was
    suspended_by: frozenset[str] | None = None  #: None: as it was
    closed: bool = False  #: the service is closed with it: there was nothing to take back


def arrive(standing: Standing, wish: Wish) -> Arrival:
    """Say what *wish* does; the caller carries it out in the same transaction."""
    if why_not := _refusal(standing, wish):
        return Arrival(refused=why_not)
    if given_up := undo_given_up(standing, wish.kind):
        arrival = arrive(_ended_in_vain(standing, given_up), wish)
        return arrival if arrival.refused else replace(arrival, supersede=(*arrival.supersede, given_up.id))
    match wish.kind:
        case JobKind.CLOSE:
            return _close(standing)
        case JobKind.SUSPEND:
            return _suspend(standing, wish)
        case JobKind.RESUME:
            return _resume(standing, wish)
        case _:
            return _ordinary(standing, wish)


def undo_given_up(standing: Standing, kind: JobKind) -> JobAt | None:
    """
    Give the job whose held undo a wish of *kind* makes pointless; None where there is none.

    A suspend, resume or close switches the ports that the undo would, a close also drops the addresses.
    """
    live = standing.live
    if live is None or live.phase is not Phase.UNDO_STUCK or live.kind in (JobKind.OPEN, JobKind.CLOSE):
        return None
    return live if kind is JobKind.CLOSE or {kind, live.kind} <= SWITCHING else None


def _ended_in_vain(standing: Standing, job: JobAt) -> Standing:
    jobs = tuple(one for one in standing.jobs if one is not job)
    remains = left(replace(standing, jobs=jobs), job.kind, job.reason)
    half = standing.half_switched or job.kind in SWITCHING
    return replace(standing, jobs=jobs, desired=remains.desired, suspended_by=remains.suspended_by, half_switched=half)


def _refusal(standing: Standing, wish: Wish) -> str:
    kind = wish.kind
    if standing.state is ServiceState.CLOSED:
        return "" if kind is JobKind.CLOSE else CLOSED
    if standing.desired is Desired.CLOSED and kind is not JobKind.CLOSE:
        return CLOSING
    if kind is JobKind.CLOSE:
        return ""
    if standing.state is ServiceState.FAILED and not any(job.kind is JobKind.OPEN for job in standing.jobs):
        return FAILED
    if kind not in SWITCHING and not standing.handed_over:
        return NEVER_HANDED
    suspended = standing.state is ServiceState.SUSPENDED or standing.desired is Desired.SUSPENDED
    if suspended and kind not in WHILE_SUSPENDED:
        return (
            f"the service is suspended ({', '.join(sorted(standing.suspended_by)) or 'by a person'}); resume it first"
        )
    return ""


def _close(standing: Standing) -> Arrival:
    if standing.state is ServiceState.CLOSED:
        return Arrival(done="it was closed before")
    if already := next((job for job in standing.jobs if job.kind is JobKind.CLOSE), None):
        if already.phase is not Phase.QUEUED or already.guarded:
            return Arrival(same=already.id)
        others = tuple(job for job in standing.jobs if job is not already)  # what it waits for may stand still by now
        return replace(_close(replace(standing, jobs=others)), same=already.id, done="", closed=False)
    live = standing.live
    opening = next((job for job in standing.queued if job.kind is JobKind.OPEN), None)
    ended = tuple(
        job.id for job in standing.jobs if job.phase in (Phase.QUEUED, Phase.INTERRUPTED) and job is not opening
    )
    wanted = Arrival(desired=Desired.CLOSED, supersede=ended)
    if opening is not None:  # nothing was taken: a queued open holds no server
        return replace(wanted, cancel=(opening.id,), done="nothing was taken yet", closed=True)
    if live is None:
        return wanted if standing.claimed else replace(wanted, done="it has no server", closed=True)
    match live.phase:
        case Phase.GOING | Phase.STUCK if live.kind in (JobKind.OPEN, JobKind.ADD_ADDRESS):
            return replace(wanted, cancel=(live.id,)) if _undo_first(live) else wanted
        case Phase.STUCK | Phase.PAST_STUCK:
            return replace(wanted, supersede=(*ended, live.id))
        case _:
            return wanted


def _undo_first(live: JobAt) -> bool:
    """Say whether a close makes it undo itself: an open always, an address job only where it stands still."""
    return live.kind is JobKind.OPEN or live.phase is Phase.STUCK


def _suspend(standing: Standing, wish: Wish) -> Arrival:
    wanted = Arrival(desired=Desired.SUSPENDED, suspended_by=standing.suspended_by | {wish.reason})
    switched = _coalesced(standing, wanted, JobKind.SUSPEND, ServiceState.SUSPENDED, "it is suspended already")
    if switched.done or switched.same is not None or wish.reason != ABUSE:
        return switched
    live = standing.live
    if live and live.kind in INTERRUPTIBLE and live.phase is Phase.GOING:
        return replace(switched, interrupt=(live.id,))
    return switched


def _resume(standing: Standing, wish: Wish) -> Arrival:
    left = standing.suspended_by - {wish.reason}
    if left:
        text = f"it stays suspended ({', '.join(sorted(left))})"
        return Arrival(done=text, suspended_by=left)
    wanted = Arrival(desired=Desired.ACTIVE, suspended_by=left)
    return _coalesced(standing, wanted, JobKind.RESUME, ServiceState.ACTIVE, "it is not suspended")


def _coalesced(standing: Standing, wanted: Arrival, kind: JobKind, state: ServiceState, sentence: str) -> Arrival:
    """Keep of queued suspends and resumes only what is still wanted."""
    pointless = tuple(job.id for job in standing.queued if job.kind in SWITCHING and job.kind is not kind)
    same = next((job for job in standing.queued if job.kind is kind), None)
    live = standing.live
    if live is None or not live.switching:
        if standing.state is state and not standing.half_switched:
            ended = (*pointless, *((same.id,) if same else ()))
            return replace(wanted, supersede=ended, done=sentence)
        stopped = _stop_stuck(live)
        if same is not None:
            return replace(wanted, same=same.id, supersede=(*pointless, *stopped.supersede), **_stops(stopped))
        return replace(wanted, supersede=(*pointless, *stopped.supersede), **_stops(stopped))
    if live.phase is Phase.STUCK:
        return replace(wanted, supersede=(*pointless, live.id), same=same.id if same else None)
    if live.kind is kind:  # it is doing just that: what is queued behind it would only undo it
        ended = (*pointless, *((same.id,) if same else ()))
        return replace(wanted, supersede=ended, same=live.id)
    return replace(wanted, supersede=pointless, same=same.id if same else None)


def _stop_stuck(live: JobAt | None) -> Arrival:
    """Say how a job that stands still makes way for a suspend or resume."""
    if live is None or live.phase is not Phase.STUCK or live.kind in (JobKind.OPEN, JobKind.CLOSE):
        return Arrival()
    match live.kind:
        case JobKind.REINSTALL:
            return Arrival(interrupt=(live.id,))
        case JobKind.ADD_ADDRESS:
            return Arrival(cancel=(live.id,))
        case _:
            return Arrival(supersede=(live.id,))


def _stops(stopped: Arrival) -> dict[str, Any]:
    return {"cancel": stopped.cancel, "interrupt": stopped.interrupt}


def _ordinary(standing: Standing, wish: Wish) -> Arrival:
    if wish.kind in COALESCE:
        equal = (job for job in standing.queued if job.kind is wish.kind and dict(job.params) == dict(wish.params))
        if same := next(equal, None):
            return Arrival(same=same.id)
    live = standing.live
    if live and live.kind is wish.kind is JobKind.CHANGE_PASSWORD and live.phase is Phase.STUCK:
        return Arrival(supersede=(live.id,))  # the panel refused it: another one is the mend
    return Arrival()


# --- its turn -----------------------------------------------------------------------------------------------------


class Turn(StrEnum):
    """What a job does when its turn has come."""

    RUN = "run"
    DONE = "done"  #: what it asks for is so
    SUPERSEDED = "superseded"  #: nobody wants it any more


@dataclass(frozen=True, slots=True)
class Due:
    """What a job does now, and why where it does not run."""

    turn: Turn
    says: str = ""


def due(standing: Standing, kind: JobKind) -> Due:
    """Say what a queued job of *kind* does now that nothing else is under way."""
    match kind:
        case JobKind.OPEN:
            return Due(Turn.RUN)
        case JobKind.CLOSE:
            return Due(Turn.RUN) if standing.claimed else Due(Turn.DONE, "it has no server; nothing was touched")
        case JobKind.SUSPEND | JobKind.RESUME:
            return _switch_due(standing, kind)
        case _:
            may = (ServiceState.ACTIVE, ServiceState.SUSPENDED) if kind in WHILE_SUSPENDED else (ServiceState.ACTIVE,)
            if standing.state in may:
                return Due(Turn.RUN)
            return Due(Turn.SUPERSEDED, f"the service is {standing.state} now")


def _switch_due(standing: Standing, kind: JobKind) -> Due:
    wanted, there = (
        (Desired.SUSPENDED, ServiceState.SUSPENDED)
        if kind is JobKind.SUSPEND
        else (Desired.ACTIVE, ServiceState.ACTIVE)
    )
    if standing.state not in (ServiceState.ACTIVE, ServiceState.SUSPENDED):
        return Due(Turn.SUPERSEDED, f"the service is {standing.state}: there is no server to {kind}")
    if standing.desired is not wanted:
        return Due(Turn.SUPERSEDED, f"a later wish wants it {standing.desired}")
    if standing.state is there and not standing.half_switched:
        return Due(Turn.DONE, f"it is {there} already")
    return Due(Turn.RUN)


# --- what is left -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Left:
    """What is wanted of a service, and whose suspensions stand."""

    desired: Desired
    suspended_by: frozenset[str]


def left(standing: Standing, kind: JobKind | None = None, reason: str = "") -> Left:
    """
    Say what is wanted after a job of *kind* ended in vain: what the jobs that remain go for, else what there is.

    *standing* holds the job no more. *reason* is the suspension that the job set or lifted.
    """
    wanted = _still_wanted(standing)
    if wanted is not Desired.SUSPENDED:
        return Left(wanted, standing.suspended_by if wanted is Desired.CLOSED else frozenset())
    reasons = standing.suspended_by
    if kind is JobKind.RESUME and reason:
        return Left(wanted, reasons | {reason})
    if kind is JobKind.SUSPEND and reason not in _reasons(standing, JobKind.SUSPEND):
        return Left(wanted, reasons - {reason} or reasons)  # suspended by nobody there is not
    return Left(wanted, reasons)


def _still_wanted(standing: Standing) -> Desired:
    if standing.state in (ServiceState.CLOSING, ServiceState.CLOSED):
        return Desired.CLOSED
    jobs = [job for job in standing.jobs if not job.guarded]
    if any(job.kind is JobKind.CLOSE for job in jobs):
        return Desired.CLOSED
    last = next((job for job in reversed(jobs) if job.switching), None)
    suspended = last.kind is JobKind.SUSPEND if last else standing.state is ServiceState.SUSPENDED
    return Desired.SUSPENDED if suspended else Desired.ACTIVE


def _reasons(standing: Standing, kind: JobKind) -> frozenset[str]:
    return frozenset(job.reason for job in standing.jobs if job.kind is kind and job.switching)

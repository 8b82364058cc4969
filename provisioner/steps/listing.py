"""What a list reading may be used for: is it new enough, and did a flag rise or fall since the act."""

from datetime import datetime

from provisioner.domain.outcome import Failed, Unknown, Wait
from provisioner.domain.states import StepState
from provisioner.errors import FailureClass
from provisioner.steps.base import StepContext


def stale(ctx: StepContext) -> Wait | Unknown | Failed | None:
    """
    Give a wait while the last list is too old to be judged by; None when it may be used.

    A memo is taken only from a list whose call began after the attempt came to the step; an act is judged only
    by one that began after it. A server that a whole list lacks is not ours any more.
    """
    if _too_old(ctx):
        reason, until = "the next list reading is awaited", ctx.clock.now() + ctx.policy.backoff
        if ctx.row.state is StepState.UNSURE:  # a wait would say that the act was seen under way
            return Unknown(reason, until=until, listed=True)
        return Wait(reason, until=until, listed=True)
    if ctx.listed().gone_from is not None:
        return Failed(FailureClass.LOST, "the DCIM's list does not hold the server any more")
    return None


def _too_old(ctx: StepContext) -> bool:
    """
    Say whether no list was read yet that began after the arrival, or after the act.

    An act that is refused again and again is given up by a list of after its deadline: one has to be read.
    """
    row = ctx.row
    since = row.arrived_at if row.state is StepState.PENDING else row.begun_at
    if row.state is StepState.PENDING and row.refusals and row.deadline_at and row.deadline_at <= ctx.clock.now():
        since = row.deadline_at
    return ctx.view is None or (since is not None and ctx.listed().observed_from < since)


def rose_since(ctx: StepContext, flag: str, since: datetime | None = None) -> bool:
    """Say whether *flag* was seen to rise since the act."""
    return _edge(ctx, f"{flag}_rose", since)


def fell_since(ctx: StepContext, flag: str, since: datetime | None = None) -> bool:
    """Say whether *flag* was seen to fall since the act."""
    return _edge(ctx, f"{flag}_fell", since)


def _edge(ctx: StepContext, edge: str, since: datetime | None) -> bool:
    instant = ctx.listed().edges.get(edge)
    start = since or ctx.row.begun_at
    return instant is not None and start is not None and instant >= start

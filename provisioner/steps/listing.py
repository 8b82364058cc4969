"""What a list reading may be used for: is it new enough, and did a flag rise or fall since the act."""

from datetime import datetime

from provisioner.domain.outcome import Failed, Wait
from provisioner.domain.states import StepState
from provisioner.errors import FailureClass
from provisioner.steps.base import StepContext


def stale(ctx: StepContext) -> Wait | Failed | None:
    """
    Give a wait while the last list is too old to be judged by; None when it may be used.

    A memo is taken only from a list whose call began after the attempt came to the step; an act is judged only
    by one that began after it. A server that a whole list lacks is not ours any more.
    """
    view, row = ctx.listed(), ctx.row
    since = row.arrived_at if row.state is StepState.PENDING else row.begun_at
    if since is not None and view.observed_from < since:
        return Wait("the next list reading is awaited", until=ctx.clock.now() + ctx.policy.backoff, listed=True)
    if view.gone_from is not None:
        return Failed(FailureClass.LOST, "the DCIM's list does not hold the server any more")
    return None


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

"""Jobs as they stand, their timelines, and on-call's verbs: `/v1/jobs`."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.concurrency import run_in_threadpool

from provisioner.api.auth import Anybody, Operator, Ports, Viewer
from provisioner.api.errors import documented
from provisioner.api.schemas import (
    BIG,
    After,
    JobNumber,
    Limit,
    ReasonBody,
    RetryBody,
    SkipBody,
    SwapBody,
    VerbBody,
)
from provisioner.bootstrap import App
from provisioner.domain.states import JOB_ENDED, JobState, WaitsFor
from provisioner.usecases import operate
from provisioner.views import events, failures, job
from provisioner.views.events import EventPage
from provisioner.views.failures import FailureGroup
from provisioner.views.job import JobLine, JobView

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], responses=documented(400, 401, 422, 503))
WAIT_MOST = 60


@router.get("")
def listing(
    *,
    ports: Ports,
    who: Anybody,
    state: JobState | None = None,
    waits_for: WaitsFor | None = None,
    service: Annotated[str | None, Query(max_length=100, description="Its reference at billing.")] = None,
    before: Annotated[int, Query(ge=1, le=BIG, description="Jobs with a smaller id.")] = BIG,
    limit: Limit = 50,
) -> Sequence[JobLine]:
    """List jobs, newest first."""
    return job.listing(
        reads=ports.reads,
        panel=who.sees,
        state=state,
        waits_for=waits_for,
        service=service,
        before=before,
        limit=limit,
    )


@router.get("/failures", responses=documented(403))
def failed(
    ports: Ports,
    who: Viewer,
    step: Annotated[str | None, Query(max_length=100, description="That failed.")] = None,
    location: Annotated[str | None, Query(max_length=200)] = None,
    hours: Annotated[float, Query(gt=0, le=24 * 366, description="Since so many hours ago.")] = 24.0,
) -> Sequence[FailureGroup]:
    """Group what failed or is held by step, class and location: one dead switch fails forty orders."""
    del who
    found = failures.listing(reads=ports.reads, step=step, location=location, since=timedelta(hours=hours))
    return failures.grouped(found)


@router.get("/{job_id}", responses=documented(404))
async def show(
    job_id: JobNumber,
    ports: Ports,
    who: Anybody,
    wait: Annotated[int, Query(ge=0, le=WAIT_MOST, description="Seconds to hold until the job changes.")] = 0,
    seen: Annotated[
        int | None, Query(ge=0, le=BIG, description="`last_seq` as last read: answer at once if it is another.")
    ] = None,
) -> JobView:
    """
    Say how a job stands: attempts, steps with tries, times and evidence, and what it waits for in one sentence.

    With `wait` the answer is held until the job changes; no database connection is held meanwhile.
    """

    def read() -> JobView:
        return job.show(job_id, reads=ports.reads, spans=ports.spans, panel=who.sees)

    if not wait:
        return await run_in_threadpool(read)
    told = ports.listener.subscribe(job_id)
    try:
        found = await run_in_threadpool(read)
        if JobState(found.state) in JOB_ENDED or (seen is not None and seen != found.last_seq):
            return found
        with suppress(TimeoutError):
            await asyncio.wait_for(told.wait(), wait)
    finally:
        ports.listener.forget(job_id, told)
    return await run_in_threadpool(read)


@router.get("/{job_id}/events", responses=documented(404))
def timeline(job_id: JobNumber, ports: Ports, who: Anybody, after: After = 0, limit: Limit = 100) -> EventPage:
    """Give the job's timeline."""
    return events.of_job(job_id, reads=ports.reads, panel=who.sees, after=after, limit=limit)


DryRun = Annotated[bool, Query(description="Say what would happen, and do nothing.")]


@dataclass(frozen=True, slots=True)
class Given:
    """A verb that was given, or would be."""

    does: str  #: what it does to the server, to the disks above all
    done: bool  #: False: only asked
    job: JobView


def _operator(ports: Ports, who: Operator, *, dry_run: DryRun = False) -> operate.Operator:
    return operate.Operator(f"token {who.name}", ports.services, ports.waker, ports.policies, dry_run)


By = Annotated[operate.Operator, Depends(_operator)]


def _given(job_id: int, ports: App, by: operate.Operator, does: str) -> Given:
    return Given(does, not by.dry_run, job.show(job_id, reads=ports.reads, spans=ports.spans))


@router.post("/{job_id}/retry", responses=documented(403, 404, 409, 413))
def retry(job_id: JobNumber, ports: Ports, by: By, body: RetryBody | None = None) -> Given:
    """Run the failed step of a held attempt again, or from an earlier one; give a failed job a fresh start."""
    asked = body or RetryBody()
    does = operate.retry(job_id, by, step=asked.step, wipe=asked.wipe, reason=asked.reason)
    return _given(job_id, ports, by, does)


@router.post("/{job_id}/cancel", responses=documented(403, 404, 409, 413))
def cancel(job_id: JobNumber, ports: Ports, by: By, body: VerbBody | None = None) -> Given:
    """Undo what the job did and end it; refused once hand-over has begun. Safe to repeat."""
    return _given(job_id, ports, by, operate.cancel(job_id, by, reason=body.reason if body else ""))


@router.post("/{job_id}/skip", responses=documented(403, 404, 409, 413))
def skip(job_id: JobNumber, ports: Ports, by: By, body: SkipBody) -> Given:
    """Pass the step at which a job is held; claim and hand-over can't be."""
    return _given(job_id, ports, by, operate.skip(job_id, by, step=body.step, reason=body.reason))


@router.post("/{job_id}/swap", responses=documented(403, 404, 409, 413))
def swap(job_id: JobNumber, ports: Ports, by: By, body: SwapBody) -> Given:
    """Give up this server and take the next one: it goes into quarantine, or with `release` back to stock."""
    return _given(job_id, ports, by, operate.swap(job_id, by, reason=body.reason, release=body.release))


@router.post("/{job_id}/hold", responses=documented(403, 404, 409, 413))
def hold(job_id: JobNumber, ports: Ports, by: By, body: ReasonBody) -> Given:
    """Let a job stand still until it is retried or cancelled."""
    return _given(job_id, ports, by, operate.hold(job_id, by, reason=body.reason))

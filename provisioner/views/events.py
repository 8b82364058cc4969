"""The timeline of a job or of a service, page by page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from provisioner.errors import NotFound
from provisioner.ports import Facts, Reads
from provisioner.views import service

PAGE = 100


@dataclass(frozen=True, slots=True)
class EventView:
    """One line of a timeline."""

    seq: int  #: its number in the timeline of its service
    at: datetime
    kind: str
    text: str
    data: Mapping[str, Any]
    job_id: int | None
    attempt: int | None


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events after a number; ask again with `next_after`."""

    events: Sequence[EventView]
    next_after: int


def of_job(job_id: int, *, reads: Reads, panel: str | None = None, after: int = 0, limit: int = PAGE) -> EventPage:
    """Give a job's timeline after *after*. Raises `NotFound`, also for another panel's."""
    if reads.job(job_id, panel=panel) is None:
        raise NotFound(f"no job {job_id}")
    return _page(reads.events(job_id=job_id, service_id=None, after=after, limit=limit), after)


def of_service(
    external_ref: str, *, reads: Reads, panel: str | None = None, after: int = 0, limit: int = PAGE
) -> EventPage:
    """Give a service's timeline after *after*. Raises what `service.show` raises."""
    found = service.show(external_ref, reads=reads, panel=panel)
    return _page(reads.events(job_id=None, service_id=found.id, after=after, limit=limit), after)


def _page(found: Sequence[Facts], after: int) -> EventPage:
    events = [EventView(**row) for row in found]
    return EventPage(events, events[-1].seq if events else after)

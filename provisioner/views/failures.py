"""What failed, or is held for a person: grouped by cause first, since one dead switch fails forty orders."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from provisioner.ports import Facts, Reads


@dataclass(frozen=True, slots=True)
class Failure:
    """One job that failed or is held."""

    job_id: int
    kind: str
    state: str  #: failed, or held
    external_ref: str | None
    server: str | None
    connection: str | None
    location: str
    step: str  #: that failed; "" where none did
    reason_class: str
    error: str
    since: datetime


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Jobs that failed for one cause: the same step, class and location."""

    count: int
    step: str
    reason_class: str
    location: str
    since: datetime  #: of the first
    first_error: str
    jobs: Sequence[int]  #: oldest first


def listing(
    *,
    reads: Reads,
    state: str | None = None,
    step: str | None = None,
    location: str | None = None,
    since: timedelta = timedelta(days=1),
) -> Sequence[Failure]:
    """Give what failed or is held since then, or only what is in *state*, oldest first."""
    found = reads.failures(step=step, location=location, seconds=since.total_seconds())
    return [_failure(row) for row in found if state in (None, row["state"])]


def grouped(failures: Sequence[Failure]) -> Sequence[FailureGroup]:
    """Put those of one cause together, the largest group first."""
    groups: dict[tuple[str, str, str], list[Failure]] = defaultdict(list)
    for one in failures:
        groups[one.step, one.reason_class, one.location].append(one)
    found = [
        FailureGroup(
            count=len(members),
            step=step,
            reason_class=reason_class,
            location=location,
            since=members[0].since,
            first_error=members[0].error,
            jobs=[one.job_id for one in members],
        )
        for (step, reason_class, location), members in groups.items()
    ]
    return sorted(found, key=lambda group: (-group.count, group.since))


def _failure(row: Facts) -> Failure:
    return Failure(
        job_id=row["id"],
        kind=row["kind"],
        state=row["state"],
        external_ref=row["external_ref"],
        server=row["server"],
        connection=row["connection"],
        location=row["location"] or "",
        step=row["step"] or "",
        reason_class=row["reason_class"] or "",
        error=row["error"] or "",
        since=row["since"],
    )

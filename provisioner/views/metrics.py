"""The first figures that a monitoring wants: what is under way, what waits, what is out of use, who fails."""

from collections.abc import Mapping
from dataclasses import dataclass

from provisioner.domain.connection import ConnectionState
from provisioner.domain.states import JOB_ENDED, JobState, WaitsFor
from provisioner.ports import Reads

#: reasons beyond those of a queued job: a message that no worker took
REASONS = (*(reason.value for reason in WaitsFor), "worker")


@dataclass(frozen=True, slots=True)
class Figures:
    """Each name is always there, with 0 where there is nothing: an alert must tell 0 from silence."""

    jobs: Mapping[str, int]  #: that have not ended, by state
    oldest_seconds: Mapping[str, float]  #: of the oldest that waits, by reason
    quarantined: Mapping[str, int]  #: servers, by connection
    connections: Mapping[str, str]  #: name → state
    calls_failed: Mapping[str, int]  #: calls that found the panel away or were refused, ever, by connection
    tick_age_seconds: float | None  #: None: there was none yet


def figures(*, reads: Reads) -> Figures:
    """Give all figures; one statement each, none reads what has ended."""
    health = reads.health()
    jobs = {row["state"]: row["jobs"] for row in reads.jobs_by_state()}
    waits = {row["reason"]: max(row["oldest_seconds"], 0.0) for row in reads.waiting()}
    places = reads.fleet()
    tick = health["tick_at"]
    return Figures(
        jobs={state.value: jobs.get(state, 0) for state in JobState if state not in JOB_ENDED},
        oldest_seconds={reason: waits.get(reason, 0.0) for reason in (*REASONS, *(waits.keys() - set(REASONS)))},
        quarantined={row["connection"]: row["servers"] for row in reads.quarantined()},
        connections={place["name"]: ConnectionState(place["state"]).value for place in places},
        calls_failed={place["name"]: place["calls_failed"] for place in places},
        tick_age_seconds=(health["now"] - tick).total_seconds() if tick else None,
    )

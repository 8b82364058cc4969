"""What a run says at its end: figures first, then each case with its trail."""

from __future__ import annotations

import json
import re
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from tests.chaos.judge import Verdict, timeline, trail
from tests.chaos.storm import Storm
from tests.chaos.town import Town

Json = Any
SHOWN = 5  #: cases of one rule that are printed with their trail
HELD = """
SELECT j.kind, st.name AS step, coalesce(nullif(a.reason, ''), st.outcome) AS why FROM attempt a
  JOIN job j ON j.id = a.job_id JOIN step st ON st.attempt_id = a.id AND st.pos = a.pos WHERE a.state = 'held'"""


def figures(storm: Storm, verdict: Verdict, services: Mapping[str, Json], took: float, heard: int) -> dict[str, Json]:
    """Give all that was counted, by what a reader calls it."""
    recoveries = sorted(storm.recoveries)
    restarts = storm.town.restarts
    return {
        "seed": storm.seed,
        "seconds": round(took, 1),
        "orders": len(services),
        "became of them": _by_end(services),
        "why not": _reasons(services),
        "jobs that waited, for what": {what: len(jobs) for what, jobs in sorted(storm.waited.items())},
        "other wishes, by end": _wishes(services),
        "refused with a sentence": dict(sorted(storm.refused.items())),
        "panel calls, faulty": _faulty(verdict),
        "answers of the technician": dict(sorted(storm.technician.answered.items())),
        "decided by a person": storm.person.asked,
        "held for a person at the end": _held(storm.town),
        "mails to those in charge": len(list(storm.town.mail.glob("*.eml"))),
        "events of workers searched": heard,
        "kills, starts again": [storm.killer.kills, restarts],
        "longest not looked at, s": round(storm.unseen, 1),
        "recovery after a kill, s": {
            "median": round(statistics.median(recoveries), 1), "worst": round(recoveries[-1], 1), "of": len(recoveries),
        } if recoveries else None,
        "must be 0": {rule: len(found) for rule, found in verdict.cases.items()},
    }  # fmt: skip


def lines(told: Mapping[str, Json], storm: Storm, verdict: Verdict) -> Iterator[str]:
    """Give the report for a person."""
    for name, value in told.items():
        yield f"  {name:<29} {_plain(value)}"
    for rule, text, more in cases(storm.town, verdict):
        yield f"\n{rule}: {text}"
        yield from more
    yield f"seed {storm.seed}: {'all zeros' if verdict.clean else 'BROKEN'}"


def cases(town: Town, verdict: Verdict) -> Iterator[tuple[str, str, list[str]]]:
    """Give the first cases of each rule, each with its trail."""
    for rule, found in verdict.cases.items():
        for text in found[:SHOWN]:
            ref = re.search(r"ord-[0-9]+-[0-9]+", text)
            yield rule, text, [*trail(town, text), *(timeline(town, ref[0]) if ref else [])]


def _plain(value: Json) -> str:
    if isinstance(value, dict):
        return " · ".join(f"{name} {count}" for name, count in value.items()) or "-"
    return str(value)


def _by_end(services: Mapping[str, Json]) -> dict[str, int]:
    """Count orders by how their opening ended."""
    return dict(Counter(_open(one)["state"] for one in services.values()).most_common())


def _reasons(services: Mapping[str, Json]) -> dict[str, int]:
    """Count what billing was told of orders that did not end well; numbers left out, so that like meets like."""
    told = [_open(one) for one in services.values()]
    return dict(Counter(_like(job["reason"]) for job in told if job["state"] != "succeeded").most_common(12))


def _open(service: Json) -> Json:
    return [job for job in service["jobs"] if job["kind"] == "open"][-1]


def _like(reason: str) -> str:
    return re.sub(r"[0-9]+(\.[0-9]+)*", "N", reason or "under way")[:100]


def _wishes(services: Mapping[str, Json]) -> dict[str, int]:
    jobs = [job for one in services.values() for job in one["jobs"] if job["kind"] != "open"]
    return dict(sorted(Counter(f"{job['kind']} {job['state']}" for job in jobs).items()))


def _held(town: Town) -> dict[str, int]:
    """Count what a person did not get to its end, by where it stands and why."""
    told = (f"{row['kind']} at {row['step']}: {_like(row['why'])}" for row in town.database.rows(HELD))
    return dict(Counter(told).most_common())


def _faulty(verdict: Verdict) -> dict[str, Json]:
    faulty = verdict.faults.total()
    share = 100 * faulty / max(1, verdict.calls)
    return {"calls": verdict.calls, "faulty": faulty, "%": round(share, 1), **dict(verdict.faults.most_common())}


def as_json(told: Mapping[str, Json], storm: Storm, verdict: Verdict) -> str:
    """Give the report for a program, on one line."""
    found = [{"rule": rule, "case": text, "trail": more} for rule, text, more in cases(storm.town, verdict)]
    return json.dumps({**told, "cases": found}, default=str)

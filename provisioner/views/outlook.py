"""What a job waits for, since when, who looks next and when, and what happens if nothing changes; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from provisioner.domain.spans import Spans
from provisioner.domain.states import AttemptState, Direction, JobKind, JobState, WaitsFor
from provisioner.domain.verbs import CLAIM

Facts = Mapping[str, Any]
RECONCILER = "the reconciler"
ASKED = frozenset({"ask_placed", "ask_removed"})  #: steps that people do: no deadline ends them


@dataclass(frozen=True, slots=True)
class Outlook:
    """On-call's one question, answered in parts; `sentence` says it in one."""

    waits_for: str  #: "" when it waits for nothing
    since: datetime | None
    next_by: str  #: who looks next; "" when nobody does by himself
    next_at: datetime | None  #: about when; None: at once, or when told
    otherwise: str  #: what happens if nothing changes

    @property
    def sentence(self) -> str:
        """Give all of it in one line."""
        parts = [self.waits_for]
        if self.since is not None:
            parts[0] += f", since {clock(self.since)}"
        if self.next_by:
            parts.append(f"{self.next_by} looks next" + (f", about {clock(self.next_at)}" if self.next_at else ""))
        parts.append(self.otherwise)
        return "; ".join(part for part in parts if part)


def clock(instant: datetime) -> str:
    """Give an instant as people read it."""
    return f"{instant:%Y-%m-%d %H:%M:%S} UTC"


def at(value: object) -> datetime | None:
    """Give an instant from JSON or from a column."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value if isinstance(value, datetime) else None


def outlook(job: Facts, spans: Spans) -> Outlook:
    """Answer for a job as `Reads.job` gives it."""
    state = JobState(job["state"])
    if state in _ENDED:
        return _ended(job, state)
    if job.get("halted"):
        why = f"nothing is done until a person has looked: {job['halted']}"
        return Outlook(why, at(job["halted_at"]), "", None, "nothing is lost, and no deadline runs meanwhile")
    attempts: Sequence[Facts] = job["attempts"]
    live = next((one for one in attempts if one["state"] != AttemptState.ENDED), None)
    if live is None:
        return _queued(job, spans)
    if state is JobState.INTERRUPTED:
        return Outlook("a suspension interrupted it", at(live["held_since"]), "", None, "it goes on after the resume")
    return _attempt(job, live, spans)


# --- ended --------------------------------------------------------------------------------------------------------

_ENDED = {
    JobState.SUCCEEDED: "done",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "cancelled",
    JobState.SUPERSEDED: "superseded by a later wish",
}


def _ended(job: Facts, state: JobState) -> Outlook:
    reason = f": {job['reason']}" if job["reason"] else ""
    otherwise = "nothing more happens"
    if state in (JobState.FAILED, JobState.CANCELLED):
        newest = job["newest_job"] in (None, job["id"])
        otherwise = "nothing more happens unless it is retried" if newest else f"job {job['newest_job']} came after it"
    ended = at(job["ended_at"])
    when = f" at {clock(ended)}" if ended else ""
    return Outlook(f"{_ENDED[state]}{when}{reason}", None, "", None, otherwise)


# --- no attempt ---------------------------------------------------------------------------------------------------


def _queued(job: Facts, spans: Spans) -> Outlook:
    since = at(job["waits_since"])
    match job["waits_for"]:
        case WaitsFor.STOCK:
            return _stock(job, spans)
        case WaitsFor.SITE:
            return _site(job, spans, since)
        case WaitsFor.JOB:
            return Outlook(f"waits: {_first(job)}", since, "", None, "the end of that job starts it")
        case WaitsFor.HOLD:
            return Outlook(
                f"waits for a hold to be lifted ({job['held_reason']})", since, "", None, "until then it stays"
            )
        case WaitsFor.PERSON:
            return Outlook(f"waits for a person: {job['reason']}", since, "", None, "until then it stays")
        case WaitsFor.SLOT:
            return Outlook("waits for its turn", since, RECONCILER, at(job["plan_at"]), "then it is planned")
        case _:
            return Outlook(
                "waits to be planned",
                at(job["created_at"]) if not job["attempts"] else None,
                RECONCILER,
                at(job["plan_at"]),
                "then it takes the next free server" if job["kind"] == JobKind.OPEN else "then it begins",
            )


def _first(job: Facts) -> str:
    """Say whose end is waited for: what was said when the job came may have been overtaken by a hold."""
    first = job["first"]
    if first and first["held"]:
        return f"job {first['id']} ({first['kind']}) goes first and is held for a person ({first['reason']})"
    return str(job["reason"] or "an earlier job of its service goes first")


def _stock(job: Facts, spans: Spans) -> Outlook:
    since = at(job["stock_since"]) or at(job["waits_since"])
    asked = [place for place in job["places"] if place["state"] in ("active", "restricted")]
    places = [place["name"] for place in asked]
    tried = [found for place in asked if (found := at(place["observe_tried_at"]))]
    ends = since + timedelta(seconds=job["stock_wait_seconds"]) if since else None
    return Outlook(
        f"waits for a free server of type {job['server_type']}",
        since,
        f"the observer, by the list of {', '.join(places)}," if places else "",
        max(min(tried) + spans.seconds("observe_stock"), job["now"]) if tried else None,
        f"if none comes free it fails at {clock(ends)}" if ends else "if none comes free it fails in the end",
    )


def _site(job: Facts, spans: Spans, since: datetime | None) -> Outlook:
    words, by, when = [], "", None
    for place in job["places"]:
        match place["state"]:
            case "paused":
                words.append(f"{place['name']} is paused ({place['pause_reason']})")
                tried = at(place["observe_tried_at"])
                if place["paused_by"] == "away":
                    by, when = "the observer, one call at a time,", tried + spans.seconds("probe") if tried else None
            case "restricted":
                words.append(f"{place['name']} is restricted: {place['restricted_step']} fails there")
                by, when = f"{RECONCILER}, with one order at a time,", at(place["canary_at"])
            case "disabled":
                words.append(f"{place['name']} is disabled")
            case _:
                words.append(f"{place['name']} is {place['state']} again")
                by, when = RECONCILER, at(job["plan_at"])
    return Outlook(
        f"waits for the site: {', '.join(words) or job['reason'] or 'no connection of its package is there'}",
        since,
        by,
        max(when, job["now"]) if when else None,
        "no deadline runs meanwhile"
        if by
        else "no deadline runs meanwhile; it stays until a person resumes or enables it",
    )


# --- an attempt ---------------------------------------------------------------------------------------------------


def _attempt(job: Facts, live: Facts, spans: Spans) -> Outlook:
    step = next((row for row in live["steps"] if row["pos"] == live["pos"]), None)
    if step is None:
        return Outlook("stands before its first step", None, RECONCILER, at(live["resume_at"]), "")
    server = f"on server {live['server']} of" if live["server"] else "at"
    where = f"step {label(job['kind'], step, live['steps'])} {server} {live['connection']}"
    arrived, begun = at(step["arrived_at"]), at(step["begun_at"])
    seen = f" ({step['outcome']})" if step["outcome"] else ""
    if live["state"] == AttemptState.HELD:
        verbs = "`retry` runs the step again, `cancel` undoes everything"
        return Outlook(
            f"{where} is held for a person: {live['reason'] or step['outcome']}",
            at(live["held_since"]),
            "",
            None,
            f"nothing happens by itself; {verbs}",
        )
    if live["connection_state"] == "paused" and live["state"] != AttemptState.RUNNING:
        return _away(live, where, spans)
    late = _late(job, live, step)
    match live["state"]:
        case AttemptState.RUNNING:
            worker = f" by {live['worker']}" if live["worker"] else ""
            lease = at(live["lease_until"])
            gone = f"if the worker dies {RECONCILER} takes over after {clock(lease)}" if lease else ""
            return Outlook(f"{where} is being worked on{worker}", arrived, "", None, gone)
        case AttemptState.READY if live["starved"]:
            why = f"{where} waits for its turn: {live['connection']} is as busy as it may be"
            return Outlook(why, arrived, "the next worker that ends there", None, late)
        case AttemptState.READY:
            lost = f"if its message is lost, {RECONCILER} sends it again"
            return Outlook(f"{where} waits for a worker; {lost}", arrived, RECONCILER, at(live["resume_at"]), late)
        case _:
            by, when = _who(live, job["now"], spans)
            return Outlook(f"{where} waits{seen}", begun or arrived, by, when, late)


def _away(live: Facts, where: str, spans: Spans) -> Outlook:
    tried = at(live["observe_tried_at"])
    by_itself = live["paused_by"] == "away"
    return Outlook(
        f"{where} waits for the site: {live['connection']} is paused ({live['pause_reason']})",
        at(live["paused_at"]),
        "the observer, one call at a time," if by_itself else "",
        tried + spans.seconds("probe") if tried and by_itself else None,
        "no deadline runs meanwhile" if by_itself else "no deadline runs meanwhile; it stays until a person resumes it",
    )


def _who(live: Facts, now: datetime, spans: Spans) -> tuple[str, datetime | None]:
    if live["awaits"] is None:
        return RECONCILER, at(live["resume_at"])
    tried = at(live["observe_tried_at"])
    every = spans.seconds("observe_short" if live["awaits"] == "short" else "observe_long")
    return f"the observer, by the list of {live['connection']},", max(tried + every, now) if tried else None


def _late(job: Facts, live: Facts, step: Facts) -> str:
    """Say what the deadline brings."""
    deadline = at(step["deadline_at"])
    if step["name"] in ASKED:
        question = job["question"] or {}
        due = at(question.get("due_at"))
        if due is None or question.get("overdue"):
            return "it waits until somebody answers"
        return f"at {clock(due)} the administrator in charge is told"
    if deadline is None:
        return ""
    if job["kind"] != JobKind.OPEN:
        then = _late_elsewhere(JobKind(job["kind"]), back=live["direction"] == Direction.BACK)
    elif live["direction"] == Direction.BACK:
        then = "this undo counts as failed, the server stays out of sale and a job of its own goes on with it"
    elif any(row["name"] == "hand_over" and row["acted_at"] for row in live["steps"]):
        then = "a person is asked: the server may be the customer's already"
    elif job["on_failure"] == "hold":
        then = "it is held for a person"
    elif step["name"] in ("account", "claim"):
        then = "this server is let go and the next is tried"
    else:
        then = "all is undone, the server quarantined and the next one tried"
    return f"if nothing changes until {clock(deadline)}, {then}"


def _late_elsewhere(kind: JobKind, *, back: bool) -> str:
    """Say what a deadline brings where no server can be given up for another."""
    match kind:
        case JobKind.CLOSE | JobKind.RELEASE | JobKind.QUARANTINE:
            return "it is tried again with growing distance, and then a person is asked"
        case JobKind.RETEST:
            return "the server stays in quarantine"
        case JobKind.ADD_ADDRESS if not back:
            return "what was taken is given back, and the job fails"
        case _:
            return "it is held for a person: the server is the customer's"


def label(kind: str, step: Facts, steps: Sequence[Facts]) -> str:
    """Give a step's name as Flower has it: `06_install_os`, `undo.04_switch_port`, `undo.quarantine`."""
    if step["undoes"] is None or kind == JobKind.RELEASE:
        return f"{step['pos']:02d}_{step['name']}"
    undone = next((row["name"] for row in steps if row["pos"] == step["undoes"]), CLAIM)
    return f"undo.{step['name']}" if undone == CLAIM else f"undo.{step['undoes']:02d}_{undone}"

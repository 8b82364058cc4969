"""Examine the installation: one line a thing, green, red or not known, each red one with the line to type."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from provisioner.domain.spans import Spans
from provisioner.errors import BadConfig, Overloaded
from provisioner.ports import Broker, Desks, Facts, Heartbeats, Reads

OURS = ("control", "observe", "outbox")  #: queues that no connection names
MISSED = 6  #: signs of life, after which a worker is silent
GONE = timedelta(hours=1)  #: a worker that was silent so long was taken away: its queues say whether it is missed
TICKS_MISSED = 15  #: as in `/readyz`
SKEW_SECONDS = 5.0  #: leases use the database's clock, but timers and what expires use the host's
LIST_MISSED = 5  #: list readings of a connection on which something waits
UNATTENDED_SECONDS = 60.0  #: a message that no worker took


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was looked at."""

    about: str
    well: bool | None  #: None: not known, since something before it is not well
    says: str
    mend: str = ""  #: what to type; "" where nothing is to be done by hand


def examine(
    *,
    reads: Reads,
    heartbeats: Heartbeats,
    broker: Broker,
    spans: Spans,
    version: str,
    desks: Desks,
    clock: Callable[[], datetime],
) -> Sequence[Line]:
    """
    Give every line, whatever is down; all is well when each is.

    It writes one row of its own, to see whether the database takes any.
    """
    trouble = broker.trouble()
    said = Line("broker", not trouble, trouble or "answers", "systemctl status redis-server" if trouble else "")
    try:
        return [
            *_database(reads, heartbeats, clock, spans),
            said,
            *_site(reads, spans, version),
            *_told(reads, desks),
        ]
    except Overloaded as error:
        return [_down(str(error)), *_unknown("migrations", "installation", "last tick", "clock"), said, *_unknown()]
    except _NoTables as missing:
        return [*missing.lines, said, *_unknown()]


class _NoTables(Exception):
    """The tables are older than this program, so nothing more is asked of them."""

    def __init__(self, lines: Sequence[Line]) -> None:
        super().__init__()
        self.lines = lines


def _down(why: str) -> Line:
    return Line("database", well=False, says=why, mend="systemctl status postgresql; see PROVISIONER_DATABASE_URL")


def _unknown(*about: str) -> list[Line]:
    about = about or ("workers", "queues", "connections", "waiting work", "desks", "messages")
    return [Line(one, None, "not known") for one in about]


# --- database and clock -------------------------------------------------------------------------------------------


def _database(reads: Reads, heartbeats: Heartbeats, clock: Callable[[], datetime], spans: Spans) -> list[Line]:
    reads.health()  # connected now: the next look is as fast as the clock needs it
    before = clock()
    found = reads.health()
    skew = _skew(before, found["now"], clock())
    lines = [Line("database", well=True, says=f"PostgreSQL {found['server']}, takes writes")]
    if found["read_only"]:
        lines = [Line("database", well=False, says="is read-only", mend="name the primary in PROVISIONER_DATABASE_URL")]
    if found["revision"] != found["newest"]:
        have = found["revision"] or "none"
        says = f"revision {have}, this program wants {found['newest']}"
        lines.append(Line("migrations", well=False, says=says, mend="provisioner db upgrade"))
        raise _NoTables([*lines, *_unknown("installation", "last tick"), _clock(skew)])
    lines.append(Line("migrations", well=True, says=f"revision {found['revision']}, the newest"))
    if not found["read_only"]:
        try:
            heartbeats.try_writing()
        except Overloaded as error:
            lines[0] = Line(
                "database", well=False, says=f"takes no writes: {error}", mend="df -h; see PostgreSQL's log"
            )
    if found["halted"]:
        lines.append(Line("installation", well=False, says=found["halted"], mend="provisioner audit --after-restore"))
    else:
        lines.append(Line("installation", well=True, says="is the one that the books were kept in"))
    return [*lines, _tick(found, spans), _clock(skew)]


def _tick(found: Facts, spans: Spans) -> Line:
    mend = "systemctl restart provisioner-control"
    if found["tick_at"] is None:
        return Line("last tick", well=False, says="there was none yet", mend=mend)
    age = (found["now"] - found["tick_at"]).total_seconds()
    young = age < TICKS_MISSED * spans.reconcile
    return Line("last tick", well=young, says=f"{_span(age)} ago", mend="" if young else mend)


def _skew(before: datetime, theirs: datetime, after: datetime) -> float:
    """Give the seconds that this host's clock is surely wrong by, against the database's."""
    if theirs < before:
        return (theirs - before).total_seconds()
    return max((theirs - after).total_seconds(), 0.0)


def _clock(skew: float) -> Line:
    if abs(skew) <= SKEW_SECONDS:
        return Line("clock", well=True, says=f"within {SKEW_SECONDS:g} s of the database's")
    which = "behind" if skew > 0 else "ahead of"
    says = f"this host is {_span(abs(skew))} {which} the database"
    return Line("clock", well=False, says=says, mend="timedatectl set-ntp true")


# --- workers, queues, connections, work ---------------------------------------------------------------------------


def _site(reads: Reads, spans: Spans, version: str) -> Iterator[Line]:
    silent = MISSED * spans.worker_beat
    workers = [one for one in reads.workers() if one["age_seconds"] < max(GONE.total_seconds(), silent)]
    places = reads.fleet()
    if not workers:
        mend = "systemctl start provisioner-control provisioner-steps@steps"
        yield Line("workers", well=False, says="none has given a sign of life", mend=mend)
    for one in workers:
        yield _worker(one, silent, version)
    served = {queue for one in workers if one["age_seconds"] < silent for queue in one["queues"]}
    wanted = {place["queue"] for place in places if place["state"] != "disabled"}
    for queue in sorted({*wanted, *OURS}):
        yield _queue(queue, served=queue in served)
    for place in places:
        yield _place(place, spans)
    if places and not any(place["has_default"] for place in places):
        nobody = [place["name"] for place in places if not place["in_charge"] and place["state"] != "disabled"]
        if nobody:
            says = f"nobody is told of errors of {', '.join(nobody)}"
            mend = "provisioner department set default --address oncall@example.net"
            yield Line("in charge", well=False, says=says, mend=mend)
    yield from _waiting(reads.waiting())


def _told(reads: Reads, desks: Desks) -> Iterator[Line]:
    """Say whether those in charge hear of errors, and billing of its services."""
    for kind in sorted({department["desk"] for department in reads.departments()}):
        try:
            desks.get(kind)
        except BadConfig as error:
            says = f"{error}. Its messages are kept, nobody gets them"
            yield Line(f"desk {kind}", well=False, says=says, mend="systemctl restart provisioner-control, when it is")
        else:
            yield Line(f"desk {kind}", well=True, says="is set up")
    yield _messages(reads.messages())
    for callback in reads.callbacks():
        yield _callback(callback)


def _messages(found: Facts) -> Line:
    untold = found["untold_seconds"] or 0.0
    if untold >= UNATTENDED_SECONDS:
        says = f"nobody empties the outbox: its oldest event waits for {_span(untold)}"
        return Line("messages", well=False, says=says, mend="systemctl restart provisioner-control")
    if found["refused"]:
        says = f"{found['refused']} were not taken, the oldest: {found['error']}"
        return Line("messages", well=False, says=says, mend=f"provisioner ticket show {found['ticket']}")
    return Line("messages", well=True, says="none was refused")


def _callback(callback: Facts) -> Line:
    panel, given_up = callback["panel"], callback["given_up"]
    about = f"callback {panel}"
    if callback["failures"]:
        says = f"services to tell of: {callback['waiting'] + given_up}, failures in a row: {callback['failures']}"
        return Line(about, well=False, says=f"{says}, the last: {callback['error']}", mend="provisioner callback list")
    if given_up:
        mend = f"provisioner callback replay {panel} --failed"
        return Line(about, well=False, says=f"services that it was not told of in time: {given_up}", mend=mend)
    return Line(about, well=True, says="takes what it is told")


def _worker(one: Facts, silent: float, version: str) -> Line:
    about = f"worker {one['name']}"
    unit = f"journalctl -u 'provisioner-*' on {one['name'].partition('@')[2]}"
    if one["age_seconds"] >= silent:
        says = f"has been silent for {_span(one['age_seconds'])}; one that was taken away is forgotten after an hour"
        return Line(about, well=False, says=says, mend=unit)
    serves = f"version {one['version']}, serves {', '.join(one['queues'])}"
    if one["version"] != version:
        mend = "systemctl restart provisioner-control 'provisioner-steps@*'"
        return Line(about, well=False, says=f"{serves}; this program is {version}", mend=mend)
    return Line(about, well=True, says=serves)


def _queue(queue: str, *, served: bool) -> Line:
    if served:
        return Line(f"queue {queue}", well=True, says="is served")
    unit = {"control": "provisioner-control", "outbox": "provisioner-control", "observe": "provisioner-steps@steps"}
    start = unit.get(queue, f"provisioner-steps@{queue}")
    return Line(f"queue {queue}", well=False, says="nobody serves it", mend=f"systemctl start {start}")


def _place(place: Facts, spans: Spans) -> Line:
    name, state, why = place["name"], place["state"], place["pause_reason"]
    about = f"connection {name}"
    if state == "disabled":
        return Line(about, well=True, says="disabled by hand")
    if state == "paused":
        put = f"provisioner connection put {name} --username NAME"
        mends = {"denied": put, "hand": f"provisioner connection resume {name}"}
        mend = mends.get(place["paused_by"], f"provisioner connection check {name}")
        return Line(about, well=False, says=f"paused: {why}", mend=mend)
    if state == "restricted":
        step = place["restricted_step"]
        mend = f"provisioner job list --failed --step {step}"
        return Line(about, well=False, says=f"restricted, {step} fails: {why}", mend=mend)
    age = place["list_age_seconds"]
    says = "its list was never read" if age is None else f"list read {_span(age)} ago"
    if place["observe_error"]:
        says = f"{says}; the last reading failed: {place['observe_error']}"
        return Line(about, well=False, says=says, mend=f"provisioner connection check {name}")
    if place["awaited"] and (age is None or age > LIST_MISSED * spans.observe_long):
        says = f"{says}, though work waits for it"
        return Line(about, well=False, says=says, mend=f"provisioner connection check {name}")
    return Line(about, well=True, says=f"active, {says}")


#: what a reason means, and whether somebody has to act
REASONS = {
    "stock": ("a free server", True),
    "slot": ("their turn", True),
    "job": ("an earlier job of their service", True),
    "site": ("the data centre", False),
    "person": ("a person", False),
    "hold": ("a person, who lets them wait", False),
    "worker": ("a worker", False),
}


def _waiting(found: Sequence[Facts]) -> Iterator[Line]:
    if not found:
        yield Line("waiting work", well=True, says="there is none")
    for one in found:
        what, well = REASONS.get(one["reason"], (one["reason"], False))
        oldest = max(one["oldest_seconds"], 0.0)
        if one["reason"] == "worker":
            well = oldest < UNATTENDED_SECONDS
        says = f"{one['jobs']} wait for {what}, the oldest for {_span(oldest)}"
        mend = "" if well else f"provisioner job show {one['oldest_job']}"
        yield Line(f"waiting for {one['reason']}", well=well, says=says, mend=mend)


def _span(seconds: float) -> str:
    """Give a span as people say it."""
    for length, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"

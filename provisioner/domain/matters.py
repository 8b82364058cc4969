"""
What a person must hear of, and how its messages are made of words; pure. The words stand in `wording/`.

One trouble is one matter, however many events it has: its key is the same for all of them. When it is over is not
told by an event but seen in the database (`store/tickets.py`), so that no lost word leaves a ticket open.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from string import Formatter
from typing import Any

from provisioner.domain.events import EventKind
from provisioner.domain.question import QuestionKind
from provisioner.domain.server import RACK_MOST
from provisioner.domain.states import JobKind, JobState
from provisioner.errors import FailureClass

LINK = "[link]"  #: in a stored text: where the address at which a person answers is put in when it is sent
CLOSING = "[if closing answers]"  #: the same: begins a line that is sent only where a closed ticket is an answer
TEXT_MOST = 1500  #: characters of an event's own words
SUBJECT_MOST = 150
SERVERS_MOST = 20
DESKS = ("email", "rt", "webhook")  #: kinds of desk that there are


class Kind(StrEnum):
    """What a matter is about; the first part of its key."""

    RESTRICTED = "restricted"  #: one step fails for the place's fault
    PAUSED = "paused"  #: nothing is called there: away, refused, or by hand
    HELD = "held"  #: jobs stand until a person decides
    GUARD = "guard"  #: one token asked for too much at once
    FAILED = "failed"  #: jobs failed for good, and not for what was ordered
    QUARANTINED = "quarantined"  #: servers are out of sale: a step failed on them
    RELEASE = "release"  #: an undo did not end
    CALLBACK = "callback"  #: a billing panel is not told
    AUDIT = "audit"  #: panel and database differ
    PLACE = "place"  #: a customer's machine is to be put into its rack
    REMOVE = "remove"  #: and to be taken out
    OVERDUE = "overdue"  #: nobody answered such a question in time
    HALTED = "halted"  #: the database went back, or is a copy
    SPREADING = "spreading"  #: many servers of one place went out of sale within a day
    STUCK = "stuck"  #: a desk does not take the messages to a department


@dataclass(frozen=True, slots=True)
class Department:
    """Who is in charge, and how they are reached."""

    name: str
    address: str  #: mailbox, queue or address of a webhook, as the desk understands it
    desk: str = "email"  #: one of `DESKS`
    language: str = "en"


@dataclass(frozen=True, slots=True)
class Told:
    """An event, or what is seen in the database without one, with what surrounds it."""

    kind: EventKind | Kind  #: a `Kind` where no event tells
    text: str
    at: datetime
    data: Mapping[str, Any] = field(default_factory=dict)
    department: str = ""  #: who is in charge
    connection: str = ""
    server: str = ""
    claim: int | None = None
    order: str = ""  #: reference at billing
    panel: str = ""  #: the billing system that it is of
    job: int | None = None
    job_kind: str = ""
    job_state: str = ""
    by: str = ""  #: who asked for the job
    step: str = ""  #: that failed
    reason_class: str = ""
    quarantined: Mapping[str, str] = field(default_factory=dict)  #: servers that the job left out of sale → why
    racks: Mapping[str, str] = field(default_factory=dict)  #: server → where it stands, as its DCIM last listed it


def matter(told: Told) -> str:
    """Give the key of the matter that an event belongs to, "" for one that nobody must hear of."""
    parts = _MATTERS[told.kind](told) if told.kind in _MATTERS else ()
    return ":".join("" if part is None else str(part).replace(":", ";") for part in parts)


def _held(told: Told) -> tuple[object, ...]:
    if "step" in told.data:
        return Kind.HELD, told.connection, told.data["step"], told.data.get("class")
    return Kind.GUARD, told.by  # no attempt yet: the blast guard, which tells once a caller


def _ended(told: Told) -> tuple[object, ...]:
    if told.quarantined:
        return Kind.QUARANTINED, told.connection, told.step
    if _failed(told):
        return Kind.FAILED, told.connection, told.job_kind, told.step, told.reason_class
    return ()


def _asked(told: Told) -> tuple[object, ...]:
    placed = told.data.get("asks") == QuestionKind.PLACED
    return (Kind.PLACE if placed else Kind.REMOVE), told.data.get("question")


#: event → kind of matter, and what tells two of a kind apart
_MATTERS: Mapping[str, Callable[[Told], tuple[object, ...]]] = {
    EventKind.CONNECTION_RESTRICTED: lambda told: (Kind.RESTRICTED, told.connection, told.data.get("step")),
    EventKind.CONNECTION_PAUSED: lambda told: (Kind.PAUSED, told.connection),
    EventKind.HELD: _held,
    EventKind.RELEASE_INCOMPLETE: lambda told: (Kind.RELEASE, told.connection, told.claim),
    EventKind.AUDIT_FOUND: lambda told: (Kind.AUDIT, told.connection),
    EventKind.PERSON_ASKED: _asked,
    EventKind.PERSON_OVERDUE: lambda told: (Kind.OVERDUE, told.data.get("question")),
    EventKind.CALLBACK_FAILED: lambda told: (Kind.CALLBACK, told.data.get("panel")),
    # an event on each connection: a department hears it once
    EventKind.INSTALLATION_HALTED: lambda told: (Kind.HALTED, told.department),
    EventKind.JOB_ENDED: _ended,
    Kind.SPREADING: lambda told: (Kind.SPREADING, told.connection),
    Kind.STUCK: lambda told: (Kind.STUCK, told.data["department"]),
}


def _failed(told: Told) -> bool:
    """Say whether a job failed for good; what the order itself got wrong is billing's to hear."""
    if told.job_state != JobState.FAILED or told.reason_class == FailureClass.INPUT:
        return False
    by_hand = told.job_kind in (JobKind.RETEST, JobKind.QUARANTINE) and told.by != "engine"
    return not by_hand  # whoever asked for it waits for its answer


def subject(key: str, told: Told, wording: "Wording") -> str:
    """Give the line over the messages of the matter *key*."""
    return _filled(_words(key, wording).subject, _facts(told, 1, wording.labels), most=SUBJECT_MOST)


def text(key: str, told: Told, count: int, wording: "Wording") -> str:
    """Give what a person reads: what, where, since when, what to do; *count*: events of the matter so far."""
    words, labels = _words(key, wording), wording.labels
    facts = _facts(told, count, labels)
    lines = [_filled(words.subject, facts, most=SUBJECT_MOST), "", f"{labels.what}: {_what(told)}"]
    if where := _where(told, labels):
        lines.append(f"{labels.where}: {where}")
    lines.append(f"{labels.since}: {told.at:%Y-%m-%d %H:%M:%S} UTC")
    if count > 1:
        lines.append(labels.count.format(count=count))
    lines += ["", f"{labels.todo}:", *(f"  {_filled(line, facts, most=TEXT_MOST)}" for line in words.todo)]
    return "\n".join(lines)


def all_clear(key: str, count: int, wording: "Wording") -> str:
    """Give what is said when a matter is over."""
    kind, *parts = key.split(":")
    names = PARTS[Kind(kind)]
    facts = {name: part or "-" for name, part in zip(names, parts, strict=True)}
    over = _filled(_words(key, wording).over, facts, most=TEXT_MOST)
    return "\n".join([over, *([wording.labels.count.format(count=count)] if count > 1 else [])])


def reminder(text: str, since: datetime, language: str, texts: "Texts") -> str:
    """Give what is said when a matter is still open and nothing was said for long: its latest words again."""
    before = tuple(one.labels.still.partition("{")[0] for one in texts.values())
    if text.startswith(before):  # of reminders only the newest, in whichever language the last one was
        text = text.partition("\n\n")[2]
    return f"{wording(texts, language).labels.still.format(since=f'{since:%Y-%m-%d %H:%M:%S} UTC')}\n\n{text}"


def wording(texts: "Texts", language: str) -> "Wording":
    """Give the words of a language; English where a newer release knew one that we do not."""
    return texts.get(language, texts["en"])


def _facts(told: Told, count: int, labels: "Labels") -> dict[str, object]:
    servers = list(told.quarantined) or ([told.server] if told.server else [])
    named = ", ".join(servers[:SERVERS_MOST]) + (" …" if len(servers) > SERVERS_MOST else "")
    return {
        "connection": told.connection or "-",
        "step": told.step or told.data.get("step") or "-",
        "server": servers[0] if servers else "-",
        "servers": named or "-",
        "rack": (told.racks.get(servers[0]) if servers else "") or "-",
        "job": told.job or "-",
        "job_kind": told.job_kind or "-",
        "order": _order(told, labels) or labels.nobody,
        "panel": told.data.get("panel") or "-",
        "token": told.by.removeprefix("token ") or "-",
        "department": told.data.get("department") or told.department or "-",
        "count": count,
        "link": LINK,
        "closing": CLOSING,
        **{name: told.data.get(name) or "-" for name in ("hostname", "customer", "user", "equipment", "due", "asked")},
    }


def _what(told: Told) -> str:
    """Give the event's own words, after those of the servers that it is about."""
    said = [f"{server}: {why}" for server, why in list(told.quarantined.items())[:SERVERS_MOST]]
    return _clean("; ".join(filter(None, [*said, told.text])), TEXT_MOST)


def _order(told: Told, labels: "Labels") -> str:
    return labels.ordered.format(order=told.order, panel=told.panel) if told.panel else told.order


def _where(told: Told, labels: "Labels") -> str:
    found = [
        f"{label} {value}"
        for label, value in (
            (labels.connection, told.connection),
            (labels.server, _servers(told, labels)),
            (labels.order, _order(told, labels)),
            (labels.job, str(told.job or "")),
        )
        if value
    ]
    return ", ".join(found)


def _servers(told: Told, labels: "Labels") -> str:
    servers = list(told.quarantined) or [told.server]
    found = [(server, _clean(told.racks.get(server) or "", RACK_MOST)) for server in servers[:SERVERS_MOST]]
    named = [f"{server} ({labels.rack} {rack})" if rack else server for server, rack in found]
    return ", ".join(named) + (" …" if len(servers) > SERVERS_MOST else "")


def _filled(template: str, facts: Mapping[str, object], *, most: int) -> str:
    """Fill a template; what is put in is data, and stands on one line."""
    return _clean(Formatter().vformat(template, (), {name: _clean(value, most) for name, value in facts.items()}), most)


def _clean(value: object, most: int) -> str:
    """Give *value* as one line that a header may hold."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def _words(key: str, wording: "Wording") -> "Words":
    return wording.words[Kind(key.partition(":")[0])]


#: what stands between the colons of a key
PARTS: Mapping[Kind, tuple[str, ...]] = {
    Kind.RESTRICTED: ("connection", "step"),
    Kind.PAUSED: ("connection",),
    Kind.HELD: ("connection", "step", "class"),
    Kind.GUARD: ("by",),
    Kind.FAILED: ("connection", "job_kind", "step", "class"),
    Kind.QUARANTINED: ("connection", "step"),
    Kind.RELEASE: ("connection", "claim"),
    Kind.CALLBACK: ("panel",),
    Kind.AUDIT: ("connection",),
    Kind.PLACE: ("question",),
    Kind.REMOVE: ("question",),
    Kind.OVERDUE: ("question",),
    Kind.HALTED: ("department",),
    Kind.SPREADING: ("connection",),
    Kind.STUCK: ("department",),
}

#: what a subject and the lines of what to do may name; an all-clear may name the parts of its kind's key
FIELDS = (
    "connection", "step", "server", "servers", "rack", "job", "job_kind", "order", "token", "department", "count",
)  # fmt: skip
_QUESTION = ("hostname", "customer", "user", "equipment", "due", "link")
MARKS = ("link", "closing")  #: what becomes of them is seen when a text is sent: no subject may name them
#: what only these kinds have beside
MORE_FIELDS: Mapping[Kind, tuple[str, ...]] = {
    Kind.PLACE: _QUESTION,
    Kind.REMOVE: (*_QUESTION, "closing"),
    Kind.OVERDUE: ("asked",),
    Kind.CALLBACK: ("panel",),
}


@dataclass(frozen=True, slots=True)
class Labels:
    """The words that all messages of a language share."""

    what: str
    where: str
    since: str
    todo: str
    count: str
    still: str
    connection: str
    server: str
    rack: str
    order: str
    ordered: str  #: an order of a billing system
    job: str
    nobody: str


@dataclass(frozen=True, slots=True)
class Words:
    """A kind of matter in one language; names in braces are filled in."""

    subject: str
    todo: tuple[str, ...]
    over: str


@dataclass(frozen=True, slots=True)
class Wording:
    """All words of one language."""

    labels: Labels
    words: Mapping[Kind, Words]


Texts = Mapping[str, Wording]  #: language → its words

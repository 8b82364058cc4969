"""
What a person must hear of, and in which words; pure.

One trouble is one matter, however many events it has: its key is the same for all of them. When it is over is not
told by an event but seen in the database (`store/tickets.py`), so that no lost word leaves a ticket open.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from string import Formatter
from typing import Any

from provisioner.domain.events import EventKind
from provisioner.domain.question import QuestionKind
from provisioner.domain.states import JobKind, JobState
from provisioner.errors import FailureClass, Invalid

LINK = "[link]"  #: in a stored text: where the address at which a person answers is put in when it is sent
TEXT_MOST = 1500  #: characters of an event's own words
SUBJECT_MOST = 150
SERVERS_MOST = 20


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


@dataclass(frozen=True, slots=True)
class Department:
    """Who is in charge, and how they are reached."""

    name: str
    address: str  #: mailbox or queue, as the desk understands it
    desk: str = "email"
    language: str = "en"


@dataclass(frozen=True, slots=True)
class Told:
    """An event, with what surrounds it."""

    kind: EventKind
    text: str
    at: datetime
    data: Mapping[str, Any] = field(default_factory=dict)
    department: str = ""  #: who is in charge
    connection: str = ""
    server: str = ""
    claim: int | None = None
    order: str = ""  #: reference at billing and panel, in words
    job: int | None = None
    job_kind: str = ""
    job_state: str = ""
    by: str = ""  #: who asked for the job
    step: str = ""  #: that failed
    reason_class: str = ""
    quarantined: Mapping[str, str] = field(default_factory=dict)  #: servers that the job left out of sale → why


#: events of which one connection has one matter
OF_A_PLACE: Mapping[EventKind, Kind] = {
    EventKind.CONNECTION_PAUSED: Kind.PAUSED,
    EventKind.AUDIT_FOUND: Kind.AUDIT,
}


def matter(told: Told) -> str:
    """Give the key of the matter that an event belongs to, "" for one that nobody must hear of."""
    match told.kind:
        case EventKind.CONNECTION_RESTRICTED:
            return _key(Kind.RESTRICTED, told.connection, told.data.get("step"))
        case EventKind.CONNECTION_PAUSED | EventKind.AUDIT_FOUND:
            return _key(OF_A_PLACE[told.kind], told.connection)
        case EventKind.HELD if "step" in told.data:
            return _key(Kind.HELD, told.connection, told.data["step"], told.data.get("class"))
        case EventKind.HELD:  # no attempt yet: the blast guard, which tells once a caller
            return _key(Kind.GUARD, told.by)
        case EventKind.RELEASE_INCOMPLETE:
            return _key(Kind.RELEASE, told.connection, told.claim)
        case EventKind.PERSON_ASKED:
            kind = Kind.PLACE if told.data.get("asks") == QuestionKind.PLACED else Kind.REMOVE
            return _key(kind, told.data.get("question"))
        case EventKind.PERSON_OVERDUE:
            return _key(Kind.OVERDUE, told.data.get("question"))
        case EventKind.CALLBACK_FAILED:
            return _key(Kind.CALLBACK, told.data.get("panel"))
        case EventKind.INSTALLATION_HALTED:  # an event on each connection: a department hears it once
            return _key(Kind.HALTED, told.department)
        case EventKind.JOB_ENDED if told.quarantined:
            return _key(Kind.QUARANTINED, told.connection, told.step)
        case EventKind.JOB_ENDED if _failed(told):
            return _key(Kind.FAILED, told.connection, told.job_kind, told.step, told.reason_class)
        case _:
            return ""


def _failed(told: Told) -> bool:
    """Say whether a job failed for good; what the order itself got wrong is billing's to hear."""
    if told.job_state != JobState.FAILED or told.reason_class == FailureClass.INPUT:
        return False
    by_hand = told.job_kind in (JobKind.RETEST, JobKind.QUARANTINE) and told.by != "engine"
    return not by_hand  # whoever asked for it waits for its answer


def _key(kind: Kind, *parts: object) -> str:
    return ":".join([kind, *("" if part is None else str(part).replace(":", ";") for part in parts)])


def subject(told: Told, language: str) -> str:
    """Give the line over a matter's messages."""
    return _filled(_words(matter(told), language).subject, _facts(told, 1, language), most=SUBJECT_MOST)


def text(told: Told, count: int, language: str) -> str:
    """Give what a person reads: what, where, since when, what to do; *count*: events of the matter so far."""
    words = _words(matter(told), language)
    facts = _facts(told, count, language)
    labels = LABELS[language]
    lines = [_filled(words.subject, facts, most=SUBJECT_MOST), "", f"{labels.what}: {_what(told)}"]
    if where := _where(told, labels):
        lines.append(f"{labels.where}: {where}")
    lines.append(f"{labels.since}: {told.at:%Y-%m-%d %H:%M:%S} UTC")
    if count > 1:
        lines.append(labels.count.format(count=count))
    lines += ["", f"{labels.todo}:", *(f"  {_filled(line, facts, most=TEXT_MOST)}" for line in words.todo)]
    return "\n".join(lines)


def all_clear(key: str, count: int, language: str) -> str:
    """Give what is said when a matter is over."""
    kind, *parts = key.split(":")
    names = PARTS[Kind(kind)]
    facts = {name: part or "-" for name, part in zip(names, parts, strict=True)}
    over = _filled(_words(key, language).over, facts, most=TEXT_MOST)
    labels = LABELS[language]
    return "\n".join([over, *([labels.count.format(count=count)] if count > 1 else [])])


def reminder(text: str, since: datetime, language: str) -> str:
    """Give what is said when a matter is still open and nothing was said for long: its latest words again."""
    still = LABELS[language].still
    if text.startswith(still.partition("{")[0]):  # of reminders only the newest
        text = text.partition("\n\n")[2]
    return f"{still.format(since=f'{since:%Y-%m-%d %H:%M:%S} UTC')}\n\n{text}"


def language_of(given: str) -> str:
    """Give a language that we have words in. Raises `Invalid`."""
    if given not in WORDS:
        raise Invalid(f"there are no texts in {given!r}; there are {', '.join(sorted(WORDS))}", field="language")
    return given


def _facts(told: Told, count: int, language: str) -> dict[str, object]:
    servers = list(told.quarantined) or ([told.server] if told.server else [])
    named = ", ".join(servers[:SERVERS_MOST]) + (" …" if len(servers) > SERVERS_MOST else "")
    return {
        "connection": told.connection or "-",
        "step": told.step or told.data.get("step") or "-",
        "server": servers[0] if servers else "-",
        "servers": named or "-",
        "job": told.job or "-",
        "job_kind": told.job_kind or "-",
        "order": told.order or LABELS[language].nobody,
        "panel": told.data.get("panel") or "-",
        "token": told.by.removeprefix("token ") or "-",
        "count": count,
        "link": LINK,
        **{name: told.data.get(name) or "-" for name in ("hostname", "customer", "user", "equipment", "due", "asked")},
    }


def _what(told: Told) -> str:
    """Give the event's own words, after those of the servers that it is about."""
    said = [f"{server}: {why}" for server, why in list(told.quarantined.items())[:SERVERS_MOST]]
    return _clean("; ".join([*said, told.text]), TEXT_MOST)


def _where(told: Told, labels: "Labels") -> str:
    found = [
        f"{label} {value}"
        for label, value in (
            (labels.connection, told.connection),
            (labels.server, ", ".join(told.quarantined) or told.server),
            (labels.order, told.order),
            (labels.job, str(told.job or "")),
        )
        if value
    ]
    return ", ".join(found)


def _filled(template: str, facts: Mapping[str, object], *, most: int) -> str:
    """Fill a template of ours; what is put in is data, and stands on one line."""
    return _clean(Formatter().vformat(template, (), {name: _clean(value, most) for name, value in facts.items()}), most)


def _clean(value: object, most: int) -> str:
    """Give *value* as one line that a header may hold."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def _words(key: str, language: str) -> "Words":
    return WORDS[language][Kind(key.partition(":")[0])]


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
    order: str
    job: str
    nobody: str


@dataclass(frozen=True, slots=True)
class Words:
    """A kind of matter in one language; names in braces are filled in."""

    subject: str
    todo: tuple[str, ...]
    over: str


LABELS: Mapping[str, Labels] = {
    "en": Labels(
        what="What",
        where="Where",
        since="When",
        todo="What to do",
        count="So far: {count} times; above is the latest",
        still="Still so, since {since}.",
        connection="connection",
        server="server",
        order="order",
        job="job",
        nobody="no order",
    ),
}

WORDS: Mapping[str, Mapping[Kind, Words]] = {
    "en": {
        Kind.RESTRICTED: Words(
            subject="{connection}: {step} fails for the place's fault, orders wait",
            todo=(
                "Look at what {step} needs there: install server, switch, address pool. One order at a time goes on",
                "trying; when it succeeds, all others go on by themselves and you hear of it.",
                "provisioner connection show {connection}",
            ),
            over="{connection}: {step} is no longer held back there; the waiting orders go on by themselves.",
        ),
        Kind.PAUSED: Words(
            subject="{connection}: nothing is called there, orders wait",
            todo=(
                "If its DCIM is away, bring it back: we look by ourselves, and nothing is undone meanwhile.",
                "If it refuses our login, give the right password: `provisioner connection put {connection} …`.",
                "If it was paused by hand: `provisioner connection resume {connection}`.",
                "provisioner connection show {connection}",
            ),
            over="{connection}: it is called again; everything there takes a fresh look and goes on by itself.",
        ),
        Kind.HELD: Words(
            subject="{connection}: a job stands at {step} until a person decides",
            todo=(
                "provisioner job show {job}",
                "then one of job retry, job skip, job swap, job cancel; each says with --dry-run what it would do",
                "All that stand, by cause: provisioner job list --failed",
            ),
            over="{connection}: no job stands at {step} any more.",
        ),
        Kind.GUARD: Words(
            subject="token {token} asked for too much at once: the rest is held",
            todo=(
                "Ask who runs that billing system whether it is meant so. Nothing of it is done meanwhile.",
                "If it is: provisioner token release {token}",
                "If not:   provisioner token drop {token}",
            ),
            over="{by}: nothing that it asked for is held any more.",
        ),
        Kind.FAILED: Words(
            subject="{connection}: {job_kind} failed for good",
            todo=(
                "provisioner job show {job}",
                "When its cause is gone: provisioner job retry {job}",
            ),
            over="{connection}: {job_kind} succeeds again. What failed meanwhile is not repeated by itself.",
        ),
        Kind.QUARANTINED: Words(
            subject="{connection}: {step} failed on server {servers}: out of sale",
            todo=(
                "Look at the machine. Its addresses are free again, it is disabled, its notes say why.",
                "provisioner server show {connection} {server}",
                "When it is good again: provisioner server release {connection} {server}",
                "All of them: provisioner server list --quarantined --connection {connection}",
            ),
            over="{connection}: no server is out of sale for {step} any more.",
        ),
        Kind.RELEASE: Words(
            subject="{connection}: server {server} could not be cleaned up",
            todo=(
                "It can't be sold meanwhile, and we go on trying with growing distance.",
                "provisioner server show {connection} {server}",
                "provisioner job show {job}",
            ),
            over="{connection}: nothing is left to be cleaned up under claim {claim}.",
        ),
        Kind.CALLBACK: Words(
            subject="billing {panel}: its receiver takes no callbacks",
            todo=(
                "Until it does, {panel} does not hear what became of its services; the work itself goes on.",
                "Look at its receiver, then at what we know of it: provisioner callback list",
                "When it answers again: provisioner callback replay {panel} --failed",
            ),
            over="billing {panel}: nothing is given up any more.",
        ),
        Kind.AUDIT: Words(
            subject="{connection}: the audit found what was not there before",
            todo=(
                "Each finding, what it costs, and the command that mends it:",
                "provisioner audit --kept --connection {connection}",
            ),
            over="{connection}: nothing of what the audits found is there any more.",
        ),
        Kind.PLACE: Words(
            subject="{order}: put the customer's machine into its rack at {connection}",
            todo=(
                "It is {hostname} of customer {customer}; they bring: {equipment}.",
                "Mount and cable it, make it a server in {connection} and give it there to the user with id {user}.",
                "Then say which server it is: {link}",
                "or type: provisioner job answer {job} --server ID",
                "Until {due}; then the administrator in charge is told. Nothing is lost meanwhile.",
            ),
            over="Nothing more is to be done here: it was answered, or the order was withdrawn.",
        ),
        Kind.REMOVE: Words(
            subject="{order}: take the customer's machine out, server {server} of {connection}",
            todo=(
                "It is {hostname} of customer {customer}: {equipment}.",
                "Unmount it, then delete its server in {connection}, or take it there from the user with id {user}.",
                "Then say that it is done: {link}",
                "or type: provisioner job answer {job} --done",
                "Until {due}; then the administrator in charge is told. Nothing is lost meanwhile.",
            ),
            over="Nothing more is to be done here: the machine is the customer's no more.",
        ),
        Kind.OVERDUE: Words(
            subject="{order}: a person was asked at {asked} and has not answered",
            todo=("Ask them; what they were asked, and who: provisioner job show {job}",),
            over="It is settled now.",
        ),
        Kind.HALTED: Words(
            subject="nothing is done: this database went back, or is a copy",
            todo=(
                "Orders are kept and wait. Look before anything acts:",
                "provisioner audit --after-restore",
            ),
            over="The database was accepted; work goes on.",
        ),
    },
}

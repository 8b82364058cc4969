"""How one job stands: attempts, steps, evidence, and the sentence that says what it waits for."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from provisioner.domain.spans import Spans
from provisioner.errors import NotFound
from provisioner.ports import Facts, Reads
from provisioner.views.outlook import at, label, outlook

NEWEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class StepView:
    """One operation of an attempt."""

    pos: int
    name: str
    label: str  #: as in Flower: `06_install_os`, `undo.04_switch_port`
    direction: str
    undoes: int | None  #: of an undo: the position that it undoes
    state: str
    tries: int  #: acts begun
    refusals: int  #: times the world said "not now"
    arrived_at: datetime | None
    begun_at: datetime | None  #: latest act
    ended_at: datetime | None
    deadline_at: datetime | None
    reason_class: str | None
    outcome: str  #: the evidence: what was last seen, or why it ended


@dataclass(frozen=True, slots=True)
class AttemptView:
    """One try on one server."""

    n: int
    connection: str | None
    server: str | None  #: its id in the DCIM
    direction: str
    state: str
    pos: int
    result: str | None
    reason_class: str | None
    reason: str
    created_at: datetime | None
    ended_at: datetime | None
    steps: Sequence[StepView]


@dataclass(frozen=True, slots=True)
class OutlookView:
    """What it waits for, in parts."""

    waits_for: str
    since: datetime | None
    next_by: str
    next_at: datetime | None
    otherwise: str


@dataclass(frozen=True, slots=True)
class QuestionView:
    """What a person is asked in the middle of a job."""

    kind: str  #: placed: which server is it; removed: was it taken out
    department: str  #: who is asked; "" when nobody is in charge
    asked_at: datetime | None
    due_at: datetime | None  #: then the administrator in charge is told
    overdue: bool
    says: str  #: why the last answer did not do
    answered_at: datetime | None
    answered_by: str


@dataclass(frozen=True, slots=True)
class JobView:
    """One wish, carried out once."""

    id: int
    kind: str
    state: str
    waits_for: str | None
    sentence: str  #: what it waits for, since when, who looks next and when, what happens if nothing changes
    outlook: OutlookView
    panel: str | None
    external_ref: str | None
    service_state: str | None
    package: str | None
    hostname: str | None
    server: str | None  #: where it stands now, or of a job on a server that is nobody's
    reason: str
    created_by: str
    created_at: datetime
    ended_at: datetime | None
    cancel_requested_at: datetime | None
    last_seq: int  #: of its timeline: `?wait=25&seen=` waits for a later one
    attempts: Sequence[AttemptView]
    question: QuestionView | None  #: of a job that people take part in


@dataclass(frozen=True, slots=True)
class JobLine:
    """A job in a list."""

    id: int
    kind: str
    state: str
    waits_for: str | None
    panel: str | None
    external_ref: str | None
    hostname: str | None
    server: str | None
    attempt: int | None
    attempt_state: str | None
    step: str | None  #: at which its last attempt stands
    step_state: str | None
    outcome: str
    reason: str
    created_at: datetime
    ended_at: datetime | None


def show(job_id: int, *, reads: Reads, spans: Spans, panel: str | None = None) -> JobView:
    """
    Give a job; with *panel* only one of that panel's services.

    Raises:
        NotFound: there is none, or none for that panel.
    """
    found = reads.job(job_id, panel=panel)
    if found is None:
        raise NotFound(f"no job {job_id}")
    look = outlook(found, spans)
    attempts = [_attempt(found["kind"], one) for one in found["attempts"]]
    return JobView(
        id=found["id"],
        kind=found["kind"],
        state=found["state"],
        waits_for=found["waits_for"],
        sentence=look.sentence,
        outlook=OutlookView(look.waits_for, look.since, look.next_by, look.next_at, look.otherwise),
        panel=found["panel"],
        external_ref=found["external_ref"],
        service_state=found["service_state"],
        package=found["package"],
        hostname=found["hostname"],
        server=found["claim_server"] or (attempts[-1].server if attempts else None),
        reason=found["reason"],
        created_by=found["created_by"],
        created_at=found["created_at"],
        ended_at=found["ended_at"],
        cancel_requested_at=found["cancel_requested_at"],
        last_seq=found["last_seq"],
        attempts=attempts,
        question=_question(found["question"]),
    )


def _question(found: Facts | None) -> QuestionView | None:
    if found is None:
        return None
    return QuestionView(
        kind=found["kind"],
        department=found["department"],
        asked_at=at(found["asked_at"]),
        due_at=at(found["due_at"]),
        overdue=found["overdue"],
        says=found["says"],
        answered_at=at(found["answered_at"]),
        answered_by=found["answered_by"],
    )


def listing(
    *,
    reads: Reads,
    panel: str | None = None,
    state: str | None = None,
    waits_for: str | None = None,
    service: str | None = None,
    before: int = NEWEST,
    limit: int = 50,
) -> Sequence[JobLine]:
    """Give jobs with an id below *before*, newest first; *service* is its reference at billing."""
    found = reads.jobs(panel=panel, state=state, waits_for=waits_for, service=service, before=before, limit=limit)
    return [_line(row) for row in found]


def _attempt(kind: str, row: Facts) -> AttemptView:
    return AttemptView(
        n=row["n"],
        connection=row["connection"],
        server=row["server"],
        direction=row["direction"],
        state=row["state"],
        pos=row["pos"],
        result=row["result"],
        reason_class=row["reason_class"],
        reason=row["reason"],
        created_at=at(row["created_at"]),
        ended_at=at(row["ended_at"]),
        steps=[_step(step, label(kind, step, row["steps"])) for step in row["steps"]],
    )


def _step(row: Facts, name: str) -> StepView:
    return StepView(
        pos=row["pos"],
        name=row["name"],
        label=name,
        direction=row["direction"],
        undoes=row["undoes"],
        state=row["state"],
        tries=row["tries"],
        refusals=row["refusals"],
        arrived_at=at(row["arrived_at"]),
        begun_at=at(row["begun_at"]),
        ended_at=at(row["ended_at"]),
        deadline_at=at(row["deadline_at"]),
        reason_class=row["reason_class"],
        outcome=row["outcome"],
    )


def _line(row: Facts) -> JobLine:
    return JobLine(
        id=row["id"],
        kind=row["kind"],
        state=row["state"],
        waits_for=row["waits_for"],
        panel=row["panel"],
        external_ref=row["external_ref"],
        hostname=row["hostname"],
        server=row["server"],
        attempt=row["attempt"],
        attempt_state=row["attempt_state"],
        step=_label(row) if row["step"] else None,
        step_state=row["step_state"],
        outcome=row["outcome"] or "",
        reason=row["reason"],
        created_at=row["created_at"],
        ended_at=row["ended_at"],
    )


def _label(row: Facts) -> str:
    step = {"pos": row["step_pos"], "name": row["step"], "undoes": row["undoes"]}
    undone = [{"pos": row["undoes"], "name": row["undone"]}] if row["undone"] else []
    return label(row["kind"], step, undone)

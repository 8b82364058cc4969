"""What those in charge were told, and whether they have it; read only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from provisioner.errors import NotFound
from provisioner.ports import Facts, Reads


@dataclass(frozen=True, slots=True)
class DepartmentView:
    """Who is in charge, and of what."""

    name: str
    desk: str
    address: str
    language: str
    connections: Sequence[str]  #: that name it; `default` also has all that name nobody


@dataclass(frozen=True, slots=True)
class MessageView:
    """One message of a ticket."""

    n: int
    kind: str  #: open, comment or close
    text: str
    created_at: datetime
    sent_at: datetime | None
    due_at: datetime | None  #: when it is tried next; None once it was sent
    tries: int
    error: str  #: why its desk did not take it last


@dataclass(frozen=True, slots=True)
class TicketView:
    """One matter, and all that was said about it."""

    id: int
    department: str
    to: str
    connection: str
    matter: str
    subject: str
    state: str  #: open or closed
    count: int  #: events that it stands for
    opened_at: datetime
    closed_at: datetime | None
    desk_ref: str  #: what the desk calls it; "" before it was delivered
    read_at: datetime | None  #: when its desk is asked next whether a person closed it; None: nobody asks
    unsent: int  #: messages that wait
    trouble: str  #: why the one that is next was not taken
    messages: Sequence[MessageView]


def departments(*, reads: Reads) -> Sequence[DepartmentView]:
    """List the departments, by name."""
    return [DepartmentView(**row) for row in reads.departments()]


def listing(*, reads: Reads, closed: bool = False, limit: int = 100) -> Sequence[TicketView]:
    """List tickets, newest first: the open ones, with *closed* all."""
    return [_ticket(row) for row in reads.tickets(ticket=None, closed=closed, limit=limit)]


def show(ticket: int, *, reads: Reads) -> TicketView:
    """Give one. Raises `NotFound`."""
    found = reads.tickets(ticket=ticket, closed=True, limit=1)
    if not found:
        raise NotFound(f"no ticket {ticket}")
    return _ticket(found[0])


def _ticket(row: Facts) -> TicketView:
    messages = [_message(one) for one in row["messages"]]
    waiting = [one for one in messages if one.sent_at is None]
    return TicketView(
        id=row["id"],
        department=row["department"],
        to=row["address"],
        connection=row["connection"] or "",
        matter=row["matter"],
        subject=row["subject"],
        state=row["state"],
        count=row["count"],
        opened_at=row["opened_at"],
        closed_at=row["closed_at"],
        desk_ref=row["desk_ref"],
        read_at=row["read_at"],
        unsent=len(waiting),
        trouble=next((one.error for one in waiting), ""),
        messages=messages,
    )


def _message(one: Mapping[str, Any]) -> MessageView:
    sent = datetime.fromisoformat(one["sent_at"]) if one["sent_at"] else None
    return MessageView(
        n=one["n"],
        kind=one["kind"],
        text=one["text"],
        created_at=datetime.fromisoformat(one["created_at"]),
        sent_at=sent,
        due_at=None if sent else datetime.fromisoformat(one["due_at"]),
        tries=one["tries"],
        error=one["error"],
    )

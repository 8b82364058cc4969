"""
What each fault of a ticket, or of a person who is asked, ends in; written before it was run.

Read a row as "a place for a customer's machine is ordered (or closed), FAULT happens, then END", at a desk that knows
keys (Request Tracker) and at one that does not (e-mail). The end is told by the desk's own books and the panel's, and
by ours where only they can say it. Rests on issue 7 and on `ports.Desk`; nothing here is taken from what the code does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

#: kind of desk → whether the same key twice is one message there
DESKS: Mapping[str, bool] = {"rt": True, "email": False}

FAULTS: Mapping[str, str] = {
    "desk_down": "the desk is away for an hour (scaled), comes back, and its link is answered",
    "desk_down_all_along": "the desk is away until all is over; the person was told by telephone",
    "desk_down_at_end": "the desk is away from the answer until all is over",
    "reply_lost": "the desk takes the ticket, and its answer is lost",
    "end_reply_lost": "the desk takes the word that it is over, and its answer is lost",
    "twice": "who has answered answers again, by the same link",
    "twice_at_once": "two people say the same at one instant",
    "two_answers_at_once": "two people name two servers at one instant; either could be the one",
    "after_cancel": "the order was cancelled before the answer",
    "cancel_at_once": "the order is cancelled at the instant of the answer",
    "cancel_overtakes": "the order is cancelled while the answer is looked up in the DCIM",
    "cancel_follows": "the order is cancelled when the answer was taken, and before a worker looks",
    "after_deadline": "nobody answers in time; the administrator in charge is told; then somebody does",
    "after_reminder": "nobody answers for long; the desk is reminded; then somebody does",
    "wrong_then_right": "a server that is not there, one of somebody else, then the right one; a machine still there",
    "untrue_by_then": "the answer was true, and is no more when the job looks; it is asked again, and answered again",
    "panel_away": "the DCIM is away when the person answers; it comes back, and they answer again",
    "panel_away_after": "the DCIM goes away right after the answer was taken, and comes back",
}


@dataclass(frozen=True)
class End:
    """How a row ends; whatever happens, an order makes one user in the panel, and nothing else is changed there."""

    job: str
    service: str
    claim: str
    told: tuple[str, ...]  #: what those who answered were told, a regular expression each, in no order
    answers: int = 1  #: that our books count
    tickets: int = 1  #: at the desk, all of them closed in the end
    messages: tuple[int, int] = (2, 2)  #: to those who are asked: the question and its end
    acts: tuple[str, ...] = ("user.edit",)  #: calls that changed something in the panel
    admin: int = 0  #: messages to the administrator in charge


TAKEN = "goes on"
EITHER = -1  #: of two that are as good as one another
ACTIVE = End("succeeded", "active", "handed", (TAKEN,))
CLOSED = End("succeeded", "closed", "ended", (TAKEN,), acts=())
WITHDRAWN = End("cancelled", "failed", "ended", (), answers=0)
BEFORE = "answered before, by (anna|boris)"


@dataclass(frozen=True)
class Row:
    """One fault at one desk or more."""

    fault: str
    end: End
    why: str
    desks: str = " ".join(DESKS)
    job: str = "open"


ROWS: tuple[Row, ...] = (
    Row("desk_down", replace(ACTIVE, admin=2), "no job minds; another department hears that messages are stuck"),
    Row("desk_down_all_along", replace(ACTIVE, admin=2), "the ticket comes late, once, and its end with it"),
    Row("reply_lost", ACTIVE, "it knows keys: the same ticket is found again", "rt"),
    Row("reply_lost", replace(ACTIVE, messages=(2, 3)), "it knows none: twice at most, under one id", "email"),
    Row("desk_down_at_end", ACTIVE, "the ticket is closed when the desk is back"),
    Row("end_reply_lost", ACTIVE, "found again, and closed", "rt"),
    Row("end_reply_lost", replace(ACTIVE, messages=(2, 3)), "twice at most, under one id", "email"),
    Row("twice", replace(ACTIVE, told=(TAKEN, BEFORE)), "the link is worth one answer"),
    Row("twice_at_once", replace(ACTIVE, told=(TAKEN, BEFORE)), "one is taken, the other hears whose"),
    Row("two_answers_at_once", replace(ACTIVE, told=(TAKEN, BEFORE)), "the one that is taken counts, whole"),
    Row("after_cancel", replace(WITHDRAWN, told=("nobody waits",)), "the ticket is withdrawn"),
    Row("cancel_at_once", replace(WITHDRAWN, told=(f"{TAKEN}|nobody waits",), answers=EITHER), "billing's word counts"),
    Row("cancel_overtakes", replace(WITHDRAWN, told=("nobody waits",)), "what was looked up meanwhile is not believed"),
    Row("cancel_follows", replace(WITHDRAWN, told=(TAKEN,), answers=1), "the customer's machine is not touched"),
    Row("after_deadline", replace(ACTIVE, admin=2), "it waits on; both tickets are closed"),
    Row("after_reminder", replace(ACTIVE, messages=(3, 999)), "in the same ticket; it waits on"),
    Row("wrong_then_right", replace(ACTIVE, told=("there is no server", "belongs to user", TAKEN)), "told at once"),
    Row("untrue_by_then", replace(ACTIVE, told=(TAKEN, TAKEN), answers=2, messages=(3, 3)), "one ticket, with why"),
    Row("panel_away", replace(ACTIVE, told=("no answer|refused|away|reach", TAKEN)), "what was not seen is not taken"),
    Row("panel_away_after", replace(ACTIVE, admin=2), "the place is paused, and heals; the answer stays"),
)  # fmt: skip

#: the same questions at the other end of a service's life; a close is never withdrawn
CLOSES: tuple[Row, ...] = tuple(
    replace(row, job="close")
    for row in (
        Row("desk_down", replace(CLOSED, admin=2), "as for a place", "email"),
        Row("desk_down_all_along", replace(CLOSED, admin=2), "as for a place", "rt"),
        Row("reply_lost", CLOSED, "as for a place", "rt"),
        Row("twice_at_once", replace(CLOSED, told=(TAKEN, BEFORE)), "as for a place", "email"),
        Row("after_deadline", replace(CLOSED, admin=2), "as for a place", "rt"),
        Row("wrong_then_right", replace(CLOSED, told=("still gives", TAKEN)), "no word ends it alone", "rt"),
        Row("untrue_by_then", replace(CLOSED, told=(TAKEN, TAKEN), answers=2, messages=(3, 3)), "asked anew", "email"),
        Row("panel_away", replace(CLOSED, told=("no answer|refused|away|reach", TAKEN)), "as for a place", "email"),
        Row("panel_away_after", replace(CLOSED, admin=2), "as for a place", "rt"),
    )
)  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One fault at one desk."""

    fault: str
    desk: str
    job: str
    end: End
    why: str

    @property
    def name(self) -> str:
        return f"{self.job}-{self.fault}-{self.desk}"


def cells() -> Iterator[Cell]:
    """Give each fault at each desk that a row has it for."""
    for row in (*ROWS, *CLOSES):
        for desk in row.desks.split():
            yield Cell(row.fault, desk, row.job, row.end, row.why)


CELLS: Mapping[str, Cell] = {cell.name: cell for cell in cells()}


@dataclass(frozen=True)
class Came:
    """What came of a cell, in the words of `End`."""

    job: str = ""
    service: str = ""
    claim: str = ""
    told: tuple[str, ...] = ()
    answers: int = 0
    tickets: int = 0
    still_open: int = 0  #: tickets at the desk
    messages: int = 0
    doubled: int = 0  #: messages under an id that was used before
    admin: int = 0
    acts: tuple[str, ...] = ()  #: calls that changed something in the panel
    bound: str = ""  #: the server of the claim
    named: str = ""  #: the server of the answer that was taken, "" without one
    trail: str = ""

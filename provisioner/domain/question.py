"""What a person is asked in the middle of a job, as facts."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class QuestionKind(StrEnum):
    """What is asked."""

    PLACED = "placed"  #: the customer's machine stands in its rack: which server is it in the DCIM
    REMOVED = "removed"  #: it was taken out, and the DCIM gives it to the customer no more


NOBODY_WAITS = "nobody waits for this answer any more: it was settled, or the order was withdrawn"


def answered_before(by: str) -> str:
    """Give what is said to whoever comes second."""
    return f"this was answered before, by {by}"


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and what came of it."""

    id: int
    kind: QuestionKind
    department: str  #: who is asked; "" when nobody is in charge
    asked_at: datetime
    due_at: datetime  #: then the administrator in charge hears of it
    overdue: bool  #: and has heard
    answered_at: datetime | None = None
    answered_by: str = ""

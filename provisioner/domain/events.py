"""What goes into the timeline: kinds of events and the event itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class EventKind(StrEnum):
    """What happened."""

    ORDERED = "ordered"  #: an order was accepted
    ASKED = "asked"  #: something was asked of a service
    ADOPTED = "adopted"  #: a server that was sold before us is in our books
    CONFIGURED = "configured"  #: the service as it was last read, with what differs from before
    WAITING = "waiting"  #: a job waits for stock, the site or a person
    ATTEMPT_STARTED = "attempt_started"  #: a candidate was taken
    STEP_BEGUN = "step_begun"  #: a step is about to act
    STEP_DONE = "step_done"
    STEP_UNSURE = "step_unsure"  #: an act may or may not have been taken
    STEP_FAILED = "step_failed"
    STEP_SKIPPED = "step_skipped"
    COMPENSATING = "compensating"  #: the attempt undoes what it did
    HELD = "held"  #: a person must decide
    COMMANDED = "commanded"  #: a verb was given
    COMMAND_REFUSED = "command_refused"  #: a verb came too late
    ATTEMPT_ENDED = "attempt_ended"
    QUARANTINED = "quarantined"
    RELEASE_INCOMPLETE = "release_incomplete"
    HANDED_OVER = "handed_over"  #: carries all that a welcome message needs
    JOB_ENDED = "job_ended"
    SECRET_READ = "secret_read"  # noqa: S105 - the name of an event
    SECRET_ERASED = "secret_erased"  # noqa: S105 - the name of an event
    CONNECTION_RESTRICTED = "connection_restricted"
    CONNECTION_PAUSED = "connection_paused"
    CONNECTION_HEALED = "connection_healed"
    CALLBACK_FAILED = "callback_failed"  #: billing was not told for too long
    AUDIT_FOUND = "audit_found"  #: panel and database differ in a way that they did not at the last audit
    PERSON_ASKED = "person_asked"  #: a step is done by people: the department in charge was asked
    PERSON_OVERDUE = "person_overdue"  #: nobody answered in time
    PERSON_ANSWERED = "person_answered"
    INSTALLATION_HALTED = "installation_halted"  #: the database went back, or is a copy: workers refuse to act


#: events that a person must hear of
FOR_A_PERSON = frozenset(
    {
        EventKind.HELD,
        EventKind.RELEASE_INCOMPLETE,
        EventKind.CONNECTION_RESTRICTED,
        EventKind.CONNECTION_PAUSED,
    }
)


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a timeline; `data` never holds a secret."""

    kind: EventKind
    text: str
    data: Mapping[str, Any] = field(default_factory=dict)

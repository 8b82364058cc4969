"""Where a service, job, attempt, step and claim may stand; the words are those of API, database and console."""

from enum import StrEnum


class ServiceState(StrEnum):
    """What the customer has."""

    ORDERED = "ordered"  #: asked for, not handed over yet
    ACTIVE = "active"  #: the customer's
    SUSPENDED = "suspended"  #: the customer's, its ports are off
    CLOSING = "closing"  #: being taken back
    CLOSED = "closed"  #: seen to be taken back
    FAILED = "failed"  #: its open failed or was cancelled; never handed over


class Desired(StrEnum):
    """What billing last asked for."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    CLOSED = "closed"


class JobKind(StrEnum):
    """What may be asked; each has a recipe."""

    OPEN = "open"  #: provision a server and hand it over
    CLOSE = "close"  #: take the server back
    SUSPEND = "suspend"  #: switch ports off, for one reason
    RESUME = "resume"  #: lift one reason; ports on when none is left
    ADD_ADDRESS = "add_address"
    DELETE_ADDRESS = "delete_address"
    CHANGE_PASSWORD = "change_password"  # noqa: S105 - the name of a job
    REINSTALL = "reinstall"  #: wipe the disks and install again
    POWER = "power"  #: on, off, or reboot
    SYNC = "sync"  #: read all, compare, record; changes nothing
    RELEASE = "release"  #: go on with an undo that did not end, on a claim
    RETEST = "retest"  #: read a quarantined server whole, and give it back to stock if nothing is wrong
    QUARANTINE = "quarantine"  #: take a free server out of sale


#: jobs on a server that is nobody's: they stand on a claim, not on a service
ON_CLAIM = frozenset({JobKind.RELEASE, JobKind.RETEST, JobKind.QUARANTINE})
#: jobs on the server that a service has; no class and no verb but close frees or disables it
ON_SERVICE = frozenset(JobKind) - ON_CLAIM - {JobKind.OPEN}


class JobState(StrEnum):
    """Where one wish stands."""

    QUEUED = "queued"  #: no live attempt; `waits_for` says what it waits for
    RUNNING = "running"  #: an attempt goes forward
    INTERRUPTED = "interrupted"  #: its attempt is held until a suspension for abuse is over
    COMPENSATING = "compensating"  #: an attempt undoes itself
    SUCCEEDED = "succeeded"  #: what was asked was seen to be so
    FAILED = "failed"  #: given up, with a reason
    CANCELLED = "cancelled"  #: ended by a person's or billing's wish
    SUPERSEDED = "superseded"  #: a later wish made it pointless


JOB_LIVE = frozenset({JobState.RUNNING, JobState.COMPENSATING})
JOB_ENDED = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.SUPERSEDED})


class WaitsFor(StrEnum):
    """What a job that does not run waits for."""

    STOCK = "stock"  #: a server that may be sold
    SLOT = "slot"  #: its turn
    JOB = "job"  #: an earlier job of the same service
    HOLD = "hold"  #: a hold set by a person
    PERSON = "person"  #: a person's verb
    SITE = "site"  #: the data centre: restricted, paused, or away


class AttemptState(StrEnum):
    """Where one try on one server stands."""

    READY = "ready"  #: may be claimed now; a message was sent
    RUNNING = "running"  #: claimed, under a lease
    WAITING = "waiting"  #: parked until `resume_at`, or until the list shows a change
    HELD = "held"  #: until a person gives a command
    ENDED = "ended"


class Direction(StrEnum):
    """Which way an attempt goes."""

    FORWARD = "forward"
    BACK = "back"  #: undoing


class StepState(StrEnum):
    """Where one operation stands."""

    PENDING = "pending"  #: not begun, or free to begin again
    BEGUN = "begun"  #: memo committed; the act may or may not have been sent
    ACTING = "acting"  #: the act was taken; its effect is awaited
    UNSURE = "unsure"  #: the act may have been taken; look before acting
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"  #: given up by a command; its undo follows if it acted
    SKIPPED = "skipped"  #: passed by a person, with a reason


STEP_OPEN = frozenset({StepState.PENDING, StepState.BEGUN, StepState.ACTING, StepState.UNSURE})


class ClaimState(StrEnum):
    """How a server is bound to us."""

    HELD = "held"  #: ours, as a reservation
    HANDED = "handed"  #: the customer's
    RELEASING = "releasing"  #: being given back
    QUARANTINED = "quarantined"  #: ours, out of sale, with a reason
    ENDED = "ended"  #: history


class AccountState(StrEnum):
    """A customer's user in a DCIM."""

    CREATING = "creating"  #: the login is reserved; the user may exist
    LIVE = "live"


class AddressState(StrEnum):
    """An address of a service."""

    ALLOCATING = "allocating"
    LIVE = "live"
    DROPPING = "dropping"
    GONE = "gone"

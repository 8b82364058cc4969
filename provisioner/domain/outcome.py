"""What a step answers: the outcome of one look or one act, and what our own books gain with it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from provisioner.domain.question import QuestionKind
from provisioner.domain.server import AddressRow, Power, ServerReading, UserRef
from provisioner.errors import FailureClass

Memo = Mapping[str, Any]  #: what must be remembered to understand a lost reply; JSON, no secrets


# --- records: written in the same commit as the outcome that carries them -----------------------------------------


@dataclass(frozen=True, slots=True)
class AccountReserved:
    """The login is about to be created; the commit fails with a wait when somebody else reserved it first."""

    login: str
    ids_before: tuple[UserRef, ...]


@dataclass(frozen=True, slots=True)
class AccountLive:
    """The customer's user exists."""

    login: str
    user: UserRef
    created_by_us: bool


@dataclass(frozen=True, slots=True)
class HandedOver:
    """The server is the customer's: service active, claim handed, properties saved."""

    reading: ServerReading
    ip: str


@dataclass(frozen=True, slots=True)
class AddressesRead:
    """The addresses that the server was seen to have."""

    rows: tuple[AddressRow, ...]


@dataclass(frozen=True, slots=True)
class ConfigRead:
    """The service as its DCIM shows it: compared with what we held, recorded, told."""

    reading: ServerReading
    ip: str
    power: Power
    os: str


@dataclass(frozen=True, slots=True)
class PersonAsked:
    """The department in charge is asked; a question that is there already is open again."""

    kind: QuestionKind
    patience: timedelta  #: then the administrator in charge is told
    says: str = ""  #: why the last answer did not do


@dataclass(frozen=True, slots=True)
class PersonOverdue:
    """Nobody answered in time: the administrator in charge is told."""


Record = AccountReserved | AccountLive | HandedOver | AddressesRead | ConfigRead | PersonAsked | PersonOverdue


# --- outcomes of a look -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Done:
    """The wanted state was seen."""

    evidence: str  #: for people: what was seen
    records: tuple[Record, ...] = ()


@dataclass(frozen=True, slots=True)
class NotBegun:
    """The wanted state was not seen, nor any trace of the act."""

    memo: Memo = field(default_factory=dict)
    records: tuple[Record, ...] = ()


@dataclass(frozen=True, slots=True)
class More:
    """The last act is proven; the next one of the same step is due."""

    memo: Memo
    evidence: str
    records: tuple[Record, ...] = ()


@dataclass(frozen=True, slots=True)
class Wait:
    """Under way, or not to be judged yet."""

    reason: str
    until: datetime | None = None  #: look again then; None: when the list shows a change, or by the policy's back-off
    seen: Memo = field(default_factory=dict)
    listed: bool = False  #: the answer will come from a list reading
    soon: bool = False  #: and the list should be read often until then
    well: bool = False  #: what was seen is as it should be: no deadline is judged by it, however late we look


@dataclass(frozen=True, slots=True)
class Unknown:
    """What was seen proves neither the one nor the other; parked until the deadline."""

    reason: str
    seen: Memo = field(default_factory=dict)
    listed: bool = False  #: the answer may come from a list reading
    until: datetime | None = None  #: look again then, though nothing changes


@dataclass(frozen=True, slots=True)
class Failed:
    """What was seen says that it can't be reached."""

    failure_class: FailureClass
    reason: str


Look = Done | NotBegun | More | Wait | Unknown | Failed


# --- outcome of an act --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Acted:
    """The act was taken; never a proof of its effect."""

    token: Memo = field(default_factory=dict)

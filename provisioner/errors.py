"""Everything that may go wrong, as a tree; every room may raise from here, and this room knows nobody."""

from enum import StrEnum


class FailureClass(StrEnum):
    """Whose trouble ended a step; it decides how the attempt ends (`domain/engine.py`)."""

    SERVER = "server"  #: this machine; it is quarantined and the next candidate is tried
    SITE = "site"  #: the place as a whole: switch, install server, empty pool; the connection is restricted
    INPUT = "input"  #: the order is wrong; no candidate can help
    LOST = "lost"  #: somebody else took the server before it was ours; touch nothing
    DRIFT = "drift"  #: a customer's server is not as we left it; touch nothing, ask a person
    UNKNOWN = "unknown"  #: the deadline passed and nobody can say what happened


class ProvisionerError(Exception):
    """Root of all errors that this product raises on purpose."""


class Refused(ProvisionerError):
    """The caller's fault: nothing was stored, nothing was done; the message says what to do."""


class Invalid(Refused):
    """A value is not acceptable."""

    def __init__(self, message: str, *, field: str = "") -> None:
        """Keep *field*, the name of the value in the caller's own form, beside the sentence."""
        super().__init__(message)
        self.field = field


class NotFound(Refused):
    """No such thing, or not for this caller: the two look alike on purpose."""


class IllegalMove(Refused):
    """The verb is not legal in the present state; the sentence says why."""


class KeyReused(Refused):
    """The same reference or idempotency key came again with other content."""


class Forbidden(Refused):
    """The token is good, its role is not enough."""


class Unauthenticated(Refused):
    """No token, or one that is wrong or expired."""


class Overloaded(ProvisionerError):
    """The database can't take more just now; nothing was stored, the same call may come again."""


class Fenced(ProvisionerError):
    """A newer epoch owns the attempt; whoever meets this stops and leaves no trace in the world."""


class TransactionOpen(ProvisionerError):
    """A bug of ours: the world was to be called while a transaction was open."""


class BadConfig(ProvisionerError):
    """The operator's fault, found at start; the message names the variable."""


class RemoteError(ProvisionerError):
    """The outside's fault; reads `operation server via system: detail`."""

    def __init__(self, detail: str, *, system: str = "", operation: str = "", server: str = "") -> None:
        """Compose the message from what, where and why; none of them may hold a secret."""
        self.detail, self.system, self.operation, self.server = detail, system, operation, server
        what = " ".join(word for word in (operation, server) if word)
        where = f" via {system}" if system else ""
        super().__init__(f"{what}{where}: {detail}" if what or where else detail)


class Retryable(RemoteError):
    """Worth another try, later."""


class NotDone(Retryable):
    """Surely nothing was done: never sent, or the answer says so (busy, locked, throttled)."""


class Unreachable(NotDone):
    """No connection was made: refused, no route, name unknown, certificate not trusted, breaker open."""


class Busy(NotDone):
    """The object is locked by another operation, or we are too fast."""


class Denied(NotDone):
    """Our credentials or rights are refused: the place counts as away until they are good again."""


class Unusable(Retryable):
    """A look gave nothing that can be believed: garbage, a cut list, a login page. Concludes nothing."""


class Unsure(Retryable):
    """An act was sent and no answer that can be understood came: look before acting again."""


class Fatal(RemoteError):
    """Refused for good; the same act again would be refused again."""

    failure_class = FailureClass.SERVER  #: the class that a step fails with


class NoSuchObject(Fatal):
    """The DCIM knows no such server, row or user."""


class AlreadyExists(Fatal):
    """The name is taken in the DCIM."""

    failure_class = FailureClass.INPUT


class PoolEmpty(Fatal):
    """The DCIM has no address left of that kind."""

    failure_class = FailureClass.SITE


class BadValue(Fatal):
    """The DCIM does not accept a value: password too weak, template not allowed."""

    failure_class = FailureClass.INPUT

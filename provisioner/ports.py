"""What the core asks of the world, one small Protocol a need; knows the domain and nobody else."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from provisioner.domain.server import (
    AddressRow,
    Capabilities,
    Family,
    LinkRef,
    Listing,
    Network,
    Power,
    RowRef,
    ServerReading,
    ServerRef,
    User,
    UserRef,
)


class Driver(Protocol):
    """
    One DCIM. Every method is one touch: synchronous, at most one mutating call, no retry of its own.

    Looks (`list_servers`, `read`, `users`, …) change nothing and raise `Retryable` when nothing can be
    concluded: `Unreachable`, `Denied`, `Busy`, or `Unusable` for an answer that can't be believed.
    Acts return when the request is taken, not when its effect is reached, and raise
    `NotDone` (`Unreachable`, `Busy`, `Denied`): surely nothing happened;
    `Unsure`: sent, no answer that can be understood;
    `Fatal` (`NoSuchObject`, `AlreadyExists`, `PoolEmpty`, `BadValue`): refused for good.
    No message of any of them holds a password or a customer's name.
    """

    @property
    def name(self) -> str:
        """The connection's name, for messages."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What this kind of DCIM can show and do."""
        ...

    def whoami(self) -> User:
        """Give the user that we act as; proves address, certificate, credentials, and that lists may be read."""
        ...

    def list_servers(self) -> Listing:
        """Read the whole list, one call. A row of a shape that can't be believed is in it with `ill` set."""
        ...

    def read(self, server: ServerRef) -> ServerReading:
        """Read one server's form view, addresses and links. Raises `NoSuchObject` for an unknown id."""
        ...

    def users(self) -> Sequence[User]:
        """Read all users, administrators too."""
        ...

    def server_types(self) -> Sequence[str]:
        """Give the internal names of the server types."""
        ...

    def os_templates(self, server: ServerRef | None = None) -> Sequence[str]:
        """Ids of the installable templates; those allowed for *server* where one is given."""
        ...

    def networks(self) -> Sequence[Network]:
        """Address pools; empty where the DCIM shows none (`capabilities`)."""
        ...

    def create_user(self, login: str, password: str) -> UserRef:
        """Create an ordinary user. Not repeatable. Raises `AlreadyExists`, `BadValue`."""
        ...

    def edit_server(self, server: ServerRef, *, owner: UserRef | None, notes: str) -> None:
        """Set owner (None: nobody) and notes in one edit, all other fields kept. Repeatable."""
        ...

    def set_domain(self, server: ServerRef, row: RowRef, domain: str) -> None:
        """Set one address row's domain; the server's own follows its main address. Repeatable."""
        ...

    def add_address(self, server: ServerRef, family: Family, domain: str) -> AddressRow:
        """Take one more address from the pool. Not repeatable. Raises `PoolEmpty`."""
        ...

    def delete_address(self, server: ServerRef, row: RowRef) -> None:
        """Delete one address row. Raises `NoSuchObject` when it is gone already."""
        ...

    def enable(self, server: ServerRef) -> None:
        """Enable the server; its links settle afterwards. Repeatable."""
        ...

    def disable(self, server: ServerRef) -> None:
        """Disable the server; its links settle afterwards. Repeatable."""
        ...

    def set_link(self, server: ServerRef, link: LinkRef, *, on: bool) -> None:
        """Switch one switch port on or off; it settles afterwards. Repeatable."""
        ...

    def set_power(self, server: ServerRef, power: Power) -> None:
        """Ask for power on or off; seen later in the list. Repeatable. `Power.UNKNOWN` is refused."""
        ...

    def install(self, server: ServerRef, template: str, password: str) -> None:
        """Start an OS install: wipes the disks. Not repeatable. Raises `BadValue` for a refused template."""
        ...

    def cancel_operation(self, server: ServerRef) -> None:
        """Cancel the operation under way; nothing under way counts as done."""
        ...


class Drivers(Protocol):
    """Connection → driver."""

    def get(self, connection_id: int) -> Driver:
        """Give the driver of a connection at its present revision."""
        ...


class Prober(Protocol):
    """Looks at a host from outside, as a customer would."""

    def answers(self, ip: str, probe: str) -> bool:
        """Say whether *ip* answers *probe* (`icmp`, `tcp:PORT`, `ssh:PORT`) within about 2 s."""
        ...

    def host_key(self, ip: str, probe: str) -> str | None:
        """Fingerprint of the SSH host key behind an `ssh:PORT` probe; None for other probes or no answer."""
        ...


class Vault(Protocol):
    """Encryption at rest."""

    def seal(self, clear: str) -> tuple[bytes, str]:
        """Encrypt; returns ciphertext and the key's id."""
        ...

    def open(self, sealed: bytes) -> str:
        """Decrypt with whichever key fits; raises `BadConfig` when none does."""
        ...


class Clock(Protocol):
    """The time, aware, UTC."""

    def now(self) -> datetime:
        """Give the present instant."""
        ...


class Tasks(Protocol):
    """Placeholder of the message port; see `Waker`."""

    def send(self, wakeups: Sequence[Mapping[str, object]]) -> None:
        """Send."""
        ...

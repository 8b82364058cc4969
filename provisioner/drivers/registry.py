"""Connection → driver, kept while the connection's revision stays; touches no network by itself."""

import threading
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from provisioner.domain.connection import Endpoint
from provisioner.drivers.dcimanager5 import driver as dcimanager5
from provisioner.errors import Invalid, Unreachable
from provisioner.ports import Driver

Make = Callable[[Endpoint], Driver]
Load = Callable[[int], tuple[str, int, Endpoint]]  #: connection id → kind, revision, endpoint

KINDS: Final[Mapping[str, Make]] = MappingProxyType({"dcimanager5": dcimanager5.Dcimanager5})


class Registry:
    """
    All drivers of this process, one a connection.

    A driver is made anew when the connection's revision changes: a new password, address or
    certificate is used from the next touch on, without a restart.
    """

    def __init__(self, load: Load, kinds: Mapping[str, Make] = KINDS) -> None:
        self._load = load
        self._kinds = dict(kinds)
        self._made: dict[int, tuple[int, Driver]] = {}
        self._lock = threading.Lock()

    def kinds(self) -> Sequence[str]:
        """Give the kinds of DCIM that can be reached."""
        return sorted(self._kinds)

    def register(self, kind: str, make: Make) -> None:
        """Add a kind, or replace one: tests and the demo bring worlds of their own."""
        with self._lock:
            self._kinds[kind] = make
            self._made.clear()

    def get(self, connection_id: int, revision: int | None = None) -> Driver:
        """
        Give the driver of a connection at its present revision.

        A *revision* that was just read saves the look at it, and the opening of a password, while it is the same.

        Raises:
            Unreachable: this installation has no driver of the connection's kind.
        """
        with self._lock:
            made = self._made.get(connection_id)
            if made and made[0] == revision:
                return made[1]
        kind, revision, endpoint = self._load(connection_id)
        with self._lock:
            made = self._made.get(connection_id)
            if made and made[0] == revision:
                return made[1]
            make = self._kinds.get(kind)
            if not make:
                raise Unreachable(f"there is no driver of kind {kind}", system=endpoint.name)
            driver = make(endpoint)
            self._made[connection_id] = (revision, driver)
            return driver

    def probe(self, kind: str, endpoint: Endpoint) -> Driver:
        """
        Give a driver of a connection that is not saved yet, to check it; it is not kept.

        Raises:
            Invalid: no such kind.
        """
        make = self._kinds.get(kind)
        if not make:
            raise Invalid(
                f"there is no driver of kind {kind!r}; there are {', '.join(self.kinds())}",
                field="kind",
            )
        return make(endpoint)

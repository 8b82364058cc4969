"""Hold a package or a location: no new order is planned there meanwhile; what is under way goes on."""

from provisioner.domain.naming import storable
from provisioner.errors import Invalid
from provisioner.ports import Holds, Waker

REASON_LONGEST = 300


def hold_package(name: str, *, by: str, reason: str, holds: Holds) -> None:
    """Take orders for a package, and let them wait. Safe to repeat. Raises `NotFound`, `Invalid`."""
    holds.package(name, _said(by, reason))


def release_package(name: str, *, holds: Holds, waker: Waker) -> None:
    """Let a package go on. Safe to repeat. Raises `NotFound`."""
    holds.package(name, "")
    waker.tick()


def hold_location(name: str, *, by: str, reason: str, holds: Holds) -> int:
    """Take no server at a location for new orders; returns how many connections that is. Raises as above."""
    return holds.location(name, _said(by, reason))


def release_location(name: str, *, holds: Holds, waker: Waker) -> int:
    """Let a location go on; returns how many connections that is. Safe to repeat. Raises `NotFound`."""
    count = holds.location(name, "")
    waker.tick()
    return count


def _said(by: str, reason: str) -> str:
    said = " ".join(storable(reason, field="reason", longest=REASON_LONGEST).split())
    if not said:
        raise Invalid("a hold needs a reason: whoever waits reads it", field="reason")
    return f"held by {by}: {said}"

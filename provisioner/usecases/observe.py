"""Read one connection's list, once, for everybody who waits for it."""

import structlog

from provisioner.errors import Denied, RemoteError, Unreachable
from provisioner.ports import Drivers, Observer, Waker

log = structlog.get_logger()


def observe(connection_id: int, *, owner: str, observer: Observer, drivers: Drivers, waker: Waker) -> str:
    """
    Take the turn, read the list, write what differs, wake whom it concerns; returns what came of it, in words.

    A reading that can't be used changes nothing but the connection's own state.
    """
    turn = observer.turn(connection_id, owner)
    if turn is None:
        return "not our turn"
    try:
        listing = drivers.get(connection_id).list_servers()
    except RemoteError as error:
        away, denied = isinstance(error, Unreachable), isinstance(error, Denied)
        observer.failed(turn, str(error), away=away, denied=denied)
        log.warning("list_unusable", connection_id=connection_id, reason=str(error))
        return f"unusable: {error}"
    due = observer.apply(turn, listing)
    waker.wake(due)
    waker.tick()
    return f"{len(listing.servers)} servers, {len(due)} woken"

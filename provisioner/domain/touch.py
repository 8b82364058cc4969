"""
What one touch of an attempt carries along unseen: is a transaction open, and how long is the lease still ours.

Set by the store and by `run_step`; read by the one function of each adapter that sends to the outside.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from provisioner.errors import NotDone, TransactionOpen

OUT_OF_TIME = "the time limit of a touch was reached"

_transaction_open: ContextVar[bool] = ContextVar("transaction_open", default=False)
_lease_ends: ContextVar[float | None] = ContextVar("lease_ends", default=None)


@contextmanager
def transaction() -> Iterator[None]:
    """Mark the enclosed code as running inside a database transaction."""
    token = _transaction_open.set(True)
    try:
        yield
    finally:
        _transaction_open.reset(token)


@contextmanager
def lease(seconds: float) -> Iterator[None]:
    """Mark the enclosed code as holding a lease that ends in *seconds*, by the monotonic clock."""
    token = _lease_ends.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _lease_ends.reset(token)


def may_call(limit_seconds: float, *, mutating: bool) -> None:
    """
    Return if the outside may be called now, for at most *limit_seconds*.

    Raises:
        TransactionOpen: a transaction is open; locks would be held for as long as the world likes.
        NotDone: *mutating*, and the lease would run out before the call's limit; nothing was sent.
    """
    if _transaction_open.get():
        raise TransactionOpen("the outside may not be called while a transaction is open")
    ends = _lease_ends.get()
    if mutating and ends is not None and ends - time.monotonic() < limit_seconds:
        raise NotDone("not sent: the lease would end before the call's time limit")

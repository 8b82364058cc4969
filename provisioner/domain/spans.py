"""All spans of the engine, in one place, and the order in which they must stand."""

from dataclasses import dataclass, fields
from datetime import timedelta
from itertools import pairwise
from math import inf

from provisioner.errors import BadConfig


@dataclass(frozen=True, slots=True)
class Spans:
    """Seconds, unless the name says otherwise."""

    call: float = 15.0  #: total limit of one call to the outside
    soft: float = 20.0  #: a touch is asked to end
    hard: float = 25.0  #: a touch is killed
    lease: float = 30.0  #: a touch's attempt is ours
    reconcile: float = 2.0  #: between two ticks
    observe_short: float = 5.0  #: between two list readings while something short is awaited
    observe_long: float = 30.0  #: the same while only installs run
    observe_stock: float = 60.0  #: the same while only stock is awaited
    view_age: float = 30.0  #: planning uses a list reading at most this old
    wake_grace: float = 10.0  #: a message counts as lost after this, or twice as long as the last one lay; doubles
    wake_most: float = 300.0  #: longest distance between two sends
    pass_over: float = 60.0  #: a candidate that failed to be claimed is left alone; doubles up to 1 h
    canary: float = 60.0  #: before the first order tries a restricted place; doubles up to canary_most
    canary_most: float = 900.0
    probe: float = 10.0  #: between two tries of a place that is away
    burn_window: float = 3600.0  #: the burn-through guard counts failures this far back
    burn_servers: int = 3  #: servers on which a step fails before the place is blamed
    away_after: int = 3  #: calls in a row that find the place away before it is paused
    denied_most: int = 3  #: refused logins before a person must look: panels lock accounts
    deliveries_most: int = 8  #: claims without a recorded outcome before a person must look
    tell_again: float = 60.0  #: before a message that a desk did not take is tried again; doubles up to 1 h
    tell_gather: float = 300.0  #: more of the same matter is gathered so long into one message; doubles up to 1 h
    tell_remind: float = 86400.0  #: an open ticket of which nothing was said for so long is said again
    tell_read: float = 60.0  #: between two looks at a ticket that a person may close
    tell_stuck: int = 6  #: tries of one message before another department hears that it is stuck
    spread_window: float = 86400.0  #: servers that went out of sale are counted this far back
    spread_servers: int = 5  #: of one connection before those in charge hear that its quarantine grows
    callback_most: float = 3 * 86400.0  #: billing is tried for so long, then a person must look
    secrets_kept: float = 7 * 86400.0  #: one-time passwords after hand-over
    worker_beat: float = 10.0  #: between two signs of life of a worker
    blast_window: float = 3600.0  #: the blast guard counts what one token asked for this far back
    blast_closes: int = 20  #: closes and reinstalls of one token before the rest is held
    blast_suspends: float = 0.1  #: the same for suspends, as a part of the active services

    def __post_init__(self) -> None:
        """Refuse an order in which a lease could run out under an act."""
        order = ("call", "soft", "hard", "lease")
        for small, large in pairwise(order):
            if getattr(self, small) >= getattr(self, large):
                raise BadConfig(f"span {small} must be shorter than {large}")
        for field in fields(self):
            if not 0 < getattr(self, field.name) < inf:
                raise BadConfig(f"span {field.name} must be a positive number")

    def seconds(self, name: str) -> timedelta:
        """Give a span by name."""
        return timedelta(seconds=getattr(self, name))

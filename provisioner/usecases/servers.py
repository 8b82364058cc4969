"""A person's verbs on a server that is nobody's: take it out of sale, give it back; both are jobs on a claim."""

from collections.abc import Mapping

from provisioner.domain.attempt import Policy
from provisioner.domain.naming import storable
from provisioner.domain.states import JobKind
from provisioner.errors import Invalid
from provisioner.ports import Quarantine, Waker
from provisioner.usecases.recipes import recipe

REASON_LONGEST = 300


def release(
    connection: str,
    server: str,
    *,
    anyway: bool,
    by: str,
    store: Quarantine,
    waker: Waker,
    policies: Mapping[str, Policy],
) -> int:
    """
    Give a quarantined server back to stock, if a full read finds nothing against it; returns the job.

    *anyway*: although it was quarantined three times by its own fault. The read itself can't be waived.

    Raises:
        NotFound: no such connection or server.
        IllegalMove: it is not in quarantine, or a job is at work on it; the sentence says which.
    """
    job = store.release(connection, server, recipe=recipe(JobKind.RETEST, policies), by=by, anyway=anyway)
    waker.tick()
    return job


def quarantine(
    connection: str,
    server: str,
    *,
    reason: str,
    by: str,
    store: Quarantine,
    waker: Waker,
    policies: Mapping[str, Policy],
) -> int:
    """
    Take a free server out of sale: our administrator's, disabled, *reason* in its notes; returns the job.

    Raises:
        Invalid: no reason given, or one that can't be stored.
        NotFound: no such connection or server.
        IllegalMove: it is somebody's, or in quarantine already.
    """
    said = " ".join(storable(reason, field="reason", longest=REASON_LONGEST).split())
    if not said:
        raise Invalid("a quarantine needs a reason: it is written into the server's notes", field="reason")
    steps = recipe(JobKind.QUARANTINE, policies)
    job = store.quarantine(connection, server, recipe=steps, by=by, reason=said)
    waker.tick()
    return job

"""What billing panels hear, and what they have not heard yet; read only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter

from provisioner.errors import NotFound
from provisioner.ports import Callback, Reads
from provisioner.views import service
from provisioner.views.service import ServiceView


@dataclass(frozen=True, slots=True)
class CallbackView:
    """Where a billing panel hears of its services."""

    panel: str
    url: str
    created_at: datetime
    sent_at: datetime | None  #: when it took something last
    waiting: int  #: services that it is still to be told of
    given_up: int  #: services that it was not told of for too long; until something new happens, or a replay
    due_at: datetime | None  #: when it is tried next; None when nothing waits
    failures: int  #: in a row
    failing_since: datetime | None
    error: str  #: why it did not take the last one


@dataclass(frozen=True, slots=True)
class Told:
    """The body of a callback."""

    id: str  #: the same for every try
    sequence: int  #: a higher one is newer; lower ones than the highest seen are old news
    service: ServiceView  #: as it stands when it is sent, as `GET /v1/services/{external_ref}` shows it


_BODY = TypeAdapter(Told)  #: FastAPI writes its answers in the same way


def listing(*, reads: Reads) -> Sequence[CallbackView]:
    """List the callbacks, by panel."""
    return [CallbackView(**{**row, "due_at": row["due_at"] if row["waiting"] else None}) for row in reads.callbacks()]


def show(panel: str, *, reads: Reads) -> CallbackView:
    """Give one panel's. Raises `NotFound`."""
    found = next((one for one in listing(reads=reads) if one.panel == panel), None)
    if found is None:
        raise NotFound(f"panel {panel!r} has no callback")
    return found


def body(callback: Callback, *, reads: Reads) -> bytes:
    """Give what is sent: JSON with the service as it stands now. Raises `NotFound`."""
    now = service.show(callback.external_ref, reads=reads, panel=callback.panel)
    return _BODY.dump_json(Told(callback.key, callback.sequence, now))

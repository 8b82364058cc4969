"""Where billing panels hear of their services: `/v1/callbacks`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from fastapi import APIRouter, Response

from provisioner.api.auth import Admin, Ports
from provisioner.api.errors import documented
from provisioner.api.schemas import CallbackBody, PanelName
from provisioner.usecases import callback
from provisioner.views import callbacks as views
from provisioner.views.callbacks import CallbackView

router = APIRouter(prefix="/v1", tags=["callbacks"], responses=documented(400, 401, 403, 422, 503))


@dataclass(frozen=True, slots=True)
class SavedCallback:
    """A callback that was just saved."""

    callback: CallbackView
    secret: str = field(repr=False)  #: what the bodies are signed with, this once; "" where the old one is kept
    trouble: str  #: why the address could not be called now; "" when it can


@router.get("/callbacks")
def listing(ports: Ports, who: Admin) -> Sequence[CallbackView]:
    """List the callbacks, and what waits for each panel."""
    del who
    return views.listing(reads=ports.reads)


@router.get("/callbacks/{panel}", responses=documented(404))
def show(panel: PanelName, ports: Ports, who: Admin) -> CallbackView:
    """Give one panel's callback."""
    del who
    return views.show(panel, reads=ports.reads)


@router.put("/callbacks/{panel}", responses=documented(404, 413))
def save(panel: PanelName, body: CallbackBody, response: Response, ports: Ports, who: Admin) -> SavedCallback:
    """
    Save where a panel hears of its services. The secret is in the answer when it was made, and never again.

    The first call makes one; a later one keeps it, unless it asks for a new one.
    """
    del who
    response.headers["Cache-Control"] = "no-store"
    secret, trouble = callback.save(
        panel,
        body.url,
        new_secret=body.new_secret,
        callbacks=ports.callbacks,
        webhooks=ports.webhooks,
        vault=ports.vault,
    )
    return SavedCallback(views.show(panel, reads=ports.reads), secret, trouble)


@router.delete("/callbacks/{panel}", status_code=HTTPStatus.NO_CONTENT, responses=documented(404))
def delete(panel: PanelName, ports: Ports, who: Admin) -> None:
    """Tell a panel nothing more; what waits for it is forgotten."""
    del who
    callback.delete(panel, callbacks=ports.callbacks)

"""Orders and what became of them: `/v1/services`, `/v1/orders/preview`."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Header, Response

from provisioner.api.auth import Anybody, Billing, Orderer, Ports
from provisioner.api.errors import documented
from provisioner.api.schemas import After, Limit, OrderBody, Panel, Reference
from provisioner.domain.catalogue import Caller
from provisioner.usecases import preview, secrets
from provisioner.usecases.preview import Preview
from provisioner.usecases.secrets import ServiceSecrets
from provisioner.usecases.submit import submit
from provisioner.views import events, job, service
from provisioner.views.events import EventPage
from provisioner.views.job import JobView
from provisioner.views.service import ServiceView

router = APIRouter(prefix="/v1", tags=["services"], responses=documented(400, 401, 403, 404, 422, 503))
Key = Annotated[
    str | None,
    Header(alias="Idempotency-Key", min_length=1, max_length=200, description="The same key, the same answer."),
]


@dataclass(frozen=True, slots=True)
class Accepted:
    """An order that was taken; the work goes on by itself."""

    created: bool  #: False: the same order was here before
    service: ServiceView
    job: JobView


@router.post("/services", status_code=HTTPStatus.ACCEPTED, responses=documented(409, 413))
def place(body: OrderBody, response: Response, ports: Ports, who: Orderer, key: Key = None) -> Accepted:
    """
    Order a server.

    The same `external_ref` again gives the same service and job; with other content it is refused. After a
    failure before hand-over the same order again is a new job on the same service.
    """
    placed = submit(body.order(who.panel), key=key, services=ports.services, vault=ports.vault, waker=ports.waker)
    response.headers["Location"] = f"/v1/jobs/{placed.job_id}"
    return Accepted(
        created=placed.created,
        service=service.show(body.external_ref, reads=ports.reads, panel=who.panel),
        job=job.show(placed.job_id, reads=ports.reads, spans=ports.spans, panel=who.panel),
    )


@router.post("/orders/preview", responses=documented(413))
def look_ahead(body: OrderBody, ports: Ports, who: Orderer) -> Preview:
    """Check an order and say what it would do now; takes nothing."""
    return preview.preview(body.order(who.panel), services=ports.services, catalogue=ports.catalogue)


@router.get("/services/{external_ref}")
def show(external_ref: Reference, ports: Ports, who: Anybody, panel: Panel = None) -> ServiceView:
    """Say what the customer has: state, server, addresses with masks and gateways, OS, jobs."""
    return service.show(external_ref, reads=ports.reads, panel=_panel(who, panel))


@router.get("/services/{external_ref}/events")
def timeline(
    external_ref: Reference,
    *,
    ports: Ports,
    who: Anybody,
    panel: Panel = None,
    after: After = 0,
    limit: Limit = 100,
) -> EventPage:
    """Give the service's timeline."""
    return events.of_service(external_ref, reads=ports.reads, panel=_panel(who, panel), after=after, limit=limit)


@router.get("/services/{external_ref}/secrets", responses=documented(409))
def read_secrets(external_ref: Reference, response: Response, ports: Ports, who: Billing) -> ServiceSecrets:
    """
    Give the one-time passwords after hand-over; each reading is an event.

    They are erased by `DELETE`, else some days after hand-over.
    """
    response.headers["Cache-Control"] = "no-store"
    return secrets.read(
        external_ref, panel=who.panel, by=f"token {who.name}", catalogue=ports.catalogue, vault=ports.vault
    )


@router.delete("/services/{external_ref}/secrets", status_code=HTTPStatus.NO_CONTENT, responses=documented(409))
def erase_secrets(external_ref: Reference, ports: Ports, who: Billing) -> None:
    """Acknowledge the one-time passwords: they are erased. Safe to repeat."""
    secrets.erase(external_ref, panel=who.panel, by=f"token {who.name}", catalogue=ports.catalogue)


def _panel(who: Caller, asked: str | None) -> str | None:
    """Give the panel to look in: its own for billing, whatever was asked for."""
    return who.sees if who.sees is not None else asked

"""Alive, and ready: `/healthz`, `/readyz`; without a token, and without a secret."""

from http import HTTPStatus

from fastapi import APIRouter, Response

from provisioner.api.auth import Ports
from provisioner.views import health
from provisioner.views.health import Health

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def alive() -> dict[str, bool]:
    """Say that this process answers; asks nobody."""
    return {"alive": True}


@router.get("/readyz", responses={503: {"model": Health, "description": "Not ready; the answer says why."}})
def ready(response: Response, ports: Ports) -> Health:
    """Say whether orders can be taken: database, migrations; and when the reconciler last ticked."""
    found = health.show(reads=ports.reads, spans=ports.spans)
    if found.ready and not found.ticking:
        ports.waker.tick()  # whoever asks for our health also heals: beat may be what is dead
    if not found.ready:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return found

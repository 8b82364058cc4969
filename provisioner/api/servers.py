"""Servers by themselves, and the two verbs that take one out of sale and give it back: `/v1/servers`."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Path, Query, status
from pydantic import BaseModel, ConfigDict, Field

from provisioner.api.auth import Operator, Ports, Viewer
from provisioner.api.errors import documented
from provisioner.api.schemas import NAME, Name, ReasonBody
from provisioner.usecases import servers
from provisioner.views import job
from provisioner.views import servers as views
from provisioner.views.job import JobView
from provisioner.views.servers import ServerView

router = APIRouter(prefix="/v1/servers", tags=["servers"], responses=documented(400, 401, 403, 422, 503))

ServerId = Annotated[str, Path(min_length=1, max_length=100, description="The server's id in its DCIM.")]


class ReleaseBody(BaseModel):
    """How a server is given back."""

    model_config = ConfigDict(extra="forbid")

    anyway: bool = Field(default=False, description="Although it was quarantined three times by its own fault.")


@router.get("", responses=documented(404))
def listing(
    ports: Ports,
    who: Viewer,
    connection: Annotated[str | None, Query(pattern=NAME)] = None,
    *,
    quarantined: Annotated[bool, Query(description="Only those in quarantine.")] = False,
) -> Sequence[ServerView]:
    """List servers: who has each, whether it can be sold, and its strikes."""
    del who
    return views.listing(reads=ports.reads, connection=connection, quarantined=quarantined)


@router.get("/{name}/{server}", responses=documented(404))
def show(name: Name, server: ServerId, ports: Ports, who: Viewer) -> ServerView:
    """Give one server of a connection."""
    del who
    return views.show(name, server, reads=ports.reads)


@router.post("/{name}/{server}/release", status_code=status.HTTP_202_ACCEPTED, responses=documented(404, 409, 413))
def release(name: Name, server: ServerId, ports: Ports, who: Operator, body: ReleaseBody | None = None) -> JobView:
    """
    Give a quarantined server back to stock.

    It is read whole first; what speaks against it becomes the reason of the failed job. Disks and power are not
    touched.
    """
    started = servers.release(
        name,
        server,
        anyway=body.anyway if body else False,
        by=f"token {who.name}",
        store=ports.quarantine,
        waker=ports.waker,
        policies=ports.policies,
    )
    return job.show(started, reads=ports.reads, spans=ports.spans)


@router.post("/{name}/{server}/quarantine", status_code=status.HTTP_202_ACCEPTED, responses=documented(404, 409, 413))
def quarantine(name: Name, server: ServerId, body: ReasonBody, ports: Ports, who: Operator) -> JobView:
    """Take a free server out of sale: our administrator's, disabled, the reason in its notes."""
    started = servers.quarantine(
        name,
        server,
        reason=body.reason,
        by=f"token {who.name}",
        store=ports.quarantine,
        waker=ports.waker,
        policies=ports.policies,
    )
    return job.show(started, reads=ports.reads, spans=ports.spans)

"""Servers that were sold before us: `/v1/services/import`, a CSV file in, what became of each line out."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import PlainTextResponse

from provisioner.api.auth import Admin, Ports
from provisioner.api.body import IMPORT
from provisioner.api.errors import documented
from provisioner.api.schemas import NAME, Panel
from provisioner.usecases import adopt
from provisioner.usecases.adopt import Adopted

router = APIRouter(tags=["services"], responses=documented(400, 401, 403, 422, 503))

CSV = {"schema": {"type": "string"}, "example": "connection,server,package,external_ref,customer_ref,login\n"}
#: the type of the body is not looked at; it is said for clients
BODY = {"requestBody": {"required": True, "content": {"text/csv": CSV, "text/plain": CSV}}}


async def _file(request: Request) -> bytes:
    return await request.body()


@router.get(
    IMPORT, response_class=PlainTextResponse, responses={200: {"content": {"text/csv": CSV}}, **documented(404, 502)}
)
def begin(ports: Ports, who: Admin, connection: Annotated[str, Query(pattern=NAME)]) -> PlainTextResponse:
    """Give a file to begin with: the servers of a connection that customers own and our books do not know."""
    del who
    found = adopt.begin(connection, adoptions=ports.adoptions, audits=ports.audits, drivers=ports.drivers)
    return PlainTextResponse(found, media_type="text/csv")


@router.post(IMPORT, openapi_extra=BODY, responses=documented(409, 413))
def take(
    data: Annotated[bytes, Depends(_file)],
    ports: Ports,
    who: Admin,
    panel: Panel = None,
    *,
    dry_run: Annotated[bool, Query(description="Say what would become of each line; change nothing.")] = False,
    notes: Annotated[bool, Query(description="Ask for a line of ours in the notes of each server.")] = False,
) -> Adopted:
    """
    Adopt servers that were sold before this product came.

    Lines that nothing contradicts are adopted, the others say why not. The same file may be sent again. In the DCIM
    nothing is changed; `notes` asks for jobs that write one line into the notes of each server.
    """
    asking = adopt.Asking(
        panel=panel or who.panel,
        by=f"token {who.name}",
        dry_run=dry_run,
        notes=notes,
        life=ports.life,
        waker=ports.waker,
        policies=ports.policies,
    )
    return adopt.adopt(
        data,
        asking,
        adoptions=ports.adoptions,
        audits=ports.audits,
        drivers=ports.drivers,
        tell=lambda *_: None,
    )

"""What those in charge were told: `/v1/tickets`, and who they are: `/v1/departments`."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Path, Query

from provisioner.api.auth import Admin, Ports, Viewer
from provisioner.api.errors import documented
from provisioner.api.schemas import BIG, DepartmentBody, Limit, Name
from provisioner.usecases import tell
from provisioner.views import tickets as views
from provisioner.views.tickets import DepartmentView, TicketView

router = APIRouter(prefix="/v1", tags=["tickets"], responses=documented(400, 401, 403, 422, 503))


@router.get("/tickets")
def listing(
    ports: Ports,
    who: Viewer,
    limit: Limit = 100,
    *,
    closed: Annotated[bool, Query(description="Closed ones, too.")] = False,
) -> Sequence[TicketView]:
    """List the open matters, newest first, each with its messages."""
    del who
    return views.listing(reads=ports.reads, closed=closed, limit=limit)


@router.get("/tickets/{ticket}", responses=documented(404))
def show(
    ticket: Annotated[int, Path(ge=1, le=BIG, description="Its number.")], ports: Ports, who: Viewer
) -> TicketView:
    """Give one ticket."""
    del who
    return views.show(ticket, reads=ports.reads)


@router.get("/departments")
def departments(ports: Ports, who: Viewer) -> Sequence[DepartmentView]:
    """List those in charge; `default` also hears of what names nobody."""
    del who
    return views.departments(reads=ports.reads)


@router.put("/departments/{name}", responses=documented(413))
def save_department(name: Name, body: DepartmentBody, ports: Ports, who: Admin) -> Sequence[DepartmentView]:
    """Save who is in charge; answers with all of them. What waits for it is tried again at once."""
    del who
    tell.save_department(body.department(name), tickets=ports.tickets, desks=ports.desks)
    return views.departments(reads=ports.reads)

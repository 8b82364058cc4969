"""What an operator sets up and what there is to sell: `/v1/connections`, `/v1/packages`, `/v1/stock`."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Path, Query

from provisioner import bootstrap
from provisioner.api.auth import Admin, Anybody, Operator, Ports, Viewer
from provisioner.api.errors import documented
from provisioner.api.schemas import NAME, ConnectionBody, Name, PackageBody, ReasonBody
from provisioner.domain.catalogue import Role
from provisioner.usecases import connections, holds, packages
from provisioner.usecases.connections import ConnectionReport
from provisioner.views import connections as connection_views
from provisioner.views import packages as package_views
from provisioner.views import stock as stock_views
from provisioner.views.connections import ConnectionView
from provisioner.views.packages import PackageView
from provisioner.views.stock import StockView

Location = Annotated[str, Path(min_length=1, max_length=200, description="A connection without one is its own.")]

router = APIRouter(prefix="/v1", responses=documented(400, 401, 422, 503))


@router.get("/connections", tags=["connections"], responses=documented(403))
def list_connections(ports: Ports, who: Viewer) -> Sequence[ConnectionView]:
    """List the connections to DCIMs; what is not safe about one is said loudly."""
    del who
    return connection_views.listing(reads=ports.reads)


@router.put("/connections/{name}", tags=["connections"], responses=documented(403, 413))
def save_connection(name: Name, body: ConnectionBody, ports: Ports, who: Admin) -> ConnectionReport:
    """
    Save a connection, after address, certificate, credentials and administrator rights were tried.

    Answers with the servers that can be sold, those that can't and why, networks, server types and OS templates.
    """
    del who
    return connections.save(
        body.settings(name),
        body.password.get_secret_value() if body.password else None,
        catalogue=ports.catalogue,
        kinds=ports.drivers,
        drivers=ports.drivers,
        observer=ports.observer,
        waker=ports.waker,
        owner=bootstrap.owner(ports.settings),
    )


@router.get("/connections/{name}", tags=["connections"], responses=documented(403, 404))
def show_connection(name: Name, ports: Ports, who: Viewer) -> ConnectionView:
    """Give a connection; its password is never shown."""
    del who
    return connection_views.show(name, reads=ports.reads)


@router.post("/connections/{name}/check", tags=["connections"], responses=documented(403, 404, 413, 502))
def check_connection(name: Name, ports: Ports, who: Operator) -> ConnectionReport:
    """Try a connection now; changes nothing."""
    del who
    return connections.check(name, catalogue=ports.catalogue, drivers=ports.drivers)


@router.post("/connections/{name}/pause", tags=["connections"], responses=documented(403, 404, 409, 413))
def pause_connection(name: Name, body: ReasonBody, ports: Ports, who: Operator) -> ConnectionView:
    """Stop all calls to a DCIM: attempts stay where they are, no deadline runs, orders are taken and wait."""
    connections.pause(name, by=f"token {who.name}", reason=body.reason, catalogue=ports.catalogue)
    return connection_views.show(name, reads=ports.reads)


@router.post("/connections/{name}/resume", tags=["connections"], responses=documented(403, 404, 409, 413))
def resume_connection(name: Name, body: ReasonBody, ports: Ports, who: Operator) -> ConnectionView:
    """Go on with a paused DCIM; each attempt takes a fresh look first."""
    connections.resume(name, by=f"token {who.name}", reason=body.reason, catalogue=ports.catalogue, waker=ports.waker)
    return connection_views.show(name, reads=ports.reads)


@router.get("/packages", tags=["packages"])
def list_packages(ports: Ports, who: Anybody) -> Sequence[PackageView]:
    """List what is sold."""
    del who
    return package_views.listing(reads=ports.reads)


@router.put("/packages/{name}", tags=["packages"], responses=documented(403, 404, 413, 502))
def save_package(name: Name, body: PackageBody, ports: Ports, who: Admin) -> PackageView:
    """Save a package, after it was checked against its DCIMs; what was not found is listed."""
    del who
    packages.save(
        body.package(name),
        enabled=body.enabled,
        catalogue=ports.catalogue,
        drivers=ports.drivers,
        check_probe=bootstrap.check_probe,
    )
    return package_views.show(name, reads=ports.reads)


@router.get("/packages/{name}", tags=["packages"], responses=documented(404))
def show_package(name: Name, ports: Ports, who: Anybody) -> PackageView:
    """Give a package."""
    del who
    return package_views.show(name, reads=ports.reads)


@router.post("/packages/{name}/hold", tags=["packages"], responses=documented(403, 404, 413))
def hold_package(name: Name, body: ReasonBody, ports: Ports, who: Operator) -> PackageView:
    """Take its orders and let them wait; what is under way goes on. Safe to repeat."""
    holds.hold_package(name, by=f"token {who.name}", reason=body.reason, holds=ports.holds)
    return package_views.show(name, reads=ports.reads)


@router.post("/packages/{name}/release", tags=["packages"], responses=documented(403, 404, 413))
def release_package(name: Name, ports: Ports, who: Operator) -> PackageView:
    """Let its orders go on. Safe to repeat."""
    del who
    holds.release_package(name, holds=ports.holds, waker=ports.waker)
    return package_views.show(name, reads=ports.reads)


@router.post("/locations/{location}/hold", tags=["connections"], responses=documented(403, 404, 413))
def hold_location(location: Location, body: ReasonBody, ports: Ports, who: Operator) -> Sequence[ConnectionView]:
    """Take no server at a location for new orders; what is under way goes on. Safe to repeat."""
    holds.hold_location(location, by=f"token {who.name}", reason=body.reason, holds=ports.holds)
    return connection_views.listing(reads=ports.reads)


@router.post("/locations/{location}/release", tags=["connections"], responses=documented(403, 404, 413))
def release_location(location: Location, ports: Ports, who: Operator) -> Sequence[ConnectionView]:
    """Let new orders take servers at a location again. Safe to repeat."""
    del who
    holds.release_location(location, holds=ports.holds, waker=ports.waker)
    return connection_views.listing(reads=ports.reads)


@router.get("/stock", tags=["packages"], responses=documented(404))
def stock(
    ports: Ports,
    who: Anybody,
    package: Annotated[str | None, Query(pattern=NAME, description="One package; without it, all.")] = None,
) -> Sequence[StockView]:
    """Say how many servers can be sold now, and for each that can't, why. Billing is told the numbers."""
    return stock_views.show(package, reads=ports.reads, details=who.role is not Role.BILLING)

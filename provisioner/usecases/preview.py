"""An order looked at before it is placed: checked as an order is, and nothing is taken."""

from collections.abc import Sequence
from dataclasses import dataclass

from provisioner.domain.naming import panel_login
from provisioner.domain.service import Order
from provisioner.domain.states import JobKind
from provisioner.ports import Catalogue, Services
from provisioner.steps.recipes import steps_of
from provisioner.usecases.submit import checked


@dataclass(frozen=True, slots=True)
class PreviewServer:
    """The server that would be taken now."""

    connection: str
    server: str
    name: str
    ip: str


@dataclass(frozen=True, slots=True)
class Preview:
    """What an order would do, were it placed now."""

    package: str
    hostname: str  #: as it would be stored
    login: str  #: of the customer's DCIM user, were that name free there
    os: str
    server: PreviewServer | None  #: None: it would wait, or a person will say which it is
    steps: Sequence[str]  #: in the order in which they would run
    missing: Sequence[str]  #: why it would wait, and what is not as it should be


def preview(order: Order, *, services: Services, catalogue: Catalogue) -> Preview:
    """
    Say what *order* would do now; takes nothing, stores nothing.

    Raises what `submit` raises for an order that can't be taken.
    """
    order, package = checked(order, services=services)
    outlook = catalogue.outlook(package)
    found = outlook.candidate
    return Preview(
        package=package.name,
        hostname=order.hostname,
        login=panel_login(order.login),
        os=order.os,
        server=PreviewServer(found.connection, found.server, found.name, found.ip) if found else None,
        steps=[f"{pos:02d}_{step.name}" for pos, step in enumerate(steps_of(JobKind.OPEN, {}, package.kind))],
        missing=outlook.missing,
    )

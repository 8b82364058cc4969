"""An order comes in: checked, stored with its secrets sealed, and only then said to be accepted."""

import secrets
from dataclasses import replace

from provisioner.domain.naming import hostname, panel_login, storable
from provisioner.domain.service import Order, Package, ServiceKind
from provisioner.errors import Invalid, NotFound
from provisioner.ports import Placed, Sealed, Services, Vault, Waker

PASSWORD_BYTES = 15  #: of a password that we make: 20 characters
EQUIPMENT_LONGEST = 1000


def checked(order: Order, *, services: Services) -> tuple[Order, Package]:
    """
    Give the order in its stored form and the package that it asks for; changes nothing.

    Raises:
        Invalid: a value can't be taken; the message says which, why, and what to do.
        NotFound: no such package.
    """
    for name in ("external_ref", "customer_ref", "login", "package"):
        value = storable(getattr(order, name), field=name, longest=200)
        if not value.strip():
            raise Invalid(f"{name} is empty; give one", field=name)
    if order.panel_password is not None:
        storable(order.panel_password, field="panel_password", longest=128)
    panel_login(order.login)
    sale = services.on_sale(order.package)
    if sale is None:
        raise NotFound(f"there is no package {order.package!r}; see GET /v1/packages for those on sale")
    if sale.disabled:
        raise Invalid(f"package {order.package!r} is disabled; enable it or order another", field="package")
    if not sale.usable_connections:
        raise Invalid(f"package {order.package!r}: none of its connections is enabled; enable one", field="package")
    _fits(order, sale.package)
    return replace(order, hostname=hostname(order.hostname)), sale.package


def _fits(order: Order, package: Package) -> None:
    """Refuse what this kind of service has not. Raises `Invalid`."""
    if package.kind is ServiceKind.COLOCATION:
        if order.os:
            raise Invalid(f"package {package.name!r} is colocation: no OS is installed; leave os out", field="os")
        storable(order.equipment, field="equipment", longest=EQUIPMENT_LONGEST)
        return
    if order.equipment:
        raise Invalid(f"package {package.name!r} is a server of ours: leave equipment out", field="equipment")
    storable(order.os, field="os", longest=200)
    if not order.os.strip():
        raise Invalid("os is empty; give one", field="os")
    if order.os not in package.os_allowed:
        offered = ", ".join(package.os_allowed)
        raise Invalid(f"os {order.os!r} is not offered with {order.package!r}; choose one of {offered}", field="os")


def submit(order: Order, *, key: str | None, services: Services, vault: Vault, waker: Waker) -> Placed:
    """
    Accept an order once; returns the service and the job that carries it out.

    The same reference again gives the same service and job. Raises what `checked` raises, and `KeyReused`
    for a reference or key that came before with other content.
    """
    order, package = checked(order, services=services)
    if key is not None:
        storable(key, field="Idempotency-Key", longest=200)
    installed = package.kind is ServiceKind.DEDICATED  # on the customer's own machine nothing is
    root = Sealed(*vault.seal(secrets.token_urlsafe(PASSWORD_BYTES))) if installed else None
    made = order.panel_password is None
    panel = Sealed(*vault.seal(order.panel_password or secrets.token_urlsafe(PASSWORD_BYTES)))
    placed = services.place(order, package, root=root, panel=panel, panel_made=made, key=key)
    waker.tick()
    return placed

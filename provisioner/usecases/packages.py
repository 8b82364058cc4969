"""What is sold: a package is checked against the DCIMs that are to deliver it before it is saved."""

from collections.abc import Callable

from provisioner.domain.catalogue import name_of
from provisioner.domain.connection import ConnectionState
from provisioner.domain.naming import storable
from provisioner.domain.service import Package, ServiceKind
from provisioner.errors import Invalid, NotFound
from provisioner.ports import Catalogue, Drivers

ADDRESSES_MOST = 256  #: of a family; more is a typing error


def save(
    given: Package,
    *,
    enabled: bool,
    catalogue: Catalogue,
    drivers: Drivers,
    check_probe: Callable[[str], None],
) -> None:
    """
    Save a package; services keep the snapshot of the moment they were ordered.

    *check_probe* raises `Invalid` for a probe that can't be read, or that this host can't send.
    One that is not *enabled* is kept without asking a DCIM.

    Raises:
        Invalid: a value can't be taken, or a DCIM lacks something; all that was not found is listed.
        RemoteError: a DCIM can't be asked.
    """
    _check(given)
    check_probe(given.probe)
    missing = _nobody(given, catalogue=catalogue)
    for name in given.connections:
        try:
            state = catalogue.connection_state(name)
        except NotFound:
            missing.append(f"connection {name}")
            continue
        if enabled and state is not ConnectionState.DISABLED and given.kind is ServiceKind.DEDICATED:
            missing += _lacks(given, name, catalogue=catalogue, drivers=drivers)
    if missing:
        raise Invalid(f"package {given.name} is not saved; not found: {', '.join(missing)}", field="connections")
    catalogue.save_package(given, enabled=enabled)


def _nobody(given: Package, *, catalogue: Catalogue) -> list[str]:
    """Say which department is not there; a place that nobody is in charge of is not sold."""
    if given.department:
        return [] if catalogue.has_department(given.department) else [f"department {given.department}"]
    if given.kind is ServiceKind.DEDICATED or catalogue.has_department("default"):
        return []
    raise Invalid(
        "people open and close what is sold as colocation: name the department in charge, or make one called default",
        field="department",
    )


def _lacks(given: Package, connection: str, *, catalogue: Catalogue, drivers: Drivers) -> list[str]:
    driver = drivers.get(catalogue.connection_id(connection))
    missing = []
    types, templates = driver.server_types(), driver.os_templates()
    if given.server_type not in types:
        missing.append(f"server type {given.server_type} on {connection} (it has {', '.join(sorted(types)) or 'none'})")
    missing += [f"OS template {os} on {connection}" for os in given.os_allowed if os not in templates]
    return missing


def _check(given: Package) -> None:
    name_of(given.name, field="name")
    storable(given.server_type, field="server_type", longest=200)
    _check_kind(given)
    for template in given.os_allowed:
        storable(template, field="os_allowed", longest=200)
    if len(set(given.os_allowed)) != len(given.os_allowed):
        raise Invalid("os_allowed names a template twice", field="os_allowed")
    for field, count in (("ipv4", given.ipv4), ("ipv6", given.ipv6)):
        if not 0 <= count <= ADDRESSES_MOST:
            raise Invalid(f"{field} is {count}; 0 to {ADDRESSES_MOST} addresses can be asked for", field=field)
    if given.kind is ServiceKind.DEDICATED and given.ipv4 + given.ipv6 == 0:
        raise Invalid("a server without any address can't be reached; ask for at least one", field="ipv4")
    if not given.connections:
        raise Invalid("connections is empty; name at least one, with its priority", field="connections")
    if given.attempts_max < 1:
        raise Invalid("attempts_max is less than 1", field="attempts_max")
    if given.stock_wait.total_seconds() <= 0:
        raise Invalid("stock_wait_seconds is not positive", field="stock_wait_seconds")


def _check_kind(given: Package) -> None:
    """Refuse what this kind of service has not, or lacks."""
    if given.kind is ServiceKind.COLOCATION:
        for field, value in (("server_type", given.server_type), ("os_allowed", given.os_allowed)):
            if value:
                raise Invalid(f"{field}: colocation is the customer's own machine; leave it out", field=field)
        return
    if not given.server_type:
        raise Invalid("server_type is empty; give the internal name of the type in the DCIM", field="server_type")
    if not given.os_allowed:
        raise Invalid("os_allowed is empty; name at least one OS template", field="os_allowed")

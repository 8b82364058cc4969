"""What a customer has: state, server, addresses, OS, and the jobs that made it so."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from provisioner.errors import Invalid, NotFound
from provisioner.ports import Facts, Reads
from provisioner.views.outlook import at


@dataclass(frozen=True, slots=True)
class AddressView:
    """An address of the service."""

    ip: str
    family: str
    netmask: str  #: "" where the DCIM does not tell
    gateway: str  #: "" where the DCIM does not tell
    main: bool


@dataclass(frozen=True, slots=True)
class ServiceJob:
    """One job of the service."""

    id: int
    kind: str
    state: str
    waits_for: str | None
    reason: str
    created_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class ServerOfService:
    """The server behind it."""

    connection: str
    server: str  #: its id in the DCIM
    name: str
    claim: str  #: held or handed


@dataclass(frozen=True, slots=True)
class ServiceView:
    """What the customer rents."""

    id: int
    panel: str
    external_ref: str
    kind: str
    state: str
    desired: str
    suspended_by: Sequence[str]  #: billing, abuse, staff: each is lifted by its own
    package: str
    customer_ref: str
    login: str  #: of the customer's DCIM user, once it is there; before: as ordered
    hostname: str
    os: str
    ip: str  #: main address, "" before there is one
    server: ServerOfService | None
    addresses: Sequence[AddressView]
    has_secrets: bool  #: one-time passwords may be read
    created_at: datetime
    handed_over_at: datetime | None
    jobs: Sequence[ServiceJob]


def show(external_ref: str, *, reads: Reads, panel: str | None = None) -> ServiceView:
    """
    Give the service of that reference; with *panel* only that panel's.

    Raises:
        NotFound: there is none, or none for that panel.
        Invalid: several panels have one of that reference, and none was named.
    """
    found = reads.services(external_ref, panel=panel)
    if not found:
        raise NotFound(f"no service {external_ref!r}")
    if len(found) > 1:
        panels = ", ".join(row["panel"] for row in found)
        raise Invalid(f"panels {panels} each have a service {external_ref!r}; name one", field="panel")
    return _service(found[0])


def _service(row: Facts) -> ServiceView:
    addresses = [AddressView(**address) for address in row["addresses"]]
    main = next((address.ip for address in addresses if address.main), row["ip"] or "")
    return ServiceView(
        id=row["id"],
        panel=row["panel"],
        external_ref=row["external_ref"],
        kind=row["kind"],
        state=row["state"],
        desired=row["desired"],
        suspended_by=row["suspended_by"],
        package=row["package"],
        customer_ref=row["customer_ref"],
        login=row["account_login"] or row["login"],
        hostname=row["hostname"],
        os=row["os"],
        ip=main,
        server=ServerOfService(row["connection"], row["server"], row["server_name"] or "", row["claim_state"])
        if row["server"]
        else None,
        addresses=addresses,
        has_secrets=row["has_secrets"],
        created_at=row["created_at"],
        handed_over_at=row["handed_over_at"],
        jobs=[
            ServiceJob(**{**job, "created_at": at(job["created_at"]), "ended_at": at(job["ended_at"])})
            for job in row["jobs"]
        ],
    )

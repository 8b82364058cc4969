"""What is sold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from provisioner.errors import NotFound
from provisioner.ports import Facts, Reads


@dataclass(frozen=True, slots=True)
class PackageView:
    """A package as it is sold now; services keep the one of their order."""

    name: str
    kind: str
    server_type: str
    os_allowed: Sequence[str]
    ipv4: int
    ipv6: int
    address_before_install: bool
    probe: str
    attempts_max: int
    on_failure: str
    stock_wait_seconds: float
    department: str  #: in charge of what people do for it
    connections: Mapping[str, int]  #: name → priority, 0 first
    enabled: bool
    disabled_at: datetime | None


def listing(*, reads: Reads) -> Sequence[PackageView]:
    """Give all packages, by name."""
    return [_package(row) for row in reads.packages()]


def show(name: str, *, reads: Reads) -> PackageView:
    """Give one. Raises `NotFound`."""
    found = next((one for one in listing(reads=reads) if one.name == name), None)
    if found is None:
        raise NotFound(f"no package {name!r}")
    return found


def _package(row: Facts) -> PackageView:
    return PackageView(
        name=row["name"],
        kind=row["kind"],
        server_type=row["server_type"],
        os_allowed=row["os_allowed"],
        ipv4=row["ipv4"],
        ipv6=row["ipv6"],
        address_before_install=row["address_before_install"],
        probe=row["probe"],
        attempts_max=row["attempts_max"],
        on_failure=row["on_failure"],
        stock_wait_seconds=row["stock_wait_seconds"],
        department=row["department"] or "",
        connections=row["connections"],
        enabled=row["disabled_at"] is None,
        disabled_at=row["disabled_at"],
    )

"""What callers send; strict: a field that is unknown or of another type is refused by name."""

from datetime import timedelta
from typing import Annotated, Literal

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from provisioner.domain.catalogue import ConnectionSettings
from provisioner.domain.connection import TlsPolicy
from provisioner.domain.matters import Department
from provisioner.domain.naming import REFERENCE
from provisioner.domain.service import OnFailure, Order, Package, ServiceKind, SuspendBy

NAME = r"^[a-z0-9][a-z0-9._-]{0,62}$"
BIG = 2**63 - 1

Name = Annotated[str, Path(pattern=NAME, description="Lower-case letters, digits, dots, hyphens, underscores.")]
Reference = Annotated[str, Path(pattern=REFERENCE, description="The service's reference at billing.")]
JobNumber = Annotated[int, Path(ge=1, le=BIG, description="The job's id.")]
Panel = Annotated[str | None, Query(max_length=100, description="Whose service, where panels have the same reference.")]
PanelName = Annotated[str, Path(min_length=1, max_length=100, description="The billing panel, as its token names it.")]
After = Annotated[int, Query(ge=0, le=BIG, description="Events after this number: `next_after` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=500)]
Short = Annotated[str, Field(min_length=1, max_length=200)]


class Body(BaseModel):
    """Any body."""

    model_config = ConfigDict(strict=True, extra="forbid")


class CustomerBody(Body):
    """Who orders."""

    reference: Short = Field(description="The customer's reference at billing.", examples=["c-12"])
    login: Short = Field(description="Login there; becomes the DCIM user's, shortened.", examples=["ivanov"])


class OrderBody(Body):
    """An order for one dedicated server, or for a place for the customer's own."""

    external_ref: str = Field(pattern=REFERENCE, description="The service's reference at billing.", examples=["4711"])
    package: Short = Field(examples=["starter"])
    customer: CustomerBody
    hostname: str = Field(min_length=1, max_length=254, examples=["srv1.example.net"])
    os: str = Field(
        default="",
        max_length=200,
        description="OS template that the package allows; not for colocation.",
        examples=["ISPsystem__Debian-12-x86_64"],
    )
    equipment: str = Field(
        default="", max_length=1000, description="Colocation: what the customer brings, for the technician."
    )
    panel_password: SecretStr | None = Field(
        default=None, min_length=1, max_length=128, description="For the customer's DCIM user; without it we make one."
    )

    def order(self, panel: str) -> Order:
        """Give the order of *panel*."""
        return Order(
            panel=panel,
            external_ref=self.external_ref,
            package=self.package,
            customer_ref=self.customer.reference,
            login=self.customer.login,
            hostname=self.hostname,
            os=self.os,
            equipment=self.equipment,
            panel_password=self.panel_password.get_secret_value() if self.panel_password else None,
        )


class TlsBody(Body):
    """How the DCIM's certificate is trusted."""

    verify: bool = Field(default=True, description="False is possible, and shown loudly everywhere.")
    ca_pem: str = Field(default="", max_length=60_000, description="Authorities in PEM; empty: the system's.")
    fingerprint: str = Field(default="", max_length=100, description="SHA-256 of the certificate; it alone decides.")


class ConnectionBody(Body):
    """A connection to one DCIM."""

    kind: Short = Field(default="dcimanager5")
    url: str = Field(min_length=1, max_length=500, examples=["https://dcim.example.net:1500/dcimgr"])
    username: Short = Field(description="A user who is an administrator there.", examples=["bill_admin"])
    password: SecretStr | None = Field(
        default=None, min_length=1, max_length=500, description="Without it the saved one is kept."
    )
    tls: TlsBody = Field(default_factory=TlsBody)
    location: str = Field(default="", max_length=200)
    queue: str = Field(default="steps", pattern=NAME)
    bmc_port_pattern: str = Field(default="", max_length=200, description="Regular expression: ports that carry a BMC.")
    max_in_flight: int = Field(default=4, ge=1, le=100, description="Touches at once.")
    calls_per_second: float = Field(default=0.0, ge=0, le=1000, description="At most; 0: no limit.")
    in_charge: str = Field(default="", max_length=63, description="Department that its errors go to.")
    enabled: bool = True

    def settings(self, name: str) -> ConnectionSettings:
        """Give the connection called *name*."""
        return ConnectionSettings(
            name=name,
            kind=self.kind,
            url=self.url,
            username=self.username,
            tls=TlsPolicy(self.tls.verify, self.tls.ca_pem, self.tls.fingerprint),
            location=self.location,
            queue=self.queue,
            bmc_port_pattern=self.bmc_port_pattern,
            max_in_flight=self.max_in_flight,
            calls_per_second=self.calls_per_second,
            in_charge=self.in_charge,
            enabled=self.enabled,
        )


class DepartmentBody(Body):
    """Who is in charge."""

    address: str = Field(
        min_length=1, max_length=500, description="A mailbox, a queue's name in RT, or a webhook's address.",
        examples=["oncall@example.net"],
    )  # fmt: skip
    desk: Literal["email", "rt", "webhook"] = Field(default="email", description="How they are reached.")
    language: str = Field(default="en", max_length=10, description="Of the messages: `en` or `ru`.")

    def department(self, name: str) -> Department:
        """Give the department called *name*."""
        return Department(name=name, address=self.address, desk=self.desk, language=self.language)


class CallbackBody(Body):
    """Where a billing panel hears of its services."""

    url: str = Field(
        min_length=8, max_length=1000, description="Where to POST.", examples=["https://billing.example.net/hook"]
    )
    new_secret: bool = Field(default=False, description="Make a new secret; the old one signs nothing any more.")


class PackageBody(Body):
    """What is sold."""

    kind: Literal["dedicated", "colocation"] = Field(
        default="dedicated", description="A server of ours, or a place for the customer's own."
    )
    department: str = Field(
        default="", max_length=63, description="In charge of what people do for it; else who is in charge of the place."
    )
    server_type: str = Field(
        default="", max_length=200, description="Dedicated: internal name in the DCIM.", examples=["HP-E3-16G"]
    )
    os_allowed: list[Short] = Field(
        default_factory=list, max_length=200, examples=[["ISPsystem__Debian-12-x86_64"]], description="Dedicated."
    )
    ipv4: int = Field(default=1, ge=0, le=256, description="IPv4 addresses in all, the main one included.")
    ipv6: int = Field(default=0, ge=0, le=256)
    address_before_install: bool = True
    probe: str = Field(default="tcp:22", max_length=20, description="`icmp`, `tcp:PORT` or `ssh:PORT`.")
    attempts_max: int = Field(default=3, ge=1, le=100, description="Servers tried at most.")
    on_failure: Literal["next", "hold"] = Field(default="next", description="Next candidate, or hold for a person.")
    suspend_by: Literal["ports", "ports+disable"] = Field(default="ports", description="What a suspension does.")
    stock_wait_seconds: float = Field(default=72 * 3600.0, gt=0, le=366 * 86400, description="Wait for a server.")
    connections: dict[Annotated[str, Field(pattern=NAME)], Annotated[int, Field(ge=0, le=1000)]] = Field(
        min_length=1, max_length=50, description="Connection → priority, 0 first.", examples=[{"dc1": 0}]
    )
    enabled: bool = True

    def package(self, name: str) -> Package:
        """Give the package called *name*."""
        return Package(
            name=name,
            server_type=self.server_type,
            os_allowed=tuple(self.os_allowed),
            ipv4=self.ipv4,
            ipv6=self.ipv6,
            address_before_install=self.address_before_install,
            probe=self.probe,
            attempts_max=self.attempts_max,
            on_failure=OnFailure(self.on_failure),
            suspend_by=SuspendBy(self.suspend_by),
            stock_wait=timedelta(seconds=self.stock_wait_seconds),
            connections=self.connections,
            kind=ServiceKind(self.kind),
            department=self.department,
        )


class ReasonBody(Body):
    """Why; shown to everybody who waits."""

    reason: str = Field(min_length=1, max_length=500, examples=["the switch is replaced"])


class RetryBody(Body):
    """Where to run again from."""

    step: str = Field(default="", max_length=100, description="An earlier step; without it the one that failed.")
    wipe: bool = Field(default=False, description="Crossing an install again wipes the disks: say so.")
    reason: str = Field(default="", max_length=500)


class SkipBody(ReasonBody):
    """Which step is passed, and why."""

    step: Short = Field(description="The step at which the job is held.")


class SwapBody(ReasonBody):
    """Why the server is given up."""

    release: bool = Field(default=False, description="Back to stock instead of into quarantine.")


class VerbBody(Body):
    """A verb to a job."""

    reason: str = Field(default="", max_length=500)


class AnswerBody(Body):
    """What a person says."""

    server: str = Field(default="", max_length=200, description="Placed: which server it is in the DCIM.")
    done: bool = Field(default=False, description="Removed: it was taken out.")

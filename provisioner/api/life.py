"""What a service may be asked after its order: `/v1/services/{external_ref}/…`; each answers 202 with its job."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Path, Response
from pydantic import Field, SecretStr

from provisioner.api.auth import Actor, Ports
from provisioner.api.errors import documented
from provisioner.api.schemas import Body, Panel, Reference, Short
from provisioner.bootstrap import App
from provisioner.domain.catalogue import Caller
from provisioner.ports import Asked
from provisioner.usecases import life
from provisioner.usecases.life import Asking
from provisioner.views import job, service
from provisioner.views.job import JobView

router = APIRouter(
    prefix="/v1/services/{external_ref}",
    tags=["services"],
    responses=documented(400, 401, 403, 404, 409, 413, 422, 503),
)
Key = Annotated[
    str | None,
    Header(alias="Idempotency-Key", min_length=1, max_length=200, description="The same key, the same job."),
]
ACCEPTED = HTTPStatus.ACCEPTED


class WhyBody(Body):
    """Whose suspension it is; each is set and lifted by its own."""

    reason: Literal["billing", "abuse", "staff"] = "billing"


class AddressesBody(Body):
    """More addresses of one family."""

    count: int = Field(default=1, description="How many, 64 at most.", examples=[1])
    family: Literal["ipv4", "ipv6"] = "ipv4"


class PasswordBody(Body):
    """A new password of the customer's DCIM user."""

    password: SecretStr | None = Field(default=None, max_length=1000, description="Without it we make one.")


class ReinstallBody(Body):
    """Wipe the disks and install again."""

    confirm: Short = Field(description="The service's hostname: the disks are wiped.")
    os: Short | None = Field(default=None, description="OS template; without it the present one.")


class PowerBody(Body):
    """What power should be."""

    state: Literal["on", "off", "reboot"]


@dataclass(frozen=True, slots=True)
class Taken:
    """A wish that was taken; the work goes on by itself."""

    created: bool  #: False: this job carries it out already
    usually: str  #: how long such a job takes when nothing is in its way
    job: JobView


@dataclass(frozen=True, slots=True)
class _Call:
    """One call about a service: who asks, and the answer that all of them give."""

    asking: Asking
    ports: App
    response: Response

    def taken(self, asked: Asked) -> Taken:
        """Answer with the job, and where to look for it."""
        self.response.headers["Location"] = f"/v1/jobs/{asked.job_id}"
        found = job.show(asked.job_id, reads=self.ports.reads, spans=self.ports.spans)
        return Taken(created=asked.created, usually=life.usually(found.kind), job=found)


def _call(
    external_ref: Reference, response: Response, *, ports: Ports, who: Actor, panel: Panel = None, key: Key = None
) -> _Call:
    asking = Asking(
        panel=_panel(external_ref, ports, who, panel),
        external_ref=external_ref,
        by=f"token {who.name}",
        life=ports.life,
        waker=ports.waker,
        policies=ports.policies,
        key=key,
    )
    return _Call(asking, ports, response)


def _panel(external_ref: str, ports: App, who: Caller, asked: str | None) -> str:
    """Give whose service it is: billing's own; an operator names the panel where several have that reference."""
    if who.sees is not None:
        return who.sees
    return service.show(external_ref, reads=ports.reads, panel=asked).panel


Call = Annotated[_Call, Depends(_call)]


@router.post("/close", status_code=ACCEPTED)
def close(call: Call) -> Taken:
    """Take the server back, from every state: ports off and disabled first, its owner leaves last. Safe to repeat."""
    return call.taken(life.close(call.asking))


@router.post("/suspend", status_code=ACCEPTED)
def suspend(call: Call, body: WhyBody | None = None) -> Taken:
    """Switch its ports off for one reason. Power is not touched. Safe to repeat."""
    return call.taken(life.suspend(call.asking, (body or WhyBody()).reason))


@router.post("/resume", status_code=ACCEPTED)
def resume(call: Call, body: WhyBody | None = None) -> Taken:
    """Lift one reason; ports go on when none is left. Safe to repeat."""
    return call.taken(life.resume(call.asking, (body or WhyBody()).reason))


@router.post("/addresses", status_code=ACCEPTED)
def add_addresses(call: Call, body: AddressesBody) -> Taken:
    """Take more addresses; needs an Idempotency-Key. All of them, or none."""
    return call.taken(life.add_address(call.asking, count=body.count, family=body.family))


@router.delete("/addresses/{ip}", status_code=ACCEPTED)
def delete_address(call: Call, ip: Annotated[str, Path(max_length=60)]) -> Taken:
    """Give one address back; the main one stays. One that is gone already is success."""
    return call.taken(life.delete_address(call.asking, ip, reads=call.ports.reads))


@router.post("/password", status_code=ACCEPTED)
def change_password(call: Call, body: PasswordBody) -> Taken:
    """Change the password of the customer's DCIM user; needs an Idempotency-Key. It is shown nowhere."""
    given = body.password.get_secret_value() if body.password is not None else None
    return call.taken(life.change_password(call.asking, given, vault=call.ports.vault))


@router.post("/reinstall", status_code=ACCEPTED)
def reinstall(call: Call, body: ReinstallBody) -> Taken:
    """Wipe the disks and install again; needs an Idempotency-Key. The new root password is read as the first was."""
    asked = life.reinstall(
        call.asking, os=body.os, confirm=body.confirm, reads=call.ports.reads, vault=call.ports.vault
    )
    return call.taken(asked)


@router.post("/power", status_code=ACCEPTED)
def power(call: Call, body: PowerBody) -> Taken:
    """Switch power on or off, or reboot once; a reboot needs an Idempotency-Key."""
    return call.taken(life.power(call.asking, body.state))


@router.post("/sync", status_code=ACCEPTED)
def sync(call: Call) -> Taken:
    """Read the server whole, compare with what we hold, record; changes nothing there."""
    return call.taken(life.sync(call.asking))

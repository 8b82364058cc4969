"""`provisioner service`: what customers have, and orders by hand."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from provisioner.cli import life
from provisioner.cli.context import app as plugged
from provisioner.cli.context import operator
from provisioner.cli.output import Json, examples, plain, print_json, print_table
from provisioner.cli.secret import PasswordFile, read_password
from provisioner.domain.service import Order
from provisioner.domain.states import Desired, ServiceState
from provisioner.errors import Invalid
from provisioner.usecases import preview as look_ahead
from provisioner.usecases import secrets as passwords
from provisioner.usecases import submit
from provisioner.views import service as view
from provisioner.views.service import ServiceView

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What customers have, and what is asked by hand.")
life.register(app)

ORDER = "--package ds-1 --customer c-17 --login alice --hostname alice.example.net --os ISPsystem__Debian-12-x86_64"

Ref = Annotated[str, typer.Argument(help="Its reference at billing.")]
Panel = Annotated[str, typer.Option(help="The billing panel that it belongs to.")]
PackageName = Annotated[str, typer.Option("--package", help="What is ordered.")]
Customer = Annotated[str, typer.Option("--customer", help="The customer's reference at billing.")]
Login = Annotated[str, typer.Option(help="The customer's login, of which the DCIM user is made.")]
Hostname = Annotated[str, typer.Option(help="Full host name.")]
Os = Annotated[str, typer.Option(help="OS template; not for colocation.")]
Equipment = Annotated[str, typer.Option(help="Colocation: what the customer brings.")]


@dataclass(frozen=True)
class Ordered:
    """Where an order came to."""

    external_ref: str
    service: int
    job: int
    created: bool  #: False: the same order was here before


@app.command(epilog=examples(f"service order ord-1 {ORDER}", f"service order ord-1 --panel whmcs {ORDER}"))
def order(
    ref: Ref,
    *,
    package: PackageName,
    customer: Customer,
    login: Login,
    hostname: Hostname,
    os: Os = "",
    equipment: Equipment = "",
    panel: Panel = "cli",
    password_file: PasswordFile = None,
    key: Annotated[str | None, typer.Option("--idempotency-key", help="The same key gives the same answer.")] = None,
    json: Json = False,
) -> None:
    """
    Order a server, as a billing panel does. The same order again gives the same service and job.

    The password of the customer's DCIM user is made, or read from --password-file.
    """
    ports = plugged()
    password = _panel_password(password_file)
    placed = submit.submit(
        Order(panel, ref, package, customer, login, hostname, os, equipment, password),
        key=key,
        services=ports.services,
        vault=ports.vault,
        waker=ports.waker,
    )
    done = Ordered(ref, placed.service_id, placed.job_id, placed.created)
    if json:
        print_json(done)
    else:
        again = "" if done.created else " (it was ordered before)"
        typer.echo(f"service {done.service}, job {done.job}{again}; follow it: provisioner job watch {done.job}")


@app.command(epilog=examples(f"service preview {ORDER}"))
def preview(
    *,
    package: PackageName,
    customer: Customer,
    login: Login,
    hostname: Hostname,
    os: Os = "",
    equipment: Equipment = "",
    panel: Panel = "cli",
    json: Json = False,
) -> None:
    """Check an order without placing it: which server it would take, which steps would run, what is missing."""
    ports = plugged()
    wish = Order(panel, "preview", package, customer, login, hostname, os, equipment)
    found = look_ahead.preview(wish, services=ports.services, catalogue=ports.catalogue)
    if json:
        print_json(found)
        return
    server = found.server
    later = "it would wait" if found.os else "a person would say which server it is"
    where = f"server {server.server} ({server.name}, {server.ip}) of {server.connection}" if server else later
    typer.echo(f"{found.package} for {found.login}, {found.hostname}{found.os and ', '}{found.os}: {where}")
    typer.echo(f"steps: {plain(list(found.steps))}")
    for sentence in found.missing:
        typer.echo(f"missing: {sentence}")


@app.command(epilog=examples("service show ord-1", "service show ord-1 --json"))
def show(
    ref: Ref,
    panel: Annotated[str | None, typer.Option(help="Its billing panel.")] = None,
    *,
    json: Json = False,
) -> None:
    """Show what a customer has: state, server, addresses, and the jobs that made it so."""
    found = view.show(ref, reads=plugged().reads, panel=panel)
    if json:
        print_json(found)
        return
    typer.echo(f"service {found.external_ref} of {found.panel}: {found.package} for {found.login}, {_stands(found)}")
    server = found.server
    where = f"server {server.server} ({server.name}) of {server.connection}" if server else _none(found, "server")
    typer.echo(f"{where}; {found.hostname}, {found.os}; handed over: {plain(found.handed_over_at)}")
    print_table(
        ("address", "netmask", "gateway", "main"),
        ((row.ip, row.netmask or "-", row.gateway or "-", row.main) for row in found.addresses),
        empty=_none(found, "addresses"),
    )
    print_table(
        ("job", "kind", "state", "waits for", "reason"),
        ((row.id, row.kind, row.state, row.waits_for, row.reason) for row in found.jobs),
        empty="no jobs",
    )


def _stands(found: ServiceView) -> str:
    """Say what the customer has, and what is wanted where that is something else."""
    by = f" ({', '.join(found.suspended_by)})" if found.suspended_by else ""
    if found.state == ServiceState.SUSPENDED:
        return f"suspended{by}"
    if found.desired in (found.state, Desired.ACTIVE):
        return found.state
    return f"{found.state}; {found.desired}{by} is wanted"


def _none(found: ServiceView, what: str) -> str:
    """Say that there is none, and whether one may still come."""
    return f"no {what} any more" if found.state in (ServiceState.CLOSED, ServiceState.FAILED) else f"no {what} yet"


@app.command(epilog=examples("service secrets ord-1", "service secrets ord-1 --erase"))
def secrets(
    ref: Ref,
    panel: Panel = "cli",
    *,
    erase: Annotated[bool, typer.Option("--erase", help="Acknowledge and erase them instead.")] = False,
    json: Json = False,
) -> None:
    """Print the one-time passwords of a service that was handed over; every reading is an event."""
    ports = plugged()
    if erase:
        gone = passwords.erase(ref, panel=panel, by=operator(), catalogue=ports.catalogue)
        _erased(ref, gone=gone, json=json)
        return
    found = passwords.read(ref, panel=panel, by=operator(), catalogue=ports.catalogue, vault=ports.vault)
    if json:
        print_json(found)
        return
    gone_at: datetime | None = found.gone_at
    typer.echo(f"login           {found.login}")
    typer.echo(f"root password   {plain(found.root_password)}")
    typer.echo(f"panel password  {plain(found.panel_password)}")
    typer.echo(f"erased at       {plain(gone_at)}")


def _erased(ref: str, *, gone: bool, json: bool) -> None:
    if json:
        print_json({"external_ref": ref, "erased": gone})
    else:
        typer.echo(f"the passwords of {ref} are erased" if gone else f"{ref} had none any more")


def _panel_password(file: Path | None) -> str | None:
    """Return the password that billing gave; None lets one be made."""
    if file is None:
        return None
    password = read_password("Password of the customer's DCIM user", file)
    if not password.strip():
        raise Invalid("the panel password is blank", field="panel_password")
    return password

"""`provisioner connection`: the DCIMs that servers are taken from."""

from pathlib import Path
from typing import Annotated

import typer

from provisioner import bootstrap
from provisioner.cli.context import app as plugged
from provisioner.cli.context import operator
from provisioner.cli.output import Json, examples, plain, print_json, print_table
from provisioner.cli.secret import PasswordFile, read_password
from provisioner.domain.catalogue import ConnectionSettings
from provisioner.domain.connection import TlsPolicy
from provisioner.errors import Invalid
from provisioner.usecases import connections
from provisioner.usecases.connections import ConnectionReport
from provisioner.views import connections as view

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The DCIMs that servers are taken from.")

Name = Annotated[str, typer.Argument(help="The connection's name.")]
Reason = Annotated[str, typer.Option(help="Shown to everybody who waits.")]


@app.command(
    epilog=examples(
        "connection put dc1 --url https://dcim.example.net:1500/dcimgr --username bill_admin",
        "connection put dc1 --url https://dcim.example.net:1500/dcimgr --username bill_admin --password-file pw",
        "connection put dc1 --max-in-flight 8 --keep-password --url … --username …",
    )
)
def put(
    name: Name,
    url: Annotated[str, typer.Option(help="Address of the panel, like https://dcim.example.net:1500/dcimgr.")],
    username: Annotated[str, typer.Option(help="A user of the DCIM who is an administrator.")],
    kind: Annotated[str, typer.Option(help="Kind of DCIM.")] = "dcimanager5",
    password_file: PasswordFile = None,
    *,
    keep_password: Annotated[bool, typer.Option("--keep-password", help="Keep the one that is stored.")] = False,
    fingerprint: Annotated[str, typer.Option(help="SHA-256 of the panel's certificate, to pin it.")] = "",
    ca_file: Annotated[Path | None, typer.Option(help="PEM file of the authority to trust.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Do not check the certificate. Loud.")] = False,
    location: Annotated[str, typer.Option(help="For people: where it is.")] = "",
    queue: Annotated[str, typer.Option(help="Queue of its steps.")] = "steps",
    bmc_port_pattern: Annotated[str, typer.Option(help="Regular expression: ports that carry a BMC.")] = "",
    max_in_flight: Annotated[int, typer.Option(help="Touches at once.")] = 4,
    calls_per_second: Annotated[float, typer.Option(help="Calls a second at most; 0: no limit.")] = 0.0,
    in_charge: Annotated[str, typer.Option(help="Department that its errors go to; else `default`.")] = "",
    disabled: Annotated[bool, typer.Option("--disabled", help="Save it, but take no new orders.")] = False,
    json: Json = False,
) -> None:
    """
    Save a connection, after address, certificate, credentials and rights were tried.

    The password is asked for, or read from standard input or a file: never from the command line.
    """
    ports = plugged()
    given = ConnectionSettings(
        name=name,
        kind=kind,
        url=url,
        username=username,
        tls=TlsPolicy(verify=not insecure, ca_pem=_pem(ca_file), fingerprint=fingerprint),
        location=location,
        queue=queue,
        bmc_port_pattern=bmc_port_pattern,
        max_in_flight=max_in_flight,
        calls_per_second=calls_per_second,
        in_charge=in_charge,
        enabled=not disabled,
    )
    report = connections.save(
        given,
        None if keep_password else read_password(f"Password of {username}", password_file),
        catalogue=ports.catalogue,
        kinds=ports.drivers,
        drivers=ports.drivers,
        observer=ports.observer,
        waker=ports.waker,
        owner=bootstrap.owner(ports.settings),
    )
    _show(report, json=json)


@app.command("list", epilog=examples("connection list", "connection list --json"))
def list_(*, json: Json = False) -> None:
    """List the connections and in what state each is."""
    found = view.listing(reads=plugged().reads)
    if json:
        print_json(found)
        return
    print_table(
        ("name", "kind", "state", "url", "last list", "trouble"),
        (
            (row.name, row.kind, row.state, row.url, row.observed_at, "; ".join([row.why, *row.warnings]).strip("; "))
            for row in found
        ),
        empty="no connection yet: see `provisioner connection put --help`",
    )  # fmt: skip


@app.command(epilog=examples("connection show dc1"))
def show(name: Name, *, json: Json = False) -> None:
    """Show one connection as it is stored; asks the DCIM nothing."""
    found = view.show(name, reads=plugged().reads)
    if json:
        print_json(found)
        return
    _pairs(found)


@app.command(epilog=examples("connection check dc1"))
def check(name: Name, *, json: Json = False) -> None:
    """Try a connection now; list what can be sold, and for each server that cannot, why."""
    ports = plugged()
    _show(connections.check(name, catalogue=ports.catalogue, drivers=ports.drivers), json=json)


@app.command(epilog=examples("connection pause dc1 --reason 'panel upgrade until 22:00'"))
def pause(name: Name, reason: Reason, *, json: Json = False) -> None:
    """Stop all calls to a DCIM: attempts stay where they are, no deadline runs, new orders wait."""
    connections.pause(name, by=operator(), reason=reason, catalogue=plugged().catalogue)
    _said(f"{name} is paused: {reason}", {"name": name, "state": "paused", "reason": reason}, json=json)


@app.command(epilog=examples("connection resume dc1"))
def resume(name: Name, reason: Reason = "resumed by hand", *, json: Json = False) -> None:
    """Go on with a paused DCIM: each attempt takes a fresh look first."""
    ports = plugged()
    connections.resume(name, by=operator(), reason=reason, catalogue=ports.catalogue, waker=ports.waker)
    _said(f"{name} goes on", {"name": name, "state": "active"}, json=json)


def _show(report: ConnectionReport, *, json: bool) -> None:
    if json:
        print_json(report)
        return
    for warning in report.warnings:
        typer.echo(f"WARNING: {warning}", err=True)
    typer.echo(
        f"{report.name}: {report.kind} at {report.url}, {report.state}; our user there is {report.administrator}"
    )
    typer.echo(f"server types: {plain(list(report.server_types))}")
    typer.echo(f"OS templates: {plain(list(report.os_templates))}")
    print_table(
        ("server", "name", "type", "address", "may be sold"),
        (
            (server.server, server.name, server.server_type, server.ip, server.why_not or "yes")
            for server in (*report.available, *report.unavailable)
        ),
        empty="it lists no servers",
    )


def _pairs(found: object) -> None:
    for field in getattr(found, "__dataclass_fields__", {}):
        typer.echo(f"{field.replace('_', ' '):<20}{plain(getattr(found, field))}")


def _said(text: str, value: object, *, json: bool) -> None:
    if json:
        print_json(value)
    else:
        typer.echo(text)


def _pem(file: Path | None) -> str:
    if file is None:
        return ""
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"cannot read {file}: {error}", field="tls.ca_pem") from None

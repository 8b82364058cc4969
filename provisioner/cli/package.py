"""`provisioner package`: what billing sells."""

from datetime import timedelta
from typing import Annotated

import typer

from provisioner import bootstrap
from provisioner.cli.context import app as plugged
from provisioner.cli.context import operator
from provisioner.cli.output import Json, examples, plain, print_json, print_table
from provisioner.domain.service import OnFailure, Package, ServiceKind
from provisioner.errors import Invalid
from provisioner.usecases import holds, packages
from provisioner.views import packages as view

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What billing sells.")

Name = Annotated[str, typer.Argument(help="The package's name, as billing orders it.")]


@app.command(
    epilog=examples(
        "package put ds-1 --type HP-E3-16G --os ISPsystem__Debian-12-x86_64 --on dc1",
        "package put ds-2 --type HP-E5-64G --os ISPsystem__Debian-12-x86_64 --on dc1 --on dc2=1 --ipv4 2",
        "package put rack-1u --kind colocation --on dc1 --department hands",
    )
)
def put(
    name: Name,
    *,
    server_type: Annotated[str, typer.Option("--type", help="Internal name of the server type in the DCIM.")] = "",
    os_allowed: Annotated[list[str] | None, typer.Option("--os", help="OS template that may be ordered.")] = None,
    on: Annotated[list[str], typer.Option("--on", help="CONNECTION or CONNECTION=PRIORITY; 0 is taken first.")],
    kind: Annotated[ServiceKind, typer.Option(help="A server of ours, or a place.")] = ServiceKind.DEDICATED,
    department: Annotated[str, typer.Option(help="In charge of what people do for it.")] = "",
    ipv4: Annotated[int, typer.Option(help="IPv4 addresses, the main one included.")] = 1,
    ipv6: Annotated[int, typer.Option(help="IPv6 addresses.")] = 0,
    probe: Annotated[str, typer.Option(help="How a living system is seen: icmp, tcp:PORT or ssh:PORT.")] = "tcp:22",
    attempts_max: Annotated[int, typer.Option(help="Servers tried at most.")] = 3,
    on_failure: Annotated[OnFailure, typer.Option(help="Try the next server, or hold for a person.")] = OnFailure.NEXT,
    stock_wait_hours: Annotated[float, typer.Option(help="How long an order waits for a server.")] = 72.0,
    disabled: Annotated[bool, typer.Option("--disabled", help="Keep it, but sell it no more.")] = False,
    json: Json = False,
) -> None:
    """Save a package, after every connection was asked for its server type and OS templates."""
    ports = plugged()
    given = Package(
        name=name,
        server_type=server_type,
        os_allowed=os_allowed or [],
        ipv4=ipv4,
        ipv6=ipv6,
        probe=probe,
        attempts_max=attempts_max,
        on_failure=on_failure,
        stock_wait=timedelta(hours=stock_wait_hours),
        connections=_places(on),
        kind=kind,
        department=department,
    )
    packages.save(
        given,
        enabled=not disabled,
        catalogue=ports.catalogue,
        drivers=ports.drivers,
        check_probe=bootstrap.check_probe,
    )
    show(name, json=json)


@app.command("list", epilog=examples("package list", "package list --json"))
def list_(*, json: Json = False) -> None:
    """List what is sold, and where it comes from."""
    found = view.listing(reads=plugged().reads)
    if json:
        print_json(found)
        return
    print_table(
        ("name", "type", "os", "ipv4", "ipv6", "probe", "tries", "connections", "sold"),
        (
            (row.name, row.server_type, row.os_allowed, row.ipv4, row.ipv6, row.probe, row.attempts_max,
             _named(row.connections), row.enabled)
            for row in found
        ),
        empty="no package yet: see `provisioner package put --help`",
    )  # fmt: skip


@app.command(epilog=examples("package show ds-1"))
def show(name: Name, *, json: Json = False) -> None:
    """Show one package."""
    found = view.show(name, reads=plugged().reads)
    if json:
        print_json(found)
        return
    for field in found.__dataclass_fields__:
        value = getattr(found, field)
        typer.echo(f"{field.replace('_', ' '):<24}{_named(value) if field == 'connections' else plain(value)}")


@app.command(epilog=examples("package hold ds-1 --reason 'price change'"))
def hold(
    name: Name, reason: Annotated[str, typer.Option(help="Whoever waits reads it.")], *, json: Json = False
) -> None:
    """Take its orders and let them wait; what is under way goes on."""
    holds.hold_package(name, by=operator(), reason=reason, holds=plugged().holds)
    _held(name, held=True, json=json)


@app.command(epilog=examples("package release ds-1"))
def release(name: Name, *, json: Json = False) -> None:
    """Let its orders go on."""
    ports = plugged()
    holds.release_package(name, holds=ports.holds, waker=ports.waker)
    _held(name, held=False, json=json)


def _held(name: str, *, held: bool, json: bool) -> None:
    if json:
        print_json({"package": name, "held": held})
    else:
        typer.echo(f"{name} is held" if held else f"{name} goes on")


def _places(words: list[str]) -> dict[str, int]:
    found = {}
    for word in words:
        name, _, priority = word.partition("=")
        if not (priority or "0").isdecimal():
            raise Invalid(f"--on {word}: the priority after = is a whole number, 0 first", field="connections")
        found[name] = int(priority or "0")
    return found


def _named(connections: object) -> str:
    pairs = connections.items() if isinstance(connections, dict) else []
    return ", ".join(f"{name}={priority}" for name, priority in pairs) or "-"

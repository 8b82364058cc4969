"""`provisioner stock`: what can be sold now, and why the rest cannot."""

from typing import Annotated

import typer

from provisioner.cli.context import app as plugged
from provisioner.cli.output import Json, examples, print_json, print_table
from provisioner.views import stock as view


def register(app: typer.Typer) -> None:
    """Put the command on *app*."""
    app.command("stock", epilog=examples("stock", "stock ds-1", "stock ds-1 --json"))(stock)


def stock(
    package: Annotated[str | None, typer.Argument(help="Only this package.")] = None,
    *,
    json: Json = False,
) -> None:
    """Say how many servers can be sold of each package, and for each that cannot, why."""
    found = view.show(package, reads=plugged().reads)
    if json:
        print_json(found)
        return
    print_table(
        ("package", "type", "can be sold", "cannot"),
        ((row.package, row.server_type, row.sellable, len(row.unsellable)) for row in found),
        empty="no package yet: see `provisioner package put --help`",
    )
    for row in found:
        for place in row.connections:
            if place.why:
                typer.echo(f"{row.package}: {place.why}")
        for server in row.unsellable:
            typer.echo(f"{row.package}: server {server.server} ({server.name}) of {server.connection}: {server.reason}")

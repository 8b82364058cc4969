"""`provisioner location`: all connections of one place at once."""

from typing import Annotated

import typer

from provisioner.cli.context import app as plugged
from provisioner.cli.context import operator
from provisioner.cli.output import Json, examples, print_json
from provisioner.usecases import holds

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="All connections of one place at once.")

Name = Annotated[str, typer.Argument(help="The location; a connection without one is its own.")]


@app.command(epilog=examples("location hold fra1 --reason 'the cooling is down'"))
def hold(
    name: Name, reason: Annotated[str, typer.Option(help="Whoever waits reads it.")], *, json: Json = False
) -> None:
    """Take no server there for new orders; what is under way goes on."""
    count = holds.hold_location(name, by=operator(), reason=reason, holds=plugged().holds)
    _said(f"{name} is held ({count} connections)", {"location": name, "held": True, "connections": count}, json=json)


@app.command(epilog=examples("location release fra1"))
def release(name: Name, *, json: Json = False) -> None:
    """Let new orders take servers there again."""
    ports = plugged()
    count = holds.release_location(name, holds=ports.holds, waker=ports.waker)
    _said(f"{name} goes on ({count} connections)", {"location": name, "held": False, "connections": count}, json=json)


def _said(text: str, facts: dict[str, object], *, json: bool) -> None:
    if json:
        print_json(facts)
    else:
        typer.echo(text)

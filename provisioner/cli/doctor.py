"""`provisioner doctor`: how the installation stands, thing by thing. Touches database and broker, not the API."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime

import typer
from rich.table import Table
from rich.text import Text

from provisioner import __version__
from provisioner.cli.context import app as plugged
from provisioner.cli.output import Json, examples, out, print_json
from provisioner.usecases import doctor as usecase
from provisioner.usecases.doctor import Line

#: how a line is shown
SHOWN = {True: ("green", "green"), False: ("RED", "bold red"), None: ("?", "yellow")}


def register(app: typer.Typer) -> None:
    """Put the command on *app*."""
    app.command("doctor", epilog=examples("doctor", "doctor --json"))(doctor)


def doctor(*, json: Json = False) -> None:
    """
    Look at database, broker, workers, queues, clock, connections and waiting work; say what to type where it is red.

    Exit code 1 unless every line is green. Works while API, workers, broker or database are down.
    """
    ports = plugged()
    found = usecase.examine(
        reads=ports.reads,
        heartbeats=ports.heartbeats,
        broker=ports.broker,
        spans=ports.spans,
        version=__version__,
        desks=ports.desks,
        clock=lambda: datetime.fromtimestamp(time.time(), UTC),
    )
    well = all(line.well for line in found)
    if json:
        print_json({"well": well, "lines": found})
    else:
        _print(found)
    if not well:
        raise typer.Exit(1)


def _print(found: Sequence[Line]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for line in found:
        word, style = SHOWN[line.well]
        says = f"{line.says}\n  type: {line.mend}" if line.mend else line.says
        table.add_row(Text(word, style), Text(line.about), Text(says))
    out().print(table)

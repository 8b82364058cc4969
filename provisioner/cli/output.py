"""What a command prints: a table or text for people, JSON for machines. Touches standard output."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import Enum
from typing import Annotated

import typer
from pydantic_core import to_json
from rich.console import Console
from rich.table import Table

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]

#: Wide enough for a table in a pipe, where there is no width to ask for.
PIPE_WIDTH = 200


def out() -> Console:
    """Return the way to standard output."""
    console = Console(highlight=False, markup=False, soft_wrap=False)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    return console


def print_json(value: object) -> None:
    """Print *value*, dataclasses, enums and instants included, as the API would render it."""
    typer.echo(to_json(value, indent=2).decode())


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print rows under *columns*, or the sentence *empty*."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(plain(cell) for cell in row))
    if table.row_count:
        out().print(table)
    else:
        typer.echo(empty)


def plain(cell: object) -> str:
    """Return *cell* as people read it."""
    match cell:
        case None:
            return "-"
        case bool():
            return "yes" if cell else "no"
        case datetime():
            return f"{cell:%Y-%m-%d %H:%M:%S}"
        case Enum():
            return str(cell.value)
        case list() | tuple():
            return ", ".join(plain(item) for item in cell)
        case _:
            return str(cell)


def examples(*lines: str) -> str:
    """Return the foot of a `--help`."""
    return "\n".join(["\b", "examples:", *(f"  provisioner {line}" for line in lines)])

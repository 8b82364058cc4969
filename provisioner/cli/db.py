"""`provisioner db`: the tables, their revision, and how long they keep what has ended. Touches the database."""

import re
from datetime import timedelta
from typing import Annotated

import typer

from provisioner import bootstrap, config
from provisioner.cli.context import app as plugged
from provisioner.cli.output import Json, examples, print_json, print_table
from provisioner.errors import Invalid
from provisioner.usecases import prune as usecase

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Bring the database to this release.")


@app.command(epilog=examples("db upgrade"))
def upgrade(*, json: Json = False) -> None:
    """Apply the migrations that miss; safe to repeat, and to run twice at once."""
    settings = config.load()
    bootstrap.upgrade(settings)
    _show(*bootstrap.revisions(settings), json=json)


@app.command(epilog=examples("db current"))
def current(*, json: Json = False) -> None:
    """Say which revision the database has, and which one this release wants. Exit code 1 when they differ."""
    present, newest = bootstrap.revisions(config.load())
    _show(present, newest, json=json)
    if present != newest:
        raise typer.Exit(1)


@app.command(epilog=examples("db prune --keep 400d --dry-run", "db prune --keep 400d"))
def prune(
    keep: Annotated[str, typer.Option(help="How long what has ended is kept, like 400d or 60w; at least 30d.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and erase nothing.")] = False,
    json: Json = False,
) -> None:
    """
    Erase jobs that ended so long ago, with attempts, steps, events and keys, and the claims that ended with them.

    What a living claim stands on stays, and so do services and the history of quarantine. In small commits: it may run
    beside everything else, be broken off, and be repeated, say monthly.
    """
    counts = usecase.prune(_span(keep), dry=dry_run, pruner=plugged().pruner)
    if json:
        print_json({"dry_run": dry_run, "rows": counts})
        return
    print_table(("what", "would go" if dry_run else "gone"), sorted(counts.items()), empty="there is nothing that old")


def _span(text: str) -> timedelta:
    match = re.fullmatch(r"(\d{1,5})([dw])", text)
    if match is None:
        raise Invalid(f"--keep {text!r}: write a number and d or w, like 400d or 60w", field="keep")
    return timedelta(days=int(match[1]) * (7 if match[2] == "w" else 1))


def _show(present: str, newest: str, *, json: bool) -> None:
    if json:
        print_json({"present": present or None, "newest": newest})
    elif present == newest:
        typer.echo(f"revision {present}, the newest")
    else:
        typer.echo(f"revision {present or 'none'}; this release wants {newest}: type `provisioner db upgrade`")

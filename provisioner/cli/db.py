"""`provisioner db`: the tables and their revision. Touches the database."""

import typer

from provisioner import bootstrap, config
from provisioner.cli.output import Json, examples, print_json

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


def _show(present: str, newest: str, *, json: bool) -> None:
    if json:
        print_json({"present": present or None, "newest": newest})
    elif present == newest:
        typer.echo(f"revision {present}, the newest")
    else:
        typer.echo(f"revision {present or 'none'}; this release wants {newest}: type `provisioner db upgrade`")

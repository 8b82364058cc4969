"""`provisioner token`: who may use the API, and as what."""

from datetime import UTC, datetime, timedelta
from time import time
from typing import Annotated

import typer

from provisioner.cli.context import app as plugged
from provisioner.cli.output import Json, examples, print_json, print_table
from provisioner.usecases import life, tokens

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Who may use the API, and as what.")


@app.command(
    epilog=examples(
        "token create billmanager --role billing --panel billmanager",
        "token create alice --role operator --days 90",
    )
)
def create(
    name: Annotated[str, typer.Argument(help="A token is listed and revoked by it.")],
    role: Annotated[str, typer.Option(help="billing, viewer, operator or admin.")],
    panel: Annotated[str, typer.Option(help="The billing panel that it orders for.")] = "",
    days: Annotated[float | None, typer.Option(help="Days until it expires; default: never.")] = None,
    *,
    json: Json = False,
) -> None:
    """Make a token and print it: this once, it is stored as a hash."""
    expires = None if days is None else datetime.fromtimestamp(time(), UTC) + timedelta(days=days)
    made = tokens.create(name, role, panel=panel, expires_at=expires, catalogue=plugged().catalogue)
    if json:
        print_json(made)
    else:
        typer.echo(made.token)


@app.command("list", epilog=examples("token list"))
def list_(*, json: Json = False) -> None:
    """List the tokens, without what they are."""
    found = tokens.listing(catalogue=plugged().catalogue)
    if json:
        print_json(found)
        return
    print_table(
        ("name", "role", "panel", "created", "expires", "revoked"),
        ((row.name, row.role, row.panel or "-", row.created_at, row.expires_at, row.revoked_at) for row in found),
        empty="no token yet: see `provisioner token create --help`",
    )


@app.command(epilog=examples("token revoke alice"))
def revoke(name: Annotated[str, typer.Argument(help="Its name.")], *, json: Json = False) -> None:
    """End a token at once."""
    tokens.revoke(name, catalogue=plugged().catalogue)
    if json:
        print_json({"name": name, "revoked": True})
    else:
        typer.echo(f"{name} is revoked")


@app.command(epilog=examples("token release billmanager"))
def release(
    name: Annotated[str, typer.Argument(help="The token whose wishes are held.")], *, json: Json = False
) -> None:
    """Let go what is held of a token's wishes because it asked for too much at once."""
    ports = plugged()
    count = life.let_go(name, life=ports.life, waker=ports.waker, policies=ports.policies)
    if json:
        print_json({"name": name, "released": count})
    else:
        typer.echo(f"{count} wishes of {name} go on")


@app.command(epilog=examples("token drop billmanager"))
def drop(name: Annotated[str, typer.Argument(help="The token whose wishes are held.")], *, json: Json = False) -> None:
    """Cancel what is held of a token's wishes because it asked for too much at once."""
    count = life.drop(name, life=plugged().life)
    if json:
        print_json({"name": name, "dropped": count})
    else:
        typer.echo(f"{count} wishes of {name} are cancelled")

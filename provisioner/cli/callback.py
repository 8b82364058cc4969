"""`provisioner callback`: where billing panels hear of their services, and what they have not heard yet."""

from typing import Annotated

import typer

from provisioner.cli.context import app as plugged
from provisioner.cli.job import span
from provisioner.cli.output import Json, examples, print_json, print_table
from provisioner.usecases import callback
from provisioner.views import callbacks as view
from provisioner.views.callbacks import CallbackView

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Where billing panels hear of their services.")

Panel = Annotated[str, typer.Argument(help="The billing panel, as its token names it.")]


@app.command(
    epilog=examples(
        "callback put billmanager https://billing.example.net/hook",
        "callback put billmanager https://billing.example.net/hook --new-secret",
    )
)
def put(
    panel: Panel,
    url: Annotated[str, typer.Argument(help="Where to POST.")],
    *,
    new_secret: Annotated[
        bool, typer.Option("--new-secret", help="Make a new secret in place of the old one.")
    ] = False,
    json: Json = False,
) -> None:
    """Save where a panel hears of its services, and print the secret that signs it: this once, it is stored sealed."""
    ports = plugged()
    secret, trouble = callback.save(
        panel, url, new_secret=new_secret, callbacks=ports.callbacks, webhooks=ports.webhooks, vault=ports.vault
    )
    if json:
        print_json({"panel": panel, "url": url, "secret": secret, "trouble": trouble})
    else:
        typer.echo(secret or f"{panel}: saved; its secret is the old one, --new-secret makes another")
    if trouble:
        typer.echo(f"WARNING: not now, callbacks wait: {trouble}", err=True)


@app.command("list", epilog=examples("callback list", "callback list --json"))
def list_(*, json: Json = False) -> None:
    """List the callbacks, what waits for each panel, and why."""
    found = view.listing(reads=plugged().reads)
    if json:
        print_json(found)
        return
    print_table(
        ("panel", "url", "last told", "waiting", "given up", "next try", "trouble"),
        ((row.panel, row.url, row.sent_at, row.waiting, row.given_up, row.due_at, _trouble(row)) for row in found),
        empty="no panel hears by itself: type `provisioner callback put PANEL URL`",
    )


@app.command(epilog=examples("callback delete billmanager"))
def delete(panel: Panel, *, json: Json = False) -> None:
    """Tell a panel nothing more; its secret, and what waits for it, are forgotten."""
    callback.delete(panel, callbacks=plugged().callbacks)
    if json:
        print_json({"panel": panel, "deleted": True})
    else:
        typer.echo(f"{panel} is told nothing more")


@app.command(
    epilog=examples(
        "callback replay billmanager --failed",
        "callback replay billmanager --service ord-1",
        "callback replay billmanager --since 2h",
        "callback replay billmanager",
    )
)
def replay(
    panel: Panel,
    service: Annotated[str | None, typer.Option(help="Only this one, by its reference at billing.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Only those to which something happened since: 90m, 2h, 3d.")
    ] = None,
    *,
    failed: Annotated[bool, typer.Option("--failed", help="Only those that were given up.")] = False,
    json: Json = False,
) -> None:
    """Tell a panel anew how its services stand: all of them, or those chosen."""
    ports = plugged()
    count = callback.replay(
        panel,
        service=service,
        since=span(since) if since is not None else None,
        failed=failed,
        callbacks=ports.callbacks,
        waker=ports.waker,
    )
    if json:
        print_json({"panel": panel, "services": count})
    else:
        typer.echo(f"services that {panel} is told of: {count}")


def _trouble(row: CallbackView) -> str:
    return f"{row.error} ({row.failures} times)" if row.failures else ""

"""`provisioner ticket`: what those in charge were told, and whether they have it."""

from pathlib import Path
from typing import Annotated

import typer

from provisioner import bootstrap, config
from provisioner.cli.context import app as plugged
from provisioner.cli.output import Json, examples, plain, print_json, print_table
from provisioner.domain.matters import Kind, Texts
from provisioner.domain.wording.texts import language_of
from provisioner.errors import BadConfig
from provisioner.views import tickets as view
from provisioner.views import wording
from provisioner.views.tickets import TicketView

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What those in charge were told.")


@app.command("list", epilog=examples("ticket list", "ticket list --all", "ticket list --json"))
def list_(
    *,
    everything: Annotated[bool, typer.Option("--all", help="Closed ones, too.")] = False,
    json: Json = False,
) -> None:
    """List the open matters, newest first; one matter is one ticket, however often it happens."""
    found = view.listing(reads=plugged().reads, closed=everything)
    if json:
        print_json(found)
        return
    print_table(
        ("ticket", "since", "state", "times", "to", "subject", "message"),
        ((row.id, row.opened_at, row.state, row.count, row.to, row.subject, _standing(row)) for row in found),
        empty="no ticket" if everything else "no open ticket",
    )


@app.command(epilog=examples("ticket show 12"))
def show(ticket: Annotated[int, typer.Argument(help="Its number.")], *, json: Json = False) -> None:
    """Show one ticket with all its messages."""
    found = view.show(ticket, reads=plugged().reads)
    if json:
        print_json(found)
        return
    typer.echo(f"ticket {found.id}, {found.state}: {found.subject}")
    typer.echo(f"  to {found.to} ({found.department}), since {plain(found.opened_at)}, {found.count} times")
    if found.closed_at:
        typer.echo(f"  closed {plain(found.closed_at)}")
    if found.read_at:
        typer.echo(f"  to close it at {found.desk_ref} is an answer; that is looked at again {plain(found.read_at)}")
    for message in found.messages:
        sent = f"sent {plain(message.sent_at)}" if message.sent_at else f"waits until {plain(message.due_at)}"
        failed = f"; tried {message.tries} times: {message.error}" if message.error else ""
        typer.echo(f"\n{message.n}. {message.kind}, {sent}{failed}")
        for line in message.text.splitlines():
            typer.echo(f"    {line}".rstrip())


@app.command(
    epilog=examples(
        "ticket preview held",
        "ticket preview held --language ru --texts texts.toml",
        "ticket preview --all --json",
    )
)
def preview(
    kind: Annotated[Kind | None, typer.Argument(help="Of matter.", show_default=False)] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Every kind.")] = False,
    language: Annotated[str, typer.Option(help="Of the messages: en or ru.")] = "en",
    texts: Annotated[
        Path | None, typer.Option(help="TOML with texts to try; default: PROVISIONER_TEXTS_FILE, or ours.")
    ] = None,
    json: Json = False,
) -> None:
    """Show what the messages of a matter read like, with sample values; needs no database, sends nothing."""
    if everything == (kind is not None):
        raise typer.BadParameter("name one kind, or give --all", param_hint="KIND")
    found = wording.preview(list(Kind) if kind is None else [kind], language=language_of(language), texts=_texts(texts))
    if json:
        print_json(found)
        return
    for shown in found:
        typer.echo(f"{shown.kind}: {shown.subject}")
        for title, text in (
            ("open", shown.open),
            ("follow-up", shown.follow_up),
            ("reminder", shown.reminder),
            ("all-clear", shown.all_clear),
        ):
            typer.echo(f"\n  --- {title}")
            for line in text.splitlines():
                typer.echo(f"    {line}".rstrip())
        typer.echo()


def _texts(file: Path | None) -> Texts:
    """Give the texts to show; a file that is tried and can't be used is a fault of the line, not of a setting."""
    if file is None:
        return bootstrap.texts(config.load().texts_file)
    try:
        return bootstrap.texts(file, name="--texts")
    except BadConfig as error:
        raise typer.BadParameter(str(error)) from None


def _standing(row: TicketView) -> str:
    """Say whether its reader has it."""
    if not row.unsent:
        return "sent"
    return f"not sent: {row.trouble}" if row.trouble else "waits"

"""The command line's frame: nouns and verbs, and how an error ends a command. Touches standard error."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from provisioner import __version__
from provisioner.cli import (
    adopt,
    audit,
    callback,
    connection,
    db,
    department,
    doctor,
    job,
    key,
    location,
    package,
    processes,
    server,
    service,
    stock,
    ticket,
    token,
)
from provisioner.cli.codes import Code, code_of, sentence

EPILOG = "\n".join(
    [
        "\b",
        "examples:",
        "  provisioner connection put dc1 --url https://dcim.example.net:1500/dcimgr --username bill_admin",
        "  provisioner package put ds-1 --type HP-E3-16G --os ISPsystem__Debian-12-x86_64 --on dc1",
        "  provisioner job show 7          what it waits for, since when, who wakes it",
        "",
        "\b",
        "exit codes:",
        *(f"  {code.value:<4}{text}" for code, text in (
            (Code.OK, "done"),
            (Code.FAILED, "failed, or a bug"),
            (Code.USAGE, "the line is wrong"),
            (Code.REFUSED, "refused: not legal now, or not acceptable"),
            (Code.NOT_FOUND, "no such thing"),
            (Code.REMOTE, "the data centre does not do it, or is away"),
            (Code.CONFIG, "a setting is wrong or missing"),
            (Code.DATABASE, "the database is away, or has no tables yet"),
        )),
    ]
)  # fmt: skip


def make() -> typer.Typer:
    """Return the command line without the demo, which stands a floor above."""
    app = typer.Typer(
        name="provisioner",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback(epilog=EPILOG)(_options)
    for name, noun in (
        ("connection", connection.app),
        ("package", package.app),
        ("service", service.app),
        ("job", job.app),
        ("location", location.app),
        ("server", server.app),
        ("department", department.app),
        ("ticket", ticket.app),
        ("callback", callback.app),
        ("token", token.app),
        ("db", db.app),
        ("key", key.app),
    ):
        app.add_typer(noun, name=name)
    stock.register(app)
    audit.register(app)
    adopt.register(app)
    doctor.register(app)
    processes.register(app)
    return app


def run(app: typer.Typer, arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; an error is one sentence on standard error."""
    try:
        app(args=None if arguments is None else list(arguments), prog_name="provisioner")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else Code.FAILED
    except KeyboardInterrupt:
        return Code.INTERRUPTED
    except BrokenPipeError:
        return Code.OK
    except Exception as error:  # noqa: BLE001 - the outermost frame: nobody is shown a traceback
        sys.stderr.write(f"provisioner: {sentence(error)}\n")
        return code_of(error)
    return Code.OK


def _version(wanted: bool) -> None:  # noqa: FBT001 - Typer calls it so
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Turn paid orders into handed-over dedicated servers."""

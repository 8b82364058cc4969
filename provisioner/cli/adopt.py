"""`provisioner import`: servers that were sold before us, from a CSV file."""

import csv
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from provisioner.cli.codes import Code
from provisioner.cli.context import app as plugged
from provisioner.cli.context import operator
from provisioner.cli.output import Json, examples, print_json
from provisioner.domain.adoption import BYTES_MOST, NEEDED, OPTIONAL, Verdict
from provisioner.errors import Invalid
from provisioner.usecases import adopt as usecase
from provisioner.usecases.adopt import Adopted, Tell

EPILOG = (
    examples(
        "import --draft dc1 > sold.csv", "import sold.csv --panel billmanager --dry-run --report report.csv",
        "import sold.csv --panel billmanager --progress", "import sold.csv --panel billmanager --notes",
    )
    + f"\n\n\b\ncolumns, in any order:\n  {', '.join(NEEDED)}\n  if you like: {', '.join(OPTIONAL)}"
    + "\n\n\b\nexit codes:\n  0   every line is in our books, or with --dry-run could be"
    + "\n  3   some line contradicts; the others are adopted all the same"
    + "\n  5   some data centre could not be read; give the command again later"
)  # fmt: skip


def register(app: typer.Typer) -> None:
    """Put the command on *app*."""
    app.command("import", epilog=EPILOG)(adopt)


def adopt(
    file: Annotated[Path | None, typer.Argument(help="CSV in UTF-8, with a line of columns.")] = None,
    panel: Annotated[str, typer.Option(help="The billing panel whose services these are.")] = "cli",
    *,
    draft: Annotated[
        str | None, typer.Option(help="Print a file to begin with: the sold servers of this connection.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would become of each line.")] = False,
    notes: Annotated[
        bool, typer.Option("--notes", help="Ask for jobs that write our line into each server's notes.")
    ] = False,
    progress: Annotated[bool, typer.Option("--progress", help="Show how far it is.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write what became of each line to this file, as CSV.")] = None,
    json: Json = False,
) -> None:
    """
    Adopt servers that were sold before this product came.

    Lines that nothing contradicts are adopted, the others say why not. The same file may be given again, also after
    it was interrupted. In the data centre two lists are read a connection, and nothing is changed.
    """
    if (file is None) == (draft is None):
        raise Invalid("give a file, or --draft and a connection", field="file")
    ports = plugged()
    if draft is not None:
        found = usecase.begin(draft, adoptions=ports.adoptions, audits=ports.audits, drivers=ports.drivers)
        typer.echo(found, nl=False)
        return
    asking = usecase.Asking(
        panel=panel,
        by=operator(),
        dry_run=dry_run,
        notes=notes,
        life=ports.life,
        waker=ports.waker,
        policies=ports.policies,
    )
    data = _read(file)
    if report is not None:
        report.touch()  # a report that can't be written is said before anything is adopted
    with _telling(wanted=progress) as tell:
        done = usecase.adopt(
            data,
            asking,
            adoptions=ports.adoptions,
            audits=ports.audits,
            drivers=ports.drivers,
            tell=tell,
        )
    if report is not None:
        _write(report, done)
    if json:
        print_json(done)
    else:
        _print(done)
    if done.unread:
        raise typer.Exit(Code.REMOTE)
    if done.contradicts:
        raise typer.Exit(Code.REFUSED)


def _read(file: Path | None) -> bytes:
    """Give what is in the file, no more than is needed to see that it is too large."""
    if file is None:
        raise Invalid("give a file", field="file")
    with file.open("rb") as opened:
        return opened.read(BYTES_MOST + 1)


@contextmanager
def _telling(*, wanted: bool) -> Iterator[Tell]:
    """Give what shows how far it is, on standard error where that is a terminal."""
    if not wanted:
        yield lambda *_: None
        return
    with typer.progressbar(length=1, label="adopting", file=sys.stderr) as bar:

        def tell(done: int, of: int) -> None:
            bar.length = of
            bar.update(done - bar.pos)

        yield tell


def _write(report: Path, done: Adopted) -> None:
    with report.open("w", encoding="utf-8", newline="") as opened:
        rows = csv.writer(opened)
        rows.writerow(("line", "connection", "server", "external_ref", "verdict", "says"))
        rows.writerows(
            (one.line, one.connection, one.server, one.external_ref, one.verdict, one.says) for one in done.lines
        )


def _print(done: Adopted) -> None:
    for one in done.lines:
        if done.dry_run or one.verdict in (Verdict.CONTRADICTS, Verdict.UNREAD):
            where = f"line {one.line}, {one.external_ref or 'no reference'}"
            typer.echo(f"{where}: {one.verdict}: {one.says}")
    would = "would be adopted" if done.dry_run else "adopted"
    counts = f"{done.adopted} {would}, {done.already} were in our books before, {done.contradicts} contradict"
    typer.echo(counts + (f", {done.unread} could not be looked at" if done.unread else ""))
    if done.notes:
        typer.echo(f"{done.notes} jobs write our line into notes; follow them: provisioner job list")
    elif done.dry_run:
        typer.echo("nothing was changed, and in the data centre nothing would be, but for --notes")

"""`provisioner audit`: what is wrong in a fleet, and what to do after a restore."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from provisioner.bootstrap import App
from provisioner.cli.codes import Code
from provisioner.cli.context import app as plugged
from provisioner.cli.output import Json, examples, plain, print_json
from provisioner.domain.audit import Remnant
from provisioner.errors import Invalid
from provisioner.usecases import audit as usecase
from provisioner.usecases import installation
from provisioner.views import audit as view

EPILOG = (
    examples(
        "audit", "audit --connection dc1 --quick", "audit --kept --json", "audit --after-restore",
        "audit --after-restore --accept",
    )
    + "\n\n\b\nexit codes:\n  0   nothing is wrong\n  3   something was found"
    + "\n  5   a fleet, or a server, could not be read"
)  # fmt: skip
STEP = 25  #: servers between two words about how far it is


@dataclass(frozen=True)
class ReportView:
    """What an audit of one connection came to."""

    connection: str
    servers: int
    read: int
    unread: Sequence[tuple[str, str]]
    error: str
    unseen: Sequence[str]
    findings: Sequence[view.FindingView]


@dataclass(frozen=True)
class AfterRestoreView:
    """What the world shows that our books have forgotten."""

    halted: str
    remnants: Sequence[Remnant]
    unread: Sequence[str]
    highest: int
    in_the_way: str
    accepted: bool


def register(app: typer.Typer) -> None:
    """Put the command on *app*."""
    app.command("audit", epilog=EPILOG)(audit)


def audit(
    connection: Annotated[str | None, typer.Option(help="Only this connection, also one that is paused.")] = None,
    *,
    quick: Annotated[bool, typer.Option("--quick", help="Read the list only, not each server.")] = False,
    kept: Annotated[bool, typer.Option("--kept", help="Show what the nightly audits found; call nobody.")] = False,
    after_restore: Annotated[
        bool, typer.Option("--after-restore", help="Show what the database has forgotten, before workers go on.")
    ] = False,
    accept: Annotated[
        bool, typer.Option("--accept", help="With --after-restore: take this database for ours, and go on.")
    ] = False,
    json: Json = False,
) -> None:
    """
    Say what is wrong in a fleet: what the data centre shows against what our books say.

    Nothing is changed in the data centre. One list of servers and one of users are read, then two looks at each
    server, at the connection's pace. A line in notes which shows that the database went back halts the workers.
    """
    if accept and not after_restore:
        raise Invalid("--accept goes with --after-restore", field="accept")
    if after_restore:
        if connection or quick or kept:
            raise Invalid("--after-restore reads every fleet whole; leave the other options out", field="after_restore")
        _after_restore(plugged(), accept=accept, json=json)
    elif kept:
        _kept(plugged(), connection, json=json)
    else:
        _audit(plugged(), connection, quick=quick, json=json)


def _audit(ports: App, connection: str | None, *, quick: bool, json: bool) -> None:
    reports = usecase.look(
        connection,
        quick=quick,
        audits=ports.audits,
        drivers=ports.drivers,
        installation=ports.installation,
        tell=_how_far,
    )
    views = [
        ReportView(
            one.connection, one.servers, one.read, one.unread, one.error, one.unseen,
            [view.finding(found) for found in one.findings],
        )
        for one in reports
    ]  # fmt: skip
    if json:
        print_json(views)
    else:
        for one in views:
            _print(one)
    if any(not one.whole for one in reports):
        raise typer.Exit(Code.REMOTE)
    if any(one.findings for one in reports):
        raise typer.Exit(Code.REFUSED)


def _kept(ports: App, connection: str | None, *, json: bool) -> None:
    found = view.kept(connection, reads=ports.reads)
    if json:
        print_json(found)
    for one in found if not json else ():
        _print_finding(one)
    if not json and not found:
        typer.echo("the nightly audits have found nothing that is still there")
    if found:
        raise typer.Exit(Code.REFUSED)


def _print(report: ReportView) -> None:
    for found in report.findings:
        _print_finding(found)
    for server, why in report.unread:
        typer.echo(f"{report.connection}, server {server}: could not be read: {why}")
    if report.error:
        typer.echo(f"{report.connection}: could not be read: {report.error}")
        return
    count = len(report.findings)
    what = "nothing is wrong" if not count else "1 finding" if count == 1 else f"{count} findings"
    typer.echo(f"{report.connection}: {report.servers} servers in the list, {report.read} read one by one: {what}")
    for said in report.unseen:
        typer.echo(f"  {said}")


def _print_finding(found: view.FindingView) -> None:
    where = f", server {found.server}" if found.server else ""
    since = f", since {plain(found.first_at)}" if found.first_at else ""
    typer.echo(f"{found.connection}{where}: {found.kind}{since}")
    typer.echo(f"  seen:  {found.evidence}")
    typer.echo(f"  costs: {found.costs}")
    for line in found.mend:
        typer.echo(f"  mend:  {line}")


def _after_restore(ports: App, *, accept: bool, json: bool) -> None:
    seen = installation.look(audits=ports.audits, drivers=ports.drivers, installation=ports.installation, tell=_how_far)
    if not json:
        _print_after_restore(seen)
    asked = not json and not accept and not seen.in_the_way and sys.stdin.isatty()
    wanted = accept or (asked and typer.confirm("go on with this database?"))
    if wanted:
        installation.accept(seen, installation=ports.installation, waker=ports.waker)
    if json:
        print_json(AfterRestoreView(seen.halted, seen.remnants, seen.unread, seen.highest, seen.in_the_way, wanted))
    elif wanted:
        typer.echo(f"accepted: the next claim is number {seen.highest + 1} or above, and workers go on")
    elif seen.halted and not seen.in_the_way:
        typer.echo("nothing is done until you type: provisioner audit --after-restore --accept")
    if seen.unread:
        raise typer.Exit(Code.REMOTE)
    if not wanted and (seen.remnants or seen.halted):
        raise typer.Exit(Code.REFUSED)


def _print_after_restore(seen: installation.AfterRestore) -> None:
    typer.echo(f"halted: {seen.halted}" if seen.halted else "not halted")
    for one in seen.remnants:
        claims = ", ".join(map(str, one.claims))
        typer.echo(f"{one.connection}, server {one.server}: our claim {claims}, owner is {one.owner}")
        typer.echo(f"  seen:  {one.evidence}")
        for step in one.steps:
            typer.echo(f"  by hand: {step}")
    for why in seen.unread:
        typer.echo(f"could not be read: {why}")
    if not seen.remnants and not seen.unread:
        typer.echo("no server carries a line of ours that the database does not know")
    if seen.in_the_way:
        typer.echo(f"in the way: {seen.in_the_way}")


def _how_far(connection: str, done: int, of: int) -> None:
    """Tell a person who waits how far it is."""
    if sys.stderr.isatty() and done % STEP == 0:
        sys.stderr.write(f"\r{connection}: {done} of {of} servers read ")
        sys.stderr.flush()

"""`provisioner server`: servers by themselves, out of sale and back."""

import time
from typing import Annotated

import typer

from provisioner.bootstrap import App
from provisioner.cli.codes import Code
from provisioner.cli.context import app as plugged
from provisioner.cli.context import operator
from provisioner.cli.output import Json, examples, plain, print_json, print_table
from provisioner.domain.states import JOB_ENDED, JobState
from provisioner.usecases import servers
from provisioner.views import job as job_views
from provisioner.views import servers as views

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Servers by themselves: out of sale, and back.")

Connection = Annotated[str, typer.Argument(help="Name of the connection.")]
Server = Annotated[str, typer.Argument(help="The server's id in its DCIM.")]
Wait = Annotated[int, typer.Option(help="Seconds to wait for the end; 0: do not wait.")]

LOOK_SECONDS = 0.3


@app.command("list", epilog=examples("server list --quarantined", "server list --connection dc1 --json"))
def list_(
    connection: Annotated[str | None, typer.Option(help="Only servers of this connection.")] = None,
    *,
    quarantined: Annotated[bool, typer.Option("--quarantined", help="Only those in quarantine.")] = False,
    json: Json = False,
) -> None:
    """List servers: who has each, and why it is not sold."""
    found = views.listing(reads=plugged().reads, connection=connection, quarantined=quarantined)
    if json:
        print_json(found)
        return
    print_table(
        ("connection", "server", "name", "rack", "type", "ip", "strikes", "why it is not sold"),
        (
            (
                row.connection,
                row.server,
                row.name,
                row.rack,
                row.server_type,
                row.ip,
                len(row.strikes),
                row.why_not_sold,
            )
            for row in found
        ),
        empty="no server in quarantine" if quarantined else "no server yet: see `provisioner connection put --help`",
    )


@app.command(epilog=examples("server show dc1 127"))
def show(connection: Connection, server: Server, *, json: Json = False) -> None:
    """Show one server with all its strikes."""
    found = views.show(connection, server, reads=plugged().reads)
    if json:
        print_json(found)
        return
    rack = f", rack {found.rack}" if found.rack else ""
    typer.echo(f"server {found.server} ({found.name}) of {found.connection}{rack}, {found.server_type}, {found.ip}")
    typer.echo(f"  {found.why_not_sold or 'it can be sold'}")
    for strike in found.strikes:
        end = f"; ended {plain(strike.ended_at)} by {strike.ended_by}" if strike.ended_at else ""
        blame = "; the place was to blame" if strike.site else ""
        where = f" at {strike.step}" if strike.step else ""
        typer.echo(f"  strike {plain(strike.at)} by {strike.by}{where}: {strike.reason}{blame}{end}")
    if found.needs_anyway:
        typer.echo("  a release must be asked for with --anyway")


@app.command(epilog=examples("server release dc1 127", "server release dc1 127 --anyway"))
def release(
    connection: Connection,
    server: Server,
    wait: Wait = 30,
    *,
    anyway: Annotated[bool, typer.Option("--anyway", help="Although it was quarantined three times.")] = False,
    json: Json = False,
) -> None:
    """Give a quarantined server back to stock, if a full read finds nothing against it."""
    ports = plugged()
    job = servers.release(
        connection,
        server,
        anyway=anyway,
        by=operator(),
        store=ports.quarantine,
        waker=ports.waker,
        policies=ports.policies,
    )
    _follow(ports, job, wait, json=json, done=f"server {server} of {connection} is back in stock")


@app.command(epilog=examples("server quarantine dc1 127 --reason 'fan is loud'"))
def quarantine(
    connection: Connection,
    server: Server,
    reason: Annotated[str, typer.Option(help="Why; it is written into the server's notes.")],
    wait: Wait = 30,
    *,
    json: Json = False,
) -> None:
    """Take a free server out of sale: our administrator's, disabled, the reason in its notes."""
    ports = plugged()
    job = servers.quarantine(
        connection,
        server,
        reason=reason,
        by=operator(),
        store=ports.quarantine,
        waker=ports.waker,
        policies=ports.policies,
    )
    _follow(ports, job, wait, json=json, done=f"server {server} of {connection} is out of sale")


def _follow(ports: App, job: int, wait: int, *, json: bool, done: str) -> None:
    """Wait for the job's end and say how it ended; the exit code says it too."""
    ends = time.monotonic() + wait
    found = job_views.show(job, reads=ports.reads, spans=ports.spans)
    while JobState(found.state) not in JOB_ENDED and time.monotonic() < ends:
        time.sleep(LOOK_SECONDS)  # noqa: TID251 - a person waits at the keyboard
        found = job_views.show(job, reads=ports.reads, spans=ports.spans)
    if json:
        print_json(found)
    elif found.state == JobState.SUCCEEDED:
        typer.echo(f"{done} (job {job})")
    else:
        typer.echo(f"job {job}: {found.sentence}")
    if found.state in (JobState.FAILED, JobState.CANCELLED):
        raise typer.Exit(Code.REFUSED)

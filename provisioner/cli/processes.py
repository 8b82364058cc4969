"""The commands that become a process: API, worker, beat, Flower, simulator. Each replaces this one by exec."""

import os
import socket
import sys
from typing import Annotated

import typer

from provisioner.cli.output import examples
from provisioner.errors import BadConfig

#: Columns of Flower's list of tasks: without `exception` a failed row has no text.
COLUMNS = "name,uuid,state,kwargs,result,exception,retries,received,runtime"

#: Where Celery finds tasks and schedule. Started by name: nobody imports the workers.
CELERY = (sys.executable, "-m", "celery", "-A", "workers.app")


def register(app: typer.Typer) -> None:
    """Put the commands of this file on *app*."""
    app.command("api", epilog=examples("api", "api --host 127.0.0.1 --port 8080"))(api)
    app.command("worker", epilog=examples("worker", "worker --queues control,outbox --concurrency 4"))(worker)
    app.command("beat", epilog=examples("beat"))(beat)
    app.command("flower", epilog=examples("flower --port 5555", "flower --basic-auth-file flower.auth --read-only"))(
        flower
    )
    app.command(
        "simulator",
        epilog=examples("simulator dcimanager5 --servers 50", "simulator dcimanager5 --tls --speed 60"),
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(simulator)


def api(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8080,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Serve the HTTP API."""
    _become(api_argv(host, port, log_level))


def worker(
    queues: Annotated[
        str, typer.Option(help="Queues to serve; control and outbox want one of their own.")
    ] = "steps,observe",
    concurrency: Annotated[int, typer.Option(help="Touches at once.")] = 4,
    name: Annotated[str, typer.Option(help="Name among the workers of this host; default: from the queues.")] = "",
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """
    Run steps, or reconcile.

    A site needs two: one for steps and observe, and one for control and outbox with two slots, so that the healer
    waits neither behind its patient nor behind a mail server.
    """
    _become(worker_argv(queues, concurrency, name, log_level))


def beat(
    schedule: Annotated[str, typer.Option(help="File in which beat keeps when it last ran.")] = "beat.db",
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Send the ticks of the clock. Two at once do no harm; none at all costs only delay."""
    _become(beat_argv(schedule, log_level))


def flower(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 5555,
    database: Annotated[str, typer.Option(help="File that keeps the tasks seen over a restart.")] = "",
    basic_auth_file: Annotated[str, typer.Option(help="File with lines user:password.")] = "",
    *,
    read_only: Annotated[bool, typer.Option("--read-only", help="Nobody may revoke or shut down by it.")] = False,
    url_prefix: Annotated[str, typer.Option(help="Path under which a proxy shows it.")] = "",
) -> None:
    """
    Serve Flower: every attempt as a chain of tasks, one a step.

    Search `kwargs:job=7` for one job, `state:FAILURE` for failed steps. It is a lens, not the record: what is
    true is said by `provisioner job show`.
    """
    options = []
    if database:
        options += ["--persistent=True", f"--db={database}", "--state_save_interval=60000"]
    if read_only:
        options.append("--read_only=True")
    if url_prefix:
        options.append(f"--url_prefix={url_prefix}")
    if basic_auth_file:
        # Not by the command line, which every user of the machine can read: Flower takes options from its
        # environment too.
        os.putenv("FLOWER_BASIC_AUTH", ",".join(_accounts(basic_auth_file)))
    _become([*flower_argv(host, port), *options])


def simulator(
    context: typer.Context,
    kind: Annotated[str, typer.Argument(help="The panel that it speaks as: dcimanager5.")],
) -> None:
    """
    Run a simulated data centre; prints its addresses as one line of JSON.

    All other options go to it: --servers, --speed, --tls, --port, --control-port; see
    `python -m provisioner.simulators --help`.
    """
    if kind != "dcimanager5":
        raise BadConfig(f"there is no simulator of {kind}; known: dcimanager5")
    _become([sys.executable, "-m", "provisioner.simulators", *context.args])


# The lines that become of them; the demo starts the same ones.


def api_argv(host: str, port: int, log_level: str = "info") -> list[str]:
    """Return what serves the API."""
    return [
        *(sys.executable, "-m", "uvicorn", "--factory", "provisioner.asgi:create_app"),
        *("--host", host, "--port", str(port), "--log-level", log_level, "--no-server-header"),
        *("--timeout-graceful-shutdown", "2"),
    ]


def worker_argv(queues: str, concurrency: int, name: str = "", log_level: str = "info") -> list[str]:
    """Return what serves *queues* with *concurrency* touches at once."""
    node = name or queues.replace(",", "-").replace(".", "-")
    return [
        *(*CELERY, "worker", "--pool", "prefork", "--queues", queues, "--concurrency", str(concurrency)),
        *("--hostname", f"{node}@{socket.gethostname()}", "--loglevel", log_level.upper()),
        # They only chat with other workers; a lease in the database says who is alive.
        *("--without-gossip", "--without-mingle"),
    ]


def beat_argv(schedule: str, log_level: str = "info") -> list[str]:
    """Return what sends the ticks."""
    return [*CELERY, "beat", "--schedule", schedule, "--pidfile=", "--loglevel", log_level.upper()]


def flower_argv(host: str, port: int) -> list[str]:
    """Return what serves Flower."""
    return [*CELERY, "flower", f"--address={host}", f"--port={port}", f"--tasks_columns={COLUMNS}"]


def _accounts(file: str) -> list[str]:
    with open(file, encoding="utf-8") as lines:  # noqa: PTH123 - a name as it was typed
        found = [line.strip() for line in lines if line.strip()]
    if not found or any(":" not in line for line in found):
        raise BadConfig(f"{file} holds no lines of the form user:password")
    return found


def _become(argv: list[str]) -> None:
    sys.stdout.flush()
    os.execvp(argv[0], argv)  # noqa: S606 - no shell wanted

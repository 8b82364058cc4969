"""`provisioner demo`: one command that shows the whole product at work. Touches what its helpers touch."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from provisioner.demo import colocation, fleet, life, mail, promises, scenario, state
from provisioner.demo.client import Api, ApiError
from provisioner.demo.patience import until
from provisioner.demo.programs import PostgresFailed
from provisioner.demo.scenario import Order
from provisioner.demo.show import Lines, Show, choose, standing_line
from provisioner.demo.supervisor import ROOT, SOLD, DemoFailed, Supervisor, tail
from provisioner.simulators.client import Control, ControlError

#: How long the three orders may take before the demo gives up on them.
ORDERS_SECONDS = 90.0

#: How long a message to those in charge may take.
MAIL_SECONDS = 15.0

#: How often the orders are asked for.
LOOK_SECONDS = 0.15

#: Where database and logs are kept: in the checkout, or where we are when there is none.
STATE = (ROOT if (ROOT / "pyproject.toml").exists() else Path.cwd()) / ".demo"

EPILOG = "\n".join(
    ["\b", "examples:", *(f"  provisioner {line}" for line in ("demo", "demo --once", "demo --stay", "demo --reset"))]
)


class _Ended(BaseException):
    """SIGTERM or SIGINT came."""


def demo(
    state_dir: Annotated[
        Path, typer.Option("--state", help="Folder for database and logs.", show_default=".demo")
    ] = STATE,
    *,
    once: Annotated[bool, typer.Option("--once", help="End when the orders are through, also on a terminal.")] = False,
    stay: Annotated[bool, typer.Option("--stay", help="Stay up when they are through, also without one.")] = False,
    reset: Annotated[bool, typer.Option("--reset", help="Delete what earlier demos left, and end.")] = False,
) -> None:
    """
    Order three dedicated servers in a simulated data centre, adopt the 200 of another, and watch what happens.

    Everything that production has runs as a child process, on loopback only: PostgreSQL, broker, API, workers,
    beat, Flower, and a mail server that keeps what those in charge are told. Ends with 0 when every promise held, with
    1 when not.
    """
    if once and stay:
        raise typer.BadParameter("--once and --stay contradict each other")
    if reset:
        used = state.remove(state_dir)
        typer.echo(f"still in use: {', '.join(map(str, used))}" if used else f"nothing is left in {state_dir}")
        raise typer.Exit(1 if used else 0)
    console = Console(highlight=False, markup=False, soft_wrap=not sys.stdout.isatty())
    stays = stay or (console.is_terminal and not once)
    raise typer.Exit(_run(console, state_dir, stays=stays))


def _run(console: Console, base: Path, *, stays: bool) -> int:
    began = time.monotonic() - _age()
    folder = None
    try:
        with _signals():
            folder = state.take(base)
            return _Demo(console, folder, began).play(stays=stays)
    except (DemoFailed, PostgresFailed, state.NoFolder, ApiError, ControlError) as error:
        sys.stderr.write(f"demo: {error}\n")
        return 1
    except (_Ended, KeyboardInterrupt):
        console.print("stopped; nothing was left running")
        return 0 if stays else 130
    finally:
        if folder is not None:
            folder.release()


class _Demo:
    def __init__(self, console: Console, folder: state.StateFolder, began: float) -> None:
        self._console = console
        self._began = began
        self._show: Show = choose(console)
        self._lines = Lines(console)
        self._supervisor = Supervisor(folder, tell=self._show.say)
        self._orders = scenario.orders()
        self._token = self._billing = ""

    def play(self, *, stays: bool) -> int:
        """Run the demo; return its exit code."""
        try:
            with self._supervisor.running():
                kept = self._story()
                if not kept or not stays:
                    return 0 if kept else 1
                self._stay()
                return 0
        except BaseException:
            self._show.close()
            raise

    def _story(self) -> bool:
        self._token, self._billing = self._supervisor.tokens()
        api = Api(self._supervisor.api_url, self._token)
        simulated = self._supervisor.simulated
        control = Control(simulated.control_url)
        self._show.say(f"everything is up: API {self._supervisor.api_url}/docs, token {self._token}")
        untouched = scenario.prepare(control, self._orders)
        scenario.connect(api, simulated, self._orders)
        self._show.say(f"connected the data centre {simulated.url} and made {len(self._orders)} packages")
        for order in self._orders:
            scenario.place(api, order)
            order.ordered_at = time.monotonic()
        self._supervisor.complete()
        self._watch(api)
        self._explain(api)
        self._show.close()
        first = self._orders[0]
        if first.ended_at is not None:
            self._console.print(
                f"\nfirst order handed over {first.ended_at - self._began:.1f} s after start,"
                f" {first.ended_at - first.ordered_at:.1f} s after it was ordered"
            )
        found = [*self._promised(control, untouched), self._told()]
        billing = Api(self._supervisor.api_url, self._billing)
        tend, say = self._supervisor.tend, self._lines.say
        self._console.print(f"\nAnother data centre, {fleet.CONNECTION}, of which {SOLD} servers were sold before us:")
        sold = fleet.Fleet(api, billing, self._supervisor, say)
        found += sold.adopted()
        self._console.print(f"\n{fleet.CONNECTION} has a fault: it gives out no address, and two orders come:")
        found += sold.fails()
        self._console.print(f"\nThe rest of {first.ref}'s life:")
        found += life.play(billing, control, first, tend=tend, say=say)
        self._console.print("\nA place for a customer's own machine, opened and closed by people:")
        found += colocation.play(api, billing, control, self._supervisor.mail, tend=tend, say=say)
        self._console.print(f"\n{fleet.CONNECTION} again, whose fault was mended meanwhile:")
        found += sold.heals()
        return self._judge(found)

    def _watch(self, api: Api) -> None:
        def tend() -> None:
            self._supervisor.tend()
            self._supervisor.require("the orders cannot go on")

        until(lambda: self._ended(api), seconds=ORDERS_SECONDS, tend=tend, every=LOOK_SECONDS)

    def _ended(self, api: Api) -> bool:
        """Look at the orders that go on and show them all; return whether each has come to an end."""
        for order in self._due():
            try:
                order.job = api.get(f"/v1/jobs/{order.job_id}")
            except ApiError as error:
                if error.status:
                    raise
                break  # it ended, and is started again
            if order.standing in order.ends and order.ended_at is None:
                order.ended_at = time.monotonic()
        if self._orders[0].ended_at is not None:
            self._supervisor.begin_sold()
        self._show.orders(self._orders)
        return all(order.standing in order.ends or order.standing == "failed" for order in self._orders)

    def _due(self) -> list[Order]:
        """Return the orders to ask for: those that stand where their story ends need no further look."""
        return [order for order in self._orders if order.ended_at is None]

    def _explain(self, api: Api) -> None:
        """Say of each server why the waiting order cannot have it."""
        waiting = self._orders[-1]
        for stock in api.get(f"/v1/stock?package={waiting.package}"):
            for server in stock["unsellable"]:
                self._show.say(f"{waiting.ref}  server {server['server']:<5} cannot be sold: {server['reason']}")

    def _promised(self, control: Control, untouched: list[dict[str, object]]) -> list[promises.Promise]:
        """Look every promise up in the data centre."""
        found = [
            promises.Promise(
                f"{order.ref} ({order.story}): {' or '.join(order.ends)}",
                order.standing in order.ends,
                standing_line(order),
            )
            for order in self._orders
        ]
        found += promises.check(
            promises.Truth(
                world=control.world(),
                violations=control.invariants(token_pattern="provisioner .*"),  # noqa: S106 - a pattern
                journal=control.journal(),
                admin=self._supervisor.simulated.admin_user,
            ),
            self._orders,
            untouched,
        )
        return found

    def _told(self) -> promises.Promise:
        """Show what arrived for those in charge: the second order's first server."""
        mails = until(lambda: mail.read(self._supervisor.mail), seconds=MAIL_SECONDS, tend=self._supervisor.tend)
        for one in mails:
            self._lines.say(f"mail to {one.to}: {one.subject}")
        good = len(mails) == 1 and mails[0].to == scenario.ONCALL and "out of sale" in mails[0].subject
        seen = ", ".join(one.subject for one in mails) or "no message"
        return promises.Promise(f"{scenario.ONCALL} got one message: which server is out of sale, and why", good, seen)

    def _judge(self, found: list[promises.Promise]) -> bool:
        """Print every promise; return whether all held."""
        self._console.print("\nWhat was promised, by the simulated data centre's own books (not by our database):")
        for promise in found:
            line = f"  {'kept  ' if promise.held else 'BROKEN'}  {promise.text}"
            self._console.print(line if promise.held else f"{line}; seen: {promise.seen}")
        broken = sum(not promise.held for promise in found)
        self._console.print(f"{len(found)} promises, {broken or 'none'} broken.")
        for ended in self._supervisor.exits:
            self._console.print(f"\n{ended}\n{tail(ended.log)}")
        return broken == 0

    def _stay(self) -> None:
        url = self._supervisor.api_url
        header = f"Authorization: Bearer {self._token}"
        environment = self._supervisor.write_environment()
        self._console.print(
            f"""
It stays up. Ctrl-C ends everything.
  API      {url}/docs
  Flower   {self._supervisor.flower_url}/tasks
  token    {self._token}   (administrator; orders for the panel "demo")
  billing  {self._billing}   (for one-time passwords)
  logs     {self._supervisor.logs}
  mail     {self._supervisor.mail}   (what those in charge were told)
Type next, in another terminal:
  curl -H '{header}' {url}/v1/stock?package=starter
  curl -H '{header}' {url}/v1/jobs/{self._orders[1].job_id}
  . {environment}; ./run cli job show {self._orders[2].job_id}
  . {environment}; ./run cli ticket list
And while an order runs: kill -9 {self._supervisor.children.pid("worker-steps")}, the worker. The order completes."""
        )
        until(lambda: False, seconds=math.inf, tend=self._supervisor.tend)


def _age() -> float:
    """Return the seconds since this process began, loading Python and its libraries included."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def _signals() -> Iterator[None]:
    def end(_number: int, _frame: FrameType | None) -> None:
        # Once is enough: a second Ctrl-C would interrupt the clearing away.
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(name, signal.SIG_IGN)
        raise _Ended

    before = {name: signal.signal(name, end) for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)

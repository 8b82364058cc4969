"""What the demo shows: each order's steps with their times, redrawn on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from provisioner.demo.scenario import Order

#: States of a step and how each is coloured on a terminal.
STYLES = {
    "done": "green",
    "failed": "red",
    "acting": "yellow",
    "begun": "yellow",
    "unsure": "magenta",
    "pending": "dim",
    "cancelled": "dim",
    "skipped": "dim",
}

#: How an undo ends; these two are called by themselves.
LAST = ("release", "quarantine")

#: Longest evidence in a table.
EVIDENCE = 70


@dataclass(frozen=True)
class Row:
    """One step of one attempt, as it is shown."""

    attempt: int
    server: str
    step: str  #: `06_install_os`, `undo.04_switch_port`
    state: str
    seconds: float | None  #: under way or taken
    evidence: str


def rows(job: Mapping[str, Any]) -> Iterator[Row]:
    """Give every step of every attempt that has begun, oldest first."""
    for attempt in job.get("attempts", []):
        names = {step["pos"]: step["name"] for step in attempt["steps"]}
        for step in attempt["steps"]:
            if step.get("arrived_at") is None and step["state"] == "pending":
                continue
            yield Row(
                int(attempt["n"]),
                str(attempt.get("server") or "?"),
                step_name(step, names),
                str(step["state"]),
                _seconds(step),
                str(step.get("outcome") or ""),
            )


def step_name(step: Mapping[str, Any], names: Mapping[int, str]) -> str:
    """Return a step's name as Flower has it: an undo is called by what it undoes."""
    if step["direction"] != "back":
        return f"{step['pos']:02}_{step['name']}"
    undone = names.get(step["undoes"]) if step["name"] not in LAST else None
    return f"undo.{step['undoes']:02}_{undone}" if undone else f"undo.{step['name']}"


class Show(Protocol):
    """A way to show what happens."""

    def say(self, text: str) -> None:
        """Tell one thing."""
        ...

    def orders(self, wanted: Sequence[Order]) -> None:
        """Show where the orders stand now."""
        ...

    def close(self) -> None:
        """Leave the last state standing."""
        ...


class Lines:
    """Plain lines: one for each change."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._shown: dict[tuple[str, int, str], str] = {}
        self._standing: dict[str, str] = {}

    def say(self, text: str) -> None:
        for line in text.splitlines():
            self._console.print(f"{time.monotonic() - self._began:6.2f} s  {line}")

    def orders(self, wanted: Sequence[Order]) -> None:
        for order in wanted:
            for row in rows(order.job):
                self._step(order, row)
            # Its sentence changes with every look; a line of its own is for what changes its standing.
            if order.job and self._standing.get(order.ref) != order.standing:
                self._standing[order.ref] = order.standing
                self.say(f"{order.ref}  {standing_line(order)}")

    def close(self) -> None:
        pass

    def _step(self, order: Order, row: Row) -> None:
        key = (order.ref, row.attempt, row.step)
        if self._shown.get(key) == row.state or row.state in ("pending", "begun"):
            return
        self._shown[key] = row.state
        took = f"{row.seconds:5.2f} s" if row.seconds is not None else ""
        self.say(
            f"{order.ref}  server {row.server:<5} {row.step:<22} {row.state:<8} {took:>8}  {row.evidence}".rstrip()
        )


class Screen:
    """One screen, redrawn: a table of the orders' steps above the last things told."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lines = Lines(console)
        self._wanted: Sequence[Order] = ()
        self._live = Live(console=console, refresh_per_second=8, transient=False)
        self._live.start()

    def say(self, text: str) -> None:
        self._lines.say(text)

    def orders(self, wanted: Sequence[Order]) -> None:
        self._wanted = wanted
        height = self._console.height - 4 * len(wanted)  # a title of two lines, an empty one, and one to spare
        self._live.update(table(wanted, most=max(2, height // max(1, len(wanted)))))

    def close(self) -> None:
        if self._live.is_started:
            self._live.update(table(self._wanted))
            self._live.stop()


def table(wanted: Sequence[Order], *, most: int | None = None) -> Group:
    """Return the orders' steps as a table; of each order only the latest *most* steps, where it is given."""
    parts: list[RenderableType] = []
    for order in wanted:
        grid = Table(box=None, show_header=False, padding=(0, 2, 0, 2), pad_edge=False)
        for width in (5, 24, 9, 8, None):
            grid.add_column(width=width, no_wrap=True)
        found = list(rows(order.job))
        for row in found[-most:] if most is not None else found:
            took = f"{row.seconds:.2f} s" if row.seconds is not None else ""
            state = Text(row.state, style=STYLES.get(row.state, ""))
            grid.add_row(row.server, row.step, state, Text(took, justify="right"), Text(row.evidence[:EVIDENCE], "dim"))
        title = Text.assemble((f"{order.ref} ", "bold"), (f"({order.story}) ", "cyan"), standing_line(order))
        parts += [title, grid, Text()]
    return Group(*parts)


def standing_line(order: Order) -> str:
    """Say where an order stands, with the sentence of the job."""
    sentence = str(order.job.get("sentence") or "")
    return f"{order.standing}: {sentence}" if sentence else order.standing


def choose(console: Console) -> Show:
    """Return the screen for a terminal, lines for anything else."""
    return Screen(console) if console.is_terminal else Lines(console)


def _seconds(step: Mapping[str, Any]) -> float | None:
    arrived = step.get("arrived_at")
    if not arrived:
        return None
    ended = step.get("ended_at")
    until = datetime.fromisoformat(ended) if ended else datetime.fromtimestamp(time.time(), UTC)
    return max(0.0, (until - datetime.fromisoformat(arrived)).total_seconds())

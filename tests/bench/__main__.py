"""
`./run bench`: what durability costs; `--parked`: what it costs at scale. A program, not a test.

Ratios are taken within one run, from alternating pairs; each figure is a median with its range, rough on a shared
machine.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import structlog

from tests.bench import chains, opens, parked, ticks
from tests.bench.figures import Figure
from tests.bench.house import House, house

PARTS = ("chains", "ticks", "opens")
LEAST = 7  #: rounds


def main() -> int:
    """Measure and print; 0 also when an aim is missed, since the machine may be to blame."""
    given = parse()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    folder = Path(tempfile.mkdtemp(prefix="provisioner-bench-"))
    folder.chmod(0o711)  # PostgreSQL runs as another user when we are root
    figures = []
    try:
        with house(folder, given.redis) as made:
            found = parked.measure(made, rounds=given.rounds) if given.parked else None
            for figure in found or measure(made, given.part or PARTS, given.rounds):
                figures.append(figure)
                if not given.json:
                    sys.stdout.write(figure.line() + "\n")
                    sys.stdout.flush()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if given.json:
        broker = "redis" if given.redis else "embedded"
        json.dump({"broker": broker, "figures": [one.as_dict() for one in figures]}, sys.stdout, indent=2)
        sys.stdout.write("\n")
    return 0


def measure(made: House, parts: list[str] | tuple[str, ...], rounds: int) -> Iterator[Figure]:
    """Give figures as they come."""
    if "chains" in parts:
        yield from chains.measure(made, "idle", rounds=rounds, at_least=0.5)
        yield from chains.measure(made, "acting", rounds=rounds, at_least=0.4)
    if "ticks" in parts:
        for parked in (1_000, 10_000):
            yield from ticks.measure(made, parked=parked, rounds=rounds)
    if "opens" in parts:
        yield from opens.measure(made, rounds=rounds)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="./run bench", description="Measure what durability costs.")
    parser.add_argument("--json", action="store_true", help="print JSON, at the end")
    parser.add_argument("--rounds", type=int, default=LEAST, help="pairs of each kind (at least %(default)s)")
    parser.add_argument("--redis", metavar="URL", help="an empty Redis of your own, instead of the embedded broker")
    parser.add_argument("--part", choices=PARTS, action="append", help="measure this alone; may be repeated")
    parser.add_argument(
        "--parked", action="store_true", help="measure scale alone: 10,000 installs wait, 100,000 ended"
    )
    given = parser.parse_args()
    if given.rounds < LEAST:
        parser.error(f"--rounds: a median needs at least {LEAST}")
    return given


if __name__ == "__main__":
    raise SystemExit(main())

"""`./run chaos`: a whole system, everything that can go wrong, and at the end ten numbers that must be 0."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provisioner.demo.client import ApiError
from tests.chaos import judge, report
from tests.chaos.killer import Killer, blows
from tests.chaos.listener import Listener
from tests.chaos.person import Person
from tests.chaos.storm import Storm
from tests.chaos.stream import arm, deeds
from tests.chaos.technician import Technician
from tests.chaos.town import ADMIN_PASSWORD, Town

Json = Any
SHOWN = ("external_ref", "id", "kind", "state", "waits_for", "reason", "attempt", "step", "outcome", "why")


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    orders: int
    seconds: float  #: of the stream
    places: int
    servers: int  #: in each place
    most: float  #: longest wait until all is done, seconds
    listed: float = 0.5  #: seconds between two lists of a place: each second, they cost a fifth of two processors

    @property
    def leave(self) -> bool:
        """Whether there are more orders than servers, so that customers leave to make room."""
        return self.orders > self.places * self.servers


SHORT = Size(orders=200, seconds=75.0, places=2, servers=120, most=900.0)
MEDIUM = Size(orders=1000, seconds=900.0, places=4, servers=300, most=1800.0)
FULL = Size(orders=4000, seconds=3200.0, places=4, servers=300, most=1800.0, listed=2.0)
STILL = 120.0  #: what has not moved for so long after the storm is stuck: longer than every deadline


def main() -> int:
    """Run, judge, print; 0 when all ten numbers are 0."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    folder = Path(tempfile.mkdtemp(prefix="provisioner-chaos-"))
    folder.chmod(0o711)
    size: Size = options.size
    town = Town(
        folder,
        plant=options.plant,
        listed=size.listed,
        database_url=options.database_url,
        broker_url=options.broker_url,
    )
    try:
        return _run(town, options, size)
    finally:
        town.stop()
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


def _run(town: Town, options: argparse.Namespace, size: Size) -> int:
    seed, say, began = options.seed, _quiet if options.json else _say, time.monotonic()
    say(
        f"seed {seed}: {size.orders} orders, {size.places} places of {size.servers} servers; logs in {town.folder}/logs"
    )
    town.start(places=size.places, servers=size.servers, seed=seed)
    listener = Listener(town.broker_url, town.folder / "logs" / "events.log")
    listener.start()
    person = Person(town, say, time.monotonic)
    killer = Killer(town, blows(seed, size.seconds), say, time.monotonic)
    coming = deeds(seed, orders=size.orders, seconds=size.seconds, places=size.places, leave=size.leave)
    technician = Technician(town, seed, say, time.monotonic)
    storm = Storm(town, seed, coming, size.seconds, killer, person, technician, say)
    for place in town.places:
        arm(place.control, seed)
    storm.rage()
    say(f"{time.monotonic() - began:6.1f} s  the storm is over; waiting until nothing moves")
    stuck = storm.calm(STILL, size.most)
    say(f"{time.monotonic() - began:6.1f} s  nothing moves" if not stuck else f"still under way: {len(stuck)}")
    listener.stop()
    found = {ref: town.api.look(f"/v1/services/{ref}") for ref in storm.refs.values()}
    services = {ref: service for ref, service in found.items() if service is not None}
    secrets = [*storm.planted(size.orders), ADMIN_PASSWORD, *town.tokens, *_made(town, services)]
    verdict = judge.judge(town, services, secrets, person.retries, technician)
    for ref in found.keys() - services.keys():
        verdict.add(judge.UNTRUE, f"{ref} was accepted, and is not there")
    for job in stuck:
        verdict.add(judge.STUCK, " ".join(f"{name}={job[name]}" for name in SHOWN if job[name]))
    told = report.figures(storm, verdict, services, time.monotonic() - began, listener.heard)
    if options.json:
        _say(report.as_json(told, storm, verdict))
    else:
        for line in report.lines(told, storm, verdict):
            _say(line)
    return 0 if verdict.clean else 1


def _made(town: Town, services: dict[str, Json]) -> list[str]:
    """Give the passwords that the system made, as billing reads them."""
    found: list[str] = []
    for ref, service in services.items():
        if service["has_secrets"]:
            with suppress(ApiError):  # erased, or of a service that was never handed over
                answer = town.billing.get(f"/v1/services/{ref}/secrets")
                found += [answer[name] for name in ("root_password", "panel_password") if answer[name]]
    return found


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a program's own words


def _quiet(_text: str) -> None:
    """Say nothing."""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run chaos", description=__doc__)
    parser.set_defaults(size=FULL)
    sizes = parser.add_mutually_exclusive_group()
    short = "200 orders in under five minutes"
    medium = "1,000 orders in 20 minutes, no more than there are servers; without either 4,000 in an hour"
    sizes.add_argument("--short", dest="size", action="store_const", const=SHORT, help=short)
    sizes.add_argument("--medium", dest="size", action="store_const", const=MEDIUM, help=medium)
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same orders and faults")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    parser.add_argument("--plant", default="", metavar="BUG", help="plant a bug of tests/chaos/plants.py: is it found?")
    parser.add_argument(
        "--database-url", default="", metavar="URL", help="an empty PostgreSQL database, instead of ours"
    )
    parser.add_argument(
        "--broker-url", default="", metavar="URL", help="a Redis or RabbitMQ of its own, instead of ours"
    )
    parser.add_argument("--keep", action="store_true", help="keep database and logs")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

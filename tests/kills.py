"""A worker of the tests' own that dies by SIGKILL at one point: a commit, or a call to the world, before or after."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from provisioner.domain.attempt import Command, Verb
from provisioner.domain.spans import Spans
from provisioner.drivers.fake import (
    ACTS,
    LOOKS,
    PROBES,
    FakeDatacentre,
    FakeProber,
    InstallEnd,
    Pace,
    RemoteDatacentre,
    RemoteFake,
    serve_fake,
)
from tests.site import SHORT, Site

QUICK: Spans = replace(
    SHORT, call=0.2, soft=0.4, hard=0.5, lease=0.7, wake_grace=0.2, wake_most=0.4, observe_short=0.02, probe=0.02
)
COMMITS = ("claim", "remember", "save", "end")
#: steps → acts that an undisturbed run makes, in order
FORWARD: Mapping[str, Sequence[str]] = {
    "account": ["create_user"],
    "claim": ["edit_server"],
    "domain": ["set_domain"],
    "address": ["add_address", "add_address"],
    "switch_port": ["enable", "set_link", "set_link"],
    "power_on": ["set_power"],
    "install_os": ["install"],
    "ping": [],
    "hand_over": ["edit_server"],
}
QUARANTINE: Mapping[str, Sequence[str]] = {
    "cancel_install": [],
    "close_ports": ["set_link", "set_link"],
    "drop_addresses": ["delete_address", "delete_address"],
    "free_domain": ["set_domain"],
    "quarantine": ["edit_server", "disable"],
}
RELEASE: Mapping[str, Sequence[str]] = {
    "cancel_install": ["cancel_operation"],
    "close_ports": ["set_link", "set_link", "disable"],
    "drop_addresses": ["delete_address", "delete_address"],
    "free_domain": ["set_domain"],
    "release": ["edit_server"],
}
#: the first look of a step at the world
NUMBERS = itertools.count(1)
LOOK = {"account": "users", "power_on": "read", "install_os": "read", "ping": "answers"}


@dataclass(frozen=True)
class Point:
    """The *nth* time that *step* comes to *operation*, before or after."""

    step: str
    operation: str
    nth: int
    after: bool

    def __str__(self) -> str:
        return f"{self.step or 'tick'}-{'after' if self.after else 'before'}-{self.operation}-{self.nth}"


class Killer:
    """Counts what a worker does, and ends it at a point."""

    def __init__(self) -> None:
        self.step = ""
        self.counts: Counter[tuple[str, str]] = Counter()
        self.armed: Point | None = None
        self.strike: Callable[[], None] = lambda: os.kill(os.getpid(), signal.SIGKILL)

    def pass_by(self, operation: str, *, after: bool) -> None:
        if not after:
            self.counts[self.step, operation] += 1
        here = Point(self.step, operation, self.counts[self.step, operation], after)
        if self.armed == here:
            self.armed = None
            self.strike()


class Watched:
    """Any port, with a killer before and after each of some methods."""

    def __init__(self, port: object, killer: Killer, names: Collection[str]) -> None:
        self._port, self._killer, self._names = port, killer, names

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the port has
        found = getattr(self._port, name)
        if name not in self._names:
            return found

        def call(*args: object, **named: object) -> object:
            self._killer.pass_by(name, after=False)
            result = found(*args, **named)
            self._killer.pass_by(name, after=True)
            return result

        return call


class KilledSite(Site):
    """A site whose world is served by this process, and whose worker may be a child that dies."""

    def __init__(self, url: str, address: str, end: InstallEnd) -> None:
        super().__init__(url, spans=QUICK)
        self.killer = Killer()
        self.claimed: list[float] = []
        self.cancels = end is InstallEnd.HANGS
        self.policies = {name: replace(one, deadline=timedelta(minutes=2)) for name, one in self.policies.items()}
        # as in production: an install's flag outlasts a dead worker's lease, and the settle time both with three lists
        self.policies["install_os"] = replace(
            self.policies["install_os"], settle=timedelta(seconds=3), visible=timedelta(seconds=2)
        )
        self.world = FakeDatacentre(pace=Pace(install_lasts=2))
        server = self.world.add_server("101")
        server.disabled = end is not InstallEnd.FAILED
        server.install_ends = [end]
        remote = RemoteFake(address, "dc1", call_seconds=0.1)
        self.connect(driver=Watched(remote, self.killer, LOOKS | ACTS))
        self.package(ipv4=2, ipv6=1, attempts_max=1)
        self.prober = Watched(FakeProber(RemoteDatacentre(address)), self.killer, PROBES)
        self.tools = replace(
            self.tools, engine=self._watched(self.engine, COMMITS), prober=self.prober, policies=self.policies
        )
        self.planner = self._watched(self.planner, ("plan",))
        self.observer = self._watched(self.observer, ("turn", "apply"))
        self.reconciler = self._watched(self.reconciler, ("due",))

    def _watched(self, port: object, names: Collection[str]) -> Any:  # noqa: ANN401 - stands for the port
        return Watched(port, self.killer, names)

    def touch(self, message: Any) -> Any:  # noqa: ANN401 - as the parent's
        self.killer.step = message.step
        if self.cancels and message.step == "install_os":
            self._cancel(message.job_id)
        report = super().touch(message)
        self.killer.step = ""
        if report.outcome not in ("fenced", "away", "no_slot"):
            self.claimed.append(time.monotonic())
        return report

    def _cancel(self, job_id: int) -> None:
        """Cancel once the install, which would never end, was seen to run."""
        running = self.database.row(
            "SELECT FROM step s JOIN job j ON j.cancel_requested_at IS NULL "
            "WHERE s.name = 'install_os' AND s.memo -> 'seen' ->> 'up' = 'true'"
        )
        if running is not None:
            given = Command(Verb.CANCEL, by="test", reason="changed their mind")
            self.services.command(job_id, given, self.policies)

    def die_at(self, point: Point, until: Callable[[], bool]) -> bool:
        """Work in a child until it dies at *point*; says whether it came there."""
        self.database.close()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the thread that serves the world takes no part
            pid = os.fork()
        if pid == 0:
            self._work_and_die(point, until)
        _, status = os.waitpid(pid, 0)
        assert status in (0, signal.SIGKILL), f"the worker ended with {status}"
        return status == signal.SIGKILL

    def _work_and_die(self, point: Point, until: Callable[[], bool]) -> None:
        code = 3
        try:
            self.database.forget()
            self.killer.armed = point
            self.run(until, seconds=20)
            code = 0
        except BaseException:  # noqa: BLE001 - the child must not return into pytest
            traceback.print_exc(file=sys.stderr)
        os._exit(code)

    def truth(self) -> Mapping[str, object]:
        """What the world and the books hold at the end, without numbers that depend on the way."""
        logins = {user.ref: user.login for user in self.world.users}
        return {
            "servers": {
                ref: {
                    "owner": logins.get(server.owner) if server.owner else None,
                    "notes": server.notes,
                    "disabled": server.disabled,
                    "addresses": sorted((row.ip, row.domain, row.main) for row in server.addresses),
                    "links": [(link.description, link.on, link.busy) for link in server.links],
                    "power": server.power,
                    "installs": server.installs,
                    "os": server.os,
                    "failed": server.operation_failed,
                }
                for ref, server in self.world.servers.items()
            },
            "users": sorted(logins.values()),
            "accounts": [tuple(r.values()) for r in self.database.rows("SELECT login, state FROM account")],
            "jobs": [tuple(r.values()) for r in self.database.rows("SELECT kind, state, reason FROM job ORDER BY id")],
            "services": [tuple(r.values()) for r in self.database.rows("SELECT state, facts FROM service")],
            "claims": [tuple(r.values()) for r in self.database.rows("SELECT server_ref, state FROM claim")],
            "steps": [
                tuple(r.values())
                for r in self.database.rows("SELECT pos, name, state FROM step ORDER BY attempt_id, pos")
            ],
            "addresses": sorted(
                tuple(r.values()) for r in self.database.rows("SELECT ip, state FROM address WHERE state <> 'gone'")
            ),
            "slots": [
                tuple(r.values())
                for r in self.database.rows("SELECT n FROM slot WHERE lease_until > clock_timestamp()")
            ],
        }


@contextmanager
def killed_site(url: str, folder: Path, end: InstallEnd) -> Iterator[KilledSite]:
    """Serve a world in which the first install ends like *end*, and give a site on it; a hung one is cancelled."""
    address = str(folder / f"world-{next(NUMBERS)}")
    site = KilledSite(url, address, end)
    try:
        with serve_fake(site.world, address):
            yield site
    finally:
        site.database.close()


def points_of(steps: Mapping[str, Sequence[str]], *, last: str = "") -> list[Point]:
    """Every commit and every call of *steps*, before and after; *last* ends the attempt."""
    found = []
    for step, acts in steps.items():
        pairs: list[tuple[str, int]] = [("claim", 1), (LOOK.get(step, "read"), 1)]
        if step == "cancel_install":  # it looks at the list alone, or reads in its second touch
            pairs.remove(("read", 1))
        seen: Counter[str] = Counter()
        for n, act in enumerate(acts, start=1):
            seen[act] += 1
            pairs += [("remember", n), (act, seen[act])]
            if n > 1:
                pairs.append(("claim", n))
            pairs.append(("end", 1) if step == last and n == len(acts) else ("save", n))
        if not acts:
            pairs.append(("end" if step == last else "save", 1))
        found += [Point(step, operation, nth, after) for operation, nth in pairs for after in (False, True)]
    return found

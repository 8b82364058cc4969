"""
Every verb falls 200 times at a random instant of a running system: whoever is first, the end is one of a few.

The ends, written down first: a service has one whole server (active, or suspended with its ports off) or none (closed,
failed); a server is free, in quarantine, or one customer's (`tests/ends.py` says what that takes).
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from provisioner.domain.life import Wish
from provisioner.domain.states import JobKind
from provisioner.drivers.fake import InstallEnd, serve_fake
from provisioner.errors import Refused
from provisioner.store.holds import HoldsStore
from provisioner.usecases import holds, operate, servers
from tests.crowd import CrowdSite, crowd, wait_until
from tests.ends import customers_with_two, half_way, history
from tests.site import SHORT

pytestmark = [pytest.mark.long, pytest.mark.timeout(2400)]

SEED = 20260611
RACES = 200  #: of each verb
TAKEN = 20  #: of them, at least so many were not refused
ORDERS, SERVERS = 24, 40
HANDS, PROCESSES = 2, 2
LIMIT = 1500  #: seconds of a machine that does much else; one at rest takes one of them in thirty
SILENCE = timedelta(seconds=5)
LONGEST_PAUSE = 0.04  #: of a hand, so that a verb falls somewhere into a touch
SPANS = replace(SHORT, reconcile=0.1, observe_short=0.1, observe_long=0.1, pass_over=0.1)
AGAIN_FROM = ("address", "switch_port", "power_on", "install_os", "ping")

ENDING = ("cancel", "close")  #: these are pressed with restraint, or nothing would ever be handed over
SPARED, HASTE, CROWDED = 8, 0.2, 12
TWICE = 0.2
HANDED_OVER = "SELECT count(*) FROM service WHERE state IN ('active', 'suspended')"

LIVE = "j.state IN ('queued', 'running', 'compensating')"
HELD = "EXISTS (SELECT FROM attempt a WHERE a.job_id = j.id AND a.state = 'held')"
ENDED_BADLY = "j.state IN ('failed', 'cancelled') AND j.kind = 'open'"


@dataclass
class Hand:
    """One person who presses verbs."""

    site: CrowdSite
    rng: Random
    pressed: Counter[str] = field(default_factory=Counter)
    taken: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)

    @property
    def verbs(self) -> Mapping[str, Callable[[], str | None]]:
        """How to press each verb; None when there is nobody to press it on."""
        who = operate.Operator("hand", self.site.services, self.site.waker, self.site.policies)
        site, rng = self.site, self.rng
        store = HoldsStore(site.database)

        def on(where: str, press: Callable[[int], str]) -> Callable[[], str | None]:
            def give() -> str | None:
                job = self.job(where)
                return None if job is None else press(job)

            return give

        def release_server() -> str | None:
            ref = self.pick("SELECT server_ref AS found FROM claim WHERE state = 'quarantined'")
            if ref is None:
                return None
            servers.release(
                "dc1", str(ref), anyway=True, by="hand", store=site.quarantine, waker=site.waker, policies=site.policies
            )
            return "server"

        def release() -> str | None:
            match rng.randrange(4):
                case 0:
                    holds.release_package("small", holds=store, waker=site.waker)
                case 1:
                    holds.release_location("dc1", holds=store, waker=site.waker)
                case _:
                    return release_server()
            return "released"

        def hold_all() -> str:
            """Hold new orders of the package or the place, for as long as a look takes."""
            if rng.random() < 0.5:
                holds.hold_package("small", by="hand", reason="race", holds=store)
                holds.release_package("small", holds=store, waker=site.waker)
            else:
                holds.hold_location("dc1", by="hand", reason="race", holds=store)
                holds.release_location("dc1", holds=store, waker=site.waker)
            return "held"

        def hold() -> str | None:
            return hold_all() if rng.random() < 0.1 else on(LIVE, lambda job: operate.hold(job, who, reason="race"))()

        def skip(job: int) -> str:
            step = self.pick(
                "SELECT s.name AS found FROM attempt a JOIN step s ON s.attempt_id = a.id AND s.pos = a.pos "
                "WHERE a.job_id = %(job)s ORDER BY a.n DESC LIMIT 1",
                job=job,
            )
            return operate.skip(job, who, step=str(step or "ping"), reason="race")

        return {
            "retry": on(HELD if rng.random() < 0.6 else ENDED_BADLY, lambda job: operate.retry(job, who)),
            "retry_from": on(HELD, lambda job: operate.retry(job, who, step=rng.choice(AGAIN_FROM), wipe=True)),
            "skip": on(HELD, skip),
            "swap": on(
                f"{HELD} AND j.kind = 'open'",
                lambda job: operate.swap(job, who, reason="race", release=rng.random() < 0.7),
            ),
            "cancel": on(LIVE, lambda job: operate.cancel(job, who, reason="race")),
            "hold": hold,
            "release": release,
            "close": lambda: self.wish(JobKind.CLOSE),
            "suspend": lambda: self.wish(JobKind.SUSPEND, reason="billing"),
            "resume": lambda: self.wish(JobKind.RESUME, reason="billing"),
        }

    def pick(self, sql: str, **values: Any) -> Any:  # noqa: ANN401 - a number or a word
        found = [row["found"] for row in self.site.database.rows(sql, **values)]
        return self.rng.choice(found) if found else None

    def job(self, where: str) -> int | None:
        """Choose a job: mostly one that fits, sometimes any that lives, as a person who looks at an old screen."""
        where = LIVE if self.rng.random() < 0.15 else where
        found: int | None = self.pick(f"SELECT j.id AS found FROM job j WHERE {where} AND j.service_id IS NOT NULL")  # noqa: S608 - constants
        return found

    def wish(self, kind: JobKind, **params: Any) -> str | None:
        states = (
            "'active'" if kind is JobKind.SUSPEND and self.rng.random() < 0.8 else "'ordered', 'active', 'suspended'"
        )
        if kind is JobKind.CLOSE and self.rng.random() < 0.5:  # spare some of those that were handed over
            states = "'ordered'"
        ref = self.pick(f"SELECT external_ref AS found FROM service WHERE state IN ({states})")  # noqa: S608 - constants
        if ref is None:
            return None
        _, due = self.site.life.wish("panel", ref, Wish(kind, params), by="hand", policies=self.site.policies)
        self.site.waker.wake(due)
        return "taken"

    def press(self) -> bool:
        """Press one of the verbs that were not pressed often enough; False when there is none left."""
        short = [name for name in self.verbs if self.pressed[name] < RACES / HANDS or self.taken[name] < TAKEN / HANDS]
        if not short:
            return False
        name = self.rng.choice(short)
        if name in ENDING and self.site.database.value(HANDED_OVER) < SPARED and self.rng.random() > HASTE:
            return True
        for _ in range(2 if self.rng.random() < TWICE else 1):
            try:
                if self.verbs[name]() is None:
                    if self.site.database.value(HANDED_OVER) > CROWDED:  # make room for orders that may fail
                        self.wish(JobKind.CLOSE)
                    break
                self.taken[name] += 1
            except Refused as error:
                words = " ".join(word for word in str(error).split() if not any(sign.isdigit() for sign in word))
                self.refusals[f"{name}: {words}"] += 1
            self.pressed[name] += 1
        return True


@pytest.fixture
def site(database_url: str, state_dir: Path) -> Iterator[CrowdSite]:
    address = str(state_dir / "verbs")
    made = CrowdSite(database_url, address, spans=SPANS, pool_size=4)
    made.policies = {
        name: replace(one, deadline=max(one.deadline, timedelta(minutes=5))) for name, one in made.policies.items()
    }
    # where a person skipped the install nothing ever answers: such a one is soon held, so that the hands have work
    made.policies["ping"] = replace(made.policies["ping"], deadline=SILENCE)
    made.tools = replace(made.tools, policies=made.policies)
    rng = Random(SEED)
    for n in range(SERVERS):
        server = made.world.add_server(str(101 + n))
        server.install_ends = [rng.choice((InstallEnd.FAILED, InstallEnd.DONE)) for _ in range(20)]
    made.connect(driver=made.driver, max_in_flight=8)
    made.package(on_failure="hold", attempts_max=1000, ipv4=2)
    with serve_fake(made.world, address):
        yield made
    made.database.close()


def test_every_verb_races_two_hundred_times_and_each_service_has_one_whole_server_or_none(site: CrowdSite) -> None:
    pool = {family: set(ips) for family, ips in site.world.pool.items()}
    hands = [Hand(site, Random(SEED + n)) for n in range(HANDS)]
    orders = iter(range(100_000))
    troubles: list[BaseException] = []

    def race(hand: Hand) -> None:
        pause = threading.Event()
        try:
            while not troubles:
                assert time.monotonic() < ends, site.trail()
                while alive(site) < ORDERS:
                    site.order(f"ord-{next(orders)}")
                if not hand.press():
                    return
                pause.wait(hand.rng.uniform(0, LONGEST_PAUSE))
        except BaseException as trouble:  # noqa: BLE001 - told by the test
            troubles.append(trouble)

    began = time.monotonic()
    ends = began + LIMIT
    with crowd(site, PROCESSES):
        threads = [threading.Thread(target=race, args=(hand,), daemon=True) for hand in hands]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=LIMIT + 60)
        raced = time.monotonic() - began
        assert troubles == []
        assert not any(thread.is_alive() for thread in threads), site.trail()
        wait_until(lambda: at_rest(site), site.trail, seconds=600)

    pressed: Counter[str] = sum((hand.pressed for hand in hands), Counter())
    taken: Counter[str] = sum((hand.taken for hand in hands), Counter())
    print(f"{raced:.0f} s racing, {time.monotonic() - began:.0f} s in all\npressed {pressed}\ntaken {taken}")  # noqa: T201
    print(*sum((hand.refusals for hand in hands), Counter()).most_common(40), sep="\n")  # noqa: T201
    assert min(pressed.values()) >= RACES
    assert half_way(site) == []
    assert history(site) == []
    assert customers_with_two(site) == []
    left = {family: set(ips) for family, ips in site.world.pool.items()}
    used = {row.ip for server in site.world.servers.values() for row in server.addresses if not row.main}
    assert set.union(*pool.values()) == set.union(*left.values()) | used, "an address leaked"
    assert site.database.value("SELECT count(*) FROM slot WHERE lease_until > clock_timestamp()") == 0


def alive(site: CrowdSite) -> int:
    found: int = site.database.value("SELECT count(*) FROM service WHERE state NOT IN ('closed', 'failed')")
    return found


LEFT = """
SELECT j.id, j.kind, j.state, j.waits_for, a.state AS attempt, a.direction, a.command IS NOT NULL AS commanded
  FROM job j LEFT JOIN attempt a ON a.job_id = j.id AND a.state <> 'ended'
 WHERE j.state NOT IN ('succeeded', 'failed', 'cancelled', 'superseded')"""


def at_rest(site: CrowdSite) -> bool:
    """Be the last person of the night: let go what is held, end what is not wanted, and say whether nothing is left."""
    who = operate.Operator("night", site.services, site.waker, site.policies)
    store = HoldsStore(site.database)
    holds.release_package("small", holds=store, waker=site.waker)
    holds.release_location("dc1", holds=store, waker=site.waker)
    left = site.database.rows(LEFT)
    for row in left:
        waits = row["state"] == "queued" and row["waits_for"] in ("stock", "hold", "site")
        try:
            if row["kind"] == "open":  # one whose install was skipped would wait long for its ping
                operate.cancel(row["id"], who)
            elif row["attempt"] == "held" or waits:
                operate.retry(row["id"], who)
        except Refused:
            if row["attempt"] == "held" and row["kind"] == "open":
                retried(row["id"], who)
    return not left


def retried(job: int, who: operate.Operator) -> None:
    """Past hand-over an order can't be cancelled: let it go on. It may be under way by now."""
    try:
        operate.retry(job, who)
    except Refused:
        return

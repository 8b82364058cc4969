"""The run itself: the stream comes in while everything fails; then nothing fails, and all must come to rest."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from provisioner.demo.client import ApiError
from provisioner.errors import Overloaded
from provisioner.simulators.client import ControlError
from tests.chaos import stream
from tests.chaos.judge import new_password
from tests.chaos.killer import BEAT_ON, MAIL_ON, Killer
from tests.chaos.person import Person
from tests.chaos.stream import Deed
from tests.chaos.technician import Technician
from tests.chaos.town import OS, RIVAL, Place, Town

Json = Any
#: whose turn will come by itself, or never; who waits for stock is looked at with the data centres' books
UNDER_WAY = """
SELECT j.id, j.kind, j.state, j.waits_for, j.reason, s.external_ref, a.state AS attempt, st.name AS step, st.outcome,
       a.reason AS why, coalesce(a.state = 'waiting' AND a.resume_at > clock_timestamp(), false) AS due
  FROM job j LEFT JOIN service s ON s.id = j.service_id
  LEFT JOIN attempt a ON a.job_id = j.id AND a.state <> 'ended'
  LEFT JOIN step st ON st.attempt_id = a.id AND st.pos = a.pos
 WHERE j.state IN ('queued', 'running', 'compensating', 'interrupted') AND j.waits_for IS DISTINCT FROM 'stock'"""
#: the longest that anything due lay there: an attempt, a queued job, a list that somebody waits for
UNSEEN = """
SELECT greatest(
  (SELECT max(clock_timestamp() - a.resume_at) FROM attempt a JOIN connection c ON c.id = a.connection_id
    WHERE a.state IN ('ready', 'waiting') AND a.awaits IS NULL AND c.state <> 'paused'),
  (SELECT max(clock_timestamp() - plan_at) FROM job WHERE state = 'queued'),
  (SELECT max(clock_timestamp() - greatest(c.observe_tried_at, a.updated_at)) FROM connection c
     JOIN attempt a ON a.connection_id = c.id AND a.state = 'waiting' AND a.awaits IS NOT NULL
    WHERE c.state <> 'paused'),
  (SELECT max(clock_timestamp() - lease_until) FROM attempt WHERE state = 'running'),
  interval '0')"""
WAITING = "SELECT id, waits_for FROM job WHERE state = 'queued' AND waits_for IS NOT NULL"
#: changes whenever anything goes on
STANDS = "SELECT count(*) AS attempts, count(ended_at) AS ended, sum(pos) AS pos FROM attempt"
MOVED = "SELECT count(*) FROM attempt WHERE id = ANY(%(ids)s) AND state = 'running' AND epoch = ANY(%(epochs)s)"
STATE = "SELECT state FROM service WHERE external_ref = %(ref)s"
#: orders and wishes under way, above which no order comes in: a slow machine makes a longer storm, not a jam
CROWD = 80
LONGEST = 3  #: times the stream's length: then the storm is over whatever is still under way
CONFLICT = (404, 409)  #: refused with a sentence: billing asked for what cannot be now
PAUSE = 0.2  #: seconds between two looks of the run itself: each asks the database that it measures


@dataclass
class Storm:
    """One run: what is still to come, what was asked, what was measured."""

    town: Town
    seed: int
    coming: list[Deed]
    seconds: float
    killer: Killer
    person: Person
    technician: Technician
    tell: Callable[[str], None]
    refs: dict[int, str] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)  #: by deed
    refused: Counter[str] = field(default_factory=Counter)
    gives_back: dict[int, str] = field(default_factory=dict)  #: order → address that its customer gives back
    late: list[Deed] = field(default_factory=list)
    moved: dict[int, float] = field(default_factory=lambda: defaultdict(float))  #: an order's wishes, seconds late
    room: int = CROWD  #: orders that may come in before it is a crowd
    unseen: float = 0.0
    recoveries: list[float] = field(default_factory=list)
    waited: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))  #: jobs, by what they waited for

    def rage(self) -> None:
        """Let the stream run while everything fails; goes on until nearly all of its work is done, or for too long."""
        began = time.monotonic()
        while self.coming or self.late or self._busy():
            now = time.monotonic() - began
            if now > self.seconds * LONGEST:
                left = Counter(deed.what for deed in [*self.late, *self.coming])
                self.tell(f"{now:6.1f} s  long enough; never asked: {dict(left)}")
                break
            self.town.tend()
            self.killer.strike(now)
            for deed in self._due(now):
                self._do(deed)
            self.person.answer()
            self.technician.work()
            self._measure()
            time.sleep(PAUSE)

    def _busy(self) -> bool:
        """Tell whether more than a twentieth of the orders is under way."""
        return self._under_way() > len(self.refs) // 20

    def _under_way(self) -> int:
        """Count what will go on by itself; while nobody can say, it is a crowd."""
        try:
            return len(self.town.database.rows(UNDER_WAY))
        except Overloaded:
            return CROWD

    def calm(self, still: float, most: float) -> list[Json]:
        """
        End all faults and wait until nothing is under way; gives what is.

        Gives up when nothing has moved for *still* seconds and nobody is to look at it again, or after *most*.
        """
        for place in self.town.places:
            place.control.clear_faults()
            place.control.restore()
            _free_links(place)
        if BEAT_ON.split()[0] not in self.town.children:
            self.town.beat()
        if MAIL_ON.split()[0] not in self.town.children:
            self.town.take_mail()
        ends, moved = time.monotonic() + most, time.monotonic()
        left: list[Json] = []
        stands: Json = None
        while (now := time.monotonic()) < ends and (now < moved + still or any(job["due"] for job in left)):
            self.town.tend()
            self.person.answer()
            self.technician.work()
            self._measure()
            try:
                left = [*self.town.database.rows(UNDER_WAY), *self._hungry()]
            except Overloaded:
                continue
            if not left and not self.technician.busy:
                return []
            if (seen := (self.town.database.row(STANDS), self.person.pressed.total())) != stands:
                stands, moved = seen, time.monotonic()
            time.sleep(PAUSE)
        return [job for job in left if not (job["attempt"] == "held" and job["why"])]

    def _hungry(self) -> list[Json]:
        """Give orders that wait for stock while a server that fits stands free by the data centre's own book."""
        waiting = self.town.database.rows(
            "SELECT j.id, j.kind, j.state, j.waits_for, j.reason, s.external_ref, '' AS attempt, '' AS step, "
            "'' AS outcome, '' AS why, false AS due, s.package -> 'connections' AS places FROM job j JOIN service s "
            "ON s.id = j.service_id WHERE j.state = 'queued' AND j.waits_for = 'stock'"
        )
        if not waiting:
            return []
        free = {place.name for place in self.town.places if any(map(_sellable, place.control.servers()))}
        return [job for job in waiting if free & set(job["places"])]

    # --- measures -------------------------------------------------------------------------------------------------

    def _measure(self) -> None:
        try:
            self.room = max(0, CROWD - self._under_way())
            self.unseen = max(self.unseen, self.town.database.value(UNSEEN).total_seconds())
            for job in self.town.database.rows(WAITING):
                self.waited[job["waits_for"]].add(job["id"])
            for hit in list(self.killer.hits):
                if not self.town.database.value(MOVED, ids=hit.ids, epochs=hit.epochs):
                    self.recoveries.append(time.monotonic() - hit.at)
                    self.killer.hits.remove(hit)
        except Overloaded:
            self.town.database.close()

    # --- deeds ----------------------------------------------------------------------------------------------------

    def _due(self, now: float) -> list[Deed]:
        """Take what is due; a wish that came late moves the later ones of its order by as much."""
        while self.coming and self.coming[0].at <= now:
            self.late.append(self.coming.pop(0))
        due: list[Deed] = []
        later: list[Deed] = []
        asked: set[int] = set()  # one wish of an order at a time
        for deed in sorted(self.late, key=lambda one: one.at):  # no wish stands before its order
            if deed.what in BESIDE:
                due.append(deed)
            elif (
                deed.number in asked
                or (deed.what == "order" and not self.room)
                or deed.at + self.moved[deed.number] > now
                or self._too_early(deed)
            ):
                later.append(deed)
                asked.add(deed.number)
            else:
                due.append(deed)
                self.room -= deed.what == "order"
                asked.add(deed.number)
                self.moved[deed.number] = now - deed.at
        self.late = later
        return due

    def _too_early(self, deed: Deed) -> bool:
        """Tell whether a wish waits for its order to come to an end."""
        if deed.eager:
            return False
        ref = self.refs.get(deed.number)
        try:
            return ref is None or self.town.database.value(STATE, ref=ref) == "ordered"
        except Overloaded:
            return True

    def _do(self, deed: Deed) -> None:
        """Ask it; what could not be asked now is asked again, as billing does."""
        try:
            done = self._beside(deed) if deed.what in BESIDE else self._ask(deed)
        except ApiError as error:
            done = True
            self.refused[deed.what] += 1
            if error.status not in CONFLICT:
                self.tell(f"         {deed.what} {deed.number}: {error}")
        except ControlError as error:
            done = True
            self.tell(f"         {deed.what} {deed.number}: {error}")
        if not done:
            self.late.append(deed)
        self.asked[deed.what] += done

    def _ask(self, deed: Deed) -> bool:
        """Ask for something as billing does; False while it cannot be asked."""
        if deed.what == "order":
            answer = self.town.call("POST", "/v1/services", self.order(deed))
            if answer is not None:
                self.refs[deed.number] = self.ref(deed.number)
            return answer is not None
        if deed.number not in self.refs:
            return False
        path, key = f"/v1/services/{self.refs[deed.number]}", {"Idempotency-Key": f"{deed.what}-{deed.number}"}
        match deed.what:
            case "cancel":
                service = self.town.call("GET", path)
                job = service and service["jobs"][-1]["id"]
                return job is not None and self.town.call("POST", f"/v1/jobs/{job}/cancel", {}) is not None
            case "address":
                return self.town.call("POST", f"{path}/addresses", {"count": 1}, key) is not None
            case "reinstall":
                return self.town.call("POST", f"{path}/reinstall", {"confirm": host(deed.number)}, key) is not None
            case "password":
                body = {"password": new_password(self.ref(deed.number))}
                return self.town.call("POST", f"{path}/password", body, key) is not None
            case "delete address":
                return self._give_back(deed.number, path)
            case "on" | "off" | "reboot" as state:
                return self.town.call("POST", f"{path}/power", {"state": state}, key) is not None
            case verb:
                return self.town.call("POST", f"{path}/{verb}", {}) is not None

    def _give_back(self, number: int, path: str) -> bool:
        """Give one address back, always the same one, however often it must be asked."""
        if number not in self.gives_back:
            service = self.town.call("GET", path)
            if service is None:
                return False
            more = [row["ip"] for row in service["addresses"] if not row["main"]]
            self.gives_back[number] = more[-1] if more else "192.0.2.1"  # none that it has: refused
        return self.town.call("DELETE", f"{path}/addresses/{self.gives_back[number]}") is not None

    def ref(self, number: int) -> str:
        """Give an order's reference at billing."""
        return f"ord-{self.seed}-{number}"

    def order(self, deed: Deed) -> Json:
        """Give an order's body; its password is planted to be looked for."""
        racked = deed.package.startswith("rack-")
        return {
            "external_ref": self.ref(deed.number), "package": deed.package, "hostname": host(deed.number),
            **({"equipment": "1U, one network port"} if racked else {"os": OS}),
            "customer": {"reference": deed.customer, "login": login(deed.customer)},
            "panel_password": f"Planted-{self.seed}-{deed.customer}",
        }  # fmt: skip

    def planted(self, orders: int) -> list[str]:
        """Give every secret that was told to the system."""
        panel = [f"Planted-{self.seed}-c{n}" for n in range(orders)]
        return [*panel, *(new_password(self.ref(n)) for n in range(orders))]

    def _beside(self, deed: Deed) -> bool:
        """Let somebody else act in a data centre."""
        draw = random.Random(f"{self.seed}|{deed.what}|{deed.number}")
        place = self.town.places[draw.randrange(len(self.town.places))]
        match deed.what:
            case stream.FOREIGN:
                _take_or_give_back(place, draw)
            case stream.STRANGER:
                name = login(f"c{draw.randrange(200)}")
                self.town.strangers.add(f"{place.name} {name}")
                place.control.add_user(name, "strange-password")
            case stream.OLD_FLAG:
                server = _any(place, draw)
                if not server["owner"]:
                    flags = stream.STALE[draw.randrange(len(stream.STALE))]
                    place.control.add_fault("stale", server=server["id"], flags=flags)
            case stream.PORTS:
                for one in self.town.places:
                    _free_links(one)
            case stream.AWAY:
                self.town.places[deed.number].control.restart_panel(5.0)
            case stream.REVOKE:
                self.town.places[deed.number].control.revoke()
            case stream.RESTORE:
                self.town.places[deed.number].control.restore()
        return True


BESIDE = (
    stream.FOREIGN, stream.STRANGER, stream.OLD_FLAG, stream.PORTS, stream.AWAY, stream.REVOKE, stream.RESTORE,
)  # fmt: skip


def host(number: int) -> str:
    """Give an order's host name, by which the data centre's books tell the orders apart."""
    return f"h{number}.example.net"


def login(customer: str) -> str:
    """Give a customer's login: of one length, so that no number that is put behind it makes another's."""
    return f"u{int(customer[1:]):04}"


def _any(place: Place, draw: random.Random) -> Json:
    servers = sorted(place.control.servers(), key=lambda one: int(one["id"]))
    return servers[draw.randrange(len(servers))]


def _take_or_give_back(place: Place, draw: random.Random) -> None:
    server = _any(place, draw)
    if server["owner"] == RIVAL:
        place.control.change_server(server["id"], owner=None, domain="free.ds")
    elif not server["owner"]:
        place.control.change_server(server["id"], owner=RIVAL, domain="rival.example.net")


def _free_links(place: Place) -> None:
    """Let a person in the data centre end what hangs at a switch port: nothing else does."""
    for server in place.control.servers():
        hung = [{"id": link["id"], "in_progress": False} for link in server["links"] if link["in_progress"]]
        if hung:
            place.control.change_server(server["id"], links=hung)


def _sellable(server: Json) -> bool:
    bars = ("owner", "blocked", "hwproblem", "diag_in_progress", "install_in_progress")
    return server["domain"] == "free.ds" and not any(server[bar] for bar in bars)

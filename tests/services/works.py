"""A whole system on real servers, its orders and what befell them; judged by the data centre's own books."""

from __future__ import annotations

import http.client
import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provisioner.demo.children import Children
from provisioner.errors import Overloaded
from tests.chaos.judge import judge
from tests.chaos.town import OS, Town
from tests.services.servers import Broker, Postgres

Json = Any
WORKERS = ("steps-1", "control-1")
SERVERS = 80
#: an install that nobody saw waits for its deadline, is undone, and tried on the next server
PATIENCE = 120.0
#: what a person is told of a job, for a test that waits in vain
STANDS = """
SELECT j.id, j.state, j.waits_for, a.state AS attempt, a.pos, s.name, s.state AS step, s.outcome, j.reason,
       a.reason AS why
  FROM job j LEFT JOIN attempt a ON a.job_id = j.id AND a.state <> 'ended'
  LEFT JOIN step s ON s.attempt_id = a.id AND s.pos = a.pos
 WHERE j.state NOT IN ('succeeded', 'cancelled', 'superseded')"""


@dataclass
class Answer:
    """One answer of the API, 0 for none, and the seconds it took."""

    status: int
    headers: dict[str, str]
    body: Json
    seconds: float


@dataclass
class Works(Town):
    """A town on servers that somebody else started, and the orders it was given."""

    postgres_server: Postgres | None = None
    broker: Broker | None = None
    orders: dict[str, Json] = field(default_factory=dict)  #: all that the API took: reference → its answer
    answers: list[Answer] = field(default_factory=list)

    def start_servers(self) -> None:
        """Make a database of our own; the servers are there."""
        assert self.postgres_server is not None
        assert self.broker is not None
        name = self.folder.name.replace("-", "_")
        self.postgres_server.ask(f'CREATE DATABASE "{name}"')
        self.database_url = self.postgres_server.url_of(name)
        self.broker_url = self.broker.url

    @property
    def database_name(self) -> str:
        return self.folder.name.replace("-", "_")

    # --- orders ---------------------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: Json = None) -> Answer:
        """Call the API once; no answer is an answer too."""
        began = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.api._port, timeout=15)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), self.api._headers)
            response = connection.getresponse()
            text, headers = response.read(), {name.lower(): value for name, value in response.getheaders()}
            told = Answer(response.status, headers, json.loads(text or b"{}"), time.monotonic() - began)
        except (OSError, http.client.HTTPException):
            told = Answer(0, {}, {}, time.monotonic() - began)
        finally:
            connection.close()
        self.answers.append(told)
        return told

    def order(self, ref: str) -> Answer:
        """Order once."""
        told = self.ask("POST", "/v1/services", self.body(ref))
        if told.status == http.HTTPStatus.ACCEPTED:
            self.orders[ref] = told.body
        return told

    def body(self, ref: str) -> Json:
        """Give an order's body; its password is planted to be looked for."""
        return {
            "external_ref": ref, "package": "any", "hostname": f"{ref}.example.net", "os": OS,
            "customer": {"reference": f"c-{ref}", "login": f"u{ref}".replace("-", "")},
            "panel_password": f"Planted-{ref}",
        }  # fmt: skip

    def take(self, count: int, mark: str, *, every: float = 0.0) -> list[str]:
        """Order *count* times, as billing does: what was not taken is asked again until it is."""
        refs = [f"{mark}-{n}" for n in range(count)]
        for ref in refs:
            self.wait(f"order {ref} taken", lambda ref=ref: self.order(ref).status == 202, PATIENCE)  # type: ignore[misc]
            self.spend(every)
        return refs

    def spend(self, seconds: float) -> None:
        """Let time pass, bringing back who ended."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            self.tend()
            time.sleep(0.05)

    # --- looks ----------------------------------------------------------------------------------------------------

    def look(self, sql: str) -> Json:
        """Ask the database for one value; None while it is away."""
        try:
            return self.database.value(sql)
        except Overloaded:
            self.database.close()
            return None

    def under_way(self, least: int = 1) -> None:
        """Wait until work is in the middle: *least* attempts are past the claim and not handed over."""
        sql = "SELECT count(*) FROM attempt WHERE state <> 'ended' AND pos BETWEEN 2 AND 7"
        self.wait("work in the middle", lambda: (self.look(sql) or 0) >= least, PATIENCE)

    def all_done(self) -> bool:
        """Tell whether every job has ended."""
        return bool(self.look("SELECT count(*) = 0 FROM job WHERE ended_at IS NULL"))

    def finish(self, healed: float) -> dict[str, float]:
        """
        Wait until all is done; give seconds since the instant *healed* (monotonic) until work went on, and its end.

        Fails with where each job stands.
        """
        claims = "SELECT coalesce(sum(epoch), 0) FROM attempt"
        first = self.look(claims)
        went_on = 0.0
        ends = healed + PATIENCE
        while not self.all_done():
            self.tend()
            if not went_on and (now := self.look(claims)) is not None:
                if first is None:
                    first = now
                elif now != first:
                    went_on = time.monotonic() - healed
            assert time.monotonic() < ends, self.stands()
            time.sleep(0.05)
        return {"goes on after, s": round(went_on, 1), "all done after, s": round(time.monotonic() - healed, 1)}

    def stands(self) -> str:
        """Give where each job stands, and the last words of everybody."""
        rows = [str(dict(row)) for row in self.database.rows(STANDS)]
        logs = [f"--- {log.name}\n{log.read_text()[-1500:]}" for log in sorted((self.folder / "logs").glob("*.log"))]
        return "\n".join([*rows, *logs])

    def judged(self) -> None:
        """Hold all orders so far against the data centre's books: each has its server, installed once, and no more."""
        services = {ref: self.api.get(f"/v1/services/{ref}") for ref in self.orders}
        states = Counter(one["state"] for one in services.values())
        assert states == {"active": len(self.orders)}, self.stands()
        verdict = judge(self, services, sorted(f"Planted-{ref}" for ref in self.orders))
        assert verdict.clean, verdict.cases
        owned = [one["server"]["server"] for one in services.values()]
        assert len(set(owned)) == len(owned)


@contextmanager
def works(postgres: Postgres, broker: Broker, name: str, *, servers: int = SERVERS) -> Iterator[Works]:
    """Have a whole system up inside, on a database of its own, and nothing left behind."""
    folder = Path(tempfile.mkdtemp(prefix=f"works-{name}-"))
    folder.chmod(0o711)
    made = Works(folder, Children(), workers=WORKERS, postgres_server=postgres, broker=broker)
    try:
        made.start(places=1, servers=servers, seed=1)
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)

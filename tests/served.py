"""The API served over real HTTP in a thread, on real PostgreSQL, with the fake data centre behind it."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import uvicorn
from pydantic import SecretStr

from provisioner import bootstrap
from provisioner.api.app import create_app
from provisioner.bootstrap import App
from provisioner.config import Settings
from provisioner.domain.catalogue import Role
from provisioner.domain.connection import Endpoint
from provisioner.drivers.fake import FakeDatacentre, FakeDriver, FakeProber
from provisioner.usecases import recipes, tokens
from provisioner.usecases.observe import observe
from provisioner.usecases.reconcile import reconcile
from provisioner.usecases.run_step import Tools, run_step
from provisioner.vault import generate_key
from tests.site import OS, SCALE, SHORT, ListWaker

PASSWORD = "planted-dcim-password"
TYPE = "HP-E3-16G"


@dataclass
class Answer:
    """One answer."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever was answered
        return json.loads(self.text)

    @property
    def detail(self) -> str:
        assert self.headers["content-type"] == "application/problem+json", self.text
        assert self.json["status"] == self.status
        return str(self.json["detail"])


@dataclass
class Served:
    """The API, and hands on everything behind it."""

    ports: App
    world: FakeDatacentre
    waker: ListWaker
    port: int
    tokens: dict[str, str] = field(default_factory=dict)

    # --- calls ----------------------------------------------------------------------------------------------------

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        who: str = "admin",
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Call as *who* ("" for nobody)."""
        sent = {"Authorization": f"Bearer {self.tokens[who]}"} if who else {}
        if body is not None:
            raw = json.dumps(body).encode()
        if raw is not None:
            sent["Content-Type"] = "application/json"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, raw, {**sent, **(headers or {})})
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read().decode())
        finally:
            connection.close()

    def get(self, path: str, *, who: str = "admin") -> Answer:
        return self.call("GET", path, who=who)

    def put(self, path: str, body: object, *, who: str = "admin") -> Answer:
        return self.call("PUT", path, body, who=who)

    def post(self, path: str, body: object = None, *, who: str = "admin", **headers: str) -> Answer:
        return self.call("POST", path, body, who=who, headers={k.replace("_", "-"): v for k, v in headers.items()})

    # --- set-up ---------------------------------------------------------------------------------------------------

    def connection(self, **changes: Any) -> dict[str, Any]:
        body = {"kind": "fake", "url": "https://dcim.example.net/dcimgr", "username": "bill_admin"}
        return {**body, "password": PASSWORD, **changes}

    def package(self, **changes: Any) -> dict[str, Any]:
        return {"server_type": TYPE, "os_allowed": [OS], "probe": "ssh:22", "connections": {"dc1": 0}, **changes}

    def order(self, ref: str = "ord-1", **changes: Any) -> dict[str, Any]:
        body = {"external_ref": ref, "package": "small", "customer": {"reference": f"c-{ref}", "login": "ivanov"}}
        return {**body, "hostname": "srv1.example.net", "os": OS, **changes}

    def sell(self, *servers: str) -> None:
        """Put up servers, connect the data centre and sell them; without any there is one that can't be sold."""
        for server in servers:
            self.world.add_server(server)
        if not servers:
            self.world.add_server("900").faulty = True
        assert self.put("/v1/connections/dc1", self.connection()).status == 200
        assert self.put("/v1/packages/small", self.package()).status == 200

    # --- time -----------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Do one reconcile tick, read the lists that it asks for, deliver what is due."""
        ports = self.ports
        reconcile(
            reconciler=ports.reconciler,
            planner=ports.planner,
            quarantine=ports.quarantine,
            life=ports.life,
            tickets=ports.tickets,
            callbacks=ports.callbacks,
            waker=self.waker,
            policies=ports.policies,
            spans=ports.spans,
        )
        lists, self.waker.lists = self.waker.lists, set()
        for connection in lists:
            observe(connection, owner="test:o", observer=ports.observer, drivers=ports.drivers, waker=self.waker)
        tools = Tools(
            ports.engine, ports.drivers, FakeProber(self.world), ports.vault, self.waker, ports.policies, ports.spans
        )
        for number in range(len(self.waker.messages)):
            one = self.waker.messages.popleft()
            task = f"{one.job_id}.{one.attempt_n}.{one.pos}.{one.sends}"
            run_step(one.attempt_id, one.pos, task_id=task, worker="w", owner=f"test:{task}:{number}", tools=tools)

    def run(self, job: int, *states: str, seconds: float = 20.0) -> dict[str, Any]:
        """Let time pass until the job stands in one of *states*; gives it as the API shows it."""
        ends = time.monotonic() + seconds
        while True:
            found: dict[str, Any] = self.get(f"/v1/jobs/{job}").json
            if found["state"] in states or found["waits_for"] in states:
                return found
            assert time.monotonic() < ends, found
            self.tick()


class _Server(uvicorn.Server):
    def install_signal_handlers(self) -> None:
        pass


@contextmanager
def serve(url: str) -> Iterator[Served]:
    """Serve the API on a fresh database."""
    world = FakeDatacentre()
    waker = ListWaker()
    settings = Settings(database_url=url, secret_key=SecretStr(generate_key()), api_pool=4)
    plain = bootstrap.build(settings)
    ports = replace(plain, waker=waker, policies=recipes.policies({}, scale=SCALE), spans=SHORT)
    ports = replace(
        ports,
        planner=type(plain.planner)(plain.database, SHORT),
        observer=type(plain.observer)(plain.database, SHORT),
        engine=type(plain.engine)(plain.database, SHORT),
        reconciler=type(plain.reconciler)(plain.database, SHORT),
    )

    def make(endpoint: Endpoint) -> FakeDriver:
        return FakeDriver(world, endpoint.name, call_seconds=1.0)

    ports.drivers.register("fake", make)
    server = _Server(uvicorn.Config(create_app(ports), host="127.0.0.1", port=0, log_config=None, lifespan="on"))
    thread = threading.Thread(target=server.run, name="api", daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    served = Served(ports, world, waker, port)
    for name, role, panel in (
        ("admin", Role.ADMIN, "demo"),
        ("root", Role.ADMIN, ""),
        ("operator", Role.OPERATOR, ""),
        ("viewer", Role.VIEWER, ""),
        ("billing", Role.BILLING, "demo"),
        ("other", Role.BILLING, "elsewhere"),
    ):
        served.tokens[name] = tokens.create(name, role, panel=panel, catalogue=ports.catalogue).token
    served.tokens["wrong"] = "wrong"
    try:
        yield served
    finally:
        server.should_exit = True
        thread.join(timeout=10)

"""The demo's story: three orders on three types of server. Touches the public API and the simulator's control side."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from provisioner.demo.client import Api, Json
from provisioner.demo.supervisor import DURATIONS, PASSWORD, Simulated
from provisioner.simulators.client import Control

CONNECTION = "dc1"

#: Who hears of what goes wrong there.
DEPARTMENT, ONCALL = "dc1-oncall", "oncall@example.net"

#: How often a list reading must show the install flag before it falls: the engine is to see it.
OBSERVATIONS = 3

#: What the simulated servers' SSH listeners speak on.
DEBIAN = "ISPsystem__Debian-12-x86_64"
UBUNTU = "ISPsystem__Ubuntu-22.04-x86_64"


@dataclass
class Order:
    """One order of the story, and where it stands."""

    ref: str
    story: str  #: what is shown, in a few words
    package: str
    server_type: str
    login: str
    hostname: str
    os: str
    ends: frozenset[str]  #: how a job that keeps its promise stands: `succeeded`, `waits for stock`
    ipv4: int = 1
    job_id: str = ""
    job: Json = field(default_factory=dict)  #: as the API last said
    ordered_at: float = 0.0  #: monotonic
    ended_at: float | None = None  #: monotonic: when it was first seen to stand where its story ends

    @property
    def standing(self) -> str:
        """Return where its job stands, in the words of `ends`."""
        state = str(self.job.get("state", "queued"))
        waits = self.job.get("waits_for")
        return f"waits for {waits}" if state == "queued" and waits else state


def orders() -> list[Order]:
    """Return the three orders; no two share a type of server, so that none disturbs another."""
    return [
        Order(
            ref="ord-1001",
            story="goes through",
            package="starter",
            server_type="HP-E3-16G",
            login="alice",
            hostname="alice.example.net",
            os=DEBIAN,
            ends=frozenset({"succeeded"}),
            ipv4=2,
        ),
        Order(
            ref="ord-1002",
            story="first server fails",
            package="business",
            server_type="HP-E5-64G",
            login="bob",
            hostname="bob.example.net",
            os=UBUNTU,
            ends=frozenset({"succeeded"}),
        ),
        Order(
            ref="ord-1003",
            story="nothing is free",
            package="rare",
            server_type="SM-X11-32G",
            login="carol",
            hostname="carol.example.net",
            os=DEBIAN,
            ends=frozenset({"waits for stock"}),
        ),
    ]


def prepare(control: Control, wanted: list[Order]) -> list[Json]:
    """
    Arrange the world for the story; return the servers that must stay untouched, as they are.

    The first install of the second order's template fails; of the third one's type nothing can be sold.
    """
    control.set(**DURATIONS, install_flag_observations=OBSERVATIONS, free_autoshutdown=False)
    _, failing, waiting = wanted
    control.add_fault("install_fails_late", template=failing.os, count=1)
    rare = [server for server in control.servers() if server["type"] == waiting.server_type]
    control.add_user("dave", "simulated-password")
    reasons: list[dict[str, Any]] = [
        {"owner": "dave", "hostname": "dave.example.net"},
        {"hwproblem": True},
        {"blocked": True},
    ]
    return [
        control.change_server(server["id"], **reasons[number % len(reasons)])
        for number, server in enumerate(rare)
    ]  # fmt: skip


def connect(api: Api, simulated: Simulated, wanted: list[Order]) -> None:
    """Connect the data centre and make a package for each order, through the public API."""
    join(api, CONNECTION, simulated, department=DEPARTMENT, address=ONCALL)
    for order in wanted:
        sell(api, order, simulated, CONNECTION)


def join(api: Api, name: str, simulated: Simulated, *, department: str, address: str) -> None:
    """Connect a data centre under a name, with those in charge of it."""
    tls = {"fingerprint": simulated.certificate_sha256} if simulated.certificate_sha256 else {}
    api.put(f"/v1/departments/{department}", {"address": address})
    api.put(
        f"/v1/connections/{name}",
        {
            "kind": "dcimanager5",
            "url": simulated.url,
            "username": simulated.admin_user,
            "password": PASSWORD,
            "tls": tls,
            "in_charge": department,
        },
    )


def sell(api: Api, order: Order, simulated: Simulated, connection: str) -> None:
    """Make the package that an order is for."""
    api.put(
        f"/v1/packages/{order.package}",
        {
            "server_type": order.server_type,
            "os_allowed": [order.os],
            "ipv4": order.ipv4,
            "probe": f"ssh:{simulated.ssh_port}",
            "connections": {connection: 0},
        },
    )


def place(api: Api, order: Order) -> None:
    """Order, as a billing panel does."""
    answer = api.post("/v1/services", body(order))
    order.job_id = str(answer["job"]["id"])


def body(order: Order) -> Json:
    """Return what is sent for an order."""
    return {
        "external_ref": order.ref,
        "package": order.package,
        "customer": {"reference": f"customer-{order.login}", "login": order.login},
        "hostname": order.hostname,
        "os": order.os,
    }

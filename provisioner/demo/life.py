"""The rest of the demo's story: all that a customer may ask of the first order's server, until it is given back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from provisioner.demo.client import Api, ApiError
from provisioner.demo.patience import until
from provisioner.demo.promises import FREE, Promise
from provisioner.demo.scenario import Order
from provisioner.simulators.client import Control

#: How long one wish may take before the demo goes on without it.
WISH_SECONDS = 40.0

ENDED = frozenset({"succeeded", "failed", "cancelled", "superseded"})

Server = Mapping[str, Any]


@dataclass(frozen=True)
class Wish:
    """One thing that is asked, and what the data centre must show afterwards."""

    path: str
    promise: str
    kept: Callable[[Server, Server], bool]  #: the server before, and after
    body: Mapping[str, object] = field(default_factory=dict)
    key: str = ""


def wishes(order: Order) -> tuple[Wish, ...]:
    """Return the story, in order."""
    public = order.ipv4
    return (
        Wish("addresses", "one more address, with its domain", lambda _, now: _named(now, order) == public + 1,
             {"count": 1}, "demo-address"),
        Wish("suspend", "suspended: its ports are off, its power is on",
             lambda _, now: not any(ports(now)) and now["power"] == "on"),
        Wish("resume", "resumed: its ports are on, nothing was installed again",
             lambda was, now: all(ports(now)) and now["installs"] == was["installs"]),
        Wish("password", "its panel password is another one, and was shown nowhere",
             lambda was, now: now["owner"] == was["owner"], {}, "demo-password"),
        Wish("close", "closed: no owner, free.ds, its main address only, ports off, our note gone", _given_back),
    )  # fmt: skip


def play(
    api: Api, control: Control, order: Order, *, tend: Callable[[], None], say: Callable[[str], None]
) -> Iterator[Promise]:
    """Ask one wish after the other, and look at the data centre after each."""
    number = next(server["id"] for server in control.servers() if server["owner"] == order.login)
    who = f"{order.ref}:"
    for wish in wishes(order):
        before, began = control.server(number), time.monotonic()
        job = ask(api, order.ref, wish.path, tend, body=wish.body, key=wish.key)
        after = control.server(number)
        say(f"{order.ref}  {wish.path:<10} {job['state']:<9} {time.monotonic() - began:5.2f} s  {job['sentence']}")
        held = job["state"] == "succeeded" and wish.kept(before, after)
        yield Promise(f"{who} {wish.promise}", held, str(job["sentence"]))
    yield Promise(
        f"{who} its server {number} is in stock again", _in_stock(api, order, str(number), tend), "not in stock"
    )


def ask(
    api: Api, ref: str, path: str, tend: Callable[[], None], *, body: Mapping[str, object] | None = None, key: str = ""
) -> Any:  # noqa: ANN401 - JSON
    """Ask something of a service; return its job as it stands in the end."""
    headers = {"Idempotency-Key": key} if key else {}
    return follow(api, api.ask("POST", f"/v1/services/{ref}/{path}", body or {}, headers)["job"], tend)


def follow(api: Api, job: Any, tend: Callable[[], None], seconds: float = WISH_SECONDS) -> Any:  # noqa: ANN401 - JSON
    """Wait until a job has ended, or too long; return it as it stands then."""

    def ended() -> bool:
        try:
            job.update(api.get(f"/v1/jobs/{job['id']}"))
        except ApiError as error:
            if error.status:
                raise
        return job["state"] in ENDED

    until(ended, seconds=seconds, tend=tend)
    return job


def _in_stock(api: Api, order: Order, server: str, tend: Callable[[], None]) -> bool:
    """Wait for a list reading that shows the server free."""

    def there() -> bool:
        (stock,) = api.get(f"/v1/stock?package={order.package}")
        if server not in {row["server"] for row in stock["unsellable"]}:
            return True
        api.post("/v1/connections/dc1/check")
        return False

    return until(there, seconds=WISH_SECONDS, tend=tend)


def ports(server: Server) -> list[bool]:
    """Return whether each switch port is on, that of the BMC left out."""
    return [link["on"] for link in server["links"] if link["type"] == "Switch" and not link["bmc"]]


def _named(server: Server, order: Order) -> int:
    rows = [row for row in server["addresses"] if row["family"] == "ipv4" and row["type"] != "group"]
    return sum(row["domain"] == order.hostname for row in rows)


def _given_back(_: Server, now: Server) -> bool:
    rows = [row for row in now["addresses"] if row["type"] != "group"]
    clean = all(row["main"] and row["domain"] == FREE for row in rows)
    noted = any(line.startswith("provisioner ") for line in now["notes"].splitlines())
    return clean and not now["owner"] and not noted and not any(ports(now))

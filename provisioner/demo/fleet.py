"""The demo's fourth story: a data centre that sold its servers before us, and then has a fault that is not theirs."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from provisioner.demo import mail, scenario
from provisioner.demo.client import Api
from provisioner.demo.life import WISH_SECONDS, ask, follow, ports
from provisioner.demo.mail import Mail
from provisioner.demo.patience import until
from provisioner.demo.promises import Promise
from provisioner.demo.scenario import DEBIAN, Order
from provisioner.demo.supervisor import DURATIONS, PANEL, SOLD, SOLD_TYPE, Supervisor
from provisioner.simulators.client import Control

CONNECTION, PACKAGE = "dc2", "sold-before"
DEPARTMENT, ONCALL = "dc2-oncall", "dc2-oncall@example.net"

#: Whose the sold servers are, four each.
CUSTOMERS = 50

#: How long an order may take that first has to wait for a place that heals.
HEALING_SECONDS = 90.0

#: Calls of the panel that say nothing of what was asked.
LOGIN = "auth"

Server = Mapping[str, Any]


class Fleet:
    """The second data centre: sold, adopted, ill, and well again; each part looks its promises up when it has ended."""

    def __init__(self, admin: Api, billing: Api, supervisor: Supervisor, say: Callable[[str], None]) -> None:
        self._admin, self._billing = admin, billing
        self._supervisor, self._say = supervisor, say
        self._simulated = supervisor.sold
        self._control = Control(self._simulated.control_url)
        self._orders = [_order("ord-1005", "frank"), _order("ord-1006", "grace")]

    # --- sold before us -------------------------------------------------------------------------------------------

    def adopted(self) -> Iterator[Promise]:
        """Import the sold servers as a person does: draft, completed, tried, for real; then suspend one of them."""
        self._sell()
        self._connect()
        file = self._supervisor.logs / "sold.csv"
        lines = _completed(self._supervisor.command("import", "--draft", CONNECTION))
        file.write_text(_as_csv(lines), encoding="utf-8")
        self._say(f"import --draft {CONNECTION} wrote {len(lines)} lines; two columns were filled in by hand")
        before = self._control.servers()
        looked = self._imports(str(file), "--dry-run")
        yield Promise(f"{CONNECTION}: a dry run reads one list of servers, and acts on nothing", *_one_look(looked))
        states = self._states(lines)
        yield Promise(f"{CONNECTION}: after it our books know none of them", states == {"none": SOLD}, str(states))
        looked = self._imports(str(file))
        yield Promise(f"{CONNECTION}: the import reads one list of servers, and acts on nothing", *_one_look(looked))
        changed = [server["id"] for server, now in zip(before, self._control.servers(), strict=True) if server != now]
        yield Promise(f"{CONNECTION}: its servers are as they were", not changed, str(changed))
        states = self._states(lines)
        yield Promise(f"{CONNECTION}: {SOLD} services are active", states == {"active": SOLD}, str(states))
        yield self._suspended(lines[SOLD // 2])

    def _sell(self) -> None:
        """Let the servers be customers', as a seller before us left them."""
        control = self._control
        control.set(**DURATIONS, install_flag_observations=scenario.OBSERVATIONS, free_autoshutdown=False)
        for n in range(CUSTOMERS):
            control.add_user(f"sold{n:02}", "simulated-password")
        for n, server in enumerate(control.servers()[:SOLD]):
            login = f"sold{n % CUSTOMERS:02}"
            control.change_server(
                server["id"], owner=login, domain=f"s{server['id']}.example.net", disabled=False, power="on",
                links=[{"id": link["id"], "on": True} for link in server["links"]],
            )  # fmt: skip

    def _connect(self) -> None:
        """Connect it, sell its type, and let its list be read the first time."""
        scenario.join(self._admin, CONNECTION, self._simulated, department=DEPARTMENT, address=ONCALL)
        scenario.sell(self._admin, _order("", "", package=PACKAGE, ipv4=1), self._simulated, CONNECTION)

        def listed() -> bool:
            (stock,) = self._admin.get(f"/v1/stock?package={PACKAGE}")
            return bool(stock["connections"][0]["observed_at"])

        until(listed, seconds=WISH_SECONDS, tend=self._supervisor.tend)

    def _imports(self, *words: str) -> Sequence[Mapping[str, Any]]:
        """Give the command; return the calls that reached the panel meanwhile."""
        self._control.clear_journal()
        said = self._supervisor.command("import", *words, "--panel", PANEL)
        self._say(f"{' '.join(['import sold.csv', *words[1:]])}: {_counts(said)}")
        return [call for call in self._control.journal() if call["func"] != LOGIN]

    def _states(self, lines: Sequence[Mapping[str, str]]) -> Mapping[str, int]:
        """Count the services by their state."""
        found: Counter[str] = Counter()
        for line in lines:
            answer = self._billing.look(f"/v1/services/{line['external_ref']}")
            found[answer["state"] if answer else "none"] += 1
        return found

    def _suspended(self, line: Mapping[str, str]) -> Promise:
        ref, number = line["external_ref"], line["server"]
        self._control.clear_journal()
        done = ask(self._billing, ref, "suspend", self._supervisor.tend)
        self._say(f"{ref}  suspend    {done['state']:<9} {done['sentence']}")
        off = [server["id"] for server in self._control.servers() if server["owner"] and not any(ports(server))]
        touched = sorted({str(call["server"]) for call in self._control.journal() if call["mutating"]} - {""})
        return Promise(
            f"{ref}: suspended through the API: the ports of server {number} are off, and of no other",
            done["state"] == "succeeded" and off == touched == [number],
            f"{done['sentence']}; off: {off}, touched: {touched}",
        )

    # --- a fault of the place --------------------------------------------------------------------------------------

    def fails(self) -> Iterator[Promise]:
        """Let two orders meet a pool without an address; mend it when those in charge were told."""
        fault = self._control.add_fault("pool_empty")
        for order in self._orders:
            scenario.sell(self._admin, order, self._simulated, CONNECTION)
            scenario.place(self._billing, order)
        told = until(self._mails, seconds=WISH_SECONDS, tend=self._supervisor.tend)
        for one in told:
            self._say(f"mail to {one.to}: {one.subject}")
        yield Promise(
            f"{ONCALL} got one message: the place is to blame, the orders wait",
            len(told) == 1 and CONNECTION in told[0].subject and "address" in told[0].subject,
            _subjects(told),
        )
        self._control.remove_fault(fault["id"])
        self._say(f"the pool of {CONNECTION} was filled again; nobody tells the product")

    def heals(self) -> Iterator[Promise]:
        """Wait for both orders and the all-clear."""
        for order in self._orders:
            job = follow(self._billing, {"id": order.job_id, "state": ""}, self._supervisor.tend, HEALING_SECONDS)
            self._say(f"{order.ref}  open       {job['state']:<9} {job['sentence']}")
            owned = [server for server in self._control.servers() if server["owner"] == order.login]
            held = job["state"] == "succeeded" and len(owned) == 1 and all(ports(owned[0]))
            yield Promise(f"{order.ref}: went through by itself once {CONNECTION} was well", held, job["sentence"])
        told = until(self._all_clear, seconds=WISH_SECONDS, tend=self._supervisor.tend) or self._mails()
        for one in told[1:]:
            self._say(f"mail to {one.to}: {one.subject}")
        yield Promise(
            f"{ONCALL} got one all-clear, in the thread of the one message",
            len(told) == 2 and told[0].id in told[1].references,  # noqa: PLR2004 - the message and the all-clear
            _subjects(told),
        )
        kept = [server["id"] for server in self._control.servers() if "quarantined: " in server["notes"]]
        yield Promise(f"{CONNECTION}: no server was taken out of sale for it", not kept, str(kept))
        broken = self._control.invariants(token_pattern="provisioner .*")  # noqa: S106 - a pattern
        yield Promise(f"{CONNECTION}: no rule of a well-run data centre is broken", not broken, str(broken))

    def _mails(self) -> Sequence[Mail]:
        return [one for one in mail.read(self._supervisor.mail) if one.to == ONCALL]

    def _all_clear(self) -> Sequence[Mail]:
        """Give all messages once there is more than the first."""
        found = self._mails()
        return found if len(found) > 1 else ()


def _order(ref: str, login: str, *, package: str = "twin-address", ipv4: int = 2) -> Order:
    return Order(
        ref=ref,
        story="meets a fault of the place",
        package=package,
        server_type=SOLD_TYPE,
        login=login,
        hostname=f"{login}.example.net",
        os=DEBIAN,
        ends=frozenset({"succeeded"}),
        ipv4=ipv4,
    )


def _completed(draft: str) -> list[dict[str, str]]:
    """Fill in what a draft can't know: the references at billing."""
    lines = list(csv.DictReader(io.StringIO(draft)))
    return [{**line, "external_ref": f"old-{line['server']}", "customer_ref": f"c-{line['login']}"} for line in lines]


def _as_csv(lines: Sequence[Mapping[str, str]]) -> str:
    out = io.StringIO()
    rows = csv.DictWriter(out, list(lines[0]) if lines else [])
    rows.writeheader()
    rows.writerows(lines)
    return out.getvalue()


def _one_look(calls: Sequence[Mapping[str, Any]]) -> tuple[bool, str]:
    """Say whether the calls are one list of servers, and nothing that acts; with what they are."""
    counts = Counter(call["func"] for call in calls)
    return counts["server"] == 1 and not any(call["mutating"] for call in calls), str(dict(counts))


def _counts(said: str) -> str:
    """Give the line of a report that counts."""
    return next((line for line in said.splitlines() if " adopted, " in line), said[-200:])


def _subjects(mails: Sequence[Mail]) -> str:
    return ", ".join(one.subject for one in mails) or "no message"

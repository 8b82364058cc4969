"""A fleet that was sold before us, on real PostgreSQL and a simulated DCImanager over HTTP."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from provisioner.cli import main
from provisioner.cli.codes import Code
from provisioner.domain.adoption import COLUMNS, NEEDED, Adoption
from provisioner.domain.connection import Endpoint
from provisioner.domain.life import Wish
from provisioner.domain.server import FREE_MARKER
from provisioner.domain.states import JobKind
from provisioner.drivers.dcimanager5.driver import Dcimanager5
from provisioner.errors import Unreachable
from provisioner.ports import Sealed
from provisioner.simulators import Simulator
from provisioner.store.adoption import AdoptionStore
from provisioner.store.audit import AuditStore
from provisioner.store.installation import InstallationStore
from provisioner.store.life import LifeStore
from provisioner.usecases import adopt, audit
from provisioner.usecases.adopt import Adopted
from tests.command import CommandLine
from tests.served import Served, serve
from tests.site import SHORT, Site

pytestmark = pytest.mark.timeout(400)

SOLD, SPARE, FREE, CUSTOMERS = 1000, 19, 3, 100
TYPE = "HP-E3-16G"
#: a call over HTTP takes its time on a busy machine
PATIENT = replace(SHORT, call=5.0, soft=20.0, hard=25.0, lease=30.0)
Rows = list[dict[str, str]]


def sell(simulator: Simulator, servers: int, *, customers: int) -> Rows:
    """Give the first servers to customers, as a seller before us did; returns the true lines."""
    control = simulator.control
    rows = []
    for n in range(servers):
        ref, login = str(101 + n), f"user{n % customers}" if n < SOLD else f"spare{n - SOLD}"
        if n < customers or n >= SOLD:
            control.add_user(login, "simulated-secret")
        control.change_server(ref, owner=login, domain=f"s{ref}.example.net", disabled=False, notes=f"rack {n}")
        rows.append(line(ref, login))
    control.clear_journal()
    return rows


def line(ref: str, login: str, **changes: str) -> dict[str, str]:
    row = {"connection": "dc1", "server": ref, "package": "small", "external_ref": f"ord-{ref}"}
    return {**row, "customer_ref": f"c-{login}", "login": login, **changes}


def as_csv(rows: Rows, columns: Sequence[str] = COLUMNS) -> bytes:
    lines = [",".join(columns), *(",".join(row.get(name, "") for name in columns) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


@pytest.fixture(scope="module")
def big() -> Iterator[tuple[Simulator, Rows]]:
    """Give a data centre with a thousand sold servers; tests leave it as it is."""
    with Simulator(servers=SOLD + SPARE + FREE, types=(TYPE,)) as simulator:
        yield simulator, sell(simulator, SOLD + SPARE, customers=CUSTOMERS)


@pytest.fixture
def small() -> Iterator[tuple[Simulator, Rows]]:
    with Simulator(servers=6, types=(TYPE,)) as simulator:
        simulator.control.set(link_settle=0.02, power=0.02, enable=0.02)
        yield simulator, sell(simulator, 4, customers=2)


class Books:
    """A site whose connection is a simulator, and hands to import."""

    def __init__(self, site: Site, simulator: Simulator) -> None:
        self.site, self.db, self.control = site, site.database, simulator.control
        endpoint = Endpoint(
            "dc1", simulator.url, simulator.admin_user, simulator.admin_password, call_seconds=5.0, look_seconds=5.0
        )
        site.connect(driver=Dcimanager5(endpoint), url=simulator.url)
        self.admin = str(site.drivers.by_connection[1].whoami().ref)
        site.database.rows(
            "UPDATE connection SET admin_user = %(a)s, username = %(u)s", a=self.admin, u=simulator.admin_user
        )
        site.package(probe="tcp:22")
        self.adoptions, self.audits = AdoptionStore(self.db), AuditStore(self.db, PATIENT)
        self.control.clear_journal()

    def take(self, rows: Rows, *, dry_run: bool = False, notes: bool = False, data: bytes | None = None) -> Adopted:
        asking = adopt.Asking(
            "panel", "cli anna", dry_run, notes, LifeStore(self.db, PATIENT), self.site.waker, self.site.policies
        )
        return adopt.adopt(
            as_csv(rows) if data is None else data,
            asking,
            adoptions=self.adoptions,
            audits=self.audits,
            drivers=self.site.drivers,
            tell=lambda *_: None,
        )

    def calls(self) -> Counter[str]:
        return Counter(call["func"] for call in self.control.journal() if call["func"] != "auth")

    def mutating(self) -> list[str]:
        return [call["func"] for call in self.control.journal() if call["mutating"]]

    def stored(self) -> dict[str, int]:
        tables = ("service", "claim", "account", "event", "job", "address")
        return {table: self.db.value(f"SELECT count(*) FROM {table}") for table in tables}  # noqa: S608

    def ask(self, ref: str, kind: JobKind, *, key: str | None = None, secret: str | None = None, **params: Any) -> None:
        sealed = Sealed(*self.site.vault.seal(secret)) if secret else None
        asked, due = self.site.life.wish(
            "panel", ref, Wish(kind, params), by="cli anna", key=key, secret=sealed, policies=self.site.policies
        )
        self.site.waker.wake(due)
        self.site.run(self.site.ended(asked.job_id), seconds=120)
        job = self.site.job(asked.job_id)
        assert job["state"] == "succeeded", f"{kind}: {job['reason']}\n{self.site.trail()}"


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    made = Site(database_url, spans=PATIENT, scale=0.01)
    yield made
    made.database.close()


@pytest.fixture
def books(site: Site, small: tuple[Simulator, Rows]) -> Books:
    return Books(site, small[0])


def link_states(books: Books, ref: str) -> list[bool]:
    return [link["on"] for link in books.control.server(ref)["links"] if link["type"] == "Switch"]


# --- a thousand ---------------------------------------------------------------------------------------------------


def contradictions(spare: Rows) -> Iterator[tuple[dict[str, str], str]]:
    """Give twenty lines that are wrong, each with what must be said; they disturb none of the thousand."""
    rows = iter(spare)

    def wrong(**changes: str) -> dict[str, str]:
        return {**next(rows), **changes}

    one = wrong()
    yield one, "two services on one server: also on line 1003"
    yield {**one, "external_ref": "twice"}, "two services on one server: also on line 1002"
    one = wrong()
    yield one, "external_ref stands on two servers: also on line 1005"
    yield wrong(external_ref=one["external_ref"]), "external_ref stands on two servers: also on line 1004"
    one = wrong()
    yield one, "the customer has another login on line 1007"
    yield wrong(customer_ref=one["customer_ref"]), "the customer has another login on line 1006"
    yield wrong(login="user1", customer_ref="c-user1"), "the server's owner is spare5, not user1"
    yield wrong(server="99999"), "server '99999' is not in the list of dc1"
    yield wrong(server="0101"), "server '0101' is not in the list of dc1"
    yield wrong(package="large"), "the server is a HP-E3-16G, the package sells HP-E5-64G"
    yield wrong(package="none"), "there is no package 'none'"
    yield wrong(connection="dc9"), "there is no connection 'dc9'"
    yield wrong(login="nobody"), "the DCIM has no user 'nobody'"
    yield wrong(server=str(101 + SOLD + SPARE)), "the server has no owner"
    yield wrong(customer_ref=""), "customer_ref is empty"
    yield wrong(external_ref="bad ref"), "external_ref 'bad ref' is no reference"
    yield wrong(hostname="-"), "hostname '-' is not a full host name"
    yield wrong(hostname="free.ds"), "hostname free.ds marks free servers"
    yield wrong(external_ref="ours"), "external_ref ours is in our books with no server yet"
    yield wrong(login="bill_admin", customer_ref="c-admin"), "user bill_admin is an administrator"


def test_a_thousand_are_adopted_twenty_contradict_and_the_panel_is_only_looked_at(
    site: Site, big: tuple[Simulator, Rows]
) -> None:
    simulator, rows = big
    books = Books(site, simulator)
    site.package("large", server_type="HP-E5-64G")
    site.order("ours")
    planted = list(contradictions(rows[SOLD:]))
    given = [*rows[:SOLD], *(row for row, _ in planted)]
    before = books.stored()

    dry = books.take(given, dry_run=True)
    untouched = books.stored()
    done = books.take(given)

    assert (before, dry.lines) == (untouched, done.lines)
    assert (done.adopted, done.contradicts, len(planted)) == (SOLD, 20, 20)
    for found, (row, sentence) in zip(done.lines[SOLD:], planted, strict=True):
        assert found.verdict == "contradicts", row
        assert sentence in found.says, row
    assert books.calls() == {"server": 2, "user": 2}  # the dry run's, and the import's
    assert books.mutating() == []
    kept = books.db.rows(
        "SELECT s.state, s.desired, cl.state AS claim, acc.state AS account, acc.created_by_us, s.handed_over_at "
        "IS NOT NULL AS handed, s.claim_id = cl.id AND cl.service_id = s.id AS joined, count(*) "
        "FROM service s JOIN claim cl ON cl.service_id = s.id JOIN account acc ON acc.id = s.account_id "
        "GROUP BY 1, 2, 3, 4, 5, 6, 7"
    )
    assert [tuple(row.values()) for row in kept] == [("active", "active", "handed", "live", False, True, True, SOLD)]


def test_a_thousand_take_as_many_lines_and_two_lists(site: Site, big: tuple[Simulator, Rows]) -> None:
    simulator, rows = big
    books = Books(site, simulator)

    done = books.take(rows[:1000])
    again = books.take(rows[:1000])

    assert (done.adopted, done.contradicts, done.unread) == (1000, 0, 0)
    assert (again.adopted, again.already, again.contradicts) == (0, 1000, 0)
    assert books.stored() == {
        "service": 1000, "claim": 1000, "account": CUSTOMERS, "event": 1000, "job": 0, "address": 0,
    }  # fmt: skip
    assert books.calls() == {"server": 2, "user": 2}
    (report,) = audit.look(
        "dc1",
        quick=True,
        audits=books.audits,
        drivers=site.drivers,
        installation=InstallationStore(site.database),
        tell=lambda *_: None,
    )
    assert report.findings == ()  # our books and the panel agree on all of them


# --- afterwards ---------------------------------------------------------------------------------------------------


def test_an_adopted_service_has_the_whole_life_of_one_of_ours(books: Books, small: tuple[Simulator, Rows]) -> None:
    ref = "ord-101"
    books.control.change_server("101", add_alias={})
    books.take(small[1])

    books.ask(ref, JobKind.SUSPEND, reason="billing")
    suspended = link_states(books, "101")
    books.ask(ref, JobKind.RESUME, reason="billing")
    resumed = link_states(books, "101")
    read = books.db.value("SELECT count(*) FROM address WHERE state = 'live'")
    books.ask(ref, JobKind.ADD_ADDRESS, key="k1", count=2, family="ipv4")
    added = [row["ip"] for row in books.control.server("101")["addresses"]]
    books.ask(ref, JobKind.DELETE_ADDRESS, ip=added[-1])
    deleted = [row["ip"] for row in books.control.server("101")["addresses"]]
    books.ask(ref, JobKind.CHANGE_PASSWORD, key="k2", secret="correct-horse-battery")
    owner = books.control.server("101")["owner"]
    books.ask(ref, JobKind.CLOSE)
    closed = books.control.server("101")

    assert (suspended, resumed) == ([False], [True])
    assert read == 2
    assert (len(added), len(deleted)) == (4, 3)
    assert owner == "user0"
    assert closed["owner"] in (None, "")
    assert (closed["domain"], len(closed["addresses"]), closed["notes"]) == (FREE_MARKER, 1, "rack 0")
    state = books.db.row("SELECT state, claim_id FROM service WHERE external_ref = 'ord-101'")
    assert state == {"state": "closed", "claim_id": None}
    others = [books.control.server(row["server"])["owner"] for row in small[1][1:]]
    assert others == [row["login"] for row in small[1][1:]]


def test_a_server_that_was_suspended_before_us_is_resumed_by_billing(
    books: Books, small: tuple[Simulator, Rows]
) -> None:
    books.control.change_server("102", disabled=True)
    done = books.take(small[1])
    state = books.db.row("SELECT state, desired, suspended_by FROM service WHERE external_ref = 'ord-102'")
    books.ask("ord-102", JobKind.RESUME, reason="billing")

    assert "suspended" in done.lines[1].says
    assert state == {"state": "suspended", "desired": "suspended", "suspended_by": ["billing"]}
    assert books.control.server("102")["disabled"] is False
    assert link_states(books, "102") == [True]


def test_a_server_that_changed_hands_after_the_import_is_not_touched(
    books: Books, small: tuple[Simulator, Rows]
) -> None:
    books.take(small[1])
    books.control.change_server("101", owner="user1")
    asked, _ = books.site.life.wish(
        "panel", "ord-101", Wish(JobKind.CLOSE), by="cli anna", policies=books.site.policies
    )
    books.control.clear_journal()
    books.site.run(lambda: bool(books.db.value("SELECT count(*) FROM attempt WHERE state = 'held'")), seconds=120)

    assert books.mutating() == []
    assert "not the customer's any more" in books.db.value(
        "SELECT reason FROM attempt WHERE job_id = %(job)s", job=asked.job_id
    )


def test_notes_are_written_when_they_are_asked_for_one_edit_a_server_the_owner_kept(
    books: Books, small: tuple[Simulator, Rows]
) -> None:
    rows = small[1]
    books.take(rows[:1])
    first = books.take(rows, notes=True)
    looked = books.mutating()
    again = books.take(rows, notes=True)
    jobs = [row["id"] for row in books.db.rows("SELECT id FROM job")]
    books.site.run(books.site.ended(*jobs), seconds=120)
    later = books.take(rows, notes=True)

    assert looked == []
    assert [found.notes for found in (first, again, later)] == [4, 0, 0]
    assert {row["state"] for row in books.db.rows("SELECT state FROM job")} == {"succeeded"}
    assert books.mutating() == ["server.edit"] * 4
    tokens = {row["server_ref"]: row["note_token"] for row in books.db.rows("SELECT server_ref, note_token FROM claim")}
    for n, row in enumerate(rows):
        server = books.control.server(row["server"])
        assert server["owner"] == row["login"]
        assert server["notes"] == f"rack {n}\n{tokens[row['server']]}"
    assert books.db.value("SELECT count(*) FROM address WHERE state = 'live'") == 4


def test_the_same_order_under_an_adopted_reference_is_refused(books: Books, small: tuple[Simulator, Rows]) -> None:
    books.take(small[1])

    with pytest.raises(Exception, match="was ordered before with other content"):
        books.site.order("ord-101", customer_ref="c-user0", login="user0", hostname="s101.example.net")
    assert books.stored()["job"] == 0


# --- what is in the way -------------------------------------------------------------------------------------------


def test_a_place_that_is_away_is_named_and_the_others_are_adopted(books: Books, small: tuple[Simulator, Rows]) -> None:
    class Away:
        def list_servers(self) -> None:
            raise Unreachable("no route", system="dc2", operation="server")

    books.site.connect("dc2", driver=Away())  # type: ignore[arg-type]  # it is asked for nothing else
    elsewhere = line("900", "user0", connection="dc2")
    done = books.take([*small[1], elsewhere])

    assert (done.adopted, done.unread) == (4, 1)
    assert done.lines[-1].says == "dc2 can't be read: server via dc2: no route"


def test_a_paused_place_is_not_called(books: Books, small: tuple[Simulator, Rows]) -> None:
    books.db.rows("UPDATE connection SET state = 'paused', paused_by = 'hand'")
    done = books.take(small[1])

    assert (done.unread, books.control.journal()) == (4, [])
    assert done.lines[0].says == "dc1 is paused: nothing is called there; resume it first"


def test_nothing_is_adopted_while_the_installation_is_halted(books: Books, small: tuple[Simulator, Rows]) -> None:
    InstallationStore(books.db).halt("the database went back")

    assert books.take(small[1], dry_run=True).adopted == 4
    with pytest.raises(Exception, match="nothing is adopted until a person has looked: the database went back"):
        books.take(small[1])
    assert books.stored()["service"] == 0


def test_whoever_comes_second_is_told_what_the_first_did(books: Books, small: tuple[Simulator, Rows]) -> None:
    """Both have judged when the first writes."""
    rows = small[1]
    slow = books.adoptions.adopt
    moved: list[int] = []

    def first_another(one: Adoption, *, panel: str, by: str) -> bool:
        if not moved:
            moved.append(1)
            other = [*rows[:2], line("103", "user0", external_ref="other")]
            moved.append(books.take(other).adopted)
        return slow(one, panel=panel, by=by)

    books.adoptions.adopt = first_another  # type: ignore[method-assign]
    done = books.take(rows)

    assert moved == [1, 3]
    assert [one.verdict for one in done.lines] == ["already", "already", "contradicts", "adopt"]
    assert done.lines[2].says == "the server is bound already: to service other of panel (handed)"
    assert (books.stored()["service"], books.stored()["claim"]) == (4, 4)


# --- as a person and a panel ask for it ---------------------------------------------------------------------------

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, database_url: str, tmp_path: Path) -> Path:
    key = tmp_path / "secret.key"
    monkeypatch.setenv("PROVISIONER_DATABASE_URL", database_url)
    monkeypatch.setenv("PROVISIONER_BROKER_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("PROVISIONER_SECRET_KEY_FILE", str(key))
    assert main.run(main.make(), ["key", "generate", str(key)]) == Code.OK
    return tmp_path


@pytest.fixture
def say(environment: Path, capsys: pytest.CaptureFixture[str]) -> Say:
    return CommandLine(capsys)


def set_up(say: Say, simulator: Simulator, folder: Path) -> None:
    password = folder / "password"
    password.write_text(simulator.admin_password)
    put = ("connection", "put", "dc1", "--url", simulator.url, "--username", simulator.admin_user)
    assert say(*put, "--password-file", str(password))[0] == Code.OK
    os = "ISPsystem__Debian-12-x86_64"
    assert say("package", "put", "small", "--type", TYPE, "--os", os, "--on", "dc1")[0] == Code.OK


def test_from_a_draft_to_an_adopted_fleet(say: Say, small: tuple[Simulator, Rows], tmp_path: Path) -> None:
    set_up(say, small[0], tmp_path)
    file, report = tmp_path / "sold.csv", tmp_path / "report.csv"
    code, text, _ = say("import", "--draft", "dc1")
    drafted = list(csv.DictReader(text.splitlines()))
    for row in drafted:
        row |= {"external_ref": f"ord-{row['server']}", "customer_ref": f"c-{row['login']}"}
    drafted[3]["login"] = "user0"
    file.write_bytes(b"\xef\xbb\xbf" + as_csv(drafted))

    dry, said, _ = say("import", str(file), "--panel", "bill", "--dry-run")
    done, told, _ = say("import", str(file), "--panel", "bill", "--progress", "--report", str(report))
    shown = json.loads(say("service", "show", "ord-101", "--json")[1])
    left = list(csv.DictReader(say("import", "--draft", "dc1")[1].splitlines()))

    assert (code, [row["package"] for row in drafted]) == (Code.OK, ["small"] * 4)
    assert (dry, done) == (Code.REFUSED, Code.REFUSED)
    assert "line 2, ord-101: adopt: server 101 of dc1, s101.example.net, for user" in said
    assert "3 would be adopted, 0 were in our books before, 1 contradict" in said
    assert "nothing was changed" in said
    assert "line 5, ord-104: contradicts: " in told
    assert "the server's owner is user1, not user0" in told
    assert "3 adopted, 0 were in our books before, 1 contradict" in told
    assert [row["verdict"] for row in csv.DictReader(report.read_text().splitlines())] == ["adopt"] * 3 + [
        "contradicts"
    ]
    assert (shown["panel"], shown["state"], shown["server"]["server"]) == ("bill", "active", "101")
    assert [row["server"] for row in left] == ["104"]


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ((), Code.REFUSED, "give a file, or --draft and a connection"),
        (("no-such-file.csv",), Code.FAILED, "No such file or directory"),
        (("--draft", "dc9"), Code.NOT_FOUND, "there is no connection 'dc9'"),
    ],
)
def test_a_wrong_line_is_one_sentence(say: Say, words: tuple[str, ...], code: Code, sentence: str) -> None:
    ended, _, err = say("import", *words)

    assert (ended, err.count("\n")) == (code, 1)
    assert sentence in err


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "line 1: the file is empty"),
        (b"user,server\n", "line 1, column 1: no column is called 'user'"),
        (",".join(NEEDED).encode() + b"\ndc1,101,small,o,c,\xff\n", "line 2, column 19: it is not UTF-8"),
        (",".join(NEEDED).encode() + b"\ndc1,101,small,o,c,a\x00\n", "line 2, column 20: a NUL character"),
    ],
)
def test_a_file_that_cant_be_read_changes_nothing(say: Say, tmp_path: Path, data: bytes, sentence: str) -> None:
    file = tmp_path / "sold.csv"
    file.write_bytes(data)
    ended, _, err = say("import", str(file))

    assert (ended, err.count("\n")) == (Code.REFUSED, 1)
    assert sentence in err


def test_a_file_of_100_mb_is_refused_without_being_read(say: Say, tmp_path: Path) -> None:
    file = tmp_path / "sold.csv"
    with file.open("wb") as opened:
        opened.truncate(100 * 1024 * 1024)
    ended, _, err = say("import", str(file))

    assert ended == Code.REFUSED
    assert "the file is larger than 4 MiB; cut it, each part with the line of columns" in err


def test_an_import_that_is_killed_is_given_again(
    say: Say, big: tuple[Simulator, Rows], tmp_path: Path, site: Site
) -> None:
    set_up(say, big[0], tmp_path)
    file = tmp_path / "sold.csv"
    file.write_bytes(as_csv(big[1][:1000]))
    big[0].control.clear_journal()

    with subprocess.Popen(
        [sys.executable, "-m", "provisioner", "import", str(file)], env=dict(os.environ), stdout=subprocess.DEVNULL
    ) as running:
        while not site.database.value("SELECT count(*) FROM service"):
            assert running.poll() is None
            time.sleep(0.002)
        running.send_signal(signal.SIGKILL)
    came_to = site.database.value("SELECT count(*) FROM service")
    ended, out, _ = say("import", str(file))

    assert 0 < came_to < 1000
    assert ended == Code.OK
    assert f"{1000 - came_to} adopted, {came_to} were in our books before, 0 contradict" in out
    whole = site.database.row(
        "SELECT count(*) AS n, count(DISTINCT cl.server_ref) AS servers, bool_and(cl.state = 'handed' AND s.claim_id "
        "= cl.id AND s.account_id IS NOT NULL) AS whole FROM service s JOIN claim cl ON cl.service_id = s.id"
    )
    assert whole == {"n": 1000, "servers": 1000, "whole": True}
    assert [call["func"] for call in big[0].control.journal() if call["mutating"]] == []


# --- over HTTP ----------------------------------------------------------------------------------------------------


@pytest.fixture
def api(database_url: str) -> Iterator[Served]:
    with serve(database_url) as served:
        served.sell("101", "102")
        user = served.world.add_user("user0").ref
        for server in served.world.servers.values():
            server.owner, server.domain = user, f"s{server.ref}.example.net"
        yield served


def send(api: Served, data: bytes, query: str = "", *, who: str = "admin") -> Any:  # noqa: ANN401 - an answer
    return api.call("POST", f"/v1/services/import{query}", raw=data, who=who, headers={"Content-Type": "text/csv"})


def test_the_api_takes_a_file_larger_than_any_other_body(api: Served) -> None:
    unknown = [line(str(n), "user0") for n in range(1000, 3000)]
    data = as_csv([line("101", "user0"), line("102", "user0"), *unknown])
    dry = send(api, data, "?dry_run=true").json
    done = send(api, data, "?panel=bill").json

    assert len(data) > 64 * 1024
    assert (dry["dry_run"], dry["adopted"], dry["contradicts"]) == (True, 2, 2000)
    assert (done["dry_run"], done["adopted"], done["contradicts"]) == (False, 2, 2000)
    assert done["lines"][2]["says"] == "server '1000' is not in the list of dc1"
    assert api.get("/v1/services/ord-101").json["panel"] == "bill"
    assert api.get("/v1/services/ord-101/events").json["events"][0]["kind"] == "adopted"
    assert api.world.calls(mutating=True) == []


@pytest.mark.parametrize(
    ("data", "who", "status", "sentence"),
    [
        (b"", "admin", 422, "line 1: the file is empty"),
        (b"\xff", "admin", 422, "line 1, column 1: it is not UTF-8"),
        (b"{}", "admin", 422, "line 1, column 1: no column is called '{}'"),
        (b"x" * (4 * 1024 * 1024 + 1), "admin", 413, "the body is larger than 4096 KiB"),
        (as_csv([line("101", "user0")]), "root", 422, "name the billing panel whose services these are"),
        (as_csv([line("101", "user0")]), "operator", 403, "needs a token of role admin"),
        (as_csv([line("101", "user0")]), "billing", 403, "needs a token of role admin"),
    ],
)
def test_what_the_api_refuses_is_one_sentence(api: Served, data: bytes, who: str, status: int, sentence: str) -> None:
    answer = send(api, data, who=who)

    assert (answer.status, sentence in answer.detail) == (status, True), answer.text
    assert api.ports.database.value("SELECT count(*) FROM service") == 0


def test_the_api_gives_a_file_to_begin_with(api: Served) -> None:
    answer = api.get("/v1/services/import?connection=dc1")
    drafted = list(csv.DictReader(answer.text.splitlines()))

    assert (answer.status, answer.headers["content-type"]) == (200, "text/csv; charset=utf-8")
    assert [(row["server"], row["package"], row["login"]) for row in drafted] == [
        ("101", "small", "user0"),
        ("102", "small", "user0"),
    ]
    assert api.get("/v1/services/import?connection=dc9").status == 404
    assert api.get("/v1/services/import?connection=dc1", who="billing").status == 403

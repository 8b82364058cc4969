"""Faults on order: who they strike, how often, and what a client sees of each kind."""

import contextlib
import copy
import json
import re
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import requests

from provisioner.simulators import Control, ControlError, Simulator, faults
from provisioner.simulators.faults import KINDS, FaultBook, Occasion
from tests.unit.simulators.wire import DEBIAN, Wire

ADD = {"plid": "101", "sok": "ok", "family": "ipv4"}


def lost(wire: Wire, func: str, **params: str) -> bool:
    try:
        wire.raw(func, **params)
    except requests.ConnectionError:
        return True
    return False


def addresses(control: Control) -> int:
    return len(control.server("101")["addresses"])


# Who and how often


def test_a_copy_of_the_book_counts_by_itself() -> None:
    book = FaultBook(seed=1)
    book.add({"kind": "busy", "func": "iplist.edit", "rate": 0.5, "seed": 3})
    call = Occasion(func="iplist.edit", server="101")
    other = copy.deepcopy(book)
    drawn = [other.take_call(call) is not None for _ in range(20)]

    assert set(drawn) == {True, False}
    assert [book.take_call(call) is not None for _ in range(10)] == drawn[:10]
    assert [copy.deepcopy(book).take_call(call) is not None for _ in range(2)] == [drawn[10], drawn[10]]
    assert [book.take_call(call) is not None for _ in range(10)] == drawn[10:]


def test_a_fault_strikes_once_by_default() -> None:
    book = FaultBook(seed=1)
    book.add({"kind": "lost_after", "func": "iplist.edit"})
    call = Occasion(func="iplist.edit", server="101")

    assert [book.take_call(call) is not None for _ in range(3)] == [True, False, False]


def test_a_fault_skips_and_counts() -> None:
    book = FaultBook(seed=1)
    book.add({"kind": "refuse", "after": 1, "count": 2})

    assert [book.take_call(Occasion()) is not None for _ in range(5)] == [False, True, True, False, False]


@pytest.mark.parametrize(
    ("order", "struck"),
    [
        ({"func": "server.edit"}, True),
        ({"func": ["user", "server.edit"]}, True),
        ({"func": "server.*"}, True),
        ({"func": "user"}, False),
        ({"server": "101"}, True),
        ({"server": 101}, True),
        ({"server": "102"}, False),
        ({"login": "bill_admin"}, True),
        ({"login": "root"}, False),
        ({"mutating": True}, True),
        ({"mutating": False}, False),
    ],
)
def test_a_fault_knows_whom_it_is_for(order: dict[str, object], struck: bool) -> None:  # noqa: FBT001 - a table
    book = FaultBook(seed=1)
    book.add({"kind": "refuse", **order})

    taken = book.take_call(Occasion(func="server.edit", server="101", login="bill_admin"))

    assert (taken is not None) is struck


def test_the_view_of_a_form_is_spared_unless_asked_for() -> None:
    book = FaultBook(seed=1)
    view = Occasion(func="server.edit", mutating=False, view=True)
    book.add({"kind": "refuse", "func": "server.edit"})
    assert book.take_call(view) is None

    book.add({"kind": "refuse", "func": "server.edit", "mutating": "any"})

    assert book.take_call(view) is not None


def test_a_rate_is_drawn_for_each_object_in_its_own_order() -> None:
    def struck(servers: list[str]) -> dict[str, list[bool]]:
        book = FaultBook(seed=5)
        book.add({"kind": "refuse", "rate": 0.5})
        found: dict[str, list[bool]] = {}
        for server in servers:
            call = Occasion(func="iplist.edit", server=server, target=server)
            found.setdefault(server, []).append(book.take_call(call) is not None)
        return found

    one, other = struck(["101"] * 20 + ["102"] * 20), struck(["101", "102"] * 20)

    assert one == other
    assert 0 < sum(one["101"]) < 20


def test_a_rate_inside_the_data_centre_is_drawn_for_each_server_in_its_own_order() -> None:
    def struck(servers: list[str]) -> dict[str, list[bool]]:
        book = FaultBook(seed=5)
        book.add({"kind": "power_ignored", "rate": 0.5})
        found: dict[str, list[bool]] = {}
        for server in servers:
            found.setdefault(server, []).append(book.take(("power_ignored",), Occasion(server=server)) is not None)
        return found

    one, other = struck(["101"] * 20 + ["102"] * 20), struck(["101", "102"] * 20)

    assert one == other
    assert one["101"] != one["102"]


@pytest.mark.parametrize(
    "order",
    [
        {"kind": "earthquake"},
        {"kind": "slow", "wings": 2},
        {"kind": "slow", "rate": 2},
        {"kind": "slow", "count": -1},
        {"kind": "slow", "after": "soon"},
        {"kind": "foreign"},
        {"kind": "foreign", "set": {"colour": "red"}},
        {"kind": "garbage", "variant": "poetry"},
        {"kind": "cut", "variant": "poetry"},
        {"kind": "stale", "flags": ["happy"]},
        {"kind": "stale"},
    ],
)
def test_a_fault_that_cannot_be_is_refused_with_a_sentence(control: Control, order: dict[str, object]) -> None:
    kind = str(order.pop("kind"))

    with pytest.raises(ControlError, match=" "):
        control.add_fault(kind, **order)
    assert control.faults() == []


def test_faults_are_listed_and_dropped(control: Control) -> None:
    first, second = control.add_fault("hang"), control.add_fault("slow", delay=1)
    assert [fault["id"] for fault in control.faults()] == [first["id"], second["id"]]

    control.remove_fault(first["id"])

    assert [fault["kind"] for fault in control.faults()] == ["slow"]
    assert control.clear_faults() == 1
    with pytest.raises(ControlError, match="no fault"):
        control.remove_fault(first["id"])


def test_every_kind_is_described_in_the_readme() -> None:
    text = (Path(faults.__file__).parent / "README.md").read_text(encoding="utf-8")

    assert [kind for kind in KINDS if f"`{kind}`" not in text] == []


def test_every_example_of_the_readme_is_taken(control: Control) -> None:
    text = (Path(faults.__file__).parent / "README.md").read_text(encoding="utf-8")
    examples = [json.loads(item) for item in re.findall(r'\{"kind".*\}(?=[`\'])', text)]
    control.add_user("rival", "rival-secret")

    taken = {control.add_fault(**order)["kind"] for order in examples}

    assert len(KINDS) - len(taken) <= 1  # early and late failure of an install share a line


# On the wire


def test_a_refusal_says_what_it_was_told(wire: Wire, control: Control) -> None:
    control.add_fault("refuse", func="iplist.edit", type="device", object="switch", report=True)

    error = wire.doc("iplist.edit", **ADD)["error"]

    assert (error["$type"], error["$object"], error["$report"]) == ("device", "switch", "yes")
    assert addresses(control) == 1
    assert wire.error("iplist.edit", **ADD) == ""


def test_an_internal_error_is_the_default_refusal(wire: Wire, control: Control) -> None:
    control.add_fault("refuse", func="server", report=True)

    assert wire.error("server") == "xml/xpath"
    assert wire.error("server") == ""


def test_busy_uses_the_words_that_were_set(wire: Wire, control: Control) -> None:
    control.add_fault("busy", func="server.poweron")
    control.add_fault("busy", func="server.poweron", type="conflict", object="x")

    assert wire.error("server.poweron", elid="101") == "locked/server"
    assert wire.error("server.poweron", elid="101") == "conflict/x"


def test_lost_before_did_nothing(wire: Wire, control: Control) -> None:
    control.add_fault("lost_before", func="iplist.edit")

    assert lost(wire, "iplist.edit", **ADD)
    assert addresses(control) == 1
    assert not control.journal()[-1]["effect"]


def test_lost_after_did_it(wire: Wire, control: Control) -> None:
    control.add_fault("lost_after", func="iplist.edit")

    assert lost(wire, "iplist.edit", **ADD)
    assert addresses(control) == 2
    entry = control.journal()[-1]
    assert (entry["outcome"], entry["effect"], entry["fault"]) == ("lost", True, "lost_after")


def test_slow_does_it_at_once_and_answers_late(wire: Wire, control: Control) -> None:
    control.add_fault("slow", func="iplist.edit", delay=30)
    wire.timeout = 0.5

    with pytest.raises(requests.ReadTimeout):
        wire.raw("iplist.edit", **ADD)
    assert addresses(control) == 2


def test_slow_answers_in_the_end(wire: Wire, control: Control) -> None:
    control.add_fault("slow", func="iplist.edit", delay=0.2)
    began = time.monotonic()

    assert wire.error("iplist.edit", **ADD) == ""
    assert time.monotonic() - began >= 0.2


def test_drip_sends_one_byte_at_a_time(wire: Wire, control: Control) -> None:
    control.add_fault("drip", func="iplist.edit", interval=0.0005)
    began = time.monotonic()

    assert wire.error("iplist.edit", **ADD) == ""
    assert time.monotonic() - began > 0.1


def test_a_drip_outlives_a_clients_read_timeout(wire: Wire, control: Control) -> None:
    control.add_fault("drip", func="user", interval=0.004)
    wire.timeout = 1.0
    began = time.monotonic()

    assert wire.rows("user")
    assert time.monotonic() - began > 1.0


def test_late_says_ok_and_does_it_later(wire: Wire, control: Control) -> None:
    control.add_fault("late", func="iplist.edit", delay=20)

    answer = wire.ok("iplist.edit", **ADD)

    assert answer["ip"]["$"]
    assert addresses(control) == 1
    assert not control.journal()[-1]["effect"]
    control.advance(20)
    assert addresses(control) == 2
    assert control.journal()[-1]["effect"]


def test_what_was_taken_late_comes_true_though_the_session_ended(sim: Simulator, wire: Wire, control: Control) -> None:
    session = wire.anonymous("auth", username=sim.admin_user, password=sim.admin_password)["auth"]["$"]
    control.add_fault("late", func="iplist.edit", delay=20)
    assert "error" not in wire.anonymous("iplist.edit", auth=session, **ADD)

    control.stop_panel()
    control.start_panel()
    control.revoke()
    control.advance(20)

    assert addresses(control) == 2


def test_late_refuses_what_would_be_refused(wire: Wire, control: Control) -> None:
    control.add_fault("late", func="iplist.edit", delay=1)

    assert wire.error("iplist.edit", **ADD | {"family": "ipv9"}) == "value/family"


def test_silent_says_ok_and_never_does_it(wire: Wire, control: Control) -> None:
    control.add_fault("silent", func="server.operations")

    assert "ok" in wire.install()
    control.advance(1000)
    assert control.server("101")["installs"] == 0


@pytest.mark.parametrize(
    ("variant", "status"),
    [("html", 200), ("truncated_xml", 200), ("empty", 200), ("http500", 500), ("http502", 502), ("login_page", 200)],
)
def test_garbage_is_no_document(wire: Wire, control: Control, variant: str, status: int) -> None:
    control.add_fault("garbage", func="iplist.edit", variant=variant)

    answer = wire.raw("iplist.edit", out="xml", **ADD)

    assert answer.status_code == status
    with contextlib.suppress(ET.ParseError):
        assert ET.fromstring(answer.content).tag != "doc"  # noqa: S314 - our own simulator's
    assert addresses(control) == 1


def test_garbage_may_come_after_the_deed(wire: Wire, control: Control) -> None:
    control.add_fault("garbage", func="iplist.edit", variant="http502", effect=True)

    wire.raw("iplist.edit", **ADD)

    assert addresses(control) == 2


def test_a_short_body_breaks_the_transport(wire: Wire, control: Control) -> None:
    control.add_fault("garbage", func="server", variant="short_body")

    with pytest.raises(requests.RequestException):
        wire.raw("server", out="xml")


def test_an_expired_session_is_an_error_document(wire: Wire, control: Control) -> None:
    control.add_fault("garbage", func="server", variant="expired_session")

    assert wire.error("server") == "auth/session"


def test_hang_never_answers(wire: Wire, control: Control) -> None:
    control.add_fault("hang", func="iplist.edit", effect=True)
    wire.timeout = 0.5

    with pytest.raises(requests.ReadTimeout):
        wire.raw("iplist.edit", **ADD)
    assert addresses(control) == 2


def test_a_cut_list_lacks_rows_that_it_counts(wire: Wire, control: Control) -> None:
    control.add_fault("cut", func="server", rows=3)

    answer = wire.ok("server")

    assert [row["id"]["$"] for row in answer["elem"]] == ["101"]
    assert answer["p_elems"]["$"] == "4"


def test_a_cut_list_lacks_a_field_everywhere(wire: Wire, control: Control) -> None:
    control.add_fault("cut", func="server", variant="field", field="hostname")

    assert all("hostname" not in row for row in wire.rows("server"))


@pytest.mark.parametrize("variant", ["rows", "field", "row"])
def test_the_list_after_a_cut_one_is_whole(wire: Wire, control: Control, variant: str) -> None:
    before = wire.rows("server")
    control.add_fault("cut", func="server", variant=variant)

    assert wire.rows("server") != before
    assert wire.rows("server") == before


def test_a_cut_list_has_one_ill_row(wire: Wire, control: Control) -> None:
    control.add_fault("cut", func="server", variant="row", row=1)

    assert [sorted(row)[:1] for row in wire.rows("server")].count(["name"]) == 1


def test_authinfo_can_be_forbidden_while_sessions_work(wire: Wire, control: Control, sim: Simulator) -> None:
    control.add_fault("authinfo_forbidden")
    session = wire.anonymous("auth", username=sim.admin_user, password=sim.admin_password)["auth"]["$"]

    assert wire.error("server") == "access/authinfo"
    assert wire.error("server", auth=session) == ""


def test_a_panel_restarts_in_the_middle_of_a_call(wire: Wire, control: Control) -> None:
    control.add_fault("panel_restart", func="server.operations", seconds=0.2)

    with pytest.raises(requests.ConnectionError):
        wire.install()
    assert control.server("101")["installs"] == 1
    assert _back(wire, 5)


def _back(wire: Wire, limit: float) -> bool:
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if not lost(wire, "rack"):
            return True
    return False


# In the data centre


@pytest.mark.parametrize("kind", ["install_fails_early", "install_fails_late"])
def test_an_install_fails(wire: Wire, control: Control, kind: str) -> None:
    control.add_fault(kind, server="101")
    wire.ok("server.enable", elid="101")
    wire.install()
    assert "install_in_progress" in wire.row()

    control.advance(0.5 if kind == "install_fails_early" else 9.5)

    assert "operation_failed" in wire.row()
    assert "install_in_progress" not in wire.row()


def test_an_install_hangs_until_it_is_cancelled(wire: Wire, control: Control) -> None:
    control.add_fault("install_hangs", server="101")
    wire.ok("server.enable", elid="101")
    wire.install()
    control.advance(100_000)
    assert "install_in_progress" in wire.row()

    wire.ok("server.opercancel", elid="101")

    assert "install_in_progress" not in wire.row()


def test_an_install_ends_with_a_silent_host(wire: Wire, control: Control) -> None:
    control.add_fault("install_silent", server="101")
    wire.ok("server.enable", elid="101")
    wire.install()
    wire.row()

    control.advance(10)

    truth = control.server("101")
    assert truth["template"] == DEBIAN
    assert not truth["host"]["answers"]


def test_a_host_comes_back_with_its_old_key(wire: Wire, control: Control) -> None:
    wire.ok("server.enable", elid="101")
    old = control.change_server("101", owner="bill_admin", template=DEBIAN)["host_key"]
    control.add_fault("install_old_key", server="101")
    wire.install()
    wire.row()
    control.advance(10)
    assert control.server("101")["host_key"] == old

    wire.install()
    wire.row()
    control.advance(10)

    assert control.server("101")["host_key"] != old


def test_a_host_reboots_for_ever(wire: Wire, control: Control) -> None:
    control.add_fault("install_reboot_loop", server="101")
    wire.ok("server.enable", elid="101")
    wire.install()
    wire.row()
    control.advance(10)

    seen = []
    for _ in range(4):
        seen.append(control.server("101")["host"]["answers"])
        control.advance(1)

    assert seen == [True, False, True, False]


def test_a_known_template_is_refused_for_a_type(wire: Wire, control: Control) -> None:
    control.add_fault("template_refused", template=DEBIAN, server_type="HP-E3-16G")

    assert wire.install("101")["error"]["$object"] == "ostemplate"
    assert "ok" in wire.install("102")


def test_a_power_call_fails_at_the_bmc(wire: Wire, control: Control) -> None:
    control.add_fault("power_error", server="101", act="on")
    wire.ok("server.poweron", elid="101")
    assert {"powererror", "poweroff"} <= set(wire.row())

    wire.ok("server.poweron", elid="101")

    assert "powererror" not in wire.row()
    assert "poweron" in wire.row()


def test_a_power_call_is_ignored(wire: Wire, control: Control) -> None:
    control.add_fault("power_ignored", server="101")

    wire.ok("server.poweron", elid="101")

    assert "poweroff" in wire.row()


def test_a_server_never_shows_a_power_flag(wire: Wire, control: Control) -> None:
    control.add_fault("power_unknown", server="101")

    wire.ok("server.poweron", elid="101")

    assert not {"poweron", "poweroff"} & set(wire.row("101"))
    assert "poweroff" in wire.row("102")


def test_a_link_gets_stuck(wire: Wire, control: Control) -> None:
    control.add_fault("link_stuck", server="101")
    link = wire.switch_link()
    wire.ok("server.connection.on", plid="101", elid=link)
    control.advance(100_000)
    assert "func_in_progress" in wire.rows("server.connection", elid="101")[0]

    wire.ok("server.connection.on", plid="101", elid=link)

    assert "func_in_progress" not in wire.rows("server.connection", elid="101")[0]


def test_a_port_is_on_without_a_carrier(wire: Wire, control: Control) -> None:
    control.add_fault("link_dead", server="101")
    control.change_server("101", owner="bill_admin", power="on", template=DEBIAN)

    wire.ok("server.connection.on", plid="101", elid=wire.switch_link())

    assert not control.server("101")["host"]["answers"]


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_one_family_runs_out(wire: Wire, control: Control, family: str) -> None:
    control.add_fault("pool_empty", family=family)
    other = {"ipv4": "ipv6", "ipv6": "ipv4"}[family]

    assert wire.error("iplist.edit", **ADD | {"family": family}) == "limit/ip"
    assert wire.error("iplist.edit", **ADD | {"family": other}) == ""


def test_an_address_comes_from_outside(wire: Wire, control: Control) -> None:
    control.add_fault("pool_outside")

    outside = wire.ok("iplist.edit", **ADD)["ip"]["$"]
    inside = wire.ok("iplist.edit", **ADD)["ip"]["$"]

    assert outside.split(".")[2] == "250"
    assert inside.split(".")[2] == "128"


def test_a_foreign_hand_takes_the_server_before_the_second_change(wire: Wire, control: Control) -> None:
    control.add_user("rival", "rival-secret")
    control.add_fault("foreign", server="101", after=1, set={"owner": "rival", "notes": "mine"})
    wire.edit(owner="5", notes="claim-1")
    assert control.server("101")["owner"] == "bill_admin"

    wire.ok("server.enable", elid="101")

    assert control.server("101")["owner"] == "rival"
    assert control.server("101")["notes"] == "mine"


def test_hardware_trouble_comes_up_in_the_middle(wire: Wire, control: Control) -> None:
    control.add_fault("hwproblem", server="101", func="server.poweron")

    wire.ok("server.poweron", elid="101")

    assert "hwproblem" in wire.row()


def test_stale_flags_are_up_at_once_and_stay(wire: Wire, control: Control) -> None:
    control.add_fault(
        "stale", server="101", flags=["operation_failed", "install_in_progress", "powererror", "link_in_progress"]
    )
    control.advance(100_000)

    assert {"operation_failed", "install_in_progress", "powererror"} <= set(wire.row())
    assert "func_in_progress" in wire.rows("server.connection", elid="101")[0]
    assert wire.install()["error"]["$type"] == "locked"

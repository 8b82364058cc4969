"""The control side: truth, foreign hand, journal, clock, settings, panel, invariants."""

import hashlib
import re
import time

import pytest
import requests

from provisioner.simulators import Control, ControlError, Simulator
from tests.unit.simulators.wire import DEBIAN, PASSWORD, Wire


def test_the_truth_holds_everything(control: Control) -> None:
    world = control.world()

    assert {"servers", "users", "pools", "types", "templates", "settings", "pending", "now"} <= set(world)
    assert {user["name"]: user["level"] for user in world["users"]} == {"root": 30, "bill_admin": 29}
    assert {pool["family"] for pool in world["pools"]} == {"ipv4", "ipv6"}
    assert [link["type"] for link in world["servers"][0]["links"]] == ["Switch", "IPMI", "PDU"]


def test_the_root_password_is_known_by_its_digest(wire: Wire, control: Control) -> None:
    wire.ok("server.enable", elid="101")
    wire.install()
    wire.row()
    control.advance(10)

    assert control.server("101")["root_password_sha256"] == hashlib.sha256(PASSWORD.encode()).hexdigest()


def test_the_foreign_hand_changes_any_fact(wire: Wire, control: Control) -> None:
    control.add_user("rival", "rival-secret")

    control.change_server(
        "101", owner="rival", notes="x", domain="r.example.org", power="on", blocked=True, hwproblem=True
    )

    assert {"poweron", "blocked", "hwproblem"} <= set(wire.row())
    assert (wire.row()["owner"], wire.row()["hostname"]) == ("rival", "r.example.org")


@pytest.mark.parametrize(
    "facts",
    [{"colour": "red"}, {"owner": "nobody"}, {"power": "maybe"}, {"disabled": "yes"}, {"links": [{"id": "1"}]}],
)
def test_facts_that_cannot_be_are_refused(control: Control, facts: dict[str, object]) -> None:
    with pytest.raises(ControlError, match="101"):
        control.change_server("101", **facts)


def test_servers_come_and_go(wire: Wire, control: Control) -> None:
    made = control.add_server(type="NEW-TYPE", id="777", name="Z1", notes="fresh", mac="02:00:5E:00:00:09")
    assert (made["id"], made["name"], made["notes"]) == ("777", "Z1", "fresh")
    assert "NEW-TYPE" in {row["name"] for row in wire.rows("chassistempl")}

    control.remove_server("777")

    assert "777" not in {row["id"] for row in wire.rows("server")}
    with pytest.raises(ControlError, match="no server '777'"):
        control.server("777")


def test_the_journal_keeps_calls_and_no_secrets(wire: Wire, control: Control, sim: Simulator) -> None:
    wire.ok("server.enable", elid="101")
    wire.install()
    wire.error("iplist", elid="999")

    calls = control.journal()

    assert [call["func"] for call in calls] == ["server.enable", "server.operations", "iplist"]
    assert [call["mutating"] for call in calls] == [True, True, False]
    assert [call["effect"] for call in calls] == [True, True, False]
    assert [call["outcome"] for call in calls] == ["ok", "ok", "error missed/elid"]
    assert [call["server"] for call in calls] == ["101", "101", "999"]
    assert {call["user"] for call in calls} == {"bill_admin"}
    assert {call["peer"] for call in calls} == {"127.0.0.1"}
    assert PASSWORD not in str(calls)
    assert sim.admin_password not in str(calls)


def test_the_journal_is_read_on_from_a_number_and_cleared(wire: Wire, control: Control) -> None:
    wire.rows("rack")
    last = control.journal()[-1]["n"]
    wire.rows("user")

    assert [call["func"] for call in control.journal(after=last)] == ["user"]
    assert control.clear_journal() == 2
    assert control.journal() == []
    wire.rows("pdu")
    assert control.journal()[0]["n"] == last + 2


def test_views_of_forms_are_not_mutating(wire: Wire, control: Control) -> None:
    wire.form("server.edit", elid="101")
    wire.edit(owner="5")

    assert [call["mutating"] for call in control.journal()] == [False, False, True]


def test_the_clock_freezes_runs_and_jumps(control: Control) -> None:
    before = control.freeze()["now"]
    assert control.advance(100) == {"now": before + 100, "frozen": True, "speed": 1.0}

    assert not control.resume()["frozen"]
    assert control.world()["now"] > before + 100


def test_the_clock_does_not_go_back(control: Control) -> None:
    with pytest.raises(ControlError, match="seconds"):
        control.advance(-1)


def test_a_change_of_speed_hurries_what_is_pending(wire: Wire, control: Control) -> None:
    control.set(power=None)
    wire.ok("server.poweron", elid="101")
    world = control.world()
    rest = world["pending"][0]["due"] - world["now"]

    control.speed(10)

    world = control.world()
    assert world["pending"][0]["due"] - world["now"] == pytest.approx(rest / 10)


def test_effects_happen_without_any_call(wire: Wire, control: Control) -> None:
    control.set(power=0.05)
    control.resume()

    wire.ok("server.poweron", elid="101")

    assert control.wait_for("101", lambda server: server["power"] == "on", timeout=5)


def test_waiting_in_vain_says_so(control: Control) -> None:
    with pytest.raises(ControlError, match="did not become so"):
        control.wait_for("101", lambda _server: False, timeout=0.1)


@pytest.mark.parametrize(
    "settings",
    [{"colour": 1}, {"speed": 0}, {"install": -1}, {"latency": "some"}, {"durations": 3}, {"free_autoshutdown": 1}],
)
def test_settings_that_cannot_be_are_refused(control: Control, settings: dict[str, object]) -> None:
    before = control.settings()

    with pytest.raises(ControlError):
        control.set(**settings)
    assert control.settings() == before


def test_settings_are_set_and_reset(control: Control) -> None:
    assert control.set(install=[1, 2], durations={"power": 3})["durations"]["install"] == [1, 2]

    assert "install" not in control.set(install=None)["durations"]


@pytest.mark.parametrize("mode", ["refused", "reset"])
def test_a_stopped_panel_is_away_and_keeps_its_port(wire: Wire, control: Control, sim: Simulator, mode: str) -> None:
    session = wire.anonymous("auth", username=sim.admin_user, password=sim.admin_password)["auth"]["$"]
    wire.ok("server.poweron", elid="101")

    control.stop_panel(mode)
    with pytest.raises(requests.ConnectionError):
        wire.raw("rack")
    control.start_panel()

    assert "poweron" in wire.row()
    assert wire.error("rack", auth=session) == "auth/session"


def test_a_panel_comes_back_by_itself(wire: Wire, control: Control) -> None:
    control.restart_panel(0.1)
    with pytest.raises(requests.ConnectionError):
        wire.raw("rack")

    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            assert wire.rows("rack")
        except requests.ConnectionError:
            continue
        return
    pytest.fail("the panel did not come back")


def test_unknown_paths_and_methods_are_said(sim: Simulator) -> None:
    base = sim.control.url

    assert requests.get(f"{base}/nowhere", timeout=5).status_code == 404
    assert requests.put(f"{base}/world", timeout=5).status_code == 405
    assert requests.post(f"{base}/faults", data="[]", timeout=5).status_code == 400
    assert requests.get(f"{base}/dcimgr", timeout=5).status_code == 404


def test_a_control_side_that_is_away_is_said() -> None:
    with Simulator(servers=1) as simulator:
        control = simulator.control
        assert control.healthy()

    assert not control.healthy()
    with pytest.raises(ControlError, match="no answer"):
        control.world()


# Invariants


def rules(control: Control) -> set[str]:
    return {item["rule"] for item in control.invariants()}


def test_a_new_data_centre_is_well(control: Control) -> None:
    assert control.invariants() == []


def test_an_order_that_went_well_leaves_nothing_to_complain_of(wire: Wire, control: Control) -> None:
    user = control.add_user("ivanov", "ivanov-secret")["id"]
    wire.edit(owner="5", notes="order:1")
    row = wire.rows("iplist", elid="101")[0]["id"]
    wire.ok("iplist.edit", plid="101", elid=row, sok="ok", domain="s1.example.org")
    wire.ok("iplist.edit", plid="101", sok="ok", family="ipv4", domain="s1.example.org")
    wire.ok("server.enable", elid="101")
    wire.install()
    wire.row()
    control.advance(10)
    wire.edit(owner=user)

    assert control.invariants() == []


def test_two_tokens_on_one_server(control: Control) -> None:
    control.change_server("101", owner="bill_admin", notes="order:1\norder:2", disabled=True)

    assert rules(control) == {"two_orders_on_one_server"}
    assert control.invariants(token_pattern="ticket-[0-9]+") == []
    with pytest.raises(ControlError):
        control.invariants(token_pattern="(")


def test_one_token_on_two_servers(control: Control) -> None:
    for server in ("101", "103"):
        control.change_server(server, owner="bill_admin", notes="order:1", disabled=True)

    assert rules(control) == {"one_order_on_two_servers"}


def test_one_address_on_two_servers(control: Control) -> None:
    control.change_server("101", ip=control.server("102")["ip"])

    assert rules(control) == {"one_address_on_two_servers"}


def test_a_free_server_keeps_addresses(control: Control) -> None:
    control.change_server("101", add_alias="ipv4")

    assert rules(control) == {"free_server_keeps_addresses"}


def test_nobody_owns_a_named_server(control: Control) -> None:
    control.change_server("101", domain="s1.example.org")

    assert rules(control) == {"nobody_owns_a_named_server"}


def test_an_unfinished_quarantine(control: Control) -> None:
    control.change_server("101", owner="bill_admin")
    assert rules(control) == {"unfinished_quarantine"}

    control.change_server("101", notes="disk broken", disabled=True)

    assert control.invariants() == []


def test_a_server_is_sold_over_the_head_of_its_client(control: Control) -> None:
    for name in ("ivanov", "petrov"):
        control.add_user(name, "some-secret")
        control.change_server("101", owner=name, domain="s1.example.org")

    assert rules(control) == {"sold_over_the_head_of_its_client"}


def test_tokens_of_usual_forms_are_found(control: Control) -> None:
    pattern = re.compile(control.settings()["token_pattern"])

    assert all(pattern.search(text) for text in ("order=12", "claim: 7f3a", "job-9", "attempt#3"))


def test_a_template_set_by_hand_answers_as_if_installed_long_ago(control: Control) -> None:
    links = [{"id": control.server("101")["links"][0]["id"], "on": True}]

    assert control.change_server("101", power="on", template=DEBIAN, links=links)["host"]["answers"]

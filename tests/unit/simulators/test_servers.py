"""The wire's functions about servers (dcimanager5.md 3.1 rows 2, 7, 10-16, 19, 21, 22, 26, 27)."""

import pytest

from provisioner.simulators import Control, Simulator
from tests.unit.simulators.wire import DEBIAN, PASSWORD, WINDOWS, Wire


def test_a_new_fleet_is_free_and_switched_off(wire: Wire) -> None:
    rows = wire.rows("server")

    assert [row["id"] for row in rows] == ["101", "102", "103", "104"]
    assert all(row["hostname"] == "free.ds" and "owner" not in row and "poweroff" in row for row in rows)
    assert [row["chassis_templ"] for row in rows] == ["HP-E3-16G", "HP-E5-64G"] * 2
    assert ["disabled" in row for row in rows] == [False, True, False, True]
    assert rows[0]["name"] == "A14R10"
    assert rows[0]["rack"] == "A14 10"


def test_every_server_has_an_address_and_a_mac_of_its_own(control: Control) -> None:
    servers = control.servers()

    assert len({server["ip"] for server in servers}) == 4
    assert len({server["mac"] for server in servers}) == 4
    assert all(server["ip"].startswith("127.") for server in servers)


def test_p_elems_counts_all_rows_also_on_a_page(wire: Wire) -> None:
    answer = wire.ok("server", p_cnt="3", p_num="2", p_col="id")

    assert [row["id"]["$"] for row in answer["elem"]] == ["104"]
    assert answer["p_elems"] == {"$": "4"}


def test_rows_are_sorted_backwards_with_a_minus(wire: Wire) -> None:
    assert [row["id"] for row in wire.rows("server", p_col="-id")] == ["104", "103", "102", "101"]


def test_a_form_without_sok_only_shows(wire: Wire, control: Control) -> None:
    form = wire.form("server.edit", elid="101", owner="5", notes="x")

    assert form["owner"] == "no_owner"
    assert form["type"] == "HP-E3-16G"
    assert form["disabled"] == "off"
    assert control.server("101")["owner"] is None


def test_the_list_names_the_owner_and_the_form_has_his_id(wire: Wire) -> None:
    wire.edit(owner="5", notes="claim-1")

    assert wire.row()["owner"] == "bill_admin"
    assert wire.form("server.edit", elid="101")["owner"] == "5"
    assert wire.form("server.edit", elid="101")["notes"] == "claim-1"


@pytest.mark.parametrize("field", ["mac", "name", "type"])
def test_an_edit_without_a_required_field_changes_nothing(wire: Wire, control: Control, field: str) -> None:
    values = {"mac": "02:00:5E:00:00:01", "name": "A14R10", "type": "HP-E3-16G", "notes": "", "owner": "5"}
    del values[field]

    assert wire.error("server.edit", elid="101", sok="ok", **values) == f"value/{field}"
    assert control.server("101")["owner"] is None


def test_an_edit_without_notes_empties_them(wire: Wire, control: Control) -> None:
    control.change_server("101", notes="do not lose me")
    seen = wire.form("server.edit", elid="101")

    wire.ok("server.edit", elid="101", sok="ok", mac=seen["mac"], name=seen["name"], type=seen["type"])

    assert control.server("101")["notes"] == ""


def test_a_panel_may_be_set_to_keep_what_is_left_out(wire: Wire, control: Control) -> None:
    control.set(edit_missing="keep", notes_missing="keep")
    control.change_server("101", notes="kept")

    wire.ok("server.edit", elid="101", sok="ok", owner="5")

    assert control.server("101")["notes"] == "kept"
    assert control.server("101")["owner"] == "bill_admin"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"mac": "zz:00"}, "value/mac"),
        ({"type": "no-such-type"}, "value/type"),
        ({"owner": "999"}, "value/owner"),
        ({"name": "x" * 65}, "value/name"),
    ],
)
def test_bad_values_of_the_form_are_refused(wire: Wire, changes: dict[str, str], error: str) -> None:
    values = {"mac": "02:00:5E:00:00:01", "name": "A14R10", "type": "HP-E3-16G", "notes": "", **changes}

    assert wire.error("server.edit", elid="101", sok="ok", **values) == error


def test_a_server_is_created_with_a_host_name_and_a_chosen_family(wire: Wire, control: Control) -> None:
    answer = wire.ok(
        "server.edit",
        sok="ok",
        name="B1",
        mac="02:00:5E:AA:00:01",
        type="HP-E3-16G",
        hostname="new.example.org",
        family="ipv4",
        ip_block="public",
    )

    made = control.server(answer["id"]["$"])
    assert made["hostname"] == "new.example.org"
    assert made["addresses"][0]["main"]


@pytest.mark.parametrize(
    "func",
    ["server.poweron", "server.poweroff", "server.reboot", "server.enable", "server.disable", "server.opercancel"],
)
def test_an_unknown_server_is_missed(wire: Wire, func: str) -> None:
    assert wire.error(func, elid="999") == "missed/elid"
    assert wire.error(func) == "missed/elid"


def test_an_id_is_a_text_and_not_a_number(wire: Wire) -> None:
    assert wire.error("server.edit", elid="0101") == "missed/elid"


def test_power_changes_only_after_its_time(wire: Wire, control: Control) -> None:
    control.set(power=30)
    assert "ok" in wire.ok("server.poweron", elid="101")

    assert "poweroff" in wire.row()
    control.advance(30)
    assert "poweron" in wire.row()
    assert "poweroff" not in wire.row()


def test_the_newest_power_request_wins(wire: Wire, control: Control) -> None:
    control.set(power=30)
    wire.ok("server.poweron", elid="101")
    control.set(power=5)
    wire.ok("server.poweroff", elid="101")

    control.advance(60)

    assert "poweroff" in wire.row()


def test_several_servers_are_named_with_a_comma(wire: Wire) -> None:
    wire.ok("server.poweron", elid="101, 102")

    assert ["poweron" in row for row in wire.rows("server")] == [True, True, False, False]


def test_one_unknown_id_among_several_stops_all(wire: Wire) -> None:
    assert wire.error("server.poweron", elid="101, 999") == "missed/elid"
    assert "poweroff" in wire.row()


def test_a_reboot_keeps_the_flag_and_silences_the_host_for_a_while(wire: Wire, control: Control) -> None:
    wire.ok("server.enable", elid="101")
    control.change_server("101", power="on", template=DEBIAN)
    wire.row()
    assert control.server("101")["host"]["answers"]
    control.set(boot=20)

    wire.ok("server.reboot", elid="101")

    assert "poweron" in wire.row()
    assert not control.server("101")["host"]["answers"]
    control.advance(20)
    assert control.server("101")["host"]["answers"]


def test_free_servers_are_switched_off_by_the_panel(wire: Wire, control: Control) -> None:
    wire.ok("server.poweron", elid="101")
    assert "poweron" in wire.row()

    control.advance(100)

    assert "poweroff" in wire.row()


def test_a_claimed_server_stays_on(wire: Wire, control: Control) -> None:
    wire.edit(owner="5")
    wire.ok("server.poweron", elid="101")

    control.advance(1000)

    assert "poweron" in wire.row()


def test_the_panel_may_be_told_to_leave_free_servers_on(wire: Wire, control: Control) -> None:
    control.set(free_autoshutdown=False)
    wire.ok("server.poweron", elid="101")

    control.advance(1000)

    assert "poweron" in wire.row()


def test_enable_takes_its_time_and_its_links_settle(wire: Wire, control: Control) -> None:
    control.set(enable=5, link_settle=9)
    wire.ok("server.enable", elid="102")
    links = wire.rows("server.connection", elid="102")

    assert "disabled" in wire.row("102")
    assert ["func_in_progress" in link for link in links] == [True, False, False]
    control.advance(5)
    assert "disabled" not in wire.row("102")
    assert "func_in_progress" in wire.rows("server.connection", elid="102")[0]
    control.advance(4)
    assert "func_in_progress" not in wire.rows("server.connection", elid="102")[0]
    assert control.server("102")["links"][0]["on"]


def test_disable_switches_the_ports_off(wire: Wire, control: Control) -> None:
    wire.ok("server.enable", elid="101")
    wire.ok("server.disable", elid="101")

    assert "disabled" in wire.row()
    assert not control.server("101")["links"][0]["on"]


def test_the_rows_of_a_connection_do_not_say_on_or_off(wire: Wire) -> None:
    kinds = {row["type"]: set(row) for row in wire.rows("server.connection", elid="101")}

    assert kinds == {kind: {"id", "type", "descr"} for kind in ("Switch", "IPMI", "PDU")}


def test_a_switch_port_goes_on_and_off(wire: Wire, control: Control) -> None:
    link = wire.switch_link()

    wire.ok("server.connection.on", plid="101", elid=link)
    wire.row()
    assert control.server("101")["links"][0]["on"]
    wire.ok("server.connection.off", plid="101", elid=link)
    wire.row()
    assert not control.server("101")["links"][0]["on"]


def test_the_parent_of_a_connection_is_plid(wire: Wire) -> None:
    link = wire.switch_link()

    assert wire.error("server.connection.on", elid=link) == "missed/plid"
    assert wire.error("server.connection.on", plid="102", elid=link) == "missed/elid"


def test_the_link_of_a_bmc_cannot_be_switched(wire: Wire) -> None:
    link = next(row["id"] for row in wire.rows("server.connection", elid="101") if row["type"] == "IPMI")

    assert wire.error("server.connection.off", plid="101", elid=link) == "value/elid"


def test_who_switches_off_the_port_of_a_bmc_loses_power_control(wire: Wire, control: Control) -> None:
    added = control.change_server("101", add_link={"type": "Switch", "descr": "BMC of A14R10", "bmc": True})
    link = added["links"][-1]["id"]
    wire.ok("server.connection.off", plid="101", elid=link)

    wire.ok("server.poweron", elid="101")

    assert {"poweroff", "powererror"} <= set(wire.row())


def test_a_connection_form_shows_port_or_address(wire: Wire) -> None:
    rows = {row["type"]: row["id"] for row in wire.rows("server.connection", elid="101")}

    assert wire.form("server.connection.edit", plid="101", elid=rows["Switch"])["port"] == "10"
    assert wire.form("server.connection.edit", plid="101", elid=rows["IPMI"])["ip"].startswith("127.")


def test_the_bmc_is_redirected_to(wire: Wire) -> None:
    assert "ipmiproxy/101" in wire.ok("ipmiredirect", elid="101")["ok"]["$"]


def test_an_install_shows_its_flag_and_then_its_template(wire: Wire, control: Control) -> None:
    control.set(install_visible=3)
    wire.ok("server.enable", elid="101")
    assert "ok" in wire.install()

    assert "install_in_progress" not in wire.row()
    control.advance(3)
    assert {"install_in_progress", "poweron"} <= set(wire.row())
    control.advance(10)
    assert not {"install_in_progress", "operation_failed"} & set(wire.row())
    truth = control.server("101")
    assert truth["template"] == DEBIAN
    assert truth["installs"] == 1
    assert truth["host"]["answers"]


def test_the_form_of_operations_lists_what_the_server_may_have(wire: Wire) -> None:
    def offered(server: str) -> set[str]:
        lists = wire.ok("server.operations", elid=server)["slist"]
        found = next(item for item in lists if item["$name"] == "ostemplate")
        return {value["$key"] for value in found["val"]}

    assert WINDOWS not in offered("101")
    assert WINDOWS in offered("102")
    assert WINDOWS in {row["id"] for row in wire.rows("osmgr")}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"passwd": "short", "confirm": "short", "checkpasswd": "short"}, "value/passwd"),
        ({"confirm": "something-else"}, "value/confirm"),
        ({"checkpasswd": "something-else"}, "value/checkpasswd"),
        ({"ostemplate": "ISPsystem__NoSuch"}, "value/ostemplate"),
        ({"ostemplate": WINDOWS}, "value/ostemplate"),
        ({"recipe": "nobody__knows"}, "value/recipe"),
        ({"operation": "dance"}, "value/operation"),
        ({"elid": "999"}, "missed/elid"),
    ],
)
def test_an_install_with_bad_values_is_refused(
    wire: Wire, control: Control, changes: dict[str, str], error: str
) -> None:
    values = {"elid": "101", "operation": "ostemplate", "ostemplate": DEBIAN, "recipe": "null"}
    values |= dict.fromkeys(("passwd", "confirm", "checkpasswd"), PASSWORD) | changes

    assert wire.error("server.operations", sok="ok", **values) == error
    assert control.server("101")["installs"] == 0


def test_a_second_install_is_refused_while_one_runs(wire: Wire, control: Control) -> None:
    wire.install()

    assert wire.install()["error"]["$type"] == "locked"
    assert control.server("101")["installs"] == 1


def test_no_power_call_disturbs_an_install(wire: Wire) -> None:
    wire.install()

    assert wire.error("server.reboot", elid="101") == "locked/server"


def test_the_words_for_busy_can_be_set(wire: Wire, control: Control) -> None:
    control.set(busy_type="conflict", busy_object="machine")
    wire.install()

    assert wire.error("server.poweroff", elid="101") == "conflict/machine"


def test_an_install_without_any_switch_port_on_fails(wire: Wire, control: Control) -> None:
    wire.install()
    wire.row()

    control.advance(10)

    assert "operation_failed" in wire.row()
    assert control.server("101")["template"] is None


def test_an_install_clears_an_old_failure(wire: Wire, control: Control) -> None:
    control.change_server("101", operation_failed=True)

    wire.install()

    assert "operation_failed" not in wire.row()


def test_a_cancelled_install_leaves_nothing_that_boots(wire: Wire, control: Control) -> None:
    wire.ok("server.enable", elid="101")
    wire.install()
    assert "install_in_progress" in wire.row()

    wire.ok("server.opercancel", elid="101")

    assert "install_in_progress" not in wire.row()
    control.advance(100)
    assert control.server("101")["template"] is None


def test_nothing_to_cancel_is_missed(wire: Wire) -> None:
    assert wire.error("server.opercancel", elid="101") == "missed/operation"


def test_a_flag_can_be_held_until_it_was_seen(wire: Wire, control: Control) -> None:
    control.set(install_flag_observations=3)
    wire.ok("server.enable", elid="101")
    wire.install()
    control.advance(10)

    seen = []
    for _ in range(4):
        seen.append("install_in_progress" in wire.row())
        control.advance(0.1)

    assert seen == [True, True, True, False]


def test_the_hint_tells_of_an_install_in_words(wire: Wire) -> None:
    answer = wire.ok("server", elid="101", clickstat="title", hint_field="install_in_progress")

    assert "installed" in answer["value"]["$"]


def test_the_error_of_a_hint_stands_on_top(wire: Wire) -> None:
    answer = wire.raw("server", elid="999", clickstat="title", hint_field="install_in_progress").json()

    assert answer["error"]["$type"] == "missed"


def test_a_release_starts_diagnostics_when_that_is_set(wire: Wire, control: Control) -> None:
    control.set(diag_on_release=True, diag_hwproblem_rate=1.0)
    wire.edit(owner="5")
    wire.edit(owner="no_owner")

    assert "diag_in_progress" in wire.row()
    control.advance(10)
    assert "diag_in_progress" not in wire.row()
    assert "hwproblem" in wire.row()


def test_the_host_name_follows_the_main_address(wire: Wire) -> None:
    row = wire.rows("iplist", elid="101")[0]["id"]

    wire.ok("iplist.edit", plid="101", elid=row, sok="ok", domain="s42.example.org")

    assert wire.row()["hostname"] == "s42.example.org"


def test_a_row_without_address_has_an_empty_cell(wire: Wire, control: Control) -> None:
    control.change_server("101", ip=None)

    assert wire.row()["ip"] == ""


def test_notes_survive_in_any_script(wire: Wire) -> None:
    wire.edit(notes='Žluťoučký kůň №2 <&> "x"\n二行目')

    assert wire.form("server.edit", elid="101")["notes"] == 'Žluťoučký kůň №2 <&> "x"\n二行目'


def test_durations_do_not_depend_on_the_order_of_calls() -> None:
    def dues(order: list[str]) -> dict[str, float]:
        with Simulator(servers=3, seed=7) as simulator, Wire(simulator) as client:
            simulator.control.freeze()
            for server in order:
                client.ok("server.poweron", elid=server)
            world = simulator.control.world()
            return {item["server"]: round(item["due"] - world["now"], 6) for item in world["pending"]}

    assert dues(["101", "102", "103"]) == dues(["103", "101", "102"])


def test_diagnostics_can_be_ordered_and_cancelled(wire: Wire, control: Control) -> None:
    wire.ok("server.operations", elid="101", sok="ok", operation="diag")
    assert "diag_in_progress" in wire.row()
    assert wire.install()["error"]["$type"] == "locked"

    wire.ok("server.opercancel", elid="101")

    assert "diag_in_progress" not in wire.row()
    control.advance(100)
    assert "hwproblem" not in wire.row()


def test_a_panel_may_refuse_power_on_disabled_servers(wire: Wire, control: Control) -> None:
    control.set(disabled_refuses_power=True)

    assert wire.error("server.poweron", elid="102") == "access/disabled"
    assert wire.error("server.poweron", elid="101") == ""


def test_a_failed_creation_leaves_no_server(wire: Wire) -> None:
    order = {"name": "B1", "mac": "02:00:5E:AA:00:01", "type": "HP-E3-16G", "family": "ipv4", "ip_block": "golden"}

    assert wire.error("server.edit", sok="ok", **order) == "value/iptype"
    assert len(wire.rows("server")) == 4


def test_the_form_of_a_new_server_is_blank(wire: Wire) -> None:
    assert wire.form("server.edit")["owner"] == "no_owner"


def test_marks_are_set_by_the_form(wire: Wire) -> None:
    wire.edit(hwproblem="on", forcelock="on")
    assert {"hwproblem", "blocked"} <= set(wire.row())

    wire.edit(hwproblem="off")

    assert "hwproblem" not in wire.row()
    assert "blocked" in wire.row()


def test_a_windows_install_takes_longer(wire: Wire, control: Control) -> None:
    wire.ok("server.enable", elid="102")
    wire.row()
    wire.install("102", WINDOWS)
    wire.row()
    control.advance(10)
    assert "install_in_progress" in wire.row("102")

    control.advance(10)

    assert control.server("102")["template"] == WINDOWS


def test_an_install_without_power_control_hangs(wire: Wire, control: Control) -> None:
    control.add_fault("power_unknown", server="101")
    wire.ok("server.enable", elid="101")
    wire.install()

    control.advance(100_000)

    assert "install_in_progress" in wire.row()


def test_an_install_without_an_address_is_refused(wire: Wire, control: Control) -> None:
    bare = control.add_server(type="HP-E3-16G", ip=None)["id"]

    assert wire.install(bare)["error"]["$object"] == "ipaddr"


def test_drawn_durations_shrink_with_the_speed() -> None:
    def rest(speed: float) -> float:
        with Simulator(servers=1, speed=speed) as simulator, Wire(simulator) as client:
            simulator.control.freeze()
            client.ok("server.poweron", elid="101")
            world = simulator.control.world()
            return float(world["pending"][0]["due"] - world["now"])

    assert rest(100) == pytest.approx(rest(1) / 100)

"""The wire's functions about addresses and networks (dcimanager5.md 3.1 rows 3, 8, 9, 20, 23, 24)."""

import ipaddress

import pytest

from provisioner.simulators import Control
from tests.unit.simulators.wire import Wire


def test_a_server_starts_with_its_main_address(wire: Wire) -> None:
    rows = wire.rows("iplist", elid="101")

    assert [row["ip"] for row in rows] == [wire.row()["ip"]]
    assert set(rows[0]) == {"id", "ip", "type", "domain", "family"}


def test_the_parent_of_a_list_is_elid(wire: Wire) -> None:
    assert wire.error("iplist", plid="101") == "missed/elid"
    assert wire.error("iplist", elid="999") == "missed/elid"


@pytest.mark.parametrize(("family", "version"), [("ipv4", 4), ("ipv6", 6)])
def test_each_allocation_takes_one_more_address(wire: Wire, family: str, version: int) -> None:
    order = {"plid": "101", "sok": "ok", "domain": "a.example.org", "iptype": "public", "family": family, "ip": ""}
    first, second = wire.ok("iplist.edit", **order), wire.ok("iplist.edit", **order)

    assert first["ip"] != second["ip"]
    assert ipaddress.ip_address(first["ip"]["$"]).version == version
    assert {first["id"]["$"], second["id"]["$"]} <= {row["id"] for row in wire.rows("iplist", elid="101")}


def test_a_chosen_address_is_given_once(wire: Wire, control: Control) -> None:
    block = control.world()["block"]
    order = {"sok": "ok", "family": "special", "ip": f"127.{block}.128.77"}

    assert wire.ok("iplist.edit", plid="101", **order)["ip"]["$"] == order["ip"]
    assert wire.error("iplist.edit", plid="102", **order) == "exists/ip"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"plid": "999"}, "missed/plid"),
        ({"plid": ""}, "missed/plid"),
        ({"iptype": "golden"}, "value/iptype"),
        ({"family": "ipv9"}, "value/family"),
        ({"domain": "not a domain"}, "value/domain"),
        ({"ip": "192.0.2.1"}, "value/ip"),
        ({"ip": "nonsense"}, "value/ip"),
        ({"family": "special"}, "value/ip"),
    ],
)
def test_bad_values_take_no_address(wire: Wire, control: Control, changes: dict[str, str], error: str) -> None:
    order = {"plid": "101", "sok": "ok", "domain": "a.example.org", "iptype": "public", "family": "ipv4", "ip": ""}

    assert wire.error("iplist.edit", **(order | changes)) == error
    assert len(control.server("101")["addresses"]) == 1


def test_a_missing_address_row_is_missed(wire: Wire) -> None:
    other = wire.rows("iplist", elid="102")[0]["id"]

    assert wire.error("iplist.edit", plid="101", elid=other, sok="ok", domain="a.example.org") == "missed/elid"
    assert wire.error("iplist.delete", plid="101", elid="1") == "missed/elid"


def test_without_sok_nothing_is_taken(wire: Wire, control: Control) -> None:
    lists = wire.ok("iplist.edit", plid="101", iptype="public", family="ipv4")["slist"]

    assert {item["$name"] for item in lists} == {"iptype", "family"}
    assert len(control.server("101")["addresses"]) == 1


def test_an_address_is_deleted_once(wire: Wire) -> None:
    row = wire.ok("iplist.edit", plid="101", sok="ok", family="ipv4")["id"]["$"]

    wire.ok("iplist.delete", plid="101", elid=row)

    assert wire.error("iplist.delete", plid="101", elid=row) == "missed/elid"
    assert len(wire.rows("iplist", elid="101")) == 1


def test_the_main_address_is_not_deleted(wire: Wire) -> None:
    row = wire.rows("iplist", elid="101")[0]["id"]

    assert wire.error("iplist.delete", plid="101", elid=row) == "value/elid"


def test_the_first_address_of_a_bare_server_becomes_its_main_one(wire: Wire, control: Control) -> None:
    bare = control.add_server(type="HP-E3-16G", ip=None)["id"]
    assert wire.row(bare)["hostname"] == "free.ds"
    assert wire.rows("iplist", elid=bare) == []
    assert "elem" not in wire.ok("iplist", elid=bare)

    added = wire.ok("iplist.edit", plid=bare, sok="ok", domain="b.example.org", family="ipv4")

    assert wire.row(bare)["ip"] == added["ip"]["$"]
    assert wire.row(bare)["hostname"] == "b.example.org"


def test_a_group_row_is_marked(wire: Wire, control: Control) -> None:
    control.change_server("101", add_group_row="127.99.0.0/29")

    assert [row["type"] for row in wire.rows("iplist", elid="101")] == ["main", "group"]


def test_an_alias_keeps_its_own_domain(wire: Wire) -> None:
    row = wire.ok("iplist.edit", plid="101", sok="ok", domain="a.example.org", family="ipv4")["id"]["$"]

    wire.ok("iplist.edit", plid="101", elid=row, sok="ok", domain="b.example.org")

    assert wire.row()["hostname"] == "free.ds"
    assert wire.form("iplist.edit", plid="101", elid=row)["domain"] == "b.example.org"


def test_an_exhausted_pool_says_so(wire: Wire, control: Control) -> None:
    block = control.world()["block"]
    control.change_pool("extra", network=f"127.{block}.128.0/30")

    assert wire.ok("iplist.edit", plid="101", sok="ok", family="ipv4")["ip"]["$"].endswith(".2")
    assert wire.error("iplist.edit", plid="101", sok="ok", family="ipv4") == "limit/ip"


def test_networks_are_listed_and_made(wire: Wire) -> None:
    assert {row["family"] for row in wire.rows("ipdb")} == {"ipv4", "ipv6"}

    made = wire.ok("ipdb.edit", sok="ok", range="127.9.0.0", netmask="255.255.255.0", gateway="127.9.0.1", iptype="lab")

    assert wire.form("ipdb.edit", elid=made["id"]["$"])["range"] == "127.9.0.0"
    assert wire.ok("iplist.edit", plid="101", sok="ok", iptype="lab")["ip"]["$"] == "127.9.0.2"
    assert wire.error("ipdb.edit", sok="ok", range="here", netmask="there") == "value/range"
    assert wire.error("ipdb.edit", elid="77") == "missed/elid"


def test_a_panel_may_allow_to_delete_the_main_address(wire: Wire, control: Control) -> None:
    control.set(main_address_delete="allow")
    row = wire.rows("iplist", elid="101")[0]["id"]
    wire.ok("iplist.edit", plid="101", elid=row, sok="ok", domain="s1.example.org")

    wire.ok("iplist.delete", plid="101", elid=row)

    assert wire.row()["ip"] == ""
    assert wire.row()["hostname"] == "s1.example.org"

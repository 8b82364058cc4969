"""The wire's functions about equipment (dcimanager5.md 3.1 rows 4 and 13, "other functions seen")."""

import pytest

from provisioner.simulators import Control
from tests.unit.simulators.wire import Wire


@pytest.mark.parametrize(
    ("func", "columns"),
    [
        ("chassistempl", {"id", "name"}),
        ("osmgr", {"id", "name"}),
        ("rack", {"id", "name"}),
        ("switch", {"id", "name", "ip", "rack", "rack_id"}),
        ("pdu", {"id", "name", "ip", "rack", "rack_id"}),
    ],
)
def test_lists_have_their_columns(wire: Wire, func: str, columns: set[str]) -> None:
    rows = wire.rows(func)

    assert rows
    assert all(set(row) == columns for row in rows)


def test_types_are_tied_to_servers_by_name(wire: Wire) -> None:
    names = {row["name"] for row in wire.rows("chassistempl")}

    assert {row["chassis_templ"] for row in wire.rows("server")} <= names


def test_ports_of_a_switch_are_switched(wire: Wire, control: Control) -> None:
    switch = wire.rows("switch")[0]["id"]
    port = wire.rows("switch.port", elid=switch)[0]
    assert set(port) == {"id", "descr", "identity", "serverhname"}

    wire.ok("switch.port.on", elid=port["id"])
    wire.rows("switch")
    assert control.server("101")["links"][0]["on"]
    wire.ok("switch.port.off", elid=port["id"])
    wire.rows("switch")
    assert not control.server("101")["links"][0]["on"]


def test_outlets_of_a_pdu_power_a_server(wire: Wire, control: Control) -> None:
    pdu = wire.rows("pdu")[0]["id"]
    outlet = wire.rows("pdu.port", elid=pdu)[0]
    assert outlet["power"] == "1"

    wire.ok("pdu.off", elid=outlet["id"])
    assert wire.rows("pdu.port", elid=pdu)[0]["power"] == "0"
    wire.ok("pdu.on", elid=outlet["id"])
    wire.rows("pdu")
    assert control.server("101")["power"] == "on"


@pytest.mark.parametrize("func", ["switch.port", "switch.port.on", "pdu.port", "pdu.off"])
def test_unknown_equipment_is_missed(wire: Wire, func: str) -> None:
    assert wire.error(func, elid="77777") == "missed/elid"

"""Users, credentials, sessions, levels (dcimanager5.md 1.3, 3.1 rows 1, 5, 6, 25)."""

from collections.abc import Iterator

import pytest

from provisioner.simulators import Control, Simulator
from tests.unit.simulators.wire import PASSWORD, Wire


@pytest.fixture
def elsewhere(sim: Simulator) -> Iterator[Wire]:
    with Wire(sim, source="127.0.0.2") as client:
        yield client


@pytest.fixture
def ivanov(control: Control) -> str:
    return str(control.add_user("ivanov", "ivanov-secret")["id"])


def log_in(wire: Wire, name: str, password: str) -> str:
    return str(wire.anonymous("auth", username=name, password=password)["auth"]["$"])


def test_a_user_is_created_and_found_by_name(wire: Wire) -> None:
    made = wire.ok("user.edit", sok="ok", level="lvUser", name="petrov", passwd=PASSWORD, confirm=PASSWORD)

    found = [row for row in wire.rows("user") if row["name"] == "petrov"]
    assert found == [{"id": made["id"]["$"], "name": "petrov", "level": "16"}]


def test_a_second_user_of_the_same_name_exists(wire: Wire, ivanov: str) -> None:
    assert wire.error("user.edit", sok="ok", level="lvUser", name="ivanov", passwd=PASSWORD) == "exists/user"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"name": "a-name-of-17-char"}, "value/name"),
        ({"name": "böse"}, "value/name"),
        ({"name": ""}, "value/name"),
        ({"passwd": "short", "confirm": "short"}, "value/passwd"),
        ({"confirm": "something-else"}, "value/confirm"),
        ({"level": "lvEmperor"}, "value/level"),
        ({"elid": "999"}, "missed/elid"),
    ],
)
def test_bad_values_make_no_user(wire: Wire, changes: dict[str, str], error: str) -> None:
    values = {"level": "lvUser", "name": "petrov", "passwd": PASSWORD, "confirm": PASSWORD, **changes}

    assert wire.error("user.edit", sok="ok", **values) == error
    assert [row["name"] for row in wire.rows("user")] == ["root", "bill_admin"]


def test_a_password_is_changed_and_can_be_proved(wire: Wire, ivanov: str) -> None:
    seen = wire.form("user.edit", elid=ivanov)
    assert seen == {"elid": ivanov, "id": ivanov, "name": "ivanov", "level": "lvUser"}

    wire.ok("user.edit", elid=ivanov, sok="ok", name="ivanov", level="lvUser", passwd=PASSWORD, confirm=PASSWORD)

    assert log_in(wire, "ivanov", PASSWORD)
    assert wire.anonymous("auth", username="ivanov", password="ivanov-secret")["error"]["$object"] == "badpassword"


def test_an_administrator_has_no_hand_on_root(wire: Wire) -> None:
    assert wire.error("user.edit", elid="1", sok="ok", name="root", passwd=PASSWORD) == "access/user"


def test_a_user_changes_his_own_password(wire: Wire, ivanov: str) -> None:
    session = log_in(wire, "ivanov", "ivanov-secret")

    wire.ok("usrparam", auth=session, sok="ok", passwd=PASSWORD, confirm=PASSWORD)

    assert log_in(wire, "ivanov", PASSWORD)


@pytest.mark.parametrize("authinfo", ["bill_admin:wrong", "nobody:x", "bill_admin", ":"])
def test_wrong_credentials_are_badpassword(wire: Wire, authinfo: str) -> None:
    assert wire.error("server", authinfo=authinfo) == "auth/badpassword"


def test_no_credentials_are_an_unknown_session(wire: Wire) -> None:
    assert wire.error("server", authinfo="") == "auth/session"


def test_a_password_may_hold_a_colon(wire: Wire, control: Control) -> None:
    control.set_password("pass:with:colons")

    assert wire.rows("server", authinfo="bill_admin:pass:with:colons")


def test_a_session_works_and_says_its_level(wire: Wire, sim: Simulator) -> None:
    auth = wire.anonymous("auth", username=sim.admin_user, password=sim.admin_password)["auth"]

    assert auth["$"] == auth["$id"]
    assert auth["$level"] == "29"
    assert len(wire.rows("server", auth=auth["$"])) == 4


def test_a_session_is_bound_to_its_address(wire: Wire, elsewhere: Wire, sim: Simulator) -> None:
    session = log_in(wire, sim.admin_user, sim.admin_password)

    assert elsewhere.error("server", auth=session) == "auth/session"
    assert wire.error("server", auth=session) == ""


def test_a_session_ends_an_hour_after_its_last_call(wire: Wire, control: Control, sim: Simulator) -> None:
    session = log_in(wire, sim.admin_user, sim.admin_password)
    control.advance(3599)
    assert wire.error("server", auth=session) == ""
    control.advance(3599)
    assert wire.error("server", auth=session) == ""

    control.advance(3601)

    assert wire.error("server", auth=session) == "auth/session"


def test_a_restarted_panel_knows_no_session(wire: Wire, control: Control, sim: Simulator) -> None:
    session = log_in(wire, sim.admin_user, sim.admin_password)

    control.drop_sessions()

    assert wire.error("server", auth=session) == "auth/session"


def test_a_key_logs_in_once_and_as_its_user(wire: Wire, ivanov: str) -> None:
    key = "k" * 32
    wire.ok("session.newkey", username="ivanov", key=key)

    auth = wire.anonymous("auth", username="ivanov", key=key)["auth"]

    assert auth["$level"] == "16"
    assert wire.anonymous("auth", username="ivanov", key=key)["error"]["$type"] == "auth"


def test_a_key_must_be_long_and_its_user_known(wire: Wire, ivanov: str) -> None:
    assert wire.error("session.newkey", username="ivanov", key="short") == "value/key"
    assert wire.error("session.newkey", username="nobody", key="k" * 16) == "missed/user"
    assert wire.error("session.newkey", username="root", key="k" * 16) == "access/user"


def test_a_client_sees_and_touches_only_his_own(wire: Wire, ivanov: str) -> None:
    wire.edit("101", owner=ivanov)
    session = log_in(wire, "ivanov", "ivanov-secret")

    assert [row["id"] for row in wire.rows("server", auth=session)] == ["101"]
    assert wire.error("server.reboot", auth=session, elid="101") == ""
    assert wire.error("server.reboot", auth=session, elid="103") == "access/elid"
    assert wire.error("iplist.edit", auth=session, plid="101", sok="ok", family="ipv4") == "access/iplist.edit"


@pytest.mark.parametrize("func", ["user", "user.edit", "server.edit", "server.enable", "ipdb", "session.newkey"])
def test_functions_of_administrators_are_barred_to_clients(wire: Wire, ivanov: str, func: str) -> None:
    session = log_in(wire, "ivanov", "ivanov-secret")

    assert wire.error(func, auth=session) == f"access/{func}"


def test_a_disabled_server_refuses_its_client_but_shows(wire: Wire, ivanov: str) -> None:
    wire.edit("102", owner=ivanov)
    session = log_in(wire, "ivanov", "ivanov-secret")

    assert wire.error("server.reboot", auth=session, elid="102") == "access/disabled"
    assert [row["id"] for row in wire.rows("server", auth=session)] == ["102"]


def test_revoked_credentials_fail_until_they_are_restored(wire: Wire, control: Control) -> None:
    control.revoke()
    assert wire.error("server") == "auth/badpassword"

    control.restore()

    assert wire.error("server") == ""


def test_an_unknown_function_is_missed(wire: Wire) -> None:
    assert wire.error("server.dance") == "missed/func"


def test_a_user_is_renamed_unless_the_name_is_taken(wire: Wire, ivanov: str) -> None:
    wire.ok("user.edit", elid=ivanov, sok="ok", name="sidorov", level="16")

    assert [row["name"] for row in wire.rows("user", p_col="id")][-1] == "sidorov"
    assert wire.error("user.edit", elid=ivanov, sok="ok", name="root") == "exists/user"
    assert wire.form("user.edit")["level"] == "lvUser"

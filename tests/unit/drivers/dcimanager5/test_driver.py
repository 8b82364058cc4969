"""What the lists and forms of DCImanager 5 mean, and what is sent for each verb."""

import contextlib
import dataclasses
from collections.abc import Callable

import pytest
import requests

from provisioner import ports
from provisioner.domain.server import (
    AddressRow,
    Capabilities,
    Family,
    LinkKind,
    LinkRef,
    ListedServer,
    Network,
    Power,
    RowRef,
    ServerRef,
    User,
    UserRef,
)
from provisioner.drivers.dcimanager5.client import NoRights, NotDcimanager, WrongPassword
from provisioner.drivers.dcimanager5.driver import Dcimanager5
from provisioner.errors import (
    AlreadyExists,
    BadValue,
    Busy,
    Denied,
    Fatal,
    NoSuchObject,
    NotDone,
    PoolEmpty,
    RemoteError,
    Unreachable,
    Unsure,
    Unusable,
)
from tests.unit.drivers.dcimanager5.panel import (
    ENDPOINT,
    PASSWORD,
    Panel,
    doc,
    error,
    listing,
    ok,
)

SERVER = ServerRef("127")
FREE = (
    "<id>127</id><name>A14R10</name><hostname>free.ds</hostname><ip>10.10.0.15</ip>"
    "<chassis_templ>HP-E3-16G</chassis_templ><type>HP-E3-16G</type>"
    "<gen_chassis_name>E3-1230v2, 16 GiB, 2x1TB</gen_chassis_name>"
    "<rack>A14 10</rack><ipmi>IPMI S127</ipmi><poweroff/>"
)
SOLD = (
    "<id>128</id><name>A14R11</name><hostname>s42.example.org</hostname><ip>192.0.2.7</ip>"
    "<owner>ivanov</owner><type>old-type</type><poweron/><install_in_progress/>"
)
USERS = (
    "<id>5</id><name>bill_admin</name><level>29</level>",
    "<id>1</id><name>root</name><level>30</level>",
    "<id>31</id><name>ivanov</name><level>16</level>",
)


def form(*, ref: str = "127", owner: str = "no_owner", notes: str = "", inner: str = "", without: str = "") -> str:
    fields = {
        "elid": ref,
        "id": ref,
        "name": "A14R10",
        "mac": "02:00:5E:10:00:01",
        "type": "HP-E3-16G",
        "owner": owner,
        "notes": notes,
        "disabled": "off",
        "hwproblem": "off",
    }
    shown = "".join(f"<{name}>{text}</{name}>" for name, text in fields.items() if name != without)
    owners = '<slist name="owner"><val key="no_owner">Without owner</val><val key="5">bill_admin</val></slist>'
    return doc("server.edit", shown + inner + owners)


def user_form(*, shown: str = "<elid>31</elid><id>31</id><name>ivanov</name><level>lvUser</level>") -> str:
    levels = '<slist name="level"><val key="lvUser">User</val><val key="lvAdmin">Administrator</val></slist>'
    return doc("user.edit", shown + levels)


def address(ref: str, ip: str, domain: str = "<domain>free.ds</domain>", kind: str = "") -> str:
    return f"<id>{ref}</id><ip>{ip}</ip>{domain}<type>{kind}</type>"


def fits(driver: Dcimanager5) -> ports.Driver:
    """mypy says here that the driver has the shape of the port."""
    return driver


def test_the_driver_has_the_shape_of_the_port(panel: Panel) -> None:
    driver = fits(panel.driver())

    assert driver.name == "dci-1"
    assert driver.capabilities == Capabilities(shows_ports=False, shows_networks=True)


def test_a_rack_is_one_short_line(panel: Panel) -> None:
    panel.says("server", listing("server", FREE.replace("A14 10", " A14\n 10 " + "x" * 500)))

    (server,) = panel.driver().list_servers().servers

    assert server.rack == "A14 10 " + "x" * 57


def test_the_list_is_read_in_one_call(panel: Panel) -> None:
    panel.says("server", listing("server", FREE, SOLD))

    free, sold = panel.driver().list_servers().servers

    assert panel.funcs == ["server"]
    assert panel.fields() == {}
    assert free == ListedServer(
        ref=SERVER,
        name="A14R10",
        server_type="HP-E3-16G",
        domain="free.ds",
        ip="10.10.0.15",
        owner="",
        rack="A14 10",
        description="E3-1230v2, 16 GiB, 2x1TB",
        power=Power.OFF,
    )
    assert sold == ListedServer(
        ref=ServerRef("128"),
        name="A14R11",
        server_type="old-type",
        domain="s42.example.org",
        ip="192.0.2.7",
        owner="ivanov",
        power=Power.ON,
        installing=True,
    )


@pytest.mark.parametrize(
    ("flag", "name"),
    [
        ("powererror", "power_error"),
        ("disabled", "disabled"),
        ("blocked", "blocked"),
        ("hwproblem", "faulty"),
        ("diag_in_progress", "diagnosing"),
        ("install_in_progress", "installing"),
        ("operation_failed", "operation_failed"),
    ],
)
def test_a_flag_is_set_by_its_presence(panel: Panel, flag: str, name: str) -> None:
    panel.says("server", listing("server", FREE, f"{FREE}<{flag}/>".replace("127", "9")))

    unset, present = panel.driver().list_servers().servers

    assert (getattr(unset, name), getattr(present, name)) == (False, True)


@pytest.mark.parametrize(
    ("flags", "power"),
    [
        ("<poweron/>", Power.ON),
        ("<poweroff/>", Power.OFF),
        ("", Power.UNKNOWN),
        ("<poweron/><poweroff/>", Power.UNKNOWN),
        ("<poweron/><powererror/>", Power.ON),
    ],
)
def test_no_power_flag_or_both_is_unknown(panel: Panel, flags: str, power: Power) -> None:
    panel.says("server", listing("server", FREE.replace("<poweroff/>", flags)))

    assert panel.driver().list_servers().servers[0].power is power


def test_ids_are_compared_byte_for_byte(panel: Panel) -> None:
    panel.says("server", listing("server", *(FREE.replace("127", ref) for ref in ("69", "069"))))

    assert [row.ref for row in panel.driver().list_servers().servers] == ["69", "069"]


@pytest.mark.parametrize(
    ("row", "ref", "ill"),
    [
        (FREE.replace("<id>127</id>", ""), "", "the row has no id"),
        (FREE.replace("<id>127</id>", "<id/>"), "", "the row has no id"),
        (
            "<id>127</id><hostname>free.ds</hostname><ip>10.10.0.15</ip>",
            "127",
            "the row has no server type",
        ),
        (FREE.replace("10.10.0.15", "10.10.0.999"), "127", "the row's main address is none"),
    ],
)
def test_an_ill_row_among_good_ones_says_why(panel: Panel, row: str, ref: str, ill: str) -> None:
    panel.says("server", listing("server", row, SOLD))

    first, second = panel.driver().list_servers().servers

    assert (first.ref, first.ill) == (ref, ill)
    assert second.ill == ""


@pytest.mark.parametrize("field", ["id", "hostname", "chassis_templ|type"])
def test_a_field_that_is_in_no_row_makes_the_list_unusable(panel: Panel, field: str) -> None:
    rows = [FREE, SOLD]
    for name in field.split("|"):
        rows = [row.replace(f"<{name}>", "<was>").replace(f"</{name}>", "</was>") for row in rows]
    panel.says("server", listing("server", *rows))

    with pytest.raises(Unusable, match="no row of the list has"):
        panel.driver().list_servers()


def test_a_list_that_is_cut_or_shows_an_id_twice_is_unusable(panel: Panel) -> None:
    panel.says("server", listing("server", FREE, total=2), listing("server", FREE, FREE))
    driver = panel.driver()

    for words in ("cut", "twice"):
        with pytest.raises(Unusable, match=words):
            driver.list_servers()


def test_an_empty_fleet_is_a_list_too(panel: Panel) -> None:
    panel.says("server", listing("server"))

    assert panel.driver().list_servers().servers == ()


def test_we_are_the_administrator_in_the_list_of_users(panel: Panel) -> None:
    panel.says("user", listing("user", *USERS))

    assert panel.driver().whoami() == User(UserRef("5"), "bill_admin", administrator=True)


def test_we_are_found_among_the_possible_owners_where_users_are_ordinary_only(panel: Panel) -> None:
    panel.says("user", listing("user", USERS[2])).says("server", listing("server", FREE))
    panel.says("server.edit", form())

    assert panel.driver().whoami() == User(UserRef("5"), "bill_admin", administrator=True)


CHECKS: dict[str, tuple[str | tuple[int, str] | Exception, type[RemoteError], str]] = {
    "wrong password": (error("auth", "badpassword"), WrongPassword, "the user name or the password"),
    "no rights": (error("access", "user"), NoRights, "no administrator"),
    "ordinary": (listing("user", USERS[2].replace("ivanov", "bill_admin")), NoRights, "not an admin"),
    "not there": (listing("user"), NoRights, "our user"),
    "no DCImanager": ("<html>Welcome to nginx</html>", NotDcimanager, "not as a DCImanager"),
    "wrong path": ((404, "<html/>"), NotDcimanager, "no DCImanager at this path"),
    "redirect": ((301, ""), NotDcimanager, "redirect (HTTP 301)"),
    "two factors": (error("extraconfirm"), Denied, "second factor"),
    "away": ((502, ""), Unusable, "HTTP 502"),
    "no connection": (requests.ConnectionError("no"), Unreachable, "address"),
}


@pytest.mark.parametrize(("answer", "kind", "words"), CHECKS.values(), ids=CHECKS.keys())
def test_a_connection_check_says_what_is_wrong(
    panel: Panel, answer: str | tuple[int, str] | Exception, kind: type[RemoteError], words: str
) -> None:
    panel.says("user", answer).says("server", listing("server"))
    panel.says("auth", doc("auth", '<auth id="1">1</auth>'))

    with pytest.raises(RemoteError) as caught:
        panel.driver().whoami()

    assert type(caught.value) is kind
    assert words in caught.value.detail


def test_only_level_16_is_ordinary(panel: Panel) -> None:
    odd = "<id>7</id><name>strange</name><level/>"
    panel.says("user", listing("user", *USERS, odd))

    shown = {user.login: user.administrator for user in panel.driver().users()}

    assert shown == {"bill_admin": True, "root": True, "ivanov": False, "strange": True}


@pytest.mark.parametrize(
    "row",
    [
        "<name>petrov</name><level>16</level>",
        "<id>8</id><name/><level>16</level>",
        "<id>5</id><name>petrov</name><level>16</level>",
    ],
)
def test_one_ill_user_makes_the_list_of_users_unusable(panel: Panel, row: str) -> None:
    panel.says("user", listing("user", *USERS, row))

    with pytest.raises(Unusable):
        panel.driver().users()


def reading_of(panel: Panel, shown: str = "", *addresses: str, links: tuple[str, ...] = ()) -> Panel:
    panel.says("server.edit", shown or form()).says("iplist", listing("iplist", *addresses))
    return panel.says("server.connection", listing("server.connection", *links))


def test_a_reading_is_form_addresses_and_links(panel: Panel) -> None:
    reading_of(
        panel,
        form(owner="5", notes="bought 2015\nörk ticket-9"),
        address("900", "10.10.0.15"),
        address("899", "10.10.0.0/24", kind="group"),
        links=(
            "<id>1</id><type>Switch</type><port>ge-0/0/7</port><func_in_progress/>",
            "<id>2</id><type>IPMI</type><ip>10.0.0.9</ip>",
            "<id>3</id><type>PDU</type>",
            "<id>4</id><type>Fan</type>",
        ),
    )

    reading = panel.driver().read(SERVER)

    assert panel.funcs == ["server.edit", "iplist", "server.connection"]
    assert all(panel.fields(at) == {"elid": "127"} for at in range(3))
    assert (reading.ref, reading.owner, reading.notes) == ("127", "5", "bought 2015\nörk ticket-9")
    assert (reading.disabled, reading.faulty) == (False, False)
    assert reading.addresses == (AddressRow(RowRef("900"), "10.10.0.15", "free.ds", Family.IPV4, main=True),)
    assert [(link.ref, link.kind, link.description, link.busy, link.on) for link in reading.known_links] == [
        ("1", LinkKind.SWITCH, "ge-0/0/7", True, None),
        ("2", LinkKind.BMC, "10.0.0.9", False, None),
        ("3", LinkKind.PDU, "", False, None),
        ("4", LinkKind.OTHER, "", False, None),
    ]


@pytest.mark.parametrize(("owner", "expected"), [("no_owner", None), ("", None), ("5", "5"), ("005", "005")])
def test_the_owner_of_the_form_is_an_id_or_nobody(panel: Panel, owner: str, expected: str | None) -> None:
    assert reading_of(panel, form(owner=owner)).driver().read(SERVER).owner == expected


def test_check_boxes_of_the_form_are_on_or_off(panel: Panel) -> None:
    shown = form(without="disabled", inner="<disabled>on</disabled>").replace("<hwproblem>off", "<hwproblem>on")

    reading = reading_of(panel, shown).driver().read(SERVER)

    assert (reading.disabled, reading.faulty) == (True, True)


@pytest.mark.parametrize("without", ["owner", "notes", "disabled"])
def test_a_form_that_lacks_a_field_is_no_reading(panel: Panel, without: str) -> None:
    with pytest.raises(Unusable, match=f"lacks {without}"):
        reading_of(panel, form(without=without)).driver().read(SERVER)


@pytest.mark.parametrize(
    "shown",
    [
        form(ref="128"),
        form(without="id").replace("<elid>127", "<elid>128"),
        form(without="id").replace("<elid>127</elid>", "<elid/>"),
        doc("server.edit", "<elid>127</elid><id>128</id>"),
        doc("server.edit"),
    ],
)
def test_another_servers_form_is_no_reading(panel: Panel, shown: str) -> None:
    with pytest.raises(Unusable):
        reading_of(panel, shown).driver().read(SERVER)


def test_an_unknown_server_is_said_so(panel: Panel) -> None:
    panel.says("server.edit", error("missed", "elid"))

    with pytest.raises(NoSuchObject):
        panel.driver().read(SERVER)


def test_the_main_address_of_several_is_the_one_of_the_list(panel: Panel) -> None:
    reading_of(panel, "", address("1", "192.0.2.7"), address("2", "10.10.0.15"))
    panel.says("server", listing("server", FREE))

    reading = panel.driver().read(SERVER)

    assert [row.main for row in reading.addresses] == [False, True]


def test_a_form_that_shows_the_main_address_spares_the_list(panel: Panel) -> None:
    reading_of(
        panel,
        form(inner="<ip>2001:DB8::0:1</ip>"),
        address("1", "192.0.2.7"),
        address("2", "2001:db8::1"),
    )

    reading = panel.driver().read(SERVER)

    assert [(row.main, row.family) for row in reading.addresses] == [
        (False, Family.IPV4),
        (True, Family.IPV6),
    ]
    assert "server" not in panel.funcs


def test_a_main_address_that_an_earlier_list_named_spares_the_list(panel: Panel) -> None:
    reading_of(panel, "", address("1", "192.0.2.7"), address("2", "10.10.0.15"))

    reading = panel.driver().read(SERVER, "10.10.0.15")

    assert [row.main for row in reading.addresses] == [False, True]
    assert "server" not in panel.funcs


def test_a_main_address_of_earlier_that_the_server_has_no_more_is_looked_up_again(panel: Panel) -> None:
    reading_of(panel, "", address("1", "192.0.2.7"), address("2", "10.10.0.15"))
    panel.says("server", listing("server", FREE))

    reading = panel.driver().read(SERVER, "192.0.2.99")

    assert [row.main for row in reading.addresses] == [False, True]


def test_a_deletion_looks_up_the_main_address_itself(panel: Panel) -> None:
    reading_of(panel, "", address("1", "192.0.2.7"), address("2", "10.10.0.15"))
    panel.says("server", listing("server", FREE))
    driver = panel.driver()
    driver.read(SERVER, "192.0.2.7")

    with pytest.raises(BadValue):
        driver.delete_address(SERVER, RowRef("2"))


def test_where_the_list_names_no_address_the_first_row_is_kept_as_main(panel: Panel) -> None:
    reading_of(panel, "", address("1", "192.0.2.7"), address("2", "192.0.2.8"))
    panel.says("server", listing("server", FREE.replace("<ip>10.10.0.15</ip>", "<ip/>")))

    assert [row.main for row in panel.driver().read(SERVER).addresses] == [True, False]


def test_a_server_that_the_list_does_not_show_has_no_main_address_to_believe(panel: Panel) -> None:
    reading_of(panel, "", address("1", "192.0.2.7"), address("2", "192.0.2.8"))
    panel.says("server", listing("server", SOLD))

    with pytest.raises(Unusable):
        panel.driver().read(SERVER)


def test_a_server_without_addresses_has_none(panel: Panel) -> None:
    assert reading_of(panel).driver().read(SERVER).addresses == ()


def test_netmask_and_gateway_are_shown_where_the_rows_have_them(panel: Panel) -> None:
    more = "<netmask>255.255.255.0</netmask><gateway>192.0.2.1</gateway>"
    reading_of(panel, "", address("1", "192.0.2.7") + more)

    row = panel.driver().read(SERVER).addresses[0]

    assert (row.netmask, row.gateway) == ("255.255.255.0", "192.0.2.1")


def test_a_domain_that_the_list_leaves_out_is_in_the_rows_form(panel: Panel) -> None:
    reading_of(panel, "", address("900", "10.10.0.15", domain=""))
    panel.says("iplist.edit", doc("iplist.edit", "<elid>900</elid><domain>s1.example.org</domain>"))

    reading = panel.driver().read(SERVER)

    assert reading.addresses[0].domain == "s1.example.org"
    assert panel.fields(2) == {"elid": "900", "plid": "127"}


def test_a_domain_that_is_nowhere_is_no_reading(panel: Panel) -> None:
    reading_of(panel, "", address("900", "10.10.0.15", domain=""))
    panel.says("iplist.edit", doc("iplist.edit", "<elid>900</elid>"))

    with pytest.raises(Unusable):
        panel.driver().read(SERVER)


@pytest.mark.parametrize("row", [address("", "192.0.2.8"), address("2", ""), address("1", "192.0.2.8")])
def test_an_ill_address_row_is_no_reading(panel: Panel, row: str) -> None:
    reading_of(panel, "", address("1", "192.0.2.7"), row)

    with pytest.raises(Unusable):
        panel.driver().read(SERVER)


@pytest.mark.parametrize("row", ["<type>Switch</type>", "<id>1</id>", "<id>9</id><type>PDU</type>"])
def test_an_ill_link_row_is_no_reading(panel: Panel, row: str) -> None:
    reading_of(panel, links=("<id>9</id><type>Switch</type>", row))

    with pytest.raises(Unusable):
        panel.driver().read(SERVER)


MANAGEMENT = dataclasses.replace(ENDPOINT, bmc_port_pattern=r"(?i)\bmgmt\b")


def test_a_port_whose_words_match_the_pattern_is_the_bmcs(panel: Panel) -> None:
    reading_of(
        panel,
        links=(
            "<id>1</id><type>Switch</type><port>7</port><descr>s127 MGMT</descr>",
            "<id>2</id><type>Switch</type><port>8</port><descr>s127</descr>",
        ),
    )

    reading = panel.driver(MANAGEMENT).read(SERVER)

    assert [link.kind for link in reading.known_links] == [LinkKind.BMC, LinkKind.SWITCH]
    assert [link.ref for link in reading.switch_links] == ["2"]


def test_a_port_without_words_is_looked_up_before_it_counts_as_a_switch_port(panel: Panel) -> None:
    reading_of(panel, links=("<id>1</id><type>Switch</type>",))
    panel.says(
        "server.connection.edit",
        doc(
            "server.connection.edit",
            '<port>7</port><slist name="port"><val key="7">mgmt 7</val></slist>',
        ),
        doc("server.connection.edit"),
    )
    driver = panel.driver(MANAGEMENT)

    assert driver.read(SERVER).known_links[0].kind is LinkKind.BMC
    assert panel.fields() == {"plid": "127", "elid": "1"}
    with pytest.raises(Unusable):
        driver.read(SERVER)


def test_a_pattern_that_is_none_is_no_reading(panel: Panel) -> None:
    reading_of(panel, links=("<id>1</id><type>Switch</type><port>7</port>",))

    with pytest.raises(Unusable, match="bmc_port_pattern"):
        panel.driver(dataclasses.replace(ENDPOINT, bmc_port_pattern="(")).read(SERVER)


def test_all_looks_of_a_reading_together_take_no_longer_than_one(panel: Panel) -> None:
    reading_of(panel)
    panel.takes = ENDPOINT.look_seconds * 0.6

    with pytest.raises(Unusable, match="time"):
        panel.driver().read(SERVER)
    assert panel.funcs == ["server.edit", "iplist"]


def test_server_types_are_named(panel: Panel) -> None:
    panel.says("chassistempl", listing("chassistempl", "<id>3</id><name>HP-E3-16G</name>"))

    assert panel.driver().server_types() == ["HP-E3-16G"]


def test_an_old_panel_shows_its_types_in_its_servers(panel: Panel) -> None:
    panel.says("chassistempl", error("missed", "func")).says("server", listing("server", FREE, SOLD))

    assert panel.driver().server_types() == ["HP-E3-16G", "old-type"]


def test_templates_are_those_of_the_panel_or_those_that_a_server_may_have(panel: Panel) -> None:
    panel.says("osmgr", listing("osmgr", "<id>Debian-12</id>", "<id>CentOS-7</id>"))
    options = '<slist name="ostemplate"><val key="Debian-12">Debian</val></slist>'
    panel.says("server.operations", doc("server.operations", options), doc("server.operations"))
    driver = panel.driver()

    assert driver.os_templates() == ["Debian-12", "CentOS-7"]
    assert driver.os_templates(SERVER) == ["Debian-12"]
    with pytest.raises(Unusable):
        driver.os_templates(SERVER)


def test_networks_are_shown_where_the_panel_has_them(panel: Panel) -> None:
    row = "<id>4</id><range>192.0.2.0/24</range><netmask>255.255.255.0</netmask><gateway>192.0.2.1</gateway>"
    panel.says("ipdb", listing("ipdb", row), error("missed", "func"))
    driver = panel.driver()

    assert driver.networks() == [Network("4", "192.0.2.0/24", "255.255.255.0", "192.0.2.1")]
    assert driver.networks() == ()
    assert not driver.capabilities.shows_networks


ACTS: dict[str, tuple[Callable[[Dcimanager5], object], str, dict[str, str]]] = {
    "enable": (lambda it: it.enable(SERVER), "server.enable", {"elid": "127"}),
    "disable": (lambda it: it.disable(SERVER), "server.disable", {"elid": "127"}),
    "power on": (lambda it: it.set_power(SERVER, Power.ON), "server.poweron", {"elid": "127"}),
    "power off": (lambda it: it.set_power(SERVER, Power.OFF), "server.poweroff", {"elid": "127"}),
    "reboot": (lambda it: it.reboot(SERVER), "server.reboot", {"elid": "127"}),
    "cancel": (lambda it: it.cancel_operation(SERVER), "server.opercancel", {"elid": "127"}),
    "link on": (
        lambda it: it.set_link(SERVER, LinkRef("1"), on=True),
        "server.connection.on",
        {"plid": "127", "elid": "1"},
    ),
    "link off": (
        lambda it: it.set_link(SERVER, LinkRef("1"), on=False),
        "server.connection.off",
        {"plid": "127", "elid": "1"},
    ),
    "delete": (
        lambda it: it.delete_address(SERVER, RowRef("901")),
        "iplist.delete",
        {"plid": "127", "elid": "901"},
    ),
    "domain": (
        lambda it: it.set_domain(SERVER, RowRef("900"), "s1.example.org"),
        "iplist.edit!",
        {"plid": "127", "elid": "900", "domain": "s1.example.org", "sok": "ok"},
    ),
    "address": (
        lambda it: it.add_address(SERVER, Family.IPV6, "s1.example.org"),
        "iplist.edit!",
        {
            "plid": "127",
            "domain": "s1.example.org",
            "iptype": "public",
            "ip": "",
            "family": "ipv6",
            "sok": "ok",
        },
    ),
    "owner": (
        lambda it: it.edit_server(SERVER, owner=UserRef("5"), notes="old\nprv:token-1"),
        "server.edit!",
        {
            "elid": "127",
            "mac": "02:00:5E:10:00:01",
            "name": "A14R10",
            "type": "HP-E3-16G",
            "notes": "old\nprv:token-1",
            "owner": "5",
            "sok": "ok",
        },
    ),
    "user": (
        lambda it: it.create_user("ivanov", "pass-of-ivanov"),
        "user.edit!",
        {
            "level": "lvUser",
            "name": "ivanov",
            "passwd": "pass-of-ivanov",
            "confirm": "pass-of-ivanov",
            "sok": "ok",
        },
    ),
    "password": (
        lambda it: it.set_password(UserRef("31"), "next-pass-of-ivanov"),
        "user.edit!",
        {
            "elid": "31",
            "name": "ivanov",
            "level": "lvUser",
            "passwd": "next-pass-of-ivanov",
            "confirm": "next-pass-of-ivanov",
            "sok": "ok",
        },
    ),
    "install": (
        lambda it: it.install(SERVER, "ISPsystem__CentOS-7-amd64", "root-secret"),
        "server.operations!",
        {
            "elid": "127",
            "operation": "ostemplate",
            "ostemplate": "ISPsystem__CentOS-7-amd64",
            "passwd": "root-secret",
            "confirm": "root-secret",
            "checkpasswd": "root-secret",
            "recipe": "null",
            "sok": "ok",
        },
    ),
}
every_act = pytest.mark.parametrize(("act", "func", "sent"), ACTS.values(), ids=ACTS.keys())
Act = Callable[[Dcimanager5], object]


def before_acts(panel: Panel) -> Panel:
    """Lay down what acts look at before they send."""
    panel.says("auth", doc("auth", '<auth id="1">1</auth>'))
    panel.says("user.edit", user_form())
    panel.says("server", listing("server", FREE.replace("<poweroff/>", "<install_in_progress/>")))
    return reading_of(
        panel,
        "",
        address("900", "10.10.0.15"),
        address("901", "192.0.2.9"),
        links=("<id>1</id><type>Switch</type>", "<id>2</id><type>IPMI</type>"),
    )


@every_act
def test_an_act_sends_one_mutating_call(panel: Panel, act: Act, func: str, sent: dict[str, str]) -> None:
    before_acts(panel).says(func, ok(func.rstrip("!"), "<id>31</id><ip>2001:db8::9</ip>"))

    act(panel.driver())

    assert panel.funcs[-1] == func
    assert panel.funcs.count(func) == 1
    assert panel.fields() == sent


ANSWERS: dict[str, tuple[str | tuple[int, str], type[RemoteError]]] = {
    "nothing": ("", Unsure),
    "502": ((502, "<html/>"), Unsure),
    "login page": ("<html/>", Unsure),
    "cut": ("<doc><ok/>", Unsure),
    "internal": (error("xml", "xpath", report=True), Unsure),
    "locked": (error("locked"), Busy),
    "access": (error("access"), NoRights),
    "password": (error("auth", "badpassword"), WrongPassword),
    "unknown": (error("unheard-of", "thing"), Fatal),
    "gone": (error("missed", "elid"), NoSuchObject),
}


@every_act
@pytest.mark.parametrize("answered", ANSWERS.values(), ids=ANSWERS.keys())
def test_what_an_act_answers_is_told_by_its_error(
    panel: Panel,
    act: Act,
    func: str,
    sent: dict[str, str],
    answered: tuple[str | tuple[int, str], type[RemoteError]],
) -> None:
    answer, kind = answered
    before_acts(panel).says(func, answer)

    with pytest.raises(RemoteError) as caught:
        act(panel.driver())

    assert type(caught.value) is kind
    assert panel.funcs.count(func) == (2 if kind is NoRights else 1)
    shown = f"{caught.value!s} {caught.value!r}"
    assert not any(secret in shown for secret in (PASSWORD, "ivanov", "root-secret"))
    assert sent


@pytest.mark.parametrize("name", ["link on", "delete", "owner", "password"])
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("", NotDone),
        ("<html/>", NotDone),
        ((502, ""), NotDone),
        (error("xml", report=True), NotDone),
        (error("locked"), Busy),
        (error("missed", "elid"), NoSuchObject),
        (requests.ConnectionError("no"), Unreachable),
    ],
)
def test_a_look_before_an_act_that_fails_says_that_nothing_was_done(
    panel: Panel, name: str, answer: str | tuple[int, str] | Exception, kind: type[RemoteError]
) -> None:
    act, func, _ = ACTS[name]
    look = {"link on": "server.connection", "password": "user.edit"}.get(name, "server.edit")
    before_acts(panel).says(look, answer)

    with pytest.raises(RemoteError) as caught:
        act(panel.driver())

    assert type(caught.value) is kind
    assert func not in panel.funcs


@pytest.mark.parametrize("without", ["mac", "name", "type"])
def test_an_edit_is_not_sent_when_the_form_lacks_what_it_must_send_back(panel: Panel, without: str) -> None:
    panel.says("server.edit", form(without=without))

    with pytest.raises(NotDone, match=f"lacks {without}"):
        panel.driver().edit_server(SERVER, owner=None, notes="")
    assert panel.funcs == ["server.edit"]


def test_an_owner_is_not_sent_before_the_panel_has_shown_that_user(panel: Panel) -> None:
    panel.says("server.edit", form()).says("server.edit!", ok("server.edit"))
    panel.says("user", listing("user", *USERS), "<html/>")
    driver = panel.driver()

    driver.edit_server(SERVER, owner=UserRef("31"), notes="")
    assert panel.funcs == ["server.edit", "user", "server.edit!"]
    with pytest.raises(NotDone):
        driver.edit_server(SERVER, owner=UserRef("32"), notes="")
    panel.says("user", listing("user", *USERS))
    for unknown in ("32", "", "no_owner", "031"):
        with pytest.raises(NoSuchObject):
            driver.edit_server(SERVER, owner=UserRef(unknown), notes="")
    assert panel.funcs.count("server.edit!") == 1


@pytest.mark.parametrize("ref", ["", " ", "127, 128", "127,128", "127 ", "127\n"])
def test_nothing_is_asked_of_what_is_not_one_id(panel: Panel, ref: str) -> None:
    driver, server = panel.driver(), ServerRef(ref)
    touches: list[Callable[[], object]] = [
        lambda: driver.read(server),
        lambda: driver.os_templates(server),
        lambda: driver.edit_server(server, owner=None, notes=""),
        lambda: driver.set_domain(server, RowRef("900"), "s1.example.org"),
        lambda: driver.set_domain(SERVER, RowRef(ref), "s1.example.org"),
        lambda: driver.add_address(server, Family.IPV4, "s1.example.org"),
        lambda: driver.delete_address(server, RowRef("901")),
        lambda: driver.enable(server),
        lambda: driver.disable(server),
        lambda: driver.set_link(server, LinkRef("1"), on=True),
        lambda: driver.set_power(server, Power.OFF),
        lambda: driver.reboot(server),
        lambda: driver.set_password(UserRef(ref), "pass-of-ivanov"),
        lambda: driver.install(server, "Debian-12", "root-secret"),
    ]

    for touch in touches:
        with pytest.raises(NoSuchObject):
            touch()
    assert panel.calls == []


def test_no_domain_is_no_domain(panel: Panel) -> None:
    with pytest.raises(BadValue):
        panel.driver().set_domain(SERVER, RowRef("900"), "")
    assert panel.calls == []


def test_owner_and_notes_can_be_emptied(panel: Panel) -> None:
    panel.says("server.edit", form()).says("server.edit!", ok("server.edit"))

    panel.driver().edit_server(SERVER, owner=None, notes="")

    assert (panel.fields()["owner"], panel.fields()["notes"]) == ("no_owner", "")


@pytest.mark.parametrize("func", ["server.edit!", "server.operations!", "iplist.edit!"])
def test_a_form_shown_again_is_no_success(panel: Panel, func: str) -> None:
    act = next(act for act, name, _ in ACTS.values() if name == func)
    before_acts(panel).says(func, form(inner="<slist name='ostemplate'/><domain>x</domain>"))

    with pytest.raises(Unsure):
        act(panel.driver())


def test_a_users_form_shown_again_is_no_success(panel: Panel) -> None:
    panel.says("user.edit", user_form()).says("user.edit!", user_form())

    with pytest.raises(Unsure):
        panel.driver().set_password(UserRef("31"), "pass-of-ivanov")


@pytest.mark.parametrize("level", ["lvUser", "16"])
def test_name_and_level_go_back_as_the_users_form_shows_them(panel: Panel, level: str) -> None:
    shown = f"<elid>31</elid><name>Иванов &amp; Co</name><level>{level}</level>"
    panel.says("user.edit", user_form(shown=shown)).says("user.edit!", ok("user.edit", "<id>31</id>"))

    panel.driver().set_password(UserRef("31"), "pass-of-ivanov")

    assert (panel.fields()["name"], panel.fields()["level"]) == ("Иванов & Co", level)


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        ("<elid>31</elid><level>lvUser</level>", "lacks name"),
        ("<elid>31</elid><name>ivanov</name>", "lacks level"),
        ("<elid>31</elid><name>ivanov</name><level/>", "lacks level"),
        ("<elid>32</elid><name>petrov</name><level>lvUser</level>", "not that user's"),
        ("<elid>31</elid><id>32</id><name>petrov</name><level>lvUser</level>", "not that user's"),
        ("<elid>031</elid><name>petrov</name><level>lvUser</level>", "not that user's"),
        ("<name>ivanov</name><level>lvUser</level>", "not that user's"),
    ],
)
def test_no_password_is_sent_on_the_word_of_a_form_that_can_not_be_believed(
    panel: Panel, shown: str, words: str
) -> None:
    panel.says("user.edit", user_form(shown=shown)).says("user.edit!", ok("user.edit"))

    with pytest.raises(NotDone, match=words):
        panel.driver().set_password(UserRef("31"), "pass-of-ivanov")
    assert panel.funcs == ["user.edit"]


def test_an_empty_password_would_leave_the_old_one_and_is_not_sent(panel: Panel) -> None:
    panel.says("user.edit", user_form()).says("user.edit!", ok("user.edit"))

    with pytest.raises(BadValue):
        panel.driver().set_password(UserRef("31"), "")
    assert panel.calls == []


def test_a_password_that_the_panel_refuses_is_a_bad_value(panel: Panel) -> None:
    panel.says("user.edit", user_form()).says("user.edit!", error("value", "passwd"))

    with pytest.raises(BadValue) as caught:
        panel.driver().set_password(UserRef("31"), "pass-of-ivanov")
    assert "ivanov" not in f"{caught.value!s} {caught.value!r}"


CUSTOMER = ("ivanov", "pass:of & ivanov")
OPENED = doc("auth", '<auth id="c0ffee" level="16">c0ffee</auth>')


def test_a_log_in_sends_the_users_credentials_once_and_none_of_ours(panel: Panel) -> None:
    panel.says("auth", OPENED)

    assert panel.driver().logs_in(*CUSTOMER) is True

    fixed = {"func": "auth", "out": "xml", "lang": "en"}
    assert panel.calls == [{**fixed, "username": "ivanov", "password": "pass:of & ivanov"}]


def test_a_log_in_with_refused_credentials_says_no_and_is_not_repeated(panel: Panel) -> None:
    panel.says("auth", error("auth", "badpassword"))

    assert panel.driver().logs_in(*CUSTOMER) is False
    assert panel.funcs == ["auth"]


@pytest.mark.parametrize("answer", [OPENED, error("auth", "badpassword"), error("access")])
def test_a_customers_log_in_leaves_our_own_credentials_alone(panel: Panel, answer: str) -> None:
    panel.says("auth", answer, doc("auth", '<auth id="0a1b">0a1b</auth>'), answer)
    panel.says("server", error("access"), listing("server", FREE))
    driver = panel.driver()

    for _ in range(2):
        with contextlib.suppress(Unusable):
            driver.logs_in(*CUSTOMER)
        driver.list_servers()

    assert panel.funcs == ["auth", "server", "auth", "server", "auth", "server"]
    own = [(call.get("authinfo"), call.get("auth")) for call in panel.calls if call["func"] == "server"]
    assert own == [(f"bill_admin:{PASSWORD}", None), (None, "0a1b"), (None, "0a1b")]
    tried = [call for call in panel.calls if call.get("username") == "ivanov"]
    assert len(tried) == 2
    assert not any({"auth", "authinfo"} & set(call) for call in tried)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (error("auth", "session"), Unusable),
        (error("auth"), Unusable),
        (error("access", "authinfo"), Unusable),
        (error("extraconfirm"), Unusable),
        (error("value", "username"), Unusable),
        (error("missed", "username"), Unusable),
        (error("missed", "func"), Unusable),
        (error("unheard-of", "pass-of-ivanov"), Unusable),
        (error("xml", "xpath", report=True), Unusable),
        (error("auth", "badpassword", report=True).replace("badpassword", "other"), Unusable),
        (error("locked"), Busy),
        ((429, ""), Busy),
        ((502, "<html/>"), Unusable),
        ("", Unusable),
        ("<html><form/></html>", NotDcimanager),
        (OPENED[:-8], Unusable),
        (doc("logon", "<username/><password/>"), Unusable),
        (doc("auth"), Unusable),
        (doc("auth", "<ok/>"), Unusable),
        (doc("auth", "<auth/>"), Unusable),
        (doc("auth", '<auth level="16"/>'), Unusable),
        (requests.ConnectionError("password=pass-of-ivanov"), Unreachable),
    ],
)
def test_a_log_in_without_a_plain_answer_is_neither_yes_nor_no(
    panel: Panel, caplog: pytest.LogCaptureFixture, answer: str | tuple[int, str] | Exception, kind: type[RemoteError]
) -> None:
    panel.says("auth", answer)

    with caplog.at_level("DEBUG"), pytest.raises(RemoteError) as caught:
        panel.driver().logs_in("ivanov", "pass-of-ivanov")

    assert type(caught.value) is kind
    assert panel.funcs == ["auth"]
    context = f"{caught.value.__cause__!r} {caught.value.__context__!r}"
    assert "ivanov" not in f"{caught.value!s} {caught.value!r} {context} {caplog.text}"


@pytest.mark.parametrize("tried", [("ivanov\x07", "pass"), ("ivanov", "pass\ud800")])
def test_what_no_user_can_have_is_not_tried(panel: Panel, tried: tuple[str, str]) -> None:
    with pytest.raises(BadValue):
        panel.driver().logs_in(*tried)
    assert panel.calls == []


def test_power_unknown_is_no_wish(panel: Panel) -> None:
    with pytest.raises(BadValue):
        panel.driver().set_power(SERVER, Power.UNKNOWN)
    assert panel.calls == []


def test_a_bmc_is_never_switched(panel: Panel) -> None:
    driver = before_acts(panel).driver()

    with pytest.raises(BadValue):
        driver.set_link(SERVER, LinkRef("2"), on=False)
    with pytest.raises(NoSuchObject):
        driver.set_link(SERVER, LinkRef("3"), on=False)
    assert set(panel.funcs) == {"server.connection"}


def test_the_main_address_is_never_deleted(panel: Panel) -> None:
    driver = before_acts(panel).driver()

    with pytest.raises(BadValue, match="main address"):
        driver.delete_address(SERVER, RowRef("900"))
    with pytest.raises(NoSuchObject):
        driver.delete_address(SERVER, RowRef("999"))
    assert "iplist.delete" not in panel.funcs


@pytest.mark.parametrize(
    ("answer", "looked_up"),
    [
        (ok("iplist.edit", "<id>901</id><ip>192.0.2.9</ip>"), False),
        (ok("iplist.edit", "<elid>901</elid><ip>192.0.2.9</ip>"), False),
        (ok("iplist.edit", "<elid>127</elid><ip>192.0.2.9</ip>"), True),
        (ok("iplist.edit", "<ip>192.0.2.9</ip>"), True),
        (ok("iplist.edit", "<id>901</id>"), True),
        (doc("iplist.edit", "<ip>192.0.2.9</ip>"), True),
    ],
)
def test_a_new_address_is_found_by_what_the_reply_shows(
    panel: Panel,
    answer: str,
    looked_up: bool,  # noqa: FBT001
) -> None:
    before_acts(panel).says("iplist.edit!", answer)

    row = panel.driver().add_address(SERVER, Family.IPV4, "free.ds")

    assert row == AddressRow(RowRef("901"), "192.0.2.9", "free.ds", Family.IPV4)
    assert ("iplist" in panel.funcs) == looked_up


@pytest.mark.parametrize("answer", ["", (502, ""), error("locked"), listing("iplist")])
def test_a_new_address_that_can_not_be_seen_is_unsure(panel: Panel, answer: str | tuple[int, str]) -> None:
    panel.says("iplist.edit!", ok("iplist.edit", "<ip>192.0.2.9</ip>")).says("iplist", answer)

    with pytest.raises(Unsure):
        panel.driver().add_address(SERVER, Family.IPV4, "free.ds")


def test_a_reply_that_names_nothing_is_unsure(panel: Panel) -> None:
    before_acts(panel).says("iplist.edit!", ok("iplist.edit"))

    with pytest.raises(Unsure):
        panel.driver().add_address(SERVER, Family.IPV4, "free.ds")


def test_an_empty_pool_is_said_so(panel: Panel) -> None:
    panel.says("iplist.edit!", error("nofreeip"))

    with pytest.raises(PoolEmpty):
        panel.driver().add_address(SERVER, Family.IPV4, "free.ds")


def test_a_new_user_without_an_id_in_the_reply_is_looked_up(panel: Panel) -> None:
    panel.says("user.edit!", ok("user.edit")).says("user", listing("user", *USERS), listing("user"))
    driver = panel.driver()

    assert driver.create_user("ivanov", "secret") == "31"
    with pytest.raises(Unsure) as caught:
        driver.create_user("ivanov", "secret")
    assert "ivanov" not in str(caught.value)


def test_a_taken_login_is_said_so(panel: Panel) -> None:
    panel.says("user.edit!", error("exists", "user"))

    with pytest.raises(AlreadyExists):
        panel.driver().create_user("ivanov", "secret")


@pytest.mark.parametrize("kind", ["value", "missed", "unheard-of"])
def test_a_refused_template_is_a_bad_value(panel: Panel, kind: str) -> None:
    panel.says("server.operations!", error(kind, "ostemplate"))

    with pytest.raises(BadValue):
        panel.driver().install(SERVER, "no-such-template", "root-secret")


@pytest.mark.parametrize("answer", [error("missed", "elid"), error("value"), error("nothing_runs")])
def test_nothing_to_cancel_counts_as_done(panel: Panel, answer: str) -> None:
    panel.says("server.opercancel", answer).says("server", listing("server", FREE))

    panel.driver().cancel_operation(SERVER)


@pytest.mark.parametrize(
    ("listed", "kind"),
    [
        (listing("server", FREE + "<install_in_progress/>"), Fatal),
        (listing("server", FREE + "<diag_in_progress/>"), Fatal),
        (listing("server", SOLD), NoSuchObject),
        ("<html/>", NotDone),
    ],
)
def test_a_refused_cancel_is_done_only_if_the_list_says_so(panel: Panel, listed: str, kind: type[RemoteError]) -> None:
    panel.says("server.opercancel", error("unheard-of")).says("server", listed)

    with pytest.raises(kind):
        panel.driver().cancel_operation(SERVER)


def test_a_row_without_an_id_is_nobodys_to_cancel(panel: Panel) -> None:
    panel.says("server", listing("server", FREE.replace("<id>127</id>", ""), SOLD))

    with pytest.raises(NoSuchObject):
        panel.driver().cancel_operation(ServerRef(""))
    assert panel.funcs == ["server"]


def test_a_panel_that_can_not_cancel_says_so(panel: Panel) -> None:
    panel.says("server.opercancel", error("missed", "func")).says("server", listing("server", FREE))

    with pytest.raises(Fatal, match="no such function"):
        panel.driver().cancel_operation(SERVER)

"""
What every `ports.Driver` has to do, whatever DCIM is behind it.

A subclass provides the fixture `dcim`: the driver under test and a view of the truth behind it. No test
sleeps: time in the DCIM passes when `Dcim.pass_time` says so.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum, auto

import pytest

from provisioner.domain import touch
from provisioner.domain.server import (
    FREE_MARKER,
    AddressRow,
    Family,
    LinkKind,
    LinkRef,
    ListedServer,
    Power,
    RowRef,
    ServerRef,
    UserRef,
)
from provisioner.errors import (
    AlreadyExists,
    BadValue,
    Busy,
    Denied,
    Fatal,
    NoSuchObject,
    NotDone,
    PoolEmpty,
    Retryable,
    TransactionOpen,
    Unreachable,
    Unsure,
    Unusable,
)
from provisioner.ports import Driver

DOMAIN = "s42.example.org"
S1, S2 = ServerRef("127"), ServerRef("128")
LOGIN = "ivanov-31337"
PASSWORD = "Wq7-correct-horse"
NEW_PASSWORD = "Xr8-battery-staple"
#: What no message may hold, beside the driver's own credentials.
SECRETS = (PASSWORD, NEW_PASSWORD, LOGIN)
#: What people write into notes: another alphabet, quotes and mark-up, lines, a token.
FOREIGN_NOTES = "Ключ у вахтёра; <b>&amp;</b> \"quoted\" 'too' = 100 % + 1 €\nline two\n\n  claim: t-0815"  # noqa: RUF001  # Cyrillic on purpose
PATIENCE = 60  #: how often time passes until an effect counts as missing


class Trouble(Enum):
    """What can go wrong with the next call that fits."""

    UNREACHABLE = auto()  #: no connection can be made
    DENIED = auto()  #: our credentials are refused
    BUSY = auto()  #: the object is locked by another operation
    LOST_BEFORE = auto()  #: the call never takes effect, and no answer comes
    LOST_AFTER = auto()  #: the call takes effect, and no answer comes
    GARBAGE = auto()  #: the call takes no effect, and what comes is no answer of a DCIM
    CUT = auto()  #: a list of fewer rows than it says there are
    BARE = auto()  #: a list in which every row lacks a field


@dataclass(frozen=True)
class Truth:
    """What is true of a server, whatever the driver says."""

    owner: UserRef | None
    notes: str
    domain: str
    addresses: tuple[tuple[RowRef, str, str], ...]  #: row, address, domain
    links: tuple[tuple[LinkRef, bool], ...]  #: link, on
    power: Power
    disabled: bool
    installing: bool
    installs: int
    reboots: int  #: that were taken
    template: str  #: what is on the disks
    logins: tuple[str, ...]  #: of all users that there are
    passwords: tuple[tuple[str, str], ...]  #: login, `fingerprint`; of users that got one through the driver
    kept: tuple[str, ...]  #: what no verb of a driver changes: name, MAC, type, marks


def fingerprint(password: str) -> str:
    """Give what stands for *password* where it shall not be shown."""
    return f"sha256:{hashlib.sha256(password.encode()).hexdigest()[:16]}"


class Dcim(ABC):
    """A DCIM with a driver to it, servers `127` and `128` of one type, and hands behind the curtain."""

    driver: Driver
    admin: UserRef  #: the user that the driver acts as
    admin_login: str
    secrets: tuple[str, ...] = ()  #: credentials of the driver

    @abstractmethod
    def add_server(self, ref: str) -> ServerRef:
        """Put up one more server."""

    @abstractmethod
    def add_bare_server(self, ref: str) -> ServerRef:
        """Put up one more server, without any address."""

    @abstractmethod
    def remove_servers(self) -> None:
        """Take all servers away."""

    @abstractmethod
    def truth(self, server: ServerRef) -> Truth:
        """Say what is true of *server*."""

    def logins(self) -> list[str]:
        """All users that there truly are."""
        return list(self.truth(S1).logins)

    @abstractmethod
    def acts(self) -> list[str]:
        """Give the mutating calls that came in, so far."""

    @abstractmethod
    def calls(self) -> int:
        """Count all calls that came in, so far."""

    @abstractmethod
    def plan(self, trouble: Trouble, *, act: bool, skip: int = 0) -> None:
        """Let *trouble* strike the next mutating call (*act*) or look, after *skip* of its kind."""

    @abstractmethod
    def mend(self) -> None:
        """Let no trouble be left."""

    @abstractmethod
    def empty_pool(self, family: Family) -> None:
        """Let no address of *family* be left."""

    @abstractmethod
    def make_ill(self, server: ServerRef) -> None:
        """Let the list row of *server* be of a shape that can't be believed."""

    @abstractmethod
    def refuse_template(self, server: ServerRef) -> str:
        """Give a template that the DCIM has but does not allow on *server*."""

    @abstractmethod
    def fail_next_install(self) -> None:
        """Let the next install fail."""

    @abstractmethod
    def take_longer(self) -> None:
        """Let effects be seen some time after they were asked for."""

    @abstractmethod
    def pass_time(self) -> None:
        """Let time pass in the DCIM, but not past an effect that has not been looked at."""

    def eventually(self, holds: Callable[[], bool]) -> bool:
        """Say whether *holds* comes true while time passes."""
        for _ in range(PATIENCE):
            if holds():
                return True
            self.pass_time()
        return False

    def row(self, server: ServerRef) -> ListedServer:
        """Look *server* up in the list."""
        return next(row for row in self.driver.list_servers().servers if row.ref == server)


@dataclass(frozen=True)
class Act:
    """An act of the port, and a way to see whether it took effect."""

    name: str
    prepare: Callable[[Dcim, ServerRef], str]  #: makes the act meaningful; gives the row or link that it is about
    do: Callable[[Driver, ServerRef, str], object]
    done: Callable[[Truth, Truth, str], bool]  #: by the truth before and after

    def __str__(self) -> str:
        return self.name


def settled(dcim: Dcim, server: ServerRef) -> bool:
    return not any(link.busy for link in dcim.driver.read(server).known_links)


def nothing(_dcim: Dcim, _server: ServerRef) -> str:
    return ""


def disabled(dcim: Dcim, server: ServerRef) -> str:
    dcim.driver.disable(server)
    assert dcim.eventually(lambda: dcim.truth(server).disabled and settled(dcim, server))
    return ""


def enabled(dcim: Dcim, server: ServerRef) -> str:
    dcim.driver.enable(server)
    assert dcim.eventually(lambda: not dcim.truth(server).disabled and settled(dcim, server))
    return ""


def a_row(dcim: Dcim, server: ServerRef) -> str:
    return next(row.ref for row in dcim.driver.read(server).addresses if row.main)


def a_second_row(dcim: Dcim, server: ServerRef) -> str:
    return dcim.driver.add_address(server, Family.IPV4, DOMAIN).ref


def a_port_that_is_off(dcim: Dcim, server: ServerRef) -> str:
    link = dcim.driver.read(server).switch_links[0].ref
    dcim.driver.set_link(server, link, on=False)
    assert dcim.eventually(lambda: settled(dcim, server))
    return link


def a_template(dcim: Dcim, server: ServerRef) -> str:
    """Open the ports, without which no install begins, and choose a template."""
    for link in dcim.driver.read(server).switch_links:
        dcim.driver.set_link(server, link.ref, on=True)
    assert dcim.eventually(lambda: settled(dcim, server))
    return dcim.driver.os_templates(server)[0]


def a_user(dcim: Dcim, _server: ServerRef) -> str:
    return dcim.driver.create_user(LOGIN, PASSWORD)


def powered(dcim: Dcim, server: ServerRef) -> str:
    dcim.driver.set_power(server, Power.ON)
    assert dcim.eventually(lambda: dcim.row(server).power is Power.ON)
    return ""


def an_install_under_way(dcim: Dcim, server: ServerRef) -> str:
    dcim.driver.install(server, a_template(dcim, server), PASSWORD)
    assert dcim.eventually(lambda: dcim.row(server).installing)
    return ""


CREATE_USER = Act(
    "create_user",
    nothing,
    lambda driver, _server, _: driver.create_user(LOGIN, PASSWORD),
    lambda before, after, _: LOGIN not in before.logins and LOGIN in after.logins,
)
SET_PASSWORD = Act(
    "set_password",
    a_user,
    lambda driver, _server, user: driver.set_password(UserRef(user), NEW_PASSWORD),
    lambda before, after, _: dict(after.passwords) == dict(before.passwords) | {LOGIN: fingerprint(NEW_PASSWORD)},
)
REBOOT = Act(
    "reboot",
    powered,
    lambda driver, server, _: driver.reboot(server),
    lambda before, after, _: after == replace(before, reboots=before.reboots + 1),
)
INSTALL = Act(
    "install",
    a_template,
    lambda driver, server, name: driver.install(server, name, PASSWORD),
    lambda before, after, _: after.installs == before.installs + 1,
)
CANCEL = Act(
    "cancel_operation",
    an_install_under_way,
    lambda driver, server, _: driver.cancel_operation(server),
    lambda _before, after, _row: not after.installing and after.template == "",
)
REPEATABLE = (
    Act(
        "edit_server",
        nothing,
        lambda driver, server, _: driver.edit_server(server, owner=driver.whoami().ref, notes="ours"),
        lambda _before, after, _row: after.owner is not None and after.notes == "ours",
    ),
    Act(
        "set_domain",
        a_row,
        lambda driver, server, row: driver.set_domain(server, RowRef(row), DOMAIN),
        lambda before, after, _: before.domain != DOMAIN and after.domain == DOMAIN,
    ),
    Act(
        "enable",
        disabled,
        lambda driver, server, _: driver.enable(server),
        lambda before, after, _: before.disabled and not after.disabled,
    ),
    Act(
        "disable",
        enabled,
        lambda driver, server, _: driver.disable(server),
        lambda before, after, _: after.disabled and not before.disabled,
    ),
    Act(
        "set_link",
        a_port_that_is_off,
        lambda driver, server, link: driver.set_link(server, LinkRef(link), on=True),
        lambda before, after, link: dict(after.links)[LinkRef(link)] and not dict(before.links)[LinkRef(link)],
    ),
    Act(
        "set_power",
        nothing,
        lambda driver, server, _: driver.set_power(server, Power.ON),
        lambda before, after, _: before.power is not Power.ON and after.power is Power.ON,
    ),
)
ON_SERVER = (
    *REPEATABLE,
    Act(
        "add_address",
        nothing,
        lambda driver, server, _: driver.add_address(server, Family.IPV4, DOMAIN),
        lambda before, after, _: len(after.addresses) == len(before.addresses) + 1,
    ),
    Act(
        "delete_address",
        a_second_row,
        lambda driver, server, row: driver.delete_address(server, RowRef(row)),
        lambda before, after, _: len(after.addresses) == len(before.addresses) - 1,
    ),
    REBOOT,
    INSTALL,
    CANCEL,
)
ACTS = (CREATE_USER, SET_PASSWORD, *ON_SERVER)

LOOKS: dict[str, Callable[[Driver], object]] = {
    "whoami": lambda driver: driver.whoami(),
    "list_servers": lambda driver: driver.list_servers(),
    "read": lambda driver: driver.read(S1),
    "survey": lambda driver: driver.survey(S1, ""),
    "users": lambda driver: driver.users(),
    "server_types": lambda driver: driver.server_types(),
    "os_templates": lambda driver: driver.os_templates(),
    "os_templates_of_a_server": lambda driver: driver.os_templates(S1),
    "logs_in": lambda driver: driver.logs_in(LOGIN, PASSWORD),
}

#: Characters that no XML can hold: a panel that stored them could not be read any more.
POISON = ("\0", "\x1b", "\ud800", "\ufffe")

any_act = pytest.mark.parametrize("act", ACTS, ids=str)
any_act_on_a_server = pytest.mark.parametrize("act", ON_SERVER, ids=str)
any_look = pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
OWN_LOOKS = {name: look for name, look in LOOKS.items() if name != "logs_in"}
any_look_of_our_own = pytest.mark.parametrize("look", OWN_LOOKS.values(), ids=OWN_LOOKS)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Give *error* with all that hangs on it, also what `from None` hides."""
    while error is not None:
        yield error
        if error.__cause__ is not None and error.__cause__ is not error.__context__:
            yield from chain(error.__cause__)
        error = error.__context__


def assert_tells_no_secret(error: BaseException, *secrets: str) -> None:
    for link in chain(error):
        said = f"{link} {link!r} {link.args!r} {vars(link)!r}"
        assert not [secret for secret in secrets if secret in said]


class DriverSuite:
    """The suite; each test reads as a sentence about a driver."""

    # Looks.

    def test_it_knows_whom_it_acts_as(self, dcim: Dcim) -> None:
        me = dcim.driver.whoami()

        assert (me.ref, me.login, me.administrator) == (dcim.admin, dcim.admin_login, True)

    def test_it_lists_every_server_as_it_is(self, dcim: Dcim) -> None:
        rows = {row.ref: row for row in dcim.driver.list_servers().servers}

        assert set(rows) == {S1, S2}
        for ref, row in rows.items():
            truth = dcim.truth(ref)
            assert (row.name, row.server_type) == truth.kept[:2]
            assert row.ip == truth.addresses[0][1]
            assert row.domain == truth.domain == FREE_MARKER
            assert (row.owner, row.power, row.disabled) == ("", truth.power, truth.disabled)
            flags = (row.power_error, row.blocked, row.faulty, row.diagnosing, row.installing, row.operation_failed)
            assert not any(flags)
            assert row.ill == ""

    def test_a_list_is_one_call(self, dcim: Dcim) -> None:
        before = dcim.calls()

        dcim.driver.list_servers()

        assert dcim.calls() == before + 1

    def test_it_reads_one_server_as_it_is(self, dcim: Dcim) -> None:
        dcim.driver.add_address(S1, Family.IPV6, DOMAIN)

        reading = dcim.driver.read(S1)

        truth = dcim.truth(S1)
        assert reading.ref == S1
        assert (reading.owner, reading.notes, reading.disabled) == (truth.owner, truth.notes, truth.disabled)
        assert not reading.faulty
        assert tuple((row.ref, row.ip, row.domain) for row in reading.addresses) == truth.addresses
        assert [(row.family, row.main) for row in reading.addresses] == [(Family.IPV4, True), (Family.IPV6, False)]
        assert {link.ref for link in reading.known_links} == {link for link, _ in truth.links}

    @pytest.mark.parametrize("earlier", ["as it is", "of nobody"])
    def test_what_an_earlier_list_said_of_the_main_address_changes_no_reading(self, dcim: Dcim, earlier: str) -> None:
        dcim.driver.add_address(S1, Family.IPV4, DOMAIN)
        main_ip = dcim.row(S1).ip if earlier == "as it is" else "192.0.2.254"
        reading = dcim.driver.read(S1)

        assert dcim.driver.read(S1, main_ip) == reading
        assert len(reading.addresses) == 2

    def test_a_survey_shows_what_a_reading_shows_without_links_in_two_calls_at_most(self, dcim: Dcim) -> None:
        dcim.driver.edit_server(S1, owner=dcim.admin, notes=FOREIGN_NOTES)
        dcim.driver.add_address(S1, Family.IPV4, DOMAIN)
        listed, reading = dcim.row(S1), dcim.driver.read(S1)
        before = dcim.calls()

        survey = dcim.driver.survey(S1, listed.ip)

        assert dcim.calls() <= before + 2
        assert survey == replace(reading, links=None, addresses=survey.addresses)
        shown = [(row.ref, row.ip, row.family, row.main) for row in reading.addresses]
        assert [(row.ref, row.ip, row.family, row.main) for row in survey.addresses] == shown
        assert len(shown) == 2
        assert survey.mac in dcim.truth(S1).kept

    def test_links_that_are_not_asked_for_cost_no_call_and_are_not_none_at_all(self, dcim: Dcim) -> None:
        whole = dcim.driver.read(S1)
        before = dcim.calls()

        reading = dcim.driver.read(S1, links=False)

        assert dcim.calls() <= before + 2
        assert reading == replace(whole, links=None)
        with pytest.raises(ValueError, match=r"the links of server .* were not read"):
            _ = reading.switch_links

    def test_management_is_never_taken_for_a_port(self, dcim: Dcim) -> None:
        reading = dcim.driver.read(S1)

        assert [link for link in reading.known_links if link.kind is LinkKind.BMC]
        assert reading.switch_links
        assert all(link.kind is LinkKind.SWITCH for link in reading.switch_links)

    def test_it_shows_whether_a_port_is_on_where_it_can(self, dcim: Dcim) -> None:
        port = LinkRef(a_port_that_is_off(dcim, S1))

        shown = {link.ref: link.on for link in dcim.driver.read(S1).known_links}[port]

        assert shown is (False if dcim.driver.capabilities.shows_ports else None)

    def test_it_lists_users_with_their_rank(self, dcim: Dcim) -> None:
        ref = dcim.driver.create_user(LOGIN, PASSWORD)

        users = {user.ref: user for user in dcim.driver.users()}

        assert sorted(user.login for user in users.values()) == sorted(dcim.logins())
        assert users[dcim.admin].administrator
        assert (users[ref].login, users[ref].administrator) == (LOGIN, False)

    def test_it_names_types_templates_and_networks(self, dcim: Dcim) -> None:
        assert dcim.row(S1).server_type in dcim.driver.server_types()
        refused = dcim.refuse_template(S1)
        assert refused in dcim.driver.os_templates()
        allowed = dcim.driver.os_templates(S1)
        assert allowed
        assert refused not in allowed
        assert set(allowed) <= set(dcim.driver.os_templates())
        assert bool(dcim.driver.networks()) is dcim.driver.capabilities.shows_networks

    def test_a_fleet_may_be_empty_or_of_one(self, dcim: Dcim) -> None:
        dcim.remove_servers()
        assert dcim.driver.list_servers().servers == ()

        dcim.add_server("200")
        assert [row.ref for row in dcim.driver.list_servers().servers] == ["200"]

    def test_looks_change_nothing(self, dcim: Dcim) -> None:
        before = (dcim.truth(S1), dcim.truth(S2), dcim.acts())

        for look in LOOKS.values():
            look(dcim.driver)
        dcim.driver.networks()

        assert (dcim.truth(S1), dcim.truth(S2), dcim.acts()) == before

    def test_one_ill_row_spoils_no_other(self, dcim: Dcim) -> None:
        dcim.make_ill(S1)

        rows = dcim.driver.list_servers().servers

        assert [row.ref for row in rows if not row.ill] == [S2]
        assert len([row for row in rows if row.ill]) == 1

    @any_look
    @pytest.mark.parametrize(
        ("trouble", "error"),
        [(Trouble.UNREACHABLE, Unreachable), (Trouble.GARBAGE, Unusable)],
        ids=str,
    )
    def test_a_look_that_fails_concludes_nothing(
        self, dcim: Dcim, look: Callable[[Driver], object], trouble: Trouble, error: type[Retryable]
    ) -> None:
        dcim.plan(trouble, act=False)

        with pytest.raises(error) as caught:
            look(dcim.driver)

        assert not isinstance(caught.value, Unsure | Denied)
        assert_tells_no_secret(caught.value, *SECRETS, *dcim.secrets)
        dcim.mend()
        look(dcim.driver)

    @any_look_of_our_own
    def test_a_look_that_we_are_denied_concludes_nothing(self, dcim: Dcim, look: Callable[[Driver], object]) -> None:
        dcim.plan(Trouble.DENIED, act=False)

        with pytest.raises(Denied) as caught:
            look(dcim.driver)

        assert_tells_no_secret(caught.value, *dcim.secrets)
        dcim.mend()
        look(dcim.driver)

    @any_look
    def test_a_look_without_an_answer_concludes_nothing(self, dcim: Dcim, look: Callable[[Driver], object]) -> None:
        dcim.plan(Trouble.LOST_BEFORE, act=False)

        with pytest.raises((Unusable, Unreachable)) as caught:
            look(dcim.driver)

        assert_tells_no_secret(caught.value, *SECRETS, *dcim.secrets)

    @pytest.mark.parametrize("look", ["list_servers", "users"])
    @pytest.mark.parametrize("trouble", [Trouble.CUT, Trouble.BARE], ids=str)
    def test_a_list_that_is_not_whole_is_no_list(self, dcim: Dcim, look: str, trouble: Trouble) -> None:
        dcim.plan(trouble, act=False)

        with pytest.raises(Unusable):
            LOOKS[look](dcim.driver)

    @pytest.mark.parametrize("skip", range(3))
    def test_a_reading_of_one_server_is_whole_or_none(self, dcim: Dcim, skip: int) -> None:
        before = dcim.calls()
        dcim.driver.read(S1)
        if dcim.calls() - before <= skip:
            return
        dcim.plan(Trouble.GARBAGE, act=False, skip=skip)

        with pytest.raises(Unusable):
            dcim.driver.read(S1)

    # Ids.

    def test_ids_are_opaque(self, dcim: Dcim) -> None:
        plain, zero = dcim.add_server("69"), dcim.add_server("069")
        before = dcim.truth(plain)

        dcim.driver.edit_server(zero, owner=dcim.admin, notes="the one with a zero")
        dcim.driver.set_power(zero, Power.ON)

        assert dcim.eventually(lambda: dcim.row(zero).power is Power.ON)
        assert dcim.truth(plain) == before
        assert (dcim.driver.read(plain).notes, dcim.driver.read(zero).notes) == (before.notes, "the one with a zero")

    @any_act_on_a_server
    def test_an_act_without_a_server_touches_none(self, dcim: Dcim, act: Act) -> None:
        """No driver hands out such an id; with an empty one some calls of a panel create things."""
        about = act.prepare(dcim, S1)
        before = (dcim.truth(S1), dcim.truth(S2))

        with pytest.raises((NoSuchObject, NotDone)):
            act.do(dcim.driver, ServerRef(""), about)

        assert (dcim.truth(S1), dcim.truth(S2)) == before
        assert len(dcim.driver.list_servers().servers) == len(before)

    @pytest.mark.parametrize("ref", ["0127", "127 ", "127, 128", "127,128", "127&elid=128", "999999"])
    @any_act_on_a_server
    def test_an_act_on_an_unknown_server_touches_no_other(self, dcim: Dcim, act: Act, ref: str) -> None:
        about = act.prepare(dcim, S1)
        before = (dcim.truth(S1), dcim.truth(S2))

        with pytest.raises(NoSuchObject):
            act.do(dcim.driver, ServerRef(ref), about)

        for _ in range(3):
            dcim.pass_time()
        assert (dcim.truth(S1), dcim.truth(S2)) == before

    @pytest.mark.parametrize("ref", ["0127", "127 ", "127, 128", "999999"])
    def test_an_unknown_server_can_not_be_read(self, dcim: Dcim, ref: str) -> None:
        with pytest.raises(NoSuchObject):
            dcim.driver.read(ServerRef(ref))

    @pytest.mark.parametrize("ref", ["999999", "", "0"])
    @pytest.mark.parametrize("act", [act for act in ON_SERVER if act.prepare in (a_row, a_second_row)], ids=str)
    def test_an_unknown_row_is_no_row(self, dcim: Dcim, act: Act, ref: str) -> None:
        act.prepare(dcim, S1)
        before = dcim.truth(S1)

        with pytest.raises(NoSuchObject):
            act.do(dcim.driver, S1, ref)

        assert dcim.truth(S1) == before

    @pytest.mark.parametrize("act", [act for act in ON_SERVER if act.prepare in (a_row, a_second_row)], ids=str)
    def test_another_servers_row_is_not_touched(self, dcim: Dcim, act: Act) -> None:
        about = act.prepare(dcim, S2)
        before = (dcim.truth(S1), dcim.truth(S2))

        with pytest.raises(NoSuchObject):
            act.do(dcim.driver, S1, about)

        assert (dcim.truth(S1), dcim.truth(S2)) == before

    @pytest.mark.parametrize("ref", ["999999", ""])
    def test_an_unknown_link_is_no_link(self, dcim: Dcim, ref: str) -> None:
        with pytest.raises(NoSuchObject):
            dcim.driver.set_link(S1, LinkRef(ref), on=True)

    # Every act.

    @any_act
    def test_an_act_takes_effect_by_one_mutating_call(self, dcim: Dcim, act: Act) -> None:
        about = act.prepare(dcim, S1)
        before, acts = dcim.truth(S1), len(dcim.acts())

        act.do(dcim.driver, S1, about)

        assert dcim.eventually(lambda: act.done(before, dcim.truth(S1), about))
        assert len(dcim.acts()) == acts + 1

    @any_act_on_a_server
    def test_an_act_touches_no_other_server(self, dcim: Dcim, act: Act) -> None:
        before = dcim.truth(S2)
        about = act.prepare(dcim, S1)

        act.do(dcim.driver, S1, about)

        assert dcim.eventually(lambda: settled(dcim, S1))
        assert dcim.truth(S2) == before

    @any_act
    @pytest.mark.parametrize(
        ("trouble", "error"),
        [(Trouble.UNREACHABLE, Unreachable), (Trouble.DENIED, Denied), (Trouble.BUSY, Busy)],
        ids=str,
    )
    def test_what_was_surely_not_done_says_so(
        self, dcim: Dcim, act: Act, trouble: Trouble, error: type[NotDone]
    ) -> None:
        about = act.prepare(dcim, S1)
        before = dcim.truth(S1)
        dcim.plan(trouble, act=True)

        with pytest.raises(error) as caught:
            act.do(dcim.driver, S1, about)

        assert dcim.truth(S1) == before
        assert_tells_no_secret(caught.value, *SECRETS, *dcim.secrets)

    @any_act
    @pytest.mark.parametrize("trouble", [Trouble.LOST_BEFORE, Trouble.GARBAGE], ids=str)
    def test_without_an_answer_an_act_is_unsure_and_may_have_no_effect(
        self, dcim: Dcim, act: Act, trouble: Trouble
    ) -> None:
        about = act.prepare(dcim, S1)
        before = dcim.truth(S1)
        dcim.plan(trouble, act=True)

        with pytest.raises(Unsure) as caught:
            act.do(dcim.driver, S1, about)

        assert dcim.truth(S1) == before
        assert_tells_no_secret(caught.value, *SECRETS, *dcim.secrets)

    @any_act
    def test_without_an_answer_an_act_is_unsure_and_may_have_its_effect(self, dcim: Dcim, act: Act) -> None:
        about = act.prepare(dcim, S1)
        before = dcim.truth(S1)
        dcim.plan(Trouble.LOST_AFTER, act=True)

        with pytest.raises(Unsure) as caught:
            act.do(dcim.driver, S1, about)

        assert dcim.eventually(lambda: act.done(before, dcim.truth(S1), about))
        assert_tells_no_secret(caught.value, *SECRETS, *dcim.secrets)

    @any_act
    def test_an_act_is_not_sent_when_its_own_look_fails(self, dcim: Dcim, act: Act) -> None:
        about = act.prepare(dcim, S1)
        before, acts = dcim.truth(S1), dcim.acts()
        dcim.plan(Trouble.GARBAGE, act=False)

        error: Retryable | None = None
        try:
            act.do(dcim.driver, S1, about)
        except Retryable as trouble:
            error = trouble

        assert not isinstance(error, Unsure)
        if error is not None:
            assert dcim.acts() == acts
            assert dcim.truth(S1) == before

    @any_act
    def test_no_act_is_sent_with_too_short_a_lease(self, dcim: Dcim, act: Act) -> None:
        about = act.prepare(dcim, S1)
        acts = dcim.acts()

        with touch.lease(0.01), pytest.raises(NotDone):
            act.do(dcim.driver, S1, about)

        assert dcim.acts() == acts

    @any_act
    def test_no_act_is_sent_inside_a_transaction(self, dcim: Dcim, act: Act) -> None:
        about = act.prepare(dcim, S1)
        calls = dcim.calls()

        with touch.transaction(), pytest.raises(TransactionOpen):
            act.do(dcim.driver, S1, about)

        assert dcim.calls() == calls

    @any_look
    def test_no_look_is_sent_inside_a_transaction(self, dcim: Dcim, look: Callable[[Driver], object]) -> None:
        calls = dcim.calls()

        with touch.transaction(), pytest.raises(TransactionOpen):
            look(dcim.driver)

        assert dcim.calls() == calls

    @pytest.mark.parametrize("act", [SET_PASSWORD, *REPEATABLE], ids=str)
    def test_what_is_repeatable_may_come_twice(self, dcim: Dcim, act: Act) -> None:
        about = act.prepare(dcim, S1)
        before = dcim.truth(S1)
        act.do(dcim.driver, S1, about)
        assert dcim.eventually(lambda: act.done(before, dcim.truth(S1), about) and settled(dcim, S1))
        once = dcim.truth(S1)

        act.do(dcim.driver, S1, about)

        assert dcim.eventually(lambda: settled(dcim, S1))
        assert dcim.truth(S1) == once

    # Users.

    def test_a_user_of_that_login_exists_already(self, dcim: Dcim) -> None:
        dcim.driver.create_user(LOGIN, PASSWORD)
        logins = dcim.logins()

        with pytest.raises(AlreadyExists) as caught:
            dcim.driver.create_user(LOGIN, PASSWORD)

        assert dcim.logins() == logins
        assert_tells_no_secret(caught.value, *SECRETS, *dcim.secrets)

    @pytest.mark.parametrize(("login", "password"), [("", PASSWORD), ("x" * 80, PASSWORD), (LOGIN, "a"), (LOGIN, "")])
    def test_a_bad_login_or_password_is_refused_for_good(self, dcim: Dcim, login: str, password: str) -> None:
        logins = dcim.logins()

        with pytest.raises(BadValue) as caught:
            dcim.driver.create_user(login, password)

        assert dcim.logins() == logins
        assert_tells_no_secret(caught.value, *SECRETS, *dcim.secrets)

    # Passwords: a log-in proves them.

    def test_a_new_password_lets_the_user_in_and_the_old_one_does_not(self, dcim: Dcim) -> None:
        user = dcim.driver.create_user(LOGIN, PASSWORD)
        users = dcim.driver.users()
        assert [dcim.driver.logs_in(LOGIN, tried) for tried in (PASSWORD, NEW_PASSWORD)] == [True, False]

        dcim.driver.set_password(user, NEW_PASSWORD)

        assert [dcim.driver.logs_in(LOGIN, tried) for tried in (PASSWORD, NEW_PASSWORD)] == [False, True]
        assert dcim.driver.users() == users

    def test_a_new_password_is_that_users_alone(self, dcim: Dcim) -> None:
        user, other = (dcim.driver.create_user(login, PASSWORD) for login in (LOGIN, "petrov"))
        assert user != other

        dcim.driver.set_password(user, NEW_PASSWORD)

        assert dcim.driver.logs_in("petrov", PASSWORD)
        assert not dcim.driver.logs_in("petrov", NEW_PASSWORD)

    @pytest.mark.parametrize(
        ("login", "password"),
        [
            ("nobody-of-that", PASSWORD),
            (LOGIN, NEW_PASSWORD),
            (LOGIN, PASSWORD.lower()),
            (LOGIN, f"{PASSWORD} "),
            (LOGIN, ""),
            ("", PASSWORD),
            ("", ""),
        ],
    )
    def test_a_log_in_with_anything_else_is_refused(self, dcim: Dcim, login: str, password: str) -> None:
        dcim.driver.create_user(LOGIN, PASSWORD)

        assert dcim.driver.logs_in(login, password) is False

    def test_a_password_of_any_signs_can_be_tried(self, dcim: Dcim) -> None:
        password = "a:b&c=d+e%20f <ж> \"'"
        user = dcim.driver.create_user(LOGIN, PASSWORD)

        dcim.driver.set_password(user, password)

        assert dcim.driver.logs_in(LOGIN, password) is True
        assert not dcim.driver.logs_in(LOGIN, password.replace("+", " "))

    def test_after_a_log_in_we_are_who_we_were(self, dcim: Dcim) -> None:
        """Neither is its session used nor a refusal taken for ours."""
        dcim.driver.create_user(LOGIN, PASSWORD)

        for password in (PASSWORD, NEW_PASSWORD, PASSWORD):
            dcim.driver.logs_in(LOGIN, password)
            assert dcim.driver.whoami().ref == dcim.admin
            dcim.driver.edit_server(S1, owner=dcim.admin, notes=password[:3])
            assert dcim.truth(S1).notes == password[:3]

    def test_a_log_in_is_one_call_and_no_act(self, dcim: Dcim) -> None:
        dcim.driver.create_user(LOGIN, PASSWORD)
        calls, acts, before = dcim.calls(), dcim.acts(), dcim.truth(S1)

        for password in (PASSWORD, NEW_PASSWORD):
            dcim.driver.logs_in(LOGIN, password)

        assert dcim.calls() == calls + 2
        assert (dcim.acts(), dcim.truth(S1)) == (acts, before)

    @pytest.mark.parametrize("user", ["", "999999", "5,6", "5, 6", "05", "no_owner"])
    def test_a_password_of_an_unknown_user_is_nobodys(self, dcim: Dcim, user: str) -> None:
        dcim.driver.create_user(LOGIN, PASSWORD)
        before = dcim.truth(S1)

        with pytest.raises(NoSuchObject) as caught:
            dcim.driver.set_password(UserRef(user), NEW_PASSWORD)

        assert dcim.truth(S1) == before
        assert_tells_no_secret(caught.value, *SECRETS, *dcim.secrets)

    @pytest.mark.parametrize("password", ["", "a"])
    def test_a_weak_new_password_is_refused_for_good(self, dcim: Dcim, password: str) -> None:
        user = dcim.driver.create_user(LOGIN, PASSWORD)
        before = dcim.truth(S1)

        with pytest.raises(BadValue):
            dcim.driver.set_password(user, password)

        assert dcim.truth(S1) == before
        assert dcim.driver.logs_in(LOGIN, PASSWORD)

    # Owner and notes.

    def test_owner_and_notes_are_set_in_one_edit_and_nothing_else(self, dcim: Dcim) -> None:
        customer = dcim.driver.create_user(LOGIN, PASSWORD)
        dcim.driver.add_address(S1, Family.IPV4, DOMAIN)
        before, acts = dcim.truth(S1), len(dcim.acts())

        dcim.driver.edit_server(S1, owner=customer, notes=FOREIGN_NOTES)

        after = dcim.truth(S1)
        assert len(dcim.acts()) == acts + 1
        assert (after.owner, after.notes) == (customer, FOREIGN_NOTES)
        assert after == replace(before, owner=customer, notes=FOREIGN_NOTES)
        reading = dcim.driver.read(S1)
        assert (reading.owner, reading.notes) == (customer, FOREIGN_NOTES)
        assert dcim.row(S1).owner in {customer, LOGIN}

    def test_a_server_can_be_made_nobodys(self, dcim: Dcim) -> None:
        dcim.driver.edit_server(S1, owner=dcim.admin, notes="ours")

        dcim.driver.edit_server(S1, owner=None, notes="")

        assert (dcim.truth(S1).owner, dcim.truth(S1).notes) == (None, "")
        assert (dcim.driver.read(S1).owner, dcim.driver.read(S1).notes) == (None, "")
        assert dcim.row(S1).owner == ""

    def test_an_unknown_owner_is_refused_for_good(self, dcim: Dcim) -> None:
        before = dcim.truth(S1)

        with pytest.raises(Fatal):
            dcim.driver.edit_server(S1, owner=UserRef("999999"), notes="ours")

        assert dcim.truth(S1) == before

    @pytest.mark.parametrize("poison", POISON, ids=ascii)
    @pytest.mark.parametrize(
        "act",
        [
            lambda driver, bad: driver.edit_server(S1, owner=None, notes=bad),
            lambda driver, bad: driver.add_address(S1, Family.IPV4, bad),
            lambda driver, bad: driver.create_user(bad, PASSWORD),
            lambda driver, bad: driver.create_user(LOGIN, bad),
            lambda driver, bad: driver.set_password(driver.whoami().ref, bad),
            lambda driver, bad: driver.logs_in(bad, PASSWORD),
            lambda driver, bad: driver.logs_in(LOGIN, bad),
            lambda driver, bad: driver.install(S1, driver.os_templates(S1)[0], bad),
        ],
        ids=[
            "notes",
            "domain",
            "login",
            "password",
            "new password",
            "login to try",
            "password to try",
            "root password",
        ],
    )
    def test_what_no_panel_can_hold_is_never_sent(
        self, dcim: Dcim, act: Callable[[Driver, str], object], poison: str
    ) -> None:
        before, acts = dcim.truth(S1), dcim.acts()

        with pytest.raises(BadValue) as caught:
            act(dcim.driver, f"Secret{poison}7-word")

        assert (dcim.truth(S1), dcim.acts()) == (before, acts)
        assert_tells_no_secret(caught.value, "Secret", *dcim.secrets)

    # Domains and addresses.

    def test_the_servers_domain_follows_its_main_row_only(self, dcim: Dcim) -> None:
        alias = dcim.driver.add_address(S1, Family.IPV4, DOMAIN)
        assert dcim.row(S1).domain == FREE_MARKER

        dcim.driver.set_domain(S1, RowRef(a_row(dcim, S1)), DOMAIN)
        dcim.driver.set_domain(S1, alias.ref, "alias.example.org")

        assert dcim.row(S1).domain == dcim.truth(S1).domain == DOMAIN
        assert [row.domain for row in dcim.driver.read(S1).addresses] == [DOMAIN, "alias.example.org"]

    def test_the_free_marker_goes_and_comes_back(self, dcim: Dcim) -> None:
        row = RowRef(a_row(dcim, S1))

        for domain in (DOMAIN, FREE_MARKER):
            dcim.driver.set_domain(S1, row, domain)
            assert dcim.row(S1).domain == domain

    @pytest.mark.parametrize("domain", ["", "two words", "a..b"])
    def test_what_is_no_domain_is_refused_for_good(self, dcim: Dcim, domain: str) -> None:
        before = dcim.truth(S1)

        with pytest.raises(BadValue):
            dcim.driver.set_domain(S1, RowRef(a_row(dcim, S1)), domain)

        assert dcim.truth(S1) == before

    @pytest.mark.parametrize("family", list(Family))
    def test_each_call_takes_one_more_address(self, dcim: Dcim, family: Family) -> None:
        had = len(dcim.truth(S1).addresses)

        new = [dcim.driver.add_address(S1, family, DOMAIN) for _ in range(2)]

        shown: tuple[AddressRow, ...] = dcim.driver.read(S1).addresses[had:]
        assert [(row.ref, row.ip, row.domain, row.family, row.main) for row in shown] == [
            (row.ref, row.ip, DOMAIN, family, False) for row in new
        ]
        assert len({row.ip for row in shown}) == 2

    def test_the_first_address_is_the_main_one(self, dcim: Dcim) -> None:
        bare = dcim.add_bare_server("300")
        assert dcim.driver.read(bare).addresses == ()
        assert dcim.row(bare).ip == ""

        row = dcim.driver.add_address(bare, Family.IPV4, DOMAIN)

        assert [(new.ref, new.main) for new in dcim.driver.read(bare).addresses] == [(row.ref, True)]
        assert (dcim.row(bare).ip, dcim.row(bare).domain) == (row.ip, DOMAIN)

    @pytest.mark.parametrize("family", list(Family))
    def test_an_empty_pool_says_so(self, dcim: Dcim, family: Family) -> None:
        dcim.empty_pool(family)
        before = dcim.truth(S1)

        with pytest.raises(PoolEmpty):
            dcim.driver.add_address(S1, family, DOMAIN)
        assert dcim.truth(S1) == before

        other = next(other for other in Family if other is not family)
        assert dcim.driver.add_address(S1, other, DOMAIN).family is other

    def test_a_row_can_be_deleted_once(self, dcim: Dcim) -> None:
        row = RowRef(a_second_row(dcim, S1))

        dcim.driver.delete_address(S1, row)

        assert row not in {left.ref for left in dcim.driver.read(S1).addresses}
        with pytest.raises(NoSuchObject):
            dcim.driver.delete_address(S1, row)

    # Links.

    def test_links_are_busy_until_they_settle(self, dcim: Dcim) -> None:
        disabled(dcim, S1)
        dcim.take_longer()

        dcim.driver.enable(S1)

        assert not settled(dcim, S1)
        assert dcim.eventually(lambda: settled(dcim, S1) and not dcim.row(S1).disabled)
        assert not dcim.driver.read(S1).disabled

    def test_one_port_is_switched_and_no_other_link(self, dcim: Dcim) -> None:
        port = LinkRef(a_port_that_is_off(dcim, S1))
        before = dict(dcim.truth(S1).links)

        dcim.driver.set_link(S1, port, on=True)
        assert dcim.eventually(lambda: settled(dcim, S1))
        assert dict(dcim.truth(S1).links) == before | {port: True}

        dcim.driver.set_link(S1, port, on=False)
        assert dcim.eventually(lambda: settled(dcim, S1))
        assert dict(dcim.truth(S1).links) == before

    # Power and install.

    def test_power_goes_on_and_off(self, dcim: Dcim) -> None:
        dcim.driver.set_power(S1, Power.ON)
        assert dcim.eventually(lambda: dcim.row(S1).power is Power.ON)

        dcim.driver.set_power(S1, Power.OFF)
        assert dcim.eventually(lambda: dcim.row(S1).power is Power.OFF)

    def test_power_can_not_be_made_unknown(self, dcim: Dcim) -> None:
        acts = dcim.acts()

        with pytest.raises(BadValue):
            dcim.driver.set_power(S1, Power.UNKNOWN)

        assert dcim.acts() == acts

    def test_a_reboot_ends_with_the_power_on(self, dcim: Dcim) -> None:
        powered(dcim, S1)

        dcim.driver.reboot(S1)

        assert dcim.eventually(lambda: dcim.row(S1).power is Power.ON)
        assert not dcim.row(S1).power_error
        assert (dcim.truth(S1).reboots, dcim.truth(S2).reboots) == (1, 0)

    def test_an_install_under_way_is_not_rebooted(self, dcim: Dcim) -> None:
        an_install_under_way(dcim, S1)

        with pytest.raises(Busy):
            dcim.driver.reboot(S1)

        assert dcim.truth(S1).reboots == 0
        assert dcim.eventually(lambda: not dcim.row(S1).installing)
        assert not dcim.row(S1).operation_failed

    def test_an_install_is_seen_to_run_and_to_end(self, dcim: Dcim) -> None:
        name = a_template(dcim, S1)
        dcim.take_longer()

        dcim.driver.install(S1, name, PASSWORD)

        assert not dcim.row(S1).installing
        assert dcim.eventually(lambda: dcim.row(S1).installing)
        assert dcim.eventually(lambda: not dcim.row(S1).installing)
        assert not dcim.row(S1).operation_failed
        assert (dcim.truth(S1).installs, dcim.truth(S1).template) == (1, name)

    def test_an_install_that_failed_says_so_until_the_next_one(self, dcim: Dcim) -> None:
        name = a_template(dcim, S1)
        dcim.fail_next_install()
        dcim.driver.install(S1, name, PASSWORD)
        assert dcim.eventually(lambda: dcim.row(S1).operation_failed)
        assert not dcim.row(S1).installing

        dcim.driver.install(S1, name, PASSWORD)

        assert dcim.eventually(lambda: dcim.row(S1).installing)
        assert not dcim.row(S1).operation_failed

    def test_a_second_install_is_not_begun(self, dcim: Dcim) -> None:
        an_install_under_way(dcim, S1)

        with pytest.raises(Busy):
            dcim.driver.install(S1, dcim.driver.os_templates(S1)[0], PASSWORD)

        assert dcim.truth(S1).installs == 1

    def test_a_template_that_is_not_for_this_server_is_refused_for_good(self, dcim: Dcim) -> None:
        a_template(dcim, S1)

        for name in (dcim.refuse_template(S1), "ISPsystem__None-1-x86_64", ""):
            with pytest.raises(BadValue) as caught:
                dcim.driver.install(S1, name, PASSWORD)
            assert_tells_no_secret(caught.value, PASSWORD, *dcim.secrets)

        assert dcim.truth(S1).installs == 0

    @pytest.mark.parametrize("password", ["", "a"])
    def test_a_weak_root_password_is_refused_for_good(self, dcim: Dcim, password: str) -> None:
        name = a_template(dcim, S1)

        with pytest.raises(BadValue):
            dcim.driver.install(S1, name, password)

        assert dcim.truth(S1).installs == 0

    def test_with_nothing_under_way_a_cancel_counts_as_done(self, dcim: Dcim) -> None:
        before = dcim.truth(S1)

        dcim.driver.cancel_operation(S1)

        assert dcim.truth(S1) == before

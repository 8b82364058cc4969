"""
DCImanager 5 as a `ports.Driver`: what its lists and forms mean; touches its own client only.

Where the public material is silent this room decides; README.md beside it says what and why.
"""

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from provisioner.domain.connection import Endpoint
from provisioner.domain.server import (
    RACK_MOST,
    AddressRow,
    Capabilities,
    Family,
    Link,
    LinkKind,
    LinkRef,
    ListedServer,
    Listing,
    Network,
    Power,
    RowRef,
    ServerReading,
    ServerRef,
    User,
    UserRef,
)
from provisioner.drivers.dcimanager5.client import (
    Client,
    Document,
    NoRights,
    Row,
    UnknownFunction,
    act_sent,
    nothing_sent,
)
from provisioner.errors import BadValue, Fatal, NoSuchObject, Unsure, Unusable

NO_OWNER: Final = "no_owner"  #: what the form calls nobody, D[W][P]
ORDINARY_LEVELS: Final = frozenset({"16", "lvUser"})  #: in lists, when creating, D[W]
RESENT: Final = ("mac", "name", "type")  #: `server.edit` wants them with every change, D[W]
RESENT_OF_USER: Final = ("name", "level")  #: `user.edit` may want them with every change, inferred
GROUP: Final = "group"  #: type of an address row that stands for a block, D[W]
STATES: Final = frozenset({"id", "type", "func_in_progress"})  #: of a link row, no words about the port


class Dcimanager5:
    """One DCImanager 5, as one of its administrators."""

    def __init__(self, endpoint: Endpoint, *, client: Client | None = None) -> None:
        self._endpoint = endpoint
        self._client = client or Client(endpoint)
        self._shows_networks = True

    def __repr__(self) -> str:
        return f"Dcimanager5({self.name!r})"

    @property
    def name(self) -> str:
        return self._endpoint.name

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(shows_ports=False, shows_networks=self._shows_networks)

    def whoami(self) -> User:
        """
        Give the user that we act as, by reading the list of users, which only administrators may.

        Raises:
            WrongPassword, NoRights, NotDcimanager, Unreachable, Unusable: each with its sentence.
        """
        ours = self._endpoint.username
        found = next((user for user in self.users() if user.login == ours), None)
        found = found or self._ourselves_as_owner()
        if not found:
            raise self._client.about("user").error(
                NoRights, "neither the users nor the possible owners shown to us have our user"
            )
        if not found.administrator:
            raise self._client.about("user").error(NoRights, "our user is not an administrator")
        return found

    def list_servers(self) -> Listing:
        return Listing(self._servers())

    def read(self, server: ServerRef, main_ip: str = "", *, links: bool = True) -> ServerReading:
        """
        Read form, addresses and *links*; one look more finds the main address where *main_ip* is none of them.

        All looks together take no longer than one may.
        """
        until = self._client.deadline()
        form = self._form(server, until=until)
        owner = form.text("owner")
        return ServerReading(
            ref=server,
            owner=None if owner in {"", NO_OWNER} else UserRef(owner),
            notes=form.text("notes"),
            disabled=form.text("disabled") == "on",
            faulty=form.text("hwproblem") == "on",
            addresses=self._addresses(server, form, until, main_ip),
            links=self._links(server, until) if links else None,
            mac=form.text("mac"),
        )

    def survey(self, server: ServerRef, main_ip: str) -> ServerReading:
        """Read form and addresses, two looks; a domain that the list of addresses does not show is left out."""
        until = self._client.deadline()
        form = self._form(server, until=until)
        owner = form.text("owner")
        rows = self._address_rows(server, until)
        main = _row_of(rows, main_ip) or (rows[0] if rows else None)
        return ServerReading(
            ref=server,
            owner=None if owner in {"", NO_OWNER} else UserRef(owner),
            notes=form.text("notes"),
            disabled=form.text("disabled") == "on",
            faulty=form.text("hwproblem") == "on",
            addresses=tuple(
                _address(RowRef(row.text("id")), row.text("ip"), row.text("domain"), row, main=row is main)
                for row in rows
            ),
            links=None,
            mac=form.text("mac"),
        )

    def users(self) -> Sequence[User]:
        """
        Read all users; a row without id or name makes the whole list unusable.

        Left out today and seen tomorrow, such a user would look as if we had just created it.
        """
        rows = self._client.rows("user")
        self._check_columns("user", rows, ("level",))
        self._check_every("user", rows, "id", "name")
        return tuple(
            User(
                ref=UserRef(row.text("id")),
                login=row.text("name"),
                administrator=row.text("level") not in ORDINARY_LEVELS,
            )
            for row in rows
        )

    def server_types(self) -> Sequence[str]:
        """Give the names of the server types; a panel without such a list shows them in its servers."""
        try:
            rows = self._client.rows("chassistempl")
        except UnknownFunction:
            return sorted({row.server_type for row in self.list_servers().servers} - {""})
        self._check_every("chassistempl", rows, "name")
        return [row.text("name") for row in rows]

    def os_templates(self, server: ServerRef | None = None) -> Sequence[str]:
        if server is None:
            rows = self._client.rows("osmgr")
            self._check_every("osmgr", rows, "id")
            return [row.text("id") for row in rows]
        form = self._client.look("server.operations", {"elid": server}, server=server)
        options = form.options("ostemplate")
        if options is None:
            raise self._unusable("server.operations", "the form lists no templates", server)
        return [key for key, _ in options if key]

    def networks(self) -> Sequence[Network]:
        """Read the address pools; none where the panel lacks the list, as with IPmanager beside it."""
        try:
            rows = self._client.rows("ipdb")
        except UnknownFunction:
            self._shows_networks = False
            return ()
        self._shows_networks = True
        return [
            Network(
                ref=row.text("id"),
                name=row.text("name") or row.text("range") or row.text("ip"),
                netmask=row.text("netmask"),
                gateway=row.text("gateway"),
            )
            for row in rows
        ]

    def create_user(self, login: str, password: str) -> UserRef:
        made = self._client.submit(
            "user.edit",
            {"level": "lvUser", "name": login, "passwd": password, "confirm": password},
        )
        if ref := made.text("id") or made.text("elid"):
            return UserRef(ref)
        about = self._client.about("user.edit")
        with act_sent(about):
            for user in self.users():
                if user.login == login:
                    return user.ref
        raise about.error(Unsure, "accepted, but the list of users does not show it")

    def edit_server(self, server: ServerRef, *, owner: UserRef | None, notes: str) -> None:
        """
        Look at the form, then submit owner and notes with the fields that the panel wants back.

        Raises:
            NoSuchObject: no such server, or no such user: a panel may take an owner that it does
                not know and leave the server nobody's.
        """
        about = self._client.about("server.edit", server)
        with nothing_sent(about):
            form = self._form(server, RESENT)
            known = owner is None or self._may_own(form, owner)
        if not known:
            raise about.error(NoSuchObject, "not sent: the panel knows no such owner")
        fields = {name: form.text(name) for name in RESENT}
        fields |= {"elid": server, "notes": notes, "owner": NO_OWNER if owner is None else owner}
        self._client.submit("server.edit", fields, server=server)

    def set_domain(self, server: ServerRef, row: RowRef, domain: str) -> None:
        if not domain:
            raise self._client.about("iplist.edit", server).error(BadValue, "not sent: no domain")
        fields = {"plid": server, "elid": row, "domain": domain}
        self._client.submit("iplist.edit", fields, server=server)

    def add_address(self, server: ServerRef, family: Family, domain: str) -> AddressRow:
        """
        Take any public address of *family*.

        The reply is documented to hold the address, its id only inferred: where one of them is
        missing the row is looked up by the other. Whether it is the main one, only `read` tells.
        """
        fields = {
            "plid": server,
            "domain": domain,
            "iptype": "public",
            "ip": "",
            "family": family.value,
        }
        made = self._client.submit("iplist.edit", fields, server=server)
        ref, ip = made.text("id") or made.text("elid"), made.text("ip")
        if ref and ref != server and ip:
            return _address(RowRef(ref), ip, domain, made)
        about = self._client.about("iplist.edit", server)
        with act_sent(about):
            for row in self._address_rows(server):
                if row.text("id") == ref if not ip else _same_ip(row.text("ip"), ip):
                    return _address(RowRef(row.text("id")), row.text("ip"), domain, row)
        raise about.error(Unsure, "accepted, but no address row shows it")

    def delete_address(self, server: ServerRef, row: RowRef) -> None:
        """Delete a row; refuse the main address, without which the server could not be reached."""
        about = self._client.about("iplist.delete", server)
        with nothing_sent(about):
            until = self._client.deadline()
            rows = self._addresses(server, self._form(server, (), until=until), until)
        found = next((address for address in rows if address.ref == row), None)
        if not found:
            raise about.error(NoSuchObject, "not sent: the server has no such address row")
        if found.main:
            raise about.error(BadValue, "not sent: it is the server's main address")
        self._client.act("iplist.delete", {"plid": server, "elid": row}, server=server)

    def enable(self, server: ServerRef) -> None:
        self._client.act("server.enable", {"elid": server}, server=server)

    def disable(self, server: ServerRef) -> None:
        self._client.act("server.disable", {"elid": server}, server=server)

    def set_link(self, server: ServerRef, link: LinkRef, *, on: bool) -> None:
        """Switch a link after a look that it is a switch port: a BMC that is cut off is lost."""
        func = "server.connection.on" if on else "server.connection.off"
        about = self._client.about(func, server)
        with nothing_sent(about):
            links = self._links(server, self._client.deadline())
        found = next((known for known in links if known.ref == link), None)
        if not found:
            raise about.error(NoSuchObject, "not sent: the server has no such link")
        if found.kind is not LinkKind.SWITCH:
            raise about.error(BadValue, f"not sent: the link is no switch port ({found.kind})")
        self._client.act(func, {"plid": server, "elid": link}, server=server)

    def set_power(self, server: ServerRef, power: Power) -> None:
        if power is Power.UNKNOWN:
            raise self._client.about("set_power", server).error(BadValue, "not sent: on or off?")
        func = "server.poweron" if power is Power.ON else "server.poweroff"
        self._client.act(func, {"elid": server}, server=server)

    def reboot(self, server: ServerRef) -> None:
        self._client.act("server.reboot", {"elid": server}, server=server)

    def set_password(self, user: UserRef, password: str) -> None:
        """
        Look at the user's form, then submit the password with the fields that the panel wants back.

        An empty one is not sent: in a form it stands for "as it was", and the answer would be ok.
        """
        about = self._client.about("user.edit")
        if not password:
            raise about.error(BadValue, "not sent: no password")
        with nothing_sent(about):
            form = self._client.look("user.edit", {"elid": user})
            if not _is_of(form, user):
                raise self._unusable("user.edit", "the form is not that user's")
            if missing := [name for name in RESENT_OF_USER if not form.text(name)]:
                raise self._unusable("user.edit", f"the form lacks {', '.join(missing)}")
        fields = {name: form.text(name) for name in RESENT_OF_USER}
        fields |= {"elid": user, "passwd": password, "confirm": password}
        self._client.submit("user.edit", fields)

    def logs_in(self, login: str, password: str) -> bool:
        return self._client.admits(login, password)

    def install(self, server: ServerRef, template: str, password: str) -> None:
        fields = {
            "elid": server,
            "operation": "ostemplate",
            "ostemplate": template,
            "passwd": password,
            "confirm": password,
            "checkpasswd": password,
            "recipe": "null",
        }
        self._client.submit("server.operations", fields, server=server)

    def cancel_operation(self, server: ServerRef) -> None:
        """
        Cancel what runs.

        With nothing under way the panel is expected to answer with some error, whose type nobody
        knows: a refusal counts as done when the list shows the server without an operation.
        """
        try:
            self._client.act("server.opercancel", {"elid": server}, server=server)
        except UnknownFunction:
            raise
        except Fatal:
            about = self._client.about("server.opercancel", server)
            with nothing_sent(about):
                listed = self._listed(server)
            if not listed:
                raise about.error(NoSuchObject, "the list does not show this server") from None
            if listed.installing or listed.diagnosing:
                raise

    def _ourselves_as_owner(self) -> User | None:
        """
        Find our user among the owners that a server's form offers.

        The list of users is not documented to hold administrators; the owners are (§2.1).
        """
        for listed in self._servers():
            if listed.ref:
                options = self._form(listed.ref).options("owner") or ()
                ours = self._endpoint.username
                keys = [key for key, label in options if label == ours and key != NO_OWNER]
                return User(UserRef(keys[0]), ours, administrator=True) if len(keys) == 1 else None
        return None

    def _form(
        self,
        server: ServerRef,
        needs: Sequence[str] = ("owner", "notes", "disabled"),
        *,
        until: float | None = None,
    ) -> Document:
        """View a server's form; it must be that server's, and have the fields that are needed."""
        form = self._client.look("server.edit", {"elid": server}, until=until, server=server)
        if not _is_of(form, server):
            raise self._unusable("server.edit", "the form is not that server's", server)
        if missing := [name for name in needs if not form.has(name)]:
            raise self._unusable("server.edit", f"the form lacks {', '.join(missing)}", server)
        return form

    def _may_own(self, form: Document, owner: UserRef) -> bool:
        """Say whether a user is there: among the owners that the form offers, else in the list."""
        if any(key == owner for key, _ in form.options("owner") or ()):
            return owner != NO_OWNER
        return any(user.ref == owner for user in self.users())

    def _address_rows(self, server: ServerRef, until: float | None = None) -> Sequence[Row]:
        """Read the address rows, without those that stand for a block."""
        every = self._client.rows("iplist", {"elid": server}, until=until, server=server)
        rows = [row for row in every if row.text("type") != GROUP]
        self._check_every("iplist", rows, "id", "ip", server=server)
        return rows

    def _addresses(self, server: ServerRef, form: Document, until: float, main_ip: str = "") -> tuple[AddressRow, ...]:
        rows = self._address_rows(server, until)
        main = self._main(server, form, rows, until, main_ip)
        return tuple(
            _address(
                RowRef(row.text("id")),
                row.text("ip"),
                self._domain(server, row, until),
                row,
                main=row is main,
            )
            for row in rows
        )

    def _domain(self, server: ServerRef, row: Row, until: float) -> str:
        """Give a row's domain; the list is not documented to show it, the row's own form is."""
        if row.has("domain"):
            return row.text("domain")
        fields = {"plid": server, "elid": row.text("id")}
        form = self._client.look("iplist.edit", fields, until=until, server=server)
        if not form.has("domain"):
            raise self._unusable("iplist.edit", "neither list nor form shows the domain", server)
        return form.text("domain")

    def _main(self, server: ServerRef, form: Document, rows: Sequence[Row], until: float, main_ip: str) -> Row | None:
        """
        Find the row of the main address, which is the `ip` of the server in the list.

        The form is not known to show it. A single row needs no search; for several, *main_ip* counts,
        which an earlier list named, or the list is read. Where that names no address of theirs, the
        first row counts: one must be kept. `delete_address` looks at a list of its own.
        """
        if len(rows) <= 1:
            return rows[0] if rows else None
        if found := _row_of(rows, form.text("ip")) or _row_of(rows, main_ip):
            return found
        listed = self._listed(server, until)
        if not listed:
            raise self._unusable("server", "the list does not show this server", server)
        return _row_of(rows, listed.ip) or rows[0]

    def _listed(self, server: ServerRef, until: float | None = None) -> ListedServer | None:
        # An ill row has no id: it is nobody's.
        servers = [row for row in self._servers(until) if row.ref]
        return next((row for row in servers if row.ref == server), None)

    def _servers(self, until: float | None = None) -> tuple[ListedServer, ...]:
        rows = self._client.rows("server", until=until)
        self._check_columns("server", rows, ("id",), ("hostname",), ("chassis_templ", "type"))
        ids = [row.text("id") for row in rows if row.text("id")]
        if len(ids) != len(set(ids)):
            raise self._unusable("server", "the list shows an id twice")
        return tuple(_listed(row) for row in rows)

    def _links(self, server: ServerRef, until: float) -> tuple[Link, ...]:
        func = "server.connection"
        rows = self._client.rows(func, {"elid": server}, until=until, server=server)
        self._check_every(func, rows, "id", "type", server=server)
        return tuple(self._link(server, row, until) for row in rows)

    def _link(self, server: ServerRef, row: Row, until: float) -> Link:
        kind = _link_kind(row.text("type"))
        description = row.words(besides=STATES)
        if kind is LinkKind.SWITCH and self._endpoint.bmc_port_pattern:
            description = description or self._port(server, row, until)
            if self._bmc_pattern(server).search(description):
                kind = LinkKind.BMC
        return Link(
            ref=LinkRef(row.text("id")),
            kind=kind,
            description=description,
            busy=row.flag("func_in_progress"),
        )

    def _port(self, server: ServerRef, row: Row, until: float) -> str:
        """Give a switch port's words from the link's form, where the list has none."""
        func, fields = "server.connection.edit", {"plid": server, "elid": row.text("id")}
        form = self._client.look(func, fields, until=until, server=server)
        port = form.text("port")
        label = dict(form.options("port") or ()).get(port, "")
        if not port:
            # Without its words nobody can say that it is not the BMC's: better no reading.
            raise self._unusable(func, "a switch port shows nothing that tells a BMC's", server)
        return f"{port} {label}".strip()

    def _bmc_pattern(self, server: ServerRef) -> re.Pattern[str]:
        try:
            return re.compile(self._endpoint.bmc_port_pattern)
        except re.error:
            detail = "the connection's bmc_port_pattern is no regular expression"
        raise self._unusable("server.connection", detail, server)

    def _check_columns(self, func: str, rows: Sequence[Row], *needs: tuple[str, ...]) -> None:
        """Raise `Unusable` when a needed field, or each of its other names, is in no row at all."""
        for names in needs:
            if rows and not any(row.has(name) for row in rows for name in names):
                raise self._unusable(func, f"no row of the list has {' or '.join(names)}")

    def _check_every(self, func: str, rows: Sequence[Row], *needs: str, server: ServerRef | None = None) -> None:
        """Raise `Unusable` when a row lacks a needed value, or the first of them comes twice."""
        for name in needs:
            if not all(row.text(name) for row in rows):
                raise self._unusable(func, f"a row of the list has no {name}", server)
        first = [row.text(needs[0]) for row in rows]
        if len(first) != len(set(first)):
            raise self._unusable(func, f"the list shows the same {needs[0]} twice", server)

    def _unusable(self, func: str, detail: str, server: ServerRef | None = None) -> Unusable:
        return self._client.about(func, server or "").error(Unusable, detail)


def _is_of(form: Document, ref: str) -> bool:
    """Say whether a form is of the object that was asked for, by all ids that it shows."""
    return {form.text("id"), form.text("elid")} - {""} == {ref}


def _listed(row: Row) -> ListedServer:
    """Give a server's row as it is; one that can't be believed says why."""
    owner, ip = row.text("owner"), row.text("ip")
    server_type = row.text("chassis_templ") or row.text("type")
    return ListedServer(
        ref=ServerRef(row.text("id")),
        name=row.text("name"),
        server_type=server_type,
        domain=row.text("hostname"),
        ip=ip,
        owner="" if owner == NO_OWNER else owner,
        mac=row.text("mac"),
        rack=" ".join(row.text("rack").split())[:RACK_MOST],
        description=row.text("gen_chassis_name"),
        power=_power(row),
        power_error=row.flag("powererror"),
        disabled=row.flag("disabled"),
        blocked=row.flag("blocked"),
        faulty=row.flag("hwproblem"),
        diagnosing=row.flag("diag_in_progress"),
        installing=row.flag("install_in_progress"),
        operation_failed=row.flag("operation_failed"),
        ill=_illness(row.text("id"), server_type, ip),
    )


def _illness(ref: str, server_type: str, ip: str) -> str:
    if not ref:
        return "the row has no id"
    if not server_type:
        return "the row has no server type"
    if ip and _parsed_ip(ip) is None:
        return "the row's main address is none"
    return ""


def _power(row: Row) -> Power:
    """Give the power state; no flag, or both, is not known."""
    on, off = row.flag("poweron"), row.flag("poweroff")
    if on == off:
        return Power.UNKNOWN
    return Power.ON if on else Power.OFF


def _link_kind(shown: str) -> LinkKind:
    """Read a link's type; `Switch` and `IPMI` are documented, other spellings guarded against."""
    name = shown.lower()
    if "ipmi" in name or "bmc" in name:
        return LinkKind.BMC
    if "switch" in name:
        return LinkKind.SWITCH
    return LinkKind.PDU if "pdu" in name else LinkKind.OTHER


def _address(ref: RowRef, ip: str, domain: str, shown: Row | Document, *, main: bool = False) -> AddressRow:
    return AddressRow(
        ref=ref,
        ip=ip,
        domain=domain,
        family=Family.IPV6 if ":" in ip else Family.IPV4,
        main=main,
        netmask=shown.text("netmask"),
        gateway=shown.text("gateway"),
    )


def _row_of(rows: Sequence[Row], ip: str) -> Row | None:
    return next((row for row in rows if _same_ip(row.text("ip"), ip)), None)


def _same_ip(one: str, other: str) -> bool:
    """Compare addresses, not spellings: IPv6 has many."""
    return one == other or (_parsed_ip(one) is not None and _parsed_ip(one) == _parsed_ip(other))


@lru_cache(maxsize=10_000)  # a list shows the same ones each time
def _parsed_ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_interface(text.strip()).ip
    except ValueError:
        return None

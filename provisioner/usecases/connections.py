"""Connections to a DCIM: tried before they are saved, checked, paused and resumed by hand."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from provisioner.domain.catalogue import ConnectionSettings, name_of
from provisioner.domain.connection import ConnectionState, Endpoint
from provisioner.domain.naming import storable
from provisioner.domain.server import ListedServer, Network, UserRef
from provisioner.domain.stock import bars, sentence, twins
from provisioner.errors import Denied, Invalid, NotFound, RemoteError, Unreachable
from provisioner.ports import Catalogue, Driver, Drivers, Kinds, Observer, Waker
from provisioner.usecases.observe import observe

PEM = "-----BEGIN CERTIFICATE-----"
FINGERPRINT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class SeenServer:
    """A server as the DCIM lists it."""

    server: str  #: its id in the DCIM
    name: str
    server_type: str
    ip: str
    description: str
    why_not: str = ""  #: why it can't be sold; "" when it can


@dataclass(frozen=True, slots=True)
class ConnectionReport:
    """What was found behind a connection; never its password."""

    name: str
    kind: str
    url: str
    username: str
    state: str
    warnings: Sequence[str]  #: what is not safe about it, loudly
    administrator: str  #: the id of our user in the DCIM: owner of every server that is reserved
    available: Sequence[SeenServer]
    unavailable: Sequence[SeenServer]
    networks: Sequence[Network]
    server_types: Sequence[str]
    os_templates: Sequence[str]


def save(
    given: ConnectionSettings,
    password: str | None,
    *,
    catalogue: Catalogue,
    kinds: Kinds,
    drivers: Drivers,
    observer: Observer,
    waker: Waker,
    owner: str,
) -> ConnectionReport:
    """
    Save a connection after address, certificate, credentials and rights were tried; says what is behind it.

    None for *password* keeps the old one. *owner* takes the turn to read the list for everybody.

    Raises:
        Invalid: a value can't be taken, or the trial failed; the sentence says at what. Nothing is saved.
    """
    given = _checked(given, kinds)
    if given.in_charge and not catalogue.has_department(given.in_charge):
        raise Invalid(
            f"there is no department {given.in_charge!r}; type `provisioner department set NAME --address …` first",
            field="in_charge",
        )
    driver = kinds.probe(given.kind, _endpoint(given, _password(given, password, catalogue), catalogue))
    try:
        admin, found = _look(driver)
    except RemoteError as error:
        raise Invalid(f"connection {given.name} is not saved: {_why(error)}", field=_blamed(error)) from None
    connection = catalogue.save_connection(given, password, admin)
    if given.enabled:
        observe(connection, owner=owner, observer=observer, drivers=drivers, waker=waker)
    return _report(given, catalogue.connection_state(given.name), admin, found)


def check(name: str, *, catalogue: Catalogue, drivers: Drivers) -> ConnectionReport:
    """
    Try a saved connection now, also a paused one; changes nothing.

    Raises:
        NotFound: no such connection.
        RemoteError: what is wrong with it, in a sentence.
    """
    given = catalogue.connection(name)
    driver = drivers.get(catalogue.connection_id(name))
    admin, found = _look(driver)
    return _report(given, catalogue.connection_state(name), admin, found)


def pause(name: str, *, by: str, reason: str, catalogue: Catalogue) -> None:
    """Stop all calls to a DCIM: its attempts stay where they are, no deadline runs, new orders wait."""
    catalogue.pause(name, by=by, reason=_reason(reason))


def resume(name: str, *, by: str, reason: str, catalogue: Catalogue, waker: Waker) -> None:
    """Go on with a paused DCIM: each of its attempts takes a fresh look."""
    catalogue.resume(name, by=by, reason=_reason(reason))
    waker.observe(catalogue.connection_id(name))
    waker.tick()


@dataclass(frozen=True, slots=True)
class _Found:
    servers: Sequence[ListedServer]
    networks: Sequence[Network]
    types: Sequence[str]
    templates: Sequence[str]


def _look(driver: Driver) -> tuple[UserRef, _Found]:
    admin = driver.whoami()
    found = _Found(driver.list_servers().servers, driver.networks(), driver.server_types(), driver.os_templates())
    return admin.ref, found


def _report(given: ConnectionSettings, state: ConnectionState, admin: UserRef, found: _Found) -> ConnectionReport:
    doubles = twins(found.servers)
    seen = []
    for server in found.servers:
        reasons = bars(server)
        if server.ref in doubles:
            reasons.append("another row with an owner has the same MAC or main address: they are one machine")
        why_not = sentence(reasons)
        seen.append(SeenServer(server.ref, server.name, server.server_type, server.ip, server.description, why_not))
    return ConnectionReport(
        name=given.name,
        kind=given.kind,
        url=given.url,
        username=given.username,
        state=state,
        warnings=given.warnings,
        administrator=admin,
        available=[server for server in seen if not server.why_not],
        unavailable=[server for server in seen if server.why_not],
        networks=found.networks,
        server_types=sorted(found.types),
        os_templates=sorted(found.templates),
    )


def _checked(given: ConnectionSettings, kinds: Kinds) -> ConnectionSettings:
    name_of(given.name, field="name")
    if given.kind not in kinds.kinds():
        raise Invalid(f"there is no kind {given.kind!r} of DCIM; there are {', '.join(kinds.kinds())}", field="kind")
    storable(given.url, field="url", longest=500)
    try:
        parts = urlsplit(given.url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good, parts = False, urlsplit("")
    if not good:
        raise Invalid("url is no address of a DCIM; write it like https://dcim.example.net:1500/dcimgr", field="url")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise Invalid("url holds more than an address; give user and password in fields of their own", field="url")
    for field, longest in (("username", 200), ("location", 200), ("bmc_port_pattern", 200)):
        storable(getattr(given, field), field=field, longest=longest)
    if not given.username:
        raise Invalid("username is empty; give a user of the DCIM who is an administrator", field="username")
    name_of(given.queue, field="queue")
    try:
        re.compile(given.bmc_port_pattern)
    except re.error as error:
        raise Invalid(f"bmc_port_pattern is no regular expression: {error}", field="bmc_port_pattern") from None
    storable(given.tls.ca_pem, field="tls.ca_pem", longest=60_000)
    if given.tls.ca_pem and PEM not in given.tls.ca_pem:
        raise Invalid("tls.ca_pem holds no certificate in PEM", field="tls.ca_pem")
    if given.tls.fingerprint and not FINGERPRINT.fullmatch(given.tls.fingerprint.replace(":", "").lower()):
        raise Invalid("tls.fingerprint is no SHA-256: 64 hexadecimal digits", field="tls.fingerprint")
    return given


def _password(given: ConnectionSettings, password: str | None, catalogue: Catalogue) -> str:
    """Give the password to try: a kept one never travels to an address or a user that it was not given for."""
    if password is not None:
        if not password:
            raise Invalid("password is empty", field="password")
        return storable(password, field="password", longest=500)
    try:
        old = catalogue.connection(given.name)
    except NotFound:
        raise Invalid(f"connection {given.name} is new; give its password", field="password") from None
    if (old.kind, old.url, old.username, old.tls) != (given.kind, given.url, given.username, given.tls):
        raise Invalid(
            "kind, url, username or tls differ from what was saved; give the password again", field="password"
        )
    return catalogue.load_endpoint(catalogue.connection_id(given.name))[2].password


def _endpoint(given: ConnectionSettings, password: str, catalogue: Catalogue) -> Endpoint:
    return Endpoint(
        name=given.name,
        url=given.url,
        username=given.username,
        password=password,
        tls=given.tls,
        call_seconds=catalogue.call_seconds,
        look_seconds=catalogue.call_seconds,
        bmc_port_pattern=given.bmc_port_pattern,
    )


def _why(error: RemoteError) -> str:
    """Say what failed and what to look at; the driver's own sentence says how."""
    match error:
        case Denied():
            return f"{error.detail}; look at username and password, and make the user an administrator"
        case Unreachable():
            advice = "tls" if "certificate" in error.detail or "TLS" in error.detail else "url"
            return f"{error.detail}; look at {advice}"
        case _:
            return f"{error.detail}; look at url, and whether the DCIM answers"


def _blamed(error: RemoteError) -> str:
    """Give the field that most likely is wrong."""
    if isinstance(error, Denied):
        return "username"
    if isinstance(error, Unreachable) and ("certificate" in error.detail or "TLS" in error.detail):
        return "tls"
    return "url"


def _reason(text: str) -> str:
    if not text.strip():
        raise Invalid("give a reason; it is shown to everybody who waits", field="reason")
    return storable(text, field="reason", longest=500)

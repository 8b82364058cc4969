"""
The wire of DCImanager 5: one call, one document, our errors; sends through `drivers/http.py` only.

What is marked *inferred* has no public source (`provisioner/drivers/dcimanager5/README.md`).
"""

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final
from urllib.parse import urlencode, urlsplit, urlunsplit
from xml.etree import ElementTree as ET
from xml.parsers import expat

from provisioner.domain.connection import Endpoint
from provisioner.drivers import http
from provisioner.errors import (
    AlreadyExists,
    BadValue,
    Busy,
    Denied,
    FailureClass,
    Fatal,
    NoSuchObject,
    NotDone,
    PoolEmpty,
    RemoteError,
    Unsure,
    Unusable,
)

# The types of <error> that mean something to us. A type that is in no table is `Fatal` for an act
# and `Unusable` for a look. Add what a real panel says here, with its source.
AUTH_TYPE: Final = "auth"  #: S[C], S[VJ]
ACCESS_TYPE: Final = "access"  #: S[IM]
CONFIRM_TYPE: Final = "extraconfirm"  #: S[R]
MISSED_TYPE: Final = "missed"  #: inferred, an engine convention
EXISTS_TYPE: Final = "exists"
VALUE_TYPE: Final = "value"
NAMING: Final = frozenset({"user.edit", "iplist.edit"})  #: calls that give a name, which may be taken
REFUSALS: Final[Mapping[str, type[Fatal]]] = {
    EXISTS_TYPE: AlreadyExists,  # S[VJ], S[BI]
    VALUE_TYPE: BadValue,  # S[VJ]
    MISSED_TYPE: NoSuchObject,
}
INTERNAL_TYPES: Final = frozenset({"xml"})  #: S[E]; so is whatever bears report="yes"
BUSY_TYPES: Final = frozenset(  #: all inferred
    {
        "already_running",
        "busy",
        "inprogress",
        "in_progress",
        "lock",
        "locked",
        "operation_in_progress",
        "running",
        "too_many_requests",
    }
)
POOL_TYPES: Final = frozenset(  #: all inferred; they count where an address was asked for
    {
        "freeip",
        "ip_pool",
        "limit",
        "no_free_ip",
        "no_ip",
        "nofreeip",
        "noip",
        "pool",
        "pool_empty",
    }
)
POOL_OBJECTS: Final = frozenset({"freeip", "ip", "ip_block", "ip_pool", "iptype", "pool"})  #: inferred

BAD_PASSWORD: Final = "badpassword"  # noqa: S105  # an error's object, S[C]
UNKNOWN_FUNCTION: Final = "func"  #: object of `missed` for a function that the panel lacks; inferred
LOGIN_PAGES: Final = frozenset({"auth", "login", "logon"})  #: `func` of a login form; inferred

LOGIN_PAUSE_SECONDS: Final = 300.0  #: no second `func=auth` that soon after one that did not help
MAX_TAGS: Final = 2_000_000  #: a list of 10,000 servers has about 500,000

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ONE_ID = re.compile(r"[^\s,]+")
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_log = logging.getLogger(__name__)


class WrongPassword(Denied):
    """The panel knows no such user, or the password is another one."""


class NoRights(Denied):
    """The user may not do that: no administrator, or not from this address."""


class NotDcimanager(Unusable):
    """Something answers, but not with a DCImanager's document."""


class UnknownFunction(Fatal):
    """The panel lacks a function, by age or by set-up: no other server of it can help."""

    failure_class = FailureClass.SITE


class Document:
    """A parsed answer without <error>."""

    def __init__(self, root: ET.Element) -> None:
        self.root = root

    @property
    def func(self) -> str:
        """The function that the document says it is of; "" where it does not say."""
        return self.root.get("func", "")

    def has(self, name: str) -> bool:
        """Say whether the form has that field, be it empty."""
        return self.root.find(name) is not None

    def text(self, name: str) -> str:
        """Give a field's text, "" for an empty or absent one."""
        return self.root.findtext(name) or ""

    def options(self, name: str) -> Sequence[tuple[str, str]] | None:
        """Give keys and labels of a field's select list; None where the form has no such list."""
        for slist in self.root.findall("slist"):
            if slist.get("name") == name:
                return [(val.get("key", ""), val.text or "") for val in slist.findall("val")]
        return None

    @property
    def rows(self) -> Sequence["Row"]:
        """The rows of a list."""
        return [Row(elem) for elem in self.root.findall("elem")]


class Row:
    """One row of a list."""

    def __init__(self, elem: ET.Element) -> None:
        self._elem = elem

    def has(self, name: str) -> bool:
        """Say whether the row has that field, be it empty."""
        return self._elem.find(name) is not None

    def text(self, name: str) -> str:
        """Give a field's text, "" for an empty or absent one."""
        return self._elem.findtext(name) or ""

    def flag(self, name: str) -> bool:
        """Say whether a flag is set: present in lists, where only forms write on and off."""
        return self.has(name) and self.text(name) != "off"

    def words(self, *, besides: frozenset[str]) -> str:
        """Join the texts of all fields but *besides*."""
        texts = ((child.text or "").strip() for child in self._elem if child.tag not in besides)
        return " ".join(text for text in texts if text)


@dataclass(frozen=True, slots=True)
class PanelError:
    """The <error> of a document: what to match on, and nothing of its text."""

    type: str
    object: str
    internal: bool  #: the panel's own trouble, passing


class Client:
    """Speaks to one panel as one user; keeps a session's id where the panel wants one, nothing else."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._url = _with_path(endpoint.url)
        self._session = http.new_session(endpoint.tls)
        self._pace = http.Pace(endpoint.calls_per_second, turn=endpoint.turn, clock=clock, pause=pause)
        self._clock = clock
        self._ticket = ""  #: a session's id, once authinfo was refused
        self._no_login_before = clock()

    def __repr__(self) -> str:
        return f"Client({self.endpoint.name!r})"

    def deadline(self) -> float:
        """Give the end of one look that began now, for several that shall take no longer."""
        return self._clock() + self.endpoint.look_seconds

    def about(self, func: str, server: str = "") -> http.About:
        """Give what an error of that call says."""
        return http.About(self.endpoint.name, func, server)

    def look(
        self, func: str, params: Mapping[str, str] | None = None, *, until: float | None = None, server: str = ""
    ) -> Document:
        """
        Call a function that changes nothing.

        Raises:
            Unreachable, Denied, Busy, Unusable: nothing can be concluded.
            NoSuchObject: the panel knows no object of the id that was asked for.
            UnknownFunction: the panel has no such function.
        """
        return self.call(func, params or {}, mutating=False, until=until, server=server)

    def act(self, func: str, params: Mapping[str, str], *, server: str = "") -> Document:
        """
        Call an action: every answer without <error> is a success, as the one known client has it.

        Raises:
            NotDone: nothing was done.
            Unsure: sent, and no answer that can be understood.
            Fatal: refused for good.
        """
        return self.call(func, params, mutating=True, server=server)

    def submit(self, func: str, params: Mapping[str, str], *, server: str = "") -> Document:
        """
        Submit a form: like `act`, but an answer that merely shows the form is no success.

        Source: dcimanager5.md §5.1.2, "a forgotten sok looks like success".
        """
        document = self.call(func, {**params, "sok": "ok"}, mutating=True, server=server)
        if not _is_submitted(document, params):
            raise self.about(func, server).error(Unsure, "answered with the form, not with a result")
        return document

    def rows(
        self, func: str, params: Mapping[str, str] | None = None, *, until: float | None = None, server: str = ""
    ) -> Sequence[Row]:
        """
        Look at a list; give all rows or raise.

        Raises:
            Unusable: fewer rows than the panel says there are, or no sign that it is that list.
        """
        document = self.look(func, params, until=until, server=server)
        rows = document.rows
        total = document.text("p_elems").strip()
        about = self.about(func, server)
        if total:
            if not total.isdecimal() or int(total) > len(rows):
                raise about.error(Unusable, f"the list is cut: {len(rows)} rows of {total[:20]}")
        elif not rows and document.func != func:
            raise about.error(NotDcimanager, "answers without a list, and not as that function")
        return rows

    def call(
        self,
        func: str,
        params: Mapping[str, str],
        *,
        mutating: bool,
        until: float | None = None,
        server: str = "",
    ) -> Document:
        """
        Make one call, over *until* or after the endpoint's limit; a login that it needs is included.

        Credentials go along with the call (authinfo). Where the panel refuses that, one login is
        made and its session used from then on; a refused password is not tried another way.
        """
        limit = self.endpoint.call_seconds if mutating else self.endpoint.look_seconds
        end = self._clock() + limit
        end = end if until is None else min(until, end)
        wire = _Call(func, params, mutating, self.about(func, server), end)
        root = self._exchange(wire, self._credentials(wire))
        error = _error_of(root)
        if error and self._needs_login(error):
            root = self._exchange(wire, self._log_in(wire))
            error = _error_of(root)
            if error and error.type in {AUTH_TYPE, ACCESS_TYPE}:
                self._forget_login()
        if error:
            raise _meaning(error, wire)
        if root.get("func") in LOGIN_PAGES and func not in LOGIN_PAGES:
            raise wire.unanswered("answers with a login form")
        return Document(root)

    def admits(self, login: str, password: str) -> bool:
        """
        Say whether the panel lets a user in: one `func=auth` without our credentials; a look.

        Neither is its session kept nor does its refusal count against our own logins. It may come
        after we were refused ourselves.

        Raises:
            Unreachable, Busy, Unusable: nothing can be concluded; the last also for a refusal that is
                not of name or password.
            BadValue: the panel can have no such login or password; nothing was sent.
        """
        names = {"username": login, "password": password}
        wire = _Call("auth", names, False, self.about("auth"), self.deadline())  # noqa: FBT003
        root = self._exchange(wire, {})
        if error := _error_of(root):
            refusal = _meaning(error, wire)
            if isinstance(refusal, WrongPassword):
                return False
            if isinstance(refusal, Denied | Fatal):
                # It is the user who is refused, not we: the connection is not to blame.
                raise wire.about.error(Unusable, f"answers a login with neither yes nor no: {_told(error, wire)}")
            raise refusal
        _session_of(root, wire)
        return True

    def _credentials(self, wire: "_Call") -> Mapping[str, str]:
        if self._ticket:
            return {"auth": self._ticket}
        if ":" in self.endpoint.username:
            # The panel splits authinfo at the first colon.
            return self._log_in(wire)
        return {"authinfo": f"{self.endpoint.username}:{self.endpoint.password}"}

    def _needs_login(self, error: PanelError) -> bool:
        """Say whether a login may help: an expired session, or authinfo not allowed from here."""
        if self._ticket:
            return error.type == AUTH_TYPE
        refused = error.type == AUTH_TYPE and error.object != BAD_PASSWORD
        return (refused or error.type == ACCESS_TYPE) and self._clock() >= self._no_login_before

    def _forget_login(self) -> None:
        """Go back to authinfo, and leave logins alone for a while: panels lock accounts."""
        self._ticket = ""
        self._no_login_before = self._clock() + LOGIN_PAUSE_SECONDS

    def _log_in(self, wire: "_Call") -> Mapping[str, str]:
        """
        Log in once and give the session's credentials; changes nothing but our own session.

        Raises:
            Denied: refused, or refused so lately that it is not tried again.
            NotDone, Unusable: no login, so the call of *wire* was not sent; the first for an act.
        """
        self._ticket = ""
        if self._clock() < self._no_login_before:
            raise wire.about.error(Denied, "not sent: the last login was refused a short while ago")
        login = _Call("auth", {}, False, self.about("auth"), wire.until)  # noqa: FBT003
        names = {"username": self.endpoint.username, "password": self.endpoint.password}
        with nothing_sent(login.about) if wire.mutating else nullcontext():
            root = self._exchange(login, names)
            if error := _error_of(root):
                refusal = _meaning(error, login)
                if isinstance(refusal, Denied):
                    self._forget_login()
                raise refusal
            self._ticket = _session_of(root, login)
        return {"auth": self._ticket}

    def _exchange(self, wire: "_Call", credentials: Mapping[str, str]) -> ET.Element:
        """Send once and give the root of the document that came."""
        body = _form(wire, credentials)
        wire.until += self._pace.wait(wire.about)
        left = wire.until - self._clock()
        if left <= 0:
            raise wire.about.error(NotDone if wire.mutating else Unusable, "not sent: the time for it is over")
        reply = http.send(
            self._session,
            "POST",
            self._url,
            body,
            total_seconds=left,
            mutating=wire.mutating,
            about=wire.about,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
        return _root_of(reply, wire)


@contextmanager
def nothing_sent(about: http.About) -> Iterator[None]:
    """Mark looks that come before an act: what they can't see means that nothing was done."""
    try:
        yield
    except Unusable as trouble:
        raise about.error(NotDone, f"not sent: {trouble.detail}") from None


@contextmanager
def act_sent(about: http.About) -> Iterator[None]:
    """Mark looks that come after an act: whatever they can't see leaves the act unsure."""
    try:
        yield
    except RemoteError as trouble:
        raise about.error(Unsure, f"done, but not seen: {trouble.detail}") from None


@dataclass(slots=True)
class _Call:
    """One call on its way."""

    func: str
    params: Mapping[str, str] = field(repr=False)
    mutating: bool
    about: http.About
    until: float  #: end of the time that it may take, by the client's clock

    def unanswered(self, detail: str) -> Unsure | Unusable:
        return self.about.unanswered(detail, mutating=self.mutating)

    def foreign(self, detail: str) -> Unsure | NotDcimanager:
        if self.mutating:
            return self.about.error(Unsure, detail)
        return self.about.error(NotDcimanager, detail)

    @property
    def takes_address(self) -> bool:
        """Whether the call asks for an address from the pool."""
        return self.func == "iplist.edit" and self.mutating and "elid" not in self.params


def _with_path(url: str) -> str:
    """Complete an address without a path; a query is dropped, it could hold credentials."""
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        return url  # `http.send` says what is wrong with it.
    path = parts.path if parts.path.strip("/") else "/dcimgr"
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def _form(wire: _Call, credentials: Mapping[str, str]) -> bytes:
    """
    Encode a call; refuse what could never be read back.

    A control character in a note or a domain would make every later list of the panel unreadable.
    An id is one id: the panel takes several, joined with commas (S[BP][V]), and creates for none.
    """
    for name in ("elid", "plid"):
        if not _ONE_ID.fullmatch(wire.params.get(name, "1")):
            raise wire.about.error(NoSuchObject, f"not sent: {name} is not one id")
    for name, value in wire.params.items():
        if _NOT_XML.search(value):
            raise wire.about.error(BadValue, f"not sent: {name} holds a character that XML can't")
    if any(_NOT_XML.search(value) for value in credentials.values()):
        raise wire.about.error(Denied, "not sent: our credentials hold a character that XML can't")
    fixed = {"func": wire.func, "out": "xml", "lang": "en"}
    return urlencode({**wire.params, **fixed, **credentials}).encode()


def _root_of(reply: http.Reply, wire: _Call) -> ET.Element:
    """Parse a reply, or say what came instead."""
    if reply.status == HTTPStatus.TOO_MANY_REQUESTS:
        raise wire.about.error(Busy, "the panel says that we call too often")
    if reply.status == HTTPStatus.NOT_FOUND:
        raise wire.foreign("no DCImanager at this path (HTTP 404)")
    if HTTPStatus.MULTIPLE_CHOICES <= reply.status < HTTPStatus.BAD_REQUEST:
        raise wire.foreign(f"answers with a redirect (HTTP {reply.status}): give the final address")
    if not HTTPStatus.OK <= reply.status < HTTPStatus.MULTIPLE_CHOICES:
        raise wire.unanswered(f"the web server answers HTTP {reply.status} instead of the panel")
    body = reply.body.lstrip()
    if not body:
        raise wire.unanswered("answers with nothing")
    if not body.startswith((b"<?xml", b"<doc", b"<error", b"\xef\xbb\xbf<")):
        raise wire.foreign("answers, but not as a DCImanager does: that is no document of it")
    root = _parsed(body)
    if root is None:
        raise wire.unanswered("answers with a document that is cut or broken")
    if root.tag not in {"doc", "error"}:
        raise wire.foreign("answers, but not as a DCImanager does: another kind of XML")
    return root


def _parsed(body: bytes) -> ET.Element | None:
    """Parse XML that declares no document type, so that no entity can be defined; None if broken."""
    if body.count(b"<") > MAX_TAGS:
        return None
    try:
        return None if _has_doctype(body) else ET.fromstring(body)  # noqa: S314  # entities are barred
    except (ET.ParseError, expat.ExpatError, ValueError, LookupError):
        return None


def _has_doctype(body: bytes) -> bool:
    """Read up to the first element, in small bites, and say whether a document type came first."""
    seen: list[bool] = []
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = lambda *_: seen.append(True)
    parser.StartElementHandler = lambda *_: seen.append(False)
    for at in range(0, len(body), 256):
        parser.Parse(body[at : at + 256], False)  # noqa: FBT003
        if seen:
            return seen[0]
    return False


def _is_submitted(document: Document, params: Mapping[str, str]) -> bool:
    """Say whether the answer to a form is a result, and not the form shown once more."""
    if document.has("ok"):
        return True
    if document.root.find("slist") is not None:
        return False
    if "elid" not in params and any(document.text(name) for name in ("id", "elid", "ip")):
        return True
    return not any(document.has(name) for name in params if name not in {"elid", "plid"})


def _session_of(root: ET.Element, login: _Call) -> str:
    """Give the id of the session that a login opened; raises where the answer shows none."""
    auth = root.find("auth")
    ticket = "" if auth is None else auth.get("id") or auth.text or ""
    if not ticket:
        raise login.unanswered("answers a login without a session")
    return ticket


def _error_of(root: ET.Element) -> PanelError | None:
    """Give what an answer's <error> says; it stands in <doc>, at times in its place."""
    error = root if root.tag == "error" else root.find("error")
    if error is None:
        return None
    kind = error.get("type") or error.findtext("type") or ""
    named = error.get("object") or error.findtext("param[@name='object']") or ""
    internal = error.get("report") == "yes" or kind in INTERNAL_TYPES
    return PanelError(kind, named, internal)


def _meaning(error: PanelError, wire: _Call) -> RemoteError:
    """Turn the panel's error into ours, by type and object only: its text is localised."""
    told = _told(error, wire)
    _log.debug("panel_error func=%s error=%s", wire.func, told)
    if error.type == AUTH_TYPE and error.object == BAD_PASSWORD:
        return wire.about.error(WrongPassword, "the panel refuses the user name or the password")
    if error.type == AUTH_TYPE:
        return wire.about.error(Denied, f"the panel does not accept our credentials: {told}")
    if error.type == ACCESS_TYPE:
        sentence = "no administrator, or not allowed from this address"
        return wire.about.error(NoRights, f"the panel denies us the right: {sentence} ({told})")
    if error.type == CONFIRM_TYPE:
        return wire.about.error(Denied, "the panel asks this user for a second factor")
    if error.internal:
        return wire.unanswered(f"the panel had an internal error: {told}")
    if error.type in BUSY_TYPES:
        return wire.about.error(Busy, f"the panel is busy with it: {told}")
    if error.type == MISSED_TYPE and error.object == UNKNOWN_FUNCTION:
        return wire.about.error(UnknownFunction, "the panel knows no such function")
    if not wire.mutating:
        return _meaning_of_look(error, wire, told)
    return wire.about.error(_kind_of_refusal(error, wire), f"refused: {told}")


def _meaning_of_look(error: PanelError, wire: _Call, told: str) -> RemoteError:
    if error.type == MISSED_TYPE and "elid" in wire.params:
        return wire.about.error(NoSuchObject, f"the panel knows no such object: {told}")
    return wire.about.error(Unusable, f"the panel answers with an error: {told}")


def _kind_of_refusal(error: PanelError, wire: _Call) -> type[Fatal]:
    if wire.takes_address and (error.type in POOL_TYPES or error.object in POOL_OBJECTS):
        # We ask for "public" and any address: if that is wrong it is not the order's fault.
        return PoolEmpty
    if error.object == "ostemplate":
        return BadValue  # Whatever the type's name, the template is what is refused.
    named = wire.params.keys() - {"elid", "plid"}
    if error.type == MISSED_TYPE and error.object in named:
        return BadValue  # A field's value is missing or unknown, not the object.
    if (error.type == VALUE_TYPE and not named) or (error.type == EXISTS_TYPE and wire.func not in NAMING):
        return Fatal  # Nothing that was sent can be wrong: this server is.
    return REFUSALS.get(error.type, Fatal)


def _told(error: PanelError, wire: _Call) -> str:
    """Give type and object for a message; nothing that we sent, it could be a name or a secret."""
    sent = set(wire.params.values())
    words = (error.type or "no type", error.object)
    safe = (word if _WORD.fullmatch(word) and word not in sent else "?" for word in words if word)
    return "/".join(safe)

"""
Tickets in Request Tracker 5, over REST2; touches one RT, by the HTTP that it is given.

RT knows no keys. Each subject of ours ends in one, `[#key]`, and RT is asked for it before anything is written: what
was taken, and its answer lost, is found again. Two calls at once with one key could both find nothing; the outbox has
one sender at a time.

Source: RT 5.0.3, its REST2 manual and what it answers on loopback.
"""

import ipaddress
import json
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from provisioner.errors import BadConfig, BadValue, Busy, Denied, RemoteError, Unreachable, Unsure, Unusable
from provisioner.ports import DeskCapabilities, Http, Message, TicketReading, TicketStatus

OPERATION = "ticket"
LEAST_SECONDS = 0.05  #: with less left of a conversation's time no further call is made
SUBJECT_MOST = 200  #: bytes that RT surely keeps of a subject; on some databases they are characters
RT_SAYS_MOST = 200  #: characters of RT's own words that are shown
BY_MOST = 100  #: characters of a name
NEWEST = 100  #: messages of a ticket among which a repeated one is looked for; as many as RT gives at once
STATUSES = {
    **dict.fromkeys(("new", "open", "stalled"), TicketStatus.OPEN),
    "resolved": TicketStatus.CLOSED,
    **dict.fromkeys(("rejected", "deleted"), TicketStatus.REFUSED),
}  #: of RT's own life cycles; one of an operator's making can't be judged


@dataclass(frozen=True, slots=True)
class RtServer:
    """How RT is reached."""

    url: str  #: up to, and without, `/REST/2.0`
    token: str = field(repr=False)  #: of the user who we are there
    total_seconds: float = 10.0  #: limit of one conversation, all its calls together

    def __post_init__(self) -> None:
        """Refuse what can't work. Raises `BadConfig`; the message names the variable, and never its value."""
        try:
            parts = urlsplit(self.url)
            good = parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good, parts = False, urlsplit("")
        if not good or not self.url.isascii() or not self.url.isprintable():
            raise BadConfig("PROVISIONER_RT_URL: write it like https://rt.example.net")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise BadConfig("PROVISIONER_RT_URL holds more than an address: the token is PROVISIONER_RT_TOKEN_FILE")
        if parts.scheme == "http" and not _loopback(parts.hostname or ""):
            raise BadConfig(
                "PROVISIONER_RT_URL: a token does not travel over http://, but on this machine; use https://"
            )
        if not self.token or not self.token.isascii() or not self.token.isprintable() or " " in self.token:
            raise BadConfig("PROVISIONER_RT_TOKEN_FILE holds no token; RT makes one under Settings, Auth Tokens")

    @property
    def place(self) -> str:
        """Host, and port where one is named."""
        return urlsplit(self.url).netloc


class RtDesk:
    """Satisfies `ports.Desk`."""

    capabilities = DeskCapabilities(dedup=True, comment=True, close=True, status=True)

    def __init__(self, server: RtServer, http: Http) -> None:
        """Reach *server* by *http*."""
        self._server, self._http = server, http

    def check(self, to: str) -> None:
        """Try address, certificate, token, and the queue called *to* with our rights in it; writes nothing."""
        rt = self._talk()
        try:
            queue = rt.look(f"queue/{quote(to, safe='')}")
        except (_Forbidden, _Missing):  # which of the two it is, RT tells only those who see all queues
            queue = {}
        if str(queue.get("Name", "")).casefold() != to.casefold():  # RT takes a number for the queue of that id
            raise rt.error(BadValue, f"there is no queue {to!r}, or our user may not see it")
        if str(queue.get("Disabled", "0")) == "1":
            raise rt.error(BadValue, f"the queue {to!r} is disabled")
        if not any(link.get("ref") == "create" for link in _objects(queue.get("_hyperlinks"))):
            raise rt.error(BadValue, f"our user may not create tickets in the queue {to!r}")

    def open(self, message: Message) -> str:
        """Open a ticket in the queue `message.to`, or find the one of this key; returns its number."""
        rt = self._talk()
        wanted = _marker(message)
        query = f"Creator = '__CurrentUser__' AND Subject LIKE '{_quoted(wanted)}'"
        found = rt.look("tickets", query=query, fields="Subject", per_page=str(NEWEST))
        ours = [_number(one) for one in _objects(found.get("items")) if wanted in str(one.get("Subject"))]
        if any(ours):
            return str(min(filter(None, ours)))
        made = _number(_object(rt.act("POST", "ticket", {"Queue": message.to, **_content(message)})))
        if not made:
            raise rt.error(Unsure, "it gave no number for a new ticket")
        return str(made)

    def comment(self, ref: str, message: Message, *, reopen: bool = False) -> None:
        """Add to ticket *ref* a comment that those see who work on it, once a key; a resolved one may be reopened."""
        rt, ticket = self._talk(), self._ticket(ref)
        self._add(rt, ticket, message)
        if reopen and _status(rt.look(ticket)) is TicketStatus.CLOSED:
            said = rt.act("PUT", ticket, {"Status": "open"})
            if rt.reading(rt.look(ticket)) == TicketReading(TicketStatus.CLOSED):  # and nobody has closed it anew
                raise rt.error(BadValue, f"ticket {ref} can't be opened again: {rt.shown(said)}")

    def close(self, ref: str, message: Message) -> None:
        """Add the all-clear to ticket *ref* and resolve it; does nothing where no ticket was opened."""
        if not ref:
            return
        rt, ticket = self._talk(), self._ticket(ref)
        self._add(rt, ticket, message)
        said = rt.act("PUT", ticket, {"Status": "resolved"})
        # RT answers 200 also where it has not done it, and why is in its user's language.
        if _status(rt.look(ticket)) not in (TicketStatus.CLOSED, TicketStatus.REFUSED):
            raise rt.error(BadValue, f"ticket {ref} can't be resolved: {rt.shown(said)}")

    def status(self, ref: str) -> TicketReading:
        """Say whether ticket *ref* is open; unknown for one that is gone, or has a status of the operator's making."""
        rt = self._talk()
        try:
            return rt.reading(rt.look(self._ticket(ref)))
        except (_Forbidden, _Missing):
            return TicketReading(TicketStatus.UNKNOWN)

    def _add(self, rt: "_Talk", ticket: str, message: Message) -> None:
        newest = rt.look(f"{ticket}/attachments", fields="Subject", orderby="id", order="DESC", per_page=str(NEWEST))
        wanted = _marker(message)
        if not any(wanted in str(one.get("Subject")) for one in _objects(newest.get("items"))):
            rt.act("POST", f"{ticket}/comment", _content(message))

    def _ticket(self, ref: str) -> str:
        if not (ref.isascii() and ref.isdigit()):
            raise _error(self._server, BadValue, f"{ref!r} is no number of a ticket")
        return f"ticket/{ref}"

    def _talk(self) -> "_Talk":
        return _Talk(self._server, self._http)


class _Forbidden(Denied):
    """RT says 403."""


class _Missing(BadValue):
    """RT says 404."""


class _Talk:
    """One conversation: calls that share a time limit."""

    def __init__(self, server: RtServer, http: Http) -> None:
        self._server, self._http = server, http
        self._ends = time.monotonic() + server.total_seconds

    def look(self, path: str, **query: str) -> dict[str, Any]:
        """Read one object."""
        asked = f"{path}?{urlencode(query, quote_via=quote)}" if query else path
        found = self._call("GET", asked, b"", mutating=False)
        if not isinstance(found, dict):
            raise self.error(Unusable, "the answer has another shape than RT's")
        return found

    def act(self, method: str, path: str, content: dict[str, str]) -> Any:  # noqa: ANN401 - JSON
        """Write."""
        return self._call(method, path, json.dumps(content).encode(), mutating=True)

    def reading(self, ticket: dict[str, Any]) -> TicketReading:
        """Give what a ticket of ours shows; who made it is us."""
        by, ours = (str(_object(ticket.get(name)).get("id", "")) for name in ("LastUpdatedBy", "Creator"))
        return TicketReading(_status(ticket), "" if by == ours else self.shown(by)[:BY_MOST])

    def error(self, kind: type[RemoteError], detail: str) -> RemoteError:
        """Give an error that says where."""
        return _error(self._server, kind, detail)

    def shown(self, said: object) -> str:
        """Give RT's own words as one short line."""
        text = "; ".join(map(str, said)) if isinstance(said, list) else str(said)
        line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return line.replace(self._server.token, "…")[:RT_SAYS_MOST]

    def _call(self, method: str, path: str, body: bytes, *, mutating: bool) -> Any:  # noqa: ANN401 - JSON
        left = self._ends - time.monotonic()
        if left < LEAST_SECONDS:
            raise self.error(Unusable, f"no whole answer within {self._server.total_seconds:g} s")
        status, answer = self._http.call(
            method,
            f"{self._server.url.rstrip('/')}/REST/2.0/{path}",
            body,
            headers={"Authorization": f"token {self._server.token}", "Content-Type": "application/json"},
            seconds=round(left, 2),  # it stands in the message, too
            mutating=mutating,
            operation=OPERATION,
        )
        try:
            said = json.loads(answer)
        except ValueError:
            said = None
        if status in (200, 201) and said is not None:
            return said
        raise self._refusal(status, said, mutating=mutating)

    def _refusal(self, status: int, said: object, *, mutating: bool) -> RemoteError:
        words = self.shown(said.get("message", "")) if isinstance(said, dict) else ""
        unanswered = Unsure if mutating else Unusable
        match status:
            case 401:
                return self.error(Denied, "our token is refused (401)")
            case 429:
                return self.error(Busy, "too many calls (429)")
            case _ if 300 <= status < 400:  # noqa: PLR2004 - RFC 9110: elsewhere
                return self.error(
                    Unreachable, f"it sends us elsewhere ({status}); give PROVISIONER_RT_URL as it is there"
                )
            case _ if status >= 500:  # noqa: PLR2004 - RFC 9110: the server's fault
                return self.error(unanswered, f"it has trouble of its own ({status})")
            case _ if said is None:
                return self.error(unanswered, f"no answer of RT's REST2 ({status}); is PROVISIONER_RT_URL right?")
            case 403:
                return self.error(_Forbidden, f"our user may not: {words}")
            case 404:
                return self.error(_Missing, "there is no such ticket")
        return self.error(BadValue, f"refused: {status} {words}".rstrip())


def _error(server: RtServer, kind: type[RemoteError], detail: str) -> RemoteError:
    return kind(detail, operation=OPERATION, system=f"RT at {server.place}")


def _content(message: Message) -> dict[str, str]:
    marker = _marker(message)
    line = " ".join(message.subject.split()).encode()
    subject = line[: SUBJECT_MOST - len(marker.encode()) - 1].decode(errors="ignore")
    return {"Subject": f"{subject} {marker}", "Content": message.text, "ContentType": "text/plain"}


def _marker(message: Message) -> str:
    return f"[#{message.key}]"


def _quoted(text: str) -> str:
    """Give *text* as it stands between quotes in a query of RT's."""
    return text.replace("\\", "\\\\").replace("'", "\\'")


def _status(ticket: dict[str, Any]) -> TicketStatus:
    return STATUSES.get(str(ticket.get("Status")), TicketStatus.UNKNOWN)


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _number(ticket: dict[str, Any]) -> int:
    """Give a ticket's number, 0 where there is none."""
    text = str(ticket.get("id", ""))
    return int(text) if text.isascii() and text.isdigit() else 0


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

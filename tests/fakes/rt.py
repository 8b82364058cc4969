"""
As much of Request Tracker 5's REST2 as a ticket desk needs, on loopback; passes what the real one passes.

Written from the wire's description and the real one's answers, never from a client of ours. It has one user with one
token, who sees some queues and may write in fewer; a queue that he may not see looks like one that is not there.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

ROOT = "/REST/2.0/"
US = "provisioner"
STATUSES = ("new", "open", "stalled", "resolved", "rejected", "deleted")
LIKE = re.compile(r"Subject LIKE '((?:[^'\\]|\\.)*)'")
SUBJECT_MOST = 200  #: bytes
Answer = tuple[int, Any]


@dataclass
class Queue:
    """A queue, and what our user may do in it."""

    name: str
    writable: bool = True
    disabled: bool = False


@dataclass
class Ticket:
    """A ticket with its messages."""

    id: int
    queue: str
    subject: str
    status: str = "new"
    updated_by: str = ""  #: who touched it last; "" for our user
    messages: list[tuple[int, str, str]] = field(default_factory=list)  #: id, subject, content


class FakeTracker:
    """Answers while it is `up`."""

    def __init__(self, token: str, queues: list[Queue]) -> None:
        self.token = token
        self.queues = {queue.name.casefold(): queue for queue in queues}
        self.tickets: list[Ticket] = []
        self.may_modify = True  #: our user may change a ticket's status
        self.port = 0
        self._messages = 0
        self._lock = threading.Lock()

    @contextmanager
    def up(self) -> Iterator[FakeTracker]:
        """Listen inside."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        server.daemon_threads = True
        self.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join(10)

    def answer(self, method: str, target: str, authorization: str, body: bytes) -> Answer:
        """Answer one call with status and JSON."""
        if authorization != f"token {self.token}":
            return 401, {"message": "Unauthorized"}
        parts = urlsplit(target)
        words = [unquote(word) for word in parts.path.removeprefix(ROOT).split("/")]
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        with self._lock:
            match method, words:
                case "GET", ["queue", name]:
                    return self._queue(name)
                case "GET", ["tickets"]:
                    return self._search(asked)
                case "POST", ["ticket"]:
                    return self._create(json.loads(body))
                case _, ["ticket", number, *rest] if number.isdigit():
                    return self._ticket(method, int(number), rest, asked, body)
        return 404, {"message": "Not Found"}

    def _queue(self, name: str) -> Answer:
        found = self.queues.get(name.casefold())
        if found is None:
            return 403, {"message": "Forbidden"}
        links = [{"ref": "self", "type": "queue", "id": 5}]
        if found.writable:
            links.append({"ref": "create", "type": "ticket", "id": 5})
        return 200, {"Name": found.name, "Disabled": str(int(found.disabled)), "_hyperlinks": links}

    def _search(self, asked: dict[str, str]) -> Answer:
        like = LIKE.search(asked.get("query", ""))
        if not like:
            return 400, {"message": "Couldn't parse query"}
        # As in SQL: an underscore and a percent sign stand for others.
        wanted = re.sub(r"\\(.)", r"\1", like[1])
        pattern = re.escape(wanted).replace("_", ".").replace("%", ".*")
        found = [ticket for ticket in self.tickets if re.search(pattern, ticket.subject, re.IGNORECASE)]
        items = [{"id": str(ticket.id), "type": "ticket", "Subject": ticket.subject} for ticket in found]
        return 200, {"items": items, "count": len(items)}

    def _create(self, given: dict[str, str]) -> Answer:
        queue = self.queues.get(given["Queue"].casefold())
        if queue is None or not queue.writable:
            return 403, {"message": f"No permission to create tickets in the queue '{given['Queue']}'"}
        ticket = Ticket(
            len(self.tickets) + 1, queue.name, given["Subject"].encode()[:SUBJECT_MOST].decode(errors="ignore")
        )
        self.tickets.append(ticket)
        self._say(ticket, given)
        return 201, {"type": "ticket", "id": str(ticket.id)}

    def _ticket(self, method: str, number: int, rest: list[str], asked: dict[str, str], body: bytes) -> Answer:
        ticket = next((one for one in self.tickets if one.id == number), None)
        match method, rest:
            case "GET", [] if ticket:
                return 200, self._shown(ticket)
            case "GET", ["attachments"]:
                return 200, {"items": self._attachments(ticket, asked)}
            case "POST", ["comment"]:
                if ticket is None:
                    return 400, {"message": "Permission Denied"}
                self._say(ticket, json.loads(body))
                return 201, ["Comments added"]
            case "PUT", [] if ticket:
                return 200, self._change(ticket, json.loads(body)["Status"])
        return 404, {"message": "Not Found"}

    @staticmethod
    def _attachments(ticket: Ticket | None, asked: dict[str, str]) -> list[dict[str, str]]:
        messages = sorted(ticket.messages if ticket else [], reverse=asked.get("order") == "DESC")
        shown = messages[: int(asked.get("per_page", "20"))]
        return [{"id": str(number), "type": "attachment", "Subject": subject} for number, subject, _ in shown]

    @staticmethod
    def _shown(ticket: Ticket) -> dict[str, Any]:
        who = {"Creator": US, "LastUpdatedBy": ticket.updated_by or US}
        users = {name: {"id": user, "type": "user"} for name, user in who.items()}
        return {"id": ticket.id, "Status": ticket.status, "Subject": ticket.subject, **users}

    def _change(self, ticket: Ticket, status: str) -> list[str]:
        if status not in STATUSES:
            return [f"Ticket {ticket.id}: Status '{status}' isn't a valid status for this ticket."]
        if not self.may_modify:
            return [f"Ticket {ticket.id}: Permission Denied"]
        if status == ticket.status:
            return []
        before, ticket.status, ticket.updated_by = ticket.status, status, ""
        return [f"Ticket {ticket.id}: Status changed from '{before}' to '{status}'"]

    def _say(self, ticket: Ticket, given: dict[str, str]) -> None:
        self._messages += 1
        ticket.updated_by = ""
        ticket.messages.append((self._messages, given["Subject"], given["Content"]))


def _handler_of(tracker: FakeTracker) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, said = tracker.answer(self.command, self.path, self.headers.get("Authorization", ""), body)
            text = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = _serve  # noqa: N815 - the library's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Stay silent."""

    return Handler

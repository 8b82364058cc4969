"""A panel on paper: answers each function with the documents that a test lays down."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import parse_qsl

import requests
import responses

from provisioner.domain.connection import Endpoint
from provisioner.drivers.dcimanager5.client import Client
from provisioner.drivers.dcimanager5.driver import Dcimanager5

URL = "https://dci.example.net:1500/dcimgr"
PASSWORD = "hunter2-of-the-panel"
ENDPOINT = Endpoint(name="dci-1", url=URL, username="bill_admin", password=PASSWORD)
Answer = str | bytes | tuple[int, str] | Exception


class Panel:
    """Keeps the calls; a function's last answer stays."""

    def __init__(self) -> None:
        self.calls: list[dict[str, str]] = []
        self.now = 1000.0
        self.takes = 0.0  # seconds that each call takes
        self._answers: dict[str, list[Answer]] = {}

    def says(self, func: str, *answers: Answer) -> "Panel":
        self._answers[func] = list(answers)
        return self

    def client(self, endpoint: Endpoint = ENDPOINT) -> Client:
        return Client(endpoint, clock=lambda: self.now, pause=lambda _: None)

    def driver(self, endpoint: Endpoint = ENDPOINT) -> Dcimanager5:
        return Dcimanager5(endpoint, client=self.client(endpoint))

    @property
    def funcs(self) -> list[str]:
        return [call["func"] + ("!" if "sok" in call else "") for call in self.calls]

    def fields(self, at: int = -1) -> Mapping[str, str]:
        """Give what a call sent, without what every call sends."""
        fixed = {"func", "out", "lang", "authinfo", "auth"}
        return {name: value for name, value in self.calls[at].items() if name not in fixed}

    def answer(self, request: requests.PreparedRequest) -> tuple[int, dict[str, str], str | bytes]:
        body = request.body
        assert isinstance(body, bytes)
        assert request.url == URL, "everything is in the body"
        form = dict(parse_qsl(body.decode(), keep_blank_values=True))
        self.calls.append(form)
        self.now += self.takes
        func = form["func"] + ("!" if "sok" in form else "")
        left = self._answers[func]
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, tuple):
            return answer[0], {}, answer[1]
        return 200, {}, answer


@contextmanager
def panel() -> Iterator[Panel]:
    made = Panel()
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.add_callback(responses.POST, URL, callback=made.answer)
        yield made


def doc(func: str, inner: str = "") -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<doc lang="en" func="{func}">{inner}</doc>'


def ok(func: str, inner: str = "") -> str:
    return doc(func, f"<ok/>{inner}<tparams><func>{func}</func></tparams>")


def listing(func: str, *rows: str, total: int | None = None) -> str:
    count = len(rows) if total is None else total
    elems = "".join(f"<elem>{row}</elem>" for row in rows)
    return doc(func, f"{elems}<p_elems>{count}</p_elems>")


def error(kind: str, named: str = "", *, report: bool = False) -> str:
    attributes = f' object="{named}"' if named else ""
    attributes += ' report="yes"' if report else ""
    return (
        f'<doc><error type="{kind}"{attributes} lang="en" code="1">'
        f'<param name="object" type="msg" msg="Thing">{named}</param><param name="value">ivanov</param>'
        '<stack><action level="29" user="bill_admin">server.edit</action></stack>'
        "<group>The __object__ is wrong. __value__</group>"
        f"<msg>The user ivanov with {PASSWORD} is wrong</msg></error></doc>"
    )

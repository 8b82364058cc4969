"""A few lines to talk to a simulated panel as a client would: over its socket, never through our drivers."""

from typing import Any, Self
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import requests
from requests.adapters import HTTPAdapter

from provisioner.simulators import Simulator

QUICK = {
    "power": 0,
    "boot": 0,
    "enable": 0,
    "link_settle": 0,
    "install_visible": 0,
    "install": 10,
    "install_windows": 20,
    "diag": 10,
    "cancel": 0,
    "autoshutdown": 100,
    "flap": 1,
}
PASSWORD = "root-secret-1"
DEBIAN = "ISPsystem__Debian-12-x86_64"
WINDOWS = "ISPsystem__Windows-Server-2019-amd64"


class _From(HTTPAdapter):
    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, source_address=(self._address, 0), **kwargs)


class Wire:
    """Calls functions of the panel as the administrator, or with other credentials."""

    def __init__(self, sim: Simulator, *, source: str = "127.0.0.1") -> None:
        self._sim = sim
        self._session = requests.Session()
        self._session.mount("http://", _From(source))
        self.timeout = 5.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def raw(self, func: str, method: str = "POST", **params: str) -> requests.Response:
        known = {"out": "json", "lang": "en"}
        if not {"auth", "authinfo"} & set(params):
            known["authinfo"] = self._sim.authinfo
        values = {"func": func, **known, **params}
        if method == "GET":
            return self._session.get(self._sim.url, params=values, timeout=self.timeout)
        return self._session.post(self._sim.url, data=values, timeout=self.timeout)

    def anonymous(self, func: str, **params: str) -> dict[str, Any]:
        return self.doc(func, authinfo="", **params)

    def doc(self, func: str, **params: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.raw(func, **params).json()["doc"]
        return answer

    def xml(self, func: str, **params: str) -> ET.Element:
        return ET.fromstring(self.raw(func, out="xml", **params).content)  # noqa: S314 - our own simulator's

    def error(self, func: str, **params: str) -> str:
        """Return `type/object` of the error, empty when there is none."""
        error = self.doc(func, **params).get("error")
        return f"{error['$type']}/{error.get('$object', '')}" if error else ""

    def ok(self, func: str, **params: str) -> dict[str, Any]:
        answer = self.doc(func, **params)
        assert "error" not in answer, answer["error"]
        return answer

    def rows(self, func: str, **params: str) -> list[dict[str, str]]:
        return [
            {tag: cell.get("$", "") for tag, cell in item.items()} for item in self.ok(func, **params).get("elem", [])
        ]

    def row(self, server: str = "101") -> dict[str, str]:
        return next(item for item in self.rows("server") if item["id"] == server)

    def form(self, func: str, **params: str) -> dict[str, str]:
        answer = self.ok(func, **params)
        return {
            name: cell.get("$", "")
            for name, cell in answer.items()
            if isinstance(cell, dict) and name not in ("tparams", "slist")
        }

    def edit(self, server: str = "101", **changes: str) -> dict[str, Any]:
        """Change a server as a careful client does: view first, send back what is required."""
        seen = self.form("server.edit", elid=server)
        kept = {name: seen[name] for name in ("mac", "name", "notes", "type")}
        return self.ok("server.edit", elid=server, sok="ok", **{**kept, **changes})

    def install(self, server: str = "101", template: str = DEBIAN, password: str = PASSWORD) -> dict[str, Any]:
        return self.doc(
            "server.operations",
            elid=server,
            sok="ok",
            operation="ostemplate",
            ostemplate=template,
            passwd=password,
            confirm=password,
            checkpasswd=password,
            recipe="null",
        )

    def switch_link(self, server: str = "101") -> str:
        return next(item["id"] for item in self.rows("server.connection", elid=server) if item["type"] == "Switch")

    @property
    def host(self) -> tuple[str, int]:
        parts = urlsplit(self._sim.url)
        return parts.hostname or "", parts.port or 0

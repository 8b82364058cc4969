"""A small synchronous client of a simulator's control side, for tests, demo and bench."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any, cast
from urllib.parse import quote, urlencode, urlsplit

Json = dict[str, Any]

_POLL = 0.02


class ControlError(Exception):
    """The control side refused, or cannot be reached; the message says why."""


class Control:
    """Every method is one call; answers are plain JSON, described in the README."""

    def __init__(self, url: str, timeout: float = 10.0) -> None:
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._timeout = timeout

    def healthy(self) -> bool:
        """Return whether the control side answers."""
        try:
            return bool(self._ask("GET", "/healthz")["ok"])
        except ControlError:
            return False

    # Truth

    def world(self) -> Json:
        """Return all: `servers`, `users`, `pools`, `types`, `templates`, `settings`, `pending`, `now` and more."""
        return self._ask("GET", "/world")

    def servers(self) -> list[Json]:
        """Return the truth about every server."""
        return cast("list[Json]", self.world()["servers"])

    def server(self, server_id: str | int) -> Json:
        """Return the truth about one server."""
        return self._ask("GET", f"/servers/{quote(str(server_id), safe='')}")

    def invariants(self, token_pattern: str | None = None) -> list[Json]:
        """Return what is wrong, as `{"rule", "server", "detail"}`; empty when all is well."""
        query = "?" + urlencode({"token": token_pattern}) if token_pattern else ""
        return cast("list[Json]", self._ask("GET", f"/invariants{query}")["violations"])

    def wait_for(self, server_id: str | int, fits: Callable[[Json], bool], timeout: float = 10.0) -> Json:
        """
        Return the server's truth as soon as *fits* says yes.

        Raises:
            ControlError: it did not within *timeout* real seconds; the message shows the last truth.
        """
        deadline = time.monotonic() + timeout
        pause = threading.Event()
        while not fits(server := self.server(server_id)):
            if time.monotonic() > deadline:
                raise ControlError(f"server {server_id} did not become so in {timeout} s: {server}")
            pause.wait(_POLL)
        return server

    # Foreign hand

    def change_server(self, server_id: str | int, **facts: object) -> Json:
        """Make *facts* true at once (`owner`, `notes`, `power`, `hwproblem` …); return the new truth."""
        return self._ask("PATCH", f"/servers/{quote(str(server_id), safe='')}", facts)

    def add_server(self, **facts: object) -> Json:
        """Put one more server into its rack; *facts* as for `change_server`, and `id`, `mac`, `type`, `ip`."""
        return self._ask("POST", "/servers", facts)

    def remove_server(self, server_id: str | int) -> Json:
        """Let a server vanish."""
        return self._ask("DELETE", f"/servers/{quote(str(server_id), safe='')}")

    def add_user(self, name: str, password: str, level: int = 16) -> Json:
        """Create a user of the panel; return `id`, `name`, `level`."""
        return self._ask("POST", "/users", {"name": name, "password": password, "level": level})

    def change_pool(self, pool: str | int, **facts: object) -> Json:
        """Change `name`, `type`, `network` or `gateway` of a pool, found by id or name."""
        return self._ask("PATCH", f"/pools/{quote(str(pool), safe='')}", facts)

    # Journal

    def journal(self, after: int = 0) -> list[Json]:
        """Return every call with a number above *after*, oldest first."""
        return cast("list[Json]", self._ask("GET", f"/journal?after={after}")["calls"])

    def clear_journal(self) -> int:
        """Forget the calls; return how many there were."""
        return int(self._ask("DELETE", "/journal")["removed"])

    # Faults

    def add_fault(self, kind: str, **order: object) -> Json:
        """Order a fault; return it with its `id`."""
        return self._ask("POST", "/faults", {"kind": kind, **order})

    def faults(self) -> list[Json]:
        """Return all faults on order, with `seen` and `used`."""
        return cast("list[Json]", self._ask("GET", "/faults")["faults"])

    def remove_fault(self, fault_id: str) -> None:
        """Drop one fault."""
        self._ask("DELETE", f"/faults/{quote(fault_id, safe='')}")

    def clear_faults(self) -> int:
        """Drop all faults; return how many there were."""
        return int(self._ask("DELETE", "/faults")["removed"])

    # Settings and clock

    def settings(self) -> Json:
        """Return all settings."""
        return self._ask("GET", "/settings")

    def set(self, **settings: object) -> Json:
        """Change settings; durations by name, in seconds of real time."""
        return self._ask("PUT", "/settings", settings)

    def freeze(self) -> Json:
        """Stop the clock."""
        return self._clock(action="freeze")

    def resume(self) -> Json:
        """Let the clock run."""
        return self._clock(action="resume")

    def advance(self, seconds: float) -> Json:
        """Move the clock; all that became due has happened on return, SSH listeners included."""
        return self._clock(action="advance", seconds=seconds)

    def speed(self, speed: float) -> Json:
        """Change the speed; what is pending is hurried or slowed in proportion."""
        return self._clock(action="speed", speed=speed)

    # The panel itself

    def stop_panel(self, mode: str = "refused") -> Json:
        """Take the panel away; *mode*: refused, or reset."""
        return self._ask("POST", "/panel", {"action": "stop", "mode": mode})

    def start_panel(self) -> Json:
        """Bring it back."""
        return self._ask("POST", "/panel", {"action": "start"})

    def restart_panel(self, seconds: float, mode: str = "refused") -> Json:
        """Take the panel away for *seconds* of real time."""
        return self._ask("POST", "/panel", {"action": "restart", "seconds": seconds, "mode": mode})

    def new_certificate(self) -> Json:
        """Let the panel show another certificate."""
        return self._ask("POST", "/panel", {"action": "new_certificate"})

    def drop_sessions(self) -> Json:
        """Let the panel forget its sessions."""
        return self._ask("POST", "/panel", {"action": "drop_sessions"})

    def revoke(self, user: str | None = None) -> Json:
        """Refuse the password of *user* (default: the administrator) from now on."""
        return self._credentials("revoke", user)

    def restore(self, user: str | None = None) -> Json:
        """Take it again."""
        return self._credentials("restore", user)

    def set_password(self, password: str, user: str | None = None) -> Json:
        """Give *user* (default: the administrator) another password."""
        return self._credentials("password", user, password=password)

    def _clock(self, **body: object) -> Json:
        return self._ask("POST", "/clock", body)

    def _credentials(self, action: str, user: str | None, **more: object) -> Json:
        return self._ask("POST", "/credentials", {"action": action, "user": user, **more})

    def _ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Json:
        connection = HTTPConnection(self._host, self._port, timeout=self._timeout)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, payload, {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read()
        except (OSError, HTTPException) as error:
            raise ControlError(f"{method} {path}: no answer from {self.url}: {error}") from error
        finally:
            connection.close()
        answer = cast("Json", json.loads(text))
        if response.status >= 400:  # noqa: PLR2004 - the first status that is an error
            raise ControlError(f"{method} {path}: {answer.get('error', response.status)}")
        return answer

"""The control side of a simulator: truth, journal, faults, clock, foreign hand, as JSON over HTTP.

A port of its own, loopback only, never under the panel's paths.
"""

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast
from urllib.parse import parse_qs

from provisioner.simulators import fleet, foreign, invariants, truth
from provisioner.simulators.faults import Fault
from provisioner.simulators.hostkeys import fingerprint
from provisioner.simulators.http import HttpServer, Reply, Request
from provisioner.simulators.model import Kind, Server, Trouble, User
from provisioner.simulators.site import Site
from provisioner.simulators.ssh import key_name

JsonObject = dict[str, object]


@dataclass(frozen=True, slots=True)
class _Ask:
    """A request on the control side: its body, its query, and the id in its path."""

    body: JsonObject
    query: dict[str, str]
    item: str


_Action = Callable[["ControlSide", _Ask], Awaitable[object]]
_ROUTES: list[tuple[str, re.Pattern[str], _Action]] = []


def _route(method: str, path: str) -> Callable[[_Action], _Action]:
    pattern = re.compile(path.replace("{id}", "(?P<id>[^/]+)"))

    def register(action: _Action) -> _Action:
        _ROUTES.append((method, pattern, action))
        return action

    return register


class ControlSide:
    """Serves the control side of one site."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.world = site.world
        self.http = HttpServer(self._handle, site.options.host, site.options.control_port)

    @property
    def url(self) -> str:
        """Return the address of the control side."""
        host = self.site.options.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.http.port}"

    def fingerprint(self, server: Server) -> str:
        """Return the fingerprint of the SSH host key that *server* shows."""
        return fingerprint(self.world.seed, key_name(server))

    def shown(self, server: Server) -> JsonObject:
        """Return the truth about *server*."""
        return truth.of_server(self.world, server, self.fingerprint)

    async def _handle(self, request: Request) -> Reply:
        try:
            return await self._dispatch(request)
        except Trouble as trouble:
            return _json({"error": str(trouble)}, 404 if trouble.kind is Kind.MISSING else 409)
        except (ValueError, TypeError, re.error) as error:
            return _json({"error": str(error)}, 400)

    async def _dispatch(self, request: Request) -> Reply:
        matches = [(verb, hit, run) for verb, path, run in _ROUTES if (hit := path.fullmatch(request.path))]
        for verb, hit, run in matches:
            if verb == request.method:
                ask = _Ask(_body(request), _query(request), hit.groupdict().get("id", ""))
                answer = await run(self, ask)
                if verb != "GET":
                    await self.site.settle()
                return _json(answer() if callable(answer) else answer)
        if matches:
            return _json({"error": f"{request.method} is not for {request.path}"}, 405)
        return _json({"error": f"there is nothing at {request.path}"}, 404)


# Each action answers with JSON, or with a function that makes it once the world has settled.


@_route("GET", "/healthz")
async def _healthz(side: ControlSide, _ask: _Ask) -> object:
    return {"ok": True, "panel": side.site.wire.listening and not side.site.away_mode}


@_route("GET", "/world")
async def _world(side: ControlSide, _ask: _Ask) -> object:
    certificate = side.site.certificate
    return truth.of_world(side.world, side.fingerprint) | {
        "url": side.site.url,
        "ssh_port": side.site.ssh_port,
        "certificate_sha256": certificate.fingerprint if certificate else None,
    }


@_route("GET", "/servers/{id}")
async def _server(side: ControlSide, ask: _Ask) -> object:
    return side.shown(side.world.server(ask.item, "server"))


@_route("PATCH", "/servers/{id}")
async def _change_server(side: ControlSide, ask: _Ask) -> object:
    server = side.world.server(ask.item, "server")
    foreign.apply(side.world, server, ask.body)
    return lambda: side.shown(server)


@_route("DELETE", "/servers/{id}")
async def _remove_server(side: ControlSide, ask: _Ask) -> object:
    del side.world.servers[side.world.server(ask.item, "server").id]
    side.world.touch()
    return {"removed": ask.item}


@_route("POST", "/servers")
async def _add_server(side: ControlSide, ask: _Ask) -> object:
    made = {name: value for name, value in ask.body.items() if name in fleet.GIVEN}
    server = fleet.add_server(side.world, made)
    foreign.apply(side.world, server, {name: value for name, value in ask.body.items() if name not in made})
    return lambda: side.shown(server)


@_route("POST", "/users")
async def _add_user(side: ControlSide, ask: _Ask) -> object:
    level = ask.body.get("level", 16)
    user = side.world.add_user(_text(ask, "name"), _text(ask, "password"), int(str(level)))
    return {"id": user.id, "name": user.name, "level": user.level}


@_route("PATCH", "/pools/{id}")
async def _change_pool(side: ControlSide, ask: _Ask) -> object:
    pool = next((item for item in side.world.pools.values() if ask.item in (item.id, item.name)), None)
    if pool is None:
        raise Trouble(Kind.MISSING, "pool", ask.item, f"no pool {ask.item!r}")
    for name, value in ask.body.items():
        if name not in ("name", "type", "network", "gateway"):
            raise ValueError(f"a pool has no fact {name!r}")
        setattr(pool, "kind" if name == "type" else name, str(value))
    side.world.touch()
    return {"id": pool.id, "name": pool.name, "type": pool.kind, "network": pool.network, "gateway": pool.gateway}


@_route("GET", "/journal")
async def _journal(side: ControlSide, ask: _Ask) -> object:
    return {"calls": side.site.journal.after(int(ask.query.get("after", "0"))), "last": side.site.journal.last}


@_route("DELETE", "/journal")
async def _clear_journal(side: ControlSide, _ask: _Ask) -> object:
    return {"removed": side.site.journal.clear()}


@_route("GET", "/faults")
async def _faults(side: ControlSide, _ask: _Ask) -> object:
    return {"faults": [fault.as_json() for fault in side.world.faults.all()]}


@_route("POST", "/faults")
async def _add_fault(side: ControlSide, ask: _Ask) -> object:
    _check_details(side, ask)
    fault = side.world.faults.add(ask.body)
    if fault.kind == "stale":
        _raise_flags(side, fault)
    return fault.as_json()


@_route("DELETE", "/faults/{id}")
async def _remove_fault(side: ControlSide, ask: _Ask) -> object:
    if not side.world.faults.remove(ask.item):
        raise Trouble(Kind.MISSING, "fault", ask.item, f"no fault {ask.item!r}")
    return {"removed": 1}


@_route("DELETE", "/faults")
async def _clear_faults(side: ControlSide, _ask: _Ask) -> object:
    return {"removed": side.world.faults.remove()}


@_route("GET", "/settings")
async def _settings(side: ControlSide, _ask: _Ask) -> object:
    return side.world.settings.as_json()


@_route("PUT", "/settings")
async def _set(side: ControlSide, ask: _Ask) -> object:
    changes = dict(ask.body)
    speed = changes.pop("speed", None)
    side.world.settings.update(changes)
    if speed is not None:
        _set_speed(side, speed)
    return side.world.settings.as_json()


@_route("POST", "/clock")
async def _clock(side: ControlSide, ask: _Ask) -> object:
    clock = side.world.clock
    match ask.body.get("action"):
        case "freeze":
            clock.freeze()
        case "resume":
            clock.resume()
        case "advance":
            clock.advance(_number(ask, "seconds"))
        case "speed":
            _set_speed(side, ask.body.get("speed"))
        case other:
            raise ValueError(f"the clock knows freeze, resume, advance and speed, not {other!r}")
    return lambda: {"now": side.world.now(), "frozen": clock.frozen, "speed": side.world.settings.speed}


@_route("POST", "/panel")
async def _panel(side: ControlSide, ask: _Ask) -> object:
    mode = str(ask.body.get("mode", "refused"))
    match ask.body.get("action"):
        case "stop":
            await side.site.stop_panel(mode)
        case "start":
            await side.site.start_panel()
        case "restart":
            await side.site.restart_panel(_number(ask, "seconds"), mode)
        case "new_certificate":
            await side.site.new_certificate()
        case "drop_sessions":
            side.site.panel.sessions.clear()
        case other:
            known = "stop, start, restart, new_certificate and drop_sessions"
            raise ValueError(f"the panel knows {known}, not {other!r}")
    return {"panel": side.site.wire.listening and not side.site.away_mode}


@_route("POST", "/credentials")
async def _credentials(side: ControlSide, ask: _Ask) -> object:
    user = _user(side, str(ask.body.get("user") or side.site.options.admin_user))
    match ask.body.get("action"):
        case "revoke":
            user.revoked = True
        case "restore":
            user.revoked = False
        case "password":
            side.world.set_password(user, _text(ask, "password"))
        case other:
            raise ValueError(f"credentials know revoke, restore and password, not {other!r}")
    side.world.touch()
    return {"user": user.name, "revoked": user.revoked}


@_route("GET", "/invariants")
async def _invariants(side: ControlSide, ask: _Ask) -> object:
    return {"violations": invariants.violations(side.world, ask.query.get("token"))}


def _check_details(side: ControlSide, ask: _Ask) -> None:
    """Refuse a change by others that could not be made, now rather than in the middle of a call."""
    flags, facts = ask.body.get("flags"), ask.body.get("set")
    if ask.body.get("kind") == "stale" and not (
        isinstance(flags, list) and flags and all(flag in foreign.STALE_FLAGS for flag in flags)
    ):
        raise ValueError(f"a stale fault needs `flags`, some of {', '.join(foreign.STALE_FLAGS)}, not {flags!r}")
    if ask.body.get("kind") != "foreign":
        return
    if not isinstance(facts, dict) or not facts:
        raise ValueError("a foreign fault needs `set`, an object of facts to make true")
    foreign.check(side.world, facts)


def _raise_flags(side: ControlSide, fault: Fault) -> None:
    flags = fault.details.get("flags")
    wanted = [str(item) for item in flags] if isinstance(flags, list) else []
    servers = [side.world.server(fault.server, "server")] if fault.server else list(side.world.servers.values())
    for server in servers:
        foreign.stale(side.world, server, wanted)
    fault.used += 1


def _set_speed(side: ControlSide, speed: object) -> None:
    if not isinstance(speed, int | float) or speed <= 0:
        raise ValueError(f"the speed is a positive number, not {speed!r}")
    side.world.set_speed(float(speed))


def _user(side: ControlSide, name: str) -> User:
    user = side.world.user_named(name)
    if user is None:
        raise Trouble(Kind.MISSING, "user", name, f"no user {name!r}")
    return user


def _text(ask: _Ask, name: str) -> str:
    value = ask.body.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name}: a text is expected")  # noqa: TRY004 - one error for every ill body
    return value


def _number(ask: _Ask, name: str) -> float:
    value = ask.body.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name}: a number of seconds is expected, not {value!r}")
    return float(value)


def _query(request: Request) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(request.query).items()}


def _body(request: Request) -> JsonObject:
    if not request.body:
        return {}
    body = json.loads(request.body)
    if not isinstance(body, dict):
        raise ValueError("a JSON object is expected")  # noqa: TRY004 - one error for every ill body
    return cast("JsonObject", body)


def _json(answer: object, status: int = 200) -> Reply:
    body = json.dumps(answer, ensure_ascii=False).encode()
    return Reply(body, status=status, content_type="application/json; charset=utf-8")

"""The DCImanager 5 wire: request in, fault or function, document out. Talks to the world it was given.

Source: dcimanager5.md 1, 2 and 6.1.
"""

import asyncio
import copy
from dataclasses import dataclass, replace

from provisioner.simulators import foreign, operations
from provisioner.simulators.dcimanager5 import equipment, networks, servers, users
from provisioner.simulators.dcimanager5.call import FUNCTIONS, Call, Function
from provisioner.simulators.dcimanager5.mangle import cut, garbage
from provisioner.simulators.dcimanager5.sessions import Sessions
from provisioner.simulators.dcimanager5.tree import Element, leaf, to_json, to_json_data, to_text, to_xml
from provisioner.simulators.dcimanager5.words import PanelError, error_element, from_trouble
from provisioner.simulators.faults import Fault, Occasion
from provisioner.simulators.http import Reply, Request
from provisioner.simulators.journal import SECRETS, Entry, Journal
from provisioner.simulators.model import Trouble, User
from provisioner.simulators.world import World

PATHS = ("/dcimgr", "/manager/dcimgr")
MODULES = (equipment, networks, servers, users)  # imported for the functions that they register

_BY_SERVER = ("server", "iplist", "ipmiredirect")
_EFFECT_FIRST = ("lost_after", "slow", "drip", "cut")
_DRY = ("late", "silent")
_FOREIGN_PASSWORD = "somebody-elses"  # noqa: S105 - of a user that nobody logs in as
_DEFAULT_LATE, _DEFAULT_SLOW, _DEFAULT_DRIP, _DEFAULT_AWAY = 1.0, 5.0, 0.05, 60.0


@dataclass(frozen=True, slots=True)
class Restart:
    """The panel shall go away for a while, because a fault said so."""

    seconds: float
    mode: str


class Panel:
    """Answers requests on `/dcimgr`."""

    def __init__(self, world: World, journal: Journal) -> None:
        self.world = world
        self.sessions = Sessions()
        self.restarts: asyncio.Queue[Restart] = asyncio.Queue()
        self._journal = journal

    async def handle(self, request: Request) -> Reply:
        """Answer one request, in whatever way the faults on order say."""
        if request.path.rstrip("/") not in PATHS:
            return Reply(b"<html><body>404 Not Found</body></html>", status=404)
        if request.method not in ("GET", "POST"):
            return Reply(b"<html><body>405 Method Not Allowed</body></html>", status=405)
        operations.tick(self.world)
        params = request.params
        func = params.get("func", "")
        login = self._claimed_login(params)
        entry = self._journal.open(
            time=self.world.now(), wire="dcimanager5", func=func, params=params, user=login, peer=request.peer
        )
        known = FUNCTIONS.get(func)
        entry.mutating = known.mutates(params) if known else False
        entry.server = _server_of(func, params)
        call = Call(func, params, request.peer, _base_url(request), None, self.world, self.sessions)
        half = self._latency(call, entry) / 2
        if half:
            await asyncio.sleep(half)
            operations.tick(self.world)
        return _delayed(self._answer(call, entry, known), half)

    def _answer(self, call: Call, entry: Entry, known: Function | None) -> Reply:
        occasion = _occasion(call, entry, known)
        for hand in self.world.faults.take_before(occasion):
            self._foreign_hand(hand, call, entry)
        fault = self.world.faults.take_call(occasion)
        self.world.faults.wake(occasion)
        if fault is None:
            return self._render(call, self._run(call, entry))
        entry.fault, entry.fault_id = fault.kind, fault.id
        return self._spoilt(call, entry, fault)

    def _spoilt(self, call: Call, entry: Entry, fault: Fault) -> Reply:
        if fault.kind in _EFFECT_FIRST:
            return self._effect_then(call, entry, fault)
        if fault.kind in _DRY:
            return self._pretend(call, entry, fault)
        match fault.kind:
            case "lost_before":
                return _lost(entry, "lost")
            case "hang":
                if fault.details.get("effect"):
                    self._run(call, entry)
                entry.outcome = "hang"
                return Reply(hang=True)
            case "garbage":
                return self._garbage(call, entry, fault)
            case "panel_restart":
                if fault.details.get("effect", True):
                    self._run(call, entry)
                away = Restart(fault.number("seconds", _DEFAULT_AWAY), fault.text("mode", "refused"))
                self.restarts.put_nowait(away)
                return _lost(entry, "lost")
            case _:
                return self._render(call, self._error_doc(call, entry, self._refusal(fault)))

    def _effect_then(self, call: Call, entry: Entry, fault: Fault) -> Reply:
        doc = self._run(call, entry)
        match fault.kind:
            case "lost_after":
                return _lost(entry, "lost")
            case "slow":
                return replace(self._render(call, doc), delay=fault.number("delay", _DEFAULT_SLOW))
            case "drip":
                return replace(self._render(call, doc), drip=fault.number("interval", _DEFAULT_DRIP))
            case _:
                cut(doc, fault)
                return self._render(call, doc)

    def _refusal(self, fault: Fault) -> PanelError:
        settings = self.world.settings
        match fault.kind:
            case "busy":
                kind, subject = settings.busy_type, settings.busy_object
            case "authinfo_forbidden":
                kind, subject = "access", "authinfo"
            case _:
                kind, subject = "xml", "xpath"
        return PanelError(
            fault.text("type", kind),
            fault.text("object", subject),
            fault.text("value", ""),
            report=bool(fault.details.get("report")),
            msg=fault.text("msg", ""),
        )

    def _garbage(self, call: Call, entry: Entry, fault: Fault) -> Reply:
        variant = fault.text("variant", "html")
        if variant == "expired_session":
            doc = self._error_doc(call, entry, PanelError("auth", "session"))
            return self._render(call, doc)
        if fault.details.get("effect") or not entry.mutating:
            doc = self._run(call, entry)
        else:
            doc = self._run(replace(call, world=self._trial(entry)), replace(entry))
        entry.outcome = f"garbage {variant}"
        return garbage(variant, self._render(call, doc).body)

    def _trial(self, entry: Entry) -> World:
        """Return a copy of the world, to try a call on; what a call about one server leaves alone is shared."""
        world, one = self.world, self.world.servers.get(entry.server)
        shared = [*world.users.values(), *world.servers.values()] if one else []
        return copy.deepcopy(world, {id(item): item for item in shared if item is not one})

    def _pretend(self, call: Call, entry: Entry, fault: Fault) -> Reply:
        """Answer as if it were done; do it later, or never."""
        shadow = replace(entry)
        doc = self._run(replace(call, world=self._trial(entry)), shadow)
        entry.outcome = shadow.outcome
        if fault.kind == "late" and entry.outcome == "ok":
            taken = replace(call, user=self._identify(call))  # a session that ends meanwhile takes nothing back

            def come_true() -> None:
                done = replace(entry)
                self._run(taken, done)
                entry.effect, entry.effect_at = done.effect, done.effect_at

            self.world.deferred[str(entry.n)] = come_true
            delay = fault.number("delay", _DEFAULT_LATE)
            self.world.schedule_in(delay, "deferred", "", detail=str(entry.n))
        return self._render(call, doc)

    def _run(self, call: Call, entry: Entry) -> Element:
        """Run the function and return its document; an error is a document, too."""
        before = call.world.revision
        try:
            user = call.user or self._identify(call)
            known = FUNCTIONS.get(call.func)
            if known is None:
                raise PanelError("missed", "func", call.func)  # noqa: TRY301 - said like any other error
            if user is not None and user.level < known.level:
                raise PanelError("access", call.func)  # noqa: TRY301
            call = replace(call, user=user)
            doc = self._doc(call).add(*known.run(call), _echo(call))
            entry.outcome = "ok"
        except Trouble as trouble:
            doc = self._error_doc(call, entry, from_trouble(trouble, call.world.settings))
        except PanelError as error:
            doc = self._error_doc(call, entry, error)
        if call.world.revision != before:
            entry.effect, entry.effect_at = True, call.world.now()
        return doc

    def _identify(self, call: Call) -> User | None:
        """
        Return who calls; a public function needs nobody.

        Raises:
            PanelError: the credentials are wrong, or there are none.
        """
        known = FUNCTIONS.get(call.func)
        if known is not None and known.public:
            return None
        authinfo = call.get("authinfo")
        if authinfo:
            name, _, password = authinfo.partition(":")
            user = call.world.admits(name, password)
            if user is None:
                raise PanelError("auth", "badpassword")
            return user
        idle, now = call.world.settings.session_idle, call.world.now()
        user_id = self.sessions.user_of(call.get("auth"), peer=call.peer, now=now, idle=idle)
        user = call.world.users.get(user_id or "")
        if user is None or user.revoked:
            raise PanelError("auth", "session")
        return user

    def _claimed_login(self, params: dict[str, str]) -> str:
        """Return the name under which the caller says he comes."""
        if params.get("authinfo"):
            return params["authinfo"].partition(":")[0]
        owner = self.world.users.get(self.sessions.peek(params.get("auth", "")) or "")
        return owner.name if owner else params.get("username", "")

    def _doc(self, call: Call) -> Element:
        attributes = {
            "lang": _language(call),
            "func": call.func,
            "binary": "/dcimgr",
            "host": call.host,
            "themename": "orion",
        }
        return Element("doc", "", attributes)

    def _error_doc(self, call: Call, entry: Entry, error: PanelError) -> Element:
        entry.outcome = f"error {error.kind}/{error.subject}"
        level = call.user.level if call.user else 0
        element = error_element(error, lang=_language(call), level=level, user=entry.user, func=call.func)
        return self._doc(call).add(element)

    def _render(self, call: Call, doc: Element) -> Reply:
        settings = self.world.settings
        match call.get("out"):
            case "xml" | "devel":
                return Reply(to_xml(doc), content_type="text/xml; charset=utf-8")
            case "json" | "xjson":
                on_top = doc.first("error") is not None and (
                    call.get("clickstat") == "title"
                    or (call.func == "server.operations" and settings.operations_top_level_error)
                )
                shown = Element("doc", children=doc.all("error")) if on_top else doc
                body = to_json(shown, single_object=settings.json_single_object, wrapped=not on_top)
                return Reply(body, content_type="application/json; charset=utf-8")
            case "JSONdata":
                return Reply(to_json_data(doc), content_type="application/json; charset=utf-8")
            case "text":
                return Reply(to_text(doc), content_type="text/plain; charset=utf-8")
            case _:
                return Reply(b"<!DOCTYPE html><html><head><title>DCImanager</title></head><body></body></html>")

    def _latency(self, call: Call, entry: Entry) -> float:
        """Return how long the call takes, in real seconds."""
        settings = self.world.settings
        if settings.latency == "none":
            return 0.0
        about = f"{call.func} {entry.server or '-'}"
        who = (about, self.world.next_id(about, 1))
        seconds, _ = settings.duration("call", self.world.seed, *who)
        if call.func == "server" and not call.get("clickstat"):
            each, _ = settings.duration("list_row", self.world.seed, *who)
            seconds += each * len(self.world.servers)
        return seconds

    def _foreign_hand(self, fault: Fault, call: Call, entry: Entry) -> None:
        if fault.kind == "foreign_user":
            name = call.get("name")
            if name and self.world.user_named(name) is None:
                self.world.add_user(name, fault.text("password", _FOREIGN_PASSWORD))
                entry.fault, entry.fault_id = fault.kind, fault.id
            return
        server = self.world.servers.get(entry.server)
        if server is None:
            return
        facts = fault.details.get("set") if fault.kind == "foreign" else {"hwproblem": True}
        if isinstance(facts, dict):
            foreign.apply(self.world, server, facts)
        entry.fault, entry.fault_id = fault.kind, fault.id


def _lost(entry: Entry, outcome: str) -> Reply:
    entry.outcome = outcome
    return Reply(reset=True)


def _delayed(reply: Reply, seconds: float) -> Reply:
    return replace(reply, delay=reply.delay + seconds) if seconds else reply


def _language(call: Call) -> str:
    return "ru" if call.get("lang") == "ru" else "en"


def _echo(call: Call) -> Element:
    """Return the parameters as the panel echoes them: without secrets."""
    kept = {name: value for name, value in call.params.items() if name not in SECRETS and name.isidentifier()}
    return Element("tparams", children=[leaf(name, value) for name, value in kept.items()])


def _base_url(request: Request) -> str:
    scheme = "https" if request.secure else "http"
    return f"{scheme}://{request.headers.get('host', 'localhost')}"


def _server_of(func: str, params: dict[str, str]) -> str:
    if func.partition(".")[0] not in _BY_SERVER:
        return ""
    return params.get("plid") or params.get("elid", "")


def _occasion(call: Call, entry: Entry, known: Function | None) -> Occasion:
    target = entry.server or call.get("elid") or call.get("name") or call.get("username") or "-"
    view = known is not None and known.form and not entry.mutating
    traits = {} if known is not None and known.public else {"authinfo": call.get("authinfo")}
    return Occasion(call.func, entry.server, entry.user, target, entry.mutating, view, traits)

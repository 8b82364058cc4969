"""One call on the DCImanager 5 wire, and the table of functions that answer calls. No I/O."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from provisioner.simulators.dcimanager5.sessions import Sessions
from provisioner.simulators.dcimanager5.tree import Element, leaf
from provisioner.simulators.dcimanager5.words import PanelError
from provisioner.simulators.model import ADMIN_LEVEL, USER_LEVEL, Server, User
from provisioner.simulators.world import World


@dataclass(frozen=True, slots=True)
class Call:
    """What a function sees of a call: who asks, with which parameters, of which world."""

    func: str
    params: dict[str, str]
    peer: str
    host: str  #: base URL under which the panel was called
    user: User | None
    world: World
    sessions: Sessions

    @property
    def submitted(self) -> bool:
        """Return whether a form is sent, not only looked at."""
        return bool(self.params.get("sok"))

    @property
    def is_admin(self) -> bool:
        """Return whether the caller is an administrator."""
        return self.user is not None and self.user.level >= ADMIN_LEVEL

    def get(self, name: str, default: str = "") -> str:
        """Return a parameter."""
        return self.params.get(name, default)

    def need(self, name: str) -> str:
        """Return a parameter that must not be empty; the panel says `missed` and its name (**I**)."""
        value = self.params.get(name, "")
        if not value:
            raise PanelError("missed", name)
        return value

    def ids(self, name: str = "elid") -> list[str]:
        """Return the ids of an action: one, or several joined by a comma and a space."""
        return [part.strip() for part in self.need(name).split(",") if part.strip()]

    def server(self, name: str = "elid", server_id: str | None = None) -> Server:
        """
        Return the server that parameter *name* names, if the caller may touch it.

        Raises:
            PanelError: access: a client asks for somebody else's, or for a disabled one (**I**).
            Trouble: there is no such server.
        """
        server = self.world.server(server_id or self.need(name), name)
        if not self.is_admin:
            if self.user is None or server.owner != self.user.id:
                raise PanelError("access", name, server.id)
            if server.disabled and self.func not in _LOOKS:
                raise PanelError("access", "disabled", server.id)
        return server


_LOOKS = ("server", "iplist")

Answer = list[Element]


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the panel."""

    name: str
    run: Callable[[Call], Answer]
    level: int  #: lowest level that may call it
    form: bool  #: shows without `sok`, changes with it
    acts: bool  #: changes something whenever it is called
    public: bool  #: needs no login

    def mutates(self, params: dict[str, str]) -> bool:
        """Return whether a call with *params* is meant to change something."""
        return self.acts or (self.form and bool(params.get("sok")))


FUNCTIONS: dict[str, Function] = {}


def function(
    *names: str, level: int = ADMIN_LEVEL, form: bool = False, acts: bool = False, public: bool = False
) -> Callable[[Callable[[Call], Answer]], Callable[[Call], Answer]]:
    """Put the function below on the table under each of *names*."""

    def register(run: Callable[[Call], Answer]) -> Callable[[Call], Answer]:
        for name in names:
            FUNCTIONS[name] = Function(name, run, level, form, acts, public)
        return run

    return register


def done(*more: Element) -> Answer:
    """Return what the panel answers to an action that it took."""
    return [*more, leaf("ok")]


def page(call: Call, rows: Sequence[Element]) -> Answer:
    """Return *rows* sorted and cut as `p_col`, `p_cnt` and `p_num` ask, and their total number."""
    shown = list(rows)
    column = call.get("p_col").lstrip("+-")
    if column:
        shown.sort(key=lambda item: _sort_key(item, column), reverse=call.get("p_col").startswith("-"))
    size = _number(call.get("p_cnt"))
    if size:
        start = (max(_number(call.get("p_num")), 1) - 1) * size
        shown = shown[start : start + size]
    return [*shown, leaf("p_elems", len(rows))]


def _sort_key(item: Element, column: str) -> tuple[int, int, str]:
    cell = item.first(column)
    text = cell.text if cell else ""
    return (0, int(text), "") if text.isdecimal() else (1, 0, text)


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


CLIENT = USER_LEVEL  #: level for functions that a client may call, too

"""Record of every call that reached a simulated wire; secrets are kept as digests only."""

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from time import time as now

from provisioner.simulators.chance import digest

JsonObject = dict[str, object]

SECRETS = frozenset({"passwd", "confirm", "checkpasswd", "password", "authinfo", "auth", "key", "ipmipass"})
_LIMIT = 200_000


@dataclass(slots=True)
class Entry:
    """One call."""

    n: int
    time: float  #: world seconds
    at: float  #: Unix time
    wire: str
    func: str
    params: dict[str, str]
    user: str
    peer: str
    server: str = ""  #: id of the server it is about
    mutating: bool = False
    outcome: str = "pending"  #: ok, error TYPE/OBJECT, lost, hang, garbage VARIANT …
    effect: bool = False  #: the data centre did something because of it
    effect_at: float | None = None
    fault: str | None = None  #: kind of the fault that struck
    fault_id: str | None = None


class Journal:
    """The calls, numbered from 1; the oldest go when there are too many."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=_LIMIT)
        self.last = 0

    def open(
        self,
        *,
        time: float,
        wire: str,
        func: str,
        params: Mapping[str, str],
        user: str,
        peer: str,
    ) -> Entry:
        """Write down a call that has just come in."""
        self.last += 1
        entry = Entry(self.last, time, now(), wire, func, redact(params), user, peer)
        self._entries.append(entry)
        return entry

    def after(self, number: int = 0) -> list[JsonObject]:
        """Return the calls with a higher number than *number*, oldest first."""
        return [asdict(entry) for entry in self._entries if entry.n > number]

    def clear(self) -> int:
        """Forget all calls; numbers go on. Return how many there were."""
        gone = len(self._entries)
        self._entries.clear()
        return gone


def redact(params: Mapping[str, str]) -> dict[str, str]:
    """Return *params* with each secret replaced by the first 16 hex digits of its SHA-256."""
    return {name: _redacted(name, value) for name, value in params.items()}


def _redacted(name: str, value: str) -> str:
    if name not in SECRETS:
        return value
    if name == "authinfo" and ":" in value:
        login, _, password = value.partition(":")
        return f"{login}:sha256:{digest(password)[:16]}"
    return f"sha256:{digest(value)[:16]}"

"""Sessions and single sign-on keys of a DCImanager 5 panel; forgotten when the panel restarts.

Source: dcimanager5.md 1.3.
"""

import secrets
from dataclasses import dataclass

_ID_BYTES = 12  # 24 hex digits, as in captured answers


@dataclass(slots=True)
class Session:
    """Who is logged in, from where, and when he last called (world seconds)."""

    user: str  #: id of the user
    peer: str
    last_call: float


class Sessions:
    """Open sessions by id, and keys that have not been used yet."""

    def __init__(self) -> None:
        self._open: dict[str, Session] = {}
        self._keys: dict[tuple[str, str], None] = {}

    def start(self, user: str, peer: str, now: float) -> str:
        """Open a session for *user*, bound to the address *peer*; return its id."""
        session_id = secrets.token_hex(_ID_BYTES)
        self._open[session_id] = Session(user, peer, now)
        return session_id

    def user_of(self, session_id: str, *, peer: str, now: float, idle: float) -> str | None:
        """Return the id of the user, or None when unknown, expired, or used from elsewhere."""
        session = self._open.get(session_id)
        if session is None or session.peer != peer:
            return None
        if now - session.last_call > idle:
            del self._open[session_id]
            return None
        session.last_call = now
        return session.user

    def peek(self, session_id: str) -> str | None:
        """Return whose session that is, without any check."""
        session = self._open.get(session_id)
        return session.user if session else None

    def add_key(self, user: str, key: str) -> None:
        """Remember *key* as good for one login as *user*."""
        self._keys[user, key] = None

    def use_key(self, user: str, key: str) -> bool:
        """Return whether *key* is good for *user*, and spend it."""
        return self._keys.pop((user, key), self) is None

    def clear(self) -> None:
        """Forget everything, as a restarted panel does."""
        self._open.clear()
        self._keys.clear()

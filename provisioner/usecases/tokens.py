"""Bearer tokens: made, listed, revoked, recognised; the token itself is shown once and never stored."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from provisioner.domain.catalogue import Caller, Role, Token, name_of
from provisioner.domain.naming import storable
from provisioner.errors import Invalid, Unauthenticated
from provisioner.ports import Catalogue

TOKEN_BYTES = 32
LONGEST = 200  #: of what may be a token at all


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token that was just made."""

    name: str
    role: Role
    panel: str
    expires_at: datetime | None
    token: str = field(repr=False)  #: shown this once


def create(
    name: str, role: str, *, panel: str = "", expires_at: datetime | None = None, catalogue: Catalogue
) -> NewToken:
    """
    Make a token of a role; one that is to order names the *panel* that it orders for.

    Raises:
        Invalid: no such role, a name that can't be taken, or a billing token without a panel.
        IllegalMove: there is a token of that name.
    """
    name_of(name, field="name")
    if role not in list(Role):
        raise Invalid(f"there is no role {role!r}; there are {', '.join(Role)}", field="role")
    storable(panel, field="panel", longest=100)
    if role == Role.BILLING and not panel:
        raise Invalid("a billing token needs a panel: it sees only that panel's services", field="panel")
    token = secrets.token_urlsafe(TOKEN_BYTES)
    catalogue.add_token(name, Role(role), panel, digest(token), expires_at)
    return NewToken(name, Role(role), panel, expires_at, token)


def listing(*, catalogue: Catalogue) -> Sequence[Token]:
    """Give all tokens, without what they are."""
    return catalogue.tokens()


def revoke(name: str, *, catalogue: Catalogue) -> None:
    """End a token at once; safe to repeat. Raises `NotFound`."""
    catalogue.revoke_token(name)


def authenticate(token: str, *, catalogue: Catalogue) -> Caller:
    """
    Give whose *token* it is.

    Raises:
        Unauthenticated: none of ours, expired or revoked; the three look alike.
    """
    caller = catalogue.caller(digest(token)) if token.isascii() and len(token) <= LONGEST else None
    if caller is None:
        raise Unauthenticated("the token is wrong, expired or revoked; make one with `provisioner token create`")
    return caller


def digest(token: str) -> str:
    """Give what is stored of a token; it is random enough to need no slow hash."""
    return hashlib.sha256(token.encode()).hexdigest()

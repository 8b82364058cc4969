"""Who calls and what they may: a bearer token, its role, and for billing the one panel that it sees."""

from collections.abc import Callable
from typing import Annotated, cast

from fastapi import Depends, Request, Security
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from provisioner.bootstrap import App
from provisioner.domain.catalogue import RANK, Caller, Role
from provisioner.errors import Forbidden, Invalid, Unauthenticated
from provisioner.usecases import tokens

BEARER = HTTPBearer(auto_error=False, description="Made by `provisioner token create`.")


def plugged(request: Request) -> App:
    """Give the ports."""
    return cast("App", request.app.state.ports)


Ports = Annotated[App, Depends(plugged)]


def caller(
    request: Request, ports: Ports, given: Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)]
) -> Caller:
    """Give who calls. Raises `Unauthenticated`."""
    if given is None:
        raise Unauthenticated("this call needs a token: send the header `Authorization: Bearer TOKEN`")
    found = tokens.authenticate(given.credentials, catalogue=ports.catalogue)
    _known_query(request)
    return found


def _read_by(dependant: Dependant) -> set[str]:
    """Name the parameters that a call, or what it depends on, reads."""
    return {field.alias for field in dependant.query_params}.union(*map(_read_by, dependant.dependencies))


def _known_query(request: Request) -> None:
    """Refuse parameters that nobody reads: a filter with a typing error must not list everything."""
    route = request.scope.get("route")
    if isinstance(route, APIRoute):
        known = _read_by(route.dependant)
        unknown = sorted({name[:100] for name in request.query_params} - known)
        if unknown:
            takes = f"; this call takes {', '.join(sorted(known))}" if known else ""
            raise Invalid(f"unknown parameter {', '.join(unknown)}{takes}", field=unknown[0])


def _at_least(role: Role) -> Callable[[Caller], Caller]:
    def check(who: Annotated[Caller, Depends(caller)]) -> Caller:
        if RANK[who.role] < RANK[role]:
            raise Forbidden(f"this call needs a token of role {role} or above; this one has {who.role}")
        return who

    return check


def _orders(who: Annotated[Caller, Depends(caller)]) -> Caller:
    if who.role is Role.VIEWER:
        raise Forbidden("this call needs a token of role billing, operator or admin; this one has viewer")
    if not who.panel:
        raise Forbidden("this token names no billing panel, so it can't order; make one with --panel")
    return who


def _acts(who: Annotated[Caller, Depends(caller)]) -> Caller:
    if who.role is Role.VIEWER:
        raise Forbidden("this call needs a token of role billing, operator or admin; this one has viewer")
    return who


def _billing(who: Annotated[Caller, Depends(caller)]) -> Caller:
    if who.role is not Role.BILLING:
        raise Forbidden(f"one-time passwords are given to role billing only; this token has {who.role}")
    return who


Anybody = Annotated[Caller, Depends(caller)]  #: any good token; billing sees its own panel's things
Viewer = Annotated[Caller, Depends(_at_least(Role.VIEWER))]
Operator = Annotated[Caller, Depends(_at_least(Role.OPERATOR))]
Admin = Annotated[Caller, Depends(_at_least(Role.ADMIN))]
Actor = Annotated[Caller, Depends(_acts)]  #: billing on its own panel's services, an operator on all
Orderer = Annotated[Caller, Depends(_orders)]
Billing = Annotated[Caller, Depends(_billing)]

"""Which error is which HTTP status: one table, and the problem details (RFC 9457) that it is told in."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from provisioner import errors

log = structlog.get_logger()
MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 2
AS_JSON = "send JSON with Content-Type application/json"

#: first fit, from the special to the general
STATUS: tuple[tuple[type[Exception], HTTPStatus], ...] = (
    (errors.Unauthenticated, HTTPStatus.UNAUTHORIZED),
    (errors.Forbidden, HTTPStatus.FORBIDDEN),
    (errors.NotFound, HTTPStatus.NOT_FOUND),
    (errors.IllegalMove, HTTPStatus.CONFLICT),
    (errors.KeyReused, HTTPStatus.CONFLICT),
    (errors.Invalid, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.Refused, HTTPStatus.BAD_REQUEST),
    (errors.Overloaded, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.RemoteError, HTTPStatus.BAD_GATEWAY),
    (errors.BadConfig, HTTPStatus.SERVICE_UNAVAILABLE),
)


class Trouble(BaseModel):
    """One thing that is wrong with a request."""

    field: str = Field(description="Where, in the words of the request.")
    problem: str


class Problem(BaseModel):
    """What went wrong, and what to do about it (RFC 9457)."""

    type: str = Field(description="What kind of problem, for machines.", examples=["urn:provisioner:not-found"])
    title: str
    status: int
    detail: str = Field(description="One sentence: what, where, and what to do.")
    field: str | None = Field(default=None, description="The value that is to blame.")
    errors: list[Trouble] | None = Field(default=None, description="All that is wrong with the request.")


def problem(
    status: int, kind: str, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any
) -> JSONResponse:
    """Give an answer that tells of a problem."""
    body = {"type": f"urn:provisioner:{kind}", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    told = body | {key: value for key, value in more.items() if value}
    return JSONResponse(told, status, dict(headers or {}), media_type=MEDIA_TYPE)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Give what OpenAPI says of these statuses."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _MEANING[status], "content": content} for status in statuses}


_MEANING = {
    400: "The body is no JSON that can be read, or holds text that can't be stored.",
    401: "No token, or one that is wrong, revoked or expired.",
    403: "The token is good, its role is not enough.",
    404: "No such thing, or not for this token.",
    409: "Not legal now; the sentence says why.",
    413: "The body is too large.",
    422: "A value can't be taken; the sentence says which, and what to do.",
    502: "The DCIM refuses, or its answer can't be used.",
    503: "The database can't take it just now; nothing was stored, the same call may come again.",
}


def register(app: FastAPI) -> None:
    """Tell every error as a problem."""
    app.exception_handler(errors.ProvisionerError)(_ours)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(HTTPException)(_plain)
    app.exception_handler(Exception)(_bug)


async def _ours(_request: Request, error: Exception) -> JSONResponse:
    status = next((status for kind, status in STATUS if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)
    headers = {}
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    detail = str(error) or status.phrase
    return problem(status, _kind(error), detail, headers=headers, field=getattr(error, "field", None))


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    found: Sequence[Any] = error.errors() if isinstance(error, RequestValidationError) else []
    if any(one["type"] == "json_invalid" for one in found):
        return problem(HTTPStatus.BAD_REQUEST, "no-json", "the body is no JSON; send one object")
    troubles = [{"field": _where(one), "problem": _what(one)} for one in found]
    detail = "; ".join(f"{one['field']}: {one['problem']}" if one["field"] else one["problem"] for one in troubles)
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", detail, errors=troubles)


async def _plain(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    detail = {
        HTTPStatus.NOT_FOUND: "there is no such path; /docs lists all",
        HTTPStatus.METHOD_NOT_ALLOWED: "this path does not take this method; /docs lists all",
    }.get(HTTPStatus(error.status_code), str(error.detail))
    kind = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_allowed(request))  # the router names those of one route only
    return problem(error.status_code, kind, detail, headers=headers)


def _allowed(request: Request) -> Sequence[str]:
    """Give every method that the path takes."""
    found: set[str] = set()
    for path, methods in request.app.openapi()["paths"].items():
        pattern = re.sub(r"\\{[^}]*\\}", "[^/]+", re.escape(path))
        if re.fullmatch(pattern, request.url.path):
            found |= {method.upper() for method in methods}
    return sorted(found)


async def _bug(_request: Request, error: Exception) -> JSONResponse:
    log.error("api_bug", error=type(error).__name__)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "bug", "a bug of ours; the log of the API says more")


def _kind(error: Exception) -> str:
    name = type(error).__name__
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in name).lstrip("-")


def _where(one: Mapping[str, Any]) -> str:
    parts = [str(part)[:100] for part in one["loc"]]
    if parts and parts[0] in ("body", "query", "path", "header"):
        parts = parts[1:]
    return ".".join(parts)


def _what(one: Mapping[str, Any]) -> str:
    """Say what is wrong, never with the value: it may be a password."""
    match one["type"]:
        case "extra_forbidden":
            return "unknown field; remove it, or look for the right name in /docs"
        case "missing":
            return (
                "is missing"
                if len(one["loc"]) > 1
                else "a body is missing; send JSON with Content-Type application/json"
            )
        case "model_attributes_type" | "dict_type" | "model_type":
            return f"must be a JSON object; {AS_JSON}"
        case _:
            text = str(one["msg"])
            return text[:1].lower() + text[1:]

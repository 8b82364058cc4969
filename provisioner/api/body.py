"""What no call may carry: a body that is too large, no JSON, or text that PostgreSQL can't hold. Reads the stream."""

import json
import math
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from provisioner.api.errors import problem
from provisioner.domain import adoption
from provisioner.domain.naming import storable
from provisioner.errors import Invalid
from provisioner.usecases.answer import PATH

BYTES_MOST = 64 * 1024
IMPORT = "/v1/services/import"  #: the one call whose body is a file, no JSON
DEPTH_MOST = 32


class Guard:
    """An application around another: what it lets pass can be stored."""

    def __init__(self, app: ASGIApp) -> None:
        """Guard *app*."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse with a sentence, or pass the whole body on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if b"\x00" in unquote_to_bytes(scope.get("raw_path", b"")) + unquote_to_bytes(scope.get("query_string", b"")):
            answer = problem(HTTPStatus.BAD_REQUEST, "unstorable", "the address holds a NUL character; remove it")
            await answer(scope, receive, send)
            return
        is_file = scope["path"] == IMPORT
        most = adoption.BYTES_MOST if is_file else BYTES_MOST
        try:
            body = await _read(receive, most)
        except _Gone:
            return  # half a call is none: a verb whose body may be empty would else be obeyed
        if body is None:
            text = f"the body is larger than {most // 1024} KiB; send less"
            answer = problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-large", text, headers={"Connection": "close"})
            await answer(scope, receive, send)
            return
        form = scope["method"] == "POST" and scope["path"].startswith(PATH)  # the page for people
        if body and not form and not is_file and (why_not := _unreadable(body)):
            await problem(HTTPStatus.BAD_REQUEST, "unreadable", why_not)(scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), send)


class _Gone(Exception):
    """The client went away before its body was whole."""


async def _read(receive: Receive, most: int) -> bytes | None:
    """Give the whole body, None once it is too large: what it says of its own length is not believed."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise _Gone
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > most:
            return None
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _unreadable(body: bytes) -> str:
    """Say why *body* can't be taken, "" when it can."""
    try:
        found = json.loads(body.decode())
    except UnicodeDecodeError:
        return "the body is not UTF-8; send JSON in UTF-8"
    except RecursionError:
        return "the body is nested too deeply"
    except ValueError:
        return "the body is no JSON; send one object"
    try:
        for name, text in _texts(found, "", 0):
            storable(text, field=name, longest=BYTES_MOST)
    except Invalid as error:
        return str(error)
    return ""


def _texts(value: Any, name: str, depth: int) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - whatever JSON holds
    """Give every text with its place; field names are texts, too."""
    if depth > DEPTH_MOST:
        raise Invalid("the body is nested too deeply")
    if isinstance(value, str):
        yield name or "the body", value
    elif isinstance(value, float) and not math.isfinite(value):
        raise Invalid(f"{name or 'the body'} is no number that JSON knows")
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield "a field's name", key
            yield from _texts(inner, f"{name}.{key}".lstrip("."), depth + 1)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _texts(inner, f"{name}[{number}]", depth + 1)

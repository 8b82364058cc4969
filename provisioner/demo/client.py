"""The demo's client of the public API: JSON over HTTP, as a billing panel would. Touches one address."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

#: An object or an array, as JSON has them.
Json = Any

#: The first status that is an error.
FIRST_ERROR = 400


class ApiError(Exception):
    """The API refused or is away; the message is its own sentence."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status  #: 0: no answer at all


class Api:
    """Every method is one call."""

    def __init__(self, url: str, token: str = "", timeout: float = 10.0) -> None:
        parts = urlsplit(url)
        self.url = url
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._timeout = timeout

    def get(self, path: str) -> Json:
        return self.ask("GET", path)

    def look(self, path: str) -> Json:
        """Return what is there, None where nothing is."""
        try:
            return self.get(path)
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return None

    def put(self, path: str, body: Mapping[str, object]) -> Json:
        return self.ask("PUT", path, body)

    def post(self, path: str, body: Mapping[str, object] | None = None) -> Json:
        return self.ask("POST", path, body or {})

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Json:
        """
        Call and return the answer.

        Raises:
            ApiError: an error's status, or no answer.
        """
        connection = HTTPConnection(self._host, self._port, timeout=self._timeout)
        try:
            connection.request(
                method, path, None if body is None else json.dumps(body), {**self._headers, **(headers or {})}
            )
            response = connection.getresponse()
            status, text = response.status, response.read()
        except (OSError, HTTPException) as error:
            raise ApiError(f"{method} {path}: no answer from {self.url}: {error}") from error
        finally:
            connection.close()
        try:
            answer: Json = json.loads(text or b"{}")
        except ValueError as error:
            raise ApiError(f"{method} {path}: status {status}, and no JSON: {text[:200]!r}", status) from error
        if status >= FIRST_ERROR:
            raise ApiError(f"{method} {path}: {answer.get('detail') or answer.get('title') or status}", status)
        return answer

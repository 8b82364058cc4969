"""Hears all that Flower hears, and writes it down: what a message says of its job must hold no secret."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from celery import Celery

PATIENCE = 1.0


class Listener:
    """A thread that writes every event of the workers into a file, a line each; a broker that is away is awaited."""

    def __init__(self, broker_url: str, file: Path) -> None:
        self._app = Celery(broker=broker_url, set_as_current=False)
        self._file = file
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)
        self.heard = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop listening; what was heard is in the file."""
        self._end.set()
        self._thread.join(PATIENCE * 5)

    def _listen(self) -> None:
        with self._file.open("a", encoding="utf-8") as out:

            def write(event: dict[str, Any]) -> None:
                out.write(json.dumps(event, default=str) + "\n")
                out.flush()
                self.heard += 1

            while not self._end.is_set():
                with suppress(Exception), self._app.connection_for_read() as connection:
                    self._hear(connection, write)
                self._end.wait(PATIENCE)

    def _hear(self, connection: Any, write: Any) -> None:  # noqa: ANN401 - Celery's own
        receiver = self._app.events.Receiver(connection, handlers={"*": write})
        while not self._end.is_set():
            with suppress(TimeoutError):
                receiver.capture(limit=None, timeout=PATIENCE, wakeup=False)

"""One LISTEN connection a process, none of the pool: tells who waits for a job that something happened to it."""

import asyncio
from collections import defaultdict
from contextlib import suppress
from typing import Any

import psycopg2
import psycopg2.extensions
import structlog

from provisioner.store.database import Database

log = structlog.get_logger()
CHANNEL = "job"  #: the first migration's trigger notifies it, the payload is the job's id
RETRY_SECONDS = 1.0  #: after the connection was lost


class Listener:
    """
    Waits for events of jobs, in the event loop that it is started in.

    A connection that was lost wakes everybody: who waits looks again, and at worst sees no change.
    """

    def __init__(self, database: Database) -> None:
        """Connect where *database* does, when started."""
        self._database = database
        self._waiting: dict[int, set[asyncio.Event]] = defaultdict(set)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen; call it in the event loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Stop listening and wake everybody."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        self._wake_all()

    def subscribe(self, job_id: int) -> asyncio.Event:
        """Give an event that is set when something happens to the job; give it back with `forget`."""
        event = asyncio.Event()
        self._waiting[job_id].add(event)
        return event

    def forget(self, job_id: int, event: asyncio.Event) -> None:
        """End a subscription."""
        self._waiting[job_id].discard(event)
        if not self._waiting[job_id]:
            del self._waiting[job_id]

    async def _run(self) -> None:
        while True:
            try:
                await self._listen()
            except psycopg2.Error as error:
                log.warning("listener_lost", error=type(error).__name__)
            self._wake_all()
            await asyncio.sleep(RETRY_SECONDS)

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        connection = await asyncio.to_thread(self._connect)
        readable = asyncio.Event()
        descriptor = connection.fileno()
        try:
            loop.add_reader(descriptor, readable.set)
            while True:
                await readable.wait()
                readable.clear()
                connection.poll()
                while connection.notifies:
                    self._wake(connection.notifies.pop(0).payload)
                if connection.closed:
                    return
        finally:
            loop.remove_reader(descriptor)
            connection.close()

    def _connect(self) -> Any:  # noqa: ANN401 - the types of psycopg2 do not know `notifies` as a list
        args, options = self._database.engine.dialect.create_connect_args(self._database.engine.url)
        connection = psycopg2.connect(*args, **options, connect_timeout=3, application_name="provisioner-listener")
        connection.set_isolation_level(psycopg2.extensions.ISOLATION_LEVEL_AUTOCOMMIT)
        with connection.cursor() as cursor:
            cursor.execute(f"LISTEN {CHANNEL}")
        return connection

    def _wake(self, payload: str) -> None:
        if payload.isdigit():
            for event in self._waiting.get(int(payload), ()):
                event.set()

    def _wake_all(self) -> None:
        for events in self._waiting.values():
            for event in events:
                event.set()

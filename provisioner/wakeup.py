"""Celery, going out: messages that say "look". Never raises to its caller: a lost message is only delay."""

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from celery import Celery

from provisioner.domain.naming import task_id
from provisioner.domain.spans import Spans
from provisioner.ports import Wakeup

log = structlog.get_logger()
CONTROL_EXPIRES = 60  #: seconds; a tick that is older is pointless
AUDIT_EXPIRES = 600  #: seconds; by then beat has asked for it again
STEPS, OBSERVE, CONTROL, OUTBOX = "steps", "observe", "control", "outbox"


CeleryApp = Celery  #: the type, for the room that plugs it in


def celery_app(broker_url: str, spans: Spans, *, visible: bool = True) -> Celery:
    """Give a Celery application with our settings; *visible*: its messages are shown in Flower."""
    app = Celery("provisioner", broker=broker_url)
    app.conf.update(
        task_ignore_result=True,
        task_track_started=True,
        worker_prefetch_multiplier=1,
        worker_send_task_events=True,
        task_send_sent_event=visible,
        task_serializer="json",
        accept_content=["json"],
        broker_connection_retry_on_startup=True,
        task_soft_time_limit=spans.soft,
        task_time_limit=spans.hard,
        task_default_queue=STEPS,
        worker_hijack_root_logger=False,
        worker_eta_task_limit=1000,
        broker_transport_options=_transport(broker_url),
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0, "interval_max": 0.2},
    )
    return app


def _transport(broker_url: str) -> dict[str, int]:
    """
    Give the options, seconds, with which a broker that hangs is an error after a few seconds; else it is never one.

    RabbitMQ reads nothing more from who published while its memory or disk alarm is on, so whoever then asks it for
    an answer (a queue to declare, a connection to close) waits until the alarm ends.
    """
    if broker_url.startswith("amqp"):
        return {"read_timeout": 3, "write_timeout": 3}
    return {
        "socket_timeout": 2,
        "socket_connect_timeout": 1,
        "visibility_timeout": 900,
        "unacked_restore_interval": 10,
        "unacked_restore_throttle": 1,
    }


class CeleryWaker:
    """Satisfies `ports.Waker` by sending at once; a broker that is down costs a tenth of a second."""

    def __init__(
        self, app: Celery, hidden: Celery, *, name_of: Callable[[Wakeup], str], label_of: Callable[[Wakeup], str]
    ) -> None:
        """Send steps by *app*, control messages by *hidden*, which sends no events."""
        self._app, self._hidden = app, hidden
        self._name_of, self._label_of = name_of, label_of

    def wake(self, wakeups: Sequence[Wakeup]) -> None:
        """Send a message for each; its id is never used twice."""
        for one in wakeups:
            label = self._label_of(one)
            task = task_id(one.job_id, one.order, one.server, one.attempt_n, label=label, sends=one.sends)
            kwargs: dict[str, Any] = {
                "job": one.job_id,
                "order": one.order,
                "server": one.server,
                "attempt": one.attempt_id,
                "pos": one.pos,
            }
            self._send(
                self._app,
                self._name_of(one),
                kwargs=kwargs,
                task_id=task,
                root_id=one.root_id or task,
                parent_id=one.parent_id,
                queue=one.queue,
                add_to_parent=False,
            )

    def tick(self) -> None:
        """Ask for a reconcile tick now."""
        self._send(self._hidden, "control.reconcile", queue=CONTROL, expires=CONTROL_EXPIRES, ignore_result=True)

    def observe(self, connection_id: int) -> None:
        """Ask for a list reading of a connection."""
        self._send(
            self._hidden,
            "control.observe",
            kwargs={"connection": connection_id},
            queue=OBSERVE,
            expires=CONTROL_EXPIRES,
        )

    def audit(self, connection_id: int, *, start: bool) -> None:
        """Ask for a turn of a connection's nightly audit."""
        kwargs = {"connection": connection_id, "start": start}
        self._send(self._hidden, "control.audit", kwargs=kwargs, queue=OBSERVE, expires=AUDIT_EXPIRES)

    def deliver(self) -> None:
        """Ask for a message to be handed to its desk."""
        self._send(self._hidden, "control.deliver", queue=OUTBOX, expires=CONTROL_EXPIRES)

    def callback(self, panel: str) -> None:
        """Ask for a billing panel to be told what is due for it."""
        self._send(self._hidden, "control.callback", kwargs={"panel": panel}, queue=OUTBOX, expires=CONTROL_EXPIRES)

    def lost(self, task_id: str, worker: str, sentence: str) -> None:
        """Tell readers of Flower that a task died with its worker: else it stays STARTED for ever."""
        if not task_id or not worker:
            return
        try:
            with self._app.connection_for_write() as connection:
                dispatcher = self._app.events.Dispatcher(connection, hostname=worker)
                dispatcher.send("task-failed", uuid=task_id, traceback=None, exception=f"WorkerLost({sentence!r})")
                dispatcher.close()
        except Exception as error:  # noqa: BLE001 - whatever the broker's client raises; only a picture is lost
            log.warning("event_lost", task=task_id, error=type(error).__name__)

    @staticmethod
    def _send(app: Celery, name: str, **options: Any) -> None:
        try:
            app.send_task(name, **options)
        except Exception as error:  # noqa: BLE001 - whatever the broker's client raises; the reconciler sends again
            log.warning("message_lost", task=name, error=type(error).__name__)


class CeleryBroker:
    """Satisfies `ports.Broker`."""

    def __init__(self, app: Celery) -> None:
        """Connect as *app* does."""
        self._app = app

    def trouble(self) -> str:
        """Connect once, and no longer than its time limits."""
        connection = self._app.connection_for_read()
        where = connection.as_uri()  # its password is hidden
        try:
            with connection, connection.channel():
                return ""
        except Exception as error:  # noqa: BLE001 - whatever the broker's client raises; its text may hold the address
            return f"no answer from {where} ({type(error).__name__})"


class BackgroundWaker:
    """The same from one thread: a broker that hangs never holds an API call."""

    def __init__(self, waker: CeleryWaker) -> None:
        """Send by *waker*; the thread starts with the first message."""
        self._waker = waker
        self._waiting: queue.Queue[Callable[[], None]] = queue.Queue(maxsize=1000)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def wake(self, wakeups: Sequence[Wakeup]) -> None:
        """Send soon."""
        kept = list(wakeups)
        self._later(lambda: self._waker.wake(kept))

    def tick(self) -> None:
        """Ask soon for a tick; one that already waits is enough."""
        if self._waiting.empty():
            self._later(self._waker.tick)

    def observe(self, connection_id: int) -> None:
        """Ask soon for a list reading."""
        self._later(lambda: self._waker.observe(connection_id))

    def audit(self, connection_id: int, *, start: bool) -> None:
        """Ask soon for a turn of an audit."""
        self._later(lambda: self._waker.audit(connection_id, start=start))

    def deliver(self) -> None:
        """Ask soon for a message to be handed to its desk."""
        self._later(self._waker.deliver)

    def callback(self, panel: str) -> None:
        """Ask soon for a billing panel to be told."""
        self._later(lambda: self._waker.callback(panel))

    def lost(self, task_id: str, worker: str, sentence: str) -> None:
        """Tell soon."""
        self._later(lambda: self._waker.lost(task_id, worker, sentence))

    def _later(self, send: Callable[[], None]) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="waker", daemon=True)
                self._thread.start()
        try:
            self._waiting.put_nowait(send)
        except queue.Full:
            log.warning("message_lost", error="the broker hangs and a thousand messages wait")

    def _run(self) -> None:
        while True:
            self._waiting.get()()

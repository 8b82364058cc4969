"""What a worker does with a message whose step it does not know: a newer release sent it, so that one must take it."""

from typing import Any

import structlog
from celery.worker.consumer import Consumer

from workers.app import wiring

log = structlog.get_logger()


class Patient(Consumer):
    """
    Celery's consumer, which would call such a message an error and throw it away with a traceback.

    In a rolling upgrade every old worker meets some. The truth stays in the database: the attempt is ready, and
    its message is sent again after a while, until a worker of the newer release is the one who gets it.
    """

    connection_errors: tuple[type[Exception], ...]
    event_dispatcher: Any

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:  # noqa: ANN401 - Celery's
        """Take the message off the queue and let it be sent again soon; what is no step of ours is Celery's."""
        task, name, kwargs = _named(message)
        if not {"attempt", "pos"} <= kwargs.keys():
            super().on_unknown_task(body, message, exc)
            return
        message.ack_log_error(log, self.connection_errors)
        try:
            wiring().engine.put_off(kwargs["attempt"], kwargs["pos"])
        except Exception as error:  # noqa: BLE001 - the consumer lives on: it is sent again all the same, but later
            log.warning("message_not_put_off", task=name, error=type(error).__name__)
        log.info("message_left", task=name, job_id=kwargs.get("job"), attempt_id=kwargs["attempt"])
        if self.event_dispatcher:
            said = "{'outcome': 'newer', 'says': 'a worker of a newer release must do this step'}"
            self.event_dispatcher.send("task-succeeded", uuid=task, result=said, runtime=0.0)


def _named(message: Any) -> tuple[str, str, dict[str, Any]]:  # noqa: ANN401 - kombu's
    """Give id, name and arguments of a message; no arguments where they can't be read."""
    try:
        _args, kwargs, _embed = message.payload
        return message.headers["id"], message.headers["task"], dict(kwargs)
    except Exception:  # noqa: BLE001 - a foreign message may fail in any way: Celery says how it goes on
        return "", "", {}

"""A Celery application of three lines, for the contract of the broker; run as a real worker."""

from __future__ import annotations

import os

import redis
from celery import Celery

app = Celery("contract", broker=os.environ["CONTRACT_BROKER"])
app.conf.update(
    task_ignore_result=True,
    worker_send_task_events=True,
    task_send_sent_event=True,
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=1,
)


@app.task(name="contract.note")
def note(key: str, word: str) -> None:
    """Append *word* to the list *key*, where a test waits for it."""
    client = redis.Redis.from_url(os.environ["CONTRACT_BROKER"])
    client.rpush(key, word)
    client.close()

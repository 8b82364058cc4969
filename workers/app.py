"""The Celery application of the workers, beat and Flower: `celery -A workers.app`."""

from functools import cache
from typing import Any

from celery import Celery, bootsteps
from celery.schedules import crontab
from celery.signals import beat_init, setup_logging, worker_init, worker_process_init, worker_ready, worker_shutdown

from provisioner import __version__, bootstrap, config
from provisioner.bootstrap import App
from provisioner.errors import Overloaded

settings = config.load()


@cache
def wiring() -> App:
    """Give this process's ports."""
    return bootstrap.build(settings, worker=True)


class Accelerator(bootsteps.StartStopStep):
    """
    Two timers in each worker: beat may be dead, the reconciler looks all the same; and the doctor hears who lives.

    A child of the pool says so, not we: so it is said only while children work and the database takes it.
    """

    requires = ("celery.worker.components:Timer", "celery.worker.components:Pool")

    def start(self, parent: Any) -> None:  # noqa: ANN401 - Celery's worker
        """Begin to ask, and to tell."""
        spans = wiring().spans
        self.said: Any = None
        self.timers = [
            parent.timer.call_repeatedly(max(spans.reconcile * 2, 0.5), wiring().waker.tick),
            parent.timer.call_repeatedly(spans.worker_beat, self.tell, (parent,)),
            parent.timer.call_after(min(1.0, spans.worker_beat), self.tell, (parent,)),
        ]

    def tell(self, parent: Any) -> None:  # noqa: ANN401 - Celery's worker
        """Let a child say that we live, unless it has not come to the last time yet."""
        if self.said is None or self.said.ready():
            queues = sorted(parent.app.amqp.queues.consume_from)
            self.said = parent.pool.apply_async(say_that_we_live, (parent.hostname, queues))

    def stop(self, parent: Any) -> None:  # noqa: ANN401 - Celery's worker
        """Stop asking."""
        for timer in self.timers:
            timer.cancel()


def say_that_we_live(worker: str, queues: list[str]) -> None:
    """Write a sign of life; whatever prevents it is a missing sign."""
    wiring().heartbeats.note(worker, version=__version__, queues=queues)


def make() -> Celery:
    """Give the application, with tasks, schedule and the accelerator."""
    made = wiring().celery
    made.conf.update(imports=("workers.tasks",), worker_consumer="workers.consumer:Patient")
    made.conf.beat_schedule = {
        "reconcile": {
            "task": "control.reconcile",
            "schedule": wiring().spans.reconcile,
            "options": {"queue": "control", "expires": 60},
        },
        "audit": {
            "task": "control.audits",
            "schedule": crontab(hour="2", minute="17"),  # UTC, Celery's own default
            "kwargs": {"start": True},
            "options": {"queue": "observe", "expires": 3600},
        },
        "audit-goes-on": {
            "task": "control.audits",
            "schedule": 600.0,
            "kwargs": {"start": False},
            "options": {"queue": "observe", "expires": 600},
        },
    }
    made.steps["worker"].add(Accelerator)
    return made


app = make()


@setup_logging.connect
def _logs(**_: object) -> None:
    bootstrap.set_up_logs(settings)


@beat_init.connect
def _ticks_are_hidden(**_: object) -> None:
    """Beat sends nothing but ticks, 43,200 a day: none of them is shown in Flower."""
    app.conf.task_send_sent_event = False


@worker_init.connect
def _is_it_our_database(**_: object) -> None:
    """Halt before a task is taken; a database that is away now is compared when it is connected to."""
    wiring().installation.compare()
    wiring().database.close()  # what is forked next inherits no connection


@worker_process_init.connect
def _forked(**_: object) -> None:
    """Never share the parent's connections."""
    wiring().database.forget()


@worker_ready.connect
def _bury_the_dead(**_: object) -> None:
    """Free the leases of processes of this host that are provably gone; all others wait for their lease."""
    prefix = bootstrap.owner_prefix(settings)
    reconciler = wiring().reconciler
    reconciler.bury(bootstrap.dead(list(reconciler.running_owners(prefix)), prefix))
    wiring().waker.tick()


@worker_shutdown.connect
def _leave_the_list(sender: Any = None, **_: object) -> None:  # noqa: ANN401 - Celery's worker
    """Say that we went by ourselves; who is killed stays on the list as silent."""
    wiring().database.close()
    try:
        wiring().heartbeats.forget(sender.hostname)
    except Overloaded:
        return

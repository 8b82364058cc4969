"""The tasks: parse ids, call one use-case, end. A parked or fenced step is a success that says why."""

from typing import Any

from celery import Task
from celery.exceptions import SoftTimeLimitExceeded

from provisioner import bootstrap
from provisioner.usecases import audit as auditor
from provisioner.usecases import callback as billing
from provisioner.usecases import tell
from provisioner.usecases.heed import heed
from provisioner.usecases.observe import observe as read_list
from provisioner.usecases.recipes import task_names
from provisioner.usecases.reconcile import reconcile as tick
from provisioner.usecases.run_step import run_step
from provisioner.views.callbacks import body as callback_body
from workers.app import app, settings, wiring


class StepFailed(Exception):
    """A step failed for good; its reason is committed, this only shows it in Flower."""


def _step(self: Task[Any, Any], /, *, attempt: int, pos: int, **_: object) -> dict[str, str]:
    """Touch one attempt at one position."""
    report = run_step(
        attempt,
        pos,
        task_id=str(self.request.id),
        worker=str(self.request.hostname),
        owner=bootstrap.owner(settings),
        tools=wiring().tools(SoftTimeLimitExceeded),
    )
    if report.failed:
        raise StepFailed(report.says) from None
    return {"outcome": report.outcome, "says": report.says}


for name in task_names():
    app.task(name=name, bind=True, throws=(StepFailed,))(_step)


@app.task(name="control.reconcile", send_events=False)
def reconcile() -> dict[str, int]:
    """Do one tick."""
    ports = wiring()
    return dict(
        tick(
            reconciler=ports.reconciler,
            planner=ports.planner,
            quarantine=ports.quarantine,
            life=ports.life,
            tickets=ports.tickets,
            callbacks=ports.callbacks,
            waker=ports.waker,
            policies=ports.policies,
            spans=ports.spans,
        )
    )


@app.task(name="control.observe", send_events=False)
def observe(*, connection: int) -> str:
    """Read one connection's list."""
    ports = wiring()
    return read_list(
        connection,
        owner=bootstrap.owner(settings),
        observer=ports.observer,
        drivers=ports.drivers,
        waker=ports.waker,
    )


@app.task(name="control.deliver", send_events=False)
def deliver() -> str:
    """Hand one message to its desk; with none due look whether a person closed a ticket."""
    ports = wiring()
    came = tell.deliver(
        owner=bootstrap.owner(settings),
        tickets=ports.tickets,
        desks=ports.desks,
        waker=ports.waker,
        link=bootstrap.answer_link(ports),
        interrupted=(SoftTimeLimitExceeded,),
    )
    if came != tell.NOTHING:
        return came
    return heed(
        owner=bootstrap.owner(settings),
        closings=ports.closings,
        questions=ports.questions,
        desks=ports.desks,
        drivers=ports.drivers,
        engine=ports.engine,
        waker=ports.waker,
        interrupted=(SoftTimeLimitExceeded,),
    )


@app.task(name="control.callback", send_events=False)
def callback(*, panel: str) -> str:
    """Tell one billing panel of one service."""
    ports = wiring()
    return billing.send(
        panel,
        owner=bootstrap.owner(settings),
        callbacks=ports.callbacks,
        webhooks=ports.webhooks,
        vault=ports.vault,
        body=lambda one: callback_body(one, reads=ports.reads),
        waker=ports.waker,
        interrupted=(SoftTimeLimitExceeded,),
    )


@app.task(name="control.audits", send_events=False)
def audits(*, start: bool) -> int:
    """Ask for a turn of each audit that is due; *start*: a night begins."""
    ports = wiring()
    due = auditor.due(start=start, audits=ports.audits)
    for connection in due:
        ports.waker.audit(connection, start=start)
    return len(due)


@app.task(name="control.audit", send_events=False)
def audit(*, connection: int, start: bool) -> str:
    """Take one turn of a connection's audit, short enough for a touch's limits; the next has a message of its own."""
    ports = wiring()
    came = auditor.take_turn(
        connection,
        owner=bootstrap.owner(settings),
        start=start,
        seconds=(ports.spans.soft - ports.spans.call) / 2,
        audits=ports.audits,
        drivers=ports.drivers,
        installation=ports.installation,
    )
    if came == auditor.MORE:
        ports.waker.audit(connection, start=False)
    return came

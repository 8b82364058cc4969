"""
The bench's own worker, `celery -A tests.bench.worker`: our tasks with other steps, and plain tasks beside them.

Every task that ends, whosever it is, leaves one byte in a file: whoever measures waits for as many bytes.
"""

import os
from typing import Any, cast

from celery.signals import task_postrun

from provisioner.domain.attempt import Policy
from provisioner.domain.outcome import Acted, Done, Look, NotBegun
from provisioner.steps import recipes
from provisioner.steps.base import Step, StepContext

STEPS_ARE = os.environ["BENCH_STEPS"]  #: `idle`, `acting`, or `real`
ENDED = os.open(os.environ["BENCH_ENDED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
STEPS = cast("dict[str, Step]", recipes.STEPS)


class Idle:
    """Finds nothing to do."""

    def __init__(self, replaced: Step) -> None:
        self.name = replaced.name
        self.policy = Policy(settle=replaced.policy.settle)

    def check(self, ctx: StepContext) -> Look:
        ctx.probed()
        return Done("nothing to do")

    def do(self, ctx: StepContext) -> Acted:
        raise AssertionError("it has nothing to do")


class Acting(Idle):
    """Acts once on nothing, and sees at once that it worked."""

    def check(self, ctx: StepContext) -> Look:
        ctx.probed()
        return NotBegun() if ctx.row.acted_at is None else Done("done")

    def do(self, ctx: StepContext) -> Acted:
        return Acted()


if STEPS_ARE != "real":
    for step in recipes.OPEN:
        STEPS[step.name] = (Idle if STEPS_ARE == "idle" else Acting)(step)

# They freeze policies when they are loaded, so the steps come first.
from workers.app import app, wiring  # noqa: E402

if STEPS_ARE != "real":
    wiring().drivers.register("bench", cast("Any", lambda endpoint: endpoint))


@app.task(name="bench.noop")
def noop() -> None:
    """Do nothing: a link of the plain chain."""


@task_postrun.connect
def _count(task: Any = None, **_: object) -> None:  # noqa: ANN401 - Celery's task
    if not task.name.startswith("control."):
        os.write(ENDED, b".")

"""
The bench's own worker, `celery -A tests.bench.worker`: our tasks with other steps, and plain tasks beside them.

Every task that ends, whosever it is, leaves one byte in a file: whoever measures waits for as many bytes.
"""

import json
import logging
import os
from functools import cache
from typing import Any, cast

from celery import Task, states
from celery.signals import task_postrun

from provisioner.domain.attempt import Policy
from provisioner.domain.connection import Endpoint
from provisioner.domain.outcome import Acted, Done, Look, NotBegun
from provisioner.domain.server import Power, ServerRef, UserRef
from provisioner.drivers.dcimanager5.driver import Dcimanager5
from provisioner.steps import recipes
from provisioner.steps.base import Step, StepContext

logging.basicConfig(level=logging.ERROR)  # workers.app sets up no log of Celery's own: a crash would be silent
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


# --- a plain `open`: the calls that the steps make, in their order, and nothing that would survive a death -----------

State = dict[str, Any]
PLAIN_OPEN = tuple(f"bench.open_{step.name}" for step in recipes.OPEN)
POLL = float(os.environ.get("BENCH_POLL", "0.3"))  #: seconds between two looks, as durable ones are observed


@cache
def panel() -> Dcimanager5:
    """Give this process's driver."""
    return Dcimanager5(Endpoint(**json.loads(os.environ["BENCH_ENDPOINT"])))


def _again(task: Task[Any, Any], state: State) -> None:
    raise task.retry(args=(state,), countdown=POLL)


@app.task(name=PLAIN_OPEN[0])
def account(state: State) -> State:
    panel().users()
    user = panel().create_user(state["login"], "a-simulated-password")
    panel().users()
    return {**state, "customer": user}


@app.task(name=PLAIN_OPEN[1])
def claim(state: State) -> State:
    server = ServerRef(state["server"])
    panel().read(server)
    panel().edit_server(server, owner=UserRef(state["admin"]), notes="bench")
    panel().read(server)
    return state


@app.task(name=PLAIN_OPEN[2])
def domain(state: State) -> State:
    server = ServerRef(state["server"])
    for row in panel().read(server).addresses:
        panel().set_domain(server, row.ref, state["hostname"])
        panel().read(server)
    return state


@app.task(name=PLAIN_OPEN[3])
def address(state: State) -> State:
    panel().read(ServerRef(state["server"]))
    return state


@app.task(name=PLAIN_OPEN[4], bind=True, max_retries=None)
def switch_port(self: Task[Any, Any], state: State) -> State:
    """Enable, then each link in a look of its own."""
    server = ServerRef(state["server"])
    reading = panel().read(server)
    if any(link.busy for link in reading.known_links):
        _again(self, state)
    asked = state.get("asked", [])
    due = [link for link in reading.switch_links if link.ref not in asked]
    if reading.disabled:
        panel().enable(server)
        _again(self, state)
    if due:
        panel().set_link(server, due[0].ref, on=True)
        _again(self, {**state, "asked": [*asked, due[0].ref]})
    return state


@app.task(name=PLAIN_OPEN[5], bind=True, max_retries=None)
def power_on(self: Task[Any, Any], state: State) -> State:
    """Ask once, then look at the list."""
    server = ServerRef(state["server"])
    if _listed(server).power is Power.ON:
        return state
    if not state.get("powered"):
        panel().set_power(server, Power.ON)
    return cast("State", _again(self, {**state, "powered": True}))


@app.task(name=PLAIN_OPEN[6], bind=True, max_retries=None)
def install_os(self: Task[Any, Any], state: State) -> State:
    """Ask once, then look at the list until the flag was up and is gone."""
    server = ServerRef(state["server"])
    if "installing" not in state:
        panel().read(server)
        panel().install(server, state["os"], "a-simulated-Passw0rd")
        _again(self, {**state, "installing": False})
    installing = _listed(server).installing
    if installing or not state["installing"]:
        _again(self, {**state, "installing": installing or state["installing"]})
    return state


@app.task(name=PLAIN_OPEN[7], bind=True, max_retries=None)
def ping(self: Task[Any, Any], state: State) -> State:
    """Probe until it answers."""
    if not wiring().prober.answers(state["ip"], state["probe"]):
        _again(self, state)
    wiring().prober.host_key(state["ip"], state["probe"])
    return state


@app.task(name=PLAIN_OPEN[8])
def hand_over(state: State) -> State:
    server = ServerRef(state["server"])
    panel().read(server)
    panel().edit_server(server, owner=UserRef(state["customer"]), notes="")
    panel().read(server)
    return state


def _listed(server: ServerRef) -> Any:  # noqa: ANN401 - a row of the list
    return next(row for row in panel().list_servers().servers if row.ref == server)


@task_postrun.connect
def _count(task: Any = None, state: str = "", **_: object) -> None:  # noqa: ANN401 - Celery's task
    last = PLAIN_OPEN[-1] if STEPS_ARE == "real" else ""
    if state == states.SUCCESS and not task.name.startswith("control.") and task.name.endswith(last):
        os.write(ENDED, b".")

"""Compare truth and clock: what is due becomes ready, what waits for a server is planned, lists are asked for."""

from collections.abc import Mapping
from typing import Any

import structlog

from provisioner.domain.attempt import Policy
from provisioner.domain.service import ServiceKind
from provisioner.domain.spans import Spans
from provisioner.domain.states import JobKind
from provisioner.ports import Callbacks, Life, Planner, Quarantine, Reconciler, Tickets, Waker
from provisioner.usecases import callback, tell
from provisioner.usecases.recipes import Recipe, recipe

log = structlog.get_logger()
LIMIT = 50  #: attempts or jobs a tick: sending costs more than finding
SWEEP_SECONDS = 30.0


def reconcile(
    *,
    reconciler: Reconciler,
    planner: Planner,
    quarantine: Quarantine,
    life: Life,
    tickets: Tickets,
    callbacks: Callbacks,
    waker: Waker,
    policies: Mapping[str, Policy],
    spans: Spans,
) -> Mapping[str, int]:
    """
    Do one tick if it is our turn; returns how many of each were found. Any number may run at once.

    Messages are sent after each commit; one that is lost is sent again by a later tick.
    """
    if not reconciler.beat("reconcile", spans.reconcile * 0.9):
        return {}
    quarantine.retests(recipe(JobKind.RETEST, policies), LIMIT)
    lost = reconciler.expired(LIMIT)
    for dead in lost:
        log.warning("lease_ran_out", job_id=dead.wakeup.job_id, task=dead.task_id)
        waker.lost(dead.task_id, dead.worker, f"worker lost: the lease ran out; sent again as .{dead.wakeup.sends}")
    waker.wake([dead.wakeup for dead in lost])
    due = reconciler.due(LIMIT)
    waker.wake(due)
    planned = _plan(planner, waker, policies)
    lists = planner.to_observe()
    for connection_id in lists:
        waker.observe(connection_id)
    sweep = reconciler.beat("sweep", SWEEP_SECONDS)
    if sweep:
        reconciler.sweep()
        waker.wake(life.make_way(LIMIT, policies=policies))
        planner.look_again()  # an event that ends a wait says so at once; this is for what no event says
    told = tell.project(tickets=tickets, waker=waker, sweep=sweep)
    callback.wake(callbacks=callbacks, waker=waker)
    return {"expired": len(lost), "due": len(due), "planned": planned, "lists": len(lists), "told": told}


def _plan(planner: Planner, waker: Waker, policies: Mapping[str, Policy]) -> int:
    """Plan the oldest jobs first; a list that is too old is read before anything is decided by it."""
    started, asked = 0, set()

    def recipe_of(kind: JobKind, params: Mapping[str, Any], service: ServiceKind) -> Recipe:
        return recipe(kind, policies, params, service)

    for job_id in planner.to_plan(LIMIT):
        planned = planner.plan(job_id, recipe_of)
        if planned.observe is not None and planned.observe not in asked:
            asked.add(planned.observe)
            waker.observe(planned.observe)
        if planned.wakeup is not None:
            waker.wake([planned.wakeup])
            started += 1
    return started

"""What the outer rooms need of the recipes: names of tasks, policies; the recipes themselves stay with the steps."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from provisioner.domain.attempt import Policy
from provisioner.domain.service import ServiceKind
from provisioner.domain.spans import Spans
from provisioner.domain.states import ON_SERVICE, JobKind
from provisioner.errors import BadConfig
from provisioner.ports import Wakeup
from provisioner.steps import recipes
from provisioner.steps.install import InstallOs

Recipe = Sequence[tuple[str, timedelta]]  #: steps, each with its deadline

#: how a job kind is called in Flower; what is done to a customer's server is called by its kind
CHAINS: Mapping[str, str] = {
    JobKind.OPEN: "dedicated",
    JobKind.RELEASE: "release",
    JobKind.RETEST: "retest",
    JobKind.QUARANTINE: "quarantine",
    **{kind: kind.value for kind in ON_SERVICE},
}
#: kind of job and undo → the step that it undoes
UNDONE: Mapping[tuple[str, str], str] = {
    (kind.value, step.policy.undo): step.name
    for kind, steps in recipes.every_recipe()
    for step in steps
    if step.policy.undo
}


def label(wakeup: Wakeup) -> str:
    """Give the readable tail of a task's id: `06_install_os`, `undo.04_switch_port`, `undo.quarantine`."""
    if wakeup.undoes is None or wakeup.kind == JobKind.RELEASE:
        return f"{wakeup.pos:02d}_{wakeup.step}"
    if undone := UNDONE.get((wakeup.kind, wakeup.step)):
        return f"undo.{wakeup.undoes:02d}_{undone}"
    return f"undo.{wakeup.step}"


def task_name(wakeup: Wakeup) -> str:
    """Give the task that a message is for: `dedicated.06_install_os`, `undo.04_switch_port`."""
    tail = label(wakeup)
    if tail.startswith("undo."):
        return tail
    if wakeup.service == ServiceKind.COLOCATION and wakeup.kind in recipes.COLOCATION:
        return f"{ServiceKind.COLOCATION}.{tail}"
    return f"{CHAINS.get(wakeup.kind, wakeup.kind)}.{tail}"  # a newer release knows more kinds than we


def task_names() -> Sequence[str]:
    """Give every task that a message may be for."""
    forward = [
        f"{CHAINS[kind]}.{pos:02d}_{step.name}"
        for kind, steps in recipes.every_recipe()
        for pos, step in enumerate(steps)
    ]
    people = [
        f"{ServiceKind.COLOCATION}.{pos:02d}_{step.name}"
        for steps in recipes.COLOCATION.values()
        for pos, step in enumerate(steps)
    ]
    undo = [
        f"undo.{pos:02d}_{step.name}"
        for _, steps in recipes.every_recipe()
        for pos, step in enumerate(steps)
        if step.policy.undo
    ]
    last = ["undo.release", "undo.quarantine"]
    release = [
        f"{CHAINS[JobKind.RELEASE]}.{pos:02d}_{step.name}" for pos in range(len(recipes.UNDO)) for step in recipes.UNDO
    ]
    return list(dict.fromkeys([*forward, *people, *undo, *last, *release]))


def policies(overrides: Mapping[str, Mapping[str, float]], *, scale: float) -> Mapping[str, Policy]:
    """
    Give every step's policy.

    Raises:
        BadConfig: an override names no step, or no field of a policy.
    """
    try:
        return recipes.policies(overrides, scale=scale)
    except (KeyError, TypeError, ValueError) as error:
        raise BadConfig(f"PROVISIONER_POLICIES: no such step or field, or not a number: {error}") from None


def check_patience(found: Mapping[str, Policy], spans: Spans) -> None:
    """
    Refuse spans with which a worker that dies right before an install could not be told from one right after.

    While its lease runs nobody reads the list for it, and then three whole lists must fit into the settle time.

    Raises:
        BadConfig: the settle time of `install_os` is too short for the lease.
    """
    least = spans.lease + 3 * spans.observe_short + spans.reconcile
    settle = found[InstallOs.name].settle.total_seconds()
    if settle <= least:
        raise BadConfig(
            f"PROVISIONER_POLICIES: the settle time of install_os is {settle:g} s; with this lease and these "
            f"observation spans it must be longer than {least:g} s"
        )


def recipe(
    kind: JobKind,
    found: Mapping[str, Policy],
    params: Mapping[str, Any] | None = None,
    service: ServiceKind = ServiceKind.DEDICATED,
) -> Recipe:
    """Give the steps of a kind of job, each with its deadline, as planning freezes them."""
    return [(step.name, found[step.name].deadline) for step in recipes.steps_of(kind, params or {}, service)]

"""What the outer rooms need of the recipes: names of tasks, policies; the recipes themselves stay with the steps."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from provisioner.domain.attempt import Policy
from provisioner.domain.spans import Spans
from provisioner.domain.states import JobKind
from provisioner.errors import BadConfig
from provisioner.ports import Wakeup
from provisioner.steps import recipes
from provisioner.steps.install import InstallOs

#: how a job kind is called in Flower
CHAINS: Mapping[JobKind, str] = {
    JobKind.OPEN: "dedicated",
    JobKind.RELEASE: "release",
    JobKind.RETEST: "retest",
    JobKind.QUARANTINE: "quarantine",
}
#: undo → the step that it undoes
UNDONE: Mapping[str, str] = {step.policy.undo: step.name for step in recipes.OPEN if step.policy.undo}


def label(wakeup: Wakeup) -> str:
    """Give the readable tail of a task's id: `06_install_os`, `undo.04_switch_port`, `undo.quarantine`."""
    if wakeup.undoes is None or wakeup.kind == JobKind.RELEASE:
        return f"{wakeup.pos:02d}_{wakeup.step}"
    if wakeup.step in UNDONE:
        return f"undo.{wakeup.undoes:02d}_{UNDONE[wakeup.step]}"
    return f"undo.{wakeup.step}"


def task_name(wakeup: Wakeup) -> str:
    """Give the task that a message is for: `dedicated.06_install_os`, `undo.04_switch_port`."""
    tail = label(wakeup)
    return tail if tail.startswith("undo.") else f"{CHAINS[JobKind(wakeup.kind)]}.{tail}"


def task_names() -> Sequence[str]:
    """Give every task that a message may be for."""
    forward = [
        f"{CHAINS[kind]}.{pos:02d}_{step.name}"
        for kind, steps in recipes.RECIPES.items()
        for pos, step in enumerate(steps)
    ]
    undo = [f"undo.{recipes.OPEN.index(step):02d}_{step.name}" for step in recipes.OPEN if step.policy.undo]
    last = ["undo.release", "undo.quarantine"]
    release = [
        f"{CHAINS[JobKind.RELEASE]}.{pos:02d}_{step.name}" for pos in range(len(recipes.UNDO)) for step in recipes.UNDO
    ]
    return [*forward, *undo, *last, *release]


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


def recipe(kind: JobKind, found: Mapping[str, Policy]) -> Sequence[tuple[str, timedelta]]:
    """Give the steps of a kind of job, each with its deadline, as planning freezes them."""
    return [(step.name, found[step.name].deadline) for step in recipes.RECIPES[kind]]

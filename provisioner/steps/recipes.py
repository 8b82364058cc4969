"""Job kind → steps, in order, forward; what undoes a step is named by the step. Open this page first."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from provisioner.domain.attempt import Policy
from provisioner.domain.states import JobKind
from provisioner.steps.account import CreateAccount
from provisioner.steps.address import AssignAddress, DropAddresses
from provisioner.steps.base import Step
from provisioner.steps.claim import Claim
from provisioner.steps.domain import AssignDomain, FreeDomain
from provisioner.steps.hand_over import HandOver
from provisioner.steps.inspection import Inspect
from provisioner.steps.install import CancelInstall, InstallOs
from provisioner.steps.ping import Ping
from provisioner.steps.power import PowerOn
from provisioner.steps.quarantine import Quarantine
from provisioner.steps.release import Release
from provisioner.steps.switch_port import ClosePorts, OpenPorts

#: order of the source page: ISPsystem wiki, "Integrating with DCImanager", Setting up the service
OPEN: tuple[Step, ...] = (
    CreateAccount(),  # 00 the customer's user
    Claim(),  # 01 owner := our administrator, as a reservation
    AssignDomain(),  # 02
    AssignAddress(),  # 03
    OpenPorts(),  # 04 enable, switch ports on
    PowerOn(),  # 05
    InstallOs(),  # 06 wipes the disks
    Ping(),  # 07 the new system answers
    HandOver(),  # 08 owner := customer
)

#: undo of a step that acted, newest first; then `release` or `quarantine`, as the class of the failure says
UNDO: tuple[Step, ...] = (
    CancelInstall(),
    ClosePorts(),
    DropAddresses(),
    FreeDomain(),
    Release(),
    Quarantine(),
)

#: a quarantined server goes back to stock; disks and power are not touched
RETEST: tuple[Step, ...] = (
    Inspect(),  # 00 read whole: nothing of an old order, no failure flag
    Release(),  # 01 owner and our note leave in one edit
)

#: a person takes a free server out of sale
QUARANTINE: tuple[Step, ...] = (
    Claim(),  # 00 owner := our administrator
    Quarantine(),  # 01 reason in the notes, disabled
)

#: a release takes its steps from the undo that did not end
RECIPES: Mapping[JobKind, tuple[Step, ...]] = {
    JobKind.OPEN: OPEN,
    JobKind.RELEASE: (),
    JobKind.RETEST: RETEST,
    JobKind.QUARANTINE: QUARANTINE,
}

STEPS: Mapping[str, Step] = {step.name: step for step in (*OPEN, *UNDO, *RETEST)}


def policies(overrides: Mapping[str, Mapping[str, float]] | None = None, *, scale: float = 1.0) -> Mapping[str, Policy]:
    """
    Give every step's policy: its own, spans multiplied by *scale*, then *overrides* in seconds or numbers.

    Raises:
        KeyError: an override names no step.
        TypeError: an override names no field of `Policy`.
    """
    found = {name: _scaled(step.policy, scale) for name, step in STEPS.items()}
    for name, fields in (overrides or {}).items():
        changes: dict[str, Any] = {
            key: timedelta(seconds=value) if isinstance(getattr(found[name], key, None), timedelta) else int(value)
            for key, value in fields.items()
        }
        found[name] = replace(found[name], **changes)
    return found


def _scaled(policy: Policy, scale: float) -> Policy:
    return replace(
        policy,
        backoff=policy.backoff * scale,
        backoff_max=policy.backoff_max * scale,
        deadline=policy.deadline * scale,
        settle=policy.settle * scale,
        visible=policy.visible * scale,
    )

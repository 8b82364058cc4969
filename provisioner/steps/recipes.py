"""Job kind → steps, in order, forward; what undoes a step is named by the step. Open this page first."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from provisioner.domain.attempt import Policy
from provisioner.domain.service import ServiceKind
from provisioner.domain.states import JobKind
from provisioner.steps.account import CreateAccount
from provisioner.steps.address import AddAddress, AssignAddress, DeleteAddress, DropAddresses
from provisioner.steps.base import Step
from provisioner.steps.claim import Claim
from provisioner.steps.domain import AssignDomain, FreeDomain
from provisioner.steps.hand_over import HandOver
from provisioner.steps.inspection import Inspect
from provisioner.steps.install import CancelInstall, InstallOs
from provisioner.steps.note import Note
from provisioner.steps.password import ChangePassword
from provisioner.steps.ping import Ping
from provisioner.steps.power import PowerOff, PowerOn, Reboot
from provisioner.steps.quarantine import Quarantine
from provisioner.steps.question import AskPlaced, AskRemoved
from provisioner.steps.read_back import ReadBack
from provisioner.steps.release import Release
from provisioner.steps.switch_port import ClosePorts, OpenPorts, PortsOff, PortsOn, ReopenPorts

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
    ReopenPorts(),  # of a suspend; a close is never undone
    DropAddresses(),
    FreeDomain(),
    Release(),
    Quarantine(),
)

#: the source page's end of a service: at no instant does the old system answer from a server that is free
CLOSE: tuple[Step, ...] = (
    PortsOff(),  # 00 every switch port off, the server disabled
    DropAddresses(),  # 01 every address but the main one
    FreeDomain(),  # 02 the marker of free servers
    Release(),  # 03 owner := none, our note out, in one edit, last
)
SUSPEND: tuple[Step, ...] = (PortsOff(), ReadBack())
RESUME: tuple[Step, ...] = (PortsOn(), ReadBack())
ADD_ADDRESS: tuple[Step, ...] = (AddAddress(), ReadBack())  # what was taken goes back when it fails half way
DELETE_ADDRESS: tuple[Step, ...] = (DeleteAddress(), ReadBack())
CHANGE_PASSWORD: tuple[Step, ...] = (ChangePassword(),)
REINSTALL: tuple[Step, ...] = (InstallOs(), Ping(), ReadBack())  # wipes the disks
SYNC: tuple[Step, ...] = (ReadBack(),)
NOTE: tuple[Step, ...] = (Note(), ReadBack())  # a sync that is asked to leave our line, after an import
POWER: Mapping[str, tuple[Step, ...]] = {
    "on": (PowerOn(), ReadBack()),
    "off": (PowerOff(), ReadBack()),
    "reboot": (Reboot(), ReadBack()),
}

#: colocation is opened and closed by people; all else is done as on a server of ours
COLOCATION: Mapping[JobKind, tuple[Step, ...]] = {
    JobKind.OPEN: (
        CreateAccount(),  # 00 the customer's user, the same for both kinds of service
        AskPlaced(),  # 01 a technician mounts it and says which server it is
    ),
    JobKind.CLOSE: (AskRemoved(),),  # 00 a technician takes it out
}

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
    JobKind.CLOSE: CLOSE,
    JobKind.SUSPEND: SUSPEND,
    JobKind.RESUME: RESUME,
    JobKind.ADD_ADDRESS: ADD_ADDRESS,
    JobKind.DELETE_ADDRESS: DELETE_ADDRESS,
    JobKind.CHANGE_PASSWORD: CHANGE_PASSWORD,
    JobKind.REINSTALL: REINSTALL,
    JobKind.SYNC: SYNC,
    JobKind.RELEASE: (),
    JobKind.RETEST: RETEST,
    JobKind.QUARANTINE: QUARANTINE,
}


def every_recipe() -> Iterator[tuple[JobKind, tuple[Step, ...]]]:
    """Give each kind of job with its steps; `power` and `sync` once for each thing that they may be asked."""
    yield from RECIPES.items()
    yield JobKind.SYNC, NOTE
    for steps in POWER.values():
        yield JobKind.POWER, steps


def steps_of(
    kind: JobKind, params: Mapping[str, Any], service: ServiceKind = ServiceKind.DEDICATED
) -> tuple[Step, ...]:
    """Give the steps of one job. Raises `KeyError` for a power state that there is not."""
    if service is ServiceKind.COLOCATION and kind in COLOCATION:
        return COLOCATION[kind]
    if kind is JobKind.SYNC and params.get("note"):
        return NOTE
    return POWER[params["state"]] if kind is JobKind.POWER else RECIPES[kind]


STEPS: Mapping[str, Step] = {
    step.name: step for recipe in (*(s for _, s in every_recipe()), *COLOCATION.values(), UNDO) for step in recipe
}


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

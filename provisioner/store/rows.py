"""Rows of the store as domain objects, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime, timedelta
from typing import Any

from provisioner.domain.attempt import Attempt, Command, StepRow, Verb
from provisioner.domain.server import ListedServer, Power, ServerRef, ServerView
from provisioner.domain.service import OnFailure, Package, ServiceKind, SuspendBy
from provisioner.domain.states import AttemptState, Direction, JobKind, StepState
from provisioner.errors import FailureClass

#: of `package` as p: what `package()` below reads
PACKAGE_COLUMNS = """
  p.*, (SELECT d.name FROM department d WHERE d.id = p.department_id) AS department,
  (SELECT coalesce(jsonb_object_agg(c.name, pc.priority), '{}') FROM package_connection pc
     JOIN connection c ON c.id = pc.connection_id WHERE pc.package_id = p.id) AS connections"""

STEP_FIELDS = tuple(field.name for field in fields(StepRow))


def instant(text: str | datetime | None) -> datetime | None:
    """Give an instant from JSON or from a column."""
    return datetime.fromisoformat(text) if isinstance(text, str) else text


def step_row(row: Mapping[str, Any]) -> StepRow:
    """Build a step row."""
    return StepRow(
        pos=row["pos"],
        name=row["name"],
        direction=Direction(row["direction"]),
        undoes=row["undoes"],
        state=StepState(row["state"]),
        tries=row["tries"],
        refusals=row["refusals"],
        acted_at=instant(row["acted_at"]),
        begun_at=instant(row["begun_at"]),
        arrived_at=instant(row["arrived_at"]),
        deadline_at=instant(row["deadline_at"]),
        ended_at=instant(row["ended_at"]),
        memo=row["memo"],
        token=row["token"],
        reason_class=FailureClass(row["reason_class"]) if row["reason_class"] else None,
        outcome=row["outcome"],
    )


def step_values(row: StepRow) -> dict[str, Any]:
    """Give a step row as JSON-ready values; memo and token are JSON already, and are not copied."""
    return {name: getattr(row, name) for name in STEP_FIELDS}


def command(value: Mapping[str, Any] | None) -> Command | None:
    """Build a command."""
    return Command(**{**value, "verb": Verb(value["verb"])}) if value else None


def command_values(given: Command) -> dict[str, Any]:
    """Give a command as JSON-ready values."""
    return asdict(given)


def attempt(row: Mapping[str, Any]) -> Attempt:
    """Build an attempt; one that is held stays held until a command is obeyed."""
    return Attempt(
        kind=JobKind(row["kind"]),
        direction=Direction(row["direction"]),
        state=AttemptState.HELD if row["held_since"] else AttemptState.RUNNING,
        pos=row["pos"],
        hold_on_failure=row["hold_on_failure"],
        reason_class=FailureClass(row["reason_class"]) if row["reason_class"] else None,
        reason=row["reason"],
        given_up=Verb(row["given_up"]) if row["given_up"] else None,
        command=command(row["command"]),
        deliveries=row["deliveries"],
        put_off=row["put_off"],
    )


def package(value: Mapping[str, Any]) -> Package:
    """Build a package from its snapshot or row."""
    return Package(
        name=value["name"],
        server_type=value["server_type"],
        os_allowed=tuple(value["os_allowed"]),
        ipv4=value["ipv4"],
        ipv6=value["ipv6"],
        address_before_install=value["address_before_install"],
        probe=value["probe"],
        attempts_max=value["attempts_max"],
        on_failure=OnFailure(value["on_failure"]),
        suspend_by=SuspendBy(value.get("suspend_by") or SuspendBy.PORTS),
        stock_wait=timedelta(seconds=value["stock_wait_seconds"]),
        connections=dict(value.get("connections") or {}),
        kind=ServiceKind(value.get("kind") or ServiceKind.DEDICATED),
        department=value.get("department") or "",
    )


def package_values(given: Package) -> dict[str, Any]:
    """Give a package as JSON-ready values."""
    values = asdict(given)
    values["stock_wait_seconds"] = values.pop("stock_wait").total_seconds()
    return values


def listed(value: Mapping[str, Any]) -> ListedServer:
    """Build a list row."""
    return ListedServer(**{**value, "ref": ServerRef(value["ref"]), "power": Power(value["power"])})


def view(row: Mapping[str, Any], observed_from: datetime, observations: Sequence[datetime]) -> ServerView:
    """Build a server's view."""
    edges = {name: found for name, text in row["edges"].items() if (found := instant(text)) is not None}
    return ServerView(
        listed=listed(row["listed"]),
        changed_from=_sure(row["changed_from"]),
        observed_from=observed_from,
        gone_from=instant(row["gone_from"]),
        edges=edges,
        seen_since=tuple(observations),
    )


def _sure(value: str | datetime) -> datetime:
    return datetime.fromisoformat(value) if isinstance(value, str) else value

"""Bugs to plant, one at a time, to see which net finds them: each is given what sets a method of a class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from provisioner.domain.attempt import Policy, StepRow
from provisioner.domain.engine import Decision
from provisioner.domain.outcome import Done, Look, NotBegun, Unknown
from provisioner.ports import Touched, Wakeup
from provisioner.steps.address import DropAddresses
from provisioner.steps.install import InstallOs
from provisioner.steps.recipes import STEPS
from provisioner.store.engine import EngineStore
from provisioner.store.reconciler import ReconcilerStore

Patch = Callable[[type, str, object], None]


def no_memo(patch: Patch) -> None:
    """Begin to act, and remember nothing of what was there before."""
    real = EngineStore.remember

    def remember(self: EngineStore, touched: Touched, decision: Decision) -> StepRow | None:
        kept = real(self, touched, replace(decision, rows=tuple(_blank(row) for row in decision.rows)))
        return None if kept is None else replace(kept, memo=decision.rows[0].memo)

    patch(EngineStore, "remember", remember)


def _blank(row: StepRow) -> StepRow:
    return replace(row, memo={"before": {}, "first": {}, "seen": {}})


def unknown_is_not_begun(patch: Patch) -> None:
    """Take what nobody can say for a proof that nothing happened."""
    for step in STEPS.values():
        patch(type(step), "check", _sure(type(step).check))


def _sure(check: Callable[..., Look]) -> Callable[..., Look]:
    def sure(self: object, ctx: Any) -> Look:  # noqa: ANN401 - as the step's own
        outcome = check(self, ctx)
        return NotBegun(dict(ctx.row.before)) if isinstance(outcome, Unknown) else outcome

    return sure


def no_settle(patch: Patch) -> None:
    """Take an effect that is late for one that does not come, and act again."""

    def settles_at(self: StepRow, _policy: Policy) -> datetime | None:
        return self.begun_at

    patch(StepRow, "settles_at", settles_at)

    def never_seen(_self: InstallOs, _ctx: object) -> Look:
        return NotBegun()

    patch(InstallOs, "_never_seen", never_seen)


def lost_for_ever(patch: Patch) -> None:
    """Never look again at what waits by the clock."""

    def due(_self: ReconcilerStore, _limit: int) -> Sequence[Wakeup]:
        return ()

    patch(ReconcilerStore, "due", due)


def addresses_stay(patch: Patch) -> None:
    """Give the server back before its addresses are gone."""

    def check(_self: DropAddresses, _ctx: object) -> Look:
        return Done("not looked at")

    patch(DropAddresses, "check", check)


PLANTS: dict[str, Callable[[Patch], None]] = {
    "no-memo": no_memo,
    "unknown-is-not-begun": unknown_is_not_begun,
    "no-settle": no_settle,
    "lost-for-ever": lost_for_ever,
    "addresses-stay": addresses_stay,
}

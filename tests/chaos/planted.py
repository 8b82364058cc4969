"""The workers with one bug planted: `celery -A tests.chaos.planted`; which one is in `CHAOS_PLANT`. Never shipped."""

from __future__ import annotations

import os
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
from workers.app import app

__all__ = ["PLANTS", "app"]


def no_memo() -> None:
    """Begin to act, and remember nothing of what was there before."""
    real = EngineStore.remember

    def remember(self: EngineStore, touched: Touched, decision: Decision) -> StepRow | None:
        kept = real(self, touched, replace(decision, rows=tuple(_blank(row) for row in decision.rows)))
        return None if kept is None else replace(kept, memo=decision.rows[0].memo)

    _patch(EngineStore, "remember", remember)


def _blank(row: StepRow) -> StepRow:
    return replace(row, memo={"before": {}, "first": {}, "seen": {}})


def unknown_is_not_begun() -> None:
    """Take what nobody can say for a proof that nothing happened."""
    for step in STEPS.values():
        _patch(type(step), "check", _sure(type(step).check))


def _sure(check: Callable[..., Look]) -> Callable[..., Look]:
    def sure(self: object, ctx: Any) -> Look:  # noqa: ANN401 - as the step's own
        outcome = check(self, ctx)
        return NotBegun(dict(ctx.row.before)) if isinstance(outcome, Unknown) else outcome

    return sure


def no_settle() -> None:
    """Take an effect that is late for one that does not come, and act again."""

    def settles_at(self: StepRow, _policy: Policy) -> datetime | None:
        return self.begun_at

    _patch(StepRow, "settles_at", settles_at)

    def never_seen(_self: InstallOs, _ctx: object) -> Look:
        return NotBegun()

    _patch(InstallOs, "_never_seen", never_seen)


def lost_for_ever() -> None:
    """Never look again at what waits by the clock."""

    def due(_self: ReconcilerStore, _limit: int) -> Sequence[Wakeup]:
        return ()

    _patch(ReconcilerStore, "due", due)


def addresses_stay() -> None:
    """Give the server back before its addresses are gone."""

    def check(_self: DropAddresses, _ctx: object) -> Look:
        return Done("not looked at")

    _patch(DropAddresses, "check", check)


def _patch(where: type, name: str, what: object) -> None:
    type.__setattr__(where, name, what)


PLANTS: dict[str, Callable[[], None]] = {
    "no-memo": no_memo,
    "unknown-is-not-begun": unknown_is_not_begun,
    "no-settle": no_settle,
    "lost-for-ever": lost_for_ever,
    "addresses-stay": addresses_stay,
}

if planted := os.environ.get("CHAOS_PLANT"):
    PLANTS[planted]()

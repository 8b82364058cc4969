"""A figure: its median, its range, its aim, and how it is printed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One thing that was measured, some times over."""

    name: str
    values: Sequence[float]
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None
    notes: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the aim is met; None without one."""
        if self.at_least is not None:
            return self.median >= self.at_least
        return self.median <= self.at_most if self.at_most is not None else None

    @property
    def aim(self) -> str:
        if self.at_least is not None:
            return f"≥ {self.at_least:g}"
        return f"≤ {self.at_most:g}" if self.at_most is not None else ""

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "median": round(self.median, 4),
            "low": round(min(self.values), 4),
            "high": round(max(self.values), 4),
            "n": len(self.values),
            "unit": self.unit,
            "aim": self.aim,
            "met": self.met,
            "notes": self.notes,
        }

    def line(self) -> str:
        said = {None: "", True: "met", False: "MISSED"}[self.met]
        spread = f"[{min(self.values):.3g} to {max(self.values):.3g}] n={len(self.values)}"
        aim = f"aim {self.aim} {said}" if self.aim else ""
        return f"{self.name:<58} {self.median:>8.3g} {self.unit:<4} {spread:<26} {aim:<18} {self.notes}".rstrip()

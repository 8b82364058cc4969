"""What PostgreSQL would do for each statement that runs inside: the tables that it would read from end to end."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from provisioner.store.database import Row, Session

#: tables that grow with what has ended, or with the fleet
BIG = frozenset(
    {"service", "claim", "job", "attempt", "step", "event", "server_view", "secret", "address", "ticket", "delivery",
     "idempotency", "account", "quarantine"}
)  # fmt: skip


@dataclass
class Plans:
    """What was seen."""

    statements: int = 0
    whole: set[str] = field(default_factory=set)  #: tables, each with a statement that reads all of it


@contextmanager
def planned(big: frozenset[str] = BIG) -> Iterator[Plans]:
    """Explain each statement before it runs, on its own connection and with its own values."""
    seen = Plans()
    run = Session._run

    def explaining(self: Session, text: str, values: Mapping[str, object]) -> list[Row]:
        if text.split(None, 1)[0] in {"SELECT", "WITH", "INSERT", "UPDATE", "DELETE", "EXECUTE"}:
            (row,) = run(self, f"EXPLAIN (FORMAT JSON) {text}", values)
            plan = next(iter(row.values()))
            seen.statements += 1
            for table in _read_whole(plan if isinstance(plan, list) else json.loads(plan)):
                if table in big:
                    seen.whole.add(f"{table}: {' '.join(text.split())}")
        return run(self, text, values)

    with patch.object(Session, "_run", explaining):
        yield seen


def _read_whole(node: Any) -> Iterator[str]:  # noqa: ANN401 - JSON
    if isinstance(node, list):
        for one in node:
            yield from _read_whole(one)
    elif isinstance(node, dict):
        if node.get("Node Type") == "Seq Scan":
            yield node["Relation Name"]
        for one in node.values():
            yield from _read_whole(one)

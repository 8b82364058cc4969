"""What goes to the database while something is done, counted exactly: statements, and transactions of several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from unittest.mock import patch

from provisioner.store.database import Row, Session


@dataclass
class Count:
    """A statement outside a transaction is a commit of its own."""

    statements: list[str] = field(default_factory=list)
    transactions: int = 0


@contextmanager
def counted() -> Iterator[Count]:
    """Count inside, on every connection of this process."""
    count = Count()
    run, whole = Session._run, Session.whole

    def counting(self: Session, text: str, values: Mapping[str, object]) -> list[Row]:
        count.statements.append(text)
        return run(self, text, values)

    @contextmanager
    def counting_whole(self: Session) -> Iterator[None]:
        count.transactions += 1
        with whole(self):
            yield

    with patch.object(Session, "_run", counting), patch.object(Session, "whole", counting_whole):
        yield count

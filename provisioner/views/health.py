"""Whether this installation can take orders: database, migrations, last tick."""

from dataclasses import dataclass
from datetime import datetime

from provisioner.domain.spans import Spans
from provisioner.errors import Overloaded
from provisioner.ports import Reads

TICKS_MISSED = 15  #: a heartbeat older than so many intervals says that nobody heals


@dataclass(frozen=True, slots=True)
class Health:
    """Ready: orders can be taken. They are brought on only while it is ticking."""

    ready: bool
    database: str  #: ok, or what is wrong with it
    migrations: str  #: ok, or what is wrong with them
    installation: str  #: ok, or why nothing is done until a person has looked
    ticking: bool  #: the reconciler's heartbeat is young
    tick_at: datetime | None
    tick_age_seconds: float | None


def show(*, reads: Reads, spans: Spans) -> Health:
    """Give how it stands; a database that can't be asked is an answer, too."""
    try:
        found = reads.health()
    except Overloaded as error:
        return Health(ready=False, database=str(error), migrations="unknown", installation="unknown",
                      ticking=False, tick_at=None, tick_age_seconds=None)  # fmt: skip
    database = "the database is read-only" if found["read_only"] else "ok"
    migrations = "ok"
    if found["revision"] != found["newest"]:
        have = found["revision"] or "none"
        migrations = (
            f"the database is at revision {have}, this program wants {found['newest']}: `provisioner db upgrade`"
        )
    tick: datetime | None = found["tick_at"]
    age = (found["now"] - tick).total_seconds() if tick else None
    return Health(
        ready=database == "ok" and migrations == "ok" and not found["halted"],
        database=database,
        migrations=migrations,
        installation=found["halted"] or "ok",
        ticking=age is not None and age < TICKS_MISSED * spans.reconcile,
        tick_at=tick,
        tick_age_seconds=round(age, 1) if age is not None else None,
    )

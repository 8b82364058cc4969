"""Erase what ended long ago; any number of small commits, so that it may be broken off and repeated."""

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from provisioner.errors import Invalid
from provisioner.ports import Cursor, Pruned, Pruner

LEAST = timedelta(days=30)  #: billing systems ask again for what is weeks old, and a strike is looked at later, too


def prune(keep: timedelta, *, dry: bool, pruner: Pruner) -> Mapping[str, int]:
    """
    Erase what ended more than *keep* ago; returns how many rows of each kind, with *dry* how many it would be.

    Jobs first, since claims and timelines can only go when no job stands on them; so *dry* counts only those claims
    on which none stands now. Safe to repeat, also while everything else is at work.

    Raises:
        Invalid: *keep* is shorter than `LEAST`.
    """
    if keep < LEAST:
        raise Invalid(f"--keep: at least {LEAST.days} days are kept", field="keep")
    before = pruner.older_than(keep)
    counts: Counter[str] = Counter()
    for part in (pruner.jobs, pruner.claims, pruner.timelines, pruner.places):
        _all_of(part, before, counts, dry=dry)
    return dict(counts)


def _all_of(part: Callable[..., Pruned], before: datetime, counts: Counter[str], *, dry: bool) -> None:
    after: Cursor | None = None
    while True:
        done = part(before, after, dry=dry)
        counts.update(done.counts)
        after = done.after
        if after is None:
            return

"""One verb to many jobs: what it does is said with a count, and asked about once. Touches standard output."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import typer

from provisioner.cli.codes import Code
from provisioner.cli.output import print_json, print_table
from provisioner.usecases.operate import Operator, Said, each
from provisioner.views.failures import Failure, grouped

Verb = Callable[[int, Operator], str]


@dataclass(frozen=True, slots=True)
class Asking:
    """How a person asks for a verb to many."""

    who: Operator
    yes: bool  #: do not ask
    json: bool


def in_bulk(name: str, verb: Verb, found: Sequence[Failure], asking: Asking) -> None:
    """
    Say what *verb* does to the servers of *found*, to the disks above all; ask once, do it, say what each came to.

    Those that refuse it are named and left as they are. Safe to repeat.
    """
    dry = replace(asking.who, dry_run=True)
    foretold = each((one.job_id for one in found), lambda job: verb(job, dry))
    may = [one.job for one in foretold if not one.refused]
    if not asking.json:
        print_causes(found)
        _print_outcomes(foretold)
    if asking.who.dry_run or not may:
        _tell(foretold, asking)
        return
    if not asking.yes and not typer.confirm(f"{name} {len(may)} jobs?", err=asking.json):
        raise typer.Exit(Code.REFUSED)
    done = {one.job: one for one in each(may, lambda job: verb(job, asking.who))}
    _tell([done.get(one.job, one) for one in foretold], asking)


def print_causes(found: Sequence[Failure]) -> None:
    """Print what failed by step, class and location, the largest group first."""
    print_table(
        ("jobs", "step", "class", "location", "since", "first error"),
        ((one.count, one.step, one.reason_class, one.location, one.since, one.first_error) for one in grouped(found)),
        empty="nothing failed",
    )


def _print_outcomes(foretold: Sequence[Said]) -> None:
    texts = Counter("refused, and left as they are" if one.refused else one.does for one in foretold)
    for text, count in texts.most_common():
        typer.echo(f"{count} {'job' if count == 1 else 'jobs'}: {text}")


def _tell(said: Sequence[Said], asking: Asking) -> None:
    if asking.json:
        print_json([{"job": one.job, "does": one.does, "refused": one.refused} for one in said])
        return
    for one in said:
        typer.echo(f"job {one.job}: {one.does}")

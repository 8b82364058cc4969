"""`provisioner job`: what on-call asks and does."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Annotated

import typer

from provisioner.bootstrap import App
from provisioner.cli import bulk
from provisioner.cli.codes import Code
from provisioner.cli.context import app as plugged
from provisioner.cli.context import operator
from provisioner.cli.output import Json, examples, plain, print_json, print_table
from provisioner.domain.states import JOB_ENDED, JobState
from provisioner.errors import Invalid
from provisioner.usecases import answer as answers
from provisioner.usecases import operate
from provisioner.views import events, failures
from provisioner.views import job as view
from provisioner.views.failures import Failure
from provisioner.views.job import AttemptView, JobView, StepView

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What on-call asks and does.")


class FailedState(StrEnum):
    """What may be asked for in bulk."""

    FAILED = "failed"
    HELD = "held"


DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and do nothing.")]
Why = Annotated[str, typer.Option(help="Kept in the timeline.")]
Step = Annotated[str | None, typer.Option("--step", help="Of what failed: only at this step.")]
Location = Annotated[str | None, typer.Option(help="Of what failed: only at this location.")]
Since = Annotated[str, typer.Option(help="Of what failed: since so long ago, like 90m, 2h, 3d.")]
State = Annotated[FailedState | None, typer.Option("--state", help="As --failed: only what is in this state.")]
Failed = Annotated[bool, typer.Option("--failed", help="All that failed or is held and fits.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
JobOrNone = Annotated[int | None, typer.Argument(help="The job's number; without it --failed.")]
JobNumber = Annotated[int, typer.Argument(help="The job's number, as `job list` shows it.")]

#: How an undo ends; these two are called by themselves.
LAST = ("release", "quarantine")

#: How often `job watch` looks.
WATCH_SECONDS = 0.5


@app.command(
    "list", epilog=examples("job list", "job list --state queued --waits-for stock", "job list --service ord-1")
)
def list_(
    state: Annotated[JobState | None, typer.Option(help="Only jobs in this state.")] = None,
    waits_for: Annotated[str | None, typer.Option(help="Only those that wait for stock, site, person …")] = None,
    service: Annotated[str | None, typer.Option(help="Only jobs of the service of this reference.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many, the newest first.")] = 50,
    *,
    step: Step = None,
    location: Location = None,
    since: Since = "24h",
    failed: Annotated[bool, typer.Option("--failed", help="Only what failed or is held, by cause.")] = False,
    json: Json = False,
) -> None:
    """List jobs, the newest first; with --failed by cause, the largest group first."""
    if failed:
        _list_failed(
            failures.listing(reads=plugged().reads, step=step, location=location, since=span(since)), json=json
        )
        return
    found = view.listing(reads=plugged().reads, state=state, waits_for=waits_for, service=service, limit=limit)
    if json:
        print_json(found)
        return
    print_table(
        ("job", "kind", "state", "waits for", "order", "hostname", "server", "step", "last seen"),
        (
            (row.id, row.kind, row.state, row.waits_for, row.external_ref, row.hostname, row.server, row.step,
             row.reason or row.outcome)
            for row in found
        ),
        empty="no such job",
    )  # fmt: skip


@app.command(epilog=examples("job show 7", "job show 7 --events", "job show 7 --json"))
def show(
    job: JobNumber,
    *,
    timeline: Annotated[bool, typer.Option("--events", help="Its timeline, too.")] = False,
    json: Json = False,
) -> None:
    """Say what a job waits for, since when, who looks next and when, and what happens if nothing changes."""
    ports = plugged()
    found = view.show(job, reads=ports.reads, spans=ports.spans)
    if json:
        print_json(found)
        return
    _print(found)
    if timeline:
        print_table(
            ("at", "event", "attempt", "text"),
            ((line.at, line.kind, line.attempt, line.text) for line in events.of_job(job, reads=ports.reads).events),
            empty="nothing happened yet",
        )


@app.command(epilog=examples("job watch 7"))
def watch(job: JobNumber, *, json: Json = False) -> None:
    """Follow a job until it ends: a line for each change. Exit code 0 when it succeeded, else 1."""
    ports = plugged()
    shown: dict[tuple[int, int], str] = {}
    sentence = ""
    while True:
        found = view.show(job, reads=ports.reads, spans=ports.spans)
        for attempt, step in _news(found, shown):
            if not json:
                typer.echo(f"attempt {attempt.n}  server {plain(attempt.server):<8} {_step(step)}")
        if found.sentence != sentence and not json:
            sentence = found.sentence
            typer.echo(f"{found.state}: {sentence}")
        if found.state in JOB_ENDED:
            if json:
                print_json(found)
            raise typer.Exit(Code.OK if found.state == JobState.SUCCEEDED else Code.FAILED)
        time.sleep(WATCH_SECONDS)  # noqa: TID251 - a person's terminal, no worker


@app.command(
    epilog=examples(
        "job retry 7", "job retry 7 --from install_os --wipe", "job retry --failed --step install_os --location fra1"
    )
)
def retry(
    job: JobOrNone = None,
    from_step: Annotated[str, typer.Option("--from", help="An earlier step; without it the one that failed.")] = "",
    *,
    reason: Why = "",
    state: State = None,
    step: Step = None,
    location: Location = None,
    since: Since = "24h",
    failed: Failed = False,
    yes: Yes = False,
    wipe: Annotated[bool, typer.Option("--wipe", help="The disks may be wiped again.")] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Run the failed step of a held job again, or give a failed or cancelled job its next attempt."""
    many = Many(failed, state, step, location, since)
    _one_or_many(
        "retry",
        lambda one, who: operate.retry(one, who, step=from_step, wipe=wipe, reason=reason),
        job,
        many,
        yes=yes,
        dry_run=dry_run,
        json=json,
    )


@dataclass(frozen=True, slots=True)
class Many:
    """Which of those that failed or are held a verb is for."""

    failed: bool
    state: FailedState | None
    step: str | None
    location: str | None
    since: str

    def found(self, ports: App, *, held: bool) -> Sequence[Failure]:
        """Give them, oldest first; with *held* only those: the verb does nothing else. Raises `Invalid`."""
        if not self.failed and self.state is None:
            raise Invalid("which job? give its number, or --failed for all that failed and fits", field="job")
        state = FailedState.HELD if held and self.state is None else self.state
        return failures.listing(
            reads=ports.reads, state=state, step=self.step, location=self.location, since=span(self.since)
        )


def _one_or_many(
    name: str,
    verb: bulk.Verb,
    job: int | None,
    many: Many,
    *,
    yes: bool,
    dry_run: bool,
    json: bool,
    held: bool = False,
) -> None:
    ports = plugged()
    who = _who(ports, dry_run=dry_run)
    if job is None:
        bulk.in_bulk(name, verb, many.found(ports, held=held), bulk.Asking(who, yes=yes, json=json))
    else:
        _after(job, ports, verb(job, who), json=json)


def _list_failed(found: Sequence[Failure], *, json: bool) -> None:
    if json:
        print_json(failures.grouped(found))
    else:
        bulk.print_causes(found)


def span(text: str) -> timedelta:
    """Read a span as people type it. Raises `Invalid`."""
    unit = {"m": "minutes", "h": "hours", "d": "days"}.get(text[-1:])
    if unit is None or not text[:-1].isdecimal() or not int(text[:-1]):
        raise Invalid(f"--since {text!r}: write a number and m, h or d, like 90m, 2h, 3d", field="since")
    return timedelta(**{unit: int(text[:-1])})


@app.command(
    epilog=examples("job cancel 7 --reason 'ordered twice'", "job cancel --failed --location fra1 --reason 'fire'")
)
def cancel(
    job: JobOrNone = None,
    reason: Why = "",
    *,
    state: State = None,
    step: Step = None,
    location: Location = None,
    since: Since = "24h",
    failed: Failed = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Undo what a job did and end it; refused once hand-over has begun. In bulk: of those that are held."""
    many = Many(failed, state, step, location, since)
    _one_or_many(
        "cancel",
        lambda one, who: operate.cancel(one, who, reason=reason),
        job,
        many,
        yes=yes,
        dry_run=dry_run,
        json=json,
        held=True,
    )


@app.command(
    epilog=examples(
        "job skip 7 ping --reason 'ICMP is filtered'", "job skip --failed --step ping --reason 'ICMP is filtered'"
    )
)
def skip(
    job: JobOrNone = None,
    at: Annotated[str, typer.Argument(metavar="[STEP]", help="The step at which it is held.")] = "",
    *,
    state: State = None,
    step: Step = None,
    location: Location = None,
    since: Since = "24h",
    reason: Why,
    failed: Failed = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Pass the step at which a job is held; claim and hand-over can't be. In bulk --step names it."""
    passed = at or step or ""
    if not passed:
        raise Invalid("which step is to be passed? name it", field="step")
    many = Many(failed, state, step, location, since)
    _one_or_many(
        "skip",
        lambda one, who: operate.skip(one, who, step=passed, reason=reason),
        job,
        many,
        yes=yes,
        dry_run=dry_run,
        json=json,
        held=True,
    )


@app.command(epilog=examples("job swap 7 --reason 'disk is slow'", "job swap 7 --reason 'wrong rack' --release"))
def swap(
    job: JobNumber,
    reason: Why,
    *,
    release: Annotated[bool, typer.Option("--release", help="Back to stock instead of into quarantine.")] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Give up this server and take the next one."""
    ports = plugged()
    _after(job, ports, operate.swap(job, _who(ports, dry_run=dry_run), reason=reason, release=release), json=json)


@app.command(epilog=examples("job hold 7 --reason 'the customer is on the phone'"))
def hold(job: JobNumber, reason: Why, *, dry_run: DryRun = False, json: Json = False) -> None:
    """Let a job stand still until it is retried or cancelled."""
    ports = plugged()
    _after(job, ports, operate.hold(job, _who(ports, dry_run=dry_run), reason=reason), json=json)


@app.command(epilog=examples("job answer 7 --server 104", "job answer 7 --done"))
def answer(
    job: JobNumber,
    *,
    server: Annotated[str, typer.Option(help="Placed: which server it is in the DCIM.")] = "",
    done: Annotated[bool, typer.Option("--done", help="Removed: it was taken out.")] = False,
    json: Json = False,
) -> None:
    """Say what a job asks a person; the DCIM is asked at once whether it agrees."""
    ports = plugged()
    said = answers.answer(
        ports.questions.of_job(job),
        server=server,
        done=done,
        by=operator(),
        questions=ports.questions,
        drivers=ports.drivers,
        waker=ports.waker,
    )
    if json:
        print_json(view.show(job, reads=ports.reads, spans=ports.spans))
    else:
        typer.echo(said)


def _who(ports: App, *, dry_run: bool) -> operate.Operator:
    return operate.Operator(operator(), ports.services, ports.waker, ports.policies, dry_run)


def _after(job: int, ports: App, does: str, *, json: bool) -> None:
    found = view.show(job, reads=ports.reads, spans=ports.spans)
    if json:
        print_json(found)
    else:
        typer.echo(f"it {does}")
        typer.echo(f"job {found.id} is {found.state}: {found.sentence}")


def _print(found: JobView) -> None:
    typer.echo(f"job {found.id}: {found.kind} of {plain(found.external_ref)} ({plain(found.hostname)}), {found.state}")
    typer.echo(found.sentence)
    for attempt in found.attempts:
        typer.echo("")
        end = f", {attempt.result}: {attempt.reason}" if attempt.result else f", {attempt.state}"
        where = f"on server {attempt.server} of" if attempt.server else "at"
        typer.echo(f"attempt {attempt.n} {where} {plain(attempt.connection)}{end}")
        print_table(
            ("step", "state", "tries", "arrived", "seconds", "evidence"),
            (
                (name(step, attempt.steps), step.state, step.tries, step.arrived_at, _seconds(step), step.outcome)
                for step in attempt.steps
            ),
            empty="no steps",
        )


def name(step: StepView, steps: Sequence[StepView]) -> str:
    """Return a step's name as Flower has it: an undo is called by what it undoes."""
    if step.direction != "back":
        return f"{step.pos:02}_{step.name}"
    undone = next((other.name for other in steps if other.pos == step.undoes), None)
    if undone is None or step.name in LAST:
        return f"undo.{step.name}"
    return f"undo.{step.undoes:02}_{undone}"


def _seconds(step: StepView) -> str:
    if step.arrived_at is None or step.ended_at is None:
        return "-"
    return f"{(step.ended_at - step.arrived_at).total_seconds():.1f}"


def _step(step: StepView) -> str:
    return f"{step.pos:02}_{step.name:<16} {step.state:<9} {step.outcome}".rstrip()


def _news(found: JobView, shown: dict[tuple[int, int], str]) -> list[tuple[AttemptView, StepView]]:
    """Return the steps that changed since they were shown, and note them."""
    news = []
    for attempt in found.attempts:
        for step in attempt.steps:
            now = f"{step.state} {step.outcome}"
            if step.arrived_at is not None and shown.get((attempt.n, step.pos)) != now:
                shown[attempt.n, step.pos] = now
                news.append((attempt, step))
    return news

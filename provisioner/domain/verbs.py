"""What may be commanded when: one function, one sentence for each refusal; standard library only."""

from collections.abc import Mapping, Sequence

from provisioner.domain.attempt import Attempt, Command, Policy, Repeat, StepRow, Verb
from provisioner.domain.states import AttemptState, Direction, JobKind, StepState

CLAIM = "claim"
HAND_OVER = "hand_over"
UNSKIPPABLE = frozenset({CLAIM, HAND_OVER})

GOING_BACK = "the attempt already undoes itself; wait for its end"
HANDED = "hand-over has begun: the server is the customer's, close the service instead"
NOT_HELD = "the attempt is not held; it goes on by itself"
HELD_ALREADY = "it is held already; `retry` lets it go on"
NEVER_TAKEN_BACK = "a close is not taken back: the server may be open or shut by now; let it end, and order anew"
INTERRUPTED = "a suspension interrupted it; it goes on after the resume. Cancel it, or close the service"
OTHER_KIND = "only an open can be swapped to another server; this is another kind of job"


def hand_over_begun(steps: Sequence[StepRow]) -> bool:
    """Say whether the point of no return is passed."""
    return any(row.name == HAND_OVER and (row.acted_at is not None or row.state is StepState.DONE) for row in steps)


def refusal(command: Command, attempt: Attempt, steps: Sequence[StepRow], policies: Mapping[str, Policy]) -> str:
    """Give the sentence why *command* is not legal for an attempt that has not ended; "" when it is."""
    if command.verb is Verb.INTERRUPT:
        return GOING_BACK if attempt.direction is Direction.BACK else ""
    if command.verb is Verb.HOLD:
        return HELD_ALREADY if attempt.state is AttemptState.HELD else ""
    if command.verb is Verb.CANCEL and attempt.kind is JobKind.CLOSE:
        return NEVER_TAKEN_BACK
    if attempt.direction is Direction.BACK:
        poisoned = command.verb is Verb.RETRY and attempt.state is AttemptState.HELD
        return "" if command.verb is Verb.CANCEL or poisoned else GOING_BACK
    if command.verb is Verb.SWAP and attempt.kind is not JobKind.OPEN:
        return OTHER_KIND
    if command.verb in (Verb.CANCEL, Verb.SWAP):
        return HANDED if hand_over_begun(steps) else ""
    if attempt.state is not AttemptState.HELD:
        return NOT_HELD
    row = next(row for row in steps if row.pos == attempt.pos)
    match command.verb:
        case Verb.RETRY:
            return ""
        case Verb.SKIP:
            return _skip_refusal(command, row, policies)
        case Verb.RETRY_FROM:
            return _retry_from_refusal(command, row, steps, policies)


def refusal_interrupted(
    command: Command, steps: Sequence[StepRow], policies: Mapping[str, Policy], *, at_work: str
) -> str:
    """
    Give the sentence why *command* is not legal for a job that a suspension interrupted; "" when it is.

    *at_work* names the job that acts on the server meanwhile, "" when none does: two never act on one server at once.
    """
    if command.verb is not Verb.CANCEL:
        return INTERRUPTED
    undone = undone_by(command, steps, policies)
    if undone and at_work:
        return f"{undone[0]} would have to undo what it did, and {at_work} is at work there; cancel it after that"
    return ""


def undone_by(command: Command, steps: Sequence[StepRow], policies: Mapping[str, Policy]) -> Sequence[str]:
    """Name the steps by which a cancel or swap undoes what was done, in their order."""
    if command.verb not in (Verb.CANCEL, Verb.SWAP):
        return ()
    forward = [row for row in steps if row.direction is Direction.FORWARD and row.acted_at is not None]
    return [undo for row in reversed(forward) if (undo := policies[row.name].undo)]


def _skip_refusal(command: Command, row: StepRow, policies: Mapping[str, Policy]) -> str:
    if command.step not in ("", row.name):
        return f"the attempt is held at {row.name}, not at {command.step}"
    if row.name in UNSKIPPABLE or not policies[row.name].skippable:
        return f"step {row.name} can't be skipped"
    if not command.reason:
        return "a skip needs a reason"
    return ""


def _retry_from_refusal(
    command: Command, row: StepRow, steps: Sequence[StepRow], policies: Mapping[str, Policy]
) -> str:
    start = next((other for other in steps if other.name == command.step and other.pos <= row.pos), None)
    if start is None:
        return f"no step {command.step} at or before {row.name}"
    crossed = [other for other in steps if start.pos <= other.pos <= row.pos]
    again = [other for other in crossed if other.acted_at or other.state is StepState.DONE or other is start]
    if any(other.name in UNSKIPPABLE for other in again):
        return "claim and hand-over can't be run again"
    if not command.wipe and any(policies[other.name].wipes and other.acted_at for other in crossed):
        return "this would install again and wipe the disks; say so with wipe"
    return ""


def forecast(command: Command, attempt: Attempt, steps: Sequence[StepRow], policies: Mapping[str, Policy]) -> str:
    """Say what a legal *command* will do, to the disks above all; one sentence, before it is given."""
    row = next(row for row in steps if row.pos == attempt.pos)
    match command.verb:
        case Verb.CANCEL:
            undone = undone_by(command, steps, policies)
            what = f"undoes {len(undone)} steps ({', '.join(undone)})" if undone else ""
            end = "gives the server back" if attempt.kind is JobKind.OPEN else "ends the job"
            return f"{what + ', then ' if what else ''}{end}; {_disks_given_up(attempt, steps, policies)}"
        case Verb.SWAP:
            end = "gives this server back" if command.release else "puts this server into quarantine"
            return f"undoes what was done, {end}, and takes the next free one, which is installed: its disks are wiped"
        case Verb.SKIP:
            disks = _disks(row, steps, policies)
            return f"goes on after {row.name} as if it had been done; nothing checks that it was; {disks}"
        case Verb.HOLD:
            return f"stands still at {row.name} until it is retried or cancelled; what was asked of the server goes on"
        case Verb.RETRY | Verb.RETRY_FROM:
            return _forecast_retry(command, row, steps, policies)
        case _:
            return "is the engine's own"


def _disks_given_up(attempt: Attempt, steps: Sequence[StepRow], policies: Mapping[str, Policy]) -> str:
    """Say what a customer finds on the disks after a cancel."""
    wiped = (row for row in steps if policies[row.name].wipes and row.acted_at is not None)
    if attempt.kind is not JobKind.OPEN and any(row.state is not StepState.DONE for row in wiped):
        return "an install had begun: the old system is gone, and the new one may not start"
    return "the disks stay as they are"


def _disks(row: StepRow, steps: Sequence[StepRow], policies: Mapping[str, Policy]) -> str:
    """Say what comes to the disks after *row*."""
    coming = (other for other in steps if other.pos > row.pos and other.direction is row.direction)
    if any(policies[other.name].wipes for other in coming):
        return "the disks are wiped when it comes to the install"
    return "the disks stay as they are"


def _forecast_retry(command: Command, row: StepRow, steps: Sequence[StepRow], policies: Mapping[str, Policy]) -> str:
    wanted = command.step if command.verb is Verb.RETRY_FROM else row.name
    start = next((other for other in steps if other.name == wanted), row)
    coming = [other for other in steps if start.pos <= other.pos and other.direction is row.direction]
    wipes = any(policies[other.name].wipes for other in coming)
    disks = "the disks are WIPED again" if wipes and start.pos <= row.pos else "the disks stay as they are"
    if wipes and start.name == row.name and not row.acted_at:
        disks = "the disks are wiped when it comes to the install"
    once = [other.name for other in coming if policies[other.name].repeat is Repeat.NEVER and other.acted_at]
    twice = f"; {once[0]} may have been done, and IS DONE AGAIN" if once else ""
    return f"runs again from {start.name}, {len(coming)} steps; {disks}{twice}"

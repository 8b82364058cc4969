"""Steps that a person does: asked by a message, parked, and believed only after a read of the DCIM agrees."""

from datetime import timedelta

from provisioner.domain.attempt import Policy
from provisioner.domain.outcome import Acted, Done, HandedOver, Look, More, NotBegun, PersonAsked, PersonOverdue, Wait
from provisioner.domain.question import Question, QuestionKind
from provisioner.errors import NoSuchObject
from provisioner.steps.base import StepContext

#: how long the department has before the administrator in charge is told; it never fails the job
PATIENCE = Policy(
    deadline=timedelta(days=3),
    settle=timedelta(seconds=1),
    backoff=timedelta(minutes=1),
    backoff_max=timedelta(hours=6),
    skippable=False,
)


class _Ask:
    """
    Ask once, wait for ever, check the answer by a read.

    Each act is a record of ours that is told by the outbox: nothing in the world is changed, so there is no undo.
    An answer that the DCIM contradicts is asked for again, with the reason.
    """

    name = ""
    kind: QuestionKind
    policy = PATIENCE

    def check(self, ctx: StepContext) -> Look:
        """Look into our books; once it is answered, at the server."""
        question = ctx.question()
        if question is None:
            return NotBegun({}, (PersonAsked(self.kind, ctx.policy.deadline),))
        if question.answered_at is not None:
            return self._verified(ctx, question)
        if question.overdue:
            return Wait(f"{_waits(question)}; the administrator in charge was told")
        if ctx.clock.now() >= question.due_at:
            return More({}, "nobody has answered in time", (PersonOverdue(),))
        return Wait(_waits(question), until=question.due_at)

    def do(self, ctx: StepContext) -> Acted:
        """Return: what was asked was recorded with the memo, and the outbox tells it."""
        del ctx
        return Acted()

    def _again(self, ctx: StepContext, why: str) -> More:
        """Ask once more, and say what was wrong with the answer."""
        return More({}, why, (PersonAsked(self.kind, ctx.policy.deadline, says=why),))

    def _verified(self, ctx: StepContext, question: Question) -> Look:
        """Say whether the DCIM agrees with an answer."""
        raise NotImplementedError


def _waits(question: Question) -> str:
    who = f"department {question.department}" if question.department else "a person; nobody is in charge, name somebody"
    return f"asked {who} at {question.asked_at:%Y-%m-%d %H:%M} UTC"


class AskPlaced(_Ask):
    """
    The customer's machine stands in its rack, and the DCIM gives its server to the customer.

    The last step: the service becomes active in the commit that finds it so.
    """

    name = "ask_placed"
    kind = QuestionKind.PLACED

    def _verified(self, ctx: StepContext, question: Question) -> Look:
        try:
            reading = ctx.read()
        except NoSuchObject:
            return self._again(ctx, f"server {ctx.server} is not there any more")
        if ctx.customer is None or reading.owner != ctx.customer:
            owner = f"user {reading.owner}" if reading.owner else "nobody"
            return self._again(
                ctx, f"server {ctx.server} belongs to {owner}, not to the customer's user {ctx.customer}"
            )
        ip = next((row.ip for row in reading.addresses if row.main), ctx.ip)
        said = f"server {ctx.server}, said {question.answered_by}; its owner is the customer's user {ctx.customer}"
        return Done(said, (HandedOver(reading, ip),))


class AskRemoved(_Ask):
    """The customer's machine was taken out, and the DCIM gives its server to the customer no more."""

    name = "ask_removed"
    kind = QuestionKind.REMOVED

    def _verified(self, ctx: StepContext, question: Question) -> Look:
        try:
            reading = ctx.read()
        except NoSuchObject:
            return Done(f"the DCIM has no server {ctx.server} any more, as {question.answered_by} said")
        if reading.owner is not None and reading.owner == ctx.customer:
            return self._again(ctx, f"the DCIM still gives server {ctx.server} to the customer's user {ctx.customer}")
        return Done(f"server {ctx.server} is not the customer's any more, as {question.answered_by} said")

"""The panel password of the customer's user is the one that was asked for; seen by a log-in, not assumed."""

from provisioner.domain.attempt import Policy
from provisioner.domain.outcome import Acted, Done, Failed, Look, NotBegun
from provisioner.domain.states import StepState
from provisioner.errors import FailureClass
from provisioner.steps.base import StepContext, not_ours


class ChangePassword:
    """Repeatable in value. Before the act no log-in is tried: panels lock accounts that are guessed at."""

    name = "change_password"
    policy = Policy(exhausted=FailureClass.UNKNOWN, skippable=False)

    def check(self, ctx: StepContext) -> Look:
        """Say whether the customer's user can log in with the new password."""
        if drifted := not_ours(ctx, ctx.read()):
            return drifted
        mine = ctx.accounts().mine
        if ctx.customer is None or mine is None:
            return Failed(FailureClass.INPUT, "the customer's user is not known")
        if ctx.row.state is StepState.PENDING:
            return NotBegun({"user": ctx.customer})
        if ctx.driver.logs_in(mine.login, ctx.secret("job_secret")):
            return Done("the customer's user logs in with it")
        return NotBegun({"user": ctx.customer})

    def do(self, ctx: StepContext) -> Acted:
        """Set it."""
        if ctx.customer is None:
            raise AssertionError("check says Failed where the customer's user is not known")
        ctx.driver.set_password(ctx.customer, ctx.secret("job_secret"))
        return Acted()

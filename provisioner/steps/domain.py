"""Every address row of the server carries one domain: the order's host name, or `free.ds` when it is undone."""

from provisioner.domain.attempt import Policy
from provisioner.domain.naming import same_name
from provisioner.domain.outcome import Acted, Done, Look
from provisioner.domain.server import FREE_MARKER, RowRef
from provisioner.steps.base import StepContext, next_act, not_ours, unsettled


class _Domain:
    """One row a touch, until all rows carry the target."""

    name = ""

    def target(self, ctx: StepContext) -> str:
        """Give the domain that all rows must carry."""
        raise NotImplementedError

    def check(self, ctx: StepContext) -> Look:
        """Read the rows; name the next one that is wrong."""
        reading = ctx.read()
        if lost := not_ours(ctx, reading):
            return lost
        target = self.target(ctx)
        wrong = [row for row in reading.addresses if not same_name(row.domain, target)]
        if not wrong:
            return unsettled(ctx) or Done(f"{len(reading.addresses)} address rows carry {target}")
        memo = {"row": wrong[0].ref, "domain": target}
        proven = ctx.row.before.get("row") not in {row.ref for row in wrong}
        return next_act(ctx, memo, f"{len(wrong)} rows to go", proven=proven)

    def do(self, ctx: StepContext) -> Acted:
        """Set the domain of the remembered row."""
        ctx.driver.set_domain(ctx.server, RowRef(ctx.row.before["row"]), ctx.row.before["domain"])
        return Acted()


class FreeDomain(_Domain):
    """Undo of `AssignDomain`: the marker of free servers on every row."""

    name = "free_domain"
    policy = Policy(skippable=False)

    def target(self, ctx: StepContext) -> str:
        """Give the marker."""
        return FREE_MARKER


class AssignDomain(_Domain):
    """The order's host name on every row. A server without rows gets it with its first address."""

    name = "domain"
    policy = Policy(undo=FreeDomain.name)

    def target(self, ctx: StepContext) -> str:
        """Give the order's host name."""
        return ctx.order.hostname

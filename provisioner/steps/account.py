"""The customer has a user in the DCIM; looks at users and our books, creates one user."""

from collections.abc import Sequence

from provisioner.domain.attempt import Policy
from provisioner.domain.naming import panel_login
from provisioner.domain.outcome import (
    AccountLive,
    AccountReserved,
    Acted,
    Done,
    Failed,
    Look,
    NotBegun,
    Wait,
)
from provisioner.domain.server import User
from provisioner.domain.service import Account
from provisioner.domain.states import AccountState
from provisioner.errors import AlreadyExists, Busy, FailureClass, Invalid
from provisioner.steps.base import StepContext


class CreateAccount:
    """
    Find the customer's user, or create it; never adopt one by its name alone.

    Not undone: there is no call for it, and the user serves the customer's next order.
    """

    name = "account"
    policy = Policy(exhausted=FailureClass.SITE, skippable=False)

    def check(self, ctx: StepContext) -> Look:
        """Look into our books, then at the DCIM's users."""
        mine = ctx.accounts().mine
        ours = mine is not None and mine.creator == ctx.attempt_id
        if mine is not None and mine.state is AccountState.CREATING and not ours:
            if mine.creator_alive:
                return Wait("another order of the same customer is creating the user")
            began = mine.creator_settles_from  # None: it never began to act, so nothing can come late
            if began is not None and ctx.clock.now() < (settles_at := began + ctx.policy.settle):
                return Wait("an ended order may still have created the user", until=settles_at)
        ctx.probed()
        users = ctx.driver.users()
        if mine is not None and mine.state is AccountState.LIVE:
            return _confirmed(mine, users)
        if mine is not None and not (ours and ctx.row.acted_at is None):
            found = _created(ctx, mine, users)
            if found is not None:
                live = AccountLive(found.login, found.ref, created_by_us=True)
                return Done(f"user {found.ref} was created", (live,))
            if ctx.row.acted_at is not None:
                return NotBegun({"login": mine.login})
        return self._reserve(ctx, users)

    def _reserve(self, ctx: StepContext, known: Sequence[User]) -> Look:
        book = ctx.accounts()
        own = {book.mine.login} if book.mine else set()
        taken = frozenset({user.login for user in known} | (book.logins - own))
        system = frozenset(user.login for user in known if user.administrator)
        try:
            login = panel_login(ctx.order.login, taken=taken, system=system)
        except Invalid as error:
            return Failed(FailureClass.INPUT, str(error))
        before = tuple(user.ref for user in known)
        return NotBegun({"login": login}, (AccountReserved(login, before),))

    def do(self, ctx: StepContext) -> Acted:
        """Create the user under the reserved login."""
        try:
            user = ctx.driver.create_user(ctx.row.before["login"], ctx.secret("panel_password"))
        except AlreadyExists as error:  # somebody was faster: nothing was done; the next look takes another login
            raise Busy("the login was taken meanwhile", system=error.system, operation=error.operation) from None
        return Acted({"user": user})


def _confirmed(account: Account, users: Sequence[User]) -> Look:
    if any(user.ref == account.user for user in users):
        return Done(f"the customer's user is {account.user}")
    return Failed(
        FailureClass.INPUT,
        f"the customer's user {account.user} is gone from the DCIM; restore it there, or remove the account here",
    )


def _created(ctx: StepContext, account: Account, users: Sequence[User]) -> User | None:
    """Give the user that appeared under the reserved login and that no other row claims."""
    claimed = ctx.accounts().users
    for user in users:
        if user.login == account.login and user.ref not in account.ids_before and user.ref not in claimed:
            return user
    return None

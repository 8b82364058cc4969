"""The customer's user: created once, adopted only when it is surely ours, never by its name alone."""

from datetime import timedelta
from typing import Any

import pytest

from provisioner.domain.attempt import StepRow
from provisioner.domain.naming import LOGIN_LENGTH
from provisioner.domain.outcome import AccountLive, AccountReserved, Done, Failed, Look, NotBegun, Wait
from provisioner.domain.server import User, UserRef
from provisioner.domain.service import Account, AccountBook
from provisioner.domain.states import AccountState, StepState
from provisioner.errors import AlreadyExists, Busy, FailureClass
from provisioner.steps.account import CreateAccount
from tests.builders import (
    ADMIN,
    CUSTOMER,
    PASSWORD,
    HandDriver,
    a_book,
    a_context,
    a_step_row,
    acted,
    an_account,
    an_order,
    at,
    remembering,
)

STEP = CreateAccount()
OTHER = UserRef("31")
SETTLE = STEP.policy.settle
US, THEM = 1, 2  #: attempts


def a_user(login: str = "ivanov", ref: UserRef = CUSTOMER, *, administrator: bool = False) -> User:
    return User(ref, login, administrator=administrator)


def reserved(by: int = US, **changes: Any) -> Account:
    fields = {
        "state": AccountState.CREATING,
        "user": None,
        "created_by_us": False,
        "ids_before": frozenset({ADMIN}),
        "creator": by,
        "creator_alive": True,
        "creator_settles_from": at(0),
        **changes,
    }
    return an_account(**fields)


def look(
    *users: User, book: AccountBook | None = None, row: StepRow | None = None, seconds: float = 60, **context: Any
) -> Look:
    ctx = a_context(STEP, row, driver=HandDriver(users=users), book=book or a_book(), now=at(seconds), **context)
    return STEP.check(ctx)


def sent() -> StepRow:
    return remembering(acted(a_step_row("account"), StepState.UNSURE), {"login": "ivanov"})


# --- finding it ---------------------------------------------------------------------------------------------------


def test_a_user_that_is_in_our_books_and_in_the_panel_is_all_that_is_wanted() -> None:
    outcome = look(a_user(), book=a_book(an_account()))

    assert isinstance(outcome, Done)
    assert outcome.records == ()


def test_a_user_that_is_gone_from_the_panel_is_not_made_again_under_the_same_name() -> None:
    outcome = look(a_user(ref=OTHER), book=a_book(an_account()))

    assert isinstance(outcome, Failed)
    assert outcome.failure_class is FailureClass.INPUT


def test_a_new_customer_reserves_a_login_with_all_ids_that_exist() -> None:
    outcome = look(a_user("petrov", OTHER))

    assert isinstance(outcome, NotBegun)
    assert outcome.memo["login"] == "ivanov"
    assert outcome.records == (AccountReserved("ivanov", (ADMIN, OTHER)),)


def test_a_user_of_that_name_that_was_there_before_is_a_clash_and_takes_the_next_login() -> None:
    outcome = look(a_user("ivanov", OTHER))

    assert isinstance(outcome, NotBegun)
    assert outcome.memo["login"] == "ivanov2"


def test_a_login_that_another_customer_has_reserved_is_a_clash_too() -> None:
    outcome = look(book=a_book(logins=["ivanov"]))

    assert isinstance(outcome, NotBegun)
    assert outcome.memo["login"] == "ivanov2"


def test_two_customers_never_share_one_clipped_login() -> None:
    long = "a" * 20
    outcome = look(a_user("a" * LOGIN_LENGTH, OTHER), order=an_order(login=long))

    assert isinstance(outcome, NotBegun)
    assert outcome.memo["login"] == "a" * (LOGIN_LENGTH - 1) + "2"


@pytest.mark.parametrize("login", ["иванов", "---", "root", "Ad.min", "billadmin"])
def test_a_login_of_which_nothing_is_left_or_that_is_the_systems_is_the_orders_fault(login: str) -> None:
    admin = User(OTHER, "billadmin", administrator=True)
    outcome = look(admin, order=an_order(login=login))

    assert isinstance(outcome, Failed)
    assert outcome.failure_class is FailureClass.INPUT


# --- creating it --------------------------------------------------------------------------------------------------


def test_the_user_is_created_under_the_reserved_login() -> None:
    driver = HandDriver()
    row = remembering(acted(a_step_row("account"), StepState.BEGUN), {"login": "ivanov2"})
    outcome = STEP.do(a_context(STEP, row, driver=driver))

    assert driver.asked == [("create_user", "ivanov2", PASSWORD)]
    assert outcome.token == {"user": CUSTOMER}


def test_a_login_that_was_taken_meanwhile_counts_as_not_taken() -> None:
    driver = HandDriver()
    driver.refuse = AlreadyExists("the login is taken", system="dcim")
    row = remembering(acted(a_step_row("account"), StepState.BEGUN), {"login": "ivanov"})

    with pytest.raises(Busy):
        STEP.do(a_context(STEP, row, driver=driver))


def test_after_a_refusal_the_next_look_takes_another_login() -> None:
    refused = remembering(a_step_row("account", refusals=1), {"login": "ivanov"})
    outcome = look(a_user("ivanov", OTHER), book=a_book(reserved()), row=refused)

    assert isinstance(outcome, NotBegun)
    assert outcome.memo["login"] == "ivanov2"
    assert outcome.records == (AccountReserved("ivanov2", (ADMIN, OTHER)),)


def test_our_own_reservation_is_no_clash() -> None:
    refused = remembering(a_step_row("account", refusals=1), {"login": "ivanov"})
    outcome = look(book=a_book(reserved()), row=refused)

    assert isinstance(outcome, NotBegun)
    assert outcome.memo["login"] == "ivanov"


# --- a reply that was lost ----------------------------------------------------------------------------------------


def test_a_lost_reply_adopts_the_user_whose_id_was_not_there_before() -> None:
    outcome = look(a_user(), book=a_book(reserved()), row=sent())

    assert isinstance(outcome, Done)
    assert outcome.records == (AccountLive("ivanov", CUSTOMER, created_by_us=True),)


def test_a_lost_reply_does_not_adopt_an_id_that_was_there_before() -> None:
    outcome = look(a_user(), book=a_book(reserved(ids_before=frozenset({ADMIN, CUSTOMER}))), row=sent())

    assert not isinstance(outcome, Done)


def test_a_lost_reply_does_not_adopt_a_user_that_another_row_claims() -> None:
    outcome = look(a_user(), book=a_book(reserved(), users=[CUSTOMER]), row=sent())

    assert not isinstance(outcome, Done)


def test_a_lost_reply_does_not_adopt_a_user_of_another_name() -> None:
    outcome = look(a_user("ivanov2"), book=a_book(reserved()), row=sent())

    assert not isinstance(outcome, Done)


def test_a_lost_reply_without_a_user_reports_no_effect_and_reserves_nothing_anew() -> None:
    outcome = look(book=a_book(reserved()), row=sent())

    assert isinstance(outcome, NotBegun)
    assert outcome.records == ()


def test_a_user_that_appears_late_is_ours_although_the_step_was_about_to_begin_again() -> None:
    again = remembering(acted(a_step_row("account"), StepState.PENDING), {"login": "ivanov"})
    outcome = look(a_user(), book=a_book(reserved()), row=again)

    assert isinstance(outcome, Done)


# --- two orders of one customer -----------------------------------------------------------------------------------


def test_a_second_order_waits_while_the_first_creates_the_user() -> None:
    ctx = a_context(STEP, book=a_book(reserved(by=THEM)), now=at(60))
    outcome = STEP.check(ctx)

    assert isinstance(outcome, Wait)
    assert ctx.reading_at is None, "its deadline must not run: no reading of the world was taken"


def test_a_second_order_takes_over_only_after_a_late_effect_of_the_ended_one() -> None:
    book = a_book(reserved(by=THEM, creator_alive=False, creator_settles_from=at(50)))
    outcome = look(book=book, seconds=60)

    assert isinstance(outcome, Wait)
    assert outcome.until == at(50) + SETTLE


def test_a_second_order_that_takes_over_adopts_what_the_ended_one_has_created() -> None:
    book = a_book(reserved(by=THEM, creator_alive=False, creator_settles_from=at(50)))
    outcome = look(a_user(), book=book, seconds=50 + SETTLE / timedelta(seconds=1))

    assert isinstance(outcome, Done)
    assert outcome.records == (AccountLive("ivanov", CUSTOMER, created_by_us=True),)


def test_a_second_order_that_finds_nothing_reserves_for_itself() -> None:
    book = a_book(reserved(by=THEM, creator_alive=False, creator_settles_from=at(0)))
    outcome = look(book=book, seconds=600)

    assert isinstance(outcome, NotBegun)
    assert outcome.records == (AccountReserved("ivanov", (ADMIN,)),)


def test_a_second_order_looks_with_the_ids_of_the_ended_one() -> None:
    ended = reserved(by=THEM, creator_alive=False, ids_before=frozenset({ADMIN, CUSTOMER}))
    outcome = look(a_user(), book=a_book(ended), seconds=600)

    assert isinstance(outcome, NotBegun)
    assert outcome.memo["login"] == "ivanov2"


def test_a_second_order_does_not_wait_for_ever_for_one_that_never_acted() -> None:
    # the ended order's only act was refused, so it has no begun_at; nothing of it can come late
    ended = reserved(by=THEM, creator_alive=False, creator_settles_from=None)
    outcomes = [look(book=a_book(ended), seconds=seconds) for seconds in (60, 6_000, 600_000)]

    assert not all(isinstance(outcome, Wait) for outcome in outcomes)


def test_an_account_has_no_undo_and_its_trouble_is_the_places() -> None:
    assert STEP.policy.undo is None
    assert STEP.policy.exhausted is FailureClass.SITE

"""What one touch carries unseen: no call while a transaction is open, no act that would outlive its lease."""

import contextvars

import pytest

from provisioner.domain import touch
from provisioner.errors import NotDone, Retryable, TransactionOpen


def test_the_outside_may_be_called_when_no_transaction_is_open() -> None:
    touch.may_call(15, mutating=True)
    touch.may_call(15, mutating=False)


@pytest.mark.parametrize("mutating", [True, False])
def test_nothing_is_called_while_a_transaction_is_open(mutating: bool) -> None:  # noqa: FBT001 - a case
    with touch.transaction(), pytest.raises(TransactionOpen):
        touch.may_call(1, mutating=mutating)


def test_a_transaction_ends_with_its_block_also_when_it_fails() -> None:
    with pytest.raises(RuntimeError), touch.transaction():
        raise RuntimeError

    touch.may_call(1, mutating=True)


def test_an_inner_transaction_does_not_end_the_outer_one() -> None:
    with touch.transaction():
        with touch.transaction():
            pass
        with pytest.raises(TransactionOpen):
            touch.may_call(1, mutating=False)


def test_an_act_that_would_outlive_its_lease_is_not_sent() -> None:
    with touch.lease(14.9), pytest.raises(NotDone):
        touch.may_call(15, mutating=True)


def test_what_was_not_sent_may_be_tried_later() -> None:
    assert issubclass(NotDone, Retryable)


def test_an_act_that_fits_into_its_lease_is_sent() -> None:
    with touch.lease(60):
        touch.may_call(15, mutating=True)


def test_a_look_may_outlive_the_lease() -> None:
    with touch.lease(0):
        touch.may_call(15, mutating=False)


def test_a_lease_ends_with_its_block_also_when_it_fails() -> None:
    with pytest.raises(RuntimeError), touch.lease(0):
        raise RuntimeError

    touch.may_call(15, mutating=True)


def test_an_open_transaction_is_named_before_a_short_lease() -> None:
    with touch.lease(0), touch.transaction(), pytest.raises(TransactionOpen):
        touch.may_call(15, mutating=True)


def test_two_touches_do_not_see_each_other() -> None:
    elsewhere = contextvars.copy_context()
    with touch.transaction(), touch.lease(0):
        elsewhere.run(touch.may_call, 15, mutating=True)

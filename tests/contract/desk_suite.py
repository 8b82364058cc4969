"""
What every `ports.Desk` has to do, whoever is behind it.

A subclass provides the fixture `place`: the desk under test, and a view of what people there have before them.
"""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import pytest

from provisioner.domain import touch
from provisioner.errors import BadValue, Denied, Retryable, TransactionOpen, Unreachable, Unsure
from provisioner.ports import Desk, Message, TicketStatus

SECRET = "planted-with-every-desk"
TEXT = "What: it fails.\n.\nFür alle: да, \"quoted\" 'too' <b>&amp;</b> 100 %\n\nprovisioner job show 7"


@dataclass(frozen=True)
class Told:
    """A message as people see it."""

    ticket: str  #: the same for all that they see as one
    key: str  #: by which a repeated one is recognised
    subject: str
    text: str


class Place(ABC):
    """A desk, and what is behind it."""

    desk: Desk
    to: str  #: an address that it knows
    unknown: str  #: one that it can't have, or does not know

    @abstractmethod
    def told(self) -> list[Told]:
        """Give what people have before them, oldest first."""

    @abstractmethod
    def lose_answer(self) -> None:
        """Let the next message be taken, and its answer be lost."""

    @abstractmethod
    def nobody(self) -> Desk:
        """Give a desk where nobody listens."""

    @abstractmethod
    def stranger(self) -> Desk:
        """Give a desk whose credentials are refused."""

    @abstractmethod
    def hanging(self) -> AbstractContextManager[Desk]:
        """Give, for a while, a desk that does not answer, with a short time limit."""

    def message(self) -> Message:
        """Give a first message that nobody has had before."""
        ticket = f"abc.7.{uuid.uuid4().hex[:12]}"
        return Message(f"{ticket}.1", self.to, "[7] dc1: Süd-Schrank fällt aus", TEXT, ticket=ticket)


def following(message: Message, n: int) -> Message:
    """Give message *n* of the same ticket."""
    return replace(message, key=f"{message.ticket}.{n}", text=f"more, {n}")


def lines(text: str) -> str:
    """Give *text* without what a mail system does to the ends of lines."""
    return text.replace("\r\n", "\n").rstrip("\n")


class DeskSuite(ABC):
    """Inherit, and provide `place`."""

    @abstractmethod
    @pytest.fixture
    def place(self) -> Place:
        raise NotImplementedError

    def test_a_ticket_is_opened_with_all_that_was_said(self, place: Place) -> None:
        message = place.message()

        ref = place.desk.open(message)

        (told,) = place.told()
        assert ref
        assert message.subject in told.subject
        assert lines(told.text) == TEXT

    def test_what_follows_and_the_all_clear_come_to_their_ticket_in_order(self, place: Place) -> None:
        one, other = place.message(), place.message()
        ref, another = place.desk.open(one), place.desk.open(other)

        place.desk.comment(ref, following(one, 2))
        place.desk.comment(another, following(other, 2))
        place.desk.close(ref, following(one, 3))

        told = place.told()
        first = [lines(message.text) for message in told if message.ticket == told[0].ticket]
        assert ref != another
        assert first == [TEXT, "more, 2", "more, 3"]
        assert [lines(message.text) for message in told if message.ticket == told[1].ticket] == [TEXT, "more, 2"]

    def test_the_same_message_twice_is_one_or_can_be_recognised(self, place: Place) -> None:
        message = place.message()

        refs = {place.desk.open(message), place.desk.open(message)}
        for _ in range(2):
            place.desk.comment(min(refs), following(message, 2))
            place.desk.close(min(refs), following(message, 3))

        told = place.told()
        assert len(refs) == 1
        assert len({one.key for one in told}) == 3
        assert len({one.ticket for one in told}) == 1
        if place.desk.capabilities.dedup:
            assert len(told) == 3

    def test_an_answer_that_is_lost_leaves_it_unsure_and_the_next_try_mends_it(self, place: Place) -> None:
        message = place.message()

        place.lose_answer()
        with pytest.raises(Unsure):
            place.desk.open(message)
        ref = place.desk.open(message)
        place.lose_answer()
        with pytest.raises(Unsure):
            place.desk.comment(ref, following(message, 2))
        place.desk.comment(ref, following(message, 2))

        told = place.told()
        assert len({one.key for one in told}) == 2
        assert len({one.ticket for one in told}) == 1
        if place.desk.capabilities.dedup:
            assert len(told) == 2

    def test_a_status_is_read_where_it_can_be(self, place: Place) -> None:
        message = place.message()
        ref = place.desk.open(message)

        before = place.desk.status(ref)
        place.desk.close(ref, following(message, 2))
        after = place.desk.status(ref)

        can = place.desk.capabilities.status
        assert (before.status, after.status) == (
            (TicketStatus.OPEN, TicketStatus.CLOSED) if can else (TicketStatus.UNKNOWN, TicketStatus.UNKNOWN)
        )
        assert (before.by, after.by) == ("", "")  # that was us

    def test_a_ticket_is_opened_again_where_it_can_be_read_and_what_is_said_comes_once(self, place: Place) -> None:
        message = place.message()
        ref = place.desk.open(message)
        place.desk.close(ref, following(message, 2))

        for _ in range(2):
            place.desk.comment(ref, following(message, 3), reopen=True)

        can = place.desk.capabilities.status
        assert place.desk.status(ref).status is (TicketStatus.OPEN if can else TicketStatus.UNKNOWN)
        assert len({told.key for told in place.told()}) == 3
        if place.desk.capabilities.dedup:
            assert len(place.told()) == 3

    def test_what_is_said_opens_no_ticket_again_by_itself(self, place: Place) -> None:
        message = place.message()
        ref = place.desk.open(message)
        place.desk.close(ref, following(message, 2))

        place.desk.comment(ref, following(message, 3))

        assert place.desk.status(ref).status is not TicketStatus.OPEN

    def test_a_check_passes_nothing_on(self, place: Place) -> None:
        place.desk.check(place.to)

        assert place.told() == []

    def test_an_address_that_can_t_be_is_refused_by_name_when_it_is_checked(self, place: Place) -> None:
        with pytest.raises(BadValue):
            place.desk.check(place.unknown)

    def test_refused_credentials_are_said_and_not_shown(self, place: Place) -> None:
        with pytest.raises((Denied, Retryable)) as told:
            place.stranger().open(place.message())

        assert place.told() == []
        assert SECRET not in f"{told.value!r} {told.value.__context__!r} {told.value.__cause__!r}"

    def test_nobody_there_is_said_and_nothing_was_sent(self, place: Place) -> None:
        with pytest.raises(Unreachable):
            place.nobody().open(place.message())

    def test_a_conversation_ends_with_its_time(self, place: Place) -> None:
        with place.hanging() as desk, pytest.raises(Retryable, match="within 1 s"):
            desk.open(place.message())

    def test_nothing_is_sent_while_a_transaction_is_open(self, place: Place) -> None:
        with touch.transaction(), pytest.raises(TransactionOpen):
            place.desk.open(place.message())

        assert place.told() == []

"""What could not be asked is asked again, and in its order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import count, islice, repeat
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.chaos.killer import BEAT_ON, MAIL_ON
from tests.chaos.storm import UNDER_WAY, Storm
from tests.chaos.stream import Deed


def test_an_order_that_could_not_be_asked_is_not_kept_back_by_what_comes_after_it() -> None:
    order, later = Deed(1.0, "order", 7), Deed(2.0, "suspend", 7, eager=False)
    nobody = cast("Any", None)
    storm = Storm(nobody, 1, [order, later], 10.0, nobody, nobody, nobody, nobody)

    first = storm._due(3.0)
    storm.late.append(order)  # as when the API is away

    assert first == [order]
    assert storm._due(3.5) == [order]


def test_no_more_orders_come_in_at_once_than_there_is_room_for() -> None:
    nobody = cast("Any", None)
    coming = [Deed(float(n), "order", n) for n in range(5)]
    storm = Storm(nobody, 1, coming.copy(), 10.0, nobody, nobody, nobody, nobody, room=2)

    assert storm._due(9.0) == coming[:2]
    assert storm._due(9.1) == []
    storm.room = 80
    assert storm._due(9.2) == coming[2:]


class QuietTown:
    """A town without places, whose database shows one job under way, the next of *looks* each time it is asked."""

    def __init__(self, looks: Iterable[dict[str, Any]]) -> None:
        self.looks = iter(looks)
        self.places: list[Any] = []
        self.children = {BEAT_ON.split()[0], MAIL_ON.split()[0]}
        self.database = self

    def rows(self, statement: str) -> list[dict[str, Any]]:
        return [*islice(self.looks, 1)] if statement == UNDER_WAY else []

    def row(self, _statement: str) -> str:
        return "as before"

    def tend(self) -> None: ...


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> count[int]:
    """Give a clock that is a second on each time somebody looks at it."""
    clock = count()
    monkeypatch.setattr("tests.chaos.storm.time", SimpleNamespace(monotonic=clock.__next__, sleep=lambda _: None))
    return clock


def quiet(looks: Iterable[dict[str, Any]]) -> Storm:
    """Give a storm that is over, with nobody to answer and nothing to measure."""
    idle = SimpleNamespace(answer=lambda: None, work=lambda: None, busy=False, pressed=Counter())
    storm = Storm(cast("Any", QuietTown(looks)), 1, [], 10.0, *cast("Any", (None, idle, idle, None)))
    vars(storm)["_measure"] = lambda: None
    return storm


def test_the_end_waits_for_what_has_an_instant_of_its_own_though_nothing_moves(seconds: count[int]) -> None:
    due = {"attempt": "waiting", "why": "", "due": True}

    assert quiet([due] * 50).calm(still=10.0, most=600.0) == []
    assert next(seconds) > 50


def test_what_nobody_will_look_at_again_is_given_once_nothing_has_moved_for_long_enough(seconds: count[int]) -> None:
    lost = {"attempt": "ready", "why": "", "due": False}

    assert quiet(repeat(lost)).calm(still=10.0, most=600.0) == [lost]
    assert 10 < next(seconds) < 30


def test_the_end_does_not_wait_for_ever(seconds: count[int]) -> None:
    due = {"attempt": "waiting", "why": "", "due": True}

    assert quiet(repeat(due)).calm(still=10.0, most=600.0) == [due]
    assert next(seconds) > 600

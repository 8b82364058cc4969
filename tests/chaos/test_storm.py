"""What could not be asked is asked again, and in its order."""

from __future__ import annotations

from typing import Any, cast

from tests.chaos.storm import Storm
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

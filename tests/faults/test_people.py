"""Each cell of the table of tickets and of people who are asked, run to its end; and the table is whole."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import product

import pytest

from tests.faults.asked import Asked, hall
from tests.faults.people import CELLS, DESKS, EITHER, FAULTS, Came, Cell, cells

pytestmark = pytest.mark.timeout(400)

EVERY_RUN = frozenset(
    {"open-reply_lost-rt", "open-reply_lost-email", "open-two_answers_at_once-rt", "open-cancel_overtakes-email"}
)


def differences(cell: Cell, came: Came) -> list[str]:
    """Say what is not as the table has it; empty when all is."""
    return list(_differences(cell, came))


def _differences(cell: Cell, came: Came) -> Iterator[str]:
    end = cell.end
    for fact in ("job", "service", "claim", "tickets", "admin", "acts"):
        if getattr(end, fact) != getattr(came, fact):
            yield f"{fact}: {getattr(end, fact)!r} expected, is {getattr(came, fact)!r}"
    taken = sum("goes on" in said for said in came.told)
    if came.answers not in ((0, 1) if end.answers == EITHER else (end.answers,)) or came.answers != taken:
        yield f"answers: {came.answers} in our books, {taken} taken"
    if not _all_told(end.told, came.told):
        yield f"told: {end.told} expected, is {came.told}"
    if not end.messages[0] <= came.messages <= end.messages[1]:
        yield f"messages: {end.messages} expected, {came.messages} at the desk"
    if came.doubled and (DESKS[cell.desk] or came.doubled > 1):
        yield f"messages: {came.doubled} are there twice"
    if came.still_open:
        yield f"tickets: {came.still_open} left open at the desk"
    if end.service == "active" and came.bound != came.named:
        yield f"server: {came.named} was said and taken, {came.bound} is bound"


def _all_told(wanted: tuple[str, ...], said: tuple[str, ...]) -> bool:
    """Say whether each expression fits one sentence of its own."""
    left = list(said)
    for pattern in wanted:
        found = next((one for one in left if re.search(pattern, one)), None)
        if found is None:
            return False
        left.remove(found)
    return not left


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in EVERY_RUN else (pytest.mark.long,)) for name in CELLS]
)
def test_a_cell_ends_as_it_is_written(name: str, database_url: str) -> None:
    cell = CELLS[name]
    with hall() as around:
        asked = Asked(database_url, cell, around)
        try:
            came = asked.run_cell()
        finally:
            asked.database.close()

    wrong = differences(cell, came)
    assert not wrong, "\n".join([f"{name}: {FAULTS[cell.fault]}", *wrong, came.trail])


def test_each_fault_and_each_desk_meet_in_exactly_one_cell() -> None:
    found = Counter((cell.fault, cell.desk) for cell in cells() if cell.job == "open")

    assert set(found) == set(product(FAULTS, DESKS))
    assert max(found.values()) == 1
    assert len(CELLS) == len(list(cells()))

"""The table is whole: each act and each fault has one cell, and each word in it means something."""

from __future__ import annotations

from collections import Counter
from itertools import product

from provisioner.domain.events import EventKind
from tests.faults.table import ACTS, FAULTS, MORE, SERVERS, STALE, cells


def test_each_act_and_each_fault_meet_in_exactly_one_cell() -> None:
    more = {(act, fault) for row in MORE for act in row.acts.split() for fault in row.faults.split()}
    found = Counter((cell.act, cell.fault) for cell in cells())

    assert set(found) == {*product(ACTS, FAULTS), *more}
    assert max(found.values()) == 1


def test_each_word_of_an_end_is_known() -> None:
    kinds = {kind.value for kind in EventKind}
    for cell in cells():
        assert cell.end.first in SERVERS, cell.name
        assert cell.end.hears <= kinds, cell.name
        assert cell.end.order in {"active", "failed", "cancelled", "held"}, cell.name
        assert (cell.end.on != "") == (cell.end.order == "active"), cell.name
        assert cell.took[0] <= cell.sent[1], cell.name


def test_an_end_that_asks_a_person_names_the_sentence() -> None:
    for cell in cells():
        if cell.end.order in {"held", "failed"}:
            assert cell.end.sentence, cell.name


def test_each_stale_flag_is_of_an_act() -> None:
    assert set(STALE) <= set(ACTS)

"""What shows that a database went back, and what does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provisioner.domain.installation import (
    Identity,
    Placed,
    Serials,
    contradiction,
    difference,
    serials,
    short_name,
    tokens,
)
from provisioner.domain.server import ServerRef

OURS = Identity("7000", 3, 16384, 16401)
SERVER = ServerRef("101")
LINE = "provisioner 0a1b2c3d claim 12"


@pytest.mark.parametrize(
    ("present", "word"),
    [
        (OURS, ""),
        (replace(OURS, system_identifier="7001"), "another PostgreSQL cluster"),
        (replace(OURS, database_oid=1), "another database"),
        (replace(OURS, table_oid=16999), "a dump was read back"),
        (replace(OURS, timeline=4), "timeline 3, this is timeline 4"),
        (replace(OURS, timeline=2), "timeline 3, this is timeline 2"),
    ],
)
def test_each_part_of_an_identity_tells_one_database_from_another(present: Identity, word: str) -> None:
    found = difference(OURS, present)

    assert word in found
    assert bool(found) is bool(word)


def test_what_is_not_known_yet_differs_from_nothing() -> None:
    assert difference(replace(OURS, timeline=0, database_oid=0, table_oid=0), OURS) == ""


@pytest.mark.parametrize(
    ("notes", "found"),
    [
        ("", []),
        (LINE, [("0a1b2c3d", 12)]),
        (f"rack 4\n  {LINE} \r\n", [("0a1b2c3d", 12)]),
        (f"see {LINE}", []),
        (f"{LINE}x", []),
        ("provisioner 0A1B2C3D claim 12", []),
        ("provisioner 0a1b2c3d claim 9999999999999999999", []),
        (f"{LINE}\nprovisioner ffffffff claim 3", [("0a1b2c3d", 12), ("ffffffff", 3)]),
    ],
)
def test_only_a_whole_line_is_a_token(notes: str, found: list[tuple[str, int]]) -> None:
    assert tokens(notes) == found


def test_serials_are_those_of_one_installation() -> None:
    notes = f"{LINE}\nprovisioner ffffffff claim 3"

    assert serials(notes, short_name(LINE)) == [12]
    assert short_name("7b0e5f7e-a new claim has no line yet") == ""
    assert serials(notes, "") == []


@pytest.mark.parametrize(
    ("found", "word"),
    [
        ([], ""),
        ([12], ""),  # ours, here
        ([5], ""),  # pruned: no row, and not above the highest
        ([13], "none above 12"),
        ([11], "server 900 of dc1"),
        ([10], "server 101 of dc2"),
        ([5, 12, 13], "none above 12"),
    ],
)
def test_a_serial_contradicts_our_books_above_the_highest_or_on_another_server(found: list[int], word: str) -> None:
    books = Serials(
        12,
        {12: Placed("dc1", SERVER), 11: Placed("dc1", ServerRef("900")), 10: Placed("dc2", SERVER)},
    )

    why = contradiction("dc1", SERVER, found, books)

    assert word in why
    assert bool(why) is bool(word)

"""The judge finds what is wrong in a data centre's books: one that finds nothing would always say 0."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chaos.judge import AGAIN, OVER, _robbed, _walk

ADMIN, CUSTOMER = "bill_admin", "u0001"
NAMES = {"5": ADMIN, "31": CUSTOMER}
HOST = "h1.example.net"


def edit(owner: str) -> dict[str, Any]:
    return {"func": "server.edit", "params": {"owner": owner}}


INSTALL = {"func": "server.operations", "params": {"operation": "ostemplate"}}
NAMED = {"func": "iplist.edit", "params": {"domain": HOST}}
CLAIM, HAND_OVER, FREE = edit("5"), edit("31"), edit("no_owner")


def found(*calls: dict[str, Any], before: int = 1, after: int = 0) -> list[str]:
    done = [{**call, "n": n, "effect_at": float(n)} for n, call in enumerate(calls, 1)]
    return [rule for rule, _ in _walk(done, ADMIN, NAMES, {HOST: (before, after)})]


@pytest.mark.parametrize(
    ("calls", "wrong"),
    [
        ((CLAIM, NAMED, INSTALL, HAND_OVER), []),
        ((CLAIM, NAMED, INSTALL, HAND_OVER, FREE, CLAIM, NAMED, INSTALL), []),
        ((CLAIM, NAMED, INSTALL, INSTALL, HAND_OVER), [AGAIN]),
        ((CLAIM, NAMED, INSTALL, HAND_OVER, INSTALL), [OVER]),
        ((CLAIM, NAMED, INSTALL, HAND_OVER, CLAIM, INSTALL), [OVER]),
        ((CLAIM, NAMED, INSTALL, FREE, INSTALL), [OVER]),
        ((INSTALL,), [OVER]),
    ],
)
def test_a_wipe_that_nobody_asked_for_is_found(calls: tuple[dict[str, Any], ...], wrong: list[str]) -> None:
    assert found(*calls) == wrong


def test_a_reinstall_and_a_persons_retry_are_somebodys_wish() -> None:
    assert found(CLAIM, NAMED, INSTALL, HAND_OVER, INSTALL, after=1) == []
    assert found(CLAIM, NAMED, INSTALL, INSTALL, HAND_OVER, before=2) == []


def test_what_another_took_over_our_head_is_told_from_what_he_took_while_it_was_free() -> None:
    users = [{"id": "5", "name": ADMIN}, {"id": "7", "name": "rival"}]
    free = {"id": "101", "owners_before": [None], "owner_id": "7"}
    ours = {"id": "102", "owners_before": [None, "5", "7"], "owner_id": None}

    assert _robbed({"users": users, "servers": [free, ours]}) == {"102"}

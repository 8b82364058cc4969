"""
kill -9 at every commit and every call of `open` and of its undo: the end is that of an undisturbed run.

Each point by itself. The worker is a forked child with wrapped ports; its parent serves the world, which a
killed client loses nothing of, and does what is left with nothing but the database to go by.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from provisioner.demo.postgres import EmbeddedPostgres
from provisioner.domain.server import ServerRef
from provisioner.drivers.fake import ACTS, InstallEnd, Pace
from tests.kills import FORWARD, QUARANTINE, QUICK, RELEASE, Point, killed_site, points_of

#: between the end of a lease and the next claim: a tick, a message, and a busy machine
SLACK = 1.5

TICKS = [
    Point("", operation, nth, after)
    for operation, nth in (
        ("plan", 2),
        ("turn", 1),
        ("turn", 4),
        ("list_servers", 3),
        ("apply", 1),
        ("apply", 4),
        ("due", 2),
    )
    for after in (False, True)
]
DONE, FAILED, HANGS = InstallEnd.DONE, InstallEnd.FAILED, InstallEnd.HANGS
#: how the install ends → what is killed: the whole way there; the undo of a failure; the undo of a cancel
POINTS = {
    DONE: points_of(FORWARD, last="hand_over") + TICKS,
    # what is undone is what the memo says that there was before the first act
    FAILED: [*points_of(QUARANTINE, last="quarantine"), Point("address", "add_address", 1, after=True)],
    HANGS: points_of(RELEASE, last="release"),
}
ACTS_OF = {DONE: FORWARD, FAILED: QUARANTINE, HANGS: RELEASE}
#: each of another sort: memo, act, save, end; of steps whose act must not be repeated
EVERY_RUN = {
    "account-after-create_user-1", "claim-after-edit_server-1", "address-after-add_address-1",
    "install_os-after-remember-1", "install_os-after-install-1", "hand_over-after-edit_server-1",
    "hand_over-before-end-1", "quarantine-after-edit_server-1", "cancel_install-after-cancel_operation-1",
    "release-before-end-1",
}  # fmt: skip


def matrix() -> list[Any]:
    return [
        pytest.param(end, point, id=f"{end}-{point}", marks=() if str(point) in EVERY_RUN else (pytest.mark.long,))
        for end, points in POINTS.items()
        for point in points
    ]


@pytest.fixture(scope="session")
def undisturbed(
    postgres: EmbeddedPostgres, template_database: str, state_dir: Path
) -> Callable[[InstallEnd], tuple[Mapping[str, Any], Counter[tuple[str, str]]]]:
    """Give the end of a run without a kill, and how often each operation was passed on the way."""

    @cache
    def run(end: InstallEnd) -> tuple[Mapping[str, Any], Counter[tuple[str, str]]]:
        name = f"undisturbed_{end}"
        postgres.create_database(name, template=template_database)
        with killed_site(postgres.url(name), state_dir, end) as site:
            placed = site.order("ord-1")
            site.run(site.ended(placed.job_id))
            return site.truth(), site.killer.counts

    return run


Undisturbed = Callable[[InstallEnd], tuple[Mapping[str, Any], Counter[tuple[str, str]]]]


@pytest.mark.parametrize("end", POINTS)
def test_the_matrix_holds_every_act_and_every_memo(end: InstallEnd, undisturbed: Undisturbed) -> None:
    _, counts = undisturbed(end)

    for step, acts in ACTS_OF[end].items():
        assert Counter(acts) == Counter({op: n for (name, op), n in counts.items() if name == step and op in ACTS}), (
            step
        )
        assert len(acts) == counts[step, "remember"], step
    assert [str(p) for p in POINTS[end] if counts[p.step, p.operation] < p.nth] == []


def test_an_undisturbed_run_ends_as_it_should(undisturbed: Undisturbed) -> None:
    ends = {end: undisturbed(end)[0] for end in POINTS}

    assert {end: truth["servers"]["101"]["owner"] for end, truth in ends.items()} == {
        DONE: "userord1", FAILED: "bill_admin", HANGS: None,
    }  # fmt: skip
    assert {end: truth["jobs"][0][1] for end, truth in ends.items()} == {
        DONE: "succeeded", FAILED: "failed", HANGS: "cancelled",
    }  # fmt: skip


@pytest.mark.parametrize(("end", "point"), matrix())
def test_a_killed_worker_costs_nothing_but_time(
    end: InstallEnd, point: Point, undisturbed: Undisturbed, database_url: str, state_dir: Path
) -> None:
    with killed_site(database_url, state_dir, end) as site:
        placed = site.order("ord-1")
        over = site.ended(placed.job_id)

        assert site.die_at(point, over), f"the worker never came to {point}"
        died, was_over = time.monotonic(), over()
        site.run(over)

        assert undisturbed(end)[0] == site.truth(), site.trail()
        effects = Counter(call.method for call in site.world.calls(mutating=True) if call.took_effect)
        assert effects["install"] == 1
        assert effects["create_user"] == 1
        assert effects["add_address"] == 2
        if not was_over:
            assert site.claimed[0] - died < QUICK.lease + SLACK, site.trail()


@pytest.mark.parametrize(
    "point",
    [
        pytest.param(point, id=str(point))
        for point in (
            Point("install_os", "remember", 1, after=False),
            Point("install_os", "install", 1, after=False),
            Point("install_os", "save", 2, after=False),
            Point("address", "save", 1, after=False),
            Point("hand_over", "end", 1, after=False),
        )
    ],
)
def test_a_worker_that_wakes_up_after_its_lease_changes_nothing(
    point: Point, undisturbed: Undisturbed, database_url: str, state_dir: Path
) -> None:
    with killed_site(database_url, state_dir, DONE) as site:
        placed = site.order("ord-1")
        over = site.ended(placed.job_id)
        woke: list[Mapping[str, Any]] = []

        def sleep_past_the_lease() -> None:
            site.run(over)  # by others: their touches are nested in ours, which goes on only then
            woke.append(site.truth())

        site.killer.armed, site.killer.strike = point, sleep_past_the_lease
        site.run(lambda: bool(woke) and over())

        assert woke == [undisturbed(DONE)[0]]
        assert site.truth() == woke[0], site.trail()
        assert len(site.world.calls("install")) == 1


def test_an_install_that_came_and_went_unseen_is_not_sent_again(
    database_url: str, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with killed_site(database_url, state_dir, DONE) as site:
        ask, leased = site.planner.to_observe, "SELECT id FROM attempt WHERE state = 'running'"
        # whoever reads the lists died too: none is read while the lease runs
        monkeypatch.setattr(site.planner, "to_observe", lambda: [] if site.database.rows(leased) else ask())
        site.world.clock = lambda: datetime.now(UTC)
        site.world.pace = Pace(install_lasts=timedelta(seconds=QUICK.lease / 2))
        impatient = replace(
            site.policies["install_os"], deadline=timedelta(seconds=4), visible=timedelta(seconds=QUICK.lease / 2)
        )
        site.policies = {**site.policies, "install_os": impatient}
        site.tools = replace(site.tools, policies=site.policies)
        placed = site.order("ord-1")
        over = site.ended(placed.job_id)

        assert site.die_at(Point("install_os", "install", 1, after=True), over)
        back = time.monotonic() + QUICK.lease
        while time.monotonic() < back:  # nobody looks meanwhile: the whole site was away
            time.sleep(0.05)
        site.run(over)

        assert len(site.world.calls("install")) == 1
        assert site.world.servers[ServerRef("101")].owner == site.world.administrator.ref, "a person must look"

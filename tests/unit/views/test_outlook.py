"""The sentence of a job: what it waits for, since when, who looks next and when, what happens if nothing changes."""

from __future__ import annotations

from typing import Any

import pytest

from provisioner.domain.spans import Spans
from provisioner.domain.states import AttemptState, JobState, WaitsFor
from provisioner.views.outlook import clock, label, outlook
from tests.builders import at

SPANS = Spans()


def a_step(**changes: Any) -> dict[str, Any]:
    step = {
        "pos": 6, "name": "install_os", "undoes": None, "outcome": "the install is running", "acted_at": at(0),
        "arrived_at": at(0).isoformat(), "begun_at": at(10).isoformat(), "deadline_at": at(3600).isoformat(),
    }  # fmt: skip
    return {**step, **changes}


def an_attempt(*, step: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    attempt = {
        "state": "waiting", "direction": "forward", "pos": 6, "awaits": None, "resume_at": at(60).isoformat(),
        "starved": False, "held_since": None, "reason": "", "worker": "steps@host", "lease_until": at(30).isoformat(),
        "connection": "dc1", "server": "127", "connection_state": "active", "pause_reason": "", "paused_by": "",
        "paused_at": None, "observe_tried_at": at(15).isoformat(), "steps": [step or a_step()],
    }  # fmt: skip
    return {**attempt, **changes}


def a_place(**changes: Any) -> dict[str, Any]:
    place = {
        "name": "dc1", "state": "active", "paused_by": "", "pause_reason": "", "paused_at": None,
        "restricted_step": "", "canary_at": None, "observe_tried_at": at(15).isoformat(),
    }  # fmt: skip
    return {**place, **changes}


def a_job(*attempts: dict[str, Any], **changes: Any) -> dict[str, Any]:
    job = {
        "id": 7, "kind": "open", "state": "running", "waits_for": None, "waits_since": None, "stock_since": None,
        "plan_at": None,
        "reason": "", "created_at": at(0), "ended_at": None, "newest_job": 7, "on_failure": "next",
        "server_type": "HP-E3-16G", "stock_wait_seconds": 3600.0, "held_reason": "", "attempts": list(attempts),
        "places": [a_place()], "now": at(20), "first": None,
    }  # fmt: skip
    return {**job, **changes}


@pytest.mark.parametrize(
    ("job", "sentence"),
    [
        (
            a_job(an_attempt(awaits="long")),
            ("step 06_install_os on server 127 of dc1 waits (the install is running), since 2026-01-01 12:00:10 UTC; "
            "the observer, by the list of dc1, looks next, about 2026-01-01 12:00:45 UTC; if nothing changes until "
            "2026-01-01 13:00:00 UTC, all is undone, the server quarantined and the next one tried"),
        ),
        (
            a_job(an_attempt(), on_failure="hold"),
            ("step 06_install_os on server 127 of dc1 waits (the install is running), since 2026-01-01 12:00:10 UTC; "
            "the reconciler looks next, about 2026-01-01 12:01:00 UTC; if nothing changes until "
            "2026-01-01 13:00:00 UTC, it is held for a person"),
        ),
        (
            a_job(an_attempt(state="running")),
            ("step 06_install_os on server 127 of dc1 is being worked on by steps@host, since 2026-01-01 12:00:00 UTC; "
            "if the worker dies the reconciler takes over after 2026-01-01 12:00:30 UTC"),
        ),
        (
            a_job(an_attempt(state="held", held_since=at(5).isoformat(), reason="the install failed")),
            ("step 06_install_os on server 127 of dc1 is held for a person: the install failed, since "
            "2026-01-01 12:00:05 UTC; nothing happens by itself; `retry` runs the step again, "
            "`cancel` undoes everything"),
        ),
        (
            a_job(an_attempt(connection_state="paused", paused_by="away", pause_reason="no route",
                             paused_at=at(2).isoformat())),
            ("step 06_install_os on server 127 of dc1 waits for the site: dc1 is paused (no route), since "
            "2026-01-01 12:00:02 UTC; the observer, one call at a time, looks next, about 2026-01-01 12:00:25 UTC; "
            "no deadline runs meanwhile"),
        ),
        (
            a_job(state="queued", waits_for="stock", stock_since=at(0)),
            ("waits for a free server of type HP-E3-16G, since 2026-01-01 12:00:00 UTC; the observer, by the list of "
            "dc1, looks next, about 2026-01-01 12:01:15 UTC; if none comes free it fails at 2026-01-01 13:00:00 UTC"),
        ),
        (
            a_job(state="queued", waits_for="job", waits_since=at(0), reason="job 6 (resume) goes first; such a job …",
                  first={"id": 6, "kind": "resume", "held": False, "reason": ""}),
            ("waits: job 6 (resume) goes first; such a job …, since 2026-01-01 12:00:00 UTC; "
            "the end of that job starts it"),
        ),
        (
            a_job(state="queued", waits_for="job", waits_since=at(0), reason="job 6 (resume) goes first; such a job …",
                  first={"id": 6, "kind": "resume", "held": True, "reason": "the port hangs"}),
            ("waits: job 6 (resume) goes first and is held for a person (the port hangs), since "
            "2026-01-01 12:00:00 UTC; the end of that job starts it"),
        ),
        (
            a_job(state="queued", waits_for="site", waits_since=at(0),
                  places=[a_place(state="restricted", restricted_step="power_on", canary_at=at(80).isoformat())]),
            ("waits for the site: dc1 is restricted: power_on fails there, since 2026-01-01 12:00:00 UTC; the "
            "reconciler, with one order at a time, looks next, about 2026-01-01 12:01:20 UTC; "
            "no deadline runs meanwhile"),
        ),
        (
            a_job(state="failed", ended_at=at(9), reason="no luck", newest_job=8),
            "failed at 2026-01-01 12:00:09 UTC: no luck; job 8 came after it",
        ),
    ],
)  # fmt: skip
def test_a_job_says_what_it_waits_for(job: dict[str, Any], sentence: str) -> None:
    assert sentence == outlook(job, SPANS).sentence


def test_an_undo_says_what_its_deadline_brings() -> None:
    undone, step = a_step(pos=4, name="switch_port"), a_step(pos=11, name="close_ports", undoes=4)
    attempt = an_attempt(pos=11, direction="back", steps=[undone, step])

    said = outlook(a_job(attempt, state="compensating"), SPANS).sentence

    assert "step undo.04_switch_port" in said
    assert said.endswith("the server stays out of sale and a job of its own goes on with it")


@pytest.mark.parametrize(
    ("kind", "pos", "name", "undoes", "expected"),
    [
        ("open", 6, "install_os", None, "06_install_os"),
        ("open", 11, "close_ports", 4, "undo.04_switch_port"),
        ("open", 12, "quarantine", 1, "undo.quarantine"),
        ("release", 0, "close_ports", 4, "00_close_ports"),
    ],
)
def test_a_step_is_called_as_in_flower(kind: str, pos: int, name: str, undoes: int | None, expected: str) -> None:
    step = a_step(pos=pos, name=name, undoes=undoes)
    others = [a_step(pos=1, name="claim"), a_step(pos=4, name="switch_port")]

    assert expected == label(kind, step, [*others, step])


def test_once_hand_over_has_begun_a_person_is_asked() -> None:
    step = a_step(pos=8, name="hand_over")

    said = outlook(a_job(an_attempt(step=step, pos=8)), SPANS).sentence

    assert said.endswith("a person is asked: the server may be the customer's already")


@pytest.mark.parametrize("state", list(JobState))
@pytest.mark.parametrize("waits_for", [None, *WaitsFor])
@pytest.mark.parametrize("attempt", [None, *AttemptState])
@pytest.mark.parametrize("place", ["active", "restricted", "paused", "disabled"])
def test_every_job_has_a_sentence(
    state: JobState, waits_for: WaitsFor | None, attempt: AttemptState | None, place: str
) -> None:
    attempts = [an_attempt(state=attempt, connection_state=place)] if attempt else []
    job = a_job(*attempts, state=state, waits_for=waits_for, places=[a_place(state=place)])

    found = outlook(job, SPANS)

    assert found.waits_for
    assert found.otherwise
    assert "None" not in found.sentence
    assert found.next_at is None or found.next_by


def test_clock_is_in_utc() -> None:
    assert clock(at(0)) == "2026-01-01 12:00:00 UTC"

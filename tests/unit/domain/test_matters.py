"""What is told, under which key, and in which words."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer.main

from provisioner.cli import main
from provisioner.domain import matters
from provisioner.domain.events import EventKind
from provisioner.domain.matters import Kind, Told
from provisioner.domain.states import JobKind, JobState
from provisioner.domain.wording.texts import SHIPPED
from provisioner.errors import FailureClass

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MIGRATIONS = Path(__file__).parents[3] / "provisioner" / "store" / "migrations" / "versions"
PLAIN = Told(
    EventKind.JOB_ENDED, "job failed: the disk is dead", AT, department="default", connection="dc1", server="101",
    claim=3, order="ord-1", panel="panel", job=7, job_kind="open", job_state="failed", by="token bill",
    step="install_os", reason_class="server",
)  # fmt: skip


def told(kind: EventKind | Kind, **data: object) -> Told:
    return replace(PLAIN, kind=kind, data=data)


#: one event of each kind of matter
EXAMPLES = {
    Kind.RESTRICTED: (told(EventKind.CONNECTION_RESTRICTED, step="install_os"), "restricted:dc1:install_os"),
    Kind.PAUSED: (told(EventKind.CONNECTION_PAUSED, by="away"), "paused:dc1"),
    Kind.HELD: (told(EventKind.HELD, step="ping", **{"class": "unknown"}), "held:dc1:ping:unknown"),
    Kind.GUARD: (told(EventKind.HELD), "guard:token bill"),
    Kind.FAILED: (PLAIN, "failed:dc1:open:install_os:server"),
    Kind.QUARANTINED: (
        replace(PLAIN, quarantined={"101": "the disk is dead", "102": "silent"}),
        "quarantined:dc1:install_os",
    ),
    Kind.RELEASE: (told(EventKind.RELEASE_INCOMPLETE, step="release"), "release:dc1:3"),
    Kind.CALLBACK: (told(EventKind.CALLBACK_FAILED, panel="billmanager", count=2), "callback:billmanager"),
    Kind.AUDIT: (told(EventKind.AUDIT_FOUND, count=1), "audit:dc1"),
    Kind.PLACE: (
        told(EventKind.PERSON_ASKED, question=4, asks="placed", hostname="a.example.net", customer="c-1", due="then"),
        "place:4",
    ),
    Kind.REMOVE: (told(EventKind.PERSON_ASKED, question=4, asks="removed"), "remove:4"),
    Kind.OVERDUE: (told(EventKind.PERSON_OVERDUE, question=4, asked="then"), "overdue:4"),
    Kind.HALTED: (told(EventKind.INSTALLATION_HALTED), "halted:default"),
    Kind.SPREADING: (
        replace(PLAIN, kind=Kind.SPREADING, quarantined={"101": "the disk is dead", "102": "silent"}),
        "spreading:dc1",
    ),
    Kind.STUCK: (told(Kind.STUCK, department="hands"), "stuck:hands"),
}
every_language = pytest.mark.parametrize("language", sorted(SHIPPED))
every_kind = pytest.mark.parametrize("kind", list(Kind))


@every_kind
def test_each_kind_of_trouble_has_its_key(kind: Kind) -> None:
    event, key = EXAMPLES[kind]

    assert matters.matter(event) == key
    assert len(key.split(":")) == len(matters.PARTS[kind]) + 1


@pytest.mark.parametrize("kind", list(EventKind))
def test_what_the_outbox_is_given_is_what_may_be_told(kind: EventKind) -> None:
    newest = [text for file in sorted(MIGRATIONS.glob("*.py")) if "event_for_people" in (text := file.read_text())][-1]
    trigger = newest.rpartition("event_for_people")[2].partition("WHEN (NEW.kind IN (")[2].partition("))")[0]
    healed = kind is EventKind.CONNECTION_HEALED  # it only hurries the look at what is over

    assert (f"'{kind}'" in trigger) == (bool(matters.matter(told(kind, step="ping"))) or healed)


@pytest.mark.parametrize("state", list(JobState))
@pytest.mark.parametrize("reason", [*FailureClass, ""])
def test_only_a_job_that_failed_and_not_for_its_order_is_told(state: JobState, reason: str) -> None:
    event = replace(PLAIN, job_state=state, reason_class=reason)

    assert bool(matters.matter(event)) == (state is JobState.FAILED and reason != FailureClass.INPUT)


@pytest.mark.parametrize("kind", [JobKind.RETEST, JobKind.QUARANTINE])
def test_who_asked_by_hand_waits_for_the_answer_and_nobody_else_is_told(kind: JobKind) -> None:
    by_hand = replace(PLAIN, job_kind=kind, by="cli anna")

    assert matters.matter(by_hand) == ""
    assert matters.matter(replace(by_hand, by="engine")) != ""


@every_language
@every_kind
def test_every_text_is_whole_and_says_what_to_do(kind: Kind, language: str) -> None:
    event, key = EXAMPLES[kind]

    said = matters.text(key, event, 40, SHIPPED[language])
    over = matters.all_clear(key, 40, SHIPPED[language])

    assert event.text in said
    assert "2026-01-02 03:04:05 UTC" in said
    assert "40" in said
    assert "40" in over
    assert "provisioner " in said
    assert not any(brace in said + over for brace in "{}")


def commands(language: str) -> Iterator[str]:
    for kind, (event, key) in EXAMPLES.items():
        for line in matters.text(key, event, 1, SHIPPED[language]).splitlines():
            _, found, command = line.rpartition("provisioner ")
            if found and not command.startswith("connection put"):
                yield pytest.param(command.strip("`.").split("`")[0], id=f"{language}, {kind}: {command}")  # type: ignore[misc]


@pytest.mark.parametrize("line", [one for language in SHIPPED for one in commands(language)])
def test_every_command_that_is_named_exists_and_takes_what_it_is_given(line: str) -> None:
    command: Any = typer.main.get_command(main.make())
    context = command.make_context("provisioner", [], resilient_parsing=True)
    words = shlex.split(line)
    while hasattr(command, "resolve_command"):
        _name, command, words = command.resolve_command(context, words)
        context = command.context_class(command, parent=context)

    command.make_context(command.name, list(words), parent=context.parent)


@every_language
@every_kind
def test_no_subject_can_break_a_header_or_grow_without_end(kind: Kind, language: str) -> None:
    event, key = EXAMPLES[kind]
    nasty = "x\r\nBcc: rival@example.net\x00{0}{server}" + "y" * 5000
    ill = replace(
        event, server=nasty, connection=nasty, quarantined={nasty: nasty} if event.quarantined else {}, by=nasty
    )

    subject = matters.subject(key, ill, SHIPPED[language])

    assert subject.isprintable()
    assert len(subject) <= matters.SUBJECT_MOST


def test_what_is_filled_in_is_data_and_no_template() -> None:
    event = replace(EXAMPLES[Kind.QUARANTINED][0], text="job {job} {0.__class__}", quarantined={"{order}": "{job}"})

    said = matters.text(EXAMPLES[Kind.QUARANTINED][1], event, 1, SHIPPED["en"])

    assert "job {job} {0.__class__}" in said
    assert "server {order}" in said


def test_a_reminder_is_said_in_the_language_of_now_and_once() -> None:
    event, key = EXAMPLES[Kind.PAUSED]
    english = matters.reminder(matters.text(key, event, 1, SHIPPED["en"]), AT, "en", SHIPPED)

    russian = matters.reminder(english, AT, "ru", SHIPPED)

    assert english.startswith("Still so, since 2026-01-02 03:04:05 UTC.\n\n")
    assert russian.startswith("Всё ещё не устранено; открыто 2026-01-02 03:04:05 UTC.\n\n")
    assert "Still so" not in russian
    assert event.text in russian


def test_a_language_of_a_newer_release_is_told_in_english() -> None:
    assert matters.wording(SHIPPED, "eo") is SHIPPED["en"]


def test_fields_are_those_that_are_filled_in() -> None:
    more = {name for fields in matters.MORE_FIELDS.values() for name in fields}

    assert set(matters._facts(PLAIN, 1, SHIPPED["en"].labels)) == {*matters.FIELDS, *more}

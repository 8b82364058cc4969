"""What ended long ago goes, in small commits; what a living claim stands on, and what answers rest on, stays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest

from provisioner.cli import main
from provisioner.cli.codes import Code
from provisioner.errors import Invalid
from provisioner.store.prune import PruneStore
from provisioner.usecases import life
from provisioner.usecases.life import Asking
from provisioner.usecases.prune import prune
from tests.site import Site

KEEP = timedelta(days=400)
TABLES = ("job", "attempt", "step", "event", "claim", "idempotency", "service", "quarantine", "address")


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    made = Site(database_url)
    for ref in ("101", "102", "103"):
        made.world.add_server(ref)
    made.connect()
    made.package()
    yield made
    made.database.close()


def opened(site: Site, ref: str) -> int:
    """Open a service under an idempotency key; give its job."""
    placed = site.order(ref)
    site.database.rows(
        "INSERT INTO idempotency (panel, key, fingerprint, service_id, job_id) VALUES ('panel', %(k)s, '{}', %(s)s, "
        "%(j)s)",
        k=f"key-{ref}",
        s=placed.service_id,
        j=placed.job_id,
    )
    site.run(site.ended(placed.job_id))
    assert site.job(placed.job_id)["state"] == "succeeded", site.trail()
    return placed.job_id


def closed(site: Site, ref: str) -> tuple[int, int]:
    """Open and close a service; give both jobs."""
    first = opened(site, ref)
    asking = Asking("panel", ref, "test", site.life, site.waker, site.policies)
    second = life.close(asking).job_id
    site.run(site.ended(second))
    assert site.job(second)["state"] == "succeeded", site.trail()
    return first, second


def age(site: Site, days: int = 500) -> None:
    """Let all that has happened be so long ago."""
    for table, columns in (
        ("job", ("created_at", "ended_at")),
        ("claim", ("created_at", "ended_at")),
        ("attempt", ("ended_at",)),
        ("event", ("at",)),
        ("idempotency", ("created_at",)),
    ):
        sets = ", ".join(f"{column} = {column} - interval '{days} days'" for column in columns)
        site.database.rows(f"UPDATE {table} SET {sets}")  # noqa: S608 - names of this file


def counts(site: Site) -> dict[str, int]:
    return {name: int(site.database.value(f"SELECT count(*) FROM {name}")) for name in TABLES}  # noqa: S608 - as above


def gone(site: Site, *, dry: bool = False, batch: int = 200) -> Mapping[str, int]:
    return prune(KEEP, dry=dry, pruner=PruneStore(site.database, batch=batch))


def test_a_closed_service_leaves_the_row_that_its_answer_rests_on(site: Site) -> None:
    _first, second = closed(site, "ord-1")
    before = counts(site)
    age(site)

    told = gone(site)

    assert site.database.rows("SELECT id FROM job") == [{"id": second}]
    after = counts(site)
    assert {name: count for name, count in after.items() if count} == {"job": 1, "service": 1}
    assert told["jobs"] == 1
    assert told["attempts"] == before["attempt"]
    assert told["steps"] == before["step"]
    assert told["events"] == before["event"]
    assert told["idempotency keys"] == 1
    again = site.order("ord-1")
    assert (again.job_id, again.created) == (second, False)


def test_nothing_of_a_living_claim_goes(site: Site) -> None:
    opened(site, "ord-1")
    before = counts(site)
    age(site)

    told = gone(site)

    assert {name: count for name, count in told.items() if count} == {}
    assert counts(site) == before


def test_a_young_job_stays_and_an_old_one_of_a_failed_service_goes(site: Site) -> None:
    failed = site.order("ord-1")
    site.database.rows(
        "UPDATE job SET state = 'failed', plan_at = NULL, ended_at = clock_timestamp() - interval '401 days'"
    )
    site.database.rows("UPDATE service SET state = 'failed'")
    young = site.order("ord-2")
    site.database.rows(
        "UPDATE job SET state = 'failed', plan_at = NULL, ended_at = clock_timestamp() - interval '399 days' "
        "WHERE id = %(id)s",
        id=young.job_id,
    )

    gone(site)

    assert [row["id"] for row in site.database.rows("SELECT id FROM job")] == [young.job_id]
    again = site.order("ord-1")
    assert again.created
    assert again.service_id == failed.service_id
    site.run(site.ended(again.job_id))
    assert site.job(again.job_id)["state"] == "succeeded"


def test_history_of_quarantine_stays_with_the_claims_that_it_names(site: Site) -> None:
    closed(site, "ord-1")
    claim = site.database.value("SELECT min(id) FROM claim")
    site.database.rows(
        "INSERT INTO quarantine (connection_id, server_ref, claim_id, reason, ended_at) "
        "VALUES (1, '101', %(claim)s, 'its disk', clock_timestamp() - interval '500 days')",
        claim=claim,
    )
    age(site)

    gone(site)

    assert site.database.value("SELECT claim_id FROM quarantine") == claim
    assert [row["id"] for row in site.database.rows("SELECT id FROM claim")] == [claim]


def test_a_dry_run_says_what_would_go_and_erases_nothing(site: Site) -> None:
    closed(site, "ord-1")
    age(site)
    before = counts(site)

    told = gone(site, dry=True)

    assert counts(site) == before
    really = gone(site)
    same = ("jobs", "attempts", "steps", "idempotency keys")
    assert {name: told[name] for name in same} == {name: really[name] for name in same}


@pytest.mark.parametrize("batch", [1, 2, 200])
def test_small_commits_come_to_the_same_and_a_second_run_finds_nothing(site: Site, batch: int) -> None:
    for ref in ("ord-1", "ord-2"):
        closed(site, ref)
    opened(site, "ord-3")
    age(site)

    gone(site, batch=batch)

    left = counts(site)
    assert (left["job"], left["attempt"], left["claim"]) == (3, 1, 1)
    again = gone(site, batch=batch)
    assert {name: count for name, count in again.items() if count} == {}
    assert counts(site) == left


def test_older_events_of_a_connection_go_too(site: Site) -> None:
    site.database.rows(
        "INSERT INTO event (connection_id, seq, kind, text, at) SELECT 1, n, 'connection_healed', 'back', "
        "clock_timestamp() - n * interval '100 days' FROM generate_series(1, 9) AS n"
    )

    told = gone(site, batch=2)

    assert told["events"] == 6
    assert site.database.value("SELECT count(*) FROM event") == 3


def test_a_job_that_somebody_is_at_work_on_is_left_for_the_next_time(site: Site) -> None:
    closed(site, "ord-1")
    age(site)
    with site.database.transaction() as session:
        session.rows("SELECT FROM job FOR UPDATE")
        other = Site(site.database.url)
        told = prune(KEEP, dry=False, pruner=PruneStore(other.database))
        other.database.close()

    assert told["jobs"] == 0
    assert gone(site)["jobs"] == 1


@pytest.mark.parametrize("days", [0, 1, 29])
def test_what_is_young_is_never_erased(site: Site, days: int) -> None:
    with pytest.raises(Invalid, match="at least 30 days"):
        prune(timedelta(days=days), dry=False, pruner=PruneStore(site.database))


def test_the_command_says_what_went(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    closed(site, "ord-1")
    age(site)
    monkeypatch.setenv("PROVISIONER_DATABASE_URL", site.database.url)
    monkeypatch.setenv("PROVISIONER_SECRET_KEY", site.key)

    def say(*words: str) -> tuple[int, str]:
        code = main.run(main.make(), ["db", "prune", *words])
        said = capsys.readouterr()
        return code, said.out + said.err

    assert say("--keep", "400d", "--dry-run")[0] == Code.OK
    assert counts(site)["job"] == 2
    code, text = say("--keep", "57w")
    assert (code, counts(site)["job"]) == (Code.OK, 1)
    assert "attempts" in text
    for wrong in ("400", "d", "4h", "-3d"):
        assert say(f"--keep={wrong}")[0] == Code.REFUSED


def plan(site: Site, sql: str, **values: Any) -> str:
    return "\n".join(next(iter(row.values())) for row in site.database.rows(f"EXPLAIN {sql}", **values))


def test_finding_the_next_old_jobs_uses_the_index_of_what_ended(site: Site) -> None:
    from provisioner.store import prune as store  # noqa: PLC0415 - its statement alone

    opened(site, "ord-1")
    site.database.rows(
        "INSERT INTO job (service_id, seq, kind, state, ended_at) SELECT 1, n, 'sync', 'succeeded', "
        "clock_timestamp() - n * interval '1 min' FROM generate_series(10, 20000) AS n"
    )
    site.database.rows("ANALYZE")
    before = PruneStore(site.database).older_than(timedelta(days=3))

    found = plan(site, store.JOBS, before=before, at=before - timedelta(days=1), id=0, limit=200)

    assert "job_ended" in found
    assert "Seq Scan on job" not in found

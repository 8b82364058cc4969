"""`/metrics`: six figures, each by one statement that reads nothing of what has ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from provisioner.store.database import Database
from provisioner.store.reads import fleet
from tests.served import Served, serve


@pytest.fixture
def api(database_url: str) -> Iterator[Served]:
    with serve(database_url) as served:
        yield served


def told(api: Served) -> dict[str, float]:
    """Read the figures as Prometheus does: name and labels → value."""
    answer = api.get("/metrics", who="viewer")
    assert answer.status == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found[" ".join([sample.name, *sample.labels.values()])] = sample.value
    return found


def test_an_empty_site_tells_noughts_and_no_tick(api: Served) -> None:
    found = told(api)

    assert {name: value for name, value in found.items() if value} == {}
    assert {"provisioner_jobs running", "provisioner_oldest_waiting_seconds stock"} <= found.keys()
    assert not [name for name in found if "tick" in name]


def test_the_figures_tell_what_is_so(api: Served) -> None:
    api.sell()
    api.tick()
    for ref in ("ord-1", "ord-2"):
        assert api.post("/v1/services", api.order(ref)).status == 202
    api.run(1, "stock")
    database = api.ports.database
    database.rows("UPDATE job SET waits_since = clock_timestamp() - interval '90 s' WHERE id = 2")
    database.rows(
        "INSERT INTO claim (connection_id, server_ref, state, note_token) VALUES (1, '7', 'quarantined', 't7'), "
        "(1, '8', 'quarantined', 't8'), (1, '9', 'ended', 't9')"
    )
    database.rows("UPDATE heartbeat SET at = at - interval '30 s' WHERE name = 'reconcile'")
    for denied in (False, False, True):
        api.ports.engine.trouble(1, denied=denied, reason="told so")

    found = told(api)

    assert found["provisioner_jobs queued"] == 2
    assert found["provisioner_jobs running"] == 0
    assert 90 <= found["provisioner_oldest_waiting_seconds stock"] < 100
    assert found["provisioner_quarantined_servers dc1"] == 2
    assert found["provisioner_connections dc1 paused"] == 1
    assert found["provisioner_connections dc1 active"] == 0
    assert found["provisioner_panel_call_errors_total dc1"] == 3
    assert 30 <= found["provisioner_last_tick_age_seconds"] < 40


def test_who_has_no_token_of_a_viewer_is_told_nothing(api: Served) -> None:
    assert api.get("/metrics", who="").status == 401
    assert api.get("/metrics", who="wrong").status == 401
    assert api.get("/metrics", who="billing").status == 403


def test_a_database_that_is_away_is_said_and_no_figure_is_made_up(api: Served) -> None:
    api.ports.database.rows("SELECT set_config('statement_timeout', '1', false)")
    api.ports.database.rows("ALTER TABLE claim RENAME TO claim_away")
    try:
        assert api.get("/metrics", who="viewer").status >= 500
    finally:
        api.ports.database.rows("ALTER TABLE claim_away RENAME TO claim")


FINISHED = """
INSERT INTO job (service_id, seq, kind, state, ended_at)
SELECT 1, n, 'sync', 'succeeded', clock_timestamp() - n * interval '1 min' FROM generate_series(10, 30000) AS n"""
ATTEMPTS = """
INSERT INTO attempt (job_id, n, connection_id, claim_id, state)
SELECT id, 1, 1, 1, 'ended' FROM job WHERE kind = 'sync'"""
CLAIMS = """
INSERT INTO claim (connection_id, server_ref, state, note_token)
SELECT 1, n::text, 'ended', 'token ' || n FROM generate_series(10, 30000) AS n"""


def scans(plan: Any) -> Iterator[str]:  # noqa: ANN401 - JSON
    if plan["Node Type"] == "Seq Scan":
        yield plan["Relation Name"]
    for part in plan.get("Plans", []):
        yield from scans(part)


@pytest.mark.parametrize("statement", ["WAITING", "JOBS", "QUARANTINED", "CONNECTIONS"])
def test_no_figure_reads_what_has_ended(database_url: str, statement: str) -> None:
    from tests.site import Site  # noqa: PLC0415 - the one test here that wants a site

    site = Site(database_url)
    site.world.add_server("101")
    site.connect()
    site.package()
    site.order()
    site.tick()
    database = Database(database_url)
    for sql in (FINISHED, CLAIMS, ATTEMPTS, "ANALYZE"):
        database.rows(sql)

    (row,) = database.rows(f"EXPLAIN (FORMAT JSON) {getattr(fleet, statement)}")
    plan = row["QUERY PLAN"]
    plan = json.loads(plan) if isinstance(plan, str) else plan

    assert [name for name in scans(plan[0]["Plan"]) if name in ("job", "attempt", "claim", "step", "event")] == []
    database.close()
    site.database.close()

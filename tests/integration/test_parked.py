"""1,000 installs wait: a tick costs one list call a connection, and no statement more than with ten."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from provisioner.domain.attempt import Awaits
from provisioner.drivers.fake import InstallEnd
from tests.site import SHORT, Site
from tests.statements import counted

CONNECTIONS = 2


def copied(table: str, which: str, **changed: str) -> str:
    pairs = ", ".join(f"'{column}', {value}" for column, value in changed.items())
    return (
        f"INSERT INTO {table} OVERRIDING SYSTEM VALUE "  # noqa: S608 - constants of this module
        f"SELECT (jsonb_populate_record(x, jsonb_build_object({pairs}))).* FROM {table} x WHERE {which}"
    )


NEW, JOB = "%(new)s::bigint", "(SELECT id FROM job WHERE service_id = %(old)s)"
ATTEMPT = f"(SELECT id FROM attempt WHERE job_id = {JOB})"  # noqa: S608 - constants of this module
#: a parked install, as the first one of its connection stands in the database, once more for another server
CLONE = (
    copied("service", "id = %(old)s", id=NEW, external_ref="'copy-' || %(new)s", claim_id="NULL"),
    copied(
        "claim", "service_id = %(old)s", id=NEW, service_id=NEW, server_ref="%(server)s::text",
        note_token="'token ' || %(new)s",
    ),
    copied("job", "service_id = %(old)s", id=NEW, service_id=NEW),
    copied("attempt", f"job_id = {JOB}", id=NEW, job_id=NEW, claim_id=NEW, seen_from="clock_timestamp()"),
    copied("step", f"attempt_id = {ATTEMPT}", attempt_id=NEW),
)  # fmt: skip


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    spans = replace(SHORT, observe_short=0.3, observe_long=0.3, view_age=60)
    made = Site(database_url, spans=spans, scale=0.5)
    quick = {name: replace(policy, backoff=timedelta(0), settle=timedelta(0)) for name, policy in made.policies.items()}
    made.policies, made.tools = quick, replace(made.tools, policies=quick)
    for n in range(CONNECTIONS):
        connection = made.connect(f"dc{n + 1}")
        made.package(f"small-{n + 1}", connections=(connection,))
    yield made
    made.database.close()


def hang(site: Site, ref: str) -> None:
    """Put up a server on which an install runs for ever."""
    server = site.world.add_server(ref)
    server.owner, server.installing = site.world.administrator.ref, True


def park(site: Site) -> None:
    """Let one install a connection wait, as it came there by itself."""
    for n in range(CONNECTIONS):
        site.world.add_server(f"first-{n}").install_ends = [InstallEnd.HANGS]
        site.order(f"first-{n}", package=f"small-{n + 1}")
    site.run(lambda: waiting(site) == CONNECTIONS)
    site.database.rows("UPDATE attempt SET resume_at = clock_timestamp() + interval '1 h'")


def park_more(site: Site, number: int) -> None:
    """Copy them until *number* wait in all, each on a server of its own."""
    new = range(waiting(site), number)
    for n in new:
        hang(site, f"copy-{n}")
    one_tick(site)  # a server that is new in the list wakes whom it concerns: nobody yet
    for n in new:
        with site.database.transaction() as session:
            for statement in CLONE:
                session.rows(statement, old=1 + n % CONNECTIONS, new=10_000 + n, server=f"copy-{n}")
    assert waiting(site) == number


def waiting(site: Site) -> int:
    found: int = site.database.value(
        "SELECT count(*) FROM attempt a JOIN step s ON s.attempt_id = a.id AND s.pos = a.pos "
        "WHERE a.state = 'waiting' AND s.name = 'install_os' "
        "AND s.memo -> 'seen' ->> 'up' = 'true' AND a.awaits = %(long)s",
        long=Awaits.LONG,
    )
    return found


def one_tick(site: Site) -> tuple[int, int]:
    """Tick once, with every list due; gives the statements, and the list calls."""
    site.database.rows("UPDATE connection SET observe_tried_at = '-infinity'")
    site.database.rows("UPDATE heartbeat SET at = '-infinity' WHERE name = 'reconcile'")
    before = len(site.world.calls("list_servers"))
    with counted() as count:
        site.tick()
    return len(count.statements), len(site.world.calls("list_servers")) - before


def test_a_thousand_parked_installs_cost_a_tick_no_call_and_no_statement_more_than_ten(site: Site) -> None:
    park(site)
    park_more(site, 10)
    one_tick(site)
    few = one_tick(site)
    park_more(site, 1000)
    one_tick(site)
    began = time.monotonic()
    many = one_tick(site)
    spent = time.monotonic() - began

    assert few == many
    assert many[1] == CONNECTIONS
    assert waiting(site) == 1000
    assert not site.waker.messages
    print(f"a tick: {many[0]} statements, {many[1]} list calls, {spent * 1000:.0f} ms")  # noqa: T201

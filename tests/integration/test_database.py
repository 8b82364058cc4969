"""How statements are run: what is a commit, what is prepared, and what becomes of a connection that was lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import psycopg2
import pytest
from sqlalchemy.exc import IntegrityError

from provisioner.errors import Overloaded
from provisioner.store.database import Database, hot
from tests.statements import counted

BEAT = hot("beat", "INSERT INTO heartbeat (name, at) VALUES (%(name)s, now()) RETURNING name, data")
NAMES = "SELECT name FROM heartbeat ORDER BY name"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    made = Database(database_url)
    yield made
    made.close()


@pytest.fixture
def hand(database_url: str) -> Iterator[psycopg2.extensions.cursor]:
    """Give a connection of somebody else's."""
    connection = psycopg2.connect(database_url.replace("+psycopg2", ""))
    connection.autocommit = True
    yield connection.cursor()
    connection.close()


def names(hand: psycopg2.extensions.cursor) -> list[str]:
    hand.execute(NAMES)
    return [name for (name,) in hand.fetchall()]


def kill(database: Database, hand: psycopg2.extensions.cursor) -> None:
    """End the connection that *database* has, as a restart would."""
    hand.execute("SELECT pg_terminate_backend(%s, 5000)", (database.value("SELECT pg_backend_pid()"),))


def both(database: Database, first: str, second: str, between: Callable[[], object] = lambda: None) -> None:
    """Write two names in one transaction."""
    with database.transaction() as session:
        session.rows(BEAT, name=first)
        between()
        session.rows(BEAT, name=second)


def test_a_statement_is_a_commit_and_a_transaction_is_all_or_nothing(
    database: Database, hand: psycopg2.extensions.cursor
) -> None:
    with database.once() as session:
        session.rows(BEAT, name="a")
        assert names(hand) == ["a"]
    with database.transaction() as session:
        session.rows(BEAT, name="b")
        assert names(hand) == ["a"]
    with suppress(ZeroDivisionError), database.transaction() as session:
        session.rows(BEAT, name="c")
        raise ZeroDivisionError
    with pytest.raises(IntegrityError):
        both(database, "d", "a")
    database.rows(BEAT, name="e")

    assert names(hand) == ["a", "b", "e"]


def test_a_hot_statement_is_prepared_once_a_connection_and_anew_on_the_next(
    database: Database, hand: psycopg2.extensions.cursor
) -> None:
    with counted() as first:
        database.rows(BEAT, name="a")
        with database.transaction() as session:
            session.rows(BEAT, name="b")
    kill(database, hand)
    with pytest.raises(Overloaded):
        database.rows(BEAT, name="lost")
    with counted() as then:
        database.rows(BEAT, name="c")

    assert [text.split()[0] for text in first.statements] == ["PREPARE", "EXECUTE", "EXECUTE"]
    assert [text.split()[0] for text in then.statements] == ["PREPARE", "EXECUTE"]
    assert names(hand) == ["a", "b", "c"]


def test_a_connection_that_is_lost_in_a_transaction_leaves_nothing(
    database: Database, hand: psycopg2.extensions.cursor
) -> None:
    pid = database.value("SELECT pg_backend_pid()")

    with pytest.raises(Overloaded):
        both(database, "a", "b", lambda: hand.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,)))
    database.rows(BEAT, name="c")

    assert names(hand) == ["c"]


def test_one_lost_connection_takes_the_idle_ones_with_it(database_url: str, hand: psycopg2.extensions.cursor) -> None:
    database = Database(database_url, pool_size=3)
    with database.once() as one, database.once() as two, database.once() as three:
        pids = [session.value("SELECT pg_backend_pid()") for session in (one, two, three)]
    for pid in pids:
        hand.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))

    with pytest.raises(Overloaded):
        database.rows(NAMES)

    assert [database.rows(NAMES) for _ in pids] == [[], [], []]
    database.close()


def test_a_migration_under_a_prepared_statement_costs_one_refusal(
    database: Database, hand: psycopg2.extensions.cursor
) -> None:
    look = hot("look", "SELECT * FROM heartbeat WHERE name = %(name)s")
    assert database.rows(look, name="a") == []
    hand.execute("ALTER TABLE heartbeat ADD more int")

    with pytest.raises(Overloaded):
        database.rows(look, name="a")

    assert database.rows(look, name="a") == []


def test_a_connection_that_can_not_write_is_refused_in_so_many_words_and_never_used_again(
    database: Database, hand: psycopg2.extensions.cursor
) -> None:
    database.rows("SET default_transaction_read_only = on")

    with pytest.raises(Overloaded, match="the database is read-only"):
        database.rows(BEAT, name="a")
    database.rows(BEAT, name="b")

    assert names(hand) == ["b"]


def test_an_error_says_the_statement_and_not_its_parameters(database: Database) -> None:
    with pytest.raises(IntegrityError) as caught:
        database.rows("INSERT INTO heartbeat (name, at, data) VALUES (%(n)s, NULL, %(d)s)", n="a", d='{"x": "y"}')

    assert "INSERT INTO heartbeat" in str(caught.value)
    assert "parameters" not in str(caught.value)

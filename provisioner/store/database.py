"""One way to PostgreSQL: constant SQL text, one statement a commit, or a transaction that is marked as open."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast

import psycopg2
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import PoolProxiedConnection

from provisioner.domain import touch
from provisioner.errors import Overloaded

Row = Mapping[str, Any]
READ_ONLY = "25006"
PLANNED_BEFORE = "0A000"  #: a migration changed what a prepared statement selects
#: disk full, memory, too many connections, shutting down, a lock or a statement that took too long
NOT_NOW = ("53100", "53200", "53300", "57P03", "57P01", "57P02", "55P03", "57014")


def as_json(value: object) -> str:
    """Give *value* as JSON text; instants and enumerations as their text."""
    return json.dumps(value, default=str, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Hot:
    """
    A statement that is planned once a connection: PostgreSQL plans a big one longer than it runs it.

    Behind a pooler it needs session pooling: what was prepared stays with the connection.
    """

    name: str
    prepare: str
    execute: str


Sql = str | Hot
_PARAMETER = re.compile(r"%\((\w+)\)s")


def hot(name: str, sql: str, **types: str) -> Hot:
    """Make *sql*, with `%(name)s` parameters, a hot statement; *types* of those that are no text."""
    names = list(dict.fromkeys(_PARAMETER.findall(sql)))
    body = _PARAMETER.sub(lambda match: f"${names.index(match[1]) + 1}", sql)
    return Hot(
        name,
        f"PREPARE {name} ({', '.join(types.get(one, 'text') for one in names)}) AS {body}",
        f"EXECUTE {name} ({', '.join(f'%({one})s' for one in names)})",
    )


class Session:
    """
    Runs statements on one connection of the client library's own; rows come as mappings.

    SQLAlchemy lends the connection and names the errors: what it does for a statement costs more than the statement.
    """

    def __init__(self, connection: PoolProxiedConnection, dialect: Dialect) -> None:
        """Use *connection*, in which each statement is its own commit until `whole`."""
        self._connection, self._dialect = connection, dialect

    def rows(self, sql: Sql, /, **values: object) -> list[Row]:
        """Run *sql* and give all its rows."""
        return self._run(sql if isinstance(sql, str) else self._prepared(sql), values)

    def row(self, sql: Sql, /, **values: object) -> Row | None:
        """Run *sql* and give its first row, None without one."""
        found = self.rows(sql, **values)
        return found[0] if found else None

    def value(self, sql: Sql, /, **values: object) -> Any:  # noqa: ANN401 - whatever the statement selects
        """Run *sql* and give the first value of its first row, None without one."""
        found = self.row(sql, **values)
        return next(iter(found.values())) if found else None

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Commit what is run inside at the end, all or nothing."""
        driver: Any = self._connection.dbapi_connection
        driver.autocommit = False
        try:
            yield
            with self._explained("COMMIT"):
                driver.commit()
        except BaseException:
            if self._connection.is_valid:
                with suppress(DBAPIError), self._explained("ROLLBACK"):
                    driver.rollback()
            raise
        finally:
            if self._connection.is_valid:
                driver.autocommit = True

    def _run(self, text: str, values: Mapping[str, object]) -> list[Row]:
        cursor: Any = self._connection.cursor()  # its type here knows no statement without rows
        try:
            with self._explained(text):
                cursor.execute(text, values)
                if cursor.description is None:
                    return []
                names = [column[0] for column in cursor.description]
                return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        finally:
            cursor.close()

    def _prepared(self, sql: Hot) -> str:
        """Give what runs *sql* on this connection, planned before."""
        known = self._connection.info.setdefault("prepared", set())
        if sql.name not in known:
            self._run(sql.prepare, {})
            known.add(sql.name)
        return sql.execute

    @contextmanager
    def _explained(self, text: str) -> Iterator[None]:
        """Name the driver's errors; never use a connection again that was lost."""
        try:
            yield
        except psycopg2.Error as error:
            lost = _is_lost(error, self._connection, self._dialect)
            if lost:
                self._connection.invalidate(error)
            raise _named(text, error, self._dialect, lost=lost) from error


def _is_lost(error: psycopg2.Error, connection: PoolProxiedConnection, dialect: Dialect) -> bool:
    """
    Say that a connection is lost, can't write, or planned its statements before a migration.

    A standby that is promoted keeps its connections, unseen by `greet`.
    """
    return connection.is_valid and (
        error.pgcode in (READ_ONLY, PLANNED_BEFORE)
        or dialect.is_disconnect(cast("Any", error), connection.dbapi_connection, None)
    )


def _named(text: str, error: psycopg2.Error, dialect: Dialect, *, lost: bool) -> BaseException:
    """Give a driver's error as SQLAlchemy calls it; its text says the statement and not its parameters."""
    return DBAPIError.instance(
        text, None, error, psycopg2.Error, hide_parameters=True, connection_invalidated=lost, dialect=dialect
    )


class Database:
    """A pool of connections. `once` commits each statement; `transaction` commits at its end."""

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 1,
        application: str = "provisioner",
        greet: Callable[[Any], None] | None = None,
    ) -> None:
        """Connect lazily; *pool_size* connections at most, each seen by *greet* before anything is asked of it."""
        options = "-c statement_timeout=5000 -c lock_timeout=5000 -c timezone=UTC"
        self.url = url
        self.engine: Engine = create_engine(
            url,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=5,
            pool_reset_on_return=None,
            isolation_level="AUTOCOMMIT",
            connect_args={"connect_timeout": 3, "options": options, "application_name": application},
        )
        if greet is not None:
            event.listen(self.engine, "connect", lambda connection, _record: greet(connection))

    def forget(self) -> None:
        """Drop the connections inherited over a fork without closing the parent's."""
        self.engine.dispose(close=False)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def once(self) -> Iterator[Session]:
        """Give a session in which each statement is its own commit."""
        with _translated(), self._lent() as session:
            yield session

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Give a session that commits at the end, all or nothing; the outside may not be called inside."""
        with _translated(), touch.transaction(), self._lent() as session, session.whole():
            yield session

    @contextmanager
    def _lent(self) -> Iterator[Session]:
        """Give a connection of the pool, back at the end; one that was lost takes the idle ones with it."""
        dialect = self.engine.dialect
        try:
            connection = self.engine.raw_connection()
        except psycopg2.Error as error:
            raise _named("CONNECT", error, dialect, lost=False) from error
        try:
            yield Session(connection, dialect)
        except BaseException as error:
            if connection.is_valid and not isinstance(error, Exception):  # we were told to exit in mid-statement
                connection.invalidate(error)
            raise
        finally:
            if connection.is_valid:
                connection.close()
            else:
                self.engine.dispose()

    def rows(self, sql: Sql, /, **values: object) -> list[Row]:
        """Run one statement and commit."""
        with self.once() as session:
            return session.rows(sql, **values)

    def row(self, sql: Sql, /, **values: object) -> Row | None:
        """Run one statement, commit, give the first row."""
        with self.once() as session:
            return session.row(sql, **values)

    def value(self, sql: Sql, /, **values: object) -> Any:  # noqa: ANN401 - whatever the statement selects
        """Run one statement, commit, give the first value."""
        with self.once() as session:
            return session.value(sql, **values)


@contextmanager
def _translated() -> Iterator[None]:
    """Turn "the database can't now" into `Overloaded`; bugs of ours stay what they are."""
    try:
        yield
    except PoolTimeout:
        raise Overloaded("all database connections of this process are busy") from None
    except DBAPIError as error:
        code = getattr(error.orig, "pgcode", None)
        if error.connection_invalidated or code in NOT_NOW or code == READ_ONLY or code is None:
            if code == READ_ONLY:  # a standby, or a primary that was demoted: never use this connection again
                raise Overloaded("the database is read-only") from None
            raise Overloaded(f"the database can't take it now ({code or type(error.orig).__name__})") from None
        raise

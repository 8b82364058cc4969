"""One way to PostgreSQL: constant SQL text, one statement a commit, or a transaction that is marked as open."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

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
    """Runs statements on one connection; rows come as mappings."""

    def __init__(self, connection: Connection) -> None:
        """Use *connection*."""
        self._connection = connection

    def rows(self, sql: Sql, /, **values: object) -> list[Row]:
        """Run *sql* and give all its rows."""
        found = self._connection.exec_driver_sql(self._prepared(sql), values)
        return [cast("Row", row._mapping) for row in found] if found.returns_rows else []  # noqa: SLF001 - its public name

    def _prepared(self, sql: Sql) -> str:
        """Give what runs *sql* on this connection, planned before where it is hot."""
        if isinstance(sql, str):
            return sql
        known = self._connection.info.setdefault("prepared", set())
        if sql.name not in known:
            self._connection.exec_driver_sql(sql.prepare)
            known.add(sql.name)
        return sql.execute

    def row(self, sql: Sql, /, **values: object) -> Row | None:
        """Run *sql* and give its first row, None without one."""
        found = self.rows(sql, **values)
        return found[0] if found else None

    def value(self, sql: Sql, /, **values: object) -> Any:  # noqa: ANN401 - whatever the statement selects
        """Run *sql* and give the first value of its first row, None without one."""
        found = self.row(sql, **values)
        return next(iter(found.values())) if found else None


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
            connect_args={"connect_timeout": 3, "options": options, "application_name": application},
        )
        event.listen(self.engine, "handle_error", _drop)
        if greet is not None:
            event.listen(self.engine, "connect", lambda connection, _record: greet(connection))
        self._autocommit = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    def forget(self) -> None:
        """Drop the connections inherited over a fork without closing the parent's."""
        self.engine.dispose(close=False)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def once(self) -> Iterator[Session]:
        """Give a session in which each statement is its own commit."""
        with _translated(), self._autocommit.connect() as connection:
            yield Session(connection)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Give a session that commits at the end, all or nothing; the outside may not be called inside."""
        with _translated(), touch.transaction(), self.engine.begin() as connection:
            yield Session(connection)

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


def _drop(context: ExceptionContext) -> None:
    """
    Never use a connection again that can't write, or that planned its statements before a migration.

    A standby that is promoted keeps its connections, unseen by `greet`.
    """
    if getattr(context.original_exception, "pgcode", None) in (READ_ONLY, PLANNED_BEFORE):
        context.is_disconnect = True


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

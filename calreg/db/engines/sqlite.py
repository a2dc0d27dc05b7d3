"""SQLite through the standard library's driver."""

from __future__ import annotations

import re
import sqlite3
import time
from contextlib import contextmanager
from pathlib import Path
from threading import Condition
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from calreg.db.engines.base import Access, Dialect, busy_message
from calreg.db.engines.guards import SQLITE_GUARDS
from calreg.db.engines.types import ColumnKind
from calreg.errors import (
    ConflictError,
    DatabaseBusyError,
    DatabaseError,
    DatabaseUnreachableError,
    InvalidValueError,
    SchemaForeignError,
    SchemaUninitialisedError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from calreg.db.engines.base import ArrowCursor
    from calreg.db.engines.columns import TableColumn

_POLL_MS = 250
"""How long one try for a lock blocks, so that Ctrl-C is answered while we wait."""

_MAX_PARAMETERS = 999
"""Parameters of a statement that every SQLite takes (32766 since 3.32, for no more speed)."""

_BATCH_STATEMENTS = 8
"""Statements whose rows are Python objects at one time; more fall out of the CPU's cache."""


class _SqliteFileGuard:
    """Keep this process's two copies of SQLite off one file at the same time.

    ADBC's driver carries its own SQLite. Two copies in one process do not see each other's POSIX
    locks, and closing a file in one drops the locks of the other
    (https://www.sqlite.org/howtocorrupt.html, section 2.2.1). So ADBC opens a file only while no
    connection of ours to it is open, and ours wait while ADBC reads.
    """

    def __init__(self) -> None:
        self._condition = Condition()
        self._n_open: dict[str, int] = {}
        self._in_adbc: set[str] = set()

    def opened(self, path: str) -> None:
        """Count a connection that is about to open."""
        with self._condition:
            self._condition.wait_for(lambda: path not in self._in_adbc)
            self._n_open[path] = self._n_open.get(path, 0) + 1

    def closed(self, path: str) -> None:
        """Count a connection that was closed."""
        with self._condition:
            self._n_open[path] -= 1

    @contextmanager
    def exclusive(self, path: str) -> Iterator[bool]:
        """Keep our connections out; False if one is open already."""
        with self._condition:
            is_free = not self._n_open.get(path) and path not in self._in_adbc
            if is_free:
                self._in_adbc.add(path)
        try:
            yield is_free
        finally:
            if is_free:
                with self._condition:
                    self._in_adbc.discard(path)
                    self._condition.notify_all()


_FILE_GUARD = _SqliteFileGuard()


class _GuardedConnection(sqlite3.Connection):
    """A connection that `_SqliteFileGuard` knows of while it is open."""

    def __init__(self, database: str, *args: Any, **kwargs: Any) -> None:
        self._guarded: str | None = None
        path = database.partition("?")[0]
        _FILE_GUARD.opened(path)
        try:
            super().__init__(database, *args, **kwargs)
        except BaseException:
            _FILE_GUARD.closed(path)
            raise
        self._guarded = path

    def close(self) -> None:
        """Close, then count as closed."""
        super().close()
        if self._guarded is not None:
            _FILE_GUARD.closed(self._guarded)
            self._guarded = None


class SqliteDialect(Dialect):
    """The verbs on SQLite."""

    label = "SQLite"
    driver_errors = (sqlite3.Error,)
    guards = SQLITE_GUARDS

    def normalise(self, url: sa.URL) -> sa.URL:
        """Make the path absolute, so that a later change of directory does not matter."""
        if not url.database or url.database == ":memory:" or url.query:
            msg = (
                f"{url.render_as_string()!r} cannot hold a registry: expected the path of a file "
                "and no options (a database in memory is gone when the command ends)"
            )
            raise InvalidValueError(msg)
        path = Path(url.database).expanduser().absolute()
        return url.set(database=str(path))

    def create_engine(self, url: sa.URL, access: Access) -> sa.Engine:
        """Return an engine that opens the file for each transaction and closes it afterwards.

        Nothing is pooled: opening takes well under a millisecond, the last one out folds the
        write-ahead log back so that an idle registry is one file, and `_SqliteFileGuard` can tell
        when the file is free.
        """
        path = str(url.database)
        mode = {Access.READ: "ro", Access.WRITE: "rw", Access.CREATE: "rwc"}[access]

        def connect() -> sqlite3.Connection:
            connection = sqlite3.connect(
                f"{Path(path).as_uri()}?mode={mode}",
                uri=True,
                # The driver's own BEGIN comes late (not before SELECT or DDL); we send ours.
                isolation_level=None,
                check_same_thread=False,
                factory=_GuardedConnection,
            )
            for pragma in (
                f"busy_timeout={_POLL_MS}",
                "foreign_keys=ON",  # Off by default, and set per connection.
                "synchronous=FULL",  # What was reported as done survives a power cut.
                "cache_size=-65536",  # KiB: indexes are filled at random, and 2 MiB thrash.
                "trusted_schema=OFF",  # A registry from elsewhere runs no code of its own.
            ):
                connection.execute(f"PRAGMA {pragma}")
            return connection

        return sa.create_engine(url, creator=connect, poolclass=NullPool)

    def require_exists(self, url: sa.URL, command: str) -> None:
        """Raise for a missing file, which SQLite would make without a word."""
        path = Path(str(url.database))
        if path.is_dir():
            msg = f"{path} is a folder: expected a SQLite file; name one with --db"
            raise DatabaseUnreachableError(msg)
        if not path.exists():
            msg = f"there is no database {path}: create it with `{command}`, or name one with --db"
            raise SchemaUninitialisedError(msg)

    def begin_read(self, connection: sa.Connection) -> None:
        """Open a transaction; its first SELECT fixes what it sees."""
        connection.exec_driver_sql("PRAGMA query_only=ON")
        connection.exec_driver_sql("BEGIN")

    def begin_write(self, connection: sa.Connection, wait_s: float) -> None:
        """Take the write lock at once: an upgrade from a read lock later could only fail."""
        _patiently(connection, "BEGIN IMMEDIATE", wait_s)

    @contextmanager
    def migrating(self, connection: sa.Connection, wait_s: float) -> Iterator[None]:
        """Switch to the write-ahead log, and foreign keys off while tables are rebuilt.

        Rebuilding a parent table with foreign keys on empties its ON DELETE CASCADE children, and
        the pragma has no effect inside a transaction.
        """
        # Readers and one writer do not block each other. The mode is kept in the file; a network
        # file system without shared memory stays in its old mode, which works too.
        _patiently(connection, "PRAGMA journal_mode=WAL", wait_s)
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        connection.commit()
        yield
        connection.exec_driver_sql("PRAGMA foreign_keys=ON")
        connection.commit()

    def check_foreign_keys(self, connection: sa.Connection) -> None:
        """Raise for rows without parent, as SQLite would have with foreign keys on."""
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
        if broken is not None:
            msg = f"the migration leaves rows of {broken[0]} without their row of {broken[2]}"
            raise DatabaseError(msg)

    def explain(self, error: BaseException, shown_url: str) -> DatabaseError | ConflictError:
        """Tell errors apart by SQLite's result code."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        text = " ".join(str(error).split())
        if isinstance(error, sqlite3.IntegrityError):
            return ConflictError(f"{shown_url}: {text}: the rows contradict the registry's rules")
        if _is_busy(error):
            return DatabaseBusyError(busy_message(shown_url))
        if code == sqlite3.SQLITE_NOTADB:
            return SchemaForeignError(
                f"{shown_url} is not a SQLite database: expected a registry; name one with --db"
            )
        if code == sqlite3.SQLITE_CANTOPEN:
            return DatabaseUnreachableError(
                f"{shown_url} cannot be opened ({text}): check that its folder exists and may be "
                "written"
            )
        if code == sqlite3.SQLITE_CORRUPT:
            return DatabaseError(f"{shown_url} is damaged ({text}): restore it from a copy")
        return DatabaseError(f"{shown_url}: {text}")

    def insert(
        self, connection: sa.Connection, table: sa.Table, columns: Sequence[TableColumn]
    ) -> None:
        """Insert with the driver's executemany, many rows to a statement.

        That is five times as fast as SQLAlchemy's bulk insert, and a third faster than a row to a
        statement: each statement has a fixed cost.
        """
        quote = connection.dialect.identifier_preparer.quote
        names = ", ".join(quote(column.name) for column in columns)
        insert = f"INSERT INTO {quote(table.name)} ({names}) VALUES "  # noqa: S608  # names, no values
        row = f"({', '.join('?' * len(columns))})"
        n_statement = max(1, _MAX_PARAMETERS // len(columns))
        n_batch = n_statement * _BATCH_STATEMENTS
        n_columns = len(columns)
        cursor = connection.connection.cursor()
        try:
            for start in range(0, columns[0].n_rows, n_batch):
                n_rows = min(n_batch, columns[0].n_rows - start)
                values: list[object] = [None] * (n_rows * n_columns)
                for index, column in enumerate(columns):
                    values[index::n_columns] = _sqlite_objects(column, slice(start, start + n_rows))
                n_whole = n_rows // n_statement * n_statement
                whole = _split(values[: n_whole * n_columns], n_statement * n_columns)
                rest = _split(values[n_whole * n_columns :], n_columns)
                cursor.executemany(insert + ", ".join([row] * n_statement), whole)
                cursor.executemany(insert + row, rest)
        finally:
            cursor.close()

    def reserve_ids(self, connection: sa.Connection, table: sa.Table, n_ids: int) -> Sequence[int]:
        """Count on from the highest id; the transaction holds the write lock."""
        last = connection.execute(sa.select(sa.func.max(table.c.id))).scalar() or 0
        return range(last + 1, last + n_ids + 1)

    def integer_list(self, values: Sequence[int]) -> sa.Select[tuple[int]]:
        """Read the integers from one JSON parameter: parameters are limited to 32766."""
        rows = sa.func.json_each(str(list(values))).table_valued(sa.column("value", sa.Integer))
        return sa.select(rows.c.value)

    @contextmanager
    def arrow_cursor(self, url: sa.URL) -> Iterator[ArrowCursor | None]:
        """Yield a cursor while no connection of ours is open; see `_SqliteFileGuard`."""
        try:
            from adbc_driver_sqlite import dbapi
        except ImportError:
            yield None
            return
        uri = Path(str(url.database)).as_uri()
        with _FILE_GUARD.exclusive(uri) as is_free:
            if not is_free:
                yield None
                return
            with dbapi.connect(f"{uri}?mode=ro") as connection, connection.cursor() as cursor:
                # Types are taken from the first batch, so let that be all: a column that begins
                # with NULLs would pass for integers.
                everything = {"adbc.sqlite.query.batch_rows": str(2**30)}
                cursor.adbc_statement.set_options(**everything)
                yield cursor

    def made_as(self, connection: sa.Connection, metadata: sa.MetaData) -> bool:
        """Compare the statements that SQLite keeps; the order of constraints means nothing."""
        statement = "SELECT sql FROM sqlite_master WHERE type IN ('table', 'index')"
        found = {_words(text) for text in connection.exec_driver_sql(statement).scalars() if text}
        made: list[sa.schema.DDLElement] = [
            *map(sa.schema.CreateTable, metadata.sorted_tables),
            *(sa.schema.CreateIndex(i) for t in metadata.sorted_tables for i in t.indexes),
        ]
        expected = {_words(str(one.compile(dialect=connection.dialect))) for one in made}
        # What else there is (the table of the revision) is one table without an index.
        return expected <= found and len(found - expected) == 1

    def guard_names(self, connection: sa.Connection) -> set[str]:
        """Return the names of triggers."""
        statement = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        return set(connection.exec_driver_sql(statement).scalars())

    def integrity_problems(self, connection: sa.Connection) -> list[str]:
        """Run integrity_check, which covers pages, indexes, NOT NULL and CHECKs."""
        rows = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
        return [str(row) for row in rows if row != "ok"]

    def version(self, connection: sa.Connection) -> str:
        """Return for example ``SQLite 3.40.1``."""
        return f"{self.label} {connection.exec_driver_sql('SELECT sqlite_version()').scalar()}"

    def size_bytes(self, connection: sa.Connection) -> int:
        """Return pages times page size; what is still in the write-ahead log counts too."""
        n_pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        return int(n_pages) * int(connection.exec_driver_sql("PRAGMA page_size").scalar_one())


def _words(statement: str) -> tuple[str, ...]:
    """Return a CREATE statement without its white space, its constraints in order."""
    head, *constraints = " ".join(statement.split()).split(", CONSTRAINT ")
    end = re.search(r" ?\)( WITHOUT ROWID)?$", (constraints or [head])[-1])
    tail = "" if end is None else end[0].strip()
    return (head, tail, *sorted(part.removesuffix(end[0]) if end else part for part in constraints))


def _sqlite_objects(column: TableColumn, batch: slice) -> list[object]:
    """Return a batch of values as the driver binds them; it binds NaN as NULL."""
    import numpy as np

    values = column.values[batch]
    if column.kind is ColumnKind.TIME:
        # Text as SQLAlchemy writes and reads it: a space in the middle, six decimals.
        texts = np.datetime_as_string(values, unit="us").astype(np.object_)
        values = np.array([text.replace("T", " ") for text in texts], dtype=np.object_)
    if column.is_null is not None and column.kind is not ColumnKind.FLOAT:
        values = values.astype(np.object_)
        values[column.is_null[batch]] = None
    return list(values.tolist())


def _split(values: list[object], n_each: int) -> list[list[object]]:
    """Cut a list into lists of equal length."""
    return [values[start : start + n_each] for start in range(0, len(values), n_each)]


def _patiently(connection: sa.Connection, statement: str, wait_s: float) -> None:
    """Run a statement that wants a lock, in short tries, so that Ctrl-C is answered."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            connection.exec_driver_sql(statement)
        except sa.exc.OperationalError as error:
            if not _is_busy(error.orig) or time.monotonic() >= deadline:
                raise
        else:
            return


def _is_busy(error: BaseException | None) -> bool:
    """Tell whether another connection holds a lock that we need."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)

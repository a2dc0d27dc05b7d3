"""What calreg asks of a database engine; one class per engine answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import contextmanager
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    import pyarrow as pa
    import sqlalchemy as sa

    from calreg.db.engines.columns import TableColumn
    from calreg.errors import ConflictError, DatabaseError


class Access(Enum):
    """What an engine may do to a database."""

    READ = auto()
    WRITE = auto()
    CREATE = auto()


class ArrowCursor(Protocol):
    """The part of an ADBC cursor that `calreg.db.bulk` uses."""

    def execute(self, operation: str) -> object:
        """Run a statement."""

    def fetch_arrow_table(self) -> pa.Table:
        """Return the whole result."""


class Dialect(ABC):
    """One database engine."""

    label: str
    driver_errors: tuple[type[Exception], ...]
    guards: Mapping[str, str]
    """Rules in the engine's own words: name of the constraint or trigger -> statement."""

    @abstractmethod
    def normalise(self, url: sa.URL) -> sa.URL:
        """Return the URL with our driver and an absolute path; refuse what cannot work."""

    @abstractmethod
    def create_engine(self, url: sa.URL, access: Access) -> sa.Engine:
        """Return an engine whose connections obey calreg's rules."""

    @abstractmethod
    def require_exists(self, url: sa.URL, command: str) -> None:
        """Raise if opening the URL would make a new database."""

    @abstractmethod
    def begin_read(self, connection: sa.Connection) -> None:
        """Open a transaction that sees one consistent state and cannot write."""

    @abstractmethod
    def begin_write(self, connection: sa.Connection, wait_s: float) -> None:
        """Open the one write transaction; wait for another writer up to `wait_s` seconds."""

    @contextmanager
    def migrating(self, connection: sa.Connection, wait_s: float) -> Iterator[None]:
        """Prepare a connection, outside any transaction, for changes of the schema."""
        del connection, wait_s
        yield

    def check_foreign_keys(self, connection: sa.Connection) -> None:
        """Raise if a migration left dangling rows; needed where foreign keys were off meanwhile."""
        del connection

    @abstractmethod
    def explain(self, error: BaseException, shown_url: str) -> DatabaseError | ConflictError:
        """Return calreg's error for a driver's."""

    @abstractmethod
    def insert(
        self, connection: sa.Connection, table: sa.Table, columns: Sequence[TableColumn]
    ) -> None:
        """Insert columns inside the connection's transaction, by the fastest way of the driver."""

    @abstractmethod
    def reserve_ids(self, connection: sa.Connection, table: sa.Table, n_ids: int) -> Sequence[int]:
        """Return ids that no row of the table has or will be given."""

    @abstractmethod
    def integer_list(self, values: Sequence[int]) -> sa.Select[tuple[int]]:
        """Return a SELECT of the integers in one column ``value``, for joins of any length."""

    @abstractmethod
    def arrow_cursor(self, url: sa.URL) -> AbstractContextManager[ArrowCursor | None]:
        """Yield an ADBC cursor on a connection of its own, None where that is not to be had."""

    def literal_sql(
        self, statement: sa.Select[*tuple[object, ...]], dialect: sa.engine.Dialect
    ) -> str:
        """Return a statement as text with its parameters written out."""
        return str(statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))

    def made_as(self, connection: sa.Connection, metadata: sa.MetaData) -> bool:
        """Return whether the tables are, word for word, what the metadata would make.

        False where the words differ, and where the engine does not keep them.
        """
        del connection, metadata
        return False

    @abstractmethod
    def guard_names(self, connection: sa.Connection) -> set[str]:
        """Return the names of the constraints and triggers that a database has."""

    @abstractmethod
    def integrity_problems(self, connection: sa.Connection) -> list[str]:
        """Return the complaints of the engine's own checks."""

    @abstractmethod
    def version(self, connection: sa.Connection) -> str:
        """Return name and version of the engine."""

    @abstractmethod
    def size_bytes(self, connection: sa.Connection) -> int:
        """Return the size of the database [byte]."""


def busy_message(shown_url: str) -> str:
    """Return the remedy for a write lock that cannot be had."""
    return (
        f"{shown_url} is being written by another calreg process: nothing was changed; "
        "wait for it to end and run the command again"
    )

"""Open a registry: transactions, the revision of its schema, and migrations."""

from __future__ import annotations

import os
import shlex
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Self

import sqlalchemy as sa
from sqlalchemy import Connection

import calreg
from calreg.db.engines.base import Access, ArrowCursor
from calreg.db.engines.choose import DEFAULT_URL, dialect_for, dialect_of, parse_url, shown_url
from calreg.errors import (
    CalregError,
    ConflictError,
    DatabaseError,
    SchemaForeignError,
    SchemaNewerError,
    SchemaOutdatedError,
    SchemaUninitialisedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from alembic.runtime.migration import MigrationInfo

    from calreg.instruments import Instrument

VERSION_TABLE = "calreg_version"
"""Where Alembic keeps the revision; by this name a registry is told from other databases."""

WRITE_WAIT_S = 600.0
"""How long a writer waits for another one by default [s]."""


class SchemaStatus(StrEnum):
    """How a database's schema stands to this version of calreg."""

    CURRENT = "current"
    UNINITIALISED = "uninitialised"
    OUTDATED = "outdated"
    NEWER = "newer"
    FOREIGN = "foreign"


@dataclass(frozen=True)
class SchemaState:
    """Revision of a database.

    Attributes
    ----------
    current : str or None
        Revision of the database, None where there is none.
    head : str
        Revision that this version of calreg works with.
    """

    status: SchemaStatus
    current: str | None
    head: str


@dataclass(frozen=True)
class InitOutcome:
    """What `init_database` did.

    Attributes
    ----------
    created : bool
        False if the database was initialised already; then nothing was changed.
    """

    created: bool
    revision: str


@dataclass(frozen=True)
class UpgradeOutcome:
    """What `upgrade_database` did.

    Attributes
    ----------
    before, after : str
        Revisions; equal if there was nothing to do.
    """

    before: str
    after: str


class Database:
    """An open registry.

    Use `read` and `write`; both are context managers that yield a SQLAlchemy connection inside one
    transaction. A database may be used by several threads, a connection by one.

    Attributes
    ----------
    url : str
        As given, without password.
    """

    def __init__(self, url: str, access: Access) -> None:
        given = parse_url(url)
        self.url = shown_url(given)
        self._access = access
        self._dialect, self._engine_url = dialect_for(given)
        if access is not Access.CREATE:
            self._dialect.require_exists(self._engine_url, self.command("db init"))
        self._engine = self._dialect.create_engine(self._engine_url, access)

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close all connections; opening a transaction afterwards connects anew."""
        self._engine.dispose()

    def command(self, words: str) -> str:
        """Return the command line that does something with this database."""
        return f"calreg --db {shlex.quote(self.url)} {words}"

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Read in one transaction.

        Yields
        ------
        sqlalchemy.Connection
            It sees one consistent state, whatever others commit meanwhile, and refuses to write.

        Raises
        ------
        DatabaseError
            In place of any error of the driver.
        """
        with self.connect() as connection, connection.begin():
            self._dialect.begin_read(connection)
            yield connection

    @contextmanager
    def write(self, wait_s: float = WRITE_WAIT_S) -> Iterator[Connection]:
        """Write in one transaction, the only one at its time.

        It is committed when the block ends, and rolled back when the block raises, Ctrl-C included.

        Parameters
        ----------
        wait_s : float
            How long to wait for another writer [s].

        Raises
        ------
        ConflictError
            If rows contradict a constraint.
        DatabaseBusyError
            If another writer does not end in time.
        DatabaseError
            In place of any other error of the driver.
        """
        if self._access is Access.READ:
            msg = f"{self.url} was opened for reading only: open it without read_only to change it"
            raise DatabaseError(msg)
        with self.connect() as connection, connection.begin():
            self._dialect.begin_write(connection, wait_s)
            yield connection

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Connect without a transaction, for migrations.

        Raises
        ------
        DatabaseError
            In place of any error of the driver.
        """
        try:
            with self._engine.connect() as connection:
                yield connection
        except sa.exc.DBAPIError as error:
            _uncover_interrupt(error)
            raise self._dialect.explain(error.orig or error, self.url) from error
        except self._dialect.driver_errors as error:
            _uncover_interrupt(error)
            raise self._dialect.explain(error, self.url) from error

    @contextmanager
    def arrow_cursor(self) -> Iterator[ArrowCursor | None]:
        """Open an ADBC cursor on a connection of its own, which sees committed data only.

        Yields
        ------
        ArrowCursor or None
            None if the ADBC driver is not installed, or if this process has a transaction open in
            the same SQLite file.

        Raises
        ------
        DatabaseError
            In place of any error of the driver.
        """
        try:
            with self._dialect.arrow_cursor(self._engine_url) as cursor:
                yield cursor
        except CalregError:
            raise
        except Exception as error:
            # Error classes of an extra that may be missing, and of Arrow itself.
            raise self._dialect.explain(error, self.url) from error

    def literal_sql(self, statement: sa.Select[*tuple[object, ...]]) -> str:
        """Return a statement as text with its parameters written out, for `arrow_cursor`."""
        return self._dialect.literal_sql(statement, self._engine.dialect)


def default_url() -> str:
    """Return the database that commands use unless told otherwise, ``$CALREG_DB`` first."""
    return os.environ.get("CALREG_DB") or DEFAULT_URL


def open_database(url: str, *, check_schema: bool = True, read_only: bool = False) -> Database:
    """Open an initialised registry.

    Parameters
    ----------
    url : str
        Path of a SQLite file, ``sqlite:///FILE`` or ``postgresql://USER:PASSWORD@HOST/DATABASE``.

    Raises
    ------
    InvalidValueError
        If the URL is none of these.
    MissingExtraError
        If the driver is not installed.
    DatabaseUnreachableError
        If the database cannot be opened.
    SchemaUninitialisedError, SchemaOutdatedError, SchemaNewerError, SchemaForeignError
        If the schema is not this version's; the message names the command that helps. A missing
        SQLite file counts as uninitialised, and is not made.
    """
    database = Database(url, Access.READ if read_only else Access.WRITE)
    try:
        if check_schema:
            _require_current(database)
    except BaseException:
        database.close()
        raise
    return database


def init_database(url: str, instrument: Instrument | None = None) -> InitOutcome:
    """Make the registry's tables in an empty database.

    Parameters
    ----------
    url : str
        As for `open_database`. A SQLite file is made; a PostgreSQL database must exist.
    instrument : Instrument, optional
        Whose data it will hold; NIRCam by default, and as it is where the tables are there.

    Returns
    -------
    InitOutcome
        Says whether there was anything to do.

    Raises
    ------
    DatabaseUnreachableError, DatabaseBusyError
    SchemaForeignError
        If the database has tables that are not ours.
    SchemaOutdatedError, SchemaNewerError
        If it is a registry of another version of calreg.
    ConflictError
        If it is a registry of another instrument.
    """
    from calreg.db.queries.instrument import insert_instrument, load_own_instrument
    from calreg.instruments import load_instrument, require_same_instrument

    wanted = instrument or load_instrument()
    with Database(url, Access.CREATE) as database:
        applied: list[str] = []
        if _read_state(database).status is SchemaStatus.UNINITIALISED:
            # Another process may get there first: then nothing is left to apply.
            applied = _migrate(
                database, head_revision(), lambda connection: insert_instrument(connection, wanted)
            )
        else:
            _require_current(database)
        if instrument is not None and not applied:
            with database.read() as connection:
                stored = load_own_instrument(connection)
            require_same_instrument(stored, instrument, database.url)
        return InitOutcome(created=bool(applied), revision=head_revision())


def upgrade_database(url: str) -> UpgradeOutcome:
    """Bring a registry of an older calreg up to this version.

    Raises
    ------
    DatabaseUnreachableError, DatabaseBusyError
    SchemaUninitialisedError, SchemaNewerError, SchemaForeignError
    """
    with Database(url, Access.WRITE) as database:
        state = _read_state(database)
        if state.status is not SchemaStatus.OUTDATED:
            _require_current(database)
        else:
            _migrate(database, state.head)
        return UpgradeOutcome(before=str(state.current), after=state.head)


def migrate_database(url: str, revision: str) -> list[str]:
    """Bring a registry to any revision, newer or older.

    Parameters
    ----------
    revision : str
        ``0001`` ..., or ``base`` for no tables at all. Going back loses what the older schema
        cannot hold.

    Returns
    -------
    list of str
        The revisions that were applied or taken back.
    """
    with Database(url, Access.CREATE) as database:
        return _migrate(database, revision)


def schema_state(url: str) -> SchemaState:
    """Read the revision of a database.

    Raises
    ------
    DatabaseUnreachableError
    SchemaUninitialisedError
        If a SQLite file does not exist.
    SchemaForeignError
        If a file is not a SQLite database.
    """
    with Database(url, Access.READ) as database:
        return _read_state(database)


def migrations_folder() -> Path:
    """Return the folder with the migrations, inside an installed package or beside a checkout."""
    package = Path(calreg.__file__).resolve().parent
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


def head_revision() -> str:
    """Return the newest revision, from the names of the files, which costs no import of Alembic.

    Raises
    ------
    DatabaseError
        If the migrations are missing from the installation.
    """
    numbers = [path.name[:4] for path in (migrations_folder() / "versions").glob("[0-9]*_*.py")]
    if not numbers:
        msg = f"there are no migrations in {migrations_folder()}: install calreg again"
        raise DatabaseError(msg)
    return max(numbers)


@contextmanager
def savepoint(connection: Connection) -> Iterator[None]:
    """Take back what the block wrote when it raises; the transaction around it goes on.

    Raises
    ------
    ConflictError
        If rows contradict a constraint, or do not fit a column.
    DatabaseError
        In place of any other error of the driver: the transaction cannot go on.
    """
    try:
        with connection.begin_nested():
            yield
    except (sa.exc.IntegrityError, sa.exc.DataError) as error:
        msg = f"the rows contradict the registry's rules: {error.orig}"
        raise ConflictError(msg) from error
    except sa.exc.DBAPIError as error:
        _uncover_interrupt(error)
        dialect = dialect_of(connection)
        shown = connection.engine.url.render_as_string(hide_password=True)
        raise dialect.explain(error.orig or error, shown) from error


def _uncover_interrupt(error: BaseException) -> None:
    """Raise Ctrl-C again where cleaning up after it failed with an error of the driver."""
    covered = error.__context__
    while covered is not None:
        if not isinstance(covered, Exception):
            raise covered from error
        covered = covered.__context__


def _read_state(database: Database) -> SchemaState:
    """Look at the tables and at the revision."""
    head = head_revision()
    with database.read() as connection:
        names = sa.inspect(connection).get_table_names()
        if VERSION_TABLE in names:
            table = sa.table(VERSION_TABLE, sa.column("version_num"))
            current = connection.execute(sa.select(table.c.version_num)).scalar()
            names.remove(VERSION_TABLE)
        else:
            current = None
    if current is None:
        status = SchemaStatus.FOREIGN if names else SchemaStatus.UNINITIALISED
    elif current == head:
        status = SchemaStatus.CURRENT
    else:
        status = SchemaStatus.OUTDATED if current < head else SchemaStatus.NEWER
    return SchemaState(status, current, head)


def _require_current(database: Database) -> None:
    """Raise the error that belongs to the state of a database."""
    state = _read_state(database)
    where = database.url
    if state.status is SchemaStatus.UNINITIALISED:
        msg = f"{where} has no tables yet: create them with `{database.command('db init')}`"
        raise SchemaUninitialisedError(msg)
    if state.status is SchemaStatus.FOREIGN:
        msg = (
            f"{where} belongs to another program (it has tables, but no {VERSION_TABLE}): "
            "name an empty database with --db"
        )
        raise SchemaForeignError(msg)
    if state.status is SchemaStatus.OUTDATED:
        msg = (
            f"{where} has schema {state.current} of an older calreg, expected {state.head}: "
            f"make a copy, then run `{database.command('db upgrade')}`"
        )
        raise SchemaOutdatedError(msg)
    if state.status is SchemaStatus.NEWER:
        msg = (
            f"{where} has schema {state.current} of a newer calreg, expected {state.head}: "
            "upgrade calreg with `pip install --upgrade calreg`"
        )
        raise SchemaNewerError(msg)


def _migrate(
    database: Database,
    revision: str,
    fill: Callable[[Connection], None] | None = None,
) -> list[str]:
    """Run the migrations that lead to a revision, in one transaction; return those that ran.

    `fill` writes what new tables begin with, in the same transaction.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    # The parser of the configuration would expand a per cent sign in the path.
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    applied: list[str] = []
    with database.connect() as connection:

        def apply_step(step: MigrationInfo, **_: object) -> None:
            applied.append(str(step.up_revision_id))
            if fill is not None and step.up_revision_id == revision:
                fill(connection)

        config.attributes.update(
            connection=connection,
            version_table=VERSION_TABLE,
            write_wait_s=WRITE_WAIT_S,
            on_version_apply=apply_step,
        )
        state = _read_state(database)
        if revision == "base" or (state.current is not None and revision < state.current):
            command.downgrade(config, revision)
        else:
            command.upgrade(config, revision)
    return applied


__all__ = [
    "VERSION_TABLE",
    "WRITE_WAIT_S",
    "Connection",
    "Database",
    "InitOutcome",
    "SchemaState",
    "SchemaStatus",
    "UpgradeOutcome",
    "default_url",
    "head_revision",
    "init_database",
    "migrate_database",
    "migrations_folder",
    "open_database",
    "schema_state",
    "upgrade_database",
]

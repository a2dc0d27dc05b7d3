"""PostgreSQL through psycopg 3."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects.postgresql import ARRAY

from calreg.db.engines.base import Access, Dialect, busy_message
from calreg.db.engines.guards import POSTGRESQL_GUARDS
from calreg.db.engines.pgcopy import copy_buffers
from calreg.errors import (
    ConflictError,
    DatabaseBusyError,
    DatabaseError,
    DatabaseUnreachableError,
    MissingExtraError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import psycopg

    from calreg.db.engines.base import ArrowCursor
    from calreg.db.engines.columns import TableColumn

_WRITER_LOCK = 0x63616C726567
"""Key of the advisory lock, the bytes ``calreg``."""


class PostgresqlDialect(Dialect):
    """The verbs on PostgreSQL."""

    label = "PostgreSQL"
    guards = POSTGRESQL_GUARDS

    def __init__(self) -> None:
        try:
            import psycopg
        except ImportError as error:
            msg = "PostgreSQL needs psycopg: install it with `pip install 'calreg[postgres]'`"
            raise MissingExtraError(msg) from error
        self.driver_errors = (psycopg.Error,)

    def normalise(self, url: sa.URL) -> sa.URL:
        """Choose psycopg 3, name ourselves to the server, and do not wait for ever to connect."""
        defaults = {"application_name": "calreg", "connect_timeout": "15"}
        missing = {key: value for key, value in defaults.items() if key not in url.query}
        return url.update_query_dict(missing)

    def create_engine(self, url: sa.URL, access: Access) -> sa.Engine:
        """Return an engine with a pool that notices a restarted server."""
        options = {"default_transaction_read_only": "on"} if access is Access.READ else {}
        engine = sa.create_engine(url, pool_pre_ping=True)

        @event.listens_for(engine, "connect")
        def configure(driver_connection: Any, record: object) -> None:
            del record
            for name, value in options.items():
                driver_connection.execute(f"SET {name} = {value}")
            driver_connection.commit()

        return engine

    def require_exists(self, url: sa.URL, command: str) -> None:
        """Do nothing: connecting never makes a database."""

    def begin_read(self, connection: sa.Connection) -> None:
        """Open a transaction; its first SELECT fixes what it sees."""
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def begin_write(self, connection: sa.Connection, wait_s: float) -> None:
        """Take an advisory lock that ends with the transaction, so that writers take turns."""
        wait_ms = min(max(1, round(wait_s * 1000)), 2**31 - 1)  # 0 would wait for ever.
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {wait_ms}")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITER_LOCK})")
        connection.exec_driver_sql("SET LOCAL lock_timeout TO DEFAULT")

    def explain(self, error: BaseException, shown_url: str) -> DatabaseError | ConflictError:
        """Tell errors apart by SQLSTATE; errors of connecting have none."""
        state = getattr(error, "sqlstate", None) or ""
        text = " ".join(str(error).split())
        if state.startswith("23"):
            name = getattr(getattr(error, "diag", None), "constraint_name", None)
            named = f" ({name})" if name and name not in text else ""
            return ConflictError(
                f"{shown_url}: {text}{named}: the rows contradict the registry's rules"
            )
        if state in ("55P03", "40P01", "40001"):  # Lock timeout, deadlock, serialisation.
            return DatabaseBusyError(busy_message(shown_url))
        if state.startswith(("28", "08", "57P")) or not state:
            return DatabaseUnreachableError(
                f"{shown_url} cannot be reached ({text}): check the server, the name and the "
                "password; PostgreSQL's createdb makes a database that does not exist"
            )
        return DatabaseError(f"{shown_url}: {text}")

    def insert(
        self, connection: sa.Connection, table: sa.Table, columns: Sequence[TableColumn]
    ) -> None:
        """Send binary COPY."""
        quote = connection.dialect.identifier_preparer.quote
        names = ", ".join(quote(column.name) for column in columns)
        statement = f"COPY {quote(table.name)} ({names}) FROM STDIN (FORMAT BINARY)"
        driver_connection = cast("psycopg.Connection", connection.connection.driver_connection)
        with driver_connection.cursor() as cursor, cursor.copy(statement) as copy:
            for buffer in copy_buffers(columns):
                copy.write(buffer)

    def reserve_ids(self, connection: sa.Connection, table: sa.Table, n_ids: int) -> Sequence[int]:
        """Draw from the sequence of the id."""
        sequence = sa.func.pg_get_serial_sequence(table.name, "id")
        numbers = sa.func.generate_series(1, n_ids).table_valued("number")
        drawn = sa.select(sa.func.nextval(sequence)).select_from(numbers)
        return sorted(connection.execute(drawn).scalars())

    def integer_list(self, values: Sequence[int]) -> sa.Select[tuple[int]]:
        """Read the integers from one array parameter."""
        array = sa.literal(list(values), ARRAY(sa.BigInteger))
        return sa.select(sa.func.unnest(array, type_=sa.BigInteger).column_valued("value"))

    @contextmanager
    def arrow_cursor(self, url: sa.URL) -> Iterator[ArrowCursor | None]:
        """Yield a cursor on a second connection."""
        try:
            from adbc_driver_postgresql import dbapi
        except ImportError:
            yield None
            return
        uri = url.set(drivername=url.get_backend_name()).render_as_string(hide_password=False)
        with dbapi.connect(uri) as connection, connection.cursor() as cursor:
            yield cursor

    def literal_sql(
        self, statement: sa.Select[*tuple[object, ...]], dialect: sa.engine.Dialect
    ) -> str:
        """Take back the doubling of per cent signs, which is for psycopg only."""
        return super().literal_sql(statement, dialect).replace("%%", "%")

    def guard_names(self, connection: sa.Connection) -> set[str]:
        """Return the names of constraints."""
        statement = """
            SELECT conname FROM pg_constraint
            WHERE connamespace = current_schema()::regnamespace
        """
        return set(connection.exec_driver_sql(statement).scalars())

    def integrity_problems(self, connection: sa.Connection) -> list[str]:
        """Look for constraints, indexes and triggers that were switched off."""
        statement = """
            SELECT 'constraint ' || conname || ' is not validated' FROM pg_constraint
            WHERE NOT convalidated AND connamespace = current_schema()::regnamespace
            UNION ALL
            SELECT 'index ' || indexrelid::regclass || ' is not valid' FROM pg_index
            JOIN pg_class ON pg_class.oid = indexrelid
            WHERE NOT indisvalid AND relnamespace = current_schema()::regnamespace
            UNION ALL
            SELECT 'trigger ' || tgname || ' of ' || tgrelid::regclass || ' is switched off'
            FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
            WHERE tgenabled = 'D' AND relnamespace = current_schema()::regnamespace
            ORDER BY 1
        """
        return [str(row) for row in connection.exec_driver_sql(statement).scalars()]

    def version(self, connection: sa.Connection) -> str:
        """Return for example ``PostgreSQL 18.4``."""
        shown = str(connection.exec_driver_sql("SHOW server_version").scalar_one())
        return f"{self.label} {shown.split()[0]}"

    def size_bytes(self, connection: sa.Connection) -> int:
        """Return the size of the whole database."""
        statement = "SELECT pg_database_size(current_database())"
        return int(connection.exec_driver_sql(statement).scalar_one())

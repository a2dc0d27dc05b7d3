"""Whole columns in and out of tables, as fast as the drivers go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from calreg.db.engines.choose import dialect_of
from calreg.db.engines.types import ColumnKind, column_kind
from calreg.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from calreg.db.engine import Database
    from calreg.db.engines.columns import ColumnValue
    from calreg.db.schema import Base
    from calreg.domain import IntArray

    TableLike = sa.FromClause | type[Base]
    Columns = dict[str, NDArray[Any]]

_FETCH_ROWS = 256
"""Rows that are Python objects at one time; more is slower, because they leave the CPU's cache."""

_NUMPY_TYPE = {
    ColumnKind.INTEGER: "int64",
    ColumnKind.FLOAT: "float64",
    ColumnKind.TEXT: "object",
    ColumnKind.TIME: "object",
    ColumnKind.OTHER: "object",
}


def insert_columns(
    connection: sa.Connection, table: TableLike, columns: Mapping[str, ColumnValue]
) -> int:
    """Insert rows that are given as columns, in the connection's transaction; return how many.

    SQLite takes them by the driver's ``executemany``, PostgreSQL by binary COPY.

    Parameters
    ----------
    columns : mapping of str to ndarray, shape (n_rows,), or scalar
        By column name; a scalar is repeated. NaN and None become NULL. Columns that are left out
        get NULL or the table's default. Times are datetime64 in UTC, or datetimes with a zone.

    Raises
    ------
    InvalidValueError
        For unknown columns, unequal lengths, infinities, NULL or NaN in a column that takes none,
        and values that the column's type cannot hold.
    ConflictError
        From the surrounding `Database.write`, if a constraint refuses the rows.
    """
    from calreg.db.engines.columns import table_columns

    target = _as_table(table)
    ready = table_columns(target, columns)
    if not ready or ready[0].n_rows == 0:
        return 0
    dialect_of(connection).insert(connection, target, ready)
    return ready[0].n_rows


def insert_rows(
    connection: sa.Connection, table: TableLike, rows: Sequence[Mapping[str, object]]
) -> list[int]:
    """Insert rows, all with the same columns, and return their ids in order.

    The table has a primary key ``id`` that the database gives out.
    """
    if not rows:
        return []
    target = _as_table(table)
    statement = sa.insert(target).returning(target.c.id, sort_by_parameter_order=True)
    return [
        int(id_) for id_ in connection.execute(statement, [dict(row) for row in rows]).scalars()
    ]


def reserve_ids(connection: sa.Connection, table: TableLike, n_ids: int) -> IntArray:
    """Return increasing ids for rows that `insert_columns` will insert.

    On SQLite they hold for the connection's transaction only.
    """
    import numpy as np

    if n_ids == 0:
        return np.empty(0, dtype=np.int64)
    ids = dialect_of(connection).reserve_ids(connection, _as_table(table), n_ids)
    return np.asarray(ids, dtype=np.int64)


def integer_list(connection: sa.Connection, values: Sequence[int]) -> sa.Select[tuple[int]]:
    """Return a SELECT of many integers, for ``column.in_(...)`` and joins.

    It is one parameter, however many there are, and needs no temporary table, which a transaction
    that only reads could not make.
    """
    return dialect_of(connection).integer_list([int(value) for value in values])


def fetch_columns(connection: sa.Connection, statement: sa.Select[*tuple[object, ...]]) -> Columns:
    """Run a SELECT inside the connection's transaction and return its columns as arrays.

    Returns
    -------
    dict of str to ndarray, shape (n_rows,)
        By column name: int64, float64 with NaN for NULL, or object (text, times).

    Raises
    ------
    InvalidValueError
        For NULL among integers, which have no NaN: select ``coalesce`` of such a column.
    """
    import numpy as np

    kinds = _column_kinds(statement)
    result = connection.execute(statement)
    is_plain = not {ColumnKind.TIME, ColumnKind.OTHER} & set(kinds.values())
    # The driver's own rows need no work when all is numbers and text.
    source = result.cursor if is_plain and result.cursor is not None else result
    chunks: list[list[NDArray[np.generic]]] = [[] for _ in kinds]
    while rows := source.fetchmany(_FETCH_ROWS):
        for parts, (name, kind), values in zip(
            chunks, kinds.items(), zip(*rows, strict=True), strict=True
        ):
            parts.append(_array(name, kind, values))
    result.close()
    return {
        name: np.concatenate(parts) if parts else np.empty(0, dtype=_NUMPY_TYPE[kind])
        for parts, (name, kind) in zip(chunks, kinds.items(), strict=True)
    }


def fetch_columns_fast(database: Database, statement: sa.Select[*tuple[object, ...]]) -> Columns:
    """Run a large SELECT of committed data and return its columns as arrays.

    It goes through ADBC on a connection of its own where that is installed, three times as fast as
    `fetch_columns` and with the same result. On SQLite that is done only while this process has no
    transaction open in the file, because ADBC brings a second copy of SQLite, and two copies in one
    process break each other's locks; within a transaction use `fetch_columns`.

    Raises
    ------
    InvalidValueError
        As from `fetch_columns`.
    """
    kinds = _column_kinds(statement)
    if not {ColumnKind.TIME, ColumnKind.OTHER} & set(kinds.values()):
        with database.arrow_cursor() as cursor:
            if cursor is not None:
                cursor.execute(database.literal_sql(statement))
                return _from_arrow(cursor.fetch_arrow_table(), kinds)
    with database.read() as connection:
        return fetch_columns(connection, statement)


def _as_table(table: TableLike) -> sa.Table:
    """Return the table of a class."""
    found = table if isinstance(table, sa.FromClause) else table.__table__
    if not isinstance(found, sa.Table):
        msg = f"expected a table, found {found!r}"
        raise TypeError(msg)
    return found


def _column_kinds(statement: sa.Select[*tuple[object, ...]]) -> dict[str, ColumnKind]:
    """Return the kinds of a SELECT's columns by name; names must differ."""
    columns = list(statement.selected_columns)
    kinds = {column.key or "": column_kind(column.type) for column in columns}
    if len(kinds) != len(columns):
        msg = f"columns of a SELECT share a name: {[column.key for column in columns]}"
        raise InvalidValueError(msg)
    return kinds


def _array(name: str, kind: ColumnKind, values: Sequence[object]) -> NDArray[np.generic]:
    """Return values of the driver as an array; None is NaN among floats."""
    if kind is ColumnKind.INTEGER and None in values:
        raise InvalidValueError(_null_message(name))
    import numpy as np

    return np.array(values, dtype=_NUMPY_TYPE[kind])


def _from_arrow(table: pa.Table, kinds: Mapping[str, ColumnKind]) -> Columns:
    """Return the columns of an Arrow table as writable arrays."""
    arrays = {}
    for (name, kind), column in zip(kinds.items(), table.columns, strict=True):
        if kind is ColumnKind.INTEGER and column.null_count:
            raise InvalidValueError(_null_message(name))
        array = column.to_numpy()
        array = array.astype(_NUMPY_TYPE[kind], copy=not array.flags.writeable)
        arrays[name] = array
    return arrays


def _null_message(name: str) -> str:
    """Word the refusal of NULL among integers."""
    return f"column {name} of integers has NULLs: select coalesce({name}, ...) instead"

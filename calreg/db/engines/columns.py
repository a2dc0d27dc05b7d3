"""Columns on their way into a table: checked against the table, in one canonical form."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from calreg.db.engines.types import ColumnKind, column_kind, storable
from calreg.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from calreg.domain import BoolArray

Scalar = bool | int | float | str | datetime | None
ColumnValue = NDArray[np.generic] | Scalar


@dataclass(frozen=True)
class TableColumn:
    """Values for one column of a table.

    Attributes
    ----------
    n_bytes : int
        Size of an integer in the table [byte].
    values : ndarray, shape (n_rows,)
        In the type of `kind`; anything where `is_null`.
    is_null : ndarray of bool, shape (n_rows,), or None
        None where no value is NULL.
    """

    name: str
    kind: ColumnKind
    n_bytes: int
    values: NDArray[Any]
    is_null: BoolArray | None

    @property
    def n_rows(self) -> int:
        """Number of values."""
        return len(self.values)


def table_columns(table: sa.Table, columns: Mapping[str, ColumnValue]) -> list[TableColumn]:
    """Check columns against their table and bring them into canonical form.

    Parameters
    ----------
    columns : mapping of str to ndarray or scalar
        Arrays of equal length; a scalar stands for that many equal values, None for NULL.

    Raises
    ------
    InvalidValueError
        For an unknown column, unequal lengths, a type that does not fit, NULL in a column that
        takes none, infinities, integers out of range, times without a zone.
    """
    lengths = {len(value) for value in columns.values() if isinstance(value, np.ndarray)}
    if len(lengths) > 1:
        msg = f"columns for {table.name} have different lengths: {sorted(lengths)}"
        raise InvalidValueError(msg)
    n_rows = lengths.pop() if lengths else 1
    ready = []
    for name, value in columns.items():
        if name not in table.c:
            msg = f"table {table.name} has no column {name!r}: expected {', '.join(table.c.keys())}"
            raise InvalidValueError(msg)
        column = table.c[name]
        try:
            ready.append(_table_column(column, value, n_rows))
        except (TypeError, ValueError, OverflowError) as error:
            msg = f"{table.name}.{name} cannot take the values given: {error}"
            raise InvalidValueError(msg) from error
    return ready


def _table_column(column: sa.Column[object], value: ColumnValue, n_rows: int) -> TableColumn:
    """Convert one column."""
    kind = column_kind(column.type)
    array = value if isinstance(value, np.ndarray) else np.array([value], dtype=_dtype(kind, value))
    if array.ndim != 1:
        msg = f"expected one dimension, found {array.ndim}"
        raise ValueError(msg)
    values, is_null = _CONVERT[kind](array)
    n_bytes = 0
    if kind is ColumnKind.INTEGER:
        n_bytes = 8 if isinstance(column.type, sa.BigInteger) else 4
        bound = 2 ** (8 * n_bytes - 1)
        if n_bytes < 8 and len(values) and not -bound <= values.min() <= values.max() < bound:
            msg = f"an integer is outside [-2**{8 * n_bytes - 1}, 2**{8 * n_bytes - 1})"
            raise ValueError(msg)
    if not is_null.any():
        null_mask = None
    elif not column.nullable:
        msg = f"{int(is_null.sum())} of {len(values)} are NULL or NaN, and the column takes none"
        raise ValueError(msg)
    else:
        null_mask = is_null
    if not isinstance(value, np.ndarray):
        values = np.broadcast_to(values, n_rows)
        null_mask = None if null_mask is None else np.broadcast_to(null_mask, n_rows)
    return TableColumn(column.name, kind, n_bytes, values, null_mask)


def _dtype(kind: ColumnKind, value: Scalar) -> type[np.generic] | None:
    """Return the NumPy type that a scalar is wrapped in."""
    if value is None or kind in (ColumnKind.TEXT, ColumnKind.TIME):
        return np.object_
    return None


def _integers(array: NDArray[np.generic]) -> tuple[NDArray[np.generic], BoolArray]:
    """Convert to int64; NaN and None are NULL."""
    if array.dtype.kind in "biu":
        if array.dtype == np.uint64 and len(array) and int(array.max()) >= 2**63:
            msg = "an integer is outside [-2**63, 2**63)"
            raise OverflowError(msg)
        return array.astype(np.int64, copy=False), np.zeros(len(array), dtype=np.bool_)
    if array.dtype.kind == "O":
        is_null = np.array([item is None for item in array], dtype=np.bool_)
        filled = [0 if item is None else item for item in array]
        if any(int(item) != item for item in filled):
            msg = "expected integers"
            raise ValueError(msg)
        return np.array([int(item) for item in filled], dtype=np.int64), is_null
    if array.dtype.kind != "f":
        msg = f"expected integers, found {array.dtype}"
        raise TypeError(msg)
    floats = array.astype(np.float64)
    is_null = np.isnan(floats)
    floats[is_null] = 0.0
    integers = np.rint(floats).astype(np.int64) if np.all(np.abs(floats) < 2.0**53) else None
    if integers is None or np.any(integers != floats):
        msg = "expected integers"
        raise ValueError(msg)
    return integers, is_null


def _floats(array: NDArray[np.generic]) -> tuple[NDArray[np.generic], BoolArray]:
    """Convert to float64; NaN and None are NULL."""
    if array.dtype.kind not in "fiuO":
        msg = f"expected numbers, found {array.dtype}"
        raise TypeError(msg)
    floats = array.astype(np.float64, copy=False)
    is_null = np.isnan(floats)
    if np.isinf(floats).any():
        msg = f"{int(np.isinf(floats).sum())} of {len(floats)} are infinite"
        raise ValueError(msg)
    return floats, is_null


def _texts(array: NDArray[np.generic]) -> tuple[NDArray[np.generic], BoolArray]:
    """Convert to str objects that can be stored; None is NULL."""
    if array.dtype.kind == "U":
        array = array.astype(np.object_)
    is_null = np.array([item is None for item in array], dtype=np.bool_)
    for item in array[~is_null]:
        if not isinstance(item, str):
            msg = f"expected text, found {item!r}"
            raise TypeError(msg)
        if "\0" in item:
            msg = "text with a NUL character"
            raise ValueError(msg)
    stored = [item if item is None else storable(item) for item in array]
    return np.array(stored, dtype=np.object_), is_null


def _times(array: NDArray[np.generic]) -> tuple[NDArray[np.generic], BoolArray]:
    """Convert to datetime64[us] in UTC; None and NaT are NULL."""
    if array.dtype.kind == "M":
        times = array.astype("datetime64[us]")
    elif array.dtype.kind == "O":
        times = np.array([_naive_utc(item) for item in array], dtype="datetime64[us]")
    else:
        msg = f"expected times, found {array.dtype}"
        raise TypeError(msg)
    return times, np.isnat(times)


def _naive_utc(moment: object) -> datetime | None:
    """Return a moment without its zone, in UTC, as NumPy wants it."""
    if moment is None:
        return None
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        msg = f"expected a time with a time zone, found {moment!r}"
        raise TypeError(msg)
    return moment.astimezone(UTC).replace(tzinfo=None)


def _others(array: NDArray[np.generic]) -> tuple[NDArray[np.generic], BoolArray]:
    """Refuse: there is no such column."""
    msg = f"no bulk transfer for this type (values are {array.dtype})"
    raise TypeError(msg)


_CONVERT = {
    ColumnKind.INTEGER: _integers,
    ColumnKind.FLOAT: _floats,
    ColumnKind.TEXT: _texts,
    ColumnKind.TIME: _times,
    ColumnKind.OTHER: _others,
}

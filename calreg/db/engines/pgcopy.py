"""PostgreSQL's binary COPY format, packed by NumPy.

A row is a 16-bit count of fields, then for each field a 32-bit length and that many bytes, all
big-endian; length -1 and no bytes is NULL (PostgreSQL 18 documentation, COPY, "Binary Format").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from calreg.db.engines.types import ColumnKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from calreg.db.engines.columns import TableColumn
    from calreg.domain import IntArray

_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + b"\0" * 8
_TRAILER = b"\xff\xff"

_EPOCH = np.datetime64("2000-01-01", "us")
"""Zero of PostgreSQL's timestamps, which count microseconds."""

_BATCH_ROWS = 32768
_TEXT_BATCH_ROWS = 4096
"""Rows per batch when there is text, which is padded to the longest while being packed."""


def copy_buffers(columns: Sequence[TableColumn]) -> Iterator[bytes]:
    """Yield the bytes of a COPY FROM STDIN (FORMAT BINARY).

    Parameters
    ----------
    columns : sequence of TableColumn
        In the order of COPY's list of columns, all of one length.
    """
    has_text = any(column.kind is ColumnKind.TEXT for column in columns)
    n_batch = _TEXT_BATCH_ROWS if has_text else _BATCH_ROWS
    yield _SIGNATURE
    for start in range(0, columns[0].n_rows, n_batch):
        yield _pack(columns, slice(start, start + n_batch))
    yield _TRAILER


def _pack(columns: Sequence[TableColumn], batch: slice) -> bytes:
    """Return the rows of one batch.

    Rows are laid out at full width first. Where a value is shorter (text, NULL), a mask then takes
    the bytes out that it does not use.
    """
    fields = [_field(column, batch) for column in columns]
    layout: list[tuple[str, str | np.dtype[np.generic]]] = [("n_fields", ">i2")]
    for index, (values, _) in enumerate(fields):
        layout += [(f"length{index}", ">i4"), (f"value{index}", values.dtype.newbyteorder(">"))]
    rows = np.empty(len(fields[0][0]), dtype=layout)
    rows["n_fields"] = len(fields)
    for index, (values, lengths) in enumerate(fields):
        rows[f"length{index}"] = values.dtype.itemsize if lengths is None else lengths
        rows[f"value{index}"] = values
    if all(lengths is None for _, lengths in fields):
        return rows.tobytes()
    is_used = np.ones((len(rows), rows.dtype.itemsize), dtype=np.bool_)
    for index, (values, lengths) in enumerate(fields):
        if lengths is not None:
            width = values.dtype.itemsize
            start = _offset(rows.dtype, f"value{index}")
            is_used[:, start : start + width] = np.arange(width) < lengths[:, np.newaxis]
    return rows.view(np.uint8).reshape(is_used.shape)[is_used].tobytes()


def _field(column: TableColumn, batch: slice) -> tuple[NDArray[Any], IntArray | None]:
    """Return a batch of values as COPY wants them, and their lengths where these differ."""
    values = column.values[batch]
    is_null = None if column.is_null is None else column.is_null[batch]
    lengths: IntArray | None = None
    if column.kind is ColumnKind.TEXT:
        texts = [b"" if text is None else str(text).encode() for text in values.tolist()]
        lengths = np.array([len(text) for text in texts], dtype=np.int64)
        values = np.array(texts, dtype=f"S{max(1, int(lengths.max()))}")
    elif column.kind is ColumnKind.TIME:
        values = (values - _EPOCH).astype(np.int64)
    elif column.kind is ColumnKind.INTEGER:
        values = values.astype(f"i{column.n_bytes}")
    if is_null is not None and is_null.any():
        if lengths is None:
            lengths = np.full(len(values), values.dtype.itemsize, dtype=np.int64)
        lengths[is_null] = -1
    return values, lengths


def _offset(dtype: np.dtype[np.generic], name: str) -> int:
    """Return where a field begins within a row [byte]."""
    fields = dtype.fields
    if fields is None:
        msg = f"{dtype} has no fields"
        raise TypeError(msg)
    return int(fields[name][1])

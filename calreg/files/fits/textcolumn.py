"""Read one column of text or numbers of a binary table, without opening the file by astropy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from calreg.errors import FileFormatError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from calreg.files.fits.headers import HeaderUnit

_NUMBERS = {"B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
_FORM = re.compile(r"(?P<repeat>\d*)(?P<code>[LXBIJKAEDCMPQ]).*")

# Bytes of one element, FITS standard 4.0, Table 18; of X, bits, eight make a byte.
_ELEMENT_BYTES = {
    "A": 1, "B": 1, "L": 1, "I": 2, "J": 4, "E": 4, "K": 8, "D": 8, "C": 8, "P": 8, "M": 16, "Q": 16
}  # fmt: skip


def read_text_column(table: HeaderUnit, name: str) -> list[str]:
    """Read a column of characters by the widths in TFORM; the other columns are passed over.

    Parameters
    ----------
    table : HeaderUnit
        A binary table, known to be complete.
    name : str
        Its TTYPE, in any case.

    Returns
    -------
    list of str
        One per row, without padding; empty where the table has no such column.

    Raises
    ------
    FileFormatError
        If the description of the columns is incomplete, or the column is not of characters.
    """
    found = _find(table, name)
    if found is None:
        return []
    if found.code != "A":
        raise _bad_form(table, found.number, "characters, such as 17A")
    return _text(_cells(table, found.start, found.width))


def read_number_column(table: HeaderUnit, name: str) -> list[float]:
    """Read a column of one number a row, written as such or as text; NaN where a cell is none.

    Raises
    ------
    FileFormatError
        If the description of the columns is incomplete, or the column is of something else.
    """
    found = _find(table, name)
    if found is None:
        return []
    cells = _cells(table, found.start, found.width)
    if found.code == "A":
        return [_number(text) for text in _text(cells)]
    if found.code not in _NUMBERS or found.width != _ELEMENT_BYTES[found.code]:
        raise _bad_form(table, found.number, "one number, such as D")
    values: list[float] = (
        np.ascontiguousarray(cells).view(_NUMBERS[found.code])[:, 0].astype(float).tolist()
    )
    return values


def _number(text: str) -> float:
    """Return the number that a text is, else NaN."""
    try:
        return float(text)
    except ValueError:
        return float("nan")


class _Place(NamedTuple):
    """Where a column stands in a row [byte], by its number from 1 and the code of its type."""

    number: int
    code: str
    start: int
    width: int


def _find(table: HeaderUnit, name: str) -> _Place | None:
    """Return where a column stands; None where the table has no such column."""
    n_columns = table.get("TFIELDS")
    start = 0
    for number in range(1, (n_columns if isinstance(n_columns, int) else 0) + 1):
        code, width = _layout(table, number)
        label = table.get(f"TTYPE{number}")
        if isinstance(label, str) and label.strip().upper() == name.upper():
            return _Place(number, code, start, width)
        start += width
    return None


def _layout(table: HeaderUnit, number: int) -> tuple[str, int]:
    """Return type and width [byte] of a column."""
    form = table.get(f"TFORM{number}")
    matched = _FORM.fullmatch(form.strip().upper()) if isinstance(form, str) else None
    if matched is None:
        raise _bad_form(table, number, "a format of the FITS standard, such as 17A or D")
    code, repeat = matched["code"], int(matched["repeat"] or 1)
    return code, -(-repeat // 8) if code == "X" else repeat * _ELEMENT_BYTES[code]


def _bad_form(table: HeaderUnit, number: int, expected: str) -> FileFormatError:
    """Return the error for a column whose format cannot be used."""
    return FileFormatError(
        f"{table.path}: card TFORM{number} of {table.name}: found "
        f"{table.get(f'TFORM{number}')!r}, expected {expected}; resample again"
    )


def _cells(table: HeaderUnit, start: int, width: int) -> NDArray[np.uint8]:
    """Return some bytes of every row."""
    row_bytes, n_rows = table.shape
    if start + width > row_bytes:
        msg = (
            f"{table.path}: columns of {table.name} take {start + width} bytes or more, its rows "
            f"have NAXIS1={row_bytes}; resample again"
        )
        raise FileFormatError(msg)
    with table.path.open("rb") as stream:
        stream.seek(table.data_start)
        raw = stream.read(row_bytes * n_rows)
    return np.frombuffer(raw, dtype=np.uint8).reshape(n_rows, row_bytes)[:, start : start + width]


def _text(cells: NDArray[np.uint8]) -> list[str]:
    """Return cells as text; a NUL ends it, as in the standard."""
    return [cell.tobytes().partition(b"\0")[0].decode("ascii", "replace").strip() for cell in cells]

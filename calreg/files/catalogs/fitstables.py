"""FITS binary tables as columns, without copying them."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from calreg.errors import CalregError, FileFormatError
from calreg.files.catalogs.columns import SourceColumn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from astropy.io import fits
    from numpy.typing import NDArray

    from calreg.domain import BoolArray


@contextmanager
def open_fits(path: Path) -> Iterator[fits.HDUList]:
    """Open a FITS file, mapped, and turn what astropy raises into one line.

    Raises
    ------
    FileFormatError
        The file is not FITS, or a header in it cannot be read.
    """
    from astropy.io import fits
    from astropy.utils.exceptions import AstropyWarning

    with warnings.catch_warnings():
        # What astropy warns of (truncation, odd cards) is checked and refused in words of ours.
        warnings.simplefilter("ignore", AstropyWarning)
        try:
            hdus = fits.open(path, mode="readonly", memmap=True, lazy_load_hdus=False)
        except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
            raise _unreadable(path, error) from error
        with hdus:
            try:
                yield hdus
            except CalregError:
                raise
            except (fits.VerifyError, OSError, TypeError, ValueError) as error:
                raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> FileFormatError:
    """Describe what astropy could not read, in one line."""
    stated = error.strerror if isinstance(error, OSError) else None
    lines = (stated or str(error)).strip().splitlines()
    reason = lines[0].rstrip(".") if lines else type(error).__name__
    return FileFormatError(f"{path}: cannot be read as FITS ({reason}); is it complete?")


def require_complete(path: Path, hdus: fits.HDUList) -> None:
    """Refuse a file that is shorter than its headers say.

    Raises
    ------
    FileFormatError
        With both lengths. Missing padding after the last data is not held against the file.
    """
    found = path.stat().st_size
    last = hdus[-1]
    needed = int(last.fileinfo()["datLoc"]) + int(last.size)
    if found < needed:
        msg = (
            f"{path}: truncated: {found} bytes found, {needed} expected from the header of "
            f"extension {last.name or len(hdus) - 1}; copy or make the file again"
        )
        raise FileFormatError(msg)


def only_table(path: Path, hdus: fits.HDUList) -> fits.BinTableHDU:
    """Return the table of a file that holds one.

    Raises
    ------
    FileFormatError
        There is no table, or more than one.
    """
    tables = [
        hdu
        for hdu in hdus
        if hdu.header.get("XTENSION") in {"BINTABLE", "TABLE", "A3DTABLE"}
        and hdu.name != "LDAC_IMHEAD"
    ]
    if len(tables) != 1:
        names = ", ".join(hdu.name or "unnamed" for hdu in hdus)
        msg = (
            f"{path}: holds {len(tables)} tables (extensions: {names}); expected one table of "
            "sources; is the file truncated?"
            if not tables
            else f"{path}: holds {len(tables)} tables (extensions: {names}); expected one table of "
            "sources: save it to a file of its own"
        )
        raise FileFormatError(msg)
    return tables[0]


def spread_columns(path: Path, table: fits.BinTableHDU) -> dict[str, SourceColumn]:
    """Return the columns of a table, vector columns spread to one each.

    Returns
    -------
    dict of str to SourceColumn
        Views, copies where cells are null; columns of more than one dimension per row (VIGNET) are
        left out.

    Raises
    ------
    FileFormatError
        The table has no rows or columns described.
    """
    columns: dict[str, SourceColumn] = {}
    data = table.data
    if data is None:
        msg = f"{path}: extension {table.name} describes no columns"
        raise FileFormatError(msg)
    nulls = null_cells(table)
    for definition in table.columns:
        values = np.asarray(data.field(definition.name))
        for name, column in spread(definition.name, values).items():
            columns[name] = SourceColumn(with_nulls(column, nulls.get(name)), definition.unit or "")
    return columns


def spread(name: str, values: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return a column as one per element of a vector; none of more than one dimension per row."""
    if values.ndim == 1:
        return {name: values}
    if values.ndim != 2:
        return {}
    return {name if i == 0 else f"{name}_{i}": values[:, i] for i in range(values.shape[1])}


def null_cells(table: fits.BinTableHDU) -> dict[str, BoolArray]:
    """Mark the cells that a table says hold nothing, by name of the spread column.

    They are TNULL before TSCAL and TZERO, a logical that is neither T nor F, and in ASCII tables
    TNULL or blanks, which astropy makes the numbers 0 or TNULL.
    """
    found: dict[str, BoolArray] = {}
    raw = table.data.view(np.ndarray)
    for definition in table.columns:
        cells, null = raw[definition.name], definition.null
        code = str(definition.format)
        if table.header["XTENSION"] == "TABLE":
            text = np.char.strip(cells)
            is_null = (text == b"") | (text == str(null or "").strip().encode())
        elif code.endswith("L"):
            is_null = (cells != ord("T")) & (cells != ord("F"))
        elif null is not None and cells.dtype.kind in "iu" and not {"P", "Q"} & set(code):
            is_null = cells == null
        else:
            continue
        if is_null.any():
            found |= spread(definition.name, is_null)
    return found


def with_nulls(values: NDArray[Any], is_null: BoolArray | None) -> NDArray[Any]:
    """Return a column whose null cells are NaN if it holds floats, else masked."""
    if is_null is None:
        return values
    if values.dtype.kind == "f":
        return np.where(is_null, np.nan, values)
    return np.ma.MaskedArray(values, is_null)

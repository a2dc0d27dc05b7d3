"""Registry tables as Parquet, one file each, with units in the field metadata."""

from __future__ import annotations

import importlib
import re
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from calreg.errors import InvalidValueError, MissingExtraError, OutputError
from calreg.files.atomic import format_utc, replace_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import ModuleType

    from numpy.typing import NDArray

    from calreg.files.atomic import NamedFiles

SIGN_SENTENCE = (
    "offset > 0 means that the array reads too faint: multiply its flux and PHOTMJSR by "
    "10**(+0.4*offset); modules m_A - m_B, pairs later - earlier"
)

_TABLE_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class ParquetTable:
    """One table to be written.

    Attributes
    ----------
    columns : mapping of str to ndarray, shape (n_rows,)
        Numbers, truth values, ``datetime64`` (UTC), text, or objects (text, numbers, truth values
        or aware times, all of one kind). None and NaN become null.
    units : mapping of str to str
        As astropy writes them (``mag / arcmin``); none for a column left out.
    """

    columns: Mapping[str, NDArray[np.generic]]
    units: Mapping[str, str] = field(default_factory=dict)
    descriptions: Mapping[str, str] = field(default_factory=dict)
    description: str = ""


def write_parquet(
    directory: Path,
    tables: Mapping[str, ParquetTable],
    *,
    code_version: str,
    created_utc: datetime,
    overwrite: bool = False,
    names: NamedFiles | None = None,
) -> list[Path]:
    """Write tables as Parquet, ``NAME.parquet`` each, and return the files.

    All files are written under temporary names before the first gets its own, so that a failure
    while writing leaves the folder as it was; `names` takes them back where its block raises later.
    The folder is made if it is not there; its parent must be. Files of other tables are left alone.

    Raises
    ------
    MissingExtraError
        Without pyarrow.
    InvalidValueError
        If there are no tables, or a table's columns differ in length, are not one-dimensional, mix
        kinds, or a unit is unknown.
    OutputError
        If a file cannot be written.

    Notes
    -----
    A unit is the field metadata ``unit``, a meaning ``description``. The file metadata hold
    ``calreg_version``, ``created_utc``, ``sign`` and ``description``, and what `astropy.table`
    needs to give units and text lengths back. astropy (with pandas) shows a null text as the text
    ``None``, a null number as NaN.
    """
    pyarrow = _require_pyarrow("pyarrow")
    parquet = _require_pyarrow("pyarrow.parquet")
    if not tables:
        msg = f"cannot write {directory}: no tables; expected at least one"
        raise InvalidValueError(msg)
    meta = {
        "calreg_version": code_version,
        "created_utc": format_utc(created_utc),
        "sign": SIGN_SENTENCE,
    }
    arrow_tables = {
        name: _arrow_table(pyarrow, name, table, meta) for name, table in tables.items()
    }
    is_new = _make_folder(directory)
    paths = [directory / f"{name}.parquet" for name in tables]
    try:
        with ExitStack() as stack:
            targets = [
                stack.enter_context(replace_file(path, overwrite=overwrite, names=names))
                for path in paths
            ]
            for target, arrow_table in zip(targets, arrow_tables.values(), strict=True):
                parquet.write_table(arrow_table, target)
    except BaseException:
        if is_new and not any(directory.iterdir()):
            directory.rmdir()
        raise
    return paths


def _require_pyarrow(name: str) -> ModuleType:
    """Import a module of the extra `arrow`."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        msg = "Parquet needs pyarrow, which is not installed; run: pip install 'calreg[arrow]'"
        raise MissingExtraError(msg) from error


def _make_folder(directory: Path) -> bool:
    """Make the folder; return whether it is new."""
    try:
        is_new = not directory.exists()
        directory.mkdir(exist_ok=True)
    except FileExistsError as error:
        msg = f"cannot write into {directory}: it is not a folder; give another name"
        raise OutputError(msg) from error
    except OSError as error:
        msg = f"cannot make folder {directory}: {error.strerror or error}"
        raise OutputError(msg) from error
    return is_new


def _arrow_table(
    pyarrow: ModuleType, name: str, table: ParquetTable, meta: Mapping[str, str]
) -> Any:
    """Return a table with units and metadata as pyarrow has it."""
    _check_shape(name, table)
    fields, arrays, lengths = [], [], {}
    for column, values in table.columns.items():
        array = _arrow_array(pyarrow, f"{name}.{column}", values)
        notes = {
            "unit": table.units.get(column, ""),
            "description": table.descriptions.get(column, ""),
        }
        arrays.append(array)
        fields.append(
            pyarrow.field(
                column, array.type, metadata={key: text for key, text in notes.items() if text}
            )
        )
        if pyarrow.types.is_string(array.type):
            longest = max((len(text) for text in array.to_pylist() if text is not None), default=1)
            # astropy reads a null as the text None.
            lengths[column] = max(longest, 4 if array.null_count else 1)
    file_meta = {**meta, "description": table.description}
    schema_meta = {
        **file_meta,
        **{f"table::len::{column}": str(length) for column, length in lengths.items()},
        "table_meta_yaml": _astropy_header(name, table, lengths, file_meta),
    }
    return pyarrow.table(arrays, schema=pyarrow.schema(fields, metadata=schema_meta))


def _check_shape(name: str, table: ParquetTable) -> None:
    """Refuse names that are no file names, uneven columns, and notes on missing columns."""
    if _TABLE_NAME.fullmatch(name) is None:
        msg = f"table name {name!r}: expected lower-case letters, digits and underscores"
        raise InvalidValueError(msg)
    if not table.columns:
        msg = f"table {name}: no columns; expected at least one"
        raise InvalidValueError(msg)
    shapes = {column: values.shape for column, values in table.columns.items()}
    first = next(iter(shapes.values()))
    for column, shape in shapes.items():
        if len(shape) != 1 or shape != first:
            msg = f"table {name}: column {column} has shape {shape}; expected one value per row"
            raise InvalidValueError(msg)
    for column in [*table.units, *table.descriptions]:
        if column not in table.columns:
            msg = f"table {name}: a unit or description is given for {column!r}, which is no column"
            raise InvalidValueError(msg)


def _arrow_array(pyarrow: ModuleType, label: str, values: NDArray[np.generic]) -> Any:
    """Return one column as pyarrow has it; None and NaN are null."""
    if values.dtype.kind in "biuf":
        # from_pandas: NaN means that there is no value.
        return pyarrow.array(values, from_pandas=True)
    if values.dtype.kind == "M":
        return pyarrow.array(values.astype("datetime64[us]"), type=_utc_type(pyarrow))
    if values.dtype.kind not in "UO":
        msg = f"column {label} holds {values.dtype}; expected numbers, truth values, times or text"
        raise InvalidValueError(msg)
    present = [value for value in values.tolist() if value is not None]
    if values.dtype.kind == "U" or all(isinstance(value, str) for value in present):
        return pyarrow.array(values.tolist(), type=pyarrow.string())
    if all(isinstance(value, datetime) and value.tzinfo is not None for value in present):
        return pyarrow.array(values.tolist(), type=_utc_type(pyarrow))
    kinds = {type(value) for value in present}
    for kinds_allowed, arrow_type in (
        ({bool}, pyarrow.bool_()),
        ({int}, pyarrow.int64()),
        ({int, float}, pyarrow.float64()),
    ):
        if kinds <= kinds_allowed:
            return pyarrow.array(values.tolist(), type=arrow_type, from_pandas=True)
    names = ", ".join(sorted(kind.__name__ for kind in kinds))
    msg = f"column {label} holds {names}; expected text, numbers, truth values or aware times"
    raise InvalidValueError(msg)


def _utc_type(pyarrow: ModuleType) -> Any:
    """Return the type of times: microseconds, UTC."""
    return pyarrow.timestamp("us", tz="UTC")


def _astropy_header(
    name: str, table: ParquetTable, lengths: Mapping[str, int], file_meta: Mapping[str, str]
) -> str:
    """Return the YAML header that astropy takes units, descriptions and metadata from."""
    from astropy.table import Column, Table
    from astropy.table.meta import get_yaml_from_table
    from astropy.units import Unit

    header = Table(meta=dict(file_meta))
    for column, values in table.columns.items():
        unit = table.units.get(column)
        try:
            Unit(unit or "")
        except ValueError as error:
            msg = f"table {name}: column {column} has unit {unit!r}, which astropy does not know"
            raise InvalidValueError(msg) from error
        header[column] = Column(
            np.empty(0, dtype=f"U{lengths[column]}" if column in lengths else values.dtype),
            unit=unit,
            description=table.descriptions.get(column),
        )
    return "\n".join(get_yaml_from_table(header))

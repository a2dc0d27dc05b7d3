"""Reader of catalogs that astropy reads: ECSV, CSV, VOTable, Parquet and FITS tables."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from calreg.errors import CatalogColumnError, FileFormatError, MissingExtraError
from calreg.files.columns import SourceColumn, SourceTable, first_run_together
from calreg.files.fitstables import only_table, open_fits, require_complete
from calreg.files.imagenames import image_base_name
from calreg.files.recognise import FileKind
from calreg.files.textrows import first_data_line, line_of_row

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from astropy.table import Table
    from numpy.typing import NDArray

# CSV is read as `basic` with commas: `ascii.csv` fills short rows without a word.
_FORMATS: dict[FileKind, dict[str, Any]] = {
    FileKind.ECSV: {"format": "ascii.ecsv"},
    FileKind.CSV: {"format": "ascii.basic", "delimiter": ",", "comment": "#", "guess": False},
    FileKind.VOTABLE: {"format": "votable", "use_names_over_ids": True},
    FileKind.PARQUET: {"format": "parquet"},
    FileKind.FITS_TABLE: {"format": "fits"},
}
_TEXT_KINDS = (FileKind.ECSV, FileKind.CSV)
_IMAGE_KEYS = ("fitsfile", "image", "image_name")
_DETECTION_IMAGE_KEYS = ("detection_image", "detection_image_name")
_NOT_SETTINGS = ("comments", "history", "date", "__attributes__", "__serialized_columns__")


def read_table(path: Path, kind: FileKind) -> SourceTable:
    """Read a table with astropy.

    Parameters
    ----------
    path : pathlib.Path
    kind : FileKind
        ECSV, CSV, VOTABLE, PARQUET or FITS_TABLE.

    Returns
    -------
    SourceTable
        SkyCoord columns are spread to ``NAME.ra`` and ``NAME.dec`` [deg, ICRS]; masked floats are
        NaN.

    Raises
    ------
    CatalogColumnError
        Names and rows disagree, or two columns run together in the header.
    FileFormatError
        The file cannot be read; where a row is to blame, with the number of its line.
    MissingExtraError
        Parquet without pyarrow.
    """
    if kind is FileKind.FITS_TABLE:
        with open_fits(path) as hdus:
            require_complete(path, hdus)
            only_table(path, hdus)
    table = _read(path, kind)
    columns: dict[str, SourceColumn] = {}
    for name in table.colnames:
        columns.update(_spread(name.lstrip("\ufeff").strip(), table[name]))
    meta = {str(key): value for key, value in table.meta.items()}
    return SourceTable(
        columns=columns,
        n_rows=len(table),
        image_name=_stated(meta, _IMAGE_KEYS),
        detection_image_name=_stated(meta, _DETECTION_IMAGE_KEYS),
        software=_software(meta),
        settings=_flatten(meta),
        is_text=kind in _TEXT_KINDS,
    )


def _read(path: Path, kind: FileKind) -> Table:
    """Read a file with astropy and turn what it raises into one line."""
    from astropy.table import Table
    from astropy.utils.exceptions import AstropyWarning

    if kind is FileKind.PARQUET:
        _require_pyarrow(path)
    try:
        with warnings.catch_warnings():
            # Oddities of units and dialects that do not change the numbers.
            warnings.simplefilter("ignore", AstropyWarning)
            return Table.read(path, **_FORMATS[kind])
    except Exception as error:
        # Each reader raises what its parser does (YAML, XML, Arrow, struct); nothing but the
        # library's call is inside.
        if kind in _TEXT_KINDS:
            _check_names(path, error)
        raise FileFormatError(_unreadable(path, kind, error)) from error


def _require_pyarrow(path: Path) -> None:
    """Refuse Parquet without pyarrow."""
    try:
        import pyarrow as pa  # noqa: F401
    except ImportError as error:
        msg = f"{path}: reading Parquet needs pyarrow; run pip install 'calreg[arrow]'"
        raise MissingExtraError(msg) from error


def _check_names(path: Path, error: Exception) -> None:
    """Say it if the header is why a text table cannot be read."""
    names = [name.strip().strip('"') for name in re.split(r"[,\s]", first_data_line(path))]
    glued = first_run_together(names, min_length=1)
    if glued is not None:
        name, (left, right) = glued
        msg = f"{path}: two columns run together in the header: {name!r} is {left!r} and {right!r}"
        raise CatalogColumnError(msg) from error
    counts = re.search(
        r"header columns \((\d+)\) inconsistent with data columns(?: \((\d+)\))?.*?line (\d+)",
        str(error),
        re.DOTALL,
    )
    if counts is not None:
        line = line_of_row(path, int(counts[3]) + 1, n_header_lines=1)
        msg = (
            f"{path}: line {line}: {counts[2] or 'other'} columns found, {counts[1]} expected from "
            f"the names {', '.join(names)}; make header and rows agree"
        )
        raise CatalogColumnError(msg) from error


def _unreadable(path: Path, kind: FileKind, error: Exception) -> str:
    """Describe in one line what a library could not read."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[0].rstrip(".:") if lines else type(error).__name__
    return f"{path}: cannot be read as {kind} ({reason}); is it complete?"


def _spread(name: str, column: Any) -> dict[str, SourceColumn]:
    """Return a table column as plain arrays, one per sky coordinate or vector element."""
    from astropy.coordinates import SkyCoord

    if isinstance(column, SkyCoord):
        return {
            f"{name}.ra": SourceColumn(_plain(column.icrs.ra.deg), "deg"),
            f"{name}.dec": SourceColumn(_plain(column.icrs.dec.deg), "deg"),
        }
    values = _plain(getattr(column, "value", column))
    unit = str(getattr(column, "unit", None) or "")
    if values.ndim == 1:
        return {name: SourceColumn(values, unit)}
    if values.ndim == 2:
        return {
            name if i == 0 else f"{name}_{i}": SourceColumn(values[:, i], unit)
            for i in range(values.shape[1])
        }
    return {}


def _plain(values: Any) -> NDArray[Any]:
    """Return an array whose masked floats are NaN; other masks stay."""
    if hasattr(values, "unmasked"):
        values = np.ma.MaskedArray(values.unmasked, mask=values.mask)
    if isinstance(values, np.ma.MaskedArray):
        if values.dtype.kind == "f":
            return np.asarray(values.filled(np.nan))
        return values if np.ma.is_masked(values) else np.asarray(values.data)
    return np.asarray(values)


def _stated(meta: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    """Return the first of some keys of the metadata, in any case, as a bare file name."""
    by_lower = {key.lower(): value for key, value in meta.items()}
    found = next((by_lower[key] for key in keys if isinstance(by_lower.get(key), str)), "")
    return image_base_name(found)


def _software(meta: Mapping[str, Any]) -> str:
    """Return the program with its version, where the metadata list versions."""
    for key in ("versions", "version"):
        versions = meta.get(key)
        if isinstance(versions, dict):
            for program in ("jwst", "photutils"):
                if versions.get(program):
                    return f"{program} {versions[program]}"
    return ""


def _flatten(meta: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested metadata as text, keys joined by dots."""
    settings: dict[str, str] = {}
    for key, value in meta.items():
        if key.lower() in _NOT_SETTINGS:
            continue
        if isinstance(value, dict):
            nested = {str(inner): content for inner, content in value.items()}
            settings.update(_flatten(nested, f"{prefix}{key}."))
        elif isinstance(value, (list, tuple, np.ndarray)):
            settings[f"{prefix}{key}"] = " ".join(str(item) for item in value)
        else:
            settings[f"{prefix}{key}"] = str(value)
    return settings

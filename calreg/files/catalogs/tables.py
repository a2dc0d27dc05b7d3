"""Reader of catalogs that astropy reads: ECSV, CSV, VOTable, Parquet and FITS tables."""

from __future__ import annotations

import io
import re
import warnings
from codecs import BOM_UTF8
from typing import TYPE_CHECKING, Any

import numpy as np

from calreg.errors import CalregError, CatalogColumnError, FileFormatError, MissingExtraError
from calreg.files.catalogs.columns import (
    SourceColumn,
    SourceTable,
    first_data_line,
    first_run_together,
    image_base_name,
    line_of_row,
)
from calreg.files.catalogs.fitstables import (
    null_cells,
    only_table,
    open_fits,
    require_complete,
    spread,
    spread_columns,
    with_nulls,
)
from calreg.files.readguard import (
    require_few_nodes,
    require_plausible_size,
    require_shallow,
    require_shallow_header,
)
from calreg.files.recognise import FileKind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from astropy.table import Table
    from numpy.typing import NDArray

# CSV is read as `basic` with commas: `ascii.csv` fills short rows without a word.
_FORMATS: dict[FileKind, dict[str, Any]] = {
    FileKind.ECSV: {"format": "ascii.ecsv"},
    FileKind.CSV: {
        "format": "ascii.basic",
        "delimiter": ",",
        "comment": "#",
        "guess": False,
        "fill_values": [(text, "0") for text in ("", "null", "NULL", "NA", "N/A", "None", "--")],
    },
    FileKind.VOTABLE: {"format": "votable", "use_names_over_ids": True},
    FileKind.FITS_TABLE: {"format": "fits"},
}
_CELL_BYTES = 8
"""Of a number in memory."""

_TEXT_KINDS = (FileKind.ECSV, FileKind.CSV)
_IMAGE_KEYS = ("fitsfile", "image", "image_name")
_DETECTION_IMAGE_KEYS = ("detection_image", "detection_image_name")
_NOT_SETTINGS = ("comments", "history", "date", "__attributes__", "__serialized_columns__")


def read_table(path: Path, kind: FileKind) -> SourceTable:
    """Read a table with astropy.

    Returns
    -------
    SourceTable
        SkyCoord columns are spread to ``NAME.ra`` and ``NAME.dec`` [deg, ICRS]; masked and null
        floats are NaN, other such cells masked.

    Raises
    ------
    CatalogColumnError
        Names and rows disagree, or two columns run together in the header.
    FileFormatError
        The file cannot be read; where a row is to blame, with the number of its line.
    MissingExtraError
        Parquet without pyarrow.
    """
    if kind is FileKind.PARQUET:
        columns, meta = _read_parquet(path)
    elif kind is FileKind.FITS_TABLE:
        columns, meta = _read_fits(path)
    else:
        columns, meta = _columns_of(_read(path, kind))
    return SourceTable(
        columns=columns,
        n_rows=next((len(column.values) for column in columns.values()), 0),
        image_name=_stated(meta, _IMAGE_KEYS),
        detection_image_name=_stated(meta, _DETECTION_IMAGE_KEYS),
        software=_software(meta),
        settings=_flatten(meta),
        is_text=kind in _TEXT_KINDS,
    )


def _columns_of(table: Table) -> tuple[dict[str, SourceColumn], dict[str, Any]]:
    """Return columns and metadata of a table of astropy's."""
    columns: dict[str, SourceColumn] = {}
    for name in table.colnames:
        columns.update(_spread(name.strip(), table[name]))
    return columns, {str(key): value for key, value in table.meta.items()}


def _read_fits(path: Path) -> tuple[dict[str, SourceColumn], dict[str, Any]]:
    """Return columns and metadata of a FITS table; nulls are the file's, astropy misses some."""
    with open_fits(path) as hdus:
        require_complete(path, hdus)
        hdu = only_table(path, hdus)
        if hdu.header["XTENSION"] == "TABLE":
            return spread_columns(path, hdu), {}
        nulls = {} if hdu.data is None else null_cells(hdu)
    columns, meta = _columns_of(_read(path, FileKind.FITS_TABLE))
    for name, is_null in nulls.items():
        if name in columns:
            values = with_nulls(np.ma.getdata(columns[name].values), is_null)
            columns[name] = SourceColumn(values, columns[name].unit)
    return columns, meta


def _read(path: Path, kind: FileKind) -> Table:
    """Read a file with astropy and turn what it raises into one line."""
    from astropy.table import Table
    from astropy.utils.exceptions import AstropyWarning

    try:
        # astropy neither closes a text file that it fails on nor knows byte-order marks.
        is_text = kind in _TEXT_KINDS
        source: Path | io.BytesIO = path
        if is_text:
            content = path.read_bytes().removeprefix(BOM_UTF8)
            if kind is FileKind.ECSV:
                require_shallow_header(path, content)
            source = io.BytesIO(content)
        with warnings.catch_warnings():
            # Oddities of units and dialects that do not change the numbers.
            warnings.simplefilter("ignore", AstropyWarning)
            table = Table.read(source, **_FORMATS[kind])
        require_few_nodes(path, table.meta)
    except CalregError:
        raise
    except Exception as error:
        # Each reader raises what its parser does (YAML, XML, struct); nothing but the library's
        # call is inside.
        if kind in _TEXT_KINDS:
            _check_names(path, kind, error)
        raise FileFormatError(_unreadable(path, kind, error)) from error
    return table


def _read_parquet(path: Path) -> tuple[dict[str, SourceColumn], dict[str, Any]]:
    """Return columns and metadata of a Parquet file.

    Units are taken from the field's metadata (key ``unit``), else from the YAML header that astropy
    leaves. Read with pyarrow alone: astropy's reader needs pandas too.
    """
    from astropy.table.meta import get_header_from_yaml

    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        msg = f"{path}: reading Parquet needs pyarrow; run pip install 'calreg[arrow]'"
        raise MissingExtraError(msg) from error
    try:
        _require_plausible(path, pq.read_metadata(path))
        table = pq.read_table(path)
        header: dict[str, Any] = {}
        text = (table.schema.metadata or {}).get(b"table_meta_yaml", b"").decode("utf-8")
        if text:
            require_shallow(path, text.encode())
            header = get_header_from_yaml(text.split("\n"))
            require_few_nodes(path, header)
    except CalregError:
        raise
    except Exception as error:
        # Arrow and YAML raise their own; nothing but their calls is inside.
        raise FileFormatError(_unreadable(path, FileKind.PARQUET, error)) from error
    units = {
        column["name"]: str(column["unit"])
        for column in header.get("datatype", ())
        if column.get("unit") is not None
    }
    columns: dict[str, SourceColumn] = {}
    for field in table.schema:
        cells = table[field.name]
        values = cells.to_numpy()
        if cells.null_count and (
            pa.types.is_integer(field.type) or pa.types.is_boolean(field.type)
        ):
            # to_numpy makes floats or objects of them.
            blank = False if pa.types.is_boolean(field.type) else 0
            filled = cells.fill_null(fill_value=blank).to_numpy()
            values = np.ma.MaskedArray(filled, cells.is_null().to_numpy())
        stated = (field.metadata or {}).get(b"unit", b"").decode("utf-8")
        columns[field.name] = SourceColumn(values, stated or units.get(field.name, ""))
    return columns, dict(header.get("meta") or {})


def _require_plausible(path: Path, metadata: Any) -> None:
    """Refuse a Parquet file whose metadata state far more than it can hold."""
    size_bytes = path.stat().st_size
    n_rows, n_columns = metadata.num_rows, metadata.num_columns
    what = f"{n_columns} columns of {n_rows} rows"
    n_unpacked = sum(
        metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups)
    )
    n_bytes = max(_CELL_BYTES * n_columns * n_rows, n_unpacked)
    require_plausible_size(path, size_bytes, n_bytes, what)


def _check_names(path: Path, kind: FileKind, error: Exception) -> None:
    """Report it if the header is why a text table cannot be read."""
    separator = "," if kind is FileKind.CSV else r"[,\s]"
    names = [name.strip().strip('"') for name in re.split(separator, first_data_line(path))]
    glued = first_run_together(names, min_length=1)
    if glued is not None:
        name, (left, right) = glued
        msg = f"{path}: two columns run together in the header: {name!r} is {left!r} and {right!r}"
        raise CatalogColumnError(msg) from error
    counts = re.search(r"header columns \((\d+)\) inconsistent .* line (\d+)", str(error))
    if counts is not None:
        line = line_of_row(path, int(counts[2]) + 1, n_header_lines=1)
        msg = (
            f"{path}: line {line}: more or fewer columns than the {counts[1]} names "
            f"{', '.join(names)}; make header and rows agree"
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
    return {part: SourceColumn(cells, unit) for part, cells in spread(name, values).items()}


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

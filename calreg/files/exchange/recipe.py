"""Recipe tables: published corrections as ECSV, read and written.

One row per array id and band, columns and sense of the table published with Ma et al. (2024):
``det filt dmag_ab dmag_ab_err dmag_a dmag_b slope slope_err``. A positive ``dmag_a`` means that
module A reads too faint; its flux is multiplied by ``10**(+0.4 * dmag_a)``.

References
----------
Ma et al. 2024, Table 3 and Eq. 11; Jerry-Ma/idf_nircam_cal_recipe,
``tables/idf_zpcor_1130_pmap.ecsv``.
"""

from __future__ import annotations

import io
import math
import warnings
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from calreg.domain import Pmap, RecipeRow
from calreg.errors import CalregError, FileFormatError, InvalidValueError, UnknownKeyError
from calreg.files.atomic import format_utc, replace_file, sha256_of
from calreg.files.readguard import require_shallow_header

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from astropy.table import Table

    from calreg.files.atomic import NamedFiles
    from calreg.instruments import Instrument

COLUMN_UNITS = {
    "det": "",
    "filt": "",
    "dmag_ab": "mag",
    "dmag_ab_err": "mag",
    "dmag_a": "mag",
    "dmag_b": "mag",
    "slope": "mag / arcmin",
    "slope_err": "mag / arcmin",
}
"""Columns in their order, with their units."""

COLUMN_DESCRIPTIONS = {
    "det": "array id that modules A and B share",
    "filt": "band",
    "dmag_ab": "m_A - m_B at d = 0",
    "dmag_ab_err": "standard error of dmag_ab",
    "dmag_a": "correction of module A",
    "dmag_b": "correction of module B",
    "slope": "gradient along the field's axis",
    "slope_err": "standard error of slope",
}

SIGN_SENTENCE = "positive: module A reads too faint; multiply its flux by 10**(+0.4*dmag)"

TITLE = "NIRCam photometric offsets between modules A and B"

SHARE_TOLERANCE_MAG = 1e-9
"""How far dmag_a - dmag_b may lie from dmag_ab [mag]: rounding, far below any error."""


@dataclass(frozen=True)
class RecipeTable:
    """A recipe as read.

    Attributes
    ----------
    as_given : tuple of dict
        The rows, column name to value, as they stand in the file.
    meta : dict of str to object
        The table's metadata; empty for the published table.
    """

    rows: tuple[RecipeRow, ...]
    as_given: tuple[dict[str, str | float], ...]
    meta: dict[str, object]
    file_sha256: str


@dataclass(frozen=True)
class RecipeProvenance:
    """Where one row of an exported recipe comes from.

    Attributes
    ----------
    datum : str
        What is held at zero.
    pmap : str
        Context that it was measured under, which is another one where it was accepted for this.
    """

    set_id: str
    version: int
    datum: str
    axis_pa_deg: float
    origin_ra_deg: float
    origin_dec_deg: float
    model: str
    model_version: int
    n_pairs: int
    field: str
    flux_kind: str
    aperture: str = ""
    image_kind: str = ""
    pmap: str = ""


@dataclass(frozen=True)
class RecipeMeta:
    """What an exported recipe says about itself.

    Attributes
    ----------
    pmap : Pmap
        Context that the offsets hold for.
    provenance : mapping of str to RecipeProvenance
        By `provenance_key`.
    source : str
        Citation of rows that are not from a coefficient set.
    left_out : tuple of str
        What is not in the table although there are sets, with the reasons.
    """

    pmap: Pmap
    code_version: str
    created_utc: datetime
    provenance: Mapping[str, RecipeProvenance] = field(default_factory=dict)
    source: str = ""
    left_out: tuple[str, ...] = ()


def provenance_key(array_id: str, band: str) -> str:
    """Return the key of a row's provenance, ``det filt`` as in the table: ``long f444w``."""
    return f"{array_id.lower()} {band.lower()}"


def read_recipe(path: Path, instrument: Instrument) -> RecipeTable:
    """Read a recipe: the published table, or one that calreg exported.

    Columns without a unit are taken as mag and mag / arcmin, as published.

    Raises
    ------
    FileFormatError
        If the file is not ECSV, lacks a column, has another unit, is empty, or a row has a missing
        or non-finite number, a negative error, an unknown array id or band, a second row for its
        key, or shares that do not add up to dmag_ab; or if a file that calreg wrote is truncated.
    """
    file_sha256 = sha256_of(path)
    table = _read_ecsv(path)
    _check_columns(table, path)
    as_given = tuple(_row_as_given(table, index, path) for index in range(len(table)))
    rows = tuple(_recipe_row(given) for given in as_given)
    problem = _first_problem(rows, instrument) or _truncation_problem(rows, table.meta, path)
    if problem is not None:
        msg = f"{path}: {problem}"
        raise FileFormatError(msg)
    return RecipeTable(rows, as_given, dict(table.meta), file_sha256)


def write_recipe(
    path: Path,
    rows: Sequence[RecipeRow],
    meta: RecipeMeta,
    instrument: Instrument,
    *,
    overwrite: bool = False,
    names: NamedFiles | None = None,
) -> list[Path]:
    """Write a recipe that the published script reads.

    The file is ordered by array id and band, so that equal input gives equal bytes. `names` takes
    it back where its block raises later.

    Raises
    ------
    InvalidValueError
        If a row could not be read back, or has neither provenance nor a source.
    OutputError
        If the file cannot be written.

    Notes
    -----
    Floats are written with as many digits as give the same double back. The script picks numbers
    from a `~astropy.table.Table`, where units do not enter arithmetic; a `~astropy.table.QTable`
    refuses ``10**(dmag_a / 2.5)`` and needs ``dmag_a.value``.
    """
    ordered = sorted(rows, key=lambda row: (row.array_id, row.band))
    problem = _first_problem(ordered, instrument) or _provenance_problem(ordered, meta)
    if problem is not None:
        msg = f"cannot write {path}: {problem}"
        raise InvalidValueError(msg)
    text = io.StringIO()
    _as_table(ordered, meta).write(text, format="ascii.ecsv")
    with replace_file(path, overwrite=overwrite, names=names) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8", newline="\n")
    return [path]


def _read_ecsv(path: Path) -> Table:
    """Read any ECSV file."""
    from astropy.io.ascii.ecsv import InvalidEcsvDatatypeWarning
    from astropy.table import Table
    from astropy.table.meta import YamlParseError

    try:
        with warnings.catch_warnings():
            # The columns that matter are checked afterwards.
            warnings.simplefilter("ignore", InvalidEcsvDatatypeWarning)
            require_shallow_header(path, path.read_bytes())
            return Table.read(path, format="ascii.ecsv")
    except CalregError:
        raise
    # Broken headers surface as whatever their YAML leads to (astropy 8.0).
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        YamlParseError,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        msg = f"{path}: not a readable ECSV table ({reason}); expected a file that begins '# %ECSV'"
        raise FileFormatError(msg) from error


def _check_columns(table: Table, path: Path) -> None:
    """Refuse missing columns, other units, text where numbers belong, and an empty table."""
    missing = [name for name in COLUMN_UNITS if name not in table.colnames]
    if missing:
        msg = (
            f"{path}: no column {', '.join(missing)}; expected {' '.join(COLUMN_UNITS)}, "
            f"found {' '.join(table.colnames) or 'none'}"
        )
        raise FileFormatError(msg)
    for name, unit in COLUMN_UNITS.items():
        column = table[name]
        if not unit:
            continue
        # Units are compared as astropy prints them: 'mag/arcmin' reads back as 'mag / arcmin'.
        if column.unit is not None and str(column.unit) != unit:
            msg = f"{path}: column {name} is in {str(column.unit)!r}; expected {unit!r} or no unit"
            raise FileFormatError(msg)
        if column.ndim != 1 or column.dtype.kind not in "fiu":
            msg = f"{path}: column {name} holds {column.dtype}; expected one number per row"
            raise FileFormatError(msg)
    if len(table) == 0:
        msg = f"{path}: no rows; expected one per array id and band"
        raise FileFormatError(msg)


def _row_as_given(table: Table, index: int, path: Path) -> dict[str, str | float]:
    """Return one row as plain text and floats."""
    import numpy as np

    given: dict[str, str | float] = {}
    for name, unit in COLUMN_UNITS.items():
        value = table[name][index]
        if np.ma.is_masked(value):
            msg = f"{path}: row {index + 1}: no value of {name}"
            raise FileFormatError(msg)
        given[name] = float(value) if unit else str(value)
    return given


def _recipe_row(given: Mapping[str, str | float]) -> RecipeRow:
    """Return one row in calreg's words."""
    return RecipeRow(
        band=str(given["filt"]).strip().upper(),
        array_id=str(given["det"]).strip().lower(),
        offset_ab_mag=float(given["dmag_ab"]),
        offset_ab_err_mag=float(given["dmag_ab_err"]),
        offset_a_mag=float(given["dmag_a"]),
        offset_b_mag=float(given["dmag_b"]),
        slope_mag_arcmin=float(given["slope"]),
        slope_err_mag_arcmin=float(given["slope_err"]),
    )


def _numbers(row: RecipeRow) -> dict[str, float]:
    """Return a row's numbers by column name, in the order of the table."""
    return {
        "dmag_ab": row.offset_ab_mag,
        "dmag_ab_err": row.offset_ab_err_mag,
        "dmag_a": row.offset_a_mag,
        "dmag_b": row.offset_b_mag,
        "slope": row.slope_mag_arcmin,
        "slope_err": row.slope_err_mag_arcmin,
    }


def _first_problem(rows: Sequence[RecipeRow], instrument: Instrument) -> str | None:
    """Name the problem of the first bad row, if any."""
    if not rows:
        return "no rows; expected one per array id and band"
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        key = provenance_key(row.array_id, row.band)
        where = f"row {number} ({key})"
        if key in seen:
            return f"{where}: the key is also in row {seen[key]}; expected one row per det and filt"
        seen[key] = number
        problem = _key_problem(row, instrument) or _number_problem(row)
        if problem is not None:
            return f"{where}: {problem}"
    return None


def _key_problem(row: RecipeRow, instrument: Instrument) -> str | None:
    """Name the problem of a row's array id and band, if any."""
    if row.array_id not in instrument.array_ids:
        return f"det is {row.array_id!r}; expected one of {', '.join(instrument.array_ids)}"
    try:
        band = instrument.band_named(row.band)
    except UnknownKeyError:
        return f"filt is {row.band.lower()!r}; expected a band of {instrument.name}, such as f150w"
    channel = next(
        array.channel for array in instrument.arrays.values() if array.array_id == row.array_id
    )
    if band.channel != channel:
        return f"{row.band} is a {band.channel} band and array {row.array_id} is {channel}"
    return None


def _number_problem(row: RecipeRow) -> str | None:
    """Name the problem of a row's numbers, if any."""
    for name, value in _numbers(row).items():
        if not math.isfinite(value):
            return f"{name} is {value}; expected a finite number"
        if name.endswith("_err") and value < 0.0:
            return f"{name} is {value!r}; expected zero or more"
    shared_mag = row.offset_a_mag - row.offset_b_mag
    if abs(shared_mag - row.offset_ab_mag) > SHARE_TOLERANCE_MAG:
        return (
            f"dmag_a - dmag_b is {shared_mag!r} but dmag_ab is {row.offset_ab_mag!r}; "
            f"expected them equal within {SHARE_TOLERANCE_MAG:g} mag"
        )
    return None


def _truncation_problem(
    rows: Sequence[RecipeRow], meta: Mapping[str, object], path: Path
) -> str | None:
    """Report that a file that calreg wrote lacks its end, if it does."""
    if "calreg_version" not in meta:
        return None
    provenance = meta.get("provenance")
    keys = {provenance_key(row.array_id, row.band) for row in rows}
    lost = sorted(set(provenance) - keys) if isinstance(provenance, dict) else []
    if lost:
        return f"no row of {lost[0]}, which its provenance names; the file is truncated"
    # A number that is cut short still reads as a number.
    if not path.read_bytes().endswith(b"\n"):
        return "the last line has no end; the file is truncated"
    return None


def _provenance_problem(rows: Sequence[RecipeRow], meta: RecipeMeta) -> str | None:
    """Name a row without origin, or an origin without row, if any."""
    keys = [provenance_key(row.array_id, row.band) for row in rows]
    if not meta.source:
        for key in keys:
            if key not in meta.provenance:
                return f"row ({key}) has no provenance; expected its coefficient set or a source"
    stray = sorted(set(meta.provenance) - set(keys))
    if stray:
        return f"provenance of {stray[0]!r} belongs to no row"
    return None


def _as_table(rows: Sequence[RecipeRow], meta: RecipeMeta) -> Table:
    """Build the table that is written."""
    from astropy.table import Table

    table = Table()
    table["det"] = [row.array_id for row in rows]
    table["filt"] = [row.band.lower() for row in rows]
    for name in _numbers(rows[0]):
        table[name] = [_numbers(row)[name] for row in rows]
        table[name].unit = COLUMN_UNITS[name]
        # How it prints, as in the published table; the text has all digits.
        table[name].format = "%.5f"
    for name, description in COLUMN_DESCRIPTIONS.items():
        table[name].description = description
    table.meta.update(
        {
            "title": TITLE,
            "sign": SIGN_SENTENCE,
            "pmap": meta.pmap.name,
            "calreg_version": meta.code_version,
            "created_utc": format_utc(meta.created_utc),
        }
    )
    if meta.source:
        table.meta["source"] = meta.source
    if meta.left_out:
        table.meta["left_out"] = list(meta.left_out)
    if meta.provenance:
        table.meta["provenance"] = {
            key: asdict(meta.provenance[key]) for key in sorted(meta.provenance)
        }
    return table

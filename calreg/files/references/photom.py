"""Photom reference files of NIRCam imaging: a corrected copy of a parent, or one of our own.

One file per detector. A copy has the rows of the corrected bands (FILTER and PUPIL, for every
subarray) multiplied by ``10**(+0.4 offset)``; every other row, every other HDU and every other card
keeps its bytes. TIMECOEFF HDUs belong to the table by row number, so that the order of rows stays.

References
----------
stdatamodels 6.0, ``nrcimg_photom.schema.yaml``; jwst 3.0, ``photom.PhotomStep``, which picks the
row by filter and pupil, and by subarray where the table has that column.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calreg.errors import FileFormatError, HeaderValueError, InvalidValueError
from calreg.files.readguard import refuse_damaged
from calreg.files.references.parents import (
    Parent,
    ReferenceMeta,
    edited_header,
    read_parent,
    spliced,
    table_of,
)
from calreg.units import ARCSEC_PER_DEG, MAG_PER_RELATIVE_FLUX

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from calreg.domain import BoolArray
    from calreg.instruments import Array, Instrument

REFTYPE = "PHOTOM"
DATA_MODEL = "NrcImgPhotomModel"
TABLE = "PHOTOM"
COLUMNS = ("filter", "pupil", "photmjsr", "uncertainty")
TIME_TABLES = ("TIMECOEFF_LINEAR", "TIMECOEFF_EXPONENTIAL", "TIMECOEFF_POWERLAW")

PIXEL_AREA_CARDS = ("PIXAR_SR", "PIXAR_A2")

_NAME_BYTES = 12


@dataclass(frozen=True)
class PhotomScaling:
    """What is done to the rows of one band (FILTER and PUPIL): PHOTMJSR times `factor`.

    `err_mag` is the standard error of the factor [mag].
    """

    filter: str
    pupil: str
    factor: float
    err_mag: float


@dataclass(frozen=True)
class PhotomRow:
    """One row of a table; `photmjsr` and its `uncertainty` in [MJy/sr per DN/s].

    `subarray` is empty in a table without that column, whose rows hold for every subarray.
    """

    filter: str
    pupil: str
    subarray: str
    photmjsr: float
    uncertainty: float

    @property
    def key(self) -> tuple[str, str, str]:
        """What the pipeline picks a row by."""
        return self.filter, self.pupil, self.subarray


def read_photom_parent(path: Path, instrument: Instrument) -> Parent:
    """Read a photom file that may be copied.

    Raises
    ------
    FileFormatError
        If the file is not FITS, is truncated, or has no usable table.
    HeaderValueError
        If it lacks the pixel area.
    UnsupportedDataError
        If it is not a photom file from flight, for imaging with the instrument.
    """
    parent = read_parent(path, REFTYPE, DATA_MODEL, instrument)
    with refuse_damaged(path):
        rows = rows_of(_require_table(parent, path.read_bytes()))
    repeated = [key for key, count in Counter(row.key for row in rows).items() if count > 1]
    if repeated:
        msg = (
            f"{path}: {TABLE} has two rows of {' '.join(filter(None, repeated[0]))}; "
            "expected one: the pipeline stops at them"
        )
        raise FileFormatError(msg)
    for keyword in PIXEL_AREA_CARDS:
        value = parent.headers.primary.get(keyword)
        if not isinstance(value, int | float) or not value > 0.0:
            msg = f"{path}: {keyword} is {value!r}; expected a positive number"
            raise HeaderValueError(msg)
    return parent


def photom_rows(parent: Parent) -> list[PhotomRow]:
    """Return the rows of a parent in the order of the file."""
    with refuse_damaged(parent.path):
        return rows_of(_require_table(parent, parent.path.read_bytes()))


def has_time_dependence(parent: Parent) -> bool:
    """Tell whether headers have PHOTMJSR other than the table's, for the time of the exposure."""
    return any(parent.headers.find(name) is not None for name in TIME_TABLES)


def rows_of(table: NDArray[np.void]) -> list[PhotomRow]:
    """Return the rows of a table as it is stored."""
    names = table.dtype.names or ()
    return [
        PhotomRow(
            filter=_text(row["filter"]),
            pupil=_text(row["pupil"]),
            subarray=_text(row["subarray"]) if "subarray" in names else "",
            photmjsr=float(row["photmjsr"]),
            uncertainty=float(row["uncertainty"]),
        )
        for row in table
    ]


def corrected_copy(
    parent: Parent, scalings: Sequence[PhotomScaling], meta: ReferenceMeta, file_name: str
) -> bytes:
    """Return a parent's bytes with the rows of some bands scaled.

    Raises
    ------
    InvalidValueError
        If the parent has no row for a band, or has one that is not positive.

    Notes
    -----
    ``photmjsr`` is multiplied in double precision and rounded once. ``uncertainty``, in the unit of
    ``photmjsr``, becomes ``factor * sqrt(uncertainty**2 + (photmjsr * 0.921 err_mag)**2)``; one
    that is not a number, which says that it is not known, stays so.
    """
    with refuse_damaged(parent.path):
        content = parent.path.read_bytes()
        table = _require_table(parent, content)
        unit = parent.require_unit(TABLE)
        for scaling in scalings:
            _scale(table, scaling, parent)
        description = (
            f"NIRCam imaging photom of {parent.array.detector}, offsets between modules under "
            f"{meta.pmap.name} corrected ({meta.basis})"
        )
        primary = parent.headers.primary
        replaced = {
            (primary.header_start, primary.data_start): edited_header(
                primary, meta.cards(file_name, description), meta.history_lines(parent)
            ),
            (unit.header_start, unit.data_start): edited_header(unit, {}, ()),
            (unit.data_start, unit.data_start + table.nbytes): table.tobytes(),
        }
        return spliced(content, replaced)


def new_photom(
    array: Array,
    rows: Sequence[PhotomRow],
    pixar_sr: float,
    meta: ReferenceMeta,
    file_name: str,
    *,
    instrument: Instrument,
) -> bytes:
    """Return a photom file without a parent, from corrected values and the pixel area [sr].

    Subarrays are not written, so that a row holds for every one.
    """
    import io

    from astropy.io import fits

    bands = " ".join(sorted({instrument.band(row.filter, row.pupil).name for row in rows}))
    description = (
        f"NIRCam imaging photom of {array.detector} from PHOTMJSR of exposures under "
        f"{meta.pmap.name}, no parent file, only {bands}; offsets between modules corrected "
        f"({meta.basis})"
    )
    primary = fits.PrimaryHDU()
    types = instrument.imaging_exposure_types
    for keyword, value in {
        **meta.cards(file_name, description),
        "FILETYPE": REFTYPE,
        "DATAMODL": DATA_MODEL,
        "TELESCOP": instrument.telescope,
        "REFTYPE": REFTYPE,
        "USEAFTER": f"{meta.useafter_utc:%Y-%m-%dT%H:%M:%S}",
        "INSTRUME": instrument.name,
        "DETECTOR": array.detector,
        "EXP_TYPE": types[0],
        "P_EXP_TY": "".join(f"{name}|" for name in types),
        "PIXAR_SR": pixar_sr,
        "PIXAR_A2": pixar_sr * math.degrees(1.0) ** 2 * ARCSEC_PER_DEG**2,
    }.items():
        primary.header[keyword] = value
    for line in meta.history_lines(None):
        primary.header.add_history(line)
    table = np.array(
        [(row.filter, row.pupil, row.photmjsr, row.uncertainty) for row in rows],
        dtype=[
            ("filter", f"S{_NAME_BYTES}"),
            ("pupil", f"S{_NAME_BYTES}"),
            ("photmjsr", ">f4"),
            ("uncertainty", ">f4"),
        ],
    )
    stream = io.BytesIO()
    fits.HDUList([primary, fits.BinTableHDU(table, name=TABLE)]).writeto(stream)
    return stream.getvalue()


def _require_table(parent: Parent, content: bytes) -> NDArray[np.void]:
    """Return the table of a parent, or refuse it."""
    unit = parent.require_unit(TABLE)
    table = table_of(content, unit)
    names = table.dtype.names or ()
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        msg = f"{parent.path}: {TABLE} has no column {', '.join(missing)}; expected {COLUMNS}"
        raise FileFormatError(msg)
    for name in ("photmjsr", "uncertainty"):
        dtype = table.dtype[name]
        if dtype.kind != "f" or dtype.shape:
            msg = f"{parent.path}: column {name} of {TABLE} holds {dtype}; expected one number"
            raise FileFormatError(msg)
    return table


def _scale(table: NDArray[np.void], scaling: PhotomScaling, parent: Parent) -> None:
    """Scale the rows of one band in place."""
    is_band = _is_band(table, scaling.filter, scaling.pupil)
    if not is_band.any():
        pairs = sorted({(row.filter, row.pupil) for row in rows_of(table)})
        msg = (
            f"{parent.path}: no row with filter {scaling.filter} and pupil {scaling.pupil}; "
            f"found {', '.join('+'.join(pair) for pair in pairs) or 'none'}"
        )
        raise InvalidValueError(msg)
    photmjsr = table["photmjsr"][is_band].astype(np.float64)
    uncertainty = table["uncertainty"][is_band].astype(np.float64)
    if not (photmjsr > 0.0).all():
        msg = (
            f"{parent.path}: photmjsr of {scaling.filter} {scaling.pupil} is {photmjsr.min()}; "
            "expected positive values"
        )
        raise InvalidValueError(msg)
    own = photmjsr * scaling.err_mag / MAG_PER_RELATIVE_FLUX
    table["photmjsr"][is_band] = scaling.factor * photmjsr
    table["uncertainty"][is_band] = scaling.factor * np.hypot(uncertainty, own)


def _is_band(table: NDArray[np.void], filter_name: str, pupil: str) -> BoolArray:
    """Return which rows are of one band."""
    return np.array(
        [
            _text(row["filter"]) == filter_name and _text(row["pupil"]) == pupil
            for row in table[["filter", "pupil"]]
        ],
        dtype=np.bool_,
    )


def _text(value: bytes) -> str:
    """Return a table's text in the case that the pipeline compares in."""
    return value.decode("ascii").strip().upper()

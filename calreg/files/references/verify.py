"""Our own checks of photom and flat files, for what validators and the pipeline let pass.

The pipeline takes a file for the wrong detector, applies NaN, and leaves data in DN/s where no row
matches, each time with S_PHOTOM COMPLETE; strict validation and certify see none of it. Files are
read back from disk before they get their name.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from calreg.errors import OutputError
from calreg.files.fits.headers import HeaderUnit, read_headers
from calreg.files.readguard import refuse_damaged
from calreg.files.references import flat as flatfile
from calreg.files.references import photom as photomfile
from calreg.files.references.parents import Parent, table_of, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from calreg.files.fits.headers import FitsHeaders
    from calreg.files.references.flat import Window
    from calreg.files.references.photom import PhotomRow, PhotomScaling
    from calreg.instruments import Array, Band, Instrument
    from calreg.units import FloatArray

FLOAT32_TOLERANCE = 2.0 * float(np.finfo(np.float32).eps)
"""Relative; a value is rounded to single precision once."""

MEAN_TOLERANCE = 1e-7
"""How far the mean of a delta flat may be from one: roundings of single precision average out."""

_CARDS = ("AUTHOR", "DESCRIP", "PEDIGREE", "USEAFTER", "HISTORY", "FILENAME")


def check_photom(
    path: Path,
    array: Array,
    expected: Sequence[PhotomRow],
    *,
    parent: Parent | None = None,
    scalings: Sequence[PhotomScaling] = (),
    instrument: Instrument,
) -> None:
    """Check a photom file that was written, and refuse it for the first thing that is wrong.

    Parameters
    ----------
    expected : sequence of PhotomRow
        Rows before correction: the parent's, or those that a file of our own was made from.
    scalings : sequence of PhotomScaling
        Bands that differ from `expected`, by how much.
    """
    problems = _photom_problems(path, array, expected, parent, scalings, instrument)
    _refuse_first(path, f"photom file of {array.name}", problems)


def check_flat(
    path: Path,
    array: Array,
    band: Band,
    window: Window,
    delta: FloatArray,
    *,
    parent: Parent | None = None,
    instrument: Instrument,
) -> None:
    """Check a flat that was written, and refuse it for the first thing that is wrong.

    Parameters
    ----------
    window : Window
        Its pixels.
    delta : ndarray of float64, shape (n_pixels, n_pixels)
        The delta flat of the whole array.
    parent : Parent, optional
        Of a product.
    """
    problems = _flat_problems(path, array, band, window, delta, parent, instrument)
    _refuse_first(path, f"flat of {array.name} {band.name}", problems)


def _refuse_first(path: Path, what: str, problems: Iterator[str]) -> None:
    """Raise an error for the first problem."""
    with refuse_damaged(path):
        problem = next(problems, None)
    if problem is not None:
        msg = f"the {what} failed its check and was removed: {problem}"
        raise OutputError(msg)


def _card_problems(
    headers: FitsHeaders, array: Array, reftype: str, model: str, instrument: Instrument
) -> Iterator[str]:
    """Yield what is wrong with the cards that every reference file has."""
    primary = headers.primary
    for keyword, expected in (
        ("TELESCOP", instrument.telescope),
        ("INSTRUME", instrument.name),
        ("DETECTOR", array.detector),
        ("REFTYPE", reftype),
        ("DATAMODL", model),
    ):
        found = text_of(primary, keyword)
        if found.upper() != expected.upper():
            yield f"{keyword} is {found!r}, expected {expected!r}"
    for keyword in _CARDS:
        if keyword.encode("ascii").ljust(8) not in primary.offsets:
            yield f"no card {keyword}"


def _photom_problems(
    path: Path,
    array: Array,
    expected: Sequence[PhotomRow],
    parent: Parent | None,
    scalings: Sequence[PhotomScaling],
    instrument: Instrument,
) -> Iterator[str]:
    """Yield what is wrong with a photom file."""
    headers = read_headers(path)
    yield from _card_problems(headers, array, photomfile.REFTYPE, photomfile.DATA_MODEL, instrument)
    for keyword in photomfile.PIXEL_AREA_CARDS:
        value = headers.primary.get(keyword)
        if not isinstance(value, int | float) or not value > 0.0:
            yield f"{keyword} is {value!r}, expected a positive number"
    unit = headers.find(photomfile.TABLE)
    if unit is None:
        yield f"no HDU {photomfile.TABLE}"
        return
    rows = photomfile.rows_of(table_of(path.read_bytes(), unit))
    repeated = [key for key, count in Counter(row.key for row in rows).items() if count > 1]
    if repeated:
        yield f"two rows of {'+'.join(filter(None, repeated[0]))}"
    if [row.key for row in rows] != [row.key for row in expected]:
        yield f"{len(rows)} rows that are not the {len(expected)} expected, in their order"
        return
    factors = {(scaling.filter, scaling.pupil): scaling.factor for scaling in scalings}
    for row, before in zip(rows, expected, strict=True):
        yield from _row_problems(row, before, factors.get((row.filter, row.pupil)))
    if parent is not None:
        yield from _copy_problems(headers, parent, {photomfile.TABLE})


def _row_problems(row: PhotomRow, before: PhotomRow, factor: float | None) -> Iterator[str]:
    """Yield what is wrong with one row; without a factor it must be as before."""
    name = "+".join(filter(None, row.key))
    if factor is None:
        values = [row.photmjsr, row.uncertainty, before.photmjsr, before.uncertainty]
        same = np.array(values, dtype=np.float32)
        if not np.array_equal(same[:2], same[2:], equal_nan=True):
            yield f"row {name} has changed"
        return
    if not (math.isfinite(row.photmjsr) and row.photmjsr > 0.0):
        yield f"photmjsr of {name} is {row.photmjsr}, expected a positive number"
    elif not math.isclose(row.photmjsr, factor * before.photmjsr, rel_tol=FLOAT32_TOLERANCE):
        yield f"photmjsr of {name} is {row.photmjsr}, expected {factor * before.photmjsr}"
    if math.isfinite(before.uncertainty) and not (
        math.isfinite(row.uncertainty) and row.uncertainty >= 0.0
    ):
        yield f"uncertainty of {name} is {row.uncertainty}, expected a number that is not negative"


def _copy_problems(headers: FitsHeaders, parent: Parent, changed: set[str]) -> Iterator[str]:
    """Yield which HDUs of a copy are not the parent's to the bit."""
    ours, theirs = headers.units, parent.headers.units
    if [unit.name for unit in ours] != [unit.name for unit in theirs]:
        yield f"HDUs {[unit.name for unit in ours]}, expected {[unit.name for unit in theirs]}"
        return
    for mine, other in zip(ours[1:], theirs[1:], strict=True):
        if mine.name not in changed and (mine.raw, _data(mine)) != (other.raw, _data(other)):
            yield f"HDU {mine.name} is not the parent's"


def _data(unit: HeaderUnit) -> bytes:
    """Return an HDU's data as they are stored."""
    with unit.path.open("rb") as stream:
        stream.seek(unit.data_start)
        return stream.read(unit.data_end - unit.data_start)


def _flat_problems(
    path: Path,
    array: Array,
    band: Band,
    window: Window,
    delta: FloatArray,
    parent: Parent | None,
    instrument: Instrument,
) -> Iterator[str]:
    """Yield what is wrong with a flat."""
    headers = read_headers(path)
    yield from _card_problems(headers, array, flatfile.REFTYPE, flatfile.DATA_MODEL, instrument)
    for keyword, expected in (("FILTER", band.filter), ("PUPIL", band.pupil)):
        found = text_of(headers.primary, keyword)
        if found.upper() != expected:
            yield f"{keyword} is {found!r}, expected {expected!r}"
    units = {name: headers.find(name) for name in (*flatfile.PLANES, flatfile.FLAG_TABLE)}
    missing = [name for name, unit in units.items() if unit is None]
    if parent is not None:
        missing = [name for name in missing if parent.headers.find(name) is not None]
    if missing:
        yield f"no HDU {missing[0]}"
        return
    for name in flatfile.PLANES:
        unit = units[name]
        if unit is not None and unit.shape != (window.nx, window.ny):
            yield f"{name} has {unit.shape} pixels, expected {(window.nx, window.ny)}"
            return
    sci, err = (_plane(units[name]) for name in flatfile.PLANES[:2])
    own = np.asarray(window.cut(delta))
    if parent is None:
        yield from _delta_problems(sci, err, own, delta)
    else:
        before = [_plane(parent.require_unit(name)) for name in flatfile.PLANES[:2]]
        for name, plane, old in zip(flatfile.PLANES, (sci, err), before, strict=False):
            if not np.allclose(plane, old * own, rtol=FLOAT32_TOLERANCE, atol=0.0, equal_nan=True):
                yield f"{name} is not the parent's times the delta flat"
        yield from _copy_problems(headers, parent, {"SCI", "ERR"})


def _delta_problems(
    sci: FloatArray, err: FloatArray, own: FloatArray, delta: FloatArray
) -> Iterator[str]:
    """Yield what is wrong with the pixels of a delta flat."""
    if not (np.isfinite(sci).all() and (sci > 0.0).all()):
        yield "SCI has pixels that are not positive numbers"
    if not (np.isfinite(err).all() and (err >= 0.0).all()):
        yield "ERR has pixels that are not numbers, or negative"
    if not np.allclose(sci, own, rtol=FLOAT32_TOLERANCE, atol=0.0):
        yield "SCI is not the delta flat of these pixels"
    mean = float(sci.mean() if sci.shape == delta.shape else delta.mean())
    if not abs(mean - 1.0) <= MEAN_TOLERANCE:
        yield f"the mean over the array is {mean!r}, expected one"


def _plane(unit: HeaderUnit | None) -> FloatArray:
    """Return an image of single precision."""
    if unit is None:
        return np.empty((0, 0))
    plane: NDArray[np.float32] = np.frombuffer(_data(unit), ">f4")
    return plane.reshape(unit.shape[::-1]).astype(np.float64)

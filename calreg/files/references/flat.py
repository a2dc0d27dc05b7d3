"""Flat reference files of NIRCam imaging: delta flats, and products with a parent flat.

The pipeline divides SCI and ERR by a flat, and variances by its square. A delta flat is
``10**(-0.4 g)`` with mean one over the whole array (`calreg.science.model.gradient`), also where
only a subarray of it is written: the mean belongs to the photom file, which knows no pixels. The
pipeline cuts subarrays out of a full flat by itself, so that a cut-out is for other programs.

A full reprocessing takes one flat, so it needs the product, parent times delta: a delta flat given
alone would replace the pipeline's own.

References
----------
stdatamodels 6.0, ``flat.schema.yaml``; jwst 3.0, ``flatfield.FlatFieldStep``.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calreg.errors import FileFormatError, HeaderValueError, InvalidValueError
from calreg.files.fits.headers import HeaderUnit, read_headers
from calreg.files.readguard import refuse_damaged
from calreg.files.references.parents import (
    Parent,
    ReferenceMeta,
    edited_header,
    read_parent,
    spliced,
    text_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from calreg.instruments import Array, Band, Instrument
    from calreg.units import FloatArray

REFTYPE = "FLAT"
DATA_MODEL = "FlatModel"
PLANES = ("SCI", "ERR", "DQ")
FLAG_TABLE = "DQ_DEF"
FULL = "FULL"

# Flags that a flat may set and a delta flat never does (jwst, dqflags.pixel).
_FLAGS = (
    (0, "DO_NOT_USE", "Bad pixel. Do not use."),
    (1, "NO_FLAT_FIELD", "Flat field cannot be measured"),
    (2, "UNRELIABLE_FLAT", "Flat variance large"),
)
_SUBARRAY_CARDS = ("SUBSTRT1", "SUBSTRT2", "SUBSIZE1", "SUBSIZE2")


@dataclass(frozen=True)
class Window:
    """Which pixels of an array an image has: SUBARRAY, the first pixel (0-based), and how many."""

    name: str
    x_start: int
    y_start: int
    nx: int
    ny: int

    def cut(self, plane: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return the window's part of a plane of the full array."""
        return plane[self.y_start : self.y_start + self.ny, self.x_start : self.x_start + self.nx]


def full_window(array: Array) -> Window:
    """Return the window of the whole array."""
    return Window(FULL, 0, 0, array.n_pixels, array.n_pixels)


def read_window(path: Path, array: Array) -> Window:
    """Read which pixels a file of a subarray has, by SUBSTRT1, SUBSTRT2, SUBSIZE1 and SUBSIZE2.

    Raises
    ------
    HeaderValueError
        If a card is missing or reaches beyond the array.
    """
    return _window_of(read_headers(path).primary, array)


def _window_of(primary: HeaderUnit, array: Array) -> Window:
    """Return the window that the cards of a primary header name."""
    values = {}
    for keyword in _SUBARRAY_CARDS:
        value = primary.get(keyword)
        if not isinstance(value, int) or value < 1:
            msg = f"{primary.path}: {keyword} is {value!r}; expected a pixel number from 1 on"
            raise HeaderValueError(msg)
        values[keyword] = value
    for axis in "12":
        last = values[f"SUBSTRT{axis}"] + values[f"SUBSIZE{axis}"] - 1
        if last > array.n_pixels:
            msg = (
                f"{primary.path}: SUBSTRT{axis} and SUBSIZE{axis} reach to pixel {last}; "
                f"expected at most {array.n_pixels}"
            )
            raise HeaderValueError(msg)
    return Window(
        text_of(primary, "SUBARRAY") or "GENERIC",
        values["SUBSTRT1"] - 1,
        values["SUBSTRT2"] - 1,
        values["SUBSIZE1"],
        values["SUBSIZE2"],
    )


def read_flat_parent(path: Path, instrument: Instrument) -> Parent:
    """Read a flat that may be multiplied.

    Raises
    ------
    FileFormatError
        If the file is not FITS, is truncated, or has no usable SCI and ERR.
    UnsupportedDataError
        If it is not a flat from flight, for imaging with the instrument.
    """
    parent = read_parent(path, REFTYPE, DATA_MODEL, instrument)
    sci, err = (parent.require_unit(name) for name in PLANES[:2])
    for unit in (sci, err):
        if unit.extension != "IMAGE" or unit.get("BITPIX") != -32 or unit.shape != sci.shape:
            msg = (
                f"{path}: {unit.name} has BITPIX {unit.get('BITPIX')} and shape {unit.shape}; "
                f"expected BITPIX -32 and the shape of SCI, {sci.shape}"
            )
            raise FileFormatError(msg)
        if any(unit.get(keyword) is not None for keyword in ("BSCALE", "BZERO")):
            msg = f"{path}: {unit.name} is scaled (BSCALE, BZERO); expected plain numbers"
            raise FileFormatError(msg)
    return parent


def parent_window(parent: Parent) -> Window:
    """Return which pixels a parent flat has; all of them where it does not say.

    Raises
    ------
    HeaderValueError
        If the cards cannot be used, or are not the size of the image.
    """
    shape = parent.require_unit("SCI").shape
    primary = parent.headers.primary
    n_pixels = parent.array.n_pixels
    is_silent = all(primary.get(keyword) is None for keyword in _SUBARRAY_CARDS)
    window = (
        full_window(parent.array)
        if is_silent and shape == (n_pixels, n_pixels)
        else _window_of(primary, parent.array)
    )
    if shape != (window.nx, window.ny):
        msg = (
            f"{parent.path}: SCI has {shape} pixels and the cards say {window.nx} x {window.ny}; "
            "expected the same"
        )
        raise HeaderValueError(msg)
    return window


def delta_flat(
    planes: tuple[FloatArray, FloatArray],
    window: Window,
    array: Array,
    band: Band,
    meta: ReferenceMeta,
    file_name: str,
    *,
    instrument: Instrument,
) -> bytes:
    """Return a delta flat: a FITS file with SCI, ERR, DQ (no flags) and DQ_DEF of a window.

    Parameters
    ----------
    planes : tuple of ndarray of float64, shape (n_pixels, n_pixels)
        The flat of the whole array and its errors.
    """
    from astropy.io import fits

    description = (
        f"Delta flat of {array.detector} {band.name} under {meta.pmap.name}: the gradient between "
        f"modules alone ({meta.basis}); multiply the parent flat by it"
    )
    primary = fits.PrimaryHDU()
    for keyword, value in _cards(window, array, band, instrument).items():
        primary.header[keyword] = value
    for keyword, value in meta.cards(file_name, description).items():
        primary.header[keyword] = value
    primary.header["USEAFTER"] = f"{meta.useafter_utc:%Y-%m-%dT%H:%M:%S}"
    for line in meta.history_lines(None):
        primary.header.add_history(line)
    sci, err = (window.cut(plane).astype(">f4") for plane in planes)
    flags = np.zeros(sci.shape, dtype=np.uint32)
    definitions = np.array(
        [(bit, 1 << bit, name, text) for bit, name, text in _FLAGS],
        dtype=[("BIT", ">i4"), ("VALUE", ">u4"), ("NAME", "S40"), ("DESCRIPTION", "S80")],
    )
    hdus = [
        primary,
        *(
            fits.ImageHDU(plane, name=name)
            for name, plane in zip(PLANES, (sci, err, flags), strict=True)
        ),
        fits.BinTableHDU(definitions, name=FLAG_TABLE),
    ]
    stream = io.BytesIO()
    fits.HDUList(hdus).writeto(stream)
    return stream.getvalue()


def _cards(
    window: Window, array: Array, band: Band, instrument: Instrument
) -> Mapping[str, str | int]:
    """Return the cards that say what a delta flat is for."""
    types = instrument.imaging_exposure_types
    return {
        "FILETYPE": REFTYPE,
        "DATAMODL": DATA_MODEL,
        "TELESCOP": instrument.telescope,
        "REFTYPE": REFTYPE,
        "INSTRUME": instrument.name,
        "DETECTOR": array.detector,
        "CHANNEL": instrument.channel_card(array),
        "FILTER": band.filter,
        "PUPIL": band.pupil,
        "EXP_TYPE": types[0],
        "P_EXP_TY": "".join(f"{name}|" for name in types),
        "SUBARRAY": window.name,
        "SUBSTRT1": window.x_start + 1,
        "SUBSTRT2": window.y_start + 1,
        "SUBSIZE1": window.nx,
        "SUBSIZE2": window.ny,
    }


def product_flat(
    parent: Parent, flat: FloatArray, band: Band, meta: ReferenceMeta, file_name: str
) -> bytes:
    """Return a parent's bytes with SCI and ERR multiplied by a delta flat.

    NaN stays NaN; DQ, DQ_DEF and all else keep their bytes.

    Parameters
    ----------
    flat : ndarray of float64, shape (n_pixels, n_pixels)
        The delta flat of the whole array.

    Raises
    ------
    InvalidValueError
        If the parent is for another band, or for several.
    HeaderValueError
        If its subarray cards cannot be used.
    """
    found = parent.get("FILTER").upper(), parent.get("PUPIL").upper()
    if found != (band.filter, band.pupil):
        msg = (
            f"{parent.path}: FILTER and PUPIL are {' and '.join(found)}; expected {band.filter} "
            f"and {band.pupil} for {band.name}"
        )
        raise InvalidValueError(msg)
    _refuse_shared(parent, band)
    delta = parent_window(parent).cut(flat)
    description = (
        f"Flat of {parent.array.detector} {band.name} times the delta flat for the gradient "
        f"between modules under {meta.pmap.name} ({meta.basis})"
    )
    with refuse_damaged(parent.path):
        content = parent.path.read_bytes()
        primary = parent.headers.primary
        replaced = {
            (primary.header_start, primary.data_start): edited_header(
                primary, meta.cards(file_name, description), meta.history_lines(parent)
            )
        }
        for name in PLANES[:2]:
            unit = parent.require_unit(name)
            plane = np.frombuffer(content, ">f4", count=delta.size, offset=unit.data_start)
            scaled = (plane.reshape(delta.shape) * delta).astype(">f4")
            replaced[unit.header_start, unit.data_start] = edited_header(unit, {}, ())
            replaced[unit.data_start, unit.data_start + scaled.nbytes] = scaled.tobytes()
        return spliced(content, replaced)


def _refuse_shared(parent: Parent, band: Band) -> None:
    """Refuse a flat that is for other bands too: they have no share in the gradient."""
    for keyword, own in (("P_FILTER", band.filter), ("P_PUPIL", band.pupil)):
        names = {name.strip().upper() for name in parent.get(keyword).split("|")} - {""}
        if names - {own}:
            msg = (
                f"{parent.path}: {keyword} is {parent.get(keyword)!r}, for more than {band.name}; "
                f"expected a flat of {own} alone"
            )
            raise InvalidValueError(msg)

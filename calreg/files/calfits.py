"""Correct finished exposures, and take corrections back.

A correction multiplies SCI and ERR by s(x, y) = photom_factor / delta_flat(x, y), variances by its
square, and PHOTMJSR and PHOTUJA2 by the photom factor: what is constant over the array is in
PHOTMJSR, what is left has a mean of one over the array, and their product is the whole correction,
as in the reference files that calreg exports. So PHOTMJSR is what the pipeline would have written
with the corrected photom file. DQ, AREA and everything else stay to the last byte.

Cards that change are kept, as they were, in cards CALREGO1, CALREGO2, ... of the same header, and
numbers of the ASDF tree in CALREGA1, CALREGA2: a file is restored without any registry. Restored
headers and trees are what they were to the last byte. Restored pixels are what they were to one
unit of the last binary digit of 32 bits (at most 2**-23 of the value, and about one pixel in a
hundred differs at all), because two neighbouring numbers may have one and the same product; for 64
bits to 1e-15 of the value.

The digest of the headers that the jwst package keeps in the tree (``_fits_hash``) is left as it is.
It does not fit any more, which makes data models read the cards, CALREGID among them, and not the
tree; it fits again in a restored file.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from calreg.errors import HeaderValueError, OutputError, UnsupportedDataError
from calreg.files.atomic import replace_file
from calreg.files.calcards import (
    add_record,
    keep_checksums,
    multiply_photometry,
    photmjsr_before,
    restore_cards,
)
from calreg.files.calfile import is_unchanged, power_of, require_own_photmjsr
from calreg.files.calplanes import PixelFactor, multiplied
from calreg.files.rawfits import RawFits
from calreg.science.detectorgradient import ArrayCorrection

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from io import RawIOBase
    from pathlib import Path

    from calreg.files.calfile import CalFile
    from calreg.files.correctionrecord import CorrectionRecord

_N_THREADS = 2


@dataclass(frozen=True)
class Written:
    """A file that was written.

    Attributes
    ----------
    sha256_before : str
        Of the file that was read.
    sha256_restored : str or None
        Of the file without its former correction, where that was taken back first.
    sha256_after : str
        Of the file that was written.
    """

    sha256_before: str
    sha256_restored: str | None
    sha256_after: str


def write_corrected(
    cal: CalFile, target: Path, record: CorrectionRecord, history: Sequence[str]
) -> Written:
    """Write an exposure with a correction, in the place of any that it has.

    Parameters
    ----------
    cal : CalFile
    target : Path
        `cal.path` to replace the file, else a name that is not taken.
    record : CorrectionRecord
        The correction; its `sha256_before` is filled in.
    history : sequence of str
        Lines for HISTORY.

    Returns
    -------
    Written

    Raises
    ------
    UnsupportedDataError
        If a pixel becomes too large, or its place on the array cannot be told.
    OutputError
        If the target exists, cannot be written, or the file was changed meanwhile.

    Notes
    -----
    The target is written under another name, flushed to disk, and then gets its name.
    """
    content = _read(cal)
    raw = RawFits(cal.headers, content)
    with ThreadPoolExecutor(_N_THREADS) as pool:
        before = pool.submit(_sha256, [content])
        restored = None
        if cal.record is not None:
            _restore(raw, cal, cal.record, pool)
            restored = _sha256(raw.segments())
        correction = _array_correction(record)
        _scale(raw, cal, cal.pixel_factor(correction), pool)
        multiply_photometry(raw, correction.photom_factor, cal.path)
        full_record = replace(record, sha256_before=restored or before.result())
        add_record(raw, full_record.cards(), history)
        keep_checksums(raw)
        after = _write(raw, cal, target, pool)
    return Written(before.result(), restored, after)


def write_restored(cal: CalFile, target: Path) -> Written:
    """Write an exposure as it was before its correction.

    Parameters
    ----------
    cal : CalFile
        A corrected one.
    target : Path
        `cal.path` to replace the file, else a name that is not taken.

    Returns
    -------
    Written

    Raises
    ------
    HeaderValueError
        If the cards that restore it are damaged, or it was calibrated again since.
    OutputError
        As in `write_corrected`.
    """
    record = require_restorable(cal)
    content = _read(cal)
    raw = RawFits(cal.headers, content)
    with ThreadPoolExecutor(_N_THREADS) as pool:
        before = pool.submit(_sha256, [content])
        _restore(raw, cal, record, pool)
        after = _write(raw, cal, target, pool)
    return Written(before.result(), None, after)


def require_restorable(cal: CalFile) -> CorrectionRecord:
    """Return the correction of a file that can be restored.

    Parameters
    ----------
    cal : CalFile

    Returns
    -------
    CorrectionRecord

    Raises
    ------
    HeaderValueError
        If it is not corrected, the cards that restore it are damaged, or it was calibrated again
        since.
    """
    record = cal.record
    if record is None:
        msg = f"{cal.path}: is not corrected (no card CALREGID): there is nothing to undo"
        raise HeaderValueError(msg)
    if record.photom_factor != 1.0:
        headers_only = RawFits(cal.headers, memoryview(b""))
        require_own_photmjsr(cal, record, photmjsr_before(headers_only, cal.path))
    cal.pixel_factor(_array_correction(record))
    return record


def _restore(
    raw: RawFits, cal: CalFile, record: CorrectionRecord, pool: ThreadPoolExecutor
) -> None:
    """Take a correction back."""
    _scale(raw, cal, cal.pixel_factor(_array_correction(record)).inverse(), pool)
    restore_cards(raw, cal.path)


def _array_correction(record: CorrectionRecord) -> ArrayCorrection:
    """Return the correction that a record tells of."""
    return ArrayCorrection(
        record.photom_factor, 0.0, gradient=record.gradient, n_pixels=record.n_pixels
    )


# --- bytes in and out -----------------------------------------------------------------------------


def _read(cal: CalFile) -> memoryview:
    """Return the whole file, which must be the one that was looked at."""
    content = memoryview(cal.path.read_bytes())
    if not is_unchanged(cal):
        raise _changed_meanwhile(cal)
    return content


def _write(raw: RawFits, cal: CalFile, target: Path, pool: ThreadPoolExecutor) -> str:
    """Write a file as a whole; return its digest."""
    segments = list(raw.segments())
    digest = pool.submit(_sha256, segments)
    is_in_place = target == cal.path
    with replace_file(target, overwrite=is_in_place) as temporary:
        with temporary.open("wb", buffering=0) as stream:
            for segment in segments:
                _write_all(stream, memoryview(segment))
        if is_in_place and not is_unchanged(cal):
            raise _changed_meanwhile(cal)
    return digest.result()


def _write_all(stream: RawIOBase, rest: memoryview) -> None:
    """Write some bytes, in as many calls as the system wants."""
    while rest:
        n_written = stream.write(rest)
        rest = rest[n_written or 0 :]


def _sha256(segments: Iterable[bytes | memoryview]) -> str:
    """Return the SHA-256 of some bytes behind each other."""
    digest = hashlib.sha256()
    for segment in segments:
        digest.update(segment)
    return digest.hexdigest()


def _changed_meanwhile(cal: CalFile) -> OutputError:
    """Say that somebody else has written the file."""
    return OutputError(
        f"{cal.path}: was changed by another program meanwhile; it is as that one left it: run the "
        "command again"
    )


# --- pixels ---------------------------------------------------------------------------------------


def _scale(raw: RawFits, cal: CalFile, factor: PixelFactor, pool: ThreadPoolExecutor) -> None:
    """Multiply the planes."""
    if factor.is_one:
        return
    by_power = {1: factor, 2: factor.squared()}
    futures = {}
    for index, dtype in cal.dtypes.items():
        hdu = raw.hdus[index]
        power = by_power[power_of(hdu.name)]
        futures[index] = pool.submit(multiplied, hdu.data, hdu.n_data_bytes, dtype, power)
    for index, future in futures.items():
        hdu = raw.hdus[index]
        try:
            hdu.put(future.result(), hdu.n_data_bytes)
        except UnsupportedDataError as error:
            msg = f"{cal.path}: extension {hdu.name}: {error}; is the file damaged?"
            raise UnsupportedDataError(msg) from error

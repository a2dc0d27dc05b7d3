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
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np

from calreg.errors import (
    CalregError,
    FileFormatError,
    HeaderValueError,
    OutputError,
    UnsupportedDataError,
)
from calreg.files.atomic import (
    NamedFiles,
    fill_pending,
    pending_file,
    remove_pending,
    sha256_of,
)
from calreg.files.corrected.cards import (
    add_record,
    keep_checksums,
    multiply_photometry,
    photmjsr_before,
    restore_cards,
)
from calreg.files.corrected.exposure import is_unchanged, power_of
from calreg.files.fits.cards import format_card
from calreg.files.fits.edit import MemoryBlocks, RawFits
from calreg.files.fits.headers import BLOCK_BYTES
from calreg.files.images.calibration import DIGEST_CARD
from calreg.science.model.gradient import ArrayCorrection

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from concurrent.futures import Future
    from io import RawIOBase
    from pathlib import Path

    from numpy.typing import NDArray

    from calreg.files.atomic import PendingFile
    from calreg.files.corrected.exposure import CalFile, PixelFactor
    from calreg.files.fits.edit import RawHdu, StoredBlocks
    from calreg.files.images.calibration import CorrectionRecord
    from calreg.units import FloatArray

_SAME_VALUE = 1e-6
"""Relative: a PHOTMJSR that went through a float32 since is still the same."""

_NO_DIGEST = "0" * 64
"""Stands in the header until the digest of the file before is known."""

_PIECE_BYTES = 1 << 18
_CHUNK_PIXELS = 1 << 15
"""Pixels at a time: a quarter of a megabyte in double precision stays in the cache."""

_THE_END = -1
_N_AT_A_TIME = 2


@dataclass(frozen=True)
class Written:
    """A file that was written.

    Attributes
    ----------
    record : CorrectionRecord
        The correction that it has got, or had.
    sha256_restored : str or None
        Of the file without its former correction, where that was taken back first.
    """

    record: CorrectionRecord
    sha256_before: str
    sha256_restored: str | None
    sha256_after: str


@dataclass(frozen=True)
class NewFile:
    """A file that is complete, on disk, and has a hidden name still."""

    cal: CalFile
    pending: PendingFile
    written: Written

    def named(self) -> Written:
        """Give the file its name.

        Raises
        ------
        OutputError
            If the name is taken, the system refuses, or the exposure was changed meanwhile.
        """
        try:
            if not is_unchanged(self.cal):
                raise _changed_meanwhile(self.cal)
            with NamedFiles() as names:
                names.give(self.pending)
        finally:
            remove_pending(self.pending)
        return self.written


def write_in_order(writers: Iterable[Callable[[], NewFile]]) -> Generator[Written, None, None]:
    """Write files, and give each its name once those before it have theirs.

    Two are worked on at a time: one file's digests must be made one after the other, because the
    first stands in the header of what the second is of, and to flush it takes as long again.
    """
    with ThreadPoolExecutor(_N_AT_A_TIME) as pool:
        ahead: deque[Future[NewFile]] = deque()
        try:
            for writer in writers:
                ahead.append(pool.submit(writer))
                if len(ahead) == _N_AT_A_TIME:
                    yield ahead.popleft().result().named()
            while ahead:
                yield ahead.popleft().result().named()
        finally:
            for future in ahead:
                if not future.cancel() and future.exception() is None:
                    remove_pending(future.result().pending)


def write_corrected(
    cal: CalFile, target: Path, record: CorrectionRecord, history: Sequence[str]
) -> NewFile:
    """Write an exposure with a correction, in the place of any that it has.

    Parameters
    ----------
    target : Path
        `cal.path` to replace the file, else a name that is not taken.
    record : CorrectionRecord
        The correction; its `sha256_before` is filled in.
    history : sequence of str
        Lines for HISTORY.

    Raises
    ------
    UnsupportedDataError
        If a pixel becomes too large, or its place on the array cannot be told.
    OutputError
        If the target exists, cannot be written, or the file was changed meanwhile.
    """
    with _opened(cal) as raw:
        restored = None
        if cal.record is not None:
            _restore(raw, cal, cal.record)
            restored = _sha256(raw.segments())
        _change(raw, cal, record, history)

        def fill_in(before: str) -> None:
            card = format_card(DIGEST_CARD, restored or before)
            raw.hdus[0].cards.replace(DIGEST_CARD, card)

        pending, before, after = _write(raw, cal, target, fill_in)
    return NewFile(cal, pending, Written(record, before, restored, after))


def _change(raw: RawFits, cal: CalFile, record: CorrectionRecord, history: Sequence[str]) -> None:
    """Put a correction into a file that has none."""
    correction = _array_correction(record)
    _scale(raw, cal, cal.pixel_factor(correction))
    multiply_photometry(raw, correction.photom_factor, cal.photmjsr_card, cal.path)
    add_record(raw, replace(record, sha256_before=_NO_DIGEST).cards(), history)
    keep_checksums(raw)


def require_correctable(cal: CalFile, record: CorrectionRecord, history: Sequence[str]) -> None:
    """Change the headers as `write_corrected` would, before any file of a call is written.

    Raises
    ------
    CalregError
        If a card or the ASDF tree cannot be changed.
    """
    with _opened(cal) as raw:
        if cal.record is not None:
            _restore(raw, cal, cal.record)
        _change(raw, cal, record, history)


def write_restored(cal: CalFile, target: Path) -> NewFile:
    """Write an exposure as it was before its correction.

    Raises
    ------
    HeaderValueError
        If the cards that restore it are damaged, or it was calibrated again since.
    OutputError
        As in `write_corrected`.
    """
    record = require_restorable(cal)
    with _opened(cal) as raw:
        _restore(raw, cal, record)
        pending, before, after = _write(raw, cal, target)
    return NewFile(cal, pending, Written(record, before, None, after))


def require_restorable(cal: CalFile) -> CorrectionRecord:
    """Return the correction of a file that can be restored.

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
        with _opened(cal) as raw:
            expected = photmjsr_before(raw, cal.photmjsr_card, cal.path) * record.photom_factor
        if abs(cal.photmjsr - expected) > _SAME_VALUE * expected:
            msg = (
                f"{cal.path}: card {cal.photmjsr_card}: found {cal.photmjsr!r}, expected "
                f"{expected!r} as the correction left it: the file was calibrated again since, its "
                "pixels cannot be restored; make it again with the jwst pipeline"
            )
            raise HeaderValueError(msg)
    with _opened(cal) as raw:
        _restore(raw, cal, record)
    return record


def _restore(raw: RawFits, cal: CalFile, record: CorrectionRecord) -> None:
    """Take a correction back."""
    _scale(raw, cal, cal.pixel_factor(_array_correction(record)).inverse())
    restore_cards(raw, cal.path)


def _array_correction(record: CorrectionRecord) -> ArrayCorrection:
    """Return the correction that a record tells of."""
    return ArrayCorrection(
        record.photom_factor, 0.0, gradient=record.gradient, n_pixels=record.n_pixels
    )


# --- bytes in and out -----------------------------------------------------------------------------


@contextmanager
def _opened(cal: CalFile) -> Iterator[RawFits]:
    """Open the file, which must be the one that was looked at."""
    try:
        with cal.path.open("rb", buffering=0) as stream:
            if not is_unchanged(cal):
                raise _changed_meanwhile(cal)
            yield RawFits(cal.headers, stream)
    except OSError as error:
        if isinstance(error, CalregError):
            raise
        msg = f"{cal.path}: cannot be read ({error.strerror or error})"
        raise FileFormatError(msg) from error


def _write(
    raw: RawFits,
    cal: CalFile,
    target: Path,
    fill_in: Callable[[str], None] | None = None,
) -> tuple[PendingFile, str, str]:
    """Write a file as a whole; return it with the digests of what was read and was written.

    The primary header comes last: `fill_in` puts the digest of the file before into it, and may
    change cards for that but not add any. Digests are made in other threads, behind the writer.
    """
    first = raw.hdus[0]
    # Its header is made in another thread, which must not move in the file that this one reads.
    first.put(MemoryBlocks(first.data.whole()), first.n_data_bytes)
    done: SimpleQueue[int] = SimpleQueue()
    pending = pending_file(target, overwrite=target == cal.path)
    with (
        fill_pending(pending) as temporary,
        temporary.open("wb", buffering=0) as stream,
        ThreadPoolExecutor(3) as pool,
    ):
        stream.seek(len(first.header()))
        before = pool.submit(sha256_of, cal.path)
        primary = pool.submit(_primary_header, first, before, fill_in)
        after = pool.submit(_follow, primary, temporary, done)
        try:
            for hdu in raw.hdus:
                if hdu is not first:
                    _write_all(stream, memoryview(hdu.header()))
                _write_data(stream, hdu, cal)
                done.put(stream.tell())
        finally:
            done.put(_THE_END)
        stream.seek(0)
        _write_all(stream, memoryview(primary.result()))
        # To flush takes a while, and the digest is still behind.
        os.fsync(stream.fileno())
        digests = before.result(), after.result()
    return pending, *digests


def _primary_header(
    hdu: RawHdu, before: Future[str], fill_in: Callable[[str], None] | None
) -> bytes:
    """Return the primary header, once the digest of the file before is known."""
    if fill_in is not None:
        fill_in(before.result())
    return hdu.header()


def _follow(primary: Future[bytes], path: Path, done: SimpleQueue[int]) -> str:
    """Return the digest of a file that is being written; `done` says how far it is."""
    header = primary.result()
    digest = hashlib.sha256(header)
    piece = memoryview(bytearray(_PIECE_BYTES))
    with path.open("rb", buffering=0) as stream:
        stream.seek(len(header))
        while (end := done.get()) != _THE_END:
            while stream.tell() < end:
                n_read = stream.readinto(piece[: end - stream.tell()])
                digest.update(piece[:n_read])
    return digest.hexdigest()


def _write_data(stream: RawIOBase, hdu: RawHdu, cal: CalFile) -> None:
    """Write the data of an HDU."""
    try:
        for chunk in hdu.data.chunks():
            _write_all(stream, chunk)
    except UnsupportedDataError as error:
        msg = f"{cal.path}: extension {hdu.name}: {error}; is the file damaged?"
        raise UnsupportedDataError(msg) from error
    except FileFormatError as error:
        raise _changed_meanwhile(cal) from error


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
    """Report that somebody else has written the file."""
    return OutputError(
        f"{cal.path}: was changed by another program meanwhile; it is as that one left it: run the "
        "command again"
    )


# --- pixels ---------------------------------------------------------------------------------------


def _scale(raw: RawFits, cal: CalFile, factor: PixelFactor) -> None:
    """Have the planes multiplied when they are written."""
    if factor.is_one:
        return
    by_power = {1: factor, 2: factor.squared()}
    for index, dtype in cal.dtypes.items():
        hdu = raw.hdus[index]
        power = by_power[power_of(hdu.name)]
        planes = _MultipliedPlanes(hdu.stored(), hdu.n_data_bytes, dtype, power)
        hdu.put(planes, hdu.n_data_bytes)


@dataclass(frozen=True)
class _MultipliedPlanes:
    """The data blocks of an image extension times a factor, computed on demand.

    Attributes
    ----------
    source : StoredBlocks
        One image (ny, nx), or several of the same size behind each other.
    n_pixel_bytes : int
        Without padding.
    dtype : str
        ``>f4`` or ``>f8``.
    """

    source: StoredBlocks
    n_pixel_bytes: int
    dtype: str
    factor: PixelFactor

    def chunks(self) -> Iterator[memoryview]:
        """Yield the data blocks, in pieces that are good until the next one is asked for.

        Products are rounded once, from double precision, to the type of the file; NaN and infinity
        stay. Fresh memory for whole planes would take longer than the multiplication.

        Raises
        ------
        UnsupportedDataError
            If a product is too large for the type.
        """
        ny, nx = self.factor.along_y.size, self.factor.along_x.size
        stored = np.empty((min(ny, max(1, _CHUNK_PIXELS // nx)), nx), dtype=self.dtype)
        native = np.empty(stored.shape, dtype=self.dtype[1:])
        product = np.empty(stored.shape)
        row_bytes = nx * stored.itemsize
        for first in range(0, self.n_pixel_bytes // row_bytes, ny):
            for start in range(0, ny, len(stored)):
                n = min(len(stored), ny - start)
                piece = stored[:n].data.cast("B")
                self.source.fill((first + start) * row_bytes, piece)
                # Step by step: with mixed types NumPy converts through a small buffer.
                native[:n] = stored[:n]
                product[:n] = native[:n]
                product[:n] *= self.factor.along_x
                product[:n] *= self.factor.along_y[start : start + n, np.newaxis]
                self._round(product[:n], native[:n])
                stored[:n] = native[:n]
                yield piece
        yield memoryview(bytes(-self.n_pixel_bytes % BLOCK_BYTES))

    def whole(self) -> memoryview:
        """Return the data blocks in one piece."""
        return memoryview(b"".join(self.chunks()))

    def _round(self, product: FloatArray, out: NDArray[np.floating]) -> None:
        """Round to the type of the plane."""
        try:
            with np.errstate(over="raise", under="ignore", invalid="ignore"):
                out[...] = product
        except FloatingPointError as error:
            msg = f"a pixel becomes too large for its {self.dtype[-1]}-byte type"
            raise UnsupportedDataError(msg) from error

"""A FITS file as cards and data blocks, so that what is not changed stays to the last byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

from calreg.files.fits.blocks import FileBlocks, MemoryBlocks
from calreg.files.fits.cardlist import Cards
from calreg.files.fits.checksum import has_checksums, with_new_checksums

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import RawIOBase

    from calreg.files.fits.blocks import Blocks, StoredBlocks
    from calreg.files.fits.headers import FitsHeaders, HeaderUnit


class RawHdu:
    """One HDU.

    Parameters
    ----------
    data : StoredBlocks
        Data blocks, with padding.

    Attributes
    ----------
    name : str
        EXTNAME in upper case.
    n_data_bytes : int
        Without padding.
    """

    def __init__(self, unit: HeaderUnit, data: StoredBlocks) -> None:
        self.name = unit.name
        self.cards = Cards(unit.raw)
        self.data: Blocks = data
        self.n_data_bytes = unit.data_end - unit.data_start
        self._given = (unit.raw, data)

    @property
    def is_changed(self) -> bool:
        """Whether cards or data are other ones than in the file."""
        raw, data = self._given
        return self.data is not data or self.cards.images != Cards(raw).images

    def put(self, data: Blocks, n_data_bytes: int) -> None:
        """Give it other data."""
        self.data, self.n_data_bytes = data, n_data_bytes

    def stored(self) -> StoredBlocks:
        """Return data that can be read anywhere; what had to be worked out is in memory then."""
        given = self._given[1]
        return given if self.data is given else MemoryBlocks(self.data.whole())

    def content(self) -> bytes:
        """Return the data without padding."""
        return bytes(self.data.whole()[: self.n_data_bytes])

    def header(self) -> bytes:
        """Return the header blocks, with checksums that fit if anything was changed."""
        if not self.is_changed:
            return self._given[0]
        if not has_checksums(self.cards):
            return self.cards.block()
        return with_new_checksums(self.cards, self.data.whole())


class RawFits:
    """A FITS file.

    Parameters
    ----------
    stream : RawIOBase
        The open file, of which only data are read, when they are needed.
    """

    def __init__(self, headers: FitsHeaders, stream: RawIOBase) -> None:
        starts = [unit.header_start for unit in headers.units[1:]]
        # What follows the last HDU ("special records") stays with it.
        ends = [*starts, headers.size_bytes]
        self.hdus = [
            RawHdu(unit, FileBlocks(stream, unit.data_start, end - unit.data_start))
            for unit, end in zip(headers.units, ends, strict=True)
        ]

    def find(self, name: str) -> RawHdu | None:
        """Return the first HDU of a name."""
        return next((hdu for hdu in self.hdus if hdu.name == name), None)

    def segments(self) -> Iterator[bytes | memoryview]:
        """Yield header and data blocks, in pieces that are good until the next is asked for."""
        for hdu in self.hdus:
            yield hdu.header()
            yield from hdu.data.chunks()

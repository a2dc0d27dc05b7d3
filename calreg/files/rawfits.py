"""A FITS file as cards and data blocks, so that what is not changed stays to the last byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

from calreg.errors import FileFormatError
from calreg.files.blocks import FileBlocks, MemoryBlocks
from calreg.files.checksum import has_checksums, with_new_checksums
from calreg.files.fitscards import header_block
from calreg.files.headers import CARD_BYTES, KEYWORD_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import RawIOBase

    from calreg.files.blocks import Blocks, StoredBlocks
    from calreg.files.headers import FitsHeaders, HeaderUnit

_CONTINUE = b"CONTINUE"


class Cards:
    """The cards of one header, without END.

    Parameters
    ----------
    raw : bytes
        Header blocks.
    """

    def __init__(self, raw: bytes) -> None:
        text = raw.rstrip(b" \0")[: -len(b"END")]
        self.images = [text[i : i + CARD_BYTES] for i in range(0, len(text), CARD_BYTES)]

    def find(self, keyword: str) -> tuple[int, int] | None:
        """Return where the first card of a keyword begins and ends, CONTINUE cards included."""
        name = keyword.ljust(KEYWORD_BYTES).encode("ascii")
        for first, image in enumerate(self.images):
            if image.startswith(name):
                last = first + 1
                while last < len(self.images) and self.images[last].startswith(_CONTINUE):
                    last += 1
                return first, last
        return None

    def get(self, keyword: str) -> bytes | None:
        """Return the first card of a keyword, 80 bytes; None if there is none."""
        found = self.find(keyword)
        return None if found is None else self.images[found[0]]

    def replace(self, keyword: str, image: bytes) -> None:
        """Put a card in the place of the first one of its keyword."""
        found = self.find(keyword)
        if found is None:
            msg = f"no card {keyword} to replace"
            raise FileFormatError(msg)
        self.images[found[0] : found[1]] = [image]

    def append(self, cards: bytes) -> None:
        """Put cards behind all others."""
        self.images += [cards[i : i + CARD_BYTES] for i in range(0, len(cards), CARD_BYTES)]

    def remove(self, is_unwanted: Callable[[bytes], bool]) -> None:
        """Take cards away, each with its CONTINUE cards."""
        kept = []
        is_dropped = False
        for image in self.images:
            if not image.startswith(_CONTINUE):
                is_dropped = is_unwanted(image)
            if not is_dropped:
                kept.append(image)
        self.images = kept

    def block(self) -> bytes:
        """Return the header blocks."""
        return header_block(self.images)


class RawHdu:
    """One HDU.

    Parameters
    ----------
    unit : HeaderUnit
    data : StoredBlocks
        Data blocks, with padding.

    Attributes
    ----------
    name : str
        EXTNAME in upper case.
    cards : Cards
    data : Blocks
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
    headers : FitsHeaders
    stream : RawIOBase
        The open file, of which only data are read, when they are needed.

    Attributes
    ----------
    hdus : list of RawHdu
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

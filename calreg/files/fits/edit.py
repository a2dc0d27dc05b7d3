"""A FITS file as cards and data blocks, so that what is not changed stays to the last byte.

astropy would write every header anew: cards in its own format, comments of checksums with a new
date. So checksums are made here too (FITS standard 4.0, section 4.4.2.7, appendix J).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from calreg.errors import FileFormatError
from calreg.files.fits.cards import header_block
from calreg.files.fits.headers import CARD_BYTES, KEYWORD_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import RawIOBase

    from calreg.files.fits.headers import FitsHeaders, HeaderUnit

CHECKSUM_CARDS = ("DATASUM", "CHECKSUM")

_CONTINUE = b"CONTINUE"
_PIECE_BYTES = 1 << 18
_BEFORE = b"0" * 16
"""The CHECKSUM with which an HDU is summed."""

_OFFSET = 0x30
_MASK = 0xFFFFFFFF
_PUNCTUATION = frozenset([*range(0x3A, 0x41), *range(0x5B, 0x61)])


class RawFits:
    """A FITS file.

    Parameters
    ----------
    stream : RawIOBase
        The open file; data are read only when they are needed.
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
        """Whether cards or data differ from the file's."""
        raw, data = self._given
        return self.data is not data or self.cards.images != Cards(raw).images

    def put(self, data: Blocks, n_data_bytes: int) -> None:
        """Give it other data."""
        self.data, self.n_data_bytes = data, n_data_bytes

    def stored(self) -> StoredBlocks:
        """Return data that can be read anywhere; what is computed on demand goes to memory."""
        given = self._given[1]
        return given if self.data is given else MemoryBlocks(self.data.whole())

    def content(self) -> bytes:
        """Return the data without padding."""
        return bytes(self.data.whole()[: self.n_data_bytes])

    def header(self) -> bytes:
        """Return the header blocks, with checksums that fit if anything was changed."""
        if not self.is_changed:
            return self._given[0]
        if any(self.cards.find(card) is not None for card in CHECKSUM_CARDS):
            _renew_checksums(self.cards, self.data.whole())
        return self.cards.block()


# --- cards ----------------------------------------------------------------------------------------


class Cards:
    """The cards of one header, without END."""

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


# --- data -----------------------------------------------------------------------------------------


class Blocks(Protocol):
    """Data blocks: in a file, in memory, or computed on demand."""

    def chunks(self) -> Iterator[memoryview]:
        """Yield them, in pieces that are good until the next one is asked for."""

    def whole(self) -> memoryview:
        """Return them in one piece."""


class StoredBlocks(Blocks, Protocol):
    """Blocks that can be read anywhere."""

    def fill(self, start: int, buffer: memoryview) -> None:
        """Fill a buffer with the bytes from a place on."""


class MemoryBlocks:
    """Blocks in memory."""

    def __init__(self, data: memoryview) -> None:
        self._data = data

    def chunks(self) -> Iterator[memoryview]:
        """Yield the whole in one piece."""
        yield self._data

    def whole(self) -> memoryview:
        """Return the whole."""
        return self._data

    def fill(self, start: int, buffer: memoryview) -> None:
        """Fill a buffer with the bytes from a place on."""
        buffer[:] = self._data[start : start + len(buffer)]


class FileBlocks:
    """Blocks of an open file, read piece by piece.

    To map the file would be faster, but if another program cut it short meanwhile, the system would
    end the process without a word.

    Parameters
    ----------
    stream : RawIOBase
        Used by one thread only.
    start, n_bytes : int
        Where they are.
    """

    def __init__(self, stream: RawIOBase, start: int, n_bytes: int) -> None:
        self._stream = stream
        self._start = start
        self._n_bytes = n_bytes

    def chunks(self) -> Iterator[memoryview]:
        """Yield the bytes, in pieces that are good until the next one is asked for."""
        piece = memoryview(bytearray(min(_PIECE_BYTES, self._n_bytes)))
        for start in range(0, self._n_bytes, _PIECE_BYTES):
            part = piece[: self._n_bytes - start]
            self.fill(start, part)
            yield part

    def whole(self) -> memoryview:
        """Return the bytes in one piece."""
        buffer = memoryview(bytearray(self._n_bytes))
        self.fill(0, buffer)
        return buffer

    def fill(self, start: int, buffer: memoryview) -> None:
        """Fill a buffer with the bytes from a place on.

        Raises
        ------
        FileFormatError
            If the file ends before.
        """
        self._stream.seek(self._start + start)
        while buffer:
            n_read = self._stream.readinto(buffer)
            if not n_read:
                msg = "the file became shorter while it was read"
                raise FileFormatError(msg)
            buffer = buffer[n_read:]


# --- checksums ------------------------------------------------------------------------------------


def _renew_checksums(cards: Cards, data: memoryview) -> None:
    """Make DATASUM and CHECKSUM, where a header has them, fit its cards and its data blocks."""
    sum_card, check_card = CHECKSUM_CARDS
    data_sum = _ones_complement_sum(data)
    if cards.find(sum_card) is not None:
        _put_text(cards, sum_card, str(data_sum).encode("ascii"))
    if cards.find(check_card) is not None:
        _put_text(cards, check_card, _BEFORE)
        total = _ones_complement_sum(cards.block(), data_sum)
        _put_text(cards, check_card, _encoded(_MASK - total))


def _ones_complement_sum(data: bytes | memoryview, start: int = 0) -> int:
    """Return the 32-bit ones' complement sum of blocks, `start` being that of those before them."""
    total = start + int(np.frombuffer(data, dtype=">u4").sum(dtype=np.uint64))
    while total > _MASK:
        total = (total >> 32) + (total & _MASK)
    return total


def _encoded(value: int) -> bytes:
    """Write 32 bits as 16 letters and digits, so that their sum is the value (appendix J.2)."""
    columns = []
    for byte in value.to_bytes(4, "big"):
        quarters = [byte // 4 + _OFFSET + (byte % 4 if i == 0 else 0) for i in range(4)]
        while any(quarter in _PUNCTUATION for quarter in quarters):
            for i in (0, 2):
                if quarters[i] in _PUNCTUATION or quarters[i + 1] in _PUNCTUATION:
                    quarters[i] += 1
                    quarters[i + 1] -= 1
        columns.append(quarters)
    letters = bytes(columns[column][place] for place in range(4) for column in range(4))
    # In the card the string begins at byte 12, one beyond a multiple of four.
    return letters[-1:] + letters[:-1]


def _put_text(cards: Cards, keyword: str, text: bytes) -> None:
    """Change the text of a card, and nothing else of it."""
    image = cards.get(keyword) or b""
    start = image.index(b"'") + 1
    end = image.index(b"'", start)
    n_more = max(0, len(text) - (end - start))
    comment = image[end + 1 :]
    gap = len(comment) - len(comment.lstrip())
    # A longer number takes its room from the blanks before the comment.
    comment = comment[min(n_more, gap) :]
    new = image[:start] + text.ljust(end - start) + b"'" + comment
    cards.replace(keyword, new[:CARD_BYTES].ljust(CARD_BYTES))

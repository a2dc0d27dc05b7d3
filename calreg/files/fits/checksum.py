"""DATASUM and CHECKSUM of HDUs that have them (FITS standard 4.0, section 4.4.2.7, appendix J)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from calreg.files.fits.headers import CARD_BYTES

if TYPE_CHECKING:
    from calreg.files.fits.cardlist import Cards

CHECKSUM_CARDS = ("DATASUM", "CHECKSUM")

_BEFORE = b"0" * 16
_OFFSET = 0x30
_MASK = 0xFFFFFFFF
_PUNCTUATION = frozenset([*range(0x3A, 0x41), *range(0x5B, 0x61)])


def has_checksums(cards: Cards) -> bool:
    """Return whether a header has one of the two cards."""
    return any(cards.find(card) is not None for card in CHECKSUM_CARDS)


def with_new_checksums(cards: Cards, data: bytes | memoryview) -> bytes:
    """Return header blocks whose DATASUM and CHECKSUM, where there are any, fit.

    Parameters
    ----------
    cards : Cards
        Of the header; the two cards are changed in place, their comments stay.
    data : bytes-like
        Data blocks.
    """
    sum_card, check_card = CHECKSUM_CARDS
    data_sum = ones_complement_sum(data)
    if cards.find(sum_card) is not None:
        _put(cards, sum_card, str(data_sum).encode("ascii"))
    if cards.find(check_card) is not None:
        _put(cards, check_card, _BEFORE)
        total = ones_complement_sum(cards.block(), data_sum)
        _put(cards, check_card, encoded(_MASK - total))
    return cards.block()


def ones_complement_sum(data: bytes | memoryview, start: int = 0) -> int:
    """Return the 32-bit ones' complement sum of data blocks.

    Parameters
    ----------
    data : bytes-like
        A multiple of 4 bytes.
    start : int
        Sum of what came before.
    """
    total = start + int(np.frombuffer(data, dtype=">u4").sum(dtype=np.uint64))
    while total > _MASK:
        total = (total >> 32) + (total & _MASK)
    return total


def encoded(value: int) -> bytes:
    """Write 32 bits as 16 letters and digits, so that their sum is the value (appendix J.2).

    Parameters
    ----------
    value : int
        Complement of the sum of the HDU with a CHECKSUM of sixteen zeros.
    """
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


def _put(cards: Cards, keyword: str, text: bytes) -> None:
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

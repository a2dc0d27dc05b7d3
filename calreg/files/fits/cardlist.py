"""The cards of one header, edited in place: what astropy would rewrite stays as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from calreg.errors import FileFormatError
from calreg.files.fits.cards import header_block
from calreg.files.fits.headers import CARD_BYTES, KEYWORD_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable


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

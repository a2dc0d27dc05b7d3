"""Write FITS headers quickly: cards as bytes, and header templates with a few values to fill in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

Value = bool | int | float | str

BLOCK_BYTES = 2880
CARD_BYTES = 80
_LONGEST_STRING = 68
_LONGEST_PART = 67
"""Characters of a continued string per card: room for the closing ampersand."""


def format_card(keyword: str, value: Value, comment: str = "") -> bytes:
    """Return one card, or several where a string needs CONTINUE.

    Parameters
    ----------
    keyword : str
        At most 8 characters.
    value : bool, int, float or str
        Finite; floats are written with all their digits.
    comment : str
        Cut off at the end of the card, as the JWST pipeline's are.

    Returns
    -------
    bytes
        A multiple of 80.

    Notes
    -----
    FITS standard 4.0, sections 4.2 (fixed format) and 4.2.1.2 (long strings).
    """
    if isinstance(value, bool):
        text = f"{'T' if value else 'F':>20}"
    elif isinstance(value, int):
        text = f"{value:>20d}"
    elif isinstance(value, float):
        text = f"{_float_text(value):>20}"
    else:
        quoted = value.replace("'", "''")
        if len(quoted) > _LONGEST_STRING:
            return _continued(keyword, quoted, comment)
        text = f"'{quoted:<8}'".ljust(20)
    return _card(f"{keyword:<8}= {text}", comment)


def header_block(cards: Iterable[bytes]) -> bytes:
    """Return cards with END, padded to whole blocks."""
    text = b"".join(cards) + b"END".ljust(CARD_BYTES)
    return text + b" " * (-len(text) % BLOCK_BYTES)


def data_block(data: bytes) -> bytes:
    """Return data padded to whole blocks."""
    return data + b"\0" * (-len(data) % BLOCK_BYTES)


def _float_text(value: float) -> str:
    """Return the shortest text that reads back as the same number, with a point and E."""
    text = repr(value).upper()
    mantissa, separator, exponent = text.partition("E")
    if separator and "." not in mantissa:
        mantissa += ".0"
    return mantissa + separator + exponent


def _card(text: str, comment: str) -> bytes:
    """Append a comment and fill the card."""
    full = f"{text} / {comment}" if comment else text
    return full[:CARD_BYTES].ljust(CARD_BYTES).encode("ascii")


def _continued(keyword: str, quoted: str, comment: str) -> bytes:
    """Return a long string over several cards; the comment stands on the last, empty one."""
    parts = []
    while quoted:
        part = quoted[:_LONGEST_PART]
        # A doubled quote must not be torn apart.
        if (len(part) - len(part.rstrip("'"))) % 2 and len(quoted) > _LONGEST_PART:
            part = part[:-1]
        parts.append(part)
        quoted = quoted[len(part) :]
    first, *rest = parts
    cards = [_card(f"{keyword:<8}= '{first}&'", "")]
    cards += [_card(f"CONTINUE  '{part}&'", "") for part in rest]
    return b"".join([*cards, _card("CONTINUE  ''", comment)])

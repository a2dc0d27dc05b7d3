"""Write FITS headers quickly: cards as bytes, and header templates with a few values to fill in."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from calreg.errors import UnknownKeyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Value = bool | int | float | str

BLOCK_BYTES = 2880
CARD_BYTES = 80
_LONGEST_STRING = 68
_LONGEST_PART = 67
"""Characters of a continued string per card: room for the closing ampersand."""

_SECTION_INDENT = 8


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


class HeaderTemplate:
    """A header whose cards are formatted once, some of them placeholders.

    Parameters
    ----------
    name : str
        Table of ``simulated_cards.toml``: ``primary`` or ``sci``.
    extra : mapping of str to (value, comment), optional
        Cards that follow the table's.
    """

    def __init__(self, name: str, extra: Mapping[str, tuple[Value, str]] | None = None) -> None:
        self._cards: list[bytes] = []
        self._places: dict[str, tuple[int, str]] = {}
        for section in _card_table()[name]:
            if section["section"]:
                blank = b" " * CARD_BYTES
                title = f"{'':{_SECTION_INDENT}}{section['section']}"
                self._cards += [blank, title.ljust(CARD_BYTES).encode("ascii"), blank]
            for keyword, value, comment in section["cards"]:
                self._add(keyword, value, comment)
        for keyword, (value, comment) in (extra or {}).items():
            self._add(keyword, value, comment)

    def _add(self, keyword: str, value: Value, comment: str) -> None:
        """Append a card."""
        self._places[keyword] = (len(self._cards), comment)
        self._cards.append(format_card(keyword, value, comment))

    def filled(self, values: Mapping[str, Value]) -> list[bytes]:
        """Return the cards with values filled in.

        Parameters
        ----------
        values : mapping of str to str, bool, int or float
            By keyword; the others keep the template's value.

        Returns
        -------
        list of bytes
            Cards of 80 bytes.

        Raises
        ------
        UnknownKeyError
            If the template lacks a keyword.
        """
        cards = self._cards.copy()
        for keyword, value in values.items():
            if keyword not in self._places:
                msg = f"the header template has no card {keyword}: add it to simulated_cards.toml"
                raise UnknownKeyError(msg)
            place, comment = self._places[keyword]
            cards[place] = format_card(keyword, value, comment)
        return cards


@cache
def _card_table() -> dict[str, list[dict[str, list[tuple[str, Value, str]]]]]:
    """Return the sections of both templates."""
    path = resources.files("calreg.files") / "simulated_cards.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))


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

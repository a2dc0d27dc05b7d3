"""The cards of simulated headers, from one table."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from calreg.errors import UnknownKeyError
from calreg.files.fits.cards import CARD_BYTES, Value, format_card

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECTION_INDENT = 8


class HeaderTemplate:
    """A header whose cards are formatted once, some of them placeholders.

    Parameters
    ----------
    name : str
        Table of ``cards.toml``: ``primary`` or ``sci``.
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
    path = resources.files(__package__) / "cards.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))

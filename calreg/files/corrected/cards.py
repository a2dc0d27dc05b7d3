"""Change the numbers of an exposure's header and ASDF tree, keep what they were, put it back."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

from astropy.io import fits

from calreg.errors import HeaderValueError
from calreg.files.corrected.asdftree import AsdfTree
from calreg.files.corrected.exposure import ASDF, PHOTUJA2
from calreg.files.fits.cards import data_block, format_card
from calreg.files.fits.edit import CHECKSUM_CARDS, MemoryBlocks
from calreg.files.fits.headers import CARD_BYTES
from calreg.files.images.calibration import CARD_PREFIX

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from calreg.files.fits.edit import Cards, RawFits, RawHdu

_KEPT_CARD = f"{CARD_PREFIX}O"
"""CALREGO1, ...: cards of this header as they were."""

_KEPT_NUMBER = f"{CARD_PREFIX}A"
"""CALREGA1, CALREGA2: numbers of the ASDF tree as they were."""

_HISTORY = "HISTORY "
_HISTORY_PREFIX = "calreg: "
_OURS = (CARD_PREFIX.encode("ascii"), f"{_HISTORY}{_HISTORY_PREFIX}".encode("ascii"))
_TREE_KEYS = ("conversion_megajanskys", "conversion_microjanskys")
"""Of PHOTMJSR, whatever the instrument calls that card, and of PHOTUJA2."""
_QUOTED = re.compile(rb"\s*'((?:[^']|'')*)'")
_VALUE_START = 10
_SIZE_CARD, _FORM_CARD = "NAXIS1", "TFORM1"


def multiply_photometry(raw: RawFits, factor: float, photmjsr_card: str, path: Path) -> None:
    """Multiply PHOTMJSR and PHOTUJA2, in all headers and in the ASDF tree.

    Parameters
    ----------
    factor : float
        With exactly one, nothing changes.
    """
    if factor == 1.0:
        return
    values = {}
    for hdu in raw.hdus:
        for keyword in (photmjsr_card, PHOTUJA2):
            image = hdu.cards.get(keyword)
            if image is None:
                continue
            card = fits.Card.fromstring(image)
            if not isinstance(card.value, int | float):
                continue
            values[keyword] = float(card.value) * factor
            _keep(hdu.cards, image)
            hdu.cards.replace(keyword, format_card(keyword, values[keyword], card.comment))
    tree_hdu = raw.find(ASDF)
    if tree_hdu is not None:
        given = [values.get(photmjsr_card), values.get(PHOTUJA2)]
        _multiply_tree(tree_hdu, given, factor, path)


def _multiply_tree(hdu: RawHdu, values: Sequence[float | None], factor: float, path: Path) -> None:
    """Give the tree the numbers of the header; where that has none, multiply the tree's."""
    tree = AsdfTree(hdu.content(), path)
    new = {}
    for number, (key, value) in enumerate(zip(_TREE_KEYS, values, strict=True), 1):
        text = tree.get(key)
        if text is None:
            continue
        if value is None:
            try:
                value = float(text) * factor
            except ValueError:  # null
                continue
        new[key] = repr(value)
        hdu.cards.append(format_card(f"{_KEPT_NUMBER}{number}", text, f"{key} as it was"))
    if new:
        for keyword in (_SIZE_CARD, _FORM_CARD):
            image = hdu.cards.get(keyword)
            if image is not None:
                _keep(hdu.cards, image)
        _put_tree(hdu, tree.replaced(new))


def _put_tree(hdu: RawHdu, content: bytes) -> None:
    """Give an ASDF extension another tree, and the cards with its size."""
    hdu.put(MemoryBlocks(memoryview(data_block(content))), len(content))
    for keyword, value in ((_SIZE_CARD, len(content)), (_FORM_CARD, f"{len(content)}B")):
        image = hdu.cards.get(keyword)
        if image is not None:
            comment = fits.Card.fromstring(image).comment
            hdu.cards.replace(keyword, format_card(keyword, value, comment))


def keep_checksums(raw: RawFits) -> None:
    """Keep DATASUM and CHECKSUM of every header unit that has changed; they are made anew."""
    for hdu in raw.hdus:
        if hdu.is_changed:
            for keyword in CHECKSUM_CARDS:
                image = hdu.cards.get(keyword)
                if image is not None:
                    _keep(hdu.cards, image)


def add_record(raw: RawFits, cards: Sequence[bytes], history: Sequence[str]) -> None:
    """Add the cards of a correction and lines of HISTORY to the primary header."""
    primary = raw.hdus[0].cards
    primary.append(b"".join(cards))
    width = CARD_BYTES - len(_HISTORY) - len(_HISTORY_PREFIX)
    for line in history:
        for part in textwrap.wrap(line, width, subsequent_indent="    "):
            text = f"{_HISTORY}{_HISTORY_PREFIX}{part}"
            primary.append(text.encode("ascii", "replace").ljust(CARD_BYTES))


def photmjsr_before(raw: RawFits, photmjsr_card: str, path: Path) -> float:
    """Return PHOTMJSR as it was before the correction [MJy/sr per DN/s].

    Raises
    ------
    HeaderValueError
        If it was not kept.
    """
    for hdu in raw.hdus:
        for image in _kept_cards(hdu.cards):
            if _keyword(image) == photmjsr_card:
                return float(fits.Card.fromstring(image).value)
    msg = (
        f"{path}: was corrected by calreg (CALREGID), but no card CALREGO* keeps what "
        f"{photmjsr_card} was: it cannot be restored; make the file again with the jwst pipeline"
    )
    raise HeaderValueError(msg)


def restore_cards(raw: RawFits, path: Path) -> None:
    """Put cards and numbers of the tree back as they were, and take calreg's cards away."""
    for hdu in raw.hdus:
        kept = _kept_cards(hdu.cards)
        numbers = {
            key: _text(hdu.cards, f"{_KEPT_NUMBER}{number}")
            for number, key in enumerate(_TREE_KEYS, 1)
        }
        hdu.cards.remove(lambda image: image.startswith(_OURS))
        old = {key: text for key, text in numbers.items() if text}
        if old and hdu.name == ASDF:
            tree = AsdfTree(hdu.content(), path)
            _put_tree(hdu, tree.replaced(old))
        for image in kept:
            if hdu.cards.get(_keyword(image)) is not None:
                hdu.cards.replace(_keyword(image), image)


def _keep(cards: Cards, image: bytes) -> None:
    """Keep a card, as it is, in another one."""
    number = 1 + len(_kept_cards(cards))
    text = image.decode("ascii").rstrip()
    cards.append(format_card(f"{_KEPT_CARD}{number}", text))


def _kept_cards(cards: Cards) -> list[bytes]:
    """Return the cards of a header that were kept, as they were."""
    kept: list[bytes] = []
    while (text := _text(cards, f"{_KEPT_CARD}{len(kept) + 1}")) is not None:
        kept.append(text.encode("ascii").ljust(CARD_BYTES))
    return kept


def _text(cards: Cards, keyword: str) -> str | None:
    """Return a text that may go over several cards; None if there is none.

    astropy (8.0) takes a quote mark that is followed by a slash for the end of such a text.
    """
    found = cards.find(keyword)
    if found is None:
        return None
    parts = []
    for image in cards.images[slice(*found)]:
        matched = _QUOTED.match(image, _VALUE_START)
        if matched is None:
            return None
        parts.append(matched[1].replace(b"''", b"'"))
    whole = b"".join(part.removesuffix(b"&") for part in parts[:-1]) + parts[-1]
    return whole.decode("ascii").rstrip()


def _keyword(image: bytes) -> str:
    """Return the keyword of a card."""
    return image[:8].decode("ascii").rstrip()

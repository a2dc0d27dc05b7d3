"""Write whole FITS extensions: a primary header, an image, a table.

By hand, as astropy cuts numbers off after 20 characters (a CDELT or a PIXAR_SR then is another
number) and takes sixty times as long for the small files of a simulated programme.
"""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from calreg.errors import InvalidValueError
from calreg.files.fits.cards import CARD_BYTES, data_block, format_card, header_block

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

_WIDTH = 72
"""Characters of a comment per card."""

_TYPE_CODES = {"i2": "I", "i4": "J", "i8": "K", "f4": "E", "f8": "D"}


def plain_text(text: str) -> str:
    """Return text in ASCII, which is all that FITS has; question marks for the rest."""
    return text.encode("ascii", "replace").decode("ascii")


def primary_block(cards: Iterable[bytes], comment: str = "") -> bytes:
    """Return a primary header without data.

    Parameters
    ----------
    cards : iterable of bytes
        Of 80 bytes each, after the mandatory ones and the comment.
    comment : str
        Broken into COMMENT cards.
    """
    start = [
        format_card("SIMPLE", True, "conforms to FITS standard"),
        format_card("BITPIX", 8, "array data type"),
        format_card("NAXIS", 0, "number of array dimensions"),
        format_card("EXTEND", True),
    ]
    return header_block([*start, *comment_cards(comment), *cards])


def comment_cards(text: str) -> list[bytes]:
    """Return text as COMMENT cards."""
    return [f"COMMENT {line}".ljust(CARD_BYTES).encode("ascii") for line in wrap(text, _WIDTH)]


def image_block(
    name: str, pixels: NDArray[np.generic], cards: Iterable[bytes] | None = None
) -> bytes:
    """Return an image extension.

    Parameters
    ----------
    name : str
        EXTNAME.
    pixels : ndarray
        Floats, signed integers, or unsigned ones, which are stored as FITS stores them.
    cards : iterable of bytes, optional
        Of 80 bytes each, after the mandatory ones.
    """
    head = image_header(name, pixels.dtype, pixels.shape, cards or ())
    if _is_shifted(pixels.dtype):
        zero = 1 << (8 * pixels.dtype.itemsize - 1)
        pixels = (pixels.astype(np.int64) - zero).astype(np.int32)
    return head + data_block(pixels.astype(pixels.dtype.newbyteorder(">")).tobytes())


def image_header(
    name: str, dtype: np.dtype[Any], shape: Sequence[int], cards: Iterable[bytes]
) -> bytes:
    """Return the header of an image extension, for pixels that follow."""
    bits = 8 * dtype.itemsize
    head = [
        format_card("XTENSION", "IMAGE", "Image extension"),
        format_card("BITPIX", -bits if dtype.kind == "f" else bits, "array data type"),
        format_card("NAXIS", len(shape), "number of array dimensions"),
        *(format_card(f"NAXIS{axis}", n) for axis, n in enumerate(reversed(shape), start=1)),
        format_card("PCOUNT", 0, "number of parameters"),
        format_card("GCOUNT", 1, "number of groups"),
    ]
    if _is_shifted(dtype):
        head += [format_card("BSCALE", 1), format_card("BZERO", 1 << (bits - 1))]
    head += [format_card("EXTNAME", name, "extension name")]
    return header_block([*head, format_card("EXTVER", 1, "extension value"), *cards])


def _is_shifted(dtype: np.dtype[Any]) -> bool:
    """Whether FITS stores a type as signed integers with an offset: unsigned ones but bytes."""
    return dtype.kind == "u" and dtype.itemsize > 1


def table_block(
    name: str,
    columns: Mapping[str, list[Any]] | Mapping[str, NDArray[Any]],
    units: Mapping[str, str] | None = None,
    cards: Iterable[bytes] = (),
) -> bytes:
    """Return a binary table.

    Parameters
    ----------
    name : str
        EXTNAME.
    columns : mapping of str to sequence or ndarray
        Of one length. Arrays keep their type, and of two dimensions have several elements a row; of
        lists, text is ASCII, and None is NaN.
    units : mapping of str to str, optional
        Of those columns that have one.
    cards : iterable of bytes
        More of the header.

    Raises
    ------
    InvalidValueError
        If a column has a type that is no number's.
    """
    arrays = {
        column: values if isinstance(values, np.ndarray) else _column(values)
        for column, values in columns.items()
    }
    fields = [
        (column, values.dtype.newbyteorder(">"), values.shape[1:])
        for column, values in arrays.items()
    ]
    layout: list[bytes] = []
    for place, (column, values) in enumerate(arrays.items(), start=1):
        layout += [
            format_card(f"TTYPE{place}", column),
            format_card(f"TFORM{place}", _form(column, values)),
        ]
        if units and column in units:
            layout.append(format_card(f"TUNIT{place}", units[column]))
    table = np.empty(len(next(iter(arrays.values()))), dtype=fields)
    for column, values in arrays.items():
        table[column] = values
    head = [
        format_card("XTENSION", "BINTABLE", "binary table extension"),
        format_card("BITPIX", 8, "array data type"),
        format_card("NAXIS", 2, "number of array dimensions"),
        format_card("NAXIS1", table.dtype.itemsize, "length of dimension 1"),
        format_card("NAXIS2", len(table), "length of dimension 2"),
        format_card("PCOUNT", 0, "number of group parameters"),
        format_card("GCOUNT", 1, "number of groups"),
        format_card("TFIELDS", len(fields), "number of table fields"),
        *layout,
        *cards,
        format_card("EXTNAME", name, "extension name"),
    ]
    return header_block(head) + data_block(table.tobytes())


def _column(values: Sequence[Any]) -> NDArray[Any]:
    """Return a list as a column."""
    if not isinstance(values[0], str):
        return np.array([np.nan if value is None else value for value in values])
    # Padded with blanks, as the cards in it are; nothing stays nothing.
    width = max(map(len, values)) or 1
    texts = [plain_text(value).ljust(width) if value else "" for value in values]
    return np.array(texts, dtype=f"S{width}")


def _form(name: str, values: NDArray[Any]) -> str:
    """Return the card TFORM of a column."""
    if values.dtype.kind == "S":
        return f"{values.dtype.itemsize}A"
    code = _TYPE_CODES.get(values.dtype.str[1:])
    if code is None:
        msg = f"column {name!r} has type {values.dtype}; expected integers or floats"
        raise InvalidValueError(msg)
    return code if values.ndim == 1 else f"{values.shape[1]}{code}"

"""Write whole FITS extensions quickly: a primary header, an image."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np

from calreg.files.fits.cards import data_block, format_card, header_block

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

_COMMENT_WIDTH = 72


def primary_block(cards: Iterable[bytes], comment: str) -> bytes:
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
    notes = [f"COMMENT {line}".ljust(80).encode("ascii") for line in wrap(comment, _COMMENT_WIDTH)]
    return header_block([*start, *notes, *cards])


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
    is_unsigned = pixels.dtype.kind == "u"
    bits = 8 * pixels.dtype.itemsize
    head = [
        format_card("XTENSION", "IMAGE", "Image extension"),
        format_card("BITPIX", -bits if pixels.dtype.kind == "f" else bits, "array data type"),
        format_card("NAXIS", pixels.ndim, "number of array dimensions"),
    ]
    head += [
        format_card(f"NAXIS{axis}", length)
        for axis, length in enumerate(pixels.shape[::-1], start=1)
    ]
    head += [
        format_card("PCOUNT", 0, "number of parameters"),
        format_card("GCOUNT", 1, "number of groups"),
    ]
    if is_unsigned:
        head += [format_card("BSCALE", 1), format_card("BZERO", 1 << (bits - 1))]
        pixels = (pixels.astype(np.int64) - (1 << (bits - 1))).astype(np.int32)
    head.append(format_card("EXTNAME", name, "extension name"))
    head += [format_card("EXTVER", 1, "extension value"), *(cards or [])]
    big_endian = pixels.astype(pixels.dtype.newbyteorder(">"))
    return header_block(head) + data_block(big_endian.tobytes())

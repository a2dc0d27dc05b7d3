"""Writer of FITS_LDAC catalogs with the structure of SExtractor 2.25 in dual-image mode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from calreg.errors import InvalidValueError
from calreg.files.atomic import replace_file
from calreg.files.fits.cards import CARD_BYTES, Value, format_card
from calreg.files.fits.write import primary_block, table_block

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

# Type, unit and display format as SExtractor 2.25 writes them (its `param.h`).
_FLUX = ("E", "count", "G12.7")
_MAG = ("E", "mag", "F8.4")
_SKY = ("D", "deg", "F11.7")
_FORMATS: dict[str, tuple[str, str, str]] = {
    "NUMBER": ("J", "", "I10"),
    "FLAGS": ("I", "", "I3"),
    "X_IMAGE": ("E", "pixel", "F11.4"),
    "Y_IMAGE": ("E", "pixel", "F11.4"),
    "XWIN_IMAGE": ("D", "pixel", "F11.4"),
    "YWIN_IMAGE": ("D", "pixel", "F11.4"),
    **dict.fromkeys(("ALPHA_J2000", "DELTA_J2000", "ALPHAWIN_J2000", "DELTAWIN_J2000"), _SKY),
    **{
        f"{quantity}_{kind}": layout
        for kind in ("ISO", "AUTO", "APER", "PSF")
        for quantity, layout in (
            ("FLUX", _FLUX),
            ("FLUXERR", _FLUX),
            ("MAG", _MAG),
            ("MAGERR", _MAG),
        )
    },
}
_NUMPY_TYPES = {"I": "i2", "J": "i4", "E": "f4", "D": "f8"}


def write_ldac(
    path: Path,
    columns: Mapping[str, NDArray[Any]],
    header: Sequence[str],
    fitsfile: str,
    *,
    mag_zero_point: float | None = None,
    software: str = "calreg",
) -> None:
    """Write a FITS_LDAC catalog.

    Parameters
    ----------
    columns : mapping of str to ndarray
        Shape (n_rows,), or (n_rows, n_elements) for vector columns such as FLUX_APER. SExtractor's
        columns get SExtractor's types (NUMBER int32, fluxes float32, sky float64), others keep
        theirs. Pixel positions are written as given: SExtractor's are 1-based.
    header : sequence of str
        Cards of the measured extension; END is added.

    Raises
    ------
    InvalidValueError
        Columns differ in length or cannot be written, or a text does not fit its card.
    OutputError
        The file exists or cannot be written.

    Notes
    -----
    SExtractor's SEXDATE and SEXTIME are left out, so that the same input gives the same bytes.
    """
    text = b"".join(_image_cards(header, fitsfile, software, mag_zero_point))
    dimensions = format_card("TDIM1", f"({CARD_BYTES}, {len(text) // CARD_BYTES})")
    # One row with one column, the image's header as text.
    image = {"Field Header Card": np.array([text])}
    content = (
        primary_block([])
        + table_block("LDAC_IMHEAD", image, cards=[dimensions])
        + _objects_table(columns)
    )
    with replace_file(path) as temporary:
        temporary.write_bytes(content)


def _image_cards(
    header: Sequence[str], fitsfile: str, software: str, mag_zero_point: float | None
) -> list[bytes]:
    """Return the cards of LDAC_IMHEAD: the image's, then SExtractor's, then END."""
    cards = [f"{card:<{CARD_BYTES}}" for card in header if card.rstrip() not in {"", "END"}]
    too_long = next((card for card in cards if len(card) != CARD_BYTES), None)
    if too_long is not None:
        msg = (
            f"header card {too_long[:20]!r} has {len(too_long)} characters; expected at most "
            f"{CARD_BYTES}: give one card per element"
        )
        raise InvalidValueError(msg)
    added: list[tuple[str, Value, str]] = [
        ("FITSFILE", fitsfile, "File name of the analysed image"),
        ("FITSEXT", 1, "FITS Extension number"),
        ("FITSNEXT", 1, "Number of FITS image extensions in file"),
        ("SEXVERS", software, "Extraction software"),
    ]
    if mag_zero_point is not None:
        zero_point = round(float(mag_zero_point), 8)
        added.append(("SEXMGZPT", zero_point, "Zero-point used for magnitudes"))
    for keyword, value, comment in added:
        card = format_card(keyword, value, comment)
        if len(card) > CARD_BYTES:
            msg = (
                f"text {value!r} does not fit card {keyword}: {len(str(value))} characters found; "
                "use a shorter name"
            )
            raise InvalidValueError(msg)
        cards.append(card.decode("ascii"))
    return [card.encode("ascii") for card in [*cards, f"{'END':<{CARD_BYTES}}"]]


def _objects_table(columns: Mapping[str, NDArray[Any]]) -> bytes:
    """Return LDAC_OBJECTS."""
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) != 1:
        msg = f"columns of a catalog differ in length: {lengths}; expected one length"
        raise InvalidValueError(msg)
    typed: dict[str, NDArray[Any]] = {}
    units: dict[str, str] = {}
    displays: list[bytes] = []
    for place, (name, values) in enumerate(columns.items(), start=1):
        # SExtractor writes 1E, not E.
        typed[name] = values[:, np.newaxis] if values.ndim == 1 else values
        if name in _FORMATS:
            code, unit, display = _FORMATS[name]
            typed[name] = typed[name].astype(_NUMPY_TYPES[code])
            displays.append(format_card(f"TDISP{place}", display))
            units |= {name: unit} if unit else {}
    return table_block("LDAC_OBJECTS", typed, units, displays)

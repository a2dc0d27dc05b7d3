"""Writer of FITS_LDAC catalogs with the structure of SExtractor 2.25 in dual-image mode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from calreg.errors import InvalidValueError
from calreg.files.atomic import replace_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from astropy.io import fits
    from numpy.typing import NDArray

_BLOCK_BYTES = 2880
_CARD_BYTES = 80
_LONGEST_TEXT = 68

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
_NUMPY_TYPES = {"I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
_TABLE_HEAD = "THIS IS A BINARY TABLE (FROM THE LDACTOOLS)"


def write_ldac(
    path: Path,
    columns: Mapping[str, NDArray[Any]],
    header: fits.Header | Sequence[str],
    fitsfile: str,
    *,
    mag_zero_point: float | None = None,
    software: str = "calreg",
    overwrite: bool = False,
) -> None:
    """Write a FITS_LDAC catalog.

    Parameters
    ----------
    path : pathlib.Path
        Written under a temporary name and renamed.
    columns : mapping of str to ndarray
        Shape (n_rows,), or (n_rows, n_elements) for vector columns such as FLUX_APER. SExtractor's
        columns get SExtractor's types (NUMBER int32, fluxes float32, sky float64), others keep
        theirs. Pixel positions are written as given: SExtractor's are 1-based.
    header : astropy.io.fits.Header or sequence of str
        Header of the measured extension, as cards; END is added.
    fitsfile : str
        Name of the measured image (card FITSFILE).
    mag_zero_point : float, optional
        Card SEXMGZPT [mag].
    software : str
        Card SEXVERS.
    overwrite : bool
        Replace a file that is there.

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
    cards = _image_cards(header, fitsfile, software, mag_zero_point)
    content = b"".join(
        (
            _header_block(
                [
                    _card("SIMPLE", value=True, comment="This is a FITS file"),
                    _card("BITPIX", 8),
                    _card("NAXIS", 0),
                    _card("EXTEND", value=True, comment="This file may contain FITS extensions"),
                ]
            ),
            _image_header_table(cards),
            _objects_table(columns),
        )
    )
    with replace_file(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(content)


def _card(keyword: str, value: object, comment: str = "") -> str:
    """Format one 80-character card with fixed-format value."""
    if isinstance(value, bool):
        text = f"{'T' if value else 'F':>20}"
    elif isinstance(value, int):
        text = f"{value:>20d}"
    elif isinstance(value, float):
        text = f"{value:>20.8f}"
    else:
        quoted = str(value).replace("'", "''")
        if len(quoted) > _LONGEST_TEXT:
            msg = (
                f"text {value!r} does not fit card {keyword}: {len(quoted)} characters found, at "
                f"most {_LONGEST_TEXT} expected; use a shorter name"
            )
            raise InvalidValueError(msg)
        text = f"'{quoted:<8}'".ljust(20)
    card = f"{keyword:<8}= {text} / {comment}" if comment else f"{keyword:<8}= {text}"
    return f"{card[:_CARD_BYTES]:<{_CARD_BYTES}}"


def _image_cards(
    header: fits.Header | Sequence[str],
    fitsfile: str,
    software: str,
    mag_zero_point: float | None,
) -> list[str]:
    """Return the cards of LDAC_IMHEAD: the image's, then SExtractor's, then END."""
    source = header if isinstance(header, (list, tuple)) else _header_cards(header)
    cards = [f"{card:<{_CARD_BYTES}}" for card in source if card.rstrip() not in {"", "END"}]
    too_long = next((card for card in cards if len(card) != _CARD_BYTES), None)
    if too_long is not None:
        msg = (
            f"header card {too_long[:20]!r} has {len(too_long)} characters; expected at most "
            f"{_CARD_BYTES}: give one card per element"
        )
        raise InvalidValueError(msg)
    cards += [
        _card("FITSFILE", fitsfile, "File name of the analysed image"),
        _card("FITSEXT", 1, "FITS Extension number"),
        _card("FITSNEXT", 1, "Number of FITS image extensions in file"),
        _card("SEXVERS", software, "Extraction software"),
    ]
    if mag_zero_point is not None:
        cards.append(_card("SEXMGZPT", float(mag_zero_point), "Zero-point used for magnitudes"))
    return [*cards, f"{'END':<{_CARD_BYTES}}"]


def _header_cards(header: fits.Header | Sequence[str]) -> list[str]:
    """Cut a header into its 80-character card images."""
    if not hasattr(header, "tostring"):
        return list(header)
    text = header.tostring(endcard=False, padding=False)
    return [text[i : i + _CARD_BYTES] for i in range(0, len(text), _CARD_BYTES)]


def _padded(data: bytes, fill: bytes) -> bytes:
    """Fill the last block."""
    return data + fill * (-len(data) % _BLOCK_BYTES)


def _header_block(cards: list[str]) -> bytes:
    """Return a header with END, padded."""
    return _padded("".join([*cards, f"{'END':<{_CARD_BYTES}}"]).encode("ascii"), b" ")


def _table_cards(name: str, n_bytes: int, n_rows: int, n_fields: int) -> list[str]:
    """Return the leading cards of a binary table, in SExtractor's words."""
    return [
        _card("XTENSION", "BINTABLE", _TABLE_HEAD),
        _card("BITPIX", 8),
        _card("NAXIS", 2),
        _card("NAXIS1", n_bytes, "BYTES PER ROW"),
        _card("NAXIS2", n_rows, "NUMBER OF ROWS"),
        _card("PCOUNT", 0, "RANDOM PARAMETER COUNT"),
        _card("GCOUNT", 1, "GROUP COUNT"),
        _card("TFIELDS", n_fields, "FIELDS PER ROWS"),
        _card("EXTNAME", name, "TABLE NAME"),
    ]


def _image_header_table(cards: list[str]) -> bytes:
    """Return LDAC_IMHEAD: one row with one column, the image's header as text."""
    text = "".join(cards).encode("ascii")
    head = [
        *_table_cards("LDAC_IMHEAD", len(text), 1, 1),
        _card("TTYPE1", "Field Header Card"),
        _card("TFORM1", f"{len(text)}A"),
        _card("TDIM1", f"({_CARD_BYTES}, {len(cards)})"),
    ]
    return _header_block(head) + _padded(text, b"\0")


def _objects_table(columns: Mapping[str, NDArray[Any]]) -> bytes:
    """Return LDAC_OBJECTS."""
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) != 1:
        msg = f"columns of a catalog differ in length: {lengths}; expected one length"
        raise InvalidValueError(msg)
    fields: list[tuple[Any, ...]] = []
    cards: list[str] = []
    for i, (name, values) in enumerate(columns.items(), start=1):
        code, unit, display = _FORMATS.get(name) or (_type_code(name, values), "", "")
        n_elements = values.shape[1] if values.ndim > 1 else 1
        fields.append((name, _NUMPY_TYPES[code], (n_elements,)))
        cards += [_card(f"TTYPE{i}", name), _card(f"TFORM{i}", f"{n_elements}{code}")]
        cards += [_card(f"TUNIT{i}", unit)] if unit else []
        cards += [_card(f"TDISP{i}", display)] if display else []
    n_rows = next(iter(lengths.values()))
    rows = np.empty(n_rows, dtype=np.dtype(fields))
    for name, values in columns.items():
        rows[name] = values[:, np.newaxis] if values.ndim == 1 else values
    head = _table_cards("LDAC_OBJECTS", rows.dtype.itemsize, n_rows, len(columns))
    return _header_block([*head, *cards]) + _padded(rows.tobytes(), b"\0")


def _type_code(name: str, values: NDArray[Any]) -> str:
    """Return the TFORM letter of an array's own type."""
    code = {"i2": "I", "i4": "J", "i8": "K", "f4": "E", "f8": "D"}.get(values.dtype.str[1:])
    if code is None:
        msg = f"column {name!r} has type {values.dtype}; expected integers or floats"
        raise InvalidValueError(msg)
    return code

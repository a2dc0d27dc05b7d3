"""Reader of SExtractor catalogs: FITS_LDAC, FITS_1.0 and ASCII_HEAD.

Notes
-----
SExtractor 2.25 copies the measured extension's header into LDAC_IMHEAD and adds FITSFILE (the
measured image's name), SEXVERS and its settings; in FITS_1.0 FITSFILE and some settings are in the
primary header; ASCII_HEAD says nothing but the names of the columns. None of them states the
detection image.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from calreg.errors import CatalogColumnError, FileFormatError, UnsupportedDataError
from calreg.files.catalogs.columns import (
    SCALAR_NAMES,
    SourceColumn,
    SourceTable,
    image_base_name,
    line_of_row,
    run_together,
)
from calreg.files.catalogs.fitstables import (
    only_table,
    open_fits,
    require_complete,
    spread_columns,
)

if TYPE_CHECKING:
    from pathlib import Path

    from astropy.io import fits

    from calreg.units import FloatArray

_CARD_BYTES = 80
_KEPT_CARDS = ("EXTNAME", "BUNIT", "PIXAR_SR", "PHOTMJSR", "FITSEXT")
# When the catalog was made, and how long it took, are not settings.
_NOT_SETTINGS = ("SEXVERS", "SEXDATE", "SEXTIME", "SEXELAPS", "SEXNDET", "SEXNFIN")
_WHOLE_CARD = re.compile(
    r"(?:COMMENT |HISTORY |CONTINUE| {8})[ -~]*"
    r"|[A-Z0-9_-]{1,8} *= +(?:'(?:[^']|'')*'|[^'/ ]+| *\([^)]*\))? *(?:/[ -~]*)?"
    r"|HIERARCH [ -~]+= [ -~]*"
)
_HEADER_LINE = re.compile(r"#\s*(\d+)\s+(\S+)(.*)")
_HEADER_UNIT = re.compile(r"\[([^\]]*)\]\s*$")


def read_sextractor_fits(path: Path) -> SourceTable:
    """Read a FITS_LDAC or FITS_1.0 catalog.

    Returns
    -------
    SourceTable
        Columns are views of the mapped file. Of a catalog of a multi-extension image, the table of
        the SCI extension.

    Raises
    ------
    FileFormatError
        The file is truncated, not FITS, or has no table of sources.
    UnsupportedDataError
        It holds tables of several images and none, or more than one, is of a SCI extension.
    """
    with open_fits(path) as hdus:
        require_complete(path, hdus)
        notes: list[str] = []
        header, table = _choose_table(path, hdus, notes)
        columns = spread_columns(path, table)
        return SourceTable(
            columns=columns,
            n_rows=int(table.header["NAXIS2"]),
            image_name=image_base_name(str(header.get("FITSFILE", ""))),
            software=_software(str(header.get("SEXVERS", ""))),
            settings=_settings(header),
            is_sextractor=True,
            notes=tuple(notes),
        )


def _choose_table(
    path: Path, hdus: fits.HDUList, notes: list[str]
) -> tuple[fits.Header, fits.BinTableHDU]:
    """Return the table of sources with the header of its image."""
    tables: list[tuple[fits.Header, fits.BinTableHDU]] = []
    header = hdus[0].header
    for hdu in hdus[1:]:
        if hdu.name == "LDAC_IMHEAD":
            header = _image_header(path, hdu, notes)
        elif hdu.name in {"LDAC_OBJECTS", "OBJECTS"}:
            tables.append((header, hdu))
    if not tables:
        return header, only_table(path, hdus)
    if len(tables) > 1:
        of_sci = [pair for pair in tables if str(pair[0].get("EXTNAME", "")).strip() == "SCI"]
        if len(of_sci) != 1:
            msg = (
                f"{path}: holds {len(tables)} tables of sources, {len(of_sci)} of them of a SCI "
                "extension; expected one: run SExtractor on 'image.fits[SCI]' only"
            )
            raise UnsupportedDataError(msg)
        return of_sci[0]
    return tables[0]


def _image_header(path: Path, hdu: fits.BinTableHDU, notes: list[str]) -> fits.Header:
    """Return the header inside LDAC_IMHEAD.

    Other programs write its END card without padding to 80 characters, or not at all, so the row is
    cut here and not by its TDIM.
    """
    from astropy.io import fits

    raw = bytes(np.asarray(hdu.data).tobytes()).replace(b"\0", b" ")
    text = raw.decode("latin-1")
    cards = [text[i : i + _CARD_BYTES] for i in range(0, len(text), _CARD_BYTES)]
    end = next((i for i, card in enumerate(cards) if card.rstrip() == "END"), None)
    if end is None:
        broken = next((card for card in cards if not _is_whole(card)), None)
        if broken is not None:
            msg = (
                f"{path}: the header inside LDAC_IMHEAD has no END card and is cut at "
                f"{broken.strip()[:30]!r}; the catalog is damaged"
            )
            raise FileFormatError(msg)
        notes.append("the header inside LDAC_IMHEAD has no END card; its cards are whole")
    return fits.Header.fromstring("".join(cards[:end]))


def _is_whole(card: str) -> bool:
    """Tell whether a card is blank, or has its 80 characters and a value that can be read."""
    if not card.strip():
        return True
    return len(card) == _CARD_BYTES and _WHOLE_CARD.fullmatch(card) is not None


def _software(text: str) -> str:
    """Return program and version as calreg writes them: ``SExtractor 2.25.0``."""
    matched = re.fullmatch(r"(?:source\s*extractor|sextractor)?\s*(\d\S*)", text.strip(), re.I)
    if matched is not None:
        return f"SExtractor {matched[1]}"
    return text.strip() or "SExtractor"


def _settings(header: fits.Header) -> dict[str, str]:
    """Return the header's record of how the catalog was made."""
    return {
        card.keyword: str(card.value).strip()
        for card in header.cards
        if (card.keyword.startswith("SEX") and card.keyword not in _NOT_SETTINGS)
        or card.keyword in _KEPT_CARDS
    }


def read_sextractor_ascii(path: Path) -> SourceTable:
    """Read an ASCII_HEAD catalog.

    Returns
    -------
    SourceTable
        Gaps in the numbering of the header are further elements of a vector column.

    Raises
    ------
    CatalogColumnError
        Header and rows disagree, or two columns run together in the header.
    FileFormatError
        A row cannot be read; the message has the number of its line.

    Notes
    -----
    `astropy.io.ascii` takes every gap in the numbering for a vector column, and so gives the values
    of a lost column to its neighbour; here a gap after a column that is never a vector is refused.
    """
    header = _read_ascii_header(path)
    if not header:
        msg = f"{path}: has no header lines such as '#   1 NUMBER'; expected ASCII_HEAD"
        raise FileFormatError(msg)
    values = _read_ascii_rows(path)
    n_columns = values.shape[1] if len(values) else header[-1][0]
    columns: dict[str, SourceColumn] = {}
    for (first, name, unit), following in zip(
        header, [start for start, _, _ in header[1:]] + [n_columns + 1], strict=True
    ):
        _check_ascii_column(path, name, following - first, n_columns)
        for i in range(following - first):
            column = values[:, first - 1 + i] if len(values) else np.empty(0)
            columns[name if i == 0 else f"{name}_{i}"] = SourceColumn(column, unit)
    return SourceTable(
        columns=columns, n_rows=len(values), software="SExtractor", is_sextractor=True
    )


def _read_ascii_header(path: Path) -> list[tuple[int, str, str]]:
    """Return number, name and unit of each header line."""
    header: list[tuple[int, str, str]] = []
    with path.open(encoding="latin-1") as lines:
        for line in lines:
            if not line.startswith("#"):
                break
            matched = _HEADER_LINE.match(line)
            if matched is None:
                continue
            unit = _HEADER_UNIT.search(matched[3])
            header.append((int(matched[1]), matched[2], unit[1] if unit else ""))
    numbers = [number for number, _, _ in header]
    if numbers and numbers[0] == 0:
        msg = (
            f"{path}: header numbers its columns from 0 ({header[0][1]}); SExtractor counts from "
            "1: add 1 to the number of each header line"
        )
        raise CatalogColumnError(msg)
    if numbers and (numbers[0] != 1 or sorted(set(numbers)) != numbers):
        msg = (
            f"{path}: header numbers its columns {numbers}; expected 1 first and then rising "
            "numbers: a header line is missing, doubled or out of order"
        )
        raise CatalogColumnError(msg)
    return header


def _check_ascii_column(path: Path, name: str, n_elements: int, n_columns: int) -> None:
    """Refuse names that were glued and scalars that would cover a lost column."""
    parts = run_together(name)
    if parts is not None:
        msg = (
            f"{path}: two columns run together in the header: {name!r} is {parts[0]!r} and "
            f"{parts[1]!r}; put each on its own line with its own number"
        )
        raise CatalogColumnError(msg)
    if n_elements < 1:
        msg = (
            f"{path}: header names column {name!r} beyond the {n_columns} columns of the rows; "
            "make header and rows agree"
        )
        raise CatalogColumnError(msg)
    if n_elements > 1 and name.upper() in SCALAR_NAMES:
        msg = (
            f"{path}: header leaves {n_elements} columns to {name!r}, which has one; the header "
            f"line of the column after {name!r} is missing or run together with it"
        )
        raise CatalogColumnError(msg)


def _read_ascii_rows(path: Path) -> FloatArray:
    """Return the numbers, shape (n_rows, n_columns)."""
    with path.open(encoding="latin-1") as lines:
        has_rows = any(line.strip() and not line.startswith("#") for line in lines)
    if not has_rows:
        return np.empty((0, 0))
    try:
        return np.loadtxt(path, dtype=np.float64, ndmin=2, encoding="latin-1")
    except ValueError as error:
        msg = f"{path}: {_with_line(path, str(error))}"
        raise FileFormatError(msg) from error


def _with_line(path: Path, text: str) -> str:
    """Replace NumPy's count of rows by the line of the file."""
    matched = re.search(r"(.*?) at row (\d+)", text)
    if matched is None:
        return text.splitlines()[0]
    # NumPy counts from 0 when it converts, and from 1 when the number of columns changes.
    row = int(matched[2]) + (0 if "number of columns" in text else 1)
    return f"line {line_of_row(path, row)}: {matched[1]}"

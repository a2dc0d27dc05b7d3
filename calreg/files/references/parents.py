"""What photom and flat reference files share: parents that can be used, and copies of them.

A copy is made of the parent's own bytes. Only a header whose cards change and the data that are
scaled are written anew, so that all that is not meant to change stays to the bit.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from calreg.errors import FileFormatError, UnknownKeyError, UnsupportedDataError
from calreg.files.atomic import format_utc, sha256_of
from calreg.files.fits.headers import FitsHeaders, HeaderUnit, read_headers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from astropy.io import fits
    from numpy.typing import NDArray

    from calreg.domain import Pmap
    from calreg.instruments import Array, Instrument

HISTORY_WIDTH = 72
"""Characters of a HISTORY card."""

IN_FLIGHT = "INFLIGHT"

_CHECKSUM_CARDS = ("CHECKSUM", "DATASUM")


@dataclass(frozen=True)
class ReferenceMeta:
    """What a reference file says about its making.

    Attributes
    ----------
    pmap : Pmap
        Context that it corrects.
    first_utc, last_utc : datetime
        Begin and end of the exposures that the correction was measured on.
    useafter_utc : datetime
        USEAFTER of a file without parent; a copy keeps its parent's.
    history : tuple of str
        What was corrected by how much, from which set; lines of any length.
    is_predicted : bool
        Whether the correction was carried from another context, not measured under this one.
    """

    pmap: Pmap
    code_version: str
    created_utc: datetime
    first_utc: datetime
    last_utc: datetime
    useafter_utc: datetime
    history: tuple[str, ...] = ()
    is_predicted: bool = False

    @property
    def basis(self) -> str:
        """How the correction is known, for DESCRIP."""
        return "PREDICTED by PHOTMJSR, not measured" if self.is_predicted else "measured"

    @property
    def pedigree(self) -> str:
        """The card PEDIGREE, ``INFLIGHT 2022-07-08 2023-07-06``."""
        return f"{IN_FLIGHT} {self.first_utc:%Y-%m-%d} {self.last_utc:%Y-%m-%d}"

    def cards(self, file_name: str, description: str) -> dict[str, str]:
        """Return the cards that every file of ours sets, with its DESCRIP."""
        return {
            "DATE": format_utc(self.created_utc.replace(microsecond=0)).removesuffix("Z"),
            "FILENAME": file_name,
            "AUTHOR": f"calreg {self.code_version}",
            "DESCRIP": description,
            "PEDIGREE": self.pedigree,
        }

    def history_lines(self, parent: Parent | None) -> list[str]:
        """Return the HISTORY cards, none longer than a card."""
        lines = [f"Corrected by calreg {self.code_version} for {self.pmap.name}"]
        if parent is not None:
            lines.append(f"Parent {parent.path.name} of {parent.get('AUTHOR') or 'unknown author'}")
            lines.append(f"Parent sha256 {parent.file_sha256}")
        return [
            part
            for line in [*lines, *self.history]
            for part in textwrap.wrap(line, HISTORY_WIDTH, subsequent_indent="  ")
        ]


@dataclass(frozen=True)
class Parent:
    """A reference file that may be copied, and the detector that it is for."""

    path: Path
    headers: FitsHeaders = field(repr=False)
    array: Array
    file_sha256: str

    def get(self, keyword: str) -> str:
        """Return a card of the primary header as text, empty where it is missing."""
        return text_of(self.headers.primary, keyword)

    def require_unit(self, name: str) -> HeaderUnit:
        """Return an HDU by its EXTNAME, or refuse the file."""
        unit = self.headers.find(name)
        if unit is None:
            names = ", ".join(unit.name or "(no EXTNAME)" for unit in self.headers.units)
            msg = f"{self.path}: no HDU {name}; expected one, found {names}"
            raise FileFormatError(msg)
        return unit


def text_of(unit: HeaderUnit, keyword: str) -> str:
    """Return a card as text, empty where it is missing or is no text."""
    value = unit.get(keyword)
    return value.strip() if isinstance(value, str) else ""


def is_reference(headers: FitsHeaders, reftype: str, instrument: Instrument) -> bool:
    """Tell whether a file is a reference file of one type for the instrument, usable or not."""
    primary = headers.primary
    return (
        text_of(primary, "REFTYPE").upper() == reftype
        and text_of(primary, "INSTRUME").upper() == instrument.name
    )


def read_parent(path: Path, reftype: str, model: str, instrument: Instrument) -> Parent:
    """Read what a parent is, and refuse what cannot be one.

    `reftype` and `model` are what REFTYPE and DATAMODL must say, ``PHOTOM`` or ``FLAT`` and the
    data model that the pipeline opens it with.

    Raises
    ------
    FileFormatError
        If the file is not FITS, or is truncated.
    UnsupportedDataError
        If it is another kind of file, for another instrument, for grism data, or from before
        flight.
    """
    headers = read_headers(path)
    primary = headers.primary
    for keyword, expected in (
        ("TELESCOP", instrument.telescope),
        ("INSTRUME", instrument.name),
        ("REFTYPE", reftype),
        ("DATAMODL", model),
    ):
        found = text_of(primary, keyword)
        if found.upper() != expected.upper():
            msg = (
                f"{path}: {keyword} is {found!r}; expected {expected!r}: only an imaging "
                f"{reftype.lower()} file of {instrument.name} can be used"
            )
            raise UnsupportedDataError(msg)
    _refuse_other_data(path, primary, instrument)
    try:
        array = instrument.array(text_of(primary, "DETECTOR"))
    except UnknownKeyError as error:
        msg = f"{path}: DETECTOR: {error}"
        raise UnsupportedDataError(msg) from error
    return Parent(path, headers, array, sha256_of(path))


def _refuse_other_data(path: Path, primary: HeaderUnit, instrument: Instrument) -> None:
    """Refuse files for grism exposures, and files from before flight."""
    types = f"{text_of(primary, 'EXP_TYPE')}|{text_of(primary, 'P_EXP_TY')}".upper().split("|")
    given = {name.strip() for name in types} - {"", "ANY", "N/A"}
    if given and not given & set(instrument.imaging_exposure_types):
        msg = (
            f"{path}: made for EXP_TYPE {', '.join(sorted(given))}; expected one for imaging "
            f"({', '.join(instrument.imaging_exposure_types)})"
        )
        raise UnsupportedDataError(msg)
    pedigree = text_of(primary, "PEDIGREE")
    if pedigree.upper().split()[:1] != [IN_FLIGHT]:
        msg = (
            f"{path}: PEDIGREE is {pedigree!r}, a file from before flight; expected "
            f"'{IN_FLIGHT} date date': take the file that the exposures name in their headers"
        )
        raise UnsupportedDataError(msg)


def edited_header(unit: HeaderUnit, cards: Mapping[str, str], history: Sequence[str]) -> bytes:
    """Return a header's blocks with some cards set and HISTORY added; other cards keep their bytes.

    Comments stay. Checksums, which no longer hold, are removed.
    """
    from astropy.io.fits import Header

    header = Header.fromstring(unit.raw)
    for keyword, value in cards.items():
        header[keyword] = value
    return _block(header, history)


def _block(header: fits.Header, history: Sequence[str]) -> bytes:
    """Return a header as blocks, with HISTORY and without checksums."""
    for keyword in _CHECKSUM_CARDS:
        header.remove(keyword, ignore_missing=True)
    for line in history:
        header.add_history(line)
    return str(header.tostring()).encode("ascii")


def spliced(content: bytes, replaced: Mapping[tuple[int, int], bytes]) -> bytes:
    """Return bytes with some ranges (start, end) replaced."""
    parts, place = [], 0
    for (start, end), new in sorted(replaced.items()):
        parts += [content[place:start], new]
        place = end
    return b"".join([*parts, content[place:]])


def table_of(content: bytes, unit: HeaderUnit) -> NDArray[np.void]:
    """Return a binary table's rows as they are stored in a file, without any scaling; a copy.

    They are structured and big-endian, with the names of columns in lower case.

    Raises
    ------
    FileFormatError
        If the HDU is no binary table, or its columns do not fill its rows.
    """
    from astropy.io.fits import BinTableHDU

    if unit.extension != "BINTABLE":
        msg = f"{unit.path}: HDU {unit.name} is no binary table"
        raise FileFormatError(msg)
    width, n_rows = unit.shape[:2]
    # The columns are read from the header; the rows behind it are only touched on access.
    hdu = BinTableHDU.fromstring(content[unit.header_start : unit.data_end])
    dtype = hdu.columns.dtype.newbyteorder(">")
    if dtype.itemsize != width:
        msg = f"{unit.path}: rows of {unit.name} have {width} bytes and columns {dtype.itemsize}"
        raise FileFormatError(msg)
    dtype = np.dtype(
        {
            "names": [name.lower() for name in dtype.names],
            "formats": [dtype.fields[name][0] for name in dtype.names],
            "offsets": [dtype.fields[name][1] for name in dtype.names],
            "itemsize": width,
        }
    )
    return np.frombuffer(content, dtype, count=n_rows, offset=unit.data_start).copy()

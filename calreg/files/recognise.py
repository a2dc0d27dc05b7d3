"""Recognise what a file is by its content, never by its name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from calreg.errors import FileFormatError
from calreg.files.fits.headers import read_headers, read_start

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.files.fits.headers import FitsHeaders, HeaderUnit


class FileKind(StrEnum):
    """What a file holds, as far as its first bytes and its headers say."""

    JWST_IMAGE = "image"
    """FITS with an image; `calreg.files.images.exposures` says what is wrong with it."""
    SEXTRACTOR_LDAC = "SExtractor FITS_LDAC catalog"
    SEXTRACTOR_FITS = "SExtractor FITS_1.0 catalog"
    SEXTRACTOR_ASCII = "SExtractor ASCII_HEAD catalog"
    FITS_TABLE = "FITS table"
    ECSV = "ECSV table"
    VOTABLE = "VOTable"
    PARQUET = "Parquet table"
    CSV = "CSV table"
    REFERENCE_FILE = "CRDS reference file"
    MAPPING = "CRDS mapping"
    PHOTMJSR_TABLE = "table of PHOTMJSR"
    REFERENCES_TABLE = "table of reference files"
    GRIZLI_ZERO_POINTS = "grizli zero points"

    @property
    def is_catalog(self) -> bool:
        """Whether the file is a table of sources, to be read as a catalog."""
        return self not in (FileKind.JWST_IMAGE, FileKind.REFERENCE_FILE, *_OF_CONTEXTS)

    @property
    def is_of_contexts(self) -> bool:
        """Whether the file says what contexts are made of, and names no source."""
        return self in _OF_CONTEXTS


_OF_CONTEXTS = (
    FileKind.MAPPING,
    FileKind.PHOTMJSR_TABLE,
    FileKind.REFERENCES_TABLE,
    FileKind.GRIZLI_ZERO_POINTS,
)


@dataclass(frozen=True)
class RecognisedFile:
    """A file's kind, with the headers that were read to find it.

    Attributes
    ----------
    headers : FitsHeaders or None
        For FITS files, so that nobody needs to read them again.
    """

    kind: FileKind
    headers: FitsHeaders | None


_START_BYTES = 8192
_SHOWN_BYTES = 16
_GZIP_MAGIC = b"\x1f\x8b"
_PARQUET_MAGIC = b"PAR1"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SEXTRACTOR_ASCII_START = re.compile(rb"\s*#\s*[01]\s+[A-Z][A-Z0-9_]*(?:\s|$)")
_VOTABLE_START = re.compile(rb"<(?:\w+:)?VOTABLE[\s>]", re.IGNORECASE)
_HAS_LETTER = re.compile(r"[A-Za-z]")
_SEXTRACTOR_ORIGIN = re.compile("SExtractor", re.IGNORECASE)
_SEXTRACTOR_COLUMN = re.compile(
    r"(?:FLUX|FLUXERR|MAG|MAGERR)_(?:ISO|ISOCOR|AUTO|APER|PETRO|PSF|BEST|MODEL|POINTSOURCE)"
    r"|(?:ALPHA|DELTA)(?:PSF|WIN|PEAK)?_(?:J2000|SKY|B1950)|[XY](?:WIN|PSF|PEAK)?_(?:IMAGE|WORLD)"
)
_MAPPING_START = re.compile(rb"\s*header\s*=\s*\{")
_GRIZLI_ZERO_POINT = re.compile(rb"^[A-Z0-9]+-[A-Z0-9]+-[A-Z0-9]+\s*:\s*\[[^\],]+,[^\],]+,", re.M)
_IMAGE_EXTENSIONS = frozenset({"IMAGE", "IUEIMAGE"})
_TABLE_EXTENSIONS = frozenset({"BINTABLE", "TABLE", "A3DTABLE"})


def inspect(path: Path) -> RecognisedFile:
    """Find out what a file holds, and keep the headers if it is FITS.

    Raises
    ------
    FileFormatError
        If the file cannot be read, is empty, compressed, truncated FITS, or none of the known
        formats.
    """
    start = read_start(path, _START_BYTES)
    if start.startswith(b"SIMPLE  ="):
        headers = read_headers(path)
        return RecognisedFile(_fits_kind(headers), headers)
    return RecognisedFile(_other_kind(path, start), None)


def recognise(path: Path) -> FileKind:
    """Identify a file's content; see `inspect`."""
    return inspect(path).kind


def _fits_kind(headers: FitsHeaders) -> FileKind:
    """Tell FITS files apart by their HDUs."""
    reference_type = headers.primary.get("REFTYPE")
    if isinstance(reference_type, str) and reference_type.strip():
        return FileKind.REFERENCE_FILE
    if headers.find("LDAC_IMHEAD") is not None:
        return FileKind.SEXTRACTOR_LDAC
    if any(_is_image(unit) for unit in headers.units):
        return FileKind.JWST_IMAGE
    tables = [unit for unit in headers.units if unit.extension in _TABLE_EXTENSIONS]
    if any(_is_sextractor_table(unit, headers.primary) for unit in tables):
        return FileKind.SEXTRACTOR_FITS
    if any(unit.name != "ASDF" for unit in tables):
        return FileKind.FITS_TABLE
    return FileKind.JWST_IMAGE


def _is_image(unit: HeaderUnit) -> bool:
    """Return whether an HDU has pixels, perhaps tile-compressed."""
    if unit.index == 0 or unit.extension in _IMAGE_EXTENSIONS:
        return len(unit.shape) > 1
    return unit.get("ZIMAGE") is True


def _is_sextractor_table(unit: HeaderUnit, primary: HeaderUnit) -> bool:
    """Return whether a table is SExtractor's, by its origin or by at least two of its columns."""
    origins = (source.get(card) for source in (unit, primary) for card in ("ORIGIN", "SOFTNAME"))
    if any(isinstance(text, str) and _SEXTRACTOR_ORIGIN.search(text) for text in origins):
        return True
    n_columns = unit.get("TFIELDS")
    if not isinstance(n_columns, int):
        return False
    names = (unit.get(f"TTYPE{number}") for number in range(1, n_columns + 1))
    known = [name for name in names if isinstance(name, str) and _SEXTRACTOR_COLUMN.fullmatch(name)]
    return len(known) > 1


def _other_kind(path: Path, start: bytes) -> FileKind:
    """Tell files apart that are not FITS."""
    if not start:
        msg = f"{path}: is empty (0 bytes): expected an image or a catalog; write or copy it again"
        raise FileFormatError(msg)
    if start.startswith(_GZIP_MAGIC):
        msg = (
            f"{path}: is gzip-compressed: expected the plain file; decompress it with gunzip first"
        )
        raise FileFormatError(msg)
    if start.startswith(_PARQUET_MAGIC):
        return FileKind.PARQUET
    text = start.removeprefix(_BYTE_ORDER_MARK)
    of_contexts = _kind_of_contexts(text)
    if of_contexts is not None:
        return of_contexts
    if text.startswith(b"# %ECSV"):
        return FileKind.ECSV
    if text.lstrip().startswith(b"<") and _VOTABLE_START.search(text):
        return FileKind.VOTABLE
    if _SEXTRACTOR_ASCII_START.match(text):
        return FileKind.SEXTRACTOR_ASCII
    if _is_csv(text, is_whole=len(start) < _START_BYTES):
        return FileKind.CSV
    msg = (
        f"{path}: is not FITS, ECSV, CSV, VOTable, Parquet or a SExtractor catalog "
        f"(first bytes {start[:_SHOWN_BYTES]!r}); leave it out"
    )
    raise FileFormatError(msg)


def _kind_of_contexts(text: bytes) -> FileKind | None:
    """Return the kind of a text about contexts, None for any other."""
    if _MAPPING_START.match(text):
        return FileKind.MAPPING
    if _GRIZLI_ZERO_POINT.search(text):
        return FileKind.GRIZLI_ZERO_POINTS
    lines = (line for line in text.splitlines() if line.strip() and not line.startswith(b"#"))
    words = re.split(rb"[,\s]+", next(lines, b"").lower())
    names = {word.strip(b'"') for word in words}
    if names & {b"ra", b"dec", b"ra_deg", b"dec_deg", b"alpha_j2000", b"sky_centroid.ra"}:
        return None
    if {b"pmap", b"detector", b"photmjsr"} <= names:
        return FileKind.PHOTMJSR_TABLE
    if {b"pmap", b"detector"} <= names and names & {b"photom", b"flat", b"area"}:
        return FileKind.REFERENCES_TABLE
    return None


def _is_csv(start: bytes, *, is_whole: bool) -> bool:
    """Return whether a text begins with comma-separated names, perhaps after comment lines."""
    # Where the start was cut, its last line may end within a character.
    lines_bytes = start.splitlines() if is_whole else start.splitlines()[:-1]
    try:
        lines = [line.decode("utf-8") for line in lines_bytes]
    except UnicodeDecodeError:
        return False
    rows = [line for line in lines if line.strip() and not line.startswith("#")]
    if not rows or any(not line.isprintable() for line in (row.replace("\t", "") for row in rows)):
        return False
    names = [name.strip().strip('"') for name in rows[0].split(",")]
    has_names = len(names) > 1 and all(_HAS_LETTER.search(name) for name in names)
    same_width = len(rows) == 1 or rows[1].count(",") >= len(names) - 1
    return has_names and same_width

"""Read the header blocks of a FITS file, and nothing else.

A FITS file is a chain of header and data units (HDUs), each a multiple of 2880 bytes (FITS standard
4.0, section 3.1). The size of the data follows from the header, so that the next header is one
seek away and pixels are never read. Only the cards that somebody asks for are parsed: the plain
ones and long strings (CONTINUE) here, all others by `astropy.io.fits.Card`. Values are the
same as astropy's, but for a quote mark in the comment of an empty string, which astropy (8.0) takes
for the string's end.
"""

from __future__ import annotations

import hashlib
import math
import re
import struct
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, BinaryIO

from calreg.errors import FileFormatError, HeaderValueError
from calreg.files.readguard import MAX_COLUMNS, require_columns, require_plausible_size

if TYPE_CHECKING:
    from pathlib import Path

CardValue = str | bool | int | float | complex | None
"""Value of a card as astropy gives it; None where the value field is blank."""

BLOCK_BYTES = 2880
CARD_BYTES = 80
KEYWORD_BYTES = 8

_FITS_START = b"SIMPLE  ="
_EXTENSION_START = b"XTENSION"
_TABLE_STARTS = (b"XTENSION= 'BINTABLE'", b"XTENSION= 'TABLE   '", b"XTENSION= 'A3DTABLE'")
_CONTINUE = b"CONTINUE"
_HIERARCH = b"HIERARCH"
_MAX_BINARY_BYTES_PER_BLOCK = CARD_BYTES
_TEXT_BYTES = bytes(range(0x20, 0x7F))

# Cards that need no care, from column 9 on: a string without inner quotes, a number without inner
# blanks, T or F, or nothing; then a comment. Whatever does not match goes to astropy.
_COMMENT = rb" *(?:/.*)?"
_TEXT = rb" *'(?P<text>[ -&(-~]*)'"
_PLAIN_CONTINUE = re.compile(_TEXT + _COMMENT, re.DOTALL)
_PLAIN_CARD = re.compile(
    rb"= (?:" + _TEXT + rb"| *(?P<integer>[+-]?[0-9]+)"
    rb"| *(?P<real>[+-]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[EeDd]))(?:[EeDd][+-]?[0-9]+)?)"
    rb"| *(?P<logical>[TF]))?" + _COMMENT,
    re.DOTALL,
)
_D_EXPONENT = bytes.maketrans(b"Dd", b"EE")


@dataclass(frozen=True)
class HeaderUnit:
    """The header of one HDU, and where its data are.

    Attributes
    ----------
    index : int
        Place in the file, 0 for the primary HDU.
    name : str
        EXTNAME in upper case, perhaps empty; always ``PRIMARY`` for the first HDU.
    header_start, data_start, data_end : int
        Byte offsets in the file; `data_end` is without padding.
    shape : tuple of int
        NAXIS1, NAXIS2, ... as in the header.
    """

    path: Path
    index: int
    name: str
    header_start: int
    data_start: int
    data_end: int
    shape: tuple[int, ...]
    raw: bytes = field(repr=False)

    @cached_property
    def offsets(self) -> dict[bytes, int]:
        """Where the first card of each keyword (8 bytes, padded) begins in `raw`."""
        return _card_offsets(self.raw)

    @property
    def extension(self) -> str:
        """Type of extension (``IMAGE``, ``BINTABLE``, ``TABLE``); empty for the primary HDU."""
        value = self.get("XTENSION") if self.index else None
        return value.strip().upper() if isinstance(value, str) else ""

    def get(self, keyword: str) -> CardValue:
        """Return the value of a card.

        Parameters
        ----------
        keyword : str
            A standard keyword, or the name of a HIERARCH card (``ESO INS MODE``). The first card
            counts where a keyword stands twice.

        Returns
        -------
        str, bool, int, float, complex or None
            None where the card is missing or has no value. Trailing blanks of strings are removed.

        Raises
        ------
        HeaderValueError
            If the card breaks the FITS standard so that it has no value.
        """
        start = _find_card(self.raw, self.offsets, keyword)
        return None if start is None else _parse_card(self.raw, start, self.path)


@dataclass(frozen=True, slots=True)
class FitsHeaders:
    """All headers of one FITS file.

    Attributes
    ----------
    sha256 : str
        SHA-256 in hexadecimal over all header blocks in file order, followed by the size of the
        file as 8 bytes, most significant first. It changes with any card, not with the pixels.
    """

    path: Path
    size_bytes: int
    sha256: str
    units: tuple[HeaderUnit, ...]

    @property
    def primary(self) -> HeaderUnit:
        """Return the first HDU."""
        return self.units[0]

    def find(self, name: str) -> HeaderUnit | None:
        """Return the first HDU of that EXTNAME (upper case), or None."""
        return next((unit for unit in self.units if unit.name == name), None)


def read_headers(path: Path) -> FitsHeaders:
    """Read all headers of a FITS file.

    Bytes after the last HDU that do not begin another extension ("special records" of the standard)
    are allowed, as is a last data block without padding.

    Raises
    ------
    FileFormatError
        If the file cannot be opened, is empty, is not FITS, has a header without END, or ends
        before its last data do.
    """
    try:
        with path.open("rb", buffering=0) as stream:
            size_bytes = stream.seek(0, 2)
            return _read_units(stream, path, size_bytes)
    except OSError as error:
        raise _cannot_read(path, error) from error


def read_start(path: Path, n_bytes: int) -> bytes:
    """Return the first bytes of a file.

    Returns
    -------
    bytes
        Fewer than `n_bytes` if the file is shorter.

    Raises
    ------
    FileFormatError
        If the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return stream.read(n_bytes)
    except OSError as error:
        raise _cannot_read(path, error) from error


def _cannot_read(path: Path, error: OSError) -> FileFormatError:
    """Return the error for a file that the system does not let us read."""
    return FileFormatError(f"{path}: cannot be read ({error.strerror or error}): expected a file")


def _read_units(stream: BinaryIO, path: Path, size_bytes: int) -> FitsHeaders:
    """Walk through the HDUs of an open file."""
    digest = hashlib.sha256()
    units: list[HeaderUnit] = []
    start = 0
    while True:
        raw = _read_header(stream, path, len(units), start, size_bytes)
        if not raw:
            break
        unit = _make_unit(path, len(units), start, raw)
        if unit.data_end > size_bytes:
            msg = (
                f"{path}: truncated: HDU {unit.index} ({unit.name or 'no EXTNAME'}) ends at byte "
                f"{unit.data_end}, the file has {size_bytes}; copy or download it again"
            )
            raise FileFormatError(msg)
        _require_bounds(unit, size_bytes)
        digest.update(raw)
        units.append(unit)
        start = unit.data_start + _padded(unit.data_end - unit.data_start)
    digest.update(size_bytes.to_bytes(8, "big"))
    return FitsHeaders(path, size_bytes, digest.hexdigest(), tuple(units))


def _read_header(stream: BinaryIO, path: Path, index: int, start: int, size_bytes: int) -> bytes:
    """Return the header blocks that begin at a byte; empty where no further extension begins."""
    stream.seek(start)
    block = stream.read(BLOCK_BYTES)
    if index == 0 and not block.startswith(_FITS_START):
        found = f"first bytes {block[:16]!r}" if block else "it is empty, 0 bytes"
        msg = f"{path}: is not FITS ({found}): expected it to begin with 'SIMPLE  ='"
        raise FileFormatError(msg)
    word = block[: len(_EXTENSION_START)]
    if index > 0 and not (word and _EXTENSION_START.startswith(word)):
        return b""
    blocks = [block]
    while len(block) < BLOCK_BYTES or not _has_end(block):
        if len(block) < BLOCK_BYTES:
            msg = (
                f"{path}: truncated: the header of HDU {index} is not complete before the file "
                f"ends at byte {size_bytes}; copy or download it again"
            )
            raise FileFormatError(msg)
        if _is_binary(block):
            msg = (
                f"{path}: the header of HDU {index} has no END card: found binary data in its "
                f"block {len(blocks)}, expected cards of text; write the file again"
            )
            raise FileFormatError(msg)
        block = stream.read(BLOCK_BYTES)
        blocks.append(block)
    # The last one too: with more cards, it would not be the last one any more.
    if _is_binary(block.rstrip(b" \0")):
        msg = (
            f"{path}: the header of HDU {index} has binary data in its block {len(blocks)}, "
            "expected cards of text; write the file again"
        )
        raise FileFormatError(msg)
    return b"".join(blocks)


def _has_end(block: bytes) -> bool:
    """Return whether the block's last card is END; only blanks (or NULs) may follow it."""
    text = block.rstrip(b" \0")
    return text.endswith(b"END") and len(text) % CARD_BYTES == len(b"END")


def _is_binary(block: bytes) -> bool:
    """Return whether a block is data; a stray byte in a comment is forgiven."""
    if block.isascii() and b"\0" not in block:
        return False
    return len(block.translate(None, _TEXT_BYTES)) > _MAX_BINARY_BYTES_PER_BLOCK


def _padded(n_bytes: int) -> int:
    """Return a size rounded up to whole blocks."""
    return -(-n_bytes // BLOCK_BYTES) * BLOCK_BYTES


def _make_unit(path: Path, index: int, start: int, raw: bytes) -> HeaderUnit:
    """Find out an HDU's name and where its data end."""
    data_start = start + len(raw)
    shape, data_bytes = _structure(raw, path)
    return HeaderUnit(
        path=path,
        index=index,
        name=_extension_name(raw, path) if index else "PRIMARY",
        header_start=start,
        data_start=data_start,
        data_end=data_start + data_bytes,
        shape=shape,
        raw=raw,
    )


def _structure(raw: bytes, path: Path) -> tuple[tuple[int, ...], int]:
    """Return the lengths of the axes and the size of the data.

    The size is |BITPIX|/8 GCOUNT (PCOUNT + NAXIS1 NAXIS2 ...), FITS 4.0 Eq. 2. The standard fixes
    the order of these cards (4.4.1), so they are looked for in their places.
    """
    bits = abs(_structure_int(raw, 1, "BITPIX", path, smallest=-64))
    n_axes = _structure_int(raw, 2, "NAXIS", path)
    if n_axes == 0:
        return (), 0
    shape = tuple(_structure_int(raw, 2 + i, f"NAXIS{i}", path) for i in range(1, n_axes + 1))
    lengths, n_parameters, n_groups = shape, 0, 1
    if shape[0] == 0 and b"GROUPS  " in _card_offsets(raw):
        lengths = shape[1:]  # random groups, FITS 4.0 section 6
    if lengths is not shape or raw.startswith(_EXTENSION_START):
        n_parameters = _structure_int(raw, 3 + n_axes, "PCOUNT", path)
        n_groups = _structure_int(raw, 4 + n_axes, "GCOUNT", path)
    return shape, bits // 8 * n_groups * (n_parameters + math.prod(lengths))


def _structure_int(raw: bytes, place: int, keyword: str, path: Path, *, smallest: int = 0) -> int:
    """Return a card that the structure of the file needs, by its place (if any) or its name."""
    start = place * CARD_BYTES
    if place >= 0 and raw.startswith(keyword.encode("ascii").ljust(KEYWORD_BYTES) + b"= ", start):
        try:  # fixed format, columns 11 to 30
            value = int(raw[start + 10 : start + 30])
        except ValueError:
            pass
        else:
            if value >= smallest:
                return value
    found = _find_card(raw, _card_offsets(raw), keyword)
    slow_value = None if found is None else _parse_card(raw, found, path)
    if type(slow_value) is not int or slow_value < smallest:
        shown = "nothing" if slow_value is None else repr(slow_value)
        msg = (
            f"{path}: card {keyword}: found {shown}, expected a whole number; the file is not "
            "valid FITS, write it again"
        )
        raise FileFormatError(msg)
    return slow_value


def _require_bounds(unit: HeaderUnit, size_bytes: int) -> None:
    """Refuse what cards state beyond the data that the file has: columns, rows, unpacked pixels."""
    raw, path = unit.raw, unit.path
    if raw.startswith(_TABLE_STARTS):
        require_columns(path, _structure_int(raw, 3 + len(unit.shape) + 2, "TFIELDS", path))
        n_rows = math.prod(unit.shape[1:])
        require_plausible_size(path, size_bytes, n_rows, f"{n_rows} rows")
    if b"ZIMAGE  =" in raw and unit.get("ZIMAGE") is True:
        n_axes = _structure_int(raw, -1, "ZNAXIS", path)
        bits = abs(_structure_int(raw, -1, "ZBITPIX", path, smallest=-64))
        for keyword in ("ZNAXIS", "ZTILE"):
            names = [f"{keyword}{axis}" for axis in range(1, min(n_axes, MAX_COLUMNS) + 1)]
            lengths = [
                _structure_int(raw, -1, name, path) for name in names if unit.get(name) is not None
            ]
            what = f"an image ({keyword}) of {' x '.join(map(str, lengths))} pixels"
            require_plausible_size(path, size_bytes, math.prod(lengths) * bits // 8, what)


def _extension_name(raw: bytes, path: Path) -> str:
    """Return an extension's EXTNAME in upper case, or nothing."""
    start = raw.find(b"EXTNAME = ")
    if start < 0:
        return ""
    if start % CARD_BYTES:  # the words stand in somebody's comment
        start = _card_offsets(raw).get(b"EXTNAME ", -1)
    value = _parse_card(raw, start, path) if start >= 0 else None
    return value.strip().upper() if isinstance(value, str) else ""


def _card_offsets(raw: bytes) -> dict[bytes, int]:
    """Return where the first card of each keyword begins."""
    n_cards = len(raw) // CARD_BYTES
    keywords = struct.unpack("8s72x" * n_cards, raw)
    # Backwards, so that the first of equal keywords stays.
    return dict(zip(reversed(keywords), range(len(raw) - CARD_BYTES, -1, -CARD_BYTES), strict=True))


def _find_card(raw: bytes, offsets: dict[bytes, int], keyword: str) -> int | None:
    """Return where a keyword's first card begins."""
    start = offsets.get(keyword.ljust(KEYWORD_BYTES).encode("ascii"))
    if start is not None or (len(keyword) <= KEYWORD_BYTES and " " not in keyword):
        return start
    wanted = " ".join(keyword.upper().split())
    for start in range(0, len(raw), CARD_BYTES):
        if raw.startswith(_HIERARCH, start):
            name = raw[start + KEYWORD_BYTES : start + CARD_BYTES].partition(b"=")[0]
            if " ".join(name.decode("ascii", "replace").upper().split()) == wanted:
                return start
    return None


def _parse_card(raw: bytes, start: int, path: Path) -> CardValue:
    """Return the value of the card that begins at a byte, with the CONTINUE cards after it."""
    end = start + CARD_BYTES
    if raw.startswith(_CONTINUE, end):
        while raw.startswith(_CONTINUE, end):
            end += CARD_BYTES
        return _parse_long_string(raw[start:end], path)
    matched = _PLAIN_CARD.fullmatch(raw, start + KEYWORD_BYTES, end)
    if matched is None:
        return _parse_with_astropy(raw[start:end], path)
    kind = matched.lastgroup
    if kind is None:
        return None
    value = matched[kind]
    if kind == "text":
        return value.decode("ascii").rstrip()
    if kind == "integer":
        return int(value)
    if kind == "real":
        return float(value.translate(_D_EXPONENT))
    return value == b"T"


def _parse_long_string(image: bytes, path: Path) -> CardValue:
    """Join a string over its CONTINUE cards (FITS 4.0 section 4.2.1.2), as astropy does.

    The last `&` of each part goes, whether or not another part follows.
    """
    parts: list[bytes] = []
    for start in range(0, len(image), CARD_BYTES):
        pattern = _PLAIN_CONTINUE if start else _PLAIN_CARD
        matched = pattern.fullmatch(image, start + KEYWORD_BYTES, start + CARD_BYTES)
        if matched is None or matched.lastgroup != "text":
            return _parse_with_astropy(image, path)
        parts.append(matched["text"].rstrip().removesuffix(b"&"))
    return b"".join(parts).decode("ascii").rstrip()


def _parse_with_astropy(image: bytes, path: Path) -> CardValue:
    """Parse one card, with its CONTINUE cards, by astropy."""
    from astropy.io import fits

    card = fits.Card.fromstring(image)
    try:
        value = card.value
    except (fits.VerifyError, ValueError) as error:
        text = image[:CARD_BYTES].decode("ascii", "replace").rstrip()
        msg = (
            f"{path}: card {text[:KEYWORD_BYTES].rstrip()}: found {text!r}, expected a FITS "
            "value; correct the header"
        )
        raise HeaderValueError(msg) from error
    if isinstance(value, fits.card.Undefined):
        return None
    if isinstance(value, str | bool | int | float | complex):
        return value
    msg = f"{path}: unexpected value {value!r} in a header"
    raise HeaderValueError(msg)

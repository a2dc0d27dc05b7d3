"""Tables of PHOTMJSR and of reference files by context, as people publish and gather them.

Three forms: CSV or ECSV with the columns ``pmap detector filter pupil photmjsr`` (and, where known,
``photom_ref subarray pixar_sr source``); CSV or ECSV with ``pmap detector filter pupil`` and the
files ``photom flat area``; grizli's ``jwst_zeropoints.yml``. Numbers are read with the precision
that they are written to, which the text alone tells. What is no value of imaging in flight is left
out and counted.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from calreg.domain import Pmap, ReferenceChoice, ReferenceKind, ZeroPointKind
from calreg.errors import CalregError, FileFormatError, InvalidValueError
from calreg.files.recognise import FileKind
from calreg.science.zeropoints import Rounded, rounded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from calreg.instruments import Array, Band, Instrument

NO_CONTEXT = "context not recorded"
PRE_FLIGHT = "from before flight"
NOT_IMAGING = "no imaging passband"
NO_BAND = "filter not recorded"

_GRIZLI_SOURCE = "grizli {name}"
_PRE_FLIGHT_MARK = re.compile(r"pre-?flight", re.IGNORECASE)
_SIGNIFICANT = re.compile(r"\b(\d+)\s+sig(?:\.|nificant)?\s+digits", re.IGNORECASE)
_ECSV_COMMA = re.compile(r"^#\s*delimiter:\s*['\"],", re.MULTILINE)
_GRIZLI_LINE = re.compile(
    r"(?P<detector>\w+)-(?P<filter>\w+)-(?P<pupil>\w+)\s*:\s*"
    r"\[\s*(?P<photmjsr>[^\s,]+)\s*,\s*[^\s,]+\s*,\s*(?P<pixar_sr>[^\s,\]]+)\s*\]\s*(?:#(?P<note>.*))?"
)
_GRIZLI_PMAP = re.compile(r"jwst_\d+\.pmap")

_NEEDED = {
    FileKind.PHOTMJSR_TABLE: ("pmap", "detector", "filter", "pupil", "photmjsr"),
    FileKind.REFERENCES_TABLE: ("pmap", "detector", "filter", "pupil"),
}


@dataclass(frozen=True)
class FoundZeroPoint:
    """A PHOTMJSR [MJy/sr per DN/s] and a pixel area [sr] as a file gives them.

    `subarray` is empty where the value holds for every one, `r_photom` where no file is stated.
    """

    pmap: Pmap
    array: Array
    band: Band
    subarray: str
    photmjsr: Rounded
    pixar_sr: Rounded | None
    r_photom: str
    source: str
    kind: ZeroPointKind = ZeroPointKind.PUBLISHED


@dataclass
class ContextFacts:
    """What a file says about contexts, and how many rows were left out, by reason."""

    zero_points: list[FoundZeroPoint] = field(default_factory=list)
    references: list[ReferenceChoice] = field(default_factory=list)
    n_left_out: Counter[str] = field(default_factory=Counter)


class _LeftOut(Exception):  # noqa: N818 - no error: the row is counted, not refused
    """A row that is no value of imaging in flight."""


def read_context_table(path: Path, kind: FileKind, instrument: Instrument) -> ContextFacts:
    """Read a table of PHOTMJSR or of reference files.

    Raises
    ------
    FileFormatError
        If a column is missing, or a row has a detector, context or number that cannot be one; the
        message names the line.
    """
    facts = ContextFacts()
    rows = _grizli_rows(path) if kind is FileKind.GRIZLI_ZERO_POINTS else _table_rows(path, kind)
    for line, row in rows:
        try:
            if kind is FileKind.REFERENCES_TABLE:
                facts.references += _references(row, path, instrument)
            else:
                facts.zero_points.append(_zero_point(row, path, instrument))
        except _LeftOut as left_out:
            facts.n_left_out[str(left_out)] += 1
        except CalregError as error:
            msg = f"{path}: line {line}: {error}"
            raise FileFormatError(msg) from error
    return facts


def _table_rows(path: Path, kind: FileKind) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a CSV or ECSV table as text, with their lines."""
    text = path.read_text(encoding="utf-8-sig")
    is_ecsv = text.startswith("# %ECSV")
    delimiter = " " if is_ecsv and not _ECSV_COMMA.search(text) else ","
    lines = [
        (number, line)
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.startswith("#")
    ]
    cells = csv.reader((line for _, line in lines), delimiter=delimiter, skipinitialspace=True)
    names: list[str] = []
    for (number, _), values in zip(lines, cells, strict=True):
        if not names:
            names = [value.strip().lower() for value in values]
            missing = [name for name in _NEEDED[kind] if name not in names]
            if missing:
                msg = f"{path}: no column {', '.join(missing)}; found {', '.join(names)}"
                raise FileFormatError(msg)
            continue
        if len(values) != len(names):
            msg = f"{path}: line {number}: {len(values)} values for {len(names)} columns"
            raise FileFormatError(msg)
        yield number, {name: value.strip() for name, value in zip(names, values, strict=True)}


def _grizli_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the entries of grizli's table with the context that each one's comment names."""
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        line = text.strip()
        if not line or line.startswith("#"):
            continue
        found = _GRIZLI_LINE.fullmatch(line)
        if found is None:
            form = "DETECTOR-FILTER-PUPIL: [PHOTMJSR, scale, PIXAR_SR]"
            msg = f"{path}: line {number}: expected {form}, found {line[:40]!r}"
            raise FileFormatError(msg)
        pmap = _GRIZLI_PMAP.search(found["note"] or "")
        source = _GRIZLI_SOURCE.format(name=path.name)
        yield number, found.groupdict("") | {"pmap": pmap[0] if pmap else "", "source": source}


def _zero_point(row: dict[str, str], path: Path, instrument: Instrument) -> FoundZeroPoint:
    """Read one PHOTMJSR."""
    source = row.get("source") or path.name
    if _PRE_FLIGHT_MARK.search(source):
        raise _LeftOut(PRE_FLIGHT)
    pmap, array, band = _key(row, instrument)
    stated = _SIGNIFICANT.search(source)
    photmjsr = rounded(row["photmjsr"], int(stated[1]) if stated else None)
    keyword = instrument.keywords["photmjsr"]
    if not keyword.holds(photmjsr.value):
        msg = f"PHOTMJSR is {photmjsr.value:g}, expected {keyword.bounds}"
        raise InvalidValueError(msg)
    pixar = row.get("pixar_sr", "")
    return FoundZeroPoint(
        pmap=pmap,
        array=array,
        band=band,
        subarray=row.get("subarray", "").upper(),
        photmjsr=photmjsr,
        pixar_sr=rounded(pixar) if pixar else None,
        r_photom=row.get("photom_ref", ""),
        source=source,
    )


def _references(row: dict[str, str], path: Path, instrument: Instrument) -> list[ReferenceChoice]:
    """Read the files of one context, detector and band."""
    pmap, array, band = _key(row, instrument)
    return [
        ReferenceChoice(
            pmap=pmap,
            array=array.name,
            kind=kind,
            filter=band.filter,
            pupil=band.pupil,
            useafter="",
            file_name=row[kind],
            source=row.get("source") or path.name,
        )
        for kind in ReferenceKind
        if row.get(kind)
    ]


def _key(row: dict[str, str], instrument: Instrument) -> tuple[Pmap, Array, Band]:
    """Return context, array and band of a row."""
    if not row["pmap"]:
        raise _LeftOut(NO_CONTEXT)
    if not row["filter"]:
        raise _LeftOut(NO_BAND)
    pmap, array = Pmap.parse(row["pmap"]), instrument.array(row["detector"])
    try:
        band = instrument.band(row["filter"], row["pupil"] or instrument.clear_pupils[0])
    except InvalidValueError:
        raise _LeftOut(NOT_IMAGING) from None
    if band.channel != array.channel:
        msg = f"{band.name} is a {band.channel} band and {array.name} is {array.channel}"
        raise InvalidValueError(msg)
    return pmap, array, band

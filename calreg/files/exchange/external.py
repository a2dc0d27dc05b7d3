"""Tables of corrections by others: grizli's YAML files and plain CSV, read line by line.

Grizli's tables are read as text, not by a YAML parser: errors, contexts, and what was held fixed or
never measured stand in the comments. A line is ``NRCA1-F150W-CLEAR: 1.0683`` or
``NRCA1-F150W-CLEAR: [2.3330, 1.0333, 2.24e-14]  # jwst_1293.pmap std_err = 0.0016``, with PHOTMJSR,
factor and PIXAR_SR.

References
----------
gbrammer/grizli, ``grizli/data/photom_correction.yml`` (numbers that images are divided by, 2022 and
2023) and ``jwst_zeropoints.yml`` (numbers that PHOTMJSR is multiplied by, 2024).
"""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from calreg.domain import Pmap
from calreg.errors import CalregError, FileFormatError, InvalidValueError
from calreg.files.atomic import sha256_of
from calreg.science.external import ExternalValue, ValueState
from calreg.units import factor_offset_mag

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from calreg.instruments import Array, Band, Instrument

NOT_OURS = "of another instrument"
NO_CONTEXT = "no context stated; name it with --pmap"
OTHER_CONTEXT = "of another context"
COMMENTED = "commented out; --commented reads them"
REPLACED = "commented out, another line has the key"

_ENTRY = re.compile(
    r"(?P<mark>#?)\s?(?P<detector>[A-Z]\w+)-(?P<filter>\w+)-(?P<pupil>\w+)\s*:\s*"
    r"(?P<value>\[[^\]#]*\]|[^\s#\[]+)\s*(?:#(?P<note>.*))?"
)
_CONTEXT = re.compile(r"[#\s]*(?:CRDS_CTX\s*:\s*)?(?P<pmap>jwst_\d+\.pmap)\s*(?:#.*)?")
_LAST_CONTEXT = re.compile(r"[#\s]*CRDS_CTX_MAX\s*:.*")
_PMAP_IN_NOTE = re.compile(r"jwst_\d+\.pmap")
_ERROR_IN_NOTE = re.compile(r"std_err\s*=\s*(\S+)")
_DIVIDE = re.compile(r"\*?\bdivided?\b\*?", re.IGNORECASE)
_ENTRY_FORM = (
    "DETECTOR-FILTER-PUPIL: number, or DETECTOR-FILTER-PUPIL: [PHOTMJSR, number, PIXAR_SR]"
)


@dataclass
class ExternalTable:
    """A table of others as read.

    Attributes
    ----------
    n_left_out : Counter of str
        Entries that were not taken, by reason.
    divide_line : str
        A line that says that the numbers divide; empty if there is none.
    """

    values: list[ExternalValue] = field(default_factory=list)
    n_left_out: Counter[str] = field(default_factory=Counter)
    file_sha256: str = ""
    divide_line: str = ""


def read_grizli_table(
    path: Path, instrument: Instrument, *, pmap: Pmap | None = None, with_commented: bool = False
) -> ExternalTable:
    """Read a table of grizli's: one factor for each detector, filter and pupil.

    Parameters
    ----------
    pmap : Pmap, optional
        Only entries of this context; the context of those that state none.
    with_commented : bool
        Take entries that are commented out too; needs `pmap`.

    Raises
    ------
    FileFormatError
        If a line is no entry, a number none, or a key there twice; the message names the line.
    InvalidValueError
        If commented entries are asked for without context.
    """
    if with_commented and pmap is None:
        msg = f"{path}: entries that are commented out need --pmap: which context's are meant"
        raise InvalidValueError(msg)
    table = ExternalTable(file_sha256=sha256_of(path))
    found: dict[tuple[Pmap, str, str], ExternalValue] = {}
    # Lines in force come first: one that is commented out never takes their place.
    entries = sorted(_grizli_entries(path, table), key=lambda entry: entry.is_commented)
    stated = {entry.pmap for entry in entries if entry.pmap is not None}
    for entry in entries:
        if entry.is_commented and not with_commented:
            table.n_left_out[COMMENTED] += 1
            continue
        try:
            # Entries without context are of the one asked for if the file knows of no other.
            value = _grizli_value(entry, pmap, instrument, is_only=stated <= {pmap})
        except CalregError as error:
            msg = f"{path}: line {entry.line}: {error}"
            raise FileFormatError(msg) from error
        if isinstance(value, str):
            table.n_left_out[value] += 1
            continue
        other = found.setdefault((value.pmap, value.array, value.band), value)
        if other is value:
            continue
        if entry.is_commented and not other.text.startswith("#"):
            table.n_left_out[REPLACED] += 1
            continue
        msg = (
            f"{path}: line {entry.line}: {value.array} {value.band} is in line {other.line} "
            "already; expected each key once"
        )
        raise FileFormatError(msg)
    table.values = _with_placeholders_marked(sorted(found.values(), key=lambda v: v.line))
    return table


@dataclass(frozen=True)
class _Entry:
    """A line that is an entry, with the context of the block that it stands in."""

    line: int
    text: str
    cells: re.Match[str]
    block: Pmap | None

    @property
    def pmap(self) -> Pmap | None:
        """Context that its comment names, else that of the block."""
        named = _PMAP_IN_NOTE.search(self.cells["note"] or "")
        return Pmap.parse(named[0]) if named else self.block

    @property
    def is_commented(self) -> bool:
        """Whether the line is commented out."""
        return self.text.startswith("#")


def _grizli_entries(path: Path, table: ExternalTable) -> list[_Entry]:
    """Return the lines that are entries; note where one says that numbers divide."""
    entries = []
    block: Pmap | None = None
    for line, raw in enumerate(_lines(path), start=1):
        text = raw.strip()
        context = _CONTEXT.fullmatch(text)
        cells = _ENTRY.fullmatch(text)
        if context is not None:
            block = Pmap.parse(context["pmap"])
        elif cells is not None:
            entries.append(_Entry(line, text, cells, block))
        elif text.startswith("#"):
            if not table.divide_line and _DIVIDE.search(text):
                table.divide_line = text.strip("# ")
        elif text and not _LAST_CONTEXT.fullmatch(text):
            msg = f"{path}: line {line}: expected {_ENTRY_FORM}, found {text[:50]!r}"
            raise FileFormatError(msg)
    return entries


def _grizli_value(
    entry: _Entry, wanted: Pmap | None, instrument: Instrument, *, is_only: bool
) -> ExternalValue | str:
    """Return the number of an entry, or the reason why it is left out."""
    found = entry.cells
    note = found["note"] or ""
    pmap = entry.pmap or (wanted if is_only else None)
    if found["detector"][:3].upper() not in {a.detector[:3] for a in instrument.arrays.values()}:
        return NOT_OURS
    if pmap is None:
        return NO_CONTEXT
    if wanted is not None and pmap != wanted:
        return OTHER_CONTEXT
    array = instrument.array(found["detector"])
    band = instrument.band(found["filter"], found["pupil"])
    numbers = [_number(cell, "a number") for cell in found["value"].strip("[]").split(",")]
    if len(numbers) not in (1, 3):
        msg = f"{found['value']}: expected one number, or PHOTMJSR, number, PIXAR_SR"
        raise InvalidValueError(msg)
    is_list = len(numbers) == 3
    photmjsr = instrument.keywords["photmjsr"]
    if is_list and numbers[0] > 0.0 and not photmjsr.holds(numbers[0]):
        msg = f"PHOTMJSR is {numbers[0]:g}, expected {photmjsr.bounds}"
        raise InvalidValueError(msg)
    err = _ERROR_IN_NOTE.search(note)
    return _checked(
        ExternalValue(
            pmap=pmap,
            array=array.name,
            array_id=array.array_id,
            band=band.name,
            value=numbers[1] if is_list else numbers[0],
            err=None if err is None else _number(err[1], "std_err"),
            is_mag=False,
            state=_state(note),
            photmjsr=numbers[0] if is_list else None,
            pixar_sr=numbers[2] if is_list else None,
            line=entry.line,
            text=entry.text,
        ),
        array,
        band,
    )


def _state(note: str) -> ValueState:
    """Return the state of a number by its comment."""
    if "[no data]" in note:
        return ValueState.NONE
    if "interpolated" in note:
        return ValueState.INTERPOLATED
    return ValueState.DATUM if "(fixed)" in note else ValueState.MEASURED


def _with_placeholders_marked(values: list[ExternalValue]) -> list[ExternalValue]:
    """Mark pairs of arrays that are both exactly one, without error: nobody measured that."""
    ones: Counter[tuple[Pmap, str, str]] = Counter(
        (value.pmap, value.band, value.array_id)
        for value in values
        if value.value == 1.0 and value.err is None and value.state is ValueState.MEASURED
    )
    placeholders = {key for key, n_ones in ones.items() if n_ones > 1}
    return [
        replace(value, state=ValueState.NONE)
        if (value.pmap, value.band, value.array_id) in placeholders
        else value
        for value in values
    ]


# --- CSV ------------------------------------------------------------------------------------------

_NEEDED = ("band", "array")
_VALUES = ("offset", "factor")
_KNOWN = ("pmap", *_NEEDED, *_VALUES, "error")


def read_csv_table(
    path: Path, instrument: Instrument, *, pmap: Pmap | None = None
) -> ExternalTable:
    """Read a CSV table: columns pmap, band, array, offset (or factor), error.

    Parameters
    ----------
    path : Path
        With a line of names. `array` is a detector (``nrca1``), or an array id (``1``) where the
        number is the difference A - B. `offset` is in magnitudes, `factor` a ratio of fluxes;
        `error` is in the same unit, empty where unknown. Lines that begin with ``#`` are comments.

    Raises
    ------
    FileFormatError
        If a column is missing or unknown, or a cell cannot be what it should; the message names
        line and column.
    """
    table = ExternalTable(file_sha256=sha256_of(path))
    names: list[str] = []
    lines_of: dict[tuple[Pmap, str, str, str], int] = {}
    for line, text in enumerate(_lines(path), start=1):
        if not text.strip() or text.startswith("#"):
            continue
        cells = [cell.strip() for cell in next(csv.reader([text]))]
        if not names:
            names = [cell.lower() for cell in cells]
            _check_names(names, path, has_pmap=pmap is not None)
            continue
        if len(cells) != len(names):
            msg = f"{path}: line {line}: {len(cells)} cells for {len(names)} columns"
            raise FileFormatError(msg)
        try:
            value = _csv_value(dict(zip(names, cells, strict=True)), line, text, pmap, instrument)
        except CalregError as error:
            msg = f"{path}: line {line}: {error}"
            raise FileFormatError(msg) from error
        if value is None:
            table.n_left_out[OTHER_CONTEXT] += 1
            continue
        key = (value.pmap, value.array, value.array_id, value.band)
        if key in lines_of:
            msg = f"{path}: line {line}: the same array and band as in line {lines_of[key]}"
            raise FileFormatError(msg)
        lines_of[key] = line
        table.values.append(value)
    if not names:
        msg = f"{path}: empty; expected a line of names: {','.join(_KNOWN)}"
        raise FileFormatError(msg)
    return table


def _check_names(names: list[str], path: Path, *, has_pmap: bool) -> None:
    """Refuse missing, unknown and ambiguous columns."""
    needed = [*([] if has_pmap else ["pmap"]), *_NEEDED]
    missing = [name for name in needed if name not in names]
    values = [name for name in _VALUES if name in names]
    unknown = [name for name in names if name not in _KNOWN]
    problem = ""
    if missing:
        problem = f"no column {', '.join(missing)}"
    elif len(values) != 1:
        problem = "both offset and factor" if values else "neither a column offset nor factor"
    elif unknown or len(set(names)) < len(names):
        problem = f"column {unknown[0]!r} is unknown" if unknown else "a column is there twice"
    if problem:
        msg = (
            f"{path}: {problem}: expected the columns pmap, band, array, offset (or factor), "
            f"error; found {', '.join(names)}"
        )
        raise FileFormatError(msg)


def _csv_value(
    cells: dict[str, str], line: int, text: str, wanted: Pmap | None, instrument: Instrument
) -> ExternalValue | None:
    """Return one row; None where it is of a context that is not wanted."""
    stated = Pmap.parse(cells["pmap"]) if cells.get("pmap") else wanted
    if stated is None:
        msg = "column pmap is empty: expected a context such as jwst_1130.pmap"
        raise InvalidValueError(msg)
    if wanted is not None and stated != wanted:
        return None
    band = instrument.band_named(cells["band"])
    names = {array.name for array in instrument.arrays.values()}
    is_detector = cells["array"].lower() in names
    array_id = instrument.array_id_named(cells["array"])
    array = (
        instrument.array(cells["array"])
        if is_detector
        else next(a for a in instrument.arrays.values() if a.array_id == array_id)
    )
    is_mag = "offset" in cells
    name = "offset" if is_mag else "factor"
    given = cells.get("error", "")
    return _checked(
        ExternalValue(
            pmap=stated,
            array=array.name if is_detector else "",
            array_id=array_id,
            band=band.name,
            value=_number(cells[name], f"column {name}"),
            err=_number(given, "column error") if given else None,
            is_mag=is_mag,
            state=ValueState.MEASURED,
            photmjsr=None,
            pixar_sr=None,
            line=line,
            text=text,
        ),
        array,
        band,
    )


# --- cells ----------------------------------------------------------------------------------------


def _lines(path: Path) -> Sequence[str]:
    """Return the lines of a text file."""
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        reason = " ".join(str(error).split())[:100]
        msg = f"{path}: not a readable text file ({reason})"
        raise FileFormatError(msg) from error


def _number(text: str, what: str) -> float:
    """Read a finite number."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        msg = f"{what}: expected a finite number, found {text.strip()!r}"
        raise InvalidValueError(msg)
    return number


_MAX_OFFSET_MAG = 2.5
"""Ten times brighter or fainter: no detector is, so something else was read."""


def _checked(value: ExternalValue, array: Array, band: Band) -> ExternalValue:
    """Refuse numbers and keys that cannot be meant."""
    problem = ""
    offset = value.value if value.is_mag else 0.0
    if band.channel != array.channel:
        problem = f"{band.name} is a {band.channel} band and {array.name} is {array.channel}"
    elif not value.is_mag and not value.value > 0.0:
        problem = f"factor is {value.value:g}: expected a positive number"
    elif not value.is_mag:
        offset = factor_offset_mag(value.value)
    if not problem and abs(offset) > _MAX_OFFSET_MAG:
        problem = (
            f"{value.value:g} is an offset of {offset:+.2f} mag: expected less than "
            f"{_MAX_OFFSET_MAG} mag; is it a {'factor' if value.is_mag else 'magnitude'}?"
        )
    if not problem and value.err is not None and value.err < 0.0:
        problem = f"error is {value.err:g}: expected zero or more"
    for name, number in (("PHOTMJSR", value.photmjsr), ("PIXAR_SR", value.pixar_sr)):
        if not problem and number is not None and number <= 0.0:
            problem = f"{name} is {number:g}: expected a positive number"
    if problem:
        raise InvalidValueError(problem)
    return value

"""Correction tables for grizli: one divisor per detector, filter and pupil, as YAML.

Keys and sense are those of grizli's ``data/photom_correction.yml``: ``NRCA1-F150W-CLEAR: 0.9881``,
a number that images (SCI and ERR) are divided by. Values above one mean that the detector reads too
bright.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from calreg.errors import InvalidValueError
from calreg.files.atomic import format_utc, replace_file
from calreg.units import flux_divisor

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from calreg.domain import Pmap
    from calreg.files.atomic import NamedFiles
    from calreg.instruments import Array, Band, Instrument


@dataclass(frozen=True)
class GrizliGradient:
    """The gradient that one number per detector leaves out.

    `offset_origin_mag` holds at d = 0 [mag], the written value at `pivot_arcmin` [arcmin].
    """

    offset_origin_mag: float
    slope_mag_arcmin: float
    pivot_arcmin: float


@dataclass(frozen=True)
class GrizliEntry:
    """The correction of one detector (its card DETECTOR) in one band (FILTER and PUPIL).

    Attributes
    ----------
    offset_mag : float
        Offset of this array, positive where it reads too faint [mag]; the value written is
        ``10**(-0.4 * offset_mag)``. Zero for an array of the datum.
    gradient : GrizliGradient or None
        For bands whose offset varies over the field.
    """

    detector: str
    filter: str
    pupil: str
    offset_mag: float
    offset_err_mag: float
    set_id: str
    datum: str = "B"
    note: str = ""
    gradient: GrizliGradient | None = None


@dataclass(frozen=True)
class _Line:
    """An entry with the array and band that it names."""

    entry: GrizliEntry
    array: Array
    band: Band

    @property
    def key(self) -> str:
        """The key that grizli looks up."""
        return f"{self.array.detector}-{self.band.filter}-{self.band.pupil}"


def write_grizli(
    path: Path,
    entries: Sequence[GrizliEntry],
    instrument: Instrument,
    *,
    pmap: Pmap,
    code_version: str,
    created_utc: datetime,
    left_out: Sequence[str] = (),
    overwrite: bool = False,
    names: NamedFiles | None = None,
) -> list[Path]:
    """Write corrections in the form of grizli's ``photom_correction.yml``.

    Parameters
    ----------
    entries : sequence of GrizliEntry
        Both modules of every array id and band, in any order.
    pmap : Pmap
        Context that the offsets were measured under. It is written as CRDS_CTX and, because offsets
        move between contexts, as CRDS_CTX_MAX.
    left_out : sequence of str
        What is not in the table although there are sets, with the reasons.
    names : NamedFiles, optional
        Takes the file back where its block raises later.

    Raises
    ------
    InvalidValueError
        If there are no entries, two for one key, one module without the other, or a number that is
        not finite.
    OutputError
        If the file cannot be written.

    Notes
    -----
    value = 10**(-0.4 offset), the reciprocal of the factor of Ma et al. (2024), Eq. 11.
    """
    lines = _checked(entries, path, instrument)
    text = _header(lines, pmap, code_version, format_utc(created_utc))
    text += "".join(f"\n# NOT in this table: {_one_line(reason)}\n" for reason in left_out)
    text += _body(lines)
    with replace_file(path, overwrite=overwrite, names=names) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    return [path]


def _checked(entries: Sequence[GrizliEntry], path: Path, instrument: Instrument) -> list[_Line]:
    """Return the entries in the order of bands and arrays, each checked."""
    if not entries:
        msg = f"cannot write {path}: no entries; expected both modules of at least one band"
        raise InvalidValueError(msg)
    lines: dict[str, _Line] = {}
    for entry in entries:
        line = _Line(
            entry, instrument.array(entry.detector), instrument.band(entry.filter, entry.pupil)
        )
        problem = _problem(line)
        if line.key in lines:
            problem = "the key is there twice; expected one entry per detector, filter and pupil"
        if problem is not None:
            msg = f"cannot write {path}: {line.key}: {problem}"
            raise InvalidValueError(msg)
        lines[line.key] = line
    for line in lines.values():
        partner = instrument.partner(line.array).detector
        # grizli takes a key that is not there as 1.0 without a word.
        if f"{partner}-{line.band.filter}-{line.band.pupil}" not in lines:
            msg = (
                f"cannot write {path}: {line.key} has no entry of {partner}; expected both modules"
            )
            raise InvalidValueError(msg)
    bands, arrays = list(instrument.bands), list(instrument.arrays)
    return sorted(
        lines.values(),
        key=lambda line: (bands.index(line.band.name), arrays.index(line.array.name)),
    )


def _problem(line: _Line) -> str | None:
    """Name the problem of an entry, if any."""
    entry = line.entry
    if line.array.channel != line.band.channel:
        return (
            f"{line.band.name} is a {line.band.channel} band and the array is {line.array.channel}"
        )
    numbers = {"offset_mag": entry.offset_mag, "offset_err_mag": entry.offset_err_mag}
    if entry.gradient is not None:
        numbers |= vars(entry.gradient)
    for name, value in numbers.items():
        if not math.isfinite(value):
            return f"{name} is {value}; expected a finite number"
    if entry.offset_err_mag < 0.0:
        return f"offset_err_mag is {entry.offset_err_mag!r}; expected zero or more"
    return None


def _header(lines: Sequence[_Line], pmap: Pmap, code_version: str, created: str) -> str:
    """Return the comments that state direction, sign and datum, and the two context keys."""
    datums = sorted({_one_line(line.entry.datum) for line in lines})
    set_ids = sorted({_one_line(line.entry.set_id) for line in lines})
    return "\n".join(
        [
            "# Photometric corrections of NIRCam detectors for grizli",
            f"# Written {created} by calreg {_one_line(code_version)}",
            "#",
            "# Direction: *divide* the images (SCI and ERR) by these values.",
            "# value = 10**(-0.4*offset). Values < 1.0 mean that the detector reads too faint:",
            "# dividing brightens it. Offset > 0 mag means that the array reads too faint; for",
            "# modules it is m_A - m_B.",
            f"# Datum (held at zero, value 1.0): {', '.join(datums)}",
            "# The values correct detectors relative to the datum, not the absolute flux scale.",
            "#",
            "# Coefficient sets:",
            *(f"#   {set_id}" for set_id in set_ids),
            "",
            "# Context that the offsets hold for",
            f"CRDS_CTX: {pmap.name}",
            "",
            "# Last context that they hold for: offsets move between contexts",
            f"CRDS_CTX_MAX: {pmap.name}",
            "",
        ]
    )


def _body(lines: Sequence[_Line]) -> str:
    """Return one block per band, one key per detector, each under its own comment."""
    parts: list[str] = []
    band_name = ""
    for line in lines:
        if line.band.name != band_name:
            band_name = line.band.name
            parts += ["", f"# ---- {band_name}"]
        parts += [
            *_comments(line.entry),
            f"{line.key}: {_yaml_float(flux_divisor(line.entry.offset_mag))}",
        ]
    return "\n".join(parts) + "\n"


def _comments(entry: GrizliEntry) -> list[str]:
    """Return the comment lines of one entry."""
    measured = f"offset {entry.offset_mag:+.5f} +/- {entry.offset_err_mag:.5f} mag"
    comments = [f"# {measured}, set {_one_line(entry.set_id)}"]
    gradient = entry.gradient
    if gradient is not None:
        comments.append(
            "# gradient not in the value, which holds at the pivot "
            f"d = {gradient.pivot_arcmin:+.4f} arcmin: "
            f"offset {gradient.offset_origin_mag:+.5f} mag at d = 0, "
            f"slope {gradient.slope_mag_arcmin:+.5f} mag/arcmin"
        )
    if entry.note:
        comments.append(f"# {_one_line(entry.note)}")
    return comments


def _one_line(text: str) -> str:
    """Return text that cannot end a comment: one line, no control characters."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _yaml_float(value: float) -> str:
    """Return all digits of a float, in a form that YAML 1.1 takes as a number."""
    text = repr(float(value))
    # YAML 1.1 reads 1e-05 as text and 1.0e-05 as a number.
    return text.replace("e", ".0e") if "e" in text and "." not in text else text

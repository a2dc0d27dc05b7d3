"""Check a reduction's files: one calibration, the registry's zero points, corrected or not."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from calreg.contexts.zeropoints import (
    KnownZeroPoint,
    ZeroPointKey,
    ZeroPoints,
)
from calreg.db.queries.sets import SetFilter, StoredSet, load_sets
from calreg.domain import ExposureKind, Progress, SetQuery, Status, no_progress
from calreg.errors import CalregError
from calreg.files.images.calibration import PhotometricState, read_photometric_state
from calreg.files.readguard import refuse_damaged
from calreg.science.zeropoints import Rounded, agree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from calreg.db.engine import Database
    from calreg.domain import Pmap
    from calreg.files.images.cards import ImageKey
    from calreg.instruments import Instrument

_SAME_VALUE = 1e-5
"""Relative: PHOTMJSR is float32 in its table, a decimal in headers; 1e-5 mag concerns nobody."""

_MANY = 3
"""Files that a message names before it counts the rest."""


class CorrectionState(StrEnum):
    """Whether an image carries the correction that the registry has for it."""

    NONE = "none"
    APPLIED = "applied"
    MISSING = "missing"
    OUTDATED = "outdated"
    DATUM = "datum"
    MOSAIC = "mosaic"


class ProblemKind(StrEnum):
    """What is wrong with files."""

    UNREADABLE = "unreadable"
    NOT_CALIBRATED = "not calibrated"
    MIXED_CONTEXT = "mixed context"
    MIXED_PHOTMJSR = "mixed PHOTMJSR"
    MIXED_PIXAR_SR = "mixed PIXAR_SR"
    OTHER_PHOTMJSR = "PHOTMJSR is not the context's"
    NOT_CORRECTED = "not corrected"
    OUTDATED = "correction outdated"


@dataclass(frozen=True)
class FileProblem:
    """One thing that is wrong.

    Attributes
    ----------
    message : str
        One line: which files, what was found, what to do.
    """

    kind: ProblemKind
    message: str
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class CheckRow:
    """Files of one array, band and subarray that are calibrated alike.

    Attributes
    ----------
    pmap, cal_ver, r_photom : str
        CRDS_CTX, CAL_VER, R_PHOTOM.
    photmjsr, pixar_sr : float or None
        As in the headers [MJy/sr per DN/s], [sr].
    correction : CorrectionState
        ``applied`` (the registry's, or any where there is no registry), ``missing``, ``outdated``,
        ``none`` (there is none to apply), ``datum`` (the array is the one that others are
        compared with), ``mosaic`` (its header does not tell).
    set_id : str
        Set that was applied; empty without one.
    """

    array: str
    band: str
    subarray: str
    kind: ExposureKind
    pmap: str
    cal_ver: str
    r_photom: str
    photmjsr: float | None
    pixar_sr: float | None
    correction: CorrectionState
    set_id: str
    n_files: int


@dataclass
class CheckReport:
    """What was found.

    Attributes
    ----------
    rows : list of CheckRow
        By array, band, subarray.
    notes : list of str
        What could not be checked.
    n_files : int
        Files that could be read.
    """

    rows: list[CheckRow] = field(default_factory=list)
    problems: list[FileProblem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    n_files: int = 0


def check_files(
    paths: Sequence[Path],
    database: Database | None,
    instrument: Instrument,
    *,
    progress: Progress = no_progress,
) -> CheckReport:
    """Check how files are calibrated; without a database, with each other only."""
    report = CheckReport()
    states = []
    for n_done, path in enumerate(paths, 1):
        try:
            with refuse_damaged(path):
                states.append(read_photometric_state(path, instrument))
        except CalregError as error:
            problem = FileProblem(ProblemKind.UNREADABLE, str(error), (path,))
            report.problems.append(problem)
        progress("reading headers", n_done, len(paths))
    report.n_files = len(states)
    report.problems += [
        FileProblem(ProblemKind.NOT_CALIBRATED, state.problem, (state.path,))
        for state in states
        if state.problem
    ]
    report.problems += _mixtures(states)
    known = _Known.load(database, states)
    report.problems += known.zero_point_problems(states)
    report.problems += known.correction_problems(states)
    report.notes += known.notes(states)
    report.rows = _rows(states, known.correction_state)
    return report


def _rows(
    states: Iterable[PhotometricState],
    correction_state: Callable[[PhotometricState], CorrectionState],
) -> list[CheckRow]:
    """Count files that are alike."""
    counts = Counter(
        CheckRow(
            array=state.key.array.name,
            band=state.key.band.name,
            subarray=state.key.subarray,
            kind=state.key.kind,
            pmap=str(state.key.pmap),
            cal_ver=state.cal_ver,
            r_photom=state.r_photom,
            photmjsr=state.photmjsr,
            pixar_sr=state.pixar_sr,
            correction=correction_state(state),
            set_id="" if state.correction is None else state.correction.set_id,
            n_files=0,
        )
        for state in states
    )
    rows = [replace(row, n_files=n_files) for row, n_files in counts.items()]
    return sorted(rows, key=lambda row: (row.array, row.band, row.subarray, row.kind, row.pmap))


# --- files with each other ------------------------------------------------------------------------


def _mixtures(states: Sequence[PhotometricState]) -> list[FileProblem]:
    """Return where files that belong together differ."""
    problems = []
    by_pmap: dict[Pmap, list[PhotometricState]] = defaultdict(list)
    by_key: dict[tuple[str, str, str, bool], list[PhotometricState]] = defaultdict(list)
    for state in states:
        by_pmap[state.key.pmap].append(state)
        key = state.key
        # Mosaics have pixels of their own.
        by_key[key.array.name, key.band.name, key.subarray, state.is_mosaic].append(state)
    if len(by_pmap) > 1:
        found = ", ".join(f"{pmap} ({_named(by_pmap[pmap])})" for pmap in sorted(by_pmap))
        message = (
            f"CRDS_CTX is mixed: found {found}, expected one context; calibrate all files with one"
        )
        paths = tuple(state.path for state in states)
        problems.append(FileProblem(ProblemKind.MIXED_CONTEXT, message, paths))
    for (array, band, subarray, _), alike in sorted(by_key.items()):
        for kind, card, values in (
            (ProblemKind.MIXED_PHOTMJSR, "PHOTMJSR", [state.photmjsr for state in alike]),
            (ProblemKind.MIXED_PIXAR_SR, "PIXAR_SR", [state.pixar_sr for state in alike]),
        ):
            groups = _clusters(alike, values)
            if len(groups) > 1:
                found = ", ".join(
                    f"{'none' if value is None else format(value, '.7g')} ({_named(group)})"
                    for value, group in groups
                )
                message = (
                    f"{array} {band} {subarray}: {card} is mixed: found {found}, expected one "
                    "value; calibrate, or correct, all files alike"
                )
                problems.append(FileProblem(kind, message, tuple(s.path for s in alike)))
    return problems


def _clusters(
    states: Sequence[PhotometricState], values: Sequence[float | None]
) -> list[tuple[float | None, list[PhotometricState]]]:
    """Return states by value, values that agree to rounding as one."""
    clusters: list[tuple[float | None, list[PhotometricState]]] = []
    ordered = sorted(zip(values, range(len(states)), strict=True), key=lambda pair: pair[0] or 0.0)
    for value, place in ordered:
        if clusters and _agree(clusters[-1][0], value):
            clusters[-1][1].append(states[place])
        else:
            clusters.append((value, [states[place]]))
    return clusters


def _agree(first: float | None, second: float | None) -> bool:
    """Return whether two values are one to rounding."""
    if first is None or second is None:
        return first is second
    return abs(first - second) <= _SAME_VALUE * abs(second)


def _named(states: Sequence[PhotometricState]) -> str:
    """Return the names of a few files, and how many more there are."""
    names = ", ".join(state.path.name for state in states[:_MANY])
    n_more = len(states) - _MANY
    return f"{names} and {n_more} more" if n_more > 0 else names


# --- PHOTMJSR with the context's ------------------------------------------------------------------


def zero_point_of(zero_points: ZeroPoints, key: ImageKey) -> KnownZeroPoint:
    """Look PHOTMJSR of an image up in the registry."""
    return zero_points.find(
        key.pmap, ZeroPointKey(key.array.name, key.band.filter, key.band.pupil, key.subarray)
    )


def is_other_photmjsr(known: KnownZeroPoint, found: float) -> bool:
    """Whether a PHOTMJSR, without any correction, is not the context's [MJy/sr per DN/s]."""
    return known.photmjsr is not None and not agree(
        [known.photmjsr, Rounded(found, _SAME_VALUE * found)]
    )


# --- files with the registry ----------------------------------------------------------------------

_SetKey = tuple[int, str, str]


@dataclass(frozen=True)
class _Known:
    """What the registry knows of the contexts of some files; nothing without a registry."""

    zero_points: ZeroPoints | None
    sets: dict[_SetKey, list[StoredSet]]

    @classmethod
    def load(cls, database: Database | None, states: Sequence[PhotometricState]) -> _Known:
        """Read zero points, and the sets of the files' contexts."""
        if database is None:
            return cls(None, {})
        sets: dict[_SetKey, list[StoredSet]] = defaultdict(list)
        with database.read() as connection:
            for pmap in sorted({state.key.pmap for state in states}):
                for stored in load_sets(connection, SetFilter(SetQuery(pmap), for_use=True)):
                    sets[pmap.number, stored.band, stored.array_id].append(stored)
            return cls(ZeroPoints.load(connection), dict(sets))

    def zero_point_of(self, state: PhotometricState) -> KnownZeroPoint | None:
        """Return the known PHOTMJSR of an image; None without a registry."""
        return None if self.zero_points is None else zero_point_of(self.zero_points, state.key)

    def sets_of(self, state: PhotometricState) -> list[StoredSet]:
        """Return the sets to be used for an image: the accepted one, where there is one."""
        key = state.key
        sets = self.sets.get((key.pmap.number, key.band.name, key.array.array_id), [])
        return [stored for stored in sets if stored.acceptance is not None] or sets

    def zero_point_problems(self, states: Sequence[PhotometricState]) -> list[FileProblem]:
        """Return the images with another PHOTMJSR than the registry has for their context."""
        problems = []
        for state in states:
            known, found = self.zero_point_of(state), state.pipeline_photmjsr
            if known is None or found is None or not is_other_photmjsr(known, found):
                continue
            was = " before the correction" if state.correction is not None else ""
            message = (
                f"{state.path}: PHOTMJSR is {found:.7g}{was} ({state.r_photom or 'no R_PHOTOM'}), "
                f"but the registry has {known.photmjsr} ({known.r_photom or known.source}) for "
                f"{_key_text(state)}: was it calibrated with another photom file?"
            )
            problems.append(FileProblem(ProblemKind.OTHER_PHOTMJSR, message, (state.path,)))
        return problems

    def correction_state(self, state: PhotometricState) -> CorrectionState:
        """Return whether an image carries the correction that there is for it."""
        sets = self.sets_of(state)
        if state.correction is not None:
            is_current = not sets or state.correction.set_id in {stored.set_id for stored in sets}
            return CorrectionState.APPLIED if is_current else CorrectionState.OUTDATED
        if state.is_mosaic:
            return CorrectionState.MOSAIC
        if not sets:
            return CorrectionState.NONE
        has_gradient = any(stored.value("slope") != 0.0 for stored in sets)
        is_datum = not has_gradient and all(
            stored.datum == state.key.array.module for stored in sets
        )
        return CorrectionState.DATUM if is_datum else CorrectionState.MISSING

    def correction_problems(self, states: Sequence[PhotometricState]) -> list[FileProblem]:
        """Return the images that lack a correction which exists, or carry an old one."""
        missing: dict[str, list[PhotometricState]] = defaultdict(list)
        outdated: dict[tuple[str, str], list[PhotometricState]] = defaultdict(list)
        for state in states:
            found = self.correction_state(state)
            if found is CorrectionState.MISSING:
                missing[_key_text(state)].append(state)
            elif found is CorrectionState.OUTDATED and state.correction is not None:
                outdated[_key_text(state), state.correction.set_id].append(state)
        problems = [
            FileProblem(
                ProblemKind.NOT_CORRECTED,
                f"{text}: {len(alike)} files are not corrected ({_named(alike)}), though there is "
                f"set {self.sets_of(alike[0])[0].set_id}: run calreg apply on them",
                tuple(state.path for state in alike),
            )
            for text, alike in sorted(missing.items())
        ]
        problems += [
            FileProblem(
                ProblemKind.OUTDATED,
                f"{text}: {len(alike)} files are corrected with set {set_id} ({_named(alike)}), "
                f"but the current one is {self.sets_of(alike[0])[0].set_id}: run calreg apply "
                "--replace on them",
                tuple(state.path for state in alike),
            )
            for (text, set_id), alike in sorted(outdated.items())
        ]
        return problems

    def notes(self, states: Sequence[PhotometricState]) -> list[str]:
        """Report what could not be checked."""
        known = [self.zero_point_of(state) for state in states]
        reasons = {found.reason for found in known if found and found.status is not Status.OK}
        notes = [f"PHOTMJSR not compared: {reason}" for reason in sorted(reasons)]
        mosaics = [state for state in states if state.is_mosaic and state.correction is None]
        if mosaics:
            notes.append(
                f"{len(mosaics)} mosaics ({_named(mosaics)}): their headers do not tell whether "
                "their exposures were corrected; check the exposures"
            )
        return notes


def _key_text(state: PhotometricState) -> str:
    """Name an image's key."""
    key = state.key
    return f"{key.pmap} {key.array.name} {key.band.name} {key.subarray}"

"""PHOTMJSR and reference files under every context: what the sources agree on, else why not.

A value is taken from what was recorded under the context itself, from what was recorded elsewhere
for the photom file that the context names (a reference file never changes under its name), and from
contexts that were declared equal. All of them must agree within their precision.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

from calreg.db.queries.contexts import StoredEquality, load_equalities, load_references
from calreg.db.queries.zeropoints import StoredZeroPoint, load_zero_points
from calreg.domain import Pmap, ReferenceChoice, ReferenceKind, Status, ZeroPointKind
from calreg.science.zeropoints import (
    NO_CHANGE,
    DeltaMag,
    Rounded,
    agree,
    magnitude_change,
    most_precise,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from calreg.db.engine import Connection

FULL = "FULL"
"""Subarray of full frames."""

EVERY_SUBARRAY = ""
"""Of a value that holds for every one: a table without that column, or a publication."""


class ZeroPointKey(NamedTuple):
    """What the pipeline picks a PHOTMJSR by, within a context."""

    array: str
    filter: str
    pupil: str
    subarray: str = FULL

    @property
    def text(self) -> str:
        """The key in a few words, ``nrca1 F200W``; the subarray where it is not the full frame."""
        words = (self.array, self.filter, self.pupil, self.subarray)
        return " ".join(word for word in words if word not in ("CLEAR", FULL, EVERY_SUBARRAY))


@dataclass(frozen=True)
class KnownReference:
    """What is known of one reference file.

    Attributes
    ----------
    file_name : str
        Empty where unknown or in conflict.
    """

    status: Status
    file_name: str = ""
    reason: str = ""


class _FileOf(NamedTuple):
    """What reference files are listed by."""

    pmap: Pmap
    array: str
    kind: ReferenceKind


class References:
    """The reference files of contexts.

    Parameters
    ----------
    points : iterable of StoredZeroPoint
        They name photom files too.
    """

    def __init__(
        self, stored: Iterable[ReferenceChoice], points: Iterable[StoredZeroPoint] = ()
    ) -> None:
        self._stored: dict[_FileOf, list[ReferenceChoice]] = defaultdict(list)
        self._found: dict[_FileOf, dict[ZeroPointKey, KnownReference]] = defaultdict(dict)
        of_points = (
            ReferenceChoice(
                p.pmap, p.array, ReferenceKind.PHOTOM, p.filter, p.pupil, "", p.r_photom, p.source
            )
            for p in points
            if p.r_photom
        )
        for one in (*stored, *of_points):
            self._stored[_FileOf(one.pmap, one.array, one.kind)].append(one)

    def pmaps(self) -> set[Pmap]:
        """Return the contexts that files are known of."""
        return {file.pmap for file in self._stored}

    def find(self, pmap: Pmap, kind: ReferenceKind, key: ZeroPointKey) -> KnownReference:
        """Return the file of a context for an array and band, whatever the subarray.

        Where a mapping has several by the date of exposures, the last; a conflict where two
        sources name different files.
        """
        file = _FileOf(pmap, key.array, kind)
        known = self._found[file]
        if key not in known:
            known[key] = self._find(file, key)
        return known[key]

    def _find(self, file: _FileOf, key: ZeroPointKey) -> KnownReference:
        """Work out the answer of `find`."""
        fitting = [
            reference
            for reference in self._stored.get(file, ())
            if reference.filter in ("", key.filter) and reference.pupil in ("", key.pupil)
        ]
        latest: dict[str, str] = {}
        for reference in fitting:
            latest[reference.source] = max(latest.get(reference.source, ""), reference.useafter)
        names = {
            reference.file_name: reference.source
            for reference in fitting
            if reference.useafter == latest[reference.source]
        }
        what = f"{key.array} {key.filter} under {file.pmap}"
        if not names:
            reason = f"{file.kind} file of {what} is not recorded"
            return KnownReference(Status.UNKNOWN, reason=reason)
        if len(names) > 1:
            told = ", ".join(f"{name} ({source})" for name, source in sorted(names.items()))
            reason = f"{what}: {file.kind} files disagree: {told}"
            return KnownReference(Status.CONFLICT, reason=reason)
        return KnownReference(Status.OK, next(iter(names)))

    def is_changed(
        self, pmap_1: Pmap, pmap_2: Pmap, kind: ReferenceKind, key: ZeroPointKey
    ) -> bool | None:
        """Whether two contexts have different files; None where unknown."""
        first, second = (self.find(pmap, kind, key) for pmap in (pmap_1, pmap_2))
        if first.status is not Status.OK or second.status is not Status.OK:
            return None
        return first.file_name != second.file_name


@dataclass(frozen=True)
class KnownZeroPoint:
    """What is known of PHOTMJSR for one context and key.

    Attributes
    ----------
    photmjsr, pixar_sr : Rounded or None
        [MJy/sr per DN/s], [sr]; None where unknown or in conflict.
    r_photom : str
        Photom reference file; empty where unknown.
    via : str
        How a value that was recorded under another context comes to count; empty for the context's
        own.
    """

    status: Status
    photmjsr: Rounded | None = None
    pixar_sr: Rounded | None = None
    r_photom: str = ""
    source: str = ""
    via: str = ""
    reason: str = ""


@dataclass(frozen=True)
class ArrayChange:
    """How the magnitudes on one array move from one context to another.

    Attributes
    ----------
    change : DeltaMag or None
        Positive: fainter under the second context.
    via : tuple of str
        What it rests on besides values of the two contexts.
    """

    status: Status
    change: DeltaMag | None
    first: KnownZeroPoint
    second: KnownZeroPoint
    reason: str = ""
    via: tuple[str, ...] = ()

    @property
    def pixar_change_mag(self) -> float | None:
        """Change of point-source magnitudes by PIXAR_SR [mag]; None where unknown."""
        if self.first.pixar_sr is None or self.second.pixar_sr is None:
            return None
        return magnitude_change(self.first.pixar_sr, self.second.pixar_sr).mag


def worst_status(statuses: Iterable[Status]) -> Status:
    """Return the status of a number that rests on several others."""
    found = set(statuses)
    for status in (Status.CONFLICT, Status.UNKNOWN):
        if status in found:
            return status
    return Status.OK


class _Candidate(NamedTuple):
    """A stored value, and how it comes to count."""

    point: StoredZeroPoint
    via: str

    @property
    def photmjsr(self) -> Rounded:
        """The value with its precision."""
        return Rounded(self.point.photmjsr, self.point.photmjsr_half_width)

    @property
    def text(self) -> str:
        """Value, source and way in one phrase."""
        return f"{self.photmjsr} ({self.point.source}) {self.via}".rstrip()


class _Recorded(NamedTuple):
    """What values are recorded for: a key under a context."""

    pmap: Pmap
    key: ZeroPointKey


class _InFile(NamedTuple):
    """What a value is of: a key of a photom file, under whichever context."""

    file_name: str
    key: ZeroPointKey


class ZeroPoints:
    """The zero points that a registry has, by context and key.

    Parameters
    ----------
    equalities : sequence of StoredEquality
        Those that hold.
    """

    def __init__(
        self,
        points: Iterable[StoredZeroPoint],
        references: References,
        equalities: Sequence[StoredEquality] = (),
    ) -> None:
        self.references = references
        self._points: dict[_Recorded, list[StoredZeroPoint]] = defaultdict(list)
        self._by_file: dict[_InFile, list[StoredZeroPoint]] = defaultdict(list)
        for point in points:
            key = ZeroPointKey(point.array, point.filter, point.pupil, point.subarray)
            self._points[_Recorded(point.pmap, key)].append(point)
            if point.r_photom:
                self._by_file[_InFile(point.r_photom, key)].append(point)
        self._equal = _equal_pmaps(equalities)
        self._found: dict[_Recorded, KnownZeroPoint] = {}

    @classmethod
    def load(
        cls,
        connection: Connection,
        band: str | None = None,
        arrays: Sequence[str] | None = None,
        as_of_utc: datetime | None = None,
    ) -> Self:
        """Read those of one band and some detectors, or all, as known at a time."""
        points = load_zero_points(connection, band, arrays, as_of_utc)
        references = load_references(connection, arrays=arrays, as_of_utc=as_of_utc)
        equalities = load_equalities(connection, as_of_utc=as_of_utc)
        return cls(points, References(references, points), equalities)

    def pmaps(self) -> set[Pmap]:
        """Return the contexts that values were recorded under."""
        return {recorded.pmap for recorded in self._points}

    def has_equals(self, pmap: Pmap) -> bool:
        """Whether a context was declared equal to another."""
        return pmap in self._equal

    def keys(self, *pmaps: Pmap) -> set[ZeroPointKey]:
        """Return the keys that values were recorded of under some contexts, or their equals.

        Returns
        -------
        set of ZeroPointKey
            A value that holds for every subarray counts as one of full frames.
        """
        wanted = {other for pmap in pmaps for other in (pmap, *self._equal.get(pmap, ()))}
        keys = {recorded.key for recorded in self._points if recorded.pmap in wanted}
        return {key._replace(subarray=key.subarray or FULL) for key in keys}

    def find(self, pmap: Pmap, key: ZeroPointKey) -> KnownZeroPoint:
        """Look up PHOTMJSR under a context."""
        recorded = _Recorded(pmap, key)
        if recorded not in self._found:
            self._found[recorded] = self._find(pmap, key)
        return self._found[recorded]

    def photom_file(self, pmap: Pmap, key: ZeroPointKey) -> KnownReference:
        """Return the photom file of a context, or of one that was declared equal."""
        return self._photom_file(pmap, key)[0]

    def _photom_file(self, pmap: Pmap, key: ZeroPointKey) -> tuple[KnownReference, str]:
        """Return the photom file of a context, and how another's comes to count."""
        found = []
        for other, equality in {pmap: "", **self._equal.get(pmap, {})}.items():
            known = self.references.find(other, ReferenceKind.PHOTOM, key)
            if known.status is not Status.UNKNOWN:
                return known, equality
            found.append(known)
        return found[0], ""

    def change(
        self, pmap_1: Pmap, pmap_2: Pmap, key: ZeroPointKey, key_2: ZeroPointKey | None = None
    ) -> ArrayChange:
        """Return how the magnitudes on an array move from one context to another.

        Parameters
        ----------
        key_2 : ZeroPointKey, optional
            Under the second context, where it is another subarray.

        Returns
        -------
        ArrayChange
            Exactly zero where both contexts have the same photom file, or were declared equal.
        """
        key_2 = key_2 or key
        first, second = self.find(pmap_1, key), self.find(pmap_2, key_2)
        if pmap_1 == pmap_2 and key == key_2:
            return ArrayChange(Status.OK, NO_CHANGE, first, second)
        via = tuple(dict.fromkeys(known.via for known in (first, second) if known.via))
        if Status.CONFLICT not in (first.status, second.status):
            same = self._sameness(pmap_1, pmap_2, key) if key == key_2 else ()
            if same:
                return ArrayChange(Status.OK, NO_CHANGE, first, second, via=same)
            if first.photmjsr is not None and second.photmjsr is not None:
                change = magnitude_change(first.photmjsr, second.photmjsr)
                return ArrayChange(Status.OK, change, first, second, via=via)
        reasons = dict.fromkeys(known.reason for known in (first, second) if known.reason)
        status = worst_status((first.status, second.status))
        return ArrayChange(status, None, first, second, reason="; ".join(reasons), via=via)

    def _sameness(self, pmap_1: Pmap, pmap_2: Pmap, key: ZeroPointKey) -> tuple[str, ...]:
        """Give the reasons why PHOTMJSR must be the same under two contexts; empty if none."""
        equality = self._equal.get(pmap_1, {}).get(pmap_2)
        if equality is not None:
            return (equality,)
        (first, via_1), (second, via_2) = (self._photom_file(p, key) for p in (pmap_1, pmap_2))
        if Status.OK is first.status is second.status and first.file_name == second.file_name:
            text = f"{key.array}: {first.file_name} under both contexts"
            return (text, *dict.fromkeys(via for via in (via_1, via_2) if via))
        return ()

    def _candidates(self, pmap: Pmap, key: ZeroPointKey) -> list[_Candidate]:
        """Return every stored value that must be that of a context."""
        keys = dict.fromkeys((key, key._replace(subarray=EVERY_SUBARRAY)))
        found = [
            _Candidate(point, equality)
            for other, equality in {pmap: "", **self._equal.get(pmap, {})}.items()
            for k in keys
            for point in self._points.get(_Recorded(other, k), ())
        ]
        file, equality = self._photom_file(pmap, key)
        if file.status is Status.OK:
            known = {id(candidate.point) for candidate in found}
            via = f"; {equality}" if equality else ""
            found += [
                _Candidate(p, f"{file.file_name} as under {p.pmap}{via}")
                for k in keys
                for p in self._by_file.get(_InFile(file.file_name, k), ())
                if id(p) not in known
            ]
        return found

    def _find(self, pmap: Pmap, key: ZeroPointKey) -> KnownZeroPoint:
        """Work out the answer of `find`."""
        found = self._candidates(pmap, key)
        file = self.photom_file(pmap, key)
        r_photom = file.file_name
        if not found:
            reason = f"PHOTMJSR of {key.text} under {pmap} is not recorded"
            return KnownZeroPoint(Status.UNKNOWN, r_photom=r_photom, reason=reason)
        timed = [c.point for c in found if c.point.kind is ZeroPointKind.TIMED]
        if timed:
            reason = (
                f"PHOTMJSR of {key.text} under {pmap} depends on the time of the exposure "
                f"(TIMECOEFF in {timed[0].r_photom}): there is no one value"
            )
            return KnownZeroPoint(Status.UNKNOWN, r_photom=r_photom, reason=reason)
        values = [candidate.photmjsr for candidate in found]
        if not agree(values):
            ordered = sorted(found, key=lambda candidate: candidate.point.photmjsr)
            told = ", ".join(dict.fromkeys(candidate.text for candidate in ordered))
            reason = f"{key.text} under {pmap}: PHOTMJSR disagree: {told}"
            return KnownZeroPoint(Status.CONFLICT, r_photom=r_photom, reason=reason)
        best = most_precise(values)
        chosen = found[values.index(best)]
        return KnownZeroPoint(
            Status.OK,
            photmjsr=best,
            pixar_sr=_pixel_area(found),
            r_photom=r_photom,
            source=chosen.point.source,
            via=chosen.via,
        )


def _pixel_area(found: Iterable[_Candidate]) -> Rounded | None:
    """Return PIXAR_SR, None where it is unknown or sources disagree."""
    areas = [
        Rounded(point.pixar_sr, point.pixar_half_width_sr)
        for point, _ in found
        if point.pixar_sr is not None and point.pixar_half_width_sr is not None
    ]
    return most_precise(areas) if areas and agree(areas) else None


def _equal_pmaps(equalities: Iterable[StoredEquality]) -> dict[Pmap, dict[Pmap, str]]:
    """Return, for every context, those that it equals by any chain, with what says so."""
    links: dict[Pmap, dict[Pmap, str]] = defaultdict(dict)
    for equality in equalities:
        first, second = equality.pmap_1, equality.pmap_2
        text = f"declared equal: {first} = {second} ({equality.reason})"
        links[first][second] = links[second][first] = text
    equal: dict[Pmap, dict[Pmap, str]] = {}
    for start in links:
        reached: dict[Pmap, str] = {start: ""}
        waiting = [start]
        while waiting:
            here = waiting.pop(0)
            for other, text in sorted(links[here].items()):
                if other not in reached:
                    reached[other] = "; ".join(filter(None, (reached[here], text)))
                    waiting.append(other)
        del reached[start]
        equal[start] = reached
    return equal

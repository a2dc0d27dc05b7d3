"""PHOTMJSR under every context: one value where the sources agree, else what is the matter."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from calreg.db.queries.answers import StoredZeroPoint, load_zero_points
from calreg.science.contexts import (
    NO_CHANGE,
    DeltaMag,
    Rounded,
    agree,
    magnitude_change,
    most_precise,
    single_precision,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from calreg.db.engine import Connection
    from calreg.domain import Pmap

FULL = "FULL"
"""Subarray of full frames."""


class Status(StrEnum):
    """What is known of a number."""

    OK = "ok"
    UNKNOWN = "unknown"
    CONFLICT = "conflict"


def worst_status(statuses: Iterable[Status]) -> Status:
    """Return what is known of a number that rests on several others."""
    found = set(statuses)
    for status in (Status.CONFLICT, Status.UNKNOWN):
        if status in found:
            return status
    return Status.OK


class ZeroPointKey(NamedTuple):
    """What the pipeline picks a PHOTMJSR by, within a context."""

    array: str
    filter: str
    pupil: str
    subarray: str = FULL


@dataclass(frozen=True)
class KnownZeroPoint:
    """What is known of PHOTMJSR for one context and key.

    Attributes
    ----------
    status : Status
    photmjsr, pixar_sr : Rounded or None
        [MJy/sr per DN/s], [sr]; None where unknown or in conflict.
    r_photom : str
        Photom reference file; empty where unknown.
    source : str
        Where the value was seen.
    reason : str
        Why there is no value.
    """

    status: Status
    photmjsr: Rounded | None = None
    pixar_sr: Rounded | None = None
    r_photom: str = ""
    source: str = ""
    reason: str = ""


@dataclass(frozen=True)
class ArrayChange:
    """How the magnitudes on one array move from one context to another.

    Attributes
    ----------
    status : Status
    change : DeltaMag or None
        Positive: fainter under the second context.
    first, second : KnownZeroPoint
    reason : str
        Why there is no change.
    """

    status: Status
    change: DeltaMag | None
    first: KnownZeroPoint
    second: KnownZeroPoint
    reason: str = ""

    @property
    def pixar_change_mag(self) -> float | None:
        """Change of point-source magnitudes by PIXAR_SR [mag]; None where unknown."""
        if self.first.pixar_sr is None or self.second.pixar_sr is None:
            return None
        return magnitude_change(self.first.pixar_sr, self.second.pixar_sr).mag


@dataclass
class ZeroPoints:
    """The zero points that a registry has, by context and key.

    Attributes
    ----------
    points : dict
        Stored values by context and key.
    """

    points: dict[tuple[Pmap, ZeroPointKey], list[StoredZeroPoint]] = field(default_factory=dict)

    @classmethod
    def of(cls, stored: Iterable[StoredZeroPoint]) -> ZeroPoints:
        """Sort stored values by context and key."""
        points: dict[tuple[Pmap, ZeroPointKey], list[StoredZeroPoint]] = defaultdict(list)
        for point in stored:
            key = ZeroPointKey(point.array, point.filter, point.pupil, point.subarray)
            points[point.pmap, key].append(point)
        return cls(dict(points))

    def find(self, pmap: Pmap, key: ZeroPointKey) -> KnownZeroPoint:
        """Return what is known of PHOTMJSR."""
        found = self.points.get((pmap, key), [])
        if not found:
            reason = f"PHOTMJSR of {key.array} {_band_text(key)} under {pmap} is not recorded"
            return KnownZeroPoint(Status.UNKNOWN, reason=reason)
        values = [single_precision(point.photmjsr) for point in found]
        if not agree(values):
            told = ", ".join(
                f"{point.photmjsr:.7g} ({point.source})"
                for point in sorted(found, key=lambda point: point.photmjsr)
            )
            reason = f"{key.array} {_band_text(key)} under {pmap}: PHOTMJSR disagree: {told}"
            return KnownZeroPoint(Status.CONFLICT, reason=reason)
        best = most_precise(values)
        areas = [single_precision(p.pixar_sr) for p in found if p.pixar_sr is not None]
        return KnownZeroPoint(
            Status.OK,
            photmjsr=best,
            pixar_sr=most_precise(areas) if areas and agree(areas) else None,
            r_photom=next((point.r_photom for point in found if point.r_photom), ""),
            source=found[values.index(best)].source,
        )

    def change(self, pmap_1: Pmap, pmap_2: Pmap, key: ZeroPointKey) -> ArrayChange:
        """Return how the magnitudes on an array move from one context to another."""
        first, second = self.find(pmap_1, key), self.find(pmap_2, key)
        if pmap_1 == pmap_2:
            return ArrayChange(Status.OK, NO_CHANGE, first, second)
        if first.photmjsr is not None and second.photmjsr is not None:
            change = magnitude_change(first.photmjsr, second.photmjsr)
            return ArrayChange(Status.OK, change, first, second)
        without = [known for known in (first, second) if known.photmjsr is None]
        is_conflict = any(known.status is Status.CONFLICT for known in without)
        return ArrayChange(
            Status.CONFLICT if is_conflict else Status.UNKNOWN,
            None,
            first,
            second,
            reason="; ".join(known.reason for known in without),
        )


def _band_text(key: ZeroPointKey) -> str:
    """Name the band and, where it is not the full frame, the subarray."""
    words = [key.filter, key.pupil, "" if key.subarray == FULL else key.subarray]
    return " ".join(word for word in words if word and word != "CLEAR")


def load_zero_point_book(
    connection: Connection, band: str, arrays: Iterable[str], as_of_utc: datetime | None = None
) -> ZeroPoints:
    """Return the zero points of one band and some arrays.

    Parameters
    ----------
    connection : Connection
    band : str
    arrays : iterable of str
        Detectors.
    as_of_utc : datetime, optional
        What the registry knew at this time.

    Returns
    -------
    ZeroPoints
    """
    return ZeroPoints.of(load_zero_points(connection, band, list(arrays), as_of_utc))

"""What moved between two contexts, array by array and band by band."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from calreg.contexts.zeropoints import (
    FULL,
    ZeroPointKey,
    ZeroPoints,
)
from calreg.domain import ReferenceKind, Status
from calreg.science.zeropoints import agree

if TYPE_CHECKING:
    from datetime import datetime

    from calreg.contexts.zeropoints import ArrayChange
    from calreg.db.engine import Connection
    from calreg.domain import Pmap
    from calreg.instruments import Band, Instrument


class DiffStatus(StrEnum):
    """What became of PHOTMJSR."""

    CHANGED = "changed"
    """By more than the precision of the two values."""
    EQUAL = "equal"
    """The same file, declared equal, or the same value within its precision."""
    UNKNOWN = "unknown"
    CONFLICT = "conflict"


@dataclass(frozen=True)
class DiffRow:
    """One array and band under two contexts.

    Attributes
    ----------
    change_mag, change_err_mag : float or None
        Change of magnitudes by PHOTMJSR, positive: fainter under the second context, with the error
        from rounding [mag]; None where unknown.
    photmjsr_1, photmjsr_2 : float or None
        [MJy/sr per DN/s].
    photmjsr_change_percent : float or None
        Of PHOTMJSR itself; positive values make fluxes larger.
    photom_1, photom_2 : str
        Photom files; empty where unknown.
    flat_changed, area_changed : bool or None
        Whether the contexts have different files; None where that is not known.
    pixar_change_mag : float or None
        Change of point-source magnitudes by PIXAR_SR, which is not in `change_mag` [mag].
    basis : str
        What the change rests on besides these values.
    """

    array: str
    band: str
    filter: str
    pupil: str
    subarray: str
    change_mag: float | None
    change_err_mag: float | None
    status: DiffStatus
    photmjsr_1: float | None
    photmjsr_2: float | None
    photmjsr_change_percent: float | None
    photom_1: str
    photom_2: str
    flat_changed: bool | None
    area_changed: bool | None
    pixar_change_mag: float | None
    source_1: str
    source_2: str
    basis: str
    reason: str

    @property
    def is_recorded(self) -> bool:
        """Whether anything is known of either context."""
        known = (self.photmjsr_1, self.photmjsr_2, self.change_mag)
        names = (self.photom_1, self.photom_2)
        is_conflict = self.status is DiffStatus.CONFLICT
        return is_conflict or any(names) or any(value is not None for value in known)


@dataclass(frozen=True)
class DiffQuery:
    """Two contexts, and of which bands and detectors; None means all."""

    pmap_1: Pmap
    pmap_2: Pmap
    band: str | None = None
    array: str | None = None
    as_of_utc: datetime | None = None


def diff_contexts(
    connection: Connection, query: DiffQuery, instrument: Instrument
) -> list[DiffRow]:
    """Compare two contexts, for full frames and every other subarray that a value is known of."""
    every = instrument.arrays
    arrays = [every[query.array]] if query.array else list(every.values())
    names = [one.name for one in arrays]
    zero_points = ZeroPoints.load(connection, query.band, names, query.as_of_utc)
    subarrays: dict[ZeroPointKey, set[str]] = defaultdict(set)
    for key in zero_points.keys(query.pmap_1, query.pmap_2):
        subarrays[key._replace(subarray=FULL)].add(key.subarray)
    rows = []
    for array in arrays:
        for band in instrument.bands.values():
            if band.channel != array.channel or query.band not in (None, band.name):
                continue
            full = ZeroPointKey(array.name, band.filter, band.pupil)
            for subarray in (FULL, *sorted(subarrays[full] - {FULL})):
                key = full._replace(subarray=subarray)
                rows.append(_diff_row(zero_points, query, band, key))
    return rows


def _diff_row(zero_points: ZeroPoints, query: DiffQuery, band: Band, key: ZeroPointKey) -> DiffRow:
    """Compare one array and band."""
    found = zero_points.change(query.pmap_1, query.pmap_2, key)
    first, second = found.first.photmjsr, found.second.photmjsr
    change = found.change
    flat_changed, area_changed = (
        zero_points.references.is_changed(query.pmap_1, query.pmap_2, kind, key)
        for kind in (ReferenceKind.FLAT, ReferenceKind.AREA)
    )
    percent = None
    if first is not None and second is not None:
        percent = 100.0 * (second.value / first.value - 1.0)
    return DiffRow(
        array=key.array,
        band=band.name,
        filter=band.filter,
        pupil=band.pupil,
        subarray=key.subarray,
        change_mag=None if change is None else change.mag,
        change_err_mag=None if change is None else change.err_mag,
        status=_status(found),
        photmjsr_1=None if first is None else first.value,
        photmjsr_2=None if second is None else second.value,
        photmjsr_change_percent=percent,
        photom_1=found.first.r_photom,
        photom_2=found.second.r_photom,
        flat_changed=flat_changed,
        area_changed=area_changed,
        pixar_change_mag=found.pixar_change_mag,
        source_1=found.first.source,
        source_2=found.second.source,
        basis="; ".join(found.via),
        reason=found.reason,
    )


def _status(found: ArrayChange) -> DiffStatus:
    """Distinguish a change from rounding."""
    if found.change is None:
        return DiffStatus.CONFLICT if found.status is Status.CONFLICT else DiffStatus.UNKNOWN
    first, second = found.first.photmjsr, found.second.photmjsr
    if found.change.mag == 0.0 or first is None or second is None or agree([first, second]):
        return DiffStatus.EQUAL
    return DiffStatus.CHANGED

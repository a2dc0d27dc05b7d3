"""What moved between two contexts, array by array and band by band."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from calreg.contexts.zeropoints import (
    FULL,
    ZeroPointKey,
    ZeroPoints,
    load_zero_point_book,
)
from calreg.domain import ReferenceKind, Status
from calreg.science.zeropoints import agree

if TYPE_CHECKING:
    from datetime import datetime

    from calreg.contexts.zeropoints import ArrayChange
    from calreg.db.engine import Connection
    from calreg.domain import Pmap
    from calreg.instruments import Array, Band, Instrument


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
    source_1, source_2 : str
        Where the values were seen.
    basis : str
        What the change rests on besides these values.
    reason : str
        Why it is not known.
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


def diff_contexts(
    connection: Connection,
    pmap_1: Pmap,
    pmap_2: Pmap,
    instrument: Instrument,
    *,
    band: str | None = None,
    array: str | None = None,
    as_of_utc: datetime | None = None,
) -> list[DiffRow]:
    """Compare two contexts.

    Parameters
    ----------
    band, array : str, optional
        Only this band; only this detector.
    as_of_utc : datetime, optional
        What the registry knew at this time (aware).

    Returns
    -------
    list of DiffRow
        Every array and imaging band of the instrument for full frames, known or not, and every
        other subarray that a value was recorded of.
    """
    arrays = [instrument.arrays[array]] if array else list(instrument.arrays.values())
    book = load_zero_point_book(connection, band, [one.name for one in arrays], as_of_utc)
    subarrays: dict[tuple[str, str, str], set[str]] = {}
    for key in book.keys(pmap_1, pmap_2):
        subarrays.setdefault(key[:3], set()).add(key.subarray)
    rows = []
    for one_array in arrays:
        for one_band in instrument.bands.values():
            if one_band.channel != one_array.channel or band not in (None, one_band.name):
                continue
            found = subarrays.get((one_array.name, one_band.filter, one_band.pupil), set())
            for subarray in (FULL, *sorted(found - {FULL})):
                rows.append(_diff_row(book, (pmap_1, pmap_2), one_array, one_band, subarray))
    return rows


def _diff_row(
    book: ZeroPoints, pmaps: tuple[Pmap, Pmap], array: Array, band: Band, subarray: str
) -> DiffRow:
    """Compare one array and band."""
    key = ZeroPointKey(array.name, band.filter, band.pupil, subarray)
    found = book.change(*pmaps, key)
    first, second = found.first.photmjsr, found.second.photmjsr
    change = found.change
    names = (band.filter, band.pupil)
    is_changed = [
        book.references.is_changed(*pmaps, array.name, kind, names)
        for kind in (ReferenceKind.FLAT, ReferenceKind.AREA)
    ]
    percent = None
    if first is not None and second is not None:
        percent = 100.0 * (second.value / first.value - 1.0)
    return DiffRow(
        array=array.name,
        band=band.name,
        filter=band.filter,
        pupil=band.pupil,
        subarray=subarray,
        change_mag=None if change is None else change.mag,
        change_err_mag=None if change is None else change.err_mag,
        status=_status(found),
        photmjsr_1=None if first is None else first.value,
        photmjsr_2=None if second is None else second.value,
        photmjsr_change_percent=percent,
        photom_1=found.first.r_photom,
        photom_2=found.second.r_photom,
        flat_changed=is_changed[0],
        area_changed=is_changed[1],
        pixar_change_mag=found.pixar_change_mag,
        source_1=found.first.source,
        source_2=found.second.source,
        basis="; ".join(found.via),
        reason=found.reason,
    )


def _status(found: ArrayChange) -> DiffStatus:
    """Tell a change from rounding."""
    if found.change is None:
        return DiffStatus.CONFLICT if found.status is Status.CONFLICT else DiffStatus.UNKNOWN
    first, second = found.first.photmjsr, found.second.photmjsr
    if found.change.mag == 0.0 or first is None or second is None or agree([first, second]):
        return DiffStatus.EQUAL
    return DiffStatus.CHANGED

"""Answers: coefficients, and their history across contexts."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from calreg.db.queries.sets import SetFilter, StoredSet, load_sets
from calreg.db.queries.zeropoints import StoredZeroPoint, load_zero_points
from calreg.domain import SetStatus

if TYPE_CHECKING:
    from datetime import datetime

    from calreg.db.engine import Connection
    from calreg.domain import Pmap
    from calreg.instruments import Instrument


# --- coefficients -------------------------------------------------------------------------------


@dataclass(frozen=True)
class CoefficientsRow:
    """One coefficient set as the users see it (DESIGN: the JSON of ``calreg coefficients``).

    Attributes
    ----------
    pmap, band, filter, pupil, array_id : str
    model : str
    model_version, version : int
    status : str
        ``current``, ``candidate``, ``superseded`` or ``withdrawn``.
    datum : str
        What is held at zero.
    offset_ab_mag, offset_ab_err_mag : float
        m_A - m_B at d = 0 [mag].
    slope_mag_arcmin, slope_err_mag_arcmin : float
        Gradient k against sky position [mag / arcmin]; zero with zero error where held fixed. A
        gradient that is fixed to the detector is steeper: only some exposures of a dithered mosaic
        reach the outer part of an array, so that it looks about one third shallower there
        (simulated for FULLBOX 6TIGHT: one quarter over the whole mosaic). The columns x_det, y_det,
        v2_arcsec and v3_arcsec of detections are means over the exposures that cover a source.
    time_mag, time_err_mag : float
        Time term of the last epoch against the first [mag]; zero with zero error where held fixed.
    n_pairs, n_sources, n_epochs, n_clipped : int
    floor_mag, scatter_mag : float
    offset_bootstrap_err_mag : float
    corr_offset_slope, pivot_arcmin, offset_pivot_mag, offset_pivot_err_mag : float or None
    check_time_mag, check_time_err_mag : float or None
        Median of the pairs with equal rolls [mag].
    axis_pa_deg, origin_ra_deg, origin_dec_deg : float
    field, image_kind, flux_kind, aperture : str
    created_utc : datetime
    set_id : str
    time_by_epoch_mag : dict of str to float
        Time term of every epoch but the first [mag].
    settings : str
        JSON.
    accepted_for : str or None
        Contexts that the set is accepted for, in words; None where it is not.
    accepted_from, accepted_to : str or None
        First and last of them; None for an open end.
    accepted_utc : datetime or None
    acceptance_reason : str or None
    withdrawn_utc : datetime or None
    withdrawal_reason : str or None
    """

    pmap: str
    band: str
    filter: str
    pupil: str
    array_id: str
    model: str
    model_version: int
    version: int
    status: str
    datum: str
    offset_ab_mag: float
    offset_ab_err_mag: float
    slope_mag_arcmin: float
    slope_err_mag_arcmin: float
    time_mag: float
    time_err_mag: float
    n_pairs: int
    n_sources: int
    n_epochs: int
    n_clipped: int
    floor_mag: float
    scatter_mag: float
    offset_bootstrap_err_mag: float
    corr_offset_slope: float | None
    pivot_arcmin: float | None
    offset_pivot_mag: float | None
    offset_pivot_err_mag: float | None
    check_time_mag: float | None
    check_time_err_mag: float | None
    axis_pa_deg: float
    origin_ra_deg: float
    origin_dec_deg: float
    field: str
    image_kind: str
    flux_kind: str
    aperture: str
    created_utc: datetime
    set_id: str
    time_by_epoch_mag: dict[str, float]
    settings: str
    accepted_for: str | None = None
    accepted_from: str | None = None
    accepted_to: str | None = None
    accepted_utc: datetime | None = None
    acceptance_reason: str | None = None
    withdrawn_utc: datetime | None = None
    withdrawal_reason: str | None = None


_TIME_PREFIX = "time:"


def coefficients_row(stored: StoredSet) -> CoefficientsRow:
    """Lay a stored set out for the users."""
    time_terms = sorted(name for name in stored.coefficients if name.startswith(_TIME_PREFIX))
    time_mag, time_err_mag = stored.coefficients[time_terms[-1]] if time_terms else (0.0, 0.0)
    shared = {
        name: getattr(stored, name)
        for name in CoefficientsRow.__dataclass_fields__
        if hasattr(stored, name)
    }
    return CoefficientsRow(
        **shared
        | _standing(stored)
        | {
            "pmap": stored.pmap.name,
            "offset_ab_mag": stored.value("offset_ab"),
            "offset_ab_err_mag": stored.err("offset_ab"),
            "slope_mag_arcmin": stored.value("slope"),
            "slope_err_mag_arcmin": stored.err("slope"),
            "time_mag": time_mag,
            "time_err_mag": time_err_mag,
            "time_by_epoch_mag": {
                name.removeprefix(_TIME_PREFIX): stored.value(name) for name in time_terms
            },
        }
    )


def _standing(stored: StoredSet) -> dict[str, object]:
    """Say for what a set is accepted, and why it is out of use."""
    told: dict[str, object] = {}
    if stored.acceptance is not None:
        last = stored.acceptance.pmap_to
        told |= {
            "accepted_for": stored.acceptance.range_text,
            "accepted_from": stored.acceptance.pmap_from.name,
            "accepted_to": None if last is None else last.name,
            "accepted_utc": stored.acceptance.accepted_utc,
            "acceptance_reason": stored.acceptance.reason,
        }
    if stored.withdrawal is not None:
        told |= {
            "withdrawn_utc": stored.withdrawal.withdrawn_utc,
            "withdrawal_reason": stored.withdrawal.reason,
        }
    return told


def load_coefficients(connection: Connection, wanted: SetFilter) -> list[CoefficientsRow]:
    """Return the sets that are asked for."""
    return [coefficients_row(stored) for stored in load_sets(connection, wanted)]


# --- history ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HistoryRow:
    """One context in the history of a band and array id.

    What was measured is None where nothing was measured under this context.

    Attributes
    ----------
    pmap, band, array_id : str
    photmjsr_a, photmjsr_b : float or None
        PHOTMJSR of the two arrays [MJy/sr per DN/s]; None where unknown or where sources disagree.
    offset_ab_mag, offset_ab_err_mag : float or None
        Measured m_A - m_B at d = 0 [mag].
    slope_mag_arcmin, slope_err_mag_arcmin : float or None
    change_mag, change_err_mag, change_sigma : float or None
        Measured offset minus that of the previous measured context, its error with both errors
        taken as independent, and their ratio. The same exposures reduced twice share their noise,
        so the ratio is a lower limit to the significance.
    n_pairs, version : int or None
    set_id, field, image_kind, flux_kind : str or None
    note : str
        Values of PHOTMJSR that disagree.
    """

    pmap: str
    band: str
    array_id: str
    photmjsr_a: float | None
    photmjsr_b: float | None
    offset_ab_mag: float | None = None
    offset_ab_err_mag: float | None = None
    slope_mag_arcmin: float | None = None
    slope_err_mag_arcmin: float | None = None
    change_mag: float | None = None
    change_err_mag: float | None = None
    change_sigma: float | None = None
    n_pairs: int | None = None
    version: int | None = None
    set_id: str | None = None
    field: str | None = None
    image_kind: str | None = None
    flux_kind: str | None = None
    note: str = ""


def load_history(
    connection: Connection, wanted: SetFilter, instrument: Instrument
) -> list[HistoryRow]:
    """Return one row per context in integer order, for every series of sets that there is."""
    band, array_id = wanted.band or "", wanted.array_id or ""
    arrays = {a.module: a.name for a in instrument.arrays.values() if a.array_id == array_id}
    zero_points = [
        point
        for point in load_zero_points(connection, band, list(arrays.values()), wanted.as_of_utc)
        if _is_within(point.pmap, wanted)
    ]
    series: dict[tuple[str, str, str, str], dict[Pmap, StoredSet]] = defaultdict(dict)
    # A candidate was measured too: it is shown where no other version is current.
    for stored in load_sets(connection, replace(wanted, with_candidates=True)):
        key = (stored.field, stored.image_kind, stored.flux_kind, stored.aperture)
        if stored.pmap not in series[key] or stored.status == SetStatus.CURRENT:
            series[key][stored.pmap] = stored
    known = {point.pmap for point in zero_points}
    rows = []
    for sets in series.values() or [{}]:
        previous: StoredSet | None = None
        for pmap in sorted(known | set(sets)):
            photmjsr_a, note_a = _photmjsr(zero_points, pmap, arrays["A"])
            photmjsr_b, note_b = _photmjsr(zero_points, pmap, arrays["B"])
            row = HistoryRow(
                pmap=pmap.name,
                band=band,
                array_id=array_id,
                photmjsr_a=photmjsr_a,
                photmjsr_b=photmjsr_b,
                note="; ".join(note for note in (note_a, note_b) if note),
            )
            if pmap in sets:
                row = _with_measurement(row, sets[pmap], previous)
                previous = sets[pmap]
            rows.append(row)
    return rows


def _with_measurement(row: HistoryRow, stored: StoredSet, previous: StoredSet | None) -> HistoryRow:
    """Add what was measured under a row's context, and the change since the previous one."""
    row = replace(
        row,
        offset_ab_mag=stored.value("offset_ab"),
        offset_ab_err_mag=stored.err("offset_ab"),
        slope_mag_arcmin=stored.value("slope"),
        slope_err_mag_arcmin=stored.err("slope"),
        n_pairs=stored.n_pairs,
        version=stored.version,
        set_id=stored.set_id,
        field=stored.field,
        image_kind=stored.image_kind,
        flux_kind=stored.flux_kind,
    )
    if previous is None:
        return row
    change_mag, change_err_mag, change_sigma = _difference(
        (stored.value("offset_ab"), stored.err("offset_ab")),
        (previous.value("offset_ab"), previous.err("offset_ab")),
    )
    return replace(
        row, change_mag=change_mag, change_err_mag=change_err_mag, change_sigma=change_sigma
    )


def _is_within(pmap: Pmap, wanted: SetFilter) -> bool:
    """Tell whether a context lies in the range that is asked for."""
    is_late_enough = wanted.pmap_from is None or wanted.pmap_from <= pmap
    is_early_enough = wanted.pmap_to is None or pmap <= wanted.pmap_to
    return is_late_enough and is_early_enough


_PHOTMJSR_PRECISION = 1e-6
"""Relative; photom tables are of single precision, headers print more or fewer digits of it."""


def _photmjsr(
    zero_points: list[StoredZeroPoint], pmap: Pmap, array: str
) -> tuple[float | None, str]:
    """Return the PHOTMJSR of full frames, or None with a note where values disagree."""
    values = sorted(
        {
            point.photmjsr
            for point in zero_points
            if point.pmap == pmap and point.array == array and point.subarray == "FULL"
        }
    )
    if values and values[-1] - values[0] > _PHOTMJSR_PRECISION * values[-1]:
        return None, f"{array}: PHOTMJSR disagree: {', '.join(f'{value:.7g}' for value in values)}"
    return (values[0] if values else None), ""


def _difference(
    ours: tuple[float, float], theirs: tuple[float, float]
) -> tuple[float, float, float | None]:
    """Return difference, error and significance (None without any error)."""
    err = math.hypot(ours[1], theirs[1])
    return ours[0] - theirs[0], err, (ours[0] - theirs[0]) / err if err > 0.0 else None

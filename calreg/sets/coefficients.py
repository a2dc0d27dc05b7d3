"""Answers: coefficients as the users see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from calreg.db.queries.sets import SetFilter, StoredSet, load_sets

if TYPE_CHECKING:
    from datetime import datetime

    from calreg.db.engine import Connection


@dataclass(frozen=True)
class CoefficientsRow:
    """One coefficient set as the users see it (DESIGN: the JSON of ``calreg coefficients``).

    Attributes
    ----------
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
    check_time_mag, check_time_err_mag : float or None
        Median of the pairs with equal rolls [mag].
    time_by_epoch_mag : dict of str to float
        Time term of every epoch but the first [mag].
    settings : str
        JSON.
    accepted_for : str or None
        Contexts that the set is accepted for, in words; None where it is not.
    accepted_from, accepted_to : str or None
        First and last of them; None for an open end.
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
    """Lay out the acceptance and the withdrawal of a set."""
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

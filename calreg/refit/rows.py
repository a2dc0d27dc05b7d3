"""Lay a fit out as the rows of its coefficient set."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import numpy as np

from calreg.domain import RollRelation
from calreg.science.model.offsets import measure_time_check
from calreg.science.model.pairmodel import DATUM, MODEL_NAME, MODEL_VERSION, PairFit
from calreg.science.statistics import mad_by_group, median_by_group

if TYPE_CHECKING:
    from calreg.refit.inputs import KeyInputs, SelectedPairs

Row = dict[str, object]


def set_row(inputs: KeyInputs, selected: SelectedPairs, fit: PairFit) -> Row:
    """Lay out a set's own row, but for its id, version and times."""
    first = inputs.images[0]
    is_equal_roll = ~selected.is_opposite & ~selected.is_variable
    check = measure_time_check(selected.dmag[is_equal_roll])
    return {
        "field_id": first.field_id,
        "pmap_id": first.pmap_id,
        "filter": first.filter,
        "pupil": first.pupil,
        "band": first.band,
        "array_id": first.array_id,
        "image_kind": first.image_kind,
        "flux_kind": first.flux_kind,
        "aperture": first.aperture,
        "model": MODEL_NAME,
        "model_version": MODEL_VERSION,
        "datum": DATUM,
        "settings": inputs.settings.canonical_json(),
        "input_digest": inputs.digest,
        "axis_pa_deg": inputs.axis.pa_deg,
        "origin_ra_deg": inputs.axis.origin_ra_deg,
        "origin_dec_deg": inputs.axis.origin_dec_deg,
        "n_epochs": fit.n_epochs,
        "n_pairs": fit.n_pairs,
        "n_sources": fit.n_sources,
        "n_clipped": int((selected.is_opposite & selected.is_variable).sum()),
        "floor_mag": fit.floor_mag,
        "scatter_mag": fit.scatter_mag,
        "chi2": fit.chi2,
        "n_dof": fit.n_dof,
        "corr_offset_slope": fit.corr_offset_slope,
        "pivot_arcmin": fit.pivot_arcmin,
        "offset_pivot_mag": fit.offset_pivot_mag,
        "offset_pivot_err_mag": fit.offset_pivot_err_mag,
        "offset_bootstrap_err_mag": fit.offset_bootstrap_err_mag,
        "check_time_mag": _or_none(check.median_mag),
        "check_time_err_mag": _or_none(check.median_err_mag),
    }


def coefficient_rows(fit: PairFit) -> list[Row]:
    """Lay out the coefficients."""
    return [
        {"name": name, "value": float(value), "err": float(err), "unit": unit}
        for name, value, err, unit in zip(fit.names, fit.values, fit.errs, fit.units, strict=True)
    ]


def covariance_rows(fit: PairFit) -> list[Row]:
    """Lay out the upper triangle of the covariance, diagonal included."""
    return [
        {"name_1": name_1, "name_2": fit.names[n_2], "value": float(fit.covariance[n_1, n_2])}
        for n_1, name_1 in enumerate(fit.names)
        for n_2 in range(n_1, len(fit.names))
    ]


def input_rows(inputs: KeyInputs, selected: SelectedPairs) -> list[Row]:
    """Lay out the groups of the fit with their statistics under its selection."""
    is_steady = ~selected.is_variable
    dmag, of_group = selected.dmag[is_steady], selected.group_index[is_steady]
    n_groups = len(inputs.groups)
    median_mag = median_by_group(dmag, of_group, n_groups)
    mad_mag = mad_by_group(dmag, of_group, median_mag, n_groups)
    n_pairs = np.bincount(of_group, minlength=n_groups)
    return [
        {
            "group_id": group.id,
            "n_used": int(n) if group.relation == RollRelation.OPPOSITE else 0,
            "median_mag": _or_none(float(median)),
            "mad_mag": _or_none(float(mad)),
        }
        for group, n, median, mad in zip(inputs.groups, n_pairs, median_mag, mad_mag, strict=True)
    ]


def _or_none(value: float) -> float | None:
    """Return None for NaN."""
    return None if np.isnan(value) else value


_SET_NAMESPACE = uuid.UUID("6f0c1a52-7d0e-5c59-9d6e-3c1b5f1f9a11")


def make_set_id(input_digest: str, version: int) -> str:
    """Return the id of a set: the same inputs and version give the same id in every registry."""
    return str(uuid.uuid5(_SET_NAMESPACE, f"{input_digest} {version}"))

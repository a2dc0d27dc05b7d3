"""Sources that vary: found from pairs alone, so that the answer is free of any fit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from calreg.errors import InvalidValueError
from calreg.science.model.offsets import ROBUST_SCATTER_PER_MAD
from calreg.science.model.solve import huber_threshold, solve_huber

if TYPE_CHECKING:
    from calreg.domain import IntArray
    from calreg.units import FloatArray

MAX_PROBABILITY = 1e-6
"""A source varies when its chi2 is less likely than this ..."""

MIN_RESIDUAL_MAG = 0.05
"""... and it changed by more than this in some band [mag], the size of the offsets themselves."""

MIN_PAIRS = 5
"""Groups with fewer pairs are not judged: half of them could vary unseen."""

MIN_PAIRS_LINE = 12
"""Groups with fewer pairs get a median where a line is asked for."""

_LINE_ROUNDS = 4


@dataclass(frozen=True)
class GroupResiduals:
    """The pairs of one group against what most of them do.

    Attributes
    ----------
    residual_mag : ndarray of float64, shape (n_pairs,)
        Later minus earlier, less the local model [mag]; NaN in groups too small to judge.
    z : ndarray of float64, shape (n_pairs,)
        `residual_mag` over its noise; NaN in groups too small to judge.
    is_line : bool
        Whether the local model is a line in d.
    """

    residual_mag: FloatArray = field(repr=False)
    z: FloatArray = field(repr=False)
    floor_mag: float
    is_line: bool


@dataclass(frozen=True)
class VariableSources:
    """Sources that vary, one entry per source and epoch pair, sorted; shapes (n_variable,).

    Attributes
    ----------
    chi2 : ndarray of float64
        Sum over bands of z^2.
    max_residual_mag : ndarray of float64
        Largest absolute residual of a band [mag].
    """

    source_id: IntArray
    epoch_pair: IntArray
    chi2: FloatArray
    n_bands: IntArray
    max_residual_mag: FloatArray


def measure_residuals(
    dmag: FloatArray, variance: FloatArray, d_arcmin: FloatArray | None = None
) -> GroupResiduals:
    """Compare the pairs of one group (a patch in an epoch pair) with what most of them do.

    Parameters
    ----------
    dmag : ndarray of float64, shape (n_pairs,)
        Later minus earlier [mag]; finite.
    variance : ndarray of float64, shape (n_pairs,)
        ``sigma_1^2 + sigma_2^2`` [mag^2]; not negative.
    d_arcmin : ndarray of float64, shape (n_pairs,), optional
        Coordinate along the axis [arcmin]. With it, 12 pairs or more are compared with a robust
        line in d instead of their median.

    Returns
    -------
    GroupResiduals
        Residuals are NaN in a group too small to judge.

    Raises
    ------
    InvalidValueError
        If lengths differ or a number is not finite.

    Notes
    -----
    ``z = residual / sqrt(variance + floor^2)``, ``floor^2 = max(0, (1.4826 MAD)^2 n / (n - p) -
    median(variance))``. The line has Huber weights at the scale of the MAD, four rounds.
    """
    given = (dmag, variance) if d_arcmin is None else (dmag, variance, d_arcmin)
    if any(array.shape != dmag.shape or not np.isfinite(array).all() for array in given):
        msg = f"pairs: expected finite dmag, variance and d of one length, {dmag.size}"
        raise InvalidValueError(msg)
    if dmag.size < MIN_PAIRS:
        unknown = np.full(dmag.size, np.nan)
        return GroupResiduals(unknown, unknown.copy(), 0.0, is_line=False)
    residual = dmag - np.median(dmag)
    n_coefficients = 1
    is_line = d_arcmin is not None and dmag.size >= MIN_PAIRS_LINE and float(np.ptp(d_arcmin)) > 0.0
    if is_line and d_arcmin is not None:
        residual = dmag - _robust_line(d_arcmin, dmag)
        n_coefficients = 2
    scatter2 = (ROBUST_SCATTER_PER_MAD * float(np.median(np.abs(residual)))) ** 2
    scatter2 *= dmag.size / (dmag.size - n_coefficients)
    floor2 = max(0.0, scatter2 - float(np.median(variance)))
    noise = np.sqrt(variance + floor2)
    z = np.divide(residual, noise, out=np.zeros_like(residual), where=noise > 0.0)
    return GroupResiduals(residual, z, float(np.sqrt(floor2)), is_line=is_line)


def _robust_line(x: FloatArray, y: FloatArray) -> FloatArray:
    """Return the Huber line of y over x at the points given, the same for any order of them."""
    order = np.lexsort((y, x))
    middle = 0.5 * (x.min() + x.max())
    u = (x - middle) / (0.5 * float(np.ptp(x)))
    columns = np.vstack([np.ones_like(u), u, y])[:, order]
    coefficients = np.array([np.median(y), 0.0])
    thresholds = np.full(x.size, huber_threshold(1))
    for _ in range(_LINE_ROUNDS):
        residual = np.append(-coefficients, 1.0) @ columns
        scale = ROBUST_SCATTER_PER_MAD * float(np.median(np.abs(residual)))
        if scale == 0.0:
            break
        scaled = columns / scale
        gram = scaled[:, None, :] * scaled[None, :, :]
        coefficients = solve_huber(gram, thresholds, coefficients).coefficients
    line: FloatArray = coefficients[0] + coefficients[1] * u
    return line


def find_variables(
    source_id: IntArray,
    epoch_pair: IntArray,
    band: IntArray,
    z: FloatArray,
    residual_mag: FloatArray,
) -> VariableSources:
    """Find the sources that changed between two epochs.

    Parameters
    ----------
    source_id, epoch_pair, band : ndarray of int64, shape (n_pairs,)
        Which source, which two epochs, which band; all pairs are of one field and one pmap.
    z, residual_mag : ndarray of float64, shape (n_pairs,)
        From `measure_residuals`; pairs with NaN do not count.

    Notes
    -----
    Several pairs in one band (dithers, overlapping arrays) are averaged, since they share noise. A
    source varies when the chi-squared probability of the sum of z^2 over its bands is below 1e-6
    and some band changed by more than 0.05 mag.
    """
    is_judged = np.isfinite(z) & np.isfinite(residual_mag)
    # Sorted by value too, so that the means are the same to the last bit for any order of input.
    order = np.lexsort((residual_mag, z, band, epoch_pair, source_id))
    order = order[is_judged[order]]
    keys = np.column_stack([source_id, epoch_pair, band])[order]
    if order.size == 0:
        none, nothing = np.empty(0, dtype=np.int64), np.empty(0)
        return VariableSources(none, none.copy(), nothing, none.copy(), nothing.copy())
    starts = _run_starts(keys)
    counts = np.diff(starts, append=order.size)
    mean_z = np.add.reduceat(z[order], starts) / counts
    mean_residual = np.add.reduceat(residual_mag[order], starts) / counts
    keys = keys[starts, :2]
    starts = _run_starts(keys)
    chi2 = np.add.reduceat(mean_z**2, starts)
    n_bands = np.diff(starts, append=len(keys)).astype(np.int64)
    largest = np.maximum.reduceat(np.abs(mean_residual), starts)
    from scipy.special import chdtrc

    is_variable = (chdtrc(n_bands, chi2) < MAX_PROBABILITY) & (largest > MIN_RESIDUAL_MAG)
    found = keys[starts][is_variable]
    return VariableSources(
        source_id=found[:, 0],
        epoch_pair=found[:, 1],
        chi2=chi2[is_variable],
        n_bands=n_bands[is_variable],
        max_residual_mag=largest[is_variable],
    )


def _run_starts(keys: IntArray) -> IntArray:
    """Return the rows at which sorted keys change."""
    is_new = np.ones(len(keys), dtype=np.bool_)
    is_new[1:] = (keys[1:] != keys[:-1]).any(axis=1)
    return np.flatnonzero(is_new)

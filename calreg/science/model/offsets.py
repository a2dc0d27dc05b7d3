"""Median offsets of pairs per patch, and what two patches say about modules and time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calreg.errors import InvalidValueError, MissingPatchError

if TYPE_CHECKING:
    from calreg.units import FloatArray

ROBUST_SCATTER_PER_MAD = 1.482602218505602
"""Standard deviation per MAD of a normal distribution, 1 / Phi^-1(3/4)."""

MEDIAN_ERR_PER_MEAN_ERR = math.sqrt(math.pi / 2.0)
"""Error of a median over that of a mean for normal errors, 1.2533 (large n)."""


@dataclass(frozen=True)
class PatchStatistics:
    """The pairs of one patch.

    Attributes
    ----------
    median_mag : float
        Median of later minus earlier [mag]; NaN for no pairs.
    mad_mag : float
        Median absolute deviation [mag], not scaled to a standard deviation, as the paper's; NaN for
        no pairs.
    median_err_mag : float
        Error of the median, ``1.2533 * 1.4826 * MAD / sqrt(n)`` [mag]; NaN for fewer than 2 pairs.
    """

    n: int
    median_mag: float
    mad_mag: float
    median_err_mag: float


@dataclass(frozen=True)
class MedianOffset:
    """What the medians of two patches say, the paper's Eq. 7 and 8.

    Attributes
    ----------
    b_first, a_first : PatchStatistics
        Patch seen by B then A, and by A then B.
    offset_ab_mag, offset_ab_err_mag : float
        m_A - m_B [mag].
    time_mag, time_err_mag : float
        Later minus earlier epoch [mag].
    """

    b_first: PatchStatistics
    a_first: PatchStatistics
    offset_ab_mag: float
    offset_ab_err_mag: float
    time_mag: float
    time_err_mag: float


def patch_statistics(dmag: FloatArray) -> PatchStatistics:
    """Measure number, median and MAD of magnitude differences.

    Parameters
    ----------
    dmag : ndarray of float64, shape (n_pairs,)
        Later minus earlier [mag]; finite.

    Returns
    -------
    PatchStatistics
        NaN where there are too few pairs for a number.
    """
    n_bad = int(np.count_nonzero(~np.isfinite(dmag)))
    if n_bad:
        msg = f"{n_bad} of {dmag.size} magnitude differences are not finite: leave them out first"
        raise InvalidValueError(msg)
    if dmag.size == 0:
        return PatchStatistics(0, math.nan, math.nan, math.nan)
    median = float(np.median(dmag))
    mad = float(np.median(np.abs(dmag - median)))
    scatter = ROBUST_SCATTER_PER_MAD * mad
    err = MEDIAN_ERR_PER_MEAN_ERR * scatter / math.sqrt(dmag.size) if dmag.size > 1 else math.nan
    return PatchStatistics(int(dmag.size), median, mad, err)


def measure_offset(dmag_b_first: FloatArray, dmag_a_first: FloatArray) -> MedianOffset:
    """Separate the offset between modules from that between epochs with medians.

    Parameters
    ----------
    dmag_b_first : ndarray of float64, shape (n_p,)
        Later minus earlier [mag] on the patch that module B saw first.
    dmag_a_first : ndarray of float64, shape (n_q,)
        The same on the patch that module A saw first.

    Returns
    -------
    MedianOffset
        Errors are NaN where a patch has one pair only.

    Raises
    ------
    MissingPatchError
        If a patch has no pairs.
    InvalidValueError
        If a difference is not finite.

    Notes
    -----
    ``Delta_AB = (Delta_p - Delta_q) / 2``, ``Delta_T = (Delta_p + Delta_q) / 2``; both have the
    error ``sqrt(err_p^2 + err_q^2) / 2``.

    References
    ----------
    Ma et al. (2024), Eq. 7 and 8.
    """
    for name, dmag in (("B then A", dmag_b_first), ("A then B", dmag_a_first)):
        if dmag.size == 0:
            msg = f"no pairs on the patch seen by {name}: both patches are needed for an offset"
            raise MissingPatchError(msg)
    p, q = patch_statistics(dmag_b_first), patch_statistics(dmag_a_first)
    err = 0.5 * math.hypot(p.median_err_mag, q.median_err_mag)
    return MedianOffset(
        b_first=p,
        a_first=q,
        offset_ab_mag=0.5 * (p.median_mag - q.median_mag),
        offset_ab_err_mag=err,
        time_mag=0.5 * (p.median_mag + q.median_mag),
        time_err_mag=err,
    )


def measure_time_check(dmag_equal_roll: FloatArray) -> PatchStatistics:
    """Measure what changed between two epochs of equal roll, whose sources fall on the same arrays.

    Parameters
    ----------
    dmag_equal_roll : ndarray of float64, shape (n_pairs,)
        Later minus earlier [mag], both patches together.

    Returns
    -------
    PatchStatistics
        The median estimates T_j - T_i free of any offset between arrays.
    """
    return patch_statistics(dmag_equal_roll)

"""Stripes that the 1/f noise of the readout leaves along rows and columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from calreg.errors import InvalidValueError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from calreg.domain import BoolArray

AMPLIFIER_COLUMNS = 512
"""Columns that one of the four amplifiers of a full frame reads; rows are the fast direction (JWST
User Documentation, NIRCam detector readout)."""

MIN_SKY_PX = 64
"""A row or column of an amplifier with less sky has no stripe of its own: the error of its median
would be a sixth of the noise of a pixel, or more."""


def remove_stripes(
    sci: NDArray[np.float32],
    mask: BoolArray,
    *,
    background: NDArray[np.float32] | None = None,
    amplifier_columns: int = AMPLIFIER_COLUMNS,
) -> NDArray[np.float32]:
    """Subtract the stripes of rows and columns, amplifier by amplifier.

    Parameters
    ----------
    sci : ndarray of float32, shape (ny, nx)
        Surface brightness in the science orientation of the jwst pipeline, rows along x. NaN stays.
    mask : ndarray of bool, shape (ny, nx)
        True at sources and at pixels without data.
    background : ndarray of float32, shape (ny, nx), optional
        Slow variation of the sky, which is no stripe and stays; none by default.
    amplifier_columns : int
        Columns that one amplifier reads [pixels]; all of them for a subarray with one output.

    Returns
    -------
    ndarray of float32, shape (ny, nx)
        `sci` less its stripes. The median level of all sky is kept, steps between amplifiers are
        not.

    Raises
    ------
    InvalidValueError
        If every pixel is masked, or an amplifier has no columns.

    Notes
    -----
    Medians of the masked rows of each amplifier are subtracted, then medians of the columns of each
    amplifier (Ma et al. 2024, section 2; imageoneoverf of C. Willott). Where an amplifier's row has
    fewer than 64 pixels of sky, the median of the whole row stands in for it; a row or column
    without so many is left as it is.
    """
    if amplifier_columns < 1:
        msg = f"amplifiers of {amplifier_columns} columns: expected at least one"
        raise InvalidValueError(msg)
    if mask.all():
        msg = f"no stripes: all {mask.size} pixels are sources or hold no data"
        raise InvalidValueError(msg)
    sky = sci.copy() if background is None else sci - background
    sky[mask] = np.nan
    sky -= np.median(sky[~mask])
    stripes = np.zeros_like(sky)
    whole_rows = _row_medians(sky)
    for start in range(0, sky.shape[1], amplifier_columns):
        columns = slice(start, start + amplifier_columns)
        amplifier = sky[:, columns]
        rows = _row_medians(amplifier)
        rows = np.where(np.isfinite(rows), rows, np.nan_to_num(whole_rows))
        amplifier -= rows[:, np.newaxis]
        by_column = np.nan_to_num(_row_medians(np.ascontiguousarray(amplifier.T)))
        stripes[:, columns] = rows[:, np.newaxis] + by_column
    return np.asarray(sci - stripes)


def _row_medians(sky: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the median of each row without its NaN; NaN for a row with too little sky."""
    n_sky = np.count_nonzero(np.isfinite(sky), axis=1)
    # NaN sorts last, so that the middle of what is there is the median.
    ordered = np.sort(sky, axis=1)
    rows = np.arange(len(sky))
    low = ordered[rows, np.maximum(n_sky - 1, 0) // 2]
    high = ordered[rows, np.minimum(n_sky // 2, sky.shape[1] - 1)]
    enough = n_sky >= min(MIN_SKY_PX, sky.shape[1])
    middle = np.float32(0.5) * (np.where(enough, low, 0.0) + np.where(enough, high, 0.0))
    return np.asarray(np.where(enough, middle, np.nan), dtype=np.float32)

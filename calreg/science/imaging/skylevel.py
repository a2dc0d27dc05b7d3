"""Background of an exposure: which pixels show sky, its level, and its slow variation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import maximum_filter, median_filter, uniform_filter, zoom

from calreg.errors import InvalidValueError, MissingExtraError
from calreg.flags import DO_NOT_USE, SATURATED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from calreg.domain import BoolArray

BOX_PX = 128
"""Side of the blocks (Ma et al. 2024, section 2)."""

FILTER_BLOCKS = 3
"""Side of the median filter over the blocks (Ma et al. 2024, section 2)."""

_MASK_ITERATIONS = 2
_BIN_PX = 2
"""Sources are looked for in bins of this side: the mask need not be finer, and it is four times
quicker."""

_SCALES_BINS = (3, 7)
"""Sides of the boxes that bins are averaged over: cores of faint sources, wings of bright ones."""

_THRESHOLD_SIGMA = 3.0
_MAD_TO_SIGMA = 1.4826
_SAMPLE_STEP = 4
_MIN_GOOD_FRACTION = 0.1
"""A block with fewer pixels of sky takes its level from its neighbours."""


def usable_pixels(
    sci: NDArray[np.float32], err: NDArray[np.float32], dq: NDArray[np.uint32]
) -> BoolArray:
    """Say which pixels hold data.

    Parameters
    ----------
    sci, err : ndarray of float32, shape (ny, nx)
        Surface brightness and its 1-sigma error.
    dq : ndarray of uint32, shape (ny, nx)
        Data quality bits of the jwst pipeline.

    Returns
    -------
    ndarray of bool, shape (ny, nx)
        False where a value is not finite, the error is not positive, or `DO_NOT_USE` or `SATURATED`
        is set.
    """
    with np.errstate(invalid="ignore"):
        is_usable = np.isfinite(sci) & np.isfinite(err) & (err > 0.0)
    return np.asarray(is_usable & ((dq & (DO_NOT_USE | SATURATED)) == 0), dtype=np.bool_)


def source_mask(
    sci: NDArray[np.float32],
    err: NDArray[np.float32],
    dq: NDArray[np.uint32],
    *,
    box: int = BOX_PX,
) -> BoolArray:
    """Find the pixels that do not show plain sky.

    Parameters
    ----------
    sci, err : ndarray of float32, shape (ny, nx)
        Surface brightness and its 1-sigma error.
    dq : ndarray of uint32, shape (ny, nx)
        Data quality bits of the jwst pipeline.
    box : int
        Side of the blocks whose median stands for the sky [pixels].

    Returns
    -------
    ndarray of bool, shape (ny, nx)
        True at sources and at pixels without data.

    Raises
    ------
    InvalidValueError
        If no pixel holds data.

    Notes
    -----
    Signal over error, less the blocks' medians, is averaged over boxes of 6 and of 14 pixels; what
    exceeds 3 sigma (from the median absolute deviation) is a source, grown by the box. Twice, the
    second time with the first mask.
    """
    is_usable = usable_pixels(sci, err, dq)
    if not is_usable.any():
        msg = "no pixel holds data: all are NaN, without error, DO_NOT_USE or SATURATED"
        raise InvalidValueError(msg)
    is_bad = ~is_usable
    signal = np.zeros(sci.shape, dtype=np.float32)
    mask = is_bad
    for _ in range(_MASK_ITERATIONS):
        np.subtract(sci, block_sky(sci, mask, box), out=signal, where=is_usable)
        np.divide(signal, err, out=signal, where=is_usable)
        mask = is_bad | _significant(signal, mask)
    return mask


def _significant(signal: NDArray[np.float32], mask: BoolArray) -> BoolArray:
    """Return where the signal, averaged at each scale, exceeds the scatter of the sky."""
    binned = _binned(signal)
    is_sky = ~mask[::_BIN_PX, ::_BIN_PX]
    found = np.zeros(binned.shape, dtype=np.bool_)
    for scale in _SCALES_BINS:
        averaged = uniform_filter(binned, scale, mode="constant")
        sample = averaged[is_sky][::_SAMPLE_STEP]
        if sample.size == 0:
            continue
        middle = float(np.median(sample))
        sigma = _MAD_TO_SIGMA * float(np.median(np.abs(sample - middle)))
        is_source = averaged > middle + _THRESHOLD_SIGMA * sigma
        found |= maximum_filter(is_source, scale, mode="constant")
    ny, nx = signal.shape
    return np.asarray(found.repeat(_BIN_PX, axis=0).repeat(_BIN_PX, axis=1)[:ny, :nx])


def _binned(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return sums over bins; an odd last row or column has its bins to itself."""
    ny, nx = (-(-length // _BIN_PX) for length in image.shape)
    if image.shape != (ny * _BIN_PX, nx * _BIN_PX):
        padded = np.zeros((ny * _BIN_PX, nx * _BIN_PX), dtype=np.float32)
        padded[: image.shape[0], : image.shape[1]] = image
        image = padded
    return np.asarray(
        sum(image[i::_BIN_PX, j::_BIN_PX] for i in range(_BIN_PX) for j in range(_BIN_PX))
    )


def subtract_background(
    sci: NDArray[np.float32],
    err: NDArray[np.float32],
    dq: NDArray[np.uint32],
    *,
    box: int = BOX_PX,
    filter_size: int = FILTER_BLOCKS,
) -> tuple[NDArray[np.float32], BoolArray]:
    """Measure the slowly varying background of an exposure, sources masked.

    Parameters
    ----------
    sci, err : ndarray of float32, shape (ny, nx)
        Surface brightness and its 1-sigma error.
    dq : ndarray of uint32, shape (ny, nx)
        Data quality bits of the jwst pipeline.
    box : int
        Side of the blocks [pixels].
    filter_size : int
        Side of the median filter over the blocks [blocks], odd.

    Returns
    -------
    background : ndarray of float32, shape (ny, nx)
        In the unit of `sci`, finite everywhere; to be subtracted.
    mask : ndarray of bool, shape (ny, nx)
        True at sources and at pixels without data.

    Raises
    ------
    InvalidValueError
        If no block has enough sky: less than a tenth of its pixels.
    MissingExtraError
        If photutils is not installed.

    Notes
    -----
    Sigma-clipped SExtractor estimator in blocks, median filter over the blocks, cubic interpolation
    (photutils `Background2D`), as Ma et al. 2024, section 2. A block that is nearly all masked
    takes its level from its neighbours.
    """
    try:
        from photutils.background import Background2D
    except ImportError as error:
        msg = "the background needs photutils: pip install 'calreg[mosaic]'"
        raise MissingExtraError(msg) from error
    mask = source_mask(sci, err, dq, box=box)
    try:
        measured = Background2D(
            np.where(mask, np.float32(0.0), sci),
            box,
            mask=mask,
            filter_size=filter_size,
            exclude_percentile=100.0 * (1.0 - _MIN_GOOD_FRACTION),
        )
    except ValueError as error:
        msg = (
            f"no background: no block of {box} x {box} pixels shows sky in a tenth of its pixels "
            f"({int(np.count_nonzero(~mask))} of {mask.size} pixels do); leave the background as "
            "it is (--no-background), or leave the exposure out"
        )
        raise InvalidValueError(msg) from error
    return np.asarray(measured.background, dtype=np.float32), mask


def median_level(sci: NDArray[np.float32], mask: BoolArray) -> float:
    """Return the median of the pixels of sky.

    Parameters
    ----------
    sci : ndarray of float32, shape (ny, nx)
        Surface brightness.
    mask : ndarray of bool, shape (ny, nx)
        True at sources and at pixels without data.

    Returns
    -------
    float
        In the unit of `sci`.

    Raises
    ------
    InvalidValueError
        If every pixel is masked.
    """
    sky = sci[~mask]
    if sky.size == 0:
        msg = f"no level: all {mask.size} pixels are sources or hold no data"
        raise InvalidValueError(msg)
    return float(np.median(sky))


def block_sky(sci: NDArray[np.float32], mask: BoolArray, box: int = BOX_PX) -> NDArray[np.float32]:
    """Return a quick background, for masks and stripes: medians of blocks.

    Parameters
    ----------
    sci : ndarray of float32, shape (ny, nx)
        Surface brightness.
    mask : ndarray of bool, shape (ny, nx)
        True at sources and at pixels without data.
    box : int
        Side of the blocks [pixels]; every other pixel of a block is used.

    Returns
    -------
    ndarray of float32, shape (ny, nx)
        Median-filtered over 3 by 3 blocks, bilinear between their centres, finite everywhere; 0
        if every pixel is masked.
    """
    half = max(box // 2, 1)
    values = np.where(mask, np.float32(np.nan), sci)[::2, ::2]
    ny, nx = (-(-length // half) for length in values.shape)
    padded = np.full((ny * half, nx * half), np.nan, dtype=np.float32)
    padded[: values.shape[0], : values.shape[1]] = values
    blocks = padded.reshape(ny, half, nx, half).swapaxes(1, 2).reshape(ny, nx, half * half)
    n_sky = np.isfinite(blocks).sum(axis=2)
    # NaN sorts last, so that the median of what is there needs no second pass.
    ordered = np.sort(blocks, axis=2)
    medians = np.take_along_axis(ordered, np.maximum(n_sky - 1, 0)[..., np.newaxis] // 2, axis=2)
    level = medians[..., 0]
    has_sky = n_sky > _MIN_GOOD_FRACTION * half * half
    if not has_sky.any():
        has_sky = n_sky > 0
    overall = np.median(level[has_sky]) if has_sky.any() else 0.0
    level = median_filter(np.where(has_sky, level, overall), FILTER_BLOCKS, mode="nearest")
    # Bilinear between the centres of blocks, level beyond the outermost.
    grown = zoom(level, 2 * half, order=1, mode="nearest", grid_mode=True)
    return np.asarray(grown[: sci.shape[0], : sci.shape[1]], dtype=np.float32)

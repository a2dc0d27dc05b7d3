"""Prepare an exposure for a mosaic: level, stripes of the readout's 1/f noise, background.

Planes have shape (ny, nx): `sci` and `err` are surface brightness and its 1-sigma error, `dq` the
data quality bits of the jwst pipeline; `mask` is True at sources and at pixels without data.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from calreg.errors import InvalidValueError, MissingExtraError
from calreg.flags import DO_NOT_USE, SATURATED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from calreg.domain import BoolArray

# --- sky ----------------------------------------------------------------------------------------

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
    """Find the pixels that hold data.

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
    box : int
        Side of the blocks whose median stands for the sky [pixels].

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
    from scipy.ndimage import maximum_filter, uniform_filter

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
    box : int
        Side of the blocks [pixels].
    filter_size : int
        Side of the median filter over the blocks [blocks], odd.

    Returns
    -------
    background : ndarray of float32, shape (ny, nx)
        In the unit of `sci`, finite everywhere; to be subtracted.

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
    box : int
        Side of the blocks [pixels]; every other pixel of a block is used.

    Returns
    -------
    ndarray of float32, shape (ny, nx)
        Median-filtered over 3 by 3 blocks, bilinear between their centres, finite everywhere; 0
        if every pixel is masked.
    """
    from scipy.ndimage import median_filter, zoom

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


# --- stripes ------------------------------------------------------------------------------------

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


# --- all of it ----------------------------------------------------------------------------------

FULL_COLUMNS = 2048
"""Columns of a frame that four amplifiers read; subarrays have one output."""


@dataclass(frozen=True)
class CleaningSettings:
    """What is subtracted from an exposure.

    Attributes
    ----------
    level : bool
        The median of the sky (short-wavelength arrays, Ma et al. 2024, section 2).
    background : bool
        The background in blocks.
    stripes : bool
        The stripes of 1/f noise along rows and columns, per amplifier.
    box_px : int
        Side of the background's blocks [pixels].
    filter_blocks : int
        Side of the median filter over the blocks, odd.
    """

    level: bool = False
    background: bool = True
    stripes: bool = False
    box_px: int = BOX_PX
    filter_blocks: int = FILTER_BLOCKS


@dataclass(frozen=True)
class CleanedExposure:
    """An exposure with its background subtracted.

    Attributes
    ----------
    sci : ndarray of float32, shape (ny, nx)
        In the unit of the input; NaN stays.
    mask : ndarray of bool, shape (ny, nx)
        True at sources and at pixels without data.
    background : float
        Median level subtracted, in the unit of the input.
    """

    sci: NDArray[np.float32] = field(repr=False)
    mask: BoolArray = field(repr=False)
    background: float


def clean_exposure(
    sci: NDArray[np.float32],
    err: NDArray[np.float32],
    dq: NDArray[np.uint32],
    settings: CleaningSettings,
) -> CleanedExposure:
    """Subtract level, stripes and background from an exposure.

    Parameters
    ----------
    sci, err : ndarray of float32, shape (ny, nx)
        Surface brightness and its 1-sigma error; not changed.

    Raises
    ------
    InvalidValueError
        If no pixel holds data, or none shows sky.
    MissingExtraError
        If photutils is needed and not installed.

    Notes
    -----
    Stripes are measured first, on what a quick background leaves; source mask and background are
    measured again without them. The mask for the stripes is made of an image without the medians of
    all pixels of each row: a strong stripe would pass for a source, and stay.
    """
    cleaned = sci
    if settings.stripes:
        cleaned, mask = _without_stripes(sci, err, dq, settings.box_px)
    if settings.background:
        background, mask = subtract_background(
            cleaned, err, dq, box=settings.box_px, filter_size=settings.filter_blocks
        )
        cleaned = cleaned - background
    elif not settings.stripes:
        mask = source_mask(sci, err, dq, box=settings.box_px)
    if settings.level:
        cleaned = cleaned - sci.dtype.type(median_level(cleaned, mask))
    return CleanedExposure(cleaned, mask, median_level(sci, mask) - median_level(cleaned, mask))


def _without_stripes(
    sci: NDArray[np.float32], err: NDArray[np.float32], dq: NDArray[np.uint32], box_px: int
) -> tuple[NDArray[np.float32], BoolArray]:
    """Remove stripes, first roughly, for a mask, then with that mask; return the mask too."""
    columns = AMPLIFIER_COLUMNS if sci.shape[1] == FULL_COLUMNS else sci.shape[1]
    mask, rough = ~usable_pixels(sci, err, dq), sci
    if not mask.all():
        sky = block_sky(sci, mask, box_px)
        rough = remove_stripes(sci, mask, background=sky, amplifier_columns=columns)
    mask = source_mask(rough, err, dq, box=box_px)
    sky = block_sky(sci, mask, box_px)
    return remove_stripes(sci, mask, background=sky, amplifier_columns=columns), mask

"""Prepare an exposure for a mosaic: level, stripes, background."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from calreg.science.imaging.skylevel import (
    BOX_PX,
    FILTER_BLOCKS,
    block_sky,
    median_level,
    source_mask,
    subtract_background,
    usable_pixels,
)
from calreg.science.imaging.stripes import AMPLIFIER_COLUMNS, remove_stripes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from calreg.domain import BoolArray

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
    dq : ndarray of uint32, shape (ny, nx)
        Data quality bits of the jwst pipeline.

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
    """Take stripes off, first roughly, for a mask, then with that mask; return the mask too."""
    columns = AMPLIFIER_COLUMNS if sci.shape[1] == FULL_COLUMNS else sci.shape[1]
    mask, rough = ~usable_pixels(sci, err, dq), sci
    if not mask.all():
        sky = block_sky(sci, mask, box_px)
        rough = remove_stripes(sci, mask, background=sky, amplifier_columns=columns)
    mask = source_mask(rough, err, dq, box=box_px)
    sky = block_sky(sci, mask, box_px)
    return remove_stripes(sci, mask, background=sky, amplifier_columns=columns), mask

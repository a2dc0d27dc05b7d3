"""Sky background of an image, as SExtractor measures it; `sep` is the engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from calreg.errors import DegenerateImageError, MissingExtraError

if TYPE_CHECKING:
    from types import ModuleType

    from numpy.typing import NDArray

    from calreg.domain import BoolArray
    from calreg.science.photometry.planes import ImagePlanes
    from calreg.science.photometry.settings import DetectionSettings


@dataclass(frozen=True)
class SkyBackground:
    """Background of an image: a smooth map and its noise.

    Attributes
    ----------
    level : float
        Global level [unit of the image].
    rms : float
        Global noise of a pixel [unit of the image], the median over the boxes.
    """

    level: float
    rms: float
    _engine: Any = field(repr=False, compare=False)

    def subtracted(self, planes: ImagePlanes, is_bad: BoolArray) -> NDArray[np.float32]:
        """Return a copy of the pixels without the background.

        Parameters
        ----------
        planes : ImagePlanes
            The image that the background was measured on.
        is_bad : ndarray of bool, shape (ny, nx)
            Pixels that become zero, which is the background's level.

        Returns
        -------
        ndarray of float32, shape (ny, nx)
            Finite throughout [unit of the image].
        """
        pixels = planes.sci.copy()
        self._engine.subfrom(pixels)
        pixels[is_bad] = 0.0
        return pixels


def require_sep() -> ModuleType:
    """Import the engine, or raise `MissingExtraError` that says how to get it."""
    try:
        import sep
    except ImportError as error:
        msg = "photometry needs sep, which is not installed; run: pip install 'calreg[photometry]'"
        raise MissingExtraError(msg) from error
    module: ModuleType = sep
    return module


def unusable_pixels(planes: ImagePlanes) -> BoolArray:
    """Find the pixels that must not enter a sum.

    Returns
    -------
    ndarray of bool, shape (ny, nx)
        Marked bad, not finite, or with an error that is not positive and finite.

    Raises
    ------
    DegenerateImageError
        If no pixel is left, or all that are left are saturated.
    """
    is_bad = np.isfinite(planes.sci)
    np.logical_not(is_bad, out=is_bad)
    is_bad |= planes.is_bad
    if planes.err is not None:
        has_error = planes.err > 0.0
        has_error &= np.isfinite(planes.err)
        is_bad |= np.logical_not(has_error, out=has_error)
    if bool(is_bad.all()):
        msg = (
            f"none of the {is_bad.size} pixels carries data (all are NaN, without weight, without "
            "a positive error, or DO_NOT_USE): nothing can be measured; leave the image out"
        )
        raise DegenerateImageError(msg)
    if planes.is_saturated is not None and bool((planes.is_saturated | is_bad).all()):
        msg = (
            f"all of the {is_bad.size} pixels are saturated or carry no data: nothing can be "
            "measured; leave the image out"
        )
        raise DegenerateImageError(msg)
    return is_bad


def measure_background(
    planes: ImagePlanes, settings: DetectionSettings, is_bad: BoolArray | None = None
) -> SkyBackground:
    """Measure the sky in boxes, as SExtractor does with BACKPHOTO_TYPE GLOBAL.

    Parameters
    ----------
    is_bad : ndarray of bool, shape (ny, nx), or None
        What `unusable_pixels` found; None looks for them.

    Raises
    ------
    DegenerateImageError
        If there is no usable pixel, or no noise to set a threshold by.
    MissingExtraError
        If `sep` is not installed.
    """
    sep = require_sep()
    bad = unusable_pixels(planes) if is_bad is None else is_bad
    engine = sep.Background(
        planes.sci,
        mask=bad if bool(bad.any()) else None,
        bw=settings.background_box_pixels,
        bh=settings.background_box_pixels,
        fw=settings.background_filter_boxes,
        fh=settings.background_filter_boxes,
    )
    rms = float(engine.globalrms)
    # The engine answers 1 where no box has any noise.
    if not np.isfinite(rms) or (rms == 1.0 and not engine.rms(dtype=np.float32).any()):
        msg = (
            "the background has no noise (the pixels between sources are all equal): there is "
            "nothing to set the threshold or the errors by; is this a real image?"
        )
        raise DegenerateImageError(msg)
    return SkyBackground(float(engine.globalback), rms, engine)

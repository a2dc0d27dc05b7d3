"""An image as photometry takes it: its planes, and its sky background as SExtractor measures it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from calreg.errors import DegenerateImageError, MissingExtraError

if TYPE_CHECKING:
    from types import ModuleType

    from numpy.typing import NDArray

    from calreg.domain import BoolArray
    from calreg.science.photometry.settings import DetectionSettings

_Pixel = TypeVar("_Pixel", bound=np.generic)


@dataclass(frozen=True)
class ImagePlanes:
    """Pixels of one image; all planes have shape (ny, nx).

    Attributes
    ----------
    sci : ndarray of float32
        Surface brightness, or any unit that fluxes are sums of. Native byte order, contiguous.
    is_bad : ndarray of bool
        Pixels that carry no data: NaN, without weight, or DO_NOT_USE.
    err : ndarray of float32 or None
        One sigma of each pixel in the unit of `sci`, Poisson noise included.
    is_saturated : ndarray of bool or None
        Pixels where a contributing exposure was saturated.
    gain : float or None
        Electrons per unit of `sci`, for the Poisson noise where `err` is not known.
    """

    sci: NDArray[np.float32] = field(repr=False)
    is_bad: NDArray[np.bool_] = field(repr=False)
    err: NDArray[np.float32] | None = field(repr=False, default=None)
    is_saturated: NDArray[np.bool_] | None = field(repr=False, default=None)
    gain: float | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns."""
        return self.sci.shape[0], self.sci.shape[1]

    def cutout(self, x0: int, y0: int, nx: int, ny: int) -> ImagePlanes:
        """Return `nx` by `ny` pixels from (`x0`, `y0`) on; what lies outside carries no data."""
        if (x0, y0, ny, nx) == (0, 0, *self.shape):
            return self
        return replace(
            self,
            sci=_cut(self.sci, x0, y0, nx, ny, np.nan),
            is_bad=_cut(self.is_bad, x0, y0, nx, ny, True),
            err=None if self.err is None else _cut(self.err, x0, y0, nx, ny, np.nan),
            is_saturated=None
            if self.is_saturated is None
            else _cut(self.is_saturated, x0, y0, nx, ny, False),
        )


def _cut(
    plane: NDArray[_Pixel], x0: int, y0: int, nx: int, ny: int, fill: float
) -> NDArray[_Pixel]:
    """Cut a window out of a plane; `fill` stands where the plane does not reach."""
    window = np.full((ny, nx), fill, dtype=plane.dtype)
    rows = slice(max(y0, 0), min(y0 + ny, plane.shape[0]))
    columns = slice(max(x0, 0), min(x0 + nx, plane.shape[1]))
    if rows.stop > rows.start and columns.stop > columns.start:
        window[rows.start - y0 : rows.stop - y0, columns.start - x0 : columns.stop - x0] = plane[
            rows, columns
        ]
    return window


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

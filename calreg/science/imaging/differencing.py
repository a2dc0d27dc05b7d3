"""Difference images of two epochs: stack mosaics, subtract, smooth, and measure what is left.

Planes have the shape of one common grid. The difference is the second epoch minus the first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from calreg.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from calreg.domain import BoolArray
    from calreg.science.photometry.planes import ImagePlanes

SMOOTHING_RADIUS_PX = 6
"""Radius of the circular kernel for display (Ma et al. 2024, Fig. 2)."""

_ROWS_AT_ONCE = 512


@dataclass(frozen=True)
class Layer:
    """One mosaic, on its own rectangle of the common pixels.

    Attributes
    ----------
    planes : ImagePlanes
        Background subtracted; zero where bad.
    weight : ndarray of float32, shape (ny, nx), or float
        Relative to other mosaics of its epoch.
    factor : ndarray of float32, shape (ny, nx), float, or None
        What its pixels are to be multiplied by; None where nothing is corrected.
    x0, y0 : int
        Its first pixel on the common grid; may be negative.
    place : int
        Number of its array among those of the instrument, below 16.
    """

    planes: ImagePlanes = field(repr=False)
    weight: NDArray[np.float32] | float = field(repr=False)
    factor: NDArray[np.float32] | float | None = field(repr=False)
    x0: int
    y0: int
    place: int


@dataclass(frozen=True)
class EpochImage:
    """The mosaics of one epoch, averaged.

    Attributes
    ----------
    before, after : ndarray of float32, shape (ny, nx)
        Mean of the mosaics as they are and of the corrected ones; zero where bad. `after` is None
        where nothing is corrected.
    err : ndarray of float32, shape (ny, nx), or None
        One sigma of `before`, None where a mosaic has no errors.
    is_bad, is_saturated : ndarray of bool, shape (ny, nx)
        No mosaic has data there; one is saturated there.
    arrays : ndarray of uint16, shape (ny, nx)
        Bit by array: it contributed.
    """

    before: NDArray[np.float32] = field(repr=False)
    after: NDArray[np.float32] | None = field(repr=False)
    err: NDArray[np.float32] | None = field(repr=False)
    is_bad: BoolArray = field(repr=False)
    is_saturated: BoolArray = field(repr=False)
    arrays: NDArray[np.uint16] = field(repr=False)


class EpochStack:
    """A weighted mean of mosaics, one in memory at a time.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the common grid.
    is_corrected : bool
        Whether layers bring factors.

    Notes
    -----
    The variance is that of the mean of independent pixels; mosaics of different arrays are.
    """

    def __init__(self, shape: tuple[int, int], *, is_corrected: bool) -> None:
        self._weight = np.zeros(shape, dtype=np.float32)
        self._before = np.zeros(shape, dtype=np.float32)
        self._after = np.zeros(shape, dtype=np.float32) if is_corrected else None
        self._variance: NDArray[np.float32] | None = np.zeros(shape, dtype=np.float32)
        self._is_saturated = np.zeros(shape, dtype=np.bool_)
        self._arrays = np.zeros(shape, dtype=np.uint16)

    def add(self, layer: Layer) -> None:
        """Add a mosaic; what lies outside of the common grid is left out."""
        cut = _overlap(layer, self._weight.shape)
        if cut is None:
            return
        ours, theirs = cut
        planes = layer.planes
        good = ~planes.is_bad[theirs]
        weight = _part(layer.weight, theirs) * good
        flux = planes.sci[theirs] * weight
        self._weight[ours] += weight
        self._before[ours] += flux
        if self._after is not None:
            if layer.factor is None:
                msg = "a mosaic has no factor: expected one for each, or none at all"
                raise InvalidValueError(msg)
            self._after[ours] += flux * _part(layer.factor, theirs)
        if planes.err is None:
            self._variance = None
        elif self._variance is not None:
            noise = np.where(good, planes.err[theirs], np.float32(0.0)) * weight
            self._variance[ours] += noise * noise
        if planes.is_saturated is not None:
            self._is_saturated[ours] |= planes.is_saturated[theirs]
        self._arrays[ours] |= np.where(good & (weight > 0.0), 1 << layer.place, 0).astype(np.uint16)

    def finish(self) -> EpochImage:
        """Return the mean; the stack is used up."""
        is_bad = ~(self._weight > 0.0)
        self._weight[is_bad] = 1.0
        for plane in (self._before, self._after):
            if plane is not None:
                plane /= self._weight
        err = self._variance
        if err is not None:
            np.sqrt(err, out=err)
            err /= self._weight
        return EpochImage(self._before, self._after, err, is_bad, self._is_saturated, self._arrays)


def _part(plane: NDArray[np.float32] | float, window: tuple[slice, slice]) -> NDArray[np.float32]:
    """Return a window of a plane, or the number that stands for it."""
    return np.asarray(plane[window] if isinstance(plane, np.ndarray) else plane, dtype=np.float32)


def _overlap(
    layer: Layer, shape: tuple[int, ...]
) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
    """Return rows and columns that a layer shares with the common grid, on either."""
    ours, theirs = [], []
    for start, length, limit in zip((layer.y0, layer.x0), layer.planes.shape, shape, strict=True):
        low, high = max(start, 0), min(start + length, limit)
        if low >= high:
            return None
        ours.append(slice(low, high))
        theirs.append(slice(low - start, high - start))
    return (ours[0], ours[1]), (theirs[0], theirs[1])


@dataclass(frozen=True)
class Difference:
    """The second epoch minus the first; all planes have shape (ny, nx), NaN where either is bad.

    Attributes
    ----------
    before, after : ndarray of float32
        As the mosaics are, and corrected; `after` is None where nothing is corrected.
    err : ndarray of float32 or None
        One sigma of `before`; None where a mosaic has no errors.
    """

    before: NDArray[np.float32] = field(repr=False)
    after: NDArray[np.float32] | None = field(repr=False)
    err: NDArray[np.float32] | None = field(repr=False)


def subtract(first: EpochImage, second: EpochImage) -> Difference:
    """Return second minus first.

    Parameters
    ----------
    first, second : EpochImage
        Of one shape.
    """
    is_bad = first.is_bad | second.is_bad
    before = second.before - first.before
    before[is_bad] = np.nan
    after = None
    if first.after is not None and second.after is not None:
        after = second.after - first.after
        after[is_bad] = np.nan
    err = None
    if first.err is not None and second.err is not None:
        err = np.hypot(first.err, second.err)
        err[is_bad] = np.nan
    return Difference(before, after, err)


def smooth(image: NDArray[np.float32], radius_px: int = SMOOTHING_RADIUS_PX) -> NDArray[np.float32]:
    """Average an image over a circle.

    Parameters
    ----------
    image : ndarray of float32, shape (ny, nx)
        NaN where there is no data.
    radius_px : int
        Radius of the circle [pixel].

    Returns
    -------
    ndarray of float32, shape (ny, nx)
        Mean of the pixels with data within the radius; NaN where the pixel itself has none.
    """
    from astropy.convolution import Tophat2DKernel, convolve

    kernel = Tophat2DKernel(radius_px)
    margin = kernel.shape[0] // 2
    smoothed = np.empty_like(image)
    for start in range(0, image.shape[0], _ROWS_AT_ONCE):
        stop = min(start + _ROWS_AT_ONCE, image.shape[0])
        low, high = max(start - margin, 0), min(stop + margin, image.shape[0])
        block = image[low:high]
        if np.isnan(block).all():
            smoothed[start:stop] = np.nan
            continue
        mean = convolve(
            block,
            kernel,
            boundary="fill",
            fill_value=np.nan,
            nan_treatment="interpolate",
            preserve_nan=True,
        )
        smoothed[start:stop] = mean[start - low : stop - low]
    return smoothed


def half_map(
    first: EpochImage, second: EpochImage, halves: Sequence[tuple[int, int]]
) -> NDArray[np.uint8]:
    """Say which half of the field a pixel is in.

    Parameters
    ----------
    halves : sequence of (int, int)
        For each half, bits of the arrays that see it in the first and in the second epoch.

    Returns
    -------
    ndarray of uint8, shape (ny, nx)
        1 for the first half and so on; 0 where an epoch has no data, or arrays of both modules.
    """
    found = np.zeros(first.arrays.shape, dtype=np.uint8)
    for number, (bits_first, bits_second) in enumerate(halves, start=1):
        is_in = _is_only(first.arrays, bits_first) & _is_only(second.arrays, bits_second)
        found[is_in] = number
    return found


def _is_only(arrays: NDArray[np.uint16], bits: int) -> BoolArray:
    """Tell where some of the bits are set and no other."""
    return np.asarray((arrays != 0) & ((arrays & np.uint16(~bits & 0xFFFF)) == 0))

"""Difference images of two epochs: stack mosaics, subtract, smooth, and measure what is left.

Planes have the shape of one common grid. The difference is the second epoch minus the first.

What is left of sources is a fraction of their flux. The isophotes are those of the mean of both
epochs, so that they favour neither. Over- and under-subtraction of one source is
``2 (f_2 - f_1) / (f_2 + f_1)``, both inside one isophote: it is the magnitude difference over
-1.0857, and background noise, blends and colours drop out of its median. Measured in the image
itself, it holds the pixels to account, and not the catalogs that the correction was fitted to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from calreg.errors import InvalidValueError
from calreg.flags import DetectionFlag
from calreg.science.model.offsets import patch_statistics
from calreg.science.photometry.detection import detect_sources
from calreg.science.photometry.image import ImagePlanes
from calreg.science.photometry.isophotes import sum_isophotes
from calreg.science.photometry.settings import DetectionSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from calreg.domain import BoolArray
    from calreg.units import FloatArray

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
    """The second epoch minus the first; all planes have shape (ny, nx), NaN where either is bad."""

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
    """Map which half of the field each pixel is in.

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
    """Mark where some of the bits are set and no other."""
    return np.asarray((arrays != 0) & ((arrays & np.uint16(~bits & 0xFFFF)) == 0))


# --- what is left of sources --------------------------------------------------------------------

ISOPHOTES = DetectionSettings(threshold_sigma=3.0, min_area_pixels=9)
"""Bright sources are asked for, and need no deeper isophotes."""

MIN_SNR = 100.0
"""S/N of the mean of both epochs inside the isophote (Ma et al. 2024, section 3.1)."""

_N_BITS = 16
_UNUSABLE = int(DetectionFlag.SATURATED | DetectionFlag.TRUNCATED)


@dataclass(frozen=True)
class MedianResidual:
    """Median fractional residual of some sources.

    Attributes
    ----------
    median, mad, err : float
        Median of 2 (f_2 - f_1) / (f_2 + f_1), its median absolute deviation, and the standard error
        of the median; NaN for too few sources.
    """

    n: int
    median: float
    mad: float
    err: float


@dataclass(frozen=True)
class SourceResiduals:
    """Bright sources in the isophotes of two epochs; columns have shape (n_sources,).

    Attributes
    ----------
    before, after : ndarray of float64
        Fractional residual, second epoch minus first, as the mosaics are and corrected; `after` is
        None where nothing is corrected.
    x, y : ndarray of float64
        Isophotal centroid [0-based pixels of the common grid].
    arrays_first, arrays_second : ndarray of int64
        Bits of the arrays that contributed anywhere in the isophote.
    """

    before: FloatArray = field(repr=False)
    after: FloatArray | None = field(repr=False)
    x: FloatArray = field(repr=False)
    y: FloatArray = field(repr=False)
    arrays_first: NDArray[np.int64] = field(repr=False)
    arrays_second: NDArray[np.int64] = field(repr=False)

    def seen_by(self, bits_first: int, bits_second: int) -> BoolArray:
        """Select the sources that only some arrays saw, in either epoch."""
        return np.asarray(
            ((self.arrays_first & ~bits_first) == 0) & ((self.arrays_second & ~bits_second) == 0)
        )


def measure_residuals(
    first: EpochImage,
    second: EpochImage,
    *,
    min_snr: float = MIN_SNR,
    noise_correlation: float = 1.0,
) -> SourceResiduals:
    """Measure the fractional residuals of bright sources.

    Parameters
    ----------
    first, second : EpochImage
        On one grid.
    min_snr : float
        Smallest S/N of a source in the mean of both.
    noise_correlation : float
        Noise of a sum over many pixels, relative to the root of their summed squared errors.

    Returns
    -------
    SourceResiduals
        Of sources whose isophotes neither hold nor touch saturated pixels or pixels without data.

    Raises
    ------
    DegenerateImageError
        If no pixel has data in both epochs, or there is no source.
    """
    is_bad = first.is_bad | second.is_bad
    planes = ImagePlanes(
        sci=_mean(first.before, second.before, is_bad),
        is_bad=is_bad,
        is_saturated=first.is_saturated | second.is_saturated,
    )
    detected = detect_sources(planes, ISOPHOTES)
    sums = _Sums(detected.segmentation, is_bad, detected.n_sources)
    flux = sums.of(planes.sci)
    noise = detected.sky.rms * np.sqrt(detected.n_pixels)
    if first.err is not None and second.err is not None:
        noise = 0.5 * np.hypot(sums.noise(first.err), sums.noise(second.err))
    noise *= noise_correlation
    is_bright = (flux > 0.0) & (flux >= min_snr * noise) & ((detected.flags & _UNUSABLE) == 0)
    after = None
    if first.after is not None and second.after is not None:
        after = sums.fraction(first.after, second.after)[is_bright]
    return SourceResiduals(
        before=sums.fraction(first.before, second.before)[is_bright],
        after=after,
        x=detected.ellipses.x[is_bright],
        y=detected.ellipses.y[is_bright],
        arrays_first=sums.bits(first.arrays)[is_bright],
        arrays_second=sums.bits(second.arrays)[is_bright],
    )


def median_residual(fractions: FloatArray) -> MedianResidual:
    """Return number, median, MAD and error of fractional residuals.

    Parameters
    ----------
    fractions : ndarray of float64, shape (n,)
        Finite.
    """
    found = patch_statistics(fractions)
    return MedianResidual(found.n, found.median_mag, found.mad_mag, found.median_err_mag)


def _mean(
    first: NDArray[np.float32], second: NDArray[np.float32], is_bad: BoolArray
) -> NDArray[np.float32]:
    """Return the mean of two images, zero where bad."""
    mean = first + second
    mean *= np.float32(0.5)
    mean[is_bad] = 0.0
    return mean


class _Sums:
    """Sums over isophotes."""

    def __init__(self, segmentation: NDArray[np.int32], is_bad: BoolArray, n: int) -> None:
        self._segmentation, self._is_bad, self._n = segmentation, is_bad, n

    def of(self, image: NDArray[np.float32]) -> FloatArray:
        """Return the sum over every isophote."""
        return sum_isophotes(self._segmentation, image, None, self._is_bad, self._n).flux

    def noise(self, err: NDArray[np.float32]) -> FloatArray:
        """Return the root of the summed squares of errors over every isophote."""
        sums = sum_isophotes(self._segmentation, err, err, self._is_bad, self._n)
        return np.asarray(np.sqrt(sums.variance))

    def fraction(self, first: NDArray[np.float32], second: NDArray[np.float32]) -> FloatArray:
        """Return ``2 (second - first) / (second + first)`` of the sums; NaN where not positive."""
        flux_1, flux_2 = self.of(first), self.of(second)
        mean = 0.5 * (flux_1 + flux_2)
        fraction = np.full(self._n, np.nan)
        np.divide(flux_2 - flux_1, mean, out=fraction, where=mean > 0.0)
        return fraction

    def bits(self, arrays: NDArray[np.uint16]) -> NDArray[np.int64]:
        """Return the bits that are set anywhere in every isophote."""
        inside = np.flatnonzero(self._segmentation)
        owner = self._segmentation.ravel()[inside] - 1
        words = arrays.ravel()[inside]
        found = np.zeros(self._n, dtype=np.int64)
        for bit in range(_N_BITS):
            is_set = (words >> bit) & 1
            if is_set.any():
                count = np.bincount(owner, is_set, minlength=self._n)
                found |= np.where(count > 0, 1 << bit, 0)
        return found


RESIDUAL_LIMIT = 0.005
"""A median fractional residual above it is worth a warning, after a correction."""


_MIN_SHARE = 0.05
"""Of the common pixels: a smaller part of the field is the overlap of two modules, and no half."""


_MIN_SIGMA = 3.0


@dataclass(frozen=True)
class ResidualRow:
    """Over- or under-subtraction of sources in one part of a difference image.

    Attributes
    ----------
    epoch_a, epoch_b : str
        The difference is B minus A.
    half : str
        Modules that saw it: ``B then A`` is module B in epoch A, module A in epoch B.
    array_a, array_b : str
        Arrays that saw it in either epoch; empty for the whole half.
    pa_deg : float
        Direction of the half from the middle of the field [deg, north over east].
    before_median, before_err, before_mad : float or None
        Median of 2 (f_B - f_A) / (f_B + f_A), its standard error, and the median absolute
        deviation; positive: under-subtracted; None for too few sources.
    after_median, after_err, after_mad : float or None
        The same after the correction; None without one.
    """

    field: str
    pmap: str
    band: str
    epoch_a: str
    epoch_b: str
    half: str
    array_a: str
    array_b: str
    pa_deg: float
    n_sources: int
    before_median: float | None
    before_err: float | None
    before_mad: float | None
    after_median: float | None
    after_err: float | None
    after_mad: float | None
    file: str

    @property
    def is_left(self) -> bool:
        """Whether a correction leaves more than the limit, and more than errors explain."""
        if self.after_median is None or self.after_err is None:
            return False
        return abs(self.after_median) > max(RESIDUAL_LIMIT, _MIN_SIGMA * self.after_err)

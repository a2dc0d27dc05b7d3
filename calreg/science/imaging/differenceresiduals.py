"""What is left of sources in a difference image, as a fraction of their flux.

The isophotes are those of the mean of both epochs, so that they favour neither. Over- and
under-subtraction of one source is ``2 (f_2 - f_1) / (f_2 + f_1)``, both inside one isophote: it is
the magnitude difference over -1.0857, and background noise, blends and colours drop out of its
median. Measured in the image itself, it holds the pixels to account, and not the catalogs that the
correction was fitted to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from calreg.flags import DetectionFlag
from calreg.science.model.offsets import patch_statistics
from calreg.science.photometry.detection import detect_sources
from calreg.science.photometry.isophotes import sum_isophotes
from calreg.science.photometry.planes import ImagePlanes
from calreg.science.photometry.settings import DetectionSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from calreg.domain import BoolArray
    from calreg.science.imaging.differencing import EpochImage
    from calreg.units import FloatArray

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
        """Tell which sources were seen by no other arrays than some, in either epoch."""
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
    MissingExtraError
        If `sep` is not installed.
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
    file : str
        Name of the difference image.
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

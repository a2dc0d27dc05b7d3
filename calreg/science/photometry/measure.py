"""Matched-aperture photometry: detect on one image, measure others inside the same isophotes.

`calreg.science.photometry.detection.detect_sources` finds the sources once, `measure_sources` sums
any image
of the same pixel grid over them, as SExtractor does in dual-image mode (Bertin & Arnouts 1996, A&AS
117, 393).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from calreg.errors import InvalidValueError
from calreg.flags import DetectionFlag
from calreg.science.photometry.apertures import (
    ApertureSums,
    SubtractedImage,
    half_light_radii,
    sum_circles,
    sum_kron_ellipses,
    windowed_centroids,
)
from calreg.science.photometry.image import SkyBackground, measure_background, unusable_pixels
from calreg.science.photometry.isophotes import sum_isophotes, touching_flags
from calreg.science.photometry.neighbours import CROWDED_FRACTION

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from calreg.domain import BoolArray, IntArray
    from calreg.science.photometry.detection import DetectedSources
    from calreg.science.photometry.image import ImagePlanes
    from calreg.science.photometry.settings import DetectionSettings
    from calreg.units import FloatArray


@dataclass(frozen=True, kw_only=True)
class SourceFluxes:
    """What is measured of every source of an image; all columns have shape (n,).

    Fluxes and errors are in the unit of the image (for MJy/sr times pixels); magnitudes are made
    from them by `calreg.science.photometry.calibrate.calibrate_catalog`.

    Attributes
    ----------
    flux_iso, flux_err_iso : ndarray of float64
        Sum over the isophote of the detection image.
    flux_auto, flux_err_auto : ndarray of float64
        Sum in the Kron ellipse of the detection image.
    flux_aper, flux_err_aper : ndarray of float64
        Sum in the fixed aperture around the isophotal centroid.
    snr : ndarray of float64
        ``flux_iso / flux_err_iso``; NaN where no pixel of the isophote has data.
    x_win, y_win : ndarray of float64
        Windowed centroid on this image [0-based pixels].
    is_windowed : ndarray of bool
        False where that failed and the isophotal centroid of the detection image stands for it.
    r_half_px : ndarray of float64
        Radius that holds half of `flux_auto` on this image [pixels]; NaN without positive flux.
    flags : ndarray of int64
        Bits of `DetectionFlag`, of the detection image and of this one.
    """

    flux_iso: FloatArray = field(repr=False)
    flux_err_iso: FloatArray = field(repr=False)
    flux_auto: FloatArray = field(repr=False)
    flux_err_auto: FloatArray = field(repr=False)
    flux_aper: FloatArray = field(repr=False)
    flux_err_aper: FloatArray = field(repr=False)
    snr: FloatArray = field(repr=False)
    x_win: FloatArray = field(repr=False)
    y_win: FloatArray = field(repr=False)
    is_windowed: BoolArray = field(repr=False)
    r_half_px: FloatArray = field(repr=False)
    flags: IntArray = field(repr=False)

    @property
    def n_sources(self) -> int:
        """How many there are."""
        return int(self.flux_iso.size)


@dataclass(frozen=True, kw_only=True)
class MeasuredSources(SourceFluxes):
    """Photometry of an image; row i is number i + 1.

    Attributes
    ----------
    noise_from : str
        ``err``: errors from the error plane; ``gain``: noise of the background, and Poisson noise
        by the gain; ``background``: noise of the background alone.
    """

    sky: SkyBackground
    noise_from: str


def measure_sources(
    detected: DetectedSources,
    planes: ImagePlanes,
    settings: DetectionSettings,
    *,
    scale_arcsec: float,
    sky: SkyBackground | None = None,
) -> MeasuredSources:
    """Measure an image inside the isophotes of a detection image.

    Parameters
    ----------
    planes : ImagePlanes
        The measured image, on the pixels of the detection image.
    scale_arcsec : float
        Side of a pixel [arcsec], for the fixed aperture.
    sky : SkyBackground or None
        Background of this image where it is known, as it is (``detected.sky``) where the detection
        image itself is measured; None measures it.

    Returns
    -------
    MeasuredSources
        Pixels without data are left out of every sum. The isophote that holds one is flagged
        `ISOPHOTE_INCOMPLETE` and `TRUNCATED`, an aperture that does or leaves the image
        `APERTURE_INCOMPLETE`.

    Raises
    ------
    DegenerateImageError
        If the image has no usable pixel, is saturated throughout, or has no noise.
    InvalidValueError
        If its shape is not that of the detection image, or the scale is not positive.

    Notes
    -----
    Errors: with an error plane, its squares are summed over the pixels; it holds the noise of the
    background and of the photons. Without one, the variance is that of the background (its global
    rms) times the area, as SExtractor has it with WEIGHT_TYPE NONE, plus the flux over the gain
    where a gain is known. Neither knows that the pixels of a drizzled mosaic share noise: sums over
    many pixels are then less certain than stated, by a factor that depends on pixfrac and scale
    (Fruchter & Hook 2002, PASP 114, 144, section 7).
    """
    if planes.shape != detected.shape:
        msg = (
            f"the measured image has {planes.shape[1]} x {planes.shape[0]} pixels, the detection "
            f"image {detected.shape[1]} x {detected.shape[0]}: expected the same grid"
        )
        raise InvalidValueError(msg)
    if not scale_arcsec > 0.0:
        msg = f"the scale is {scale_arcsec:g} arcsec per pixel: expected a positive number"
        raise InvalidValueError(msg)
    is_bad = unusable_pixels(planes)
    if sky is None:
        sky = measure_background(planes, settings, is_bad)
    image = SubtractedImage(
        pixels=sky.subtracted(planes, is_bad),
        is_bad=is_bad,
        has_bad=bool(is_bad.any()),
        err=_clean_errors(planes, is_bad),
        rms=sky.rms,
        gain=planes.gain,
    )
    return _measure(detected, planes, image, sky, settings.aperture_radius_arcsec / scale_arcsec)


def _measure(
    detected: DetectedSources,
    planes: ImagePlanes,
    image: SubtractedImage,
    sky: SkyBackground,
    radius_px: float,
) -> MeasuredSources:
    """Measure an image without background."""
    segmentation, ellipses, n = detected.segmentation, detected.ellipses, detected.n_sources
    iso = sum_isophotes(segmentation, image.pixels, image.err, image.is_bad, n)
    variance = iso.variance
    if image.err is None:
        variance = iso.n_usable.astype(np.float64) * image.rms**2
    flux_err_iso = image.flux_error(iso.flux, variance)
    auto = sum_kron_ellipses(image, segmentation, ellipses, detected.kron_radius, detected.mirrored)
    circles = detected.circles(radius_px)
    aper = sum_circles(image, segmentation, ellipses, radius_px, circles)
    r_half_px = half_light_radii(image, segmentation, ellipses, auto.flux)
    x_win, y_win, is_windowed = windowed_centroids(image, ellipses, r_half_px)
    flags = detected.flags | touching_flags(segmentation, planes, image.is_bad, n)
    flags |= _aperture_flags(auto, aper)
    flags[iso.n_usable < detected.n_pixels] |= int(DetectionFlag.ISOPHOTE_INCOMPLETE)
    snr = np.full(n, np.nan)
    np.divide(iso.flux, flux_err_iso, out=snr, where=flux_err_iso > 0.0)
    return MeasuredSources(
        flux_iso=iso.flux,
        flux_err_iso=flux_err_iso,
        flux_auto=auto.flux,
        flux_err_auto=auto.flux_err,
        flux_aper=aper.flux,
        flux_err_aper=aper.flux_err,
        snr=snr,
        x_win=x_win,
        y_win=y_win,
        is_windowed=is_windowed,
        r_half_px=r_half_px,
        flags=flags,
        sky=sky,
        noise_from=_noise_from(image),
    )


def _aperture_flags(auto: ApertureSums, aper: ApertureSums) -> IntArray:
    """Return the bits that apertures set."""
    flags = np.zeros(auto.flux.size, dtype=np.int64)
    is_incomplete = auto.is_incomplete | aper.is_incomplete
    flags[is_incomplete] |= int(DetectionFlag.APERTURE_INCOMPLETE)
    flags[auto.bad_fraction > CROWDED_FRACTION] |= int(DetectionFlag.NEIGHBOUR)
    return flags


def _clean_errors(planes: ImagePlanes, is_bad: BoolArray) -> NDArray[np.float32] | None:
    """Return the errors, zero where bad; the plane itself where nothing is."""
    if planes.err is None or not bool(is_bad.any()):
        return planes.err
    err = planes.err.copy()
    err[is_bad] = 0.0
    return err


def _noise_from(image: SubtractedImage) -> str:
    """Return the origin of the errors."""
    if image.err is not None:
        return "err"
    return "background" if image.gain is None or image.gain <= 0.0 else "gain"

"""Mean detector and focal-plane positions of sources over the exposures that cover them.

A mosaic of dithered exposures averages the places on the detector that saw a source. Near the edges
of the array only some dithers contribute, so that the mean place is not that of the pattern's
middle, and a gradient fixed to the detector is shallower against the sky than against these means.

Pixels are 0-based (x, y) of the whole detector in science orientation (as in a `cal` file); V2 and
V3 are the telescope's angles [arcsec]; sky positions are ICRS [deg].
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from calreg.science.sky.geometry import local_frame, unit_vectors
from calreg.science.sky.pointing import boresight, reference_point, sky_to_detector
from calreg.units import ARCSEC_PER_DEG

if TYPE_CHECKING:
    from collections.abc import Sequence

    from astropy.wcs import WCS
    from numpy.typing import ArrayLike

    from calreg.domain import BoolArray, IntArray
    from calreg.instruments import Array
    from calreg.science.sky.pointing import Boresight
    from calreg.units import FloatArray

_ROUGH_MARGIN_PIXELS = 128.0
"""Positions farther outside by the linear part of a WCS are outside with its distortion, too: that
moves the corners of NIRCam's detectors by 20 pixels at most."""

_TOLERANCE_PIXELS = 1e-3
"""Last step of an inverted distortion; what is left is some per cent of it."""

_MAX_STEPS = 20
_MIN_COSINE = 1e-6
"""Tangent planes end 90 deg from the reference point."""


class DetectorMap(Protocol):
    """Where sky positions fall on the detector in one exposure."""

    def pixels_of(self, ra_deg: FloatArray, dec_deg: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return pixels (x, y), shape (n,); NaN where a position is far from the detector."""


@dataclass(frozen=True)
class WcsDetector:
    """Pixels by the world coordinates of an exposure, distortion included.

    Attributes
    ----------
    wcs : astropy.wcs.WCS
        Of the exposure, not of a cut-out.
    n_pixels : int
        Pixels on a side of the detector.
    """

    wcs: WCS
    n_pixels: int

    def pixels_of(self, ra_deg: FloatArray, dec_deg: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the pixels of sky positions.

        Returns
        -------
        x, y : ndarray of float64, shape (n,)
            0-based, to 1e-4 pixels; NaN more than 128 pixels outside the detector, or where the
            distortion cannot be inverted.
        """
        x, y = (np.asarray(axis) for axis in self.wcs.wcs_world2pix(ra_deg, dec_deg, 0))
        low, high = -_ROUGH_MARGIN_PIXELS, self.n_pixels + _ROUGH_MARGIN_PIXELS
        is_near = (x > low) & (x < high) & (y > low) & (y < high)
        x, y = np.where(is_near, x, np.nan), np.where(is_near, y, np.nan)
        if self.wcs.has_distortion and is_near.any():
            x[is_near], y[is_near] = self._undistorted(x[is_near], y[is_near])
        return x, y

    def _undistorted(
        self, x_focal: FloatArray, y_focal: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return the pixels that the distortion moves to some places.

        A fixed point: distortion changes by less than a few per cent of a step.
        """
        x, y = x_focal, y_focal
        for _ in range(_MAX_STEPS):
            moved_x, moved_y = self.wcs.pix2foc(x, y, 0)
            step_x, step_y = x_focal - moved_x, y_focal - moved_y
            x, y = x + step_x, y + step_y
            if max(np.abs(step_x).max(), np.abs(step_y).max()) < _TOLERANCE_PIXELS:
                return x, y
        has_ended = np.hypot(step_x, step_y) < _TOLERANCE_PIXELS
        return np.where(has_ended, x, np.nan), np.where(has_ended, y, np.nan)


@dataclass(frozen=True)
class LinearDetector:
    """Pixels by scale, rotation and parity of an array, without distortion.

    Notes
    -----
    Against the SIAF's polynomials (PRDOPSSOC-075) it is right to 5 pixels in the middle half of
    NIRCam's detectors, and to 15 (SW) or 20 pixels (LW) in their corners.
    """

    array: Array
    boresight: Boresight

    def pixels_of(self, ra_deg: FloatArray, dec_deg: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the pixels of sky positions.

        Returns
        -------
        x, y : ndarray of float64, shape (n,)
            0-based; NaN 90 deg or more from the array.
        """
        reference = reference_point(self.array, *self.boresight)
        towards = unit_vectors(reference.ra_ref_deg, reference.dec_ref_deg)
        is_near = unit_vectors(ra_deg, dec_deg) @ towards > _MIN_COSINE
        x, y = np.full((2, is_near.size), np.nan)
        x[is_near], y[is_near] = sky_to_detector(
            ra_deg[is_near], dec_deg[is_near], self.array, *reference
        )
        return x, y


@dataclass(frozen=True)
class CoveringExposure:
    """One exposure of a mosaic.

    Attributes
    ----------
    n_pixels : int
        Pixels on a side of the detector.
    boresight : Boresight or None
        None where the pointing is unknown.
    """

    detector: DetectorMap
    n_pixels: int
    boresight: Boresight | None


@dataclass(frozen=True)
class DetectorPositions:
    """Where detectors saw sources; all arrays have shape (n,), NaN where unknown.

    Attributes
    ----------
    x_det, y_det : ndarray of float64
        Mean 0-based pixel over the exposures that cover a source.
    v2_arcsec, v3_arcsec : ndarray of float64
        Mean focal-plane position over these exposures [arcsec].
    n_exposures : ndarray of int64
        How many exposures these are.
    """

    x_det: FloatArray = field(repr=False)
    y_det: FloatArray = field(repr=False)
    v2_arcsec: FloatArray = field(repr=False)
    v3_arcsec: FloatArray = field(repr=False)
    n_exposures: IntArray = field(repr=False)


def pointing_of(
    v2_ref_arcsec: float,
    v3_ref_arcsec: float,
    ra_ref_deg: float,
    dec_ref_deg: float,
    roll_ref_deg: float,
) -> Boresight | None:
    """Return the boresight by the cards of a reference point, if all of them are known.

    Parameters
    ----------
    v2_ref_arcsec, v3_ref_arcsec : float
        The cards V2_REF and V3_REF [arcsec].

    Returns
    -------
    Boresight or None
        None if one of them is not finite.
    """
    cards = (v2_ref_arcsec, v3_ref_arcsec, ra_ref_deg, dec_ref_deg, roll_ref_deg)
    return boresight(*cards) if np.isfinite(cards).all() else None


def focal_plane(
    ra_deg: ArrayLike, dec_deg: ArrayLike, pointing: Boresight
) -> tuple[FloatArray, FloatArray]:
    """Return the focal-plane positions of sky positions.

    Returns
    -------
    v2_arcsec, v3_arcsec : ndarray of float64, shape (n,)
        Longitude and latitude of the telescope's frame [arcsec].

    Notes
    -----
    An exact rotation (JWST-STScI-001550, SM-12, section 5.1), without velocity aberration, which
    moves sources by less than 0.01 arcsec against the reference point of their detector.
    """
    v1, east, north = local_frame(pointing.ra_v1_deg, pointing.dec_v1_deg)
    pa = np.radians(pointing.pa_v3_deg)
    v2 = np.cos(pa) * east - np.sin(pa) * north
    v3 = np.sin(pa) * east + np.cos(pa) * north
    vectors = unit_vectors(ra_deg, dec_deg)
    lon = np.arctan2(vectors @ v2, vectors @ v1)
    lat = np.arcsin(np.clip(vectors @ v3, -1.0, 1.0))
    return np.degrees(lon) * ARCSEC_PER_DEG, np.degrees(lat) * ARCSEC_PER_DEG


def mean_positions(
    ra_deg: ArrayLike,
    dec_deg: ArrayLike,
    exposures: Sequence[CoveringExposure],
    is_covered: BoolArray | None = None,
) -> DetectorPositions:
    """Average the places on detector and focal plane that saw each source.

    Parameters
    ----------
    is_covered : ndarray of bool, shape (n_exposures, n), optional
        Which exposures contribute at each position; by default those whose detector it falls on.

    Returns
    -------
    DetectorPositions
        NaN where no exposure covers the source; V2 and V3 also where the pointing of one that does
        is unknown.
    """
    ra, dec = np.asarray(ra_deg, float), np.asarray(dec_deg, float)
    total = np.zeros((4, ra.size))
    n_exposures = np.zeros(ra.size, dtype=np.int64)
    for n, exposure in enumerate(exposures):
        chosen = np.arange(ra.size) if is_covered is None else np.flatnonzero(is_covered[n])
        x, y = exposure.detector.pixels_of(ra[chosen], dec[chosen])
        if is_covered is None:
            high = exposure.n_pixels - 0.5
            is_inside = (x >= -0.5) & (x <= high) & (y >= -0.5) & (y <= high)
            chosen, x, y = chosen[is_inside], x[is_inside], y[is_inside]
        v2, v3 = np.full((2, chosen.size), np.nan)
        if exposure.boresight is not None:
            v2, v3 = focal_plane(ra[chosen], dec[chosen], exposure.boresight)
        total[:, chosen] += np.vstack([x, y, v2, v3])
        n_exposures[chosen] += 1
    mean = np.full(total.shape, np.nan)
    np.divide(total, n_exposures, out=mean, where=n_exposures > 0)
    x_det, y_det, v2_arcsec, v3_arcsec = mean
    return DetectorPositions(x_det, y_det, v2_arcsec, v3_arcsec, n_exposures)

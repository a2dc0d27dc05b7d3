"""Mean detector positions over dithers, against pysiaf and against sums done by hand."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pytest

from calreg.instruments import load_instrument
from calreg.science.sky.coverage import (
    CoveringExposure,
    LinearDetector,
    WcsDetector,
    focal_plane,
    mean_positions,
    pointing_of,
)
from calreg.science.sky.grids import Grid
from calreg.science.sky.pointing import Boresight, boresight, detector_to_sky, reference_point
from calreg.simulation.programme import DITHER_OFFSETS_ARCSEC
from support.distorted import distorted_sky

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # pysiaf warns that it cannot look for a newer database
    import pysiaf
    from pysiaf.utils import rotations

if TYPE_CHECKING:
    from calreg.instruments import Array

NIRCAM = load_instrument()
LONG = NIRCAM.arrays["nrcalong"]
N_PIXELS = LONG.n_pixels
POINTINGS = [
    Boresight(265.02, 68.98, 30.0),
    Boresight(0.001, -20.0, 200.0),
    Boresight(359.999, -89.9, 350.0),
]


def dithers(array: Array = LONG) -> list[CoveringExposure]:
    """Return exposures that close the gaps of the detectors, without distortion."""
    exposures = []
    for v2, v3 in DITHER_OFFSETS_ARCSEC:
        pointing = boresight(-v2, -460.0 - v3, 265.0, 69.0, 41.0)
        exposures.append(
            CoveringExposure(LinearDetector(array, pointing), array.n_pixels, pointing)
        )
    return exposures


def random_sky(exposures: list[CoveringExposure], n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return positions spread evenly over the sky that the exposures see."""
    corners = []
    for exposure in exposures:
        assert exposure.boresight is not None
        ends = np.array([-0.5, N_PIXELS - 0.5])
        x, y = (axis.ravel() for axis in np.meshgrid(ends, ends))
        corners.append(detector_to_sky(x, y, LONG, *reference_point(LONG, *exposure.boresight)))
    ra, dec = np.concatenate(corners, axis=1)
    rng = np.random.default_rng(5)
    margin = 0.002
    return (
        rng.uniform(ra.min() - margin, ra.max() + margin, n),
        rng.uniform(dec.min() - margin, dec.max() + margin, n),
    )


# --- one exposure ---------------------------------------------------------------------------------


@pytest.mark.parametrize("pointing", POINTINGS)
@pytest.mark.parametrize("array", [LONG, NIRCAM.arrays["nrcb3"]], ids=lambda array: array.name)
def test_focal_plane_equals_pysiaf(array: Array, pointing: Boresight) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.uniform(1.0, 2048.0, (2, 200))
    v2, v3 = pysiaf.Siaf("NIRCam")[array.aperture].sci_to_tel(x, y)
    sky = rotations.tel_to_sky(rotations.attitude(0.0, 0.0, *pointing), v2, v3)
    ra_deg, dec_deg = (np.asarray(axis.to_value("deg")) for axis in sky)
    # The rotation is exact; pysiaf takes the arcsine of a declination, also beside the pole.
    for found, expected in zip(focal_plane(ra_deg, dec_deg, pointing), (v2, v3), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_the_reference_point_has_the_cards_v2_v3() -> None:
    cards = (LONG.v2_ref_arcsec, LONG.v3_ref_arcsec, 265.11, 65.81, 41.1)
    pointing = pointing_of(*cards)
    assert pointing is not None
    v2, v3 = focal_plane([265.11], [65.81], pointing)
    np.testing.assert_allclose([v2[0], v3[0]], cards[:2], rtol=0, atol=1e-8)


@pytest.mark.parametrize("missing", range(5))
def test_no_pointing_with_a_card_missing(missing: int) -> None:
    cards = [120.0, -527.0, 265.11, 65.81, 41.1]
    cards[missing] = np.nan
    assert pointing_of(*cards) is None


def test_pixels_by_a_distorted_wcs() -> None:
    sky = distorted_sky(265.0, 69.0, 30.0)
    rng = np.random.default_rng(2)
    x, y = rng.uniform(-0.5, 2047.5, (2, 500))
    found = WcsDetector(sky.wcs, 2048).pixels_of(*sky.sky_of(x, y))
    # What the inversion of the SIP terms is asked for.
    np.testing.assert_allclose(found[0], x, rtol=0, atol=1e-4)
    np.testing.assert_allclose(found[1], y, rtol=0, atol=1e-4)


def test_pixels_far_from_the_detector_are_unknown() -> None:
    sky = distorted_sky(265.0, 69.0, 30.0)
    plain = Grid(265.0, 69.0, 0.063, 30.0, 1023.5, 1023.5, 2048, 2048).wcs()
    ra, dec = sky.sky_of(np.array([1000.0, 2300.0]), np.array([1000.0, 1000.0]))
    ra_deg, dec_deg = np.append(ra, 85.0), np.append(dec, -69.0)
    for detector in (
        WcsDetector(sky.wcs, 2048),
        WcsDetector(plain, 2048),
        LinearDetector(LONG, boresight(LONG.v2_ref_arcsec, LONG.v3_ref_arcsec, ra[0], dec[0], 30)),
    ):
        x, y = detector.pixels_of(ra_deg, dec_deg)
        assert np.isfinite([x[0], y[0]]).all()
        assert np.isnan([x[2], y[2]]).all()
    assert np.isnan(WcsDetector(sky.wcs, 2048).pixels_of(ra_deg, dec_deg)[0][1])


# --- dithers --------------------------------------------------------------------------------------


def test_means_over_the_exposures_that_cover_a_source() -> None:
    exposures = dithers()
    ra, dec = random_sky(exposures, 400)
    found = mean_positions(ra, dec, exposures)
    assert set(found.n_exposures) >= {0, 1, 2, 3, 4, 6}
    for n in range(ra.size):
        seen = []
        for exposure in exposures:
            assert exposure.boresight is not None
            (x,), (y,) = exposure.detector.pixels_of(ra[n : n + 1], dec[n : n + 1])
            (v2,), (v3,) = focal_plane(ra[n : n + 1], dec[n : n + 1], exposure.boresight)
            if -0.5 <= x <= N_PIXELS - 0.5 and -0.5 <= y <= N_PIXELS - 0.5:
                seen.append((x, y, v2, v3))
        assert found.n_exposures[n] == len(seen)
        expected = np.mean(seen, axis=0) if seen else np.full(4, np.nan)
        mean = (found.x_det[n], found.y_det[n], found.v2_arcsec[n], found.v3_arcsec[n])
        # Sums of six numbers of a few thousand.
        np.testing.assert_allclose(mean, expected, rtol=0, atol=1e-9)


def test_the_given_coverage_counts() -> None:
    exposures = dithers()[:2]
    assert exposures[1].boresight is not None
    (ra,), (dec,) = detector_to_sky(
        [1000.0], [1000.0], LONG, *reference_point(LONG, *exposures[1].boresight)
    )
    everywhere = np.full(3, ra), np.full(3, dec)
    is_covered = np.array([[True, False, False], [True, True, False]])
    found = mean_positions(*everywhere, exposures, is_covered)
    assert found.n_exposures.tolist() == [2, 1, 0]
    x_first = exposures[0].detector.pixels_of(*everywhere)[0][0]
    expected = [0.5 * (x_first + 1000.0), 1000.0, np.nan]
    np.testing.assert_allclose(found.x_det, expected, rtol=0, atol=1e-6)


def test_an_unknown_pointing_leaves_the_focal_plane_unknown() -> None:
    known, other = dithers()[:2]
    exposures = [known, CoveringExposure(other.detector, other.n_pixels, None)]
    ra, dec = random_sky(dithers()[:2], 200)
    found = mean_positions(ra, dec, exposures)
    alone = mean_positions(ra, dec, [known])
    both = found.n_exposures - alone.n_exposures == 1
    assert both.any()
    assert np.isfinite(found.x_det[found.n_exposures > 0]).all()
    assert np.isnan(found.v2_arcsec[both]).all()
    only = (found.n_exposures == 1) & ~both
    np.testing.assert_array_equal(found.v2_arcsec[only], alone.v2_arcsec[only])


def test_a_detector_gradient_is_one_third_shallower_against_the_sky() -> None:
    """Six dithers of one array, and a zero point that runs linearly across its columns."""
    exposures = dithers()
    ra, dec = random_sky(exposures, 6000)
    found = mean_positions(ra, dec, exposures)
    is_seen = found.n_exposures > 0
    x_arcmin = (found.x_det[is_seen] - 1023.5) * LONG.x_scale_arcsec / 60.0
    per_arcmin = 0.02
    # A mosaic averages what its members see; magnitudes of a few per cent add like fluxes.
    dmag = per_arcmin * x_arcmin
    # The sky in the same direction, as a detector sees it that is not dithered.
    fixed = LinearDetector(LONG, boresight(0.0, -460.0, 265.0, 69.0, 41.0))
    x_fixed, _ = fixed.pixels_of(ra[is_seen], dec[is_seen])
    sky_arcmin = (x_fixed - 1023.5) * LONG.x_scale_arcsec / 60.0

    def slope(coordinate: np.ndarray, chosen: np.ndarray) -> float:
        """Return the fitted gradient over the true one."""
        return float(np.polyfit(coordinate[chosen], dmag[chosen], 1)[0]) / per_arcmin

    everywhere = np.ones(sky_arcmin.size, dtype=np.bool_)
    half_array, step = 0.5 * N_PIXELS * LONG.x_scale_arcsec / 60.0, 24.6 / 60.0
    inner = np.abs(sky_arcmin) < half_array - step
    outer = sky_arcmin > half_array - step
    assert slope(x_arcmin, everywhere) == pytest.approx(1.0, rel=1e-9)
    # Exposures stand in three columns, h = 24.6 arcsec apart; half an array is a = 64.5. From a - h
    # on one column is missing and the mean steps back by h / 2; from a on another, by h. The loss
    # of slope is 3 (h / 4 (a^2 - (a - h)^2) + h / 2 ((a + h)^2 - a^2)) / (a + h)^3 = 0.264 over
    # all, and in the outer part, with one step in its middle, 1.5 (h / 2) / (2 h).
    assert slope(sky_arcmin, everywhere) == pytest.approx(0.736, abs=0.02)
    assert slope(sky_arcmin, outer) == pytest.approx(0.625, abs=0.04)
    assert slope(sky_arcmin, inner) == pytest.approx(1.0, abs=0.01)

"""Photometry against the real SExtractor, dual-image mode, equal settings, three epochs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pytest
from astropy.io import fits
from scipy.ndimage import correlate, uniform_filter
from scipy.spatial import cKDTree

from benchmarks.sextractor import configure, find_program, read_catalog, run_dual
from benchmarks.skyscene import NOISE, draw_epoch, simulate_scene
from calreg.flags import DetectionFlag
from calreg.science.photometry.detection import DetectedSources, detect_sources
from calreg.science.photometry.image import ImagePlanes
from calreg.science.photometry.measure import MeasuredSources, measure_sources
from calreg.science.photometry.settings import DetectionSettings

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from calreg.domain import BoolArray, IntArray
    from calreg.units import FloatArray

pytestmark = pytest.mark.skipif(
    find_program() is None, reason="neither source-extractor nor sex is on the PATH"
)

NX, NY, N_SOURCES = 1500, 1200, 900
SCALE_ARCSEC = 0.06
SETTINGS = DetectionSettings()
FACTORS = (1.0, 0.985, 1.02)
"""What the second and the third epoch measure of the first one's fluxes."""


@dataclass(frozen=True)
class Comparison:
    """One epoch measured by both; row i of `theirs` is row `rows[i]` of `ours`."""

    theirs: NDArray[np.void] = field(repr=False)
    ours: MeasuredSources
    detected: DetectedSources
    rows: IntArray = field(repr=False)
    n_theirs: int
    is_alone: BoolArray = field(repr=False)

    @property
    def is_unblended(self) -> BoolArray:
        """Sources that neither calls blended."""
        flags = self.theirs["FLAGS"] | self.ours.flags[self.rows]
        return np.asarray((flags & DetectionFlag.BLENDED) == 0)

    def mag_difference(self, kind: str, ours: FloatArray, which: BoolArray) -> FloatArray:
        """Return |mag - mag| of sources with positive flux in either."""
        theirs = self.theirs[kind].astype(np.float64)[which]
        mine = ours[self.rows][which]
        # A flux of nothing has no magnitude; both must say so of the same sources.
        np.testing.assert_array_equal(theirs > 0.0, mine > 0.0)
        is_positive = mine > 0.0
        return np.abs(2.5 * np.log10(theirs[is_positive] / mine[is_positive]))


@pytest.fixture(scope="module", params=["simulated", "noise added"])
def comparisons(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[Comparison]:
    """Return three epochs of one scene, detected on the first."""
    folder: Path = tmp_path_factory.mktemp("sextractor")
    scene = simulate_scene(NX, NY, N_SOURCES)
    images = [
        draw_epoch(scene, seed=seed, factor=factor)[0]
        for seed, factor in enumerate(FACTORS, start=1)
    ]
    if request.param == "noise added":
        images = [image + _drizzled_noise(seed) for seed, image in enumerate(images, start=11)]
    for n, image in enumerate(images):
        fits.writeto(folder / f"{n}.fits", image)
    planes = [ImagePlanes(image, np.zeros(image.shape, dtype=np.bool_)) for image in images]
    configuration = configure(folder, SETTINGS, SCALE_ARCSEC)
    detected = detect_sources(planes[0], SETTINGS)
    found = []
    for n in range(len(images)):
        run_dual(configuration, folder / "0.fits", folder / f"{n}.fits", folder / "out.fits")
        measured = measure_sources(detected, planes[n], SETTINGS, scale_arcsec=SCALE_ARCSEC)
        theirs = read_catalog(folder / "out.fits")
        found.append(_compare(theirs, detected, measured, _is_alone(detected, planes[0])))
    return found


def _drizzled_noise(seed: int) -> NDArray[np.float32]:
    """Return noise that neighbouring pixels share, as drizzled mosaics have it."""
    rng = np.random.default_rng(seed)
    noise = uniform_filter(rng.standard_normal((NY, NX)), size=2)
    return (1.5 * NOISE * noise).astype(np.float32)


def _compare(
    theirs: NDArray[np.void],
    detected: DetectedSources,
    measured: MeasuredSources,
    is_alone: BoolArray,
) -> Comparison:
    """Match by isophotal centroids, within a tenth of a pixel and both ways."""
    tree = cKDTree(np.column_stack([detected.ellipses.x, detected.ellipses.y]))
    places = np.column_stack([theirs["X_IMAGE"] - 1.0, theirs["Y_IMAGE"] - 1.0])
    distance, nearest = tree.query(places)
    is_matched = np.asarray(distance < 0.1)
    rows = np.asarray(nearest, dtype=np.int64)[is_matched]
    assert np.unique(rows).size == rows.size
    return Comparison(theirs[is_matched], measured, detected, rows, theirs.size, is_alone[rows])


def _is_alone(detected: DetectedSources, planes: ImagePlanes) -> BoolArray:
    """Tell sources whose apertures hold no pixel above the threshold but their own."""
    kernel = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], dtype=np.float32) / np.float32(16.0)
    pixels = detected.sky.subtracted(planes, planes.is_bad)
    is_high = correlate(pixels, kernel, mode="constant") > 1.5 * detected.sky.rms
    y, x = np.nonzero(is_high)
    owner = detected.segmentation[y, x]
    tree = cKDTree(np.column_stack([x, y]))
    ellipses = detected.ellipses
    # A window reaches four sigma, which is 3.4 half-light radii or some 5 times a.
    reach = np.maximum(detected.kron_radius, 6.0) * ellipses.a + 1.0
    near = tree.query_ball_point(np.column_stack([ellipses.x, ellipses.y]), np.maximum(reach, 6.0))
    return np.array([(owner[rows] == n).all() for n, rows in enumerate(near, start=1)])


def test_same_sources_are_found(comparisons: list[Comparison]) -> None:
    for comparison in comparisons:
        n_matched = comparison.rows.size
        assert n_matched > 300
        assert n_matched >= 0.995 * max(comparison.n_theirs, comparison.detected.n_sources)
        areas = comparison.detected.n_pixels[comparison.rows][comparison.is_unblended]
        assert areas.min() >= SETTINGS.min_area_pixels


def test_isophotal_magnitudes_agree(comparisons: list[Comparison]) -> None:
    for comparison in comparisons:
        which = comparison.is_unblended
        assert which.mean() > 0.9
        difference = comparison.mag_difference("FLUX_ISO", comparison.ours.flux_iso, which)
        # The promise. Measured: median 1e-8, all within 1e-7, but for what is cleaned otherwise.
        assert np.median(difference) <= 1e-5
        assert (difference <= 1e-3).mean() >= 0.99
        errors = comparison.mag_difference("FLUXERR_ISO", comparison.ours.flux_err_iso, which)
        assert (errors <= 1e-3).mean() >= 0.99


def test_blended_sources_are_flagged_by_both(comparisons: list[Comparison]) -> None:
    for comparison in comparisons:
        theirs, ours = (
            (flags & DetectionFlag.BLENDED) != 0
            for flags in (comparison.theirs["FLAGS"], comparison.ours.flags[comparison.rows])
        )
        assert theirs.sum() > 5
        # Nothing is claimed about their magnitudes: SExtractor draws disputed pixels by lot.
        assert (theirs != ours).mean() <= 0.005


@pytest.mark.parametrize("kind", ["AUTO", "APER"])
def test_aperture_magnitudes_agree(comparisons: list[Comparison], kind: str) -> None:
    for comparison in comparisons:
        flux = getattr(comparison.ours, f"flux_{kind.lower()}")
        flux_err = getattr(comparison.ours, f"flux_err_{kind.lower()}")
        which = comparison.is_unblended & comparison.is_alone
        assert which.mean() > 0.7
        difference = comparison.mag_difference(f"FLUX_{kind}", flux, which)
        assert np.median(difference) <= 1e-6
        assert (difference <= 1e-3).mean() >= 0.995
        errors = comparison.mag_difference(f"FLUXERR_{kind}", flux_err, which)
        assert (errors <= 1e-3).mean() >= 0.995
        # SExtractor also mirrors clumps of fewer than DETECT_MINAREA pixels above the threshold,
        # of which the engine says nothing. The noise that was added makes many of them.
        difference = comparison.mag_difference(f"FLUX_{kind}", flux, comparison.is_unblended)
        assert (difference <= 1e-3).mean() >= 0.95


def test_sizes_and_windowed_centroids_agree(comparisons: list[Comparison]) -> None:
    for comparison in comparisons:
        # SExtractor has no radius for what has no flux.
        has_flux = comparison.theirs["FLUX_AUTO"] > 0.0
        which = comparison.is_unblended & comparison.is_alone & has_flux
        rows, theirs, ours = comparison.rows[which], comparison.theirs[which], comparison.ours
        kron = np.abs(theirs["KRON_RADIUS"] / comparison.detected.kron_radius[rows] - 1.0)
        # Written in single precision.
        assert np.median(kron) <= 1e-6
        assert (kron <= 1e-3).mean() >= 0.995
        r_half = np.abs(theirs["FLUX_RADIUS"] / ours.r_half_px[rows] - 1.0)
        assert np.median(r_half) <= 1e-6
        assert (r_half <= 1e-3).mean() >= 0.995
        shift = np.hypot(
            theirs["XWIN_IMAGE"] - 1.0 - ours.x_win[rows],
            theirs["YWIN_IMAGE"] - 1.0 - ours.y_win[rows],
        )
        # Circles are exact here, of 11 x 11 parts of a pixel there.
        assert np.median(shift) <= 2e-5
        assert (shift <= 1e-3).mean() >= 0.99
        # Both fall back to isophotal centroids for the same sources, but for a few faint ones whose
        # iteration has not converged when it is stopped.
        is_fallback = ours.is_windowed[rows] == (theirs["FLAGS_WIN"] != 0)
        assert is_fallback.mean() <= 0.01


def test_edges_are_flagged_by_both(comparisons: list[Comparison]) -> None:
    for comparison in comparisons:
        theirs, ours = comparison.theirs["FLAGS"], comparison.ours.flags[comparison.rows]
        for flag, share in ((DetectionFlag.TRUNCATED, 0.0), (DetectionFlag.SATURATED, 0.0)):
            assert ((theirs & flag) != (ours & flag)).mean() <= share
        assert ((ours & DetectionFlag.TRUNCATED) != 0).sum() > 3
        # SExtractor also flags where its growth curve or its window leaves the image.
        ours_incomplete = (ours & DetectionFlag.APERTURE_INCOMPLETE) != 0
        theirs_incomplete = (theirs & DetectionFlag.APERTURE_INCOMPLETE) != 0
        assert not (ours_incomplete & ~theirs_incomplete).any()
        assert (theirs_incomplete & ~ours_incomplete).mean() <= 0.02
        crowded = ((theirs ^ ours) & DetectionFlag.NEIGHBOUR) != 0
        assert crowded.mean() <= 0.005

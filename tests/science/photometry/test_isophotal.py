"""Photometry inside matched isophotes: sums, errors, apertures, centroids."""

from __future__ import annotations

import sys
import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from calreg.errors import DegenerateImageError, InvalidValueError, MissingExtraError
from calreg.flags import DetectionFlag
from calreg.science.photometry import isophotes
from calreg.science.photometry.apertures import SubtractedImage, windowed_centroids
from calreg.science.photometry.detection import DetectedSources, detect_sources
from calreg.science.photometry.isophotes import sum_isophotes
from calreg.science.photometry.measure import MeasuredSources, measure_sources
from calreg.science.photometry.neighbours import Ellipses
from calreg.science.photometry.settings import DetectionSettings
from support.skyimages import (
    NOISE,
    SCALE_ARCSEC,
    SIGMA_PX,
    planes_of,
    star_field,
    with_hole,
    with_saturation,
)

if TYPE_CHECKING:
    from calreg.science.photometry.image import ImagePlanes

STARS = [(50.3, 40.2, 20.0), (120.7, 60.1, 8.0), (90.0, 120.4, 40.0)]
SETTINGS = DetectionSettings()


def _measure(
    detected: DetectedSources, planes: ImagePlanes, settings: DetectionSettings = SETTINGS
) -> MeasuredSources:
    return measure_sources(detected, planes, settings, scale_arcsec=SCALE_ARCSEC)


def _row(detected: DetectedSources, star: tuple[float, float, float]) -> int:
    distance = np.hypot(detected.ellipses.x - star[0], detected.ellipses.y - star[1])
    assert distance.min() < 0.3
    return int(np.argmin(distance))


@pytest.fixture(scope="module")
def detected() -> DetectedSources:
    return detect_sources(planes_of(star_field(STARS)), SETTINGS)


# --- fluxes --------------------------------------------------------------------------------------


def test_fluxes_of_stars_come_back(detected: DetectedSources) -> None:
    measured = _measure(detected, planes_of(star_field(STARS, seed=2)))
    for star in STARS:
        row = _row(detected, star)
        flux = star[2]
        # A circle of 5 pixels holds all but exp(-0.5 (5 / 1.8)^2) = 2.1 % of a Gaussian; noise of
        # 79 pixels of 0.01 adds 0.09.
        expected = flux * (1.0 - np.exp(-0.5 * (5.0 / SIGMA_PX) ** 2))
        assert measured.flux_aper[row] == pytest.approx(expected, abs=0.35)
        # Kron's ellipse holds 94 % or more (Kron 1980), the isophote less of faint stars.
        assert 0.94 * flux < measured.flux_auto[row] < 1.04 * flux
        assert 0.85 * flux < measured.flux_iso[row] < 1.02 * flux


def test_same_isophotes_give_the_ratio_of_two_images_exactly(detected: DetectedSources) -> None:
    pixels = star_field(STARS)
    one = _measure(detected, planes_of(pixels))
    half = _measure(detected, planes_of((0.5 * pixels).astype(np.float32)))
    # Powers of two are exact in float32; the background's spline rounds in the 7th digit.
    np.testing.assert_allclose(half.flux_iso / one.flux_iso, 0.5, rtol=1e-5)
    np.testing.assert_allclose(half.flux_auto / one.flux_auto, 0.5, rtol=1e-5)
    np.testing.assert_array_equal(half.flags, one.flags)


def test_isophotal_flux_is_the_sum_over_the_segment(detected: DetectedSources) -> None:
    planes = planes_of(star_field(STARS, seed=2))
    measured = _measure(detected, planes)
    pixels = measured.sky.subtracted(planes, planes.is_bad).astype(np.float64)
    for row in range(detected.n_sources):
        is_own = detected.segmentation == row + 1
        assert detected.n_pixels[row] == is_own.sum()
        assert measured.flux_iso[row] == pytest.approx(pixels[is_own].sum(), rel=1e-12)


def test_known_background_is_not_measured_again(detected: DetectedSources) -> None:
    planes = planes_of(star_field(STARS))
    known = measure_sources(detected, planes, SETTINGS, scale_arcsec=SCALE_ARCSEC, sky=detected.sky)
    assert known.sky is detected.sky
    np.testing.assert_array_equal(known.flux_iso, _measure(detected, planes).flux_iso)


def test_blocks_of_rows_do_not_change_sums(
    detected: DetectedSources, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = star_field(STARS)
    arguments = detected.segmentation, pixels, pixels, ~np.isfinite(pixels), detected.n_sources
    whole = sum_isophotes(*arguments)
    monkeypatch.setattr(isophotes, "_BLOCK_PIXELS", 700)
    parts = sum_isophotes(*arguments)
    # Only the order of double-precision sums differs.
    np.testing.assert_allclose(parts.flux, whole.flux, rtol=1e-13)
    np.testing.assert_allclose(parts.variance, whole.variance, rtol=1e-13)
    np.testing.assert_array_equal(parts.n_usable, whole.n_usable)


def test_neighbours_pixels_are_mirrored(detected: DetectedSources) -> None:
    # 9 pixels apart, 5 sigma: two segments that reach into each other's AUTO apertures.
    pair = [(80.0, 80.0, 30.0), (89.0, 80.0, 30.0)]
    alone = _measure(
        detect_sources(planes_of(star_field(pair[:1])), SETTINGS), planes_of(star_field(pair[:1]))
    )
    both = planes_of(star_field(pair))
    detected = detect_sources(both, SETTINGS)
    measured = _measure(detected, both, replace(SETTINGS, aperture_radius_arcsec=0.48))
    row = _row(detected, pair[0])
    # The circle of 8 pixels reaches the neighbour's centre; unmirrored, it would hold a third of
    # its flux as well (+30 %), and 15 % too little with holes there.
    assert measured.flux_aper[row] == pytest.approx(30.0, rel=0.04)
    assert measured.flux_auto[row] == pytest.approx(alone.flux_auto[0], rel=0.05)
    assert measured.flags[row] & DetectionFlag.NEIGHBOUR


# --- errors --------------------------------------------------------------------------------------


def test_errors_without_planes_are_those_of_the_background(detected: DetectedSources) -> None:
    measured = _measure(detected, planes_of(star_field(STARS, seed=2)))
    assert measured.noise_from == "background"
    np.testing.assert_allclose(
        measured.flux_err_iso, measured.sky.rms * np.sqrt(detected.n_pixels), rtol=1e-12
    )
    # The rms of 32000 pixels of noise 0.01.
    assert measured.sky.rms == pytest.approx(NOISE, rel=0.02)
    area_px = np.pi * (SETTINGS.aperture_radius_arcsec / SCALE_ARCSEC) ** 2
    # Circles are cut in 5 x 5 parts per pixel.
    np.testing.assert_allclose(
        measured.flux_err_aper, measured.sky.rms * np.sqrt(area_px), rtol=5e-3
    )
    np.testing.assert_allclose(measured.snr, measured.flux_iso / measured.flux_err_iso)


def test_gain_adds_the_noise_of_the_photons(detected: DetectedSources) -> None:
    planes = planes_of(star_field(STARS, seed=2))
    plain = _measure(detected, planes)
    photons = _measure(detected, replace(planes, gain=250.0))
    assert photons.noise_from == "gain"
    for kind in ("iso", "auto", "aper"):
        flux = getattr(plain, f"flux_{kind}")
        added = getattr(photons, f"flux_err_{kind}") ** 2 - getattr(plain, f"flux_err_{kind}") ** 2
        np.testing.assert_allclose(added, np.maximum(flux, 0.0) / 250.0, rtol=1e-6)


def test_error_plane_is_summed_in_quadrature_and_nothing_is_added(
    detected: DetectedSources,
) -> None:
    planes = replace(planes_of(star_field(STARS, seed=2), err=0.05), gain=250.0)
    measured = _measure(detected, planes)
    assert measured.noise_from == "err"
    # 0.05 is not a float32.
    np.testing.assert_allclose(measured.flux_err_iso, 0.05 * np.sqrt(detected.n_pixels), rtol=1e-6)
    assert (measured.flux_err_auto > 0.0).all()


# --- pixels without data -------------------------------------------------------------------------


def test_hole_in_an_isophote_is_left_out_and_flagged(detected: DetectedSources) -> None:
    planes = planes_of(star_field(STARS, seed=2), err=NOISE)
    whole = _measure(detected, planes)
    row = _row(detected, STARS[0])
    holed = with_hole(planes, slice(39, 42), slice(50, 51))
    measured = _measure(detected, holed)
    is_own = (detected.segmentation == row + 1) & ~holed.is_bad
    pixels = measured.sky.subtracted(holed, holed.is_bad)
    expected = pixels[is_own].astype(np.float64).sum()
    assert measured.flux_iso[row] == pytest.approx(expected, rel=1e-12)
    # Three pixels at the centre of a star of sigma 1.8 hold 13 % of it.
    assert measured.flux_iso[row] == pytest.approx(0.87 * whole.flux_iso[row], rel=0.01)
    n_left = detected.n_pixels[row] - 3
    assert measured.flux_err_iso[row] == pytest.approx(NOISE * np.sqrt(n_left), rel=1e-6)
    for flag in ("ISOPHOTE_INCOMPLETE", "TRUNCATED", "APERTURE_INCOMPLETE"):
        assert measured.flags[row] & DetectionFlag[flag]
    others = np.arange(detected.n_sources) != row
    np.testing.assert_array_equal(measured.flags[others], whole.flags[others])


def test_image_without_data_under_a_source_measures_nothing_there(
    detected: DetectedSources,
) -> None:
    planes = with_hole(planes_of(star_field(STARS), err=NOISE), slice(0, 80), slice(0, 90))
    measured = _measure(detected, planes)
    row = _row(detected, STARS[0])
    assert (measured.flux_iso[row], measured.flux_err_iso[row]) == (0.0, 0.0)
    assert np.isnan(measured.snr[row])
    assert np.isnan(measured.r_half_px[row])
    assert not measured.is_windowed[row]
    assert measured.x_win[row] == detected.ellipses.x[row]
    assert measured.flags[row] & DetectionFlag.ISOPHOTE_INCOMPLETE
    for name in ("flux_iso", "flux_auto", "flux_aper", "x_win", "y_win"):
        assert np.isfinite(getattr(measured, name)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, -1.0])
def test_pixel_without_a_positive_error_carries_no_data(
    detected: DetectedSources, value: float
) -> None:
    planes = planes_of(star_field(STARS), err=NOISE)
    assert planes.err is not None
    planes.err[40, 50] = value
    measured = _measure(detected, planes)
    row = _row(detected, STARS[0])
    assert measured.flags[row] & DetectionFlag.ISOPHOTE_INCOMPLETE
    assert np.isfinite(measured.flux_err_iso).all()


def test_pixel_that_is_not_finite_counts_as_bad_though_nobody_marked_it(
    detected: DetectedSources,
) -> None:
    planes = planes_of(star_field(STARS))
    planes.sci[40, 50] = np.inf
    measured = _measure(detected, planes)
    assert np.isfinite(measured.flux_iso).all()
    assert measured.flags[_row(detected, STARS[0])] & DetectionFlag.ISOPHOTE_INCOMPLETE


def test_saturation_beside_an_isophote_is_flagged_on_the_measured_image(
    detected: DetectedSources,
) -> None:
    planes = with_saturation(planes_of(star_field(STARS)), slice(40, 41), slice(50, 51))
    measured = _measure(detected, planes)
    is_saturated = (measured.flags & DetectionFlag.SATURATED) != 0
    assert np.flatnonzero(is_saturated).tolist() == [_row(detected, STARS[0])]


def test_only_sums_change_where_bad_pixels_are_masked() -> None:
    # The same image with and without a strip of missing coverage far from the stars.
    planes = planes_of(star_field(STARS))
    strip = with_hole(planes, slice(None), slice(170, 200))
    whole, cut = (detect_sources(p, SETTINGS) for p in (planes, strip))
    for star in STARS:
        a, b = _row(whole, star), _row(cut, star)
        # The background's boxes at the strip hold fewer pixels.
        one, other = _measure(whole, planes).flux_iso[a], _measure(cut, strip).flux_iso[b]
        assert one == pytest.approx(other, rel=0.01)


# --- positions and sizes -------------------------------------------------------------------------


def test_windowed_centroids_are_measured_on_the_measured_image(detected: DetectedSources) -> None:
    moved = [(x + 0.4, y - 0.2, flux) for x, y, flux in STARS]
    measured = _measure(detected, planes_of(star_field(moved, seed=3)))
    for before, after in zip(STARS, moved, strict=True):
        row = _row(detected, before)
        assert measured.is_windowed[row]
        # Noise of a centroid: sigma / (S/N), 1.8 / 70 for the faintest.
        assert measured.x_win[row] == pytest.approx(after[0], abs=0.08)
        assert measured.y_win[row] == pytest.approx(after[1], abs=0.08)


def test_window_with_negative_moments_falls_back_to_the_isophotal_centroid() -> None:
    iy, ix = np.indices((61, 61))
    radius = np.hypot(ix - 30.3, iy - 30.0)
    core, ring = np.exp(-0.5 * radius**2), np.exp(-0.5 * (radius - 3.2) ** 2)
    one = np.ones(1)
    ellipses = Ellipses(30.0 * one, 30.0 * one, one, one, 0.0 * one)
    for depth, is_windowed in ((-0.13, False), (0.13, True)):
        pixels = core + depth * ring
        image = SubtractedImage(
            pixels=pixels.astype(np.float32),
            is_bad=np.zeros(pixels.shape, dtype=np.bool_),
            has_bad=False,
            err=None,
            rms=0.01,
            gain=None,
        )
        x, y, found = windowed_centroids(image, ellipses, 3.0 * one)
        assert found.tolist() == [is_windowed]
        # The ring is deep enough for a negative second moment, not for a negative flux.
        assert x[0] == (pytest.approx(30.3, abs=1e-3) if is_windowed else 30.0)
        assert y[0] == pytest.approx(30.0, abs=1e-3)


def test_window_that_went_to_a_neighbour_falls_back(detected: DetectedSources) -> None:
    row = _row(detected, STARS[0])
    x, y, flux = STARS[0]
    # The star has gone; where it was there is the flank of a brighter one.
    planes = planes_of(star_field([(x + 5.0, y + 5.0, 3.0 * flux), *STARS[1:]], seed=3))
    measured = _measure(detected, planes)
    assert not measured.is_windowed[row]
    assert measured.x_win[row] == detected.ellipses.x[row]


def test_half_light_radius_of_a_gaussian(detected: DetectedSources) -> None:
    measured = _measure(detected, planes_of(star_field(STARS, seed=2)))
    row = _row(detected, STARS[2])
    # 1.1774 sigma of the whole flux; AUTO holds some per cent less or more.
    assert measured.r_half_px[row] == pytest.approx(1.1774 * SIGMA_PX, rel=0.04)


# --- refusals and cost ---------------------------------------------------------------------------


def test_another_shape_is_refused(detected: DetectedSources) -> None:
    with pytest.raises(InvalidValueError, match="200 x 161 pixels, the detection image 200 x 160"):
        _measure(detected, planes_of(star_field(STARS, shape=(161, 200))))


@pytest.mark.parametrize("scale", [0.0, -0.06, float("nan")])
def test_scale_must_be_positive(detected: DetectedSources, scale: float) -> None:
    with pytest.raises(InvalidValueError, match="expected a positive number"):
        measure_sources(detected, planes_of(star_field(STARS)), SETTINGS, scale_arcsec=scale)


def test_empty_and_saturated_images_are_refused(detected: DetectedSources) -> None:
    planes = planes_of(star_field(STARS))
    with pytest.raises(DegenerateImageError, match="none of the 32000 pixels carries data"):
        _measure(detected, with_hole(planes, slice(None), slice(None)))
    with pytest.raises(DegenerateImageError, match="32000 pixels are saturated"):
        _measure(detected, with_saturation(planes, slice(None), slice(None)))


def test_engine_that_is_not_installed_is_named(
    detected: DetectedSources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sep", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'calreg\[photometry\]'"):
        _measure(detected, planes_of(star_field(STARS)))


def test_memory_stays_below_three_images() -> None:
    planes = planes_of(star_field(STARS, shape=(1000, 1000)), err=NOISE)
    planes = with_hole(planes, slice(0, 100), slice(0, 100))
    assert planes.err is not None
    one_image = planes.sci.nbytes + planes.err.nbytes
    tracemalloc.start()
    try:
        _measure(detect_sources(planes, SETTINGS), planes)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # NumPy's part; the engine's is in the benchmark, which looks at the whole process.
    assert peak < 3 * one_image

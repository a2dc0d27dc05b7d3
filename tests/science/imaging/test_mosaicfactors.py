"""What corrects the pixels of a mosaic, against exposures that are averaged one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calreg.science.imaging.mosaicfactors import mosaic_factors
from calreg.science.model.gradient import ArrayCorrection, PixelPlane
from calreg.science.sky.coverage import CoveringExposure, LinearDetector, WcsDetector, pointing_of
from support.dithermosaics import ARRAY, Dithers, make_dithers

FACTOR = 1.031
GRADIENT = PixelPlane(0.0, 8e-6, -5e-6)
CORRECTION = ArrayCorrection(FACTOR, 0.001, GRADIENT, n_pixels=ARRAY.n_pixels)
SCALE = {"detector_scale_arcsec": ARRAY.x_scale_arcsec}


@pytest.fixture(scope="module")
def dithers() -> Dithers:
    return make_dithers()


def exposures_of(dithers: Dithers) -> list[CoveringExposure]:
    """Return the members by their distorted world coordinates."""
    return [
        CoveringExposure(WcsDetector(sky.wcs, ARRAY.n_pixels), ARRAY.n_pixels, None)
        for sky in dithers.skies
    ]


def flat_at(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the delta flat, from its definition: mean one over the array."""
    pixels = np.arange(ARRAY.n_pixels) - 0.5 * (ARRAY.n_pixels - 1)
    norm = np.mean(10.0 ** (-0.4 * GRADIENT.per_x * pixels)) * np.mean(
        10.0 ** (-0.4 * GRADIENT.per_y * pixels)
    )
    g = GRADIENT.per_x * (x - 0.5 * (ARRAY.n_pixels - 1))
    g = g + GRADIENT.per_y * (y - 0.5 * (ARRAY.n_pixels - 1))
    return np.asarray(10.0 ** (-0.4 * g) / norm)


def expected(dithers: Dithers, context: np.ndarray) -> np.ndarray:
    """Return the factors, with every pixel's detector position inverted by itself."""
    y, x = np.indices(dithers.grid.shape)
    ra, dec = dithers.grid.sky_of(x.ravel(), y.ravel())
    total, count = np.zeros((2, x.size))
    for n in range(dithers.n_members):
        is_in = ((context[0].ravel() >> n) & 1).astype(bool)
        total[is_in] += flat_at(*dithers.pixels_of(n, ra[is_in], dec[is_in]))
        count += is_in
    with np.errstate(invalid="ignore"):
        return (FACTOR / (total / count)).reshape(dithers.grid.shape)


def test_factors_are_means_over_the_exposures_that_contribute(dithers: Dithers) -> None:
    context = dithers.context()
    found = mosaic_factors(CORRECTION, dithers.grid, exposures_of(dithers), context, **SCALE)
    wanted = expected(dithers, context)
    has_data = np.isfinite(wanted)
    assert isinstance(found, np.ndarray)
    # Interpolated distortion, and single precision: 1e-7 each.
    np.testing.assert_allclose(found[has_data], wanted[has_data], rtol=5e-7)
    # The gradient is seen: from corner to corner, less what dithers average.
    spread = np.ptp(-2.5 * np.log10(wanted[has_data]))
    assert 0.5 * 13e-6 * ARRAY.n_pixels < spread < 13e-6 * ARRAY.n_pixels


def test_without_context_outlines_tell_what_contributes(dithers: Dithers) -> None:
    exposures = exposures_of(dithers)
    by_context = mosaic_factors(CORRECTION, dithers.grid, exposures, dithers.context(), **SCALE)
    by_outline = mosaic_factors(CORRECTION, dithers.grid, exposures, None, **SCALE)
    has_data = np.isfinite(expected(dithers, dithers.context()))
    assert isinstance(by_context, np.ndarray)
    assert isinstance(by_outline, np.ndarray)
    is_same = np.isclose(by_context, by_outline, rtol=1e-7, atol=0.0)[has_data]
    # But for pixels that an edge runs through to 0.01 detector pixels.
    assert is_same.mean() > 0.999


def test_more_exposures_than_bits_of_a_plane() -> None:
    dithers = make_dithers(40)
    context = dithers.context(n_planes=2)
    assert context.shape[0] == 2
    found = mosaic_factors(CORRECTION, dithers.grid, exposures_of(dithers), context, **SCALE)
    # The 40 are the pattern of six over and over; the first four of it seven times.
    y, x = np.indices(dithers.grid.shape)
    ra, dec = dithers.grid.sky_of(x.ravel(), y.ravel())
    middle = (dithers.grid.ny // 2) * dithers.grid.nx + dithers.grid.nx // 2
    flats = [
        flat_at(*dithers.pixels_of(n, ra[[middle]], dec[[middle]]))[0]
        for n in range(dithers.n_members)
    ]
    assert isinstance(found, np.ndarray)
    assert found.ravel()[middle] == pytest.approx(FACTOR / np.mean(flats), rel=5e-7)


def test_without_gradient_one_number_is_enough(dithers: Dithers) -> None:
    plain = replace(CORRECTION, gradient=None)
    assert mosaic_factors(plain, dithers.grid, exposures_of(dithers), None, **SCALE) == FACTOR


def test_pixels_that_no_exposure_reaches_go_on_smoothly(dithers: Dithers) -> None:
    """A single pointing that stands for a dithered mosaic is smaller than that."""
    point = dithers.references[0]
    pointing = pointing_of(ARRAY.v2_ref_arcsec, ARRAY.v3_ref_arcsec, *point)
    assert pointing is not None
    alone = [CoveringExposure(LinearDetector(ARRAY, pointing), ARRAY.n_pixels, pointing)]
    found = mosaic_factors(CORRECTION, dithers.grid, alone, None, **SCALE)
    assert isinstance(found, np.ndarray)
    assert np.isfinite(found).all()
    # One plane over the whole mosaic: second differences of its magnitude are rounding.
    mag = -2.5 * np.log10(found.astype(np.float64))
    assert np.abs(np.diff(mag, 2, axis=0)).max() < 1e-6
    assert np.abs(np.diff(mag, 2, axis=1)).max() < 1e-6

"""Simulated exposures: flux, noise, offsets, quality bits, seeds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from calreg.flags import DO_NOT_USE, SATURATED
from calreg.science.sky.pointing import ReferencePoint
from calreg.simulation.distortion import Distortion, distorted_wcs, siaf_distortion
from calreg.simulation.pixels import (
    BORDER_PX,
    REFERENCE_PIXEL,
    PixelSettings,
    SimulatedPixels,
    simulate_pixels,
)
from calreg.simulation.programme import TrueCoefficients
from calreg.simulation.scene import (
    GradientFrame,
    Scene,
    draw_scene,
    injected_offset_mag,
)
from calreg.simulation.simulate import Programme, simulate_jwidf
from calreg.units import MEGAJANSKY_IN_UJY

if TYPE_CHECKING:
    from calreg.simulation.exposures import SimulatedExposure

PMAP = "jwst_1130.pmap"
BANDS = ("F200W", "F444W")
NO_ERROR = TrueCoefficients(PMAP, "", "", 0.0)
QUIET = PixelSettings(has_noise=False)


@pytest.fixture(scope="module")
def programme() -> Programme:
    return simulate_jwidf(1, n_epochs=2, pmaps=(PMAP,), bands=BANDS, n_dithers=2)


@pytest.fixture(scope="module")
def scene(programme: Programme) -> Scene:
    return draw_scene(1, programme.sky)


def first(programme: Programme, array: str, epoch: int = 1) -> SimulatedExposure:
    return next(e for e in programme.exposures if (e.array.name, e.epoch.number) == (array, epoch))


def expose(
    exposure: SimulatedExposure,
    scene: Scene,
    truth: TrueCoefficients = NO_ERROR,
    settings: PixelSettings = QUIET,
) -> SimulatedPixels:
    distortion: Distortion = siaf_distortion(exposure.array)
    band_index = BANDS.index(exposure.band.name)
    return simulate_pixels(exposure, scene, truth, band_index, distortion, settings)


def without_sources(scene: Scene) -> Scene:
    """Return the scene with everything fainter by 30 mag."""
    sky = replace(scene.sky, mag=scene.sky.mag + 30.0)
    return replace(scene, sky=sky, saturated_mag=scene.saturated_mag + 30.0)


def only(scene: Scene, row: int) -> Scene:
    """Return the scene with one source."""
    mag = scene.sky.mag + 30.0
    mag[row] -= 30.0
    sky = replace(scene.sky, mag=mag)
    return replace(scene, sky=sky, saturated_mag=scene.saturated_mag + 30.0)


def brightest_inside(exposure: SimulatedExposure, scene: Scene, *, is_star: bool) -> int:
    """Return a bright constant source away from the edges."""
    reference = ReferencePoint(exposure.ra_ref_deg, exposure.dec_ref_deg, exposure.roll_ref_deg)
    wcs = distorted_wcs(exposure.array, siaf_distortion(exposure.array), reference)
    n = scene.sky.xi_arcmin.size
    ra, dec = (axis[:n] for axis in scene.positions())
    # Without distortion: 20 pixels matter not here.
    x, y = wcs.wcs_world2pix(ra, dec, 0)
    inside = (x > 300) & (x < 1748) & (y > 300) & (y < 1748)
    inside &= (scene.is_star[:n] == is_star) & ~scene.sky.is_variable
    rows = np.flatnonzero(inside)
    band_index = BANDS.index(exposure.band.name)
    return int(rows[np.argmin(scene.sky.mag[rows, band_index])])


# --- flux -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_star", [True, False])
@pytest.mark.parametrize("array", ["nrca3", "nrcblong"])
def test_flux_over_true_pixel_areas(
    programme: Programme, scene: Scene, array: str, is_star: bool
) -> None:
    exposure = first(programme, array)
    row = brightest_inside(exposure, scene, is_star=is_star)
    with_source = expose(exposure, only(scene, row))
    empty = expose(exposure, without_sources(scene))
    difference = (with_source.sci.astype(np.float64) - empty.sci) * with_source.area
    flux_ujy = difference.sum() * exposure.pixar_sr * MEGAJANSKY_IN_UJY
    true_mag = scene.sky.mag[row, BANDS.index(exposure.band.name)]
    assert flux_ujy == pytest.approx(10.0 ** (0.4 * (23.9 - true_mag)), rel=1e-3)


def test_sources_are_where_the_world_coordinates_say(programme: Programme, scene: Scene) -> None:
    exposure = first(programme, "nrcb2")
    row = brightest_inside(exposure, scene, is_star=True)
    found = expose(exposure, only(scene, row))
    image = found.sci.astype(np.float64) - expose(exposure, without_sources(scene)).sci
    y0, x0 = np.unravel_index(int(image.argmax()), image.shape)
    stamp = image[y0 - 40 : y0 + 41, x0 - 40 : x0 + 41]
    y, x = np.mgrid[y0 - 40 : y0 + 41, x0 - 40 : x0 + 41]
    centre = [float((stamp * axis).sum() / stamp.sum()) for axis in (x, y)]
    ra, dec = scene.positions()
    expected = found.wcs.all_world2pix(ra[row], dec[row], 0)
    # 0.1 mas; single precision and the end of the stamp's wings are below.
    assert centre == pytest.approx([float(axis) for axis in expected], abs=0.003)


def test_an_array_that_is_too_faint_has_fewer_counts(programme: Programme, scene: Scene) -> None:
    exposure = first(programme, "nrca1")
    truth = replace(NO_ERROR, offset_ab_mag=0.05)
    plain, faint = expose(exposure, scene), expose(exposure, scene, truth)
    bright = plain.sci > 10.0 * np.median(plain.sci)
    assert bright.sum() > 1000
    ratio = np.median(faint.sci[bright] / plain.sci[bright])
    # Offset > 0: too faint, so that flux times 10**(+0.4 offset) is right again.
    assert ratio * 10.0 ** (0.4 * 0.05) == pytest.approx(1.0, abs=2e-3)
    # B is the datum.
    exposure_b = first(programme, "nrcb1")
    np.testing.assert_array_equal(
        expose(exposure_b, scene, truth).sci, expose(exposure_b, scene).sci
    )


def test_gradients_run_from_a_to_b(programme: Programme, scene: Scene) -> None:
    truth = replace(NO_ERROR, offset_ab_mag=0.02, slope_mag_arcmin=0.01)
    for epoch, side in ((1, 1), (2, -1)):
        for array in ("nrcalong", "nrcblong"):
            exposure = first(programme, array, epoch)
            assert exposure.epoch.side == side
            by_sky, by_detector = (
                injected_offset_mag(scene, exposure, truth, frame) for frame in GradientFrame
            )
            constant = 0.02 if array == "nrcalong" else 0.0
            turn = np.radians(72.0)
            d = scene.xi_arcmin * np.sin(turn) + scene.eta_arcmin * np.cos(turn)
            np.testing.assert_allclose(by_sky, constant - 0.005 * side * d, rtol=0, atol=1e-12)
            # Against the detector the same, moved by the dither along the line from A to B.
            step = by_detector - by_sky
            assert np.ptp(step) < 2e-6
            assert abs(np.median(step)) == pytest.approx(
                0.005 * abs(exposure.offset_v2_arcsec) / 60.0, abs=1e-4
            )


# --- noise ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("array", ["nrca1", "nrcblong"])
def test_noise_has_the_stated_variance(programme: Programme, scene: Scene, array: str) -> None:
    exposure = first(programme, array)
    settings = PixelSettings(stripes_e_s=0.0)
    noisy = expose(exposure, scene, settings=settings)
    quiet = expose(exposure, scene)
    variance = noisy.var_poisson + noisy.var_rnoise + noisy.var_flat
    np.testing.assert_allclose(noisy.err**2, variance, rtol=1e-5)
    pull = ((noisy.sci - quiet.sci) / noisy.err)[np.isfinite(noisy.sci)].astype(np.float64)
    assert pull.size > 4_000_000
    # Relative error of a variance: root of 2 / n, 7e-4.
    assert pull.mean() == pytest.approx(0.0, abs=4.0 / np.sqrt(pull.size))
    assert pull.var() == pytest.approx(1.0, abs=4.0 * np.sqrt(2.0 / pull.size))


def test_each_part_of_the_noise(programme: Programme, scene: Scene) -> None:
    """Bright pixels, apart: the variance follows the signal."""
    exposure = first(programme, "nrcalong")
    quiet = expose(exposure, scene)
    noisy = expose(exposure, scene, settings=PixelSettings(stripes_e_s=0.0))
    signal = quiet.sci / np.median(quiet.sci)
    for low, high in ((2.0, 5.0), (5.0, 20.0), (20.0, 200.0)):
        chosen = (signal > low) & (signal < high) & np.isfinite(noisy.sci)
        pull = ((noisy.sci - quiet.sci) / noisy.err)[chosen].astype(np.float64)
        assert pull.size > 200
        assert pull.var() == pytest.approx(1.0, abs=4.0 * np.sqrt(2.0 / pull.size))


def test_stripes_run_along_the_rows_of_amplifiers(programme: Programme, scene: Scene) -> None:
    exposure = first(programme, "nrca1")
    empty = without_sources(scene)
    plain = expose(exposure, empty, settings=PixelSettings(stripes_e_s=0.0))
    striped = expose(exposure, empty, settings=PixelSettings(stripes_e_s=0.01))
    difference = (striped.sci - plain.sci)[BORDER_PX:-BORDER_PX]
    stripes = np.nanmedian(difference.reshape(-1, 4, 512), axis=2)
    unit = exposure.photmjsr / 2.05
    assert np.nanstd(difference - stripes.repeat(512, axis=1)) < 1e-6
    assert stripes.std(axis=0) == pytest.approx(0.01 * unit, rel=0.02)
    assert np.abs(np.corrcoef(stripes.T)[np.triu_indices(4, 1)]).max() < 0.5
    power = np.abs(np.fft.rfft(stripes, axis=0)) ** 2
    assert power[1:20].mean() > 20.0 * power[-200:].mean()


# --- quality --------------------------------------------------------------------------------------


def test_quality_bits(programme: Programme, scene: Scene) -> None:
    exposures = [first(programme, "nrcalong"), first(programme, "nrcblong")]
    found = [expose(e, scene, settings=PixelSettings()) for e in exposures]
    for pixels in found:
        is_lost = (pixels.dq & DO_NOT_USE) > 0
        assert np.isnan(pixels.sci[is_lost]).all()
        assert np.isfinite(pixels.sci[~is_lost]).all()
        assert (pixels.err[~is_lost] > 0.0).all()
        border = np.ones((2048, 2048), dtype=bool)
        border[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX] = False
        np.testing.assert_array_equal((pixels.dq & REFERENCE_PIXEL) > 0, border)
        bad = is_lost & ~border & ((pixels.dq & SATURATED) == 0)
        assert bad.mean() == pytest.approx(0.004, rel=0.05)
    # The brightest stars saturate, and nothing else.
    saturated = sum(int(((pixels.dq & SATURATED) > 0).sum()) for pixels in found)
    assert 10 < saturated < 2000
    again = expose(first(programme, "nrcalong", 2), scene, settings=PixelSettings())
    same = (again.dq == DO_NOT_USE) & (found[0].dq == DO_NOT_USE)
    assert same.sum() == (found[0].dq == DO_NOT_USE).sum()


def test_seeds(programme: Programme, scene: Scene) -> None:
    exposure = first(programme, "nrcb4")
    one, again = (expose(exposure, scene, settings=PixelSettings(seed=3)) for _ in range(2))
    for name in ("sci", "err", "dq", "area", "var_poisson", "var_rnoise", "var_flat"):
        np.testing.assert_array_equal(getattr(one, name), getattr(again, name))
    other = expose(exposure, scene, settings=PixelSettings(seed=4))
    second = next(e for e in programme.exposures if e.array.name == "nrcb4" and e.dither == 2)
    other_dither = expose(second, scene, settings=PixelSettings(seed=3))
    for different in (other, other_dither):
        same = np.isfinite(one.sci) & np.isfinite(different.sci)
        assert (one.sci == different.sci)[same].mean() < 0.01

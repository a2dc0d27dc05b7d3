"""Stars and galaxies in pixels: flux, shape, position."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import erf

from calreg.errors import UnknownKeyError
from calreg.simulation.profiles import (
    PSF_FWHM_ARCSEC,
    Gaussians,
    draw_gaussians,
    exponential_disc,
    psf,
)

SHAPE = (400, 420)
SW_SCALE_ARCSEC = 0.031


def star(x: float, y: float, band: str = "F200W", scale: float = SW_SCALE_ARCSEC) -> Gaussians:
    """Return one star of flux 1."""
    point = psf(band)
    variances = point.variances / scale**2
    same = np.ones(variances.size)
    return Gaussians(x * same, y * same, point.weights, variances, variances, 0.0 * same)


@pytest.mark.parametrize("band", PSF_FWHM_ARCSEC)
@pytest.mark.parametrize("offset", [0.0, 0.25, 0.5])
def test_stars_keep_their_flux_wherever_in_the_pixel(band: str, offset: float) -> None:
    scale = SW_SCALE_ARCSEC if band in {"F150W", "F200W"} else 0.063
    image = draw_gaussians(star(200.0 + offset, 190.0 - 0.6 * offset, band, scale), SHAPE)
    assert float(image.sum(dtype=np.float64)) == pytest.approx(1.0, abs=1e-3)
    y, x = np.indices(SHAPE)
    # The rest of the wings is symmetric.
    assert float((image * x).sum(dtype=np.float64)) == pytest.approx(200.0 + offset, abs=2e-3)
    assert float((image * y).sum(dtype=np.float64)) == pytest.approx(190.0 - 0.6 * offset, abs=2e-3)


@pytest.mark.parametrize("axis_ratio", [1.0, 0.3])
@pytest.mark.parametrize("sigma_px", [0.65, 1.3, 4.0, 20.0])
def test_tilted_gaussians_keep_their_flux_and_shape(sigma_px: float, axis_ratio: float) -> None:
    turn = np.radians(37.0)
    major, minor = sigma_px**2 / axis_ratio, sigma_px**2 * axis_ratio
    var_x = major * np.cos(turn) ** 2 + minor * np.sin(turn) ** 2
    var_y = major * np.sin(turn) ** 2 + minor * np.cos(turn) ** 2
    cov = (major - minor) * np.sin(turn) * np.cos(turn)
    columns = [np.array([value]) for value in (201.3, 180.8, 5.0, var_x, var_y, cov)]
    image = draw_gaussians(Gaussians(*columns), SHAPE).astype(np.float64)
    assert image.sum() == pytest.approx(5.0, rel=1e-3)
    y, x = np.indices(SHAPE)
    found = np.cov(np.vstack([x.ravel(), y.ravel()]), aweights=image.ravel(), ddof=0)
    # Integration over pixels widens by 1/12 pixel^2; the wings are cut off at 4.6 sigma.
    expected = np.array([[var_x, cov], [cov, var_y]]) + np.eye(2) / 12.0
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 * major + 1e-3)


def test_pixels_are_integrals() -> None:
    sigma = 0.9
    columns = [np.array([v]) for v in (200.3, 190.1, 1.0, sigma**2, sigma**2, 0.0)]
    image = draw_gaussians(Gaussians(*columns), SHAPE)

    def integral(centre: float, length: int) -> np.ndarray:
        edges = (np.arange(length + 1) - 0.5 - centre) / sigma
        return np.asarray(0.5 * np.diff(erf(edges / np.sqrt(2.0))))

    expected = np.outer(integral(190.1, SHAPE[0]), integral(200.3, SHAPE[1]))
    # What a pixel's nine parts leave out: fourth order in their side.
    np.testing.assert_allclose(image, expected, rtol=0, atol=1e-4 * expected.max())


def test_undersampled_stars_change_with_their_place_in_the_pixel() -> None:
    peaks = [draw_gaussians(star(200.0 + dx, 190.0, "F150W"), SHAPE).max() for dx in (0.0, 0.5)]
    assert peaks[1] < 0.85 * peaks[0]


def test_width_of_the_core() -> None:
    # Drawn finely: 20 pixels per FWHM.
    image = draw_gaussians(star(200.0, 200.0, "F444W", 0.145 / 20.0), SHAPE)
    profile = image[200, 200:]
    half = float(np.interp(-0.5 * profile[0], -profile, np.arange(profile.size)))
    # Wings lift the half maximum a little outwards.
    assert 2.0 * half == pytest.approx(20.0, rel=0.05)


def test_sources_beyond_the_edge_give_what_reaches_inside() -> None:
    whole = draw_gaussians(star(-3.0, 100.0), SHAPE)
    assert 0.005 < float(whole.sum()) < 0.2
    assert whole[100, 0] == whole.max()
    assert draw_gaussians(star(-900.0, 100.0), SHAPE).max() == 0.0
    half = draw_gaussians(star(419.5, 399.5), SHAPE)
    assert float(half.sum()) == pytest.approx(0.25, abs=1e-3)


def test_exponential_disc() -> None:
    disc = exponential_disc()
    assert disc.weights.sum() == pytest.approx(1.0, abs=1e-12)
    radius = np.linspace(0.0, 4.0, 200)[:, np.newaxis]
    growth = (disc.weights * (1.0 - np.exp(-0.5 * radius**2 / disc.variances))).sum(axis=1)
    scaled = 1.67835 * radius[:, 0]
    np.testing.assert_allclose(growth, 1.0 - np.exp(-scaled) * (1.0 + scaled), rtol=0, atol=4e-3)


def test_unknown_band() -> None:
    with pytest.raises(UnknownKeyError, match="no simulated PSF in F115W"):
        psf("F115W")

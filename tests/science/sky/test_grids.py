from __future__ import annotations

import numpy as np
import pytest
from astropy.wcs import WCS

from calreg.errors import InvalidValueError
from calreg.science.sky.geometry import sep_arcsec
from calreg.science.sky.grids import Grid, offset_between

GRID = Grid(265.0, 69.0, 0.06, 247.3, 1000.3, 500.0, 2000, 1000)
SQUARE = np.array([[265.0, 69.0], [265.1, 69.0], [265.1, 69.05], [265.0, 69.05]])
BESIDE = SQUARE + np.array([0.05, 0.0])


def scatter(n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return rng.uniform(-500.0, 2500.0, n), rng.uniform(-500.0, 1500.0, n)


def test_agrees_with_astropy() -> None:
    x, y = scatter()
    ra, dec = GRID.sky_of(x, y)
    # 1e-5 arcsec: rounding of degrees
    assert sep_arcsec(ra, dec, *GRID.wcs().pixel_to_world_values(x, y)).max() < 1e-5


@pytest.mark.parametrize("dec_deg", [-89.99, -30.0, 0.0, 69.0, 89.99])
@pytest.mark.parametrize("ra_deg", [0.0, 359.9999])
def test_pixels_and_sky_are_inverse(ra_deg: float, dec_deg: float) -> None:
    grid = Grid(ra_deg, dec_deg, 0.06, 33.0, 1000.3, 500.0, 2000, 1000)
    x, y = scatter()
    back = grid.pixels_of(*grid.sky_of(x, y))
    np.testing.assert_allclose(back, (x, y), atol=1e-6)


def test_y_points_to_its_position_angle() -> None:
    grid = Grid(10.0, 0.0, 0.1, 90.0, 0.0, 0.0, 10, 10)
    ra, dec = grid.sky_of([0.0, 36000.0], [36000.0, 0.0])
    # +y to the east, +x to the north: one degree each; the tangent of it is 1e-4 longer
    np.testing.assert_allclose(ra, [11.0, 10.0], atol=2e-4)
    np.testing.assert_allclose(dec, [0.0, 1.0], atol=2e-4)


def test_nan_stays_nan() -> None:
    assert np.isnan(GRID.sky_of(np.nan, 1.0)).all()
    assert np.isnan(GRID.pixels_of(265.0, np.nan)).all()


def test_shape_area_and_corners() -> None:
    assert GRID.shape == (1000, 2000)
    assert GRID.pixel_sr == pytest.approx((0.06 * np.pi / 648000.0) ** 2, rel=1e-14)
    x, y = GRID.pixels_of(*GRID.corners().T)
    np.testing.assert_allclose(x, [-0.5, 1999.5, 1999.5, -0.5], atol=1e-6)
    np.testing.assert_allclose(y, [-0.5, -0.5, 999.5, 999.5], atol=1e-6)


def test_cutout_has_the_same_pixels() -> None:
    part = GRID.cutout(10, -20, 30, 40)
    assert part.shape == (40, 30)
    assert offset_between(GRID, part) == (10, -20)
    assert offset_between(part, GRID) == (-10, 20)
    np.testing.assert_allclose(part.sky_of(0.0, 0.0), GRID.sky_of(10.0, -20.0), atol=1e-12)


@pytest.mark.parametrize(
    "other",
    [
        Grid(265.0, 69.0, 0.06, 247.3, 1000.302, 500.0, 2000, 1000),
        Grid(265.0, 69.0, 0.06, 247.3, 1000.3, 499.998, 2000, 1000),
        Grid(265.0, 69.0, 0.06, 247.3001, 1000.3, 500.0, 2000, 1000),
        Grid(265.0, 69.0, 0.0600001, 247.3, 1000.3, 500.0, 2000, 1000),
        Grid(265.001, 69.0, 0.06, 247.3, 1000.3, 500.0, 2000, 1000),
        Grid(85.0, -69.0, 0.06, 247.3, 1000.3, 500.0, 2000, 1000),
    ],
    ids=["x", "y", "angle", "scale", "tangent point", "other side of the sky"],
)
def test_other_lattice(other: Grid) -> None:
    assert offset_between(GRID, other) is None


def test_lattice_within_tolerance() -> None:
    nearly = Grid(265.0, 69.0, 0.06, 247.3, 1007.3004, 500.0, 2000, 1000)
    assert offset_between(GRID, nearly) == (-7, 0)


def test_covering_is_tight() -> None:
    grid = Grid.covering([SQUARE, BESIDE], 0.06, 30.0, 0)
    x, y = grid.pixels_of([265.0, 265.15, 265.0, 265.15], [69.0, 69.0, 69.05, 69.05])
    assert x.min() >= -0.5
    assert y.min() >= -0.5
    assert x.max() <= grid.nx - 0.5
    assert y.max() <= grid.ny - 0.5
    # the middle is in the middle, so that at most a pixel is to spare on both sides together
    assert (x.max() - x.min()) > grid.nx - 2.0
    assert (y.max() - y.min()) > grid.ny - 2.0
    assert (grid.x_ref, grid.y_ref) == (grid.x_ref // 1, grid.y_ref // 1)
    assert abs(grid.x_ref - 0.5 * grid.nx) <= 2.0
    assert abs(grid.y_ref - 0.5 * grid.ny) <= 2.0
    wider = Grid.covering([BESIDE, SQUARE], 0.06, 390.0, 7)
    assert wider == grid.cutout(-7, -7, grid.nx + 14, grid.ny + 14)


def test_covering_across_zero_and_at_the_pole() -> None:
    grid = Grid.covering([np.array([[359.9, 0.0], [0.1, 0.0], [0.1, 0.1]])], 0.06, 0.0, 0)
    assert grid.ra_deg == pytest.approx(0.0, abs=1e-6) or grid.ra_deg == pytest.approx(360.0)
    assert grid.nx == pytest.approx(0.2 * 60000.0, abs=2.0)
    pole = Grid.covering([np.array([[0.0, 89.95], [120.0, 89.95], [240.0, 89.95]])], 0.06, 0.0, 0)
    # an equilateral triangle on a circle of 3000 pixels has sides of 5196, at any angle
    assert max(pole.shape) < 5200


def test_from_wcs_is_the_inverse_of_wcs() -> None:
    grid = Grid.from_wcs(GRID.wcs(), GRID.shape)
    assert offset_between(GRID, grid) == (0, 0)
    assert (grid.nx, grid.ny) == (2000, 1000)
    assert grid.y_pa_deg == pytest.approx(247.3, abs=1e-9)
    assert grid.scale_arcsec == pytest.approx(0.06, rel=1e-12)


def test_from_wcs_takes_cd_and_fk5() -> None:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [10.0, 20.0]
    wcs.wcs.crpix = [1.0, 1.0]
    wcs.wcs.cd = [[-0.06 / 3600.0, 0.0], [0.0, 0.06 / 3600.0]]
    wcs.wcs.radesys = "FK5"
    wcs.wcs.equinox = 2000.0
    grid = Grid.from_wcs(wcs, (5, 6))
    assert (grid.ra_deg, grid.dec_deg, grid.x_ref, grid.nx, grid.ny) == (10.0, 20.0, 0.0, 6, 5)
    assert grid.y_pa_deg == pytest.approx(0.0, abs=1e-12)


def _changed(change: str) -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [10.0, 20.0]
    wcs.wcs.cdelt = [-1e-5, 1e-5]
    match change:
        case "projection":
            wcs.wcs.ctype = ["RA---SIN", "DEC--SIN"]
        case "galactic":
            wcs.wcs.ctype = ["GLON-TAN", "GLAT-TAN"]
        case "linear":
            wcs.wcs.ctype = ["", ""]
        case "old frame":
            wcs.wcs.radesys, wcs.wcs.equinox = "FK4", 1950.0
        case "pole":
            wcs.wcs.lonpole = 170.0
        case "mirrored":
            wcs.wcs.cdelt = [1e-5, 1e-5]
        case "stretched":
            wcs.wcs.cdelt = [-1e-5, 1.00001e-5]
        case "sheared":
            wcs.wcs.pc = [[1.0, 1e-5], [0.0, 1.0]]
    return wcs


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("projection", "CTYPE 'RA---SIN', 'DEC--SIN'"),
        ("galactic", "CTYPE 'GLON-TAN', 'GLAT-TAN'"),
        ("linear", "no axes on the sky"),
        ("old frame", "FK4, equinox 1950"),
        ("pole", "LONPOLE 170"),
        ("mirrored", "mirrored"),
        ("stretched", "stretched or sheared"),
        ("sheared", "stretched or sheared"),
    ],
)
def test_from_wcs_refuses(change: str, reason: str) -> None:
    with pytest.raises(InvalidValueError, match=reason):
        Grid.from_wcs(_changed(change), (10, 10))


def test_from_wcs_refuses_distortion() -> None:
    from support.distorted import distorted_sky

    with pytest.raises(InvalidValueError, match="distortion"):
        Grid.from_wcs(distorted_sky(10.0, 20.0, 0.0).wcs, (2048, 2048))


@pytest.mark.parametrize(
    "values",
    [
        (np.nan, 0.0, 0.06, 0.0, 0.0, 0.0, 1, 1),
        (0.0, 91.0, 0.06, 0.0, 0.0, 0.0, 1, 1),
        (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1, 1),
        (0.0, 0.0, 0.06, np.inf, 0.0, 0.0, 1, 1),
        (0.0, 0.0, 0.06, 0.0, 0.0, 0.0, 0, 1),
    ],
)
def test_impossible_grids(
    values: tuple[float, float, float, float, float, float, int, int],
) -> None:
    with pytest.raises(InvalidValueError, match="no pixel grid"):
        Grid(*values)


def test_impossible_coverings() -> None:
    with pytest.raises(InvalidValueError, match="0 footprints"):
        Grid.covering([], 0.06, 0.0, 0)
    with pytest.raises(InvalidValueError, match="margin of -1 pixels"):
        Grid.covering([SQUARE], 0.06, 0.0, -1)
    with pytest.raises(InvalidValueError, match="no pixel grid"):
        Grid.covering([SQUARE], -0.06, 0.0, 0)


def test_describe_is_one_line_of_fits_terms() -> None:
    assert GRID.describe() == (
        "CRVAL 265.000000 +69.000000, CRPIX 1001.30 501.00, 0.06000 arcsec per pixel, "
        "PA of y 247.300 deg, 2000 x 1000 pixels"
    )


def test_around() -> None:
    for part in (GRID.cutout(100, 200, 300, 400), GRID.cutout(-70, 990, 100, 50)):
        assert GRID.around([part.corners()]) == part
        assert GRID.around([part.corners()], 5) == part.cutout(-5, -5, part.nx + 10, part.ny + 10)

"""What exposures see is in the mosaic's file: surface brightness, fluxes, positions, noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from calreg.science.sky.grids import Grid
from support.calimages import asdf_tree, gwcs_like
from support.distorted import SIGMA_PER_FWHM, windowed_centroid
from support.mosaicexposures import (
    N_PX,
    NOISE,
    Scene,
    pointing,
    star_positions,
    write_epoch,
    write_exposure,
)
from support.synthetic import copied_registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.commandline import Result

FLUX_TOLERANCE = 1e-3
POSITION_TOLERANCE_MAS = 2.0
APERTURE_PX = 14.0
FWHM_ARCSEC = 0.145

Made = tuple[np.ndarray, Grid, fits.Header]


def made_by_command(
    calreg: Callable[..., Result], template: Path, folder: Path, scene: Scene, *words: str
) -> Made:
    """Write exposures, run the command on them, read its file."""
    write_epoch(folder / "epoch1", scene)
    url = copied_registry(template, folder)
    result = calreg(
        "--db", url, "mosaic", folder / "epoch1", "--out", folder, "--format", "json", *words
    )
    assert result.status == 0, result.err
    with fits.open(result.json[0]["file"]) as hdus:
        sci = np.array(hdus["SCI"].data, dtype=np.float64)
        header = hdus["SCI"].header
        return sci, Grid.from_wcs(WCS(header), sci.shape), header


def aperture_flux(made: Made, ra_deg: float, dec_deg: float, *, level: float = 0.0) -> float:
    """Return the flux in a circle that holds all of a star [MJy/sr arcsec^2]."""
    sci, grid, _ = made
    x, y = grid.pixels_of(ra_deg, dec_deg)
    rows, columns = np.indices(sci.shape)
    inside = np.hypot(columns - float(x), rows - float(y)) < APERTURE_PX
    return float((sci[inside] - level).sum()) * grid.scale_arcsec**2


@pytest.fixture(scope="module")
def stars() -> list[tuple[float, float, float]]:
    """Return stars of different brightness that all dithers see, far from each other."""
    fluxes = np.geomspace(0.5, 40.0, 6)
    return [
        (ra, dec, float(flux)) for (ra, dec), flux in zip(star_positions(6), fluxes, strict=True)
    ]


def test_a_uniform_field_keeps_its_surface_brightness(
    calreg: Callable[..., Result], sqlite_template: Path, tmp_path: Path
) -> None:
    sci, grid, header = made_by_command(
        calreg, sqlite_template, tmp_path, Scene(level=0.3), "--no-background"
    )
    covered = sci[np.isfinite(sci)]
    # 4 dithers of 256 pixels of 0.063 arcsec on pixels of 0.06 arcsec
    assert covered.size > (N_PX * 0.063 / 0.06) ** 2
    assert np.abs(covered / 0.3 - 1.0).max() < FLUX_TOLERANCE
    assert header["PIXAR_SR"] == pytest.approx(grid.pixel_sr, rel=1e-12)


@pytest.mark.parametrize("background", ["--background", "--no-background"])
def test_isolated_stars_keep_flux_and_place(
    calreg: Callable[..., Result],
    sqlite_template: Path,
    tmp_path: Path,
    stars: list[tuple[float, float, float]],
    background: str,
) -> None:
    made = made_by_command(calreg, sqlite_template, tmp_path, Scene(stars, level=0.3), background)
    level = 0.3 if background == "--no-background" else 0.0
    sigma_px = FWHM_ARCSEC * SIGMA_PER_FWHM / made[1].scale_arcsec
    for ra_deg, dec_deg, flux in stars:
        assert aperture_flux(made, ra_deg, dec_deg, level=level) == pytest.approx(
            flux, rel=FLUX_TOLERANCE
        )
        x, y = (float(value) for value in made[1].pixels_of(ra_deg, dec_deg))
        x, y = windowed_centroid(made[0] - level, x, y, 1.5 * sigma_px)
        ra, dec = WCS(made[2]).wcs_pix2world(x, y, 0)
        east_mas = float(ra - ra_deg) * np.cos(np.radians(dec_deg)) * 3.6e6
        north_mas = float(dec - dec_deg) * 3.6e6
        assert np.hypot(east_mas, north_mas) < POSITION_TOLERANCE_MAS


def test_noise_is_what_the_errors_say(
    calreg: Callable[..., Result], sqlite_template: Path, tmp_path: Path
) -> None:
    sci, _, _ = made_by_command(
        calreg, sqlite_template, tmp_path, Scene(level=0.3, noise=NOISE), "--no-background"
    )
    (path,) = tmp_path.glob("*_i2d.fits")
    with fits.open(path) as hdus:
        err, con = hdus["ERR"].data, hdus["CON"].data[0]
        correlation = hdus[0].header["NOISCORR"]
    pulls = ((sci - 0.3) / err)[con == 15]
    assert pulls.std() == pytest.approx(1.0, abs=0.02)
    # Sums over boxes of 16 x 16 pixels scatter more, by the correlation that the header gives.
    covered = np.where(con == 15, sci - 0.3, np.nan)
    ny, nx = (16 * (n // 16) for n in sci.shape)
    boxes = covered[:ny, :nx].reshape(ny // 16, 16, nx // 16, 16).sum(axis=(1, 3))
    errors = np.where(con == 15, err**2, np.nan)[:ny, :nx]
    expected = np.sqrt(errors.reshape(ny // 16, 16, nx // 16, 16).sum(axis=(1, 3)))
    of_boxes = (boxes / expected)[np.isfinite(boxes)]
    assert of_boxes.size > 150
    assert of_boxes.std() == pytest.approx(correlation, rel=4.0 / np.sqrt(2.0 * of_boxes.size))


def test_the_gwcs_counts_where_there_is_one(
    calreg: Callable[..., Result],
    sqlite_template: Path,
    tmp_path: Path,
    stars: list[tuple[float, float, float]],
) -> None:
    """The header's WCS is wrong by 1 arcsec, that of the ASDF extension is right."""
    (tmp_path / "epoch1").mkdir()
    for n in range(3):
        sky = pointing(n)
        wrong = float(sky.wcs.wcs.crval[1]) + 1.0 / 3600.0
        write_exposure(
            tmp_path / "epoch1",
            n,
            Scene(stars, level=0.3),
            science={"CRVAL2": wrong},
            asdf_tree=asdf_tree(gwcs_like(sky, (N_PX, N_PX))),
        )
    url = copied_registry(sqlite_template, tmp_path)
    result = calreg("--db", url, "mosaic", tmp_path / "epoch1", "--out", tmp_path)
    assert result.status == 0, result.err
    (path,) = tmp_path.glob("*_i2d.fits")
    with fits.open(path) as hdus:
        sci, wcs = hdus["SCI"].data, WCS(hdus["SCI"].header)
        assert hdus["HDRTAB"].data["WCS_FROM"].tolist() == ["gwcs"] * 3
    for ra_deg, dec_deg, _ in stars[3:]:
        x, y = wcs.wcs_world2pix(ra_deg, dec_deg, 0)
        at = windowed_centroid(sci, float(x), float(y), 1.5)
        # 2 mas in pixels of 60 mas
        assert np.hypot(at[0] - x, at[1] - y) < POSITION_TOLERANCE_MAS / 60.0

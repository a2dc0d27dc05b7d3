"""The pixels of an image by its cards are those that the library finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from calreg.files.images.planes import open_image
from calreg.science.sky.grids import Grid

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (30, 40)


def write(path: Path, header: fits.Header) -> Path:
    fits.HDUList(
        [fits.PrimaryHDU(), fits.ImageHDU(np.zeros(SHAPE, np.float32), header, name="SCI")]
    ).writeto(path)
    return path


def make_header(seed: int = 0) -> fits.Header:
    rng = np.random.default_rng(seed)
    ra, dec, pa = rng.uniform([0.0, -89.0, 0.0], [360.0, 89.0, 360.0])
    x, y = rng.uniform(-1000.0, 1000.0, 2)
    grid = Grid(ra, dec, rng.uniform(0.01, 0.2), pa, x, y, SHAPE[1], SHAPE[0])
    return grid.wcs().to_header()


@pytest.mark.parametrize("seed", range(20))
def test_plain_grid_is_the_librarys(tmp_path: Path, seed: int) -> None:
    header = make_header(seed)
    image = open_image(write(tmp_path / "a.fits", header))
    assert "wcs" not in vars(image)  # the library was not asked
    assert image.grid == Grid.from_wcs(WCS(header), SHAPE)


@pytest.mark.parametrize(
    ("more", "has_grid"),
    [
        ({"RADESYS": "FK5", "EQUINOX": 2000.0}, True),
        ({"RADESYS": "FK5", "EQUINOX": 1975.0}, False),
        ({"LONPOLE": 90.0}, False),
        ({"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN"}, False),
        ({"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2,
          "A_2_0": 1e-6, "B_0_2": 1e-6}, False),
        ({"CUNIT1": "arcsec", "CUNIT2": "arcsec"}, True),
        ({"PC1_1": 0.7}, False),
        ({"CDELT1": 1e-5, "CDELT2": 2e-5}, False),
    ],
)  # fmt: skip
def test_anything_else_is_the_librarys_to_judge(
    tmp_path: Path, more: dict[str, object], has_grid: bool
) -> None:
    header = make_header()
    header.update(more)
    image = open_image(write(tmp_path / "a.fits", header))
    assert (image.grid is not None) == has_grid
    if has_grid:
        assert image.grid == Grid.from_wcs(WCS(header), SHAPE)


def test_cd_matrix(tmp_path: Path) -> None:
    header = make_header()
    for i in (1, 2):
        for j in (1, 2):
            header[f"CD{i}_{j}"] = header.pop(f"PC{i}_{j}") * header[f"CDELT{i}"]
        del header[f"CDELT{i}"]
    image = open_image(write(tmp_path / "a.fits", header))
    assert image.grid == Grid.from_wcs(WCS(header), SHAPE)

"""A catalog lies on the image that it is given to, or is refused or warned of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table

from calreg.ingest.options import IngestOptions
from calreg.science.sky.footprints import is_inside
from support.fitsimages import write_image
from support.synthetic import catalog_rows, ingest_all

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.ingest.options import IngestReport

STEM = "jw01176-o241_t001_nircam_clear-f150w"
RA_A, RA_B, DEC = 215.0, 215.07, 53.0
HALF = 0.01
SCALE = 0.03 / 3600.0
RNG = np.random.default_rng(5)
N = 40


def region(ra_deg: float, half_ra: float = HALF / np.cos(np.radians(DEC))) -> str:
    """Return the S_REGION of a box."""
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    words = [f"{ra_deg + half_ra * i:.9f} {DEC + HALF * j:.9f}" for i, j in corners]
    return f"POLYGON ICRS  {' '.join(words)}"


def wcs_cards(ra_deg: float, roll_deg: float) -> dict[str, str | float | None]:
    """Return the WCS of a mosaic whose y axis has a position angle."""
    cos, sin = np.cos(np.radians(roll_deg)), np.sin(np.radians(roll_deg))
    return {
        "WCSAXES": 2,
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CUNIT1": "deg",
        "CUNIT2": "deg",
        "CRVAL1": ra_deg,
        "CRVAL2": DEC,
        "CRPIX1": 1200.5,
        "CRPIX2": 1200.5,
        "CD1_1": -SCALE * cos,
        "CD1_2": SCALE * sin,
        "CD2_1": SCALE * sin,
        "CD2_2": SCALE * cos,
    }


def write_mosaic(
    path: Path,
    detector: str,
    ra_deg: float,
    *,
    roll_deg: float = 0.0,
    start: float = 59768.25,
    half_ra: float = HALF / np.cos(np.radians(DEC)),
) -> Path:
    """Write a mosaic with footprint and WCS."""
    return write_image(
        path,
        primary={
            "DETECTOR": detector,
            "MODULE": detector[3],
            "EXPSTART": start,
            "EXPMID": start + 0.01,
            "EXPEND": start + 0.02,
            "OBSERVTN": "241" if start < 59800.0 else "242",
        },
        science={
            "S_REGION": region(ra_deg, half_ra),
            "PA_V3": roll_deg,
            "ROLL_REF": roll_deg,
            **wcs_cards(ra_deg, roll_deg),
        },
    )


def sources(ra_deg: float, *, n_outside: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return positions inside the box around a place, some of them moved out of it."""
    reach = 0.9 * HALF
    ra = ra_deg + RNG.uniform(-reach, reach, N) / np.cos(np.radians(DEC))
    dec = DEC + RNG.uniform(-reach, reach, N)
    dec[:n_outside] += 3.0 * HALF
    return ra, dec


def write_catalog(path: Path, ra: np.ndarray, dec: np.ndarray, **more: np.ndarray) -> Path:
    """Write sources as ECSV."""
    table = Table({"id": np.arange(1, N + 1), "ra": ra, "dec": dec, **more})
    table["mag"], table["mag_err"] = np.linspace(18.0, 21.0, N), np.full(N, 0.01)
    table.write(path)
    return path


def give(url: str, catalog: Path, image: Path) -> IngestReport:
    """Ingest a catalog as one of an image."""
    return ingest_all(url, [catalog], IngestOptions(image=image))


@pytest.fixture
def images(db_url: str, tmp_path: Path) -> tuple[Path, Path]:
    """Ingest one mosaic of either module."""
    paths = (
        write_mosaic(tmp_path / "a_i2d.fits", "NRCA1", RA_A),
        write_mosaic(tmp_path / "b_i2d.fits", "NRCB1", RA_B),
    )
    assert ingest_all(db_url, paths).refused == []
    return paths


def test_catalog_of_the_other_module_is_refused(
    db_url: str, tmp_path: Path, images: tuple[Path, Path]
) -> None:
    catalog = write_catalog(tmp_path / "of_b.ecsv", *sources(RA_B))
    (outcome,) = give(db_url, catalog, images[0]).refused
    assert "0% of its 40 sources lie inside the footprint of a_i2d.fits" in outcome.message
    assert "100% of them lie on b_i2d.fits" in outcome.message
    assert catalog_rows(db_url) == []
    report = give(db_url, catalog, images[1])
    assert (report.refused, report.loaded[0].warnings) == ([], ())


def test_names_alone_swap_no_modules(
    db_url: str, tmp_path: Path, images: tuple[Path, Path]
) -> None:
    catalog = write_catalog(tmp_path / "a_cat.ecsv", *sources(RA_B))
    (outcome,) = ingest_all(db_url, [catalog]).refused
    assert "100% of them lie on b_i2d.fits" in outcome.message
    assert images[0].name in outcome.message


@pytest.mark.parametrize(
    ("n_outside", "inside"), [(2, None), (3, "92%"), (20, "50%"), (21, "refused")]
)
def test_limits(
    db_url: str, tmp_path: Path, images: tuple[Path, Path], n_outside: int, inside: str | None
) -> None:
    catalog = write_catalog(tmp_path / "c.ecsv", *sources(RA_A, n_outside=n_outside))
    report = give(db_url, catalog, images[0])
    if inside == "refused":
        (outcome,) = report.refused
        assert "48% of its 40 sources lie inside" in outcome.message
        assert "of them lie on" not in outcome.message
        return
    found = report.loaded[0].warnings
    if inside is None:
        assert found == ()
    else:
        (warning,) = found
        assert warning.startswith(f"{inside} of the sources lie inside the footprint of a_i2d.fits")


def test_galactic_and_hours_are_told(
    db_url: str, tmp_path: Path, images: tuple[Path, Path]
) -> None:
    ra, dec = sources(RA_B)
    galactic = SkyCoord(ra, dec, unit="deg").galactic
    catalog = write_catalog(tmp_path / "g.ecsv", galactic.l.deg, galactic.b.deg)
    (outcome,) = give(db_url, catalog, images[1]).refused
    assert "the positions lie on b_i2d.fits as galactic l, b" in outcome.message
    catalog = write_catalog(tmp_path / "h.ecsv", ra / 15.0, dec)
    (outcome,) = give(db_url, catalog, images[1]).refused
    assert "right ascensions are all in 0 to 24, and lie on b_i2d.fits as hours" in outcome.message


def test_swap_of_overlapping_modules_is_refused(db_url: str, tmp_path: Path) -> None:
    # The footprints share 60 % of their width, as dithers can make them.
    step = 0.8 * HALF / np.cos(np.radians(DEC))
    a = write_mosaic(tmp_path / "a_i2d.fits", "NRCA1", RA_A)
    b = write_mosaic(tmp_path / "b_i2d.fits", "NRCB1", RA_A + step)
    catalog = write_catalog(tmp_path / "of_b.ecsv", *sources(RA_A + step))
    ingest_all(db_url, [a, b])
    (outcome,) = give(db_url, catalog, a).refused
    assert "100% of them lie on b_i2d.fits" in outcome.message


def test_swap_between_flipped_epochs_is_seen_by_pixels(db_url: str, tmp_path: Path) -> None:
    a = write_mosaic(tmp_path / "a_i2d.fits", "NRCA1", RA_A)
    later = write_mosaic(tmp_path / "b_i2d.fits", "NRCB1", RA_A, roll_deg=180.0, start=59950.0)
    ingest_all(db_url, [a, later])
    ra, dec = sources(RA_A)
    with fits.open(a) as hdus:
        from astropy.wcs import WCS

        x, y = WCS(hdus[1].header).all_world2pix(ra, dec, 0)
    catalog = write_catalog(tmp_path / "of_a.ecsv", ra, dec, x=x, y=y)
    (outcome,) = give(db_url, catalog, later).refused
    assert "pixels from where the WCS of b_i2d.fits has the positions" in outcome.message
    assert "0 from that of a_i2d.fits" in outcome.message
    assert give(db_url, catalog, a).loaded[0].warnings == ()


def test_pixels_of_another_grid_are_warned_of(
    db_url: str, tmp_path: Path, images: tuple[Path, Path]
) -> None:
    ra, dec = sources(RA_A)
    catalog = write_catalog(tmp_path / "c.ecsv", ra, dec, x=RNG.uniform(0, 9, N), y=np.ones(N))
    (warning,) = give(db_url, catalog, images[0]).loaded[0].warnings
    assert "pixels (median) from where the WCS of a_i2d.fits has the positions" in warning


def test_inside_of_polygons() -> None:
    chevron = np.array([[359.9, -0.1], [0.1, -0.1], [0.1, 0.1], [0.0, 0.0], [359.9, 0.1]])
    ra = np.array([0.05, 359.95, 0.0, 0.0, 180.0, 0.2])
    dec = np.array([0.0, 0.0, 0.05, -0.05, 0.0, 0.0])
    assert is_inside(ra, dec, [chevron]).tolist() == [True, True, False, True, False, False]
    square = np.array([[0.15, -0.1], [0.25, -0.1], [0.25, 0.1], [0.15, 0.1]])
    both = is_inside(ra, dec, [chevron, square])
    assert both.tolist() == [True, True, False, True, False, True]

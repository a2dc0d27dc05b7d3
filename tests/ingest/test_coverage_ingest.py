"""Catalogs get the mean detector positions of their sources at the door, where they are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from calreg.science.sky.coverage import focal_plane
from calreg.science.sky.geometry import sep_arcsec
from calreg.science.sky.pointing import boresight
from support.catalogfiles import DEC_DEG, RA_DEG, X_FITS, Y_FITS, write_csv, write_ldac_catalog
from support.dithermosaics import ARRAY, Dithers, make_dithers, write_dithered
from support.fitsimages import SCIENCE_CARDS, write_image
from support.synthetic import catalog_rows, detections_of, ingest_all

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.ingest.options import IngestReport

IMAGE = "jw01176-o241_t001_nircam_clear-f356w_nrcalong_i2d.fits"
CAL = "jw01176241001_02101_00001_nrca1_cal.fits"
POSITIONS = ("x_det", "y_det", "v2_arcsec", "v3_arcsec")


@pytest.fixture(scope="module")
def dithers() -> Dithers:
    return make_dithers()


def write_sources(path: Path, sky: tuple[np.ndarray, np.ndarray]) -> Path:
    """Write positions as CSV."""
    rows = zip(*(axis.tolist() for axis in sky), strict=True)
    return write_csv(
        path, "".join(f"{n},{ra!r},{dec!r},20.0,0.01\n" for n, (ra, dec) in enumerate(rows, 1))
    )


def ingested(url: str, paths: list[Path]) -> dict[str, Any]:
    """Ingest an image with a catalog and return its detections."""
    report = ingest_all(url, paths)
    assert report.refused == []
    (row,) = catalog_rows(url)
    return detections_of(url, row["id"])


def test_mosaic_with_members(db_url: str, tmp_path: Path, dithers: Dithers) -> None:
    image = write_dithered(tmp_path / IMAGE, dithers, context=dithers.context())
    sky = dithers.inside(200)
    catalog = write_sources(tmp_path / IMAGE.replace(".fits", ".csv"), sky)
    found = ingested(db_url, [catalog, image])
    # The geometry in a few lines: the middle of a detector is where most of the dithers agree.
    x = np.array([dithers.pixels_of(n, *sky)[0] for n in range(6)])
    y = np.array([dithers.pixels_of(n, *sky)[1] for n in range(6)])
    is_seen = (x >= -0.5) & (x <= 2047.5) & (y >= -0.5) & (y <= 2047.5)
    # The context says the same but for sources within two coarse pixels of a detector's edge.
    edges = [np.abs(axis - edge) for axis in (x, y) for edge in (-0.5, 2047.5)]
    is_clear = (np.min(edges, axis=0) > 50.0).all(axis=0) & is_seen.any(axis=0)
    assert is_clear.sum() > 100
    expected = np.where(is_seen, x, 0.0).sum(axis=0)[is_clear] / is_seen.sum(axis=0)[is_clear]
    np.testing.assert_allclose(found["x_det"][is_clear], expected, rtol=0, atol=2e-4)
    # In the focal plane the mean lies within the array: 2 x 64.5 arcsec on a side.
    is_known = np.isfinite(found["v2_arcsec"])
    assert is_known[is_clear].all()
    assert np.abs(found["v2_arcsec"][is_known] - ARRAY.v2_ref_arcsec).max() < 66.0
    assert np.abs(found["v3_arcsec"][is_known] - ARRAY.v3_ref_arcsec).max() < 66.0


def test_a_second_flux_of_the_same_image_has_them_too(
    db_url: str, tmp_path: Path, dithers: Dithers
) -> None:
    image = write_dithered(tmp_path / IMAGE, dithers, context=dithers.context())
    assert ingest_all(db_url, [image]).refused == []
    sky = dithers.inside(4)
    path = tmp_path / IMAGE.replace(".fits", ".cat")
    write_ldac_catalog(path, IMAGE, ALPHA_J2000=sky[0], DELTA_J2000=sky[1])
    assert ingest_all(db_url, [path]).refused == []
    (row,) = catalog_rows(db_url)
    found = detections_of(db_url, row["id"])
    assert np.isfinite(found["x_det"]).any()


def test_single_exposure(db_url: str, tmp_path: Path) -> None:
    image = write_image(tmp_path / CAL)
    catalog = tmp_path / CAL.replace(".fits", ".cat")
    write_ldac_catalog(catalog, CAL)
    found = ingested(db_url, [image, catalog])
    np.testing.assert_allclose(found["x_det"], X_FITS - 1.0, rtol=0, atol=0)
    np.testing.assert_allclose(found["y_det"], Y_FITS - 1.0, rtol=0, atol=0)
    cards = [SCIENCE_CARDS[name] for name in ("V2_REF", "V3_REF", "RA_REF", "DEC_REF", "ROLL_REF")]
    v2, v3 = focal_plane(RA_DEG, DEC_DEG, boresight(*cards))  # type: ignore[arg-type]
    np.testing.assert_allclose(found["v2_arcsec"], v2, rtol=0, atol=0)
    np.testing.assert_allclose(found["v3_arcsec"], v3, rtol=0, atol=0)
    # On the sphere a distance is the same in both frames.
    sep = float(sep_arcsec(RA_DEG[0], DEC_DEG[0], RA_DEG[2], DEC_DEG[2]))
    across = sep_arcsec(v2[0] / 3600.0, v3[0] / 3600.0, v2[2] / 3600.0, v3[2] / 3600.0)
    assert float(across) == pytest.approx(sep, abs=1e-7)


def test_a_catalog_without_pixels_has_the_focal_plane_only(db_url: str, tmp_path: Path) -> None:
    image = write_image(tmp_path / CAL)
    found = ingested(db_url, [image, write_csv(tmp_path / CAL.replace(".fits", ".csv"))])
    assert np.isnan(found["x_det"]).all()
    assert np.isfinite(found["v2_arcsec"]).all()


def test_an_exposure_without_pointing_has_pixels_only(db_url: str, tmp_path: Path) -> None:
    image = write_image(tmp_path / CAL, science={"V2_REF": None})
    catalog = tmp_path / CAL.replace(".fits", ".cat")
    write_ldac_catalog(catalog, CAL)
    found = ingested(db_url, [image, catalog])
    assert np.isfinite(found["x_det"]).all()
    assert np.isnan(found["v2_arcsec"]).all()


@pytest.mark.parametrize("has_start", [True, False])
def test_subarray(db_url: str, tmp_path: Path, has_start: bool) -> None:
    primary: dict[str, Any] = {"SUBARRAY": "SUB640"}
    if has_start:
        primary |= {"SUBSTRT1": 705, "SUBSTRT2": 1409}
    image = write_image(tmp_path / CAL, primary=primary)
    catalog = tmp_path / CAL.replace(".fits", ".cat")
    write_ldac_catalog(catalog, CAL)
    found = ingested(db_url, [image, catalog])
    if has_start:
        np.testing.assert_allclose(found["x_det"], X_FITS - 1.0 + 704.0, rtol=0, atol=0)
        np.testing.assert_allclose(found["y_det"], Y_FITS - 1.0 + 1408.0, rtol=0, atol=0)
    else:
        assert np.isnan(found["x_det"]).all()
    assert np.isfinite(found["v3_arcsec"]).all()


@pytest.mark.parametrize("how", ["no table", "gone", "changed"])
def test_unknown_stays_null(db_url: str, tmp_path: Path, dithers: Dithers, how: str) -> None:
    if how == "no table":
        image = write_image(tmp_path / IMAGE, primary={"DETECTOR": "NRCALONG", "FILTER": "F356W"})
    else:
        image = write_dithered(tmp_path / IMAGE, dithers, context=dithers.context())
    assert ingest_all(db_url, [image]).refused == []
    if how != "no table":
        image.unlink()
    if how == "changed":
        write_dithered(image, dithers, primary={"CAL_VER": "9"})
    sources = write_sources(tmp_path / IMAGE.replace(".fits", ".csv"), dithers.inside(5))
    found = ingested(db_url, [sources])
    for name in POSITIONS:
        assert np.isnan(found[name]).all()


def test_a_broken_table_refuses_the_catalog_in_one_line(
    db_url: str, tmp_path: Path, dithers: Dithers
) -> None:
    wcs = ["CTYPE1  = 'XX---YYY'" + " " * 60 + "CRPIX1  = 'no'"] * 6
    image = write_dithered(tmp_path / IMAGE, dithers, columns={"WCS": wcs})
    sources = write_sources(tmp_path / IMAGE.replace(".fits", ".csv"), dithers.inside(5))
    report: IngestReport = ingest_all(db_url, [image, sources])
    (refused,) = report.refused
    assert refused.message.startswith(f"{sources}: its image cannot be used: {image}: ")
    assert "\n" not in refused.message
    assert catalog_rows(db_url) == []


def test_the_same_catalog_again_is_known(db_url: str, tmp_path: Path, dithers: Dithers) -> None:
    image = write_dithered(tmp_path / IMAGE, dithers, context=dithers.context())
    sources = write_sources(tmp_path / IMAGE.replace(".fits", ".csv"), dithers.inside(5))
    ingested(db_url, [image, sources])
    again = ingest_all(db_url, [image, sources])
    assert (len(again.unchanged), again.loaded, again.refused) == (2, [], [])


# --- half-light radius and compactness ------------------------------------------------------------


@pytest.mark.parametrize("radii", ["FLUX_RADIUS", "two radii", "none"])
def test_half_light_radius_of_sextractor(db_url: str, tmp_path: Path, radii: str) -> None:
    radius = np.array([1.5, 2.0, 0.0, -1.0])
    more: dict[str, Any] = {}
    if radii == "FLUX_RADIUS":
        more["FLUX_RADIUS"] = radius
    elif radii == "two radii":
        more["FLUX_RADIUS"] = np.column_stack([radius, 2.0 * radius])
    image = write_image(tmp_path / CAL)
    catalog = tmp_path / CAL.replace(".fits", ".cat")
    write_ldac_catalog(catalog, CAL, **more)
    found = ingested(db_url, [image, catalog])
    side_arcsec = np.degrees(np.sqrt(float(SCIENCE_CARDS["PIXAR_SR"]))) * 3600.0  # type: ignore[arg-type]
    expected = np.full(4, np.nan)
    if radii == "FLUX_RADIUS":
        expected[:2] = radius[:2] * side_arcsec
    # FITS_LDAC keeps radii as float32.
    np.testing.assert_allclose(found["r_half_arcsec"], expected, rtol=1e-6)
    assert found["compactness"].tolist() == [-1] * 4


def test_compactness_of_a_column(db_url: str, tmp_path: Path) -> None:
    image = write_image(tmp_path / CAL)
    path = tmp_path / CAL.replace(".fits", ".csv")
    rows = "".join(
        f"{n},{ra!r},{dec!r},20.0,0.01,{word}\n"
        for n, (ra, dec, word) in enumerate(
            zip(RA_DEG.tolist(), DEC_DEG.tolist(), ("1", "0", "-1", "1"), strict=True), 1
        )
    )
    path.write_text("id,ra,dec,mag,mag_err,IS_COMPACT\n" + rows)
    found = ingested(db_url, [image, path])
    assert found["compactness"].tolist() == [1, 0, -1, 1]
    assert np.isnan(found["r_half_arcsec"]).all()

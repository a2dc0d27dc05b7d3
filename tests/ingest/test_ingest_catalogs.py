"""Catalogs of every format find their image and become AB magnitudes, on both engines."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import sqlalchemy as sa

from calreg import Registry
from calreg.db.engine import open_database
from calreg.domain import FluxKind
from calreg.ingest.options import IngestOptions
from support.catalogfiles import (
    DEC_DEG,
    FLUX,
    FLUX_AUTO,
    FLUX_ERR,
    FLUX_UJY,
    MAG,
    MAG_ERR,
    NUMBER,
    PIXAR_SR,
    RA_DEG,
    X_FITS,
    ZERO_POINT_MAG,
    generic_table,
    write_ascii_catalog,
    write_csv,
    write_fits_catalog,
    write_jwst_catalog,
    write_ldac_catalog,
)
from support.fitsimages import write_image
from support.synthetic import catalog_rows, catalogs_of, detections_of, ingest_all, mosaics_of

if TYPE_CHECKING:
    from collections.abc import Callable

STEM = "jw01176-o241_t001_nircam_clear-f150w_nrca1"
IMAGE = f"{STEM}_i2d.fits"

# FITS_LDAC keeps fluxes as float32: 6e-8 relative, 7e-8 mag.
FLOAT32_MAG = 2e-7


def write_votable(path: Path) -> None:
    generic_table().write(path, format="votable")


def write_parquet(path: Path) -> None:
    generic_table().write(path, format="parquet")


FORMATS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "FITS_LDAC": ("any.cat", lambda path: write_ldac_catalog(path, IMAGE)),
    "FITS_1.0": ("any.fits", lambda path: write_fits_catalog(path, IMAGE)),
    "ASCII_HEAD": (f"{STEM}_i2d.cat", write_ascii_catalog),
    "jwst": (f"{STEM}_cat.ecsv", write_jwst_catalog),
    "ECSV": (f"{STEM}_i2d_cat.ecsv", lambda path: generic_table().write(path)),
    "CSV": (f"{STEM}_i2d.csv", write_csv),
    "VOTable": (f"{STEM}_i2d.xml", write_votable),
    "Parquet": (f"{STEM}_cat.parquet", write_parquet),
}


def one_catalog(url: str) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    (row,) = catalog_rows(url)
    return row, detections_of(url, row["id"])


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_gives_the_same_detections(db_url: str, tmp_path: Path, form: str) -> None:
    name, write = FORMATS[form]
    # The catalog comes first in the call, its image after it.
    write(tmp_path / name)
    image = write_image(tmp_path / IMAGE)
    report = ingest_all(db_url, [tmp_path / name, image])
    assert report.refused == []
    assert [outcome.kind for outcome in report.loaded] == ["i2d", "catalog"]
    row, found = one_catalog(db_url)
    whole = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    assert (row["file_name"], row["file_sha256"]) == (name, whole)
    has_flux = form != "CSV"
    assert (row["image"], row["n_rows"], row["mag_origin"]) == (
        IMAGE,
        NUMBER.size,
        "flux" if has_flux else "catalog",
    )
    np.testing.assert_array_equal(found["number"], NUMBER)
    # VOTable, ECSV and FITS keep doubles as they are.
    np.testing.assert_allclose(found["ra_deg"], RA_DEG, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found["dec_deg"], DEC_DEG, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found["mag_ab"], MAG, rtol=0, atol=FLOAT32_MAG)
    np.testing.assert_allclose(found["mag_err"], MAG_ERR, rtol=1e-6)
    np.testing.assert_allclose(found["flux_ujy"], FLUX_UJY, rtol=2e-7)
    np.testing.assert_allclose(found["flux_err_ujy"], FLUX_ERR * PIXAR_SR * 1e12, rtol=1e-6)
    x = np.full(NUMBER.size, np.nan) if form == "CSV" else X_FITS - 1.0
    np.testing.assert_allclose(found["x"], x, rtol=0, atol=1e-9)


def test_image_option_names_a_file_or_a_name(db_url: str, tmp_path: Path) -> None:
    image = write_image(tmp_path / IMAGE)
    other = write_image(tmp_path / "other_cal.fits", primary={"EXPOSURE": "2"})
    first = write_csv(tmp_path / "sources.csv")
    second = write_csv(tmp_path / "more.csv", "1,265.1,65.8,20.0,0.01\n")
    report = ingest_all(db_url, [first, image, other], IngestOptions(image=image))
    assert report.refused == []
    report = ingest_all(db_url, [second], IngestOptions(image=Path(other.name)))
    assert report.refused == []
    assert [(row["file_name"], row["image"]) for row in catalog_rows(db_url)] == [
        ("sources.csv", IMAGE),
        ("more.csv", "other_cal.fits"),
    ]
    report = ingest_all(db_url, [first], IngestOptions(image=Path("absent.fits")))
    assert report.refused[0].message == (
        f"{first}: --image absent.fits is not in the registry; ingest it first or in the same call"
    )


def test_the_most_likely_image_of_a_name_is_taken(db_url: str, tmp_path: Path) -> None:
    # calwebb_image2 writes X_cal.fits and X_i2d.fits; source_catalog works on the second.
    write_image(tmp_path / f"{STEM}_cal.fits")
    write_image(tmp_path / IMAGE)
    write_jwst_catalog(tmp_path / f"{STEM}_cat.ecsv")
    assert ingest_all(db_url, [tmp_path]).refused == []
    assert [row["image"] for row in catalog_rows(db_url)] == [IMAGE]


# --- the same names in two contexts ---------------------------------------------------------------


def test_same_names_in_two_contexts_are_told_apart_by_folder(
    db_url: str, programme_folder: Path
) -> None:
    epochs = [programme_folder / pmap / "epoch1" for pmap in ("jwst_1039", "jwst_1130")]
    for folder in epochs:
        assert ingest_all(db_url, mosaics_of(folder)).refused == []
    assert ingest_all(db_url, [p for folder in epochs for p in catalogs_of(folder)]).refused == []
    rows = catalog_rows(db_url)
    assert [(row["directory"], row["pmap"]) for row in rows] == [
        (str(folder), f"{folder.parent.name}.pmap") for folder in epochs * 2
    ]
    assert all(row["image_directory"] == row["directory"] for row in rows)


def test_a_folder_behind_a_link_is_the_same_folder(
    db_url: str, programme_folder: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(programme_folder)
    for pmap in ("jwst_1039", "jwst_1130"):
        ingest_all(db_url, mosaics_of(link / pmap / "epoch1"))
    catalogs = catalogs_of(programme_folder / "jwst_1130" / "epoch1")
    assert ingest_all(db_url, catalogs).refused == []
    assert {row["pmap"] for row in catalog_rows(db_url)} == {"jwst_1130.pmap"}


def two_contexts(tmp_path: Path, *photmjsr: float) -> list[Path]:
    images = []
    for number, value in zip((1039, 1130), photmjsr, strict=True):
        folder = tmp_path / f"jwst_{number}"
        folder.mkdir()
        primary = {"CRDS_CTX": f"jwst_{number}.pmap"}
        images.append(write_image(folder / IMAGE, primary=primary, science={"PHOTMJSR": value}))
    return images


def test_same_names_elsewhere_are_refused_with_both_places(db_url: str, tmp_path: Path) -> None:
    images = two_contexts(tmp_path, 2.3, 2.3)
    catalog = write_ldac_catalog(tmp_path / "s.cat", IMAGE)
    report = ingest_all(db_url, [*images, catalog])
    (message,) = (outcome.message for outcome in report.refused)
    assert message == (
        f"{catalog}: 2 images are called {IMAGE}, in {tmp_path}/jwst_1039 (jwst_1039.pmap) and "
        f"{tmp_path}/jwst_1130 (jwst_1130.pmap); put the catalog beside its image, or name the "
        "image with --image"
    )
    report = ingest_all(db_url, [catalog], IngestOptions(image=Path(IMAGE)))
    assert "give the path of the file" in report.refused[0].message
    assert ingest_all(db_url, [catalog], IngestOptions(image=images[1])).refused == []
    assert [row["pmap"] for row in catalog_rows(db_url)] == ["jwst_1130.pmap"]


def test_photmjsr_of_the_catalog_tells_contexts_apart(db_url: str, tmp_path: Path) -> None:
    images = two_contexts(tmp_path, 2.3, 2.4)
    catalog = write_ldac_catalog(tmp_path / "s.cat", IMAGE, header={"PHOTMJSR": 2.4})
    assert ingest_all(db_url, [*images, catalog]).refused == []
    assert [row["pmap"] for row in catalog_rows(db_url)] == ["jwst_1130.pmap"]


def test_a_catalog_of_another_reduction_is_not_attached(db_url: str, tmp_path: Path) -> None:
    image = two_contexts(tmp_path, 2.3, 2.4)[0]
    catalog = write_ldac_catalog(tmp_path / "s.cat", IMAGE, header={"PHOTMJSR": 2.4})
    report = ingest_all(db_url, [image, catalog])
    (message,) = (outcome.message for outcome in report.refused)
    assert message == (
        f"{catalog}: its header states PHOTMJSR 2.4, but {IMAGE} in the registry has 2.3 under "
        "jwst_1039.pmap: the catalog was measured on another reduction; ingest that image, or name "
        "the right one with --image"
    )


# --- fluxes and magnitudes ------------------------------------------------------------------------


def test_flux_kinds_are_stored_side_by_side(db_url: str, tmp_path: Path) -> None:
    image = write_image(tmp_path / IMAGE)
    catalog = write_ldac_catalog(tmp_path / "s.cat", IMAGE)
    ingest_all(db_url, [image, catalog])
    report = ingest_all(db_url, [catalog], IngestOptions(flux=FluxKind.AUTO))
    assert (len(report.loaded), report.refused) == (1, [])
    auto, iso = catalog_rows(db_url)
    assert (auto["flux_kind"], iso["flux_kind"]) == ("auto", "iso")
    assert auto["file_sha256"] == iso["file_sha256"]
    for row, flux in ((auto, FLUX_AUTO), (iso, FLUX)):
        expected = ZERO_POINT_MAG - 2.5 * np.log10(flux)
        found = detections_of(db_url, row["id"])["mag_ab"]
        np.testing.assert_allclose(found, expected, rtol=0, atol=FLOAT32_MAG)


def test_flux_kinds_are_never_mixed_within_a_pair(db_url: str, programme_folder: Path) -> None:
    folder = programme_folder / "jwst_1130"
    with Registry(db_url) as registry:
        registry.ingest(mosaics_of(folder))
        registry.ingest(catalogs_of(folder / "epoch1"))
        auto = IngestOptions(flux=FluxKind.AUTO)
        registry.ingest(catalogs_of(folder / "epoch2"), auto)
        assert registry.refit().pairing.n_groups == 0
        registry.ingest(catalogs_of(folder / "epoch2"))
        registry.ingest(catalogs_of(folder / "epoch1"), auto)
        # Per kind both arrays' patches, of epoch 1 with epoch 2.
        assert registry.refit().pairing.n_groups == 4
    statement = sa.text(
        "SELECT g.flux_kind, i.flux_kind, j.flux_kind FROM pair_groups g "
        "JOIN catalogs i ON i.id = g.catalog_i_id JOIN catalogs j ON j.id = g.catalog_j_id "
        "ORDER BY 1"
    )
    with open_database(db_url) as database, database.read() as connection:
        found = [tuple(row) for row in connection.execute(statement)]
    assert found == [(kind, kind, kind) for kind in ("auto", "auto", "iso", "iso")]


@pytest.mark.parametrize(
    ("shift_mag", "is_reported"),
    # The catalog's own magnitudes are float32: 2e-6 mag at 25.
    [(0.0, False), (0.0009, False), (0.0011, True), (-0.05, True)],
)
def test_a_wrong_zero_point_is_reported_and_not_used(
    db_url: str, tmp_path: Path, shift_mag: float, is_reported: bool
) -> None:
    image = write_image(tmp_path / IMAGE)
    catalog = write_ldac_catalog(
        tmp_path / "s.cat", IMAGE, zero_point_mag=ZERO_POINT_MAG + shift_mag
    )
    report = ingest_all(db_url, [image, catalog])
    row, found = one_catalog(db_url)
    np.testing.assert_allclose(found["mag_ab"], MAG, rtol=0, atol=FLOAT32_MAG)
    assert row["mag_origin"] == "flux"
    assert row["mag_disagreement"] == pytest.approx(-shift_mag, abs=4e-6)
    warnings = [text for outcome in report.loaded for text in outcome.warnings]
    assert bool(warnings) is is_reported
    if is_reported:
        assert warnings[0].startswith("4 of 4 magnitudes differ by more than 0.001 mag")
        assert f"median {-shift_mag:+.4f} mag" in warnings[0]
        assert "MAG_ZEROPOINT" in warnings[0]


def test_magnitudes_of_an_image_in_other_units_are_the_catalogs(
    db_url: str, tmp_path: Path
) -> None:
    image = write_image(tmp_path / IMAGE, science={"BUNIT": "10.0*nanoJansky"})
    catalog = write_ldac_catalog(tmp_path / "s.cat", IMAGE, zero_point_mag=28.9)
    report = ingest_all(db_url, [image, catalog])
    assert [outcome.warnings for outcome in report.loaded] == [(), ()]
    row, found = one_catalog(db_url)
    assert (row["mag_origin"], row["mag_disagreement"]) == ("catalog", None)
    # MAG_ISO is float32: 2e-6 mag at 28.
    np.testing.assert_allclose(found["mag_ab"], 28.9 - 2.5 * np.log10(FLUX), rtol=0, atol=2e-6)


def test_fluxes_alone_of_an_image_in_other_units_are_refused(db_url: str, tmp_path: Path) -> None:
    image = write_image(tmp_path / IMAGE, science={"BUNIT": "10.0*nanoJansky"})
    catalog = tmp_path / f"{STEM}_cat.ecsv"
    table = generic_table()[["id", "ra", "dec"]]
    table["source_sum"], table["source_sum_err"] = FLUX, FLUX_ERR
    table.write(catalog)
    report = ingest_all(db_url, [image, catalog])
    assert len(report.loaded) == 1
    assert report.refused[0].message == (
        f"{catalog}: fluxes are sums of an image in 10.0*nanoJansky with PIXAR_SR=2.29e-14, and "
        "there are no magnitudes; expected an image in MJy/sr with PIXAR_SR, or a magnitude column"
    )


def test_mapped_columns(db_url: str, tmp_path: Path) -> None:
    image = write_image(tmp_path / IMAGE)
    catalog = tmp_path / f"{STEM}_i2d.csv"
    catalog.write_text("RA_B,DE_B,m,dm\n265.1,65.81,20.5,0.01\n")
    assert "--columns ra=RA,dec=DEC" in ingest_all(db_url, [image, catalog]).refused[0].message
    columns = {"ra": "RA_B", "dec": "DE_B", "mag": "m", "mag_err": "dm"}
    assert ingest_all(db_url, [catalog], IngestOptions(columns=columns)).refused == []
    row, found = one_catalog(db_url)
    assert (row["flux_kind"], found["mag_ab"].tolist()) == ("iso", [20.5])

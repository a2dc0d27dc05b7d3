"""What a table calls missing stays missing, and a row without a positive error is left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import sqlalchemy as sa
from astropy.io import fits
from astropy.table import MaskedColumn, Table

from calreg import Registry
from calreg.db.engine import open_database
from calreg.db.schema import CoefficientSetRow, PairRow
from calreg.files.catalogs.fitstables import null_cells
from calreg.files.catalogs.read import read_catalog
from calreg.files.recognise import FileKind
from calreg.science.model.settings import FitSettings
from support.catalogfiles import (
    DEC_DEG,
    FLUX,
    FLUX_ERR,
    FLUX_UJY,
    NUMBER,
    RA_DEG,
    write_csv,
    write_ldac_catalog,
)
from support.fitsimages import write_image
from support.synthetic import catalog_rows, detections_of, ingest_all

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.commandline import Result

STEM = "jw01176-o241_t001_nircam_clear-f150w_nrca1"
NULL = -2147483648


def masked_table(**columns: Any) -> Table:
    """Return SExtractor's columns with the second row's flag, and a logical, masked."""
    table = Table(
        {
            "NUMBER": NUMBER,
            "ALPHA_J2000": RA_DEG,
            "DELTA_J2000": DEC_DEG,
            "FLUX_ISO": FLUX,
            "FLUXERR_ISO": FLUX_ERR,
            "FLAGS": MaskedColumn(np.array([0, 2, 0, 0], np.int32), mask=[0, 1, 0, 0]),
            "IS_COMPACT": MaskedColumn([True, False, True, False], mask=[0, 0, 1, 0]),
        },
        masked=True,
    )
    for name, column in columns.items():
        table[name] = column
    for name in ("FLUX_ISO", "FLUXERR_ISO"):
        table[name].unit = "count"
    return table


def scaled_columns() -> list[fits.Column]:
    """Return columns whose flux is a scaled integer, null in the second row."""
    flux = np.array([81250, NULL, 1050, 212])
    return [
        fits.Column("NUMBER", "J", array=NUMBER),
        fits.Column("ALPHA_J2000", "D", array=RA_DEG),
        fits.Column("DELTA_J2000", "D", array=DEC_DEG),
        fits.Column("FLUX_ISO", "J", unit="count", null=NULL, array=flux),
        fits.Column("FLUXERR_ISO", "E", unit="count", array=FLUX_ERR),
        fits.Column("FLAGS", "I", null=-1, array=np.array([0, -1, 0, -1])),
        fits.Column("FLUX_RADIUS", "J", unit="pixel", null=-9, array=np.array([2, 2, -9, 2])),
    ]


def write_scaled(path: Path, name: str) -> Path:
    """Write the flux with TSCAL 0.01 and TNULL, in an extension of some name."""
    table = fits.BinTableHDU.from_columns(scaled_columns(), name=name)
    table.writeto(path)
    with fits.open(path, mode="update", do_not_scale_image_data=True) as hdus:
        hdus[1].header["TSCAL4"] = 0.01
        hdus[1].header["TZERO4"] = 0.0
    return path


@pytest.mark.parametrize("extension", ["OBJECTS", "ANY"])
def test_null_of_scaled_integers_drops_the_row(db_url: str, tmp_path: Path, extension: str) -> None:
    image = write_image(tmp_path / f"{STEM}_i2d.fits")
    path = write_scaled(tmp_path / f"{STEM}_cat.fits", extension)
    report = ingest_all(db_url, [image, path])
    assert report.refused == []
    (row,) = catalog_rows(db_url)
    assert (row["n_rows"], row["n_dropped_nonfinite"], row["n_dropped_error"]) == (3, 1, 0)
    found = detections_of(db_url, row["id"])
    assert found["number"].tolist() == [1, 5, 9]
    expected = np.array([812.5, 10.5, 2.12]) * FLUX_UJY[0] / FLUX[0]
    np.testing.assert_allclose(found["flux_ujy"], expected, rtol=1e-12)
    assert found["flags"].tolist() == [0, 0, 0]
    assert np.isnan(found["r_half_arcsec"]).tolist() == [False, True, False]


@pytest.mark.parametrize("form", ["fits", "votable", "ascii.ecsv", "parquet"])
def test_masked_flags_and_logicals_are_unknown(db_url: str, tmp_path: Path, form: str) -> None:
    ending = {"fits": "fits", "votable": "xml", "ascii.ecsv": "ecsv"}.get(form, form)
    path = tmp_path / f"{STEM}_cat.{ending}"
    if form == "parquet":
        pa = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        table = masked_table()
        arrays = {name: pa.array(table[name].tolist()) for name in table.colnames}
        parquet.write_table(pa.table(arrays), path)
    else:
        masked_table().write(path, format=form)
    ingest_all(db_url, [write_image(tmp_path / f"{STEM}_i2d.fits"), path])
    (row,) = catalog_rows(db_url)
    found = detections_of(db_url, row["id"])
    np.testing.assert_allclose(found["flux_ujy"], FLUX_UJY, rtol=1e-7)
    assert found["flags"].tolist() == [0, 0, 0, 0]
    # astropy writes a masked logical to FITS as T.
    assert found["compactness"].tolist() == [1, 0, 1 if form == "fits" else -1, 0]


def test_null_logicals_of_fits_are_unknown() -> None:
    column = fits.Column("IS_COMPACT", "L", array=np.array([True, False, True]))
    table = fits.BinTableHDU.from_columns([column])
    assert null_cells(table) == {}
    table.data.view(np.ndarray)["IS_COMPACT"][1] = 0
    assert {name: cells.tolist() for name, cells in null_cells(table).items()} == {
        "IS_COMPACT": [False, True, False]
    }


def test_nulls_of_fits_ascii_tables(tmp_path: Path) -> None:
    columns = [
        fits.Column("NUMBER", "I6", array=NUMBER),
        fits.Column("ALPHA_J2000", "D18.10", array=RA_DEG),
        fits.Column("DELTA_J2000", "D18.10", array=DEC_DEG),
        fits.Column("FLUX_ISO", "E15.7", null="NULL", array=FLUX),
        fits.Column("FLUXERR_ISO", "E15.7", array=FLUX_ERR),
        fits.Column("FLAGS", "I4", null="***", array=np.array([0, 7777, 0, 0])),
    ]
    path = tmp_path / "a.fits"
    fits.TableHDU.from_columns(columns).writeto(path)
    raw = path.read_bytes().replace(b"7777", b" ***").replace(b"1.0500000E+01", b"         NULL")
    path.write_bytes(raw)
    catalog = read_catalog(path, FileKind.FITS_TABLE)
    assert (catalog.number.tolist(), catalog.n_dropped_nonfinite) == ([1, 2, 9], 1)
    assert catalog.flags.tolist() == [0, 0, 0]
    np.testing.assert_allclose(catalog.flux, FLUX[[0, 1, 3]])


@pytest.mark.parametrize("null", ["", "NULL", "null", "N/A", "--"])
def test_nulls_of_csv(tmp_path: Path, null: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"id,ra,dec,mag,mag_err,flags\n1,1,2,20,0.1,{null}\n2,1,2,{null},0.1,3\n")
    catalog = read_catalog(path, FileKind.CSV)
    assert (catalog.number.tolist(), catalog.n_dropped_nonfinite) == ([1], 1)
    assert catalog.flags.tolist() == [0]


def test_header_numbered_from_0_is_told(db_url: str, tmp_path: Path) -> None:
    path = tmp_path / "a.cat"
    path.write_text("#   0 NUMBER  n\n#   1 ALPHA_J2000 a [deg]\n1 2.0\n")
    (outcome,) = ingest_all(db_url, [path]).refused
    assert "header numbers its columns from 0 (NUMBER); SExtractor counts from 1" in outcome.message


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        ("mJy/arcsec2", "a surface brightness, 42.545"),
        ("Jy/sr", "a surface brightness, 1e-06 MJy/sr"),
        ("erg/(s cm2 AA)", "it is a unit of"),
        ("m", "it is a unit of length"),
    ],
)
def test_units_are_diagnosed(db_url: str, tmp_path: Path, unit: str, words: str) -> None:
    table = masked_table()
    for name in ("FLUX_ISO", "FLUXERR_ISO"):
        table[name].unit = unit
    path = tmp_path / f"{STEM}_cat.ecsv"
    table.write(path)
    (outcome,) = ingest_all(db_url, [write_image(tmp_path / f"{STEM}_i2d.fits"), path]).refused
    assert "flux column 'FLUX_ISO' has unit '" in outcome.message
    assert words in outcome.message


@pytest.mark.parametrize("zero", [0.0, -0.0, -1.0])
def test_rows_without_positive_error_are_counted_apart(
    db_url: str, tmp_path: Path, zero: float
) -> None:
    error = FLUX_ERR.copy()
    error[1] = zero
    flux = FLUX.copy()
    flux[2] = np.nan
    path = tmp_path / f"{STEM}_cat.ecsv"
    masked_table(FLUX_ISO=flux, FLUXERR_ISO=error).write(path)
    report = ingest_all(db_url, [write_image(tmp_path / f"{STEM}_i2d.fits"), path])
    outcome = report.loaded[1]
    assert (outcome.n_dropped_nonfinite, outcome.n_dropped_error) == (1, 1)
    (row,) = catalog_rows(db_url)
    assert (row["n_rows"], row["n_dropped_nonfinite"], row["n_dropped_error"]) == (2, 1, 1)
    assert detections_of(db_url, row["id"])["number"].tolist() == [1, 9]


def test_printed_magnitude_error_of_zero_where_magnitudes_are_taken(
    db_url: str, tmp_path: Path
) -> None:
    # The image is not in MJy/sr, so fluxes cannot be used, and MAGERR has four decimals.
    table = masked_table(MAG_ISO=[20.0, 21.0, 22.0, 23.0], MAGERR_ISO=[0.0, 0.01, 0.02, 0.03])
    path = tmp_path / f"{STEM}_cat.ecsv"
    table.write(path)
    image = write_image(tmp_path / f"{STEM}_i2d.fits", science={"PIXAR_SR": None})
    report = ingest_all(db_url, [image, path])
    assert report.refused == []
    assert report.loaded[1].n_dropped_error == 1
    assert report.loaded[1].message.startswith("3 detections")
    (row,) = catalog_rows(db_url)
    assert detections_of(db_url, row["id"])["number"].tolist() == [2, 5, 9]


def test_counts_and_equal_warnings_are_told(
    db_url: str, tmp_path: Path, calreg: Callable[..., Result]
) -> None:
    rows = "1,265.11,65.81,20,0.0\n2,265.112,65.812,20,0.01\n"
    files = [
        write_image(tmp_path / f"{STEM}_i2d.fits"),
        write_csv(tmp_path / f"{STEM}_i2d.csv", rows),
    ]
    for number in ("1", "2", "3"):
        image = f"{number}_i2d.fits"
        files.append(write_image(tmp_path / image, primary={"OBSERVTN": f"30{number}"}))
        path = write_ldac_catalog(tmp_path / f"{number}.cat", image)
        raw = path.read_bytes()
        start = raw.index(b"END" + b" " * 77 + b"\0")
        path.write_bytes(raw[:start] + b"   " + raw[start + 3 :])
        files.append(path)
    result = calreg("ingest", *files, "--db", db_url)
    assert result.status == 0
    assert "1 detections (ISO)" in result.err
    assert "; rows dropped (error of 0 or less): 1" in result.err
    (line,) = [line for line in result.err.splitlines() if "END card" in line]
    assert line.startswith("warning: 1.cat and 2 more files: the header inside LDAC_IMHEAD has no")


def test_stored_pairs_without_error_end_no_fit(small_url: str) -> None:
    with open_database(small_url) as database, database.write() as connection:
        group = connection.scalar(sa.select(sa.func.min(PairRow.group_id)))
        number = connection.scalar(
            sa.select(sa.func.min(PairRow.number_i)).where(
                PairRow.group_id == group, PairRow.mag_i < 21.0, PairRow.flags == 0
            )
        )
        connection.execute(
            sa.update(PairRow)
            .where(PairRow.group_id == group, PairRow.number_i == number)
            .values(mag_err_i=0.0)
        )
        n_sets = connection.scalar(sa.select(sa.func.count()).select_from(CoefficientSetRow))
    with Registry(small_url) as registry:
        report = registry.refit(FitSettings(mag_limit=21.9))
    assert len(report.fitted) == n_sets
    assert report.refused == []
    assert (
        "1 pairs left out: a magnitude error of 0 or less in the registry" in report.pairing.notes
    )

"""ECSV, CSV, VOTable, Parquet and FITS tables: the same sources out of each."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, QTable, Table

from calreg.domain import FluxKind
from calreg.errors import CatalogColumnError, FileFormatError, MissingExtraError
from calreg.files.catalogs.read import read_catalog
from calreg.files.recognise import FileKind, recognise

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.domain import Catalog

N_ROWS = 12
ARRAYS = ("number", "ra_deg", "dec_deg", "x", "y", "flux", "flux_err", "mag", "mag_err", "flags")

CSV_LINES = """\
id,ra,dec,mag,mag_err,flags
1,265.1,68.9,20.0,0.01,0
2,265.2,68.8,21.0,0.02,1
3,265.3,68.7,22.0,0.03,0
"""


def make_generic() -> QTable:
    rng = np.random.default_rng(3)
    flux = rng.uniform(1.0, 9.0, N_ROWS)
    return QTable(
        {
            "id": np.arange(101, 101 + N_ROWS),
            "ra": rng.uniform(265.0, 265.1, N_ROWS) * u.deg,
            "dec": rng.uniform(68.9, 69.0, N_ROWS) * u.deg,
            "x": rng.uniform(0.0, 99.0, N_ROWS),
            "y": rng.uniform(0.0, 99.0, N_ROWS),
            "flux": flux * u.uJy,
            "flux_err": flux / 100.0 * u.uJy,
            "mag": 23.9 - 2.5 * np.log10(flux),
            "mag_err": np.full(N_ROWS, 0.01),
            "flags": rng.integers(0, 3, N_ROWS),
        }
    )


def read(path: Path, **options: Any) -> Catalog:
    return read_catalog(path, recognise(path), **options)


def write_csv(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


# --- the same sources from every format ----------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.ecsv", {"format": "ascii.ecsv"}),
        ("a.vot", {"format": "votable"}),
        ("a.parquet", {"format": "parquet"}),
        ("a.fits", {"format": "fits"}),
    ],
)
def test_formats_agree(tmp_path: Path, name: str, options: dict[str, str]) -> None:
    table = make_generic()
    path = tmp_path / name
    Table(table).write(path, **options)
    catalog = read(path)
    expected = [table["id"], table["ra"].value, table["dec"].value, table["x"], table["y"]]
    expected += [table["flux"].value, table["flux_err"].value, table["mag"], table["mag_err"]]
    for attribute, values in zip(ARRAYS, [*expected, table["flags"]], strict=True):
        np.testing.assert_allclose(getattr(catalog, attribute), values, rtol=1e-15)
    assert catalog.flux_unit == "uJy"
    assert catalog.settings["flux_kind"] == "assumed"


def test_csv(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", "# made by hand\n" + CSV_LINES)
    catalog = read(path)
    assert catalog.number.tolist() == [1, 2, 3]
    assert catalog.ra_deg.tolist() == [265.1, 265.2, 265.3]
    assert catalog.mag.tolist() == [20.0, 21.0, 22.0]
    assert np.isnan(catalog.flux).all()
    assert np.isnan(catalog.x).all()
    assert (catalog.flux_unit, catalog.flux_kind) == ("", FluxKind.ISO)


def test_csv_with_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(CSV_LINES, encoding="utf-8-sig")
    assert read(path).number.tolist() == [1, 2, 3]


def test_csv_with_mapped_columns(tmp_path: Path) -> None:
    text = CSV_LINES.replace("id,ra,dec,mag,mag_err", "name,lon,lat,m444,s444")
    path = write_csv(tmp_path / "a.csv", text)
    columns = {"ra": "lon", "dec": "lat", "mag": "m444", "mag_err": "s444", "number": "name"}
    catalog = read(path, columns=columns, flux=FluxKind.AUTO)
    assert (catalog.flux_kind, catalog.mag.tolist()) == (FluxKind.AUTO, [20.0, 21.0, 22.0])
    assert "mag=m444" in catalog.settings["columns"].split()
    assert "flux_kind" not in catalog.settings
    with pytest.raises(CatalogColumnError, match="its columns are name, lon, lat, m444"):
        read(path)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"radius": "ra"}, "maps 'radius', which is not a name of calreg; expected one of number"),
        ({"ra": "RAJ2000"}, "maps ra to 'RAJ2000', which the file does not have; .* id, ra, dec"),
        ({"ra": "ra"}, "maps ra alone"),
        ({"x": "ra"}, "maps x alone"),
        ({"mag": "mag"}, "maps mag to 'mag' but not mag_err"),
        ({"flux_err": "mag_err"}, "maps flux_err to 'mag_err' but not flux"),
    ],
)
def test_bad_mapping(tmp_path: Path, columns: dict[str, str], expected: str) -> None:
    path = write_csv(tmp_path / "a.csv", CSV_LINES)
    with pytest.raises(CatalogColumnError, match=expected):
        read(path, columns=columns)


# --- units ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "in_ujy"), [("Jy", 1e6), ("mJy", 1e3), ("uJy", 1.0), ("nJy", 1e-3), ("10nJy", 1e-2)]
)
def test_flux_units(tmp_path: Path, unit: str, in_ujy: float) -> None:
    table = make_generic()
    table["flux"] = table["flux"].value * u.Unit(unit)
    path = tmp_path / "a.ecsv"
    table.write(path)
    catalog = read(path)
    np.testing.assert_allclose(catalog.flux, table["flux"].value * in_ujy, rtol=1e-14)
    # The error keeps its own unit.
    np.testing.assert_array_equal(catalog.flux_err, table["flux_err"].value)


def test_angle_units(tmp_path: Path) -> None:
    table = make_generic()
    table["ra"] = table["ra"].to(u.hourangle)
    table["dec"] = table["dec"].to(u.rad)
    path = tmp_path / "a.ecsv"
    table.write(path)
    catalog = read(path)
    np.testing.assert_allclose(catalog.ra_deg, make_generic()["ra"].value, rtol=1e-14)
    np.testing.assert_allclose(catalog.dec_deg, make_generic()["dec"].value, rtol=1e-14)


def test_flux_without_unit(tmp_path: Path) -> None:
    table = make_generic()
    table["flux"], table["flux_err"] = table["flux"].value, table["flux_err"].value
    path = tmp_path / "a.ecsv"
    table.write(path)
    catalog = read(path)
    assert catalog.flux_unit == ""
    assert np.isnan(catalog.flux).all()
    assert "flux=flux" not in catalog.settings["columns"].split()
    table["id", "ra", "dec", "flux", "flux_err"].write(path, overwrite=True)
    with pytest.raises(CatalogColumnError, match="flux column 'flux' has no unit"):
        read(path)


@pytest.mark.parametrize(
    ("name", "unit", "expected"),
    [
        ("ra", "Jy", "column 'ra' has unit 'Jy'; expected an angle"),
        ("flux", "m", "flux column 'flux' has unit 'm'; expected Jy"),
        ("flux_err", "MJy / sr", "'flux' is in 'uJy' but 'flux_err' in 'MJy / sr'"),
        ("mag", "Jy", "column 'mag' has unit 'Jy'; expected AB mag"),
    ],
)
def test_wrong_units(tmp_path: Path, name: str, unit: str, expected: str) -> None:
    table = Table(make_generic())
    table[name].unit = unit
    path = tmp_path / "a.ecsv"
    table.write(path)
    with pytest.raises(CatalogColumnError, match=expected):
        read(path)


@pytest.mark.parametrize(("ra_deg", "stored"), [(-95.0, 265.0), (360.0, 0.0), (-1e-14, 0.0)])
def test_right_ascension_is_wrapped(tmp_path: Path, ra_deg: float, stored: float) -> None:
    path = write_csv(tmp_path / "a.csv", CSV_LINES.replace("265.1", str(ra_deg)))
    assert read(path).ra_deg[0] == stored


@pytest.mark.parametrize(("old", "new"), [("68.8", "98.8"), ("265.2", "1265.2"), ("265.2", "-181")])
def test_position_off_the_sky(tmp_path: Path, old: str, new: str) -> None:
    path = write_csv(tmp_path / "a.csv", "# comment\n" + CSV_LINES.replace(old, new))
    with pytest.raises(CatalogColumnError, match=r"line 4: position .* is not on the sky"):
        read(path)


# --- missing, masked and wrong values ------------------------------------------------------------


@pytest.mark.parametrize(("name", "form"), [("a.vot", "votable"), ("a.ecsv", "ascii.ecsv")])
def test_masked_values_are_nan(tmp_path: Path, name: str, form: str) -> None:
    table = Table(make_generic(), masked=True)
    for column in ("ra", "flux", "x", "flags"):
        table[column] = MaskedColumn(table[column], mask=np.zeros(N_ROWS, dtype=bool))
    table["ra"].mask[0] = table["flux"].mask[1] = table["x"].mask[2] = table["flags"].mask[3] = True
    path = tmp_path / name
    table.write(path, format=form)
    catalog = read(path)
    assert catalog.n_dropped_nonfinite == 2
    assert catalog.number.tolist() == list(range(103, 101 + N_ROWS))
    assert np.isnan(catalog.x[0])
    assert catalog.flags[1] == 0


def test_magnitudes_only(tmp_path: Path) -> None:
    text = CSV_LINES + "4,265.4,68.9,99.0,99.0,0\n5,265.5,68.9,nan,0.1,0\n6,265.6,68.9,20,inf,0\n"
    path = write_csv(tmp_path / "a.csv", text + "7,265.7,68.9,20,-1,0\n")
    catalog = read(path)
    assert catalog.number.tolist() == [1, 2, 3, 4]
    assert np.isnan(catalog.mag[3])
    assert (catalog.n_dropped_nonfinite, catalog.n_negative_flux) == (2, 1)
    assert catalog.n_dropped_error == 1


def test_number_is_counted_where_there_is_none(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", CSV_LINES.replace("id,", "name,").replace("265.1", "nan"))
    catalog = read(path)
    # Identifiers are rows of the file, so that a dropped row does not shift them.
    assert catalog.number.tolist() == [2, 3]


def test_text_identifiers(tmp_path: Path) -> None:
    text = CSV_LINES.replace("\n1,", "\nJ1740+68,")
    path = write_csv(tmp_path / "a.csv", text)
    assert read(path).number.tolist() == [1, 2, 3]
    with pytest.raises(CatalogColumnError, match="line 2: 'J1740\\+68' in column 'id'"):
        read(path, columns={"number": "id"})


def test_fractional_number(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", CSV_LINES.replace("\n2,", "\n2.5,"))
    with pytest.raises(CatalogColumnError, match=r"line 3: 2\.5 in column 'id'; expected a whole"):
        read(path)


def test_text_where_a_number_belongs(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", "# a\n\n" + CSV_LINES.replace("68.8", "+68d48m"))
    with pytest.raises(CatalogColumnError, match=r"line 5: '\+68d48m' in column 'dec'"):
        read(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CSV_LINES.replace("ra,dec", "radec"), "'radec' is 'ra' and 'dec'"),
        (CSV_LINES.replace("ra,dec", "ra dec"), "'ra dec' is 'ra' and 'dec'"),
        (
            "NUMBER,ALPHA_J2000DELTA_J2000,mag,mag_err\n1,2,3,4,5\n",
            "'ALPHA_J2000DELTA_J2000' is 'ALPHA_J2000' and 'DELTA_J2000'",
        ),
        (
            "id,ALPHA_J2000DELTA_J2000,mag,mag_err\n1,2,3,4\n",
            "'ALPHA_J2000DELTA_J2000' is 'ALPHA_J2000' and 'DELTA_J2000'",
        ),
        (CSV_LINES + "4,265.0,68.9\n", "line 5: more or fewer columns than the 6 names id, ra"),
        ("id,ra,dec,mag\n1,2,3,4\n", "has mag without mag_err; a measurement needs its error"),
        ("id,ra,mag,mag_err\n1,2,3,4\n", "has no sky position .*; its columns are id, ra, mag"),
    ],
)
def test_csv_headers_refused(tmp_path: Path, text: str, expected: str) -> None:
    path = write_csv(tmp_path / "a.csv", text)
    with pytest.raises(CatalogColumnError, match=expected) as caught:
        read_catalog(path, FileKind.CSV)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_csv_without_rows(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", CSV_LINES.splitlines()[0] + "\n")
    with pytest.raises(FileFormatError, match="holds no sources"):
        read(path)


@pytest.mark.parametrize("kind", [FileKind.ECSV, FileKind.VOTABLE, FileKind.PARQUET, FileKind.CSV])
def test_damaged_files_give_one_line(tmp_path: Path, kind: FileKind) -> None:
    path = tmp_path / "a"
    if kind is FileKind.CSV:
        path.write_text('id,ra,dec\n1,2,"3\n')
    else:
        form = {FileKind.ECSV: "ascii.ecsv", FileKind.VOTABLE: "votable"}.get(kind, "parquet")
        Table(make_generic()).write(path, format=form)
        path.write_bytes(path.read_bytes()[:300])
    with pytest.raises((FileFormatError, CatalogColumnError)) as caught:
        read_catalog(path, kind)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_truncated_fits_table(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    Table(make_generic()).write(path)
    path.write_bytes(path.read_bytes()[:-2880])
    with pytest.raises(FileFormatError, match="truncated"):
        read_catalog(path, FileKind.FITS_TABLE)


def test_fits_file_with_two_tables(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    table = fits.BinTableHDU(Table(make_generic()), name="A")
    fits.HDUList([fits.PrimaryHDU(), table, table.copy()]).writeto(path)
    with pytest.raises(FileFormatError, match="holds 2 tables"):
        read_catalog(path, FileKind.FITS_TABLE)


def test_not_a_catalog(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a", "x")
    with pytest.raises(FileFormatError, match="is a image, not a catalog"):
        read_catalog(path, FileKind.JWST_IMAGE)


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'calreg\[arrow\]'"):
        read_catalog(path, FileKind.PARQUET)


def test_images_stated_in_metadata(tmp_path: Path) -> None:
    table = make_generic()
    table.meta["image"] = "/data/x_i2d.fits[SCI]"
    table.meta["detection_image"] = "det_i2d.fits"
    path = tmp_path / "a.ecsv"
    table.write(path)
    catalog = read(path)
    assert (catalog.image_name, catalog.detection_image_name) == ("x_i2d.fits", "det_i2d.fits")


def test_masked_text_cell(tmp_path: Path) -> None:
    # A column of numbers with one empty and one quoted cell comes as masked text.
    text = CSV_LINES.replace("20.0", '""').replace("21.0", "bright")
    path = write_csv(tmp_path / "a.csv", text)
    with pytest.raises(CatalogColumnError, match="line 3: 'bright' in column 'mag'"):
        read(path)
    path = write_csv(tmp_path / "b.csv", CSV_LINES.replace("20.0", ""))
    catalog = read(path)
    assert (catalog.number.tolist(), catalog.n_dropped_nonfinite) == ([2, 3], 1)


def test_text_in_a_fits_table(tmp_path: Path) -> None:
    table = Table(make_generic())
    table["ra"] = np.array([b"17:40:04"] * N_ROWS)
    path = tmp_path / "a.fits"
    table.write(path)
    with pytest.raises(CatalogColumnError, match=r"row 1: .*17:40:04.* in column 'ra'"):
        read(path)
    table["ra"] = np.array([b"265.5"] * (N_ROWS - 1) + [b"x"])
    table.write(path, overwrite=True)
    with pytest.raises(CatalogColumnError, match=f"row {N_ROWS}: "):
        read(path)


def test_vector_columns_of_a_table(tmp_path: Path) -> None:
    table = make_generic()["id", "ra", "dec"]
    table["FLUX_APER"] = np.tile([3.0, 4.0], (N_ROWS, 1))
    table["FLUXERR_APER"] = np.full((N_ROWS, 2), 0.1)
    table["VIGNET"] = np.zeros((N_ROWS, 2, 2))
    path = tmp_path / "a.ecsv"
    table.write(path)
    assert read(path, flux=FluxKind.APER, aperture="2").flux[0] == 4.0
    with pytest.raises(CatalogColumnError, match="has no psf flux"):
        read(path, flux=FluxKind.PSF)


def test_hours_in_a_votable(tmp_path: Path) -> None:
    table = Table(make_generic())
    table["ra"] = table["ra"] / 15.0
    table["ra"].unit = "h"
    path = tmp_path / "a.vot"
    table.write(path, format="votable")
    np.testing.assert_allclose(read(path).ra_deg, make_generic()["ra"].value, rtol=1e-14)


@pytest.mark.parametrize(
    ("names", "shift"),
    [(("X_IMAGE", "Y_IMAGE"), 1.0), (("x_fit", "y_fit"), 0.0), (("u", "v"), 0.0)],
)
def test_mapped_pixels_keep_their_first_pixel(
    tmp_path: Path, names: tuple[str, str], shift: float
) -> None:
    table = make_generic()
    table[names[0]], table[names[1]] = table["x"] + 5.0, table["y"] + 7.0
    path = tmp_path / "a.ecsv"
    table.write(path)
    catalog = read(path, columns={"x": names[0], "y": names[1]})
    np.testing.assert_array_equal(catalog.x, table["x"] + 5.0 - shift)
    np.testing.assert_array_equal(catalog.y, table["y"] + 7.0 - shift)


def test_units_in_parquet_fields(tmp_path: Path) -> None:
    # As calreg's own Parquet files and pyarrow users state them.
    flux = np.linspace(1.0, 2.0, 3)
    table = pa.table(
        [[265.0, 265.1, None], [68.9, 68.9, 68.9], flux * 1e-6, flux * 1e-8],
        schema=pa.schema(
            [
                pa.field("ra", pa.float64()),
                pa.field("dec", pa.float64()),
                pa.field("flux", pa.float64(), metadata={"unit": "Jy"}),
                pa.field("flux_err", pa.float64(), metadata={"unit": "Jy"}),
            ]
        ),
    )
    path = tmp_path / "a.parquet"
    pq.write_table(table, path)
    catalog = read(path)
    np.testing.assert_allclose(catalog.flux, flux[:2], rtol=1e-15)
    assert (catalog.number.tolist(), catalog.n_dropped_nonfinite) == ([1, 2], 1)

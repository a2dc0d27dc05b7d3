"""ASCII_HEAD, ECSV, CSV, VOTable, Parquet and FITS tables: the same sources out of each."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import MaskedColumn, QTable, Table

from calreg.domain import FluxKind
from calreg.errors import CatalogColumnError, FileFormatError, MissingExtraError
from calreg.files.catalogs import image_name_candidates, read_catalog
from calreg.files.columns import run_together
from calreg.files.recognise import FileKind, recognise
from calreg.files.textrows import first_data_line, line_of_row

if TYPE_CHECKING:
    from calreg.domain import Catalog

ASCII_HEAD = Path(__file__).parent.parent / "data" / "sextractor_2.25_ascii_head.cat"
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


def make_jwst(*, x_name: str = "xcentroid", y_name: str = "ycentroid") -> QTable:
    """Make a table with the columns, units and metadata of the pipeline's source_catalog step."""
    rng = np.random.default_rng(4)
    flux = rng.uniform(1e-6, 9e-6, N_ROWS)
    sky = SkyCoord(rng.uniform(0.0, 1.0, N_ROWS), rng.uniform(-1.0, 1.0, N_ROWS), unit="deg")
    table = QTable(
        {
            "label": np.arange(1, N_ROWS + 1, dtype=np.int32),
            x_name: rng.uniform(0.0, 2000.0, N_ROWS) * u.pix,
            y_name: rng.uniform(0.0, 2000.0, N_ROWS) * u.pix,
            "sky_centroid": sky,
            "aper_bkg_flux": np.zeros(N_ROWS) * u.Jy,
            "aper_bkg_flux_err": np.zeros(N_ROWS) * u.Jy,
        }
    )
    for name, factor in (("aper30", 0.3), ("aper50", 0.5), ("aper_total", 1.2), ("isophotal", 1.0)):
        table[f"{name}_flux"] = factor * flux * u.Jy
        table[f"{name}_flux_err"] = 0.01 * factor * flux * u.Jy
        table[f"{name}_abmag"] = 8.90 - 2.5 * np.log10(factor * flux)
        table[f"{name}_abmag_err"] = np.full(N_ROWS, 0.0109)
        table[f"{name}_vegamag"] = table[f"{name}_abmag"] - 3.2
    table.meta["versions"] = {"Python": "3.11", "photutils": "1.9.0", "jwst": "1.12.5"}
    table.meta["aperture_params"] = {"aperture_radii": [1.0, 2.0, 3.0], "aperture_ee": [30, 50, 70]}
    return table


def read(path: Path, **options: Any) -> Catalog:
    return read_catalog(path, recognise(path), **options)


def write_csv(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


# --- ASCII_HEAD ----------------------------------------------------------------------------------


def test_ascii_head_of_sextractor() -> None:
    catalog = read(ASCII_HEAD)
    assert catalog.number.tolist() == [1, 2, 3, 4, 5, 8]
    assert catalog.ra_deg[0] == 265.0235451
    assert catalog.dec_deg[0] == 68.9773322
    assert catalog.x[0] == pytest.approx(123.1939, abs=1e-9)
    assert catalog.y[0] == pytest.approx(39.4362, abs=1e-9)
    assert (catalog.flux[0], catalog.flux_err[0]) == (13.8635, 0.1062864)
    assert (catalog.mag[0], catalog.mag_err[0]) == (22.1453, 0.0083)
    assert catalog.flags.tolist() == [0, 0, 0, 0, 0, 24]
    assert (catalog.software, catalog.flux_unit, catalog.image_name) == ("SExtractor", "image", "")


def test_ascii_head_apertures_and_99() -> None:
    catalog = read(ASCII_HEAD, flux=FluxKind.APER, aperture="3")
    assert (catalog.flux[0], catalog.mag[0]) == (14.05893, 22.1301)
    # The last row has FLUX_APER -0.0054, MAG_APER 99.0000.
    assert catalog.flux[-1] == -0.005385181
    assert np.isnan(catalog.mag[-1])
    assert np.isnan(catalog.mag_err[-1])
    assert (catalog.n_negative_flux, catalog.n_dropped_nonfinite) == (1, 0)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # The line of DELTA_J2000 is lost: astropy would read it as ALPHA_J2000_1.
        ("#   3 DELTA_J2000 ", "#     DELTA_J2000 ", "leaves 2 columns to 'ALPHA_J2000'"),
        (
            "#   2 ALPHA_J2000 ",
            "#   2 ALPHA_J2000DELTA_J2000 ",
            "'ALPHA_J2000DELTA_J2000' is 'ALPHA_J2000' and 'DELTA_J2000'",
        ),
        ("#   5 ", "#   4 ", r"numbers its columns \[1, 2, 3, 4, 4, 6"),
        ("#   1 NUMBER", "#   7 NUMBER", "expected 1 first"),
        ("#  30 FLAGS", "#  31 FLAGS", "names column 'FLAGS' beyond the 30 columns"),
    ],
)
def test_ascii_head_bad_headers(tmp_path: Path, old: str, new: str, expected: str) -> None:
    text = ASCII_HEAD.read_text()
    assert old in text
    path = write_csv(tmp_path / "a.cat", text.replace(old, new))
    with pytest.raises(CatalogColumnError, match=expected):
        read_catalog(path, FileKind.SEXTRACTOR_ASCII)


def test_ascii_head_bad_rows(tmp_path: Path) -> None:
    lines = ASCII_HEAD.read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    asterisks = [*lines]
    asterisks[first + 2] = lines[first + 2].replace("22.6020", "*******")
    path = write_csv(tmp_path / "a.cat", "\n".join(asterisks))
    with pytest.raises(FileFormatError, match=rf"line {first + 3}: .*\*\*\*\*"):
        read_catalog(path, FileKind.SEXTRACTOR_ASCII)
    short = [*lines]
    short[first + 1] = short[first + 1][:200]
    path = write_csv(tmp_path / "b.cat", "\n".join(short))
    with pytest.raises(FileFormatError, match=rf"line {first + 2}: the number of columns changed"):
        read_catalog(path, FileKind.SEXTRACTOR_ASCII)


def test_ascii_head_without_rows_or_header(tmp_path: Path) -> None:
    lines = ASCII_HEAD.read_text().splitlines()
    header = "\n".join(line for line in lines if line.startswith("#"))
    path = write_csv(tmp_path / "a.cat", header)
    with pytest.raises(FileFormatError, match=r"holds no sources \(0 rows\)"):
        read(path)
    path = write_csv(tmp_path / "b.cat", "1 2 3\n")
    with pytest.raises(FileFormatError, match="has no header lines"):
        read_catalog(path, FileKind.SEXTRACTOR_ASCII)


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


def test_mapping_a_known_name_tells_its_kind(tmp_path: Path) -> None:
    path = tmp_path / "a_cat.ecsv"
    make_jwst().write(path)
    columns = {"mag": "aper50_abmag", "mag_err": "aper50_abmag_err"}
    catalog = read(path, columns=columns)
    assert (catalog.flux_kind, catalog.aperture) == (FluxKind.APER, "ee50")
    with pytest.raises(CatalogColumnError, match="which is aper flux, but --flux iso"):
        read(path, columns=columns, flux=FluxKind.ISO)


# --- the jwst pipeline and photutils -------------------------------------------------------------


@pytest.mark.parametrize("names", [("xcentroid", "ycentroid"), ("x_centroid", "y_centroid")])
def test_jwst_catalog(tmp_path: Path, names: tuple[str, str]) -> None:
    table = make_jwst(x_name=names[0], y_name=names[1])
    path = tmp_path / "jw01176-o241_t001_nircam_clear-f444w_cat.ecsv"
    table.write(path)
    catalog = read(path)
    np.testing.assert_array_equal(catalog.number, table["label"])
    np.testing.assert_allclose(catalog.ra_deg, table["sky_centroid"].ra.deg, rtol=0, atol=1e-12)
    np.testing.assert_allclose(catalog.dec_deg, table["sky_centroid"].dec.deg, rtol=0, atol=1e-12)
    # photutils counts pixels from 0 already.
    np.testing.assert_array_equal(catalog.x, table[names[0]].value)
    np.testing.assert_array_equal(catalog.y, table[names[1]].value)
    np.testing.assert_allclose(catalog.flux, table["isophotal_flux"].value * 1e6, rtol=1e-14)
    np.testing.assert_array_equal(catalog.mag, table["isophotal_abmag"])
    assert (catalog.flux_kind, catalog.flux_unit) == (FluxKind.ISO, "uJy")
    assert catalog.software == "jwst 1.12.5"
    assert catalog.settings["aperture_params.aperture_ee"] == "30 50 70"
    assert catalog.image_name == ""


@pytest.mark.parametrize(
    ("aperture", "label", "column"),
    [
        ("", "ee30", "aper30"),
        ("50", "ee50", "aper50"),
        ("ee50", "ee50", "aper50"),
        ("total", "total", "aper_total"),
    ],
)
def test_jwst_apertures(tmp_path: Path, aperture: str, label: str, column: str) -> None:
    table = make_jwst()
    path = tmp_path / "a_cat.ecsv"
    table.write(path)
    catalog = read(path, flux=FluxKind.APER, aperture=aperture)
    assert catalog.aperture == label
    np.testing.assert_allclose(catalog.flux, table[f"{column}_flux"].value * 1e6, rtol=1e-14)
    np.testing.assert_array_equal(catalog.mag, table[f"{column}_abmag"])


@pytest.mark.parametrize(
    ("value", "error", "kind"),
    [
        ("segment_flux", "segment_fluxerr", FluxKind.ISO),
        ("segment_flux", "segment_flux_err", FluxKind.ISO),
        ("kron_flux", "kron_fluxerr", FluxKind.AUTO),
        ("kron_flux", "kron_flux_err", FluxKind.AUTO),
        ("flux_fit", "flux_err", FluxKind.PSF),
        ("aperture_sum", "aperture_sum_err", FluxKind.APER),
    ],
)
def test_photutils_names(tmp_path: Path, value: str, error: str, kind: FluxKind) -> None:
    table = make_generic()["id", "ra", "dec", "x", "y"]
    table[value] = np.linspace(1.0, 2.0, N_ROWS) * u.MJy / u.sr
    table[error] = np.full(N_ROWS, 0.1) * u.MJy / u.sr
    path = tmp_path / "a.ecsv"
    table.write(path)
    catalog = read(path)
    assert (catalog.flux_kind, catalog.flux_unit) == (kind, "image")
    np.testing.assert_array_equal(catalog.flux, np.linspace(1.0, 2.0, N_ROWS))
    assert "flux_kind" not in catalog.settings


def test_exploded_apertures_are_numbered_from_one(tmp_path: Path) -> None:
    # STILTS spreads FLUX_APER to FLUX_APER_1 ..., astropy to FLUX_APER, FLUX_APER_1 ...
    table = make_generic()["id", "ra", "dec"]
    for i in (1, 2):
        table[f"FLUX_APER_{i}"] = np.full(N_ROWS, float(i))
        table[f"FLUXERR_APER_{i}"] = np.full(N_ROWS, 0.1)
    path = tmp_path / "a.ecsv"
    table.write(path)
    first, second = (read(path, flux=FluxKind.APER, aperture=label) for label in "12")
    assert (first.flux[0], second.flux[0]) == (1.0, 2.0)


def test_two_kinds_without_iso_want_a_choice(tmp_path: Path) -> None:
    table = make_generic()["id", "ra", "dec"]
    for name in ("kron_flux", "kron_flux_err", "flux_fit", "flux_err"):
        table[name] = np.ones(N_ROWS) * u.Jy
    path = tmp_path / "a.ecsv"
    table.write(path)
    with pytest.raises(CatalogColumnError, match="--flux auto or --flux psf"):
        read(path)
    assert read(path, flux=FluxKind.PSF).flux_kind is FluxKind.PSF


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
    assert (catalog.n_dropped_nonfinite, catalog.n_negative_flux) == (3, 1)


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


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("catalog", "images"),
    [
        ("X_cat.ecsv", ["X_i2d.fits", "X_cal.fits", "X_crf.fits", "X.fits"]),
        ("X_i2d_cat.ecsv", ["X_i2d.fits"]),
        ("X_i2d.cat", ["X_i2d.fits"]),
        ("X_cal.fits.cat", ["X_cal.fits"]),
        ("X_sex.csv", ["X_i2d.fits", "X_cal.fits", "X_crf.fits", "X.fits"]),
        ("v1.2_cal.ldac", ["v1.2_cal.fits"]),
    ],
)
def test_image_name_candidates(catalog: str, images: list[str]) -> None:
    assert image_name_candidates(catalog) == images


def test_run_together() -> None:
    assert run_together("FLUX_ISOFLUXERR_ISO") == ("FLUX_ISO", "FLUXERR_ISO")
    assert run_together("FLAGSNUMBER") == ("FLAGS", "NUMBER")
    for name in ("FLUX_ISOCOR", "MAG_ISO", "radec", "isophotal_flux", "x_centroid"):
        assert run_together(name) is None


def test_line_of_row(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", "# c\n\na,b\n1,2\n# d\n3,4\n")
    assert [line_of_row(path, row, n_header_lines=1) for row in (1, 2, 3)] == [4, 6, 0]
    assert first_data_line(path) == "a,b"

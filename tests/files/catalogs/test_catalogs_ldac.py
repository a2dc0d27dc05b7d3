"""FITS_LDAC and FITS_1.0: what SExtractor 2.25 writes, written again and read back."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from astropy.io import fits

from calreg.domain import FluxKind
from calreg.errors import (
    CatalogColumnError,
    FileFormatError,
    InvalidValueError,
    OutputError,
    UnsupportedDataError,
)
from calreg.files.catalogs.read import read_catalog
from calreg.files.recognise import FileKind, recognise
from calreg.simulation.ldac import write_ldac

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

IMAGE = "jw01176-o241_t001_nircam_clear-f444w_nrcalong_i2d.fits"
N_ROWS = 40


def make_columns(n_rows: int = N_ROWS) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(20220708)
    flux = rng.uniform(1.0, 50.0, n_rows)
    aper = flux[:, np.newaxis] * np.array([0.6, 0.8, 0.95])
    return {
        "NUMBER": np.arange(1, n_rows + 1),
        "ALPHA_J2000": rng.uniform(265.0, 265.05, n_rows),
        "DELTA_J2000": rng.uniform(68.9, 69.0, n_rows),
        "ALPHAWIN_J2000": rng.uniform(265.0, 265.05, n_rows),
        "DELTAWIN_J2000": rng.uniform(68.9, 69.0, n_rows),
        "X_IMAGE": rng.uniform(1.0, 2048.0, n_rows),
        "Y_IMAGE": rng.uniform(1.0, 2048.0, n_rows),
        "FLUX_ISO": flux,
        "FLUXERR_ISO": flux / 100.0,
        "MAG_ISO": 25.0 - 2.5 * np.log10(flux),
        "MAGERR_ISO": np.full(n_rows, 0.01),
        "FLUX_AUTO": flux * 1.1,
        "FLUXERR_AUTO": flux / 90.0,
        "FLUX_APER": aper,
        "FLUXERR_APER": aper / 100.0,
        "MAG_APER": 25.0 - 2.5 * np.log10(aper),
        "MAGERR_APER": np.full((n_rows, 3), 0.02),
        "FLAGS": rng.integers(0, 4, n_rows),
    }


def make_header(extension: str = "SCI") -> list[str]:
    header = fits.Header()
    header["EXTNAME"] = extension
    header["BUNIT"] = "MJy/sr"
    header["PIXAR_SR"] = 8.46e-14
    return [card.image for card in header.cards]


@pytest.fixture
def ldac(tmp_path: Path) -> Path:
    path = tmp_path / "epoch1_i2d.cat"
    write_ldac(path, make_columns(), make_header(), IMAGE, mag_zero_point=25.0)
    return path


def test_ldac_round_trip(ldac: Path) -> None:
    columns = make_columns()
    catalog = read_catalog(ldac, recognise(ldac))
    np.testing.assert_array_equal(catalog.number, columns["NUMBER"])
    np.testing.assert_array_equal(catalog.ra_deg, columns["ALPHAWIN_J2000"])
    np.testing.assert_array_equal(catalog.dec_deg, columns["DELTAWIN_J2000"])
    # SExtractor's fluxes, magnitudes and barycentres are float32.
    np.testing.assert_array_equal(catalog.flux, columns["FLUX_ISO"].astype(np.float32))
    np.testing.assert_array_equal(catalog.flux_err, columns["FLUXERR_ISO"].astype(np.float32))
    np.testing.assert_array_equal(catalog.mag, columns["MAG_ISO"].astype(np.float32))
    np.testing.assert_array_equal(catalog.mag_err, columns["MAGERR_ISO"].astype(np.float32))
    np.testing.assert_array_equal(catalog.x, columns["X_IMAGE"].astype(np.float32) - 1.0)
    np.testing.assert_array_equal(catalog.y, columns["Y_IMAGE"].astype(np.float32) - 1.0)
    np.testing.assert_array_equal(catalog.flags, columns["FLAGS"])
    assert all(
        getattr(catalog, name).dtype == np.float64
        for name in ("ra_deg", "dec_deg", "x", "y", "flux", "flux_err", "mag", "mag_err")
    )


def test_ldac_states_image_and_settings(ldac: Path) -> None:
    catalog = read_catalog(ldac, FileKind.SEXTRACTOR_LDAC)
    assert catalog.image_name == IMAGE
    assert catalog.detection_image_name == ""
    assert (catalog.flux_kind, catalog.aperture, catalog.flux_unit) == (FluxKind.ISO, "", "image")
    assert float(catalog.settings["SEXMGZPT"]) == 25.0
    assert catalog.settings["EXTNAME"] == "SCI"
    assert "ra=ALPHAWIN_J2000" in catalog.settings["columns"].split()
    assert catalog.file_size_bytes == ldac.stat().st_size
    assert (catalog.file_name, catalog.directory) == (ldac.name, str(ldac.parent))
    assert re.fullmatch("[0-9a-f]{64}", catalog.file_sha256)


@pytest.mark.parametrize(
    ("stated", "software"),
    [
        ("Source Extractor 2.25.0", "SExtractor 2.25.0"),
        ("2.19.5", "SExtractor 2.19.5"),
        ("calreg", "calreg"),
    ],
)
def test_software(tmp_path: Path, stated: str, software: str) -> None:
    path = tmp_path / "a.cat"
    write_ldac(path, make_columns(), make_header(), IMAGE, software=stated)
    assert read_catalog(path, FileKind.SEXTRACTOR_LDAC).software == software


def test_fitsfile_with_folder_and_extension(tmp_path: Path) -> None:
    path = tmp_path / "a.cat"
    write_ldac(path, make_columns(), make_header(), "../mosaics/x_i2d.fits[1]")
    assert read_catalog(path, FileKind.SEXTRACTOR_LDAC).image_name == "x_i2d.fits"


def test_auto_and_vector_apertures(ldac: Path) -> None:
    columns = make_columns()
    auto = read_catalog(ldac, FileKind.SEXTRACTOR_LDAC, flux=FluxKind.AUTO)
    np.testing.assert_array_equal(auto.flux, columns["FLUX_AUTO"].astype(np.float32))
    assert np.isnan(auto.mag).all()
    first = read_catalog(ldac, FileKind.SEXTRACTOR_LDAC, flux=FluxKind.APER)
    assert first.aperture == "1"
    for i, label in enumerate("123"):
        catalog = read_catalog(ldac, FileKind.SEXTRACTOR_LDAC, flux=FluxKind.APER, aperture=label)
        assert (catalog.flux_kind, catalog.aperture) == (FluxKind.APER, label)
        np.testing.assert_array_equal(catalog.flux, columns["FLUX_APER"][:, i].astype(np.float32))
        np.testing.assert_array_equal(catalog.mag, columns["MAG_APER"][:, i].astype(np.float32))
    np.testing.assert_array_equal(
        first.flux, columns["FLUX_APER"][:, 0].astype(np.float32).astype(np.float64)
    )


@pytest.mark.parametrize(
    ("flux", "aperture", "expected"),
    [
        (FluxKind.APER, "4", "has no aperture '4'; expected one of 1, 2, 3"),
        (FluxKind.AUTO, "1", "aperture '1' was asked for, but auto flux has none"),
        (FluxKind.PSF, "", "has no psf flux with its error; .* aper auto iso"),
    ],
)
def test_missing_kind_or_aperture(ldac: Path, flux: FluxKind, aperture: str, expected: str) -> None:
    with pytest.raises(CatalogColumnError, match=expected):
        read_catalog(ldac, FileKind.SEXTRACTOR_LDAC, flux=flux, aperture=aperture)


def test_sextractor_without_iso_wants_a_choice(tmp_path: Path) -> None:
    columns = {k: v for k, v in make_columns().items() if not k.endswith(("_ISO", "_APER"))}
    path = tmp_path / "a.cat"
    write_ldac(path, columns, make_header(), IMAGE)
    with pytest.raises(CatalogColumnError, match="--flux auto"):
        read_catalog(path, FileKind.SEXTRACTOR_LDAC)


def test_windowed_position_falls_back_per_row(tmp_path: Path) -> None:
    columns = make_columns()
    columns["ALPHAWIN_J2000"][3] = np.nan
    columns["DELTAWIN_J2000"][7] = np.inf
    path = tmp_path / "a.cat"
    write_ldac(path, columns, make_header(), IMAGE)
    catalog = read_catalog(path, FileKind.SEXTRACTOR_LDAC)
    for row in (3, 7):
        assert catalog.ra_deg[row] == columns["ALPHA_J2000"][row]
        assert catalog.dec_deg[row] == columns["DELTA_J2000"][row]
    assert catalog.ra_deg[4] == columns["ALPHAWIN_J2000"][4]
    assert catalog.n_dropped_nonfinite == 0


def test_bad_rows_are_dropped_and_negative_flux_kept(tmp_path: Path) -> None:
    columns = make_columns()
    del columns["ALPHAWIN_J2000"], columns["DELTAWIN_J2000"]
    columns["ALPHA_J2000"][0] = np.nan
    columns["DELTA_J2000"][1] = np.inf
    columns["FLUX_ISO"][2] = np.nan
    columns["FLUXERR_ISO"][3] = np.inf
    columns["MAG_ISO"][4] = np.inf
    columns["FLUX_ISO"][5], columns["MAG_ISO"][5], columns["MAGERR_ISO"][5] = -2.0, 99.0, 99.0
    columns["FLUX_ISO"][6], columns["MAG_ISO"][6], columns["MAGERR_ISO"][6] = 0.0, np.nan, np.nan
    path = tmp_path / "a.cat"
    write_ldac(path, columns, make_header(), IMAGE)
    catalog = read_catalog(path, FileKind.SEXTRACTOR_LDAC)
    assert catalog.n_dropped_nonfinite == 5
    assert catalog.n_negative_flux == 2
    assert catalog.number.tolist() == list(range(6, N_ROWS + 1))
    assert catalog.flux[:2].tolist() == [-2.0, 0.0]
    assert np.isnan(catalog.mag[:2]).all()
    assert np.isnan(catalog.mag_err[:2]).all()
    assert np.isfinite(catalog.mag[2:]).all()


def test_unpadded_end_card(ldac: Path, tmp_path: Path) -> None:
    # As other programs write it: the row ends right after the letters END.
    raw = ldac.read_bytes()
    with fits.open(ldac) as hdus:
        n_bytes, start = hdus[1].header["NAXIS1"], hdus[1].fileinfo()["datLoc"]
    short = n_bytes - 77
    assert raw[start + short - 3 : start + short + 1] == b"END "
    raw = raw.replace(f"{n_bytes:>20d}".encode(), f"{short:>20d}".encode())
    raw = raw.replace(f"'{n_bytes}A".encode(), f"'{short}A".encode())
    raw = re.sub(rb"TDIM1   = '\(80, \d+\)'", lambda m: b" " * len(m[0]), raw)
    raw = raw[: start + short] + b"\0" * 77 + raw[start + n_bytes :]
    path = tmp_path / "unpadded.cat"
    path.write_bytes(raw)
    catalog = read_catalog(path, recognise(path))
    assert catalog.image_name == IMAGE
    np.testing.assert_array_equal(catalog.flags, make_columns()["FLAGS"])


def test_header_without_end_card(ldac: Path) -> None:
    raw = ldac.read_bytes()
    start = raw.index(b"END" + b" " * 77 + b"\0")
    ldac.write_bytes(raw[:start] + b"   " + raw[start + 3 :])
    catalog = read_catalog(ldac, FileKind.SEXTRACTOR_LDAC)
    assert catalog.image_name == IMAGE
    assert catalog.notes == ("the header inside LDAC_IMHEAD has no END card; its cards are whole",)


def test_header_without_end_card_and_with_a_cut_one(ldac: Path) -> None:
    raw = ldac.read_bytes()
    start = raw.index(b"FITSFILE")
    end = raw.index(b"END" + b" " * 77 + b"\0")
    cut = raw[:start] + raw[start : start + 14] + b" " * (end + 3 - start - 14) + raw[end + 3 :]
    ldac.write_bytes(cut)
    with pytest.raises(FileFormatError, match=r"no END card and is cut at .FITSFILE= 'jw"):
        read_catalog(ldac, FileKind.SEXTRACTOR_LDAC)


@pytest.mark.parametrize("n_lost", [2880, 4000, 7000])
def test_truncated(ldac: Path, n_lost: int) -> None:
    raw = ldac.read_bytes()
    ldac.write_bytes(raw[:-n_lost])
    with pytest.raises(FileFormatError, match=r"truncated|is it complete\?") as caught:
        read_catalog(ldac, FileKind.SEXTRACTOR_LDAC)
    assert str(ldac) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_cut_before_the_objects(ldac: Path) -> None:
    with fits.open(ldac) as hdus:
        start = hdus[2].fileinfo()["hdrLoc"]
    ldac.write_bytes(ldac.read_bytes()[:start])
    with pytest.raises(FileFormatError, match="LDAC_IMHEAD"):
        read_catalog(ldac, FileKind.SEXTRACTOR_LDAC)


def test_not_fits(tmp_path: Path) -> None:
    path = tmp_path / "a.cat"
    path.write_bytes(b"SIMPLE  = but nothing else")
    with pytest.raises(FileFormatError, match="cannot be read as FITS"):
        read_catalog(path, FileKind.SEXTRACTOR_LDAC)
    with pytest.raises(FileFormatError, match="there is no such file"):
        read_catalog(tmp_path / "none.cat", FileKind.SEXTRACTOR_LDAC)


def test_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.cat"
    write_ldac(path, make_columns(0), make_header(), IMAGE)
    with pytest.raises(FileFormatError, match="holds no sources"):
        read_catalog(path, recognise(path))


def test_no_usable_rows(tmp_path: Path) -> None:
    columns = make_columns(3)
    columns["FLUX_ISO"][:] = np.nan
    path = tmp_path / "a.cat"
    write_ldac(path, columns, make_header(), IMAGE)
    with pytest.raises(FileFormatError, match="holds no sources: all 3 rows"):
        read_catalog(path, recognise(path))


def test_doubled_number(tmp_path: Path) -> None:
    columns = make_columns()
    columns["NUMBER"][9] = 4
    path = tmp_path / "a.cat"
    write_ldac(path, columns, make_header(), IMAGE)
    with pytest.raises(CatalogColumnError, match=r"number 4 occurs 2 times .* \(rows 4 and 10\)"):
        read_catalog(path, FileKind.SEXTRACTOR_LDAC)


def _merge(paths: list[Path], target: Path) -> None:
    """Make what SExtractor makes of a multi-extension image: one pair of tables per extension."""
    with fits.open(paths[0]) as first:
        parts = [hdu.copy() for hdu in first]
    for path in paths[1:]:
        with fits.open(path) as other:
            parts += [hdu.copy() for hdu in other[1:]]
    fits.HDUList(parts).writeto(target)


def test_multi_extension_catalog_reads_sci(ldac: Path, tmp_path: Path) -> None:
    other, merged = tmp_path / "err.cat", tmp_path / "merged.cat"
    write_ldac(other, make_columns(5), make_header("ERR"), IMAGE)
    _merge([other, ldac], merged)
    assert read_catalog(merged, FileKind.SEXTRACTOR_LDAC).number.size == N_ROWS
    merged.unlink()
    _merge([other, other], merged)
    with pytest.raises(UnsupportedDataError, match="2 tables of sources, 0 of them of a SCI"):
        read_catalog(merged, FileKind.SEXTRACTOR_LDAC)


def test_fits_1_0(ldac: Path, tmp_path: Path) -> None:
    path = tmp_path / "fits1.cat"
    with fits.open(ldac) as hdus:
        primary = fits.PrimaryHDU()
        primary.header["ORIGIN"] = "SExtractor"
        primary.header["FITSFILE"] = "x_i2d.fits"
        primary.header["SEXMGZPT"] = 25.0
        table = fits.BinTableHDU(hdus[2].data, name="OBJECTS")
        fits.HDUList([primary, table]).writeto(path)
    catalog = read_catalog(path, recognise(path))
    reference = read_catalog(ldac, FileKind.SEXTRACTOR_LDAC)
    assert (catalog.image_name, catalog.software) == ("x_i2d.fits", "SExtractor")
    assert catalog.settings["SEXMGZPT"] == "25.0"
    for name in ("number", "ra_deg", "dec_deg", "x", "y", "flux", "flux_err", "mag", "flags"):
        np.testing.assert_array_equal(getattr(catalog, name), getattr(reference, name))


def test_written_structure_is_sextractors(ldac: Path) -> None:
    # Structure and formats of a catalog by SExtractor 2.25.0 in dual-image mode.
    with fits.open(ldac) as hdus:
        hdus.verify("exception")
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "LDAC_IMHEAD", "LDAC_OBJECTS"]
        assert list(hdus[0].header) == ["SIMPLE", "BITPIX", "NAXIS", "EXTEND"]
        assert hdus[1].header["TTYPE1"] == "Field Header Card"
        cards = [str(card) for card in hdus[1].data.field(0)[0]]
        assert hdus[1].header["TFORM1"] == f"{80 * len(cards)}A"
        assert hdus[1].header["TDIM1"] == f"(80, {len(cards)})"
        assert cards[0] == "EXTNAME = 'SCI     '"
        assert cards[3] == f"FITSFILE= '{IMAGE}' / File name o"
        assert cards[-1] == "END"
        formats = dict(zip(hdus[2].columns.names, hdus[2].columns.formats, strict=True))
        assert formats["NUMBER"] == "1J"
        assert formats["ALPHA_J2000"] == formats["DELTAWIN_J2000"] == "1D"
        assert formats["X_IMAGE"] == formats["FLUX_ISO"] == formats["MAGERR_ISO"] == "1E"
        assert (formats["FLUX_APER"], formats["FLAGS"]) == ("3E", "1I")
        assert hdus[2].columns["FLUX_ISO"].unit == "count"
        assert hdus[2].columns["ALPHA_J2000"].disp == "F11.7"


def test_writing_twice_gives_the_same_bytes(ldac: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.cat"
    write_ldac(again, make_columns(), make_header(), IMAGE, mag_zero_point=25.0)
    assert again.read_bytes() == ldac.read_bytes()


def test_write_refusals(ldac: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.cat"
    columns = make_columns()
    with pytest.raises(OutputError, match="it exists"):
        write_ldac(ldac, columns, make_header(), IMAGE)
    with pytest.raises(InvalidValueError, match="does not fit card FITSFILE: 74 characters"):
        write_ldac(path, columns, make_header(), "x" * 69 + ".fits")
    with pytest.raises(InvalidValueError, match="differ in length"):
        write_ldac(path, {**columns, "FLAGS": np.zeros(3)}, make_header(), IMAGE)
    with pytest.raises(InvalidValueError, match="'NAME' has type <U1"):
        write_ldac(path, {**columns, "NAME": np.array(["a"] * N_ROWS)}, make_header(), IMAGE)
    with pytest.raises(InvalidValueError, match="has 160 characters"):
        write_ldac(path, columns, [" " * 79 + "x" * 81], IMAGE)
    assert [entry.name for entry in tmp_path.iterdir()] == [ldac.name]


@pytest.mark.skipif(shutil.which("source-extractor") is None, reason="no source-extractor")
def test_sextractor_itself(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    pixels = rng.normal(0.0, 0.01, (200, 200)).astype(np.float32)
    yy, xx = np.mgrid[:200, :200]
    for x, y in rng.uniform(20, 180, (20, 2)):
        pixels += 5.0 * np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / 8.0).astype(np.float32)
    header = fits.Header.fromstring("".join(make_header()))
    header.update(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=265.02, CRVAL2=68.98)
    header.update(CRPIX1=100.5, CRPIX2=100.5, CDELT1=-0.06 / 3600, CDELT2=0.06 / 3600)
    image = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(pixels, header, name="SCI")])
    image.writeto(tmp_path / "a_i2d.fits")
    names = [name for name in make_columns() if not name.endswith("_APER")]
    (tmp_path / "p.param").write_text("\n".join([*names, "FLUX_APER(2)", "FLUXERR_APER(2)"]))
    catalogs = {}
    for kind, style in (
        (FileKind.SEXTRACTOR_LDAC, "FITS_LDAC"),
        (FileKind.SEXTRACTOR_FITS, "FITS_1.0"),
        (FileKind.SEXTRACTOR_ASCII, "ASCII_HEAD"),
    ):
        options = {
            "-PARAMETERS_NAME": "p.param",
            "-FILTER": "N",
            "-PHOT_APERTURES": "5,10",
            "-CATALOG_TYPE": style,
            "-CATALOG_NAME": f"{style}.cat",
        }
        subprocess.run(
            ["source-extractor", "a_i2d.fits[1],a_i2d.fits[1]", *sum(options.items(), ())],
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )
        path = tmp_path / f"{style}.cat"
        assert recognise(path) is kind
        catalogs[kind] = read_catalog(path, kind, flux=FluxKind.APER, aperture="2")
    ldac, fits1, text = catalogs.values()
    assert ldac.image_name == fits1.image_name == "a_i2d.fits"
    assert ldac.software.startswith("SExtractor 2.")
    assert ldac.number.size > 10
    for name in ("number", "ra_deg", "dec_deg", "x", "y", "flux", "flux_err", "flags"):
        np.testing.assert_array_equal(getattr(ldac, name), getattr(fits1, name))
    # ASCII_HEAD prints 7 decimals of a degree and 7 digits of a flux.
    np.testing.assert_allclose(ldac.ra_deg, text.ra_deg, rtol=0, atol=0.6e-7)
    np.testing.assert_allclose(ldac.flux, text.flux, rtol=1e-6)

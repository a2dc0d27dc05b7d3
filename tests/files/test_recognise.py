from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from calreg.errors import FileFormatError
from calreg.files.fits.headers import read_headers
from calreg.files.recognise import FileKind, inspect, recognise
from support.fitsimages import PIXELS, write_image

if TYPE_CHECKING:
    from pathlib import Path

SEXTRACTOR_NAMES = [
    "NUMBER",
    "X_IMAGE",
    "Y_IMAGE",
    "ALPHA_J2000",
    "DELTA_J2000",
    "FLUX_ISO",
    "FLAGS",
]


def table_hdu(names: list[str], name: str, cards: dict[str, str] | None = None) -> fits.BinTableHDU:
    columns = [fits.Column(column, "D", array=np.arange(3.0)) for column in names]
    hdu = fits.BinTableHDU.from_columns(columns, name=name)
    hdu.header.update(cards or {})
    return hdu


def write_fits(path: Path, *hdus: fits.BinTableHDU | fits.ImageHDU, **cards: str) -> Path:
    primary = fits.PrimaryHDU()
    primary.header.update(cards)
    fits.HDUList([primary, *hdus]).writeto(path)
    return path


# --- FITS -----------------------------------------------------------------------------------------


def test_images(tmp_path: Path) -> None:
    kinds = {
        recognise(write_image(tmp_path / "a_cal.fits")),
        recognise(write_image(tmp_path / "b_i2d.fits", member_contexts=["jwst_1130.pmap"])),
        recognise(write_image(tmp_path / "c.fits", single_hdu=True)),
        recognise(write_fits(tmp_path / "d.fits", fits.CompImageHDU(PIXELS, name="SCI"))),
        # Headers only, as in header archives: reading it says what is missing.
        recognise(write_fits(tmp_path / "e.fits", TELESCOP="JWST")),
        recognise(write_fits(tmp_path / "f.fits", table_hdu(["ASDF_METADATA"], "ASDF"))),
    }
    assert kinds == {FileKind.JWST_IMAGE}


def test_headers_are_handed_on(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a_cal.fits")
    found = inspect(path)
    assert found.headers is not None
    assert found.headers.sha256 == read_headers(path).sha256


def test_reference_file(tmp_path: Path) -> None:
    path = write_fits(tmp_path / "p.fits", table_hdu(["photmjsr"], "PHOTOM"), REFTYPE="PHOTOM")
    assert recognise(path) is FileKind.REFERENCE_FILE


def test_sextractor_ldac(tmp_path: Path) -> None:
    imhead = table_hdu(["Field Header Card"], "LDAC_IMHEAD")
    path = write_fits(tmp_path / "a.cat", imhead, table_hdu(SEXTRACTOR_NAMES, "LDAC_OBJECTS"))
    assert recognise(path) is FileKind.SEXTRACTOR_LDAC


@pytest.mark.parametrize(
    ("names", "extension", "cards"),
    [
        (SEXTRACTOR_NAMES, "OBJECTS", {}),
        (["NUMBER", "MAG_ISO", "MAGERR_ISO"], "", {}),
        (["NUMBER", "VECTOR_ASSOC"], "OBJECTS", {"ORIGIN": "SExtractor"}),
    ],
)
def test_sextractor_fits(
    tmp_path: Path, names: list[str], extension: str, cards: dict[str, str]
) -> None:
    path = write_fits(tmp_path / "a.cat", table_hdu(names, extension, cards))
    assert recognise(path) is FileKind.SEXTRACTOR_FITS


def test_other_fits_table(tmp_path: Path) -> None:
    path = write_fits(tmp_path / "a.fits", table_hdu(["id", "ra", "dec", "mag"], "CATALOG"))
    assert recognise(path) is FileKind.FITS_TABLE


def test_truncated_fits_is_refused(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a_cal.fits")
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(FileFormatError, match=r"a_cal\.fits: truncated"):
        recognise(path)


# --- tables ---------------------------------------------------------------------------------------


def test_tables_that_astropy_writes(tmp_path: Path) -> None:
    table = Table({"id": [1, 2], "ra": [10.0, 11.0], "note": ["a", "b,c"]})
    for ending, name in (("ecsv", "ascii.ecsv"), ("csv", "ascii.csv"), ("xml", "votable")):
        # The names are wrong on purpose: content decides.
        table.write(tmp_path / f"{ending}.fits", format=name)
    assert recognise(tmp_path / "ecsv.fits") is FileKind.ECSV
    assert recognise(tmp_path / "csv.fits") is FileKind.CSV
    assert recognise(tmp_path / "xml.fits") is FileKind.VOTABLE


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (
            b"#   1 NUMBER   Running object number\n#   2 X_IMAGE  x [pixel]\n 1 2.0\n",
            FileKind.SEXTRACTOR_ASCII,
        ),
        (b"#   1 ALPHA_J2000     ra   [deg]\n 10.0\n", FileKind.SEXTRACTOR_ASCII),
        (b"PAR1\x15\x04rest", FileKind.PARQUET),
        (b"\xef\xbb\xbfra,dec,mag\n1,2,3\n", FileKind.CSV),
        (b"# made by topcat\n\nra, dec\n1, 2\n", FileKind.CSV),
        (b'"ra","dec"\r\n1,2\r\n', FileKind.CSV),
        (b"ra,dec\n", FileKind.CSV),
        ("étoile,magnitude\n1,2\n".encode(), FileKind.CSV),
        (("ra,dec,note\n" + "1,2,é\n" * 3000).encode(), FileKind.CSV),
        (b"<?xml version='1.0'?>\n<!-- x -->\n<VOTABLE version='1.4'>", FileKind.VOTABLE),
        (b"<v:VOTABLE xmlns:v='x'>", FileKind.VOTABLE),
    ],
)
def test_tables_by_their_first_bytes(tmp_path: Path, content: bytes, kind: FileKind) -> None:
    path = tmp_path / "table"
    path.write_bytes(content)
    assert recognise(path) is kind
    assert inspect(path).headers is None


def test_real_files(shared_data: Path) -> None:
    expected = {
        "jw01227002001_02105_00001_nrcalong_cutout_cal.fits": FileKind.JWST_IMAGE,
        "jw01075001001_03105_00009_nrca2_uncal.fits": FileKind.JWST_IMAGE,
        "jwst_nircam_photom_0064.fits": FileKind.REFERENCE_FILE,
        "idf_zpcor_1130_pmap.ecsv": FileKind.ECSV,
        "photmjsr_history.csv": FileKind.PHOTMJSR_TABLE,
        "nircam_bestrefs_4contexts.csv": FileKind.REFERENCES_TABLE,
        "jwst_zeropoints.yml": FileKind.GRIZLI_ZERO_POINTS,
        "ceers_exposure_footprints.csv": FileKind.CSV,
    }
    assert {name: recognise(shared_data / name) for name in expected} == expected
    for name in ("photom_correction.yml", "INDEX.md"):
        with pytest.raises(FileFormatError, match="is not FITS, ECSV"):
            recognise(shared_data / name)


def test_catalogs_are_told_from_images() -> None:
    not_catalogs = {kind for kind in FileKind if not (kind.is_catalog or kind.is_of_contexts)}
    assert not_catalogs == {FileKind.JWST_IMAGE, FileKind.REFERENCE_FILE}
    assert not any(kind.is_catalog and kind.is_of_contexts for kind in FileKind)


def test_files_about_contexts(tmp_path: Path) -> None:
    columns = b"pmap,detector,filter,pupil,photmjsr"
    for content, kind in (
        (columns + b"\n", FileKind.PHOTMJSR_TABLE),
        (b"# of ours\n" + columns.upper() + b"\n1,2,3,4,5\n", FileKind.PHOTMJSR_TABLE),
        (b"# %ECSV 1.0\n# ---\n" + columns.replace(b",", b" ") + b"\n", FileKind.PHOTMJSR_TABLE),
        (b"pmap,detector,filter,pupil,flat\n", FileKind.REFERENCES_TABLE),
        (b"header = {\n    'mapping' : 'PIPELINE',\n}", FileKind.MAPPING),
        (b"# z\nNRCA1-F070W-CLEAR: [ 4.40, 1.03, 2.24e-14]", FileKind.GRIZLI_ZERO_POINTS),
        # A catalog of sources may say of each which context its flux is from.
        (b"ra,dec," + columns + b"\n", FileKind.CSV),
    ):
        path = tmp_path / "file"
        path.write_bytes(content)
        assert recognise(path) is kind


# --- refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"\x1f\x8b\x08\x00", "is gzip-compressed"),
        (b"just a text\n", r"is not FITS, ECSV, CSV, VOTable, Parquet or a SExtractor catalog"),
        (b"Dear reader, see below\nno table here\n", r"\(first bytes b'Dear reader, see'\)"),
        (b"1,2,3\n4,5,6\n", "is not FITS"),
        (b"<html><body>404</body></html>", "is not FITS"),
        (b"a,b\n\x00\x01,2\n", "is not FITS"),
        (b"a,b\n\xff\xfe,2\n", "is not FITS"),
        (b"# only a comment\n", "is not FITS"),
        (b"# 12 things\n", "is not FITS"),
    ],
)
def test_unrecognised(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "thing.fits"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=rf"thing\.fits: .*{message}"):
        recognise(path)

"""ASCII_HEAD, as SExtractor 2.25 writes it, and text tables' lines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from calreg.domain import FluxKind
from calreg.errors import CatalogColumnError, FileFormatError
from calreg.files.catalogs.columns import first_data_line, line_of_row, run_together
from calreg.files.catalogs.read import image_name_candidates, read_catalog
from calreg.files.recognise import FileKind, recognise

if TYPE_CHECKING:
    from calreg.domain import Catalog

ASCII_HEAD = Path(__file__).parents[2] / "data" / "sextractor_2.25_ascii_head.cat"


def read(path: Path, **options: Any) -> Catalog:
    return read_catalog(path, recognise(path), **options)


def write_text(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


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
    path = write_text(tmp_path / "a.cat", text.replace(old, new))
    with pytest.raises(CatalogColumnError, match=expected):
        read_catalog(path, FileKind.SEXTRACTOR_ASCII)


def test_ascii_head_bad_rows(tmp_path: Path) -> None:
    lines = ASCII_HEAD.read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    asterisks = [*lines]
    asterisks[first + 2] = lines[first + 2].replace("22.6020", "*******")
    path = write_text(tmp_path / "a.cat", "\n".join(asterisks))
    with pytest.raises(FileFormatError, match=rf"line {first + 3}: .*\*\*\*\*"):
        read_catalog(path, FileKind.SEXTRACTOR_ASCII)
    short = [*lines]
    short[first + 1] = short[first + 1][:200]
    path = write_text(tmp_path / "b.cat", "\n".join(short))
    with pytest.raises(FileFormatError, match=rf"line {first + 2}: the number of columns changed"):
        read_catalog(path, FileKind.SEXTRACTOR_ASCII)


def test_ascii_head_without_rows_or_header(tmp_path: Path) -> None:
    lines = ASCII_HEAD.read_text().splitlines()
    header = "\n".join(line for line in lines if line.startswith("#"))
    path = write_text(tmp_path / "a.cat", header)
    with pytest.raises(FileFormatError, match=r"holds no sources \(0 rows\)"):
        read(path)
    path = write_text(tmp_path / "b.cat", "1 2 3\n")
    with pytest.raises(FileFormatError, match="has no header lines"):
        read_catalog(path, FileKind.SEXTRACTOR_ASCII)


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
    path = write_text(tmp_path / "a.csv", "# c\n\na,b\n1,2\n# d\n3,4\n")
    assert [line_of_row(path, row, n_header_lines=1) for row in (1, 2, 3)] == [4, 6, 0]
    assert first_data_line(path) == "a,b"

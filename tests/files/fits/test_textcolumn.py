"""One column of text out of a binary table by its TFORM widths, against astropy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from astropy.io import fits

from calreg.errors import FileFormatError
from calreg.files.fits.headers import read_headers
from calreg.files.fits.textcolumn import read_number_column, read_text_column

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.files.fits.headers import HeaderUnit

CONTEXTS = ["jwst_1130.pmap", "jwst_987.pmap", ""]

# A column of each type before it, with repeat counts, bits and descriptors among them.
BEFORE = (
    fits.Column("L", "3L", array=np.ones((3, 3), dtype=np.bool_)),
    fits.Column("X", "11X", array=np.ones((3, 11), dtype=np.bool_)),
    fits.Column("B", "B", array=np.arange(3, dtype=np.uint8)),
    fits.Column("I", "2I", array=np.ones((3, 2), dtype=np.int16)),
    fits.Column("J", "J", array=np.arange(3)),
    fits.Column("K", "K", array=np.arange(3)),
    fits.Column("A", "5A", array=["a", "bb", "CRDS_"]),
    fits.Column("E", "E", array=np.ones(3)),
    fits.Column("D", "0D"),
    fits.Column("C", "C", array=np.ones(3)),
    fits.Column("M", "2M", array=np.ones((3, 2))),
    fits.Column("P", "PJ(3)", array=np.array([[1], [1, 2], [1, 2, 3]], dtype=np.object_)),
    fits.Column("Q", "QD", array=np.array([[1.0], [2.0], [3.0]], dtype=np.object_)),
)


def write_table(path: Path, columns: list[fits.Column]) -> HeaderUnit:
    table = fits.BinTableHDU.from_columns(columns, name="HDRTAB")
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path)
    unit = read_headers(path).find("HDRTAB")
    assert unit is not None
    return unit


def test_column_behind_every_type(tmp_path: Path) -> None:
    column = fits.Column("CRDS_CTX", "20A", array=CONTEXTS)
    after = fits.Column("PHOTMJSR", "D", array=np.ones(3))
    unit = write_table(tmp_path / "t.fits", [*BEFORE, column, after])
    assert read_text_column(unit, "crds_ctx") == CONTEXTS
    assert read_text_column(unit, "A") == ["a", "bb", "CRDS_"]
    with fits.open(tmp_path / "t.fits") as hdus:
        assert [str(text) for text in hdus[1].data["CRDS_CTX"]] == CONTEXTS


def test_no_such_column(tmp_path: Path) -> None:
    unit = write_table(tmp_path / "t.fits", [fits.Column("DETECTOR", "6A", array=["NRCA1"])])
    assert read_text_column(unit, "CRDS_CTX") == []


def test_a_column_that_is_no_text(tmp_path: Path) -> None:
    unit = write_table(tmp_path / "t.fits", [fits.Column("CRDS_CTX", "D", array=[1130.0])])
    with pytest.raises(FileFormatError, match=r"card TFORM1 of HDRTAB: found 'D', expected char"):
        read_text_column(unit, "CRDS_CTX")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (b"TFORM1  = '20A     '", b"TFORM1  = 'text    '", r"card TFORM1 .* found 'text'"),
        (b"TFORM1  = '20A     '", b"TFORM1  = '99A     '", r"take 99 bytes .* NAXIS1=20"),
    ],
)
def test_broken_descriptions(tmp_path: Path, old: bytes, new: bytes, expected: str) -> None:
    path = tmp_path / "t.fits"
    write_table(path, [fits.Column("CRDS_CTX", "20A", array=CONTEXTS)])
    raw = path.read_bytes()
    assert old in raw
    path.write_bytes(raw.replace(old, new))
    unit = read_headers(path).find("HDRTAB")
    assert unit is not None
    with pytest.raises(FileFormatError, match=expected):
        read_text_column(unit, "CRDS_CTX")


def test_numbers(tmp_path: Path) -> None:
    columns = [
        *BEFORE[:5],
        fits.Column("D", "D", array=[0.1, -2.5, np.nan]),
        fits.Column("E", "E", array=[0.5, 1.0, 2.0]),
        fits.Column("TEXT", "9A", array=["0.379", "N/A", "1e-3"]),
    ]
    unit = write_table(tmp_path / "t.fits", columns)
    np.testing.assert_array_equal(read_number_column(unit, "d"), [0.1, -2.5, np.nan])
    assert read_number_column(unit, "E") == [0.5, 1.0, 2.0]
    assert read_number_column(unit, "J") == [0.0, 1.0, 2.0]
    np.testing.assert_array_equal(read_number_column(unit, "TEXT"), [0.379, np.nan, 1e-3])
    assert read_number_column(unit, "PHOTMJSR") == []
    with pytest.raises(FileFormatError, match=r"found '2I', expected one number, such as D"):
        read_number_column(unit, "I")

from __future__ import annotations

import hashlib
import math
import string
from typing import TYPE_CHECKING

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calreg.errors import FileFormatError, HeaderValueError
from calreg.files.atomic import sha256_of
from calreg.files.fits.headers import read_headers, read_start
from support.fitsimages import PIXELS, write_image

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.files.fits.headers import CardValue, HeaderUnit

REAL_EXPOSURE = "jw01227002001_02105_00001_nrcalong_cutout_cal.fits"


def astropy_values(unit: HeaderUnit) -> dict[str, CardValue]:
    """Return every card with a value as astropy reads it; None where it has no value."""
    header = fits.Header.fromstring(unit.raw)
    return {
        keyword: None if isinstance(header[keyword], fits.card.Undefined) else header[keyword]
        for keyword in dict.fromkeys(header)
        if keyword not in ("", "COMMENT", "HISTORY")
    }


def assert_equals_astropy(unit: HeaderUnit) -> int:
    """Compare all values and their types; return how many."""
    expected = astropy_values(unit)
    found = {keyword: unit.get(keyword) for keyword in expected}
    assert found == expected
    assert {k: type(v) for k, v in found.items()} == {k: type(v) for k, v in expected.items()}
    return len(expected)


def one_header(path: Path, *cards: str) -> HeaderUnit:
    """Write a primary header with these card images as they are, and read it."""
    images = [
        "SIMPLE  =                    T",
        "BITPIX  =                    8",
        "NAXIS   =                    0",
    ]
    text = "".join(card.ljust(80) for card in (*images, *cards, "END"))
    path.write_bytes(text.ljust(-(-len(text) // 2880) * 2880).encode("latin-1"))
    return read_headers(path).primary


# --- real files -----------------------------------------------------------------------------------


def test_real_exposure_every_card_equals_astropy(shared_data: Path) -> None:
    headers = read_headers(shared_data / REAL_EXPOSURE)
    names = [unit.name for unit in headers.units]
    assert names == [
        "PRIMARY",
        "SCI",
        "ERR",
        "DQ",
        "AREA",
        "VAR_POISSON",
        "VAR_RNOISE",
        "VAR_FLAT",
        "ASDF",
    ]
    with fits.open(shared_data / REAL_EXPOSURE) as hdus:
        assert [len(hdu.header) for hdu in hdus][:2] == [356, 131]
        for unit, hdu in zip(headers.units, hdus, strict=True):
            info = hdu.fileinfo()
            assert (unit.header_start, unit.data_start) == (info["hdrLoc"], info["datLoc"])
            assert unit.data_end <= info["datLoc"] + info["datSpan"] < unit.data_end + 2880
    # 356 and 131 cards less the blank ones and comments.
    n_values = [assert_equals_astropy(unit) for unit in headers.units]
    assert n_values[:2] == [209, 116]


@pytest.mark.parametrize("detector", ["nrca2", "nrca3", "nrca4"])
def test_real_uncal_every_card_equals_astropy(shared_data: Path, detector: str) -> None:
    headers = read_headers(shared_data / f"jw01075001001_03105_00009_{detector}_uncal.fits")
    assert sum(assert_equals_astropy(unit) for unit in headers.units) > 200


def test_real_reference_file_every_card_equals_astropy(shared_data: Path) -> None:
    headers = read_headers(shared_data / "jwst_nircam_photom_0064.fits")
    assert sum(assert_equals_astropy(unit) for unit in headers.units) > 40
    assert headers.units[1].extension == "BINTABLE"


# --- cards ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("card", "value"),
    [
        ("KEY     = 'NRCA1   '           / detector", "NRCA1"),
        ("KEY     = ''", ""),
        ("KEY     = '        '", ""),
        ("KEY     = ' lead'", " lead"),
        ("KEY     = 'a/b'", "a/b"),
        ("KEY     = 'it''s' / the comment's own", "it's"),
        ("KEY     = 'left&'", "left&"),
        ("KEY     =                   42", 42),
        ("KEY     = +0042 / free format", 42),
        ("KEY     = -7", -7),
        ("KEY     =                  1.5", 1.5),
        ("KEY     = -.5", -0.5),
        ("KEY     = 3.", 3.0),
        ("KEY     = 1E3", 1000.0),
        ("KEY     = 9.31D-14", 9.31e-14),
        ("KEY     = 1.25d+02", 125.0),
        ("KEY     =                    T", True),
        ("KEY     =                    F / no", False),
        ("KEY     =", None),
        ("KEY     =                      / nothing", None),
        ("KEY     = (1.0, -2.0)", 1.0 - 2.0j),
        ("KEY     = 1.0 E 3", 1000.0),
    ],
)
def test_card_value(tmp_path: Path, card: str, value: CardValue) -> None:
    unit = one_header(tmp_path / "a.fits", card)
    found = unit.get("KEY")
    assert found == value
    assert type(found) is type(value)
    assert_equals_astropy(unit)


@pytest.mark.parametrize(
    "cards",
    [
        ("KEY     = 'one &' / first", "CONTINUE  'two&'", "CONTINUE  '' / last"),
        ("KEY     = 'one&'", "CONTINUE  'two  '"),
        ("KEY     = 'one'", "CONTINUE  'two'"),
        ("KEY     = 'one  &'", "CONTINUE  '  two'", "OTHER   = 1"),
        ("KEY     = 'it''s &'", "CONTINUE  'long' / isn't it"),
        ("KEY     = 'a&&'", "CONTINUE  'b'"),
        ("KEY     = '&'", "CONTINUE  '&'", "CONTINUE  '   '"),
    ],
)
def test_continued_string_equals_astropy(tmp_path: Path, cards: tuple[str, ...]) -> None:
    assert_equals_astropy(one_header(tmp_path / "a.fits", *cards))


def test_continued_string_value(tmp_path: Path) -> None:
    unit = one_header(
        tmp_path / "a.fits", "KEY     = 'one &' / first", "CONTINUE  'two&'", "CONTINUE  ''"
    )
    assert unit.get("KEY") == "one two"


def test_quote_in_the_comment_of_an_empty_string(tmp_path: Path) -> None:
    unit = one_header(tmp_path / "a.fits", "KEY     = ''                 / the array's name")
    assert unit.get("KEY") == ""  # astropy 8.0 has "'                 / the array"


def test_first_of_equal_keywords_counts(tmp_path: Path) -> None:
    unit = one_header(tmp_path / "a.fits", "KEY     = 1", "KEY     = 2")
    assert unit.get("KEY") == 1
    assert_equals_astropy(unit)


def test_hierarch_card(tmp_path: Path) -> None:
    unit = one_header(
        tmp_path / "a.fits", "HIERARCH ESO INS MODE = 'IMG' / mode", "HIERARCH Long Name = 3"
    )
    assert unit.get("ESO INS MODE") == "IMG"
    assert unit.get("long name") == 3
    assert unit.get("ESO INS NONE") is None


def test_missing_card_is_none(tmp_path: Path) -> None:
    unit = one_header(tmp_path / "a.fits", "KEYWORD = 1", "COMMENT KEY     = 2")
    assert unit.get("KEY") is None


def test_card_that_breaks_the_standard_is_refused(tmp_path: Path) -> None:
    unit = one_header(tmp_path / "a.fits", "KEY     = 12abc / not a number")
    with pytest.raises(
        HeaderValueError, match=r"a\.fits: card KEY: found 'KEY .*12abc.*expected a FITS"
    ):
        unit.get("KEY")


# ": " after a word would make astropy take the string for a record-valued card (DP1 = 'AXIS.1: 2').
TEXT = st.text(string.ascii_letters + string.digits + " '&/_.-+()", max_size=200)
VALUES = st.one_of(
    TEXT,
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
)


@settings(
    derandomize=True, max_examples=300, deadline=None, suppress_health_check=list(HealthCheck)
)
@given(values=st.lists(VALUES, max_size=12), comment=st.text("abc /&", max_size=30))
def test_any_cards_that_astropy_writes_read_the_same(
    tmp_path_factory: pytest.TempPathFactory, values: list[CardValue], comment: str
) -> None:
    header = fits.Header()
    for number, value in enumerate(values):
        is_long = isinstance(value, str) and len(value.replace("'", "''")) > 60
        header[f"KEY{number}"] = value if is_long else (value, comment[:5])
    path = tmp_path_factory.getbasetemp() / "any.fits"
    fits.PrimaryHDU(header=header).writeto(path, overwrite=True)
    unit = read_headers(path).primary
    assert_equals_astropy(unit)
    for number, value in enumerate(values):
        if isinstance(value, float):  # astropy cuts numbers to 20 characters
            assert math.isclose(unit.get(f"KEY{number}"), value, rel_tol=1e-11)  # type: ignore[arg-type]
        elif not isinstance(value, str):
            assert unit.get(f"KEY{number}") == value


# --- structure ------------------------------------------------------------------------------------


def test_sizes_of_tables_cubes_and_compressed_images(tmp_path: Path) -> None:
    path = tmp_path / "many.fits"
    table = fits.BinTableHDU.from_columns(
        [fits.Column("V", "PE()", array=np.array([np.arange(3.0), np.arange(7.0)], dtype=object))]
    )
    cube = fits.ImageHDU(np.zeros((2, 3, 5), dtype=np.int16), name="cube")
    compressed = fits.CompImageHDU(PIXELS, name="SCI")
    fits.HDUList([fits.PrimaryHDU(PIXELS), table, cube, compressed]).writeto(path)
    units = read_headers(path).units
    assert [unit.shape for unit in units][:3] == [(8, 8), (8, 2), (5, 3, 2)]
    assert units[2].name == "CUBE"
    with fits.open(path, disable_image_compression=True) as hdus:
        for unit, hdu in zip(units, hdus, strict=True):
            assert unit.data_start == hdu.fileinfo()["datLoc"]
            assert -(-unit.data_end // 2880) * 2880 == unit.data_start + hdu.fileinfo()["datSpan"]


def test_random_groups_size(tmp_path: Path) -> None:
    path = tmp_path / "groups.fits"
    data = fits.GroupData(
        np.zeros((4, 1, 2, 3), dtype=np.float32), bitpix=-32, parnames=["A"], pardata=[np.zeros(4)]
    )
    fits.HDUList([fits.GroupsHDU(data)]).writeto(path)
    unit = read_headers(path).primary
    assert unit.data_end - unit.data_start == 4 * (1 * 2 * 3 + 1) * 4


def test_pixels_are_never_read(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a_cal.fits", pixels=np.zeros((300, 300), dtype=np.float32))
    whole = path.read_bytes()
    units = read_headers(path).units
    blanked = bytearray(len(whole))
    for unit in units:
        blanked[unit.header_start : unit.data_start] = unit.raw
    other = tmp_path / "blank.fits"
    other.write_bytes(blanked)
    assert sum(len(unit.raw) for unit in units) < 20_000
    assert read_headers(other).sha256 == read_headers(path).sha256


def test_digest_is_of_the_header_blocks_and_the_size(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a_cal.fits")
    headers = read_headers(path)
    blocks = b"".join(unit.raw for unit in headers.units)
    expected = hashlib.sha256(blocks + path.stat().st_size.to_bytes(8, "big")).hexdigest()
    assert headers.sha256 == expected
    assert headers.size_bytes == path.stat().st_size


def test_digest_changes_with_a_card_and_with_the_size_only(tmp_path: Path) -> None:
    first = write_image(tmp_path / "a.fits")
    pixels = write_image(tmp_path / "b.fits", pixels=PIXELS + 1)
    card = write_image(tmp_path / "c.fits", science={"PHOTMJSR": 2.334})
    padded = tmp_path / "d.fits"
    padded.write_bytes(first.read_bytes() + bytes(2880))
    digests = [read_headers(path).sha256 for path in (first, pixels, card, padded)]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    assert sha256_of(first) == hashlib.sha256(first.read_bytes()).hexdigest()
    assert sha256_of(first) != sha256_of(pixels)


# --- refused files --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is not FITS \(it is empty, 0 bytes\)"),
        (b"# not a FITS file\n", r"is not FITS \(first bytes b'# not a FITS fil'\)"),
        (b"SIMPLE  =                    T", "truncated: the header of HDU 0 is not complete"),
        (
            b"SIMPLE  =".ljust(2880) + b"X".ljust(2880),
            "truncated: the header of HDU 0 is not complete",
        ),
        (
            b"SIMPLE  =".ljust(2880) + bytes(5760),
            "has no END card: found binary data in its block 2",
        ),
        (
            b"SIMPLE  =".ljust(2880) + b"\xff" * 5760,
            "has no END card: found binary data in its block 2",
        ),
    ],
)
def test_not_fits(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.fits"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=rf"bad\.fits: .*{message}"):
        read_headers(path)


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    whole = write_image(tmp_path / "a_cal.fits").read_bytes()
    units = read_headers(tmp_path / "a_cal.fits").units
    path = tmp_path / "cut.fits"
    # One byte short of each header and of each data block, and within them.
    cuts = [unit.data_start - 1 for unit in units] + [u.data_end - 1 for u in units if u.shape]
    cuts += [unit.header_start + n for unit in units for n in (100, 2879)]
    cuts += [units[1].header_start + 5, units[1].data_start]
    for cut in cuts:
        path.write_bytes(whole[:cut])
        with pytest.raises(FileFormatError, match=r"cut\.fits: truncated: .*download it again"):
            read_headers(path)


def test_truncation_names_hdu_and_sizes(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a_cal.fits")
    unit = read_headers(path).units[1]
    path.write_bytes(path.read_bytes()[: unit.data_end - 10])
    message = rf"HDU 1 \(SCI\) ends at byte {unit.data_end}, the file has {unit.data_end - 10};"
    with pytest.raises(FileFormatError, match=message):
        read_headers(path)


def test_missing_padding_and_trailing_records_are_allowed(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a_cal.fits")
    whole = path.read_bytes()
    end = read_headers(path).units[-1].data_end
    for content in (whole[:end], whole + b"special record".ljust(2880)):
        path.write_bytes(content)
        assert len(read_headers(path).units) == 3


@pytest.mark.parametrize(
    ("old", "new", "keyword"),
    [
        (b"BITPIX  =                    8", b"BITPIX  =                  8.5", "BITPIX"),
        (b"NAXIS   =                    0", b"NAXIS   =                   -1", "NAXIS"),
        (b"NAXIS   =                    0", b"NOAXIS  =                    0", "NAXIS"),
        (b"NAXIS2  =                    8", b"NAXIS2  =                     ", "NAXIS2"),
        (b"PCOUNT  =                    0", b"PCOUNT  = 'a'                 ", "PCOUNT"),
    ],
)
def test_broken_structure_names_the_card(
    tmp_path: Path, old: bytes, new: bytes, keyword: str
) -> None:
    path = write_image(tmp_path / "a_cal.fits")
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    with pytest.raises(FileFormatError, match=f"card {keyword}: found .*, expected a whole number"):
        read_headers(path)


def test_free_format_structure_is_read(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a_cal.fits")
    content = path.read_bytes()
    expected = [unit.data_end for unit in read_headers(path).units]
    old = b"NAXIS1  =                    8"
    path.write_bytes(content.replace(old, b"NAXIS1  = 8 / free format".ljust(len(old)), 1))
    assert [unit.data_end for unit in read_headers(path).units] == expected


def test_extension_name_is_the_card_not_a_comment(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    header = fits.Header([("COMMENT", "see EXTNAME = 'ERR'"), ("EXTNAME", "sci")])
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(PIXELS, header)]).writeto(path)
    headers = read_headers(path)
    assert headers.units[1].name == "SCI"
    assert headers.find("SCI") is headers.units[1]
    assert headers.find("ERR") is None


@pytest.mark.parametrize("reader", [read_headers, lambda path: read_start(path, 10)])
def test_unreadable_path(tmp_path: Path, reader: object) -> None:
    for path in (tmp_path / "none.fits", tmp_path):
        with pytest.raises(FileFormatError, match=r"cannot be read \(.*\): expected a file"):
            reader(path)  # type: ignore[operator]

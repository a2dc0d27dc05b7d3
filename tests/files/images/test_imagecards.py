from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from calreg.errors import HeaderValueError, InvalidValueError
from calreg.files.fits.headers import read_headers
from calreg.files.images.cards import ImageCards
from calreg.instruments import load_instrument
from calreg.science.sky.geometry import parse_s_region
from support.fitsimages import write_image

if TYPE_CHECKING:
    from pathlib import Path


def cards_of(path: Path) -> ImageCards:
    return ImageCards.of(read_headers(path), load_instrument("nircam"))


def test_number_too_large_for_a_float_is_refused(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a_cal.fits", science={"V2_REF": 1.5e300})
    path.write_bytes(path.read_bytes().replace(b"1.5E+300", b"1.5E+999"))
    with pytest.raises(HeaderValueError, match="card V2_REF: found inf, expected a finite number"):
        cards_of(path).number("v2_ref_arcsec")


def test_count_must_be_whole(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a_i2d.fits", primary={"NDRIZ": 2.5})
    with pytest.raises(HeaderValueError, match=r"card NDRIZ: found 2\.5, expected a whole number"):
        cards_of(path).number("n_members")


@pytest.mark.parametrize(
    "text",
    [
        "POLYGON ICRS  10 1 11 1 11 2 10 2",
        "polygon icrs 10.0 1.0 11.0 1.0 11.0 2.0 10.0 2.0",
        "POLYGON 10 1 11 1 11 2 10 2",
        "  Polygon   ICRS 1e1 +1 11 1 11 2 10 2  ",
        "POLYGON ICRS 10 1 11 1 11 2 10 2 10 1",
        "POLYGON ICRS -350 1 11 1 11 2 10 2",
    ],
)
def test_s_region(text: str) -> None:
    assert parse_s_region(text).tolist() == [[10, 1], [11, 1], [11, 2], [10, 2]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found shape ''"),
        ("CIRCLE ICRS 10 1 0.1", "found shape 'CIRCLE', expected POLYGON"),
        ("POLYGON FK5 10 1 11 1 11 2", "found frame FK5, expected ICRS"),
        ("POLYGON ICRS", "found 0 different vertices"),
        ("POLYGON ICRS 10 1 11 1", "found 2 different vertices, expected at least 3"),
        ("POLYGON ICRS 10 1 11 1 10 1", "found 2 different vertices"),
        ("POLYGON ICRS 10 1 11 1 11", "found 5 numbers, expected pairs"),
        ("POLYGON ICRS 10 1 11 1 11 x", "expected POLYGON and numbers"),
        ("POLYGON ICRS 1 1 2 1 2 2 POLYGON ICRS 5 5 6 5", "found 2 different vertices"),
        ("CIRCLE ICRS 1 1 2 POLYGON ICRS 5 5 6 5 6 6", "found shape 'CIRCLE', expected POLYGON"),
        ("POLYGON nan 1 11 1 11 2", "expected finite ra"),
        ("POLYGON ICRS 10 1 inf 1 11 2", "expected finite ra"),
        ("POLYGON ICRS 10 1 11 91 11 2", "dec in .-90, 90. deg"),
        ("POLYGON ICRS 10 1 361 1 11 2", "expected finite ra in .-360, 360."),
    ],
)
def test_s_region_that_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        parse_s_region(text)

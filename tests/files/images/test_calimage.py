from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.modeling import models
from astropy.wcs import WCS

from calreg.errors import (
    CalregError,
    FileFormatError,
    MissingKeywordError,
    UnsupportedDataError,
)
from calreg.files.images.exposurepixels import CalImage, WcsSource, read_cal_image
from calreg.flags import DO_NOT_USE, SATURATED
from calreg.science.sky.geometry import sep_arcsec
from support.calimages import SHAPE, asdf_tree, cal_planes, gwcs_like, write_cal
from support.distorted import DistortedSky, distorted_sky

if TYPE_CHECKING:
    from pathlib import Path

    from support.fitsimages import CardTable

REAL_EXPOSURE = "jw01227002001_02105_00001_nrcalong_cutout_cal.fits"


def sky() -> DistortedSky:
    """Return a sky whose distortion is that of a cut-out far from the middle."""
    return distorted_sky(265.0, 69.0, 30.0, SHAPE[0], centre=-700.0)


def largest_offset_arcsec(image: CalImage, expected: DistortedSky) -> float:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
    return float(sep_arcsec(*image.world.sky.sky_of(x, y), *expected.sky_of(x, y)).max())


def from_cards(image: CalImage) -> DistortedSky:
    """Return the world coordinates that the cards describe."""
    assert len(image.world.cards) % 80 == 0
    return DistortedSky(WCS(fits.Header.fromstring(image.world.cards)))


def refusal(path: Path, error: type[CalregError]) -> str:
    """Return the one line, beginning with the file, of the error that reading must raise."""
    with pytest.raises(error) as caught:
        read_cal_image(path)
    message = str(caught.value)
    assert type(caught.value) is error
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


# --- planes ---------------------------------------------------------------------------------------


def test_planes_come_as_they_are(tmp_path: Path) -> None:
    planes = cal_planes()
    planes["DQ"][3, 4] = 2**31 | 1
    planes["SCI"][5, 6] = np.nan
    image = read_cal_image(write_cal(tmp_path / "x_cal.fits", planes))
    assert image.var_rnoise is not None
    for name, plane in (
        ("SCI", image.sci),
        ("ERR", image.err),
        ("DQ", image.dq),
        ("VAR_RNOISE", image.var_rnoise),
    ):
        np.testing.assert_array_equal(plane, planes[name])
        assert plane.dtype == planes[name].dtype
        assert plane.dtype.isnative
        assert plane.flags.c_contiguous


@pytest.mark.parametrize("err", [None, 0.0, np.nan], ids=["missing", "zero", "NaN"])
def test_error_from_variances(tmp_path: Path, err: float | None) -> None:
    planes: dict[str, np.ndarray | None] = dict(cal_planes())
    planes["ERR"] = None if err is None else np.full(SHAPE, err, dtype=np.float32)
    image = read_cal_image(write_cal(tmp_path / "x_cal.fits", planes))
    assert image.err == pytest.approx(0.01, rel=1e-6)
    planes["VAR_FLAT"] = np.full(SHAPE, 3e-4, dtype=np.float32)
    image = read_cal_image(write_cal(tmp_path / "y_cal.fits", planes))
    assert image.err == pytest.approx(0.02, rel=1e-6)


def test_read_noise_may_be_missing(tmp_path: Path) -> None:
    path = write_cal(tmp_path / "x_cal.fits", {"VAR_RNOISE": None, "VAR_POISSON": None})
    assert read_cal_image(path).var_rnoise is None


# --- world coordinates ----------------------------------------------------------------------------


def test_sip_of_the_header(tmp_path: Path) -> None:
    image = read_cal_image(write_cal(tmp_path / "x_cal.fits", sky=sky()))
    assert image.world.source is WcsSource.SIP
    assert image.world.note == ""
    # cards have 12 digits or more
    assert largest_offset_arcsec(image, sky()) < 1e-5
    assert largest_offset_arcsec(image, from_cards(image)) < 1e-5


def test_gwcs_of_the_asdf_extension(tmp_path: Path) -> None:
    # the header says something else, so that the test sees which one is used
    tree = asdf_tree(gwcs_like(sky()))
    path = write_cal(tmp_path / "x_cal.fits", asdf_tree=tree)
    image = read_cal_image(path)
    assert image.world.source is WcsSource.GWCS
    assert image.world.note == ""
    assert largest_offset_arcsec(image, sky()) < 1e-5
    # the cards imitate it to 0.01 pixels and better
    assert largest_offset_arcsec(image, from_cards(image)) < 6e-4
    # beyond the image, too: sources at its edge have pixels there
    ra, dec = image.world.sky.sky_of(np.array([-20.0]), np.array([60.0]))
    assert float(sep_arcsec(ra, dec, *sky().sky_of(np.array([-20.0]), np.array([60.0])))[0]) < 1e-5


def test_gwcs_of_another_image(tmp_path: Path) -> None:
    tree = asdf_tree(gwcs_like(sky(), (2048, 2048)))
    image = read_cal_image(write_cal(tmp_path / "x_cal.fits", sky=sky(), asdf_tree=tree))
    assert image.world.source is WcsSource.SIP
    assert image.world.note == (
        "the gwcs is of an image of 2048 x 2048 pixels, this one has 48 x 40"
    )
    assert largest_offset_arcsec(image, sky()) < 1e-5


def _without_box() -> Any:
    wcs = gwcs_like(sky())
    wcs.bounding_box = None
    return wcs


def test_gwcs_without_bounding_box(tmp_path: Path) -> None:
    path = write_cal(tmp_path / "x_cal.fits", asdf_tree=asdf_tree(_without_box()))
    image = read_cal_image(path)
    assert image.world.source is WcsSource.GWCS
    assert largest_offset_arcsec(image, sky()) < 1e-5


@pytest.mark.parametrize(
    ("tree", "note"),
    [
        ({"meta": {"filename": "x"}}, "cannot be read (KeyError: 'wcs')"),
        ({"meta": {"wcs": models.Shift(1.0)}}, "a WCS of unknown type Shift"),
        ({"meta": {"wcs": {"name": "x"}}}, "a WCS of unknown type"),
    ],
    ids=["without", "another model", "a mapping"],
)
def test_asdf_without_gwcs(tmp_path: Path, tree: dict[str, Any], note: str) -> None:
    image = read_cal_image(write_cal(tmp_path / "x_cal.fits", sky=sky(), asdf_tree=tree))
    assert image.world.source is WcsSource.SIP
    assert note in image.world.note
    assert largest_offset_arcsec(image, sky()) < 1e-5


def test_unknown_tag(tmp_path: Path) -> None:
    path = write_cal(tmp_path / "x_cal.fits", sky=sky(), asdf_tree=asdf_tree(gwcs_like(sky())))
    content = path.read_bytes()
    changed = content.replace(b"tag:stsci.edu:gwcs/wcs-1", b"tag:stsci.edu:gwcs/xyz-1")
    assert changed != content
    path.write_bytes(changed)
    image = read_cal_image(path)
    assert image.world.source is WcsSource.SIP
    assert "gwcs/xyz-1" in image.world.note


def test_damaged_asdf(tmp_path: Path) -> None:
    path = write_cal(tmp_path / "x_cal.fits", sky=sky(), asdf_tree=asdf_tree(gwcs_like(sky())))
    content = path.read_bytes()
    start = content.index(b"#ASDF 1")
    path.write_bytes(content[:start] + b"@" * 200 + content[start + 200 :])
    image = read_cal_image(path)
    assert image.world.source is WcsSource.SIP
    assert image.world.note.startswith("the gwcs of the ASDF extension cannot be read (")


@pytest.mark.parametrize("package", ["asdf", "gwcs"])
def test_without_asdf_or_gwcs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    path = write_cal(tmp_path / "x_cal.fits", sky=sky(), asdf_tree=asdf_tree(gwcs_like(sky())))
    monkeypatch.setitem(sys.modules, package, None)
    image = read_cal_image(path)
    assert image.world.source is WcsSource.SIP
    assert image.world.note == "asdf or gwcs is not installed (pip install 'calreg[mosaic]')"


def test_real_exposure(shared_data: Path) -> None:
    image = read_cal_image(shared_data / REAL_EXPOSURE)
    assert image.sci.shape == image.err.shape == image.dq.shape == (100, 100)
    # a cut-out at (400, 100): its gwcs is still the whole detector's
    assert image.world.source is WcsSource.SIP
    assert "2048 x 2048" in image.world.note


def test_real_gwcs(shared_data: Path) -> None:
    from calreg.files.fits.headers import read_headers
    from calreg.files.images.gwcs import read_gwcs

    path = shared_data / REAL_EXPOSURE
    whole, reason = read_gwcs(read_headers(path), (2048, 2048))
    assert reason == ""
    assert whole is not None
    image = read_cal_image(path)
    y, x = np.mgrid[0:100:9, 0:100:9].astype(float)
    offset = sep_arcsec(*whole.sky_of(x + 400.0, y + 100.0), *image.world.sky.sky_of(x, y))
    # the pipeline's SIP terms imitate its gwcs to 0.1 pixels
    assert offset.max() < 0.1 * 0.063


# --- bad input ------------------------------------------------------------------------------------


def test_no_wcs(tmp_path: Path) -> None:
    cards: CardTable = dict.fromkeys(("CTYPE1", "CTYPE2"))
    message = refusal(write_cal(tmp_path / "x_cal.fits", science=cards), MissingKeywordError)
    assert "has no WCS (SCI: KeyError: \"Keyword 'CTYPE1' not found.\")" in message
    path = write_cal(tmp_path / "y_cal.fits", science=cards, asdf_tree={"meta": {}})
    assert "; the gwcs of the ASDF extension cannot be read" in refusal(path, MissingKeywordError)


def test_wcs_of_no_sky(tmp_path: Path) -> None:
    cards: CardTable = {"CTYPE1": "X", "CTYPE2": "Y"}
    message = refusal(write_cal(tmp_path / "x_cal.fits", science=cards), MissingKeywordError)
    assert "has no WCS (SCI has no CTYPE1, CTYPE2 of the sky)" in message


def test_wcs_without_scale(tmp_path: Path) -> None:
    cards: CardTable = {"PC1_1": 0.0, "PC1_2": 0.0}
    message = refusal(write_cal(tmp_path / "x_cal.fits", science=cards), MissingKeywordError)
    assert "has no WCS (SCI" in message


@pytest.mark.parametrize(
    ("planes", "reason"),
    [
        ({"SCI": np.full(SHAPE, np.nan, np.float32)}, "SCI is NaN throughout"),
        ({"DQ": np.full(SHAPE, DO_NOT_USE, np.uint32)}, "DQ says DO_NOT_USE throughout"),
        ({"DQ": np.full(SHAPE, SATURATED | 4, np.uint32)}, "every pixel that is left is saturated"),
    ],
    ids=["NaN", "DO_NOT_USE", "saturated"],
)
def test_no_data(tmp_path: Path, planes: dict[str, np.ndarray], reason: str) -> None:
    message = refusal(write_cal(tmp_path / "x_cal.fits", planes), UnsupportedDataError)
    assert f"holds no data: {reason}" in message
    assert message.endswith("; leave it out")


def test_no_errors(tmp_path: Path) -> None:
    planes: dict[str, np.ndarray | None] = {"ERR": None, "VAR_RNOISE": None}
    message = refusal(write_cal(tmp_path / "x_cal.fits", planes), FileFormatError)
    assert "has no extension ERR and no VAR_POISSON with VAR_RNOISE" in message
    planes["ERR"] = np.zeros(SHAPE, dtype=np.float32)
    message = refusal(write_cal(tmp_path / "y_cal.fits", planes), FileFormatError)
    assert "an ERR without a positive value" in message


@pytest.mark.parametrize("name", ["SCI", "DQ"])
def test_missing_extension(tmp_path: Path, name: str) -> None:
    path = write_cal(tmp_path / "x_cal.fits", {name: None})
    assert f"has no extension {name}" in refusal(path, FileFormatError)


@pytest.mark.parametrize("name", ["DQ", "ERR", "VAR_RNOISE"])
def test_planes_of_other_shapes(tmp_path: Path, name: str) -> None:
    plane = cal_planes((40, 47))[name]
    message = refusal(write_cal(tmp_path / "x_cal.fits", {name: plane}), FileFormatError)
    assert f"{name} has 47 x 40 pixels, expected 48 x 40 as SCI" in message


def test_several_integrations(tmp_path: Path) -> None:
    planes = {name: np.stack([plane, plane]) for name, plane in cal_planes().items()}
    message = refusal(write_cal(tmp_path / "x_calints.fits", planes), UnsupportedDataError)
    assert "SCI has 3 axes, 48 x 40 x 2" in message


def test_truncated(tmp_path: Path) -> None:
    path = write_cal(tmp_path / "x_cal.fits")
    path.write_bytes(path.read_bytes()[:-5000])
    assert "truncated" in refusal(path, FileFormatError)


def test_no_fits(tmp_path: Path) -> None:
    path = tmp_path / "x_cal.fits"
    path.write_text("not an image")
    assert "is not FITS" in refusal(path, FileFormatError)

"""Members of mosaics: of our own with their world coordinates, of the pipeline with pointings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from astropy.io import fits

from calreg.errors import FileFormatError
from calreg.files.fits.headers import read_headers
from calreg.files.images.cards import read_first_pixel
from calreg.files.images.members import MosaicMembers, read_members
from calreg.instruments import load_instrument
from calreg.science.sky.coverage import WcsDetector, focal_plane, mean_positions
from calreg.science.sky.pointing import boresight
from support.dithermosaics import ARRAY, Dithers, is_on_detector, make_dithers, write_dithered
from support.fitsimages import write_image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

N_SOURCES = 300


@pytest.fixture(scope="module")
def dithers() -> Dithers:
    return make_dithers()


def members_of(path: Path) -> MosaicMembers | None:
    return read_members(read_headers(path), ARRAY, load_instrument())


def expected_means(
    dithers: Dithers, is_covered: np.ndarray, sky: tuple[np.ndarray, np.ndarray], pixels_of: Any
) -> np.ndarray:
    """Return mean x, y, V2, V3, shape (4, n), summed one by one."""
    means = np.full((4, sky[0].size), np.nan)
    for k in np.flatnonzero(is_covered.any(axis=0)):
        at = sky[0][k : k + 1], sky[1][k : k + 1]
        seen = []
        for n in np.flatnonzero(is_covered[:, k]):
            pointing = boresight(
                ARRAY.v2_ref_arcsec, ARRAY.v3_ref_arcsec, *dithers.references[int(n)]
            )
            seen.append([*pixels_of(int(n), *at), *focal_plane(*at, pointing)])
        means[:, k] = np.mean(seen, axis=0)[:, 0]
    return means


def covered_by_context(
    dithers: Dithers, context: np.ndarray, sky: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Return which members contributed to five or more of the nine pixels around."""
    x, y = (np.rint(axis).astype(int) for axis in dithers.grid.pixels_of(*sky))
    is_covered = np.zeros((dithers.n_members, x.size), dtype=bool)
    for k in range(x.size):
        window = context[:, y[k] - 1 : y[k] + 2, x[k] - 1 : x[k] + 2].astype(np.int64)
        for n in range(dithers.n_members):
            is_covered[n, k] = ((window[n // 32] >> (n % 32)) & 1).sum() > 4
    return is_covered


@pytest.mark.parametrize("is_ours", [True, False], ids=["calreg", "jwst"])
def test_means_by_context_and_members(dithers: Dithers, tmp_path: Path, is_ours: bool) -> None:
    pixels_of = dithers.pixels_of if is_ours else dithers.linear_pixels_of
    context = dithers.context(pixels_of)
    path = write_dithered(tmp_path / "m_i2d.fits", dithers, context=context, with_wcs=is_ours)
    members = members_of(path)
    assert members is not None
    sky = dithers.inside(N_SOURCES)
    is_covered = members.covering(*sky)
    expected_coverage = covered_by_context(dithers, context, sky)
    np.testing.assert_array_equal(is_covered, expected_coverage)
    found = mean_positions(*sky, members.exposures, is_covered)
    assert np.isfinite(found.x_det).mean() > 0.9
    means = expected_means(dithers, expected_coverage, sky, pixels_of)
    # Pixels: the tolerance of the inverted distortion; angles: rounding.
    np.testing.assert_allclose([found.x_det, found.y_det], means[:2], rtol=0, atol=2e-4)
    np.testing.assert_allclose([found.v2_arcsec, found.v3_arcsec], means[2:], rtol=0, atol=1e-6)


def test_without_context_the_detectors_say_who_covers(dithers: Dithers, tmp_path: Path) -> None:
    members = members_of(write_dithered(tmp_path / "m_i2d.fits", dithers))
    assert members is not None
    sky = dithers.inside(N_SOURCES)
    assert members.covering(*sky) is None
    found = mean_positions(*sky, members.exposures)
    is_covered = np.array([is_on_detector(*dithers.pixels_of(n, *sky)) for n in range(6)])
    assert found.n_exposures.tolist() == is_covered.sum(axis=0).tolist()
    means = expected_means(dithers, is_covered, sky, dithers.pixels_of)
    np.testing.assert_allclose([found.x_det, found.y_det], means[:2], rtol=0, atol=2e-4)


def test_more_members_than_a_plane_has_bits(tmp_path: Path) -> None:
    many = make_dithers(35)
    context = many.context(many.linear_pixels_of, n_planes=2)
    assert (context[0] < 0).any()
    path = write_dithered(tmp_path / "m_i2d.fits", many, context=context, with_wcs=False)
    members = members_of(path)
    assert members is not None
    sky = many.inside(N_SOURCES)
    np.testing.assert_array_equal(members.covering(*sky), covered_by_context(many, context, sky))


def test_a_bad_pixel_is_no_edge(dithers: Dithers, tmp_path: Path) -> None:
    context = np.full((1, *dithers.grid.shape), 0b111111, dtype=np.int32)
    context[0, 60, 70] = 0b011111
    context[0, 100:, :] = 0
    path = write_dithered(tmp_path / "m_i2d.fits", dithers, context=context)
    members = members_of(path)
    assert members is not None
    x, y = np.array([70.2, 70.0, 50.0, -3.0]), np.array([59.9, 99.9, 98.6, 20.0])
    is_covered = members.covering(*dithers.grid.sky_of(x, y))
    assert is_covered is not None
    # A pixel that one exposure lacks; a row beyond the edge; the last but one row; off the image.
    assert is_covered.sum(axis=0).tolist() == [6, 0, 6, 0]


def test_the_corner_of_the_image(dithers: Dithers, tmp_path: Path) -> None:
    context = np.full((1, *dithers.grid.shape), 1, dtype=np.int32)
    members = members_of(write_dithered(tmp_path / "m_i2d.fits", dithers, context=context))
    assert members is not None
    sky = dithers.grid.sky_of(np.array([0.0, 1.0]), np.array([0.0, 0.0]))
    # Four and six of the nine pixels are there.
    is_covered = members.covering(*sky)
    assert is_covered is not None
    assert is_covered[0].tolist() == [False, True]


def test_one_plane_without_an_axis_of_planes(dithers: Dithers, tmp_path: Path) -> None:
    context = dithers.context()
    flat = members_of(write_dithered(tmp_path / "a_i2d.fits", dithers, context=context[0]))
    cube = members_of(write_dithered(tmp_path / "b_i2d.fits", dithers, context=context))
    assert flat is not None
    assert cube is not None
    sky = dithers.inside(N_SOURCES)
    np.testing.assert_array_equal(flat.covering(*sky), cube.covering(*sky))


def test_a_context_of_other_pixels_does_not_count(dithers: Dithers, tmp_path: Path) -> None:
    small: np.ndarray = np.ones((1, 5, 5), dtype=np.int32)
    narrow: np.ndarray = dithers.context().astype(np.int16)
    for n, context in enumerate([small, narrow]):
        path = write_dithered(tmp_path / f"m{n}_i2d.fits", dithers, context=context)
        members = members_of(path)
        assert members is not None
        assert members.context is None


def test_a_member_without_world_coordinates_is_placed_by_its_pointing(
    dithers: Dithers, tmp_path: Path
) -> None:
    # It is not known where a cut-out lies on its detector.
    cards = [sky.wcs.to_header_string(relax=True) for sky in dithers.skies]
    cards[2] = ""
    path = write_dithered(tmp_path / "m_i2d.fits", dithers, columns={"WCS": cards})
    members = members_of(path)
    assert members is not None
    sky = dithers.inside(20)
    x, _ = members.exposures[2].detector.pixels_of(*sky)
    # Boresight and back: rounding.
    np.testing.assert_allclose(x, dithers.linear_pixels_of(2, *sky)[0], rtol=0, atol=1e-5)
    assert isinstance(members.exposures[1].detector, WcsDetector)


@pytest.mark.parametrize(
    "columns",
    [
        {"ROLL_REF": None},
        {"RA_REF": np.array([265.0, 265.0, np.nan, 265.0, 265.0, 265.0])},
        {"DETECTOR": ["NRS1"] * 6},
    ],
    ids=["no roll", "one unknown", "unknown detector"],
)
def test_nothing_is_known_without_pointing(
    dithers: Dithers, tmp_path: Path, columns: dict[str, Any]
) -> None:
    path = write_dithered(tmp_path / "m_i2d.fits", dithers, with_wcs=False, columns=columns)
    assert members_of(path) is None


def test_world_coordinates_stand_without_pointing(dithers: Dithers, tmp_path: Path) -> None:
    path = write_dithered(tmp_path / "m_i2d.fits", dithers, columns={"ROLL_REF": None})
    members = members_of(path)
    assert members is not None
    sky = dithers.inside(50)
    found = mean_positions(*sky, members.exposures)
    assert np.isfinite(found.x_det).any()
    assert np.isnan(found.v2_arcsec).all()


def test_a_mosaic_without_table_has_no_members(tmp_path: Path) -> None:
    assert members_of(write_image(tmp_path / "m_i2d.fits")) is None


def _spoil_wcs(path: Path) -> None:
    with fits.open(path, mode="update") as hdus:
        del hdus["SCI"].header["CTYPE1"]


def _spoil_cards(path: Path) -> None:
    with fits.open(path, mode="update") as hdus:
        hdus["HDRTAB"].data["WCS"][0] = "CTYPE1  = 'XX---YYY'" + " " * 60 + "CRPIX1  = 'no'"


@pytest.mark.parametrize("spoil", [_spoil_wcs, _spoil_cards], ids=["mosaic", "member"])
def test_broken_world_coordinates_are_one_line(
    dithers: Dithers, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    path = write_dithered(tmp_path / "m_i2d.fits", dithers)
    spoil(path)
    with pytest.raises(FileFormatError, match=r"m_i2d\.fits: ") as caught:
        members_of(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("cards", "first"),
    [({"SUBSTRT1": 705, "SUBSTRT2": 1}, (704, 0)), ({"SUBSTRT1": 705}, None), ({}, None)],
)
def test_first_pixel_of_a_subarray(
    tmp_path: Path, cards: dict[str, float], first: tuple[int, int] | None
) -> None:
    path = write_image(tmp_path / "a_cal.fits", primary={**cards, "SUBARRAY": "SUB640"})
    assert read_first_pixel(read_headers(path)) == first

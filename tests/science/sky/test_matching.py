"""Matching: against brute force and astropy, truth table of ambiguity, astrometric offsets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord, match_coordinates_sky

from calreg.errors import InvalidValueError
from calreg.science.sky import matching
from calreg.science.sky import spatialjoin as cubes
from calreg.science.sky.geometry import sep_arcsec, sky_from_tangent_plane
from calreg.science.sky.matching import EpochMatch, match_many_epochs, match_sources

if TYPE_CHECKING:
    from calreg.domain import BoolArray
    from calreg.units import FloatArray

PLACES = [
    (265.02, 68.98),
    (0.0, 0.0),
    (359.99999, 45.0),
    (77.0, 90.0),
    (10.0, -89.99999),
    (180.0, 0.0),
]


def match_epochs(
    ra_1: FloatArray,
    dec_1: FloatArray,
    ra_2: FloatArray,
    dec_2: FloatArray,
    radius: float,
    *,
    is_bright_1: BoolArray | None = None,
    is_bright_2: BoolArray | None = None,
) -> EpochMatch:
    """Match one pair of catalogs; all sources are bright by default."""
    sides = ((ra_1, dec_1, is_bright_1), (ra_2, dec_2, is_bright_2))
    catalogs = [
        (ra, dec, np.ones(len(ra), np.bool_) if is_bright is None else is_bright)
        for ra, dec, is_bright in sides
    ]
    return match_many_epochs(catalogs, [(0, 1)], radius)[0]


def scattered(
    seed: int, place: tuple[float, float], n: int, half_width_arcsec: float
) -> tuple[FloatArray, FloatArray]:
    """Return positions spread evenly over a square, some of them twice."""
    rng = np.random.default_rng(seed)
    xi, eta = rng.uniform(-half_width_arcsec, half_width_arcsec, (2, n)) / 60.0
    n_twice = n // 10
    xi[n - n_twice :], eta[n - n_twice :] = xi[:n_twice], eta[:n_twice]
    return sky_from_tangent_plane(xi, eta, *place)


def brute_force(
    first: tuple[FloatArray, FloatArray], second: tuple[FloatArray, FloatArray], max_sep: float
) -> tuple[list[tuple[int, int]], list[bool]]:
    """Match by all separations; the smaller row wins a tie."""
    sep = sep_arcsec(
        first[0][:, np.newaxis],
        first[1][:, np.newaxis],
        second[0][np.newaxis],
        second[1][np.newaxis],
    )
    # vectors and haversines round differently: equal within 1e-9 arcsec is a tie
    sep = np.where(sep <= max_sep, sep.round(8), np.inf)
    pairs = [
        (i, int(sep[i].argmin()))
        for i in range(len(sep))
        if np.isfinite(sep[i]).any() and sep[:, sep[i].argmin()].argmin() == i
    ]
    crowded = [
        bool((np.isfinite(sep[i]).sum() > 1) | (np.isfinite(sep[:, j]).sum() > 1)) for i, j in pairs
    ]
    return pairs, crowded


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("max_sep", [0.1, 0.3, 3.0])
@pytest.mark.parametrize("seed", [1, 2])
def test_equals_brute_force(place: tuple[float, float], max_sep: float, seed: int) -> None:
    # about one neighbour within the radius, so that every case of ambiguity occurs
    first = scattered(seed, place, 300, 8.0 * max_sep)
    second = scattered(seed + 100, place, 280, 8.0 * max_sep)
    match = match_sources(*first, *second, max_sep)
    pairs, crowded = brute_force(first, second, max_sep)
    assert list(zip(match.index_1.tolist(), match.index_2.tolist(), strict=True)) == pairs
    assert match.is_ambiguous.tolist() == crowded
    assert sum(crowded) > 0
    assert len(pairs) > 80
    expected = sep_arcsec(
        first[0][match.index_1],
        first[1][match.index_1],
        second[0][match.index_2],
        second[1][match.index_2],
    )
    # 1e-9 arcsec: rounding of unit vectors, 2e-11 arcsec per coordinate
    np.testing.assert_allclose(match.sep_arcsec, expected, atol=1e-9)


@pytest.mark.parametrize("kind", ["dense", "all sky"])
def test_same_pairs_as_astropy(kind: str) -> None:
    rng = np.random.default_rng(7)
    n = 20_000
    if kind == "dense":
        xi, eta = rng.uniform(-3, 3, (2, n))
        ra, dec = sky_from_tangent_plane(xi, eta, 0.0, 68.98)
    else:
        ra, dec = rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    mixed = rng.permutation(n)
    ra_2 = (ra + rng.normal(0, 0.03 / 3600, n) / np.cos(np.radians(dec)))[mixed] % 360.0
    dec_2 = np.clip((dec + rng.normal(0, 0.03 / 3600, n))[mixed], -90, 90)
    first, second = SkyCoord(ra * u.deg, dec * u.deg), SkyCoord(ra_2 * u.deg, dec_2 * u.deg)
    forward, sep, _ = match_coordinates_sky(first, second)
    backward, _, _ = match_coordinates_sky(second, first)
    rows = np.flatnonzero((sep.arcsec <= 0.1) & (backward[forward] == np.arange(n)))
    match = match_sources(ra, dec, ra_2, dec_2, 0.1)
    np.testing.assert_array_equal(match.index_1, rows)
    np.testing.assert_array_equal(match.index_2, forward[rows])
    np.testing.assert_allclose(match.sep_arcsec, sep.arcsec[rows], atol=1e-9)
    assert len(match) > 0.98 * n


# positions along one line [mas]; radius 100 mas
@pytest.mark.parametrize(
    ("first", "second", "pairs", "ambiguous"),
    [
        ([0], [50], [(0, 0)], [False]),
        ([0], [150], [], []),
        ([0], [50, 90], [(0, 0)], [True]),  # two candidates in the second catalog
        (
            [0, 60],
            [40],
            [(1, 0)],
            [True],
        ),  # two candidates in the first; the farther one stays alone
        ([0, 80], [30, 150], [(0, 0)], [True]),  # a chain: the nearest of 80 is taken by 0
        ([0, 90], [20, 110], [(0, 0), (1, 1)], [True, True]),  # source 1 is near both
        ([0, 110], [20, 130], [(0, 0), (1, 1)], [True, True]),  # 110 - 20 < 100
        ([0, 150], [20, 170], [(0, 0), (1, 1)], [False, False]),
        ([0, 0], [10], [(0, 0)], [True]),  # the same place twice
        ([0], [-30, 30], [(0, 0)], [True]),  # equally near
        ([0, 30], [1000], [], []),
    ],
)
def test_truth_table(
    first: list[float], second: list[float], pairs: list[tuple[int, int]], ambiguous: list[bool]
) -> None:
    def on_equator(mas: list[float]) -> tuple[FloatArray, FloatArray]:
        return np.array(mas) / 3.6e6, np.zeros(len(mas))

    match = match_sources(*on_equator(first), *on_equator(second), 0.1)
    assert list(zip(match.index_1.tolist(), match.index_2.tolist(), strict=True)) == pairs
    assert match.is_ambiguous.tolist() == ambiguous


def test_small_batches_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = scattered(1, PLACES[0], 500, 3.0), scattered(2, PLACES[0], 500, 3.0)
    whole = match_sources(*first, *second, 0.3)
    monkeypatch.setattr(cubes, "_CANDIDATES_PER_BATCH", 7)
    batched = match_sources(*first, *second, 0.3)
    np.testing.assert_array_equal(whole.index_1, batched.index_1)
    np.testing.assert_array_equal(whole.index_2, batched.index_2)
    np.testing.assert_array_equal(whole.is_ambiguous, batched.is_ambiguous)


def test_result_does_not_depend_on_the_order_of_rows() -> None:
    first, second = scattered(3, PLACES[2], 400, 3.0), scattered(4, PLACES[2], 400, 3.0)
    first, second = (first[0][:360], first[1][:360]), (second[0][:360], second[1][:360])
    expected = match_sources(*first, *second, 0.3)
    rng = np.random.default_rng(5)
    one, other = rng.permutation(360), rng.permutation(360)
    match = match_sources(first[0][one], first[1][one], second[0][other], second[1][other], 0.3)
    order = np.argsort(one[match.index_1])
    np.testing.assert_array_equal(one[match.index_1][order], expected.index_1)
    np.testing.assert_array_equal(other[match.index_2][order], expected.index_2)
    np.testing.assert_array_equal(match.is_ambiguous[order], expected.is_ambiguous)


def test_empty_catalogs() -> None:
    none, some = np.empty(0), np.array([1.0, 2.0])
    for match in (
        match_sources(none, none, some, some, 0.1),
        match_sources(some, some, none, none, 0.1),
        match_sources(none, none, none, none, 0.1),
    ):
        assert len(match) == 0
        assert match.index_1.dtype == match.index_2.dtype == np.int64
    epochs = match_epochs(none, none, some, some, 0.1)
    assert (len(epochs.match), epochs.n_astrometry) == (0, 0)
    assert np.isnan(epochs.ra_median_mas)


def test_refused_input() -> None:
    some = np.array([1.0, 2.0])
    with pytest.raises(
        InvalidValueError, match=r"second catalog: 1 positions are not usable.*row 1"
    ):
        match_sources(some, some, np.array([1.0, np.nan]), some, 0.1)
    with pytest.raises(InvalidValueError, match=r"first catalog: 1 positions.*inf"):
        match_sources(some, np.array([np.inf, 0.0]), some, some, 0.1)
    with pytest.raises(InvalidValueError, match="first catalog: right ascensions have shape"):
        match_sources(some, some[:1], some, some, 0.1)
    for radius in (0.0, -1.0, np.nan, 61.0):
        with pytest.raises(InvalidValueError, match="search radius"):
            match_sources(some, some, some, some, radius)


def epochs_of_one_field(seed: int) -> list[tuple[FloatArray, FloatArray, BoolArray]]:
    """Return catalogs of one field that are crowded, shifted, sparse, and empty."""
    rng = np.random.default_rng(seed)
    xi, eta = rng.uniform(-0.5, 0.5, (2, 400))
    catalogs = []
    for n, shift_mas in ((400, 0.0), (390, 35.0), (380, -80.0), (2, 0.0), (4, 90.0), (0, 0.0)):
        noise = rng.normal(0.0, 4.0, (2, n))
        rows = rng.permutation(400)[:n]
        ra, dec = sky_from_tangent_plane(
            xi[rows] + (noise[0] + shift_mas) / 6e4, eta[rows] + noise[1] / 6e4, *PLACES[0]
        )
        catalogs.append((ra, dec, rng.uniform(size=n) < 0.7))
    return catalogs


@pytest.mark.parametrize("n_sources_per_batch", [1, 1000, 1 << 18])
def test_epochs_matched_together_equal_single_matches(
    monkeypatch: pytest.MonkeyPatch, n_sources_per_batch: int
) -> None:
    monkeypatch.setattr(matching, "_SOURCES_PER_BATCH", n_sources_per_batch)
    catalogs = epochs_of_one_field(5)
    pairs = [(i, j) for i in range(len(catalogs)) for j in range(len(catalogs)) if i != j]
    found = match_many_epochs(catalogs, pairs, 0.1)
    assert len(found) == len(pairs)
    assert sum(np.isnan(match.ra_median_mas) for match in found) > 0
    assert sum(np.abs(match.ra_median_mas) > 30.0 for match in found) > 0
    for (i, j), match in zip(pairs, found, strict=True):
        single = match_epochs(
            *catalogs[i][:2],
            *catalogs[j][:2],
            0.1,
            is_bright_1=catalogs[i][2],
            is_bright_2=catalogs[j][2],
        )
        for name in ("index_1", "index_2", "sep_arcsec", "is_ambiguous"):
            np.testing.assert_array_equal(getattr(match.match, name), getattr(single.match, name))
        for name in ("ra_median_mas", "dec_median_mas", "ra_mad_mas", "dec_mad_mas"):
            np.testing.assert_equal(getattr(match, name), getattr(single, name))
        assert match.n_astrometry == single.n_astrometry


def test_many_catalogs_all_over_the_sky_are_matched_together() -> None:
    rng = np.random.default_rng(8)
    catalogs = []
    for _ in range(20):
        ra, dec = rng.uniform(0.0, 360.0, 50), rng.uniform(-90.0, 90.0, 50)
        catalogs.append((ra, dec, np.ones(50, dtype=np.bool_)))
    for match in match_many_epochs(catalogs, [(n, n) for n in range(20)], 0.1):
        np.testing.assert_array_equal(match.match.index_1, np.arange(50))
        np.testing.assert_array_equal(match.match.index_2, np.arange(50))


def test_no_epochs_are_no_matches() -> None:
    assert match_many_epochs([], [], 0.1) == []


@pytest.mark.parametrize("place", PLACES[:3])
@pytest.mark.parametrize("shift_mas", [(0.0, 0.0), (12.0, -7.5), (-60.0, 40.0), (0.0, 85.0)])
def test_astrometric_offset_is_found_and_removed(
    place: tuple[float, float], shift_mas: tuple[float, float]
) -> None:
    rng = np.random.default_rng(11)
    n, sigma_mas = 4000, 4.0
    xi, eta = rng.uniform(-1.0, 1.0, (2, n))
    noise = rng.normal(0.0, sigma_mas, (2, n))
    ra_1, dec_1 = sky_from_tangent_plane(xi, eta, *place)
    ra_2, dec_2 = sky_from_tangent_plane(
        xi + (shift_mas[0] + noise[0]) / 6e4, eta + (shift_mas[1] + noise[1]) / 6e4, *place
    )
    mixed = rng.permutation(n)
    found = match_epochs(ra_1, dec_1, ra_2[mixed], dec_2[mixed], 0.1)
    # error of a median of 4000: 1.25 * 4 mas / sqrt(4000) = 0.08 mas, and north turns by
    # 1 arcmin * tan(dec) over the field, 0.05 mas of 60; iteration stops within 0.1 mas
    assert found.ra_median_mas == pytest.approx(shift_mas[0], abs=0.3)
    assert found.dec_median_mas == pytest.approx(shift_mas[1], abs=0.3)
    # MAD of a normal distribution is 0.6745 sigma, 2 % for the error from 4000
    assert found.ra_mad_mas == pytest.approx(0.6745 * sigma_mas, rel=0.06)
    assert found.dec_mad_mas == pytest.approx(0.6745 * sigma_mas, rel=0.06)
    assert found.n_astrometry > 0.98 * n
    is_right = mixed[found.match.index_2] == found.match.index_1
    assert np.count_nonzero(is_right) > 0.995 * n
    assert np.median(found.match.sep_arcsec) < 0.006


def test_offset_without_noise_is_exact() -> None:
    xi, eta = np.random.default_rng(12).uniform(-1.0, 1.0, (2, 500))
    first = sky_from_tangent_plane(xi, eta, 0.0, 0.0)
    second = sky_from_tangent_plane(xi + 33.0 / 6e4, eta - 21.0 / 6e4, 0.0, 0.0)
    found = match_epochs(*first, *second, 0.1)
    # a shift in a tangent plane is one on the sphere to (1 arcmin)^2 = 1e-7 of it
    assert found.ra_median_mas == pytest.approx(33.0, abs=1e-4)
    assert found.dec_median_mas == pytest.approx(-21.0, abs=1e-4)
    assert found.ra_mad_mas < 1e-4
    assert found.match.sep_arcsec.max() < 1e-6


def test_only_bright_sources_give_the_offset() -> None:
    rng = np.random.default_rng(13)
    xi, eta = rng.uniform(-1.0, 1.0, (2, 300))
    is_bright = np.arange(300) < 60
    first = sky_from_tangent_plane(xi, eta, 150.0, 2.0)
    second = sky_from_tangent_plane(xi + np.where(is_bright, 20.0, -30.0) / 6e4, eta, 150.0, 2.0)
    found = match_epochs(
        *first, *second, 0.1, is_bright_1=is_bright, is_bright_2=np.ones(300, bool)
    )
    assert found.ra_median_mas == pytest.approx(20.0, abs=0.01)
    assert found.n_astrometry <= 60
    nothing = match_epochs(*first, *second, 0.1, is_bright_2=np.arange(300) < 2)
    assert np.isnan(nothing.dec_median_mas)
    assert nothing.n_astrometry <= 2

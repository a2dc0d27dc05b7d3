"""Overlap of footprints on the sphere."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np
import pytest

from calreg.errors import InvalidValueError
from calreg.science.sky.footprints import (
    FootprintSet,
    footprints_overlap,
    overlapping_pairs,
    pairs_within,
)
from calreg.science.sky.geometry import parse_s_region, sky_from_tangent_plane

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.units import FloatArray

PLACES = [(265.02, 68.98), (0.0, 0.0), (359.999, 50.0), (12.0, 89.99), (200.0, -90.0)]


def polygon(
    ra_deg: float,
    dec_deg: float,
    xi_arcmin: FloatArray | list[float],
    eta: FloatArray | list[float],
) -> FloatArray:
    """Return vertices given in the tangent plane of one place."""
    return np.column_stack(sky_from_tangent_plane(xi_arcmin, eta, ra_deg, dec_deg))


def square(
    ra_deg: float, dec_deg: float, east: float, north: float, turn_deg: float = 0.0
) -> FloatArray:
    """Return a square of 2 arcmin whose middle is off the tangent point by (east, north) arcmin."""
    angle = np.radians(turn_deg + np.array([45.0, 135.0, 225.0, 315.0]))
    side = np.sqrt(2.0)
    return polygon(ra_deg, dec_deg, east + side * np.cos(angle), north + side * np.sin(angle))


@pytest.mark.parametrize(("ra", "dec"), PLACES)
@pytest.mark.parametrize(
    ("east", "north", "turn", "expected"),
    [
        (0.0, 0.0, 0.0, True),
        (1.99, 0.0, 0.0, True),
        (2.01, 0.0, 0.0, False),
        (1.99, 1.99, 0.0, True),
        (0.0, -2.01, 0.0, False),
        (2.4, 0.0, 45.0, True),  # the corner of the turned square reaches in
        (2.42, 0.0, 45.0, False),
        (1.72, 1.72, 45.0, False),  # bounding circles meet, the edges are apart
        (1.69, 1.69, 45.0, True),
        (120.0, 0.0, 0.0, False),
    ],
)
def test_squares(
    ra: float, dec: float, east: float, north: float, turn: float, expected: bool
) -> None:
    one, other = square(ra, dec, 0.0, 0.0), square(ra, dec, east, north, turn)
    assert footprints_overlap(one, other) is expected
    assert footprints_overlap(other, one) is expected
    # neither the sense of rotation nor a repeated first vertex matters
    assert footprints_overlap(one[::-1], np.vstack([other, other[:1]])) is expected


def test_shared_edge_is_no_overlap() -> None:
    left = polygon(10.0, 20.0, [0.0, -1.0, -1.0, 0.0], [0.0, 0.0, 1.0, 1.0])
    right = np.vstack([left[[0, 3]], polygon(10.0, 20.0, [1.0, 1.0], [1.0, 0.0])])
    assert not footprints_overlap(left, right)


def test_one_inside_the_other_and_a_cross() -> None:
    small = 0.1 * np.array([[-1.0, 1.0, 1.0, -1.0], [-1.0, -1.0, 1.0, 1.0]])
    inside = polygon(10.0, 20.0, *(small + 0.8))
    assert footprints_overlap(square(10.0, 20.0, 0.0, 0.0), inside)
    bar = np.array([[-5.0, 5.0, 5.0, -5.0], [-0.1, -0.1, 0.1, 0.1]])
    assert footprints_overlap(polygon(10.0, 20.0, *bar), polygon(10.0, 20.0, *bar[::-1]))


def test_overlap_of_a_polygon_that_is_not_convex_is_never_missed() -> None:
    arrow = polygon(10.0, 20.0, [0.0, 2.0, 0.0, -2.0], [0.5, -2.0, 2.0, -2.0])
    notch = polygon(10.0, 20.0, [-0.3, 0.3, 0.0], [-1.9, -1.9, -1.5])
    below = polygon(10.0, 20.0, [-0.3, 0.3, 0.0], [-2.9, -2.9, -2.5])
    assert footprints_overlap(arrow, notch)
    assert footprints_overlap(arrow, below)  # too cautious: the hull's lower side is no edge
    assert not footprints_overlap(arrow, polygon(10.0, 20.0, [3.0, 4.0, 4.0], [0.0, 0.0, 1.0]))


def test_batches_equal_single_tests() -> None:
    rng = np.random.default_rng(5)
    first = [
        square(265.0, 69.0, rng.uniform(-5, 5), rng.uniform(-5, 5), rng.uniform(0, 90))
        for _ in range(40)
    ]
    second = [
        polygon(265.0, 69.0, *(rng.uniform(-5, 5, (2, 1)) + np.array([[0, 1, 0.4], [0, 0.3, 1]])))
        for _ in range(30)
    ]
    found = overlapping_pairs(first, second)
    expected = [
        (i, j)
        for i, one in enumerate(first)
        for j, other in enumerate(second)
        if footprints_overlap(one, other)
    ]
    assert 50 < len(expected) < 1100
    assert list(map(tuple, found.tolist())) == expected


def test_empty_lists_and_bad_footprints() -> None:
    one = square(10.0, 20.0, 0.0, 0.0)
    assert overlapping_pairs([], [one]).shape == overlapping_pairs([one], []).shape == (0, 2)
    with pytest.raises(InvalidValueError, match="fewer than three vertices"):
        footprints_overlap(one[:2], one)
    with pytest.raises(InvalidValueError, match="non-finite"):
        footprints_overlap(np.where(one == one[0, 0], np.nan, one), one)


def test_real_footprints_of_ceers(shared_data: Path) -> None:
    with (shared_data / "ceers_exposure_footprints.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(line for line in stream if not line.startswith("#")))
    prints = [parse_s_region(row["s_region"]) for row in rows]
    detectors = np.array([row["detector"] for row in rows])
    exposures = np.array([row["exposure"].rsplit("_", 1)[0] for row in rows])
    pairs = overlapping_pairs(prints, prints)
    is_same = exposures[pairs[:, 0]] == exposures[pairs[:, 1]]
    # within one exposure arrays of one channel lie side by side; a long array covers short ones
    for i, j in pairs[is_same & (pairs[:, 0] != pairs[:, 1])]:
        assert detectors[i].endswith("long") != detectors[j].endswith("long")
        assert detectors[i][:4] == detectors[j][:4]
    counts = dict.fromkeys(np.unique(exposures), 0)
    for i, _ in pairs[is_same & (pairs[:, 0] < pairs[:, 1])]:
        counts[exposures[i]] += 1
    complete = [name for name in counts if np.count_nonzero(exposures == name) == 10]
    assert {counts[name] for name in complete} == {8}


def test_a_union_overlaps_where_one_of_its_polygons_does() -> None:
    left, gap, right = (square(10.0 + n / 60.0, 20.0, 0.0, 0.0) for n in (0.0, 30.0, 60.0))
    union = (left, right)
    assert footprints_overlap(union, right)
    assert footprints_overlap(left, union)
    assert not footprints_overlap(union, gap)
    found = overlapping_pairs([gap, union, left], [union, gap, (gap, right)])
    assert found.tolist() == [[0, 1], [0, 2], [1, 0], [1, 2], [2, 0]]


def test_pairs_within_a_set_of_unions() -> None:
    left, gap, right = (square(10.0 + n / 60.0, 20.0, 0.0, 0.0) for n in (0.0, 30.0, 60.0))
    found = pairs_within(FootprintSet.of([(left, left, right), gap, (left, right), right]))
    assert sorted(found.tolist()) == [[0, 2], [0, 3], [2, 3]]

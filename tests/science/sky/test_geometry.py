"""Tangent planes, rolls, axes of fields, sides of modules and S_REGION."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from calreg.domain import RollRelation
from calreg.errors import InvalidValueError
from calreg.instruments import load_instrument
from calreg.science.sky.geometry import (
    FieldAxis,
    along_axis,
    field_axis,
    module_side,
    parse_s_region,
    roll_difference_deg,
    roll_relation,
    s_region_text,
    sep_arcsec,
    sky_from_tangent_plane,
    sky_position,
    tangent_plane,
    unit_vectors,
)

if TYPE_CHECKING:
    from calreg.units import FloatArray

PLACES = [
    (265.02, 68.98),
    (0.0, 0.0),
    (359.9999, -30.0),
    (12.0, 89.99),
    (200.0, -89.999),
    (0.0, 90.0),
]


def rectangle(
    ra_deg: float, dec_deg: float, half_long_arcmin: float, half_wide_arcmin: float, pa_deg: float
) -> FloatArray:
    """Return the corners of a rectangle whose long axis has a position angle."""
    along = half_long_arcmin * np.array([-1.0, 1.0, 1.0, -1.0])
    across = half_wide_arcmin * np.array([-1.0, -1.0, 1.0, 1.0])
    pa = np.radians(pa_deg)
    return np.column_stack(
        sky_from_tangent_plane(
            along * np.sin(pa) + across * np.cos(pa),
            along * np.cos(pa) - across * np.sin(pa),
            ra_deg,
            dec_deg,
        )
    )


def test_unit_vectors_and_back() -> None:
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(0, 360, 500), np.degrees(np.arcsin(rng.uniform(-1, 1, 500)))
    vectors = unit_vectors(ra, dec)
    assert vectors.shape == (500, 3)
    np.testing.assert_allclose((vectors**2).sum(axis=1), 1.0, rtol=1e-15)
    back_ra, back_dec = sky_position(3.0 * vectors)
    # a double in degrees rounds to 1e-11 arcsec; asin and atan add a few bits near the poles
    assert sep_arcsec(ra, dec, back_ra, back_dec).max() < 1e-9
    np.testing.assert_array_equal(unit_vectors(0.0, 90.0).round(15), [0.0, 0.0, 1.0])
    assert np.isnan(unit_vectors(np.nan, 10.0)[:2]).all()


def test_sep_keeps_small_angles_exact() -> None:
    assert sep_arcsec(10.0, 0.0, 10.0 + 1e-7, 0.0) == pytest.approx(3.6e-4, rel=1e-7)
    assert sep_arcsec(359.99995, 60.0, 0.00005, 60.0) == pytest.approx(0.18, rel=1e-7)
    assert sep_arcsec(10.0, 20.0, 190.0, -20.0) == pytest.approx(180.0 * 3600.0)
    assert sep_arcsec(10.0, 20.0, 10.0, 20.0) == 0.0


@pytest.mark.parametrize(("ra0", "dec0"), PLACES)
def test_tangent_plane_round_trip(ra0: float, dec0: float) -> None:
    rng = np.random.default_rng(2)
    xi, eta = rng.uniform(-30, 30, (2, 200))
    ra, dec = sky_from_tangent_plane(xi, eta, ra0, dec0)
    back_xi, back_eta = tangent_plane(ra, dec, ra0, dec0)
    # 1e-9 arcmin: rounding of degrees near the pole, where right ascension is coarse
    np.testing.assert_allclose(back_xi, xi, atol=1e-9)
    np.testing.assert_allclose(back_eta, eta, atol=1e-9)
    # gnomonic: the offset is the tangent of the separation
    arcmin = np.tan(np.radians(sep_arcsec(ra, dec, ra0, dec0) / 3600.0)) * 60.0 * np.degrees(1.0)
    np.testing.assert_allclose(np.hypot(xi, eta), arcmin, rtol=1e-9)


def test_tangent_plane_directions() -> None:
    xi, eta = tangent_plane([10.001, 10.0], [50.0, 50.001], 10.0, 50.0)
    assert xi[0] == pytest.approx(0.06 * np.cos(np.radians(50.0)), rel=1e-6)  # east is positive
    assert eta[1] == pytest.approx(0.06, rel=1e-6)  # north is positive
    assert abs(xi[1]) < 1e-12


def test_tangent_plane_refuses_the_far_side() -> None:
    with pytest.raises(InvalidValueError, match="1 positions lie 90 deg or more"):
        tangent_plane([10.0, 190.0], [0.0, 0.0], 10.0, 0.0)
    assert np.isnan(tangent_plane(np.nan, 0.0, 10.0, 0.0)[0])


@pytest.mark.parametrize(("ra0", "dec0"), PLACES)
@pytest.mark.parametrize("pa", [0.0, 17.25, 72.0, 90.0, 135.5, 179.0])
def test_field_axis_of_one_rectangle(ra0: float, dec0: float, pa: float) -> None:
    axis = field_axis([rectangle(ra0, dec0, 3.0, 1.2, pa)])
    assert float(sep_arcsec(axis.origin_ra_deg, axis.origin_dec_deg, ra0, dec0)) < 1e-4
    ends = rectangle(ra0, dec0, 3.0, 0.0, pa)
    d = along_axis(ends[:, 0], ends[:, 1], axis)
    # rounding the angle to 1e-6 deg moves the far corner by less than 1e-7 arcmin
    np.testing.assert_allclose(np.abs(d), 3.0, atol=1e-6)
    if abs(dec0) < 80.0:  # at the poles the meridian of the rounded origin is another one
        assert abs(float(roll_difference_deg(2 * axis.pa_deg, 2 * pa))) < 1e-4
        assert np.sign(d[1]) == 1.0  # +d points to the position angle itself


def test_field_axis_is_the_same_bits_in_any_order() -> None:
    rng = np.random.default_rng(3)
    prints = [
        rectangle(ra, dec, 1.1, 1.1, 72.0)
        for ra, dec in zip(
            rng.normal(0.0, 0.05, 60) % 360.0, rng.normal(68.98, 0.01, 60), strict=True
        )
    ]
    expected = field_axis(prints)
    for _ in range(10):
        shuffled = [prints[i][rng.permutation(4)] for i in rng.permutation(len(prints))]
        assert field_axis(shuffled) == expected
    wrapped = [np.column_stack([footprint[:, 0] - 360.0, footprint[:, 1]]) for footprint in prints]
    again = field_axis(wrapped)
    assert again.pa_deg == pytest.approx(expected.pa_deg, abs=2e-6)


def test_field_axis_with_a_given_angle() -> None:
    footprint = rectangle(265.02, 68.98, 3.0, 1.2, 72.0)
    assert field_axis([footprint], 72.0) == field_axis([footprint])
    turned = field_axis([footprint], 252.0)
    assert turned.pa_deg == 252.0
    d = along_axis(footprint[:, 0], footprint[:, 1], turned)
    np.testing.assert_allclose(
        d, -along_axis(footprint[:, 0], footprint[:, 1], field_axis([footprint])), atol=1e-6
    )
    assert field_axis([footprint], -108.0).pa_deg == 252.0


def test_field_axis_refuses_nothing_and_nan() -> None:
    with pytest.raises(InvalidValueError, match="no axis from 0 footprints"):
        field_axis([])
    with pytest.raises(InvalidValueError, match="non-finite"):
        field_axis([np.array([[0.0, 0.0], [1.0, np.nan], [1.0, 1.0]])])


@pytest.mark.parametrize(
    ("roll_i", "roll_j", "relation"),
    [
        (10.0, 10.0, RollRelation.EQUAL),
        (359.0, 4.0, RollRelation.EQUAL),
        (359.0, 4.001, RollRelation.OTHER),
        (10.0, 190.0, RollRelation.OPPOSITE),
        (10.0, 185.0, RollRelation.OPPOSITE),
        (10.0, 184.999, RollRelation.OTHER),
        (358.0, 177.0, RollRelation.OPPOSITE),
        (0.0, 90.0, RollRelation.OTHER),
    ],
)
def test_roll_relation(roll_i: float, roll_j: float, relation: RollRelation) -> None:
    assert roll_relation(roll_i, roll_j) is relation
    assert roll_relation(roll_j, roll_i) is relation


@pytest.mark.parametrize("array_id", ["1", "2", "3", "4", "long"])
def test_module_side_turns_with_the_telescope(array_id: str) -> None:
    nircam = load_instrument()
    axis = FieldAxis(90.0, 150.0, 2.0)  # +d points east
    assert module_side(0.0, axis, nircam, array_id) == -1  # V2 points east, module A is at +V2
    assert module_side(180.0, axis, nircam, array_id) == 1
    assert module_side(0.0, FieldAxis(270.0, 150.0, 2.0), nircam, array_id) == 1


def test_module_side_refuses_a_perpendicular_axis_and_an_unknown_id() -> None:
    nircam = load_instrument()
    with pytest.raises(InvalidValueError, match="nearly perpendicular to the line from nrcalong"):
        module_side(0.0, FieldAxis(0.0, 150.0, 2.0), nircam, "long")
    with pytest.raises(InvalidValueError, match="unknown array id '5'"):
        module_side(0.0, FieldAxis(90.0, 150.0, 2.0), nircam, "5")


def test_s_region_round_trip() -> None:
    footprint = np.array([[214.914587999, 52.957090130], [359.9, -0.5], [0.000000001, 1.0]])
    text = s_region_text(footprint)
    assert text == (
        "POLYGON ICRS  214.914587999 52.957090130 359.900000000 -0.500000000"
        " 0.000000001 1.000000000"
    )
    np.testing.assert_array_equal(parse_s_region(text), footprint)
    np.testing.assert_array_equal(parse_s_region(text.lower()), footprint)
    np.testing.assert_array_equal(parse_s_region(text.replace("ICRS", "")), footprint)
    closed = f"{text} 214.914587999 52.957090130"
    np.testing.assert_array_equal(parse_s_region(closed), footprint)
    assert parse_s_region("POLYGON ICRS -1 0 1 0 0 1")[0, 0] == 359.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "CIRCLE ICRS 10 20 1",
        "POLYGON ICRS 1 2 3 4",
        "POLYGON ICRS 1 2 3 4 5",
        "POLYGON ICRS 1 2 3 4 5 6 7",
        "POLYGON ICRS 1 2 3 4 5 nan",
        "POLYGON ICRS 1 2 3 4 5 91",
        "POLYGON FK5 1 2 3 4 5 6",
        "POLYGON ICRS 1 2 3 4 5 x",
    ],
)
def test_s_region_refuses(text: str) -> None:
    with pytest.raises(InvalidValueError, match=r"found .*expected"):
        parse_s_region(text)

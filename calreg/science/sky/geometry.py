"""Spherical geometry: tangent planes, rolls, the axis of a field, and the card S_REGION.

Sky coordinates are ICRS degrees, right ascensions in [0, 360) where they are returned; offsets on
the sky, xi to the east and eta to the north of a tangent point, are arcminutes or arcseconds as
named; position angles are degrees from north over east. Arrays of one call have one shape.
Non-finite coordinates propagate as NaN unless stated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calreg.domain import RollRelation
from calreg.errors import InvalidValueError
from calreg.units import ARCMIN_PER_DEG, ARCSEC_PER_DEG

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from calreg.instruments import Instrument
    from calreg.units import FloatArray

ROLL_TOLERANCE_DEG = 5.0
"""Rolls this close to equal (or to opposite) put every array on the same patch: 2.2 arcmin from the
centre, a rotation by 5 deg moves a source by 12 arcsec, a tenth of a long-wavelength array."""

MIN_AXIS_COMPONENT = 0.3
"""Smallest cosine between the axis of a field and the line from module A to B that gives a side."""

_AXIS_ITERATIONS = 8
"""Each recentring of a field of degrees gains two digits or more; most settle after two."""

_SETTLED_ARCMIN = 1e-9
"""A tangent point this close stays: at a pole a smaller step would still turn north around."""

_PA_DECIMALS = 6
_ORIGIN_DECIMALS = 9

_S_REGION_POLYGON = re.compile(r"\bPOLYGON\b", re.IGNORECASE)
_S_REGION_FRAME = re.compile(r"(?!nan$|inf$|infinity$)[a-z]\w*", re.IGNORECASE)
_MIN_S_REGION_VERTICES = 3
_MAX_POLYGON_RADIUS_DEG = 10.0
"""No image reaches further from its middle; an outline that does went around the sky."""
_CROSSING_RAD = 5e-8
"""Edges cross that pass each other by more, 10 mas: less comes from rounding of near vertices."""


@dataclass(frozen=True)
class FieldAxis:
    """The line along which an offset may vary over a field.

    Attributes
    ----------
    pa_deg : float
        Position angle of +d at the origin [deg, north over east].
    origin_ra_deg, origin_dec_deg : float
        Where d = 0 [deg, ICRS].
    """

    pa_deg: float
    origin_ra_deg: float
    origin_dec_deg: float


# --- the sphere ---------------------------------------------------------------------------------


def unit_vectors(ra_deg: ArrayLike, dec_deg: ArrayLike) -> FloatArray:
    """Return unit vectors towards sky positions.

    Returns
    -------
    ndarray of float64, shape (..., 3)
        The x axis points to (0, 0), the z axis to the north pole; NaN where a coordinate is not
        finite.
    """
    ra, dec = np.broadcast_arrays(
        np.radians(np.asarray(ra_deg, dtype=np.float64)),
        np.radians(np.asarray(dec_deg, dtype=np.float64)),
    )
    vectors = np.empty((*ra.shape, 3))
    cos_dec = np.cos(dec)
    np.multiply(cos_dec, np.cos(ra), out=vectors[..., 0])
    np.multiply(cos_dec, np.sin(ra), out=vectors[..., 1])
    np.sin(dec, out=vectors[..., 2])
    return vectors


def sky_position(vectors: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the sky positions of vectors of any length, the inverse of `unit_vectors`.

    Parameters
    ----------
    vectors : ndarray of float64, shape (..., 3)
    """
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    ra_deg = np.degrees(np.arctan2(y, x)) % 360.0
    # A tiny negative angle is rounded to 360 by the modulus.
    return np.where(ra_deg >= 360.0, 0.0, ra_deg), np.degrees(np.arctan2(z, np.hypot(x, y)))


def sep_arcsec(
    ra_1_deg: ArrayLike, dec_1_deg: ArrayLike, ra_2_deg: ArrayLike, dec_2_deg: ArrayLike
) -> FloatArray:
    """Return angular separations by the haversine formula, which keeps small angles exact.

    Parameters
    ----------
    ra_1_deg, dec_1_deg, ra_2_deg, dec_2_deg : array_like of float64
        ICRS [deg], broadcast against each other.

    Returns
    -------
    ndarray of float64
        Separation [arcsec]; NaN where a coordinate is not finite.
    """
    dec_1 = np.radians(np.asarray(dec_1_deg, dtype=np.float64))
    dec_2 = np.radians(np.asarray(dec_2_deg, dtype=np.float64))
    delta_ra = np.radians(np.asarray(ra_2_deg, dtype=np.float64) - np.asarray(ra_1_deg))
    haversine = (
        np.sin(0.5 * (dec_2 - dec_1)) ** 2
        + np.cos(dec_1) * np.cos(dec_2) * np.sin(0.5 * delta_ra) ** 2
    )
    return np.asarray(
        ARCSEC_PER_DEG * np.degrees(2.0 * np.arcsin(np.sqrt(np.minimum(haversine, 1.0))))
    )


def tangent_plane(
    ra_deg: ArrayLike, dec_deg: ArrayLike, ra0_deg: float, dec0_deg: float
) -> tuple[FloatArray, FloatArray]:
    """Project sky positions onto the plane that touches the sphere at one point (gnomonic).

    Raises
    ------
    InvalidValueError
        If a position lies 90 deg or more from the tangent point.
    """
    dec = np.radians(np.asarray(dec_deg, dtype=np.float64))
    delta_ra = np.radians(np.asarray(ra_deg, dtype=np.float64) - ra0_deg)
    sin_dec0, cos_dec0 = np.sin(np.radians(dec0_deg)), np.cos(np.radians(dec0_deg))
    sin_dec, cos_dec = np.sin(dec), np.cos(dec)
    depth = sin_dec0 * sin_dec + cos_dec0 * cos_dec * np.cos(delta_ra)
    if np.any(depth <= 0.0):
        msg = (
            f"{int(np.count_nonzero(depth <= 0.0))} positions lie 90 deg or more from the tangent "
            f"point ({ra0_deg:.6f}, {dec0_deg:.6f}) deg: expected positions of one field"
        )
        raise InvalidValueError(msg)
    # cos_dec0 sin_dec - sin_dec0 cos_dec cos(delta_ra), without cancellation for small offsets
    north = np.sin(dec - np.radians(dec0_deg)) + 2.0 * (
        sin_dec0 * cos_dec * np.sin(0.5 * delta_ra) ** 2
    )
    arcmin = ARCMIN_PER_DEG * np.degrees(1.0)
    return (
        np.asarray(arcmin * cos_dec * np.sin(delta_ra) / depth),
        np.asarray(arcmin * north / depth),
    )


def sky_from_tangent_plane(
    xi_arcmin: ArrayLike, eta_arcmin: ArrayLike, ra0_deg: float, dec0_deg: float
) -> tuple[FloatArray, FloatArray]:
    """Return the sky positions of tangent-plane offsets, the inverse of `tangent_plane`."""
    xi = np.radians(np.asarray(xi_arcmin, dtype=np.float64) / ARCMIN_PER_DEG)[..., np.newaxis]
    eta = np.radians(np.asarray(eta_arcmin, dtype=np.float64) / ARCMIN_PER_DEG)[..., np.newaxis]
    centre, east, north = local_frame(ra0_deg, dec0_deg)
    return sky_position(centre + xi * east + eta * north)


def local_frame(ra_deg: float, dec_deg: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the unit vectors (3,) outwards, to the east and to the north at a position [deg]."""
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    east = np.array([-np.sin(ra), np.cos(ra), 0.0])
    north = np.array([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)])
    return unit_vectors(ra_deg, dec_deg), east, north


# --- the axis of a field ------------------------------------------------------------------------


def along_axis(ra_deg: ArrayLike, dec_deg: ArrayLike, axis: FieldAxis) -> FloatArray:
    """Return the tangent-plane coordinate d along the axis of a field.

    Returns
    -------
    ndarray of float64, shape (n,)
        ``d = xi sin(pa) + eta cos(pa)`` [arcmin], positive towards the axis' position angle.
    """
    xi, eta = tangent_plane(ra_deg, dec_deg, axis.origin_ra_deg, axis.origin_dec_deg)
    pa = np.radians(axis.pa_deg)
    return np.asarray(xi * np.sin(pa) + eta * np.cos(pa))


def field_axis(footprints: Sequence[FloatArray], pa_deg: float | None = None) -> FieldAxis:
    """Find the long axis of a field and its centre.

    Parameters
    ----------
    footprints : sequence of ndarray of float64, shape (n_vertices, 2)
        ICRS (ra, dec) [deg] of each exposure; their order does not change a bit of the result.
    pa_deg : float, optional
        Position angle of the axis [deg, north over east], instead of the one found.

    Returns
    -------
    FieldAxis
        Position angle of the principal axis of all vertices, in [0, 180), rounded to 1e-6 deg, or
        `pa_deg` in [0, 360); origin at the middle of the extent along and across the axis, rounded
        to 1e-9 deg. The angle of a field as wide as long is arbitrary but reproducible.

    Raises
    ------
    InvalidValueError
        If there is no footprint, a coordinate is not finite, or the field spans the sky.

    Notes
    -----
    The tangent point is moved to the origin found in turn until both agree, so that angle and
    origin refer to the same north, near the poles too.
    """
    if not footprints or (pa_deg is not None and not np.isfinite(pa_deg)):
        msg = (
            f"no axis from {len(footprints)} footprints and position angle {pa_deg}: expected both"
        )
        raise InvalidValueError(msg)
    vertices = np.concatenate([np.asarray(footprint, dtype=np.float64) for footprint in footprints])
    if not np.isfinite(vertices).all():
        msg = "footprints contain non-finite coordinates: expected finite ICRS degrees"
        raise InvalidValueError(msg)
    ra, dec = vertices[:, 0] % 360.0, vertices[:, 1]
    order = np.lexsort((dec, ra))
    ra, dec = ra[order], dec[order]
    ra0, dec0 = (float(value) for value in sky_position(unit_vectors(ra, dec).sum(axis=0)))
    pa = 0.0
    for _ in range(_AXIS_ITERATIONS):
        xi, eta = tangent_plane(ra, dec, ra0, dec0)
        pa = _principal_pa(xi, eta) if pa_deg is None else np.radians(pa_deg)
        along = xi * np.sin(pa) + eta * np.cos(pa)
        across = xi * np.cos(pa) - eta * np.sin(pa)
        mid_along = 0.5 * (along.min() + along.max())
        mid_across = 0.5 * (across.min() + across.max())
        if np.hypot(mid_along, mid_across) < _SETTLED_ARCMIN:
            break
        middle = sky_from_tangent_plane(
            mid_along * np.sin(pa) + mid_across * np.cos(pa),
            mid_along * np.cos(pa) - mid_across * np.sin(pa),
            ra0,
            dec0,
        )
        ra0, dec0 = float(middle[0]), float(middle[1])
    turn_deg = 180.0 if pa_deg is None else 360.0
    return FieldAxis(
        pa_deg=round(float(np.degrees(pa)) % turn_deg, _PA_DECIMALS) % turn_deg,
        origin_ra_deg=round(ra0, _ORIGIN_DECIMALS) % 360.0,
        origin_dec_deg=round(dec0, _ORIGIN_DECIMALS),
    )


def _principal_pa(xi: FloatArray, eta: FloatArray) -> float:
    """Return the position angle [rad] of the largest second moment of points in a plane."""
    east, north = xi - xi.mean(), eta - eta.mean()
    moment_en = float((east * north).sum())
    difference = float((north * north).sum() - (east * east).sum())
    return 0.5 * float(np.arctan2(2.0 * moment_en, difference))


def roll_difference_deg(roll_1_deg: ArrayLike, roll_2_deg: ArrayLike) -> FloatArray:
    """Return ``roll_1 - roll_2`` wrapped into [-180, 180) [deg]."""
    difference = np.asarray(roll_1_deg, dtype=np.float64) - np.asarray(roll_2_deg)
    return np.asarray((difference + 180.0) % 360.0 - 180.0)


def roll_relation(roll_i_deg: float, roll_j_deg: float) -> RollRelation:
    """Compare two rolls.

    Parameters
    ----------
    roll_i_deg, roll_j_deg : float
        Angle of V3 [deg, north over east].

    Returns
    -------
    RollRelation
        Equal or opposite within `ROLL_TOLERANCE_DEG`, else other.
    """
    difference = abs(float(roll_difference_deg(roll_i_deg, roll_j_deg)))
    if difference <= ROLL_TOLERANCE_DEG:
        return RollRelation.EQUAL
    if difference >= 180.0 - ROLL_TOLERANCE_DEG:
        return RollRelation.OPPOSITE
    return RollRelation.OTHER


def sky_from_focal_plane(
    v2_offset: ArrayLike, v3_offset: ArrayLike, roll_deg: float
) -> tuple[FloatArray, FloatArray]:
    """Turn offsets in the telescope frame into offsets on the sky.

    Parameters
    ----------
    v2_offset, v3_offset : array_like of float64
        Offsets along V2 and V3, in any unit of angle.
    roll_deg : float
        Angle of V3 [deg, north over east].

    Returns
    -------
    east, north : ndarray of float64
        In the unit of the input. V3 points to position angle `roll_deg`, V2 to ``roll_deg + 90``
        (JWST-STScI-001550, SM-12, section 5.1).
    """
    roll = np.radians(roll_deg)
    v2, v3 = np.asarray(v2_offset, dtype=np.float64), np.asarray(v3_offset, dtype=np.float64)
    return (
        np.asarray(v2 * np.cos(roll) + v3 * np.sin(roll)),
        np.asarray(v3 * np.cos(roll) - v2 * np.sin(roll)),
    )


def module_side(roll_deg: float, axis: FieldAxis, instrument: Instrument, array_id: str) -> int:
    """Find the side of a field that module B lies on at one roll.

    Parameters
    ----------
    roll_deg : float
        PA_V3, angle of V3 [deg, north over east].
    array_id : str
        ``1`` ... ``4`` or ``long``.

    Returns
    -------
    int
        +1 when array B lies towards +d from array A, else -1.

    Raises
    ------
    InvalidValueError
        If the axis is nearly perpendicular to the line from A to B, or the array id is unknown.
    """
    pair = {
        array.module: array for array in instrument.arrays.values() if array.array_id == array_id
    }
    if set(pair) != set(instrument.modules):
        msg = f"unknown array id {array_id!r}: expected one of {', '.join(instrument.array_ids)}"
        raise InvalidValueError(msg)
    first, second = (pair[module] for module in instrument.modules)
    east, north = sky_from_focal_plane(
        second.v2_ref_arcsec - first.v2_ref_arcsec,
        second.v3_ref_arcsec - first.v3_ref_arcsec,
        roll_deg,
    )
    pa = np.radians(axis.pa_deg)
    cosine = float((east * np.sin(pa) + north * np.cos(pa)) / np.hypot(east, north))
    if not abs(cosine) >= MIN_AXIS_COMPONENT:
        msg = (
            f"axis at position angle {axis.pa_deg:.3f} deg is nearly perpendicular to the line "
            f"from {first.name} to {second.name} at roll {roll_deg:.3f} deg (cosine {cosine:.2f}): "
            f"expected at least {MIN_AXIS_COMPONENT}; choose another angle with --axis"
        )
        raise InvalidValueError(msg)
    return 1 if cosine > 0.0 else -1


# --- S_REGION -----------------------------------------------------------------------------------


def s_region_text(footprint: FloatArray) -> str:
    """Write a footprint as the card S_REGION, ``POLYGON ICRS  ra dec ...`` with 1e-9 deg."""
    numbers = " ".join(f"{ra:.9f} {dec:.9f}" for ra, dec in np.asarray(footprint, float).tolist())
    return f"POLYGON ICRS  {numbers}"


def parse_s_region(text: str) -> FloatArray:
    """Read the corners of an S_REGION, those of all its polygons, as `s_region_polygons` does."""
    return np.concatenate(s_region_polygons(text))


def s_region_polygons(text: str) -> tuple[FloatArray, ...]:
    """Read the polygons of an S_REGION, whose union is the footprint.

    Parameters
    ----------
    text : str
        ``POLYGON ICRS  ra dec ra dec ...`` [deg] in any case, once or several times; the frame may
        be left out.

    Returns
    -------
    tuple of ndarray of float64, shape (n_vertices, 2)
        ICRS (ra, dec) [deg], ra in [0, 360); a last vertex that repeats the first is dropped.

    Raises
    ------
    InvalidValueError
        For another shape or frame, an odd count, fewer than three different vertices, or numbers
        that are not finite or not on the sky.

    Examples
    --------
    >>> [one.tolist() for one in s_region_polygons("POLYGON ICRS  10 1 11 1 11 2")]
    [[[10.0, 1.0], [11.0, 1.0], [11.0, 2.0]]]
    """
    before, *polygons = _S_REGION_POLYGON.split(text)
    if before.strip() or not polygons:
        msg = f"found shape {''.join(text.split()[:1]).upper()!r}, expected POLYGON"
        raise InvalidValueError(msg)
    return tuple(_polygon(polygon) for polygon in polygons)


def _polygon(text: str) -> FloatArray:
    """Read what stands after POLYGON."""
    words = text.split()
    if words and _S_REGION_FRAME.fullmatch(words[0]):
        frame = words.pop(0).upper()
        if frame != "ICRS":
            msg = f"found frame {frame}, expected ICRS"
            raise InvalidValueError(msg)
    try:
        values = [float(word) for word in words]
    except ValueError as error:
        msg = f"found {f'POLYGON{text}'!r}, expected POLYGON and numbers [deg]"
        raise InvalidValueError(msg) from error
    if len(values) % 2:
        msg = f"found {len(values)} numbers, expected pairs of ra and dec"
        raise InvalidValueError(msg)
    corners = list(zip(values[::2], values[1::2], strict=True))
    # The comparisons are false for NaN, so that it is refused with them.
    if not all(abs(ra) <= 360.0 and abs(dec) <= 90.0 for ra, dec in corners):
        found = repr(f"POLYGON{text}")
        msg = f"found {found}, expected finite ra in [-360, 360] and dec in [-90, 90] deg"
        raise InvalidValueError(msg)
    corners = [(ra % 360.0, dec) for ra, dec in corners]
    if corners and corners[0] == corners[-1]:
        corners = corners[:-1]
    n_different = len(set(corners))
    if n_different < _MIN_S_REGION_VERTICES:
        msg = f"found {n_different} different vertices, expected at least {_MIN_S_REGION_VERTICES}"
        raise InvalidValueError(msg)
    return np.array(corners, dtype=np.float64)


def require_outline(polygon: FloatArray) -> None:
    """Refuse a polygon that cannot be the outline of an image.

    Raises
    ------
    InvalidValueError
        If it reaches more than 10 deg from its middle, has no area, or crosses itself.
    """
    vertices = unit_vectors(*polygon.T)
    middle = vertices.mean(axis=0)
    # Infinite where the vertices cancel: around the sky.
    cosine = (vertices @ middle).min() / max(float(np.linalg.norm(middle)), 1e-30)
    radius_deg = float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))
    if not radius_deg <= _MAX_POLYGON_RADIUS_DEG:
        msg = (
            f"found a polygon that reaches {radius_deg:.1f} deg from its middle, expected the "
            f"outline of an image, less than {_MAX_POLYGON_RADIUS_DEG:g} deg"
        )
        raise InvalidValueError(msg)
    ra, dec = (float(value) for value in sky_position(middle))
    points = np.column_stack(tangent_plane(polygon[:, 0], polygon[:, 1], ra, dec))
    points *= np.radians(1.0 / ARCMIN_PER_DEG)
    edges = np.roll(points, -1, axis=0) - points
    lengths = np.maximum(np.hypot(*edges.T), _CROSSING_RAD)
    # [i, j]: how far to the left of edge i vertex j lies
    to_vertex = points[np.newaxis] - points[:, np.newaxis]
    left = (edges[:, :1] * to_vertex[..., 1] - edges[:, 1:] * to_vertex[..., 0]) / lengths[:, None]
    if not np.abs(left).max() > _CROSSING_RAD:
        msg = "found a polygon without area, expected the outline of an image"
        raise InvalidValueError(msg)
    side = np.where(np.abs(left) > _CROSSING_RAD, np.sign(left), 0.0)
    is_cut = side * np.roll(side, -1, axis=1) < 0.0
    if (is_cut & is_cut.T).any():
        msg = "found a polygon that crosses itself, expected vertices in order around the image"
        raise InvalidValueError(msg)

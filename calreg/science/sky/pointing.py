"""Where an array of the telescope looks: reference points, pixels on the sky, and footprints.

Telescope frame: V1 along the boresight, V2 and V3 across it [arcsec]; roll is the angle of V3 on
the sky, north over east [deg]. Sky positions are ICRS [deg]; non-finite input propagates as NaN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from calreg.science.sky.geometry import (
    local_frame,
    sky_from_focal_plane,
    sky_from_tangent_plane,
    sky_position,
    tangent_plane,
)
from calreg.units import ARCMIN_PER_DEG, ARCSEC_PER_DEG

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from calreg.instruments import Array
    from calreg.units import FloatArray

_ARCSEC_PER_ARCMIN = ARCSEC_PER_DEG / ARCMIN_PER_DEG


class ReferencePoint(NamedTuple):
    """Where an array's reference point looks: the cards RA_REF, DEC_REF and ROLL_REF [deg]."""

    ra_ref_deg: float
    dec_ref_deg: float
    roll_ref_deg: float


class Boresight(NamedTuple):
    """Where the telescope points: the cards RA_V1, DEC_V1 and PA_V3 [deg]."""

    ra_v1_deg: float
    dec_v1_deg: float
    pa_v3_deg: float


def _attitude(v2_arcsec: float, v3_arcsec: float, sky: ReferencePoint) -> FloatArray:
    """Return the rotation (3, 3) from telescope to sky, given where one point looks."""
    return (
        _frame_at(*sky) @ _frame_at(v2_arcsec / ARCSEC_PER_DEG, v3_arcsec / ARCSEC_PER_DEG, 0.0).T
    )


def _frame_at(lon_deg: float, lat_deg: float, roll_deg: float) -> FloatArray:
    """Return columns outwards, towards local +V2 and towards local +V3, at a point of a sphere."""
    outwards, east, north = local_frame(lon_deg, lat_deg)
    cos_roll, sin_roll = np.cos(np.radians(roll_deg)), np.sin(np.radians(roll_deg))
    return np.column_stack(
        [outwards, cos_roll * east - sin_roll * north, sin_roll * east + cos_roll * north]
    )


def _sky_of_frame(frame: FloatArray) -> tuple[float, float, float]:
    """Return longitude, latitude and roll [deg] of a frame made by `_frame_at`."""
    lon, lat = (float(value) for value in sky_position(frame[:, 0]))
    _, east, north = local_frame(lon, lat)
    roll = float(np.degrees(np.arctan2(frame[:, 2] @ east, frame[:, 2] @ north))) % 360.0
    return lon, lat, 0.0 if roll >= 360.0 else roll


def reference_point(
    array: Array, ra_v1_deg: float, dec_v1_deg: float, pa_v3_deg: float
) -> ReferencePoint:
    """Return the sky position of an array's reference point for a pointing of the telescope.

    Parameters
    ----------
    ra_v1_deg, dec_v1_deg, pa_v3_deg : float
        Pointing of the V1 axis and angle of V3 there, the cards RA_V1, DEC_V1 and PA_V3 [deg].

    Notes
    -----
    JWST-STScI-001550, SM-12, section 5.1, without velocity aberration.
    """
    attitude = _attitude(0.0, 0.0, ReferencePoint(ra_v1_deg, dec_v1_deg, pa_v3_deg))
    local = _frame_at(
        array.v2_ref_arcsec / ARCSEC_PER_DEG, array.v3_ref_arcsec / ARCSEC_PER_DEG, 0.0
    )
    return ReferencePoint(*_sky_of_frame(attitude @ local))


def boresight(
    v2_arcsec: float, v3_arcsec: float, ra_deg: float, dec_deg: float, roll_deg: float
) -> Boresight:
    """Return the pointing that puts one point of the telescope frame on one sky position.

    Parameters
    ----------
    v2_arcsec, v3_arcsec : float
        The point, for instance the middle between the modules [arcsec].
    ra_deg, dec_deg : float
        Where it shall look [deg, ICRS].
    roll_deg : float
        Angle of V3 at that point [deg, north over east].

    Returns
    -------
    Boresight
        The cards RA_V1, DEC_V1 and PA_V3 [deg].
    """
    attitude = _attitude(v2_arcsec, v3_arcsec, ReferencePoint(ra_deg, dec_deg, roll_deg))
    return Boresight(*_sky_of_frame(attitude))


def detector_to_sky(
    x: ArrayLike,
    y: ArrayLike,
    array: Array,
    ra_ref_deg: float,
    dec_ref_deg: float,
    roll_ref_deg: float,
) -> tuple[FloatArray, FloatArray]:
    """Return the sky positions of pixels, without distortion.

    Parameters
    ----------
    x, y : array_like of float64, shape (n,)
        0-based pixel position, science orientation (as in a `cal` file).

    Notes
    -----
    Scale, rotation and parity of the SIAF only; distortion, left out, is largest at the corners.
    """
    reference = array.ref_pixel - 1.0
    x_ideal = array.v_ideal_parity * array.x_scale_arcsec * (np.asarray(x, float) - reference)
    y_ideal = array.y_scale_arcsec * (np.asarray(y, float) - reference)
    angle = np.radians(array.v3_ideal_y_angle_deg)
    east, north = sky_from_focal_plane(
        x_ideal * np.cos(angle) + y_ideal * np.sin(angle),
        y_ideal * np.cos(angle) - x_ideal * np.sin(angle),
        roll_ref_deg,
    )
    return sky_from_tangent_plane(
        east / _ARCSEC_PER_ARCMIN, north / _ARCSEC_PER_ARCMIN, ra_ref_deg, dec_ref_deg
    )


def sky_to_detector(
    ra_deg: ArrayLike,
    dec_deg: ArrayLike,
    array: Array,
    ra_ref_deg: float,
    dec_ref_deg: float,
    roll_ref_deg: float,
) -> tuple[FloatArray, FloatArray]:
    """Return the pixels of sky positions, without distortion; the inverse of `detector_to_sky`.

    Returns
    -------
    x, y : ndarray of float64, shape (n,)
        0-based pixel position, science orientation; beyond the array's edges where the position is.
    """
    xi, eta = tangent_plane(ra_deg, dec_deg, ra_ref_deg, dec_ref_deg)
    roll, angle = np.radians(roll_ref_deg), np.radians(array.v3_ideal_y_angle_deg)
    v2 = _ARCSEC_PER_ARCMIN * (xi * np.cos(roll) - eta * np.sin(roll))
    v3 = _ARCSEC_PER_ARCMIN * (xi * np.sin(roll) + eta * np.cos(roll))
    x_ideal = array.v_ideal_parity * (v2 * np.cos(angle) - v3 * np.sin(angle))
    y_ideal = v2 * np.sin(angle) + v3 * np.cos(angle)
    reference = array.ref_pixel - 1.0
    return (
        np.asarray(x_ideal / array.x_scale_arcsec + reference),
        np.asarray(y_ideal / array.y_scale_arcsec + reference),
    )


def array_footprint(
    array: Array, ra_ref_deg: float, dec_ref_deg: float, roll_ref_deg: float
) -> FloatArray:
    """Return the corners of an array on the sky, without distortion.

    Returns
    -------
    ndarray of float64, shape (4, 2)
        ICRS (ra, dec) [deg] of the outer corners of the corner pixels, in order around the array.
    """
    low, high = -0.5, array.n_pixels - 0.5
    ra, dec = detector_to_sky(
        [low, high, high, low], [low, low, high, high], array, ra_ref_deg, dec_ref_deg, roll_ref_deg
    )
    return np.column_stack([ra, dec])

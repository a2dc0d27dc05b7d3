"""Where arrays look, against pysiaf (the telescope's own geometry package)."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from calreg.instruments import load_instrument
from calreg.science.sky.geometry import roll_difference_deg, sep_arcsec
from calreg.science.sky.pointing import (
    array_footprint,
    boresight,
    detector_to_sky,
    reference_point,
    sky_to_detector,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # pysiaf warns that it cannot look for a newer database
    import pysiaf
    from pysiaf.utils import rotations

NIRCAM = load_instrument()
ARRAYS = list(NIRCAM.arrays.values())
POINTINGS = [
    (265.02, 68.98, 30.0),
    (0.001, -20.0, 200.0),
    (10.0, 89.95, 77.0),
    (359.999, -89.9, 350.0),
]


@pytest.fixture(scope="module")
def siaf() -> Any:
    """Return the SIAF of NIRCam."""
    return pysiaf.Siaf("NIRCam")


@pytest.mark.parametrize("pointing", POINTINGS)
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: array.name)
def test_reference_point_equals_pysiaf(array: Any, pointing: tuple[float, float, float]) -> None:
    attitude = rotations.attitude(0.0, 0.0, *pointing)
    v2, v3 = array.v2_ref_arcsec, array.v3_ref_arcsec
    found = reference_point(array, *pointing)
    ra, dec = rotations.pointing(attitude, v2, v3)
    assert float(sep_arcsec(found.ra_ref_deg, found.dec_ref_deg, ra, dec)) < 1e-6
    roll = rotations.posangle(attitude, v2, v3)
    assert abs(float(roll_difference_deg(found.roll_ref_deg, roll))) < 1e-9
    back = boresight(v2, v3, *found)
    assert float(sep_arcsec(back.ra_v1_deg, back.dec_v1_deg, *pointing[:2])) < 1e-6
    assert abs(float(roll_difference_deg(back.pa_v3_deg, pointing[2]))) < 1e-6


@pytest.mark.parametrize("pointing", POINTINGS)
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: array.name)
def test_pixels_equal_pysiaf_within_distortion(
    array: Any, pointing: tuple[float, float, float], siaf: Any
) -> None:
    aperture = siaf[array.aperture]
    aperture.set_attitude_matrix(rotations.attitude(0.0, 0.0, *pointing))
    reference = reference_point(array, *pointing)
    corners = array_footprint(array, *reference)
    pixels = np.array([[-0.5, 2047.5, 2047.5, -0.5], [-0.5, -0.5, 2047.5, 2047.5]])

    # the linear part alone: what remains is the curvature of the sphere, below a milliarcsec
    ideal = np.array([array.x_scale_arcsec, array.y_scale_arcsec])[:, np.newaxis] * (
        pixels - 1023.5
    )
    linear = np.array([aperture.idl_to_sky(x, y) for x, y in ideal.T])
    assert sep_arcsec(*corners.T, *linear.T).max() < 0.001

    # with distortion: 1.26 arcsec at the worst corner of the ten arrays
    true = np.array([aperture.sci_to_sky(x + 1.0, y + 1.0) for x, y in pixels.T])
    assert sep_arcsec(*corners.T, *true.T).max() < 1.3
    centre = detector_to_sky(1023.5, 1023.5, array, *reference)
    assert float(sep_arcsec(*centre, *aperture.sci_to_sky(1024.5, 1024.5))) < 1e-6

    back = sky_to_detector(corners[:, 0], corners[:, 1], array, *reference)
    # pixels; degrees near a pole are that coarse
    np.testing.assert_allclose(back, pixels, atol=1e-6)


def test_v2_points_east_when_v3_points_north() -> None:
    a_ra = reference_point(NIRCAM.array("nrcalong"), 150.0, 0.0, 0.0).ra_ref_deg
    b_ra = reference_point(NIRCAM.array("nrcblong"), 150.0, 0.0, 0.0).ra_ref_deg
    assert a_ra > 150.0 > b_ra

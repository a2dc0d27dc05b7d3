"""The distortion of NIRCam's arrays, against pysiaf."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from calreg.instruments import Array, load_instrument
from calreg.science.sky.geometry import sep_arcsec
from calreg.science.sky.pointing import Boresight, reference_point
from calreg.simulation.distortion import distorted_wcs, pixel_areas_arcsec2, siaf_distortion

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # pysiaf warns that it cannot look for a newer database
    import pysiaf
    from pysiaf.utils import rotations

ARRAYS = list(load_instrument().arrays.values())
POINTINGS = [Boresight(265.02, 68.98, 161.4), Boresight(0.01, -20.0, 30.0)]


@pytest.mark.parametrize("pointing", POINTINGS)
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: array.name)
def test_positions_equal_pysiaf_there_and_back(array: Array, pointing: Boresight) -> None:
    wcs = distorted_wcs(array, siaf_distortion(array), reference_point(array, *pointing))
    rng = np.random.default_rng(1)
    x, y = rng.uniform(-0.5, 2047.5, (2, 300))
    ra_deg, dec_deg = wcs.all_pix2world(x, y, 0)

    v2, v3 = pysiaf.Siaf("NIRCam")[array.aperture].sci_to_tel(x + 1.0, y + 1.0)
    sky = rotations.tel_to_sky(rotations.attitude(0.0, 0.0, *pointing), v2, v3)
    true_ra, true_dec = (np.asarray(axis.to_value("deg")) for axis in sky)
    assert sep_arcsec(ra_deg, dec_deg, true_ra, true_dec).max() < 0.001

    found = wcs.all_world2pix(true_ra, true_dec, 0, tolerance=1e-7)
    # 1 mas in pixels.
    np.testing.assert_allclose(found, [x, y], rtol=0, atol=0.001 / array.x_scale_arcsec)


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: array.name)
def test_the_inverse_terms_invert(array: Array) -> None:
    sip = siaf_distortion(array)
    wcs = distorted_wcs(array, sip, reference_point(array, *POINTINGS[0]))
    rng = np.random.default_rng(2)
    x, y = rng.uniform(1.0, 2048.0, (2, 300))
    focal = wcs.sip.pix2foc(np.column_stack([x, y]), 1)
    back = wcs.sip.foc2pix(focal, 1)
    # A polynomial of the same degree inverts to a hundredth of a pixel (measured 0.003 at most).
    np.testing.assert_allclose(back, np.column_stack([x, y]), rtol=0, atol=0.01)
    assert np.hypot(*(focal + array.ref_pixel - np.column_stack([x, y])).T).max() > 5.0


@pytest.mark.parametrize("array", ARRAYS[:5], ids=lambda array: array.name)
def test_pixel_areas_are_those_of_the_world_coordinates(array: Array) -> None:
    distortion = siaf_distortion(array)
    wcs = distorted_wcs(array, distortion, reference_point(array, *POINTINGS[0]))
    areas = pixel_areas_arcsec2(array, distortion)
    assert areas.shape == (2048, 2048)
    for x, y in ((0, 0), (1900, 100), (700, 2047)):
        x_corners = x + np.array([-0.5, 0.5, 0.5, -0.5])
        y_corners = y + np.array([-0.5, -0.5, 0.5, 0.5])
        ra_deg, dec_deg = wcs.all_pix2world(x_corners, y_corners, 0)
        east = 3600.0 * (ra_deg - ra_deg[0]) * np.cos(np.radians(dec_deg.mean()))
        north = 3600.0 * (dec_deg - dec_deg[0])
        area = 0.5 * abs(east @ np.roll(north, 1) - north @ np.roll(east, 1))
        # Degrees in double precision, 4e-14 of 265, over pixels of 9e-6.
        assert areas[y, x] == pytest.approx(area, rel=1e-6)
    middle = areas[1023, 1023]
    assert middle == pytest.approx(array.x_scale_arcsec * array.y_scale_arcsec, rel=1e-5)
    assert areas.max() / areas.min() > 1.02

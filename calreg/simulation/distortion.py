"""World coordinates of real detectors: the distortion polynomials of the SIAF as SIP terms.

The ideal frame of an aperture is the tangent plane about its reference point, in arcsec; the SIAF
gives it as polynomials of the fifth degree in pixels, which SIP terms hold without loss.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.wcs import WCS, Sip
from numpy.polynomial import polynomial

from calreg.errors import MissingExtraError
from calreg.units import ARCSEC_PER_DEG

if TYPE_CHECKING:
    from calreg.instruments import Array
    from calreg.science.sky.pointing import ReferencePoint
    from calreg.units import FloatArray

_DEGREE = 5
_NODES = 24
"""Pixels along each axis that the polynomials are solved from; six would do."""


@dataclass(frozen=True)
class Distortion:
    """From pixels of an array to the tangent plane about its reference point.

    Attributes
    ----------
    linear : ndarray of float64, shape (2, 2)
        Derivative of (x, y) in the ideal frame [arcsec] by pixel at the reference pixel.
    sip_a, sip_b : ndarray of float64, shape (6, 6)
        SIP terms of x and y by the powers of both pixel offsets [pixels]; constant and linear terms
        are zero.
    sip_ap, sip_bp : ndarray of float64, shape (6, 6)
        SIP terms of the inverse, fitted over the array.
    """

    linear: FloatArray = field(repr=False)
    sip_a: FloatArray = field(repr=False)
    sip_b: FloatArray = field(repr=False)
    sip_ap: FloatArray = field(repr=False)
    sip_bp: FloatArray = field(repr=False)


def siaf_distortion(array: Array) -> Distortion:
    """Return the distortion of a NIRCam array as pysiaf has it.

    Raises
    ------
    MissingExtraError
        If pysiaf is not installed.

    Notes
    -----
    JWST-STScI-001550, SM-12, section 4.4: ideal coordinates are polynomials of the pixel offsets
    from the reference pixel.
    """
    aperture = _nircam_apertures()[array.aperture]
    half = 0.5 * array.n_pixels
    u, v = (axis.ravel() for axis in np.meshgrid(*2 * [np.linspace(-half, half, _NODES)]))
    ideal = aperture.sci_to_idl(u + aperture.XSciRef, v + aperture.YSciRef)
    terms = [np.asarray(_solved(u, v, half, np.asarray(values, float))) for values in ideal]
    linear = np.array([[term[1, 0], term[0, 1]] for term in terms])
    inverse = np.linalg.inv(linear)
    sip_a, sip_b = np.tensordot(inverse, np.stack(terms), axes=1)
    for sip in (sip_a, sip_b):
        sip[0, 0] = sip[1, 0] = sip[0, 1] = 0.0
    moved_u, moved_v = (polynomial.polyval2d(u, v, sip) for sip in (sip_a, sip_b))
    sip_ap, sip_bp = (
        _solved(u + moved_u, v + moved_v, half, -moved) for moved in (moved_u, moved_v)
    )
    return Distortion(linear, sip_a, sip_b, sip_ap, sip_bp)


@cache
def _nircam_apertures() -> Any:
    """Return the apertures of NIRCam."""
    # On import it looks for a newer database on the net, and says so when there is no net.
    logging.getLogger("pysiaf").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pysiaf

            return pysiaf.Siaf("NIRCam")
    except ImportError as error:
        msg = "the distortion of NIRCam needs pysiaf: pip install 'calreg[pixels]'"
        raise MissingExtraError(msg) from error


def _solved(u: FloatArray, v: FloatArray, half: float, values: FloatArray) -> FloatArray:
    """Return the coefficients, by powers of u and v, of the polynomial through some values."""
    powers = [(i, j) for i in range(_DEGREE + 1) for j in range(_DEGREE + 1 - i)]
    matrix = np.column_stack([(u / half) ** i * (v / half) ** j for i, j in powers])
    found = np.linalg.lstsq(matrix, values, rcond=None)[0]
    coefficients = np.zeros((_DEGREE + 1, _DEGREE + 1))
    for (i, j), value in zip(powers, found, strict=True):
        coefficients[i, j] = value / half ** (i + j)
    return coefficients


def distorted_wcs(array: Array, distortion: Distortion, reference: ReferencePoint) -> WCS:
    """Return the world coordinates of an exposure.

    Returns
    -------
    astropy.wcs.WCS
        Gnomonic, ICRS [deg], with SIP terms and their inverse.

    Notes
    -----
    Agrees with pysiaf to 1 mas over each array.
    """
    turn = np.radians(reference.roll_ref_deg + array.v3_ideal_y_angle_deg)
    parity = array.v_ideal_parity
    # East and north by x and y of the ideal frame.
    rotation = np.array(
        [[parity * np.cos(turn), np.sin(turn)], [-parity * np.sin(turn), np.cos(turn)]]
    )
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.crval = [reference.ra_ref_deg, reference.dec_ref_deg]
    wcs.wcs.crpix = [array.ref_pixel, array.ref_pixel]
    scale = array.x_scale_arcsec / ARCSEC_PER_DEG
    wcs.wcs.cdelt = [scale, scale]
    wcs.wcs.pc = rotation @ distortion.linear / array.x_scale_arcsec
    wcs.sip = Sip(
        distortion.sip_a, distortion.sip_b, distortion.sip_ap, distortion.sip_bp, wcs.wcs.crpix
    )
    wcs.wcs.set()
    return wcs


def pixel_areas_arcsec2(array: Array, distortion: Distortion) -> FloatArray:
    """Return the solid angle of every pixel of an array.

    Returns
    -------
    ndarray of float64, shape (n_pixels, n_pixels)
        [arcsec^2].

    Notes
    -----
    The determinant of the derivative of the ideal frame; that it lies in a tangent plane matters
    by 1e-7 within an array.
    """
    offsets = np.arange(array.n_pixels) - (array.ref_pixel - 1.0)
    powers = np.vander(offsets, _DEGREE + 1, increasing=True)
    slopes = np.zeros_like(powers)
    slopes[:, 1:] = powers[:, :-1] * np.arange(1, _DEGREE + 1)
    # Rows of the image are v, columns u.
    derivatives = [
        (powers @ sip.T @ slopes.T, slopes @ sip.T @ powers.T)
        for sip in (distortion.sip_a, distortion.sip_b)
    ]
    (a_u, a_v), (b_u, b_v) = derivatives
    area = (1.0 + a_u) * (1.0 + b_v) - a_v * b_u
    return np.asarray(abs(float(np.linalg.det(distortion.linear))) * area)

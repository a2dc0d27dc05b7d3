"""Seeded photometry of a simulated sky, as SExtractor's dual-image mode would give it.

The model: a source of magnitude M, at d along the field's axis, measured at epoch e by array A or
B, reads

    m = M + variation_e + [array in A] offset_ab - 1/2 o_e k d + time_e + noise

where o_e = +1 when module B lies towards +d. The gradient is fixed to the detectors,
G_A(V) = G_B(V) = -1/2 k V with V along the line from A to B, so that later minus earlier is
k d + offset_ab where B saw a source first and k d - offset_ab where A did (Ma et al. 2024,
Eq. 9-10).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from calreg.flags import DetectionFlag
from calreg.science.sky.geometry import sky_from_tangent_plane
from calreg.simulation import programme as jwidf
from calreg.simulation.sky import BRIGHT_LIMIT_MAG
from calreg.units import (
    ARCSEC_PER_DEG,
    MAG_PER_RELATIVE_FLUX,
    ab_flux_ujy,
    ab_mag,
    flux_divisor,
    surface_brightness_to_ujy,
)

if TYPE_CHECKING:
    from calreg.domain import BoolArray, IntArray
    from calreg.simulation.programme import TrueCoefficients
    from calreg.simulation.sky import Rectangle, Sky
    from calreg.units import (
        FloatArray,
    )

STERADIAN_PER_ARCSEC2 = float(np.radians(1.0 / ARCSEC_PER_DEG) ** 2)

MOSAIC_SCALE_ARCSEC = 0.06
"""Pixel scale of the mosaics (paper, section 2)."""

MOSAIC_PIXAR_SR = MOSAIC_SCALE_ARCSEC**2 * STERADIAN_PER_ARCSEC2

MOSAIC_CRPIX = (3000.5, 1300.5)
"""Grid that all mosaics share (paper, section 2): TAN about the field centre, x along the axis."""

MOSAIC_Y_PA_DEG = jwidf.AXIS_PA_DEG + 90.0
"""Position angle of the grid's y axis; x is 90 deg clockwise of it, as on the sky."""

SN_AT_LIMIT = 110.0
"""Signal-to-noise ratio at 22 mag in `_REFERENCE_TIME_S`; the paper has about 100."""

_REFERENCE_TIME_S = 2835.0
_SKY_FRACTION = 0.6
"""Share of the variance at 22 mag that is the sky's; the rest is the source's photon noise."""

_N_SPURIOUS = 3
_CENTROID_MAS = 60.0
"""Centroid error times S/N of faint sources [mas]."""

_MAD_PER_SIGMA = 0.6744897501960817
_ARCMIN_PER_MAS = 1.0 / 60000.0
_AUTO_RATIO = 1.04
"""Mean of FLUX_AUTO over FLUX_ISO."""

NO_MAG = 99.0
"""What SExtractor writes where a flux is not positive."""

_MEASURE_STREAM, _SPURIOUS_STREAM = 10, 11


@dataclass(frozen=True)
class SimulatedDetections:
    """SExtractor's columns for one mosaic in dual-image mode; arrays of shape (n_rows,).

    Attributes
    ----------
    number : ndarray of int64
        NUMBER; the same source in all epochs of a patch.
    source : ndarray of int64
        Row of the source in the simulated sky, -1 for noise: the truth behind the row.
    x_fits, y_fits, xwin_fits, ywin_fits : ndarray of float64
        1-based pixels of the mosaic grid, from the detection image and from the measured one.
    ra_deg, dec_deg, ra_win_deg, dec_win_deg : ndarray of float64
        The same on the sky, ICRS [deg].
    flux_iso, flux_iso_err, flux_auto, flux_auto_err : ndarray of float64
        Sums of pixels in MJy/sr; 0 where the measured mosaic has no data.
    mag_iso, mag_iso_err, mag_auto, mag_auto_err : ndarray of float64
        AB; `NO_MAG` where the flux is not positive.
    """

    number: IntArray
    source: IntArray
    x_fits: FloatArray
    y_fits: FloatArray
    xwin_fits: FloatArray
    ywin_fits: FloatArray
    ra_deg: FloatArray
    dec_deg: FloatArray
    ra_win_deg: FloatArray
    dec_win_deg: FloatArray
    flux_iso: FloatArray
    flux_iso_err: FloatArray
    mag_iso: FloatArray
    mag_iso_err: FloatArray
    flux_auto: FloatArray
    flux_auto_err: FloatArray
    mag_auto: FloatArray
    mag_auto_err: FloatArray
    flags: IntArray


@dataclass(frozen=True)
class View:
    """One mosaic as the measurement sees it.

    Attributes
    ----------
    epoch_index, band_index, array_index : int
        Counted from 0; with the seed they select the noise.
    side : int
        +1 when module B lies towards +d, else -1.
    detected_within, measured_within : Rectangle
        Outline of the detection image and of the measured one.
    """

    seed: int
    epoch_index: int
    band_index: int
    array_index: int
    band: str
    is_module_a: bool
    side: int
    exposure_time_s: float
    detected_within: Rectangle
    measured_within: Rectangle


@dataclass(frozen=True)
class RawPhotometry:
    """Photometry of one mosaic before any calibration error, the same for every context.

    Attributes
    ----------
    xi_arcmin, eta_arcmin, xi_win_arcmin, eta_win_arcmin : ndarray of float64, shape (n_rows,)
        Positions about the field centre from the detection image and the measured one [arcmin].
    """

    source: IntArray
    xi_arcmin: FloatArray = field(repr=False)
    eta_arcmin: FloatArray = field(repr=False)
    xi_win_arcmin: FloatArray = field(repr=False)
    eta_win_arcmin: FloatArray = field(repr=False)
    flux_ujy: FloatArray = field(repr=False)
    flux_err_ujy: FloatArray = field(repr=False)
    flux_auto_ujy: FloatArray = field(repr=False)
    flux_auto_err_ujy: FloatArray = field(repr=False)
    flags: IntArray = field(repr=False)


def mosaic_pixels(xi_arcmin: FloatArray, eta_arcmin: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return 1-based pixels of the mosaic grid."""
    angle = np.radians(MOSAIC_Y_PA_DEG)
    pixels_per_arcmin = 60.0 / MOSAIC_SCALE_ARCSEC
    along_x = eta_arcmin * np.sin(angle) - xi_arcmin * np.cos(angle)
    along_y = eta_arcmin * np.cos(angle) + xi_arcmin * np.sin(angle)
    return (
        MOSAIC_CRPIX[0] + pixels_per_arcmin * along_x,
        MOSAIC_CRPIX[1] + pixels_per_arcmin * along_y,
    )


def along_field(xi_arcmin: FloatArray, eta_arcmin: FloatArray) -> FloatArray:
    """Return d, the coordinate along the field's axis [arcmin]."""
    angle = np.radians(jwidf.AXIS_PA_DEG)
    return np.asarray(xi_arcmin * np.sin(angle) + eta_arcmin * np.cos(angle))


def true_magnitudes(sky: Sky, band_index: int, epoch_index: int) -> FloatArray:
    """Return true magnitudes in one epoch; variables cycle through (-1, 0, 1) x amplitude."""
    phase = (epoch_index + np.arange(sky.xi_arcmin.size)) % 3 - 1.0
    return np.asarray(sky.mag[:, band_index] + sky.variability_mag * phase)


def measure(sky: Sky, view: View) -> RawPhotometry:
    """Measure all sources of the detection image on one mosaic.

    Returns
    -------
    RawPhotometry
        Rows in order of y on the mosaic grid, as many and the same for every epoch of a patch; some
        are noise peaks.

    Notes
    -----
    ``variance = (f22 / SN_AT_LIMIT)^2 (0.6 + 0.4 f / f22) t_ref / t`` is what the catalog states;
    positions and fluxes scatter further, by the paper's Table 1 and by `jwidf.FLOOR_MAG`.
    """
    rng = np.random.default_rng(
        [view.seed, _MEASURE_STREAM, view.epoch_index, view.band_index, view.array_index]
    )
    rows, xi, eta = _detected(sky, view)
    # Drawn for all sources, so that the noise of one does not depend on which others are detected.
    noise = rng.standard_normal((5, sky.xi_arcmin.size + _N_SPURIOUS))[:, rows]
    is_real = rows < sky.xi_arcmin.size
    source = np.where(is_real, rows, -1)
    true_ujy = np.zeros(rows.size)
    magnitudes = true_magnitudes(sky, view.band_index, view.epoch_index)
    true_ujy[is_real] = ab_flux_ujy(magnitudes[rows[is_real]])
    limit_ujy = float(ab_flux_ujy(np.array(BRIGHT_LIMIT_MAG)))
    relative_variance = _SKY_FRACTION + (1.0 - _SKY_FRACTION) * true_ujy / limit_ujy
    err = (limit_ujy / SN_AT_LIMIT) * np.sqrt(
        relative_variance * _REFERENCE_TIME_S / view.exposure_time_s
    )
    flux = true_ujy * flux_divisor(jwidf.FLOOR_MAG[view.band] * noise[0]) + err * noise[1]
    auto = _AUTO_RATIO * flux + 0.5 * err * noise[2]
    xi_win, eta_win = _centroids(view, xi, eta, true_ujy / err, noise[3:])
    is_covered = view.measured_within.contains(xi, eta)
    flags = _flags(sky, source, is_covered)
    return RawPhotometry(
        source=source,
        xi_arcmin=xi,
        eta_arcmin=eta,
        xi_win_arcmin=np.where(is_covered, xi_win, xi),
        eta_win_arcmin=np.where(is_covered, eta_win, eta),
        flux_ujy=np.where(is_covered, flux, 0.0),
        flux_err_ujy=np.where(is_covered, err, 0.0),
        flux_auto_ujy=np.where(is_covered, auto, 0.0),
        flux_auto_err_ujy=np.where(is_covered, 1.15 * err, 0.0),
        flags=flags,
    )


def calibrate(raw: RawPhotometry, view: View, truth: TrueCoefficients) -> SimulatedDetections:
    """Add the calibration errors of one context to photometry."""
    time_mag = truth.time_mag[view.epoch_index] if view.epoch_index < len(truth.time_mag) else 0.0
    d_arcmin = along_field(raw.xi_arcmin, raw.eta_arcmin)
    offset_mag = (
        (truth.offset_ab_mag if view.is_module_a else 0.0)
        - 0.5 * view.side * truth.slope_mag_arcmin * d_arcmin
        + time_mag
    )
    factor = flux_divisor(offset_mag)
    to_sums = 1.0 / surface_brightness_to_ujy(MOSAIC_PIXAR_SR)
    mag_iso, mag_iso_err = _magnitude_columns(raw.flux_ujy * factor, raw.flux_err_ujy * factor)
    mag_auto, mag_auto_err = _magnitude_columns(
        raw.flux_auto_ujy * factor, raw.flux_auto_err_ujy * factor
    )
    x_fits, y_fits = mosaic_pixels(raw.xi_arcmin, raw.eta_arcmin)
    xwin_fits, ywin_fits = mosaic_pixels(raw.xi_win_arcmin, raw.eta_win_arcmin)
    centre = (jwidf.FIELD_RA_DEG, jwidf.FIELD_DEC_DEG)
    ra_deg, dec_deg = sky_from_tangent_plane(raw.xi_arcmin, raw.eta_arcmin, *centre)
    ra_win_deg, dec_win_deg = sky_from_tangent_plane(raw.xi_win_arcmin, raw.eta_win_arcmin, *centre)
    return SimulatedDetections(
        number=np.arange(1, raw.source.size + 1, dtype=np.int64),
        source=raw.source,
        x_fits=x_fits,
        y_fits=y_fits,
        xwin_fits=xwin_fits,
        ywin_fits=ywin_fits,
        ra_deg=ra_deg,
        dec_deg=dec_deg,
        ra_win_deg=ra_win_deg,
        dec_win_deg=dec_win_deg,
        flux_iso=raw.flux_ujy * factor * to_sums,
        flux_iso_err=raw.flux_err_ujy * factor * to_sums,
        mag_iso=mag_iso,
        mag_iso_err=mag_iso_err,
        flux_auto=raw.flux_auto_ujy * factor * to_sums,
        flux_auto_err=raw.flux_auto_err_ujy * factor * to_sums,
        mag_auto=mag_auto,
        mag_auto_err=mag_auto_err,
        flags=raw.flags,
    )


def _detected(sky: Sky, view: View) -> tuple[IntArray, FloatArray, FloatArray]:
    """Return rows of the sky (then of noise peaks) within the detection image, in order of y."""
    rng = np.random.default_rng([view.seed, _SPURIOUS_STREAM, view.band_index, view.array_index])
    box = view.detected_within
    u = rng.uniform(box.low[0], box.high[0], size=_N_SPURIOUS)
    v = rng.uniform(box.low[1], box.high[1], size=_N_SPURIOUS)
    noise_xi, noise_eta = box.points(u, v)
    xi = np.concatenate([sky.xi_arcmin, noise_xi])
    eta = np.concatenate([sky.eta_arcmin, noise_eta])
    rows = np.flatnonzero(box.contains(xi, eta))
    rows = rows[np.argsort(mosaic_pixels(xi[rows], eta[rows])[1], kind="stable")]
    return rows, xi[rows], eta[rows]


def _centroids(
    view: View, xi: FloatArray, eta: FloatArray, sn: FloatArray, noise: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Scatter positions as in the paper's Table 1; even epochs carry its offset."""
    table = jwidf.ASTROMETRY[view.band]
    per_measurement = 1.0 / (_MAD_PER_SIGMA * np.sqrt(2.0))
    faint_mas = _CENTROID_MAS / np.maximum(sn, 3.0)
    has_offset = view.epoch_index % 2 == 1
    moved = []
    for axis, (position, offset_mas, mad_mas) in enumerate(
        ((xi, table.ra_mas, table.ra_mad_mas), (eta, table.dec_mas, table.dec_mad_mas))
    ):
        scatter_mas = np.hypot(mad_mas * per_measurement, faint_mas) * noise[axis]
        shift_mas = scatter_mas + (offset_mas if has_offset else 0.0)
        moved.append(position + _ARCMIN_PER_MAS * shift_mas)
    return moved[0], moved[1]


def _flags(sky: Sky, source: IntArray, is_covered: BoolArray) -> IntArray:
    """Return SExtractor's flags."""
    flags = np.zeros(source.size, dtype=np.int64)
    is_blended = np.append(sky.is_blended, False)[source]
    flags[is_blended] |= int(DetectionFlag.NEIGHBOUR | DetectionFlag.BLENDED)
    flags[~is_covered] |= int(DetectionFlag.APERTURE_INCOMPLETE | DetectionFlag.ISOPHOTE_INCOMPLETE)
    return flags


def _magnitude_columns(flux_ujy: FloatArray, err_ujy: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return AB magnitudes and errors as SExtractor writes them."""
    is_positive = flux_ujy > 0.0
    safe = np.where(is_positive, flux_ujy, 1.0)
    return (
        np.where(is_positive, ab_mag(safe), NO_MAG),
        np.where(is_positive, MAG_PER_RELATIVE_FLUX * err_ujy / safe, NO_MAG),
    )

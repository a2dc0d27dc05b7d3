"""What a simulated exposure sees: stars and galaxies on the sky, with an array's errors in flux."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from calreg.instruments import load_instrument
from calreg.science.sky.coverage import focal_plane
from calreg.science.sky.geometry import sky_from_tangent_plane
from calreg.science.sky.pointing import Boresight
from calreg.simulation import programme as jwidf
from calreg.simulation.profiles import Gaussians, exponential_disc, psf
from calreg.simulation.sources import along_field, true_magnitudes
from calreg.units import ab_flux_ujy, flux_divisor

if TYPE_CHECKING:
    from astropy.wcs import WCS

    from calreg.domain import BoolArray
    from calreg.simulation.exposures import SimulatedExposure
    from calreg.simulation.programme import TrueCoefficients
    from calreg.simulation.sky import Sky
    from calreg.units import FloatArray

_SCENE_STREAM = 30
_STAR_SHARE = 0.3
_RADIUS_AT_22_ARCSEC = 0.22
_RADIUS_PER_MAG_DEX = -0.07
_RADIUS_SCATTER_DEX = 0.12
_MIN_AXIS_RATIO = 0.35

_N_SATURATED = 6
_SATURATED_MAG = (14.5, 16.0)
"""Stars that saturate in their first frame."""

_FIELD_HALF_ARCMIN = (2.6, 1.0)
_STEP_PX = 0.5
_ARCSEC_PER_ARCMIN = 60.0


class GradientFrame(StrEnum):
    """What an injected gradient is fixed to."""

    SKY = "sky"
    DETECTOR = "detector"


@dataclass(frozen=True)
class Scene:
    """Stars and galaxies; arrays have shape (n_sources,) unless stated.

    Attributes
    ----------
    sky : Sky
        The first sources, in this order; stars that saturate follow.
    xi_arcmin, eta_arcmin : ndarray of float64
        Tangent-plane position about the field centre, east and north [arcmin].
    saturated_mag : ndarray of float64, shape (n_saturated,)
        AB magnitudes of the stars that saturate, in every band.
    half_light_arcsec : ndarray of float64
        Half-light radius along the major axis [arcsec]; 0 for stars.
    pa_deg : ndarray of float64
        Position angle of the major axis, east of north [deg].
    """

    sky: Sky = field(repr=False)
    xi_arcmin: FloatArray = field(repr=False)
    eta_arcmin: FloatArray = field(repr=False)
    saturated_mag: FloatArray = field(repr=False)
    is_star: BoolArray = field(repr=False)
    half_light_arcsec: FloatArray = field(repr=False)
    axis_ratio: FloatArray = field(repr=False)
    pa_deg: FloatArray = field(repr=False)

    def positions(self) -> tuple[FloatArray, FloatArray]:
        """Return ICRS (ra, dec) [deg]."""
        centre = (jwidf.FIELD_RA_DEG, jwidf.FIELD_DEC_DEG)
        return sky_from_tangent_plane(self.xi_arcmin, self.eta_arcmin, *centre)

    def magnitudes(self, band_index: int, epoch_index: int) -> FloatArray:
        """Return true AB magnitudes in one band and epoch, both counted from 0."""
        return np.concatenate(
            [true_magnitudes(self.sky, band_index, epoch_index), self.saturated_mag]
        )


def draw_scene(seed: int, sky: Sky) -> Scene:
    """Make stars and galaxies of a sky's sources.

    Returns
    -------
    Scene
        SIMULATED: three in ten are stars; galaxies are exponential discs, the faint ones smaller.
    """
    rng = np.random.default_rng([seed, _SCENE_STREAM])
    n = sky.xi_arcmin.size + _N_SATURATED
    half = np.array(_FIELD_HALF_ARCMIN)[:, np.newaxis]
    along, across = rng.uniform(-half, half, size=(2, _N_SATURATED))
    turn = np.radians(90.0 - jwidf.AXIS_PA_DEG)
    is_star = rng.uniform(size=n) < _STAR_SHARE
    is_star[sky.xi_arcmin.size :] = True
    mean_mag = np.append(sky.mag.mean(axis=1), np.full(_N_SATURATED, np.nan))
    scatter = _RADIUS_SCATTER_DEX * rng.standard_normal(n)
    radius = _RADIUS_AT_22_ARCSEC * 10.0 ** (_RADIUS_PER_MAG_DEX * (mean_mag - 22.0) + scatter)
    return Scene(
        sky=sky,
        xi_arcmin=np.append(sky.xi_arcmin, along * np.cos(turn) - across * np.sin(turn)),
        eta_arcmin=np.append(sky.eta_arcmin, along * np.sin(turn) + across * np.cos(turn)),
        saturated_mag=rng.uniform(*_SATURATED_MAG, size=_N_SATURATED),
        is_star=is_star,
        half_light_arcsec=np.where(is_star, 0.0, radius),
        axis_ratio=rng.uniform(_MIN_AXIS_RATIO, 1.0, size=n),
        pa_deg=rng.uniform(0.0, 180.0, size=n),
    )


def injected_offset_mag(
    scene: Scene, exposure: SimulatedExposure, truth: TrueCoefficients, frame: GradientFrame
) -> FloatArray:
    """Return the magnitudes that an array reads too faint, at every source.

    Returns
    -------
    ndarray of float64, shape (n_sources,)
        [mag]; positive where the array reads too faint.

    Notes
    -----
    ``[array in A] Delta_AB - 1/2 k w``, as in the simulated catalogs. With the frame SKY, w is the
    coordinate along the field, folded with the roll, of the source: the paper's model, exactly.
    With DETECTOR it is the same line from A to B in the focal plane, so that dithers move it.
    """
    epoch = exposure.epoch
    time_mag = truth.time_mag[epoch.number - 1] if epoch.number <= len(truth.time_mag) else 0.0
    if frame is GradientFrame.SKY:
        folded = epoch.side * along_field(scene.xi_arcmin, scene.eta_arcmin)
    else:
        folded = _from_a_to_b_arcmin(scene, exposure)
    constant = (truth.offset_ab_mag if exposure.array.module == "A" else 0.0) + time_mag
    return np.asarray(constant - 0.5 * truth.slope_mag_arcmin * folded)


def _from_a_to_b_arcmin(scene: Scene, exposure: SimulatedExposure) -> FloatArray:
    """Return focal-plane positions along the line from module A to B, 0 in its middle [arcmin]."""
    first, second = (load_instrument().arrays[name] for name in ("nrcalong", "nrcblong"))
    line = np.array(
        [second.v2_ref_arcsec - first.v2_ref_arcsec, second.v3_ref_arcsec - first.v3_ref_arcsec]
    )
    line /= np.hypot(*line)
    pointing = Boresight(exposure.ra_v1_deg, exposure.dec_v1_deg, exposure.pa_v3_deg)
    v2, v3 = focal_plane(*scene.positions(), pointing)
    middle_v2, middle_v3 = jwidf.MODULE_MIDDLE_V2_V3_ARCSEC
    along = line[0] * (v2 - middle_v2) + line[1] * (v3 - middle_v3)
    return np.asarray(along / _ARCSEC_PER_ARCMIN)


def project_scene(
    scene: Scene, exposure: SimulatedExposure, wcs: WCS, flux_ujy: FloatArray
) -> Gaussians:
    """Put stars and galaxies onto a detector.

    Parameters
    ----------
    flux_ujy : ndarray of float64, shape (n_sources,)
        Total flux as the array reads it [uJy].

    Returns
    -------
    Gaussians
        Flux [uJy]; only of sources on the detector or within a stamp of it.

    Notes
    -----
    Shapes are turned and scaled by the derivative of the world coordinates at each source.
    """
    ra, dec = scene.positions()
    margin = 200.0
    n_pixels = exposure.array.n_pixels
    rough_x, rough_y = wcs.wcs_world2pix(ra, dec, 0)
    is_near = (np.abs(rough_x - 0.5 * n_pixels) < 0.5 * n_pixels + margin) & (
        np.abs(rough_y - 0.5 * n_pixels) < 0.5 * n_pixels + margin
    )
    near = np.flatnonzero(is_near)
    x, y = wcs.all_world2pix(ra[near], dec[near], 0, tolerance=1e-7)
    shapes = _sky_covariances(scene, exposure.band.name, near)
    inverse = np.linalg.inv(_sky_derivatives(wcs, x, y))
    # (n, 1, 2, 2) turns (n, n_components, 2, 2) from arcsec to pixels.
    turned = inverse[:, np.newaxis] @ shapes.covariances @ inverse.mT[:, np.newaxis]
    flux = flux_ujy[near][:, np.newaxis] * shapes.weights
    is_used = shapes.weights > 0.0
    return Gaussians(
        x=np.broadcast_to(x[:, np.newaxis], flux.shape)[is_used],
        y=np.broadcast_to(y[:, np.newaxis], flux.shape)[is_used],
        flux=flux[is_used],
        var_x=turned[..., 0, 0][is_used],
        var_y=turned[..., 1, 1][is_used],
        cov_xy=turned[..., 0, 1][is_used],
    )


@dataclass(frozen=True)
class _Shapes:
    """Mixtures on the sky: weights (n, m), covariances (n, m, 2, 2) [arcsec^2] east and north."""

    weights: FloatArray
    covariances: FloatArray


def _sky_covariances(scene: Scene, band: str, rows: np.ndarray) -> _Shapes:
    """Return the mixtures of sources, seen through the telescope."""
    point, disc = psf(band), exponential_disc()
    radius, ratio = scene.half_light_arcsec[rows], scene.axis_ratio[rows]
    pa = np.radians(scene.pa_deg[rows])
    major = np.stack([np.sin(pa), np.cos(pa)], axis=-1)
    minor = np.stack([np.cos(pa), -np.sin(pa)], axis=-1)
    shape = radius[:, np.newaxis, np.newaxis] ** 2 * (
        major[:, :, np.newaxis] * major[:, np.newaxis, :]
        + ratio[:, np.newaxis, np.newaxis] ** 2 * minor[:, :, np.newaxis] * minor[:, np.newaxis, :]
    )
    covariances = disc.variances[:, np.newaxis, np.newaxis, np.newaxis] * shape[
        :, np.newaxis, np.newaxis
    ] + point.variances[:, np.newaxis, np.newaxis] * np.eye(2)
    weights = np.broadcast_to(
        disc.weights[:, np.newaxis] * point.weights, (rows.size, *covariances.shape[1:3])
    ).copy()
    # A star needs the telescope's Gaussians once.
    is_star = scene.is_star[rows]
    weights[is_star] = 0.0
    weights[is_star, 0] = point.weights
    return _Shapes(weights.reshape(rows.size, -1), covariances.reshape(rows.size, -1, 2, 2))


def _sky_derivatives(wcs: WCS, x: FloatArray, y: FloatArray) -> FloatArray:
    """Return derivatives (n, 2, 2) of (east, north) [arcsec] by (x, y) [pixels]."""
    columns = []
    for step_x, step_y in ((_STEP_PX, 0.0), (0.0, _STEP_PX)):
        ahead = wcs.all_pix2world(x + step_x, y + step_y, 0)
        behind = wcs.all_pix2world(x - step_x, y - step_y, 0)
        north = (ahead[1] - behind[1]) / (2.0 * _STEP_PX)
        east = (ahead[0] - behind[0] + 180.0) % 360.0 - 180.0
        cos_dec = np.cos(np.radians(0.5 * (ahead[1] + behind[1])))
        columns.append(3600.0 * np.stack([cos_dec * east / (2.0 * _STEP_PX), north], axis=-1))
    return np.stack(columns, axis=-1)


def apparent_flux_ujy(
    scene: Scene, exposure: SimulatedExposure, band_index: int, offset_mag: FloatArray
) -> FloatArray:
    """Return the flux of every source as an array reads it.

    Returns
    -------
    ndarray of float64, shape (n_sources,)
        [uJy].
    """
    magnitudes = scene.magnitudes(band_index, exposure.epoch.number - 1)
    return np.asarray(ab_flux_ujy(magnitudes) * flux_divisor(offset_mag))

"""Simulate the pixels of NIRCam exposures: photons, readout, stripes, background and bad pixels."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from calreg.flags import DO_NOT_USE, SATURATED
from calreg.instruments import load_instrument
from calreg.science.imaging.cleaning import AMPLIFIER_COLUMNS
from calreg.science.sky.pointing import ReferencePoint
from calreg.simulation import programme as jwidf
from calreg.simulation.distortion import Distortion, distorted_wcs, pixel_areas_arcsec2
from calreg.simulation.profiles import draw_gaussians
from calreg.simulation.scene import (
    GradientFrame,
    apparent_flux_ujy,
    injected_offset_mag,
    project_scene,
)
from calreg.simulation.sources import STERADIAN_PER_ARCSEC2
from calreg.units import MEGAJANSKY_IN_UJY, flux_divisor

if TYPE_CHECKING:
    from astropy.wcs import WCS
    from numpy.typing import NDArray

    from calreg.instruments import Array
    from calreg.simulation.exposures import SimulatedExposure
    from calreg.simulation.programme import TrueCoefficients
    from calreg.simulation.scene import Scene
    from calreg.units import FloatArray

REFERENCE_PIXEL = 1 << 31
"""DQ bit of the border that sees no light (jwst, data quality flags)."""

BORDER_PX = 4
"""Rows and columns of reference pixels along each edge (JWST User Documentation, NIRCam Detector
Overview)."""

_GAIN_E_PER_DN = {"SW": 2.05, "LW": 1.82}
_READ_NOISE_E = {"SW": 11.3, "LW": 9.5}
"""Of one frame: what two frames differ by, over the root of 2."""

_FULL_WELL_E = {"SW": 58_000.0, "LW": 62_000.0}
# The three above are near the means of JWST User Documentation, NIRCam Detector Performance.

_SKY_MJY_SR = {"F150W": 0.17, "F200W": 0.15, "F356W": 0.11, "F444W": 0.27}
_PEDESTAL_MJY_SR = {"SW": 0.012, "LW": 0.003}
_GRADIENT_SHARE = 0.04
_STRIPE_E_S = 0.006
_FLAT_ERROR = 0.002
_BAD_SHARE = 0.004
# SIMULATED: a dark sky near the ecliptic pole; the scatter of pedestals between exposures; the
# background's change from edge to edge; the rms of 1/f stripes; the error of the flat field from
# pixel to pixel; the share of bad pixels.

_PIXEL_STREAM, _BACKGROUND_STREAM, _ARRAY_STREAM = 40, 41, 42
_GROUP_TIME_S = jwidf.FRAME_TIME_S * (jwidf.FRAMES_PER_GROUP + jwidf.FRAMES_DROPPED_PER_GROUP)


@dataclass(frozen=True)
class PixelSettings:
    """What is simulated.

    Attributes
    ----------
    has_noise : bool
        False: what the mean of many exposures would be, without bad pixels; errors stay.
    stripes_e_s : float
        Rms of the 1/f stripes [e-/s].
    """

    seed: int = 1
    gradient: GradientFrame = GradientFrame.SKY
    has_noise: bool = True
    stripes_e_s: float = _STRIPE_E_S


@dataclass(frozen=True)
class SimulatedPixels:
    """The planes of a `cal` exposure, of shape (ny, nx), and where they look.

    Attributes
    ----------
    exposure : SimulatedExposure
        With the footprint of the distorted array.
    sci, err : ndarray of float32
        [MJy/sr]; NaN in pixels without data.
    dq : ndarray of uint32
        Bits of the jwst pipeline.
    area : ndarray of float32
        Solid angle relative to PIXAR_SR.
    var_poisson, var_rnoise, var_flat : ndarray of float32
        [(MJy/sr)^2].
    """

    exposure: SimulatedExposure
    wcs: WCS = field(repr=False)
    sci: NDArray[np.float32] = field(repr=False)
    err: NDArray[np.float32] = field(repr=False)
    dq: NDArray[np.uint32] = field(repr=False)
    area: NDArray[np.float32] = field(repr=False)
    var_poisson: NDArray[np.float32] = field(repr=False)
    var_rnoise: NDArray[np.float32] = field(repr=False)
    var_flat: NDArray[np.float32] = field(repr=False)


def simulate_pixels(
    exposure: SimulatedExposure,
    scene: Scene,
    truth: TrueCoefficients,
    band_index: int,
    distortion: Distortion,
    settings: PixelSettings,
) -> SimulatedPixels:
    """Simulate one exposure.

    Parameters
    ----------
    exposure : SimulatedExposure
        Reduced with a context: with its PHOTMJSR.
    truth : TrueCoefficients
        What the array's photometry is wrong by.

    Notes
    -----
    The surface brightness S of sources and sky, with the array's offset, gives S g / PHOTMJSR
    electrons per second, g the gain. Charge is Poisson over the time until a pixel saturates, the
    readout adds the error of a slope through equally spaced groups,
    ``12 sigma^2 / (n (n^2 - 1) t^2)``. The variances are those of the true signal; the pipeline
    has to estimate them from the noisy one.
    """
    array, band = exposure.array, exposure.band
    reference = ReferencePoint(exposure.ra_ref_deg, exposure.dec_ref_deg, exposure.roll_ref_deg)
    wcs = distorted_wcs(array, distortion, reference)
    areas = pixel_areas_arcsec2(array, distortion)
    offset = injected_offset_mag(scene, exposure, truth, settings.gradient)
    flux = apparent_flux_ujy(scene, exposure, band_index, offset)
    image = draw_gaussians(project_scene(scene, exposure, wcs, flux), areas.shape)
    image /= (MEGAJANSKY_IN_UJY * STERADIAN_PER_ARCSEC2 * areas).astype(np.float32)
    # Sky is light, too: the array reads it too faint by its offset.
    constant_mag = truth.offset_ab_mag if array.module == "A" else 0.0
    image += np.float32(_SKY_MJY_SR[band.name] * flux_divisor(constant_mag))
    detector = _Detector.of(exposure, settings)
    planes = detector.expose(image)
    return SimulatedPixels(
        exposure=replace(exposure, footprint=_footprint(array, wcs)),
        wcs=wcs,
        area=(areas * (STERADIAN_PER_ARCSEC2 / exposure.pixar_sr)).astype(np.float32),
        **planes,
    )


def _footprint(array: Array, wcs: WCS) -> FloatArray:
    """Return the corners of a distorted array, ICRS (ra, dec) [deg]."""
    low, high = -0.5, array.n_pixels - 0.5
    corners = wcs.all_pix2world([low, high, high, low], [low, low, high, high], 0)
    return np.column_stack(corners)


@dataclass(frozen=True)
class _Detector:
    """One array during one exposure."""

    exposure: SimulatedExposure
    settings: PixelSettings
    rng: np.random.Generator
    background_rng: np.random.Generator
    array_rng: np.random.Generator

    @classmethod
    def of(cls, exposure: SimulatedExposure, settings: PixelSettings) -> _Detector:
        """Return the array with generators for noise, for background, and for its own faults."""
        place = list(load_instrument().arrays).index(exposure.array.name)
        key = (exposure.epoch.number, exposure.config, exposure.dither, place)
        return cls(
            exposure,
            settings,
            np.random.default_rng([settings.seed, _PIXEL_STREAM, *key]),
            np.random.default_rng([settings.seed, _BACKGROUND_STREAM, *key]),
            np.random.default_rng([settings.seed, _ARRAY_STREAM, place]),
        )

    @property
    def _electrons(self) -> float:
        """Electrons per second for 1 MJy/sr."""
        return _GAIN_E_PER_DN[self.exposure.array.channel] / self.exposure.photmjsr

    def expose(self, image: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """Return the planes of an exposure to a surface brightness [MJy/sr]."""
        has_noise = self.settings.has_noise
        if has_noise:
            image = image * self._flat_error(image.shape)
        # From here on electrons per second.
        image = image * np.float32(self._electrons)
        times, var_rnoise = self._ramp(image)
        sci = image + self._pedestal(image.shape)
        if has_noise:
            sci += self.rng.poisson(image * times).astype(np.float32) / times - image
            sci += np.sqrt(var_rnoise) * self.rng.standard_normal(image.shape, dtype=np.float32)
            sci += self._stripes(image.shape)
        scale = np.float32(1.0 / self._electrons)
        planes = {
            "var_poisson": image / times * scale**2,
            "var_rnoise": var_rnoise * scale**2,
            "var_flat": np.square(np.float32(_FLAT_ERROR) * image * scale),
        }
        planes["err"] = np.sqrt(sum(planes.values()))
        dq = self._quality(image)
        is_lost = (dq & DO_NOT_USE) > 0
        sci *= scale
        for plane in (sci, *planes.values()):
            plane[is_lost] = np.nan
        return {"sci": sci, "dq": dq, **planes}

    def _flat_error(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return the error of the flat field, the same in all exposures of the array."""
        error = self.array_rng.standard_normal(shape, dtype=np.float32)
        error *= np.float32(_FLAT_ERROR)
        error += np.float32(1.0)
        return error

    def _ramp(self, image: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return for how long [s] each pixel counts, and the variance of its readout [(e-/s)^2]."""
        channel, n_groups = self.exposure.array.channel, self.exposure.epoch.n_groups
        sigma_e = _READ_NOISE_E[channel] / np.sqrt(jwidf.FRAMES_PER_GROUP)
        span_s = self.exposure.epoch.integration_s
        times = np.full(image.shape, span_s, dtype=np.float32)
        variance = np.full(image.shape, _slope_variance(sigma_e, n_groups), dtype=np.float32)
        well = _FULL_WELL_E[channel]
        is_full = image > well / span_s
        n_left = np.floor(well / (image[is_full] * _GROUP_TIME_S))
        is_ramp = n_left >= 2.0
        times[is_full] = np.where(is_ramp, n_left * _GROUP_TIME_S, jwidf.FRAME_TIME_S)
        # One frame, less its reset: no slope, a difference.
        variance[is_full] = np.where(
            is_ramp,
            _slope_variance(sigma_e, np.maximum(n_left, 2.0)),
            2.0 * _READ_NOISE_E[channel] ** 2 / jwidf.FRAME_TIME_S**2,
        )
        return times, variance

    def _stripes(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return 1/f noise along the rows of each amplifier [e-/s]."""
        stripes = np.zeros(shape, dtype=np.float32)
        n_rows = shape[0]
        frequency = np.fft.rfftfreq(n_rows)
        amplitude = np.zeros(frequency.size)
        amplitude[1:] = frequency[1:] ** -0.5
        for start in range(0, shape[1], AMPLIFIER_COLUMNS):
            phases = self.background_rng.standard_normal((2, frequency.size))
            series = np.fft.irfft(amplitude * (phases[0] + 1j * phases[1]), n_rows)
            series *= self.settings.stripes_e_s / np.std(series)
            stripes[:, start : start + AMPLIFIER_COLUMNS] = series[:, np.newaxis]
        return stripes

    def _pedestal(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return the signal of bias and stray light: a level and a gradient [e-/s]."""
        array, band = self.exposure.array, self.exposure.band
        level = _PEDESTAL_MJY_SR[array.channel] * self.background_rng.standard_normal()
        turn = self.background_rng.uniform(0.0, 2.0 * np.pi)
        slope = _GRADIENT_SHARE * _SKY_MJY_SR[band.name]
        y, x = (np.linspace(-0.5, 0.5, length) for length in shape)
        plane = level + slope * (np.cos(turn) * x + np.sin(turn) * y[:, np.newaxis])
        return np.asarray(self._electrons * plane, dtype=np.float32)

    def _quality(self, image: NDArray[np.float32]) -> NDArray[np.uint32]:
        """Return the data quality bits of an exposure to some electrons per second."""
        dq = np.zeros(image.shape, dtype=np.uint32)
        if not self.settings.has_noise:
            return dq
        is_bad = self.array_rng.uniform(size=image.shape) < _BAD_SHARE
        dq[is_bad] = DO_NOT_USE
        # A pixel that fills within the first frame has no signal at all.
        well = _FULL_WELL_E[self.exposure.array.channel]
        dq[image > well / jwidf.FRAME_TIME_S] |= np.uint32(SATURATED | DO_NOT_USE)
        is_border = np.ones(image.shape, dtype=np.bool_)
        is_border[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX] = False
        dq[is_border] = np.uint32(REFERENCE_PIXEL | DO_NOT_USE)
        return dq


def _slope_variance(sigma_e: float, n_groups: float | FloatArray) -> float | FloatArray:
    """Return the variance of a slope through groups of an error each [(e-/s)^2]."""
    denominator = n_groups * (n_groups**2 - 1.0) * _GROUP_TIME_S**2
    return 12.0 * sigma_e**2 / denominator

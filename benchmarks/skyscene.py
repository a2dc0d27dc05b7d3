"""Simulated mosaics of one patch of sky in several epochs: stars, galaxies, noise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from calreg.units import FloatArray

SKY_LEVEL = 0.4
NOISE = 0.02
"""Level and noise of a pixel; the gain makes the photons of the sources count as well."""

GAIN = 2000.0
_SKY_SLOPE = 0.05
_PSF_BETA = 2.5
_CORE_PX = 1.4


@dataclass(frozen=True)
class Scene:
    """Sources of a patch of sky.

    Attributes
    ----------
    nx, ny : int
        Pixels.
    x, y : ndarray of float64
        Centres [0-based pixels].
    flux : ndarray of float64
        Whole flux [image unit times pixels].
    core_px : ndarray of float64
        Scale of the profile [pixels], that of stars for stars.
    axis_ratio, theta_rad : ndarray of float64
        Shape.
    is_star : ndarray of bool
    """

    nx: int
    ny: int
    x: FloatArray = field(repr=False)
    y: FloatArray = field(repr=False)
    flux: FloatArray = field(repr=False)
    core_px: FloatArray = field(repr=False)
    axis_ratio: FloatArray = field(repr=False)
    theta_rad: FloatArray = field(repr=False)
    is_star: NDArray[np.bool_] = field(repr=False)


def simulate_scene(nx: int, ny: int, n_sources: int, *, seed: int = 7) -> Scene:
    """Draw sources: one in four a star, counts that double per magnitude."""
    rng = np.random.default_rng(seed)
    is_star = rng.uniform(size=n_sources) < 0.25
    size = np.where(is_star, 0.0, rng.lognormal(0.7, 0.5, n_sources))
    return Scene(
        nx=nx,
        ny=ny,
        x=rng.uniform(-2.0, nx + 1.0, n_sources),
        y=rng.uniform(-2.0, ny + 1.0, n_sources),
        flux=0.35 * rng.uniform(size=n_sources) ** -1.3,
        core_px=np.hypot(_CORE_PX, size),
        axis_ratio=np.where(is_star, 1.0, rng.uniform(0.3, 1.0, n_sources)),
        theta_rad=rng.uniform(-np.pi / 2, np.pi / 2, n_sources),
        is_star=is_star,
    )


def draw_epoch(
    scene: Scene, *, seed: int, factor: float = 1.0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return an epoch's pixels and their one sigma; `factor` multiplies the sources."""
    signal = np.zeros((scene.ny, scene.nx), dtype=np.float32)
    for i in range(scene.x.size):
        _add_profile(signal, scene, i, factor)
    rng = np.random.default_rng(seed)
    err = np.sqrt(NOISE**2 + signal / GAIN).astype(np.float32)
    signal += err * rng.standard_normal(signal.shape, dtype=np.float32)
    ramp = np.linspace(-0.5, 0.5, scene.nx, dtype=np.float32)
    signal += SKY_LEVEL * (1.0 + _SKY_SLOPE * ramp)
    return signal, err


def _add_profile(signal: NDArray[np.float32], scene: Scene, i: int, factor: float) -> None:
    """Add an elliptical Moffat profile, cut where it is far below the noise."""
    core = scene.core_px[i]
    ratio = scene.axis_ratio[i]
    peak = factor * scene.flux[i] * (_PSF_BETA - 1.0) / (np.pi * core**2 * ratio)
    half = core * np.sqrt(max((peak / (0.05 * NOISE)) ** (1.0 / _PSF_BETA), 4.0)) + 1.0
    x_low, x_high = (int(np.clip(scene.x[i] + s * half, 0, scene.nx)) for s in (-1.0, 1.0))
    y_low, y_high = (int(np.clip(scene.y[i] + s * half, 0, scene.ny)) for s in (-1.0, 1.0))
    dx = np.arange(x_low, x_high)[None, :] - scene.x[i]
    dy = np.arange(y_low, y_high)[:, None] - scene.y[i]
    cos, sin = np.cos(scene.theta_rad[i]), np.sin(scene.theta_rad[i])
    along, across = dx * cos + dy * sin, (dy * cos - dx * sin) / ratio
    profile = peak * (1.0 + (along**2 + across**2) / core**2) ** -_PSF_BETA
    signal[y_low:y_high, x_low:x_high] += profile.astype(np.float32)

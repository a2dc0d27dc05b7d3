"""Detections of one key with known truth, in arrays, for tests of the fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calreg.science.model.pairmodel import Nodes

if TYPE_CHECKING:
    from calreg.units import FloatArray


@dataclass(frozen=True)
class Truth:
    """What is injected: offsets [mag], slope [mag / arcmin], noise, outliers."""

    offset_ab_mag: float = 0.02
    slope_mag_arcmin: float = 0.0
    time_mag: tuple[float, ...] = (0.0, 0.0)
    floor_mag: float = 0.01
    outlier_share: float = 0.0
    outlier_sigma: float = 10.0


def epoch_signs(n_epochs: int) -> FloatArray:
    """Return the orientation of alternating rolls, +1 first."""
    return np.where(np.arange(n_epochs) % 2 == 0, 1.0, -1.0)


def simulate_nodes(
    seed: int,
    truth: Truth,
    *,
    n_per_patch: int = 19,
    d_range_arcmin: tuple[float, float] = (0.3, 2.4),
) -> Nodes:
    """Simulate sources seen once in every epoch, rolls alternating, one outlier epoch at most.

    Magnitudes are uniform in 18 ... 22 with errors of 0.5 ... 8 mmag; the floor belongs to pairs,
    so each detection has floor / sqrt(2).
    """
    rng = np.random.default_rng(seed)
    n_sources, n_epochs = 2 * n_per_patch, len(truth.time_mag)
    is_patch_p = np.repeat([True, False], n_per_patch)
    d_arcmin = rng.uniform(*d_range_arcmin, n_sources) * np.where(is_patch_p, 1.0, -1.0)
    source_mag = rng.uniform(18.0, 22.0, n_sources)
    photon_err = 0.008 * 10.0 ** (0.3 * (source_mag - 22.0))
    sign = epoch_signs(n_epochs)
    is_module_a = is_patch_p[:, None] ^ (sign > 0.0)
    mag = source_mag[:, None] + np.where(is_module_a, 0.5, -0.5) * truth.offset_ab_mag
    mag = mag - 0.5 * sign * truth.slope_mag_arcmin * d_arcmin[:, None]
    mag = mag + np.array(truth.time_mag)
    node_err = np.sqrt(photon_err**2 + 0.5 * truth.floor_mag**2)
    mag = mag + node_err[:, None] * rng.standard_normal((n_sources, n_epochs))
    is_outlier = rng.random(n_sources) < truth.outlier_share
    kick = truth.outlier_sigma * np.sqrt(2.0) * node_err * rng.choice([-1.0, 1.0], n_sources)
    mag[:, 1] += np.where(is_outlier, kick, 0.0)
    shape = (n_sources, n_epochs)
    return Nodes(
        source_id=np.broadcast_to(np.arange(n_sources)[:, None], shape).ravel().astype(np.int64),
        is_patch_p=np.broadcast_to(is_patch_p[:, None], shape).ravel().copy(),
        epoch=np.broadcast_to(np.arange(n_epochs), shape).ravel().astype(np.int64),
        is_module_a=is_module_a.ravel(),
        mag=mag.ravel(),
        mag_err=np.broadcast_to(photon_err[:, None], shape).ravel().copy(),
        d_arcmin=np.broadcast_to(d_arcmin[:, None], shape).ravel().copy(),
        epoch_labels=tuple(str(number + 1) for number in range(n_epochs)),
    )

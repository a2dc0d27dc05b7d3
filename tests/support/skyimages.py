"""Small images of round sources on a noisy sky, for tests of photometry."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from calreg.science.photometry.image import ImagePlanes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

NOISE = 0.01
SKY = 0.3
SIGMA_PX = 1.8
SCALE_ARCSEC = 0.06


def star_field(
    stars: Sequence[tuple[float, float, float]],
    *,
    shape: tuple[int, int] = (160, 200),
    sigma_px: float = SIGMA_PX,
    seed: int = 1,
) -> NDArray[np.float32]:
    """Return Gaussian stars (x, y, whole flux) on a sky with noise."""
    y, x = np.indices(shape)
    rng = np.random.default_rng(seed)
    pixels = SKY + NOISE * rng.standard_normal(shape)
    for x_0, y_0, flux in stars:
        radius2 = (x - x_0) ** 2 + (y - y_0) ** 2
        pixels += flux / (2.0 * np.pi * sigma_px**2) * np.exp(-0.5 * radius2 / sigma_px**2)
    return pixels.astype(np.float32)


def planes_of(pixels: NDArray[np.float32], *, err: float | None = None) -> ImagePlanes:
    """Return planes whose bad pixels are those that are not finite, and with one error for all."""
    plane = None if err is None else np.full(pixels.shape, err, dtype=np.float32)
    return ImagePlanes(sci=pixels, is_bad=~np.isfinite(pixels), err=plane)


def with_hole(planes: ImagePlanes, rows: slice, columns: slice) -> ImagePlanes:
    """Return planes with NaN in a box, marked bad."""
    sci, is_bad = planes.sci.copy(), planes.is_bad.copy()
    sci[rows, columns] = np.nan
    is_bad[rows, columns] = True
    return replace(planes, sci=sci, is_bad=is_bad)


def with_saturation(planes: ImagePlanes, rows: slice, columns: slice) -> ImagePlanes:
    """Return planes that are saturated in a box."""
    is_saturated = np.zeros(planes.shape, dtype=np.bool_)
    is_saturated[rows, columns] = True
    return replace(planes, is_saturated=is_saturated)

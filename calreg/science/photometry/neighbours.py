"""Pixels of neighbours in apertures, and the pixels that stand for them.

SExtractor replaces a neighbour's pixel by the one on the opposite side of the source (MASK_TYPE
CORRECT). Which these are depends on the segmentation alone, so that it is found once: an image
(ny, nx) of the number of the source that owns a pixel, 0 for the sky.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from calreg.domain import BoolArray, IntArray
    from calreg.units import FloatArray

KRON_SEARCH = 6.0
"""Extent of the ellipse that the Kron radius is measured in, in a and b (SExtractor KRON_NSIG)."""

CROWDED_FRACTION = 0.1
"""Part of an aperture that neighbours or bad pixels may own before it is flagged (SExtractor
CROWD_THRESHOLD)."""

SUBPIXELS = 5
"""Sides that a pixel on the rim of a circle is divided into (SExtractor APER_OVERSAMP)."""

_ROUNDING = 0.49999


@dataclass(frozen=True)
class Ellipses:
    """Shapes of sources, shape (n,) each.

    Attributes
    ----------
    x, y : ndarray of float64
        Isophotal centroid [0-based pixels].
    a, b : ndarray of float64
        Rms extents along and across [pixels].
    theta_rad : ndarray of float64
        Angle of `a` from +x towards +y [rad], in [-pi/2, pi/2].
    """

    x: FloatArray = field(repr=False)
    y: FloatArray = field(repr=False)
    a: FloatArray = field(repr=False)
    b: FloatArray = field(repr=False)
    theta_rad: FloatArray = field(repr=False)

    @classmethod
    def from_objects(cls, objects: Any) -> Ellipses:
        """Read them from the engine's table."""
        columns = (objects[name].astype(np.float64) for name in ("x", "y", "a", "b", "theta"))
        x, y, a, b, theta = columns
        # Rounded to single precision, the angle may lie just outside what the engine accepts.
        return cls(x, y, a, b, np.clip(theta, -np.pi / 2.0, np.pi / 2.0))

    @property
    def n_sources(self) -> int:
        """How many there are."""
        return int(self.x.size)


@dataclass(frozen=True)
class MirroredPixels:
    """What stands for neighbours' pixels in apertures.

    Attributes
    ----------
    source : ndarray of int64, shape (m,)
        Row of the source whose aperture is meant.
    pixel : ndarray of int64, shape (m,)
        Place in the flattened image of the pixel that stands for the neighbour's.
    weight : ndarray of float64, shape (m,)
        Part of the neighbour's pixel that lies in the aperture.
    n_sources : int
        Number of sources, with neighbours or without.
    """

    source: IntArray = field(repr=False)
    pixel: IntArray = field(repr=False)
    weight: FloatArray = field(repr=False)
    n_sources: int

    def sums(self, plane: NDArray[np.float32], power: int = 1) -> FloatArray:
        """Return the addition to each source's sum of a plane, or of its squares."""
        values = plane.reshape(-1)[self.pixel].astype(np.float64) ** power
        return self._per_source(values * self.weight)

    def areas(self) -> FloatArray:
        """Count the pixels added to each source's sum."""
        return self._per_source(self.weight)

    def _per_source(self, values: FloatArray) -> FloatArray:
        """Sum over the pixels of each source."""
        sums = np.bincount(self.source, weights=values, minlength=self.n_sources)
        return np.asarray(sums, dtype=np.float64)


def mirror_in_ellipses(
    segmentation: NDArray[np.int32], ellipses: Ellipses, kron_radius: FloatArray
) -> tuple[MirroredPixels, BoolArray]:
    """Find neighbours' pixels in the AUTO apertures, and those opposite them.

    Parameters
    ----------
    kron_radius : ndarray of float64, shape (n,)
        Radius of the AUTO apertures in units of a and b.

    Returns
    -------
    mirrored : MirroredPixels
        Without those whose opposite is a neighbour's too, or outside the image: nothing stands for
        them.
    is_crowded : ndarray of bool, shape (n,)
        Whether neighbours own more than a tenth of the aperture, or of the larger ellipse in which
        its radius is measured.
    """
    forms = _QuadraticForms.of(ellipses)
    reach = np.maximum(kron_radius, KRON_SEARCH)
    areas = np.pi * ellipses.a * ellipses.b
    is_crowded = np.zeros(ellipses.n_sources, dtype=np.bool_)
    found = _Found(segmentation, ellipses)
    for i, x, y in _foreign_pixels(
        segmentation, ellipses, reach * forms.half_width, reach * forms.half_height
    ):
        radius2 = forms.radius2(i, x - ellipses.x[i], y - ellipses.y[i])
        is_inside = radius2 <= kron_radius[i] ** 2
        is_crowded[i] = any(
            np.count_nonzero(radius2 <= limit**2) > CROWDED_FRACTION * areas[i] * limit**2
            for limit in (kron_radius[i], KRON_SEARCH)
        )
        found.add(i, x[is_inside], y[is_inside], np.ones(np.count_nonzero(is_inside)))
    return found.mirrored(), is_crowded


def mirror_in_circles(
    segmentation: NDArray[np.int32], ellipses: Ellipses, radius_px: float
) -> MirroredPixels:
    """Find neighbours' pixels in circles around the centroids, and those opposite them.

    Returns
    -------
    MirroredPixels
        Without those whose opposite is a neighbour's too, or outside the image.
    """
    half = np.full(ellipses.n_sources, radius_px + 0.5)
    step = (np.arange(SUBPIXELS) + 0.5) / SUBPIXELS - 0.5
    found = _Found(segmentation, ellipses)
    for i, x, y in _foreign_pixels(segmentation, ellipses, half, half):
        dx = (x - ellipses.x[i])[:, None, None] + step
        dy = (y - ellipses.y[i])[:, None, None] + step[:, None]
        weight = (dx * dx + dy * dy < radius_px**2).mean(axis=(1, 2))
        is_inside = weight > 0.0
        found.add(i, x[is_inside], y[is_inside], weight[is_inside])
    return found.mirrored()


class _Found:
    """Collects opposite pixels."""

    def __init__(self, segmentation: NDArray[np.int32], ellipses: Ellipses) -> None:
        self._segmentation = segmentation
        self._ellipses = ellipses
        self._parts: list[tuple[IntArray, IntArray, FloatArray]] = []

    def add(self, i: int, x: IntArray, y: IntArray, weight: FloatArray) -> None:
        """Add the opposites of a source's foreign pixels where they are its own or the sky's."""
        ny, nx = self._segmentation.shape
        x = (2.0 * self._ellipses.x[i] + _ROUNDING - x).astype(np.int64)
        y = (2.0 * self._ellipses.y[i] + _ROUNDING - y).astype(np.int64)
        is_there = (x >= 0) & (x < nx) & (y >= 0) & (y < ny)
        x, y, weight = x[is_there], y[is_there], weight[is_there]
        owner = self._segmentation[y, x]
        is_own = (owner == 0) | (owner == i + 1)
        places = y[is_own] * nx + x[is_own]
        self._parts.append((np.full(places.size, i), places, weight[is_own]))

    def mirrored(self) -> MirroredPixels:
        """Return all of them."""
        empty = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0)
        source, pixel, weight = (
            np.concatenate(part) for part in zip(empty, *self._parts, strict=True)
        )
        return MirroredPixels(source, pixel, weight, self._ellipses.n_sources)


def _foreign_pixels(
    segmentation: NDArray[np.int32],
    ellipses: Ellipses,
    half_width: FloatArray,
    half_height: FloatArray,
) -> Iterator[tuple[int, IntArray, IntArray]]:
    """Yield sources that have neighbours' pixels in a box around them, with these pixels."""
    ny, nx = segmentation.shape
    x_low, x_high = _extent(ellipses.x, half_width, nx)
    y_low, y_high = _extent(ellipses.y, half_height, ny)
    for i in range(ellipses.n_sources):
        window = segmentation[y_low[i] : y_high[i], x_low[i] : x_high[i]]
        is_foreign = window != 0
        is_foreign &= window != i + 1
        if is_foreign.any():
            rows, columns = np.nonzero(is_foreign)
            yield i, columns + x_low[i], rows + y_low[i]


@dataclass(frozen=True)
class _QuadraticForms:
    """Ellipses as ``xx dx^2 + yy dy^2 + xy dx dy = r^2``, and their half extents for r = 1."""

    xx: FloatArray
    yy: FloatArray
    xy: FloatArray
    half_width: FloatArray
    half_height: FloatArray

    @classmethod
    def of(cls, ellipses: Ellipses) -> _QuadraticForms:
        """Return the coefficients of ellipses (SExtractor's CXX, CYY, CXY)."""
        cos, sin = np.cos(ellipses.theta_rad), np.sin(ellipses.theta_rad)
        per_a2, per_b2 = 1.0 / ellipses.a**2, 1.0 / ellipses.b**2
        return cls(
            xx=cos**2 * per_a2 + sin**2 * per_b2,
            yy=sin**2 * per_a2 + cos**2 * per_b2,
            xy=2.0 * cos * sin * (per_a2 - per_b2),
            half_width=np.hypot(ellipses.a * cos, ellipses.b * sin),
            half_height=np.hypot(ellipses.a * sin, ellipses.b * cos),
        )

    def radius2(self, i: int, dx: FloatArray, dy: FloatArray) -> FloatArray:
        """Return squared radii from one source in units of its a and b."""
        radius2: FloatArray = self.xx[i] * dx * dx + self.yy[i] * dy * dy + self.xy[i] * dx * dy
        return radius2


def _extent(centre: FloatArray, half: FloatArray, n_pixels: int) -> tuple[list[int], list[int]]:
    """Return the first pixels of ranges and those after the last, within the image."""
    low = np.clip(np.floor(centre - half), 0, n_pixels).astype(np.int64)
    high = np.clip(np.ceil(centre + half) + 1, 0, n_pixels).astype(np.int64)
    return low.tolist(), high.tolist()

"""Merge detections that are but the wings of a brighter source (SExtractor's CLEAN).

`sep` tells which they are and drops their pixels; SExtractor gives the pixels to the brighter
source, and so does this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calreg.science.photometry.background import require_sep
from calreg.science.photometry.isophotes import count_above, relabel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from calreg.domain import BoolArray, IntArray
    from calreg.units import FloatArray

_FLATTEST = 0.99
_FARTHEST = 1e10


def merge_spurious(
    objects: NDArray[np.void],
    is_spurious: BoolArray,
    segmentation: NDArray[np.int32],
    pixels: NDArray[np.float32],
    beta: float,
) -> NDArray[np.void]:
    """Give spurious detections to the sources whose wings they are.

    Parameters
    ----------
    objects : structured ndarray, shape (n,)
        The engine's table of all detections.
    is_spurious : ndarray of bool, shape (n,)
        Those that the engine's cleaning drops.
    segmentation : ndarray of int32, shape (ny, nx)
        Their numbers, 1 to n; changed in place to those of the sources that remain.
    pixels : ndarray of float32, shape (ny, nx)
        Detection image without background.
    beta : float
        Exponent of the profile of the wings (CLEAN_PARAM).

    Returns
    -------
    structured ndarray, shape (m,)
        The sources that remain, in the same order, with area, peak and edge bits of what they took.

    Notes
    -----
    A spurious detection goes to the one of the brighter detections whose profile
    ``A (1 + alpha r^2)^-beta`` is highest at its place (SExtractor 2.25, clean.c), and with that
    one to another, where that one is spurious too.
    """
    wings = _Wings.of(objects, count_above(segmentation, pixels, _half_height(objects)), beta)
    taker = np.arange(len(objects))
    for victim in np.flatnonzero(is_spurious).tolist():
        heights = wings.heights_at(victim)
        taker[victim] = int(np.argmax(heights)) if heights.max() > 0.0 else victim
    # Every step leads to a brighter one, so that all chains end.
    while not np.array_equal(taker, taker[taker]):
        taker = taker[taker]
    return _merged(objects, segmentation, taker)


@dataclass(frozen=True)
class _Wings:
    """Profiles of detections."""

    x: FloatArray
    y: FloatArray
    forms: tuple[FloatArray, FloatArray, FloatArray]
    flux: FloatArray
    amplitude: FloatArray
    alpha: FloatArray
    beta: float

    @classmethod
    def of(cls, objects: NDArray[np.void], n_high: IntArray, beta: float) -> _Wings:
        """Make them from the engine's table and from how many pixels are above half height."""
        a, b, threshold, flux = (_double(objects, name) for name in ("a", "b", "thresh", "cflux"))
        half = _half_height(objects)
        fewer = (n_high - objects["tnpix"]).astype(np.float64)
        fewer[fewer >= 0.0] = -1.0
        flatness = np.where(half > threshold, threshold / half, _FLATTEST)
        ellipse = np.pi * a * b
        concentration = np.minimum(
            fewer / (2.0 * np.log(np.minimum(flatness, _FLATTEST)) * ellipse), 1.0
        )
        amplitude = flux / (2.0 * ellipse * concentration)
        slope = (amplitude / threshold) ** (1.0 / beta) - 1.0
        xx, yy, xy = (_double(objects, name) for name in ("cxx", "cyy", "cxy"))
        return cls(
            x=_double(objects, "x"),
            y=_double(objects, "y"),
            forms=(xx, yy, xy),
            flux=flux,
            amplitude=amplitude,
            alpha=slope * ellipse / objects["npix"],
            beta=beta,
        )

    def heights_at(self, victim: int) -> FloatArray:
        """Return all profiles at the place of a detection, zero for those that are fainter."""
        dx, dy = self.x[victim] - self.x, self.y[victim] - self.y
        xx, yy, xy = self.forms
        value = 1.0 + self.alpha * (xx * dx * dx + yy * dy * dy + xy * dx * dy)
        is_wing = (value > 1.0) & (value < _FARTHEST) & (self.flux > self.flux[victim])
        heights = np.zeros(value.size)
        heights[is_wing] = self.amplitude[is_wing] * value[is_wing] ** -self.beta
        return heights


def _half_height(objects: NDArray[np.void]) -> FloatArray:
    """Return the level half way between threshold and peak."""
    return 0.5 * (_double(objects, "thresh") + _double(objects, "peak"))


def _merged(
    objects: NDArray[np.void], segmentation: NDArray[np.int32], taker: IntArray
) -> NDArray[np.void]:
    """Return the table of what remains, and renumber the segmentation."""
    is_kept = taker == np.arange(taker.size)
    merged = objects.copy()
    for victim in np.flatnonzero(~is_kept).tolist():
        eater = taker[victim]
        merged["npix"][eater] += objects["npix"][victim]
        merged["tnpix"][eater] += objects["tnpix"][victim]
        merged["peak"][eater] = max(merged["peak"][eater], objects["peak"][victim])
        merged["flag"][eater] |= objects["flag"][victim] & ~require_sep().OBJ_MERGED
    number = np.zeros(taker.size + 1, dtype=np.int32)
    number[1:] = np.cumsum(is_kept)[taker]
    relabel(segmentation, number)
    kept: NDArray[np.void] = merged[is_kept]
    return kept


def _double(objects: NDArray[np.void], name: str) -> FloatArray:
    """Return a column in double precision."""
    return np.asarray(objects[name], dtype=np.float64)

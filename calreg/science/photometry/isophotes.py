"""Sums over the pixels that each source owns, in blocks of rows.

`segmentation` (ny, nx) holds the number of the source that owns a pixel, 1 to n, 0 for the sky.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from calreg.flags import DetectionFlag

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from calreg.domain import BoolArray, IntArray
    from calreg.science.photometry.image import ImagePlanes
    from calreg.units import FloatArray

_BLOCK_PIXELS = 1 << 20
"""Pixels of a block: what is made for it is small beside an image."""


@dataclass(frozen=True)
class IsophoteSums:
    """Sums over isophotes; row i is source i + 1.

    Attributes
    ----------
    flux : ndarray of float64, shape (n,)
        Sum of the usable pixels [unit of the image].
    variance : ndarray of float64, shape (n,)
        Sum of their squared errors [unit of the image, squared]; zero without errors.
    n_usable : ndarray of int64, shape (n,)
        How many there are.
    """

    flux: FloatArray = field(repr=False)
    variance: FloatArray = field(repr=False)
    n_usable: IntArray = field(repr=False)


def sum_isophotes(
    segmentation: NDArray[np.int32],
    pixels: NDArray[np.float32],
    err: NDArray[np.float32] | None,
    is_bad: BoolArray,
    n_sources: int,
) -> IsophoteSums:
    """Sum an image over the isophotes.

    Parameters
    ----------
    err : ndarray of float32, shape (ny, nx), or None
        One sigma of each pixel, zero where bad.
    is_bad : ndarray of bool, shape (ny, nx)
        Pixels that are left out.

    Returns
    -------
    IsophoteSums
        Summed in double precision.
    """
    flux = np.zeros(n_sources)
    variance = np.zeros(n_sources)
    n_usable = np.zeros(n_sources, dtype=np.int64)
    for first, rows, inside, owner in _blocks(segmentation):
        values = pixels[rows].reshape(-1)[inside]
        last = first + int(owner.max()) + 1
        flux[first:last] += np.bincount(owner, weights=values)
        is_used = ~is_bad[rows].reshape(-1)[inside]
        n_usable[first:last] += np.bincount(owner, weights=is_used).astype(np.int64)
        if err is not None:
            noise = err[rows].reshape(-1)[inside].astype(np.float64)
            variance[first:last] += np.bincount(owner, weights=noise * noise)
    return IsophoteSums(flux, variance, n_usable)


def touching_flags(
    segmentation: NDArray[np.int32], planes: ImagePlanes, is_bad: BoolArray, n_sources: int
) -> IntArray:
    """Flag the isophotes that contain or touch missing and saturated pixels.

    Returns
    -------
    ndarray of int64, shape (n,)
        `TRUNCATED` where a pixel without data lies in the isophote or beside it, `SATURATED`
        likewise. Beside, because a saturated core often carries no data: it is a hole in its
        source.
    """
    flags = np.zeros(n_sources, dtype=np.int64)
    causes = ((is_bad, DetectionFlag.TRUNCATED), (planes.is_saturated, DetectionFlag.SATURATED))
    for mask, flag in causes:
        if mask is None or not bool(mask.any()):
            continue
        near = _with_border(mask)
        for first, rows, inside, owner in _blocks(segmentation):
            flags[first + owner[near[rows].reshape(-1)[inside]]] |= int(flag)
    return flags


def count_above(
    segmentation: NDArray[np.int32], pixels: NDArray[np.float32], level: FloatArray
) -> IntArray:
    """Count the pixels of each source that are above a level of its own.

    Parameters
    ----------
    pixels : ndarray of float32, shape (ny, nx)
        An image on the same grid.
    level : ndarray of float64, shape (n,)
        One per source [unit of `pixels`].

    Returns
    -------
    ndarray of int64, shape (n,)
    """
    n_above = np.zeros(level.size, dtype=np.int64)
    for first, rows, inside, owner in _blocks(segmentation):
        above = owner[pixels[rows].reshape(-1)[inside] > level[first + owner]]
        counts = np.bincount(above)
        n_above[first : first + counts.size] += counts
    return n_above


def relabel(segmentation: NDArray[np.int32], number: NDArray[np.int32]) -> None:
    """Replace the numbers of sources in place.

    Parameters
    ----------
    number : ndarray of int32, shape (n + 1,)
        New number by old one; the first is zero.
    """
    n_rows = max(1, _BLOCK_PIXELS // segmentation.shape[1])
    for start in range(0, segmentation.shape[0], n_rows):
        rows = slice(start, start + n_rows)
        segmentation[rows] = number[segmentation[rows]]


def _blocks(
    segmentation: NDArray[np.int32],
) -> Iterator[tuple[int, slice, IntArray, IntArray]]:
    """Yield, per block of rows with sources: the first source, the rows, pixels, their owners.

    Sources are numbered along the image, so that a block holds a short range of numbers; owners
    count from the block's first source.
    """
    n_rows = max(1, _BLOCK_PIXELS // segmentation.shape[1])
    for start in range(0, segmentation.shape[0], n_rows):
        rows = slice(start, start + n_rows)
        flat = segmentation[rows].reshape(-1)
        inside = np.flatnonzero(flat)
        if inside.size:
            numbers = flat[inside]
            first = int(numbers.min())
            yield first - 1, rows, inside, (numbers - first).astype(np.int64)


def _with_border(mask: BoolArray) -> BoolArray:
    """Return a mask that also covers the eight neighbours of its pixels."""
    across = mask.copy()
    across[:, 1:] |= mask[:, :-1]
    across[:, :-1] |= mask[:, 1:]
    near = across.copy()
    near[1:] |= across[:-1]
    near[:-1] |= across[1:]
    return near

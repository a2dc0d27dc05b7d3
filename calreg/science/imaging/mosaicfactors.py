"""The factor that corrects every pixel of a mosaic, from the exposures that it was made of.

A mosaic averages what its exposures read. An exposure reads a source 10**(-0.4 offset) too faint,
with the offset at its own detector pixel; so the mean of these divisors over the exposures that
contributed to a pixel is what that pixel is to be divided by.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from calreg.science.model.gradient import ArrayCorrection
    from calreg.science.sky.coverage import CoveringExposure
    from calreg.science.sky.grids import Grid
    from calreg.units import FloatArray

_ROWS_AT_ONCE = 256
_STEP_DETECTOR_PX = 64.0
"""Between places where world coordinates are inverted; in between, distortion bends them by 0.01
pixels. The diagonal stays within the 128 pixels beyond a detector that `WcsDetector` knows."""

_BITS_PER_PLANE = 32
_FAR_PX = -1e6


def mosaic_factors(
    correction: ArrayCorrection,
    grid: Grid,
    exposures: Sequence[CoveringExposure],
    context: NDArray[np.int32] | None,
    *,
    detector_scale_arcsec: float,
) -> NDArray[np.float32] | float:
    """Return the factors that correct the pixels of a mosaic of one array.

    Parameters
    ----------
    correction : ArrayCorrection
        Of its array.
    grid : Grid
        Its pixels.
    exposures : sequence of CoveringExposure
        At least one.
    context : ndarray of int32, shape (n_planes, ny, nx), or None
        Bit k of plane p: exposure 32 p + k contributed. None: by the detectors' outlines.

    Returns
    -------
    ndarray of float32, shape (ny, nx), or float
        One number where the correction has no gradient. Pixels that no exposure contributed to get
        the mean over all that are near.

    Notes
    -----
    ``photom_factor / mean(delta flat at the exposures' pixels)``; exposures count equally.
    """
    if correction.gradient is None:
        return correction.photom_factor
    nodes = _Nodes.of(grid, detector_scale_arcsec)
    # Per exposure: the flat, and the detector pixels, at the nodes.
    planes = [_at_nodes(correction, exposure, grid, nodes) for exposure in exposures]
    factors = np.empty(grid.shape, dtype=np.float32)
    for rows in _row_blocks(grid.ny):
        total, count = np.zeros((2, rows.stop - rows.start, grid.nx))
        near_total, near_count = np.zeros_like(total), np.zeros_like(count)
        for k, (flat, x, y, n_pixels) in enumerate(planes):
            values = nodes.between(flat, rows)
            if context is None:
                is_in, is_near = _inside(nodes.between(x, rows), nodes.between(y, rows), n_pixels)
            else:
                words = context[k // _BITS_PER_PLANE, rows].astype(np.int32)
                is_in = ((words >> (k % _BITS_PER_PLANE)) & 1).astype(np.bool_)
                is_near = np.ones_like(is_in)
            total += np.where(is_in, values, 0.0)
            count += is_in
            near_total += np.where(is_near, values, 0.0)
            near_count += is_near
        is_alone = count == 0
        total[is_alone], count[is_alone] = near_total[is_alone], near_count[is_alone]
        mean = np.divide(total, count, out=np.ones_like(total), where=count > 0)
        factors[rows] = correction.photom_factor / mean
    return factors


class _Nodes:
    """Pixels of a grid that planes are evaluated at, and bilinear interpolation between them."""

    def __init__(self, x: FloatArray, y: FloatArray, to_x: FloatArray, to_y: FloatArray) -> None:
        self.x, self.y = x, y
        self._to_x, self._to_y = to_x, to_y

    @classmethod
    def of(cls, grid: Grid, detector_scale_arcsec: float) -> _Nodes:
        """Return nodes that are a given way apart on the detector, or every pixel."""
        step = max(1, int(_STEP_DETECTOR_PX * detector_scale_arcsec / grid.scale_arcsec))
        x, y = (
            step * np.arange(-(-(n - 1) // step) + 1, dtype=np.float64) for n in (grid.nx, grid.ny)
        )
        to_x, to_y = (
            np.maximum(0.0, 1.0 - np.abs(np.arange(n)[:, None] - nodes) / step)
            for n, nodes in ((grid.nx, x), (grid.ny, y))
        )
        return cls(x, y, to_x, to_y)

    def between(self, plane: FloatArray, rows: slice) -> FloatArray:
        """Return a plane, given at the nodes, at all pixels of some rows."""
        return np.asarray((self._to_y[rows] @ plane) @ self._to_x.T)


def _at_nodes(
    correction: ArrayCorrection, exposure: CoveringExposure, grid: Grid, nodes: _Nodes
) -> tuple[FloatArray, FloatArray, FloatArray, int]:
    """Return the delta flat and the detector pixel of an exposure at the nodes."""
    x, y = np.meshgrid(nodes.x, nodes.y)
    ra_deg, dec_deg = grid.sky_of(x.ravel(), y.ravel())
    x_det, y_det = (axis.reshape(x.shape) for axis in exposure.detector.pixels_of(ra_deg, dec_deg))
    is_known = np.isfinite(x_det) & np.isfinite(y_det)
    flat = correction.flat_at(np.where(is_known, x_det, 0.0), np.where(is_known, y_det, 0.0))
    return (
        np.where(is_known, flat, 1.0),
        np.where(is_known, x_det, _FAR_PX),
        np.where(is_known, y_det, _FAR_PX),
        exposure.n_pixels,
    )


def _inside(
    x: FloatArray, y: FloatArray, n_pixels: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which pixels lie on a detector, and which lie where its pixels are known."""
    high = n_pixels - 0.5
    is_in = (x >= -0.5) & (x <= high) & (y >= -0.5) & (y <= high)
    # Between a known node and one that is not, what is interpolated is neither.
    is_near = np.minimum(x, y) > 0.01 * _FAR_PX
    return is_in, is_near


def _row_blocks(ny: int) -> Iterator[slice]:
    """Yield rows, a few hundred at a time."""
    for start in range(0, ny, _ROWS_AT_ONCE):
        yield slice(start, min(start + _ROWS_AT_ONCE, ny))

"""Where the pixels of an exposure fall on a pixel grid."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy.interpolate import CubicSpline

from calreg.errors import InvalidValueError

if TYPE_CHECKING:
    from calreg.domain import BoolArray
    from calreg.science.sky.grids import Grid
    from calreg.units import FloatArray

_NODE_STEP_PX = 32
_MIN_NODES = 4

_HALF_DIAGONAL = 0.73
"""Half the diagonal of an input pixel, 0.707, and 3 per cent for pixels away from the middle."""

_NOT_FINITE = "the WCS gives no finite sky position for some pixels: expected a WCS of the image"


class SkyMap(Protocol):
    """Where the pixels of an exposure lie on the sky, distortion included."""

    def sky_of(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return ICRS (ra, dec) [deg] of pixels, 0-based; arrays keep their shape."""


def pixel_map(sky: SkyMap, shape: tuple[int, int], grid: Grid) -> FloatArray:
    """Return where the pixels of an exposure fall on a grid.

    Parameters
    ----------
    sky : SkyMap
        World coordinates of the exposure.
    shape : tuple of int
        ``(ny, nx)`` of the exposure.

    Returns
    -------
    ndarray of float64, shape (ny, nx, 2)
        Coordinates (x, y) on the grid, 0-based.

    Raises
    ------
    InvalidValueError
        If the world coordinates are not finite, or 90 deg or more from the grid.

    Notes
    -----
    The world coordinates are evaluated every 32 pixels or less and interpolated by cubic splines:
    for the distortion of NIRCam, exact to better than 1e-5 pixels, and much faster.
    """
    y_nodes, x_nodes = (_nodes(length) for length in shape)
    x, y = np.meshgrid(x_nodes, y_nodes)
    ra_deg, dec_deg = sky.sky_of(x, y)
    if not (np.isfinite(ra_deg).all() and np.isfinite(dec_deg).all()):
        raise InvalidValueError(_NOT_FINITE)
    mapped = np.empty((*shape, 2))
    # Cubic splines are linear in their values: one matrix per axis interpolates all rows at once.
    rows = CubicSpline(y_nodes, np.eye(len(y_nodes)))(np.arange(shape[0]))
    columns = CubicSpline(x_nodes, np.eye(len(x_nodes)))(np.arange(shape[1]))
    for axis, values in enumerate(grid.pixels_of(ra_deg, dec_deg)):
        mapped[..., axis] = (rows @ values) @ columns.T
    return mapped


def _nodes(length: int) -> FloatArray:
    """Return the pixels along an axis where world coordinates are evaluated, both ends included."""
    n_nodes = max(-(-(length - 1) // _NODE_STEP_PX) + 1, _MIN_NODES)
    return np.linspace(0.0, max(length - 1.0, 1.0), n_nodes)


def outline(sky: SkyMap, shape: tuple[int, int]) -> FloatArray:
    """Return the outer edge of an exposure on the sky.

    Parameters
    ----------
    sky : SkyMap
        World coordinates of the exposure.
    shape : tuple of int
        ``(ny, nx)`` of the exposure.

    Returns
    -------
    ndarray of float64, shape (n_vertices, 2)
        ICRS (ra, dec) [deg] of points every 32 pixels or less along the edges, which distortion
        bends.

    Raises
    ------
    InvalidValueError
        If the world coordinates are not finite.
    """
    y, x = (np.append(_nodes(length) - 0.5, length - 0.5) for length in shape)
    along_x, along_y = np.concatenate([x, x]), np.concatenate([y, y])
    bottom_top = np.repeat([y[0], y[-1]], x.size)
    left_right = np.repeat([x[0], x[-1]], y.size)
    ra_deg, dec_deg = sky.sky_of(
        np.concatenate([along_x, left_right]), np.concatenate([bottom_top, along_y])
    )
    if not (np.isfinite(ra_deg).all() and np.isfinite(dec_deg).all()):
        raise InvalidValueError(_NOT_FINITE)
    return np.column_stack([ra_deg, dec_deg])


def scale_ratio(mapped: FloatArray) -> float:
    """Return the side of an output pixel in input pixels, at the middle of the exposure.

    Parameters
    ----------
    mapped : ndarray of float64, shape (ny, nx, 2)
        As `pixel_map` gives it.
    """
    ny, nx = mapped.shape[:2]
    if min(ny, nx) < 2:
        return 1.0
    y, x = (ny - 1) // 2, (nx - 1) // 2
    along_x, along_y = mapped[y, x + 1] - mapped[y, x], mapped[y + 1, x] - mapped[y, x]
    area = abs(float(along_x[0] * along_y[1] - along_x[1] * along_y[0]))
    return 1.0 / math.sqrt(area)


def mark_touched(marked: BoolArray, is_meant: BoolArray, mapped: FloatArray) -> None:
    """Mark the output pixels that some input pixels touch.

    Parameters
    ----------
    marked : ndarray of bool
        Output pixels; set to True where touched, or nearly so: at most 0.73 input pixels beyond.
    is_meant : ndarray of bool, shape (ny, nx)
        The input pixels.
    mapped : ndarray of float64, shape (ny, nx, 2)
        As `pixel_map` gives it.
    """
    x, y = mapped[is_meant].T
    if x.size == 0:
        return
    half = _HALF_DIAGONAL / scale_ratio(mapped)
    ny, nx = marked.shape
    reach = math.ceil(2.0 * half + 1.0)
    first_x, first_y = np.ceil(x - half - 0.5), np.ceil(y - half - 0.5)
    last_x, last_y = np.floor(x + half + 0.5), np.floor(y + half + 0.5)
    for dy in range(reach + 1):
        for dx in range(reach + 1):
            column, row = first_x + dx, first_y + dy
            inside = (column <= last_x) & (row <= last_y)
            inside &= (column >= 0) & (column < nx) & (row >= 0) & (row < ny)
            marked[row[inside].astype(np.int64), column[inside].astype(np.int64)] = True

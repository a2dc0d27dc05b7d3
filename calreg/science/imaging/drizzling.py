"""Drizzle the exposures of one array onto a pixel grid, with errors, weights and contexts.

Shapes are (ny, nx); pixels are mapped to (x, y) of the grid, 0-based, as an array (ny, nx, 2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from calreg.errors import InvalidValueError, MissingExtraError
from calreg.flags import DO_NOT_USE, SATURATED
from calreg.science.imaging.cleaning import usable_pixels

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from calreg.domain import BoolArray
    from calreg.science.sky.grids import Grid
    from calreg.units import FloatArray

KERNELS = ("square", "turbo", "point")
"""Kernels of drizzle that conserve flux."""

_CUT_CORNER_PX = 1.0
_SAMPLE_STEP = 3

_EDGE_PX = 8
"""Pixels drizzled around the grid and cut off: drizzle leaves out input pixels whose centre is
outside, also where they reach inside."""

_PHASE_RANGE = 2.5
"""With one exposure and no pixel shared, the variance of an output pixel is at most 2.25 times the
mean, where it coincides with an input pixel."""


@dataclass(frozen=True)
class DrizzleMember:
    """One exposure, ready to be drizzled.

    Attributes
    ----------
    sci : ndarray of float32, shape (ny, nx)
        Surface brightness [MJy/sr], background subtracted.
    err : ndarray of float32, shape (ny, nx)
        1-sigma error of each pixel [MJy/sr], Poisson noise of sources included.
    sky : SkyMap
        World coordinates of the pixels.
    var_rnoise : ndarray of float32, shape (ny, nx), or None
        Variance of the read noise [(MJy/sr)^2] where it is known.
    mask : ndarray of bool, shape (ny, nx), or None
        True at sources; the noise of the sky is measured on the others. None: nothing is masked.
    rescale : float
        Factor onto the scale of the mosaic, applied to signal and error.
    """

    sci: NDArray[np.float32] = field(repr=False)
    err: NDArray[np.float32] = field(repr=False)
    dq: NDArray[np.uint32] = field(repr=False)
    sky: SkyMap
    var_rnoise: NDArray[np.float32] | None = field(repr=False, default=None)
    mask: BoolArray | None = field(repr=False, default=None)
    rescale: float = 1.0


@dataclass(frozen=True)
class DrizzledMosaic:
    """A mosaic; all planes have the shape of the grid.

    Attributes
    ----------
    sci : ndarray of float32, shape (ny, nx)
        Surface brightness [MJy/sr]; NaN where no member has data.
    err : ndarray of float32, shape (ny, nx)
        1-sigma error of each pixel by itself [MJy/sr]; NaN where no member has data. Neighbouring
        pixels share input pixels, so that the noise of a sum over many of them is larger than the
        root of the summed squares, by `noise_correlation`.
    wht : ndarray of float32, shape (ny, nx)
        Inverse variance of the sky per pixel [(MJy/sr)^-2], without the Poisson noise of sources,
        such that the variance of a mean over n pixels is ``1 / (n wht)`` for large n; 0 without
        data.
    con : ndarray of int32, shape (n_planes, ny, nx)
        Bit k of plane p: member 32 p + k, in the order given, contributed.
    dq : ndarray of uint8, shape (ny, nx)
        `DO_NOT_USE` without data; `SATURATED` where a covering member was saturated, whether or not
        others were not.
    noise_correlation : float
        Noise of a sum over many pixels of sky, relative to the root of the summed squares of
        `err`: ``1 / sqrt(mean(err^2 wht))`` (Fruchter & Hook 2002, on noise).
    """

    grid: Grid
    sci: NDArray[np.float32] = field(repr=False)
    err: NDArray[np.float32] = field(repr=False)
    wht: NDArray[np.float32] = field(repr=False)
    con: NDArray[np.int32] = field(repr=False)
    dq: NDArray[np.uint8] = field(repr=False)
    n_members: int
    noise_correlation: float
    pixfrac: float
    kernel: str

    def footprint(self) -> FloatArray:
        """Return the convex hull of the pixels with data.

        Returns
        -------
        ndarray of float64, shape (n_vertices, 2)
            ICRS (ra, dec) [deg]; corners that stand out by less than a pixel are cut off.

        Raises
        ------
        InvalidValueError
            If no pixel has data.
        """
        return _hull(self.wht > 0.0, self.grid)


def drizzle_group(
    members: Iterable[DrizzleMember],
    grid: Grid,
    *,
    pixfrac: float = 1.0,
    kernel: str = "square",
) -> DrizzledMosaic:
    """Drizzle exposures onto a grid, one in memory at a time.

    Parameters
    ----------
    members : iterable of DrizzleMember
        May be a generator; in the order of the bits of the context planes.
    grid : Grid
        Output pixels. What lies outside is cut off.
    pixfrac : float
        Side of the drops in input pixels, above 0 and not above 1.
    kernel : str
        One of `KERNELS`.

    Raises
    ------
    InvalidValueError
        If there is no member, shapes differ, a member has no usable pixel, nothing falls onto the
        grid, or a setting is out of range.
    MissingExtraError
        If drizzle is not installed.

    Notes
    -----
    Fruchter & Hook 2002, PASP 114, 144, Eqs. 4 and 5: the mean, weighted by the overlap of each
    input pixel as projected, distortion included, with the output pixel. So surface brightness is
    kept, and with it the flux of sources over the true solid angle of pixels.

    The weight of an input pixel is the inverse variance of the sky: of the read noise in that pixel
    (VAR_RNOISE) and the sky's Poisson noise, a constant per exposure; without VAR_RNOISE a constant
    altogether. Full errors as weights would favour pixels that fluctuated low, and bias bright
    sources.

    Variances are summed with squared weights, as of independent input pixels; rescaled
    exposures have their errors rescaled. DO_NOT_USE and SATURATED pixels do not contribute.
    """
    if not 0.0 < pixfrac <= 1.0 or kernel not in KERNELS:
        msg = (
            f"pixfrac {pixfrac}, kernel {kernel!r}: expected a fraction above 0 and not above 1, "
            f"and one of {', '.join(KERNELS)}"
        )
        raise InvalidValueError(msg)
    wide = grid.cutout(-_EDGE_PX, -_EDGE_PX, grid.nx + 2 * _EDGE_PX, grid.ny + 2 * _EDGE_PX)
    drizzle = _new_drizzle(wide, kernel)
    is_saturated = np.zeros(wide.shape, dtype=np.bool_)
    n_members = 0
    for member in members:
        _add(drizzle, member, wide, is_saturated, pixfrac)
        n_members += 1
        # Let go of it before the next one is read.
        del member
    if n_members == 0:
        msg = "no mosaic without exposures: expected at least one"
        raise InvalidValueError(msg)
    return _finished(drizzle, grid, is_saturated, n_members, pixfrac)


def _sky_variance(member: DrizzleMember, is_usable: BoolArray) -> FloatArray | NDArray[np.float32]:
    """Return the variance of sky and readout, per pixel or for all."""
    is_sky = is_usable if member.mask is None else is_usable & ~member.mask
    if not is_sky.any():
        is_sky = is_usable
    if not is_sky.any():
        msg = "no usable pixel: all are NaN, without error, DO_NOT_USE or SATURATED"
        raise InvalidValueError(msg)
    sample = member.err[is_sky][::_SAMPLE_STEP].astype(np.float64) ** 2
    if member.var_rnoise is None:
        return np.asarray(np.median(sample))
    rest = float(np.median(sample - member.var_rnoise[is_sky][::_SAMPLE_STEP]))
    return np.asarray(member.var_rnoise + np.float32(max(rest, 0.0)))


def _new_drizzle(grid: Grid, kernel: str) -> Any:
    """Return an empty drizzle of the grid."""
    try:
        from drizzle.resample import Drizzle
    except ImportError as error:
        msg = "mosaics need drizzle: pip install 'calreg[mosaic]'"
        raise MissingExtraError(msg) from error
    # Planes that begin as zeros are not filled after each exposure, which would cost the whole
    # grid each time.
    return Drizzle(
        kernel=kernel,
        fillval="INDEF",
        fillval2="INDEF",
        out_img=np.zeros(grid.shape, dtype=np.float32),
        out_wht=np.zeros(grid.shape, dtype=np.float32),
        out_img2=np.zeros(grid.shape, dtype=np.float32),
        out_ctx=np.zeros((1, *grid.shape), dtype=np.int32),
    )


def _add(
    drizzle: Any, member: DrizzleMember, grid: Grid, is_saturated: BoolArray, pixfrac: float
) -> None:
    """Add one exposure, and mark where it was saturated."""
    shape = member.sci.shape
    planes = (member.err, member.dq, member.var_rnoise, member.mask)
    if any(plane is not None and plane.shape != shape for plane in planes):
        found = ", ".join(str(plane.shape) for plane in planes if plane is not None)
        msg = f"planes of one exposure have shapes {shape} and {found}: expected the same"
        raise InvalidValueError(msg)
    if not (math.isfinite(member.rescale) and member.rescale > 0.0):
        msg = f"rescaling by {member.rescale}: expected a positive factor"
        raise InvalidValueError(msg)
    is_usable = usable_pixels(member.sci, member.err, member.dq)
    variance = _sky_variance(member, is_usable)
    with np.errstate(invalid="ignore"):
        is_usable &= np.isfinite(variance) & (variance > 0.0)
    weights = np.zeros(shape, dtype=np.float32)
    np.divide(1.0 / member.rescale**2, variance, out=weights, where=is_usable, casting="same_kind")
    mapped = pixel_map(member.sky, (shape[0], shape[1]), grid)
    squared = np.zeros(shape, dtype=np.float32)
    np.square(member.err, out=squared, where=is_usable)
    drizzle.add_image(
        np.where(is_usable, member.sci, np.float32(0.0)),
        exptime=1.0,
        pixmap=mapped,
        data2=squared,
        weight_map=weights,
        iscale=member.rescale,
        pixfrac=pixfrac,
        pixel_scale_ratio=scale_ratio(mapped),
    )
    mark_touched(is_saturated, (member.dq & SATURATED) > 0, mapped)


def _finished(
    drizzle: Any, grid: Grid, is_saturated: BoolArray, n_members: int, pixfrac: float
) -> DrizzledMosaic:
    """Return the planes as they are delivered."""
    inside = (..., slice(_EDGE_PX, -_EDGE_PX), slice(_EDGE_PX, -_EDGE_PX))
    planes = (drizzle.out_img, drizzle.out_wht, drizzle.out_img2[0], drizzle.out_ctx, is_saturated)
    sci, wht, err, con, is_marked = (np.ascontiguousarray(plane[inside]) for plane in planes)
    has_data = wht > 0.0
    if not has_data.any():
        msg = (
            f"none of {n_members} exposures has a usable pixel on the grid of {grid.nx} x {grid.ny}"
            f" pixels around ({grid.ra_deg:.6f}, {grid.dec_deg:.6f}) deg: expected an overlap"
        )
        raise InvalidValueError(msg)
    np.sqrt(err, out=err)
    sci[~has_data] = np.nan
    err[~has_data] = np.nan
    dq = np.where(has_data, 0, DO_NOT_USE).astype(np.uint8)
    dq[is_marked] |= SATURATED
    return DrizzledMosaic(
        grid=grid,
        sci=sci,
        err=err,
        wht=wht,
        con=con,
        dq=dq,
        n_members=n_members,
        noise_correlation=_noise_correlation(err[has_data], wht[has_data]),
        pixfrac=pixfrac,
        kernel=drizzle.kernel,
    )


def _noise_correlation(err: NDArray[np.float32], wht: NDArray[np.float32]) -> float:
    """Return the noise of large sums of sky over the root of the summed squared errors."""
    relative = err * err * wht
    # Sources, by their Poisson noise, are beyond what the pixels' phases alone can do.
    is_sky = relative < _PHASE_RANGE * np.median(relative)
    return 1.0 / math.sqrt(float(relative[is_sky].mean(dtype=np.float64)))


def _hull(has_data: BoolArray, grid: Grid) -> FloatArray:
    """Return the convex hull of pixels on the sky."""
    rows = np.flatnonzero(has_data.any(axis=1))
    if rows.size == 0:
        msg = "no footprint: no pixel has data"
        raise InvalidValueError(msg)
    first = has_data[rows].argmax(axis=1)
    last = has_data.shape[1] - 1 - has_data[rows, ::-1].argmax(axis=1)
    x = np.concatenate([first - 0.5, first - 0.5, last + 0.5, last + 0.5])
    y = np.concatenate([rows - 0.5, rows + 0.5, rows - 0.5, rows + 0.5])
    from scipy.spatial import ConvexHull

    points = np.column_stack([x, y])
    corners = points[ConvexHull(points).vertices]
    while len(corners) > 3:
        before, after = np.roll(corners, 1, axis=0), np.roll(corners, -1, axis=0)
        chord, corner = after - before, corners - before
        cross = np.abs(chord[:, 0] * corner[:, 1] - chord[:, 1] * corner[:, 0])
        height = cross / np.hypot(chord[:, 0], chord[:, 1])
        least = int(height.argmin())
        if height[least] >= _CUT_CORNER_PX:
            break
        corners = np.delete(corners, least, axis=0)
    return np.column_stack(grid.sky_of(corners[:, 0], corners[:, 1]))


# --- where the pixels of an exposure fall -------------------------------------------------------

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
    from scipy.interpolate import CubicSpline

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
    """Return the side of an output pixel in input pixels, at the middle of the exposure."""
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

"""Shift or linear transformation between two images of one sky, from stars; moving pixels by it.

Pixels are 0-based (x, y). A transformation takes a position in the measured image to where the same
star lies in the detection image.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from calreg.errors import FitRefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

    from numpy.typing import NDArray

    from calreg.domain import BoolArray
    from calreg.science.photometry.image import ImagePlanes
    from calreg.units import FloatArray

MAS_PER_ARCSEC = 1000.0

MIN_STARS = {"shift": 5, "linear": 12}
"""Fewest stars of a fit: two and six numbers are fitted, and some stars will be clipped."""

_CLIP_SIGMA = 3.0
_MIN_SIGMA_PX = 1e-6
"""Below it residuals are rounding, and not to be clipped."""

_MIN_CONDITION = 1e-6
"""Sources that spread less than this across a line, relative to along it, are on it."""

_MAX_PASSES = 20
_SIGMA_PER_MAD = 1.4826
_FLOAT32 = np.dtype(np.float32)
_BAD_SHARE = 0.01
"""A moved pixel is bad where at least this share of its value would come from bad ones."""


class AlignKind(StrEnum):
    """What `calreg measure --align` fits."""

    SHIFT = "shift"
    LINEAR = "linear"


@dataclass(frozen=True)
class Alignment:
    """A fitted transformation ``p' = p + shift + linear @ (p - centre)``.

    Attributes
    ----------
    shift : ndarray of float64, shape (2,)
        (dx, dy) at `centre` [pixel].
    linear : ndarray of float64, shape (2, 2)
        Zero for a shift.
    centre : ndarray of float64, shape (2,)
        Mean (x, y) of the stars [pixel].
    n_used, n_given : int
        Stars in the fit, and before clipping.
    rms_before_mas, rms_after_mas : float
        Root mean square of the offsets of the stars in the fit, per axis [mas].
    """

    kind: AlignKind
    shift: FloatArray = field(repr=False)
    linear: FloatArray = field(repr=False)
    centre: FloatArray = field(repr=False)
    n_used: int
    n_given: int
    rms_before_mas: float
    rms_after_mas: float

    def to_text(self, scale_arcsec: float) -> dict[str, str]:
        """Return the fit as text by name, for a catalog's record of how it was made.

        Returns
        -------
        dict of str to str
            ``align`` is the kind; shift in pixels and mas, centre in 0-based pixels.
        """
        numbers = {
            "align_dx_px": self.shift[0],
            "align_dy_px": self.shift[1],
            "align_x_px": self.centre[0],
            "align_y_px": self.centre[1],
            "align_scale_arcsec": scale_arcsec,
            "align_rms_before_mas": self.rms_before_mas,
            "align_rms_after_mas": self.rms_after_mas,
        }
        if self.kind is AlignKind.LINEAR:
            names = ("align_xx", "align_xy", "align_yx", "align_yy")
            numbers |= dict(zip(names, self.linear.ravel(), strict=True))
        text = {name: f"{float(value):.10g}" for name, value in numbers.items()}
        return {"align": str(self.kind), "align_n_sources": str(self.n_used), **text}

    def backward(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Map positions from the detection image to the measured image [pixel]."""
        points = np.stack([x, y], axis=-1) - self.centre - self.shift
        turned = np.linalg.solve(np.eye(2) + self.linear, points[..., np.newaxis])[..., 0]
        moved = np.asarray(turned + self.centre, dtype=np.float64)
        return moved[..., 0], moved[..., 1]


def describe_alignment(settings: Mapping[str, str]) -> str:
    """Describe in a few words how an image was aligned before it was measured.

    Parameters
    ----------
    settings : mapping of str to str
        Of a catalog, with what `Alignment.to_text` returns.

    Returns
    -------
    str
        Empty where it was not.
    """
    kind = settings.get("align", "")
    # The images of one call share the setting; only those that were fitted have numbers.
    if kind not in set(AlignKind) or "align_n_sources" not in settings:
        return ""
    dx_mas, dy_mas = (
        float(settings[f"align_{axis}_px"]) * float(settings["align_scale_arcsec"]) * MAS_PER_ARCSEC
        for axis in ("dx", "dy")
    )
    return (
        f"{kind}: x {dx_mas:+.1f}, y {dy_mas:+.1f} mas from {settings['align_n_sources']} sources, "
        f"rms per axis {float(settings['align_rms_before_mas']):.1f} -> "
        f"{float(settings['align_rms_after_mas']):.1f} mas"
    )


def fit_alignment(
    measured: FloatArray, reference: FloatArray, *, kind: AlignKind, scale_arcsec: float
) -> Alignment:
    """Fit the transformation that takes stars of one image to those of another.

    Parameters
    ----------
    measured, reference : ndarray of float64, shape (n_stars, 2)
        (x, y) of the same stars in both images [pixel]; rows with NaN are left out.

    Raises
    ------
    FitRefusedError
        If there are too few stars, before or after clipping.

    Notes
    -----
    Least squares with equal weights. Stars further from it than 3 sigma (1.4826 times the median
    absolute residual, per axis) are left out, until no star changes sides.
    """
    is_finite = np.isfinite(measured).all(axis=1) & np.isfinite(reference).all(axis=1)
    points, offsets = measured[is_finite], (reference - measured)[is_finite]
    _require_stars(kind, len(points), "")
    centre = points.mean(axis=0)
    arms = points - centre
    is_used = _within(offsets - np.median(offsets, axis=0))
    for _ in range(_MAX_PASSES):
        _require_stars(kind, int(is_used.sum()), f" after clipping, of {len(points)}")
        shift, linear = _solve(arms[is_used], offsets[is_used], kind)
        residuals = offsets - shift - arms @ linear.T
        was_used, is_used = is_used, _within(residuals)
        if (was_used == is_used).all():
            break
    to_mas = scale_arcsec * MAS_PER_ARCSEC
    return Alignment(
        kind=kind,
        shift=shift,
        linear=linear,
        centre=centre,
        n_used=int(was_used.sum()),
        n_given=len(points),
        rms_before_mas=_rms(offsets[was_used]) * to_mas,
        rms_after_mas=_rms(residuals[was_used]) * to_mas,
    )


def _require_stars(kind: AlignKind, n_stars: int, of: str) -> None:
    """Refuse a fit with too few stars."""
    if n_stars < MIN_STARS[kind]:
        msg = (
            f"a {kind} needs at least {MIN_STARS[kind]} compact, bright, clean sources in both "
            f"images; found {n_stars}{of}"
        )
        raise FitRefusedError(msg)


def _within(residuals: FloatArray) -> BoolArray:
    """Return which rows lie within the clipping limit of zero on both axes."""
    scatter = _SIGMA_PER_MAD * np.median(np.abs(residuals), axis=0)
    sigma = np.maximum(scatter, _MIN_SIGMA_PX)
    return np.asarray((np.abs(residuals) <= _CLIP_SIGMA * sigma).all(axis=1))


def _solve(arms: FloatArray, offsets: FloatArray, kind: AlignKind) -> tuple[FloatArray, FloatArray]:
    """Return the shift and the linear part of a least-squares fit."""
    if kind is AlignKind.SHIFT:
        return offsets.mean(axis=0), np.zeros((2, 2))
    # Arms in units of their size keep the equations well conditioned.
    size = max(float(np.abs(arms).max()), 1.0)
    design = np.column_stack([np.ones(len(arms)), arms / size])
    found, _, rank, _ = np.linalg.lstsq(design, offsets, rcond=_MIN_CONDITION)
    if rank < design.shape[1]:
        msg = (
            f"the {len(arms)} compact, bright, clean sources lie on one line, which says nothing "
            "of a linear transformation: fit a shift"
        )
        raise FitRefusedError(msg)
    solution = np.asarray(found, dtype=np.float64)
    return solution[0], solution[1:].T / size


def _rms(offsets: FloatArray) -> float:
    """Return the root mean square over both axes."""
    return float(np.sqrt(np.mean(offsets**2)))


def move_planes(planes: ImagePlanes, alignment: Alignment) -> ImagePlanes:
    """Move an image onto the pixels of the detection image.

    Parameters
    ----------
    planes : ImagePlanes
        Cut to the detection image's pixels already; not changed.

    Returns
    -------
    ImagePlanes
        New pixels (x', y') hold the old image at ``alignment.backward(x', y')``. Surface brightness
        is kept, so that fluxes are to the determinant of the transformation (1e-5 for one of
        0.06 arcsec over 3 arcmin). Pixels of which 1 % or more would come from bad ones, or from
        outside, are bad.

    Notes
    -----
    `sci` is interpolated with a cubic spline, bad pixels filled with the median first; `err`
    linearly, as it is: interpolation correlates the noise of neighbours and keeps that of sums.
    """
    from scipy import ndimage  # a third of a second that most calls do not need

    matrix, offset = _pull(alignment)
    filled = np.where(planes.is_bad, np.float32(_middle(planes)), planes.sci)
    spline = ndimage.spline_filter(filled, order=3, output=_FLOAT32)
    del filled
    share = _pulled(planes.is_bad.astype(np.float32), matrix, offset, order=1, fill=1.0)
    is_bad = share >= _BAD_SHARE
    del share
    sci = _pulled(spline, matrix, offset, order=3, fill=np.nan, is_filtered=True)
    del spline
    # A spline that rings at the outer edge must not look like data.
    sci[is_bad] = np.nan
    return replace(
        planes,
        sci=sci,
        is_bad=is_bad,
        err=None if planes.err is None else _moved_err(planes.err, is_bad, matrix, offset),
        is_saturated=None
        if planes.is_saturated is None
        else _pulled(planes.is_saturated.astype(np.float32), matrix, offset, order=1, fill=0.0)
        >= _BAD_SHARE,
    )


def _pull(alignment: Alignment) -> tuple[FloatArray, FloatArray]:
    """Return matrix and offset, in (row, column), that take a new pixel to the old one."""
    inverse = np.asarray(np.linalg.inv(np.eye(2) + alignment.linear), dtype=np.float64)
    offset = alignment.centre - inverse @ (alignment.centre + alignment.shift)
    return inverse[::-1, ::-1], offset[::-1]


def _middle(planes: ImagePlanes) -> float:
    """Return the median of the good pixels, of at most about a million of them."""
    step = max(1, planes.sci.size // 1_000_000)
    sample = planes.sci.ravel()[::step][~planes.is_bad.ravel()[::step]]
    return float(np.median(sample)) if sample.size else 0.0


def _moved_err(
    err: NDArray[np.float32], is_bad: BoolArray, matrix: FloatArray, offset: FloatArray
) -> NDArray[np.float32]:
    """Return the moved errors, NaN where the moved image has no data."""
    finite = np.where(np.isfinite(err), err, np.float32(0.0))
    moved = _pulled(finite, matrix, offset, order=1, fill=np.nan)
    moved[is_bad] = np.nan
    return moved


def _pulled(
    plane: NDArray[np.float32],
    matrix: FloatArray,
    offset: FloatArray,
    *,
    order: Literal[1, 3],
    fill: float,
    is_filtered: bool = False,
) -> NDArray[np.float32]:
    """Return a plane pulled through a linear map, float32."""
    from scipy import ndimage

    # A matrix that is diagonal to the last bit takes ndimage's fast way, with the same numbers.
    is_plain = not (matrix[0, 1] or matrix[1, 0])
    moved: NDArray[np.float32] = ndimage.affine_transform(
        plane,
        np.diag(matrix) if is_plain else matrix,
        offset,
        order=order,
        mode="constant",
        cval=fill,
        output=_FLOAT32,
        prefilter=not is_filtered,
    )
    return moved

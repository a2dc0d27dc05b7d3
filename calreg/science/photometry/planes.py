"""The planes of an image that photometry needs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_Pixel = TypeVar("_Pixel", bound=np.generic)


@dataclass(frozen=True)
class ImagePlanes:
    """Pixels of one image; all planes have shape (ny, nx).

    Attributes
    ----------
    sci : ndarray of float32
        Surface brightness, or any unit that fluxes are sums of. Native byte order, contiguous.
    is_bad : ndarray of bool
        Pixels that carry no data: NaN, without weight, or DO_NOT_USE.
    err : ndarray of float32 or None
        One sigma of each pixel in the unit of `sci`, Poisson noise included.
    is_saturated : ndarray of bool or None
        Pixels where a contributing exposure was saturated.
    gain : float or None
        Electrons per unit of `sci`, for the Poisson noise where `err` is not known.
    """

    sci: NDArray[np.float32] = field(repr=False)
    is_bad: NDArray[np.bool_] = field(repr=False)
    err: NDArray[np.float32] | None = field(repr=False, default=None)
    is_saturated: NDArray[np.bool_] | None = field(repr=False, default=None)
    gain: float | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns."""
        return self.sci.shape[0], self.sci.shape[1]

    def cutout(self, x0: int, y0: int, nx: int, ny: int) -> ImagePlanes:
        """Return `nx` by `ny` pixels from (`x0`, `y0`) on; what lies outside carries no data."""
        if (x0, y0, ny, nx) == (0, 0, *self.shape):
            return self
        return replace(
            self,
            sci=_cut(self.sci, x0, y0, nx, ny, np.nan),
            is_bad=_cut(self.is_bad, x0, y0, nx, ny, True),
            err=None if self.err is None else _cut(self.err, x0, y0, nx, ny, np.nan),
            is_saturated=None
            if self.is_saturated is None
            else _cut(self.is_saturated, x0, y0, nx, ny, False),
        )


def _cut(
    plane: NDArray[_Pixel], x0: int, y0: int, nx: int, ny: int, fill: float
) -> NDArray[_Pixel]:
    """Cut a window out of a plane; `fill` stands where the plane does not reach."""
    window = np.full((ny, nx), fill, dtype=plane.dtype)
    rows = slice(max(y0, 0), min(y0 + ny, plane.shape[0]))
    columns = slice(max(x0, 0), min(x0 + nx, plane.shape[1]))
    if rows.stop > rows.start and columns.stop > columns.start:
        window[rows.start - y0 : rows.stop - y0, columns.start - x0 : columns.stop - x0] = plane[
            rows, columns
        ]
    return window

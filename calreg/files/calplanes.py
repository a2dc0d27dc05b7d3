"""Multiply the planes of an exposure by a correction, or divide them by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calreg.errors import UnsupportedDataError
from calreg.files.headers import BLOCK_BYTES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from calreg.units import FloatArray

_CHUNK_PIXELS = 1 << 15
"""Pixels at a time: a quarter of a megabyte in double precision stays in the cache."""


@dataclass(frozen=True)
class PixelFactor:
    """The factor of every pixel of an image, as a product.

    Attributes
    ----------
    along_y : ndarray of float64, shape (ny,)
    along_x : ndarray of float64, shape (nx,)
        The factor of pixel (x, y) is along_y[y] along_x[x].
    """

    along_y: FloatArray
    along_x: FloatArray

    @property
    def is_one(self) -> bool:
        """Whether no pixel changes."""
        return bool((self.along_y == 1.0).all() and (self.along_x == 1.0).all())

    def inverse(self) -> PixelFactor:
        """Return one over it."""
        return PixelFactor(1.0 / self.along_y, 1.0 / self.along_x)

    def squared(self) -> PixelFactor:
        """Return its square, for variances."""
        return PixelFactor(self.along_y**2, self.along_x**2)


def multiplied(data: memoryview, n_bytes: int, dtype: str, factor: PixelFactor) -> memoryview:
    """Return an image extension's data times a factor.

    Parameters
    ----------
    data : memoryview
        Data blocks: one image (ny, nx), or several of the same size behind each other.
    n_bytes : int
        Without padding.
    dtype : str
        ``>f4`` or ``>f8``.
    factor : PixelFactor

    Returns
    -------
    memoryview
        Data blocks of the same type. Products are rounded once, from double precision; NaN and
        infinity stay.

    Raises
    ------
    UnsupportedDataError
        If a product is too large for the type.
    """
    ny, nx = factor.along_y.size, factor.along_x.size
    rows = np.frombuffer(data[:n_bytes], dtype=dtype).reshape(-1, nx)
    padded = -(-n_bytes // BLOCK_BYTES) * BLOCK_BYTES
    blocks = np.empty(padded, dtype=np.uint8)
    blocks[n_bytes:] = 0
    out = blocks[:n_bytes].view(dtype).reshape(-1, nx)
    try:
        with np.errstate(over="raise", under="ignore", invalid="ignore"):
            for first in range(0, rows.shape[0], ny):
                _multiply_image(rows[first : first + ny], out[first : first + ny], factor)
    except FloatingPointError as error:
        msg = f"a pixel becomes too large for its {dtype[-1]}-byte type"
        raise UnsupportedDataError(msg) from error
    return blocks.data


def _multiply_image(
    image: NDArray[np.floating], out: NDArray[np.floating], factor: PixelFactor
) -> None:
    """Multiply one image, some rows at a time."""
    n_rows = max(1, _CHUNK_PIXELS // factor.along_x.size)
    product = np.empty((n_rows, factor.along_x.size))
    for first in range(0, image.shape[0], n_rows):
        rows = slice(first, first + n_rows)
        chunk = product[: len(image[rows])]
        np.multiply(image[rows], factor.along_x, out=chunk)
        chunk *= factor.along_y[rows, np.newaxis]
        out[rows] = chunk

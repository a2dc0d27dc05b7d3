"""Multiply the planes of an exposure by a correction, or divide them by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calreg.errors import UnsupportedDataError
from calreg.files.fits.headers import BLOCK_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from calreg.files.fits.blocks import StoredBlocks
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


@dataclass(frozen=True)
class MultipliedPlanes:
    """The data of an image extension times a factor, worked out as they are asked for.

    Attributes
    ----------
    source : StoredBlocks
        Data blocks: one image (ny, nx), or several of the same size behind each other.
    n_pixel_bytes : int
        Without padding.
    dtype : str
        ``>f4`` or ``>f8``.
    """

    source: StoredBlocks
    n_pixel_bytes: int
    dtype: str
    factor: PixelFactor

    @property
    def n_bytes(self) -> int:
        """How many bytes there are, with padding."""
        return self.n_pixel_bytes + self._n_padding

    @property
    def _n_padding(self) -> int:
        """How many bytes fill up the last block."""
        return -self.n_pixel_bytes % BLOCK_BYTES

    def chunks(self) -> Iterator[memoryview]:
        """Yield the data blocks, in pieces that are good until the next one is asked for.

        Yields
        ------
        memoryview
            Of the same type. Products are rounded once, from double precision; NaN and infinity
            stay.

        Raises
        ------
        UnsupportedDataError
            If a product is too large for the type.

        Notes
        -----
        Fresh memory for whole planes would take longer than the multiplication.
        """
        ny, nx = self.factor.along_y.size, self.factor.along_x.size
        stored = np.empty((min(ny, max(1, _CHUNK_PIXELS // nx)), nx), dtype=self.dtype)
        native = np.empty(stored.shape, dtype=self.dtype[1:])
        product = np.empty(stored.shape)
        row_bytes = nx * stored.itemsize
        for first in range(0, self.n_pixel_bytes // row_bytes, ny):
            for start in range(0, ny, len(stored)):
                n = min(len(stored), ny - start)
                piece = stored[:n].data.cast("B")
                self.source.fill((first + start) * row_bytes, piece)
                # Step by step: with mixed types NumPy converts through a small buffer.
                native[:n] = stored[:n]
                product[:n] = native[:n]
                product[:n] *= self.factor.along_x
                product[:n] *= self.factor.along_y[start : start + n, np.newaxis]
                self._round(product[:n], native[:n])
                stored[:n] = native[:n]
                yield piece
        yield memoryview(bytes(self._n_padding))

    def whole(self) -> memoryview:
        """Return the data blocks in one piece."""
        return memoryview(b"".join(self.chunks()))

    def _round(self, product: FloatArray, out: NDArray[np.floating]) -> None:
        """Round to the type of the plane."""
        try:
            with np.errstate(over="raise", under="ignore", invalid="ignore"):
                out[...] = product
        except FloatingPointError as error:
            msg = f"a pixel becomes too large for its {self.dtype[-1]}-byte type"
            raise UnsupportedDataError(msg) from error

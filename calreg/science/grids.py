"""Pixel grids on the sky: square pixels about a tangent point, and whether two of them are one.

Pixels are 0-based (x, y), sky positions ICRS [deg]; non-finite input propagates as NaN.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np
from astropy.wcs import WCS

from calreg.errors import InvalidValueError
from calreg.science.geometry import sky_from_tangent_plane, sky_position, tangent_plane
from calreg.science.geometry import unit_vectors as vectors_of
from calreg.units import ARCMIN_PER_DEG, ARCSEC_PER_DEG, FloatArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

_ARCSEC_PER_ARCMIN = ARCSEC_PER_DEG / ARCMIN_PER_DEG
STERADIAN_PER_ARCSEC2 = float(np.radians(1.0 / ARCSEC_PER_DEG) ** 2)

_SHEAR_TOLERANCE = 1e-6
"""Relative departure of a WCS from square, unsheared pixels that is rounding of its cards."""

_LATTICE_TOLERANCE_PIXELS = 1e-3
"""Two grids are one when their pixels agree to this over both; 0.06 mas at 0.06 arcsec."""


@dataclass(frozen=True)
class Grid:
    """Square pixels in the gnomonic (TAN) projection.

    Attributes
    ----------
    ra_deg, dec_deg : float
        Tangent point [deg, ICRS].
    scale_arcsec : float
        Side of a pixel at the tangent point [arcsec].
    y_pa_deg : float
        Position angle of +y at the tangent point [deg, north over east]; +x points 90 deg
        clockwise from it on the sky, so that east is to the left at 0.
    x_ref, y_ref : float
        Pixel of the tangent point, 0-based; it may lie outside.
    nx, ny : int
        Number of columns and rows.
    """

    ra_deg: float
    dec_deg: float
    scale_arcsec: float
    y_pa_deg: float
    x_ref: float
    y_ref: float
    nx: int
    ny: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, as NumPy counts."""
        return self.ny, self.nx

    @property
    def pixel_sr(self) -> float:
        """Area of a pixel at the tangent point [sr]."""
        return self.scale_arcsec**2 * STERADIAN_PER_ARCSEC2

    def wcs(self) -> WCS:
        """Return the grid as an astropy WCS (RA---TAN, DEC--TAN, PC and CDELT)."""
        wcs = WCS(naxis=2)
        angle = np.radians(self.y_pa_deg)
        scale_deg = self.scale_arcsec / ARCSEC_PER_DEG
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.cunit = ["deg", "deg"]
        wcs.wcs.radesys = "ICRS"
        wcs.wcs.crval = [self.ra_deg, self.dec_deg]
        wcs.wcs.crpix = [self.x_ref + 1.0, self.y_ref + 1.0]
        wcs.wcs.cdelt = [scale_deg, scale_deg]
        wcs.wcs.pc = [
            [-np.cos(angle), np.sin(angle)],
            [np.sin(angle), np.cos(angle)],
        ]
        wcs.pixel_shape = (self.nx, self.ny)
        wcs.wcs.set()
        return wcs

    def sky_of(self, x: ArrayLike, y: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return sky positions of pixels.

        Parameters
        ----------
        x, y : array_like of float64
            0-based, of one shape.

        Returns
        -------
        ra_deg, dec_deg : ndarray of float64
            [deg, ICRS].
        """
        dx = (np.asarray(x, float) - self.x_ref) * self.scale_arcsec / _ARCSEC_PER_ARCMIN
        dy = (np.asarray(y, float) - self.y_ref) * self.scale_arcsec / _ARCSEC_PER_ARCMIN
        cos_pa, sin_pa = np.cos(np.radians(self.y_pa_deg)), np.sin(np.radians(self.y_pa_deg))
        return sky_from_tangent_plane(
            -dx * cos_pa + dy * sin_pa, dx * sin_pa + dy * cos_pa, self.ra_deg, self.dec_deg
        )

    def pixels_of(self, ra_deg: ArrayLike, dec_deg: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return pixels of sky positions, the inverse of `sky_of`.

        Parameters
        ----------
        ra_deg, dec_deg : array_like of float64
            [deg, ICRS], of one shape.

        Returns
        -------
        x, y : ndarray of float64
            0-based; beyond the edges where the position is.

        Raises
        ------
        InvalidValueError
            If a position lies 90 deg or more from the tangent point.
        """
        xi, eta = tangent_plane(ra_deg, dec_deg, self.ra_deg, self.dec_deg)
        cos_pa, sin_pa = np.cos(np.radians(self.y_pa_deg)), np.sin(np.radians(self.y_pa_deg))
        pixels_per_arcmin = _ARCSEC_PER_ARCMIN / self.scale_arcsec
        return (
            np.asarray((-xi * cos_pa + eta * sin_pa) * pixels_per_arcmin + self.x_ref),
            np.asarray((xi * sin_pa + eta * cos_pa) * pixels_per_arcmin + self.y_ref),
        )

    def corners(self) -> FloatArray:
        """Return the outer corners of the corner pixels, ICRS (ra, dec) [deg], shape (4, 2)."""
        right, top = self.nx - 0.5, self.ny - 0.5
        return np.column_stack(self.sky_of([-0.5, right, right, -0.5], [-0.5, -0.5, top, top]))

    def cutout(self, x0: int, y0: int, nx: int, ny: int) -> Grid:
        """Return the same pixels from column `x0` and row `y0` on, `nx` by `ny` of them."""
        return replace(self, x_ref=self.x_ref - x0, y_ref=self.y_ref - y0, nx=nx, ny=ny)

    @classmethod
    def covering(
        cls,
        footprints: Sequence[FloatArray],
        scale_arcsec: float,
        y_pa_deg: float,
        margin_pixels: int = 0,
    ) -> Self:
        """Return the smallest grid about the middle of footprints that holds them all.

        Parameters
        ----------
        footprints : sequence of ndarray of float64, shape (n_vertices, 2)
            ICRS (ra, dec) [deg].
        scale_arcsec : float
            Side of a pixel [arcsec].
        y_pa_deg : float
            Position angle of +y [deg, north over east].
        margin_pixels : int
            Rows and columns added on every side.

        Returns
        -------
        Grid
            Its tangent point is the centre of a pixel.

        Raises
        ------
        InvalidValueError
            If there are no footprints, or they span 90 deg or more.
        """
        if not footprints:
            msg = "a grid needs at least one footprint"
            raise InvalidValueError(msg)
        vertices = np.concatenate(list(footprints))
        ra, dec = sky_position(vectors_of(vertices[:, 0], vertices[:, 1]).mean(axis=0))
        start = cls(float(ra), float(dec), scale_arcsec, y_pa_deg, 0.0, 0.0, 1, 1)
        x, y = start.pixels_of(vertices[:, 0], vertices[:, 1])
        x_low, y_low = (int(np.floor(v.min())) - margin_pixels for v in (x, y))
        x_high, y_high = (int(np.ceil(v.max())) + margin_pixels for v in (x, y))
        grid = start.cutout(x_low, y_low, x_high - x_low + 1, y_high - y_low + 1)
        return cls(**vars(grid))

    @classmethod
    def from_wcs(cls, wcs: WCS, shape: tuple[int, int]) -> Self:
        """Return the grid that a WCS describes.

        Parameters
        ----------
        wcs : astropy.wcs.WCS
        shape : tuple of int
            Rows and columns of the image.

        Returns
        -------
        Grid

        Raises
        ------
        InvalidValueError
            If it is no TAN projection of ICRS positions, has distortion, or its pixels are not
            square and unsheared to 1e-6, or mirrored (east to the right of north).
        """
        celestial = wcs.celestial
        if wcs.naxis < 2 or not wcs.has_celestial or wcs.has_distortion:
            msg = "its WCS is no celestial one without distortion: expected RA---TAN and DEC--TAN"
            raise InvalidValueError(msg)
        ctype = tuple(str(name) for name in celestial.wcs.ctype)
        if ctype != ("RA---TAN", "DEC--TAN"):
            msg = f"its WCS has CTYPE {ctype[0]}, {ctype[1]}: expected RA---TAN, DEC--TAN"
            raise InvalidValueError(msg)
        matrix = np.asarray(celestial.pixel_scale_matrix)
        scale_deg = float(np.sqrt(abs(np.linalg.det(matrix))))
        pa = float(np.degrees(np.arctan2(matrix[0, 1], matrix[1, 1])))
        cos_pa, sin_pa = np.cos(np.radians(pa)), np.sin(np.radians(pa))
        square = scale_deg * np.array([[-cos_pa, sin_pa], [sin_pa, cos_pa]])
        if scale_deg == 0.0 or np.abs(matrix - square).max() > _SHEAR_TOLERANCE * scale_deg:
            msg = (
                "its pixels are not square, or sheared, or mirrored: CD matrix "
                f"{np.array2string(matrix.ravel(), precision=9)} deg"
            )
            raise InvalidValueError(msg)
        ra, dec = (float(value) for value in celestial.wcs.crval)
        x_ref, y_ref = (float(value) - 1.0 for value in celestial.wcs.crpix)
        return cls(
            ra, dec, scale_deg * ARCSEC_PER_DEG, pa % 360.0, x_ref, y_ref, shape[1], shape[0]
        )

    def describe(self) -> str:
        """Return the grid in one line of FITS terms."""
        return (
            f"CRVAL {self.ra_deg:.6f} {self.dec_deg:+.6f}, CRPIX {self.x_ref + 1:.2f} "
            f"{self.y_ref + 1:.2f}, {self.scale_arcsec:.5f} arcsec per pixel, PA of y "
            f"{self.y_pa_deg:.3f} deg, {self.nx} x {self.ny} pixels"
        )


def offset_between(first: Grid, second: Grid) -> tuple[int, int] | None:
    """Return where the first pixel of one grid lies in another, if both have the same pixels.

    Parameters
    ----------
    first, second : Grid

    Returns
    -------
    tuple of int, or None
        Column and row in `first` of pixel (0, 0) of `second`; None if the pixels of the two differ
        by more than 0.001 of their size anywhere on `second`.
    """
    x_edge, y_edge = second.nx - 1.0, second.ny - 1.0
    x_second = np.array([0.0, x_edge, x_edge, 0.0])
    y_second = np.array([0.0, 0.0, y_edge, y_edge])
    try:
        x, y = first.pixels_of(*second.sky_of(x_second, y_second))
    except InvalidValueError:
        return None
    x0, y0 = round(float(x[0])), round(float(y[0]))
    departure = max(np.abs(x - x_second - x0).max(), np.abs(y - y_second - y0).max())
    return (x0, y0) if departure <= _LATTICE_TOLERANCE_PIXELS else None

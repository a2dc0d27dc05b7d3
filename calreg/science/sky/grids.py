"""Pixel grids of mosaics: square pixels on one tangent plane, 0-based pixel coordinates.

Sky positions are ICRS [deg]; a footprint is an array (n_vertices, 2) of them. Positions 90 deg or
more from the tangent point are refused (`InvalidValueError`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from calreg.errors import InvalidValueError
from calreg.science.sky.geometry import (
    field_axis,
    sky_from_tangent_plane,
    tangent_plane,
    unit_vectors,
)
from calreg.units import ARCMIN_PER_DEG, ARCSEC_PER_DEG

if TYPE_CHECKING:
    from collections.abc import Sequence

    from astropy.wcs import WCS
    from numpy.typing import ArrayLike

    from calreg.units import FloatArray

LATTICE_TOLERANCE_PX = 1e-3
"""Pixels of two grids are the same ones when their centres agree to this over all corners; an image
that is shifted by so little changes the sum over a source by less than 1e-6 of its flux."""

_SQUARE_TOLERANCE = 1e-6
"""Departure of a WCS from square pixels, relative to their side, that is rounding of its cards."""

_ARCSEC_PER_ARCMIN = ARCSEC_PER_DEG / ARCMIN_PER_DEG
_FRAMES = ("ICRS", "FK5")
_PA_DECIMALS = 9


@dataclass(frozen=True)
class Grid:
    """A pixel grid on a tangent plane (gnomonic), square pixels, east to the left of north.

    Attributes
    ----------
    ra_deg, dec_deg : float
        Tangent point [deg, ICRS].
    scale_arcsec : float
        Side of a pixel at the tangent point [arcsec].
    y_pa_deg : float
        Position angle of +y at the tangent point [deg, north over east]; +x points to 90 deg less.
    x_ref, y_ref : float
        Pixel coordinates of the tangent point, 0-based; it may lie outside the grid.
    nx, ny : int
        Pixels along x and y.

    Raises
    ------
    InvalidValueError
        If a value is not finite, the declination is beyond a pole, or scale or size is not
        positive.
    """

    ra_deg: float
    dec_deg: float
    scale_arcsec: float
    y_pa_deg: float
    x_ref: float
    y_ref: float
    nx: int
    ny: int

    def __post_init__(self) -> None:
        numbers = (self.ra_deg, self.dec_deg, self.scale_arcsec, self.y_pa_deg)
        is_finite = all(math.isfinite(value) for value in (*numbers, self.x_ref, self.y_ref))
        if (
            not is_finite
            or abs(self.dec_deg) > 90.0
            or self.scale_arcsec <= 0.0
            or min(self.nx, self.ny) < 1
        ):
            msg = (
                f"no pixel grid of {self.nx} x {self.ny} pixels of {self.scale_arcsec} arcsec at "
                f"({self.ra_deg}, {self.dec_deg}) deg, position angle {self.y_pa_deg} deg, "
                f"reference pixel ({self.x_ref}, {self.y_ref}): expected finite numbers, a "
                "declination within 90 deg, a positive scale and at least one pixel"
            )
            raise InvalidValueError(msg)

    # --- size -----------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, int]:
        """Return the shape of an image on the grid, ``(ny, nx)``."""
        return self.ny, self.nx

    @property
    def pixel_sr(self) -> float:
        """Return the solid angle of a pixel at the tangent point [sr]."""
        return math.radians(self.scale_arcsec / ARCSEC_PER_DEG) ** 2

    def describe(self) -> str:
        """Return the grid in one line of FITS terms."""
        return (
            f"CRVAL {self.ra_deg:.6f} {self.dec_deg:+.6f}, CRPIX {self.x_ref + 1.0:.2f} "
            f"{self.y_ref + 1.0:.2f}, {self.scale_arcsec:.5f} arcsec per pixel, PA of y "
            f"{self.y_pa_deg:.3f} deg, {self.nx} x {self.ny} pixels"
        )

    # --- coordinates ----------------------------------------------------------------------------

    def sky_of(self, x: ArrayLike, y: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return the sky positions of pixels.

        Parameters
        ----------
        x, y : array_like of float64, shape (...)
            Pixel coordinates, 0-based, the centre of the first pixel at (0, 0); they may lie
            outside the grid.

        Returns
        -------
        ra_deg, dec_deg : ndarray of float64, shape (...)
            ICRS [deg], right ascension in [0, 360); NaN where a coordinate is NaN.
        """
        step_arcmin = self.scale_arcsec / _ARCSEC_PER_ARCMIN
        dx = (np.asarray(x, dtype=np.float64) - self.x_ref) * step_arcmin
        dy = (np.asarray(y, dtype=np.float64) - self.y_ref) * step_arcmin
        sin_pa, cos_pa = self._sin_cos_pa()
        return sky_from_tangent_plane(
            dy * sin_pa - dx * cos_pa, dy * cos_pa + dx * sin_pa, self.ra_deg, self.dec_deg
        )

    def pixels_of(self, ra_deg: ArrayLike, dec_deg: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return the pixel coordinates of sky positions, the inverse of `sky_of`.

        Returns
        -------
        x, y : ndarray of float64, shape (...)
            Pixel coordinates, 0-based; NaN where a coordinate is NaN.
        """
        xi, eta = tangent_plane(ra_deg, dec_deg, self.ra_deg, self.dec_deg)
        step_arcmin = self.scale_arcsec / _ARCSEC_PER_ARCMIN
        sin_pa, cos_pa = self._sin_cos_pa()
        return (
            np.asarray(self.x_ref + (eta * sin_pa - xi * cos_pa) / step_arcmin),
            np.asarray(self.y_ref + (eta * cos_pa + xi * sin_pa) / step_arcmin),
        )

    def corners(self) -> FloatArray:
        """Return the outer corners of the grid.

        Returns
        -------
        ndarray of float64, shape (4, 2)
            ICRS (ra, dec) [deg] of the outer corners of the pixels (0, 0), (nx - 1, 0),
            (nx - 1, ny - 1) and (0, ny - 1).
        """
        right, top = self.nx - 0.5, self.ny - 0.5
        return np.column_stack(self.sky_of([-0.5, right, right, -0.5], [-0.5, -0.5, top, top]))

    def wcs(self) -> WCS:
        """Return the linear FITS WCS of the grid: TAN, ICRS, CDELT and a rotation."""
        from astropy.wcs import WCS  # half a second, which most that ask for pixels need not

        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.cunit = ["deg", "deg"]
        wcs.wcs.radesys = "ICRS"
        wcs.wcs.crval = [self.ra_deg, self.dec_deg]
        wcs.wcs.crpix = [self.x_ref + 1.0, self.y_ref + 1.0]
        step_deg = self.scale_arcsec / ARCSEC_PER_DEG
        sin_pa, cos_pa = self._sin_cos_pa()
        wcs.wcs.cdelt = [step_deg, step_deg]
        wcs.wcs.pc = [[-cos_pa, sin_pa], [sin_pa, cos_pa]]
        wcs.wcs.set()
        wcs.array_shape = self.shape
        return wcs

    def _sin_cos_pa(self) -> tuple[float, float]:
        """Return sine and cosine of the position angle of +y."""
        pa = math.radians(self.y_pa_deg)
        return math.sin(pa), math.cos(pa)

    # --- other grids ----------------------------------------------------------------------------

    def cutout(self, x0: int, y0: int, nx: int, ny: int) -> Grid:
        """Return a part of the grid, or an extension of it, with the same pixels.

        Parameters
        ----------
        x0, y0 : int
            Pixel of this grid that becomes (0, 0); may be negative.
        """
        return replace(self, x_ref=self.x_ref - x0, y_ref=self.y_ref - y0, nx=nx, ny=ny)

    def around(self, footprints: Sequence[FloatArray], margin_pixels: int = 0) -> Grid:
        """Return the same pixels where footprints lie, within this grid and beyond.

        Returns
        -------
        Grid
            The smallest rectangle.
        """
        (x_low, x_high), (y_low, y_high) = self._limits(footprints, margin_pixels)
        return self.cutout(x_low, y_low, x_high - x_low + 1, y_high - y_low + 1)

    def _limits(
        self, footprints: Sequence[FloatArray], margin: int
    ) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the first and last pixel along x and y that footprints and a margin reach."""
        vertices = np.concatenate([np.asarray(footprint) for footprint in footprints])
        x, y = self.pixels_of(vertices[:, 0], vertices[:, 1])
        return _reach(x, margin), _reach(y, margin)

    @classmethod
    def covering(
        cls,
        footprints: Sequence[FloatArray],
        scale_arcsec: float,
        y_pa_deg: float,
        margin_pixels: int = 0,
    ) -> Grid:
        """Return the smallest grid that holds footprints, with its tangent point in the middle.

        Parameters
        ----------
        footprints : sequence of ndarray of float64, shape (n_vertices, 2)
            ICRS (ra, dec) [deg]; their order does not change the grid.
        y_pa_deg : float
            Position angle of +y [deg, north over east].

        Returns
        -------
        Grid
            Its tangent point is the centre of a pixel, in the middle or next to it.

        Raises
        ------
        InvalidValueError
            Without a footprint, for a non-finite coordinate or angle, or for a scale or a margin
            that cannot be one.
        """
        if margin_pixels < 0:
            msg = f"margin of {margin_pixels} pixels: expected zero or more"
            raise InvalidValueError(msg)
        axis = field_axis(footprints, y_pa_deg)
        centre = cls(
            ra_deg=axis.origin_ra_deg,
            dec_deg=axis.origin_dec_deg,
            scale_arcsec=scale_arcsec,
            y_pa_deg=round(y_pa_deg % 360.0, _PA_DECIMALS) % 360.0,
            x_ref=0.0,
            y_ref=0.0,
            nx=1,
            ny=1,
        )
        return centre.around(footprints, margin_pixels)

    @classmethod
    def from_wcs(cls, wcs: WCS, shape: tuple[int, int]) -> Grid:
        """Return the grid of an image.

        Raises
        ------
        InvalidValueError
            If the projection is not TAN, the frame neither ICRS nor FK5 of 2000, the image is
            distorted (SIP or tables), mirrored, or its pixels are not square, to 1e-6.
        """
        _refuse_if(_why_no_tangent_plane(wcs))
        plane = wcs.celestial
        return cls.from_tangent_plane(
            plane.wcs.crval, plane.wcs.crpix, plane.pixel_scale_matrix, shape
        )

    @classmethod
    def from_tangent_plane(
        cls,
        crval_deg: Sequence[float] | FloatArray,
        crpix: Sequence[float] | FloatArray,
        matrix_deg: ArrayLike,
        shape: tuple[int, int],
    ) -> Grid:
        """Return the grid of an image by the cards of its tangent plane.

        Parameters
        ----------
        crval_deg, crpix : sequence of float, shape (2,)
            The cards CRVAL [deg, ICRS] and CRPIX.
        matrix_deg : array_like of float64, shape (2, 2)
            Of pixels to the plane: CDELT times PC [deg].

        Raises
        ------
        InvalidValueError
            If the image is mirrored, or its pixels are not square, to 1e-6.
        """
        _refuse_if(_why_not_square(matrix_deg))
        (xx, xy), (yx, yy) = np.asarray(matrix_deg, dtype=np.float64)
        scale_deg = math.sqrt(abs(float(xx * yy - xy * yx)))
        # the mean of the two axes, equal to the tolerance
        pa_rad = math.atan2(float(xy + yx), float(yy - xx))
        ny, nx = shape
        return cls(
            ra_deg=float(crval_deg[0]),
            dec_deg=float(crval_deg[1]),
            scale_arcsec=scale_deg * ARCSEC_PER_DEG,
            y_pa_deg=math.degrees(pa_rad) % 360.0,
            x_ref=float(crpix[0]) - 1.0,
            y_ref=float(crpix[1]) - 1.0,
            nx=int(nx),
            ny=int(ny),
        )


def _reach(pixels: FloatArray, margin: int) -> tuple[int, int]:
    """Return the first and last pixel of an axis that positions and a margin reach."""
    low = math.floor(float(pixels.min()) + 0.5 + LATTICE_TOLERANCE_PX)
    high = math.ceil(float(pixels.max()) - 0.5 - LATTICE_TOLERANCE_PX)
    return low - margin, high + margin


def _refuse_if(problem: str) -> None:
    """Raise if something keeps an image from having a grid."""
    if problem:
        msg = f"{problem}: expected a plain tangent-plane grid (TAN) of square pixels"
        raise InvalidValueError(msg)


def _why_no_tangent_plane(wcs: WCS) -> str:
    """Return why a WCS is no plain tangent plane, empty if it is one."""
    if not wcs.has_celestial:
        found = ", ".join(repr(str(kind)) for kind in wcs.wcs.ctype)
        return f"the WCS has no axes on the sky (CTYPE {found})"
    if wcs.has_distortion:
        return "the WCS has distortion terms (SIP or lookup tables)"
    plane = wcs.celestial
    plane.wcs.set()
    kinds = tuple(str(kind).rstrip() for kind in plane.wcs.ctype)
    if kinds != ("RA---TAN", "DEC--TAN"):
        return f"the WCS has CTYPE {kinds[0]!r}, {kinds[1]!r}"
    frame, equinox = str(plane.wcs.radesys).strip() or "ICRS", float(plane.wcs.equinox)
    if frame not in _FRAMES or (frame == "FK5" and equinox != 2000.0):
        return f"the WCS is in {frame}, equinox {equinox:g}"
    if abs(float(plane.wcs.lonpole) - 180.0) > _SQUARE_TOLERANCE:
        return f"the WCS has LONPOLE {float(plane.wcs.lonpole):g} deg"
    return ""


def _why_not_square(matrix_deg: ArrayLike) -> str:
    """Return why pixels are not square and upright, empty if they are."""
    (xx, xy), (yx, yy) = np.asarray(matrix_deg, dtype=np.float64)
    determinant = float(xx * yy - xy * yx)
    if not determinant < 0.0:
        return "the WCS is mirrored (east to the right of north), or singular"
    departure = math.hypot(float(xx + yy), float(xy - yx)) / math.sqrt(-determinant)
    if departure > _SQUARE_TOLERANCE:
        return f"the pixels are stretched or sheared by {departure:.1e} of their side"
    return ""


def offset_between(first: Grid, second: Grid) -> tuple[int, int] | None:
    """Return the offset of the second grid in the first when both have the same pixels.

    Returns
    -------
    tuple of int or None
        ``(x, y)`` of the second grid's pixel (0, 0) in the first, negative when it begins outside;
        None when the pixels differ by more than `LATTICE_TOLERANCE_PX` anywhere on the second grid.
    """
    x = np.array([0.0, second.nx - 1.0, second.nx - 1.0, 0.0])
    y = np.array([0.0, 0.0, second.ny - 1.0, second.ny - 1.0])
    ra_deg, dec_deg = second.sky_of(x, y)
    if np.any(unit_vectors(ra_deg, dec_deg) @ unit_vectors(first.ra_deg, first.dec_deg) <= 0.0):
        return None
    x_first, y_first = first.pixels_of(ra_deg, dec_deg)
    dx, dy = x_first - x, y_first - y
    x0, y0 = round(float(dx[0])), round(float(dy[0]))
    departure = max(float(np.abs(dx - x0).max()), float(np.abs(dy - y0).max()))
    return (x0, y0) if departure <= LATTICE_TOLERANCE_PX else None

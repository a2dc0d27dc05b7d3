"""From a catalog's fluxes to AB magnitudes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calreg.domain import Detections
from calreg.errors import CatalogColumnError
from calreg.units import (
    ARCSEC_PER_DEG,
    MAG_PER_RELATIVE_FLUX,
    ab_flux_ujy,
    ab_mag,
    surface_brightness_to_ujy,
)

if TYPE_CHECKING:
    from calreg.domain import Catalog
    from calreg.units import (
        FloatArray,
    )

MAG_DISAGREEMENT_LIMIT = 0.001
"""Difference between computed and stated magnitudes that is worth a report [mag]."""

_SURFACE_BRIGHTNESS_UNIT = "MJy/sr"


@dataclass(frozen=True)
class CalibratedCatalog:
    """Detections in calreg's units, and where their magnitudes came from.

    Attributes
    ----------
    mag_origin : str
        ``flux``: computed from fluxes; ``catalog``: as the catalog states them.
    mag_disagreement : float or None
        Median (computed - stated) [mag]; None when one of the two is missing.
    n_disagreeing : int
        Rows that differ by more than `MAG_DISAGREEMENT_LIMIT`.
    """

    detections: Detections
    mag_origin: str
    mag_disagreement: float | None
    n_disagreeing: int


def calibrate_catalog(catalog: Catalog, *, bunit: str, pixar_sr: float | None) -> CalibratedCatalog:
    """Compute AB magnitudes from fluxes where the image allows it, else take the catalog's.

    Raises
    ------
    CatalogColumnError
        If neither fluxes with a known unit nor magnitudes are there.

    Notes
    -----
    For an image in MJy/sr, AB = -2.5 log10(sum * PIXAR_SR * 1e6) + 8.90, whatever zero point the
    catalog was made with.
    """
    scale_ujy = _flux_scale_ujy(catalog, bunit, pixar_sr)
    has_stated = bool(np.isfinite(catalog.mag).any())
    if scale_ujy is None:
        if not has_stated:
            msg = (
                f"fluxes are sums of an image in {bunit or 'an unknown unit'} "
                f"with PIXAR_SR={pixar_sr or 'missing'}, and there are no magnitudes; expected an "
                "image in MJy/sr with PIXAR_SR, or a magnitude column"
            )
            raise CatalogColumnError(msg)
        with np.errstate(over="ignore"):
            flux_ujy = _finite(ab_flux_ujy(catalog.mag))
            flux_err_ujy = _finite(flux_ujy * catalog.mag_err / MAG_PER_RELATIVE_FLUX)
        return CalibratedCatalog(
            _detections(catalog, pixar_sr, (flux_ujy, flux_err_ujy, catalog.mag, catalog.mag_err)),
            "catalog",
            None,
            0,
        )
    flux_ujy = catalog.flux * scale_ujy
    flux_err_ujy = catalog.flux_err * scale_ujy
    mag = ab_mag(flux_ujy)
    has_mag = np.isfinite(mag)
    mag_err = np.full(mag.shape, np.nan)
    with np.errstate(over="ignore"):
        np.divide(MAG_PER_RELATIVE_FLUX * flux_err_ujy, flux_ujy, out=mag_err, where=has_mag)
    difference = (mag - catalog.mag)[has_mag & np.isfinite(catalog.mag)]
    return CalibratedCatalog(
        _detections(catalog, pixar_sr, (flux_ujy, flux_err_ujy, mag, mag_err)),
        "flux",
        float(np.median(difference)) if difference.size else None,
        int((np.abs(difference) > MAG_DISAGREEMENT_LIMIT).sum()),
    )


def _flux_scale_ujy(catalog: Catalog, bunit: str, pixar_sr: float | None) -> float | None:
    """Return microjansky per unit of the catalog's flux, or None if that is not known."""
    if catalog.flux_unit == "uJy":
        return 1.0
    if catalog.flux_unit == "image" and bunit == _SURFACE_BRIGHTNESS_UNIT and pixar_sr is not None:
        return surface_brightness_to_ujy(pixar_sr)
    return None


def _detections(
    catalog: Catalog,
    pixar_sr: float | None,
    brightness: tuple[FloatArray, FloatArray, FloatArray, FloatArray],
) -> Detections:
    """Put the pieces together; an infinity that is no position and no flux is unknown."""
    n_rows = catalog.number.size
    flux_ujy, flux_err_ujy, mag_ab, mag_err = brightness
    return Detections(
        number=catalog.number,
        ra_deg=catalog.ra_deg,
        dec_deg=catalog.dec_deg,
        x=_finite(catalog.x),
        y=_finite(catalog.y),
        flux_ujy=flux_ujy,
        flux_err_ujy=flux_err_ujy,
        mag_ab=mag_ab,
        mag_err=_finite(mag_err),
        flags=catalog.flags,
        x_det=_known(catalog.x_det, n_rows),
        y_det=_known(catalog.y_det, n_rows),
        v2_arcsec=_known(catalog.v2_arcsec, n_rows),
        v3_arcsec=_known(catalog.v3_arcsec, n_rows),
        r_half_arcsec=_known(_r_half_arcsec(catalog, pixar_sr), n_rows),
        compactness=np.full(n_rows, -1, dtype=np.int64)
        if catalog.compactness is None
        else catalog.compactness,
    )


def _r_half_arcsec(catalog: Catalog, pixar_sr: float | None) -> FloatArray | None:
    """Return half-light radii [arcsec], None where they or the size of a pixel are unknown."""
    if catalog.r_half_pixels is None or pixar_sr is None:
        return catalog.r_half_arcsec
    return catalog.r_half_pixels * float(np.degrees(np.sqrt(pixar_sr))) * ARCSEC_PER_DEG


def _known(values: FloatArray | None, n_rows: int) -> FloatArray:
    """Return values with NaN for what is unknown."""
    return np.full(n_rows, np.nan) if values is None else _finite(values)


def _finite(values: FloatArray) -> FloatArray:
    """Return NaN for infinities."""
    return np.where(np.isfinite(values), values, np.nan)

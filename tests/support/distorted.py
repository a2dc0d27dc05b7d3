"""Exposures with the distortion of a real NIRCam detector, and sources on them, for tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS, Sip

# SIP terms of NRCALONG, from the header of jw01227002001_02105_00001_nrcalong_cal.fits.
SIP_A = {
    (0, 2): -1.5453677386174e-06,
    (0, 3): 6.10893686062316e-12,
    (1, 1): -1.1649381936847e-05,
    (1, 2): 1.78332574931013e-09,
    (2, 0): 1.87885281901476e-06,
    (2, 1): -5.0099206886796e-11,
    (3, 0): 1.64856852203092e-09,
}
SIP_B = {
    (0, 2): -6.7504613529845e-06,
    (0, 3): 1.71073956685069e-09,
    (1, 1): 3.58426378071039e-06,
    (1, 2): -5.7238452771782e-11,
    (2, 0): 4.98073276467236e-06,
    (2, 1): 1.67195993816551e-09,
    (3, 0): -9.5765664048086e-13,
}
LW_SCALE_ARCSEC = 0.063
SIGMA_PER_FWHM = 1.0 / np.sqrt(8.0 * np.log(2.0))


@dataclass(frozen=True)
class DistortedSky:
    """A FITS WCS with SIP terms, as `sky_of`."""

    wcs: WCS

    def sky_of(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ra_deg, dec_deg = self.wcs.all_pix2world(x, y, 0)
        return ra_deg, dec_deg

    def footprint(self, n_pixels: int) -> np.ndarray:
        edge = n_pixels - 0.5
        corners = np.array([-0.5, edge, edge, -0.5]), np.array([-0.5, -0.5, edge, edge])
        return np.column_stack(self.sky_of(*corners))


def distorted_sky(
    ra_deg: float,
    dec_deg: float,
    y_pa_deg: float,
    n_pixels: int = 2048,
    *,
    scale_arcsec: float = LW_SCALE_ARCSEC,
    centre: float | None = None,
) -> DistortedSky:
    """Return a detector of a side of `n_pixels`; its distortion has its centre in the middle, or
    at the pixel `centre` on both axes, as of a cut-out."""
    middle = 0.5 * n_pixels if centre is None else centre
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.crval = [ra_deg, dec_deg]
    wcs.wcs.crpix = [middle + 0.5, middle + 0.5]
    wcs.wcs.radesys = "ICRS"
    step, pa = scale_arcsec / 3600.0, np.radians(y_pa_deg)
    # Pixels of NRCALONG are 0.4 per cent longer along y.
    wcs.wcs.cd = step * np.array(
        [[-np.cos(pa), 1.004 * np.sin(pa)], [np.sin(pa), 1.004 * np.cos(pa)]]
    )
    a, b = np.zeros((4, 4)), np.zeros((4, 4))
    for place, value in SIP_A.items():
        a[place] = value
    for place, value in SIP_B.items():
        b[place] = value
    wcs.sip = Sip(a, b, None, None, wcs.wcs.crpix)
    wcs.wcs.set()
    return DistortedSky(wcs)


def add_star(
    sci: np.ndarray,
    sky: DistortedSky,
    ra_deg: float,
    dec_deg: float,
    flux: float,
    *,
    fwhm_arcsec: float = 0.145,
    half_px: int = 14,
    oversampling: int = 5,
) -> None:
    """Add a round Gaussian source of a flux [unit of `sci` x arcsec^2], averaged over pixels."""
    (x0,), (y0,) = sky.wcs.all_world2pix([ra_deg], [dec_deg], 0, tolerance=1e-7)
    x_low, y_low = round(float(x0)) - half_px, round(float(y0)) - half_px
    n = 2 * half_px + 1
    sub = (np.arange(n * oversampling) + 0.5) / oversampling - 0.5
    x, y = np.meshgrid(x_low + sub, y_low + sub)
    ra, dec = sky.sky_of(x, y)
    east = (ra - ra_deg) * np.cos(np.radians(dec_deg)) * 3600.0
    north = (dec - dec_deg) * 3600.0
    sigma = fwhm_arcsec * SIGMA_PER_FWHM
    profile = np.exp(-0.5 * (east**2 + north**2) / sigma**2) / (2.0 * np.pi * sigma**2)
    stamp = flux * profile.reshape(n, oversampling, n, oversampling).mean(axis=(1, 3))
    rows = slice(max(y_low, 0), min(y_low + n, sci.shape[0]))
    columns = slice(max(x_low, 0), min(x_low + n, sci.shape[1]))
    sci[rows, columns] += stamp[
        rows.start - y_low : rows.stop - y_low, columns.start - x_low : columns.stop - x_low
    ].astype(sci.dtype)


def windowed_centroid(
    image: np.ndarray, x: float, y: float, sigma_px: float, half_px: int = 12
) -> tuple[float, float]:
    """Return the Gaussian-windowed centroid of a source, iterated (SExtractor's XWIN, YWIN)."""
    for _ in range(40):
        x_low, y_low = round(x) - half_px, round(y) - half_px
        rows, columns = np.mgrid[y_low : y_low + 2 * half_px + 1, x_low : x_low + 2 * half_px + 1]
        stamp = image[y_low : y_low + 2 * half_px + 1, x_low : x_low + 2 * half_px + 1]
        weights = stamp * np.exp(-0.5 * ((columns - x) ** 2 + (rows - y) ** 2) / sigma_px**2)
        dx = 2.0 * float((weights * (columns - x)).sum() / weights.sum())
        dy = 2.0 * float((weights * (rows - y)).sum() / weights.sum())
        x, y = x + dx, y + dy
        if abs(dx) + abs(dy) < 1e-6:
            break
    return x, y

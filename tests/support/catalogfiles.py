"""One small set of sources, written in every format of catalog that ingest takes.

Fluxes are sums of pixels of an image in MJy/sr with the PIXAR_SR of `fitsimages`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import QTable

from calreg.simulation.ldac import write_ldac
from support.fitsimages import SCIENCE_CARDS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

PIXAR_SR = float(SCIENCE_CARDS["PIXAR_SR"])  # type: ignore[arg-type]

NUMBER = np.array([1, 2, 5, 9])
RA_DEG = np.array([265.1021, 265.1043, 265.1101, 265.1152])
DEC_DEG = np.array([65.8041, 65.8093, 65.8112, 65.8171])
X_FITS = np.array([10.5, 200.25, 1024.0, 2000.75])
Y_FITS = np.array([11.5, 300.25, 512.0, 99.75])
FLUX = np.array([812.5, 91.25, 10.5, 2.125])
FLUX_ERR = np.array([0.5, 0.25, 0.125, 0.0625])
FLUX_AUTO = 1.0625 * FLUX
FLAGS = np.array([0, 2, 0, 0])

# AB = -2.5 log10(sum PIXAR_SR 1e6) + 8.90 (DESIGN of the ingest; STScI's PIXAR_SR convention)
ZERO_POINT_MAG = 8.90 - 2.5 * np.log10(PIXAR_SR * 1e6)
MAG = ZERO_POINT_MAG - 2.5 * np.log10(FLUX)
MAG_ERR = 2.5 / np.log(10.0) * FLUX_ERR / FLUX
FLUX_UJY = FLUX * PIXAR_SR * 1e12

FLUX_COLUMNS = ("FLUX_ISO", "FLUXERR_ISO", "FLUX_AUTO", "FLUXERR_AUTO")


def sextractor_columns(zero_point_mag: float = ZERO_POINT_MAG) -> dict[str, NDArray[np.generic]]:
    """Return SExtractor's columns, with magnitudes of any MAG_ZEROPOINT."""
    columns: dict[str, NDArray[np.generic]] = {
        "NUMBER": NUMBER,
        "X_IMAGE": X_FITS,
        "Y_IMAGE": Y_FITS,
        "ALPHA_J2000": RA_DEG,
        "DELTA_J2000": DEC_DEG,
    }
    for kind, flux in (("ISO", FLUX), ("AUTO", FLUX_AUTO)):
        columns[f"FLUX_{kind}"] = flux
        columns[f"FLUXERR_{kind}"] = FLUX_ERR
        columns[f"MAG_{kind}"] = zero_point_mag - 2.5 * np.log10(flux)
        columns[f"MAGERR_{kind}"] = 2.5 / np.log(10.0) * FLUX_ERR / flux
    columns["FLAGS"] = FLAGS
    return columns


def write_ldac_catalog(
    path: Path,
    image: str,
    *,
    zero_point_mag: float = ZERO_POINT_MAG,
    header: Mapping[str, object] | None = None,
    **changes: Any,
) -> Path:
    """Write FITS_LDAC with some columns changed."""
    columns = {**sextractor_columns(zero_point_mag), **changes}
    cards = fits.Header([("EXTNAME", "SCI"), *(header or {}).items()]).cards
    write_ldac(path, columns, [card.image for card in cards], image, mag_zero_point=zero_point_mag)
    return path


def write_fits_catalog(path: Path, image: str) -> Path:
    """Write FITS_1.0: FITSFILE is in the primary header, as SExtractor 2.25 writes it."""
    primary = fits.PrimaryHDU()
    primary.header["ORIGIN"] = "SExtractor"
    primary.header["FITSFILE"] = image
    table = fits.BinTableHDU(QTable(sextractor_columns()), name="OBJECTS")
    fits.HDUList([primary, table]).writeto(path)
    return path


def write_ascii_catalog(path: Path) -> Path:
    """Write ASCII_HEAD, which does not name the image."""
    columns = sextractor_columns()
    head = [f"# {i:3d} {name:<22} column" for i, name in enumerate(columns, start=1)]
    rows = [" ".join(repr(value.item()) for value in row) for row in zip(*columns.values())]  # noqa: B905
    path.write_text("\n".join([*head, *rows]) + "\n")
    return path


def write_jwst_catalog(path: Path) -> Path:
    """Write the pipeline's ECSV; fluxes are in Jy there."""
    table = QTable(
        {
            "label": NUMBER,
            "xcentroid": (X_FITS - 1.0) * u.pix,
            "ycentroid": (Y_FITS - 1.0) * u.pix,
            "sky_centroid": SkyCoord(RA_DEG, DEC_DEG, unit="deg"),
            "isophotal_flux": FLUX_UJY * 1e-6 * u.Jy,
            "isophotal_flux_err": FLUX_ERR * PIXAR_SR * 1e6 * u.Jy,
            "isophotal_abmag": MAG,
            "isophotal_abmag_err": MAG_ERR,
        }
    )
    table.write(path, format="ascii.ecsv")
    return path


def generic_table() -> QTable:
    """Return columns under plain names, fluxes in uJy."""
    return QTable(
        {
            "id": NUMBER,
            "ra": RA_DEG * u.deg,
            "dec": DEC_DEG * u.deg,
            "x": X_FITS - 1.0,
            "y": Y_FITS - 1.0,
            "flux": FLUX_UJY * u.uJy,
            "flux_err": FLUX_ERR * PIXAR_SR * 1e12 * u.uJy,
            "flags": FLAGS,
        }
    )


def write_csv(path: Path, rows: str = "") -> Path:
    """Write magnitudes as CSV, perhaps other rows than the set's."""
    lines = "".join(
        f"{n},{ra!r},{dec!r},{mag!r},{err!r}\n"
        for n, ra, dec, mag, err in zip(
            NUMBER.tolist(),
            RA_DEG.tolist(),
            DEC_DEG.tolist(),
            MAG.tolist(),
            MAG_ERR.tolist(),
            strict=True,
        )
    )
    path.write_text("id,ra,dec,mag,mag_err\n" + (rows or lines))
    return path

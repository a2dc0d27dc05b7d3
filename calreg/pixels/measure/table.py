"""The table that `calreg measure --out` writes: SExtractor's columns, with units."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from calreg.domain import FluxKind
from calreg.errors import InvalidValueError
from calreg.files.catalogs.write import CatalogTable
from calreg.pixels.measure.catalog import KINDS, catalog_of
from calreg.pixels.measure.options import OUT_PLACEHOLDER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from calreg.pixels.measure.catalog import MeasuredMosaic
    from calreg.pixels.measure.options import MeasureOptions

_FIRST_FITS_PIXEL = 1.0

_UNITS = {
    **dict.fromkeys(("X_IMAGE", "Y_IMAGE", "XWIN_IMAGE", "YWIN_IMAGE"), "pix"),
    **dict.fromkeys(("A_IMAGE", "B_IMAGE", "FLUX_RADIUS"), "pix"),
    **dict.fromkeys(("ALPHA_J2000", "DELTA_J2000"), "deg"),
    **dict.fromkeys(("ALPHAWIN_J2000", "DELTAWIN_J2000", "THETA_IMAGE"), "deg"),
    "ISOAREAF_IMAGE": "pix2",
}

_DESCRIPTIONS = {
    "NUMBER": "row identifier, the same for all fluxes",
    "X_IMAGE": "isophotal centroid on the detection image, in pixels of the image, first is 1",
    "Y_IMAGE": "isophotal centroid on the detection image, in pixels of the image, first is 1",
    "XWIN_IMAGE": "windowed centroid on the image, first pixel is 1",
    "YWIN_IMAGE": "windowed centroid on the image, first pixel is 1",
    "ALPHA_J2000": "right ascension of the isophotal centroid, ICRS",
    "DELTA_J2000": "declination of the isophotal centroid, ICRS",
    "ALPHAWIN_J2000": "right ascension of the windowed centroid, ICRS",
    "DELTAWIN_J2000": "declination of the windowed centroid, ICRS",
    "FLUX_ISO": "flux inside the isophote of the detection image",
    "FLUX_AUTO": "flux in the Kron ellipse of the detection image",
    "FLUX_APER": "flux in the fixed aperture",
    "SNR_ISO": "FLUX_ISO over FLUXERR_ISO",
    "FLUX_RADIUS": "radius of half of FLUX_AUTO",
    "KRON_RADIUS": "radius of the Kron ellipse in units of A_IMAGE and B_IMAGE",
    "A_IMAGE": "rms extent along the major axis",
    "B_IMAGE": "rms extent along the minor axis",
    "THETA_IMAGE": "angle of A_IMAGE from +x towards +y",
    "ISOAREAF_IMAGE": "pixels of the isophote",
    "IS_COMPACT": "1 compact, 0 extended, -1 unknown",
    "FLAGS": "SExtractor's bits",
}


def catalog_table(measured: MeasuredMosaic, options: MeasureOptions) -> CatalogTable:
    """Return what is written of a mosaic.

    Returns
    -------
    CatalogTable
        Fluxes in microjansky, magnitudes AB; NaN where there is none.
    """
    sources = measured.sources
    columns: dict[str, NDArray[np.generic]] = {
        "NUMBER": np.arange(1, sources.n_sources + 1, dtype=np.int32),
        "X_IMAGE": measured.x_iso + _FIRST_FITS_PIXEL,
        "Y_IMAGE": measured.y_iso + _FIRST_FITS_PIXEL,
        "XWIN_IMAGE": sources.x_win + _FIRST_FITS_PIXEL,
        "YWIN_IMAGE": sources.y_win + _FIRST_FITS_PIXEL,
        "ALPHA_J2000": sources.ra_iso_deg,
        "DELTA_J2000": sources.dec_iso_deg,
        "ALPHAWIN_J2000": sources.ra_win_deg,
        "DELTAWIN_J2000": sources.dec_win_deg,
    }
    units = dict(_UNITS)
    for kind in KINDS:
        suffix = kind.upper()
        flux, flux_err = measured.flux(kind)
        columns[f"FLUX_{suffix}"] = flux * measured.flux_scale_ujy
        columns[f"FLUXERR_{suffix}"] = flux_err * measured.flux_scale_ujy
        columns[f"MAG_{suffix}"], columns[f"MAGERR_{suffix}"] = measured.mag(kind)
        units |= {f"{name}_{suffix}": "uJy" for name in ("FLUX", "FLUXERR")}
        units |= {f"{name}_{suffix}": "mag" for name in ("MAG", "MAGERR")}
    columns |= {
        "SNR_ISO": sources.snr,
        "FLUX_RADIUS": sources.r_half_px,
        "KRON_RADIUS": sources.kron_radius,
        "A_IMAGE": sources.a_px,
        "B_IMAGE": sources.b_px,
        "THETA_IMAGE": np.degrees(sources.theta_rad),
        "ISOAREAF_IMAGE": sources.n_pixels.astype(np.int32),
        "IS_COMPACT": measured.compact.compactness.astype(np.int16),
        "FLAGS": sources.flags.astype(np.int16),
    }
    head = catalog_of(measured, options, FluxKind.ISO)
    return CatalogTable(
        columns=columns,
        units=units,
        descriptions=_DESCRIPTIONS,
        image_name=head.image_name,
        detection_image_name=head.detection_image_name,
        software=head.software,
        settings=head.settings,
    )


def out_paths(out: Path, mosaics: Sequence[Path]) -> dict[Path, Path]:
    """Return the file that is written for each mosaic.

    Parameters
    ----------
    out : Path
        Where it holds ``{}``, the mosaic's name without ending takes its place.

    Raises
    ------
    InvalidValueError
        If two mosaics would be written to one file.
    """
    found = {
        mosaic: Path(str(out).replace(OUT_PLACEHOLDER, mosaic.name.removesuffix(mosaic.suffix)))
        for mosaic in mosaics
    }
    if len(set(found.values())) < len(found):
        example = out.with_name(f"{OUT_PLACEHOLDER}{out.suffix or '.ecsv'}")
        msg = (
            f"--out {out}: {len(found)} mosaics would go to one file: put {OUT_PLACEHOLDER} where "
            f"the name of each is to stand, such as {example}"
        )
        raise InvalidValueError(msg)
    return found

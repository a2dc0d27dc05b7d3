"""The real SExtractor in dual-image mode, with the settings that calreg has by default."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import numpy as np
from astropy.io import fits

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from calreg.science.photometry.settings import DetectionSettings

COLUMNS = (
    "NUMBER", "X_IMAGE", "Y_IMAGE", "XWIN_IMAGE", "YWIN_IMAGE", "FLUX_ISO", "FLUXERR_ISO",
    "MAG_ISO", "FLUX_AUTO", "FLUXERR_AUTO", "FLUX_APER", "FLUXERR_APER", "FLUX_RADIUS",
    "KRON_RADIUS", "ISOAREA_IMAGE", "A_IMAGE", "B_IMAGE", "THETA_IMAGE", "FLAGS", "FLAGS_WIN",
)  # fmt: skip


def find_program() -> str | None:
    """Return SExtractor's name on the PATH, as Debian or as its authors call it."""
    return next((name for name in ("source-extractor", "sex") if shutil.which(name)), None)


def configure(folder: Path, settings: DetectionSettings, scale_arcsec: float) -> Path:
    """Write SExtractor's files for equal settings and return the configuration."""
    (folder / "columns.param").write_text("\n".join(COLUMNS) + "\n", encoding="ascii")
    (folder / "kernel.conv").write_text("CONV NORM\n1 2 1\n2 4 2\n1 2 1\n", encoding="ascii")
    cards = {
        "CATALOG_TYPE": "FITS_1.0",
        "PARAMETERS_NAME": folder / "columns.param",
        "FILTER": "Y",
        "FILTER_NAME": folder / "kernel.conv",
        "DETECT_TYPE": "CCD",
        "THRESH_TYPE": "RELATIVE",
        "DETECT_THRESH": settings.threshold_sigma,
        "ANALYSIS_THRESH": settings.threshold_sigma,
        "DETECT_MINAREA": settings.min_area_pixels,
        "DEBLEND_NTHRESH": settings.deblend_levels,
        "DEBLEND_MINCONT": settings.deblend_contrast,
        "CLEAN": "Y" if settings.clean > 0.0 else "N",
        "CLEAN_PARAM": settings.clean or 1.0,
        "MASK_TYPE": "CORRECT",
        "BACK_SIZE": settings.background_box_pixels,
        "BACK_FILTERSIZE": settings.background_filter_boxes,
        "BACKPHOTO_TYPE": "GLOBAL",
        "WEIGHT_TYPE": "NONE",
        "GAIN": 0.0,
        "GAIN_KEY": "NO_GAIN",
        "SATUR_LEVEL": 1e9,
        "SATUR_KEY": "NO_SATUR",
        "MAG_ZEROPOINT": 0.0,
        "PHOT_APERTURES": 2.0 * settings.aperture_radius_arcsec / scale_arcsec,
        "PHOT_AUTOPARAMS": f"{settings.kron_factor},{settings.kron_min_radius}",
        "PHOT_AUTOAPERS": "0.0,0.0",
        "PHOT_FLUXFRAC": 0.5,
        "PIXEL_SCALE": scale_arcsec,
        "SEEING_FWHM": 0.1,
        "NTHREADS": 1,
        "VERBOSE_TYPE": "QUIET",
        "WRITE_XML": "N",
    }
    path = folder / "default.sex"
    path.write_text("".join(f"{key} {value}\n" for key, value in cards.items()), encoding="ascii")
    return path


def run_dual(configuration: Path, detection: Path, measured: Path, catalog: Path) -> None:
    """Detect on one image and measure another, in one process with one thread."""
    program = find_program()
    if program is None:
        msg = "SExtractor is not on the PATH: expected source-extractor or sex"
        raise RuntimeError(msg)
    images = f"{detection},{measured}"
    command = [program, images, "-c", str(configuration), "-CATALOG_NAME", str(catalog)]
    subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603


def read_catalog(path: Path) -> NDArray[np.void]:
    """Return the table that SExtractor wrote."""
    with fits.open(path, memmap=False) as hdus:
        table = np.asarray(hdus[1].data)
    return table.astype(table.dtype.newbyteorder("="))

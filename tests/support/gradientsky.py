"""Stars on the sky seen by the long-wavelength arrays at two rolls, with a known detector gradient.

Geometry is pysiaf's, with distortion, and so independent of calreg's own. Each array reads
``m = M + Z + slope . (x, y) + noise`` in its own pixels; no axis of the field is known here.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from calreg.instruments import load_instrument
from calreg.science.sky.geometry import s_region_text
from support.catalogfiles import ZERO_POINT_MAG, write_ldac_catalog
from support.fitsimages import write_image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from calreg.units import FloatArray

    Correct = Callable[[str, FloatArray, FloatArray, FloatArray], FloatArray]

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # pysiaf warns that it cannot look for a newer database
    import pysiaf
    from pysiaf.utils import rotations

NIRCAM = load_instrument()
ARRAYS = ("nrcalong", "nrcblong")
PMAP = "jwst_1130.pmap"
BAND = "F444W"
N_PIXELS = 2048
MIDDLE = 0.5 * (N_PIXELS - 1)

FIELD_RA_DEG, FIELD_DEC_DEG = 53.0, -27.8
MIDDLE_V2_V3_ARCSEC = (-1.3, -492.6)
PA_V3_DEG = 37.0
PHOTMJSR = {"nrcalong": 0.402, "nrcblong": 0.371}
NOISE_MAG = 0.002
PIXEL_AREA_SR = 9.31e-14


@dataclass(frozen=True)
class DetectorTruth:
    """What one array does to magnitudes: Z + per_x (x - middle) + per_y (y - middle) [mag]."""

    offset_mag: float
    per_x_mag: float
    per_y_mag: float = 0.0

    def at(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Return how much too faint pixels (0-based) read [mag]."""
        return self.offset_mag + self.per_x_mag * (x - MIDDLE) + self.per_y_mag * (y - MIDDLE)


@dataclass(frozen=True)
class Pointing:
    """An epoch: when, at which roll, and how far the field's centre is off [arcsec]."""

    start_mjd_utc: float
    pa_v3_deg: float
    east_arcsec: float = 0.0
    north_arcsec: float = 0.0


POINTINGS = (
    Pointing(59768.3, PA_V3_DEG),
    Pointing(59950.3, PA_V3_DEG + 179.3, east_arcsec=4.0, north_arcsec=-3.0),
)


def write_epochs(
    folder: Path,
    truth: dict[str, DetectorTruth],
    *,
    seed: int,
    pointings: tuple[Pointing, ...] = POINTINGS,
    n_stars: int = 3000,
    correct: Correct | None = None,
) -> list[Path]:
    """Write one exposure and one catalog per array and epoch.

    `correct` takes an array's name, pixels and fluxes, and returns corrected fluxes.
    """
    rng = np.random.default_rng(seed)
    half_deg = 0.06
    ra = FIELD_RA_DEG + rng.uniform(-half_deg, half_deg, n_stars) / np.cos(np.radians(-27.8))
    dec = FIELD_DEC_DEG + rng.uniform(-half_deg, half_deg, n_stars)
    mag = rng.uniform(17.0, 21.0, n_stars)
    siaf = pysiaf.Siaf("NIRCam")
    folder.mkdir()
    paths = []
    for epoch, pointing in enumerate(pointings):
        attitude = _attitude(pointing)
        for name in ARRAYS:
            aperture = siaf[NIRCAM.arrays[name].aperture]
            aperture.set_attitude_matrix(attitude)
            x, y = (np.asarray(value) - 1.0 for value in aperture.sky_to_sci(ra, dec))
            is_seen = (np.minimum(x, y) > 10.0) & (np.maximum(x, y) < N_PIXELS - 11.0)
            noise = NOISE_MAG * rng.standard_normal(n_stars)
            read = (mag + truth[name].at(x, y) + noise)[is_seen]
            flux = 10.0 ** (-0.4 * (read - ZERO_POINT_MAG))
            if correct is not None:
                flux = correct(name, x[is_seen], y[is_seen], flux)
            stem = f"jw01176{241 + epoch}001_02101_00001_{name}"
            image = _write_exposure(folder / f"{stem}_cal.fits", name, pointing, epoch, aperture)
            columns = {
                "NUMBER": np.flatnonzero(is_seen) + 1,
                "X_IMAGE": x[is_seen] + 1.0,
                "Y_IMAGE": y[is_seen] + 1.0,
                "ALPHA_J2000": ra[is_seen],
                "DELTA_J2000": dec[is_seen],
                "FLAGS": np.zeros(is_seen.sum(), dtype=np.int64),
            }
            for kind in ("ISO", "AUTO"):
                columns[f"FLUX_{kind}"] = flux
                columns[f"FLUXERR_{kind}"] = flux * NOISE_MAG / 1.0857362
                columns[f"MAG_{kind}"] = ZERO_POINT_MAG - 2.5 * np.log10(flux)
                columns[f"MAGERR_{kind}"] = np.full(flux.size, NOISE_MAG)
            catalog = folder / f"{stem}_cal.cat"
            write_ldac_catalog(catalog, image.name, **columns)
            paths += [image, catalog]
    return paths


def _attitude(pointing: Pointing) -> Any:
    """Return pysiaf's attitude with the middle between the modules on the field."""
    ra = FIELD_RA_DEG + pointing.east_arcsec / 3600.0 / np.cos(np.radians(FIELD_DEC_DEG))
    dec = FIELD_DEC_DEG + pointing.north_arcsec / 3600.0
    return rotations.attitude(*MIDDLE_V2_V3_ARCSEC, ra, dec, pointing.pa_v3_deg)


def _write_exposure(path: Path, name: str, pointing: Pointing, epoch: int, aperture: Any) -> Path:
    """Write the headers of an exposure."""
    array, attitude = NIRCAM.arrays[name], _attitude(pointing)
    band = NIRCAM.bands[BAND]
    v2, v3 = array.v2_ref_arcsec, array.v3_ref_arcsec
    ra_ref, dec_ref = rotations.pointing(attitude, v2, v3)
    ra_v1, dec_v1 = rotations.pointing(attitude, 0.0, 0.0)
    corners = [(0.5, 0.5), (N_PIXELS + 0.5, 0.5), (N_PIXELS + 0.5,) * 2, (0.5, N_PIXELS + 0.5)]
    outline = np.array([aperture.sci_to_sky(*corner) for corner in corners])
    return write_image(
        path,
        primary={
            "DETECTOR": array.detector,
            "FILTER": band.filter,
            "PUPIL": band.pupil,
            "CRDS_CTX": PMAP,
            "OBSERVTN": f"{241 + epoch}",
            "EXPSTART": pointing.start_mjd_utc,
            "EXPMID": pointing.start_mjd_utc + 0.01,
            "EXPEND": pointing.start_mjd_utc + 0.02,
        },
        science={
            "PHOTMJSR": PHOTMJSR[name],
            "PIXAR_SR": PIXEL_AREA_SR,
            "S_REGION": s_region_text(outline),
            "RA_V1": ra_v1,
            "DEC_V1": dec_v1,
            "PA_V3": rotations.posangle(attitude, 0.0, 0.0) % 360.0,
            "RA_REF": ra_ref,
            "DEC_REF": dec_ref,
            "ROLL_REF": rotations.posangle(attitude, v2, v3) % 360.0,
            "V2_REF": v2,
            "V3_REF": v3,
        },
    )

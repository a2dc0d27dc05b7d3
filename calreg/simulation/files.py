"""Write a simulated programme as files in the formats of the JWST archive and of SExtractor.

Headers carry the real keyword set with SIMULATED values; pixels are a small cut-out without
sources. Catalogs are FITS_LDAC, as SExtractor writes them in dual-image mode.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from calreg.errors import OutputError
from calreg.files.fits.cards import Value, format_card
from calreg.files.fits.write import image_block, primary_block, table_block
from calreg.instruments import load_instrument
from calreg.simulation.headers import (
    CUTOUT_PIXELS,
    HeaderTemplate,
    exposure_primary_values,
    exposure_sci_values,
    member_values,
    mosaic_primary_values,
    mosaic_sci_values,
)
from calreg.simulation.ldac import write_ldac

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from numpy.typing import NDArray

    from calreg.simulation.exposures import SimulatedExposure
    from calreg.simulation.simulate import Programme, SimulatedMosaic

_SKY_DN_S = 0.12
_NOISE_DN_S = 0.01
_PIXEL_STREAM = 20

_MOSAIC_EXTRA: dict[str, tuple[Value, str]] = {
    "S_OUTLIR": ("COMPLETE", "Outlier Detection"),
    "S_RESAMP": ("COMPLETE", "Resample"),
    "S_SKYMAT": ("COMPLETE", "Sky Matching"),
    "NDRIZ": (0, "Number of images drizzled"),
    "KERNEL": ("square", "Drizzle kernel"),
    "PIXFRAC": (1.0, "Fraction by which input pixels were shrunk"),
    "PXSCLRT": (1.0, "Pixel scale ratio"),
}

_CAL_COMMENT = (
    "SIMULATED by calreg. Header values imitate real exposures. The pixels are a cut-out, columns "
    "and rows 1 to 16 of 2048, without sources; S_REGION is the whole detector."
)
_MOSAIC_COMMENT = (
    "SIMULATED by calreg. Header values imitate real mosaics. The pixels are a cut-out from the "
    "middle of the mosaic, without sources; S_REGION is the whole mosaic. Catalog pixels are those "
    "of the grid of the whole field."
)


def write_programme(
    programme: Programme, directory: Path, *, epochs: Collection[int] | None = None
) -> list[Path]:
    """Write exposures, mosaics and catalogs of a simulated programme.

    Parameters
    ----------
    directory : pathlib.Path
        Made if missing; files go to ``<directory>/<pmap>/epoch<N>/`` under the names that the
        archive gives, which are the same for every pmap.

    Returns
    -------
    list of pathlib.Path
        In the order written: per mosaic its exposures, itself, its catalog.

    Raises
    ------
    OutputError
        If a file exists or cannot be written.
    """
    paths: list[Path] = []
    for mosaic in programme.mosaics:
        if epochs is not None and mosaic.epoch.number not in epochs:
            continue
        stem = mosaic.pmap.removesuffix(".pmap")
        folder = directory / stem / f"epoch{mosaic.epoch.number}"
        make_folder(folder)
        for member in mosaic.members:
            paths.append(folder / member.file_name)
            _write_new(paths[-1], _exposure_bytes(programme.seed, member))
        paths.append(folder / mosaic.file_name)
        cards = _template("sci").filled(mosaic_sci_values(mosaic))
        _write_new(paths[-1], _mosaic_bytes(programme.seed, mosaic, cards))
        paths.append(folder / mosaic.catalog_name)
        write_ldac(
            paths[-1],
            catalog_columns(mosaic),
            _card_texts(cards),
            mosaic.file_name,
            mag_zero_point=mosaic_zero_point_mag(mosaic),
            software="SIMULATED",
        )
    return paths


def catalog_columns(mosaic: SimulatedMosaic) -> dict[str, NDArray[np.float64 | np.int64]]:
    """Return a mosaic's detections under SExtractor's column names.

    Returns
    -------
    dict of str to ndarray of float64 or int64, shape (n_rows,)
        Fluxes in the mosaic's pixel unit; pixels 1-based; positions ICRS [deg].
    """
    detections = mosaic.detections
    return {
        "NUMBER": detections.number,
        "X_IMAGE": detections.x_fits,
        "Y_IMAGE": detections.y_fits,
        "ALPHA_J2000": detections.ra_deg,
        "DELTA_J2000": detections.dec_deg,
        "XWIN_IMAGE": detections.xwin_fits,
        "YWIN_IMAGE": detections.ywin_fits,
        "ALPHAWIN_J2000": detections.ra_win_deg,
        "DELTAWIN_J2000": detections.dec_win_deg,
        "FLUX_ISO": detections.flux_iso,
        "FLUXERR_ISO": detections.flux_iso_err,
        "MAG_ISO": detections.mag_iso,
        "MAGERR_ISO": detections.mag_iso_err,
        "FLUX_AUTO": detections.flux_auto,
        "FLUXERR_AUTO": detections.flux_auto_err,
        "MAG_AUTO": detections.mag_auto,
        "MAGERR_AUTO": detections.mag_auto_err,
        "FLAGS": detections.flags,
    }


def mosaic_zero_point_mag(mosaic: SimulatedMosaic) -> float:
    """Return MAG_ZEROPOINT for sums of MJy/sr pixels, ``8.90 - 2.5 log10(1e6 PIXAR_SR)`` [mag]."""
    return 8.90 - 2.5 * float(np.log10(1e6 * mosaic.pixar_sr))


# --- files --------------------------------------------------------------------------------------


def make_folder(folder: Path) -> None:
    """Make a folder and its parents."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"{folder}: cannot be made ({error.strerror}): choose another directory"
        raise OutputError(msg) from error


def _write_new(path: Path, content: bytes) -> None:
    """Write a file that does not exist yet."""
    try:
        with path.open("xb") as stream:
            stream.write(content)
    except OSError as error:
        msg = f"{path}: cannot be written ({error.strerror}): choose an empty directory"
        raise OutputError(msg) from error


@cache
def _template(name: str) -> HeaderTemplate:
    """Return a header template, formatted once."""
    if name == "mosaic":
        return HeaderTemplate("primary", _MOSAIC_EXTRA)
    return HeaderTemplate(name)


def _card_texts(cards: list[bytes]) -> list[str]:
    """Return single cards as text."""
    text = b"".join(cards).decode("ascii")
    return [text[start : start + 80] for start in range(0, len(text), 80)]


def _rates(seed: int, exposure: SimulatedExposure) -> NDArray[np.float32]:
    """Return sky pixels [DN/s], the same for every context."""
    instrument = load_instrument("nircam")
    key = [seed, _PIXEL_STREAM, exposure.epoch.number, exposure.config, exposure.dither]
    rng = np.random.default_rng([*key, list(instrument.arrays).index(exposure.array.name)])
    noise = rng.standard_normal((CUTOUT_PIXELS, CUTOUT_PIXELS))
    return (_SKY_DN_S + _NOISE_DN_S * noise).astype(np.float32)


# --- exposures ----------------------------------------------------------------------------------


def _exposure_bytes(seed: int, exposure: SimulatedExposure) -> bytes:
    """Return a `cal` file."""
    flux = _rates(seed, exposure) * np.float32(exposure.photmjsr)
    variance = np.full_like(flux, (_NOISE_DN_S * exposure.photmjsr) ** 2)
    unit = [format_card("BUNIT", "MJy/sr", "physical units of the array values")]
    primary_cards = _template("primary").filled(exposure_primary_values(exposure))
    return b"".join(
        (
            primary_block(primary_cards, _CAL_COMMENT),
            image_block("SCI", flux, _template("sci").filled(exposure_sci_values(exposure))),
            image_block("ERR", np.sqrt(variance), unit),
            image_block("DQ", np.zeros(flux.shape, dtype=np.uint32)),
            image_block("AREA", np.ones_like(flux)),
            image_block("VAR_POISSON", np.float32(0.7) * variance),
            image_block("VAR_RNOISE", np.float32(0.3) * variance),
            image_block("VAR_FLAT", np.zeros_like(flux)),
        )
    )


# --- mosaics ------------------------------------------------------------------------------------


def _mosaic_bytes(seed: int, mosaic: SimulatedMosaic, sci_cards: list[bytes]) -> bytes:
    """Return an `i2d` file."""
    first = mosaic.members[0]
    n_members = len(mosaic.members)
    rates = np.stack([_rates(seed, member) for member in mosaic.members])
    flux = np.asarray(rates.mean(axis=0) * np.float32(first.photmjsr))
    variance = np.full_like(flux, (_NOISE_DN_S * first.photmjsr) ** 2 / n_members)
    unit = [format_card("BUNIT", "MJy/sr", "physical units of the array values")]
    context = np.full((1, *flux.shape), 2**n_members - 1, dtype=np.int32)
    primary_cards = _template("mosaic").filled(mosaic_primary_values(mosaic))
    return b"".join(
        (
            primary_block(primary_cards, _MOSAIC_COMMENT),
            image_block("SCI", flux, sci_cards),
            image_block("ERR", np.sqrt(variance), unit),
            image_block("CON", context),
            image_block("WHT", np.full_like(flux, n_members)),
            image_block("VAR_POISSON", np.float32(0.7) * variance),
            image_block("VAR_RNOISE", np.float32(0.3) * variance),
            image_block("VAR_FLAT", np.zeros_like(flux)),
            _member_table(mosaic),
        )
    )


_MEMBER_COLUMNS = (
    "FILENAME", "DATE", "TELESCOP", "INSTRUME", "DETECTOR", "MODULE", "CHANNEL", "FILTER", "PUPIL",
    "PROGRAM", "OBSERVTN", "VISIT", "VISITGRP", "SEQ_ID", "ACT_ID", "EXPOSURE", "DATE-OBS",
    "TIME-OBS", "EXPSTART", "EXPMID", "EXPEND", "EFFEXPTM", "NGROUPS", "SUBARRAY", "CAL_VER",
    "CRDS_VER", "CRDS_CTX", "R_AREA", "R_FLAT", "R_PHOTOM", "BUNIT", "PHOTMJSR", "PIXAR_SR",
    "RA_V1", "DEC_V1", "PA_V3",
)  # fmt: skip
"""Columns of HDRTAB: each holds the members' cards (jwst `model_blender`)."""


def _member_table(mosaic: SimulatedMosaic) -> bytes:
    """Return HDRTAB, the cards of the members as a table."""
    rows = [member_values(member) for member in mosaic.members]
    return table_block("HDRTAB", {name: [row[name] for row in rows] for name in _MEMBER_COLUMNS})

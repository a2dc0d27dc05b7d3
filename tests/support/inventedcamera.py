"""DUOCAM: a camera that calreg has never heard of, its table, and simulated files of it.

Three arrays in two modules, so that one has no partner; filters, header keywords and pixel scale of
its own. Two epochs that flip by 180 degrees see the same stars; array A1 reads too faint.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from astropy.io import fits
from astropy.table import Table

from calreg.instruments import Instrument, load_instrument
from calreg.science.sky.geometry import s_region_text
from calreg.science.sky.pointing import array_footprint, boresight, reference_point, sky_to_detector
from support.calimages import SHAPE, cal_planes

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.instruments import Array
    from calreg.science.sky.pointing import Boresight

OFFSET_MAG = 0.03
"""Truth: A1 minus B1."""

PMAP = "jwst_0042.pmap"
PHOTMJSR = {"duoa1": 1.5, "duob1": 1.25, "duoa2": 1.75}
PIXAR_SR = 6.0e-14
BAND = "GREEN"
CARDS = {
    "TELESCOP": "OBSERVAT",
    "INSTRUME": "CAMERA",
    "DETECTOR": "CHIPNAME",
    "FILTER": "WHEEL1",
    "PUPIL": "WHEEL2",
    "CRDS_CTX": "CALVERS",
    "EXP_TYPE": "OBSMODE",
    "EXPSTART": "TSTART",
    "EXPMID": "TMID",
    "EXPEND": "TSTOP",
    "SUBARRAY": "READAREA",
    "CAL_VER": "PIPEVERS",
    "S_PHOTOM": "PHOTDONE",
    "PHOTMJSR": "FLUXCONV",
    "PIXAR_SR": "PIXSOLID",
    "S_REGION": "OUTLINE",
    "RA_REF": "AIMRA",
    "DEC_REF": "AIMDEC",
    "ROLL_REF": "AIMROLL",
}
"""What NIRCam's cards are called here; all others keep their names."""

_ARRAY = """
[arrays.{name}]
detector = "{detector}"
aperture = "{detector}_FULL"
module = "{module}"
array_id = "{array_id}"
channel = "VIS"
v2_ref_arcsec = {v2}
v3_ref_arcsec = {v3}
v3_ideal_y_angle_deg = 0.0
v_ideal_parity = -1
x_scale_arcsec = 0.05
y_scale_arcsec = 0.05
n_pixels = 2000
ref_pixel = 1000.5
"""
_HEAD = """
name = "DUOCAM"
telescope = "OTHERSCOPE"
prd = "invented"
modules = ["A", "B"]
array_ids = ["1", "2"]
imaging_exposure_types = ["DUO_IMAGE"]
clear_pupils = ["OPEN"]

[channels]
VIS = { card = "VISUAL" }

[bands]
GREEN = { filter = "GREEN", pupil = "OPEN", channel = "VIS" }
NARROW = { filter = "GREEN", pupil = "NARROW", channel = "VIS" }
"""
_MIDDLE = (0.0, 0.0)
_RA_DEG, _DEC_DEG = 150.0, 2.0
_N_STARS = 3000
_ERR_MAG = 0.002


def write_table(path: Path) -> Path:
    """Write the TOML file of the camera."""
    arrays = [
        _ARRAY.format(name="duoa1", detector="DUOA1", module="A", array_id="1", v2=70.0, v3=0.0),
        _ARRAY.format(name="duob1", detector="DUOB1", module="B", array_id="1", v2=-70.0, v3=0.0),
        _ARRAY.format(name="duoa2", detector="DUOA2", module="A", array_id="2", v2=70.0, v3=120.0),
    ]
    keywords = load_instrument("nircam").table.partition("[keywords]")[2]
    for theirs, ours in CARDS.items():
        keywords = keywords.replace(f'card = "{theirs}"', f'card = "{ours}"')
    path.write_text(_HEAD + "".join(arrays) + "\n[keywords]" + keywords)
    return path


def write_programme(folder: Path, instrument: Instrument) -> list[Path]:
    """Write two epochs of exposures and of catalogs of them; return the exposures."""
    rng = np.random.default_rng(11)
    ra = _RA_DEG + rng.uniform(-0.06, 0.06, _N_STARS)
    dec = _DEC_DEG + rng.uniform(-0.06, 0.06, _N_STARS)
    mag = rng.uniform(17.0, 21.0, _N_STARS)
    exposures = []
    for epoch, (mjd, roll_deg) in enumerate([(60000.0, 20.0), (60180.0, 200.0)], start=1):
        aim = boresight(*_MIDDLE, _RA_DEG, _DEC_DEG, roll_deg)
        for array in instrument.arrays.values():
            x, y = sky_to_detector(ra, dec, array, *reference_point(array, *aim))
            last = array.n_pixels - 1
            is_on = (x > 0) & (y > 0) & (x < last) & (y < last)
            path = folder / f"{array.name}_epoch{epoch}_cal.fits"
            primary = _primary_cards(instrument, array, epoch, mjd)
            exposures.append(_write_exposure(path, primary, _science_cards(array, aim)))
            offset = OFFSET_MAG if array.name == "duoa1" else 0.0
            rows = Table(
                {
                    "id": np.flatnonzero(is_on),
                    "ra": ra[is_on],
                    "dec": dec[is_on],
                    "mag": mag[is_on] + offset + _ERR_MAG * rng.standard_normal(is_on.sum()),
                    "mag_err": np.full(is_on.sum(), _ERR_MAG),
                }
            )
            rows.write(path.with_suffix(".csv"), format="ascii.csv")
    return exposures


def _primary_cards(
    instrument: Instrument, array: Array, epoch: int, mjd: float
) -> dict[str, object]:
    """Return the primary cards of an exposure, under NIRCam's names."""
    return {
        "TELESCOP": instrument.telescope,
        "INSTRUME": instrument.name,
        "DETECTOR": array.detector,
        "FILTER": BAND,
        "PUPIL": "OPEN",
        "CRDS_CTX": PMAP,
        "EXP_TYPE": "DUO_IMAGE",
        "EXPSTART": mjd,
        "EXPMID": mjd + 0.01,
        "EXPEND": mjd + 0.02,
        "SUBARRAY": "FULL",
        "CAL_VER": "7.1",
        "S_PHOTOM": "COMPLETE",
        "DATAMODL": "ImageModel",
        "TARGPROP": "SOMEWHERE",
        "OBSERVTN": str(epoch),
        **dict.fromkeys(("PROGRAM", "VISIT", "VISITGRP", "SEQ_ID", "ACT_ID", "EXPOSURE"), "1"),
    }


def _science_cards(array: Array, aim: Boresight) -> dict[str, object]:
    """Return the cards of the extension SCI, under NIRCam's names."""
    point = reference_point(array, *aim)
    return {
        "BUNIT": "MJy/sr",
        "PHOTMJSR": PHOTMJSR[array.name],
        "PHOTUJA2": PHOTMJSR[array.name] * 23.5045,
        "PIXAR_SR": PIXAR_SR,
        "S_REGION": s_region_text(array_footprint(array, *point)),
        "RA_V1": aim.ra_v1_deg,
        "DEC_V1": aim.dec_v1_deg,
        "PA_V3": aim.pa_v3_deg,
        "RA_REF": point.ra_ref_deg,
        "DEC_REF": point.dec_ref_deg,
        "ROLL_REF": point.roll_ref_deg,
        "V2_REF": array.v2_ref_arcsec,
        "V3_REF": array.v3_ref_arcsec,
    }


def _write_exposure(path: Path, primary: dict[str, object], science: dict[str, object]) -> Path:
    """Write an exposure of plain sky under the camera's own keywords."""
    hdus = [fits.PrimaryHDU(header=_header(primary))]
    for name, plane in cal_planes(SHAPE).items():
        hdus.append(fits.ImageHDU(plane, _header(science) if name == "SCI" else None, name=name))
    fits.HDUList(hdus).writeto(path)
    return path


def _header(cards: dict[str, object]) -> fits.Header:
    """Return a header whose cards have the camera's names."""
    return fits.Header([(CARDS.get(name, name), value) for name, value in cards.items()])


def cards_of(path: Path) -> dict[str, object]:
    """Return all cards of an exposure."""
    with fits.open(path) as hdus:
        return {**hdus[0].header, **hdus["SCI"].header}


def names_of_nircam(text: str) -> list[str]:
    """Return what a text says of NIRCam's arrays or bands."""
    return re.findall(r"(?i)\bnrc\w+|\bnircam\b|\bF\d{3}[WMN]2?\b", text)

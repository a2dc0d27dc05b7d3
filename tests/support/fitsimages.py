"""JWST-like FITS images for tests: small pixels, headers with all cards that calreg reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from astropy.io import fits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

CardTable = dict[str, str | float | int | bool | None]

PRIMARY_CARDS: CardTable = {
    "TELESCOP": "JWST",
    "INSTRUME": "NIRCAM",
    "DETECTOR": "NRCA1",
    "FILTER": "F150W",
    "PUPIL": "CLEAR",
    "CRDS_CTX": "jwst_1130.pmap",
    "CAL_VER": "1.12.5",
    "DATAMODL": "ImageModel",
    "EXP_TYPE": "NRC_IMAGE",
    "SUBARRAY": "FULL",
    "PROGRAM": "01176",
    "OBSERVTN": "241",
    "VISIT": "001",
    "VISITGRP": "02",
    "SEQ_ID": "1",
    "ACT_ID": "01",
    "EXPOSURE": "1",
    "TARGPROP": "JWIDF",
    "EXPSTART": 59768.25,
    "EXPMID": 59768.26,
    "EXPEND": 59768.27,
    "EFFEXPTM": 1728.0,
    "R_PHOTOM": "crds://jwst_nircam_photom_0153.fits",
    "R_FLAT": "crds://jwst_nircam_flat_0612.fits",
    "R_AREA": "N/A",
    "S_PHOTOM": "COMPLETE",
}

SCIENCE_CARDS: CardTable = {
    "BUNIT": "MJy/sr",
    "PHOTMJSR": 2.333,
    "PIXAR_SR": 2.29e-14,
    "S_REGION": "POLYGON ICRS  265.10 65.80 265.12 65.80 265.12 65.82 265.10 65.82",
    "RA_V1": 265.0,
    "DEC_V1": 65.7,
    "PA_V3": 41.0,
    "RA_REF": 265.11,
    "DEC_REF": 65.81,
    "ROLL_REF": 41.1,
    "V2_REF": 120.576793,
    "V3_REF": -527.501431,
}

PIXELS = np.arange(64.0, dtype=np.float32).reshape(8, 8)


def write_image(
    path: Path,
    *,
    primary: Mapping[str, str | float | None] | None = None,
    science: Mapping[str, str | float | None] | None = None,
    pixels: np.ndarray = PIXELS,
    member_contexts: Sequence[str] | None = None,
    members: Mapping[str, Sequence[str] | Sequence[float]] | None = None,
    single_hdu: bool = False,
) -> Path:
    """Write an exposure; a card given as None is left out, one given as "" is there but empty."""
    primary_header = _header({**PRIMARY_CARDS, **(primary or {})})
    science_header = _header({**SCIENCE_CARDS, **(science or {})})
    if single_hdu:
        primary_header.update(science_header)
        hdus: list[fits.PrimaryHDU | fits.ImageHDU | fits.BinTableHDU] = [
            fits.PrimaryHDU(pixels, primary_header)
        ]
    else:
        hdus = [
            fits.PrimaryHDU(header=primary_header),
            fits.ImageHDU(pixels, science_header, name="SCI"),
            fits.ImageHDU(np.zeros(pixels.shape, dtype=np.int32), name="DQ"),
        ]
    if member_contexts is not None:
        columns = [
            fits.Column(
                "FILENAME", "40A", array=[f"m{i}_cal.fits" for i, _ in enumerate(member_contexts)]
            ),
            fits.Column("CRDS_CTX", "40A", array=list(member_contexts)),
        ]
        hdus.append(fits.BinTableHDU.from_columns(columns, name="HDRTAB"))
    elif members is not None:
        columns = [
            fits.Column(name, "40A" if isinstance(values[0], str) else "D", array=list(values))
            for name, values in members.items()
        ]
        hdus.append(fits.BinTableHDU.from_columns(columns, name="HDRTAB"))
    fits.HDUList(hdus).writeto(path)
    return path


def _header(cards: Mapping[str, str | float | None]) -> fits.Header:
    """Return a header of the cards that are not None."""
    return fits.Header([(key, value) for key, value in cards.items() if value is not None])

"""Headers of simulated exposures and mosaics: the cards of a template, and values by keyword."""

from __future__ import annotations

import tomllib
from datetime import timedelta
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np

from calreg.errors import UnknownKeyError
from calreg.files.fits.cards import CARD_BYTES, format_card
from calreg.instruments import load_instrument
from calreg.science.sky.geometry import s_region_text, tangent_plane
from calreg.simulation import programme as jwidf
from calreg.simulation.sources import (
    MOSAIC_CRPIX,
    MOSAIC_SCALE_ARCSEC,
    MOSAIC_Y_PA_DEG,
    STERADIAN_PER_ARCSEC2,
    mosaic_pixels,
)
from calreg.units import (
    ARCSEC_PER_DEG,
    MEGAJANSKY_IN_UJY,
    MJD_ZERO_UTC,
    SECONDS_PER_DAY,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from calreg.files.fits.cards import Value
    from calreg.simulation.exposures import SimulatedExposure
    from calreg.simulation.simulate import SimulatedMosaic
    from calreg.units import FloatArray

_SECTION_INDENT = 8

CUTOUT_PIXELS = 16
"""Side of the pixel cut-outs."""

_FIRST_SCA_NUM = 481

# Detectors whose fast readout runs against x (JWST User Documentation, NIRCam detector readout).
_REVERSED = frozenset({"nrca1", "nrca3", "nrcalong", "nrcb2", "nrcb4"})

_MEMBER_CONSTANTS: dict[str, Value] = {
    "TELESCOP": "JWST",
    "INSTRUME": "NIRCAM",
    "SUBARRAY": "FULL",
    "CAL_VER": "1.11.4",
    "CRDS_VER": "11.17.2",
    "BUNIT": "MJy/sr",
}
"""Cards that the template fixes for every exposure."""


class HeaderTemplate:
    """A header whose cards are formatted once, some of them placeholders.

    Parameters
    ----------
    name : str
        Table of ``cards.toml``: ``primary`` or ``sci``.
    extra : mapping of str to (value, comment), optional
        Cards that follow the table's.
    """

    def __init__(self, name: str, extra: Mapping[str, tuple[Value, str]] | None = None) -> None:
        self._cards: list[bytes] = []
        self._places: dict[str, tuple[int, str]] = {}
        for section in _card_table()[name]:
            if section["section"]:
                blank = b" " * CARD_BYTES
                title = f"{'':{_SECTION_INDENT}}{section['section']}"
                self._cards += [blank, title.ljust(CARD_BYTES).encode("ascii"), blank]
            for keyword, value, comment in section["cards"]:
                self._add(keyword, value, comment)
        for keyword, (value, comment) in (extra or {}).items():
            self._add(keyword, value, comment)

    def _add(self, keyword: str, value: Value, comment: str) -> None:
        """Append a card."""
        self._places[keyword] = (len(self._cards), comment)
        self._cards.append(format_card(keyword, value, comment))

    def filled(self, values: Mapping[str, Value]) -> list[bytes]:
        """Return the cards, 80 bytes each, with values filled in by keyword.

        Raises
        ------
        UnknownKeyError
            If the template lacks a keyword.
        """
        cards = self._cards.copy()
        for keyword, value in values.items():
            if keyword not in self._places:
                msg = f"the header template has no card {keyword}: add it to cards.toml"
                raise UnknownKeyError(msg)
            place, comment = self._places[keyword]
            cards[place] = format_card(keyword, value, comment)
        return cards


@cache
def _card_table() -> dict[str, list[dict[str, list[tuple[str, Value, str]]]]]:
    """Return the sections of both templates."""
    path = resources.files(__package__) / "cards.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))


def exposure_primary_values(exposure: SimulatedExposure) -> dict[str, Value]:
    """Return the primary cards of one exposure."""
    epoch, array, band = exposure.epoch, exposure.array, exposure.band
    start, end = exposure.expstart_mjd_utc, exposure.expend_mjd_utc
    group = f"{2 * exposure.config + 2:02d}"
    instrument = load_instrument("nircam")
    is_reversed = array.name in _REVERSED
    visit_start = _iso(epoch.start_mjd_utc - 0.02).replace("T", " ")
    return {
        **_time_values(start, end),
        "DATE": _iso(end + 1.0),
        "FILENAME": exposure.file_name,
        "PRD_VER": instrument.prd,
        "OBS_ID": f"V{jwidf.PROGRAM}{epoch.observation}001P0000000002101",
        "VISIT_ID": f"{jwidf.PROGRAM}{epoch.observation}001",
        "PROGRAM": jwidf.PROGRAM,
        "OBSERVTN": epoch.observation,
        "VISIT": "001",
        "VISITGRP": group,
        "SEQ_ID": "1",
        "ACT_ID": "01",
        "EXPOSURE": str(exposure.dither),
        "VSTSTART": visit_start,
        "GSSTRTTM": visit_start,
        "GSENDTIM": visit_start,
        "VISITEND": _iso(end).replace("T", " "),
        "TARG_RA": jwidf.FIELD_RA_DEG,
        "TARG_DEC": jwidf.FIELD_DEC_DEG,
        "PROP_RA": jwidf.FIELD_RA_DEG,
        "PROP_DEC": jwidf.FIELD_DEC_DEG,
        "DETECTOR": array.detector,
        "MODULE": array.module,
        "CHANNEL": instrument.channel_card(array),
        "FILTER": band.filter,
        "PUPIL": band.pupil,
        "EXPCOUNT": len(jwidf.DITHER_OFFSETS_ARCSEC) * exposure.config + exposure.dither,
        "NGROUPS": epoch.n_groups,
        "EFFINTTM": epoch.integration_s,
        "EFFEXPTM": epoch.integration_s,
        "DURATION": epoch.integration_s,
        "SCA_NUM": _FIRST_SCA_NUM + list(instrument.arrays).index(array.name),
        "FASTAXIS": -1 if is_reversed else 1,
        "SLOWAXIS": 2 if is_reversed else -2,
        "PRIDTPTS": len(jwidf.DITHER_OFFSETS_ARCSEC),
        "NUMDTHPT": len(jwidf.DITHER_OFFSETS_ARCSEC),
        "PATT_NUM": exposure.dither,
        "XOFFSET": exposure.offset_v2_arcsec,
        "YOFFSET": exposure.offset_v3_arcsec,
        "APERNAME": array.aperture,
        "VA_RA": exposure.ra_ref_deg,
        "VA_DEC": exposure.dec_ref_deg,
        "GS_V3_PA": exposure.pa_v3_deg,
        "CRDS_CTX": exposure.pmap,
        **_reference_values(exposure),
    }


def _time_values(start_mjd_utc: float, end_mjd_utc: float) -> dict[str, Value]:
    """Return the primary cards that hold times; barycentric ones without correction."""
    middle = 0.5 * (start_mjd_utc + end_mjd_utc)
    begin = _iso(start_mjd_utc)
    day, clock = begin.split("T")
    values: dict[str, Value] = {
        "DATE-OBS": day,
        "TIME-OBS": clock,
        "DATE-BEG": begin,
        "DATE-END": _iso(end_mjd_utc),
    }
    for names, time in (
        (("EXPSTART", "BSTRTIME", "HSTRTIME"), start_mjd_utc),
        (("EXPMID", "BMIDTIME", "HMIDTIME"), middle),
        (("EXPEND", "BENDTIME", "HENDTIME"), end_mjd_utc),
    ):
        values.update(dict.fromkeys(names, time))
    return values


def _reference_values(exposure: SimulatedExposure) -> dict[str, Value]:
    """Return names of reference files, with numbers that CRDS has not given."""
    instrument = load_instrument("nircam")
    place = list(instrument.arrays).index(exposure.array.name)
    flat = 9000 + 10 * list(instrument.bands).index(exposure.band.name) + place
    return {
        "R_AREA": f"crds://jwst_nircam_area_{9000 + place}.fits",
        "R_FLAT": f"crds://jwst_nircam_flat_{flat}.fits",
        "R_PHOTOM": f"crds://{exposure.photom_file}",
    }


def exposure_sci_values(exposure: SimulatedExposure) -> dict[str, Value]:
    """Return the SCI cards of an exposure; the WCS is linear."""
    array = exposure.array
    angle = np.radians(array.v3_ideal_y_angle_deg + exposure.roll_ref_deg)
    parity = array.v_ideal_parity
    # CDELT scales the sky's axes, not the pixels': what y pixels differ by goes into PC.
    y_over_x = array.y_scale_arcsec / array.x_scale_arcsec
    return {
        **_sci_values(exposure, exposure.footprint, exposure.pixar_sr),
        **_sci_times(exposure.expstart_mjd_utc, exposure.expend_mjd_utc),
        "XPOSURE": exposure.epoch.integration_s,
        "TELAPSE": exposure.epoch.integration_s,
        "CRPIX1": array.ref_pixel,
        "CRPIX2": array.ref_pixel,
        "CRVAL1": exposure.ra_ref_deg,
        "CRVAL2": exposure.dec_ref_deg,
        "LATPOLE": exposure.dec_ref_deg,
        "CDELT1": array.x_scale_arcsec / ARCSEC_PER_DEG,
        "CDELT2": array.x_scale_arcsec / ARCSEC_PER_DEG,
        "PC1_1": parity * float(np.cos(angle)),
        "PC1_2": y_over_x * float(np.sin(angle)),
        "PC2_1": -parity * float(np.sin(angle)),
        "PC2_2": y_over_x * float(np.cos(angle)),
    }


def _sci_values(
    exposure: SimulatedExposure, footprint: FloatArray, pixar_sr: float
) -> dict[str, Value]:
    """Return the SCI cards that exposures and mosaics share."""
    array = exposure.array
    return {
        "PA_APER": (exposure.roll_ref_deg + array.v3_ideal_y_angle_deg) % 360.0,
        "PHOTMJSR": exposure.photmjsr,
        "PHOTUJA2": exposure.photmjsr * MEGAJANSKY_IN_UJY * STERADIAN_PER_ARCSEC2,
        "PIXAR_SR": pixar_sr,
        "PIXAR_A2": pixar_sr / STERADIAN_PER_ARCSEC2,
        "RA_V1": exposure.ra_v1_deg,
        "DEC_V1": exposure.dec_v1_deg,
        "PA_V3": exposure.pa_v3_deg,
        "S_REGION": s_region_text(footprint),
        "V2_REF": array.v2_ref_arcsec,
        "V3_REF": array.v3_ref_arcsec,
        "VPARITY": array.v_ideal_parity,
        "V3I_YANG": array.v3_ideal_y_angle_deg,
        "RA_REF": exposure.ra_ref_deg,
        "DEC_REF": exposure.dec_ref_deg,
        "ROLL_REF": exposure.roll_ref_deg,
    }


def _sci_times(start_mjd_utc: float, end_mjd_utc: float) -> dict[str, Value]:
    """Return the SCI cards that hold times."""
    middle = 0.5 * (start_mjd_utc + end_mjd_utc)
    return {
        "MJD-BEG": start_mjd_utc,
        "MJD-AVG": middle,
        "MJD-END": end_mjd_utc,
        "TDB-BEG": start_mjd_utc,
        "TDB-MID": middle,
        "TDB-END": end_mjd_utc,
        "EPH_TIME": start_mjd_utc,
        "DATE-BEG": _iso(start_mjd_utc),
        "DATE-AVG": _iso(middle),
        "DATE-END": _iso(end_mjd_utc),
    }


def _iso(mjd: float) -> str:
    """Return a date and time with milliseconds."""
    # Rounded first: a time of day must not end in 60 seconds.
    moment = MJD_ZERO_UTC + timedelta(milliseconds=round(mjd * SECONDS_PER_DAY * 1000.0))
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds")


def mosaic_primary_values(mosaic: SimulatedMosaic) -> dict[str, Value]:
    """Return the primary cards of a mosaic."""
    first, last = mosaic.members[0], mosaic.members[-1]
    return {
        **exposure_primary_values(first),
        **_time_values(first.expstart_mjd_utc, last.expend_mjd_utc),
        "DATE": _iso(last.expend_mjd_utc + 1.0),
        "FILENAME": mosaic.file_name,
        "EFFEXPTM": mosaic.epoch.exposure_time_s,
        "DURATION": mosaic.epoch.exposure_time_s,
        "NDRIZ": len(mosaic.members),
    }


def mosaic_sci_values(mosaic: SimulatedMosaic) -> dict[str, Value]:
    """Return the SCI cards of a mosaic; pointing is the first member's, as in the pipeline."""
    first, last = mosaic.members[0], mosaic.members[-1]
    angle = np.radians(MOSAIC_Y_PA_DEG)
    corner = _cutout_corner(mosaic)
    return {
        **_sci_values(first, mosaic.footprint, mosaic.pixar_sr),
        **_sci_times(first.expstart_mjd_utc, last.expend_mjd_utc),
        "XPOSURE": mosaic.epoch.exposure_time_s,
        "TELAPSE": (last.expend_mjd_utc - first.expstart_mjd_utc) * SECONDS_PER_DAY,
        "CRPIX1": MOSAIC_CRPIX[0] - corner[0],
        "CRPIX2": MOSAIC_CRPIX[1] - corner[1],
        "CRVAL1": jwidf.FIELD_RA_DEG,
        "CRVAL2": jwidf.FIELD_DEC_DEG,
        "LATPOLE": jwidf.FIELD_DEC_DEG,
        "CDELT1": MOSAIC_SCALE_ARCSEC / ARCSEC_PER_DEG,
        "CDELT2": MOSAIC_SCALE_ARCSEC / ARCSEC_PER_DEG,
        "PC1_1": -float(np.cos(angle)),
        "PC1_2": float(np.sin(angle)),
        "PC2_1": float(np.sin(angle)),
        "PC2_2": float(np.cos(angle)),
    }


def _cutout_corner(mosaic: SimulatedMosaic) -> tuple[int, int]:
    """Return the pixels of the grid that lie left of and below the cut-out."""
    xi, eta = tangent_plane(
        mosaic.footprint[:, 0], mosaic.footprint[:, 1], jwidf.FIELD_RA_DEG, jwidf.FIELD_DEC_DEG
    )
    x, y = mosaic_pixels(xi.mean(keepdims=True), eta.mean(keepdims=True))
    half = CUTOUT_PIXELS // 2
    return int(x[0]) - half, int(y[0]) - half


def member_values(member: SimulatedExposure) -> dict[str, Value]:
    """Return the cards of a mosaic's member that its table HDRTAB may hold."""
    return {
        **_MEMBER_CONSTANTS,
        **exposure_primary_values(member),
        **_sci_values(member, member.footprint, member.pixar_sr),
    }

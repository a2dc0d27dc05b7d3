"""When, where and with which array a simulated programme exposes."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np

from calreg.science.sky.geometry import tangent_plane
from calreg.science.sky.pointing import array_footprint, boresight, reference_point
from calreg.simulation import programme as jwidf
from calreg.simulation.sky import Rectangle
from calreg.simulation.sources import STERADIAN_PER_ARCSEC2
from calreg.units import SECONDS_PER_DAY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from calreg.instruments import Array, Band, Instrument
    from calreg.units import FloatArray

_OVERHEAD_S = 60.0


@dataclass(frozen=True)
class SimulatedEpoch:
    """One visit to the field.

    Attributes
    ----------
    roll_deg : float
        Angle of V3 at the field centre [deg].
    side : int
        +1 when module B lies towards +d, else -1.
    integration_s, exposure_time_s : float
        Of one exposure, and of all dithers in one band [s].
    """

    number: int
    observation: str
    start_mjd_utc: float
    roll_deg: float
    side: int
    n_groups: int
    integration_s: float
    exposure_time_s: float


@dataclass(frozen=True)
class SimulatedExposure:
    """One `cal` exposure: what its header needs. Angles [deg], times MJD UTC.

    Attributes
    ----------
    config : int
        Filter configuration of the visit, from 0.
    photmjsr : float
        [MJy/sr per DN/s].
    """

    epoch: SimulatedEpoch
    array: Array
    band: Band
    pmap: str
    config: int
    dither: int
    offset_v2_arcsec: float
    offset_v3_arcsec: float
    expstart_mjd_utc: float
    expend_mjd_utc: float
    ra_v1_deg: float
    dec_v1_deg: float
    pa_v3_deg: float
    ra_ref_deg: float
    dec_ref_deg: float
    roll_ref_deg: float
    footprint: FloatArray = field(repr=False)
    photmjsr: float
    photom_file: str

    @property
    def pixar_sr(self) -> float:
        """Area of a detector pixel [sr]."""
        area_arcsec2 = self.array.x_scale_arcsec * self.array.y_scale_arcsec
        return area_arcsec2 * STERADIAN_PER_ARCSEC2

    @property
    def file_name(self) -> str:
        """Name as the archive gives it, ``jw01176241001_02101_00001_nrca1_cal.fits``."""
        return (
            f"jw{jwidf.PROGRAM}{self.epoch.observation}001_{2 * self.config + 2:02d}101_"
            f"{self.dither:05d}_{self.array.name}_cal.fits"
        )


ExposureKey = tuple[int, str, str]
"""Epoch number, band name, array name."""


def plan_epochs(
    instrument: Instrument, n_epochs: int, n_dithers: int
) -> tuple[SimulatedEpoch, ...]:
    """Return the epochs, with rolls that put the line from A to B along the axis, to and fro."""
    first, second = instrument.arrays["nrcalong"], instrument.arrays["nrcblong"]
    line_from_v3_deg = float(
        np.degrees(
            np.arctan2(
                second.v2_ref_arcsec - first.v2_ref_arcsec,
                second.v3_ref_arcsec - first.v3_ref_arcsec,
            )
        )
    )
    epochs = []
    for index in range(n_epochs):
        known = len(jwidf.EPOCH_START_MJD_UTC)
        last = min(index, known - 1)
        n_groups = jwidf.EPOCH_N_GROUPS[index % known]
        n_frames = n_groups * (jwidf.FRAMES_PER_GROUP + jwidf.FRAMES_DROPPED_PER_GROUP)
        integration_s = jwidf.FRAME_TIME_S * (n_frames - jwidf.FRAMES_DROPPED_PER_GROUP)
        epochs.append(
            SimulatedEpoch(
                number=index + 1,
                observation=f"{jwidf.FIRST_OBSERVATION + index:03d}",
                start_mjd_utc=jwidf.EPOCH_START_MJD_UTC[last]
                + jwidf.EPOCH_INTERVAL_DAYS * (index - last),
                roll_deg=(jwidf.AXIS_PA_DEG - line_from_v3_deg + 180.0 * (index % 2)) % 360.0,
                side=1 if index % 2 == 0 else -1,
                n_groups=n_groups,
                integration_s=integration_s,
                exposure_time_s=n_dithers * integration_s,
            )
        )
    return tuple(epochs)


def expose(
    instrument: Instrument,
    bands: Sequence[Band],
    epochs: tuple[SimulatedEpoch, ...],
    n_dithers: int,
) -> dict[ExposureKey, list[SimulatedExposure]]:
    """Return the dithers of each epoch, band and array, before any context is chosen.

    Parameters
    ----------
    bands : sequence of Band
        SW and LW bands are observed in pairs, in this order.

    Returns
    -------
    dict of ExposureKey to list of SimulatedExposure
        `pmap` and `photom_file` are empty and `photmjsr` is NaN until a context is chosen.
    """
    by_channel = {
        channel: [band for band in bands if band.channel == channel] for channel in ("SW", "LW")
    }
    configs = list(zip_longest(*by_channel.values()))
    exposures: dict[ExposureKey, list[SimulatedExposure]] = {}
    for epoch in epochs:
        for dither, offset in enumerate(jwidf.DITHER_OFFSETS_ARCSEC[:n_dithers]):
            pointing = boresight(
                jwidf.MODULE_MIDDLE_V2_V3_ARCSEC[0] + offset[0],
                jwidf.MODULE_MIDDLE_V2_V3_ARCSEC[1] + offset[1],
                jwidf.FIELD_RA_DEG,
                jwidf.FIELD_DEC_DEG,
                epoch.roll_deg,
            )
            for array in instrument.arrays.values():
                reference = reference_point(array, *pointing)
                footprint = array_footprint(array, *reference)
                for config, pair in enumerate(configs):
                    band = pair[0] if array.channel == "SW" else pair[1]
                    if band is None:
                        continue
                    wait_s = (config * n_dithers + dither) * (epoch.integration_s + _OVERHEAD_S)
                    start = epoch.start_mjd_utc + wait_s / SECONDS_PER_DAY
                    exposures.setdefault((epoch.number, band.name, array.name), []).append(
                        SimulatedExposure(
                            epoch=epoch,
                            array=array,
                            band=band,
                            pmap="",
                            config=config,
                            dither=dither + 1,
                            offset_v2_arcsec=offset[0],
                            offset_v3_arcsec=offset[1],
                            expstart_mjd_utc=start,
                            expend_mjd_utc=start + epoch.integration_s / SECONDS_PER_DAY,
                            ra_v1_deg=pointing.ra_v1_deg,
                            dec_v1_deg=pointing.dec_v1_deg,
                            pa_v3_deg=pointing.pa_v3_deg,
                            ra_ref_deg=reference.ra_ref_deg,
                            dec_ref_deg=reference.dec_ref_deg,
                            roll_ref_deg=reference.roll_ref_deg,
                            footprint=footprint,
                            photmjsr=float("nan"),
                            photom_file="",
                        )
                    )
    return exposures


def mosaic_outlines(
    exposures: dict[ExposureKey, list[SimulatedExposure]],
) -> dict[tuple[int, str], Rectangle]:
    """Return the outline of each array's mosaic, by parity of the epoch (0 for the first roll)."""
    outlines: dict[tuple[int, str], Rectangle] = {}
    for (number, _, array), members in exposures.items():
        parity = (number - 1) % 2
        if (parity, array) in outlines:
            continue
        vertices = np.concatenate([member.footprint for member in members])
        xi, eta = tangent_plane(
            vertices[:, 0], vertices[:, 1], jwidf.FIELD_RA_DEG, jwidf.FIELD_DEC_DEG
        )
        angle = float(np.arctan2(eta[1] - eta[0], xi[1] - xi[0]))
        outlines[parity, array] = Rectangle.around(xi, eta, angle)
    return outlines

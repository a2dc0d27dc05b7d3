"""Facts about JWIDF, the programme that the simulator imitates.

What is the paper's (Ma et al. 2024, arXiv 2311.13754) says where from; what is made up for the
simulation says SIMULATED.
"""

from __future__ import annotations

from dataclasses import dataclass

from calreg.errors import UnknownKeyError

FIELD_RA_DEG = 265.02
FIELD_DEC_DEG = 68.98
"""Centre of the field, ICRS, near the IRAC Dark Field."""

AXIS_PA_DEG = 72.0
"""Position angle of the long side of the field, east of north (paper, section 5.1)."""

EPOCH_START_MJD_UTC = (59768.35, 59950.35, 60131.35)
"""2022-07-08, 2023-01-06 and 2023-07-06 (paper, section 2); the time of day is SIMULATED."""

EPOCH_INTERVAL_DAYS = 182.0
"""Between epochs after the third (SIMULATED)."""

EPOCH_N_GROUPS = (10, 8, 9)
"""SHALLOW4 groups of each of six exposures; they give the paper's (3157, 2512, 2835) s."""

BANDS = ("F150W", "F200W", "F356W", "F444W")

PROGRAM = "01176"
FIRST_OBSERVATION = 241
"""Observation of the first epoch, counted upwards (SIMULATED numbers)."""

DITHER_OFFSETS_ARCSEC = (
    (-24.65, -7.23),
    (0.05, -7.17),
    (24.55, -7.23),
    (24.65, 7.23),
    (-0.05, 7.17),
    (-24.55, 7.23),
)
"""Offsets in (V2, V3) that close the gap between the modules as FULLBOX 6TIGHT does, with sub-pixel
steps (its table: JWST User Documentation, NIRCam Primary Dithers). SIMULATED: symmetric about zero,
so that a half turn maps the field onto itself."""

MODULE_MIDDLE_V2_V3_ARCSEC = (-1.3, -492.6)
"""The point of the telescope frame about which a half turn maps A arrays onto B arrays to
0.5 arcsec (mean of the reference points in instruments/nircam.toml)."""

# Frame and group times of full-array SHALLOW4 (JWST User Documentation, NIRCam readout patterns).
FRAME_TIME_S = 10.73677
FRAMES_PER_GROUP = 4
FRAMES_DROPPED_PER_GROUP = 1

SOURCE_COUNTS: dict[str, dict[str, int]] = {
    "F150W": {
        "nrca1": 19, "nrca2": 29, "nrca3": 28, "nrca4": 32,
        "nrcb1": 19, "nrcb2": 19, "nrcb3": 26, "nrcb4": 25,
    },
    "F200W": {
        "nrca1": 23, "nrca2": 34, "nrca3": 31, "nrca4": 34,
        "nrcb1": 21, "nrcb2": 23, "nrcb3": 30, "nrcb4": 31,
    },
    "F356W": {"nrcalong": 97, "nrcblong": 83},
    "F444W": {"nrcalong": 84, "nrcblong": 82},
}  # fmt: skip
"""Sources brighter than 22 mag in the patch that an array saw in epoch 1 (paper, Table 2)."""


@dataclass(frozen=True)
class Astrometry:
    """Position differences of epoch 2 minus epoch 1 in one band (paper, Table 1).

    Attributes
    ----------
    ra_mas, dec_mas : float
        Medians along right ascension (times cos dec) and declination [mas].
    """

    ra_mas: float
    dec_mas: float
    ra_mad_mas: float
    dec_mad_mas: float


ASTROMETRY = {
    "F150W": Astrometry(-0.6, -0.9, 2.8, 2.8),
    "F200W": Astrometry(1.0, -1.5, 2.3, 3.1),
    "F356W": Astrometry(1.1, -0.6, 1.9, 1.6),
    "F444W": Astrometry(0.7, 0.4, 2.2, 2.5),
}

FLOOR_MAG = {"F150W": 0.0075, "F200W": 0.0045, "F356W": 0.0035, "F444W": 0.004}
"""Scatter per measurement that catalog errors do not contain; sqrt(2) times this is the floor of a
pair, 5 to 11 mmag (SIMULATED, so that fitted errors come out near the paper's Table 3)."""


@dataclass(frozen=True)
class TrueCoefficients:
    """What the simulator injects for one (pmap, band, array id).

    Attributes
    ----------
    offset_ab_mag : float
        m_A - m_B at the field centre [mag]; A is offset, B is not.
    slope_mag_arcmin : float
        Gradient k along the axis [mag / arcmin].
    time_mag : tuple of float
        Term of each epoch [mag]; epochs beyond its end have none.
    """

    pmap: str
    band: str
    array_id: str
    offset_ab_mag: float
    slope_mag_arcmin: float = 0.0
    time_mag: tuple[float, ...] = ()


# Full precision of the paper's Table 3: github.com/Jerry-Ma/idf_nircam_cal_recipe (BSD-3),
# tables/idf_zpcor_1130_pmap.ecsv, columns dmag_ab and slope.
_TRUTH_1130 = (
    ("1", "F150W", 0.012955932617201198, 0.0),
    ("1", "F200W", 0.015338389078786714, 0.0),
    ("2", "F150W", -0.043419212102891326, 0.0),
    ("2", "F200W", -0.052666449546806056, 0.0),
    ("3", "F150W", 0.02192813699895496, 0.0),
    ("3", "F200W", 0.013967979245062545, 0.0),
    ("4", "F150W", -0.05012960433961769, 0.0),
    ("4", "F200W", -0.030452976226800238, 0.0),
    ("long", "F356W", 0.00874224419565249, 0.0030013464545868888),
    ("long", "F444W", -0.016536067144048285, 0.004329215118203972),
)

# SIMULATED: the paper prints no numbers for 1039; it says that offsets reach 0.05 mag, that array
# ids 1, 3 and long were worse with B the brighter, that 2 and 4 stayed, and that only A changed.
_OFFSET_1039_MAG = {
    ("1", "F150W"): 0.0465,
    ("1", "F200W"): 0.0430,
    ("3", "F150W"): 0.0500,
    ("3", "F200W"): 0.0445,
    ("long", "F356W"): 0.0360,
    ("long", "F444W"): 0.0310,
}

PMAPS = ("jwst_1039.pmap", "jwst_1130.pmap")

# SIMULATED [MJy/sr per DN/s], near the real values (jwst_1293, github.com/gbrammer/grizli,
# data/jwst_zeropoints.yml): what the simulated jwst_1130 holds.
_PHOTMJSR_1130 = {
    "F150W": {
        "nrca1": 2.333, "nrca2": 2.412, "nrca3": 2.296, "nrca4": 2.137,
        "nrcb1": 2.447, "nrcb2": 2.338, "nrcb3": 2.370, "nrcb4": 2.056,
    },
    "F200W": {
        "nrca1": 1.964, "nrca2": 2.100, "nrca3": 1.896, "nrca4": 1.829,
        "nrcb1": 2.056, "nrcb2": 1.969, "nrcb3": 1.958, "nrcb4": 1.797,
    },
    "F356W": {"nrcalong": 0.421, "nrcblong": 0.379},
    "F444W": {"nrcalong": 0.402, "nrcblong": 0.371},
}  # fmt: skip


def programme_truth() -> tuple[TrueCoefficients, ...]:
    """Return the default injection: Table 3 for 1130, SIMULATED offsets for 1039."""
    old, new = PMAPS
    return tuple(
        TrueCoefficients(old, band, array_id, _OFFSET_1039_MAG.get((array_id, band), offset), slope)
        for array_id, band, offset, slope in _TRUTH_1130
    ) + tuple(
        TrueCoefficients(new, band, array_id, offset, slope)
        for array_id, band, offset, slope in _TRUTH_1130
    )


def base_photmjsr(band: str, array: str) -> float:
    """Return PHOTMJSR of the simulated jwst_1130 [MJy/sr per DN/s].

    Raises
    ------
    UnknownKeyError
        If the programme did not observe the band with that array.
    """
    try:
        return _PHOTMJSR_1130[band][array]
    except KeyError:
        msg = f"JWIDF has no {band} with {array}: expected one of its bands {', '.join(BANDS)}"
        raise UnknownKeyError(msg) from None


def true_coefficients(
    truth: tuple[TrueCoefficients, ...], pmap: str, band: str, array_id: str
) -> TrueCoefficients:
    """Return the entry of one key.

    Raises
    ------
    UnknownKeyError
        If there is none.
    """
    for entry in truth:
        if (entry.pmap, entry.band, entry.array_id) == (pmap, band, array_id):
            return entry
    msg = f"no simulated truth for {pmap} {band} array id {array_id}: give it with `truth`"
    raise UnknownKeyError(msg)

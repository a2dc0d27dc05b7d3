"""Small exposures of one field that are drizzled in tests: distorted, dithered, with stars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from support.calimages import write_cal
from support.distorted import LW_SCALE_ARCSEC, DistortedSky, add_star, distorted_sky

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from support.fitsimages import CardTable

N_PX = 256
RA_DEG, DEC_DEG = 265.02, 68.98
ROLL_DEG = 41.0
DETECTOR_CENTRE = 1500.0
"""Where the middle of the distortion lies in these pixels: off, as in the corner of a detector."""

DITHERS_ARCSEC = ((0.0, 0.0), (0.73, 0.31), (-0.42, 0.96), (1.17, -0.64))
PHOTMJSR = 0.4
NOISE = 0.002
STAR_FLUX = 40.0
"""Of the brightest star [MJy/sr arcsec^2]."""


@dataclass(frozen=True)
class Scene:
    """What the exposures see.

    Attributes
    ----------
    stars : sequence of (ra, dec, flux)
        [deg, deg, MJy/sr arcsec^2].
    level : float
        Surface brightness of the sky [MJy/sr].
    noise : float
        1-sigma noise that is added [MJy/sr]; errors are `NOISE` in any case.
    """

    stars: Sequence[tuple[float, float, float]] = ()
    level: float = 0.2
    noise: float = 0.0


def pointing(n: int, *, roll_deg: float = ROLL_DEG, shift_arcsec: float = 0.0) -> DistortedSky:
    """Return where dither `n` looks."""
    east, north = DITHERS_ARCSEC[n % len(DITHERS_ARCSEC)]
    step = 1.0 / 3600.0
    middle = 0.5 * N_PX
    # The detector's corner that is simulated lies where the field is.
    sky = distorted_sky(RA_DEG, DEC_DEG, roll_deg, N_PX, centre=DETECTOR_CENTRE)
    (ra,), (dec,) = sky.sky_of(np.array([middle]), np.array([middle]))
    return distorted_sky(
        2.0 * RA_DEG - float(ra) + (east + shift_arcsec) * step / np.cos(np.radians(DEC_DEG)),
        2.0 * DEC_DEG - float(dec) + north * step,
        roll_deg,
        N_PX,
        centre=DETECTOR_CENTRE,
    )


def star_positions(n_stars: int, *, half_arcsec: float = 5.5) -> list[tuple[float, float]]:
    """Return positions that every dither sees, 2 arcsec or more apart."""
    rng = np.random.default_rng(8)
    found: list[tuple[float, float]] = []
    while len(found) < n_stars:
        east, north = rng.uniform(-half_arcsec, half_arcsec, 2)
        if all(np.hypot(east - e, north - n) > 2.0 for e, n in found):
            found.append((float(east), float(north)))
    cosine = np.cos(np.radians(DEC_DEG))
    return [(RA_DEG + e / 3600.0 / cosine, DEC_DEG + n / 3600.0) for e, n in found]


def _pixels(scene: Scene, sky: DistortedSky, seed: int) -> np.ndarray:
    """Return what an exposure sees."""
    noise = np.random.default_rng(seed).standard_normal((N_PX, N_PX))
    sci = (scene.level + scene.noise * noise).astype(np.float32)
    for ra_deg, dec_deg, flux in scene.stars:
        add_star(sci, sky, ra_deg, dec_deg, flux)
    return sci


def write_exposure(
    folder: Path,
    n: int,
    scene: Scene | None = None,
    *,
    epoch: int = 1,
    array: str = "nrcalong",
    primary: CardTable | None = None,
    science: CardTable | None = None,
    planes: dict[str, np.ndarray | None] | None = None,
    sky: DistortedSky | None = None,
    kind: str = "cal",
    asdf_tree: dict[str, Any] | None = None,
) -> Path:
    """Write dither `n` of an epoch; even epochs are half a turn round."""
    scene = Scene() if scene is None else scene
    roll_deg = ROLL_DEG + 180.0 * ((epoch - 1) % 2)
    sky = pointing(n, roll_deg=roll_deg) if sky is None else sky
    sci = _pixels(scene, sky, seed=1000 * epoch + n)
    variance = np.full(sci.shape, 0.5 * NOISE**2, dtype=np.float32)
    made: dict[str, np.ndarray | None] = {
        "SCI": sci,
        "ERR": np.full(sci.shape, NOISE, dtype=np.float32),
        "DQ": np.zeros(sci.shape, dtype=np.uint32),
        "VAR_POISSON": variance,
        "VAR_RNOISE": variance,
    }
    start = 59768.25 + 180.0 * (epoch - 1) + 0.01 * n
    cards: CardTable = {
        "DETECTOR": array.upper(),
        "FILTER": "F444W" if array.endswith("long") else "F150W",
        "OBSERVTN": str(240 + epoch),
        "EXPOSURE": str(n + 1),
        "EXPSTART": start,
        "EXPMID": start + 0.004,
        "EXPEND": start + 0.008,
        "EFFEXPTM": 500.0,
        **(primary or {}),
    }
    (ra,), (dec,) = sky.sky_of(np.array([0.5 * N_PX]), np.array([0.5 * N_PX]))
    of_science: CardTable = {
        "PHOTMJSR": PHOTMJSR,
        "PIXAR_SR": float(np.radians(LW_SCALE_ARCSEC / 3600.0) ** 2),
        "PA_V3": roll_deg,
        "ROLL_REF": roll_deg,
        "RA_REF": float(ra),
        "DEC_REF": float(dec),
        **(science or {}),
    }
    name = f"jw01176{cards['OBSERVTN']}001_02101_{n + 1:05d}_{array}_{kind}.fits"
    return write_cal(
        folder / name,
        {**made, **(planes or {})},
        sky=sky,
        primary=cards,
        science=of_science,
        asdf_tree=asdf_tree,
    )


def write_epoch(folder: Path, scene: Scene | None = None, *, epoch: int = 1) -> list[Path]:
    """Write all dithers of an epoch."""
    folder.mkdir(parents=True, exist_ok=True)
    return [write_exposure(folder, n, scene, epoch=epoch) for n in range(len(DITHERS_ARCSEC))]

"""Mosaics of a small simulated field on one lattice of pixels, two arrays and opposite rolls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from astropy.io import fits

from benchmarks.skyscene import draw_epoch, simulate_scene
from calreg.instruments import load_instrument
from calreg.science.sky.geometry import s_region_text
from calreg.science.sky.grids import Grid
from support.fitsimages import PRIMARY_CARDS, SCIENCE_CARDS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

NX, NY = 700, 420
SCALE_ARCSEC = 0.06
GRID = Grid(265.1, 65.8, SCALE_ARCSEC, 0.0, NX / 2.0, NY / 2.0, NX, NY)
WIDTH = 380
"""Of one array's mosaic: those of A and B overlap by 60 pixels."""

N_SOURCES = 200
STARTS_MJD = (59768.25, 59950.25, 60131.25)
ROLLS_DEG = (41.0, 221.0, 41.0)
OFFSETS_MAG = {"nrcalong": 0.04, "nrcblong": 0.0}


@dataclass(frozen=True)
class SkyMosaic:
    """One mosaic in the making.

    Attributes
    ----------
    epoch : int
        0, 1 or 2.
    array : str
        ``nrcalong`` or ``nrcblong``; A is on the left in epochs 0 and 2.
    sci, err : ndarray of float32, shape (NY, WIDTH)
    grid : Grid
    """

    epoch: int
    array: str
    sci: NDArray[np.float32] = field(repr=False)
    err: NDArray[np.float32] = field(repr=False)
    grid: Grid

    @property
    def name(self) -> str:
        """Its file name."""
        return f"epoch{self.epoch + 1}_{self.array}_f444w_i2d.fits"


def draw_mosaic(epoch: int, array: str, *, shift_px: tuple[float, float] = (0.0, 0.0)) -> SkyMosaic:
    """Draw what an array sees of the field in an epoch; module A reads 0.04 mag too faint."""
    scene = simulate_scene(NX, NY, N_SOURCES, seed=5)
    scene.x[:] += shift_px[0]
    scene.y[:] += shift_px[1]
    factor = 10.0 ** (-0.4 * OFFSETS_MAG[array])
    seed = 10 * epoch + (array == "nrcblong")
    sci, err = draw_epoch(scene, seed=seed, factor=factor)
    is_left = (array == "nrcalong") == (epoch != 1)
    x0 = 0 if is_left else NX - WIDTH
    cut = np.s_[:, x0 : x0 + WIDTH]
    grid = GRID.cutout(x0, 0, WIDTH, NY)
    return SkyMosaic(epoch, array, sci[cut].copy(), err[cut].copy(), grid)


def write_mosaic(
    folder: Path,
    mosaic: SkyMosaic,
    *,
    name: str | None = None,
    primary: Mapping[str, object] | None = None,
    science: Mapping[str, object] | None = None,
    planes: Mapping[str, NDArray[np.generic] | None] | None = None,
    with_wcs: bool = True,
) -> Path:
    """Write a mosaic; planes given as None are left out."""
    start = STARTS_MJD[mosaic.epoch]
    cards = {
        **PRIMARY_CARDS,
        "DETECTOR": mosaic.array.upper(),
        "FILTER": "F444W",
        "S_RESAMP": "COMPLETE",
        "OBSERVTN": f"{241 + mosaic.epoch}",
        "EXPSTART": start,
        "EXPMID": start + 0.01,
        "EXPEND": start + 0.02,
        **(primary or {}),
    }
    grid = mosaic.grid
    header = fits.Header(
        list(
            {
                **SCIENCE_CARDS,
                "PIXAR_SR": grid.pixel_sr,
                "S_REGION": s_region_text(grid.corners()),
                "PA_V3": ROLLS_DEG[mosaic.epoch],
                "ROLL_REF": ROLLS_DEG[mosaic.epoch],
                **(science or {}),
            }.items()
        )
    )
    if with_wcs:
        header.update(grid.wcs().to_header())
    wht = np.ones(mosaic.sci.shape, dtype=np.float32)
    dq = np.zeros(mosaic.sci.shape, dtype=np.uint32)
    found = {"SCI": mosaic.sci, "ERR": mosaic.err, "WHT": wht, "DQ": dq, **(planes or {})}
    hdus = [fits.PrimaryHDU(header=fits.Header(list(cards.items())))]
    for plane, values in found.items():
        if values is not None:
            hdus.append(fits.ImageHDU(values, header if plane == "SCI" else None, name=plane))
    hdus.append(_member_table(mosaic))
    path = folder / (name or mosaic.name)
    fits.HDUList(hdus).writeto(path)
    return path


def _member_table(mosaic: SkyMosaic) -> fits.BinTableHDU:
    """Return HDRTAB with one exposure, whose pointing tells where on the detector sources are."""
    array = load_instrument().arrays[mosaic.array]
    columns = [
        fits.Column("FILENAME", "20A", array=[f"{mosaic.array}_cal.fits"]),
        fits.Column("DETECTOR", "10A", array=[array.detector]),
        fits.Column("CRDS_CTX", "20A", array=["jwst_1130.pmap"]),
    ]
    pointing = {
        "V2_REF": array.v2_ref_arcsec,
        "V3_REF": array.v3_ref_arcsec,
        "RA_REF": GRID.ra_deg,
        "DEC_REF": GRID.dec_deg,
        "ROLL_REF": ROLLS_DEG[mosaic.epoch],
    }
    columns += [fits.Column(name, "D", array=[value]) for name, value in pointing.items()]
    return fits.BinTableHDU.from_columns(columns, name="HDRTAB")


def write_field(folder: Path, *, n_epochs: int = 2) -> list[Path]:
    """Write both arrays of the first epochs."""
    return [
        write_mosaic(folder, draw_mosaic(epoch, array))
        for epoch in range(n_epochs)
        for array in OFFSETS_MAG
    ]

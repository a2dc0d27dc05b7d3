"""A mosaic of six dithers with coarse pixels, its context plane and table of members, for tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits

from calreg.instruments import load_instrument
from calreg.science.sky.geometry import s_region_text
from calreg.science.sky.grids import Grid
from calreg.science.sky.pointing import ReferencePoint, boresight, reference_point, sky_to_detector
from calreg.simulation.programme import DITHER_OFFSETS_ARCSEC
from support.distorted import DistortedSky, distorted_sky
from support.fitsimages import PRIMARY_CARDS, SCIENCE_CARDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.fitsimages import CardTable

ARRAY = load_instrument().arrays["nrcalong"]
SCALE_ARCSEC = 1.0
"""Much coarser than a detector's pixels, so that context planes are small."""

PA_DEG = 41.0
_FIRST_BIT = np.int64(1)


@dataclass(frozen=True)
class Dithers:
    """Pointings of a mosaic's members, and where they see the sky.

    Attributes
    ----------
    references : list of ReferencePoint
    skies : list of DistortedSky
        World coordinates of the members.
    grid : Grid
        Of the mosaic.
    """

    references: list[ReferencePoint]
    skies: list[DistortedSky]
    grid: Grid
    n_members: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_members", len(self.references))

    def pixels_of(self, n: int, ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the pixels of positions by the distorted world coordinates of a member."""
        x, y = self.skies[n].wcs.all_world2pix(ra, dec, 0, tolerance=1e-8, quiet=True)
        return x, y

    def linear_pixels_of(
        self, n: int, ra: np.ndarray, dec: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the pixels of positions by a member's pointing."""
        return sky_to_detector(ra, dec, ARRAY, *self.references[n])

    def context(self, pixels_of: Callable[..., Any] | None = None, n_planes: int = 1) -> np.ndarray:
        """Return CON: the members whose detector holds the centre of a pixel."""
        y, x = (axis.ravel() for axis in np.mgrid[: self.grid.ny, : self.grid.nx])
        ra, dec = self.grid.sky_of(x, y)
        words = np.zeros((n_planes, x.size), dtype=np.int64)
        for n in range(self.n_members):
            is_seen = is_on_detector(*(pixels_of or self.pixels_of)(n, ra, dec))
            words[n // 32] |= np.where(is_seen, _FIRST_BIT << (n % 32), 0)
        signed = np.where(words >= 1 << 31, words - (1 << 32), words).astype(np.int32)
        return signed.reshape(n_planes, *self.grid.shape)

    def inside(self, n_sources: int, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
        """Return positions in the mosaic, two pixels or more from its edges."""
        rng = np.random.default_rng(seed)
        x = rng.uniform(2.0, self.grid.nx - 3.0, n_sources)
        y = rng.uniform(2.0, self.grid.ny - 3.0, n_sources)
        return self.grid.sky_of(x, y)


def is_on_detector(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mark pixels of a full array."""
    high = ARRAY.n_pixels - 0.5
    return (x >= -0.5) & (x <= high) & (y >= -0.5) & (y <= high)


def make_dithers(n_members: int = 6) -> Dithers:
    """Return members at the offsets of a tight pattern, again and again."""
    references, skies, footprints = [], [], []
    for n in range(n_members):
        v2, v3 = DITHER_OFFSETS_ARCSEC[n % len(DITHER_OFFSETS_ARCSEC)]
        reference = reference_point(ARRAY, *boresight(-v2, -480.0 - v3, 265.0, 69.0, PA_DEG))
        y_pa_deg = reference.roll_ref_deg + ARRAY.v3_ideal_y_angle_deg
        sky = distorted_sky(reference.ra_ref_deg, reference.dec_ref_deg, y_pa_deg)
        references.append(reference)
        skies.append(sky)
        footprints.append(sky.footprint(ARRAY.n_pixels))
    return Dithers(references, skies, Grid.covering(footprints, SCALE_ARCSEC, PA_DEG, 4))


def write_dithered(
    path: Path,
    dithers: Dithers,
    *,
    context: np.ndarray | None = None,
    with_wcs: bool = True,
    columns: dict[str, Any] | None = None,
    primary: CardTable | None = None,
) -> Path:
    """Write a mosaic; without `with_wcs` its HDRTAB is as the jwst pipeline's."""
    grid = dithers.grid
    cards: CardTable = {
        **PRIMARY_CARDS,
        "DETECTOR": ARRAY.detector,
        "FILTER": "F356W",
        "S_RESAMP": "COMPLETE",
        **(primary or {}),
    }
    science = {**SCIENCE_CARDS, "PIXAR_SR": grid.pixel_sr}
    science["S_REGION"] = s_region_text(grid.corners())
    header = fits.Header([*science.items()])
    header.update(grid.wcs().to_header())
    table: dict[str, Any] = {
        "FILENAME": [f"m{n}_cal.fits" for n in range(dithers.n_members)],
        "DETECTOR": [ARRAY.detector] * dithers.n_members,
        "CRDS_CTX": ["jwst_1130.pmap"] * dithers.n_members,
        "V2_REF": np.full(dithers.n_members, ARRAY.v2_ref_arcsec),
        "V3_REF": np.full(dithers.n_members, ARRAY.v3_ref_arcsec),
        "RA_REF": np.array([point.ra_ref_deg for point in dithers.references]),
        "DEC_REF": np.array([point.dec_ref_deg for point in dithers.references]),
        "ROLL_REF": np.array([point.roll_ref_deg for point in dithers.references]),
    }
    if with_wcs:
        table["WCS"] = [sky.wcs.to_header_string(relax=True) for sky in dithers.skies]
    table |= columns or {}
    hdus = [
        fits.PrimaryHDU(header=fits.Header([*cards.items()])),
        fits.ImageHDU(np.ones(grid.shape, dtype=np.float32), header, name="SCI"),
    ]
    if context is not None:
        hdus.append(fits.ImageHDU(context, name="CON"))
    filled = {name: values for name, values in table.items() if values is not None}
    hdus.append(fits.BinTableHDU.from_columns([_column(*item) for item in filled.items()]))
    hdus[-1].name = "HDRTAB"
    fits.HDUList(hdus).writeto(path)
    return path


def _column(name: str, values: Any) -> fits.Column:
    """Return a column of text or of numbers."""
    if isinstance(values, np.ndarray):
        return fits.Column(name, "D", array=values)
    return fits.Column(name, f"{max(map(len, values))}A", array=values)

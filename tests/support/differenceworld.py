"""A simulated field with pixels: JWIDF in one band, coarse mosaics of every array and epoch.

Offset and gradient are fixed to the detectors and injected into pixels and catalogs alike: every
exposure of a mosaic reads a source too faint by the offset at its own detector pixel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from calreg.domain import Pmap
from calreg.files.atomic import NamedFiles, pending_file
from calreg.files.images.exposures import read_exposure
from calreg.files.images.mosaicfile import MosaicMember, write_mosaic
from calreg.flags import DO_NOT_USE
from calreg.instruments import load_instrument
from calreg.science.imaging.drizzling import DrizzledMosaic
from calreg.science.sky.geometry import FieldAxis, along_axis, sky_from_tangent_plane
from calreg.science.sky.grids import Grid
from calreg.science.sky.pointing import sky_to_detector
from calreg.simulation import programme as jwidf
from calreg.simulation.files import write_programme
from calreg.simulation.programme import TrueCoefficients
from calreg.simulation.simulate import Programme, simulate_jwidf
from calreg.simulation.sources import MOSAIC_PIXAR_SR
from calreg.units import ab_flux_ujy, flux_divisor, surface_brightness_to_ujy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from calreg.simulation.exposures import SimulatedExposure
    from calreg.simulation.simulate import SimulatedMosaic
    from calreg.simulation.sources import SimulatedDetections
    from calreg.units import FloatArray

PMAP = "jwst_1130.pmap"
SCALE_ARCSEC = 0.3
"""Coarse, so that a field is a megapixel."""

SIGMA_PX = 1.3
NOISE_MJY_SR = 0.004
"""Of a pixel that all dithers cover: S/N 130 at 22 mag."""

FAINTEST_MAG = 24.5
_MARGIN_PX = 6
AXIS = FieldAxis(jwidf.AXIS_PA_DEG, jwidf.FIELD_RA_DEG, jwidf.FIELD_DEC_DEG)


@dataclass(frozen=True)
class Truth:
    """What is injected: m_A - m_B at d = 0, and a gradient along the line from A to B.

    By array id; the gradient [mag / arcmin] is that of pairs, as in the paper's Table 3, shared
    half and half by the detectors of both modules.
    """

    offset_ab_mag: dict[str, float]
    slope_mag_arcmin: float = 0.0


@dataclass(frozen=True)
class World:
    """Files of a simulated field: mosaics and catalogs, by epoch."""

    programme: Programme
    truth: Truth
    lattice: Grid
    paths: tuple[Path, ...]

    @property
    def epochs(self) -> list[str]:
        """Names of the epochs."""
        return ["2022-07-08", "2023-01-06", "2023-07-06"][: len(self.programme.epochs)]


def make_world(
    folder: Path,
    truth: Truth,
    *,
    band: str = "F444W",
    n_epochs: int = 2,
    seed: int = 5,
    odd: str = "",
) -> World:
    """Simulate, and write mosaics and catalogs.

    Mosaics whose name contains `odd` have pixels of their own, turned by a degree.
    """
    zero = [TrueCoefficients(PMAP, band, array_id, 0.0) for array_id in truth.offset_ab_mag]
    programme = simulate_jwidf(
        seed, n_epochs=n_epochs, pmaps=(PMAP,), truth=zero, bands=(band,), faint_per_patch=60
    )
    lattice = Grid.covering(
        [exposure.footprint for exposure in programme.exposures],
        SCALE_ARCSEC,
        jwidf.AXIS_PA_DEG + 90.0,
        _MARGIN_PX,
    )
    lattice_sr = lattice.pixel_sr
    programme = replace(
        programme,
        mosaics=tuple(
            replace(mosaic, detections=_injected(mosaic, truth, lattice_sr))
            for mosaic in programme.mosaics
        ),
    )
    written = {path.name: path for path in write_programme(programme, folder)}
    turned = replace(lattice, y_pa_deg=lattice.y_pa_deg + 1.0, x_ref=lattice.x_ref + 0.37)
    skies = {grid: _sky_image(programme, grid) for grid in (lattice, turned)}
    paths = []
    for number, mosaic in enumerate(programme.mosaics):
        own = turned if odd and odd in mosaic.file_name else lattice
        cut = _reached(own, [member.footprint for member in mosaic.members])
        path = written[mosaic.file_name]
        members = [_member(written[member.file_name]) for member in mosaic.members]
        pixels = _observed(mosaic, truth, own, cut, skies[own], [seed, number])
        pending = pending_file(path, overwrite=True)
        write_mosaic(
            pending, pixels, members, load_instrument(), pmap=Pmap.parse(PMAP), code_version="0"
        )
        with NamedFiles() as names:
            names.give(pending)
        paths += [path, written[mosaic.catalog_name]]
    return World(programme, truth, lattice, tuple(paths))


def _reached(grid: Grid, footprints: Sequence[FloatArray]) -> Grid:
    """Return the part of a grid that footprints and two pixels around them reach."""
    around = grid.around(footprints, 2)
    x, y = round(grid.x_ref - around.x_ref), round(grid.y_ref - around.y_ref)
    x0, y0 = max(x, 0), max(y, 0)
    return grid.cutout(x0, y0, min(x + around.nx, grid.nx) - x0, min(y + around.ny, grid.ny) - y0)


def _member(path: Path) -> MosaicMember:
    """Return what a mosaic says of an exposure."""
    return MosaicMember(read_exposure(path, instrument=load_instrument()), 1.0, 0.0, "sip", "")


# --- what detectors do ----------------------------------------------------------------------------


def divisors(
    members: Sequence[SimulatedExposure], truth: Truth, ra_deg: np.ndarray, dec_deg: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return, by exposure, what a source's flux is multiplied by, and whether it is covered."""
    centres = [along_axis([member.ra_ref_deg], [member.dec_ref_deg], AXIS)[0] for member in members]
    read, covered = [], []
    for member, centre in zip(members, centres, strict=True):
        array, side = member.array, member.epoch.side
        # Along the line from A to B, on the detector: with the pointing, not with the sky.
        along = side * (along_axis(ra_deg, dec_deg, AXIS) - (centre - np.mean(centres)))
        offset = truth.offset_ab_mag[array.array_id] if array.module == "A" else 0.0
        read.append(flux_divisor(offset - 0.5 * truth.slope_mag_arcmin * along))
        pointing = (member.ra_ref_deg, member.dec_ref_deg, member.roll_ref_deg)
        x, y = sky_to_detector(ra_deg, dec_deg, array, *pointing)
        high = array.n_pixels - 0.5
        covered.append((x >= -0.5) & (x <= high) & (y >= -0.5) & (y <= high))
    return np.array(read), np.array(covered)


def _mean(read: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """Return the mean over the exposures that cover; one where none does."""
    count = covered.sum(axis=0)
    total = np.where(covered, read, 0.0).sum(axis=0)
    return np.asarray(np.divide(total, count, out=np.ones(count.shape), where=count > 0))


def _injected(mosaic: SimulatedMosaic, truth: Truth, pixel_sr: float) -> SimulatedDetections:
    """Return a catalog as the detectors would have it, summed over the mosaic's own pixels."""
    found = mosaic.detections
    factor = _mean(*divisors(mosaic.members, truth, found.ra_deg, found.dec_deg))
    changed = {}
    for name in ("flux_iso", "flux_iso_err", "flux_auto", "flux_auto_err"):
        changed[name] = getattr(found, name) * factor * MOSAIC_PIXAR_SR / pixel_sr
    for name in ("mag_iso", "mag_auto"):
        mag = getattr(found, name)
        changed[name] = np.where(mag < 90.0, mag - 2.5 * np.log10(factor), mag)
    return replace(found, **changed)


# --- pixels ---------------------------------------------------------------------------------------


def _sky_image(programme: Programme, lattice: Grid) -> np.ndarray:
    """Return the true sky [MJy/sr]: round sources, the same in all epochs."""
    sky = programme.sky
    mag = sky.mag[:, 0]
    chosen = np.flatnonzero(mag < FAINTEST_MAG)
    xi, eta = sky.xi_arcmin[chosen], sky.eta_arcmin[chosen]
    x, y = lattice.pixels_of(
        *sky_from_tangent_plane(xi, eta, programme.field_ra_deg, programme.field_dec_deg)
    )
    flux = ab_flux_ujy(mag[chosen]) / surface_brightness_to_ujy(lattice.pixel_sr)
    image = np.zeros(lattice.shape)
    half = 12
    for x_0, y_0, total in zip(x, y, flux, strict=True):
        x_low, y_low = round(float(x_0)) - half, round(float(y_0)) - half
        if min(x_low, y_low) < 0:
            continue
        stamp = image[y_low : y_low + 2 * half + 1, x_low : x_low + 2 * half + 1]
        rows, columns = np.indices(stamp.shape)
        radius2 = (columns + x_low - x_0) ** 2 + (rows + y_low - y_0) ** 2
        stamp += total / (2.0 * np.pi * SIGMA_PX**2) * np.exp(-0.5 * radius2 / SIGMA_PX**2)
    return image


def _observed(
    mosaic: SimulatedMosaic,
    truth: Truth,
    lattice: Grid,
    cut: Grid,
    sky: np.ndarray,
    seed: Sequence[int],
) -> DrizzledMosaic:
    """Return what the exposures of a mosaic make of the sky."""
    y, x = np.indices(cut.shape)
    ra_deg, dec_deg = cut.sky_of(x.ravel(), y.ravel())
    read, covered = divisors(mosaic.members, truth, ra_deg, dec_deg)
    response = _mean(read, covered).reshape(cut.shape)
    count = covered.sum(axis=0).reshape(cut.shape)
    context = sum(np.where(is_in, 1 << k, 0).reshape(cut.shape) for k, is_in in enumerate(covered))
    x0, y0 = round(lattice.x_ref - cut.x_ref), round(lattice.y_ref - cut.y_ref)
    part = sky[y0 : y0 + cut.ny, x0 : x0 + cut.nx]
    has_data = count > 0
    n_all = len(mosaic.members)
    noise = NOISE_MJY_SR * np.sqrt(n_all / np.maximum(count, 1))
    rng = np.random.default_rng(list(seed))
    pixels = part * response + noise * rng.standard_normal(cut.shape)
    return DrizzledMosaic(
        grid=cut,
        sci=np.where(has_data, pixels, np.nan).astype(np.float32),
        err=np.where(has_data, noise, np.nan).astype(np.float32),
        wht=np.where(has_data, 1.0 / noise**2, 0.0).astype(np.float32),
        con=np.asarray(context, dtype=np.int32)[np.newaxis],
        dq=np.where(has_data, 0, DO_NOT_USE).astype(np.uint8),
        n_members=n_all,
        noise_correlation=1.0,
        pixfrac=1.0,
        kernel="square",
    )


def expected_residuals(
    world: World, epochs: tuple[int, int], modules: tuple[str, str]
) -> np.ndarray:
    """Return 2 (f_2 - f_1) / (f_2 + f_1) of the bright sources in one half, from what was injected.

    `epochs` count from 1; `modules` are those that saw the half in either.
    """
    programme = world.programme
    sky = programme.sky
    bright = np.flatnonzero(sky.mag[:, 0] < 21.8)
    ra, dec = sky_from_tangent_plane(
        sky.xi_arcmin[bright],
        sky.eta_arcmin[bright],
        programme.field_ra_deg,
        programme.field_dec_deg,
    )
    read = []
    is_in = np.ones(ra.size, dtype=bool)
    for epoch, module in zip(epochs, modules, strict=True):
        total, weight = np.zeros((2, ra.size))
        for mosaic in programme.mosaics:
            if mosaic.epoch.number != epoch:
                continue
            factor, covered = divisors(mosaic.members, world.truth, ra, dec)
            count = covered.sum(axis=0)
            total += _mean(factor, covered) * count
            weight += count
            if mosaic.array.module != module:
                is_in &= count == 0
        is_in &= weight > 0
        read.append(total / np.maximum(weight, 1.0))
    return np.asarray(2.0 * (read[1] - read[0]) / (read[1] + read[0]))[is_in]

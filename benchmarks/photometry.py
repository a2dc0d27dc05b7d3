"""`calreg measure` of three epochs beside three runs of SExtractor, on one core."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from astropy.io import fits
from astropy.table import Table
from scipy.spatial import cKDTree

from benchmarks.harness import Contender, Result, alternate
from benchmarks.sextractor import configure, find_program, read_catalog, run_dual
from benchmarks.skyscene import draw_epoch, simulate_scene
from calreg import Registry
from calreg.flags import DetectionFlag
from calreg.pixels.measure.options import MeasureOptions
from calreg.science.photometry.settings import DetectionSettings
from calreg.science.sky.geometry import s_region_text
from calreg.science.sky.grids import Grid
from calreg.simulation.files import write_programme
from calreg.simulation.simulate import simulate_jwidf

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from numpy.typing import NDArray

    from benchmarks.harness import Setting

_N_EPOCHS = 3
_SCALE_ARCSEC = 0.06
_PIXEL_SR = float(np.radians(_SCALE_ARCSEC / 3600.0)) ** 2
_SETTINGS = DetectionSettings()
_SOURCES_PER_PIXEL = 5e-4
"""Half of them are above the threshold: 3400 detections in 4000 x 2500 pixels."""

_MAX_RATIO = 1.0
_MAX_SHELL_RATIO = 1.35
_MAX_IMAGES = 3.0
_MAX_MEDIAN_MAG = 1e-5
_MIN_WITHIN_1_MMAG = 0.99
_MIN_FOUND = 0.995


def run(setting: Setting) -> Iterator[Result]:
    """Measure simulated epochs; compare time and numbers with SExtractor's, and weigh memory."""
    nx, ny = (1500, 1200) if setting.is_quick else (4000, 2500)
    mosaics = _write_mosaics(setting.folder, nx, ny, has_planes=False)
    case = _Case(setting, mosaics)
    size = f"{nx} x {ny} pixels, {_N_EPOCHS} epochs, measured and stored"
    ours = Contender("calreg", case.measure, prepare=case.renew)
    whole = Contender("calreg measure", case.run_command, prepare=case.renew)
    if find_program() is None:
        with _one_core():
            alternate([ours], setting.n_rounds)
        yield Result(size, f"{ours.median_s:.2f} s", "no source-extractor on the PATH")
    else:
        configuration = configure(setting.folder, _SETTINGS, _SCALE_ARCSEC)
        peer = Contender("source-extractor", partial(_measure_theirs, configuration, mosaics))
        with _one_core():
            alternate([ours, peer, whole], setting.n_rounds)
        yield _at_most(
            f"{size}, one core",
            (f"{ours.median_s:.2f} s", f"{peer.median_s:.2f} s {peer.name}, 3 runs"),
            ours.median_s / peer.median_s,
            _MAX_RATIO,
        )
        yield _at_most(
            "  the command from the shell, with the start of Python",
            (f"{whole.median_s:.2f} s", f"{peer.median_s:.2f} s {peer.name}, 3 runs"),
            whole.median_s / peer.median_s,
            _MAX_SHELL_RATIO,
        )
        yield from _agreement(case, mosaics)
    extra_mb, image_mb = _extra_memory_mb(setting.folder, nx, ny)
    yield _at_most(
        "  peak memory on top of an idle process",
        (f"{extra_mb:.0f} MB", f"{image_mb:.0f} MB one image: SCI, ERR, WHT, DQ"),
        extra_mb / image_mb,
        _MAX_IMAGES,
    )


class _Case:
    """An empty registry for every round."""

    def __init__(self, setting: Setting, mosaics: list[Path]) -> None:
        self._databases = setting.databases
        self._original = setting.databases.make("sqlite")
        self._mosaics = mosaics
        self._url = self._original

    def renew(self) -> None:
        """Take a fresh copy."""
        self._url = self._databases.copy(self._original)

    def measure(self, out: Path | None = None) -> None:
        """Detect on the first mosaic, measure all, store the catalogs."""
        options = MeasureOptions(settings=_SETTINGS, has_weights=False, out=out)
        with Registry(self._url) as registry:
            registry.measure(self._mosaics, options)

    def run_command(self) -> None:
        """Do the same as a user does."""
        words = ["--db", self._url, "measure", *map(str, self._mosaics), "--no-weights"]
        command = [sys.executable, "-c", "from calreg.commands.main import main; main()", *words]
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603


def _at_most(what: str, measured: tuple[str, str], ratio: float, limit: float) -> Result:
    """Return a row whose target is a largest ratio."""
    return Result(what, *measured, ratio, f"<= {limit:g} x", ratio <= limit)


def _write_mosaics(folder: Path, nx: int, ny: int, *, has_planes: bool) -> list[Path]:
    """Write the epochs of one scene as mosaics of one array, with simulated headers."""
    name = "whole" if has_planes else "bare"
    programme = simulate_jwidf(
        n_epochs=_N_EPOCHS, pmaps=("jwst_1130.pmap",), bands=("F444W",), n_dithers=1
    )
    written = write_programme(programme, folder / f"{name}_small")
    originals = [path for path in written if path.name.endswith("_nrcalong_i2d.fits")]
    scene = simulate_scene(nx, ny, int(_SOURCES_PER_PIXEL * nx * ny))
    grid = Grid(260.7, 65.8, _SCALE_ARCSEC, 0.0, nx / 2.0, ny / 2.0, nx, ny)
    paths = []
    for epoch, original in enumerate(originals):
        pixels, err = draw_epoch(scene, seed=epoch, factor=1.0 + 0.01 * epoch)
        planes: dict[str, NDArray[np.generic]] = {"SCI": pixels}
        if has_planes:
            planes["ERR"] = err
            planes["WHT"] = np.ones(pixels.shape, dtype=np.float32)
            planes["DQ"] = np.zeros(pixels.shape, dtype=np.int32)
        paths.append(folder / f"{name}{epoch}_i2d.fits")
        _write_mosaic(paths[-1], original, grid, planes)
    return paths


def _write_mosaic(
    path: Path, original: Path, grid: Grid, planes: dict[str, NDArray[np.generic]]
) -> None:
    """Write planes under the headers of another mosaic."""
    with fits.open(original) as hdus:
        primary, science = hdus[0].header.copy(), hdus["SCI"].header.copy()
    for card in ("PC1_1", "PC1_2", "PC2_1", "PC2_2"):
        # Those that are zero or one are left out of the new ones.
        science.remove(card, ignore_missing=True)
    science.update(grid.wcs().to_header())
    science["S_REGION"] = s_region_text(grid.corners())
    science["PIXAR_SR"] = grid.pixel_sr
    images = [
        fits.ImageHDU(values, science if plane == "SCI" else None, name=plane)
        for plane, values in planes.items()
    ]
    fits.HDUList([fits.PrimaryHDU(header=primary), *images]).writeto(path)


def _measure_theirs(configuration: Path, mosaics: list[Path]) -> None:
    """Run SExtractor once per mosaic, with the first as detection image."""
    for mosaic in mosaics:
        run_dual(configuration, mosaics[0], mosaic, mosaic.with_suffix(".cat"))


def _agreement(case: _Case, mosaics: list[Path]) -> Iterator[Result]:
    """Compare isophotal magnitudes of unblended sources with SExtractor's."""
    case.renew()
    case.measure(mosaics[0].with_name("{}.ecsv"))
    differences, shares = [], []
    for mosaic in mosaics:
        ours, theirs = (
            Table.read(mosaic.with_suffix(".ecsv")),
            read_catalog(mosaic.with_suffix(".cat")),
        )
        tree = cKDTree(np.column_stack([ours["X_IMAGE"], ours["Y_IMAGE"]]))
        distance, rows = tree.query(np.column_stack([theirs["X_IMAGE"], theirs["Y_IMAGE"]]))
        shares.append(np.count_nonzero(distance < 0.1) / max(theirs.size, len(ours)))
        flags = theirs["FLAGS"] | np.asarray(ours["FLAGS"])[rows]
        # Relative to microjansky: the sums are of MJy/sr.
        flux = np.asarray(ours["FLUX_ISO"])[rows] / (_PIXEL_SR * 1e12)
        which = (distance < 0.1) & ((flags & DetectionFlag.BLENDED) == 0)
        which &= (flux > 0.0) & (theirs["FLUX_ISO"] > 0.0)
        differences.append(2.5 * np.log10(theirs["FLUX_ISO"][which] / flux[which]))
    difference, found = np.abs(np.concatenate(differences)), float(min(shares))
    median, within = float(np.median(difference)), float((difference <= 1e-3).mean())
    for what, shown, target, is_reached in (
        ("same sources", f"{found:.2%}", f">= {_MIN_FOUND:.1%}", found >= _MIN_FOUND),
        (
            f"median |dMAG_ISO|, {difference.size} unblended",
            f"{median:.1e} mag",
            f"<= {_MAX_MEDIAN_MAG:g}",
            median <= _MAX_MEDIAN_MAG,
        ),
        (
            "MAG_ISO within 1 mmag",
            f"{within:.2%}",
            f">= {_MIN_WITHIN_1_MMAG:.0%}",
            within >= _MIN_WITHIN_1_MMAG,
        ),
    ):
        yield Result(f"  {what}", shown, "source-extractor", None, target, is_reached)


@contextmanager
def _one_core() -> Iterator[None]:
    """Keep this process, and those that it starts, on one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _extra_memory_mb(folder: Path, nx: int, ny: int) -> tuple[float, float]:
    """Return by how much measuring raises the peak of a process, and the size of an image [MB]."""
    mosaics = _write_mosaics(folder, nx, ny, has_planes=True)
    (folder / "small").mkdir()
    small = _write_mosaics(folder / "small", nx // 10, ny // 10, has_planes=True)
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_weigh, args=(sender, small, mosaics))
    process.start()
    sender.close()
    extra_mb = receiver.recv()
    process.join()
    return extra_mb, 4 * 4 * nx * ny / 2**20


def _weigh(sender: Connection, small: list[Path], mosaics: list[Path]) -> None:
    """Measure small mosaics so that all is imported, then large ones; send the rise [MB]."""
    for paths in (small, mosaics):
        url = f"sqlite:///{paths[0].with_suffix('.sqlite')}"
        with Registry.create(url) as registry:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
            before_kb = _status_kb("VmRSS")
            registry.measure(paths, MeasureOptions(settings=_SETTINGS))
    sender.send((_status_kb("VmHWM") - before_kb) / 1024.0)


def _status_kb(name: str) -> int:
    """Return a number of this process from Linux [KiB]."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))

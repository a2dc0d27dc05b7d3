"""Matched-aperture photometry of three epochs beside three runs of SExtractor, on one core."""

from __future__ import annotations

import multiprocessing
import os
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from astropy.io import fits
from scipy.spatial import cKDTree

from benchmarks.harness import Contender, Result, alternate
from benchmarks.sextractor import configure, find_program, read_catalog, run_dual
from benchmarks.skyscene import draw_epoch, simulate_scene
from calreg.files.images import open_image, read_planes
from calreg.flags import DetectionFlag
from calreg.science.detection import DetectedSources, detect_sources
from calreg.science.detectionsettings import DetectionSettings
from calreg.science.grids import Grid
from calreg.science.isophotal import MeasuredSources, measure_sources
from calreg.science.planes import ImagePlanes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from benchmarks.harness import Setting

_N_EPOCHS = 3
_SCALE_ARCSEC = 0.06
_SETTINGS = DetectionSettings()
_SOURCES_PER_PIXEL = 5e-4
"""Half of them are above the threshold: 3400 detections in 4000 x 2500 pixels."""

_MAX_RATIO = 1.0
_MAX_IMAGES = 3.0
_MAX_MEDIAN_MAG = 1e-5
_MIN_WITHIN_1_MMAG = 0.99
_MIN_FOUND = 0.995


def run(setting: Setting) -> Iterator[Result]:
    """Measure simulated epochs; compare time and numbers with SExtractor's, and weigh memory."""
    nx, ny = (1500, 1200) if setting.is_quick else (4000, 2500)
    images = _write_epochs(setting.folder, nx, ny)
    detected, epochs = _measure_files(images)
    size = f"{nx} x {ny} pixels, {_N_EPOCHS} epochs, {detected.n_sources} sources"
    ours = Contender("calreg", partial(_measure_files, images))
    if find_program() is None:
        with _one_core():
            alternate([ours], setting.n_rounds)
        yield Result(size, f"{ours.median_s:.2f} s", "no source-extractor on the PATH")
    else:
        configuration = configure(setting.folder, _SETTINGS, _SCALE_ARCSEC)
        peer = Contender("source-extractor", partial(_measure_theirs, configuration, images))
        with _one_core():
            alternate([ours, peer], setting.n_rounds)
        yield _at_most(
            f"{size}, one core, with reading",
            (f"{ours.median_s:.2f} s", f"{peer.median_s:.2f} s {peer.name}"),
            ours.median_s / peer.median_s,
            _MAX_RATIO,
        )
        yield from _agreement(images, detected, epochs)
    extra_mb, image_mb = _extra_memory_mb(nx, ny)
    yield _at_most(
        "  peak memory on top of an image (SCI and ERR), detected and measured",
        (f"{extra_mb:.0f} MB", f"{image_mb:.0f} MB one image"),
        extra_mb / image_mb,
        _MAX_IMAGES,
    )


def _at_most(what: str, measured: tuple[str, str], ratio: float, limit: float) -> Result:
    """Return a row whose target is a largest ratio."""
    return Result(what, *measured, ratio, f"<= {limit:g} x", ratio <= limit)


def _write_epochs(folder: Path, nx: int, ny: int) -> list[Path]:
    """Write the epochs of one scene as FITS images."""
    scene = simulate_scene(nx, ny, int(_SOURCES_PER_PIXEL * nx * ny))
    grid = Grid(260.7, 65.8, _SCALE_ARCSEC, 0.0, nx / 2.0, ny / 2.0, nx, ny)
    paths = []
    for epoch in range(_N_EPOCHS):
        paths.append(folder / f"epoch{epoch}.fits")
        pixels, _ = draw_epoch(scene, seed=epoch, factor=1.0 + 0.01 * epoch)
        fits.writeto(paths[-1], pixels, grid.wcs().to_header())
    return paths


def _read(path: Path) -> ImagePlanes:
    """Read an image without errors or weights."""
    return read_planes(open_image(path), needs_noise=False)


def _measure_files(images: list[Path]) -> tuple[DetectedSources, list[MeasuredSources]]:
    """Detect on the first image and measure all."""
    first = _read(images[0])
    detected = detect_sources(first, _SETTINGS)
    measure = partial(measure_sources, settings=_SETTINGS, scale_arcsec=_SCALE_ARCSEC)
    epochs = [measure(detected, first, sky=detected.sky)]
    del first
    epochs += [measure(detected, _read(image)) for image in images[1:]]
    return detected, epochs


def _measure_theirs(configuration: Path, images: list[Path]) -> None:
    """Run SExtractor once per image, with the first as detection image."""
    for image in images:
        run_dual(configuration, images[0], image, image.with_suffix(".cat"))


def _agreement(
    images: list[Path], detected: DetectedSources, epochs: list[MeasuredSources]
) -> Iterator[Result]:
    """Compare isophotal magnitudes of unblended sources with SExtractor's."""
    tree = cKDTree(np.column_stack([detected.ellipses.x, detected.ellipses.y]))
    differences = []
    for image, measured in zip(images, epochs, strict=True):
        theirs = read_catalog(image.with_suffix(".cat"))
        places = np.column_stack([theirs["X_IMAGE"] - 1.0, theirs["Y_IMAGE"] - 1.0])
        distance, rows = tree.query(places)
        found = float(np.count_nonzero(distance < 0.1)) / max(theirs.size, detected.n_sources)
        flags = theirs["FLAGS"] | measured.flags[rows]
        which = (distance < 0.1) & ((flags & DetectionFlag.BLENDED) == 0)
        flux = measured.flux_iso[rows]
        which &= (flux > 0.0) & (theirs["FLUX_ISO"] > 0.0)
        differences.append(2.5 * np.log10(theirs["FLUX_ISO"][which] / flux[which]))
    difference = np.abs(np.concatenate(differences))
    median, within = float(np.median(difference)), float((difference <= 1e-3).mean())
    for what, ours, target, is_reached in (
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
        yield Result(f"  {what}", ours, "source-extractor", None, target, is_reached)


@contextmanager
def _one_core() -> Iterator[None]:
    """Keep this process, and those that it starts, on one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _extra_memory_mb(nx: int, ny: int) -> tuple[float, float]:
    """Return by how much measuring raises the peak of a process, and the size of an image [MB]."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_weigh, args=(sender, nx, ny))
    process.start()
    sender.close()
    extra_mb, image_mb = receiver.recv()
    process.join()
    return extra_mb, image_mb


def _weigh(sender: Connection, nx: int, ny: int) -> None:
    """Measure a small image so that all is imported, then a large one; send rise and size."""
    for width, height in ((nx // 10, ny // 10), (nx, ny)):
        scene = simulate_scene(width, height, int(_SOURCES_PER_PIXEL * width * height))
        pixels, err = draw_epoch(scene, seed=1)
        # A corner without coverage: what is bad is masked everywhere.
        pixels[: height // 10, : width // 10] = np.nan
        planes = ImagePlanes(pixels, ~np.isfinite(pixels), err)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before_kb = _status_kb("VmRSS")
        detected = detect_sources(planes, _SETTINGS)
        measure_sources(detected, planes, _SETTINGS, scale_arcsec=_SCALE_ARCSEC)
    extra_mb = (_status_kb("VmHWM") - before_kb) / 1024.0
    sender.send((extra_mb, (pixels.nbytes + err.nbytes) / 2**20))


def _status_kb(name: str) -> int:
    """Return a number of this process from Linux [KiB]."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))

"""Measure one patch: detect on an image, measure others inside its isophotes. Runs in a process.

Mosaics are aligned to their detection images, where that is wanted, by stars that both show.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from calreg.errors import DegenerateImageError, FitRefusedError, UnsupportedDataError
from calreg.files.images.planes import open_image, read_planes
from calreg.science.imaging.alignment import AlignKind, Alignment, fit_alignment, move_planes
from calreg.science.imaging.reprojection import reproject_planes
from calreg.science.photometry.detection import detect_sources, stack_planes
from calreg.science.photometry.image import unusable_pixels
from calreg.science.photometry.measure import measure_sources
from calreg.science.photometry.patchsources import PatchSources, common_stars
from calreg.science.sky.grids import Grid, offset_between
from calreg.workers.processes import run_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from calreg.domain import BoolArray, Progress
    from calreg.science.imaging.alignment import Alignment
    from calreg.science.photometry.detection import DetectedSources
    from calreg.science.photometry.image import ImagePlanes, SkyBackground
    from calreg.science.photometry.settings import DetectionSettings
    from calreg.science.sky.grids import Grid
    from calreg.units import FloatArray

_TASK = "measuring images"


@dataclass(frozen=True)
class PatchJob:
    """What is to be done for one patch.

    Attributes
    ----------
    detection : tuple of Path
        The detection image, or several that are averaged to one.
    frame : Grid
        Pixels that sources are detected on.
    alignments : mapping of Path to Alignment
        How images are moved before they are measured [pixels of the frame].
    wants_reference : bool
        Also measure the detection image itself, for positions to align to.
    """

    detection: tuple[Path, ...]
    frame: Grid
    measured: tuple[Path, ...]
    settings: DetectionSettings
    has_weights: bool = True
    gain: float | None = None
    is_reprojected: bool = False
    alignments: Mapping[Path, Alignment] = field(default_factory=dict)
    wants_reference: bool = False


@dataclass(frozen=True)
class PatchImage:
    """One image as far as a patch reaches.

    Attributes
    ----------
    sources : PatchSources or None
        None where image and detection image share too few pixels to measure a background.
    n_good : int
        Pixels with data, in the whole image.
    n_shared : int
        Those of them that the detection image has data for.
    shared : ndarray of uint8
        Which pixels of the frame these are, packed.
    noise_from : str
        Where the errors come from: ``err``, ``gain`` or ``background``.
    """

    path: Path
    sources: PatchSources | None
    n_good: int
    n_shared: int
    shared: NDArray[np.uint8] = field(repr=False)
    noise_from: str = ""


@dataclass(frozen=True)
class PatchResult:
    """What came of a job.

    Attributes
    ----------
    images : tuple of PatchImage
        In the order of ``job.measured``.
    reference : PatchSources or None
        The detection image measured on itself, where that was wanted.
    """

    job: PatchJob
    images: tuple[PatchImage, ...]
    reference: PatchSources | None


def run_patches(
    jobs: Sequence[PatchJob], n_processes: int, progress: Progress
) -> list[PatchResult]:
    """Do all jobs, in this process or in several; the results are the same."""
    n_images = sum(len(job.measured) for job in jobs)
    progress(_TASK, 0, n_images)
    return run_all(
        measure_patch, jobs, n_processes, lambda n_done: progress(_TASK, n_done, n_images)
    )


def measure_patch(job: PatchJob, advance: Callable[[], None] = lambda: None) -> PatchResult:
    """Detect on one image, and measure others inside its isophotes."""
    found: dict[Path, PatchImage] = {}
    name = ", ".join(str(path) for path in job.detection)
    with _naming(f"{name} (detection image)"):
        planes = _detection_planes(job)
        detected = detect_sources(planes, job.settings)
        is_seen = ~unusable_pixels(planes)
    own = job.detection[0] if len(job.detection) == 1 else None
    reference = None
    if own in job.measured or job.wants_reference:
        image = _measure(job, own or job.detection[0], planes, detected, is_seen, detected.sky)
        reference = image.sources if job.wants_reference else None
        if own is not None and own in job.measured:
            found[own] = image
            advance()
    del planes
    for path in job.measured:
        if path not in found:
            with _naming(str(path)):
                found[path] = _measure_file(job, path, detected, is_seen)
            advance()
    return PatchResult(job, tuple(found[path] for path in job.measured), reference)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Put the name of an image before what is wrong with its pixels."""
    try:
        yield
    except DegenerateImageError as error:
        msg = f"{name}: {error}"
        raise DegenerateImageError(msg) from error


def _detection_planes(job: PatchJob) -> ImagePlanes:
    """Return the image to detect on, averaged where there are several."""
    if len(job.detection) == 1:
        return _read_cut(job, job.detection[0])[0]

    def all_planes() -> Iterator[ImagePlanes]:
        for path in job.detection:
            with _naming(str(path)):
                yield _read_cut(job, path)[0]

    return stack_planes(all_planes(), job.settings)


def _read_cut(job: PatchJob, path: Path) -> tuple[ImagePlanes, int]:
    """Return an image on the pixels of the frame, and its number of pixels with data."""
    image = open_image(path)
    planes = read_planes(image, needs_noise=job.has_weights)
    if not job.has_weights:
        planes = replace(planes, err=None)
    if planes.err is None:
        planes = replace(planes, gain=job.gain)
    n_good = planes.is_bad.size - int(np.count_nonzero(planes.is_bad))
    grid = image.grid
    offset = None if grid is None else offset_between(grid, job.frame)
    if offset is None:
        if not job.is_reprojected:
            msg = f"{path}: its pixels are not those of the detection image"
            raise UnsupportedDataError(msg)
        return reproject_planes(planes, image.wcs, job.frame.wcs(), job.frame.shape), n_good
    return planes.cutout(*offset, job.frame.nx, job.frame.ny), n_good


def _measure_file(
    job: PatchJob, path: Path, detected: DetectedSources, is_seen: BoolArray
) -> PatchImage:
    """Measure an image that is not the detection image."""
    planes, n_good = _read_cut(job, path)
    alignment = job.alignments.get(path)
    if alignment is not None:
        planes = move_planes(planes, alignment)
    return _measure(job, path, planes, detected, is_seen, None, n_good)


def _measure(
    job: PatchJob,
    path: Path,
    planes: ImagePlanes,
    detected: DetectedSources,
    is_seen: BoolArray,
    sky: SkyBackground | None,
    n_good: int | None = None,
) -> PatchImage:
    """Measure an image that lies on the pixels of the frame."""
    shared = is_seen & ~planes.is_bad
    n_shared = int(np.count_nonzero(shared))
    if n_good is None:
        n_good = planes.is_bad.size - int(np.count_nonzero(planes.is_bad))
    packed = np.packbits(shared)
    del shared
    # A background wants a box of its own; slivers at the edge of a neighbour have none.
    box = job.settings.background_box_pixels
    if n_shared < min(box * box, planes.is_bad.size // 20):
        return PatchImage(path, None, n_good, 0, np.packbits(np.zeros(planes.shape, np.bool_)))
    measured = measure_sources(
        detected, planes, job.settings, scale_arcsec=job.frame.scale_arcsec, sky=sky
    )
    sources = PatchSources.of(detected, measured, job.frame)
    return PatchImage(path, sources, n_good, n_shared, packed, measured.noise_from)


# --- alignment ----------------------------------------------------------------------------------


@dataclass
class _Stars:
    """Stars of one mosaic on one lattice of pixels.

    Attributes
    ----------
    frame : Grid
        Whose pixels positions count in.
    measured, reference : list of ndarray of float64, shape (n, 2)
    """

    frame: Grid
    measured: list[FloatArray] = field(default_factory=list)
    reference: list[FloatArray] = field(default_factory=list)

    def add(self, measured: FloatArray, reference: FloatArray, offset: tuple[int, int]) -> None:
        """Add stars of a frame that begins at an offset."""
        self.measured.append(measured + np.array(offset))
        self.reference.append(reference + np.array(offset))


def fit_alignments(results: Sequence[PatchResult], kind: AlignKind) -> list[PatchJob]:
    """Fit one transformation per mosaic and return the jobs that apply it.

    Notes
    -----
    The stars of a mosaic on all its detection images enter one fit, so that its pixels are moved in
    one way; it depends on no other mosaic, and so not on what else is measured in the same call.
    """
    gathered: dict[Path, list[_Stars]] = {}
    for result in results:
        for image in result.images:
            if image.path in result.job.detection and len(result.job.detection) == 1:
                continue
            if image.sources is None or result.reference is None:
                continue
            frame = result.job.frame
            stars, offset = _on_lattice(gathered.setdefault(image.path, []), frame)
            pair = common_stars(result.reference, image.sources, frame.scale_arcsec)
            stars.add(*pair, offset)
    fits = {
        path: [(stars.frame, _fit(path, stars, kind)) for stars in lattices]
        for path, lattices in gathered.items()
    }
    return [_with_alignments(result.job, fits) for result in results]


def _on_lattice(lattices: list[_Stars], frame: Grid) -> tuple[_Stars, tuple[int, int]]:
    """Return the stars on the same pixels as a frame, and where it begins on them."""
    for stars in lattices:
        offset = offset_between(stars.frame, frame)
        if offset is not None:
            return stars, offset
    lattices.append(_Stars(frame))
    return lattices[-1], (0, 0)


def _fit(path: Path, stars: _Stars, kind: AlignKind) -> Alignment:
    """Fit a mosaic's transformation."""
    try:
        return fit_alignment(
            np.concatenate(stars.measured),
            np.concatenate(stars.reference),
            kind=kind,
            scale_arcsec=stars.frame.scale_arcsec,
        )
    except FitRefusedError as error:
        msg = f"{path}: cannot be aligned to its detection image: {error}; leave out --align"
        raise FitRefusedError(msg) from error


def _with_alignments(job: PatchJob, fits: dict[Path, list[tuple[Grid, Alignment]]]) -> PatchJob:
    """Return a job that moves its images, in pixels of its own frame."""
    found = {}
    for path in job.measured:
        if path in job.detection and len(job.detection) == 1:
            continue
        for frame, fit in fits.get(path, ()):
            offset = offset_between(frame, job.frame)
            if offset is not None:
                found[path] = replace(fit, centre=fit.centre - np.array(offset))
    return replace(job, alignments=found, wants_reference=False)

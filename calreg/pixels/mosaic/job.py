"""Make one mosaic from pixels to file, in this process or in one of several."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from calreg._version import __version__
from calreg.domain import Progress, no_progress
from calreg.errors import CalregError, InvalidValueError, MissingExtraError
from calreg.files.images.cards import FULL_SUBARRAY
from calreg.files.images.exposurepixels import CalWorld, read_cal_image, read_cal_world
from calreg.files.images.mosaicfile import MosaicMember, summary_cards, write_mosaic
from calreg.science.imaging.cleaning import CleaningSettings, clean_exposure
from calreg.science.imaging.drizzling import DrizzledMosaic, DrizzleMember, drizzle_group, outline
from calreg.units import ARCMIN_PER_DEG, ARCSEC_PER_DEG
from calreg.workers.processes import run_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from calreg.domain import Exposure, Pmap
    from calreg.files.atomic import PendingFile
    from calreg.instruments import Instrument
    from calreg.science.sky.grids import Grid
    from calreg.units import FloatArray

MARGIN_PX = 2
"""Pixels around the exposures."""

_ARCSEC_PER_ARCMIN = ARCSEC_PER_DEG / ARCMIN_PER_DEG


@dataclass(frozen=True)
class MosaicJob:
    """One mosaic to be made.

    Attributes
    ----------
    members : tuple of Exposure
        In the order of the bits of the context planes.
    rescale : tuple of float
        Factor of each onto the scale of the mosaic.
    photmjsr : float
        PHOTMJSR of the mosaic [MJy/sr per DN/s].
    is_forced : bool
        Whether the context was named by the user.
    lattice : Grid
        Pixels of the field in the band; the mosaic gets the part that its exposures cover, and more
        of the same pixels where they reach beyond.
    input_digest : str
        SHA-256 of all that decides on the result.
    """

    name: str
    members: tuple[Exposure, ...] = field(repr=False)
    rescale: tuple[float, ...] = field(repr=False)
    photmjsr: float
    pmap: Pmap
    is_forced: bool
    lattice: Grid
    cleaning: CleaningSettings
    pixfrac: float
    kernel: str
    input_digest: str
    instrument: Instrument = field(repr=False)
    file: PendingFile


@dataclass(frozen=True)
class JobOutcome:
    """The outcome for one mosaic.

    Attributes
    ----------
    refused : tuple of str
        Why it was not made, one reason per exposure; empty if it was.
    notes : tuple of str
        Notes on its exposures.
    """

    refused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def make_mosaics(
    jobs: Sequence[MosaicJob], n_jobs: int, progress: Progress = no_progress
) -> list[JobOutcome]:
    """Make mosaics, several at a time."""
    n_all = sum(len(job.members) for job in jobs)
    progress("drizzling exposures", 0, n_all)
    return run_all(
        make_mosaic, jobs, n_jobs, lambda n_done: progress("drizzling exposures", n_done, n_all)
    )


def make_mosaic(job: MosaicJob, advance: Callable[[], None]) -> JobOutcome:
    """Read, clean and drizzle the exposures of one mosaic, and write it under its hidden name."""
    worlds: list[CalWorld] = []
    outlines: list[FloatArray] = []
    refused: list[str] = []
    for member in job.members:
        with _noting(member, refused):
            worlds.append(read_cal_world(_path_of(member)))
            outlines.append(outline(worlds[-1].sky, worlds[-1].shape))
            job.lattice.around([outlines[-1]])
    if refused:
        return JobOutcome(tuple(refused))
    run = _CleanedMembers(job, worlds)
    grid = job.lattice.around(outlines, MARGIN_PX)
    try:
        mosaic = drizzle_group(run.members(advance), grid, pixfrac=job.pixfrac, kernel=job.kernel)
    except InvalidValueError as error:
        # Without an exposure that can be used there is nothing to drizzle.
        return JobOutcome(tuple(run.refused) or (f"{run.current or job.name}: {error}",))
    if run.refused:
        return JobOutcome(tuple(run.refused))
    _write(job, mosaic, run.written)
    notes = (
        f"{member.file_name}: world coordinates are the header's: {world.note}"
        for member, world in zip(job.members, worlds, strict=True)
        if world.note
    )
    return JobOutcome(notes=tuple(notes))


def _path_of(member: Exposure) -> Path:
    """Return the path of an exposure."""
    return Path(member.directory) / member.file_name


@contextmanager
def _noting(member: Exposure, refused: list[str]) -> Iterator[None]:
    """Note why an exposure is refused, with the name of its file, and go on."""
    try:
        yield
    except MissingExtraError:
        # No fault of the exposure's.
        raise
    except CalregError as error:
        path, text = str(_path_of(member)), str(error)
        refused.append(text if path in text else f"{path}: {text}")


class _CleanedMembers:
    """The exposures of one mosaic, read and cleaned one after the other."""

    def __init__(self, job: MosaicJob, worlds: Sequence[CalWorld]) -> None:
        self.job = job
        self.worlds = worlds
        self.written: list[MosaicMember] = []
        self.refused: list[str] = []
        self.current = ""

    def members(self, advance: Callable[[], None]) -> Iterator[DrizzleMember]:
        """Yield what can be used; keep what is refused, and why."""
        job = self.job
        for exposure, factor, world in zip(job.members, job.rescale, self.worlds, strict=True):
            member = None
            with _noting(exposure, self.refused):
                member = self._member(exposure, factor, world)
            if member is not None:
                self.current = str(_path_of(exposure))
                yield member
                del member
                self.current = ""
            advance()

    def _member(self, exposure: Exposure, factor: float, world: CalWorld) -> DrizzleMember:
        """Return one exposure, ready to be drizzled."""
        image = read_cal_image(_path_of(exposure), world)
        with warnings.catch_warnings():
            # Of blocks that are all masked, which are filled from their neighbours.
            warnings.simplefilter("ignore")
            cleaned = clean_exposure(image.sci, image.err, image.dq, self.job.cleaning)
        n_pixels = self.job.instrument.array(exposure.array).n_pixels
        cards = _detector_cards(exposure, world, n_pixels)
        self.written.append(MosaicMember(exposure, factor, cleaned.background, world.source, cards))
        return DrizzleMember(
            sci=cleaned.sci,
            err=image.err,
            dq=image.dq,
            sky=world.sky,
            var_rnoise=image.var_rnoise,
            mask=cleaned.mask,
            rescale=factor,
        )


def _detector_cards(exposure: Exposure, world: CalWorld, n_pixels: int) -> str:
    """Return world coordinates in pixels of the detector; empty if a cut-out's place is unknown."""
    is_whole = exposure.subarray == FULL_SUBARRAY and world.shape == (n_pixels, n_pixels)
    first = (0, 0) if is_whole else world.first_pixel
    return "" if first is None else world.detector_cards(first)


def _write(job: MosaicJob, mosaic: DrizzledMosaic, members: Sequence[MosaicMember]) -> None:
    """Write a mosaic with what it was made of."""
    has_data = mosaic.wht > 0.0
    side_arcmin = mosaic.grid.scale_arcsec / _ARCSEC_PER_ARCMIN
    cards = summary_cards(
        input_digest=job.input_digest,
        cleaning=job.cleaning,
        forced_pmap=job.pmap.name if job.is_forced else "",
        coverage_arcmin2=int(np.count_nonzero(has_data)) * side_arcmin**2,
        median_noise=float(np.median(mosaic.err[has_data])),
        background=float(np.median([member.background for member in members])),
    )
    write_mosaic(
        job.file,
        mosaic,
        members,
        job.instrument,
        pmap=job.pmap,
        code_version=__version__,
        photmjsr=job.photmjsr,
        cards=cards,
    )

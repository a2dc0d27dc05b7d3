"""Fit how mosaics lie on their detection images, from stars that both show."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from calreg.errors import FitRefusedError
from calreg.science.imaging.alignment import AlignKind, Alignment, fit_alignment
from calreg.science.photometry.patchsources import common_stars
from calreg.science.sky.grids import Grid, offset_between

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from calreg.pixels.measure.patches import PatchJob, PatchResult
    from calreg.units import FloatArray


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

    Parameters
    ----------
    results : sequence of PatchResult
        With the detection images measured on themselves.

    Returns
    -------
    list of PatchJob
        In the order given; detection images stay where they are.

    Raises
    ------
    FitRefusedError
        If a mosaic shares too few stars with its detection images.

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

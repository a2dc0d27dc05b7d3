"""What `calreg measure` is going to do: on which image the sources of each mosaic are detected."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from calreg.db.queries.exposures import (
    StoredEpoch,
    StoredExposure,
    find_identities,
    identity_of,
    load_epochs_by_id,
)
from calreg.db.queries.mosaics import load_first_mosaics
from calreg.errors import FileFormatError, UnknownImageError, UnsupportedDataError
from calreg.files.images.planes import ImageFile, open_image
from calreg.science.sky.footprints import footprints_overlap
from calreg.science.sky.geometry import s_region_polygons
from calreg.science.sky.grids import Grid, offset_between

if TYPE_CHECKING:
    from collections.abc import Sequence

    from calreg.db.engine import Connection
    from calreg.db.queries.mosaics import FieldMosaic
    from calreg.domain import Exposure
    from calreg.units import FloatArray

STACK = "stack"
"""Value of ``--detect`` for the mean of the mosaics of the call."""

_SAME_SCALE = 1e-6

_SAME_PATCH = 0.5
"""Mosaics that share at least this part of the smaller one are averaged to detect on."""


@dataclass(frozen=True)
class Mosaic:
    """An image whose headers were read."""

    path: Path
    exposure: Exposure
    image: ImageFile


@dataclass(frozen=True)
class DetectionImage:
    """Where sources are detected.

    Attributes
    ----------
    paths : tuple of Path
        One image, or several that are averaged.
    digests : tuple of str
        SHA-256 of their headers.
    frame : Grid
        Its pixels.
    footprint : tuple of ndarray of float64, shape (n_vertices, 2)
        Polygons of ICRS (ra, dec) [deg].
    """

    paths: tuple[Path, ...]
    digests: tuple[str, ...]
    frame: Grid = field(repr=False)
    footprint: tuple[FloatArray, ...] = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """The names of its files."""
        return " ".join(path.name for path in self.paths)


@dataclass(frozen=True)
class MosaicToMeasure:
    """A mosaic that is to be measured.

    Attributes
    ----------
    stored : StoredExposure
        As in the registry, or as it will be.
    detections : tuple of DetectionImage
        That it overlaps.
    """

    mosaic: Mosaic
    stored: StoredExposure
    epoch: StoredEpoch
    detections: tuple[DetectionImage, ...]

    @property
    def is_detection_image(self) -> bool:
        """Whether its sources are detected on itself."""
        return [detection.paths for detection in self.detections] == [(self.path,)]

    @property
    def path(self) -> Path:
        """The file."""
        return self.mosaic.path


def plan_detection(
    connection: Connection,
    mosaics: Sequence[Mosaic],
    *,
    detect: str | None,
    is_reprojected: bool,
) -> list[MosaicToMeasure]:
    """Find the detection images of mosaics that are all in the registry."""
    stored = find_identities(connection, [mosaic.exposure for mosaic in mosaics])
    epochs = load_epochs_by_id(connection)
    groups: dict[tuple[int, str, int], list[tuple[Mosaic, StoredExposure]]] = {}
    for mosaic in mosaics:
        known = stored[identity_of(mosaic.exposure)]
        key = (epochs[known.epoch_id].field_id, known.band, known.pmap.number)
        groups.setdefault(key, []).append((mosaic, known))
    planned = {}
    for (field_id, _, _), members in groups.items():
        if detect == STACK:
            found = _stacks([mosaic for mosaic, _ in members])
        else:
            candidates = (
                [_external(Path(detect), mosaics)]
                if detect is not None
                else _first_epoch(connection, field_id, members)
            )
            found = {
                mosaic.path: _overlapping(mosaic, candidates, is_reprojected)
                for mosaic, _ in members
            }
        for mosaic, known in members:
            epoch = epochs[known.epoch_id]
            planned[mosaic.path] = MosaicToMeasure(mosaic, known, epoch, found[mosaic.path])
    return [planned[mosaic.path] for mosaic in mosaics]


# --- the first epoch ------------------------------------------------------------------------------


def _first_epoch(
    connection: Connection, field_id: int, members: Sequence[tuple[Mosaic, StoredExposure]]
) -> list[DetectionImage]:
    """Return the mosaics of the field's first epoch, as far as any mosaic overlaps them."""
    given = {stored.id: mosaic for mosaic, stored in members}
    one = members[0][1]
    found = []
    for first in load_first_mosaics(connection, field_id, one.band, one.pmap):
        if first.id in given:
            found.append(_detection_image(given[first.id].image, first.s_region))
            continue
        footprint = s_region_polygons(first.s_region)
        if any(
            footprints_overlap(footprint, s_region_polygons(mosaic.exposure.s_region))
            for mosaic in given.values()
        ):
            found.append(_detection_image(_at_hand(first), first.s_region))
    return found


def _at_hand(first: FieldMosaic) -> ImageFile:
    """Open a mosaic of the first epoch that is not among those of the call."""
    path = Path(first.directory) / first.file_name
    remedy = "give the mosaics of the first epoch too, or name the image to detect on with --detect"
    if not path.is_file():
        msg = (
            f"{path}: sources are detected on the field's first epoch, and this mosaic of it is no "
            f"longer there: {remedy}"
        )
        raise UnknownImageError(msg)
    image = open_image(path)
    if image.headers.sha256 != first.header_sha256:
        msg = (
            f"{path}: sources are detected on the field's first epoch, but this mosaic of it has "
            f"changed since it was ingested: {remedy}"
        )
        raise UnknownImageError(msg)
    return image


def _external(path: Path, mosaics: Sequence[Mosaic]) -> DetectionImage:
    """Open the image that ``--detect`` names, which may be one of those to measure."""
    if not path.is_file():
        msg = f"--detect {path}: no such file: expected an image, or {STACK}"
        raise FileFormatError(msg)
    for mosaic in mosaics:
        if mosaic.path.samefile(path):
            return _detection_image(mosaic.image, mosaic.exposure.s_region)
    return _detection_image(open_image(path), None)


def _detection_image(image: ImageFile, s_region: str | None) -> DetectionImage:
    """Return an image as one to detect on."""
    grid = _require_grid(image)
    footprint = (grid.corners(),) if s_region is None else s_region_polygons(s_region)
    return DetectionImage((image.path,), (image.headers.sha256,), grid, footprint)


def _require_grid(image: ImageFile) -> Grid:
    """Return the pixel grid of an image to detect on."""
    if image.grid is None:
        msg = (
            f"{image.path}: sources cannot be detected on it, as its pixels are not square on a "
            f"tangent plane ({image.describe()}): make a mosaic of it first (calreg mosaic)"
        )
        raise UnsupportedDataError(msg)
    return image.grid


def _overlapping(
    mosaic: Mosaic, candidates: Sequence[DetectionImage], is_reprojected: bool
) -> tuple[DetectionImage, ...]:
    """Return the detection images of a mosaic: itself if it is one, else those that it overlaps."""
    for candidate in candidates:
        if candidate.paths == (mosaic.path,):
            return (candidate,)
    footprint = s_region_polygons(mosaic.exposure.s_region)
    found = tuple(
        candidate for candidate in candidates if footprints_overlap(footprint, candidate.footprint)
    )
    if not found:
        names = ", ".join(str(path) for candidate in candidates for path in candidate.paths)
        msg = (
            f"{mosaic.path}: does not overlap the image to detect on ({names or 'none'}): name "
            f"another with --detect, or use --detect {STACK}"
        )
        raise UnsupportedDataError(msg)
    for candidate in found:
        if not is_reprojected:
            _require_same_pixels(mosaic.image, candidate.frame, candidate.name)
        elif not math.isclose(
            candidate.frame.scale_arcsec, found[0].frame.scale_arcsec, rel_tol=_SAME_SCALE
        ):
            msg = (
                f"{mosaic.path}: overlaps detection images with different pixels: {found[0].name} "
                f"of {found[0].frame.scale_arcsec:.5f} arcsec and {candidate.name} of "
                f"{candidate.frame.scale_arcsec:.5f}: name one with --detect"
            )
            raise UnsupportedDataError(msg)
    return found


def _require_same_pixels(
    image: ImageFile, frame: Grid, name: str, remedy: str = "or give --reproject"
) -> tuple[int, int]:
    """Return an image's first pixel on the detection image; refuse other pixels."""
    offset = None if image.grid is None else offset_between(frame, image.grid)
    if offset is None:
        msg = (
            f"{image.path}: its pixels are not those of {name}, which sources are detected on: "
            f"{image.path.name} has {image.describe()}; {name} has {frame.describe()}; "
            f"make the mosaics on one grid (calreg mosaic), {remedy}"
        )
        raise UnsupportedDataError(msg)
    return offset


# --- stacks ---------------------------------------------------------------------------------------


def _stacks(mosaics: Sequence[Mosaic]) -> dict[Path, tuple[DetectionImage, ...]]:
    """Average the mosaics of each patch: those that share most of their sky."""
    reference, name = _require_grid(mosaics[0].image), mosaics[0].path.name
    remedy = "as a stack wants, or detect on another image"
    offsets = {m.path: _require_same_pixels(m.image, reference, name, remedy) for m in mosaics}
    boxes = [_box(reference, mosaic.exposure.footprint) for mosaic in mosaics]
    label = list(range(len(mosaics)))
    for i in range(len(mosaics)):
        for j in range(i):
            if label[i] != label[j] and _shared(boxes[i], boxes[j]) >= _SAME_PATCH:
                label = [label[j] if n == label[i] else n for n in label]
    found: dict[Path, tuple[DetectionImage, ...]] = {}
    for number in dict.fromkeys(label):
        members = [mosaic for mosaic, n in zip(mosaics, label, strict=True) if n == number]
        members.sort(key=lambda mosaic: mosaic.image.headers.sha256)
        frame = _union(reference, [(offsets[m.path], m.image.shape) for m in members])
        stack = DetectionImage(
            tuple(mosaic.path for mosaic in members),
            tuple(mosaic.image.headers.sha256 for mosaic in members),
            frame,
            (frame.corners(),),
        )
        found |= {mosaic.path: (stack,) for mosaic in members}
    return found


def _box(grid: Grid, footprint: FloatArray) -> tuple[float, float, float, float]:
    """Return the bounding box of a footprint in pixels of a grid: x and y from, x and y to."""
    x, y = grid.pixels_of(*np.asarray(footprint).T)
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())


def _shared(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the shared part of two boxes, of the smaller one."""
    width, height = (min(a[n + 2], b[n + 2]) - max(a[n], b[n]) for n in (0, 1))
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return max(width, 0.0) * max(height, 0.0) / smaller if smaller > 0.0 else 0.0


def _union(reference: Grid, frames: Sequence[tuple[tuple[int, int], tuple[int, int]]]) -> Grid:
    """Return the smallest grid that holds frames: (x, y) of their first pixel, rows and columns."""
    x0, y0 = (min(first[n] for first, _ in frames) for n in (0, 1))
    x1, y1 = (max(first[n] + shape[1 - n] for first, shape in frames) for n in (0, 1))
    return reference.cutout(x0, y0, x1 - x0, y1 - y0)

"""What a difference image is made of: epochs, mosaics, corrections, pixels, names of files."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from calreg.db.queries.exposures import StoredEpoch, load_epochs, require_field
from calreg.db.queries.mosaics import StoredMosaic, load_mosaics
from calreg.domain import SetQuery
from calreg.errors import (
    ConflictError,
    InvalidValueError,
    NoCalibrationError,
    OutputError,
    UnknownKeyError,
    UnsupportedDataError,
)
from calreg.files.atomic import sha256_of
from calreg.files.images.calibration import is_corrected
from calreg.files.images.planes import ImageFile, open_image
from calreg.science.imaging.differencing import MIN_SNR
from calreg.science.model.gradient import GradientDatum
from calreg.science.sky.grids import Grid, offset_between
from calreg.sets.corrections import SetCorrection, correction_of
from calreg.sets.current import one_set_per_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from calreg.db.engine import Connection
    from calreg.domain import Pmap
    from calreg.instruments import Instrument


@dataclass(frozen=True)
class DifferenceOptions:
    """What a user can choose about difference images.

    Attributes
    ----------
    epoch_a, epoch_b : str
        Names of the epochs; the difference is B minus A.
    band, field : str or None
        Which ones, where there are several.
    pmap : Pmap or None
        Which context, where there are several.
    flux_kind : str or None
        Which sets, where a key has several.
    cal_ver : str or None
        Which reduction, where there are several.
    is_corrected : bool
        Whether to correct; a set that is missing is an error then.
    is_reprojected : bool
        Whether mosaics of other pixels are brought onto those of the first.
    min_snr : float
        Smallest S/N of a source that residuals are measured on.

    Raises
    ------
    InvalidValueError
        If both epochs are the same, or the S/N is out of range.
    """

    epoch_a: str
    epoch_b: str
    out: Path
    band: str | None = None
    field: str | None = None
    pmap: Pmap | None = None
    flux_kind: str | None = None
    cal_ver: str | None = None
    gradient_datum: GradientDatum = GradientDatum.SYMMETRIC
    is_corrected: bool = True
    is_reprojected: bool = False
    min_snr: float = MIN_SNR
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.epoch_a == self.epoch_b:
            msg = f"epoch {self.epoch_a!r} twice: expected two epochs"
            raise InvalidValueError(msg)
        if not 1.0 <= self.min_snr <= 1e6:
            msg = f"--snr {self.min_snr:g}: expected a number from 1 to 1e+06"
            raise InvalidValueError(msg)


@dataclass(frozen=True)
class PlacedMosaic:
    """A mosaic with its place on the common pixels and its correction.

    Attributes
    ----------
    target : Grid
        Its pixels, or those that it is brought onto.
    offset : tuple of int
        (x, y) of the target's first pixel on the common grid.
    is_moved : bool
        Whether it has to be brought onto the target.
    correction : SetCorrection or None
        None where nothing is corrected.
    """

    stored: StoredMosaic
    image: ImageFile = field(repr=False)
    target: Grid
    offset: tuple[int, int]
    is_moved: bool
    correction: SetCorrection | None = field(repr=False)


@dataclass(frozen=True)
class DifferencePlan:
    """One difference image.

    Attributes
    ----------
    epochs : tuple of StoredEpoch
        A and B.
    mosaics : tuple of list of PlacedMosaic
        Of A and of B.
    grid : Grid
        The common pixels: what mosaics of both epochs reach.
    """

    field: str
    band: str
    pmap: Pmap
    epochs: tuple[StoredEpoch, StoredEpoch]
    mosaics: tuple[list[PlacedMosaic], list[PlacedMosaic]]
    grid: Grid
    bunit: str
    fits_path: Path
    png_path: Path


def plan_differences(
    connection: Connection, options: DifferenceOptions, instrument: Instrument
) -> list[DifferencePlan]:
    """Find all that is needed, and refuse before a pixel is read."""
    epochs = _find_epochs(connection, options)
    stored = load_mosaics(connection, [epoch.id for epoch in epochs])
    chosen = _choose(stored, epochs, options)
    plans = []
    for (band, pmap), mosaics in sorted(chosen.items()):
        paths = _paths(options, epochs, band, pmap)
        corrections = _corrections(connection, options, epochs[0].field_name, mosaics, instrument)
        images = [(mosaic, _open(mosaic, options)) for mosaic in mosaics]
        grid, planned = _place(images, epochs, corrections, options)
        plans.append(
            DifferencePlan(
                field=epochs[0].field_name,
                band=band,
                pmap=pmap,
                epochs=epochs,
                mosaics=planned,
                grid=grid,
                bunit=_one_unit(images),
                fits_path=paths[0],
                png_path=paths[1],
            )
        )
    return plans


# --- what there is ------------------------------------------------------------------------------


def _find_epochs(
    connection: Connection, options: DifferenceOptions
) -> tuple[StoredEpoch, StoredEpoch]:
    """Return both epochs, of one field."""
    epochs = load_epochs(connection)
    if options.field is not None:
        field_id = require_field(connection, options.field)
        epochs = [epoch for epoch in epochs if epoch.field_id == field_id]
    by_field: dict[str, dict[str, StoredEpoch]] = defaultdict(dict)
    for epoch in epochs:
        by_field[epoch.field_name][epoch.name] = epoch
    wanted = (options.epoch_a, options.epoch_b)
    fields = [name for name, named in by_field.items() if all(epoch in named for epoch in wanted)]
    if len(fields) > 1:
        msg = f"fields {', '.join(fields)} have epochs {' and '.join(wanted)}: choose by --field"
        raise InvalidValueError(msg)
    if not fields:
        known = "; ".join(f"{name}: {', '.join(named)}" for name, named in by_field.items())
        msg = f"no field has epochs {' and '.join(wanted)}: the registry has {known or 'none yet'}"
        raise UnknownKeyError(msg)
    named = by_field[fields[0]]
    return named[wanted[0]], named[wanted[1]]


def _choose(
    stored: Sequence[StoredMosaic],
    epochs: tuple[StoredEpoch, StoredEpoch],
    options: DifferenceOptions,
) -> dict[tuple[str, Pmap], list[StoredMosaic]]:
    """Return the mosaics of each band, under one context and of one reduction."""
    by_key: dict[tuple[str, Pmap], list[StoredMosaic]] = defaultdict(list)
    for mosaic in stored:
        is_wanted = (
            options.band in (None, mosaic.band)
            and options.pmap in (None, mosaic.pmap)
            and options.cal_ver in (None, mosaic.cal_ver)
        )
        if is_wanted:
            by_key[mosaic.band, mosaic.pmap].append(mosaic)
    ids = {epoch.id for epoch in epochs}
    both = {
        key: mosaics
        for key, mosaics in by_key.items()
        if {mosaic.epoch_id for mosaic in mosaics} == ids
    }
    if not both:
        asked = [options.band or "any band", str(options.pmap or "any context")]
        have = [
            f"{epoch.name} has "
            + (
                ", ".join(
                    sorted({f"{m.band} ({m.pmap})" for m in stored if m.epoch_id == epoch.id})
                )
                or "none"
            )
            for epoch in epochs
        ]
        msg = (
            f"no mosaics (i2d) of both epochs in {', '.join(asked)}: {'; '.join(have)}; make them "
            "with calreg mosaic, or ingest them"
        )
        raise UnknownKeyError(msg)
    _require_one(both)
    return both


def _require_one(both: dict[tuple[str, Pmap], list[StoredMosaic]]) -> None:
    """Refuse several contexts, and several reductions of the same data."""
    pmaps = sorted({pmap for _, pmap in both})
    if len(pmaps) > 1:
        msg = (
            f"both epochs have mosaics under {', '.join(pmap.name for pmap in pmaps)}: choose one "
            "by --pmap"
        )
        raise InvalidValueError(msg)
    for mosaics in both.values():
        versions: dict[tuple[str, float], set[str]] = defaultdict(set)
        for mosaic in mosaics:
            versions[mosaic.array, mosaic.expstart_mjd_utc].add(mosaic.cal_ver)
        for (array, _), found in versions.items():
            if len(found) > 1:
                msg = (
                    f"{mosaics[0].band} {array} was reduced by {', '.join(sorted(found))} "
                    "(CAL_VER): choose one by --cal-ver"
                )
                raise InvalidValueError(msg)


def _corrections(
    connection: Connection,
    options: DifferenceOptions,
    field_name: str,
    mosaics: Sequence[StoredMosaic],
    instrument: Instrument,
) -> dict[str, SetCorrection]:
    """Return the correction of every array id, and refuse where one is missing."""
    if not options.is_corrected:
        return {}
    band, pmap = mosaics[0].band, mosaics[0].pmap
    wanted = SetQuery(pmap=pmap, band=band, field=field_name, flux_kind=options.flux_kind)
    try:
        sets = one_set_per_key(connection, wanted, instrument)
    except NoCalibrationError as error:
        msg = f"{error}; --no-correction makes the difference as it is"
        raise NoCalibrationError(msg) from error
    found = {stored.array_id: stored for stored in sets}
    missing = sorted({mosaic.array_id for mosaic in mosaics} - found.keys())
    if missing:
        msg = (
            f"no coefficient set for {pmap} {band} array {', '.join(missing)} in field "
            f"{field_name!r}: run calreg refit; --no-correction makes the difference as it is"
        )
        raise NoCalibrationError(msg)
    return {
        array_id: correction_of(connection, stored, options.gradient_datum, instrument)
        for array_id, stored in found.items()
    }


# --- files --------------------------------------------------------------------------------------


def _open(mosaic: StoredMosaic, options: DifferenceOptions) -> ImageFile:
    """Open a mosaic's file where the registry says that it is, and as it was."""
    path = Path(mosaic.directory) / mosaic.file_name
    if not path.is_file():
        msg = (
            f"{path}: is not there any more: put {mosaic.file_name} back, or ingest it again from "
            "where it is now"
        )
        raise ConflictError(msg)
    image = open_image(path)
    has_changed = image.headers.sha256 != mosaic.header_sha256 or (
        mosaic.file_sha256 is not None and sha256_of(path) != mosaic.file_sha256
    )
    if has_changed:
        msg = (
            f"{path}: is not what was ingested (its digest has changed): put that file back, or "
            "ingest this one as another reduction"
        )
        raise ConflictError(msg)
    if options.is_corrected and is_corrected(image.headers):
        msg = (
            f"{path}: is corrected already (CALREGID), and would be corrected twice: say "
            "--no-correction"
        )
        raise UnsupportedDataError(msg)
    return image


def _paths(
    options: DifferenceOptions, epochs: tuple[StoredEpoch, StoredEpoch], band: str, pmap: Pmap
) -> tuple[Path, Path]:
    """Return the names of both files, and refuse what exists."""
    words = (
        epochs[0].field_name,
        band,
        pmap.name.removesuffix(".pmap"),
        *(epoch.name for epoch in epochs),
        "diff",
    )
    stem = "_".join(re.sub(r"[^A-Za-z0-9_.+-]+", "-", word) for word in words)
    paths = options.out / f"{stem}.fits", options.out / f"{stem}.png"
    for path in paths:
        if path.exists() and not options.overwrite:
            msg = f"cannot write {path}: it exists; give another folder or --overwrite"
            raise OutputError(msg)
    return paths


def _one_unit(images: Sequence[tuple[StoredMosaic, ImageFile]]) -> str:
    """Return the unit of all mosaics."""
    units = {image.bunit: image.path for _, image in images}
    if len(units) > 1:
        found = ", ".join(f"{path.name} {unit or 'none'}" for unit, path in units.items())
        msg = f"mosaics are in several units ({found}): expected one BUNIT"
        raise UnsupportedDataError(msg)
    return next(iter(units))


# --- pixels -------------------------------------------------------------------------------------


def _place(
    images: Sequence[tuple[StoredMosaic, ImageFile]],
    epochs: tuple[StoredEpoch, StoredEpoch],
    corrections: dict[str, SetCorrection],
    options: DifferenceOptions,
) -> tuple[Grid, tuple[list[PlacedMosaic], list[PlacedMosaic]]]:
    """Return the pixels that both epochs reach, and every mosaic's place on them."""
    first = next((image for _, image in images if image.grid is not None), images[0][1])
    if first.grid is None:
        msg = (
            f"{first.path}: its pixels ({first.describe()}) are no plain tangent-plane grid, and "
            "no other mosaic's are: resample them onto one"
        )
        raise InvalidValueError(msg)
    lattice = first.grid
    targets = [_target(image, first, options) for _, image in images]
    boxes = []
    for epoch in epochs:
        own = [
            target
            for (mosaic, _), target in zip(images, targets, strict=True)
            if mosaic.epoch_id == epoch.id
        ]
        boxes.append(_reach([(_offset(lattice, target), target) for target in own]))
    (x0, y0), (x1, y1) = (
        np.max([box[0] for box in boxes], axis=0).tolist(),
        np.min([box[1] for box in boxes], axis=0).tolist(),
    )
    if x0 >= x1 or y0 >= y1:
        names = " and ".join(epoch.name for epoch in epochs)
        msg = f"mosaics of {names} share no pixels: there is nothing to subtract"
        raise InvalidValueError(msg)
    grid = lattice.cutout(x0, y0, x1 - x0, y1 - y0)
    planned = [
        PlacedMosaic(
            stored=mosaic,
            image=image,
            target=target,
            offset=_offset(grid, target),
            is_moved=image.grid != target,
            correction=corrections.get(mosaic.array_id),
        )
        for (mosaic, image), target in zip(images, targets, strict=True)
    ]
    by_epoch = [[p for p in planned if p.stored.epoch_id == epoch.id] for epoch in epochs]
    return grid, (by_epoch[0], by_epoch[1])


def _target(image: ImageFile, first: ImageFile, options: DifferenceOptions) -> Grid:
    """Return a mosaic's pixels where they are those of the first, else where to bring it."""
    lattice = first.grid
    if lattice is None:
        raise InvalidValueError(first.describe())
    own = image.grid
    if own is not None and offset_between(lattice, own) is not None:
        return own
    if not options.is_reprojected:
        msg = (
            f"{image.path}: its pixels ({image.describe()}) are not those of {first.path} "
            f"({first.describe()}): --reproject brings them over"
        )
        raise InvalidValueError(msg)
    ny, nx = image.shape
    return lattice.around([image.wcs.calc_footprint(axes=(nx, ny), center=False)])


def _offset(grid: Grid, part: Grid) -> tuple[int, int]:
    """Return the first pixel of a part of a lattice on a grid of the same lattice."""
    offset = offset_between(grid, part)
    if offset is None:
        msg = f"pixels ({part.describe()}) are not those of ({grid.describe()})"
        raise InvalidValueError(msg)
    return offset


def _reach(
    placed: Iterable[tuple[tuple[int, int], Grid]],
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return first pixel and end of the box around some grids."""
    starts, ends = [], []
    for (x0, y0), grid in placed:
        starts.append((x0, y0))
        ends.append((x0 + grid.nx, y0 + grid.ny))
    low = np.min(starts, axis=0).tolist()
    high = np.max(ends, axis=0).tolist()
    return (low[0], low[1]), (high[0], high[1])

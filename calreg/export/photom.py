"""Export photom reference files: a parent's rows scaled, or a file of our own."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from calreg.errors import InvalidValueError, NoCalibrationError
from calreg.export.parents import file_label
from calreg.export.photomjobs import (
    SAME_PHOTMJSR,
    PhotomJob,
    photom_jobs,
    photom_parents,
    require_same_zero_points,
)
from calreg.export.staging import ReferenceReport, Staging
from calreg.files.references.photom import (
    DATA_MODEL,
    PhotomRow,
    PhotomScaling,
    corrected_copy,
    new_photom,
    photom_rows,
)
from calreg.files.references.verify import check_photom
from calreg.sets.predicted import choose_corrections
from calreg.units import MAG_PER_RELATIVE_FLUX

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from calreg.db.engine import Database
    from calreg.domain import Pmap
    from calreg.files.references.crdscache import CrdsCache
    from calreg.files.references.parents import Parent
    from calreg.instruments import Instrument
    from calreg.sets.corrections import CorrectionQuery

KIND = "photom"


def seen_rows(job: PhotomJob, pmap: Pmap) -> tuple[list[PhotomRow], float]:
    """Return rows from the PHOTMJSR of exposures, for a file without parent.

    Returns
    -------
    rows : list of PhotomRow
        Before correction, one per band that is known; `uncertainty` is not known, NaN.
    pixar_sr : float
        Pixel area [sr].

    Raises
    ------
    InvalidValueError
        If a band has several values, for subarrays or times.
    NoCalibrationError
        If a corrected band, or the pixel area, is not known.
    """
    name = job.array.name
    by_band: dict[tuple[str, str], set[float]] = {}
    for seen in job.seen:
        by_band.setdefault((seen.filter, seen.pupil), set()).add(seen.photmjsr)
    for key, values in by_band.items():
        if max(values) > (1.0 + SAME_PHOTMJSR) * min(values):
            msg = (
                f"{name} {' '.join(key)}: exposures under {pmap.name} have PHOTMJSR from "
                f"{min(values):.6g} to {max(values):.6g} (by subarray or time), which one row "
                "cannot hold: name the photom file that they were calibrated with (--parent)"
            )
            raise InvalidValueError(msg)
    missing = [one for one in job.scalings if (one.filter, one.pupil) not in by_band]
    if missing:
        msg = (
            f"{name}: no PHOTMJSR of {missing[0].filter} {missing[0].pupil} under {pmap.name}: "
            "ingest an exposure, or name the photom file with --parent"
        )
        raise NoCalibrationError(msg)
    areas = sorted(seen.pixar_sr for seen in job.seen if seen.pixar_sr is not None)
    if not areas:
        msg = (
            f"{name}: no PIXAR_SR under {pmap.name} (mosaics have their own): ingest one cal "
            "exposure, or name the photom file with --parent"
        )
        raise NoCalibrationError(msg)
    rows = [
        PhotomRow(filter_name, pupil, "", max(values), math.nan)
        for (filter_name, pupil), values in sorted(by_band.items())
    ]
    return rows, areas[len(areas) // 2]


def scaled_row(row: PhotomRow, scalings: Sequence[PhotomScaling]) -> PhotomRow:
    """Return a row of a file without parent, corrected; its uncertainty is ours alone."""
    for scaling in scalings:
        if (scaling.filter, scaling.pupil) == (row.filter, row.pupil):
            photmjsr = scaling.factor * row.photmjsr
            own = photmjsr * scaling.err_mag / MAG_PER_RELATIVE_FLUX
            return PhotomRow(row.filter, row.pupil, row.subarray, photmjsr, own)
    return row


def stage_photom(
    staging: Staging,
    job: PhotomJob,
    parent: Parent | None,
    label: str,
    pmap: Pmap,
    instrument: Instrument,
) -> Path:
    """Make one photom file under a temporary name, and check it.

    Parameters
    ----------
    parent : Parent or None
        None for a file from the exposures' PHOTMJSR.
    label : str
        In the file's name.

    Returns
    -------
    Path
        Where it is now.

    Raises
    ------
    CalregError
        If the file cannot be made, or failed its check.
    """
    name = f"jwst_{instrument.name.lower()}_photom_{label}_{job.array.name}.fits"
    scalings = job.scalings
    if parent is None:
        rows, pixar_sr = seen_rows(job, pmap)
        content = new_photom(
            job.array,
            [scaled_row(row, scalings) for row in rows],
            pixar_sr,
            job.meta,
            name,
            instrument=instrument,
        )
    else:
        require_same_zero_points(job, parent, pmap)
        rows = photom_rows(parent)
        content = corrected_copy(parent, scalings, job.meta, name)
    path = staging.add(name, content, KIND, DATA_MODEL, job.set_pks)
    check_photom(path, job.array, rows, parent=parent, scalings=scalings, instrument=instrument)
    return path


def export_photom(
    database: Database,
    out: Path,
    query: CorrectionQuery,
    *,
    instrument: Instrument,
    parents: Sequence[Path] = (),
    cache: CrdsCache | None = None,
    all_arrays: bool = False,
    predict: bool = False,
    overwrite: bool = False,
) -> ReferenceReport:
    """Write one photom file per corrected array.

    Parameters
    ----------
    out : Path
        Folder.
    parents : sequence of Path
        Photom files, or folders of them.
    cache : CrdsCache, optional
        Where parents are looked for if none are named.
    all_arrays : bool
        Whether the arrays that are the datum get an identical copy.
    predict : bool
        Whether offsets that were not measured under the context are carried over from others.
    overwrite : bool
        Whether existing files are replaced.

    Raises
    ------
    CalregError
        If there is no correction, a parent cannot be used or is missing, or a file failed its
        check; then nothing is left.
    """
    created_utc = datetime.now(UTC)
    with database.read() as connection:
        corrections, predicted = choose_corrections(connection, query, instrument, predict=predict)
        jobs = photom_jobs(connection, query.pmap, corrections, created_utc, all_arrays=all_arrays)
    chosen, notes = photom_parents(jobs, query.pmap, parents, cache, instrument)
    label = file_label(query.pmap, corrections)
    with Staging(out, overwrite=overwrite) as staging:
        for job in jobs:
            stage_photom(staging, job, chosen.get(job.array.name), label, query.pmap, instrument)
        deliveries, checkers = staging.deliver(database, created_utc)
    return ReferenceReport(deliveries, checkers, predicted + notes)

"""Export photom reference files: a parent's rows scaled, or a file of our own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from calreg.db.queries.zeropoints import (
    SeenZeroPoint,
    first_exposure_mjd,
    load_seen_zero_points,
    load_used_references,
)
from calreg.errors import InvalidValueError, NoCalibrationError
from calreg.export.references import (
    ReferenceReport,
    Staging,
    file_label,
    matching_keys,
    meta_of,
    one_reference_name,
    read_parents,
)
from calreg.files.references.photom import (
    DATA_MODEL,
    REFTYPE,
    PhotomRow,
    PhotomScaling,
    corrected_copy,
    has_time_dependence,
    new_photom,
    photom_rows,
    read_photom_parent,
)
from calreg.files.references.verify import check_photom
from calreg.sets.corrections import choose_corrections
from calreg.units import MAG_PER_RELATIVE_FLUX

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from calreg.db.engine import Connection, Database
    from calreg.domain import Pmap
    from calreg.export.references import ReferenceOptions
    from calreg.files.references.crdscache import CrdsCache
    from calreg.files.references.parents import Parent, ReferenceMeta
    from calreg.instruments import Array, Instrument
    from calreg.sets.corrections import SetCorrection

KIND = "photom"

SAME_PHOTMJSR = 1e-5
"""Relative; header and table are the same number in single precision and in decimals."""


@dataclass(frozen=True)
class PhotomJob:
    """One photom file to make.

    Attributes
    ----------
    corrections : tuple of SetCorrection
        Of all bands of the array; those of a datum array leave it as it is.
    used_names : set of str
        Photom files that the exposures name.
    """

    array: Array
    corrections: tuple[SetCorrection, ...]
    seen: tuple[SeenZeroPoint, ...]
    used_names: frozenset[str]
    meta: ReferenceMeta

    @property
    def pmap(self) -> Pmap:
        """Context that the file corrects."""
        return self.meta.pmap

    @property
    def scalings(self) -> list[PhotomScaling]:
        """What is done to each band; none for a datum array."""
        scalings = []
        for correction in self.corrections:
            own = correction.corrections[self.array.module]
            if own.photom_factor != 1.0 or own.photom_err_mag != 0.0:
                band = correction.band
                scalings.append(
                    PhotomScaling(band.filter, band.pupil, own.photom_factor, own.photom_err_mag)
                )
        return scalings

    @property
    def set_pks(self) -> list[int]:
        """The sets in the file."""
        return [correction.stored.pk for correction in self.corrections]


def export_photom(
    database: Database,
    options: ReferenceOptions,
    instrument: Instrument,
    *,
    all_arrays: bool = False,
) -> ReferenceReport:
    """Write one photom file per corrected array; see `Registry.export_photom`."""
    created_utc = datetime.now(UTC)
    query = options.query
    with database.read() as connection:
        corrections, predicted = choose_corrections(
            connection, query, instrument, predict=options.predict
        )
        jobs = photom_jobs(connection, query.pmap, corrections, created_utc, all_arrays=all_arrays)
    parents, notes = photom_parents(jobs, options.parents, options.cache, instrument)
    label = file_label(query.pmap, corrections)
    with Staging(options.out, overwrite=options.overwrite) as staging:
        for job in jobs:
            stage_photom(staging, job, parents.get(job.array.name), label, instrument)
        deliveries, checkers = staging.deliver(database, created_utc)
    return ReferenceReport(deliveries, checkers, predicted + notes)


def photom_jobs(
    connection: Connection,
    pmap: Pmap,
    corrections: Sequence[SetCorrection],
    created_utc: datetime,
    *,
    all_arrays: bool,
) -> list[PhotomJob]:
    """Return the photom files to make, one per array that is corrected, in the order of names."""
    by_array: dict[str, list[SetCorrection]] = {}
    arrays: dict[str, Array] = {}
    for correction in corrections:
        for array in correction.arrays.values():
            arrays[array.name] = array
            by_array.setdefault(array.name, []).append(correction)
    used = load_used_references(connection, pmap)
    earliest_mjd_utc = first_exposure_mjd(connection, pmap)
    jobs = []
    for name, own in sorted(by_array.items()):
        array = arrays[name]
        job = PhotomJob(
            array=array,
            corrections=tuple(own),
            seen=tuple(load_seen_zero_points(connection, pmap, name)),
            used_names=frozenset(
                one.r_photom for one in used if one.array == name and one.r_photom
            ),
            meta=meta_of(pmap, own, _history(array, own), created_utc, earliest_mjd_utc),
        )
        if job.scalings or all_arrays:
            jobs.append(job)
    return jobs


def _history(array: Array, corrections: Sequence[SetCorrection]) -> list[str]:
    """Return the HISTORY of an array's corrections."""
    module = array.module
    if all(one.corrections[module].photom_factor == 1.0 for one in corrections):
        return [f"Module {module} is the datum: every row is as it was"]
    return [line for correction in corrections for line in correction.lines(module)]


def cached_photom_parent(cache: CrdsCache, job: PhotomJob, instrument: Instrument) -> Parent | None:
    """Return the photom file of an array from a CRDS cache.

    None where the cache has nothing to find it by: no context, and no file that exposures name.

    Raises
    ------
    InvalidValueError
        If the context has two files within the dates of the data, or another one than the exposures
        name, or the file is not in the cache.
    """
    pmap = job.pmap
    if cache.has_context(pmap):
        keys = matching_keys(job.array, instrument)
        name = one_reference_name(cache, pmap, REFTYPE, keys, job.corrections, instrument)
    elif len(job.used_names) == 1:
        (name,) = job.used_names
    else:
        return None
    if job.used_names and job.used_names != {name}:
        msg = (
            f"{job.array.name}: {pmap.name} in {cache.path} has {name}, but the exposures were "
            f"calibrated with {', '.join(sorted(job.used_names))}; name the right one with --parent"
        )
        raise InvalidValueError(msg)
    path = cache.file_of(name, instrument)
    if path is None:
        if not cache.has_context(pmap):
            return None
        msg = (
            f"{job.array.name}: {pmap.name} has {name}, which is not in {cache.path}: sync it "
            f"(crds sync --files {name}), or name a copy of it with --parent"
        )
        raise InvalidValueError(msg)
    parent = read_photom_parent(path, instrument)
    if parent.array != job.array:
        msg = f"{path}: is for {parent.array.detector}; expected {job.array.detector}"
        raise InvalidValueError(msg)
    return parent


def require_same_zero_points(job: PhotomJob, parent: Parent) -> None:
    """Refuse a parent with other values than the exposures have: it is another context's.

    Not asked where the values depend on time.
    """
    if has_time_dependence(parent):
        return
    corrected = {(one.filter, one.pupil) for one in job.scalings}
    rows = {row.key: row for row in photom_rows(parent)}
    for seen in job.seen:
        if (seen.filter, seen.pupil) not in corrected:
            continue
        for subarray in (seen.subarray, ""):
            row = rows.get((seen.filter, seen.pupil, subarray))
            if row is None or math.isclose(row.photmjsr, seen.photmjsr, rel_tol=SAME_PHOTMJSR):
                continue
            names = ", ".join(sorted(job.used_names)) or "not recorded"
            msg = (
                f"{parent.path}: photmjsr of {seen.filter} {seen.pupil} is {row.photmjsr:.6g}, but "
                f"exposures of {job.array.name} under {job.pmap.name} have PHOTMJSR "
                f"{seen.photmjsr:.6g}: not the file that they were calibrated with ({names})"
            )
            raise InvalidValueError(msg)


def photom_parents(
    jobs: Sequence[PhotomJob],
    paths: Sequence[Path],
    cache: CrdsCache | None,
    instrument: Instrument,
) -> tuple[dict[str, Parent], list[str]]:
    """Return the parents of photom files, of all or of none, by array; and what to tell the user.

    The cache is asked if no files and folders are named.
    """
    chosen: dict[str, Parent] = {}
    if paths:
        files = read_parents(paths, REFTYPE, read_photom_parent, instrument)
        for job in jobs:
            fitting = [one for one in files.found if one.array == job.array]
            chosen[job.array.name] = files.choose(job.array.name, fitting, set(job.used_names))
        expected = ", ".join(job.array.detector for job in jobs)
        files.refuse_unused(list(chosen.values()), expected)
        return chosen, []
    if cache is not None:
        for job in jobs:
            parent = cached_photom_parent(cache, job, instrument)
            if parent is not None:
                chosen[job.array.name] = parent
        missing = [job.array.name for job in jobs if job.array.name not in chosen]
        if chosen and missing:
            msg = (
                f"no photom file of {', '.join(missing)} in {cache.path}, but those of "
                f"{', '.join(chosen)}: sync the cache, or name them with --parent"
            )
            raise InvalidValueError(msg)
        if chosen:
            return chosen, [f"parents from {cache.path}"]
    where = "" if cache is None else f" in {cache.path}"
    note = (
        f"no parent{where}: made from PHOTMJSR of exposures, only for the bands that they have; "
        "other bands stay in DN/s in the pipeline"
    )
    return chosen, [note]


def seen_rows(job: PhotomJob) -> tuple[list[PhotomRow], float]:
    """Return rows from the PHOTMJSR of exposures, for a file without parent, and PIXAR_SR [sr].

    They are not corrected yet, one per band that is known; the uncertainty is not, NaN.

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
                f"{name} {' '.join(key)}: exposures under {job.pmap.name} have PHOTMJSR from "
                f"{min(values):.6g} to {max(values):.6g} (by subarray or time), which one row "
                "cannot hold: name the photom file that they were calibrated with (--parent)"
            )
            raise InvalidValueError(msg)
    missing = [one for one in job.scalings if (one.filter, one.pupil) not in by_band]
    if missing:
        msg = (
            f"{name}: no PHOTMJSR of {missing[0].filter} {missing[0].pupil} under {job.pmap.name}: "
            "ingest an exposure, or name the photom file with --parent"
        )
        raise NoCalibrationError(msg)
    areas = sorted(seen.pixar_sr for seen in job.seen if seen.pixar_sr is not None)
    if not areas:
        msg = (
            f"{name}: no PIXAR_SR under {job.pmap.name} (mosaics have their own): ingest one cal "
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
    staging: Staging, job: PhotomJob, parent: Parent | None, label: str, instrument: Instrument
) -> None:
    """Make one photom file under a temporary name, and check it.

    Without a parent it has the PHOTMJSR of the exposures; `label` is a part of its name.
    """
    name = f"jwst_{instrument.name.lower()}_photom_{label}_{job.array.name}.fits"
    scalings = job.scalings
    if parent is None:
        rows, pixar_sr = seen_rows(job)
        content = new_photom(
            job.array,
            [scaled_row(row, scalings) for row in rows],
            pixar_sr,
            job.meta,
            name,
            instrument=instrument,
        )
    else:
        require_same_zero_points(job, parent)
        rows = photom_rows(parent)
        content = corrected_copy(parent, scalings, job.meta, name)
    path = staging.add(name, content, KIND, DATA_MODEL, job.set_pks)
    check_photom(path, job.array, rows, parent=parent, scalings=scalings, instrument=instrument)

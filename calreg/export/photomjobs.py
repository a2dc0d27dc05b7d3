"""Photom files to make, and the parents that they are copied from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from calreg.db.queries.zeropoints import SeenZeroPoint, load_seen_zero_points, load_used_references
from calreg.errors import InvalidValueError
from calreg.export.parents import matching_keys, meta_of, one_reference_name, read_parents
from calreg.files.references.photom import (
    REFTYPE,
    PhotomScaling,
    has_time_dependence,
    photom_rows,
    read_photom_parent,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from calreg.db.engine import Connection
    from calreg.domain import Pmap
    from calreg.files.references.crdscache import CrdsCache
    from calreg.files.references.parents import Parent, ReferenceMeta
    from calreg.instruments import Array, Instrument
    from calreg.sets.corrections import SetCorrection

SAME_PHOTMJSR = 1e-5
"""Relative; header and table are the same number in single precision and in decimals."""


@dataclass(frozen=True)
class PhotomJob:
    """One photom file to make.

    Attributes
    ----------
    corrections : tuple of SetCorrection
        Of all bands of the array; those of a datum array leave it as it is.
    seen : tuple of SeenZeroPoint
        PHOTMJSR of the array under the context.
    used_names : set of str
        Photom files that the exposures name.
    """

    array: Array
    corrections: tuple[SetCorrection, ...]
    seen: tuple[SeenZeroPoint, ...]
    used_names: frozenset[str]
    meta: ReferenceMeta

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


def photom_jobs(
    connection: Connection,
    pmap: Pmap,
    corrections: Sequence[SetCorrection],
    created_utc: datetime,
    *,
    all_arrays: bool,
) -> list[PhotomJob]:
    """Return the photom files to make, one per array that is corrected.

    Parameters
    ----------
    all_arrays : bool
        Whether the arrays that are the datum are among them.

    Returns
    -------
    list of PhotomJob
        In the order of the arrays' names.
    """
    by_array: dict[str, list[SetCorrection]] = {}
    arrays: dict[str, Array] = {}
    for correction in corrections:
        for array in correction.arrays.values():
            arrays[array.name] = array
            by_array.setdefault(array.name, []).append(correction)
    used = load_used_references(connection, pmap)
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
            meta=meta_of(connection, pmap, own, _history(array, own), created_utc),
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


def cached_photom_parent(
    cache: CrdsCache, job: PhotomJob, pmap: Pmap, instrument: Instrument
) -> Parent | None:
    """Return the photom file of an array from a CRDS cache.

    Returns
    -------
    Parent or None
        None where the cache has nothing to find it by: no context, and no file that the exposures
        name.

    Raises
    ------
    InvalidValueError
        If the context has two files within the dates of the data, or another one than the exposures
        name, or the file is not in the cache.
    FileFormatError, HeaderValueError, UnknownKeyError, UnsupportedDataError
        If a mapping or the file cannot be used.
    """
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


def require_same_zero_points(job: PhotomJob, parent: Parent, pmap: Pmap) -> None:
    """Refuse a parent with other values than the exposures have: it is another context's.

    Raises
    ------
    InvalidValueError
        With the first value that differs. Not asked where the values depend on time.
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
                f"exposures of {job.array.name} under {pmap.name} have PHOTMJSR "
                f"{seen.photmjsr:.6g}: not the file that they were calibrated with ({names})"
            )
            raise InvalidValueError(msg)


def photom_parents(
    jobs: Sequence[PhotomJob],
    pmap: Pmap,
    paths: Sequence[Path],
    cache: CrdsCache | None,
    instrument: Instrument,
) -> tuple[dict[str, Parent], list[str]]:
    """Return the parents of photom files, of all or of none.

    Parameters
    ----------
    paths : sequence of Path
        Files and folders that the user named.
    cache : CrdsCache or None
        Where to look if none are named.

    Returns
    -------
    chosen : dict of str to Parent
        By array name; empty where there are none.
    notes : list of str
        What the user should know.

    Raises
    ------
    CalregError
        If a parent cannot be used, or some arrays have none.
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
            parent = cached_photom_parent(cache, job, pmap, instrument)
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

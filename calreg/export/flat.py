"""Export flat reference files: delta flats for gradients, or their products with parent flats."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from calreg.db.queries.zeropoints import first_exposure_mjd, load_used_references
from calreg.errors import InvalidValueError, NoCalibrationError
from calreg.export.references import (
    ReferenceReport,
    Staging,
    file_label,
    meta_of,
    read_parents,
)
from calreg.files.references.flat import (
    DATA_MODEL,
    REFTYPE,
    delta_flat,
    full_window,
    parent_window,
    product_flat,
    read_flat_parent,
    read_window,
)
from calreg.files.references.verify import check_flat
from calreg.sets.corrections import choose_corrections

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from calreg.db.engine import Connection, Database
    from calreg.domain import Pmap
    from calreg.export.references import ReferenceOptions
    from calreg.files.references.parents import Parent, ReferenceMeta
    from calreg.instruments import Array, Band, Instrument
    from calreg.science.model.gradient import ArrayCorrection
    from calreg.sets.corrections import SetCorrection

KIND = "flat"


@dataclass(frozen=True)
class FlatJob:
    """One flat to make.

    Attributes
    ----------
    own : ArrayCorrection
        With a gradient.
    used_names : frozenset of str
        Flats that the exposures name.
    """

    array: Array
    band: Band
    own: ArrayCorrection
    set_pk: int
    used_names: frozenset[str]
    meta: ReferenceMeta
    correction: SetCorrection

    @property
    def name(self) -> str:
        """Detector and band, for messages."""
        return f"{self.array.name} {self.band.name}"


def flat_jobs(
    connection: Connection,
    pmap: Pmap,
    corrections: Sequence[SetCorrection],
    created_utc: datetime,
) -> list[FlatJob]:
    """Return the flats to make, one per array and band that has a gradient, in that order."""
    used = load_used_references(connection, pmap)
    earliest_mjd_utc = first_exposure_mjd(connection, pmap)
    jobs = []
    for correction in corrections:
        for module, own in correction.corrections.items():
            if own.gradient is None:
                continue
            array, band = correction.arrays[module], correction.band
            names = {one.r_flat for one in used if (one.array, one.band) == (array.name, band.name)}
            history = correction.lines(module)
            jobs.append(
                FlatJob(
                    array=array,
                    band=band,
                    own=own,
                    set_pk=correction.stored.pk,
                    used_names=frozenset(names - {""}),
                    meta=meta_of(pmap, [correction], history, created_utc, earliest_mjd_utc),
                    correction=correction,
                )
            )
    return sorted(jobs, key=lambda job: (job.array.name, job.band.name))


def gradient_notes(jobs: Sequence[FlatJob]) -> list[str]:
    """Note where a gradient on the detector rests on an assumption, once per set."""
    unknown = {
        job.set_pk: f"{job.band.name} array {job.array.array_id}"
        for job in jobs
        if job.correction.gradient_scale is None
    }
    return [
        f"{name}: detector positions of its sources are not known, so the gradient on the detector "
        "is taken as that along the field; dithered mosaics make it look shallower"
        for name in unknown.values()
    ]


def stage_flat(
    staging: Staging,
    job: FlatJob,
    parent: Parent | None,
    label: str,
    instrument: Instrument,
    *,
    like: Path | None = None,
) -> None:
    """Make one flat under a temporary name, and check it.

    Without a parent it is a delta flat, with the subarray of `like`; `label` is a part of its name.
    """
    array, band = job.array, job.band
    delta, err = job.own.delta_flat()
    words = [f"jwst_{instrument.name.lower()}_flat_{label}", array.name, band.name.lower()]
    if parent is not None:
        window = parent_window(parent)
    else:
        window = full_window(array) if like is None else read_window(like, array)
        words += [] if like is None else [window.name.lower()]
    name = "_".join(words) + ".fits"
    content = (
        delta_flat((delta, err), window, array, band, job.meta, name, instrument=instrument)
        if parent is None
        else product_flat(parent, delta, band, job.meta, name)
    )
    path = staging.add(name, content, KIND, DATA_MODEL, [job.set_pk])
    check_flat(path, array, band, window, delta, parent=parent, instrument=instrument)


def export_flat(
    database: Database,
    options: ReferenceOptions,
    instrument: Instrument,
    *,
    like: Path | None = None,
) -> ReferenceReport:
    """Write one flat per array and band with a gradient; see `Registry.export_flat`."""
    parents, query = options.parents, options.query
    if parents and like is not None:
        msg = (
            "--parent and --like exclude each other: a product has the pixels of its parent, and "
            "the pipeline cuts subarrays out of it by itself"
        )
        raise InvalidValueError(msg)
    created_utc = datetime.now(UTC)
    with database.read() as connection:
        corrections, predicted = choose_corrections(
            connection, query, instrument, predict=options.predict
        )
        jobs = flat_jobs(connection, query.pmap, corrections, created_utc)
    if not jobs:
        msg = (
            f"no set of {query.pmap.name} has a gradient: its corrections are one number per array "
            "(calreg export photom)"
        )
        raise NoCalibrationError(msg)
    chosen = _parents_of(jobs, parents, instrument)
    notes = predicted + gradient_notes(jobs)
    if not parents:
        notes.append(
            "delta flats: divide finished files by them; as override_flat they would replace the "
            "pipeline's own flat, for that name the parents (--parent)"
        )
    label = file_label(query.pmap, corrections)
    with Staging(options.out, overwrite=options.overwrite) as staging:
        for job in jobs:
            stage_flat(staging, job, chosen.get(job.name), label, instrument, like=like)
        deliveries, checkers = staging.deliver(database, created_utc)
    return ReferenceReport(deliveries, checkers, notes)


def _parents_of(
    jobs: Sequence[FlatJob], paths: Sequence[Path], instrument: Instrument
) -> dict[str, Parent]:
    """Return the parent of every flat, or none at all."""
    if not paths:
        return {}
    files = read_parents(paths, REFTYPE, read_flat_parent, instrument)
    chosen = {}
    for job in jobs:
        key = (job.array, job.band.filter, job.band.pupil)
        fitting = [
            one
            for one in files.found
            if (one.array, one.get("FILTER").upper(), one.get("PUPIL").upper()) == key
        ]
        chosen[job.name] = files.choose(job.name, fitting, set(job.used_names))
    files.refuse_unused(list(chosen.values()), ", ".join(job.name for job in jobs))
    return chosen

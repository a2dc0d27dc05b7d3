"""Measure: photometry of mosaics inside the isophotes of detection images, in one transaction.

Planning needs the epochs that new mosaics will be in. They are entered for that and rolled back, so
that no lock is held while pixels are measured; they are entered again with the catalogs.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from calreg.domain import ExposureKind, no_progress
from calreg.errors import (
    CatalogColumnError,
    ConflictError,
    FileFormatError,
    OutputError,
    UnsupportedDataError,
)
from calreg.files.catalogs.write import require_format, write_catalogs
from calreg.files.images.cards import CALIBRATED_UNIT
from calreg.files.images.exposures import read_exposure
from calreg.files.images.planes import open_image
from calreg.files.readguard import refuse_damaged
from calreg.ingest.catalogs import CatalogIngest, detector_positions
from calreg.ingest.load import Loader
from calreg.ingest.options import IngestOptions, IngestReport
from calreg.pixels.measure.catalog import (
    KINDS,
    assemble,
    catalog_head,
    catalog_of,
    catalog_table,
    out_paths,
)
from calreg.pixels.measure.patches import PatchJob, fit_alignments, run_patches
from calreg.pixels.measure.plan import Mosaic, plan_detection
from calreg.science.imaging.alignment import describe_alignment
from calreg.science.photometry.image import require_sep

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from calreg.db.engine import Connection, Database
    from calreg.domain import Catalog, Progress
    from calreg.files.catalogs.write import CatalogTable
    from calreg.instruments import Instrument
    from calreg.pixels.measure.catalog import MeasuredMosaic
    from calreg.pixels.measure.options import MeasureOptions
    from calreg.pixels.measure.patches import PatchImage, PatchResult
    from calreg.pixels.measure.plan import DetectionImage, MosaicToMeasure

_OUTSIDE_PERCENT = 1.0
"""Of a mosaic, from which on it is worth a word that no detection image covers it."""


@dataclass(frozen=True)
class MeasuredRow:
    """The outcome for one mosaic.

    Attributes
    ----------
    state : str
        ``measured``, or ``known`` where the registry had the same image with the same settings.
    depth_mag : float or None
        Five sigma in the fixed aperture [mag AB].
    median_snr : float or None
        Of the isophotal flux.
    align : str
        Fitted transformation, empty without ``--align``.
    version : int or None
        Of the isophotal catalog in the registry; None where nothing was stored.
    """

    file: str
    field: str
    epoch: str
    band: str
    array: str
    pmap: str
    state: str
    n_sources: int | None
    n_compact: int | None
    n_flagged: int | None
    depth_mag: float | None
    median_snr: float | None
    outside_percent: float | None
    detection: str
    align: str
    version: int | None
    out: str

    @property
    def detected_on(self) -> str:
        """The detection image, or how many there are."""
        names = self.detection.split()
        if names == [self.file]:
            return "itself"
        return names[0] if len(names) == 1 else f"{len(names)} images"


@dataclass
class MeasureReport:
    """What a call of measure did."""

    rows: list[MeasuredRow] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    is_committed: bool = False

    def add(
        self,
        planned: MosaicToMeasure,
        measured: MeasuredMosaic | None,
        *,
        is_known: bool,
        version: int | None,
        out: Path | None,
    ) -> None:
        """Add what became of a mosaic; `measured` is None where its pixels were not read."""
        sources = None if measured is None else measured.sources
        alignment = None if measured is None else measured.alignment
        row = MeasuredRow(
            file=planned.path.name,
            field=planned.epoch.field_name,
            epoch=planned.epoch.name,
            band=planned.stored.band,
            array=planned.stored.array,
            pmap=str(planned.stored.pmap),
            state="known" if is_known else "measured",
            n_sources=None if sources is None else sources.n_sources,
            n_compact=None if measured is None else measured.n_compact,
            n_flagged=None if sources is None else int(np.count_nonzero(sources.flags)),
            depth_mag=None if measured is None else measured.depth_mag,
            median_snr=None if sources is None else float(np.median(sources.snr)),
            outside_percent=None if measured is None else 100.0 * measured.outside,
            detection=" ".join(detection.name for detection in planned.detections),
            align=""
            if measured is None or alignment is None
            else describe_alignment(alignment.to_text(measured.scale_arcsec)),
            version=version,
            out="" if out is None else str(out),
        )
        self.rows.append(row)

    def note_outside(self) -> None:
        """Warn of what no detection image covers."""
        found = [row for row in self.rows if (row.outside_percent or 0.0) > _OUTSIDE_PERCENT]
        if not found:
            return
        worst = max(found, key=lambda row: row.outside_percent or 0.0)
        self.warnings.append(
            f"{len(found)} of {len(self.rows)} mosaics have pixels that no detection image covers, "
            f"up to {worst.outside_percent:.1f} % ({worst.file}); sources there were not measured: "
            "--detect stack finds them"
        )


@dataclass(frozen=True)
class _Plan:
    """What is to be done."""

    mosaics: list[MosaicToMeasure]
    is_known: list[bool]
    warnings: list[str]

    def key(self) -> list[tuple[object, ...]]:
        """Return the state that must be the same when the catalogs are written."""
        return [
            (planned.path, planned.epoch.start_mjd_utc, planned.detections, is_known)
            for planned, is_known in zip(self.mosaics, self.is_known, strict=True)
        ]


def measure(
    database: Database,
    paths: Sequence[Path],
    options: MeasureOptions,
    instrument: Instrument,
    progress: Progress = no_progress,
) -> MeasureReport:
    """Measure mosaics inside the isophotes of their detection images, and enter the catalogs.

    Notes
    -----
    Sources are detected on each mosaic of the field's first epoch, and every mosaic of a later one
    is measured inside the isophotes of those that it overlaps, whichever array they are of: with
    opposite rolls, the sky that array A saw first is that of array B later. See
    `calreg.science.photometry.measure` for the sums and `calreg.science.photometry.patchsources`
    for seams.
    """
    return _MeasureCall(database, options, instrument, progress).run(paths)


class _MeasureCall:
    """One call of measure."""

    def __init__(
        self,
        database: Database,
        options: MeasureOptions,
        instrument: Instrument,
        progress: Progress,
    ) -> None:
        self.database = database
        self.options = options
        self.instrument = instrument
        self.progress = progress

    def run(self, paths: Sequence[Path]) -> MeasureReport:
        """Do everything."""
        # What is missing is said before anything is read.
        require_sep()
        outs = self._out_paths(paths)
        mosaics = [self._read(path, n, len(paths)) for n, path in enumerate(paths)]
        self.progress("reading headers", len(paths), len(paths))
        _require_distinct(mosaics)
        plan = self._plan(mosaics)
        _require_free(outs.values(), plan.mosaics)
        measured = self._measure_pixels(plan, outs)
        report = MeasureReport(warnings=list(plan.warnings))
        tables = {out: catalog_table(measured[path], self.options) for path, out in outs.items()}
        versions = self._store(mosaics, plan, measured, tables)
        report.is_committed = bool(versions)
        for planned, is_known in zip(plan.mosaics, plan.is_known, strict=True):
            report.add(
                planned,
                measured.get(planned.path),
                is_known=is_known,
                version=versions.get(planned.path),
                out=outs.get(planned.path),
            )
        report.note_outside()
        return report

    # --- before pixels ------------------------------------------------------------------------

    def _out_paths(self, paths: Sequence[Path]) -> dict[Path, Path]:
        """Return the files to write, of a known format, and none that must not be replaced."""
        if self.options.out is None:
            return {}
        outs = out_paths(self.options.out, paths)
        for path in outs.values():
            require_format(path)
            if path.exists() and not self.options.overwrites:
                msg = f"cannot write {path}: it exists; give another name or --overwrite"
                raise OutputError(msg)
            if not path.parent.is_dir():
                msg = f"cannot write {path}: there is no folder {path.parent}; make it first"
                raise OutputError(msg)
        return outs

    def _read(self, path: Path, n_done: int, n_all: int) -> Mosaic:
        """Read the headers of a mosaic."""
        self.progress("reading headers", n_done, n_all)
        if not path.is_file():
            what = "is no file" if path.exists() else "no such file"
            msg = f"{path}: {what}: expected a mosaic; check the name"
            raise FileFormatError(msg)
        image = open_image(path)
        with refuse_damaged(path):
            exposure = read_exposure(path, instrument=self.instrument, headers=image.headers)
        if exposure.kind is not ExposureKind.I2D:
            msg = (
                f"{path}: is a single {exposure.kind} exposure: expected a mosaic; make one with "
                "calreg mosaic"
            )
            raise UnsupportedDataError(msg)
        if exposure.bunit != CALIBRATED_UNIT or exposure.pixar_sr is None:
            msg = (
                f"{path}: BUNIT is {exposure.bunit or 'missing'} and PIXAR_SR "
                f"{exposure.pixar_sr or 'missing'}: expected {CALIBRATED_UNIT} and the area of a "
                "pixel [sr], which make magnitudes of sums"
            )
            raise CatalogColumnError(msg)
        return Mosaic(path, exposure, image)

    def _enter(self, connection: Connection, mosaics: Sequence[Mosaic]) -> Loader:
        """Enter new mosaics into the registry, as ingest does."""
        report = IngestReport()
        ingest_options = IngestOptions(
            field_name=self.options.field_name, epoch_label=self.options.epoch_label
        )
        loader = Loader(connection, ingest_options, self.instrument, report, self.database.command)
        loader.load_exposures([(mosaic.path, mosaic.exposure) for mosaic in mosaics])
        if report.refused:
            raise ConflictError(report.refused[0].message.replace(" ingest ", " measure ", 1))
        return loader

    def _plan(self, mosaics: Sequence[Mosaic]) -> _Plan:
        """Find out what to do, and leave the registry as it is."""
        with self.database.write() as connection:
            loader = self._enter(connection, mosaics)
            plan = self._plan_in(connection, mosaics, loader.report)
            connection.rollback()
        return plan

    def _plan_in(
        self, connection: Connection, mosaics: Sequence[Mosaic], report: IngestReport
    ) -> _Plan:
        """Find out what to do, in a transaction that has entered the mosaics."""
        planned = plan_detection(
            connection,
            mosaics,
            detect=self.options.detect,
            is_reprojected=self.options.is_reprojected,
        )
        warnings = [
            f"{outcome.path.name}: {text}"
            for outcome in report.unchanged
            for text in outcome.warnings
        ]
        is_known = [self._is_known(connection, one) for one in planned]
        return _Plan(planned, is_known, warnings)

    def _is_known(self, connection: Connection, planned: MosaicToMeasure) -> bool:
        """Check whether all catalogs of a mosaic are stored; refuse to replace others unasked."""
        if not self.options.stores:
            return False
        ingest = CatalogIngest(connection, IngestOptions(), self.instrument)
        found = []
        for kind in KINDS:
            head = catalog_head(planned, self.options, kind)
            known = ingest.compare_with_stored(
                planned.path, head, planned.stored, replace=self.options.replaces
            )
            found.append(known is not None and known.file_sha256 == head.file_sha256)
        return all(found)

    # --- pixels -------------------------------------------------------------------------------

    def _measure_pixels(self, plan: _Plan, outs: dict[Path, Path]) -> dict[Path, MeasuredMosaic]:
        """Measure what is not known already, or is to be written to a file."""
        wanted = [
            planned
            for planned, is_known in zip(plan.mosaics, plan.is_known, strict=True)
            if not is_known or planned.path in outs
        ]
        jobs = _jobs(wanted, self.options)
        results = run_patches(jobs, self.options.n_processes, self.progress)
        if self.options.align is not None:
            aligned = fit_alignments(results, self.options.align)
            results = run_patches(aligned, self.options.n_processes, self.progress)
        parts = _by_mosaic(results)
        return {planned.path: assemble(planned, parts[planned.path]) for planned in wanted}

    # --- after pixels -------------------------------------------------------------------------

    def _store(
        self,
        mosaics: Sequence[Mosaic],
        plan: _Plan,
        measured: dict[Path, MeasuredMosaic],
        tables: dict[Path, CatalogTable],
    ) -> dict[Path, int]:
        """Enter mosaics and catalogs in one transaction and write files; return versions."""
        new = [
            planned
            for planned, is_known in zip(plan.mosaics, plan.is_known, strict=True)
            if not is_known
        ]
        if not self.options.stores or not new:
            write_catalogs(tables, overwrite=self.options.overwrites)
            return {}
        catalogs = {planned.path: self._catalogs(measured[planned.path]) for planned in new}
        versions: dict[Path, int] = {}
        with self.database.write() as connection:
            loader = self._enter(connection, mosaics)
            now = self._plan_in(connection, mosaics, loader.report)
            if now.key() != plan.key():
                msg = (
                    "the registry was changed by another process while pixels were measured, and "
                    "detection images with it; nothing was written: run the command again"
                )
                raise ConflictError(msg)
            ingest = CatalogIngest(connection, IngestOptions(), self.instrument)
            for planned in now.mosaics:
                for catalog in catalogs.get(planned.path, ()):
                    entry = ingest.enter(
                        planned.path, catalog, planned.stored, replace=self.options.replaces
                    )
                    if entry.known_as is None:
                        ingest.write(entry, loader.ingest_id)
                    versions.setdefault(planned.path, entry.version)
            # Last in the transaction: a full disk leaves the registry as it was.
            write_catalogs(tables, overwrite=self.options.overwrites)
        return versions

    def _catalogs(self, measured: MeasuredMosaic) -> list[Catalog]:
        """Return the catalogs of a mosaic, with detector positions where they are known."""
        sources = measured.sources
        positions = detector_positions(
            measured.planned.mosaic.exposure,
            (sources.x_win, sources.y_win),
            (sources.ra_win_deg, sources.dec_win_deg),
            self.instrument,
        )
        return [catalog_of(measured, self.options, kind, positions) for kind in KINDS]


def _require_distinct(mosaics: Sequence[Mosaic]) -> None:
    """Refuse a mosaic that is given twice."""
    counts = Counter(mosaic.image.headers.sha256 for mosaic in mosaics)
    for digest, count in counts.items():
        if count > 1:
            names = [str(m.path) for m in mosaics if m.image.headers.sha256 == digest]
            msg = f"{names[1]}: is the same mosaic as {names[0]}: give each once"
            raise ConflictError(msg)


def _require_free(outs: Iterable[Path], mosaics: Sequence[MosaicToMeasure]) -> None:
    """Refuse to write a catalog over an image."""
    images = {planned.path for planned in mosaics}
    images |= {path for one in mosaics for found in one.detections for path in found.paths}
    for out in outs:
        if out.exists() and any(out.samefile(image) for image in images):
            msg = f"cannot write {out}: it is one of the images; give another name"
            raise OutputError(msg)


def _jobs(wanted: Sequence[MosaicToMeasure], options: MeasureOptions) -> list[PatchJob]:
    """Return one job per detection image."""
    members: dict[DetectionImage, list[Path]] = {}
    for planned in wanted:
        for detection in planned.detections:
            members.setdefault(detection, []).append(planned.path)
    return [
        PatchJob(
            detection=detection.paths,
            frame=detection.frame,
            measured=tuple(paths),
            settings=options.settings,
            has_weights=options.has_weights,
            gain=options.gain,
            is_reprojected=options.is_reprojected,
            wants_reference=options.align is not None,
        )
        for detection, paths in members.items()
    ]


def _by_mosaic(results: Sequence[PatchResult]) -> dict[Path, list[tuple[PatchJob, PatchImage]]]:
    """Return the parts of each mosaic."""
    parts: dict[Path, list[tuple[PatchJob, PatchImage]]] = {}
    for result in results:
        for image in result.images:
            parts.setdefault(image.path, []).append((result.job, image))
    return parts

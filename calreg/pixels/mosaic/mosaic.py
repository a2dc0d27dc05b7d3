"""Mosaics: exposures of one epoch, band and array drizzled onto the grid of their field."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from calreg.db.queries.exposures import insert_exposures
from calreg.db.queries.mosaics import replace_exposure
from calreg.domain import Exposure, ExposureKind, Progress, no_progress
from calreg.errors import ConflictError, InvalidValueError, RefusedFilesError
from calreg.files.atomic import NamedFiles, make_folder, pending_file, remove_pending
from calreg.files.images.exposures import read_exposure
from calreg.files.images.mosaicfile import MosaicSummary, read_summary
from calreg.ingest.load import Loader, expand_paths, read_images
from calreg.ingest.options import IngestOptions, IngestReport
from calreg.pixels.mosaic.job import MosaicJob, make_mosaics
from calreg.pixels.mosaic.plan import plan_mosaics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from calreg.db.engine import Connection, Database
    from calreg.db.queries.exposures import StoredExposure
    from calreg.files.atomic import PendingFile
    from calreg.instruments import Instrument
    from calreg.pixels.mosaic.plan import MosaicOptions, PlannedMosaic


@dataclass(frozen=True)
class MosaicRow:
    """One mosaic.

    Attributes
    ----------
    status : str
        ``made``, or ``unchanged``: made before of the same exposures with the same settings.
    noise_correlation : float
        Noise of a sum over many pixels, relative to the root of the summed squares of the errors.
    background : float
        Median over the exposures of the background subtracted [MJy/sr].
    photmjsr : float
        Scale [MJy/sr per DN/s].
    """

    file: str
    status: str
    field: str
    epoch: str
    array: str
    band: str
    pmap: str
    n_members: int
    exposure_time_s: float
    coverage_arcmin2: float
    median_noise: float
    noise_correlation: float
    background: float
    photmjsr: float


@dataclass
class MosaicReport:
    """What a call made.

    Attributes
    ----------
    rows : list of MosaicRow
        By field, time, array and band.
    n_exposures_loaded : int
        Exposures that were new to the registry.
    skipped : list of Path
        Files of folders that are neither `cal` nor `crf`.
    is_stored : bool
        Whether the registry has the mosaics.
    """

    rows: list[MosaicRow] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    n_exposures_loaded: int = 0
    skipped: list[Path] = field(default_factory=list)
    is_stored: bool = False


def mosaic(
    database: Database,
    paths: Sequence[Path],
    options: MosaicOptions,
    instrument: Instrument,
    progress: Progress = no_progress,
) -> MosaicReport:
    """Make one mosaic per epoch, band and array, and enter it with its exposures.

    Notes
    -----
    The work is planned in a transaction that is taken back, done without one, and entered in a
    second one, which plans again and must come to the same. Files get their names before it is
    committed: a process that is killed in between leaves complete files that the registry does not
    know, and the same call finds them made and enters them.
    """
    call = _MosaicCall(database, options, instrument)
    exposures = call.read(paths, progress)
    planned = call.try_out(exposures)
    pending: dict[Path, PendingFile] = {}
    try:
        call.make(planned, pending, progress)
        call.keep(exposures, planned, pending)
    finally:
        for file in pending.values():
            remove_pending(file)
    return call.report


def _refuse(reasons: Sequence[str]) -> None:
    """Raise if there is a reason to."""
    if reasons:
        more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        msg = f"nothing was made: {reasons[0]}{more}"
        raise RefusedFilesError(msg, tuple(reasons))


class _MosaicCall:
    """One call of mosaic, step by step."""

    def __init__(self, database: Database, options: MosaicOptions, instrument: Instrument) -> None:
        self.database = database
        self.options = options
        self.instrument = instrument
        self.report = MosaicReport()
        self._ingest_options = IngestOptions(
            field_name=options.field_name, epoch_label=options.epoch_label, full_hash=True
        )

    # --- in -------------------------------------------------------------------------------------

    def read(self, paths: Sequence[Path], progress: Progress) -> list[tuple[Path, Exposure]]:
        """Read the headers of all exposures; each file once."""
        found = IngestReport()
        files = expand_paths(paths, found)
        once = {path.resolve(): (path, is_named) for path, is_named in reversed(files)}
        named = {path for path, is_named in once.values() if is_named}
        images, catalogs = read_images(
            list(reversed(once.values())), self._ingest_options, self.instrument, found, progress
        )
        reasons = [outcome.message for outcome in found.refused]
        exposures = []
        others = {path: f"is a {kind}" for path, kind in catalogs}
        for path, exposure in images:
            if exposure.kind is ExposureKind.I2D:
                others[path] = "is a mosaic already (i2d)"
            else:
                exposures.append((path, exposure))
        reasons += [
            f"{path}: {what}: expected cal or crf exposures; leave it out"
            for path, what in others.items()
            if path in named
        ]
        _refuse(reasons)
        self.report.skipped = [*found.skipped, *(path for path in others if path not in named)]
        if not exposures:
            msg = "there is no cal or crf exposure to make a mosaic of: check the names"
            raise InvalidValueError(msg)
        return exposures

    def try_out(self, exposures: list[tuple[Path, Exposure]]) -> list[PlannedMosaic]:
        """Plan in a transaction that is taken back."""
        with self.database.write() as connection:
            planned = self._enter(connection, exposures)[1]
            connection.rollback()
        return planned

    def _enter(
        self, connection: Connection, exposures: list[tuple[Path, Exposure]]
    ) -> tuple[Loader, list[PlannedMosaic]]:
        """Ingest exposures and plan their mosaics."""
        found = IngestReport()
        loader = Loader(
            connection, self._ingest_options, self.instrument, found, self.database.command
        )
        loader.load_exposures(exposures)
        _refuse([outcome.message for outcome in found.refused])
        self.report.n_exposures_loaded = len(found.loaded)
        self.report.warnings = [
            f"{outcome.path.name}: {text}"
            for outcome in found.unchanged
            for text in outcome.warnings
        ]
        planned, refused = plan_mosaics(
            connection,
            [exposure for _, exposure in exposures],
            self.options,
            self.instrument,
            lambda: loader.ingest_id,
            self.database.command("ingest PATH"),
        )
        _refuse(refused)
        self.report.warnings += [note for one in planned for note in one.notes]
        return loader, planned

    # --- pixels ---------------------------------------------------------------------------------

    def make(
        self,
        planned: Sequence[PlannedMosaic],
        pending: dict[Path, PendingFile],
        progress: Progress,
    ) -> None:
        """Make what is not there yet, under hidden names that are noted in `pending`."""
        reasons = [reason for one in planned if (reason := self._why_not(one))]
        _refuse(reasons)
        jobs = []
        make_folder(self.options.out)
        for one in planned:
            if not _is_made(one):
                pending[one.path] = pending_file(one.path, overwrite=self.options.overwrite)
                jobs.append(self._job(one, pending[one.path]))
        outcomes = make_mosaics(jobs, self.options.n_jobs, progress)
        _refuse([reason for outcome in outcomes for reason in outcome.refused])
        self.report.warnings += [note for outcome in outcomes for note in outcome.notes]

    def _why_not(self, one: PlannedMosaic) -> str:
        """Return why a mosaic cannot be made, as far as is known beforehand; empty if it can."""
        is_made, is_stored = _is_made(one), self.options.is_stored
        if one.path.exists() and not is_made and not self.options.overwrite:
            return (
                f"{one.path}: exists, and was made of other exposures or with other settings: "
                "--overwrite replaces it, or give another folder with --out"
            )
        if not is_stored and one.named is not None and not is_made:
            return (
                f"{one.path}: belongs to the registry, which --no-store leaves as it is: give "
                "another folder with --out"
            )
        differs = any(
            stored is not None and _differs(stored, one) for stored in (one.known, one.named)
        )
        if is_stored and differs and not self._may_replace(one):
            return _conflict_message(one)
        return ""

    def _may_replace(self, one: PlannedMosaic) -> bool:
        """Check whether this mosaic may replace one of other content."""
        ids = {stored.id for stored in (one.known, one.named) if stored is not None}
        return self.options.overwrite and one.n_catalogs == 0 and len(ids) == 1

    def _job(self, one: PlannedMosaic, file: PendingFile) -> MosaicJob:
        """Return the work that a mosaic is."""
        return MosaicJob(
            name=one.name,
            members=one.members,
            rescale=one.scale.factors,
            photmjsr=one.scale.photmjsr,
            pmap=one.pmap,
            is_forced=self.options.force_pmap is not None,
            lattice=one.lattice,
            cleaning=one.cleaning,
            pixfrac=self.options.pixfrac,
            kernel=self.options.kernel,
            input_digest=one.input_digest,
            instrument=self.instrument,
            file=file,
        )

    # --- out ------------------------------------------------------------------------------------

    def keep(
        self,
        exposures: list[tuple[Path, Exposure]],
        planned: Sequence[PlannedMosaic],
        pending: dict[Path, PendingFile],
    ) -> None:
        """Enter everything, and give the files their names."""
        with NamedFiles() as names:
            if self.options.is_stored:
                warnings = self.report.warnings
                with self.database.write() as connection:
                    loader, again = self._enter(connection, exposures)
                    _require_same_plan(planned, again)
                    for one in again:
                        self._store(loader, one, pending.get(one.path))
                    self._name(planned, pending, names)
                self.report.warnings = warnings
                self.report.is_stored = True
            else:
                self._name(planned, pending, names)

    def _name(
        self,
        planned: Sequence[PlannedMosaic],
        pending: dict[Path, PendingFile],
        names: NamedFiles,
    ) -> None:
        """Give the files their names and report them."""
        for one in planned:
            file = pending.get(one.path)
            if file is not None:
                names.give(file)
            summary = read_summary(one.path)
            if summary is None:
                msg = f"{one.path}: changed while the call ran: run it again"
                raise ConflictError(msg)
            self.report.rows.append(_row(one, summary, "unchanged" if file is None else "made"))

    def _store(self, loader: Loader, one: PlannedMosaic, file: PendingFile | None) -> None:
        """Enter one mosaic as an image."""
        written = one.path if file is None else file.temporary
        image = replace(
            read_exposure(written, instrument=self.instrument),
            file_name=one.path.name,
            directory=str(one.path.absolute().parent),
        )
        stored = one.known or one.named
        if stored is None:
            insert_exposures(
                loader.connection,
                [image],
                [one.epoch_id],
                instrument=self.instrument,
                ingest_id=loader.ingest_id,
            )
        elif stored.header_sha256 != image.header_sha256:
            if not self._may_replace(one):
                raise ConflictError(_conflict_message(one))
            replace_exposure(loader.connection, stored.id, image)
        elif not (Path(stored.directory) / stored.file_name).is_file():
            replace_exposure(loader.connection, stored.id, image)


def _is_made(one: PlannedMosaic) -> bool:
    """Check whether the file exists, made of the same exposures with the same settings."""
    summary = read_summary(one.path) if one.path.is_file() else None
    return summary is not None and summary.input_digest == one.input_digest


def _require_same_plan(planned: Sequence[PlannedMosaic], again: Sequence[PlannedMosaic]) -> None:
    """Refuse if the registry was changed meanwhile so that other mosaics would be made."""
    before, now = (
        [(one.field_name, one.epoch_name, one.path, one.input_digest) for one in plan]
        for plan in (planned, again)
    )
    if before != now:
        msg = (
            "the registry was changed by another call while mosaics were made, so that their "
            "grid, field or epoch is another one: nothing was written; run it again"
        )
        raise ConflictError(msg)


def _differs(stored: StoredExposure, one: PlannedMosaic) -> bool:
    """Check whether the registry has another mosaic, by its file if that exists."""
    path = Path(stored.directory) / stored.file_name
    summary = read_summary(path)
    return path.is_file() and (summary is None or summary.input_digest != one.input_digest)


def _conflict_message(one: PlannedMosaic) -> str:
    """Return the message that the registry has another mosaic of that identity or file."""
    found = {stored.id: stored for stored in (one.known, one.named) if stored is not None}
    names = " and ".join(str(Path(row.directory) / row.file_name) for row in found.values())
    if one.n_catalogs:
        remedy = f"{one.n_catalogs} catalogs belong to it, so it stays"
    elif len(found) > 1:
        remedy = "one cannot stand for both"
    else:
        remedy = "--overwrite puts this one in its place"
    return (
        f"{one.path}: the registry has another mosaic of {one.name} under {one.pmap}, {names}: "
        f"{remedy}; --no-store, with another --out, writes the file only"
    )


def _row(one: PlannedMosaic, summary: MosaicSummary, status: str) -> MosaicRow:
    """Return the row of a mosaic."""
    first = one.members[0]
    return MosaicRow(
        file=str(one.path),
        status=status,
        field=one.field_name,
        epoch=one.epoch_name,
        array=first.array,
        band=first.band,
        pmap=one.pmap.name,
        n_members=len(one.members),
        exposure_time_s=summary.exposure_time_s,
        coverage_arcmin2=summary.coverage_arcmin2,
        median_noise=summary.median_noise,
        noise_correlation=summary.noise_correlation,
        background=summary.background,
        photmjsr=one.scale.photmjsr,
    )

"""Ingest: recognise files, load what is new, refuse what is bad, in one transaction."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from calreg._version import __version__
from calreg.db.queries.exposures import (
    Identity,
    StoredEpoch,
    StoredExposure,
    add_ingest,
    find_identities,
    identity_of,
    insert_exposures,
    load_epochs,
    load_epochs_by_id,
)
from calreg.db.queries.zeropoints import find_calibration_conflicts
from calreg.domain import Exposure, Progress, no_progress
from calreg.errors import CalregError, ConflictError, EpochConflictError
from calreg.files.images.exposures import read_exposure
from calreg.files.readguard import refuse_damaged
from calreg.files.recognise import FileKind, inspect
from calreg.files.references.parents import is_reference
from calreg.files.references.photom import REFTYPE as PHOTOM
from calreg.ingest.catalogs import CatalogIngest
from calreg.ingest.contexts import PHOTOM_FILE, ContextIngest
from calreg.ingest.epochs import place_exposures
from calreg.ingest.options import FileOutcome, IngestOptions, IngestReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from calreg.db.engine import Connection, Database
    from calreg.files.recognise import RecognisedFile
    from calreg.instruments import Instrument


_DATA_SUFFIXES = frozenset(
    {".fits", ".fit", ".cat", ".ldac", ".ecsv", ".csv", ".xml", ".vot", ".votable", ".parquet"}
)
"""In a folder, an unrecognised file is refused with one of these endings, else passed over."""


class _NothingLoadedError(Exception):
    """Carries a strict call out of its transaction."""


def ingest(
    database: Database,
    paths: Sequence[Path],
    options: IngestOptions,
    instrument: Instrument,
    progress: Progress = no_progress,
) -> IngestReport:
    """Load files and folders in one transaction; see `Registry.ingest`."""
    report = IngestReport()
    exposures, others = read_images(
        expand_paths(paths, report), options, instrument, report, progress
    )
    catalogs = [(path, kind) for path, kind in others if kind.is_catalog]
    of_contexts = [(path, kind) for path, kind in others if not kind.is_catalog]
    try:
        with database.write() as connection:
            loader = Loader(connection, options, instrument, report, database.command)
            loader.load_exposures(exposures)
            loader.load_catalogs(catalogs, progress)
            loader.load_contexts(of_contexts)
            loader.require_strict()
    except _NothingLoadedError:
        report.loaded.clear()
        report.epochs.clear()
    report.is_committed = bool(report.loaded)
    report.refused.sort(key=lambda outcome: outcome.path)
    return report


class Loader:
    """One ingest inside its transaction: how images, catalogs and contexts enter the registry."""

    def __init__(
        self,
        connection: Connection,
        options: IngestOptions,
        instrument: Instrument,
        report: IngestReport,
        command: Callable[[str], str],
    ) -> None:
        self.connection = connection
        self.options = options
        self.instrument = instrument
        self.report = report
        self.command = command
        self.started_utc = datetime.now(UTC)
        self._ingest_id: int | None = None

    @property
    def ingest_id(self) -> int:
        """The id of this call, recorded when something is written."""
        if self._ingest_id is None:
            self._ingest_id = add_ingest(self.connection, self.started_utc, __version__)
        return self._ingest_id

    def require_strict(self) -> None:
        """Roll everything back if a file was refused and that is not to be tolerated."""
        if self.options.is_strict and self.report.refused:
            raise _NothingLoadedError

    def load_exposures(self, exposures: list[tuple[Path, Exposure]]) -> None:
        """Place new exposures in fields and epochs and write them."""
        new = self._sort_out(exposures)
        if not new:
            return
        placed = place_exposures(
            self.connection,
            [exposure for _, exposure in new],
            self.options,
            self.started_utc,
        )
        kept = []
        for (path, exposure), placement in zip(new, placed, strict=True):
            if placement.joined:
                message = str(self._epoch_conflict(path, *placement.joined))
                self.report.refused.append(FileOutcome(path, str(exposure.kind), message))
            else:
                kept.append((path, exposure, placement.epoch_id))
        if not kept:
            return
        epoch_ids = [epoch_id for _, _, epoch_id in kept]
        insert_exposures(
            self.connection,
            [exposure for _, exposure, _ in kept],
            epoch_ids,
            instrument=self.instrument,
            ingest_id=self.ingest_id,
        )
        conflicts = find_calibration_conflicts(self.connection)
        for path, exposure, _ in kept:
            message = f"{exposure.array} {exposure.band} {exposure.pmap}"
            told = [one for one in conflicts if path.name in one.file_names]
            for conflict in told:
                conflicts.remove(conflict)  # Once, at the first of its files.
            warnings = tuple(conflict.message for conflict in told)
            self.report.loaded.append(FileOutcome(path, str(exposure.kind), message, warnings))
        touched = set(epoch_ids)
        self.report.epochs = [
            epoch for epoch in load_epochs(self.connection) if epoch.id in touched
        ]

    def _epoch_conflict(
        self, path: Path, epoch_1: StoredEpoch, epoch_2: StoredEpoch
    ) -> EpochConflictError:
        """Word the one thing that cannot be found out: which epoch a late file belongs to."""
        words = ["ingest", str(path), "--field", epoch_1.field_name, "--epoch", epoch_1.name]
        return EpochConflictError(
            f"{path}: would join epochs {epoch_1.name} and {epoch_2.name} of field "
            f"{epoch_1.field_name}, which exist already; say which one it belongs to: "
            f"{self.command(shlex.join(words))}"
        )

    def _sort_out(self, exposures: list[tuple[Path, Exposure]]) -> list[tuple[Path, Exposure]]:
        """Tell new exposures from known ones and from conflicts."""
        stored: dict[Identity, StoredExposure | Exposure] = dict(
            find_identities(self.connection, [exposure for _, exposure in exposures])
        )
        new = []
        for path, exposure in sorted(exposures, key=lambda item: str(item[0])):
            known = stored.get(identity_of(exposure))
            if known is None:
                stored[identity_of(exposure)] = exposure
                new.append((path, exposure))
            elif _is_same_content(exposure, known):
                where = "of this call" if isinstance(known, Exposure) else "in the registry"
                self.report.unchanged.append(
                    FileOutcome(
                        path,
                        str(exposure.kind),
                        f"same content as {known.file_name} {where}",
                        self._ignored_place(known),
                    )
                )
            else:
                message = str(_content_conflict(path, exposure, known))
                self.report.refused.append(FileOutcome(path, str(exposure.kind), message))
        return new

    def _ignored_place(self, known: StoredExposure | Exposure) -> tuple[str, ...]:
        """Warn where ``--field`` or ``--epoch`` asks for another place than a known image has."""
        if isinstance(known, Exposure):
            return ()
        epoch = self._epochs_before[known.epoch_id]
        wanted = (
            self.options.field_name or epoch.field_name,
            self.options.epoch_label or epoch.name,
        )
        if wanted == (epoch.field_name, epoch.name):
            return ()
        message = (
            f"stays in field {epoch.field_name}, epoch {epoch.name}: --field and --epoch place new "
            "images only"
        )
        return (message,)

    @cached_property
    def _epochs_before(self) -> dict[int, StoredEpoch]:
        """The epochs as they were before this call."""
        return load_epochs_by_id(self.connection)

    def load_catalogs(self, catalogs: list[tuple[Path, FileKind]], progress: Progress) -> None:
        """Read catalogs one by one, find their images, and write their detections."""
        refused = {outcome.path.name for outcome in self.report.refused}
        ingest = CatalogIngest(self.connection, self.options, self.instrument, refused)
        for n_done, (path, kind) in enumerate(catalogs):
            progress("loading catalogs", n_done, len(catalogs))
            try:
                entry = ingest.read(path, kind)
            except CalregError as error:
                self.report.refused.append(FileOutcome(path, "catalog", str(error)))
                continue
            if entry.known_as is not None:
                message = f"same content as {entry.known_as}"
                self.report.unchanged.append(FileOutcome(path, "catalog", message))
                continue
            ingest.write(entry, self.ingest_id)
            self.report.loaded.append(
                FileOutcome(
                    path,
                    "catalog",
                    entry.summary,
                    entry.warnings,
                    entry.catalog.n_dropped_nonfinite,
                    entry.catalog.n_dropped_error,
                    entry.catalog.n_negative_flux,
                )
            )
        progress("loading catalogs", len(catalogs), len(catalogs))

    def load_contexts(self, files: list[tuple[Path, FileKind]]) -> None:
        """Read files about contexts, mappings and tables first, and write what is new."""
        ingest = ContextIngest(self.connection, self.instrument, self.options.pmap)
        for path, kind in sorted(files, key=lambda file: file[1] is FileKind.REFERENCE_FILE):
            label = PHOTOM_FILE if kind is FileKind.REFERENCE_FILE else str(kind)
            try:
                entry = ingest.read(path, kind)
            except CalregError as error:
                self.report.refused.append(FileOutcome(path, label, str(error)))
                continue
            ingest.write(entry, path.name, lambda: self.ingest_id)
            outcome = FileOutcome(path, label, entry.summary, tuple(entry.warnings))
            (self.report.loaded if entry.n_new else self.report.unchanged).append(outcome)


# --- which files are read -------------------------------------------------------------------------


def expand_paths(paths: Iterable[Path], report: IngestReport) -> list[tuple[Path, bool]]:
    """List files, folders opened; the flag tells what was named outright."""
    files: dict[Path, bool] = {}
    for path in paths:
        if path.is_dir():
            for inner in sorted(path.rglob("*")):
                is_hidden = any(part.startswith(".") for part in inner.relative_to(path).parts)
                if inner.is_file() and not is_hidden:
                    files.setdefault(inner, False)
        elif path.is_file():
            files[path] = True
        else:
            what = "neither a file nor a folder" if path.exists() else "no such file or folder"
            message = f"{path}: {what}: check the name"
            report.refused.append(FileOutcome(path, "", message))
    return list(files.items())


def read_images(
    files: list[tuple[Path, bool]],
    options: IngestOptions,
    instrument: Instrument,
    report: IngestReport,
    progress: Progress,
) -> tuple[list[tuple[Path, Exposure]], list[tuple[Path, FileKind]]]:
    """Recognise files and read the headers of images; the second list is to be read later.

    What is refused and what is passed over goes into the report. The flag of a file tells whether
    it was named outright.
    """
    exposures: list[tuple[Path, Exposure]] = []
    others: list[tuple[Path, FileKind]] = []
    for n_done, (path, is_named) in enumerate(files):
        progress("reading headers", n_done, len(files))
        try:
            with refuse_damaged(path):
                recognised = inspect(path)
        except CalregError as error:
            if is_named or path.suffix.lower() in _DATA_SUFFIXES:
                report.refused.append(FileOutcome(path, "", str(error)))
            else:
                report.skipped.append(path)
            continue
        if recognised.kind is FileKind.MAPPING and not is_named and path.suffix != ".pmap":
            report.skipped.append(path)  # A folder of mappings: the pmaps lead to the others.
            continue
        if recognised.kind.is_catalog or _is_of_contexts(recognised, instrument):
            others.append((path, recognised.kind))
            continue
        try:
            with refuse_damaged(path):
                exposure = read_exposure(
                    path,
                    instrument=instrument,
                    full_hash=options.full_hash,
                    headers=recognised.headers,
                )
        except CalregError as error:
            report.refused.append(FileOutcome(path, "", str(error)))
        else:
            exposures.append((path, exposure))
    progress("reading headers", len(files), len(files))
    return exposures, others


def _is_of_contexts(recognised: RecognisedFile, instrument: Instrument) -> bool:
    """Tell whether a file says what contexts are made of: a table, a mapping, a photom file."""
    if recognised.kind is FileKind.REFERENCE_FILE and recognised.headers is not None:
        return is_reference(recognised.headers, PHOTOM, instrument)
    return recognised.kind.is_of_contexts


# --- what is known already ------------------------------------------------------------------------


def _is_same_content(exposure: Exposure, known: StoredExposure | Exposure) -> bool:
    """Compare digests: of the headers, and of whole files where both are known."""
    has_both = exposure.file_sha256 is not None and known.file_sha256 is not None
    if has_both and exposure.file_sha256 != known.file_sha256:
        return False
    return exposure.header_sha256 == known.header_sha256


def _content_conflict(
    path: Path, exposure: Exposure, known: StoredExposure | Exposure
) -> ConflictError:
    """Word that a file has the identity of a known image and other content."""
    return ConflictError(
        f"{path}: {exposure.kind} of {exposure.array} {exposure.band} under {exposure.pmap}, "
        f"CAL_VER {exposure.cal_ver or 'unknown'}, is known with other content from "
        f"{Path(known.directory) / known.file_name}; nothing of this file was loaded: reprocessed "
        "data need another CRDS_CTX or CAL_VER, or a new registry"
    )

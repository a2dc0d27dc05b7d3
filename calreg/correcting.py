"""Correct finished exposures with the current sets, and take corrections back; record both.

All files of a call are looked at before any is written; one that is refused stops the call. Each
file is written as a whole, then recorded, all in one transaction at the end. A file carries the
cards of its correction with an identifier of its own (CALREGAP), so that a call that was killed
between writing and recording can be run again: what it wrote is recognised and recorded.
"""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Self

from calreg import __version__
from calreg.appliedsets import ChosenCorrection, CorrectionChooser
from calreg.db.queries.applications import (
    Application,
    insert_applications,
    known_application_ids,
    load_applied,
)
from calreg.domain import Progress, no_progress
from calreg.errors import (
    CalregError,
    ConflictError,
    DatabaseError,
    FilesRefusedError,
    InvalidValueError,
    OutputError,
)
from calreg.files.atomic import sha256_of
from calreg.files.calfile import CalFile, read_cal_file
from calreg.files.calfits import require_restorable, write_corrected, write_restored
from calreg.files.correctionrecord import CorrectionRecord, read_record
from calreg.files.damage import refuse_damaged
from calreg.files.headers import read_headers
from calreg.science.detectorgradient import GradientDatum

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from calreg.db.engine import Database
    from calreg.domain import Pmap
    from calreg.instruments import Instrument


class Action(StrEnum):
    """What was done to a file."""

    CORRECTED = "corrected"
    REPLACED = "replaced"
    RECORDED = "recorded"
    RESTORED = "restored"


@dataclass(frozen=True)
class ApplyOptions:
    """How files are corrected.

    Attributes
    ----------
    pmap : Pmap or None
        The files must be of this context; with `is_predicted`, the context of the sets.
    field, flux_kind : str or None
        Which sets, where a key has several.
    out : Path or None
        Folder to write to; made if it is not there.
    is_in_place : bool
        Replace the files themselves. Either this or `out`.
    is_predicted : bool
        Where a context has no set, carry one over from another context by PHOTMJSR.
    allows_identity : bool
        Where there is no set at all, mark the file and leave its pixels as they are.
    replaces : bool
        Take a former correction back first.
    gradient_datum : GradientDatum
        How gradients are shared between the modules.

    Raises
    ------
    InvalidValueError
        Unless there is one of `out` and `is_in_place`.
    """

    pmap: Pmap | None = None
    field: str | None = None
    flux_kind: str | None = None
    out: Path | None = None
    is_in_place: bool = False
    is_predicted: bool = False
    allows_identity: bool = False
    replaces: bool = False
    gradient_datum: GradientDatum = GradientDatum.SYMMETRIC

    def __post_init__(self) -> None:
        """Refuse a call that does not say where to write."""
        if (self.out is None) != self.is_in_place:
            msg = (
                "where to write? expected either --out DIR, which leaves the files as they are, or "
                "--in-place, which replaces them"
            )
            raise InvalidValueError(msg)


@dataclass(frozen=True)
class FileOutcome:
    """What was done to one file.

    Attributes
    ----------
    path, target : Path
        The file as given, and the file that was written.
    action : Action
        ``corrected``; ``replaced`` (a former correction was taken back first); ``restored``;
        ``recorded`` (it was written by a call that could not record it).
    array, band, subarray, pmap : str
    set_id : str
        Of the coefficient set, ``identity`` without one.
    origin : str
        ``measured``, ``predicted`` or ``identity``.
    photom_factor : float
        PHOTMJSR was multiplied by it; for ``restored``, it was divided by it.
    sha256_before, sha256_after : str
    left_alone : tuple of str
        Image extensions that were not corrected, because calreg does not know them.
    note : str
        What the user should know; empty if nothing.
    """

    path: Path
    target: Path
    action: Action
    array: str
    band: str
    subarray: str
    pmap: str
    set_id: str
    origin: str
    photom_factor: float
    sha256_before: str
    sha256_after: str
    left_alone: tuple[str, ...] = ()
    note: str = ""


# --- apply ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Step:
    """One file that is to be corrected; with `written`, the target is, and has to be recorded."""

    cal: CalFile
    target: Path
    chosen: ChosenCorrection
    written: CorrectionRecord | None = None


def apply_files(
    database: Database,
    paths: Sequence[Path],
    options: ApplyOptions,
    instrument: Instrument,
    *,
    progress: Progress = no_progress,
) -> list[FileOutcome]:
    """Correct exposures with the current sets of their contexts.

    Parameters
    ----------
    database : Database
    paths : sequence of Path
        `cal` and `crf` files.
    options : ApplyOptions
    instrument : Instrument
    progress : Progress
        Called as work goes on.

    Returns
    -------
    list of FileOutcome
        In the order of `paths`.

    Raises
    ------
    FilesRefusedError
        If any file cannot be corrected; nothing was written then.
    OutputError
        If a file cannot be written; those before it are written and recorded.
    """
    looked_at = _LookedAt.of(paths, options.out, instrument, progress)
    steps = _plan(database, looked_at, options)
    outcomes: list[FileOutcome] = []
    with _recording(database) as rows:
        for n_done, step in enumerate(steps, 1):
            outcomes.append(_apply(step, rows))
            progress("correcting", n_done, len(steps))
    return outcomes


def _plan(database: Database, looked_at: _LookedAt, options: ApplyOptions) -> list[_Step]:
    """Choose a correction for every file; refuse the call if one cannot be corrected."""
    steps: list[_Step] = []
    with database.read() as connection:
        chooser = CorrectionChooser(connection, options, instrument=looked_at.instrument)
        for cal, target in looked_at.files:
            with looked_at.refusing(cal.path):
                chosen = chooser.choose(cal)
                cal.pixel_factor(chosen.correction)
                steps.append(_Step(cal, target, chosen))
        records = [_record_at_target(step) for step in steps]
        known_ids = known_application_ids(
            connection, {record.application_id for record in records if record is not None}
        )
    final: list[_Step] = []
    for step, record in zip(steps, records, strict=True):
        with looked_at.refusing(step.cal.path):
            is_new = record is not None and record.application_id not in known_ids
            final.append(_settled(step, record if is_new else None, options))
    looked_at.require_none_refused()
    return final


def _record_at_target(step: _Step) -> CorrectionRecord | None:
    """Return the correction that the file which is to be written has already."""
    if step.target == step.cal.path:
        return step.cal.record
    try:
        return read_record(read_headers(step.target)) if step.target.exists() else None
    except CalregError:  # something else has the name
        return None


def _settled(step: _Step, new: CorrectionRecord | None, options: ApplyOptions) -> _Step:
    """Return a step as it will be done, or refuse the file.

    `new` is a correction that the target carries and the registry does not know of.
    """
    cal, is_in_place = step.cal, step.target == step.cal.path
    # A call may have been killed after it wrote this file, and before it recorded it.
    is_ours = new is not None and step.chosen.fits(new)
    if is_ours and (is_in_place or new.sha256_before == sha256_of(cal.path)):
        return replace(step, written=new)
    if cal.record is not None:
        if not options.replaces:
            msg = (
                f"was corrected with set {cal.record.set_id} on {cal.record.created_utc} "
                "(CALREGID): a second correction is refused; --replace takes the first one back "
                "before, calreg undo restores the file"
            )
            raise ConflictError(msg)
        require_restorable(cal)
    if not is_in_place and step.target.exists():
        msg = f"{step.target} exists: take it away, or give another folder with --out"
        raise OutputError(msg)
    return step


def _apply(step: _Step, rows: list[Application]) -> FileOutcome:
    """Correct one file, and add its rows."""
    cal, target = step.cal, step.target
    if step.written is not None:
        record = step.written
        digests = (record.sha256_before, sha256_of(target))
        rows.append(_row("apply", cal, target, record, digests))
        return _outcome(cal, Action.RECORDED, rows[-1], step.chosen.note)
    record = step.chosen.record(uuid.uuid4().hex, datetime.now(UTC))
    _make_folder(target.parent)
    written = write_corrected(cal, target, record, step.chosen.history())
    before = written.sha256_before
    if cal.record is not None and written.sha256_restored is not None:
        if target == cal.path:
            digests = (before, written.sha256_restored)
            rows.append(_row("undo", cal, target, cal.record, digests))
        before = written.sha256_restored
    rows.append(_row("apply", cal, target, record, (before, written.sha256_after)))
    action = Action.CORRECTED if cal.record is None else Action.REPLACED
    return _outcome(cal, action, rows[-1], step.chosen.note)


# --- undo -----------------------------------------------------------------------------------------


def undo_files(
    database: Database | None,
    paths: Sequence[Path],
    instrument: Instrument,
    *,
    out: Path | None = None,
    progress: Progress = no_progress,
) -> list[FileOutcome]:
    """Restore exposures as they were before they were corrected.

    Parameters
    ----------
    database : Database or None
        Where it is recorded; nowhere without one.
    paths : sequence of Path
        Corrected files.
    instrument : Instrument
    out : Path, optional
        Folder to write to; without one, the files themselves are replaced.
    progress : Progress
        Called as work goes on.

    Returns
    -------
    list of FileOutcome
        In the order of `paths`.

    Raises
    ------
    FilesRefusedError
        If any file cannot be restored; nothing was written then.
    OutputError
        If a file cannot be written; those before it are written and recorded.
    """
    looked_at = _LookedAt.of(paths, out, instrument, progress)
    applied = _applied_by_place(database) if out is None else {}
    steps: list[tuple[CalFile, Path, Application | None]] = []
    for cal, target in looked_at.files:
        with looked_at.refusing(cal.path):
            application = applied.get(_place(target))
            if cal.record is not None or application is None:
                application = None
                require_restorable(cal)
            if target != cal.path and target.exists():
                msg = f"{target} exists: take it away, or give another folder with --out"
                raise OutputError(msg)
            steps.append((cal, target, application))
    looked_at.require_none_refused()
    outcomes: list[FileOutcome] = []
    with _recording(database) as rows:
        for n_done, (cal, target, application) in enumerate(steps, 1):
            if application is None:
                outcomes.append(_undo(cal, target, rows))
            else:
                outcomes.append(_found_undone(cal, application, rows))
            progress("restoring", n_done, len(steps))
    return outcomes


def _undo(cal: CalFile, target: Path, rows: list[Application]) -> FileOutcome:
    """Restore one file, and add its row."""
    _make_folder(target.parent)
    written = write_restored(cal, target)
    digests = (written.sha256_before, written.sha256_after)
    rows.append(_row("undo", cal, target, require_restorable(cal), digests))
    return _outcome(cal, Action.RESTORED, rows[-1])


def _found_undone(cal: CalFile, application: Application, rows: list[Application]) -> FileOutcome:
    """Record a file that does not carry its correction any more."""
    now = replace(
        application,
        kind="undo",
        sha256_before=application.sha256_after,
        sha256_after=sha256_of(cal.path),
        created_utc=datetime.now(UTC),
        code_version=__version__,
    )
    rows.append(now)
    return _outcome(cal, Action.RECORDED, now)


def _applied_by_place(database: Database | None) -> dict[tuple[str, str], Application]:
    """Return what the registry takes for corrected, by folder and name."""
    if database is None:
        return {}
    with database.read() as connection:
        return {(one.directory, one.file_name): one for one in load_applied(connection)}


# --- what both do ---------------------------------------------------------------------------------


@dataclass
class _LookedAt:
    """The files of a call, each with the one that is to be written, and what was refused."""

    instrument: Instrument
    files: list[tuple[CalFile, Path]]
    refusals: list[str]

    @classmethod
    def of(
        cls, paths: Sequence[Path], out: Path | None, instrument: Instrument, progress: Progress
    ) -> Self:
        """Look at all files."""
        found = cls(instrument, [], [])
        taken: dict[Path, Path] = {}
        for n_done, path in enumerate(paths, 1):
            target = path if out is None else out / path.name
            with found.refusing(path):
                other = taken.setdefault(target.resolve(), path)
                if other is not path:
                    msg = f"would be written to {target}, as {other}: give each file once"
                    raise InvalidValueError(msg)
                with refuse_damaged(path):
                    found.files.append((read_cal_file(path, instrument), target))
            progress("reading headers", n_done, len(paths))
        return found

    @contextmanager
    def refusing(self, path: Path) -> Iterator[None]:
        """Note an error as the refusal of a file."""
        try:
            yield
        except CalregError as error:
            text = str(error)
            self.refusals.append(text if text.startswith(f"{path}: ") else f"{path}: {text}")

    def require_none_refused(self) -> None:
        """Stop if any file was refused."""
        if self.refusals:
            raise FilesRefusedError(self.refusals)


@contextmanager
def _recording(database: Database | None) -> Iterator[list[Application]]:
    """Record the files of a call in one transaction, also where an error ends it early."""
    rows: list[Application] = []
    try:
        yield rows
    except (CalregError, KeyboardInterrupt) as error:
        if not rows:
            raise
        _record(database, rows)
        reason = str(error) or "interrupted"
        msg = f"{reason}; {_n_files(rows)} files before it are done and recorded, others as before"
        raise OutputError(msg) from error
    _record(database, rows)


def _record(database: Database | None, rows: list[Application]) -> None:
    """Write the rows."""
    if database is None or not rows:
        return
    try:
        with database.write() as connection:
            insert_applications(connection, rows)
    except CalregError as error:
        msg = (
            f"{error}; {_n_files(rows)} files are written but not recorded: run the same command "
            "again, which records them"
        )
        raise DatabaseError(msg) from error


def _make_folder(folder: Path) -> None:
    """Make a folder where there is none."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"cannot make the folder {folder}: {error.strerror or error}; give another --out"
        raise OutputError(msg) from error


def _n_files(rows: list[Application]) -> int:
    """Return how many files some rows are about."""
    return len({(row.directory, row.file_name) for row in rows})


def _row(
    kind: str, cal: CalFile, target: Path, record: CorrectionRecord, digests: tuple[str, str]
) -> Application:
    """Return the row of a file that was written."""
    directory, file_name = _place(target)
    return Application(
        kind=kind,
        application_id=record.application_id,
        origin=record.origin,
        set_id=record.set_id,
        pmap=cal.key.pmap,
        array=cal.key.array.name,
        band=cal.key.band.name,
        photom_factor=record.photom_factor,
        file_name=file_name,
        directory=directory,
        sha256_before=digests[0],
        sha256_after=digests[1],
        created_utc=datetime.now(UTC),
        code_version=__version__,
    )


def _place(path: Path) -> tuple[str, str]:
    """Return folder and name of a file, links followed."""
    real = path.resolve()
    return str(real.parent), real.name


def _outcome(cal: CalFile, action: Action, row: Application, note: str = "") -> FileOutcome:
    """Say what was done to a file."""
    return FileOutcome(
        path=cal.path,
        target=Path(row.directory) / row.file_name,
        action=action,
        array=row.array,
        band=row.band,
        subarray=cal.key.subarray,
        pmap=str(row.pmap),
        set_id=row.set_id,
        origin=row.origin,
        photom_factor=row.photom_factor,
        sha256_before=row.sha256_before,
        sha256_after=row.sha256_after,
        left_alone=cal.left_alone,
        note=note,
    )

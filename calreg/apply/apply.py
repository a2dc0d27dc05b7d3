"""Correct finished exposures with the current sets of their contexts."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from calreg.apply.choose import ChosenCorrection, CorrectionChooser
from calreg.apply.files import (
    Action,
    CorrectedFile,
    LookedAt,
    application_row,
    file_outcome,
    make_folder,
    recording,
)
from calreg.db.queries.applications import Application, known_application_ids
from calreg.domain import Progress, no_progress
from calreg.errors import CalregError, ConflictError, OutputError
from calreg.files.atomic import sha256_of
from calreg.files.corrected.rewrite import require_restorable, write_corrected
from calreg.files.fits.headers import read_headers
from calreg.files.images.correctionrecord import CorrectionRecord, read_record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from calreg.apply.options import ApplyOptions
    from calreg.db.engine import Database
    from calreg.files.corrected.exposure import CalFile
    from calreg.instruments import Instrument


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
) -> list[CorrectedFile]:
    """Correct exposures with the current sets of their contexts.

    Parameters
    ----------
    paths : sequence of Path
        `cal` and `crf` files.
    progress : Progress
        Called as work goes on.

    Returns
    -------
    list of CorrectedFile
        In the order of `paths`.

    Raises
    ------
    FilesRefusedError
        If any file cannot be corrected; nothing was written then.
    OutputError
        If a file cannot be written; those before it are written and recorded.
    """
    looked_at = LookedAt.of(paths, options.out, instrument, progress)
    steps = _plan(database, looked_at, options)
    outcomes: list[CorrectedFile] = []
    with recording(database) as rows:
        for n_done, step in enumerate(steps, 1):
            outcomes.append(_apply(step, rows))
            progress("correcting", n_done, len(steps))
    return outcomes


def _plan(database: Database, looked_at: LookedAt, options: ApplyOptions) -> list[_Step]:
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
    if (
        new is not None
        and step.chosen.fits(new)
        and (is_in_place or new.sha256_before == sha256_of(cal.path))
    ):
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


def _apply(step: _Step, rows: list[Application]) -> CorrectedFile:
    """Correct one file, and add its rows."""
    cal, target = step.cal, step.target
    if step.written is not None:
        record = step.written
        digests = (record.sha256_before, sha256_of(target))
        rows.append(application_row("apply", cal, target, record, digests))
        return file_outcome(cal, Action.RECORDED, rows[-1], step.chosen.note)
    record = step.chosen.record(uuid.uuid4().hex, datetime.now(UTC))
    make_folder(target.parent)
    written = write_corrected(cal, target, record, step.chosen.history())
    before = written.sha256_before
    if cal.record is not None and written.sha256_restored is not None:
        if target == cal.path:
            digests = (before, written.sha256_restored)
            rows.append(application_row("undo", cal, target, cal.record, digests))
        before = written.sha256_restored
    rows.append(application_row("apply", cal, target, record, (before, written.sha256_after)))
    action = Action.CORRECTED if cal.record is None else Action.REPLACED
    return file_outcome(cal, action, rows[-1], step.chosen.note)

"""Correct finished exposures with the current sets of their contexts."""

from __future__ import annotations

import uuid
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from calreg.apply.choose import ChosenCorrection, CorrectionChooser
from calreg.apply.files import (
    ANOTHER_OUT,
    Action,
    CorrectedFile,
    LookedAt,
    application_row,
    file_outcome,
    recording,
    require_free,
)
from calreg.db.queries.applications import Application, known_application_ids
from calreg.domain import Progress, no_progress
from calreg.errors import CalregError, ConflictError
from calreg.files.atomic import make_folder, sha256_of
from calreg.files.corrected.rewrite import (
    NewFile,
    Written,
    require_correctable,
    require_restorable,
    write_corrected,
    write_in_order,
)
from calreg.files.fits.headers import read_headers
from calreg.files.images.calibration import CorrectionRecord, read_record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from calreg.apply.options import ApplyOptions
    from calreg.db.engine import Database
    from calreg.files.corrected.exposure import CalFile
    from calreg.instruments import Instrument


@dataclass(frozen=True)
class _Step:
    """One file that is to be corrected; with `found`, the target is, and has to be recorded."""

    cal: CalFile
    target: Path
    chosen: ChosenCorrection
    found: CorrectionRecord | None = None


def apply_files(
    database: Database,
    paths: Sequence[Path],
    options: ApplyOptions,
    instrument: Instrument,
    *,
    progress: Progress = no_progress,
) -> list[CorrectedFile]:
    """Correct exposures with the current sets of their contexts."""
    looked_at = LookedAt.of(paths, options.out, instrument, progress)
    steps = _plan(database, looked_at, options, instrument)
    writers = [partial(_write, step) for step in steps if step.found is None]
    outcomes: list[CorrectedFile] = []
    with recording(database) as rows, closing(write_in_order(writers)) as written:
        for n_done, step in enumerate(steps, 1):
            if step.found is None:
                outcomes.append(_corrected(step, next(written), rows))
            else:
                outcomes.append(_found_corrected(step, step.found, rows))
            progress("correcting", n_done, len(steps))
    return outcomes


def _plan(
    database: Database, looked_at: LookedAt, options: ApplyOptions, instrument: Instrument
) -> list[_Step]:
    """Choose a correction for every file; refuse the call if one cannot be corrected."""
    steps: list[_Step] = []
    with database.read() as connection:
        chooser = CorrectionChooser(connection, options, instrument)
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
            final.append(_settled(step, record if is_new else None, replaces=options.replaces))
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


def _settled(step: _Step, new: CorrectionRecord | None, *, replaces: bool) -> _Step:
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
        return replace(step, found=new)
    if cal.record is not None:
        if not replaces:
            msg = (
                f"was corrected with set {cal.record.set_id} on {cal.record.created_utc} "
                "(CALREGID): a second correction is refused; --replace takes the first one back "
                "before, calreg undo restores the file"
            )
            raise ConflictError(msg)
        require_restorable(cal)
    require_free(cal, step.target)
    require_correctable(cal, _new_record(step), step.chosen.history())
    return step


def _new_record(step: _Step) -> CorrectionRecord:
    """Return the correction as of now."""
    return step.chosen.record(uuid.uuid4().hex, datetime.now(UTC))


def _write(step: _Step) -> NewFile:
    """Write the corrected file."""
    make_folder(step.target.parent, instead=ANOTHER_OUT)
    return write_corrected(step.cal, step.target, _new_record(step), step.chosen.history())


def _corrected(step: _Step, written: Written, rows: list[Application]) -> CorrectedFile:
    """Add the rows of a file that was written."""
    cal, target = step.cal, step.target
    before = written.sha256_restored or written.sha256_before
    if cal.record is not None and target == cal.path:
        rows.append(
            application_row(
                "undo", cal, target, cal.record, before=written.sha256_before, after=before
            )
        )
    rows.append(
        application_row(
            "apply", cal, target, written.record, before=before, after=written.sha256_after
        )
    )
    action = Action.CORRECTED if cal.record is None else Action.REPLACED
    return file_outcome(cal, action, rows[-1], step.chosen.note)


def _found_corrected(
    step: _Step, record: CorrectionRecord, rows: list[Application]
) -> CorrectedFile:
    """Add the row of a file that a call which was killed has written."""
    rows.append(
        application_row(
            "apply",
            step.cal,
            step.target,
            record,
            before=record.sha256_before,
            after=sha256_of(step.target),
        )
    )
    return file_outcome(step.cal, Action.RECORDED, rows[-1], step.chosen.note)

"""Restore exposures as they were before they were corrected."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from calreg._version import __version__
from calreg.apply.files import (
    ANOTHER_OUT,
    Action,
    CorrectedFile,
    LookedAt,
    application_row,
    file_outcome,
    place_of,
    recording,
    require_free,
)
from calreg.db.queries.applications import Application, load_applied
from calreg.domain import Progress, no_progress
from calreg.files.atomic import make_folder, sha256_of
from calreg.files.corrected.rewrite import (
    NewFile,
    Written,
    require_restorable,
    write_in_order,
    write_restored,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from calreg.db.engine import Database
    from calreg.files.corrected.exposure import CalFile
    from calreg.instruments import Instrument


def undo_files(
    database: Database | None,
    paths: Sequence[Path],
    instrument: Instrument,
    *,
    out: Path | None = None,
    progress: Progress = no_progress,
) -> list[CorrectedFile]:
    """Restore exposures as they were before they were corrected."""
    looked_at = LookedAt.of(paths, out, instrument, progress)
    applied = _applied_by_place(database) if out is None else {}
    steps: list[tuple[CalFile, Path, Application | None]] = []
    for cal, target in looked_at.files:
        with looked_at.refusing(cal.path):
            application = applied.get(place_of(target))
            if cal.record is not None or application is None:
                application = None
                require_restorable(cal)
            require_free(cal, target)
            steps.append((cal, target, application))
    looked_at.require_none_refused()
    writers = [partial(_write, cal, target) for cal, target, found in steps if found is None]
    outcomes: list[CorrectedFile] = []
    with recording(database) as rows, closing(write_in_order(writers)) as written:
        for n_done, (cal, target, application) in enumerate(steps, 1):
            if application is None:
                outcomes.append(_undone(cal, target, next(written), rows))
            else:
                outcomes.append(_found_undone(cal, application, rows))
            progress("restoring", n_done, len(steps))
    return outcomes


def _write(cal: CalFile, target: Path) -> NewFile:
    """Write the restored file."""
    make_folder(target.parent, instead=ANOTHER_OUT)
    return write_restored(cal, target)


def _undone(cal: CalFile, target: Path, written: Written, rows: list[Application]) -> CorrectedFile:
    """Add the row of a file that was restored."""
    rows.append(
        application_row(
            "undo",
            cal,
            target,
            written.record,
            before=written.sha256_before,
            after=written.sha256_after,
        )
    )
    return file_outcome(cal, Action.RESTORED, rows[-1])


def _found_undone(cal: CalFile, application: Application, rows: list[Application]) -> CorrectedFile:
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
    return file_outcome(cal, Action.RECORDED, now)


def _applied_by_place(database: Database | None) -> dict[tuple[str, str], Application]:
    """Return the files that the registry takes for corrected, by folder and name."""
    if database is None:
        return {}
    with database.read() as connection:
        return {(one.directory, one.file_name): one for one in load_applied(connection)}

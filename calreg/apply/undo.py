"""Restore exposures as they were before they were corrected."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from calreg._version import __version__
from calreg.apply.files import (
    Action,
    CorrectedFile,
    LookedAt,
    application_row,
    file_outcome,
    make_folder,
    place_of,
    recording,
)
from calreg.db.queries.applications import Application, load_applied
from calreg.domain import Progress, no_progress
from calreg.errors import OutputError
from calreg.files.atomic import sha256_of
from calreg.files.corrected.rewrite import require_restorable, write_restored

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
    """Restore exposures as they were before they were corrected.

    Parameters
    ----------
    database : Database or None
        Where it is recorded; nowhere without one.
    paths : sequence of Path
        Corrected files.
    out : Path, optional
        Folder to write to; without one, the files themselves are replaced.
    progress : Progress
        Called as work goes on.

    Returns
    -------
    list of CorrectedFile
        In the order of `paths`.

    Raises
    ------
    FilesRefusedError
        If any file cannot be restored; nothing was written then.
    OutputError
        If a file cannot be written; those before it are written and recorded.
    """
    looked_at = LookedAt.of(paths, out, instrument, progress)
    applied = _applied_by_place(database) if out is None else {}
    steps: list[tuple[CalFile, Path, Application | None]] = []
    for cal, target in looked_at.files:
        with looked_at.refusing(cal.path):
            application = applied.get(place_of(target))
            if cal.record is not None or application is None:
                application = None
                require_restorable(cal)
            if target != cal.path and target.exists():
                msg = f"{target} exists: take it away, or give another folder with --out"
                raise OutputError(msg)
            steps.append((cal, target, application))
    looked_at.require_none_refused()
    outcomes: list[CorrectedFile] = []
    with recording(database) as rows:
        for n_done, (cal, target, application) in enumerate(steps, 1):
            if application is None:
                outcomes.append(_undo(cal, target, rows))
            else:
                outcomes.append(_found_undone(cal, application, rows))
            progress("restoring", n_done, len(steps))
    return outcomes


def _undo(cal: CalFile, target: Path, rows: list[Application]) -> CorrectedFile:
    """Restore one file, and add its row."""
    record = require_restorable(cal)
    make_folder(target.parent)
    written = write_restored(cal, target)
    digests = (written.sha256_before, written.sha256_after)
    rows.append(application_row("undo", cal, target, record, digests))
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
    """Return what the registry takes for corrected, by folder and name."""
    if database is None:
        return {}
    with database.read() as connection:
        return {(one.directory, one.file_name): one for one in load_applied(connection)}

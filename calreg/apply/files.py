"""What correcting and restoring files share: looking at them first, recording them afterwards.

All files of a call are looked at before any is written; one that is refused stops the call. Each
file is written as a whole, then recorded, all in one transaction at the end. A file carries the
cards of its correction with an identifier of its own (CALREGAP), so that a call that was killed
between writing and recording can be run again: what it wrote is recognised and recorded.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Self

from calreg._version import __version__
from calreg.db.engines.types import storable
from calreg.db.queries.applications import Application, insert_applications
from calreg.errors import (
    CalregError,
    DatabaseError,
    FilesRefusedError,
    InvalidValueError,
    OutputError,
)
from calreg.files.corrected.exposure import CalFile, read_cal_file
from calreg.files.readguard import refuse_damaged

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from calreg.db.engine import Database
    from calreg.domain import Progress
    from calreg.files.images.calibration import CorrectionRecord
    from calreg.instruments import Instrument


ANOTHER_OUT = "another --out"
"""What a message asks for where a folder cannot be made."""


class Action(StrEnum):
    """What was done to a file."""

    CORRECTED = "corrected"
    REPLACED = "replaced"
    RECORDED = "recorded"
    RESTORED = "restored"


@dataclass(frozen=True)
class CorrectedFile:
    """What was done to one file.

    Attributes
    ----------
    path, target : Path
        The file as given, and the file that was written.
    action : Action
        ``corrected``; ``replaced`` (a former correction was taken back first); ``restored``;
        ``recorded`` (it was written by a call that could not record it).
    set_id : str
        Of the coefficient set, ``identity`` without one.
    origin : str
        ``measured``, ``predicted`` or ``identity``.
    photom_factor : float
        PHOTMJSR was multiplied by it; for ``restored``, it was divided by it.
    left_alone : tuple of str
        Image extensions that were not corrected, because calreg does not know them.
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


@dataclass
class LookedAt:
    """The files of a call, each with the one that is to be written, and what was refused."""

    files: list[tuple[CalFile, Path]]
    refusals: list[str]

    @classmethod
    def of(
        cls, paths: Sequence[Path], out: Path | None, instrument: Instrument, progress: Progress
    ) -> Self:
        """Look at all files."""
        found = cls([], [])
        taken: dict[Path, Path] = {}
        for n_done, path in enumerate(paths, 1):
            target = path if out is None else out / path.name
            with found.refusing(path):
                other = taken.setdefault(target.resolve(), path)
                if other is not path:
                    msg = f"would be written to {target}, as {other}: give each file once"
                    raise InvalidValueError(msg)
                found.files.append((read_cal_file(path, instrument), target))
            progress("reading headers", n_done, len(paths))
        return found

    @contextmanager
    def refusing(self, path: Path) -> Iterator[None]:
        """Note an error as the refusal of a file, whatever it upsets."""
        try:
            with refuse_damaged(path):
                yield
        except CalregError as error:
            text = str(error)
            self.refusals.append(text if text.startswith(f"{path}: ") else f"{path}: {text}")

    def require_none_refused(self) -> None:
        """Stop if any file was refused."""
        if self.refusals:
            raise FilesRefusedError(self.refusals)


@contextmanager
def recording(database: Database | None) -> Iterator[list[Application]]:
    """Record the files of a call in one transaction, also where an error ends it early.

    Parameters
    ----------
    database : Database or None
        Nothing is recorded without one.

    Yields
    ------
    list of Application
        For the rows, as files are written.

    Raises
    ------
    OutputError
        In place of the error that ended the call after some files were written.
    DatabaseError
        If the rows cannot be written.
    """
    rows: list[Application] = []
    try:
        yield rows
    except BaseException as error:
        # Whatever it is (no memory, a thread that cannot start): what is written is recorded.
        if not rows:
            raise
        _record(database, rows)
        reason = "interrupted" if isinstance(error, KeyboardInterrupt) else _reason(error)
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
    except Exception as error:
        msg = (
            f"{_reason(error)}; {_n_files(rows)} files are written but not recorded: run the same "
            "command again, which records them"
        )
        raise DatabaseError(msg) from error


def _reason(error: BaseException) -> str:
    """Return an error in one line, with its type where it is not one of ours."""
    if isinstance(error, CalregError):
        return str(error)
    return " ".join(f"{type(error).__name__}: {error}".split())


def _n_files(rows: list[Application]) -> int:
    """Return how many files some rows are about."""
    return len({(row.directory, row.file_name) for row in rows})


def require_free(cal: CalFile, target: Path) -> None:
    """Refuse to write over a file that is not the one to be replaced."""
    if target != cal.path and target.exists():
        msg = f"{target} exists: take it away, or give another folder with --out"
        raise OutputError(msg)


def application_row(
    kind: str,
    cal: CalFile,
    target: Path,
    record: CorrectionRecord,
    *,
    before: str,
    after: str,
) -> Application:
    """Return the row of a file that was written, with its SHA-256 before and after."""
    directory, file_name = place_of(target)
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
        sha256_before=before,
        sha256_after=after,
        created_utc=datetime.now(UTC),
        code_version=__version__,
    )


def place_of(path: Path) -> tuple[str, str]:
    """Return folder and name of a file as they are stored, links followed."""
    real = path.resolve()
    return storable(str(real.parent)), storable(real.name)


def file_outcome(cal: CalFile, action: Action, row: Application, note: str = "") -> CorrectedFile:
    """Report what was done to a file."""
    return CorrectedFile(
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

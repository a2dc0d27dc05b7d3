"""Which files rest on coefficient sets that have been superseded or withdrawn since."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from calreg.db.queries.applications import load_applied, load_delivered_sets
from calreg.db.queries.sets import SetFilter, StoredSet, load_sets
from calreg.domain import SetQuery, SetStatus
from calreg.errors import CalregError
from calreg.files.fits.headers import read_headers
from calreg.files.images.calibration import read_record

if TYPE_CHECKING:
    from datetime import datetime

    from calreg.db.engine import Connection, Database
    from calreg.domain import Pmap

_but_version = attrgetter(
    "field", "pmap", "band", "array_id", "image_kind", "flux_kind", "aperture", "model"
)
"""What versions of one set share."""


class FileState(StrEnum):
    """What is found where the file was written."""

    PRESENT = "present"
    MISSING = "missing"
    OTHER = "other content"


@dataclass(frozen=True)
class AffectedFile:
    """A file that rests on a set which is not current any more.

    Attributes
    ----------
    kind : str
        ``corrected`` for an exposure, else what was exported: ``recipe``, ``photom``, ...
    pmap, band, array_id : str
        Of the set.
    array : str
        Of a corrected exposure; empty for exports, which are for both modules.
    status : str
        Of the set now: ``superseded``, ``withdrawn``, or ``candidate`` where another was accepted.
    current_set_id : str
        Set that took its place; empty if none did.
    state : FileState
        ``other content`` where the exposure does not carry this correction any more.
    """

    path: Path
    kind: str
    pmap: str
    band: str
    array_id: str
    array: str
    set_id: str
    status: str
    current_set_id: str
    created_utc: datetime
    state: FileState


def affected_files(database: Database, pmap: Pmap | None = None) -> list[AffectedFile]:
    """Return the files whose set is not current any more, and was when they were written."""
    with database.read() as connection:
        sets = {one.set_id: one for one in load_sets(connection, SetFilter(all_versions=True))}
        found = [
            *_corrected(connection, sets, pmap),
            *_delivered(connection, sets, pmap),
        ]
    return sorted(found, key=lambda one: (one.created_utc, str(one.path), one.band, one.array_id))


def _corrected(
    connection: Connection, sets: dict[str, StoredSet], pmap: Pmap | None
) -> list[AffectedFile]:
    """Return corrected exposures."""
    found = []
    for application in load_applied(connection):
        stored = sets.get(application.set_id)
        if stored is None or stored.status == SetStatus.CURRENT:
            continue
        if pmap not in (None, application.pmap, stored.pmap):
            continue
        path = Path(application.directory) / application.file_name
        found.append(
            AffectedFile(
                path=path,
                kind="corrected",
                pmap=str(stored.pmap),
                band=stored.band,
                array_id=stored.array_id,
                array=application.array,
                set_id=stored.set_id,
                status=stored.status,
                current_set_id=_successor(stored, sets),
                created_utc=application.created_utc,
                state=_exposure_state(path, application.application_id),
            )
        )
    return found


def _delivered(
    connection: Connection, sets: dict[str, StoredSet], pmap: Pmap | None
) -> list[AffectedFile]:
    """Return exported files; one line for each of their sets."""
    current_then: dict[datetime, set[str]] = {}
    found = []
    for delivered in load_delivered_sets(connection):
        stored = sets[delivered.set_id]
        if stored.status == SetStatus.CURRENT or pmap not in (None, stored.pmap):
            continue
        moment = delivered.created_utc
        if moment not in current_then:
            then = load_sets(connection, SetFilter(SetQuery(as_of_utc=moment)))
            current_then[moment] = {one.set_id for one in then}
        if stored.set_id not in current_then[moment]:
            continue
        path = Path(delivered.directory) / delivered.file_name
        found.append(
            AffectedFile(
                path=path,
                kind=delivered.kind,
                pmap=str(stored.pmap),
                band=stored.band,
                array_id=stored.array_id,
                array="",
                set_id=stored.set_id,
                status=stored.status,
                current_set_id=_successor(stored, sets),
                created_utc=moment,
                state=FileState.PRESENT if path.exists() else FileState.MISSING,
            )
        )
    return found


def _successor(stored: StoredSet, sets: dict[str, StoredSet]) -> str:
    """Return the current set that shares everything but the version; empty if there is none."""
    return next(
        (
            one.set_id
            for one in sets.values()
            if one.status == SetStatus.CURRENT and _but_version(one) == _but_version(stored)
        ),
        "",
    )


def _exposure_state(path: Path, application_id: str) -> FileState:
    """Return whether an exposure still carries a correction."""
    if not path.is_file():
        return FileState.MISSING
    try:
        record = read_record(read_headers(path))
    except CalregError:
        record = None
    is_same = record is not None and record.application_id == application_id
    return FileState.PRESENT if is_same else FileState.OTHER

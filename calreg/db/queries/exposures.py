"""Contexts, fields, epochs and exposures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from calreg.db.bulk import insert_rows
from calreg.db.queries.rows import columns_of, fill, filler
from calreg.db.queries.zeropoints import add_header_zero_points
from calreg.db.schema import (
    EpochRow,
    ExposureRow,
    FieldRow,
    GridRow,
    IngestRow,
    PairGroupRow,
    PmapRow,
    SourceRow,
)
from calreg.domain import Exposure, Pmap
from calreg.errors import DatabaseError, UnknownKeyError
from calreg.units import MJD_ZERO_UTC

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from calreg.instruments import Instrument

IDENTITY_COLUMNS = (
    "kind",
    "program",
    "observation",
    "visit",
    "visit_group",
    "sequence",
    "activity",
    "exposure",
    "array",
    "filter",
    "pupil",
    "subarray",
    "cal_ver",
    "expstart_mjd_utc",
)

Identity = tuple[str | float | int, ...]


@dataclass(frozen=True)
class StoredExposure:
    """What the registry knows of an exposure that files and catalogs are held against."""

    id: int
    epoch_id: int
    pmap: Pmap
    array: str
    band: str
    subarray: str
    kind: str
    bunit: str
    photmjsr: float | None
    pixar_sr: float | None
    v2_ref_arcsec: float | None
    v3_ref_arcsec: float | None
    ra_ref_deg: float | None
    dec_ref_deg: float | None
    roll_ref_deg: float | None
    file_name: str
    directory: str
    header_sha256: str
    file_sha256: str | None


@dataclass(frozen=True)
class StoredEpoch:
    """An epoch with what follows from its exposures.

    Attributes
    ----------
    name : str
        `label`, else the UTC date of its first exposure, with the roll where that is not enough.
    label : str or None
        Name given with ``--epoch``.
    rolls_deg : tuple of float
        Distinct rolls of its exposures, sorted.
    """

    id: int
    field_id: int
    field_name: str
    name: str
    label: str | None
    start_mjd_utc: float
    end_mjd_utc: float
    rolls_deg: tuple[float, ...]
    n_exposures: int

    @property
    def rolls_text(self) -> str:
        """The rolls, as one number where they agree to 0.1 deg."""
        low, high = self.rolls_deg[0], self.rolls_deg[-1]
        return f"{low:.1f}" if high - low < 0.1 else f"{low:.1f}…{high:.1f}"


@dataclass(frozen=True)
class PlacedExposure:
    """What decides on fields and epochs, once for all reductions of the same data."""

    epoch_id: int
    program: str
    observation: str
    visit: str
    roll_deg: float
    expstart_mjd_utc: float
    expend_mjd_utc: float
    s_region: str


def identity_of(exposure: Exposure) -> Identity:
    """Return the identity of an exposure: the columns of the unique constraint."""
    return (exposure.pmap.number, *(getattr(exposure, name) for name in IDENTITY_COLUMNS))


def add_ingest(connection: sa.Connection, started_utc: datetime, code_version: str) -> int:
    """Record a call of ingest and return its id."""
    return insert_rows(
        connection,
        IngestRow.__table__,
        [{"started_utc": started_utc, "code_version": code_version}],
    )[0]


def ensure_pmaps(connection: sa.Connection, pmaps: Iterable[Pmap]) -> dict[int, int]:
    """Insert the contexts that are new; return ids by number."""
    numbers = sorted({pmap.number for pmap in pmaps})
    known = {
        row.number: row.id for row in connection.execute(sa.select(PmapRow.id, PmapRow.number))
    }
    new = [number for number in numbers if number not in known]
    if new:
        rows = [{"name": Pmap(number).name, "number": number} for number in new]
        known.update(zip(new, insert_rows(connection, PmapRow.__table__, rows), strict=True))
    return known


def find_identities(
    connection: sa.Connection, exposures: Sequence[Exposure]
) -> dict[Identity, StoredExposure]:
    """Return the stored exposures that share programme and time span with the given ones."""
    if not exposures:
        return {}
    starts = [exposure.expstart_mjd_utc for exposure in exposures]
    identity = (PmapRow.number, *(getattr(ExposureRow, name) for name in IDENTITY_COLUMNS))
    columns = columns_of(StoredExposure, ExposureRow, pmap=PmapRow.number)
    statement = (
        sa.select(*identity, *columns)
        .join(PmapRow, PmapRow.id == ExposureRow.pmap_id)
        .where(
            ExposureRow.expstart_mjd_utc.between(min(starts), max(starts)),
            ExposureRow.program.in_(sorted({exposure.program for exposure in exposures})),
        )
    )
    stored, n_identity = filler(StoredExposure, len(columns)), len(identity)
    return {
        tuple(row[:n_identity]): stored(row[n_identity:]) for row in connection.execute(statement)
    }


def find_images(connection: sa.Connection, file_names: Sequence[str]) -> list[StoredExposure]:
    """Return the stored exposures with one of a few file names."""
    statement = (
        sa.select(*columns_of(StoredExposure, ExposureRow, pmap=PmapRow.number))
        .join(PmapRow, PmapRow.id == ExposureRow.pmap_id)
        .where(ExposureRow.file_name.in_(list(file_names)))
        .order_by(PmapRow.number, ExposureRow.id)
    )
    return fill(StoredExposure, connection.execute(statement))


class EpochsById(dict[int, StoredEpoch]):
    """Epochs by their key; one that rows refer to and that is missing means a damaged database."""

    def __missing__(self, epoch_id: int) -> StoredEpoch:
        """Refuse."""
        msg = (
            f"the registry is damaged: there is no epoch {epoch_id}, or nothing in it; see `calreg "
            "db check`, and restore the database from a copy"
        )
        raise DatabaseError(msg)


def load_epochs_by_id(connection: sa.Connection) -> EpochsById:
    """Return every epoch; see `load_epochs`."""
    return EpochsById((epoch.id, epoch) for epoch in load_epochs(connection))


def load_epochs(connection: sa.Connection) -> list[StoredEpoch]:
    """Return every epoch with its times and rolls, ordered by field and time."""
    statement = (
        sa.select(
            EpochRow.id,
            EpochRow.field_id,
            FieldRow.name,
            EpochRow.label,
            ExposureRow.roll_deg,
            sa.func.min(ExposureRow.expstart_mjd_utc).label("start"),
            sa.func.max(ExposureRow.expend_mjd_utc).label("end"),
            sa.func.count().label("n"),
        )
        .join(ExposureRow, ExposureRow.epoch_id == EpochRow.id)
        .join(FieldRow, FieldRow.id == EpochRow.field_id)
        .group_by(
            EpochRow.id, EpochRow.field_id, FieldRow.name, EpochRow.label, ExposureRow.roll_deg
        )
    )
    gathered: dict[int, list[sa.Row[*tuple[Any, ...]]]] = {}
    for row in connection.execute(statement):
        gathered.setdefault(row.id, []).append(row)
    epochs = [
        StoredEpoch(
            id=epoch_id,
            field_id=rows[0].field_id,
            field_name=rows[0].name,
            name=rows[0].label or _utc_date(min(row.start for row in rows)),
            label=rows[0].label,
            start_mjd_utc=min(row.start for row in rows),
            end_mjd_utc=max(row.end for row in rows),
            rolls_deg=tuple(sorted(row.roll_deg for row in rows)),
            n_exposures=sum(row.n for row in rows),
        )
        for epoch_id, rows in gathered.items()
    ]
    count = Counter((epoch.field_id, epoch.name) for epoch in epochs)
    epochs = [
        epoch
        if count[epoch.field_id, epoch.name] == 1
        else replace(epoch, name=f"{epoch.name}@{epoch.rolls_deg[0]:.0f}deg")
        for epoch in epochs
    ]
    return sorted(epochs, key=lambda epoch: (epoch.field_name, epoch.start_mjd_utc, epoch.id))


def _utc_date(mjd_utc: float) -> str:
    """Return the calendar date of an MJD."""
    return (MJD_ZERO_UTC + timedelta(days=mjd_utc)).date().isoformat()


def load_placed(connection: sa.Connection) -> list[PlacedExposure]:
    """Return the exposures that have their epochs, in the order of time."""
    row = ExposureRow
    statement = (
        sa.select(*columns_of(PlacedExposure, row))
        .distinct()
        .order_by(row.expstart_mjd_utc, row.epoch_id, row.s_region)
    )
    return fill(PlacedExposure, connection.execute(statement))


def load_epoch_fields(connection: sa.Connection) -> dict[int, int]:
    """Return the field of every epoch."""
    statement = sa.select(EpochRow.id, EpochRow.field_id)
    return {row.id: row.field_id for row in connection.execute(statement)}


def find_epoch(connection: sa.Connection, field_id: int, label: str) -> int | None:
    """Return the id of the epoch of a field that was given a label, or None."""
    return connection.scalar(
        sa.select(EpochRow.id).where(EpochRow.field_id == field_id, EpochRow.label == label)
    )


def find_field(connection: sa.Connection, name: str) -> int | None:
    """Return the id of a field by name, or None; for a merged field, of the one that took over."""
    row = connection.execute(
        sa.select(FieldRow.id, FieldRow.merged_into_id).where(FieldRow.name == name)
    ).one_or_none()
    while row is not None and row.merged_into_id is not None:
        row = connection.execute(
            sa.select(FieldRow.id, FieldRow.merged_into_id).where(FieldRow.id == row.merged_into_id)
        ).one()
    return None if row is None else int(row.id)


def require_field(connection: sa.Connection, name: str) -> int:
    """Return the id of a field by name.

    Raises
    ------
    UnknownKeyError
        If there is none; the message lists the fields.
    """
    field_id = find_field(connection, name)
    if field_id is None:
        names = sorted(connection.scalars(sa.select(FieldRow.name)))
        known = ", ".join(repr(known) for known in names) or "none yet"
        msg = f"unknown field {name!r}: the registry has {known}"
        raise UnknownKeyError(msg)
    return field_id


def add_field(connection: sa.Connection, name: str, created_utc: datetime) -> int:
    """Insert a field under a free name (``name``, ``name (2)``, ...) and return its id."""
    taken = set(connection.scalars(sa.select(FieldRow.name)))
    free, count = name, 1
    while free in taken:
        count += 1
        free = f"{name} ({count})"
    row = {"name": free, "created_utc": created_utc}
    return insert_rows(connection, FieldRow.__table__, [row])[0]


def merge_fields(
    connection: sa.Connection, kept_id: int, merged_id: int, merged_utc: datetime
) -> None:
    """Hand a field's epochs, sources, pair groups and grids over to another.

    The merged field stays as a name; coefficient sets that were fitted for it stay as they are and
    count as superseded from then on. So do its grids where the other field has one of the same band
    and scale.
    """
    for row in (EpochRow, SourceRow, PairGroupRow):
        connection.execute(sa.update(row).where(row.field_id == merged_id).values(field_id=kept_id))
    kept = GridRow.__table__.alias().c
    has_one = sa.exists().where(
        kept.field_id == kept_id,
        kept.band == GridRow.band,
        kept.scale_arcsec == GridRow.scale_arcsec,
    )
    connection.execute(
        sa.update(GridRow).where(GridRow.field_id == merged_id, ~has_one).values(field_id=kept_id)
    )
    connection.execute(
        sa.update(FieldRow)
        .where(FieldRow.id == merged_id)
        .values(merged_into_id=kept_id, merged_utc=merged_utc)
    )


def add_epoch(connection: sa.Connection, field_id: int, label: str | None) -> int:
    """Insert an epoch and return its id."""
    return insert_rows(connection, EpochRow.__table__, [{"field_id": field_id, "label": label}])[0]


def insert_exposures(
    connection: sa.Connection,
    exposures: Sequence[Exposure],
    epoch_ids: Sequence[int],
    *,
    instrument: Instrument,
    ingest_id: int,
) -> list[int]:
    """Insert exposures with their zero points; return ids in order."""
    pmap_ids = ensure_pmaps(connection, [exposure.pmap for exposure in exposures])
    skipped = {"pmap", "footprint"}
    rows = []
    for exposure, epoch_id in zip(exposures, epoch_ids, strict=True):
        row = {name: value for name, value in vars(exposure).items() if name not in skipped}
        array = instrument.arrays[exposure.array]
        row |= {
            "kind": str(exposure.kind),
            "epoch_id": epoch_id,
            "pmap_id": pmap_ids[exposure.pmap.number],
            "ingest_id": ingest_id,
            "array_id": array.array_id,
            "module": array.module,
        }
        rows.append(row)
    ids = insert_rows(connection, ExposureRow.__table__, rows)
    add_header_zero_points(connection, exposures, pmap_ids, ingest_id)
    return ids


@dataclass(frozen=True)
class RawCount:
    """Raw exposures of one array, band and epoch (the paper's Table 2)."""

    epoch_id: int
    pmap: Pmap
    band: str
    array: str
    n_raw: int


def count_raw_exposures(connection: sa.Connection) -> list[RawCount]:
    """Count the raw exposures: those ingested, or where there are none, the members of mosaics."""
    statement = (
        sa.select(
            ExposureRow.epoch_id,
            PmapRow.number,
            ExposureRow.band,
            ExposureRow.array,
            ExposureRow.kind,
            sa.func.sum(ExposureRow.n_members),
        )
        .join(PmapRow, PmapRow.id == ExposureRow.pmap_id)
        .group_by(
            ExposureRow.epoch_id,
            PmapRow.number,
            ExposureRow.band,
            ExposureRow.array,
            ExposureRow.kind,
        )
    )
    counts: dict[tuple[int, int, str, str], dict[str, int]] = {}
    for epoch_id, number, band, array, kind, n_raw in connection.execute(statement):
        counts.setdefault((epoch_id, number, band, array), {})[kind] = int(n_raw)
    return [
        RawCount(epoch_id, Pmap(number), band, array, by_kind.get("cal", max(by_kind.values())))
        for (epoch_id, number, band, array), by_kind in sorted(counts.items())
    ]


def load_seen_pmaps(connection: sa.Connection, as_of_utc: datetime | None = None) -> set[Pmap]:
    """Return the contexts of all exposures that had been ingested by a time."""
    statement = (
        sa.select(PmapRow.number)
        .join(ExposureRow, ExposureRow.pmap_id == PmapRow.id)
        .join(IngestRow, IngestRow.id == ExposureRow.ingest_id)
        .distinct()
    )
    if as_of_utc is not None:
        statement = statement.where(IngestRow.started_utc <= as_of_utc)
    return {Pmap(number) for number in connection.scalars(statement)}

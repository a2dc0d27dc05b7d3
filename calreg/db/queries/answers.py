"""What the questions read besides coefficient sets: patches, contexts, deliveries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from calreg.db.bulk import insert_rows
from calreg.db.queries.catalogs import superseded_catalogs
from calreg.db.queries.exposures import require_field
from calreg.db.schema import (
    DeliveryRow,
    DeliverySetRow,
    ExposureRow,
    FieldRow,
    IngestRow,
    PairGroupRow,
    PmapRow,
)
from calreg.domain import Pmap

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


@dataclass(frozen=True)
class PatchGroup:
    """A pair group as the offsets table shows it."""

    group_id: int
    field: str
    pmap: Pmap
    band: str
    array_id: str
    image_kind: str
    flux_kind: str
    aperture: str
    catalog_i_id: int
    catalog_j_id: int
    epoch_i_id: int
    epoch_j_id: int
    array_i: str
    array_j: str
    relation: str
    n_matched: int
    n_ambiguous: int
    ra_median_mas: float | None
    ra_mad_mas: float | None
    dec_median_mas: float | None
    dec_mad_mas: float | None


def load_patch_groups(
    connection: sa.Connection,
    *,
    max_sep_arcsec: float,
    min_snr: float,
    match_version: int,
    pmap: Pmap | None = None,
    band: str | None = None,
    array_id: str | None = None,
    field: str | None = None,
) -> list[PatchGroup]:
    """Return the pair groups of one search radius, in the order of the offsets table."""
    statement = (
        sa.select(
            PairGroupRow.id,
            FieldRow.name,
            PmapRow.number,
            PairGroupRow.band,
            PairGroupRow.array_id,
            PairGroupRow.image_kind,
            PairGroupRow.flux_kind,
            PairGroupRow.aperture,
            PairGroupRow.catalog_i_id,
            PairGroupRow.catalog_j_id,
            PairGroupRow.epoch_i_id,
            PairGroupRow.epoch_j_id,
            PairGroupRow.array_i,
            PairGroupRow.array_j,
            PairGroupRow.relation,
            PairGroupRow.n_matched,
            PairGroupRow.n_ambiguous,
            PairGroupRow.ra_median_mas,
            PairGroupRow.ra_mad_mas,
            PairGroupRow.dec_median_mas,
            PairGroupRow.dec_mad_mas,
        )
        .join(FieldRow, FieldRow.id == PairGroupRow.field_id)
        .join(PmapRow, PmapRow.id == PairGroupRow.pmap_id)
        .where(
            PairGroupRow.max_sep_arcsec == max_sep_arcsec,
            PairGroupRow.min_snr == min_snr,
            PairGroupRow.match_version == match_version,
            PairGroupRow.catalog_i_id.not_in(superseded_catalogs()),
            PairGroupRow.catalog_j_id.not_in(superseded_catalogs()),
        )
        .order_by(
            FieldRow.name, PmapRow.number, PairGroupRow.band, PairGroupRow.array_id, PairGroupRow.id
        )
    )
    if pmap is not None:
        statement = statement.where(PmapRow.number == pmap.number)
    if band is not None:
        statement = statement.where(PairGroupRow.band == band)
    if array_id is not None:
        statement = statement.where(PairGroupRow.array_id == array_id)
    if field is not None:
        require_field(connection, field)
        statement = statement.where(FieldRow.name == field)
    rows: Sequence[Any] = connection.execute(statement).all()
    values = [(*row[:2], Pmap(row[2]), *row[3:]) for row in rows]
    return [PatchGroup(*value) for value in values]


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


def insert_delivery(
    connection: sa.Connection, row: dict[str, object], set_pks: Sequence[int]
) -> int:
    """Record an exported file with the sets in it; return the delivery's id."""
    delivery_id = insert_rows(connection, DeliveryRow.__table__, [row])[0]
    if set_pks:
        connection.execute(
            sa.insert(DeliverySetRow),
            [{"delivery_id": delivery_id, "set_pk": set_pk} for set_pk in sorted(set(set_pks))],
        )
    return delivery_id

"""The mosaics of an epoch, as far as their pixels are read again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from calreg.db.bulk import insert_rows
from calreg.db.queries.rows import columns_of, fill
from calreg.db.schema import (
    CatalogRow,
    EpochRow,
    ExposureRow,
    GridRow,
    PmapRow,
)
from calreg.domain import ExposureKind, Pmap

if TYPE_CHECKING:
    from collections.abc import Iterable

    from calreg.domain import Exposure


@dataclass(frozen=True)
class StoredMosaic:
    """A mosaic with what is needed to find, check and correct its pixels.

    `ra_ref_deg`, `dec_ref_deg` and `roll_ref_deg` are those of its first member.
    """

    id: int
    epoch_id: int
    pmap: Pmap
    kind: str
    array: str
    array_id: str
    module: str
    band: str
    cal_ver: str
    expstart_mjd_utc: float
    roll_deg: float
    ra_ref_deg: float | None
    dec_ref_deg: float | None
    roll_ref_deg: float | None
    s_region: str
    bunit: str
    file_name: str
    directory: str
    header_sha256: str
    file_sha256: str | None


def load_mosaics(connection: sa.Connection, epoch_ids: Iterable[int]) -> list[StoredMosaic]:
    """Return the mosaics of some epochs, in the order of band, array and time."""
    statement = (
        sa.select(*columns_of(StoredMosaic, ExposureRow, pmap=PmapRow.number))
        .join(PmapRow, PmapRow.id == ExposureRow.pmap_id)
        .where(
            ExposureRow.epoch_id.in_(sorted(epoch_ids)),
            ExposureRow.kind == ExposureKind.I2D,
        )
        .order_by(ExposureRow.band, ExposureRow.array, ExposureRow.expstart_mjd_utc, ExposureRow.id)
    )
    return fill(StoredMosaic, connection.execute(statement))


_LAYOUT = ("ra_deg", "dec_deg", "y_pa_deg", "x_ref", "y_ref", "nx", "ny")


@dataclass(frozen=True)
class StoredGrid:
    """The pixel grid of a field in one band, in the terms of `calreg.science.sky.grids.Grid`."""

    ra_deg: float
    dec_deg: float
    scale_arcsec: float
    y_pa_deg: float
    x_ref: float
    y_ref: float
    nx: int
    ny: int


@dataclass(frozen=True)
class PlacedFootprint:
    """Where an exposure of a field looked.

    Attributes
    ----------
    roll_deg : float
        ROLL_REF, else PA_V3 [deg].
    """

    epoch_id: int
    expstart_mjd_utc: float
    roll_deg: float
    s_region: str


def find_grid(
    connection: sa.Connection, field_id: int, band: str, scale_arcsec: float
) -> StoredGrid | None:
    """Return the grid of a field in one band and scale, or None."""
    table = GridRow.__table__
    row = connection.execute(
        sa.select(*(table.c[name] for name in _LAYOUT)).where(
            table.c.field_id == field_id,
            table.c.band == band,
            table.c.scale_arcsec == scale_arcsec,
        )
    ).one_or_none()
    if row is None:
        return None
    return StoredGrid(scale_arcsec=scale_arcsec, **dict(zip(_LAYOUT, row, strict=True)))


def insert_grid(
    connection: sa.Connection,
    field_id: int,
    band: str,
    grid: StoredGrid,
    *,
    epoch_id: int,
    ingest_id: int,
) -> int:
    """Insert the grid of a field in one band; return its id."""
    row = {
        **vars(grid),
        "field_id": field_id,
        "band": band,
        "epoch_id": epoch_id,
        "ingest_id": ingest_id,
    }
    return insert_rows(connection, GridRow.__table__, [row])[0]


def load_footprints(connection: sa.Connection, field_id: int, band: str) -> list[PlacedFootprint]:
    """Return where the exposures of a field in one band looked, in the order of time."""
    row = ExposureRow
    statement = (
        sa.select(
            *columns_of(
                PlacedFootprint, row, roll_deg=sa.func.coalesce(row.roll_ref_deg, row.roll_deg)
            )
        )
        .join(EpochRow, EpochRow.id == row.epoch_id)
        .where(EpochRow.field_id == field_id, row.band == band, row.kind != ExposureKind.I2D)
        .order_by(row.expstart_mjd_utc, row.array, row.file_name, row.header_sha256)
    )
    return fill(PlacedFootprint, connection.execute(statement))


def count_catalogs(connection: sa.Connection, exposure_id: int) -> int:
    """Return how many catalogs of an image there are."""
    statement = (
        sa.select(sa.func.count())
        .select_from(CatalogRow)
        .where(CatalogRow.exposure_id == exposure_id)
    )
    return int(connection.execute(statement).scalar_one())


def replace_exposure(connection: sa.Connection, exposure_id: int, exposure: Exposure) -> None:
    """Put an image of the same identity in the place of one that nothing was measured on."""
    skipped = {"pmap", "footprint", "kind"}
    values = {name: value for name, value in vars(exposure).items() if name not in skipped}
    connection.execute(sa.update(ExposureRow).where(ExposureRow.id == exposure_id).values(values))


@dataclass(frozen=True)
class FieldMosaic:
    """A mosaic in the registry."""

    id: int
    epoch_id: int
    array: str
    file_name: str
    directory: str
    header_sha256: str
    s_region: str
    expstart_mjd_utc: float


def load_first_mosaics(
    connection: sa.Connection, field_id: int, band: str, pmap: Pmap
) -> list[FieldMosaic]:
    """Return the mosaics of a field's first epoch in a band and context, the newest entry first."""
    statement = (
        sa.select(*columns_of(FieldMosaic, ExposureRow))
        .join(EpochRow, EpochRow.id == ExposureRow.epoch_id)
        .join(PmapRow, PmapRow.id == ExposureRow.pmap_id)
        .where(
            EpochRow.field_id == field_id,
            ExposureRow.band == band,
            PmapRow.number == pmap.number,
            ExposureRow.kind == ExposureKind.I2D,
        )
        .order_by(ExposureRow.id.desc())
    )
    found = fill(FieldMosaic, connection.execute(statement))
    if not found:
        return []
    first = min(found, key=lambda mosaic: (mosaic.expstart_mjd_utc, mosaic.id))
    return [mosaic for mosaic in found if mosaic.epoch_id == first.epoch_id]

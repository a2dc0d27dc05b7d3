"""Pixel grids of fields, what they are laid out by, and the mosaics on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from calreg.db.bulk import insert_rows
from calreg.db.schema import (
    CatalogRow,
    EpochRow,
    ExposureRow,
    GridRow,
)
from calreg.domain import ExposureKind

if TYPE_CHECKING:
    from calreg.domain import Exposure

_LAYOUT = ("ra_deg", "dec_deg", "y_pa_deg", "x_ref", "y_ref", "nx", "ny")


@dataclass(frozen=True)
class StoredGrid:
    """The pixel grid of a field in one band, in the terms of `calreg.science.grids.Grid`."""

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
    epoch_id : int
    expstart_mjd_utc : float
    roll_deg : float
        ROLL_REF, else PA_V3 [deg].
    s_region : str
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
            row.epoch_id,
            row.expstart_mjd_utc,
            sa.func.coalesce(row.roll_ref_deg, row.roll_deg),
            row.s_region,
        )
        .join(EpochRow, EpochRow.id == row.epoch_id)
        .where(EpochRow.field_id == field_id, row.band == band, row.kind != ExposureKind.I2D)
        .order_by(row.expstart_mjd_utc, row.array, row.file_name, row.header_sha256)
    )
    return [PlacedFootprint(*found) for found in connection.execute(statement)]


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

"""Grids of mosaics: one per field, band and scale; a merged field hands its own over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from calreg.db.queries.exposures import merge_fields
from calreg.db.schema import EpochRow, FieldRow, GridRow, IngestRow
from calreg.errors import ConflictError
from registryrows import MOMENT, add, refused_write

if TYPE_CHECKING:
    from calreg.db.columns import ColumnValue
    from calreg.db.engine import Database


def add_grid(connection: sa.Connection, field_id: int, **values: ColumnValue) -> int:
    """Insert a grid of a field."""
    epoch_id = add(connection, EpochRow, field_id=field_id)
    ingest_id = add(connection, IngestRow)
    given = {"field_id": field_id, "epoch_id": epoch_id, "ingest_id": ingest_id, **values}
    return add(connection, GridRow, **given)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"scale_arcsec": 0.0}, "ck_grids_scale_arcsec"),
        ({"ra_deg": 361.0}, "ck_grids_ra_deg"),
        ({"dec_deg": -91.0}, "ck_grids_dec_deg"),
        ({"y_pa_deg": -1.0}, "ck_grids_y_pa_deg"),
        ({"nx": 0}, "ck_grids_nx"),
        ({"ny": -5}, "ck_grids_ny"),
    ],
)
def test_checks(database: Database, values: dict[str, ColumnValue], name: str) -> None:
    with refused_write(database, ConflictError, rf"\b{name}\b") as connection:
        add_grid(connection, add(connection, FieldRow, name="JWIDF"), **values)


def test_one_grid_per_field_band_and_scale(database: Database) -> None:
    with database.write() as connection:
        field_id = add(connection, FieldRow, name="JWIDF")
        for band, scale in (("F356W", 0.06), ("F356W", 0.03), ("F444W", 0.06)):
            add_grid(connection, field_id, band=band, scale_arcsec=scale)
    with refused_write(database, ConflictError, "uq_grids_identity|UNIQUE") as connection:
        add_grid(connection, field_id, band="F444W", scale_arcsec=0.06)


def test_a_merged_field_hands_over_the_grids_that_the_other_lacks(database: Database) -> None:
    with database.write() as connection:
        kept_id, merged_id = (add(connection, FieldRow, name=name) for name in ("A", "B"))
        kept = add_grid(connection, kept_id, band="F356W", scale_arcsec=0.06)
        same = add_grid(connection, merged_id, band="F356W", scale_arcsec=0.06)
        finer = add_grid(connection, merged_id, band="F356W", scale_arcsec=0.03)
        other = add_grid(connection, merged_id, band="F444W", scale_arcsec=0.06)
        merge_fields(connection, kept_id, merged_id, MOMENT)
    with database.read() as connection:
        rows = connection.execute(sa.select(GridRow.id, GridRow.field_id)).all()
    assert {row.id: row.field_id for row in rows} == {
        kept: kept_id,
        same: merged_id,
        finer: kept_id,
        other: kept_id,
    }

"""Grids of mosaics: one per field, band and scale; a merged field hands its own over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from calreg.db.queries.exposures import merge_fields
from calreg.db.queries.mosaics import (
    PlacedFootprint,
    StoredGrid,
    find_grid,
    insert_grid,
    load_footprints,
)
from calreg.db.schema import EpochRow, FieldRow, GridRow, IngestRow, PmapRow
from calreg.errors import ConflictError
from support.registryrows import MOMENT, add, add_exposure, refused_write

if TYPE_CHECKING:
    from calreg.db.engine import Database
    from calreg.db.engines.columns import ColumnValue


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


def test_a_grid_comes_back_to_the_last_digit(database: Database) -> None:
    grid = StoredGrid(265.0 + 1.0 / 3.0, -0.1, 0.06, 161.3 + 1e-9, 1234.0, -5.0, 3000, 2000)
    with database.write() as connection:
        field_id = add(connection, FieldRow, name="JWIDF")
        epoch_id, ingest_id = (
            add(connection, EpochRow, field_id=field_id),
            add(connection, IngestRow),
        )
        insert_grid(connection, field_id, "F444W", grid, epoch_id=epoch_id, ingest_id=ingest_id)
    with database.read() as connection:
        assert find_grid(connection, field_id, "F444W", 0.06) == grid
        assert find_grid(connection, field_id, "F444W", 0.03) is None
        assert find_grid(connection, field_id, "F356W", 0.06) is None
        assert find_grid(connection, field_id + 1, "F444W", 0.06) is None


def test_footprints_of_exposures_in_the_order_of_time(database: Database) -> None:
    with database.write() as connection:
        field_id, other_id = (add(connection, FieldRow, name=name) for name in ("A", "B"))
        epochs = [add(connection, EpochRow, field_id=field_id) for _ in range(2)]
        pmap_id = add(connection, PmapRow, name="jwst_1130.pmap", number=1130)
        ingest_id = add(connection, IngestRow)
        elsewhere = add(connection, EpochRow, field_id=other_id)
        values = [
            (epochs[1], 59001.0, "cal", "F444W", 10.0),
            (epochs[0], 59000.0, "crf", "F444W", None),
            (epochs[0], 59002.0, "i2d", "F444W", 10.0),
            (epochs[0], 59003.0, "cal", "F356W", 10.0),
            (elsewhere, 58000.0, "cal", "F444W", 10.0),
        ]
        for n, (epoch_id, start, kind, band, roll) in enumerate(values):
            add_exposure(
                connection,
                epoch_id=epoch_id,
                pmap_id=pmap_id,
                ingest_id=ingest_id,
                kind=kind,
                band=band,
                expstart_mjd_utc=start,
                expend_mjd_utc=start,
                roll_ref_deg=roll,
                roll_deg=20.0,
                s_region=f"region {n}",
            )
        found = load_footprints(connection, field_id, "F444W")
    assert found == [
        PlacedFootprint(epochs[0], 59000.0, 20.0, "region 1"),
        PlacedFootprint(epochs[1], 59001.0, 10.0, "region 0"),
    ]

"""Rows that tests of the database start from: one of each kind, valid, and plain to vary."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pytest
import sqlalchemy as sa

from calreg.db.bulk import insert_columns, insert_rows
from calreg.db.engine import open_database
from calreg.db.engines.types import ColumnKind, column_kind
from calreg.db.schema import (
    Base,
    CatalogRow,
    CoefficientSetRow,
    DeliveryRow,
    DeliverySetRow,
    DetectionRow,
    EpochRow,
    ExposureRow,
    FieldRow,
    FitRunRow,
    IngestRow,
    PairGroupRow,
    PairRow,
    PmapRow,
    SourceRow,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from calreg.db.engine import Database
    from calreg.db.engines.columns import ColumnValue

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
DIGEST = "0" * 64
_PLAIN: dict[ColumnKind, ColumnValue] = {
    ColumnKind.TEXT: "",
    ColumnKind.INTEGER: 1,
    ColumnKind.FLOAT: 1.0,
    ColumnKind.TIME: MOMENT,
}


@contextmanager
def refused_write(
    database: Database, error: type[BaseException], match: str | None = None
) -> Iterator[sa.Connection]:
    """Open a write transaction that must end with an error, wherever in it that is raised."""
    with pytest.raises(error, match=match), database.write() as connection:
        yield connection


def plain_row(row_class: type[Base], **values: ColumnValue) -> dict[str, ColumnValue]:
    """Return a row with a plain value for every column that must have one; `values` go on top."""
    row: dict[str, ColumnValue] = {}
    for column in row_class.__table__.columns:
        if column.nullable or column.name == "id":
            continue
        row[column.name] = _PLAIN[column_kind(column.type)]
    return {**row, **values}


def add(connection: sa.Connection, row_class: type[Base], **values: ColumnValue) -> int:
    """Insert a plain row and return its id."""
    return insert_rows(connection, row_class, [plain_row(row_class, **values)])[0]


def add_exposure(connection: sa.Connection, **values: ColumnValue) -> int:
    """Insert an exposure with all that it needs."""
    given: dict[str, ColumnValue] = {}
    if "pmap_id" not in values:
        given["pmap_id"] = add(connection, PmapRow, name="jwst_1130.pmap", number=1130)
    if "ingest_id" not in values:
        given["ingest_id"] = add(connection, IngestRow)
    if "epoch_id" not in values:
        field_id = add(connection, FieldRow, name="JWIDF")
        given["epoch_id"] = add(connection, EpochRow, field_id=field_id)
    plain: dict[str, ColumnValue] = {
        "kind": "cal",
        "array": "nrca1",
        "header_sha256": DIGEST,
        "module": "A",
    }
    return add(connection, ExposureRow, **{**plain, **given, **values})


def add_catalog(connection: sa.Connection, **values: ColumnValue) -> int:
    """Insert a catalog with all that it needs."""
    if "exposure_id" not in values:
        values["exposure_id"] = add_exposure(connection)
        values["ingest_id"] = add(connection, IngestRow)
    plain: dict[str, ColumnValue] = {
        "flux_kind": "iso",
        "mag_origin": "flux",
        "origin": "file",
        "file_sha256": DIGEST,
    }
    return add(connection, CatalogRow, **{**plain, **values})


def add_pairs(connection: sa.Connection, n_pairs: int) -> int:
    """Insert two catalogs and the pairs between them; return the group's id."""
    pmap_id = add(connection, PmapRow, name="jwst_1130.pmap", number=1130)
    ingest_id = add(connection, IngestRow)
    field_id = add(connection, FieldRow, name="JWIDF")
    epochs, catalogs = [], []
    for sequence, array in enumerate(("nrca1", "nrcb1")):
        epochs.append(add(connection, EpochRow, field_id=field_id))
        exposure_id = add_exposure(
            connection,
            epoch_id=epochs[-1],
            pmap_id=pmap_id,
            ingest_id=ingest_id,
            array=array,
            sequence=str(sequence),
        )
        catalogs.append(add_catalog(connection, exposure_id=exposure_id, ingest_id=ingest_id))
        insert_columns(
            connection,
            DetectionRow,
            {
                "catalog_id": catalogs[-1],
                "number": np.arange(1, n_pairs + 1),
                "ra_deg": np.linspace(10.0, 10.1, n_pairs),
                "dec_deg": 5.0,
                "mag_ab": np.linspace(18.0, 22.0, n_pairs),
                "flags": 0,
                "compactness": -1,
            },
        )
    group_id = add(
        connection,
        PairGroupRow,
        fit_run_id=add(connection, FitRunRow, settings="{}"),
        field_id=field_id,
        pmap_id=pmap_id,
        catalog_i_id=catalogs[0],
        catalog_j_id=catalogs[1],
        epoch_i_id=epochs[0],
        epoch_j_id=epochs[1],
        relation="opposite",
        array_id="1",
        image_kind="cal",
        flux_kind="iso",
    )
    source_ids = [add(connection, SourceRow, field_id=field_id) for _ in range(n_pairs)]
    insert_columns(
        connection,
        PairRow,
        {
            **plain_row(PairRow),
            "group_id": group_id,
            "number_i": np.arange(1, n_pairs + 1),
            "number_j": np.arange(1, n_pairs + 1),
            "source_id": np.array(source_ids),
        },
    )
    return group_id


def deliveries(url: str) -> list[tuple[str, str, str, str, set[str]]]:
    """Return kind, folder, name, digest and set ids of every delivery."""
    with open_database(url, read_only=True) as database, database.read() as connection:
        found = []
        for row in connection.execute(sa.select(DeliveryRow.__table__).order_by(DeliveryRow.id)):
            statement = (
                sa.select(CoefficientSetRow.set_id)
                .join(DeliverySetRow, DeliverySetRow.set_pk == CoefficientSetRow.id)
                .where(DeliverySetRow.delivery_id == row.id)
            )
            sets = set(connection.scalars(statement))
            found.append((row.kind, row.directory, row.file_name, row.file_sha256, sets))
    return found

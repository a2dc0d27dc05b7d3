"""The database itself refuses what must not be: named CHECKs, foreign keys, uniques, NOT NULL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from calreg.db.bulk import insert_columns, insert_rows
from calreg.db.schema import (
    Base,
    CatalogRow,
    CoefficientRow,
    DeliveryRow,
    DetectionRow,
    EpochRow,
    FieldRow,
    PairGroupRow,
    PmapRow,
    SourceRow,
)
from calreg.errors import ConflictError, DatabaseError
from support.registryrows import (
    DIGEST,
    add,
    add_catalog,
    add_exposure,
    add_pairs,
    plain_row,
    refused_write,
)

if TYPE_CHECKING:
    from calreg.db.engine import Database
    from calreg.db.engines.columns import ColumnValue


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"kind": "uncal"}, "ck_exposures_kind"),
        ({"header_sha256": "0" * 63}, "ck_exposures_header_sha256"),
        ({"file_sha256": "0" * 65}, "ck_exposures_file_sha256"),
        ({"expstart_mjd_utc": 2.0, "expend_mjd_utc": 1.0}, "ck_exposures_expend_mjd_utc"),
        ({"exposure_time_s": 0.0}, "ck_exposures_exposure_time_s"),
        ({"photmjsr": -1.0}, "ck_exposures_photmjsr"),
        ({"pixar_sr": 0.0}, "ck_exposures_pixar_sr"),
        ({"n_members": 0}, "ck_exposures_n_members"),
        ({"roll_deg": 360.5}, "ck_exposures_roll_deg"),
        ({"ra_ref_deg": -0.5}, "ck_exposures_ra_ref_deg"),
        ({"dec_ref_deg": 90.5}, "ck_exposures_dec_ref_deg"),
    ],
)
def test_checks_of_exposures(database: Database, values: dict[str, ColumnValue], name: str) -> None:
    with refused_write(database, ConflictError, rf"\b{name}\b") as connection:
        add_exposure(connection, **values)
    with database.write() as connection:  # The same row without the bad value is taken.
        add_exposure(connection)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"ra_deg": 360.1}, "ck_detections_ra_deg"),
        ({"ra_deg": -0.1}, "ck_detections_ra_deg"),
        ({"dec_deg": -90.1}, "ck_detections_dec_deg"),
        ({"compactness": 2}, "ck_detections_compactness"),
    ],
)
def test_checks_guard_bulk_inserts_too(
    database: Database, values: dict[str, float], name: str
) -> None:
    with refused_write(database, ConflictError, rf"\b{name}\b") as connection:
        catalog_id = add_catalog(connection)
        row = {
            "catalog_id": catalog_id,
            "number": 1,
            "ra_deg": 1.0,
            "dec_deg": 1.0,
            "flags": 0,
            "compactness": 0,
        }
        insert_columns(connection, DetectionRow, {**row, **values})


@pytest.mark.parametrize(
    ("row_class", "values", "name"),
    [
        (PmapRow, {"number": 0}, "ck_pmaps_number"),
        (
            DeliveryRow,
            {"file_sha256": DIGEST, "file_size_bytes": 0},
            "ck_deliveries_file_size_bytes",
        ),
        (DeliveryRow, {"file_sha256": "", "file_size_bytes": 1}, "ck_deliveries_file_sha256"),
    ],
)
def test_checks_of_other_tables(
    database: Database, row_class: type[Base], values: dict[str, ColumnValue], name: str
) -> None:
    with refused_write(database, ConflictError, rf"\b{name}\b") as connection:
        add(connection, row_class, **values)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"flux_kind": "petro"}, "ck_catalogs_flux_kind"),
        ({"mag_origin": "guess"}, "ck_catalogs_mag_origin"),
        ({"n_rows": 0}, "ck_catalogs_n_rows"),
        ({"n_negative_flux": -1}, "ck_catalogs_n_negative_flux"),
    ],
)
def test_checks_of_catalogs(database: Database, values: dict[str, ColumnValue], name: str) -> None:
    with refused_write(database, ConflictError, rf"\b{name}\b") as connection:
        add_catalog(connection, **values)


def test_a_group_pairs_two_epochs(database: Database) -> None:
    with refused_write(database, ConflictError, "ck_pair_groups_epochs") as connection:
        group_id = add_pairs(connection, 2)
        same = {"epoch_j_id": PairGroupRow.epoch_i_id}
        connection.execute(sa.update(PairGroupRow).where(PairGroupRow.id == group_id).values(same))


def test_foreign_keys_refuse_orphans(database: Database) -> None:
    refused = pytest.raises(ConflictError, match=r"(?i)foreign key constraint")
    with refused, database.write() as connection:
        add(connection, EpochRow, field_id=12345)
    with refused, database.write() as connection:
        insert_columns(
            connection,
            DetectionRow,
            {
                "catalog_id": 12345,
                "number": 1,
                "ra_deg": 1.0,
                "dec_deg": 1.0,
                "flags": 0,
                "compactness": 0,
            },
        )
    with refused, database.write() as connection:
        insert_columns(
            connection,
            CoefficientRow,
            {"set_pk": 1, "name": "offset_ab", "value": 0.0, "err": 0.1, "unit": "mag"},
        )


def test_foreign_keys_refuse_to_lose_parents(database: Database) -> None:
    with database.write() as connection:
        catalog_id = add_catalog(connection)
        row = {
            "catalog_id": catalog_id,
            "number": 1,
            "ra_deg": 1.0,
            "dec_deg": 1.0,
            "flags": 0,
            "compactness": 0,
        }
        insert_columns(connection, DetectionRow, row)
    with refused_write(database, ConflictError, r"(?i)foreign key constraint") as connection:
        connection.execute(sa.delete(CatalogRow))
    with database.read() as connection:
        assert (
            connection.execute(sa.select(sa.func.count()).select_from(DetectionRow)).scalar() == 1
        )


def test_uniques_refuse_the_same_twice(database: Database) -> None:
    # SQLite names the columns of a unique constraint, PostgreSQL the constraint.
    with refused_write(database, ConflictError, r"pmaps\.name|uq_pmaps_name") as connection:
        insert_rows(connection, PmapRow, [{"name": "a", "number": n} for n in (1, 2)])
    with refused_write(database, ConflictError, r"detections\.number|pk_detections") as connection:
        catalog_id = add_catalog(connection)
        row = {
            "catalog_id": catalog_id,
            "ra_deg": 1.0,
            "dec_deg": 1.0,
            "flags": 0,
            "compactness": 0,
        }
        insert_columns(connection, DetectionRow, {**row, "number": 7})
        insert_columns(connection, DetectionRow, {**row, "number": 7})


def test_the_identity_of_an_exposure_is_unique(database: Database) -> None:
    with database.write() as connection:
        exposure_id = add_exposure(connection)
        columns = sa.inspect(connection).get_columns("exposures")
        names = [column["name"] for column in columns if column["name"] != "id"]
        table = Base.metadata.tables["exposures"]
        stored = connection.execute(sa.select(*(table.c[name] for name in names))).one()
        copy = dict(zip(names, stored, strict=True))
    assert exposure_id > 0
    with refused_write(
        database, ConflictError, r"exposures\.cal_ver|uq_exposures_identity"
    ) as connection:
        insert_rows(connection, table, [{**copy, "file_name": "other", "header_sha256": "1" * 64}])
    with database.write() as connection:
        insert_rows(connection, table, [{**copy, "cal_ver": "other"}])


def test_columns_that_must_be_given_are_named(database: Database) -> None:
    row = plain_row(SourceRow)
    del row["dec_deg"]
    with refused_write(
        database, ConflictError, r"(?i)not.null constraint.*|null value.*dec_deg"
    ) as connection:
        row["field_id"] = add(connection, FieldRow, name="JWIDF")
        insert_rows(connection, SourceRow, [row])


def test_every_constraint_and_index_has_a_name_of_its_own() -> None:
    names = []
    for table in Base.metadata.sorted_tables:
        named: list[sa.Constraint | sa.Index] = [*table.constraints, *table.indexes]
        for item in named:
            # "ck_catalogs_...": the table is in the name, so it cannot meet another table's.
            name = str(item.name)
            assert name.split("_", 1)[-1].startswith(table.name), (table.name, name)
            names.append(name)
    assert len(names) == len(set(names))
    assert max(len(name) for name in names) < 64  # PostgreSQL cuts longer names.


@pytest.mark.parametrize("db_engine", ["postgresql"], indirect=True)
@pytest.mark.postgres
def test_integers_out_of_range_are_an_error_of_ours(database: Database) -> None:
    with pytest.raises(DatabaseError, match="out of range"), database.write() as connection:
        insert_rows(connection, PmapRow, [{"name": "a", "number": 2**40}])

"""The check finds planted faults of each kind, and only those."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from calreg.db.engine import Database, head_revision, init_database, open_database
from calreg.db.engines.choose import dialect_of
from calreg.db.health import (
    Problem,
    ProblemKind,
    check_database,
    describe_database,
    table_counts,
)
from calreg.db.schema import Base
from support.registryrows import add_catalog, add_pairs

if TYPE_CHECKING:
    from pathlib import Path


def problems(database: Database) -> list[Problem]:
    with database.read() as connection:
        return check_database(connection)


def change(database: Database, *statements: str) -> None:
    with database.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
        connection.commit()


def test_a_sound_registry_has_no_problems(database: Database) -> None:
    assert problems(database) == []
    with database.write() as connection:
        add_pairs(connection, 3)
    assert problems(database) == []


@pytest.mark.parametrize("db_engine", ["sqlite"], indirect=True)
def test_dangling_rows_are_counted_on_sqlite(database: Database) -> None:
    with database.write() as connection:
        add_pairs(connection, 3)
    change(database, "PRAGMA foreign_keys=OFF", "DELETE FROM catalogs WHERE id = 1")
    found = problems(database)
    assert {problem.kind for problem in found} == {ProblemKind.DANGLING}
    assert {problem.table for problem in found} == {"detections", "pair_groups"}
    assert "3 rows of detections refer by catalog_id to rows of catalogs" in found[0].message


@pytest.mark.postgres
@pytest.mark.parametrize("db_engine", ["postgresql"], indirect=True)
def test_dangling_rows_are_counted_on_postgresql(database: Database) -> None:
    with database.write() as connection:
        add_pairs(connection, 3)
    change(
        database,
        "SET session_replication_role = replica",
        "DELETE FROM catalogs WHERE id = 1",
        "SET session_replication_role = DEFAULT",
    )
    found = problems(database)
    assert {problem.kind for problem in found} == {ProblemKind.DANGLING}
    assert {problem.table for problem in found} == {"detections", "pair_groups"}


@pytest.mark.postgres
@pytest.mark.parametrize("db_engine", ["postgresql"], indirect=True)
def test_guards_that_are_switched_off_are_found_on_postgresql(database: Database) -> None:
    change(
        database,
        "ALTER TABLE epochs DISABLE TRIGGER ALL",
        "ALTER TABLE pmaps DROP CONSTRAINT ck_pmaps_number",
        "ALTER TABLE pmaps ADD CONSTRAINT ck_pmaps_number CHECK (number > 0) NOT VALID",
    )
    found = problems(database)
    assert {problem.kind for problem in found} == {ProblemKind.INTEGRITY}
    text = " ".join(problem.message for problem in found)
    assert "constraint ck_pmaps_number is not validated" in text
    assert "of epochs is switched off" in text


@pytest.mark.postgres
@pytest.mark.parametrize("db_engine", ["postgresql"], indirect=True)
def test_a_lost_check_is_found_on_postgresql(database: Database) -> None:
    change(database, "ALTER TABLE pmaps DROP CONSTRAINT ck_pmaps_number")
    assert problems(database) == [
        Problem(ProblemKind.SCHEMA, "pmaps", "CHECK ck_pmaps_number is missing from pmaps")
    ]


@pytest.mark.parametrize("db_engine", ["sqlite"], indirect=True)
def test_rows_that_break_a_check_are_found_on_sqlite(database: Database) -> None:
    with database.write() as connection:
        add_catalog(connection)
    change(
        database,
        "PRAGMA ignore_check_constraints=ON",
        "UPDATE exposures SET kind = 'uncal'",
        "PRAGMA ignore_check_constraints=OFF",
    )
    found = problems(database)
    assert [problem.kind for problem in found] == [ProblemKind.INTEGRITY]
    assert "exposures" in found[0].message


@pytest.mark.parametrize(
    ("statement", "table", "words"),
    [
        ("DROP INDEX ix_exposures_epoch_id", "exposures", "ix_exposures_epoch_id"),
        ("DROP TABLE refusals", "refusals", "add table refusals"),
        ("CREATE TABLE mine (id INTEGER)", "mine", "remove table mine"),
        ("ALTER TABLE pmaps ADD COLUMN colour TEXT", "pmaps", "remove column"),
    ],
)
def test_a_changed_schema_is_found(
    database: Database, statement: str, table: str, words: str
) -> None:
    change(database, statement)
    found = problems(database)
    assert {problem.kind for problem in found} == {ProblemKind.SCHEMA}
    assert table in {problem.table for problem in found}
    assert any(words in problem.message for problem in found), found
    assert all("\n" not in problem.message for problem in found)


def test_description_counts_rows_and_bytes(database: Database) -> None:
    with database.write() as connection:
        add_pairs(connection, 4)
    with database.read() as connection:
        found = describe_database(connection)
        assert table_counts(connection) == found.n_rows
    assert found.n_rows["detections"] == 8
    assert found.n_rows["pairs"] == 4
    assert found.n_rows["coefficient_sets"] == 0
    assert set(found.n_rows) == set(Base.metadata.tables)
    assert found.revision == head_revision()
    # Twenty empty tables with their indexes take a page of 4 KiB each, at least.
    assert found.size_bytes > 20 * 4096
    name, version = found.engine.split()
    assert name in ("SQLite", "PostgreSQL")
    assert version[0].isdigit()


def test_a_check_leaves_no_trace(database: Database) -> None:
    with database.read() as connection:
        before = table_counts(connection)
        names = sa.inspect(connection).get_table_names()
    problems(database)
    with database.read() as connection:
        assert table_counts(connection) == before
        assert sa.inspect(connection).get_table_names() == names


@pytest.mark.parametrize(
    "change",
    [
        None,
        "CREATE TABLE stranger (id INTEGER)",
        "DROP INDEX ix_exposures_epoch_id",
        "ALTER TABLE pmaps ADD COLUMN note TEXT",
    ],
)
def test_sqlite_tells_word_for_word_what_was_made(tmp_path: Path, change: str | None) -> None:
    url = str(tmp_path / "x.sqlite")
    init_database(url)
    with open_database(url) as database, database.write() as connection:
        if change is not None:
            connection.exec_driver_sql(change)
        is_as_made = dialect_of(connection).made_as(connection, Base.metadata)
        assert is_as_made is (change is None)
        kinds = {problem.kind for problem in check_database(connection)}
    assert kinds == (set() if change is None else {ProblemKind.SCHEMA})

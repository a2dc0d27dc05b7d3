"""One accepted set for a key: the database's own rule, and writers at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import TYPE_CHECKING

import psycopg
import pytest
import sqlalchemy as sa

from calreg import Registry
from calreg.db.engine import open_database
from calreg.db.health import check_database
from calreg.db.schema import AcceptanceRow, CoefficientSetRow
from calreg.errors import CalregError, ConflictError
from support.registryrows import MOMENT, add, refused_write
from support.setrows import SetRows

if TYPE_CHECKING:
    from calreg.db.engines.columns import ColumnValue

WHY = "all three epochs agree"


@pytest.mark.usefixtures("rows_of")
def test_the_database_itself_refuses_overlaps(db_url: str) -> None:
    with open_database(db_url) as database:
        with database.read() as connection:
            set_pk = connection.scalar(sa.select(sa.func.min(CoefficientSetRow.id)))
        plain: dict[str, ColumnValue] = {
            "set_pk": set_pk,
            "band": "F150W",
            "array_id": "1",
            "reason": WHY,
            "basis": "[]",
            "pmap_from_number": 1130,
            "pmap_to_number": 1298,
            "accepted_utc": MOMENT,
        }
        hour = timedelta(hours=1)
        with database.write() as connection:
            add(connection, AcceptanceRow, **plain, ended_utc=MOMENT + hour)
            # The next one begins when that ends; others are of another key or range.
            later = add(connection, AcceptanceRow, **(plain | {"accepted_utc": MOMENT + hour}))
            add(connection, AcceptanceRow, **(plain | {"band": "F200W"}))
            add(connection, AcceptanceRow, **(plain | {"array_id": "2", "pmap_to_number": None}))
            add(
                connection,
                AcceptanceRow,
                **(plain | {"pmap_to_number": 1500, "pmap_from_number": 1299}),
            )
            add(
                connection,
                AcceptanceRow,
                **(
                    plain
                    | {
                        "pmap_to_number": 1500,
                        "pmap_from_number": 1500,
                        "accepted_utc": MOMENT - hour,
                        "ended_utc": MOMENT,
                    }
                ),
            )
        overlapping: tuple[dict[str, ColumnValue], ...] = (
            {"ended_utc": MOMENT + timedelta(microseconds=1)},
            {"accepted_utc": MOMENT + 5 * hour, "pmap_from_number": 1298},
            {"accepted_utc": MOMENT + 5 * hour, "pmap_from_number": 1, "pmap_to_number": None},
            {"array_id": "2", "pmap_from_number": 9999, "pmap_to_number": 9999},
            {"array_id": "2", "pmap_from_number": 9999, "pmap_to_number": None},
        )
        for values in overlapping:
            with refused_write(database, ConflictError, "ex_acceptances_overlap") as connection:
                add(connection, AcceptanceRow, **(plain | values))
        with refused_write(database, ConflictError, "ex_acceptances_overlap") as connection:
            change = sa.update(AcceptanceRow).where(AcceptanceRow.id == later)
            connection.execute(change.values(accepted_utc=MOMENT))
        checked: tuple[tuple[dict[str, ColumnValue], str], ...] = (
            ({"pmap_to_number": 1129}, "ck_acceptances_pmap_to_number"),
            ({"reason": ""}, "ck_acceptances_reason"),
            ({"ended_utc": MOMENT - hour}, "ck_acceptances_ended_utc"),
        )
        for values, name in checked:
            with refused_write(database, ConflictError, name) as connection:
                add(connection, AcceptanceRow, **(plain | {"array_id": "3"} | values))


def test_a_database_without_the_rule_fails_the_check(db_engine: str, db_url: str) -> None:
    drop = {
        "sqlite": "DROP TRIGGER ex_acceptances_overlap_insert",
        "postgresql": "ALTER TABLE acceptances DROP CONSTRAINT ex_acceptances_overlap",
    }[db_engine]
    with open_database(db_url) as database:
        with database.write() as connection:
            connection.exec_driver_sql(drop)
        with database.read() as connection:
            (problem,) = check_database(connection)
    assert problem.table == "acceptances"
    assert "ex_acceptances_overlap" in problem.message


def test_an_acceptance_of_another_key_fails_the_check(db_url: str, rows_of: dict[str, str]) -> None:
    with Registry(db_url) as registry:
        registry.promote(rows_of["v1"], reason=WHY)
        assert registry.check() == []
    with open_database(db_url) as database, database.write() as connection:
        connection.execute(sa.update(AcceptanceRow).values(band="F200W"))
    with Registry(db_url) as registry:
        (problem,) = registry.check()
    assert problem.table == "acceptances"
    assert f"says F200W array 1, its set {rows_of['v1']} is of F150W" in problem.message


@pytest.mark.postgres
@pytest.mark.parametrize("db_engine", ["postgresql"])
def test_the_constraint_holds_without_our_lock(db_url: str, rows_of: dict[str, str]) -> None:
    """Writers that do not take turns: the second waits for the first, and is refused."""
    del rows_of
    insert = """
        INSERT INTO acceptances
            (set_pk, band, array_id, pmap_from_number, reason, basis, accepted_utc)
        SELECT min(id), 'F150W', '1', 1130, 'raw', '[]', now() FROM coefficient_sets
    """
    n_writers = 4
    start = Barrier(n_writers)

    def write_raw(_: int) -> str:
        with psycopg.connect(db_url) as connection:
            connection.execute("SELECT 1")
            start.wait()
            try:
                connection.execute(insert)
                connection.commit()
            except psycopg.errors.ExclusionViolation as error:
                return str(error.diag.constraint_name)
            except psycopg.errors.DeadlockDetected:
                return "ex_acceptances_overlap"  # Each saw the other's row; one of them goes on.
        return "written"

    with ThreadPoolExecutor(n_writers) as pool:
        outcomes = sorted(pool.map(write_raw, range(n_writers)))
    assert outcomes == ["ex_acceptances_overlap"] * (n_writers - 1) + ["written"]


def test_of_concurrent_promotions_one_wins(db_url: str) -> None:
    n_writers = 4
    with open_database(db_url) as database, database.write() as connection:
        rows = SetRows(connection)
        ids = [rows.add_set(1130, version, field=f"F{version}") for version in range(1, 5)]
    start = Barrier(n_writers)

    def promote(set_id: str) -> str:
        with Registry(db_url) as registry:
            start.wait()
            try:
                registry.promote(set_id, reason=WHY)
            except CalregError as error:
                return type(error).__name__
            return set_id

    with ThreadPoolExecutor(n_writers) as pool:
        outcomes = list(pool.map(promote, ids))
    (winner,) = set(outcomes) & set(ids)
    assert sorted(set(outcomes) - {winner}) == ["ConflictError"]
    assert outcomes.count("ConflictError") == n_writers - 1
    with open_database(db_url) as database, database.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(AcceptanceRow)) == 1
        assert check_database(connection) == []

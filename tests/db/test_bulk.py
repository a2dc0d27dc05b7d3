"""Columns into tables and back, the same on both engines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import numpy as np
import pytest
import sqlalchemy as sa

from calreg.db import bulk
from calreg.db.bulk import (
    fetch_columns,
    fetch_columns_fast,
    insert_columns,
    insert_rows,
    integer_list,
    reserve_ids,
)
from calreg.db.schema import CoefficientRow, DetectionRow, FieldRow, IngestRow, PmapRow
from calreg.errors import ConflictError, InvalidValueError
from support.registryrows import add_catalog

if TYPE_CHECKING:
    from calreg.db.engine import Database
    from calreg.db.engines.columns import ColumnValue

N_ROWS = 5000
NULLABLE = (
    "x", "y", "flux_ujy", "flux_err_ujy", "mag_ab", "mag_err",
    "x_det", "y_det", "v2_arcsec", "v3_arcsec", "r_half_arcsec",
)  # fmt: skip


def detections(n_rows: int = N_ROWS, seed: int = 7) -> dict[str, np.ndarray]:
    """Return columns of detections; every nullable one has NaN in its first half."""
    rng = np.random.default_rng(seed)
    columns: dict[str, np.ndarray] = {
        "number": rng.permutation(np.arange(1, n_rows + 1)),
        "ra_deg": rng.uniform(0, 360, n_rows),
        "dec_deg": rng.uniform(-90, 90, n_rows),
        "flags": rng.integers(0, 256, n_rows),
        "compactness": rng.integers(-1, 2, n_rows),
    }
    for name in NULLABLE:
        values = rng.normal(20, 5, n_rows)
        # More leading NULLs than ADBC reads before it settles a column's type by default.
        values[: n_rows // 2] = np.nan
        columns[name] = values
    return columns


ALL_DETECTIONS = sa.select(DetectionRow).order_by(DetectionRow.number)


@pytest.fixture
def catalog_id(database: Database) -> int:
    with database.write() as connection:
        return add_catalog(connection)


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    order = np.argsort(expected["number"])
    for name, values in expected.items():
        # Doubles travel in binary: the same bits, NaN in the same places.
        np.testing.assert_array_equal(found[name], values[order], err_msg=name)


def test_round_trip_keeps_every_bit_and_nan(database: Database, catalog_id: int) -> None:
    columns = detections()
    with database.write() as connection:
        n_rows = insert_columns(connection, DetectionRow, {"catalog_id": catalog_id, **columns})
    assert n_rows == N_ROWS
    with database.read() as connection:
        found = fetch_columns(connection, ALL_DETECTIONS)
    assert_same(found, columns)
    assert {name: values.dtype for name, values in found.items()} == {
        column.name: np.dtype(np.int64 if isinstance(column.type, sa.Integer) else np.float64)
        for column in DetectionRow.__table__.columns
    }
    assert np.all(found["catalog_id"] == catalog_id)


def test_round_trip_without_any_null(database: Database, catalog_id: int) -> None:
    columns = {name: np.nan_to_num(values) for name, values in detections().items()}
    with database.write() as connection:
        insert_columns(connection, DetectionRow, {"catalog_id": catalog_id, **columns})
    with database.read() as connection:
        assert_same(fetch_columns(connection, ALL_DETECTIONS), columns)


def test_nan_is_null_in_the_database(database: Database, catalog_id: int) -> None:
    with database.write() as connection:
        insert_columns(connection, DetectionRow, {"catalog_id": catalog_id, **detections()})
    with database.read() as connection:
        for name in NULLABLE:
            is_null = sa.select(sa.func.count()).where(DetectionRow.__table__.c[name].is_(None))
            assert connection.execute(is_null).scalar_one() == N_ROWS // 2


def test_fast_fetch_goes_through_adbc_and_gives_the_same(
    database: Database, catalog_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = detections()
    with database.write() as connection:
        insert_columns(connection, DetectionRow, {"catalog_id": catalog_id, **columns})
    with database.read() as connection:
        slow = fetch_columns(connection, ALL_DETECTIONS)
    monkeypatch.setattr(bulk, "fetch_columns", None)  # The other way would fail.
    fast = fetch_columns_fast(database, ALL_DETECTIONS)
    assert list(fast) == list(slow)
    for name, values in slow.items():
        np.testing.assert_array_equal(fast[name], values)
        assert fast[name].dtype == values.dtype
        assert fast[name].flags.writeable


def test_fast_fetch_without_adbc_gives_the_same(
    database: Database, catalog_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = detections(100)
    with database.write() as connection:
        insert_columns(connection, DetectionRow, {"catalog_id": catalog_id, **columns})
    for module in ("adbc_driver_sqlite", "adbc_driver_postgresql"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    assert_same(fetch_columns_fast(database, ALL_DETECTIONS), columns)


def test_fast_fetch_leaves_a_sqlite_file_alone_while_it_is_open(sqlite_template: object) -> None:
    from calreg.db.engine import open_database

    with open_database(str(sqlite_template)) as database:
        with database.arrow_cursor() as cursor:
            assert cursor is not None
        with database.read() as connection:
            connection.execute(sa.select(PmapRow.id)).all()
            with database.arrow_cursor() as cursor:
                assert cursor is None
        with database.arrow_cursor() as cursor:
            assert cursor is not None


def test_statements_with_parameters_are_written_out(database: Database) -> None:
    names = np.array(["it's 100% {a} :b", "plain", "ünïcode"], dtype=object)
    with database.write() as connection:
        insert_columns(connection, PmapRow, {"name": names, "number": np.array([1, 2, 3])})
        numbers = integer_list(connection, [1, 3, 99])
    statement = (
        sa.select(PmapRow.name, (PmapRow.number * 0.5).label("half"))
        .where(PmapRow.name.like("%s%%"), PmapRow.number.in_(numbers))
        .where(PmapRow.name == "it's 100% {a} :b")
    )
    with database.read() as connection:
        slow = fetch_columns(connection, statement)
    fast = fetch_columns_fast(database, statement)
    for found in (slow, fast):
        assert found["name"].tolist() == ["it's 100% {a} :b"]
        assert found["half"].tolist() == [0.5]


def test_empty_result_has_typed_columns(database: Database) -> None:
    with database.read() as connection:
        slow = fetch_columns(connection, sa.select(PmapRow.number, PmapRow.name))
    fast = fetch_columns_fast(database, sa.select(PmapRow.number, PmapRow.name))
    for found in (slow, fast):
        assert [(name, len(values), values.dtype) for name, values in found.items()] == [
            ("number", 0, np.dtype(np.int64)),
            ("name", 0, np.dtype(np.object_)),
        ]


def test_all_null_column_of_floats_is_nan(database: Database, catalog_id: int) -> None:
    columns = {name: values for name, values in detections(50).items() if name not in NULLABLE}
    with database.write() as connection:
        insert_columns(connection, DetectionRow, {"catalog_id": catalog_id, **columns})
    with database.read() as connection:
        slow = fetch_columns(connection, ALL_DETECTIONS)
    for found in (slow, fetch_columns_fast(database, ALL_DETECTIONS)):
        assert found["mag_ab"].dtype == np.float64
        assert np.all(np.isnan(found["mag_ab"]))


def test_null_among_integers_is_an_error(database: Database) -> None:
    with database.write() as connection:
        moment = datetime(2026, 1, 1, tzinfo=UTC)
        insert_columns(connection, FieldRow, {"name": "a", "created_utc": moment})
    statement = sa.select(FieldRow.merged_into_id)
    with (
        pytest.raises(InvalidValueError, match=r"merged_into_id.*coalesce"),
        database.read() as connection,
    ):
        fetch_columns(connection, statement)
    with pytest.raises(InvalidValueError, match=r"merged_into_id.*coalesce"):
        fetch_columns_fast(database, statement)


def test_text_times_and_nulls_of_any_kind(database: Database) -> None:
    zone = timezone(timedelta(hours=5))
    moments = np.array(
        [
            datetime(2023, 7, 6, 1, 2, 3, 456789, tzinfo=zone),
            datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC),
            datetime(2000, 1, 1, tzinfo=UTC),
        ],
        dtype=object,
    )
    names = np.array(["", "Ω" * 3000, "field"], dtype=object)
    with database.write() as connection:
        insert_columns(
            connection,
            FieldRow,
            {
                "id": np.array([1, 2, 3]),
                "name": names,
                "merged_into_id": np.array([np.nan, 1.0, np.nan]),
                "created_utc": moments,
            },
        )
    statement = sa.select(
        FieldRow.name,
        sa.func.coalesce(FieldRow.merged_into_id, -1).label("merged"),
        FieldRow.created_utc,
    ).order_by(FieldRow.id)
    with database.read() as connection:
        slow = fetch_columns(connection, statement)
    for found in (slow, fetch_columns_fast(database, statement)):
        assert found["name"].tolist() == names.tolist()
        assert found["merged"].tolist() == [-1, 1, -1]
        assert found["created_utc"].tolist() == moments.tolist()
        assert all(moment.tzinfo is UTC for moment in found["created_utc"])


def test_bulk_and_sqlalchemy_store_times_alike(database: Database) -> None:
    moments = [datetime(2026, 5, 4, 3, 2, 1, 7, tzinfo=UTC), datetime(2026, 5, 4, tzinfo=UTC)]
    with database.write() as connection:
        for moment in moments:
            insert_columns(connection, IngestRow, {"started_utc": moment, "code_version": "bulk"})
        insert_columns(
            connection,
            IngestRow,
            {
                "started_utc": np.array(
                    [moment.replace(tzinfo=None) for moment in moments], dtype="datetime64[ns]"
                ),
                "code_version": "numpy",
            },
        )
        insert_rows(
            connection,
            IngestRow,
            [{"started_utc": moment, "code_version": "core"} for moment in moments],
        )
    with database.read() as connection:
        counts = connection.execute(
            sa.select(IngestRow.started_utc, sa.func.count()).group_by(IngestRow.started_utc)
        ).all()
    assert sorted((row[0], row[1]) for row in counts) == [(moment, 3) for moment in sorted(moments)]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"name": "a"}, None),
        ({"name": "a", "number": 1, "nmae": 2}, "no column 'nmae'"),  # codespell:ignore nmae
        ({"name": np.array(["a"], object), "number": np.array([1, 2])}, "different lengths"),
        ({"name": "a", "number": 2**31}, "outside"),
        ({"name": "a", "number": -(2**31) - 1}, "outside"),
        ({"name": "a", "number": 1.5}, "expected integers"),
        ({"name": "a", "number": np.nan}, "takes none"),
        ({"name": "a", "number": "1"}, "expected integers"),
        ({"name": None, "number": 1}, "takes none"),
        ({"name": 1, "number": 1}, "expected text"),
        ({"name": "a\0b", "number": 1}, "NUL"),
        ({"name": "a", "number": np.array([[1]])}, "one dimension"),
    ],
)
def test_columns_that_do_not_fit_are_refused_before_anything_is_sent(
    database: Database, columns: dict[str, object], message: str | None
) -> None:
    # A column that is merely missing is the database's to refuse.
    expected = InvalidValueError if message else ConflictError
    with pytest.raises(expected, match=message), database.write() as connection:
        insert_columns(connection, PmapRow, columns)  # type: ignore[arg-type]
    with database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(PmapRow)).scalar() == 0


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("mag_ab", np.inf, "infinite"),
        ("mag_ab", -np.inf, "infinite"),
        ("ra_deg", np.nan, "1 of 3 are NULL or NaN"),
        ("mag_ab", "20", "expected numbers"),
    ],
)
def test_floats_that_do_not_fit_are_refused(
    database: Database, catalog_id: int, name: str, value: object, message: str
) -> None:
    columns = dict(detections(3).items())
    columns[name] = np.array([1.0, value, 2.0], dtype=None if isinstance(value, float) else "U4")
    with pytest.raises(InvalidValueError, match=message), database.write() as connection:
        insert_columns(connection, DetectionRow, {"catalog_id": catalog_id, **columns})


def test_naive_times_are_refused(database: Database) -> None:
    row: dict[str, ColumnValue] = {"started_utc": datetime(2026, 1, 1), "code_version": "x"}
    with pytest.raises(InvalidValueError, match="time zone"), database.write() as connection:
        insert_columns(connection, IngestRow, row)


def test_no_rows_are_no_work(database: Database) -> None:
    with database.write() as connection:
        empty = {"name": np.array([], dtype=object), "number": np.array([], dtype=np.int64)}
        assert insert_columns(connection, PmapRow, empty) == 0
        assert insert_rows(connection, PmapRow, []) == []
        assert len(reserve_ids(connection, PmapRow, 0)) == 0


def test_batches_join_seamlessly(database: Database, catalog_id: int) -> None:
    # More rows than one batch of either engine holds, with and without NULLs at the seams.
    n_rows = 70_000
    number = np.arange(1, n_rows + 1)
    mag = np.where(number % 3 == 0, np.nan, number / 7)
    with database.write() as connection:
        insert_columns(
            connection,
            DetectionRow,
            {
                "catalog_id": catalog_id,
                "number": number,
                "ra_deg": number / 1000,
                "dec_deg": 0.0,
                "mag_ab": mag,
                "flags": 0,
                "compactness": -1,
            },
        )
    found = fetch_columns_fast(
        database,
        sa.select(DetectionRow.number, DetectionRow.mag_ab).order_by(DetectionRow.number),
    )
    np.testing.assert_array_equal(found["number"], number)
    np.testing.assert_array_equal(found["mag_ab"], mag)


def test_inserted_ids_come_in_order(database: Database) -> None:
    numbers = np.random.default_rng(3).permutation(np.arange(1, 2001))
    with database.write() as connection:
        rows = [{"name": f"jwst_{number}", "number": int(number)} for number in numbers]
        ids = insert_rows(connection, PmapRow, rows)
        stored = dict(iter(connection.execute(sa.select(PmapRow.id, PmapRow.number))))
    assert [stored[id_] for id_ in ids] == numbers.tolist()


def test_reserved_ids_do_not_meet_given_ones(database: Database) -> None:
    with database.write() as connection:
        first = insert_rows(connection, PmapRow, [{"name": "a", "number": 1}])
        ids = reserve_ids(connection, PmapRow, 3)
        names = np.array(["b", "c", "d"], dtype=object)
        insert_columns(connection, PmapRow, {"id": ids, "name": names, "number": ids + 100})
        last = insert_rows(connection, PmapRow, [{"name": "e", "number": 2}])
    assert len({*first, *ids.tolist(), *last}) == 5
    assert ids.tolist() == sorted(ids.tolist())


def test_long_integer_lists_are_one_parameter(database: Database) -> None:
    with database.write() as connection:
        ids = reserve_ids(connection, PmapRow, 100)
        names = np.array([f"p{id_}" for id_ in ids], dtype=object)
        insert_columns(connection, PmapRow, {"id": ids, "name": names, "number": ids})
    wanted = [int(ids[3]), int(ids[50]), *range(10**6, 10**6 + 100_000)]
    with database.read() as connection:
        statement = sa.select(PmapRow.id).where(PmapRow.id.in_(integer_list(connection, wanted)))
        assert sorted(connection.execute(statement).scalars()) == wanted[:2]
        assert (
            connection.execute(
                sa.select(PmapRow.id).where(PmapRow.id.in_(integer_list(connection, [])))
            ).all()
            == []
        )


def test_names_of_columns_may_not_collide(database: Database) -> None:
    statement = sa.select(PmapRow.id, CoefficientRow.set_pk.label("id"))
    with (
        pytest.raises(InvalidValueError, match="share a name"),
        database.read() as connection,
    ):
        fetch_columns(connection, statement)


@pytest.mark.parametrize(
    ("name", "stored"),
    [("plain", "plain"), ("\u00e4", "\u00e4"), ("x\udcff", "x\\xff"), ("\ud800", "\\ud800")],
)
def test_text_that_is_not_utf_8_is_stored_escaped(
    database: Database, name: str, stored: str
) -> None:
    with database.write() as connection:
        insert_columns(connection, PmapRow, {"name": np.array([name]), "number": np.array([1])})
        insert_rows(connection, PmapRow, [{"name": f"{name}2", "number": 2}])
    with database.read() as connection:
        statement = sa.select(PmapRow.name).order_by(PmapRow.number)
        assert list(connection.execute(statement).scalars()) == [stored, f"{stored}2"]
        found = sa.select(PmapRow.number).where(PmapRow.name == f"{name}2")
        assert connection.execute(found).scalar() == 2

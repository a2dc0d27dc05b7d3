"""Detections read into arrays, beside ADBC's own Arrow fetch."""

from __future__ import annotations

from contextlib import AbstractContextManager, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import adbc_driver_postgresql.dbapi
import adbc_driver_sqlite.dbapi
import numpy as np
import sqlalchemy as sa

from benchmarks.databases import ENGINES, gather_statistics, libpq_uri
from benchmarks.harness import Contender, Result, alternate, rate, speed_result
from benchmarks.writing import add_catalogs, simulated_detections
from calreg.db.bulk import fetch_columns, fetch_columns_fast, insert_columns
from calreg.db.engine import open_database
from calreg.db.schema import DetectionRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import adbc_driver_manager.dbapi

    from benchmarks.harness import Setting
    from calreg.db.engine import Database

_N_CATALOGS = 10
_AT_LEAST = 0.9
_COLUMNS = ("catalog_id", "number", "ra_deg", "dec_deg", "mag_ab", "mag_err", "flags")
_SQL = f"SELECT {', '.join(_COLUMNS)} FROM detections ORDER BY catalog_id, number"  # noqa: S608


def run(setting: Setting) -> Iterator[Result]:
    """Read all detections into arrays: calreg's fast way, and the way inside a transaction."""
    statement = sa.select(*(getattr(DetectionRow, name) for name in _COLUMNS)).order_by(
        DetectionRow.catalog_id, DetectionRow.number
    )
    for engine in ENGINES:
        url = setting.databases.make(engine)
        with open_database(url) as database:
            with database.write() as connection:
                add_catalogs(connection, _N_CATALOGS)
                for number in range(1, _N_CATALOGS + 1):
                    batch = simulated_detections(number, setting.n_rows // _N_CATALOGS)
                    insert_columns(connection, DetectionRow, batch)
            gather_statistics(url)
            _require_equal(database, statement, url)
            peer = Contender("ADBC fetch_arrow_table", _arrow(url))
            fast = Contender("fast", partial(fetch_columns_fast, database, statement))
            alternate([fast, peer], setting.n_rounds)
            yield speed_result(
                f"{setting.n_rows} detections read into arrays, {engine}",
                fast,
                peer,
                n=setting.n_rows,
                unit=" rows",
                at_least=_AT_LEAST,
            )
            inside = Contender("inside", _inside(database, statement))
            alternate([inside, peer], setting.n_rounds)
            yield Result(
                f"  inside a transaction of ours, without ADBC, {engine}",
                rate(setting.n_rows, inside.median_s, " rows"),
                rate(setting.n_rows, peer.median_s, " rows"),
                peer.median_s / inside.median_s,
            )


def _inside(
    database: Database, statement: sa.Select[*tuple[object, ...]]
) -> Callable[[], dict[str, np.ndarray]]:
    """Read through a connection of ours, as refit does."""

    def read() -> dict[str, np.ndarray]:
        with database.read() as connection:
            return fetch_columns(connection, statement)

    return read


def _connect(url: str) -> AbstractContextManager[adbc_driver_manager.dbapi.Connection]:
    """Connect as a user of ADBC would."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return closing(adbc_driver_sqlite.dbapi.connect(Path(str(parsed.database)).as_uri()))
    return closing(adbc_driver_postgresql.dbapi.connect(libpq_uri(url)))


def _arrow(url: str) -> Callable[[], object]:
    """Read into an Arrow table, connection included."""

    def read() -> object:
        with _connect(url) as connection, connection.cursor() as cursor:
            cursor.execute(_SQL)
            return cursor.fetch_arrow_table()

    return read


def _require_equal(database: Database, statement: sa.Select[*tuple[object, ...]], url: str) -> None:
    """Raise unless both of our ways read the same, and as much as the peer."""
    fast = fetch_columns_fast(database, statement)
    plain = _inside(database, statement)()
    for name, values in fast.items():
        if not np.array_equal(values, plain[name], equal_nan=values.dtype.kind == "f"):
            msg = f"the two ways to read detections differ in {name}"
            raise RuntimeError(msg)
    with _connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(_SQL)
        if cursor.fetch_arrow_table().num_rows != len(fast["number"]):
            msg = "ADBC reads another number of rows"
            raise RuntimeError(msg)

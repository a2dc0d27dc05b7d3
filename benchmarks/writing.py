"""Detections written, beside the drivers' own fastest ways on the same table."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import psycopg
import sqlalchemy as sa

from benchmarks.databases import ENGINES, libpq_uri
from benchmarks.harness import Contender, Result, alternate, rate, speed_result
from calreg.db.bulk import insert_columns
from calreg.db.engine import Database, open_database
from calreg.db.schema import (
    Base,
    CatalogRow,
    DetectionRow,
    EpochRow,
    ExposureRow,
    FieldRow,
    IngestRow,
    PmapRow,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from benchmarks.harness import Setting
    from calreg.db.engines.columns import ColumnValue

    Columns = dict[str, NDArray[np.generic]]

_N_CATALOGS = 10
_AT_LEAST = 0.9
_CONTRAST_SHARE = 20
"""SQLAlchemy's own bulk insert gets this part of the rows: it is slow."""

_MOMENT = datetime(2023, 9, 1, tzinfo=UTC)
_DIGEST = "0" * 64
_TABLE = DetectionRow.__table__
_NAMES = [column.name for column in _TABLE.columns]
_INTEGERS = ("catalog_id", "number", "flags", "compactness")


def run(setting: Setting) -> Iterator[Result]:
    """Write detections in batches of one catalog, one transaction each, into an empty table.

    Both sides start from NumPy arrays: converting to Python objects (SQLite) or packing the bytes
    of COPY (PostgreSQL) is part of the time, and so are commit and foreign keys.
    """
    n_each = setting.n_rows // _N_CATALOGS
    batches = [simulated_detections(number, n_each) for number in range(1, _N_CATALOGS + 1)]
    for engine in ENGINES:
        target = _Target(setting, engine)
        if engine == "SQLite":
            peer = Contender("executemany", target.peer_sqlite(batches), target.renew)
        else:
            peer = Contender("NumPy-packed COPY", target.peer_copy(batches), target.renew)
        ours = Contender("insert_columns", target.ours(batches), target.renew)
        alternate([ours, peer], setting.n_rounds)
        target.require_rows(setting.n_rows)
        yield speed_result(
            f"{setting.n_rows} detections written, a transaction per {n_each}, {engine}",
            ours,
            peer,
            n=setting.n_rows,
            unit=" rows",
            at_least=_AT_LEAST,
        )
        n_few = n_each // _CONTRAST_SHARE * _N_CATALOGS
        few = [simulated_detections(n + 1, n_few // _N_CATALOGS) for n in range(_N_CATALOGS)]
        core = Contender("SQLAlchemy Core", target.sqlalchemy_core(few), target.renew)
        alternate([core], setting.n_rounds)
        yield Result(
            f"  for contrast: SQLAlchemy Core's bulk insert of {n_few}, {engine}",
            rate(n_few, core.median_s, " rows"),
        )
        target.database.close()


def simulated_detections(catalog_id: int, n_rows: int) -> Columns:
    """Return the columns of one catalog; one in fifty has no magnitude."""
    rng = np.random.default_rng(catalog_id)
    flux_ujy = rng.lognormal(0.0, 2.0, n_rows)
    flux_err_ujy = np.full(n_rows, 0.02)
    mag_ab = 23.9 - 2.5 * np.log10(flux_ujy)
    mag_ab[::50] = np.nan
    mag_err = 1.0857 * flux_err_ujy / flux_ujy
    mag_err[::50] = np.nan
    return {
        "catalog_id": np.full(n_rows, catalog_id),
        "number": np.arange(1, n_rows + 1),
        "ra_deg": rng.uniform(260.6, 260.8, n_rows),
        "dec_deg": rng.uniform(65.7, 65.9, n_rows),
        "x": rng.uniform(0.0, 2047.0, n_rows),
        "y": rng.uniform(0.0, 2047.0, n_rows),
        "flux_ujy": flux_ujy,
        "flux_err_ujy": flux_err_ujy,
        "mag_ab": mag_ab,
        "mag_err": mag_err,
        "flags": rng.integers(0, 4, n_rows),
        "x_det": rng.uniform(0.0, 2047.0, n_rows),
        "y_det": rng.uniform(0.0, 2047.0, n_rows),
        "v2_arcsec": rng.uniform(-150.0, 150.0, n_rows),
        "v3_arcsec": rng.uniform(-560.0, -430.0, n_rows),
        "r_half_arcsec": rng.uniform(0.04, 0.3, n_rows),
        "compactness": rng.integers(-1, 2, n_rows),
    }


def add_catalogs(connection: sa.Connection, n_catalogs: int) -> None:
    """Insert catalogs 1 ... `n_catalogs` with all that they refer to."""
    plain: dict[type[Base], dict[str, ColumnValue]] = {
        PmapRow: {"name": "jwst_1130.pmap", "number": 1130},
        IngestRow: {},
        FieldRow: {"name": "JWIDF"},
        EpochRow: {},
        ExposureRow: {"array": "nrca1", "kind": "cal", "expend_mjd_utc": 2.0},
    }
    for row_class, values in plain.items():
        insert_columns(connection, row_class, {**_required(row_class), **values, "id": 1})
    for catalog_id in range(1, n_catalogs + 1):
        catalog: dict[str, ColumnValue] = {
            "id": catalog_id,
            "flux_kind": "aper",
            "aperture": str(catalog_id),
            "mag_origin": "flux",
            "origin": "file",
        }
        insert_columns(connection, CatalogRow, {**_required(CatalogRow), **catalog})


def _required(row_class: type[Base]) -> dict[str, ColumnValue]:
    """Return a plain value for every column that must have one."""
    values: dict[str, ColumnValue] = {}
    for column in row_class.__table__.columns:
        if column.nullable or column.name == "id":
            continue
        if column.name.endswith("sha256"):
            values[column.name] = _DIGEST
        elif isinstance(column.type, sa.Text):
            values[column.name] = ""
        elif isinstance(column.type, sa.Integer | sa.Float):
            values[column.name] = 1
        else:
            values[column.name] = _MOMENT
    return values


def _our_pragmas(database: Database) -> list[str]:
    """Return what calreg sets on its SQLite connections, to set it on the peer's too."""
    names = ("foreign_keys", "synchronous", "cache_size", "trusted_schema")
    with database.connect() as connection:
        values = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names}
    return [f"PRAGMA {name}={value}" for name, value in values.items()]


class _Target:
    """A registry with catalogs and no detections, made anew for every round."""

    def __init__(self, setting: Setting, engine: str) -> None:
        self._databases = setting.databases
        self._original = setting.databases.make(engine)
        with open_database(self._original) as database, database.write() as connection:
            add_catalogs(connection, _N_CATALOGS)
        self.url = self._original
        self.database = open_database(self.url)

    def renew(self) -> None:
        """Take a fresh copy."""
        self.database.close()
        self.url = self._databases.copy(self._original)
        self.database = open_database(self.url)

    def require_rows(self, n_rows: int) -> None:
        """Raise unless the last round wrote all rows."""
        with self.database.read() as connection:
            found = connection.scalar(sa.select(sa.func.count()).select_from(_TABLE))
        if found != n_rows:
            msg = f"{n_rows} rows were to be written, found {found}"
            raise RuntimeError(msg)

    def ours(self, batches: list[Columns]) -> Callable[[], None]:
        """Write as `Registry.ingest` does."""

        def write() -> None:
            for batch in batches:
                with self.database.write() as connection:
                    insert_columns(connection, _TABLE, batch)

        return write

    def sqlalchemy_core(self, batches: list[Columns]) -> Callable[[], None]:
        """Write with SQLAlchemy's bulk insert."""

        def write() -> None:
            for batch in batches:
                with self.database.write() as connection:
                    values = zip(*(_python_objects(batch[name]) for name in _NAMES), strict=True)
                    rows = [dict(zip(_NAMES, row, strict=True)) for row in values]
                    connection.execute(sa.insert(DetectionRow), rows)

        return write

    def peer_sqlite(self, batches: list[Columns]) -> Callable[[], None]:
        """Write with the standard library's executemany, NaN bound as NULL by the driver."""
        statement = f"INSERT INTO detections VALUES ({', '.join('?' * len(_NAMES))})"  # noqa: S608
        pragmas = _our_pragmas(self.database)

        def write() -> None:
            path = str(sa.make_url(self.url).database)
            connection = sqlite3.connect(path, isolation_level=None)
            for pragma in pragmas:
                connection.execute(pragma)
            for batch in batches:
                connection.execute("BEGIN IMMEDIATE")
                rows = zip(*(batch[name].tolist() for name in _NAMES), strict=True)
                connection.executemany(statement, rows)
                connection.execute("COMMIT")
            connection.close()

        return write

    def peer_copy(self, batches: list[Columns]) -> Callable[[], None]:
        """Write with binary COPY, rows packed by NumPy as plainly as NULLs allow."""

        def write() -> None:
            with psycopg.connect(libpq_uri(self.url)) as connection:
                for batch in batches:
                    with connection.cursor().copy(
                        f"COPY detections ({', '.join(_NAMES)}) FROM STDIN (FORMAT BINARY)".encode()
                    ) as copy:
                        copy.write(_packed(batch))
                    connection.commit()

        return write


def _python_objects(values: NDArray[np.generic]) -> list[object]:
    """Return Python numbers, None for NaN."""
    if values.dtype.kind != "f":
        return list(values.tolist())
    return [None if value != value else value for value in values.tolist()]


def _packed(batch: Columns) -> bytes:
    """Return the bytes of a binary COPY: all rows with magnitudes, then all without."""
    is_null = np.isnan(batch["mag_ab"].astype(np.float64))
    parts = [b"PGCOPY\n\xff\r\n\0" + b"\0" * 8]
    for rows, missing in ((~is_null, ()), (is_null, ("mag_ab", "mag_err"))):
        layout: list[tuple[str, str]] = [("n_fields", ">i2")]
        for name in _NAMES:
            layout.append((f"length_{name}", ">i4"))
            if name not in missing:
                layout.append((name, ">i4" if name in _INTEGERS else ">f8"))
        packed = np.empty(int(rows.sum()), dtype=layout)
        packed["n_fields"] = len(_NAMES)
        for name in _NAMES:
            if name in missing:
                packed[f"length_{name}"] = -1
                continue
            packed[f"length_{name}"] = 4 if name in _INTEGERS else 8
            packed[name] = batch[name][rows]
        parts.append(packed.tobytes())
    return b"".join([*parts, b"\xff\xff"])

"""Coefficient sets and zero points as plain rows, for tests that need no fit."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from calreg.db.bulk import insert_rows
from calreg.db.engine import open_database
from calreg.db.queries.exposures import ensure_pmaps
from calreg.db.queries.fitruns import insert_set
from calreg.db.schema import CoefficientSetRow, FieldRow, FitRunRow, IngestRow, ZeroPointRow
from calreg.domain import Pmap
from calreg.files.exchange.recipe import read_recipe
from calreg.instruments import load_instrument
from calreg.refit.keyfit import make_set_id
from calreg.science.zeropoints import single_precision
from support.registryrows import add, plain_row

if TYPE_CHECKING:
    from pathlib import Path

    import sqlalchemy as sa

    from calreg import Registry
    from calreg.db.engines.columns import ColumnValue

EARLY = datetime(2024, 1, 1, tzinfo=UTC)


class SetRows:
    """Adds sets and zero points to one registry; fields by name are made once."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        self.fields: dict[str, int] = {}
        self.fit_run_id = add(connection, FitRunRow, settings="{}")
        self.ingest_id = add(connection, IngestRow, started_utc=EARLY)

    def add_set(
        self,
        pmap: int = 1130,
        version: int = 1,
        *,
        offset_mag: float = 0.01,
        field: str = "JWIDF",
        **values: ColumnValue,
    ) -> str:
        """Add a set of F150W array 1, unless told otherwise; return its id."""
        if field not in self.fields:
            self.fields[field] = add(self.connection, FieldRow, name=field)
        number = Pmap(pmap)
        key = f"{field} {pmap} {version} {sorted(values.items())}"
        digest = hashlib.sha256(key.encode()).hexdigest()
        row = plain_row(
            CoefficientSetRow,
            set_id=make_set_id(digest, version),
            fit_run_id=self.fit_run_id,
            field_id=self.fields[field],
            pmap_id=ensure_pmaps(self.connection, [number])[number.number],
            filter="F150W",
            pupil="CLEAR",
            band="F150W",
            array_id="1",
            image_kind="i2d",
            flux_kind="iso",
            model="pair",
            version=version,
            datum="B",
            settings="{}",
            input_digest=digest,
            created_utc=EARLY,
        )
        coefficient = {"name": "offset_ab", "value": offset_mag, "err": 0.001, "unit": "mag"}
        covariance = {"name_1": "offset_ab", "name_2": "offset_ab", "value": 0.001**2}
        insert_set(
            self.connection,
            {**row, **values},
            coefficients=[coefficient],
            covariances=[covariance],
            inputs=[],
        )
        return str({**row, **values}["set_id"])

    def add_zero_points(
        self, pmap: int, photmjsr_a: float, photmjsr_b: float | None, band: str = "F150W"
    ) -> None:
        """Record PHOTMJSR of nrca1 and nrcb1 in F150W, or another wide band."""
        number = Pmap(pmap)
        pmap_id = ensure_pmaps(self.connection, [number])[number.number]
        rows = [
            plain_row(
                ZeroPointRow,
                pmap_id=pmap_id,
                ingest_id=self.ingest_id,
                array=array,
                filter=band,
                pupil="CLEAR",
                band=band,
                subarray="FULL",
                photmjsr=value,
                photmjsr_half_width=single_precision(value).half_width,
                kind="published",
                source=f"table of {pmap}",
            )
            for array, value in (("nrca1", photmjsr_a), ("nrcb1", photmjsr_b))
            if value is not None
        ]
        insert_rows(self.connection, ZeroPointRow, rows)


@pytest.fixture
def rows_of(db_url: str) -> dict[str, str]:
    """Fill a registry with versions of one key in two contexts; return set ids by name.

    PHOTMJSR are equal in 1130, 1253 and 1298; 1200 is seen but not recorded; 1126 and 1400 differ.
    """
    with open_database(db_url) as database, database.write() as connection:
        rows = SetRows(connection)
        ids = {
            "v1": rows.add_set(1130, 1, offset_mag=0.010),
            "v2": rows.add_set(1130, 2, offset_mag=0.020),
            "later": rows.add_set(1298, 1, offset_mag=0.030),
        }
        rows.add_zero_points(1126, 2.40, 2.44)
        rows.add_zero_points(1130, 2.412, 2.447)
        rows.add_zero_points(1200, 2.412, None)
        rows.add_zero_points(1253, 2.412, 2.447)
        rows.add_zero_points(1298, 2.412, 2.447)
        rows.add_zero_points(1400, 2.412, 2.450)
    return ids


def exported_offset(registry: Registry, path: Path, pmap: str, **options: object) -> float:
    """Return the offset that a recipe for a context holds."""
    registry.export_recipe(path, pmap=pmap, overwrite=True, **options)  # type: ignore[arg-type]
    (row,) = read_recipe(path, load_instrument()).rows
    return row.offset_ab_mag

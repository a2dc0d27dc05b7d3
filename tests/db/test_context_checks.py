"""What the database itself refuses about zero points, reference files, equalities and residuals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from calreg.db.schema import PmapEqualityRow, ReferenceFileRow
from calreg.errors import ConflictError
from support.contextrows import ContextRows
from support.registryrows import MOMENT, add, refused_write

if TYPE_CHECKING:
    from calreg.db.engine import Database
    from calreg.db.engines.columns import ColumnValue


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"kind": "guess"}, "ck_zero_points_kind"),
        ({"photmjsr_half_width": 0.0}, "ck_zero_points_photmjsr_half_width"),
        ({"pixar_half_width_sr": -1.0}, "ck_zero_points_pixar_half_width_sr"),
    ],
)
def test_zero_points(database: Database, values: dict[str, ColumnValue], name: str) -> None:
    with refused_write(database, ConflictError, rf"\b{name}\b") as connection:
        ContextRows(connection).photmjsr("1130", "nrca1", 1.9, **values)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"kind": "dark"}, "ck_reference_files_kind"),
        ({"file_name": ""}, "ck_reference_files_file_name"),
    ],
)
def test_reference_files(database: Database, values: dict[str, ColumnValue], name: str) -> None:
    plain: dict[str, ColumnValue] = {"kind": "flat", "file_name": "f.fits"}
    with refused_write(database, ConflictError, rf"\b{name}\b") as connection:
        rows = ContextRows(connection)
        keys: dict[str, ColumnValue] = {
            "pmap_id": rows.pmap_id("1130"),
            "ingest_id": rows.ingest_id,
        }
        add(connection, ReferenceFileRow, **(plain | keys | values))


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"reason": ""}, "ck_pmap_equalities_reason"),
        ({"withdrawn_utc": MOMENT}, "ck_pmap_equalities_withdrawn_reason"),
        ({"withdrawn_reason": "no"}, "ck_pmap_equalities_withdrawn_reason"),
    ],
)
def test_equalities(database: Database, values: dict[str, ColumnValue], name: str) -> None:
    with refused_write(database, ConflictError, rf"\b{name}\b") as connection:
        rows = ContextRows(connection)
        keys: dict[str, ColumnValue] = {
            "pmap_1_id": rows.pmap_id("1130"),
            "pmap_2_id": rows.pmap_id("1298"),
            "reason": "believed",
        }
        add(connection, PmapEqualityRow, **(keys | values))


def test_a_context_does_not_equal_itself(database: Database) -> None:
    with refused_write(database, ConflictError, "ck_pmap_equalities_pmap_2_id") as connection:
        ContextRows(connection).equality("1130", "1130", "of course")

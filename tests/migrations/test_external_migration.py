"""Revision 0006: recipes that were imported before come through; what 0005 cannot keep stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from calreg import Registry
from calreg.db.engine import migrate_database, open_database, upgrade_database
from calreg.db.health import check_database
from calreg.db.schema import ExternalSolutionRow
from support.externaltables import CSV, write
from support.registryrows import DIGEST, add, add_exposure

if TYPE_CHECKING:
    from pathlib import Path


def test_recipes_come_through_both_ways(db_url: str) -> None:
    with open_database(db_url) as database, database.write() as connection:
        add_exposure(connection)
        add(
            connection,
            ExternalSolutionRow,
            ingest_id=1,
            pmap_id=1,
            source="Ma et al. 2024",
            band="F200W",
            array_id="2",
            offset_ab_mag=-0.0527,
            offset_ab_err_mag=0.0012,
            file_sha256=DIGEST,
            sense="multiply",
            method="star",
            state="measured",
            datum="given",
        )
    assert migrate_database(db_url, "0005")[-1] == "0006"
    upgrade_database(db_url)
    with open_database(db_url) as database, database.read() as connection:
        assert check_database(connection) == []
        row = connection.execute(sa.select(ExternalSolutionRow.__table__)).one()
    assert (row.source, row.offset_ab_mag, row.offset_ab_err_mag) == (
        "Ma et al. 2024",
        -0.0527,
        0.0012,
    )
    assert (row.sense, row.method, row.state, row.datum) == (
        "multiply",
        "star",
        "measured",
        "given",
    )
    assert row.pixar_ab_mag is None


def test_other_solutions_are_not_lost(db_url: str, tmp_path: Path) -> None:
    with Registry(db_url) as registry:
        registry.import_csv(
            write(tmp_path / "t.csv", CSV), source="stars", sense="divide", method="star"
        )
    with pytest.raises(RuntimeError, match="stay at 0006"):
        migrate_database(db_url, "0005")
    with Registry(db_url, read_only=True) as registry:
        assert len(registry.compare()) == 2

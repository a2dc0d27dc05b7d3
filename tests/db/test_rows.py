"""Dataclasses are filled from rows by the names of their fields, and by nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from calreg.db.engine import open_database
from calreg.db.queries.rows import columns_of, fill
from calreg.db.schema import IngestRow, PmapRow, ZeroPointRow
from calreg.domain import Pmap, ZeroPointKind
from support.registryrows import add

if TYPE_CHECKING:
    from calreg.db.engine import Connection


@dataclass(frozen=True)
class Point:
    """A few columns of zero points, in an order of its own."""

    pmap: Pmap
    kind: ZeroPointKind
    array: str
    pixar_sr: float | None
    note: str = "none"


def add_point(connection: Connection) -> None:
    pmap_id = add(connection, PmapRow, name="jwst_1130.pmap", number=1130)
    add(connection, ZeroPointRow, pmap_id=pmap_id, array="nrca1", kind="table", ingest_id=1)


@pytest.fixture
def statement() -> sa.Select[*tuple[object, ...]]:
    columns = columns_of(Point, ZeroPointRow, pmap=PmapRow.number)
    return sa.select(*columns).join(PmapRow, PmapRow.id == ZeroPointRow.pmap_id)


def test_values_are_converted_by_the_annotations(
    db_url: str, statement: sa.Select[*tuple[object, ...]]
) -> None:
    with open_database(db_url) as database, database.write() as connection:
        add(connection, IngestRow)
        add_point(connection)
        (found,) = fill(Point, connection.execute(statement))
    assert found == Point(Pmap(1130), ZeroPointKind.TABLE, "nrca1", None)
    assert isinstance(found.kind, ZeroPointKind)


def test_columns_in_another_order_are_refused(db_url: str) -> None:
    statement = sa.select(ZeroPointRow.array, ZeroPointRow.kind)
    with (
        open_database(db_url) as database,
        database.read() as connection,
        pytest.raises(TypeError, match=r"\('array', 'kind'\) do not begin the fields of Point"),
    ):
        fill(Point, connection.execute(statement))

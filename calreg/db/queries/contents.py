"""Whole tables as columns, with the units and meanings that their comments give."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from calreg.db.bulk import fetch_columns
from calreg.db.engines.types import ColumnKind, column_kind
from calreg.db.schema import Base, CatalogRow, DeliveryRow, ExposureRow
from calreg.domain import CatalogOrigin

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_UNIT = re.compile(r"\[([^,\]]+)")
_UNITS = {
    "deg": "deg",
    "arcsec": "arcsec",
    "arcmin": "arcmin",
    "mas": "mas",
    "mag": "mag",
    "mag AB": "mag(AB)",
    "mag / arcmin": "mag / arcmin",
    "d": "d",
    "s": "s",
    "sr": "sr",
    "uJy": "uJy",
    "pixel": "pix",
    "byte": "byte",
    "MJy/sr per DN/s": "MJy / sr",
}
"""Unit of a column comment -> unit as astropy writes it (PHOTMJSR is per DN/s)."""


@dataclass(frozen=True)
class DumpedTable:
    """A table's columns, all shape (n_rows,), with units and meanings by column."""

    columns: dict[str, NDArray[np.generic]]
    units: dict[str, str]
    descriptions: dict[str, str]
    description: str


def table_names() -> list[str]:
    """Return the names of all tables, parents first."""
    return [table.name for table in Base.metadata.sorted_tables]


def dump_table(connection: sa.Connection, name: str) -> DumpedTable:
    """Read a whole table in the order of its primary key."""
    table = Base.metadata.tables[name]
    statement = sa.select(*map(_with_room_for_null, table.columns))
    columns = fetch_columns(connection, statement.order_by(*table.primary_key.columns))
    units, descriptions = {}, {}
    for column in table.columns:
        if column.comment is None:
            continue
        descriptions[column.name] = column.comment
        found = _UNIT.search(column.comment)
        if found is not None and found[1] in _UNITS:
            units[column.name] = _UNITS[found[1]]
    return DumpedTable(
        columns={
            name: _times(values)
            if column_kind(table.columns[name].type) is ColumnKind.TIME
            else values
            for name, values in columns.items()
        },
        units=units,
        descriptions=descriptions,
        description=table.info["description"],
    )


def _with_room_for_null(column: sa.Column[object]) -> sa.ColumnElement[object]:
    """Return a column as it is selected; integers that may be NULL come as floats, with NaN."""
    if column.nullable and column_kind(column.type) is ColumnKind.INTEGER:
        return sa.cast(column, sa.Double).label(column.name)
    return column


def _times(values: NDArray[Any]) -> NDArray[np.datetime64]:
    """Return times as datetime64 in UTC, NaT for NULL, so that an empty column keeps its type."""
    import numpy as np

    plain = [None if time is None else time.astimezone(UTC).replace(tzinfo=None) for time in values]
    return np.array(plain, dtype="datetime64[us]")


@dataclass(frozen=True)
class RecordedFile:
    """A file and the digest that was recorded of it.

    Attributes
    ----------
    is_header_digest : bool
        Over the header blocks and the size, not the whole file.
    """

    table: str
    directory: str
    file_name: str
    sha256: str
    is_header_digest: bool


def load_ingested_files(connection: sa.Connection) -> list[RecordedFile]:
    """Return the files of exposures and catalogs."""
    exposures = sa.select(ExposureRow.directory, ExposureRow.file_name, ExposureRow.header_sha256)
    # A catalog measured from pixels has no file; that of its image is among the exposures.
    catalogs = sa.select(CatalogRow.directory, CatalogRow.file_name, CatalogRow.file_sha256).where(
        CatalogRow.origin == CatalogOrigin.FILE
    )
    return [
        RecordedFile("exposures", *row, is_header_digest=True)
        for row in connection.execute(exposures.order_by(ExposureRow.id))
    ] + [
        RecordedFile("catalogs", *row, is_header_digest=False)
        for row in connection.execute(catalogs.order_by(CatalogRow.id))
    ]


def load_delivered_files(connection: sa.Connection) -> list[RecordedFile]:
    """Return the delivered files, the last delivery of each path."""
    latest = sa.select(sa.func.max(DeliveryRow.id)).group_by(
        DeliveryRow.directory, DeliveryRow.file_name
    )
    statement = (
        sa.select(DeliveryRow.directory, DeliveryRow.file_name, DeliveryRow.file_sha256)
        .where(DeliveryRow.id.in_(latest))
        .order_by(DeliveryRow.id)
    )
    return [
        RecordedFile("deliveries", *row, is_header_digest=False)
        for row in connection.execute(statement)
    ]

"""Whole tables as columns, with the units and meanings that their comments give."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from calreg.db.bulk import fetch_columns
from calreg.db.schema import Base

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
    statement = sa.select(table).order_by(*table.primary_key.columns)
    units, descriptions = {}, {}
    for column in table.columns:
        if column.comment is None:
            continue
        descriptions[column.name] = column.comment
        found = _UNIT.search(column.comment)
        if found is not None and found[1] in _UNITS:
            units[column.name] = _UNITS[found[1]]
    mapper = next(m for m in Base.registry.mappers if m.local_table is table)
    return DumpedTable(
        columns=fetch_columns(connection, statement),
        units=units,
        descriptions=descriptions,
        description=(mapper.class_.__doc__ or "").strip().splitlines()[0],
    )

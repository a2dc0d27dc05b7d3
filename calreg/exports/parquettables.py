"""The registry's tables as columns with units, for export."""

from __future__ import annotations

from typing import TYPE_CHECKING

from calreg.db.queries.dump import dump_table, table_names
from calreg.files.parquet import ParquetTable

if TYPE_CHECKING:
    from calreg.db.engine import Connection


def registry_tables(connection: Connection) -> dict[str, ParquetTable]:
    """Return every table with its columns, units and meanings."""
    tables = {}
    for name in table_names():
        dumped = dump_table(connection, name)
        tables[name] = ParquetTable(
            columns=dumped.columns,
            units=dumped.units,
            descriptions=dumped.descriptions,
            description=dumped.description,
        )
    return tables

"""The instrument whose data the registry holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from calreg.db.schema import InstrumentRow
from calreg.errors import DatabaseError
from calreg.instruments import load_instrument, parse_instrument

if TYPE_CHECKING:
    from calreg.instruments import Instrument


def insert_instrument(connection: sa.Connection, instrument: Instrument) -> None:
    """Store whose data the registry will hold."""
    row = {
        "id": 1,
        "name": instrument.name,
        "source": instrument.source,
        "facts": instrument.facts,
    }
    connection.execute(sa.insert(InstrumentRow).values(row))


def load_own_instrument(connection: sa.Connection) -> Instrument:
    """Return the instrument whose data the registry holds.

    Raises
    ------
    DatabaseError
        If the row is missing.
    """
    table = InstrumentRow.__table__
    row = connection.execute(sa.select(table.c.source, table.c.facts)).one_or_none()
    if row is None:
        msg = "the table instrument is empty: this registry is damaged, go back to a copy of it"
        raise DatabaseError(msg)
    return (
        load_instrument(row.source)
        if row.facts is None
        else parse_instrument(row.facts, row.source)
    )

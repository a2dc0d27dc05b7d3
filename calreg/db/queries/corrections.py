"""What checking and correcting files asks the registry for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from calreg.db.schema import PmapRow, ZeroPointRow

if TYPE_CHECKING:
    from calreg.domain import Pmap


@dataclass(frozen=True)
class KnownZeroPoint:
    """A PHOTMJSR that was seen under a context."""

    array: str
    band: str
    subarray: str
    photmjsr: float
    r_photom: str
    source: str


def load_known_zero_points(connection: sa.Connection, pmap: Pmap) -> list[KnownZeroPoint]:
    """Return all zero points of a context, several where files disagreed."""
    row = ZeroPointRow
    statement = (
        sa.select(row.array, row.band, row.subarray, row.photmjsr, row.r_photom, row.source)
        .join(PmapRow, PmapRow.id == row.pmap_id)
        .where(PmapRow.number == pmap.number)
        .order_by(row.array, row.band, row.subarray, row.id)
    )
    return [KnownZeroPoint(*found) for found in connection.execute(statement)]

"""Fitted offsets beside the predicted ones."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from calreg.db.bulk import integer_list
from calreg.db.queries.rows import columns_of, fill
from calreg.db.schema import PmapRow, PredictionResidualRow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from calreg.domain import Pmap


@dataclass(frozen=True)
class StoredResidual:
    """A fitted offset beside the one that was predicted from another context.

    Attributes
    ----------
    from_set_pk, from_solution_id : int or None
        What the prediction rests on.
    residual_mag, residual_err_mag : float
        Measured minus predicted [mag]; the error has both errors, as independent.
    candidates : tuple of str
        What else may have changed; empty while they agree within 3 sigma.
    """

    set_pk: int
    from_pmap: Pmap
    from_set_pk: int | None
    from_solution_id: int | None
    predicted_offset_ab_mag: float
    predicted_err_mag: float
    residual_mag: float
    residual_err_mag: float
    basis: str
    candidates: tuple[str, ...]
    created_utc: datetime

    @property
    def sigma(self) -> float:
        """The residual over its error."""
        return self.residual_mag / self.residual_err_mag


def insert_residual(connection: sa.Connection, residual: StoredResidual) -> None:
    """Insert a residual; its contexts are in the registry already."""
    pmap_id = sa.select(PmapRow.id).where(PmapRow.number == residual.from_pmap.number)
    values = vars(residual) | {
        "from_pmap_id": pmap_id.scalar_subquery(),
        "candidates": json.dumps(list(residual.candidates)),
    }
    del values["from_pmap"]
    connection.execute(sa.insert(PredictionResidualRow).values(values))


def load_residuals(connection: sa.Connection, set_pks: Sequence[int]) -> dict[int, StoredResidual]:
    """Return the residuals of some sets, by the set's primary key."""
    row = PredictionResidualRow
    statement = (
        sa.select(*columns_of(StoredResidual, row, from_pmap=PmapRow.number))
        .join(PmapRow, PmapRow.id == row.from_pmap_id)
        .where(row.set_pk.in_(integer_list(connection, set_pks)))
    )
    return {found.set_pk: found for found in fill(StoredResidual, connection.execute(statement))}

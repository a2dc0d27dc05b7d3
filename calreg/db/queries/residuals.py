"""Fitted offsets beside the predicted ones."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from calreg.db.bulk import integer_list
from calreg.db.schema import PmapRow, PredictionResidualRow
from calreg.domain import Pmap

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


@dataclass(frozen=True)
class StoredResidual:
    """A fitted offset beside the one that was predicted from another context.

    Attributes
    ----------
    set_pk : int
        The set that was fitted.
    from_set_pk, from_solution_id : int or None
        What the prediction rests on.
    predicted_offset_ab_mag, predicted_err_mag : float
        [mag].
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
    connection.execute(
        sa.insert(PredictionResidualRow).values(
            set_pk=residual.set_pk,
            from_pmap_id=pmap_id.scalar_subquery(),
            from_set_pk=residual.from_set_pk,
            from_solution_id=residual.from_solution_id,
            predicted_offset_ab_mag=residual.predicted_offset_ab_mag,
            predicted_err_mag=residual.predicted_err_mag,
            residual_mag=residual.residual_mag,
            residual_err_mag=residual.residual_err_mag,
            basis=residual.basis,
            candidates=json.dumps(list(residual.candidates)),
            created_utc=residual.created_utc,
        )
    )


def load_residuals(connection: sa.Connection, set_pks: Sequence[int]) -> dict[int, StoredResidual]:
    """Return the residuals of some sets, by the set's primary key."""
    row = PredictionResidualRow
    statement = (
        sa.select(row.__table__, PmapRow.number)
        .join(PmapRow, PmapRow.id == row.from_pmap_id)
        .where(row.set_pk.in_(integer_list(connection, set_pks)))
    )
    return {
        found["set_pk"]: StoredResidual(
            set_pk=found["set_pk"],
            from_pmap=Pmap(found["number"]),
            from_set_pk=found["from_set_pk"],
            from_solution_id=found["from_solution_id"],
            predicted_offset_ab_mag=found["predicted_offset_ab_mag"],
            predicted_err_mag=found["predicted_err_mag"],
            residual_mag=found["residual_mag"],
            residual_err_mag=found["residual_err_mag"],
            basis=found["basis"],
            candidates=tuple(json.loads(found["candidates"])),
            created_utc=found["created_utc"],
        )
        for found in connection.execute(statement).mappings()
    }

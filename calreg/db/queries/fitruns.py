"""What a fit reads of earlier fits, and what it writes: runs, sets, refusals, residuals."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from calreg.db.bulk import insert_rows, integer_list
from calreg.db.queries.rows import columns_of, fill
from calreg.db.schema import (
    CoefficientRow,
    CoefficientSetRow,
    CovarianceRow,
    FitRunRow,
    PmapRow,
    PredictionResidualRow,
    RefusalRow,
    SetInputRow,
)
from calreg.domain import SetKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from calreg.domain import Pmap

_SET = CoefficientSetRow


@dataclass(frozen=True)
class LatestSet:
    """The newest set of a key, as far as refit needs it to tell what is stale."""

    version: int
    input_digest: str
    settings: str
    model_version: int
    pk: int


def load_latest_sets(connection: sa.Connection) -> dict[SetKey, LatestSet]:
    """Return the newest set of every key."""
    key = [getattr(_SET, name) for name in SetKey._fields]
    latest = sa.select(*key, sa.func.max(_SET.version).label("version")).group_by(*key).subquery()
    is_latest = [latest.c[column.key] == column for column in key]
    statement = sa.select(*key, *columns_of(LatestSet, _SET, pk=_SET.id)).join(
        latest, sa.and_(*is_latest, latest.c.version == _SET.version)
    )
    n_key = len(key)
    return {SetKey(*row[:n_key]): LatestSet(*row[n_key:]) for row in connection.execute(statement)}


def load_input_groups(connection: sa.Connection, set_pk: int) -> set[int]:
    """Return the ids of the pair groups that a set was fitted from."""
    statement = sa.select(SetInputRow.group_id).where(SetInputRow.set_pk == set_pk)
    return set(connection.scalars(statement))


def load_refusals(connection: sa.Connection) -> dict[tuple[SetKey, str], str]:
    """Return the reason of every refusal by key and input digest."""
    statement = sa.select(
        *(getattr(RefusalRow, name) for name in SetKey._fields),
        RefusalRow.input_digest,
        RefusalRow.reason,
    )
    return {
        (SetKey(*key), digest): reason for *key, digest, reason in connection.execute(statement)
    }


def add_fit_run(
    connection: sa.Connection, started_utc: datetime, settings: str, code_version: str
) -> int:
    """Record a refit and return its id."""
    row = {"started_utc": started_utc, "settings": settings, "code_version": code_version}
    return insert_rows(connection, FitRunRow.__table__, [row])[0]


def insert_set(
    connection: sa.Connection,
    row: dict[str, object],
    *,
    coefficients: Iterable[dict[str, object]],
    covariances: Iterable[dict[str, object]],
    inputs: Iterable[dict[str, object]],
) -> int:
    """Insert a set with its coefficients, covariance and inputs; return its primary key."""
    set_pk = insert_rows(connection, CoefficientSetRow.__table__, [row])[0]
    for table, rows in (
        (CoefficientRow, coefficients),
        (CovarianceRow, covariances),
        (SetInputRow, inputs),
    ):
        prepared = [{"set_pk": set_pk, **values} for values in rows]
        if prepared:
            connection.execute(sa.insert(table), prepared)
    return set_pk


def insert_refusal(connection: sa.Connection, row: dict[str, object]) -> None:
    """Insert a refusal."""
    insert_rows(connection, RefusalRow.__table__, [row])


@dataclass(frozen=True)
class StoredResidual:
    """A fitted offset beside the one that was predicted from another context.

    Attributes
    ----------
    from_set_pk, from_solution_id : int or None
        What the prediction rests on.
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

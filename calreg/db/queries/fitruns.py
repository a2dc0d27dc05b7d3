"""What a fit reads of earlier fits, and what it writes: runs, coefficient sets, refusals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from calreg.db.bulk import insert_rows
from calreg.db.queries.rows import columns_of
from calreg.db.schema import (
    CoefficientRow,
    CoefficientSetRow,
    CovarianceRow,
    FitRunRow,
    RefusalRow,
    SetInputRow,
)
from calreg.domain import SetKey

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

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

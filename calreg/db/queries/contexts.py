"""Contexts: which there are, their reference files, and which were declared equal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from calreg.db.bulk import insert_rows, integer_list
from calreg.db.queries.exposures import ensure_pmaps
from calreg.db.queries.rows import columns_of, fill
from calreg.db.schema import (
    CatalogRow,
    CoefficientSetRow,
    ExposureRow,
    ExternalSolutionRow,
    IngestRow,
    PairGroupRow,
    PmapEqualityRow,
    PmapRow,
    ReferenceFileRow,
    SetInputRow,
    ZeroPointRow,
)
from calreg.domain import Pmap, ReferenceChoice, ReferenceKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime


@dataclass(frozen=True)
class StoredEquality:
    """Two contexts declared to have the same PHOTMJSR; times in UTC, None while it holds."""

    id: int
    pmap_1: Pmap
    pmap_2: Pmap
    reason: str
    declared_utc: datetime
    withdrawn_utc: datetime | None
    withdrawn_reason: str | None


def load_references(
    connection: sa.Connection,
    *,
    arrays: Sequence[str] | None = None,
    as_of_utc: datetime | None = None,
) -> list[ReferenceChoice]:
    """Return the reference files of contexts: from mappings and tables, and from exposures.

    Parameters
    ----------
    as_of_utc : datetime, optional
        Only what was ingested by this time (aware).
    """
    row = ReferenceFileRow
    stated = (
        sa.select(*columns_of(ReferenceChoice, row, pmap=PmapRow.number))
        .join(PmapRow, PmapRow.id == row.pmap_id)
        .order_by(PmapRow.number, row.array, row.kind, row.id)
    )
    used = (
        sa.select(
            PmapRow.number,
            ExposureRow.array,
            ExposureRow.filter,
            ExposureRow.pupil,
            ExposureRow.r_photom,
            ExposureRow.r_flat,
            ExposureRow.r_area,
        )
        .join(PmapRow, PmapRow.id == ExposureRow.pmap_id)
        .distinct()
    )
    if arrays is not None:
        stated = stated.where(row.array.in_(list(arrays)))
        used = used.where(ExposureRow.array.in_(list(arrays)))
    if as_of_utc is not None:
        stated = stated.join(IngestRow, IngestRow.id == row.ingest_id)
        stated = stated.where(IngestRow.started_utc <= as_of_utc)
        used = used.join(IngestRow, IngestRow.id == ExposureRow.ingest_id)
        used = used.where(IngestRow.started_utc <= as_of_utc)
    found = fill(ReferenceChoice, connection.execute(stated))
    for number, array, filter_name, pupil, *names in connection.execute(used):
        found += [
            ReferenceChoice(Pmap(number), array, kind, filter_name, pupil, "", name, "header")
            for kind, name in zip(ReferenceKind, names, strict=True)
            if name
        ]
    return found


def insert_new_references(
    connection: sa.Connection, references: Iterable[ReferenceChoice], ingest_id: Callable[[], int]
) -> int:
    """Insert the reference files that are not there yet; return how many those are.

    Parameters
    ----------
    ingest_id : callable
        Returns the id of the call that brought them; called only if one is new.
    """
    wanted = list(dict.fromkeys(references))
    pmap_ids = ensure_pmaps(connection, [reference.pmap for reference in wanted])
    columns = ("array", "kind", "filter", "pupil", "useafter", "file_name", "source")
    statement = sa.select(
        ReferenceFileRow.pmap_id, *(getattr(ReferenceFileRow, name) for name in columns)
    ).where(ReferenceFileRow.pmap_id.in_(sorted(pmap_ids.values())))
    seen = {tuple(row) for row in connection.execute(statement)}
    new = []
    for reference in wanted:
        values = {name: str(getattr(reference, name)) for name in columns}
        pmap_id = pmap_ids[reference.pmap.number]
        if (pmap_id, *values.values()) not in seen:
            new.append({"pmap_id": pmap_id, **values})
    if new:
        id_ = ingest_id()
        rows = [{**row, "ingest_id": id_} for row in new]
        insert_rows(connection, ReferenceFileRow.__table__, rows)
    return len(new)


def load_equalities(
    connection: sa.Connection,
    *,
    as_of_utc: datetime | None = None,
    include_withdrawn: bool = False,
) -> list[StoredEquality]:
    """Return the declared equalities that hold, in the order in which they were declared.

    Parameters
    ----------
    as_of_utc : datetime, optional
        That held at this time (aware), instead of now.
    include_withdrawn : bool
        Return those that no longer hold too.
    """
    row = PmapEqualityRow
    first, second = PmapRow.__table__.alias(), PmapRow.__table__.alias()
    statement = (
        sa.select(*columns_of(StoredEquality, row, pmap_1=first.c.number, pmap_2=second.c.number))
        .join(first, first.c.id == row.pmap_1_id)
        .join(second, second.c.id == row.pmap_2_id)
        .order_by(row.id)
    )
    if as_of_utc is not None:
        statement = statement.where(row.declared_utc <= as_of_utc)
    if not include_withdrawn:
        holds: sa.ColumnElement[bool] = row.withdrawn_utc.is_(None)
        if as_of_utc is not None:
            holds = sa.or_(holds, row.withdrawn_utc > as_of_utc)
        statement = statement.where(holds)
    return fill(StoredEquality, connection.execute(statement))


def insert_equality(
    connection: sa.Connection,
    pmaps: tuple[Pmap, Pmap],
    *,
    reason: str,
    declared_utc: datetime,
    code_version: str,
) -> None:
    """Store that two contexts are equal."""
    ids = ensure_pmaps(connection, pmaps)
    row = {
        "pmap_1_id": ids[pmaps[0].number],
        "pmap_2_id": ids[pmaps[1].number],
        "reason": reason,
        "declared_utc": declared_utc,
        "code_version": code_version,
    }
    insert_rows(connection, PmapEqualityRow.__table__, [row])


def withdraw_equality(
    connection: sa.Connection, equality_id: int, *, reason: str, withdrawn_utc: datetime
) -> None:
    """Store that two contexts are no longer held equal; the declaration stays."""
    connection.execute(
        sa.update(PmapEqualityRow)
        .where(PmapEqualityRow.id == equality_id)
        .values(withdrawn_utc=withdrawn_utc, withdrawn_reason=reason)
    )


def _of_set_exposures(
    connection: sa.Connection, set_pks: Sequence[int], column: sa.ColumnElement[str]
) -> dict[int, set[str]]:
    """Return the values of a column of the exposures that sets were measured on."""
    found: dict[int, set[str]] = {}
    for catalog_id in (PairGroupRow.catalog_i_id, PairGroupRow.catalog_j_id):
        statement = (
            sa.select(SetInputRow.set_pk, column)
            .join(PairGroupRow, PairGroupRow.id == SetInputRow.group_id)
            .join(CatalogRow, CatalogRow.id == catalog_id)
            .join(ExposureRow, ExposureRow.id == CatalogRow.exposure_id)
            .where(SetInputRow.set_pk.in_(integer_list(connection, set_pks)))
            .distinct()
        )
        for set_pk, value in connection.execute(statement):
            found.setdefault(set_pk, set()).add(value)
    return found


def load_set_subarrays(connection: sa.Connection, set_pks: Sequence[int]) -> dict[int, set[str]]:
    """Return the subarrays of the exposures that sets were measured on, by the set's key."""
    return _of_set_exposures(connection, set_pks, sa.type_coerce(ExposureRow.subarray, sa.Text))


def load_set_software(connection: sa.Connection, set_pk: int) -> set[str]:
    """Return the versions of the pipeline (CAL_VER) behind a set."""
    column = sa.type_coerce(ExposureRow.cal_ver, sa.Text)
    return _of_set_exposures(connection, [set_pk], column).get(set_pk, set())


@dataclass(frozen=True)
class PmapCounts:
    """How much a registry has of one context."""

    n_exposures: int
    n_zero_points: int
    n_references: int
    n_sets: int
    n_solutions: int


def count_by_pmap(connection: sa.Connection) -> dict[Pmap, PmapCounts]:
    """Count what the registry has of every context that it knows."""
    tables = (
        ExposureRow,
        ZeroPointRow,
        ReferenceFileRow,
        CoefficientSetRow,
        ExternalSolutionRow,
    )
    counts = [
        {
            row.pmap_id: row.n_rows
            for row in connection.execute(
                sa.select(table.pmap_id, sa.func.count().label("n_rows")).group_by(table.pmap_id)
            )
        }
        for table in tables
    ]
    return {
        Pmap(number): PmapCounts(*(of_table.get(id_, 0) for of_table in counts))
        for id_, number in connection.execute(
            sa.select(PmapRow.id, PmapRow.number).order_by(PmapRow.number)
        )
    }

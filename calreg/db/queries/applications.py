"""Files that were corrected or restored: writing rows, and what holds now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from calreg.db.bulk import insert_rows
from calreg.db.queries.exposures import ensure_pmaps
from calreg.db.queries.rows import columns_of, fill
from calreg.db.schema import (
    ApplicationRow,
    CoefficientSetRow,
    DeliveryRow,
    DeliverySetRow,
    PmapRow,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from calreg.domain import Pmap


@dataclass(frozen=True)
class Application:
    """A file that was corrected, or restored.

    Attributes
    ----------
    kind : str
        ``apply`` or ``undo``.
    application_id : str
        An undo has that of the correction that it took back.
    origin : str
        ``measured``, ``predicted`` or ``identity``.
    set_id : str
        Of the coefficient set; ``identity`` without one.
    """

    kind: str
    application_id: str
    origin: str
    set_id: str
    pmap: Pmap
    array: str
    band: str
    photom_factor: float
    file_name: str
    directory: str
    sha256_before: str
    sha256_after: str
    created_utc: datetime
    code_version: str


_PLAIN = tuple(name for name in Application.__dataclass_fields__ if name != "pmap")


def insert_applications(connection: sa.Connection, applications: Sequence[Application]) -> None:
    """Record files in the order given."""
    pmap_ids = ensure_pmaps(connection, [application.pmap for application in applications])
    set_ids = {application.set_id for application in applications}
    statement = sa.select(CoefficientSetRow.set_id, CoefficientSetRow.id).where(
        CoefficientSetRow.set_id.in_(sorted(set_ids))
    )
    set_pks = {row.set_id: row.id for row in connection.execute(statement)}
    rows: list[dict[str, object]] = [
        {
            **{name: getattr(application, name) for name in _PLAIN},
            "pmap_id": pmap_ids[application.pmap.number],
            "set_pk": set_pks.get(application.set_id),
        }
        for application in applications
    ]
    insert_rows(connection, ApplicationRow.__table__, rows)


def known_application_ids(connection: sa.Connection, wanted: Collection[str]) -> set[str]:
    """Return those of some corrections that are recorded."""
    found = connection.scalars(
        sa.select(ApplicationRow.application_id).where(ApplicationRow.kind == "apply").distinct()
    )
    return set(found) & set(wanted)


def load_applied(connection: sa.Connection) -> list[Application]:
    """Return the last correction of every file, unless it was taken back there, oldest first."""
    row = ApplicationRow
    statement = (
        sa.select(*columns_of(Application, row, pmap=PmapRow.number))
        .join(PmapRow, PmapRow.id == row.pmap_id)
        .order_by(row.id)
    )
    applied: dict[tuple[str, str], Application] = {}
    for found in fill(Application, connection.execute(statement)):
        place = (found.directory, found.file_name)
        if found.kind == "apply":
            applied[place] = found
        elif place in applied and applied[place].application_id == found.application_id:
            del applied[place]
    return sorted(applied.values(), key=lambda one: (one.created_utc, one.directory, one.file_name))


@dataclass(frozen=True)
class DeliveredSet:
    """A set in a file that was delivered."""

    kind: str
    file_name: str
    directory: str
    created_utc: datetime
    set_id: str


def load_delivered_sets(connection: sa.Connection) -> list[DeliveredSet]:
    """Return the sets in delivered files, the last delivery of each path, oldest first."""
    row = DeliveryRow
    latest = sa.select(sa.func.max(row.id)).group_by(row.directory, row.file_name)
    statement = (
        sa.select(*columns_of(DeliveredSet, row, CoefficientSetRow))
        .join(DeliverySetRow, DeliverySetRow.delivery_id == row.id)
        .join(CoefficientSetRow, CoefficientSetRow.id == DeliverySetRow.set_pk)
        .where(row.id.in_(latest))
        .order_by(row.id, CoefficientSetRow.id)
    )
    return fill(DeliveredSet, connection.execute(statement))


def insert_delivery(
    connection: sa.Connection, row: dict[str, object], set_pks: Sequence[int]
) -> int:
    """Record an exported file with the sets in it; return the delivery's id."""
    delivery_id = insert_rows(connection, DeliveryRow.__table__, [row])[0]
    if set_pks:
        connection.execute(
            sa.insert(DeliverySetRow),
            [{"delivery_id": delivery_id, "set_pk": set_pk} for set_pk in sorted(set(set_pks))],
        )
    return delivery_id

"""One set by its id."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from calreg.db.queries.sets import SetFilter, load_sets
from calreg.db.schema import CoefficientSetRow, DeliverySetRow, PmapRow
from calreg.domain import Pmap
from calreg.errors import InvalidValueError, UnknownKeyError

if TYPE_CHECKING:
    from datetime import datetime

    from calreg.db.queries.sets import StoredSet

_SET = CoefficientSetRow

_MIN_PREFIX = 4
"""Characters of a set id that name it, at least."""


def find_set(connection: sa.Connection, text: str, as_of_utc: datetime | None = None) -> StoredSet:
    """Return the set that an id, or its first characters, names.

    Parameters
    ----------
    connection : sqlalchemy.Connection
    text : str
    as_of_utc : datetime, optional
        Time that its status is told for (aware).

    Returns
    -------
    StoredSet

    Raises
    ------
    UnknownKeyError
        If there is none.
    InvalidValueError
        If there are several, or the text is too short to name one.
    """
    start = text.strip().lower()
    if len(start) < _MIN_PREFIX or not set(start) <= set("0123456789abcdef-"):
        msg = (
            f"{text!r} is no set id: expected the id that calreg coefficients --format json shows, "
            f"or at least its first {_MIN_PREFIX} characters"
        )
        raise InvalidValueError(msg)
    statement = (
        sa.select(_SET.set_id, _SET.band, _SET.array_id, PmapRow.number)
        .join(PmapRow, PmapRow.id == _SET.pmap_id)
        .where(_SET.set_id.startswith(start))
    )
    found = connection.execute(statement.order_by(_SET.set_id).limit(3)).all()
    if not found:
        msg = f"there is no set {text.strip()}: calreg coefficients --all-versions lists them"
        raise UnknownKeyError(msg)
    if len(found) > 1:
        msg = f"{text.strip()} is the start of several set ids, such as " + " and ".join(
            row.set_id for row in found[:2]
        )
        raise InvalidValueError(msg)
    wanted = SetFilter(
        pmap=Pmap(found[0].number),
        band=found[0].band,
        array_id=found[0].array_id,
        as_of_utc=as_of_utc,
        all_versions=True,
    )
    by_id = {stored.set_id: stored for stored in load_sets(connection, wanted)}
    if found[0].set_id not in by_id:
        msg = f"set {found[0].set_id} was made after the time that is asked for"
        raise UnknownKeyError(msg)
    return by_id[found[0].set_id]


def count_deliveries(connection: sa.Connection, set_pk: int) -> int:
    """Count the exported files that hold a set."""
    statement = sa.select(sa.func.count()).where(DeliverySetRow.set_pk == set_pk)
    return connection.execute(statement).scalar_one()

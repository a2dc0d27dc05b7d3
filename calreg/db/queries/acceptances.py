"""Acceptances and withdrawals of sets, and the status that follows from them: the one place."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from calreg.db.bulk import insert_rows
from calreg.db.queries.rows import columns_of, fill
from calreg.db.schema import AcceptanceRow, CoefficientSetRow, PmapRow, WithdrawalRow
from calreg.domain import Pmap, SetSeries, SetStatus

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

_SET = CoefficientSetRow
SERIES_COLUMNS = tuple(getattr(_SET, name) for name in SetSeries._fields)


@dataclass(frozen=True)
class StoredAcceptance:
    """A set accepted for the contexts from `pmap_from` to `pmap_to` (None: open end)."""

    id: int
    set_pk: int
    set_id: str
    version: int
    pmap: Pmap
    series: SetSeries
    pmap_from: Pmap
    pmap_to: Pmap | None
    reason: str
    basis: str
    accepted_utc: datetime
    ended_utc: datetime | None
    end_reason: str | None

    @property
    def band(self) -> str:
        """The set's band."""
        return self.series.band

    @property
    def array_id(self) -> str:
        """The set's array id."""
        return self.series.array_id

    @property
    def is_in_force(self) -> bool:
        """Whether it has not ended (by the time that was asked for)."""
        return self.ended_utc is None

    def covers(self, pmap: Pmap) -> bool:
        """Tell whether a context lies in the range."""
        return self.pmap_from <= pmap and (self.pmap_to is None or pmap <= self.pmap_to)

    def overlaps(self, pmap_from: Pmap, pmap_to: Pmap | None) -> bool:
        """Tell whether a range (None: open end) and this one have a context in common."""
        return (self.pmap_to is None or pmap_from <= self.pmap_to) and (
            pmap_to is None or self.pmap_from <= pmap_to
        )

    @property
    def range_text(self) -> str:
        """The range in words."""
        if self.pmap_to is None:
            return f"{self.pmap_from} and later"
        if self.pmap_to == self.pmap_from:
            return self.pmap_from.name
        return f"{self.pmap_from} to {self.pmap_to}"


@dataclass(frozen=True)
class StoredWithdrawal:
    """A set that is out of use."""

    id: int
    set_pk: int
    reason: str
    withdrawn_utc: datetime


@dataclass(frozen=True)
class SetStates:
    """What had been accepted and withdrawn by a time.

    Attributes
    ----------
    withdrawals : dict of int to StoredWithdrawal
        Those in force, by primary key of the set.
    acceptances : list of StoredAcceptance
        All that had begun, in the order in which they did; ends after the time are not told.
    """

    withdrawals: dict[int, StoredWithdrawal]
    acceptances: list[StoredAcceptance]

    def acceptance_of(self, set_pk: int) -> StoredAcceptance | None:
        """Return the acceptance of a set that is in force."""
        return self._in_force.get(set_pk)

    @cached_property
    def _in_force(self) -> dict[int, StoredAcceptance]:
        """The acceptances in force by set, the last where there are several."""
        return {found.set_pk: found for found in self.acceptances if found.is_in_force}

    def accepted_for(self, pmap: Pmap) -> list[StoredAcceptance]:
        """Return the acceptances in force that cover a context, one at most for a key."""
        return [a for a in self.acceptances if a.is_in_force and a.covers(pmap)]

    def status(self, set_pk: int, series: SetSeries, pmap: Pmap, *, is_newest: bool) -> SetStatus:
        """Return the status of a set that was measured under a context.

        The newest is the highest version of its key, in a field that was not merged.

        Returns
        -------
        SetStatus
            ``withdrawn`` before all else; ``current`` when it is accepted, or is the newest where
            no set of its series was ever accepted for its context; ``candidate`` when it is the
            newest where one was; else ``superseded``.
        """
        if set_pk in self.withdrawals:
            return SetStatus.WITHDRAWN
        if self.acceptance_of(set_pk) is not None:
            return SetStatus.CURRENT
        if not is_newest:
            return SetStatus.SUPERSEDED
        is_governed = any(a.series == series and a.covers(pmap) for a in self.acceptances)
        return SetStatus.CANDIDATE if is_governed else SetStatus.CURRENT


def load_set_states(connection: sa.Connection, as_of_utc: datetime | None = None) -> SetStates:
    """Read what is accepted and withdrawn.

    Parameters
    ----------
    as_of_utc : datetime, optional
        Answer as at this time (aware): beginnings count from their moment on, ends too.
    """
    return SetStates(
        {found.set_pk: found for found in _load_withdrawals(connection, as_of_utc)},
        _load_acceptances(connection, as_of_utc),
    )


def _load_withdrawals(
    connection: sa.Connection, as_of_utc: datetime | None
) -> list[StoredWithdrawal]:
    """Return the withdrawals in force."""
    row = WithdrawalRow
    statement = sa.select(*columns_of(StoredWithdrawal, row))
    if as_of_utc is None:
        statement = statement.where(row.ended_utc.is_(None))
    else:
        statement = statement.where(
            row.withdrawn_utc <= as_of_utc,
            sa.or_(row.ended_utc.is_(None), row.ended_utc > as_of_utc),
        )
    statement = statement.order_by(row.withdrawn_utc, row.id)
    return fill(StoredWithdrawal, connection.execute(statement))


def _load_acceptances(
    connection: sa.Connection, as_of_utc: datetime | None
) -> list[StoredAcceptance]:
    """Return all acceptances that had begun, an end that was yet to come left open."""
    row = AcceptanceRow
    statement = (
        sa.select(
            row.id,
            row.set_pk,
            _SET.set_id,
            _SET.version,
            PmapRow.number,
            row.pmap_from_number,
            row.pmap_to_number,
            row.reason,
            row.basis,
            row.accepted_utc,
            row.ended_utc,
            row.end_reason,
            *SERIES_COLUMNS,
        )
        .join(_SET, _SET.id == row.set_pk)
        .join(PmapRow, PmapRow.id == _SET.pmap_id)
        .order_by(row.accepted_utc, row.id)
    )
    if as_of_utc is not None:
        statement = statement.where(row.accepted_utc <= as_of_utc)
    return [_stored_acceptance(row, as_of_utc) for row in connection.execute(statement)]


def _stored_acceptance(
    values: sa.Row[*tuple[Any, ...]], as_of_utc: datetime | None
) -> StoredAcceptance:
    """Turn a row into an acceptance."""
    has_ended = values.ended_utc is not None and (
        as_of_utc is None or values.ended_utc <= as_of_utc
    )
    last = values.pmap_to_number
    return StoredAcceptance(
        id=values.id,
        set_pk=values.set_pk,
        set_id=values.set_id,
        version=values.version,
        pmap=Pmap(values.number),
        series=SetSeries(*values[-len(SERIES_COLUMNS) :]),
        pmap_from=Pmap(values.pmap_from_number),
        pmap_to=None if last is None else Pmap(last),
        reason=values.reason,
        basis=values.basis,
        accepted_utc=values.accepted_utc,
        ended_utc=values.ended_utc if has_ended else None,
        end_reason=values.end_reason if has_ended else None,
    )


def find_foreign_acceptances(connection: sa.Connection) -> list[str]:
    """Describe acceptances of another key than that of the set that they accept."""
    row = AcceptanceRow
    theirs = _SET.band.label("set_band"), _SET.array_id.label("set_array_id")
    statement = (
        sa.select(row.id, row.band, row.array_id, _SET.set_id, *theirs)
        .join(_SET, _SET.id == row.set_pk)
        .where(sa.or_(row.band != _SET.band, row.array_id != _SET.array_id))
        .order_by(row.id)
    )
    return [
        f"acceptance {found.id} says {found.band} array {found.array_id}, its set {found.set_id} "
        f"is of {found.set_band} array {found.set_array_id}"
        for found in connection.execute(statement)
    ]


# --- writing --------------------------------------------------------------------------------------


def insert_acceptance(connection: sa.Connection, row: dict[str, object]) -> int:
    """Insert an acceptance; the database refuses one that overlaps another of its key."""
    return insert_rows(connection, AcceptanceRow.__table__, [row])[0]


def end_acceptances(
    connection: sa.Connection, ids: Sequence[int], ended_utc: datetime, end_reason: str
) -> None:
    """Fill in the end of acceptances that are in force."""
    _end(connection, AcceptanceRow, ids, ended_utc, end_reason)


def insert_withdrawal(
    connection: sa.Connection, set_pk: int, withdrawn_utc: datetime, reason: str
) -> None:
    """Insert a withdrawal."""
    row = {"set_pk": set_pk, "withdrawn_utc": withdrawn_utc, "reason": reason}
    insert_rows(connection, WithdrawalRow.__table__, [row])


def end_withdrawal(
    connection: sa.Connection, withdrawal_id: int, ended_utc: datetime, end_reason: str
) -> None:
    """Fill in the end of a withdrawal that is in force."""
    _end(connection, WithdrawalRow, [withdrawal_id], ended_utc, end_reason)


def _end(
    connection: sa.Connection,
    row_class: type[AcceptanceRow | WithdrawalRow],
    ids: Sequence[int],
    ended_utc: datetime,
    end_reason: str,
) -> None:
    """Fill in the end of rows that have none."""
    for row_id in ids:
        connection.execute(
            sa.update(row_class)
            .where(row_class.id == row_id, row_class.ended_utc.is_(None))
            .values(ended_utc=ended_utc, end_reason=end_reason)
        )


def last_moment(connection: sa.Connection) -> datetime | None:
    """Return the latest time that is recorded of any acceptance or withdrawal."""
    columns = (
        AcceptanceRow.accepted_utc,
        AcceptanceRow.ended_utc,
        WithdrawalRow.withdrawn_utc,
        WithdrawalRow.ended_utc,
    )
    found = [connection.scalar(sa.select(sa.func.max(column))) for column in columns]
    return max((moment for moment in found if moment is not None), default=None)

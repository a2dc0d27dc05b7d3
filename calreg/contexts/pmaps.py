"""Contexts: what the registry and the shipped table know of each, and which are declared equal."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from calreg._version import __version__
from calreg.contexts.zeropoints import ZeroPoints
from calreg.db.queries.contexts import (
    PmapCounts,
    StoredEquality,
    count_by_pmap,
    insert_equality,
    load_equalities,
    withdraw_equality,
)
from calreg.domain import Pmap, Status
from calreg.errors import ConflictError, InvalidValueError, UnknownKeyError
from calreg.instruments.contextevents import ContextEvent, load_context_events
from calreg.science.zeropoints import agree

if TYPE_CHECKING:
    from calreg.db.engine import Connection, Database
    from calreg.instruments import Instrument

NOT_RECORDED = "not recorded (which is not: no change)"


@dataclass(frozen=True)
class ContextSummary:
    """One context, or one event that no source ties to a context.

    Attributes
    ----------
    date : str
        As far as it is known: ``2023-09-14``, ``2023-10``, ``<= 2026-09``; empty if not at all.
    what : str
        What happened to NIRCam's photometry, as far as sources state.
    confidence : str
        ``stated``, ``by date``, ``in use``, or empty where nothing is recorded.
    equal_to : str
        Contexts that it was declared equal to, with the reason.
    """

    pmap: str | None
    date: str
    what: str
    source: str
    confidence: str
    equal_to: str
    n_exposures: int
    n_zero_points: int
    n_references: int
    n_sets: int
    n_solutions: int


@dataclass(frozen=True)
class EqualityRow:
    """Two contexts declared to have the same PHOTMJSR.

    Attributes
    ----------
    withdrawn_utc : datetime or None
        None while it holds.
    is_new : bool
        Whether this call declared it.
    """

    pmap_1: str
    pmap_2: str
    reason: str
    declared_utc: datetime
    withdrawn_utc: datetime | None
    withdrawn_reason: str | None
    is_new: bool = False


def list_pmaps(connection: Connection, instrument: Instrument) -> list[ContextSummary]:
    """List every context and event that is known; events of no context stand by their date."""
    counts = count_by_pmap(connection)
    events: dict[Pmap | None, list[ContextEvent]] = {}
    for event in load_context_events(instrument.name):
        events.setdefault(event.pmap, []).append(event)
    equal: dict[Pmap, list[str]] = {}
    for equality in load_equalities(connection):
        for one, other in (
            (equality.pmap_1, equality.pmap_2),
            (equality.pmap_2, equality.pmap_1),
        ):
            equal.setdefault(one, []).append(f"{other.name}: {equality.reason}")
    rows: list[ContextSummary] = []
    for pmap in sorted({*counts, *(pmap for pmap in events if pmap is not None)}):
        count = counts.get(pmap, PmapCounts(0, 0, 0, 0, 0))
        told: list[ContextEvent | None] = [*events.get(pmap, ())]
        rows += [
            _pmap_row(pmap, event, count, "; ".join(equal.get(pmap, [])))
            for event in told or [None]
        ]
    undated = [
        _pmap_row(None, event, PmapCounts(0, 0, 0, 0, 0), "") for event in events.get(None, [])
    ]
    return _by_date(rows, undated)


def _pmap_row(
    pmap: Pmap | None, event: ContextEvent | None, count: PmapCounts, equal_to: str
) -> ContextSummary:
    """Build the row of an event, or of a context without any."""
    return ContextSummary(
        pmap=None if pmap is None else pmap.name,
        date="" if event is None else event.date,
        what=NOT_RECORDED if event is None else event.what,
        source="" if event is None else event.source,
        confidence="" if event is None else event.confidence,
        equal_to=equal_to,
        **vars(count),
    )


def _by_date(rows: list[ContextSummary], undated: list[ContextSummary]) -> list[ContextSummary]:
    """Put events without a context before the first context that is dated later."""
    ordered = list(rows)
    for row in undated:
        later = (i for i, other in enumerate(ordered) if other.pmap and other.date > row.date)
        ordered.insert(next(later, len(ordered)), row)
    return ordered


def declare_equal(database: Database, pmap_1: Pmap, pmap_2: Pmap, *, reason: str) -> EqualityRow:
    """Declare that two contexts have the same PHOTMJSR; a second time changes nothing."""
    if pmap_1 == pmap_2:
        msg = f"{pmap_1} equals itself: name two contexts"
        raise InvalidValueError(msg)
    reason = require_reason(reason)
    first, second = sorted((pmap_1, pmap_2))
    with database.write() as connection:
        known = _holding(connection, first, second)
        if known is not None:
            if known.reason == reason:
                return _equality_row(known)
            msg = (
                f"{first} and {second} were declared equal for another reason: {known.reason!r}; "
                "withdraw that first (calreg pmap equal --withdraw)"
            )
            raise ConflictError(msg)
        _refuse_contradiction(connection, first, second)
        insert_equality(
            connection,
            (first, second),
            reason=reason,
            declared_utc=datetime.now(UTC),
            code_version=__version__,
        )
        return _equality_row(_require_holding(connection, first, second), is_new=True)


def withdraw_equal(database: Database, pmap_1: Pmap, pmap_2: Pmap, *, reason: str) -> EqualityRow:
    """Withdraw that two contexts have the same PHOTMJSR; the declaration stays on record."""
    reason = require_reason(reason)
    first, second = sorted((pmap_1, pmap_2))
    with database.write() as connection:
        known = _require_holding(connection, first, second)
        withdraw_equality(connection, known.id, reason=reason, withdrawn_utc=datetime.now(UTC))
        every = load_equalities(connection, include_withdrawn=True)
        return _equality_row(next(one for one in every if one.id == known.id))


def list_equalities(connection: Connection, *, include_withdrawn: bool) -> list[EqualityRow]:
    """Return the declared equalities in the order in which they were declared."""
    known = load_equalities(connection, include_withdrawn=include_withdrawn)
    return [_equality_row(equality) for equality in known]


def require_reason(reason: str) -> str:
    """Return a reason without blanks around it; refuse an empty one."""
    if not reason.strip():
        msg = "a reason is needed: it is shown wherever a number rests on it"
        raise InvalidValueError(msg)
    return reason.strip()


def _holding(connection: Connection, first: Pmap, second: Pmap) -> StoredEquality | None:
    """Return the declaration that holds for two contexts."""
    wanted = {first, second}
    known = load_equalities(connection)
    return next((one for one in known if {one.pmap_1, one.pmap_2} == wanted), None)


def _require_holding(connection: Connection, first: Pmap, second: Pmap) -> StoredEquality:
    """Return the declaration that holds for two contexts, or raise."""
    known = _holding(connection, first, second)
    if known is None:
        msg = f"{first} and {second} are not declared equal: calreg pmap list shows which are"
        raise UnknownKeyError(msg)
    return known


def _refuse_contradiction(connection: Connection, first: Pmap, second: Pmap) -> None:
    """Refuse to declare equal what is recorded to differ."""
    zero_points = ZeroPoints.load(connection)
    for key in sorted(zero_points.keys(first) & zero_points.keys(second)):
        found = zero_points.change(first, second, key)
        values = (found.first.photmjsr, found.second.photmjsr)
        if found.status is Status.CONFLICT:
            raise ConflictError(f"{first} and {second} cannot be declared equal: {found.reason}")
        known = [value for value in values if value is not None]
        if len(known) == len(values) and not agree(known):
            msg = (
                f"{first} and {second} are not equal: PHOTMJSR of {key.text} is {known[0]} "
                f"({found.first.source}) and {known[1]} ({found.second.source})"
            )
            raise ConflictError(msg)


def _equality_row(equality: StoredEquality, *, is_new: bool = False) -> EqualityRow:
    """Build the row of a declaration."""
    return EqualityRow(
        pmap_1=equality.pmap_1.name,
        pmap_2=equality.pmap_2.name,
        reason=equality.reason,
        declared_utc=equality.declared_utc,
        withdrawn_utc=equality.withdrawn_utc,
        withdrawn_reason=equality.withdrawn_reason,
        is_new=is_new,
    )

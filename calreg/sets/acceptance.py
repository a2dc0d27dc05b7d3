"""Validity: for which contexts a set may be used, its acceptance for them, and its withdrawal."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from calreg.db.queries.acceptances import (
    StoredAcceptance,
    end_acceptances,
    end_withdrawal,
    insert_acceptance,
    insert_withdrawal,
    last_moment,
    load_set_states,
)
from calreg.db.queries.sets import count_deliveries, find_set
from calreg.errors import ConflictError, InvalidValueError
from calreg.sets.validrange import ContextRow, ValidRange, valid_range

if TYPE_CHECKING:
    from calreg.db.engine import Connection, Database
    from calreg.db.queries.sets import StoredSet
    from calreg.domain import Pmap
    from calreg.instruments import Instrument

_MAX_CLOCK_LAG = timedelta(minutes=1)
"""Clocks of a team differ by seconds; a larger lag is a wrong clock."""


@dataclass(frozen=True)
class ValidityReport:
    """For which contexts a set may be used.

    Attributes
    ----------
    pmap_from, pmap_to : str
        First and last context over which PHOTMJSR are known to be equal, both included.
    why_from, why_to : str
        What ends the range at either side.
    accepted_for : str or None
        Contexts that the set is accepted for, in words; None where it is not.
    contexts : list of ContextRow
        What is known of every context that the registry has seen.
    """

    set_id: str
    pmap: str
    band: str
    array_id: str
    field: str
    version: int
    status: str
    pmap_from: str
    pmap_to: str
    why_from: str
    why_to: str
    accepted_for: str | None
    accepted_utc: datetime | None
    acceptance_reason: str | None
    withdrawn_utc: datetime | None
    withdrawal_reason: str | None
    contexts: list[ContextRow]


def explain(
    connection: Connection,
    set_text: str,
    instrument: Instrument,
    as_of_utc: datetime | None = None,
) -> ValidityReport:
    """Tell for which contexts a set may be used; see `Registry.validity`."""
    stored = find_set(connection, set_text, as_of_utc)
    valid = valid_range(connection, stored, instrument, as_of_utc)
    acceptance, withdrawal = stored.acceptance, stored.withdrawal
    return ValidityReport(
        set_id=stored.set_id,
        pmap=stored.pmap.name,
        band=stored.band,
        array_id=stored.array_id,
        field=stored.field,
        version=stored.version,
        status=stored.status,
        pmap_from=valid.pmap_from.name,
        pmap_to=valid.pmap_to.name,
        why_from=valid.why_from,
        why_to=valid.why_to,
        accepted_for=None if acceptance is None else acceptance.range_text,
        accepted_utc=None if acceptance is None else acceptance.accepted_utc,
        acceptance_reason=None if acceptance is None else acceptance.reason,
        withdrawn_utc=None if withdrawal is None else withdrawal.withdrawn_utc,
        withdrawal_reason=None if withdrawal is None else withdrawal.reason,
        contexts=valid.contexts,
    )


class Outcome(StrEnum):
    """What a command did to a set."""

    ACCEPTED = "accepted"
    WITHDRAWN = "withdrawn"
    UNCHANGED = "unchanged"


@dataclass(frozen=True)
class SetReport:
    """What a promotion or withdrawal did.

    Attributes
    ----------
    accepted_from, accepted_to : str or None
        First and last context that the set is accepted for; no last one where the end is open.
    moment_utc : datetime
        When it came into force.
    replaced : list of str
        Sets whose acceptance ended by this.
    n_deliveries : int
        Exported files that hold the set.
    """

    set_id: str
    pmap: str
    band: str
    array_id: str
    version: int
    outcome: Outcome
    accepted_from: str | None
    accepted_to: str | None
    moment_utc: datetime
    reason: str
    replaced: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    n_deliveries: int = 0


@dataclass(frozen=True)
class Promotion:
    """What a promotion asks for; see `Registry.promote`.

    Raises
    ------
    InvalidValueError
        If there is no reason, or the end is both open and given.
    """

    reason: str
    pmap_from: Pmap | None = None
    pmap_to: Pmap | None = None
    is_open: bool = False
    replace: bool = False
    reinstate: bool = False

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        _require_reason(self.reason)
        if self.is_open and self.pmap_to is not None:
            msg = f"the end cannot be both open and {self.pmap_to}: give --to or --open"
            raise InvalidValueError(msg)


def promote(
    database: Database, set_text: str, wanted: Promotion, instrument: Instrument
) -> SetReport:
    """Accept a set for a range of contexts, from now on; see `Registry.promote`."""
    with database.write() as connection:
        stored = find_set(connection, set_text)
        valid = valid_range(connection, stored, instrument)
        pmap_from = wanted.pmap_from or stored.pmap
        pmap_to = None if wanted.is_open else wanted.pmap_to or stored.pmap
        _require_valid(stored, valid, pmap_from, pmap_to)
        own = stored.acceptance
        if own is not None and (own.pmap_from, own.pmap_to) == (pmap_from, pmap_to):
            return _report(stored, Outcome.UNCHANGED, own.accepted_utc, own.reason)
        moment_utc = _moment(connection)
        _take_back_withdrawal(connection, stored, wanted, moment_utc)
        others = _overlapping(connection, stored, pmap_from, pmap_to)
        if others and not wanted.replace:
            raise ConflictError(_overlap_message(stored, others))
        ending = [*others, *([own] if own is not None else [])]
        end_reason = f"set {stored.set_id} was accepted: {wanted.reason}"
        end_acceptances(connection, [found.id for found in ending], moment_utc, end_reason)
        insert_acceptance(
            connection,
            {
                "set_pk": stored.pk,
                "band": stored.band,
                "array_id": stored.array_id,
                "pmap_from_number": pmap_from.number,
                "pmap_to_number": None if pmap_to is None else pmap_to.number,
                "reason": wanted.reason,
                "basis": _basis(valid, pmap_from, pmap_to),
                "accepted_utc": moment_utc,
            },
        )
        warnings = valid.trusted_after() if pmap_to is None else []
        return _report(
            find_set(connection, stored.set_id),
            Outcome.ACCEPTED,
            moment_utc,
            wanted.reason,
            replaced=[f"{found.set_id} ({found.range_text})" for found in others],
            warnings=warnings,
        )


def withdraw(database: Database, set_text: str, reason: str) -> SetReport:
    """Take a set out of use, from now on; see `Registry.withdraw`."""
    _require_reason(reason)
    with database.write() as connection:
        stored = find_set(connection, set_text)
        n_deliveries = count_deliveries(connection, stored.pk)
        known = stored.withdrawal
        if known is not None:
            if known.reason != reason:
                msg = (
                    f"set {stored.set_id} was withdrawn {known.withdrawn_utc:%Y-%m-%d %H:%M} UTC "
                    f"already: {known.reason}"
                )
                raise ConflictError(msg)
            return _report(
                stored, Outcome.UNCHANGED, known.withdrawn_utc, reason, n_deliveries=n_deliveries
            )
        moment_utc = _moment(connection)
        if stored.acceptance is not None:
            end_acceptances(
                connection, [stored.acceptance.id], moment_utc, f"it was withdrawn: {reason}"
            )
        insert_withdrawal(connection, stored.pk, moment_utc, reason)
        return _report(
            find_set(connection, stored.set_id),
            Outcome.WITHDRAWN,
            moment_utc,
            reason,
            n_deliveries=n_deliveries,
        )


def _require_reason(reason: str) -> None:
    """Refuse an empty reason."""
    if not reason.strip():
        msg = "a reason is needed: say in a few words why, for those who ask later"
        raise InvalidValueError(msg)


def _require_valid(
    stored: StoredSet, valid: ValidRange, pmap_from: Pmap, pmap_to: Pmap | None
) -> None:
    """Refuse a range over which PHOTMJSR are not known to be equal."""
    if pmap_from > stored.pmap or (pmap_to is not None and pmap_to < stored.pmap):
        msg = (
            f"set {stored.set_id} was measured under {stored.pmap}: the range must hold that "
            f"context, found {pmap_from} to {pmap_to or 'the open end'}"
        )
        raise InvalidValueError(msg)
    if pmap_from < valid.pmap_from:
        raise InvalidValueError(_not_valid(stored, pmap_from, valid.pmap_from, valid.why_from))
    if pmap_to is not None and pmap_to > valid.pmap_to:
        raise InvalidValueError(_not_valid(stored, pmap_to, valid.pmap_to, valid.why_to))
    if pmap_to is None and valid.broken_later is not None:
        msg = (
            f"set {stored.set_id}: an open end would take in contexts with another PHOTMJSR: "
            f"{valid.why_to}; accept it with --to {valid.pmap_to} instead"
        )
        raise InvalidValueError(msg)


def _basis(valid: ValidRange, pmap_from: Pmap, pmap_to: Pmap | None) -> str:
    """Write down what a range rests on, as it is known now."""
    last = None if pmap_to is None else pmap_to.number
    within = [
        asdict(row)
        for row in valid.contexts
        if pmap_from.number <= row.number and (last is None or row.number <= last)
    ]
    return json.dumps(within, sort_keys=True)


def _not_valid(stored: StoredSet, asked: Pmap, limit: Pmap, why: str) -> str:
    """Word the refusal of a range that goes too far."""
    return (
        f"set {stored.set_id} of {stored.pmap} cannot be accepted for {asked}: PHOTMJSR are known "
        f"to be equal as far as {limit} only: {why} (see calreg validity {stored.set_id})"
    )


def _take_back_withdrawal(
    connection: Connection, stored: StoredSet, wanted: Promotion, moment_utc: datetime
) -> None:
    """End the withdrawal of a set that is to be accepted after all."""
    known = stored.withdrawal
    if known is None:
        return
    if not wanted.reinstate:
        msg = (
            f"set {stored.set_id} was withdrawn {known.withdrawn_utc:%Y-%m-%d %H:%M} UTC: "
            f"{known.reason}; to use it after all, promote it with --reinstate"
        )
        raise ConflictError(msg)
    end_withdrawal(connection, known.id, moment_utc, f"it was accepted: {wanted.reason}")


def _overlapping(
    connection: Connection, stored: StoredSet, pmap_from: Pmap, pmap_to: Pmap | None
) -> list[StoredAcceptance]:
    """Return the acceptances of other sets in force that share a context with a range."""
    return [
        found
        for found in load_set_states(connection).acceptances
        if found.is_in_force
        and found.set_pk != stored.pk
        and (found.band, found.array_id) == (stored.band, stored.array_id)
        and found.overlaps(pmap_from, pmap_to)
    ]


def _overlap_message(stored: StoredSet, others: list[StoredAcceptance]) -> str:
    """Name the acceptances that are in the way."""
    told = "; ".join(
        f"set {found.set_id} (version {found.version} of {found.pmap}) is accepted for "
        f"{found.range_text} since {found.accepted_utc:%Y-%m-%d %H:%M} UTC: {found.reason}"
        for found in others
    )
    return (
        f"{stored.band} array {stored.array_id} has one accepted set for a context at a time: "
        f"{told}; choose another range, or end that with --replace (for its whole range)"
    )


def _moment(connection: Connection) -> datetime:
    """Return now, after everything that is recorded."""
    now_utc, last_utc = datetime.now(UTC), last_moment(connection)
    if last_utc is None or now_utc > last_utc:
        return now_utc
    if last_utc - now_utc > _MAX_CLOCK_LAG:
        msg = (
            f"this computer's clock says {now_utc:%Y-%m-%d %H:%M} UTC, but the registry has an "
            f"acceptance or withdrawal of {last_utc:%Y-%m-%d %H:%M} UTC: set the clock"
        )
        raise InvalidValueError(msg)
    return last_utc + timedelta(microseconds=1)


def _report(
    stored: StoredSet,
    outcome: Outcome,
    moment_utc: datetime,
    reason: str,
    *,
    replaced: list[str] | None = None,
    warnings: list[str] | None = None,
    n_deliveries: int = 0,
) -> SetReport:
    """Lay out what was done to a set."""
    acceptance = stored.acceptance
    last = None if acceptance is None else acceptance.pmap_to
    return SetReport(
        set_id=stored.set_id,
        pmap=stored.pmap.name,
        band=stored.band,
        array_id=stored.array_id,
        version=stored.version,
        outcome=outcome,
        accepted_from=None if acceptance is None else acceptance.pmap_from.name,
        accepted_to=None if last is None else last.name,
        moment_utc=moment_utc,
        reason=reason,
        replaced=replaced or [],
        warnings=warnings or [],
        n_deliveries=n_deliveries,
    )

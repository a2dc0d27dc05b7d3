"""Over which contexts the PHOTMJSR behind a set are known to be equal, and what ends that range."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from calreg.contexts.zeropoints import FULL, ZeroPointKey, ZeroPoints
from calreg.db.queries.contexts import load_set_subarrays
from calreg.db.queries.exposures import load_seen_pmaps
from calreg.domain import ReferenceKind, Status
from calreg.science.zeropoints import NO_CHANGE, agree

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from calreg.contexts.zeropoints import ArrayChange
    from calreg.db.engine import Connection
    from calreg.db.queries.sets import StoredSet
    from calreg.domain import Pmap
    from calreg.instruments import Instrument


class ContextStatus(StrEnum):
    """How a context's PHOTMJSR stand to those that a set was measured under."""

    OWN = "own"
    """The context of the measurement."""
    EQUAL = "equal"
    """Both arrays have the same PHOTMJSR, to the precision that the values are recorded with."""
    BETWEEN = "between"
    """Not recorded, but between two contexts with equal values."""
    DIFFERS = "differs"
    """At least one array has another PHOTMJSR."""
    CONFLICT = "conflict"
    """Sources of one context disagree."""
    UNKNOWN = "unknown"
    """Not recorded for at least one array; that says nothing."""


@dataclass(frozen=True)
class ContextRow:
    """One context in the range question.

    Attributes
    ----------
    number : int
        By which contexts are ordered.
    photmjsr_a, photmjsr_b : float or None
        PHOTMJSR of the two arrays [MJy/sr per DN/s], on the first subarray of the set.
    change_a_mag, change_b_mag : float or None
        Magnitudes under this context minus those under the set's own [mag]; positive is fainter.
    flat_changed, area_changed : bool or None
        Whether either array has another flat, or area file, than under the set's own context; None
        where that is not known. The range does not depend on them.
    basis : str
        Where the values are from, or why there is none.
    """

    pmap: str
    number: int
    status: ContextStatus
    photmjsr_a: float | None
    photmjsr_b: float | None
    change_a_mag: float | None
    change_b_mag: float | None
    flat_changed: bool | None
    area_changed: bool | None
    basis: str

    @property
    def is_break(self) -> bool:
        """Whether the range cannot go over this context."""
        return self.status in (ContextStatus.DIFFERS, ContextStatus.CONFLICT)

    def change_text(self) -> str:
        """Describe how magnitudes move, or what is wrong."""
        moves = {"A": self.change_a_mag, "B": self.change_b_mag}
        told = [f"{module} {move:+.4f} mag" for module, move in moves.items() if move is not None]
        is_told = told and self.status is not ContextStatus.CONFLICT
        return ", ".join(told) + f" ({self.basis})" if is_told else self.basis


@dataclass(frozen=True)
class ValidRange:
    """The contexts that a set may be used for.

    Attributes
    ----------
    pmap_from, pmap_to : Pmap
        First and last context of the range, both included.
    why_from, why_to : str
        What ends the range at either side.
    contexts : list of ContextRow
        All contexts that the registry has seen, in integer order.
    """

    pmap_from: Pmap
    pmap_to: Pmap
    why_from: str
    why_to: str
    contexts: list[ContextRow]

    @property
    def broken_later(self) -> ContextRow | None:
        """The first later context that is known to differ, or is in conflict."""
        later = (row for row in self.contexts if row.number > self.pmap_to.number)
        return next((row for row in later if row.is_break), None)

    def break_towards(self, own: Pmap, pmap: Pmap) -> ContextRow | None:
        """Return the first context from a set's own to another that is known not to be equal."""
        low, high = sorted((own.number, pmap.number))
        within = (row for row in self.contexts if low <= row.number <= high)
        return next((row for row in within if row.is_break), None)

    def trusted_after(self) -> list[str]:
        """Name the later contexts that an open end takes in without knowing."""
        return [
            f"{row.pmap} is newer and was seen: {row.basis}; the open end takes it in on trust"
            for row in self.contexts
            if row.status is ContextStatus.UNKNOWN and row.number > self.pmap_to.number
        ]


def valid_range(
    connection: Connection,
    stored: StoredSet,
    instrument: Instrument,
    as_of_utc: datetime | None = None,
) -> ValidRange:
    """Find the contexts over which a set's PHOTMJSR are known to be equal, as known at a time.

    Notes
    -----
    From the set's own context outwards, the range ends before the first context that is known to
    differ or in conflict, at the last one that is known to be equal, for every subarray that the
    set was measured on. Contexts that are not recorded belong to it only between two equal ones:
    silence is never equality.
    """
    arrays = {
        array.module: array.name
        for array in instrument.arrays.values()
        if array.array_id == stored.array_id
    }
    zero_points = ZeroPoints.load(connection, stored.band, list(arrays.values()), as_of_utc)
    seen = {stored.pmap, *load_seen_pmaps(connection, as_of_utc)}
    seen |= zero_points.pmaps() | zero_points.references.pmaps()
    subarrays = sorted(load_set_subarrays(connection, [stored.pk]).get(stored.pk) or {FULL})
    keys = {
        module: [ZeroPointKey(array, stored.filter, stored.pupil, name) for name in subarrays]
        for module, array in arrays.items()
    }
    pmaps = sorted(seen)
    own = pmaps.index(stored.pmap)
    rows = [_context_row(zero_points, stored.pmap, pmap, keys) for pmap in pmaps]
    first, why_from = _walk(rows, range(own - 1, -1, -1), own, "earlier")
    last, why_to = _walk(rows, range(own + 1, len(rows)), own, "later")
    rows = [
        replace(row, status=ContextStatus.BETWEEN)
        if row.status is ContextStatus.UNKNOWN and first < index < last
        else row
        for index, row in enumerate(rows)
    ]
    return ValidRange(pmaps[first], pmaps[last], why_from, why_to, rows)


def _context_row(
    zero_points: ZeroPoints, own: Pmap, pmap: Pmap, keys: dict[str, list[ZeroPointKey]]
) -> ContextRow:
    """Compare one context's PHOTMJSR with those of a set's own, for every subarray of it."""
    changes = {
        module: [zero_points.change(own, pmap, key) for key in of_module]
        for module, of_module in keys.items()
    }
    every = [change for of_module in changes.values() for change in of_module]
    values = {module: of_module[0].second.photmjsr for module, of_module in changes.items()}
    moves = {module: _largest_mag(of_module) for module, of_module in changes.items()}
    reasons = [change.reason for change in every if change.reason]
    sources = [text for change in every for text in (change.second.source, *change.via)]
    is_changed = {
        kind: [zero_points.references.is_changed(own, pmap, kind, key) for key, *_ in keys.values()]
        for kind in (ReferenceKind.FLAT, ReferenceKind.AREA)
    }
    return ContextRow(
        pmap=pmap.name,
        number=pmap.number,
        status=ContextStatus.OWN if pmap == own else _status(every),
        photmjsr_a=None if values["A"] is None else values["A"].value,
        photmjsr_b=None if values["B"] is None else values["B"].value,
        change_a_mag=moves["A"],
        change_b_mag=moves["B"],
        flat_changed=_any_or_unknown(is_changed[ReferenceKind.FLAT]),
        area_changed=_any_or_unknown(is_changed[ReferenceKind.AREA]),
        basis="; ".join(filter(None, dict.fromkeys(reasons or sources))),
    )


def _largest_mag(changes: list[ArrayChange]) -> float | None:
    """Return the largest change over subarrays; None where one is not known."""
    moves = [change.change.mag for change in changes if change.change is not None]
    return max(moves, key=abs) if len(moves) == len(changes) else None


def _status(changes: Collection[ArrayChange]) -> ContextStatus:
    """Return how the PHOTMJSR of both arrays stand to those of a set's own context."""
    if any(change.status is Status.CONFLICT for change in changes):
        return ContextStatus.CONFLICT
    known = [change for change in changes if change.change is not None]
    if not all(map(_is_equal, known)):
        return ContextStatus.DIFFERS
    return ContextStatus.EQUAL if len(known) == len(changes) else ContextStatus.UNKNOWN


def _is_equal(change: ArrayChange) -> bool:
    """Tell whether one number can be behind the values of two contexts."""
    if change.change == NO_CHANGE:
        return True
    first, second = change.first.photmjsr, change.second.photmjsr
    return first is not None and second is not None and agree([first, second])


def _any_or_unknown(changed: list[bool | None]) -> bool | None:
    """Tell whether a file of either array changed; None where nothing says so."""
    if any(changed):
        return True
    return None if None in changed else False


def _walk(rows: list[ContextRow], outwards: range, own: int, side: str) -> tuple[int, str]:
    """Go from a set's own context outwards; return the last equal one, and what ends the range."""
    last = own
    unknown: list[ContextRow] = []
    for index in outwards:
        row = rows[index]
        if row.is_break:
            return last, f"{row.pmap} {row.status}: {row.change_text()}"
        if row.status is ContextStatus.EQUAL:
            last, unknown = index, []
        else:
            unknown.append(row)
    if unknown:
        more = f" ({len(unknown)} such contexts)" if len(unknown) > 1 else ""
        return last, f"{unknown[0].basis}{more}"
    return last, f"no {side} context is recorded"

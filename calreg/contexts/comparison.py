"""Comparison: external solutions against our sets, or each other, and how well they agree."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from calreg.contexts.zeropoints import ZeroPointKey, ZeroPoints
from calreg.db.queries.external import StoredSolution, load_solutions, load_sources
from calreg.db.queries.sets import SetFilter, StoredSet, load_sets
from calreg.errors import InvalidValueError, UnknownKeyError
from calreg.science.external import Method, ValueState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from calreg.db.engine import Connection
    from calreg.domain import Pmap, SetQuery
    from calreg.instruments import Instrument

REGISTRY = "registry"
"""What solutions are compared with where no other source is named: our own sets."""

ALL_BANDS = "all"

FLOOR_MAG = 0.010
"""Systematic floor of a difference between two solutions [mag]: the middle of the scatter of
star-based solutions per detector, 6 to 14 mmag rms, of 2024 to 2026 (public notes on reductions of
Westerlund 2). Formal errors of 0.2 to 2 mmag say less than that."""


@dataclass(frozen=True)
class CompareRow:
    """One external solution beside ours, or beside another one's; ours is None where we have none.

    Attributes
    ----------
    pmap, band, array_id, source : str
        Of the external solution.
    their_offset_ab_mag, their_offset_ab_err_mag : float, float or None
        m_A - m_B [mag]; no error where none is stated.
    offset_ab_mag, offset_ab_err_mag : float or None
        Ours, or those of the source that it is compared with.
    difference_mag, difference_err_mag, difference_sigma : float or None
        Ours minus theirs, errors taken as independent, without floor.
    field, set_id : str or None
        Of our set.
    against : str
        ``registry``, or the source that it is compared with.
    against_pmap : str or None
        Context of that; None where there is nothing to compare with.
    method, against_method : str or None
        ``star`` or ``sky``.
    state : str
        ``measured``, or ``interpolated`` where either of the two is.
    floor_mag, difference_floor_sigma : float, float or None
        The difference over the root of both squared errors and the squared floor; an error that is
        not stated counts as zero.
    has_same_sign : bool or None
        Whether both offsets have the same sign; None where one is zero.
    photom_change_ab_mag : float or None
        By how much m_A - m_B moves with PHOTMJSR from `against_pmap` to `pmap`; zero within one
        context, None where it is not known. It is not in the difference.
    pixar_ab_mag : float or None
        Where a solution by sky levels stands against one by stars: -2.5 log10 of PIXAR_SR of A over
        B, by which magnitudes of point sources differ from surface brightness. It is not in the
        difference.
    note : str
        What keeps the two from being the same quantity.
    """

    pmap: str
    band: str
    array_id: str
    source: str
    their_offset_ab_mag: float
    their_offset_ab_err_mag: float | None
    their_slope_mag_arcmin: float
    their_slope_err_mag_arcmin: float
    offset_ab_mag: float | None = None
    offset_ab_err_mag: float | None = None
    slope_mag_arcmin: float | None = None
    slope_err_mag_arcmin: float | None = None
    difference_mag: float | None = None
    difference_err_mag: float | None = None
    difference_sigma: float | None = None
    slope_difference_mag_arcmin: float | None = None
    slope_difference_sigma: float | None = None
    field: str | None = None
    set_id: str | None = None
    against: str = REGISTRY
    against_pmap: str | None = None
    method: str = Method.STAR
    against_method: str | None = None
    state: str = ValueState.MEASURED
    floor_mag: float = FLOOR_MAG
    difference_floor_sigma: float | None = None
    has_same_sign: bool | None = None
    photom_change_ab_mag: float | None = None
    pixar_ab_mag: float | None = None
    note: str = ""


@dataclass(frozen=True)
class CompareSummary:
    """How well a source agrees with ours, or with another one, in one band or all.

    Interpolated numbers do not count.

    Attributes
    ----------
    source, against, band : str
        `band` is ``all`` for the sum over bands.
    n_keys : int
        Arrays and contexts that both have.
    n_same_sign, n_signed : int
        Keys where both offsets have the same sign, of those where neither is zero.
    mean_mag, rms_mag : float
        Of the differences, with equal weights [mag].
    weighted_rms_mag : float
        With weights 1 / (err1^2 + err2^2 + floor^2) [mag].
    reduced_chi2 : float
        Mean square of the differences over the root of both squared errors and the squared floor.
    """

    source: str
    against: str
    band: str
    n_keys: int
    n_same_sign: int
    n_signed: int
    mean_mag: float
    rms_mag: float
    weighted_rms_mag: float
    reduced_chi2: float
    max_abs_mag: float
    floor_mag: float


@dataclass(frozen=True)
class CompareQuery:
    """What is compared.

    Attributes
    ----------
    source : str or None
        Only this external solution.
    against : str or None
        Compare with this one instead of our sets.
    is_across : bool
        Whether to compare solutions of different contexts too.

    Raises
    ------
    InvalidValueError
        If the floor is negative or no number, or a source is compared with itself.
    """

    wanted: SetQuery
    source: str | None = None
    against: str | None = None
    floor_mag: float = FLOOR_MAG
    is_across: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not (math.isfinite(self.floor_mag) and self.floor_mag >= 0.0):
            msg = f"floor is {self.floor_mag}: expected a number of magnitudes, zero or more"
            raise InvalidValueError(msg)
        if self.against is not None and self.against == self.source:
            msg = f"source {self.source!r} would be compared with itself: name another one"
            raise InvalidValueError(msg)


class _Key(NamedTuple):
    """What two offsets must share to be compared, besides the context."""

    band: str
    array_id: str


class _Value(NamedTuple):
    """A number [mag], or [mag / arcmin], with its error; None where that is not stated."""

    value: float
    err: float | None


class _Difference(NamedTuple):
    """Ours minus theirs; no error and significance without the errors of both."""

    value: float
    err: float | None
    sigma: float | None


@dataclass(frozen=True)
class _Side:
    """One offset of a comparison, whosever it is."""

    name: str
    pmap: Pmap
    offset: _Value
    slope: _Value
    method: Method
    state: ValueState
    pixar_ab_mag: float | None = None
    field: str | None = None
    set_id: str | None = None


def compare_solutions(
    connection: Connection, query: CompareQuery, instrument: Instrument
) -> list[CompareRow]:
    """Compare external solutions with our current sets, or with another source.

    By source, context, band and array id; one without counterpart has a row of its own, unless
    another source is named.
    """
    _require_sources(connection, query)
    others = _others(connection, query)
    rows = []
    for theirs in load_solutions(connection, query.wanted, source=query.source):
        if theirs.source == query.against:
            continue
        side = _side_of_solution(theirs)
        matching = [
            other
            for other in others.get(_Key(theirs.band, theirs.array_id), [])
            if query.is_across or other.pmap == theirs.pmap
        ]
        zero_points = None
        if any(other.pmap != theirs.pmap for other in matching):
            zero_points = ZeroPoints.load(connection, theirs.band, None, query.wanted.as_of_utc)
        rows += [_row(theirs, side, other, query, zero_points, instrument) for other in matching]
        if not matching and query.against is None:
            rows.append(_row(theirs, side, None, query, None, instrument))
    return rows


def _require_sources(connection: Connection, query: CompareQuery) -> None:
    """Refuse a source that was never imported."""
    known = load_sources(connection)
    for source in (query.source, query.against):
        if source is not None and source not in known:
            names = ", ".join(map(repr, known)) or "none yet"
            msg = f"there is no external solution {source!r}: there are {names}"
            raise UnknownKeyError(msg)


def _others(connection: Connection, query: CompareQuery) -> dict[_Key, list[_Side]]:
    """Collect the other side of the comparison by band and array id."""
    found: dict[_Key, list[_Side]] = defaultdict(list)
    wanted = replace(query.wanted, pmap=None) if query.is_across else query.wanted
    if query.against is not None:
        for one in load_solutions(connection, wanted, source=query.against):
            found[_Key(one.band, one.array_id)].append(_side_of_solution(one))
    else:
        for stored in load_sets(connection, SetFilter(wanted)):
            found[_Key(stored.band, stored.array_id)].append(_side_of_set(stored))
    return found


def _side_of_solution(one: StoredSolution) -> _Side:
    """Return an external solution as one side of a comparison."""
    return _Side(
        one.source,
        one.pmap,
        _Value(one.offset_ab_mag, one.offset_ab_err_mag),
        _Value(one.slope_mag_arcmin, one.slope_err_mag_arcmin),
        one.method,
        one.state,
        one.pixar_ab_mag,
    )


def _side_of_set(stored: StoredSet) -> _Side:
    """Return one of our sets as one side of a comparison."""
    return _Side(
        REGISTRY,
        stored.pmap,
        _Value(stored.value("offset_ab"), stored.err("offset_ab")),
        _Value(stored.value("slope"), stored.err("slope")),
        Method.STAR,
        ValueState.MEASURED,
        field=stored.field,
        set_id=stored.set_id,
    )


def _row(
    theirs: StoredSolution,
    side: _Side,
    other: _Side | None,
    query: CompareQuery,
    zero_points: ZeroPoints | None,
    instrument: Instrument,
) -> CompareRow:
    """Build the row of one comparison."""
    row = CompareRow(
        pmap=theirs.pmap.name,
        band=theirs.band,
        array_id=theirs.array_id,
        source=theirs.source,
        their_offset_ab_mag=theirs.offset_ab_mag,
        their_offset_ab_err_mag=theirs.offset_ab_err_mag,
        their_slope_mag_arcmin=theirs.slope_mag_arcmin,
        their_slope_err_mag_arcmin=theirs.slope_err_mag_arcmin,
        against=query.against or REGISTRY,
        method=side.method,
        state=side.state,
        floor_mag=query.floor_mag,
    )
    if other is None:
        return row
    offset = _difference(other.offset, side.offset)
    slope = _difference(other.slope, side.slope)
    floored = math.hypot(*(err or 0.0 for _, err in (other.offset, side.offset)), query.floor_mag)
    is_mixed = other.method != side.method
    pixar = next((s.pixar_ab_mag for s in (side, other) if s.method is Method.SKY), None)
    is_measured = side.state is other.state is ValueState.MEASURED
    row = replace(
        row,
        offset_ab_mag=other.offset.value,
        offset_ab_err_mag=other.offset.err,
        slope_mag_arcmin=other.slope.value,
        slope_err_mag_arcmin=other.slope.err,
        difference_mag=offset.value,
        difference_err_mag=offset.err,
        difference_sigma=offset.sigma,
        slope_difference_mag_arcmin=slope.value,
        slope_difference_sigma=slope.sigma,
        field=other.field,
        set_id=other.set_id,
        against_pmap=other.pmap.name,
        against_method=other.method,
        state=ValueState.MEASURED if is_measured else ValueState.INTERPOLATED,
        difference_floor_sigma=offset.value / floored if floored > 0.0 else None,
        has_same_sign=_have_same_sign(other.offset.value, side.offset.value),
        photom_change_ab_mag=_photom_change(theirs, other, zero_points, instrument),
        pixar_ab_mag=pixar if is_mixed else None,
    )
    return replace(row, note=_note(row))


def _photom_change(
    theirs: StoredSolution, other: _Side, zero_points: ZeroPoints | None, instrument: Instrument
) -> float | None:
    """Return by how much m_A - m_B moves with PHOTMJSR from the other side's context to theirs."""
    if other.pmap == theirs.pmap:
        return 0.0
    if zero_points is None:
        return None
    band = instrument.band_named(theirs.band)
    moves: dict[str, float] = {}
    for array in instrument.arrays.values():
        if array.array_id == theirs.array_id:
            key = ZeroPointKey(array.name, band.filter, band.pupil)
            change = zero_points.change(other.pmap, theirs.pmap, key).change
            if change is not None:
                moves[array.module] = change.mag
    return moves["A"] - moves["B"] if len(moves) > 1 else None


def _have_same_sign(first: float, second: float) -> bool | None:
    """Compare signs; None where one is zero."""
    return None if first == 0.0 or second == 0.0 else (first > 0.0) == (second > 0.0)


def _note(row: CompareRow) -> str:
    """Note what keeps the two sides from being the same quantity."""
    told = []
    if row.against_pmap != row.pmap:
        change = row.photom_change_ab_mag
        how = "unknown" if change is None else f"{change:+.4f} mag"
        told.append(
            f"against {row.against_pmap}: change of PHOTMJSR A - B since {how}, not taken out"
        )
    if row.method != row.against_method:
        pixar = row.pixar_ab_mag
        how = "unknown" if pixar is None else f"{pixar:+.4f} mag"
        told.append(f"sky levels against stars, PIXAR_SR term {how}, not taken out")
    if row.state != ValueState.MEASURED:
        told.append("interpolated, not measured")
    if row.difference_err_mag is None:
        told.append("an error is not stated")
    return "; ".join(told)


def _difference(first: _Value, second: _Value) -> _Difference:
    """Subtract two numbers, with errors as independent; a ratio needs an error above zero."""
    difference = first.value - second.value
    if first.err is None or second.err is None:
        return _Difference(difference, None, None)
    err = math.hypot(first.err, second.err)
    return _Difference(difference, err, difference / err if err > 0.0 else None)


# --- how well they agree --------------------------------------------------------------------------


class _Group(NamedTuple):
    """What a summary is of."""

    source: str
    against: str
    band: str


def summarise(rows: Iterable[CompareRow]) -> list[CompareSummary]:
    """Summarise measured comparisons by source, other side and band, with the sum over bands."""
    groups: dict[_Group, list[CompareRow]] = defaultdict(list)
    for row in rows:
        if row.difference_mag is not None and row.state == ValueState.MEASURED:
            for band in (row.band, ALL_BANDS):
                groups[_Group(row.source, row.against, band)].append(row)
    last = ALL_BANDS
    order = sorted(groups, key=lambda one: (one.source, one.against, one.band == last, one.band))
    return [_summary(group, groups[group]) for group in order]


def _summary(group: _Group, rows: Sequence[CompareRow]) -> CompareSummary:
    """Summarise the comparisons of one group."""
    differences = [row.difference_mag or 0.0 for row in rows]
    variances = [
        (row.offset_ab_err_mag or 0.0) ** 2
        + (row.their_offset_ab_err_mag or 0.0) ** 2
        + row.floor_mag**2
        for row in rows
    ]
    squares = [difference**2 for difference in differences]
    # Without any error and floor there is nothing to weigh by.
    has_weights = all(variance > 0.0 for variance in variances)
    weights = [1.0 / variance for variance in variances] if has_weights else [math.nan] * len(rows)
    signs = [row.has_same_sign for row in rows if row.has_same_sign is not None]
    pulls = math.fsum(square * weight for square, weight in zip(squares, weights, strict=True))
    return CompareSummary(
        **group._asdict(),
        n_keys=len(rows),
        n_same_sign=sum(signs),
        n_signed=len(signs),
        mean_mag=math.fsum(differences) / len(rows),
        rms_mag=math.sqrt(math.fsum(squares) / len(rows)),
        weighted_rms_mag=math.sqrt(pulls / math.fsum(weights)),
        reduced_chi2=pulls / len(rows),
        max_abs_mag=max(map(abs, differences)),
        floor_mag=rows[0].floor_mag,
    )

"""Coefficient sets: what is current, writing new ones, and refusals."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from calreg.db.bulk import integer_list
from calreg.db.queries.acceptances import (
    SERIES_COLUMNS,
    SetStates,
    StoredAcceptance,
    StoredWithdrawal,
    load_set_states,
)
from calreg.db.queries.exposures import require_field
from calreg.db.queries.rows import columns_of, filler, pmap_of
from calreg.db.schema import (
    CoefficientRow,
    CoefficientSetRow,
    CovarianceRow,
    DeliverySetRow,
    FieldRow,
    PmapRow,
)
from calreg.domain import Pmap, SetQuery, SetSeries, SetStatus
from calreg.errors import InvalidValueError, UnknownKeyError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


@dataclass(frozen=True)
class StoredSet:
    """A coefficient set with its coefficients, as the questions ask for it.

    Errors are standard errors; `slope` and `time` are zero with zero error where held fixed.
    """

    pk: int
    set_id: str
    field: str
    pmap: Pmap
    filter: str
    pupil: str
    band: str
    array_id: str
    image_kind: str
    flux_kind: str
    aperture: str
    model: str
    model_version: int
    version: int
    datum: str
    settings: str
    input_digest: str
    axis_pa_deg: float
    origin_ra_deg: float
    origin_dec_deg: float
    n_epochs: int
    n_pairs: int
    n_sources: int
    n_clipped: int
    floor_mag: float
    scatter_mag: float
    chi2: float
    n_dof: int
    corr_offset_slope: float | None
    pivot_arcmin: float | None
    offset_pivot_mag: float | None
    offset_pivot_err_mag: float | None
    offset_bootstrap_err_mag: float
    check_time_mag: float | None
    check_time_err_mag: float | None
    created_utc: datetime
    status: SetStatus
    acceptance: StoredAcceptance | None
    withdrawal: StoredWithdrawal | None
    coefficients: dict[str, tuple[float, float]]

    def value(self, name: str) -> float:
        """Return a coefficient, zero where the model holds it fixed."""
        return self.coefficients.get(name, (0.0, 0.0))[0]

    def err(self, name: str) -> float:
        """Return a coefficient's standard error, zero where the model holds it fixed."""
        return self.coefficients.get(name, (0.0, 0.0))[1]


@dataclass(frozen=True)
class SetFilter:
    """Which sets are to be loaded: those a query is about, among them the current ones.

    `with_candidates` and `all_versions` ask for sets that are not current too. `for_use` asks for
    the sets to be used under the query's context: those measured under another context that are
    accepted for it as well.
    """

    query: SetQuery = field(default_factory=SetQuery)
    pmap_from: Pmap | None = None
    pmap_to: Pmap | None = None
    all_versions: bool = False
    with_candidates: bool = False
    for_use: bool = False


_SET = CoefficientSetRow
_KEY = (_SET.pmap_id, *SERIES_COLUMNS)
_PLAIN = columns_of(StoredSet, _SET, pk=_SET.id, field=FieldRow.name, pmap=PmapRow.number)
_N_SERIES = len(SERIES_COLUMNS)


def load_sets(connection: sa.Connection, wanted: SetFilter) -> list[StoredSet]:
    """Return sets in the order of field, band, array id, pmap and version.

    What a set's status is, at `SetQuery.as_of_utc` (now, if None), is said by `SetStates.status`;
    the newest is the highest version of its key among those created by then, if its field was not
    merged into another by then. Sets that are not ``current`` are returned on request only.

    Raises
    ------
    UnknownKeyError
        If there is no field of the name asked for.
    """
    if wanted.query.field is not None:
        require_field(connection, wanted.query.field)
    states = load_set_states(connection, wanted.query.as_of_utc)
    kept = set(SetStatus)
    if not wanted.all_versions:
        kept = {SetStatus.CURRENT, *([SetStatus.CANDIDATE] if wanted.with_candidates else [])}
    stored_set, n_plain = filler(StoredSet, len(_PLAIN)), len(_PLAIN)
    found = []
    rows: sa.Result[*tuple[Any, ...]] = connection.execute(_statement(connection, wanted, states))
    for row in rows:
        series = SetSeries(*row[-_N_SERIES:])
        is_newest = bool(row.is_newest)
        status = states.status(row.pk, series, pmap_of(row.pmap), is_newest=is_newest)
        if status in kept:
            decided = states.acceptance_of(row.pk), states.withdrawals.get(row.pk)
            found.append(stored_set(row[:n_plain], status, *decided, {}))
    coefficients = _load_coefficients(connection, [stored.pk for stored in found])
    for stored in found:
        stored.coefficients.update(coefficients.get(stored.pk, {}))
    return found


def _statement(
    connection: sa.Connection, wanted: SetFilter, states: SetStates
) -> sa.Select[*tuple[Any, ...]]:
    """Select the sets whose status has to be told."""
    accepted = [found.set_pk for found in states.acceptances if found.is_in_force]
    is_accepted = _SET.id.in_(integer_list(connection, accepted))
    conditions = _conditions(connection, wanted, states)
    # One pass over the sets asked for; to ask of each whether one is newer takes twice as long.
    newest = (
        sa.select(*_KEY, sa.func.max(_SET.version).label("version"))
        .where(*conditions)
        .group_by(*_KEY)
        .subquery()
    )
    same_key = [newest.c[column.key] == column for column in _KEY]
    merged: sa.ColumnElement[bool] = FieldRow.merged_utc.is_not(None)
    if wanted.query.as_of_utc is not None:
        merged = sa.and_(merged, FieldRow.merged_utc <= wanted.query.as_of_utc)
    is_newest = sa.and_(_SET.version == newest.c.version, sa.not_(merged))
    statement = (
        sa.select(*_PLAIN, is_newest.label("is_newest"), *SERIES_COLUMNS)
        .join(newest, sa.and_(*same_key))
        .join(FieldRow, FieldRow.id == _SET.field_id)
        .join(PmapRow, PmapRow.id == _SET.pmap_id)
        .where(*conditions)
        .order_by(
            FieldRow.name,
            _SET.band,
            _SET.array_id,
            PmapRow.number,
            _SET.image_kind,
            _SET.flux_kind,
            _SET.aperture,
            _SET.version,
        )
    )
    if not wanted.all_versions:
        statement = statement.where(sa.or_(is_newest, is_accepted) if accepted else is_newest)
    return statement


def _conditions(
    connection: sa.Connection, wanted: SetFilter, states: SetStates
) -> list[sa.ColumnElement[bool]]:
    """Turn a filter into WHERE conditions on the sets' own columns."""
    conditions: list[sa.ColumnElement[bool]] = []
    pmaps = sa.select(PmapRow.id)
    if wanted.query.pmap is not None:
        pmaps = pmaps.where(PmapRow.number == wanted.query.pmap.number)
    if wanted.pmap_from is not None:
        pmaps = pmaps.where(PmapRow.number >= wanted.pmap_from.number)
    if wanted.pmap_to is not None:
        pmaps = pmaps.where(PmapRow.number <= wanted.pmap_to.number)
    if pmaps.whereclause is not None:
        is_wanted: sa.ColumnElement[bool] = _SET.pmap_id.in_(pmaps)
        if wanted.for_use and wanted.query.pmap is not None:
            accepted = [found.set_pk for found in states.accepted_for(wanted.query.pmap)]
            is_wanted = sa.or_(is_wanted, _SET.id.in_(integer_list(connection, accepted)))
        conditions.append(is_wanted)
    if wanted.query.band is not None:
        conditions.append(_SET.band == wanted.query.band)
    if wanted.query.array_id is not None:
        conditions.append(_SET.array_id == wanted.query.array_id)
    if wanted.query.field is not None:
        conditions.append(
            _SET.field_id.in_(sa.select(FieldRow.id).where(FieldRow.name == wanted.query.field))
        )
    if wanted.query.flux_kind is not None:
        conditions.append(_SET.flux_kind == wanted.query.flux_kind)
    if wanted.query.as_of_utc is not None:
        conditions.append(_SET.created_utc <= wanted.query.as_of_utc)
    return conditions


def _load_coefficients(
    connection: sa.Connection, set_pks: Sequence[int]
) -> dict[int, dict[str, tuple[float, float]]]:
    """Return (value, error) by set and name."""
    statement = sa.select(
        CoefficientRow.set_pk, CoefficientRow.name, CoefficientRow.value, CoefficientRow.err
    ).where(CoefficientRow.set_pk.in_(integer_list(connection, set_pks)))
    found: dict[int, dict[str, tuple[float, float]]] = {}
    for set_pk, name, value, err in connection.execute(statement):
        found.setdefault(set_pk, {})[name] = (value, err)
    return found


def load_covariance(connection: sa.Connection, set_pk: int) -> dict[tuple[str, str], float]:
    """Return a set's covariance by pair of names (upper triangle with the diagonal)."""
    statement = sa.select(CovarianceRow.name_1, CovarianceRow.name_2, CovarianceRow.value).where(
        CovarianceRow.set_pk == set_pk
    )
    return {(row.name_1, row.name_2): row.value for row in connection.execute(statement)}


_MIN_PREFIX = 4
"""Characters of a set id that name it, at least."""


def find_set(connection: sa.Connection, text: str, as_of_utc: datetime | None = None) -> StoredSet:
    """Return the set that an id, or its first characters, names.

    Parameters
    ----------
    as_of_utc : datetime, optional
        Time that its status is told for (aware).

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
    query = SetQuery(
        pmap=Pmap(found[0].number),
        band=found[0].band,
        array_id=found[0].array_id,
        as_of_utc=as_of_utc,
    )
    wanted = SetFilter(query, all_versions=True)
    by_id = {stored.set_id: stored for stored in load_sets(connection, wanted)}
    if found[0].set_id not in by_id:
        msg = f"set {found[0].set_id} was made after the time that is asked for"
        raise UnknownKeyError(msg)
    return by_id[found[0].set_id]


def count_deliveries(connection: sa.Connection, set_pk: int) -> int:
    """Count the exported files that hold a set."""
    statement = sa.select(sa.func.count()).where(DeliverySetRow.set_pk == set_pk)
    return connection.execute(statement).scalar_one()

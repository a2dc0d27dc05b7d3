"""Predictions: an offset measured under one context, carried to another by PHOTMJSR."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from calreg.contexts.zeropoints import (
    FULL,
    ArrayChange,
    ZeroPointKey,
    ZeroPoints,
    worst_status,
)
from calreg.db.queries.contexts import load_set_subarrays
from calreg.db.queries.external import StoredSolution, load_solutions
from calreg.db.queries.sets import SetFilter, StoredSet, load_sets
from calreg.domain import SetQuery, Status
from calreg.errors import InvalidValueError, NoCalibrationError
from calreg.science.external import Method, ValueState
from calreg.science.zeropoints import DeltaMag, carried_offset, flux_error_percent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from calreg.db.engine import Connection
    from calreg.domain import Pmap
    from calreg.instruments import Instrument


@dataclass(frozen=True)
class Prediction:
    """An offset under one context that was measured under another.

    Attributes
    ----------
    from_pmap, to_pmap : str
        Context of the measurement, and the one that is asked for.
    offset_ab_mag, offset_ab_err_mag : float, float or None
        m_A - m_B measured under `from_pmap`, at d = 0 [mag]; the error is None where a source does
        not state it, and that of the prediction with it.
    change_ab_mag, change_err_mag : float or None
        Change of A minus change of B from PHOTMJSR, and its error from rounding [mag].
    predicted_offset_ab_mag, predicted_err_mag : float or None
        m_A - m_B under `to_pmap` [mag]; None where it is not known.
    slope_mag_arcmin, slope_err_mag_arcmin : float
        Gradient along the field, as measured: PHOTMJSR does not touch it [mag / arcmin].
    status : Status
        ``ok``; ``unknown`` where a value is missing; ``conflict`` where sources disagree.
    field, image_kind, flux_kind, aperture : str or None
        Of the set.
    pixar_change_a_mag, pixar_change_b_mag : float or None
        Change of point-source magnitudes by PIXAR_SR, which is no part of the prediction [mag];
        None where unknown.
    subarray : str
        Of the exposures that are asked for; ``FULL`` for full frames.
    old_correction_error_percent : float or None
        Error of module A's flux under `to_pmap` if it is still corrected for the offset measured
        under `from_pmap` [%].
    """

    array_id: str
    band: str
    filter: str
    pupil: str
    from_pmap: str
    to_pmap: str
    offset_ab_mag: float
    offset_ab_err_mag: float | None
    change_ab_mag: float | None
    change_err_mag: float | None
    predicted_offset_ab_mag: float | None
    predicted_err_mag: float | None
    slope_mag_arcmin: float
    slope_err_mag_arcmin: float
    basis: str
    status: Status
    reason: str
    set_id: str | None = None
    set_pk: int | None = None
    source: str | None = None
    field: str | None = None
    image_kind: str | None = None
    flux_kind: str | None = None
    aperture: str | None = None
    pixar_change_a_mag: float | None = None
    pixar_change_b_mag: float | None = None
    subarray: str = FULL
    old_correction_error_percent: float | None = None


Measurement = StoredSet | StoredSolution


@dataclass(frozen=True)
class PredictionQuery:
    """Which predictions are asked for; None means any.

    Attributes
    ----------
    measured : SetQuery
        Which measurements are carried; external solutions have neither field nor flux.
    source : str or None
        This external solution, and no sets.
    subarray : str or None
        Of the exposures that are asked for; that of the measurement if None.
    """

    to_pmap: Pmap
    measured: SetQuery = field(default_factory=SetQuery)
    source: str | None = None
    subarray: str | None = None


def require_ok(prediction: Prediction) -> DeltaMag:
    """Return the offset that is predicted, with its error.

    Raises
    ------
    NoCalibrationError
        If it is not known.
    """
    value, err = prediction.predicted_offset_ab_mag, prediction.predicted_err_mag
    if value is None or err is None:
        msg = (
            f"{prediction.band} array {prediction.array_id}: the offset under {prediction.to_pmap} "
            f"is {prediction.status}: {prediction.reason or 'its error is not stated'}"
        )
        raise NoCalibrationError(msg)
    return DeltaMag(value, err)


def load_predictions(
    connection: Connection, query: PredictionQuery, instrument: Instrument
) -> list[Prediction]:
    """Carry every measurement under one context to another, by band, array id and basis."""
    measured = _measurements(connection, query)
    if not measured:
        raise NoCalibrationError(_nothing_measured(connection, query))
    predictor = Predictor(connection, instrument, query.measured)
    return [predictor.predict(one, query.to_pmap, query.subarray) for one in measured]


class _Rank(NamedTuple):
    """What is tried first: our sets, the nearest context, the earlier of two."""

    is_external: bool
    distance: int
    pmap_number: int


def nearest_prediction(
    connection: Connection, query: PredictionQuery, instrument: Instrument
) -> Prediction:
    """Predict one offset, of a band and array id, from the nearest context with a measurement.

    If nothing leads to a number, the first prediction is returned with its reason.

    Raises
    ------
    NoCalibrationError
        If nothing was measured under any context.
    InvalidValueError
        If there are several measurements under the nearest context, from different fields, fluxes
        or sources.
    """
    by_rank: dict[_Rank, list[Measurement]] = defaultdict(list)
    for one in _measurements(connection, query):
        distance = abs(one.pmap.number - query.to_pmap.number)
        rank = _Rank(isinstance(one, StoredSolution), distance, one.pmap.number)
        by_rank[rank].append(one)
    if not by_rank:
        raise NoCalibrationError(_nothing_measured(connection, query))
    predictor = Predictor(connection, instrument, query.measured)
    found = []
    for _, measured in sorted(by_rank.items()):
        if len(measured) > 1:
            raise InvalidValueError(_several_measured(measured))
        prediction = predictor.predict(measured[0], query.to_pmap, query.subarray)
        if prediction.status is Status.OK:
            return prediction
        found.append(prediction)
    return found[0]


def _measurements(connection: Connection, query: PredictionQuery) -> list[Measurement]:
    """Return the sets and external solutions that are asked for."""
    wanted, measured = query.measured, list[Measurement]()
    if query.source is None:
        measured += load_sets(connection, SetFilter(wanted))
    if wanted.field is None and wanted.flux_kind is None:
        measured += measured_solutions(load_solutions(connection, wanted, source=query.source))
    return sorted(measured, key=lambda one: (one.band, one.array_id, one.pmap, basis_text(one)))


def measured_solutions(solutions: Iterable[StoredSolution]) -> list[StoredSolution]:
    """Return the external solutions that may be carried on: what is interpolated is no basis."""
    return [solution for solution in solutions if solution.state is ValueState.MEASURED]


class Predictor:
    """Carries measurements of a band and array id, or of all, to other contexts."""

    def __init__(self, connection: Connection, instrument: Instrument, query: SetQuery) -> None:
        self.connection = connection
        self.instrument = instrument
        arrays = [
            one.name for one in instrument.arrays.values() if query.array_id in (None, one.array_id)
        ]
        self.zero_points = ZeroPoints.load(connection, query.band, arrays, query.as_of_utc)
        self._subarrays_of: dict[int, set[str]] = {}

    def prepare(self, measured: Iterable[Measurement]) -> None:
        """Read what predictions from several sets need, in one query instead of one each."""
        pks = [one.pk for one in measured if isinstance(one, StoredSet)]
        found = load_set_subarrays(self.connection, pks)
        self._subarrays_of |= {pk: found.get(pk, {FULL}) for pk in pks}

    def predict(self, one: Measurement, pmap: Pmap, subarray: str | None = None) -> Prediction:
        """Carry one measurement to another context, for its own subarray if none is named."""
        subarrays = sorted(self._subarrays(one))
        subarray = subarray or subarrays[0]
        changes = self._changes(one, pmap, subarrays[0], subarray)
        measured, slope = _offset(one), _slope(one)
        change_ab = predicted = None
        change_a, change_b = changes["A"].change, changes["B"].change
        reasons = [change.reason for change in changes.values() if change.reason]
        status = worst_status(change.status for change in changes.values())
        if len(subarrays) > 1 and pmap != one.pmap:
            reasons = [f"measured on several subarrays ({', '.join(subarrays)})"]
            status = worst_status((status, Status.UNKNOWN))
        elif change_a is not None and change_b is not None:
            change_ab = carried_offset(DeltaMag(0.0, 0.0), change_a, change_b)
            predicted = carried_offset(measured, change_a, change_b)
        via = dict.fromkeys(text for change in changes.values() for text in change.via)
        band = self.instrument.band_named(one.band)
        return Prediction(
            array_id=one.array_id,
            band=band.name,
            filter=band.filter,
            pupil=band.pupil,
            from_pmap=one.pmap.name,
            to_pmap=pmap.name,
            offset_ab_mag=measured.mag,
            offset_ab_err_mag=_stated(measured.err_mag),
            change_ab_mag=None if change_ab is None else change_ab.mag,
            change_err_mag=None if change_ab is None else change_ab.err_mag,
            predicted_offset_ab_mag=None if predicted is None else predicted.mag,
            predicted_err_mag=None if predicted is None else _stated(predicted.err_mag),
            slope_mag_arcmin=slope.mag,
            slope_err_mag_arcmin=slope.err_mag,
            basis="; ".join((basis_text(one), *via)),
            status=status,
            reason="; ".join(reasons),
            set_pk=one.pk if isinstance(one, StoredSet) else None,
            source=one.source if isinstance(one, StoredSolution) else None,
            pixar_change_a_mag=changes["A"].pixar_change_mag,
            pixar_change_b_mag=changes["B"].pixar_change_mag,
            subarray=subarray,
            old_correction_error_percent=(
                None if change_ab is None else flux_error_percent(change_ab.mag)
            ),
            **{name: getattr(one, name, None) for name in _OF_SETS},
        )

    def _changes(
        self, one: Measurement, pmap: Pmap, from_subarray: str, to_subarray: str
    ) -> dict[str, ArrayChange]:
        """Return the changes of both arrays by module."""
        band = self.instrument.band_named(one.band)
        found = {}
        for array in self.instrument.arrays.values():
            if array.array_id == one.array_id:
                key = ZeroPointKey(array.name, band.filter, band.pupil, from_subarray)
                other = key._replace(subarray=to_subarray)
                found[array.module] = self.zero_points.change(one.pmap, pmap, key, other)
        return found

    def _subarrays(self, one: Measurement) -> set[str]:
        """Return the subarrays that an offset was measured on; full frames for published ones."""
        if isinstance(one, StoredSolution):
            return {FULL}
        if one.pk not in self._subarrays_of:
            self.prepare([one])
        return self._subarrays_of[one.pk]


_OF_SETS = ("set_id", "field", "image_kind", "flux_kind", "aperture")


def _offset(one: Measurement) -> DeltaMag:
    """Return the offset of a measurement; an error that is not stated is NaN."""
    if isinstance(one, StoredSet):
        return DeltaMag(one.value("offset_ab"), one.err("offset_ab"))
    err_mag = math.nan if one.offset_ab_err_mag is None else one.offset_ab_err_mag
    return DeltaMag(one.offset_ab_mag, err_mag)


def _slope(one: Measurement) -> DeltaMag:
    """Return the gradient of a measurement [mag / arcmin]."""
    if isinstance(one, StoredSet):
        return DeltaMag(one.value("slope"), one.err("slope"))
    return DeltaMag(one.slope_mag_arcmin, one.slope_err_mag_arcmin)


def _stated(err_mag: float) -> float | None:
    """Return an error, None where it is not stated."""
    return None if math.isnan(err_mag) else err_mag


def basis_text(one: Measurement) -> str:
    """Name a measurement in a few words."""
    if isinstance(one, StoredSet):
        return (
            f"set {one.set_id} (version {one.version}, {one.field}, {one.image_kind} "
            f"{one.flux_kind})"
        )
    return f"external: {one.source}" + (" (sky levels)" if one.method is Method.SKY else "")


def _nothing_measured(connection: Connection, query: PredictionQuery) -> str:
    """Explain that nothing was measured, and name the contexts with measurements."""
    wanted = query.measured
    anything = replace(wanted, pmap=None, band=None, array_id=None)
    known = _measurements(connection, replace(query, measured=anything))
    where = "" if wanted.pmap is None else f" under {wanted.pmap}"
    what = " ".join(
        filter(None, (wanted.band, wanted.array_id and f"array {wanted.array_id}", query.source))
    )
    names = ", ".join(pmap.name for pmap in sorted({one.pmap for one in known})) or "none yet"
    return (
        f"no offset{what and f' of {what}'} was measured{where}: there are offsets under {names}; "
        "calreg refit makes sets, calreg import brings in those of others"
    )


def _several_measured(measured: list[Measurement]) -> str:
    """Ask for a choice."""
    first = measured[0]
    return (
        f"{first.band} array {first.array_id} has {len(measured)} measurements under {first.pmap}: "
        f"{'; '.join(basis_text(one) for one in measured)}; choose a field, a flux or a source"
    )


class CarryingOrder:
    """In which order measurements are carried over to a context.

    Sets come before external solutions, earlier contexts before later ones, the nearest first.
    """

    def __init__(self, measured: Iterable[Measurement]) -> None:
        groups: tuple[list[Measurement], list[Measurement]] = ([], [])
        for one in measured:
            groups[not isinstance(one, StoredSet)].append(one)
        self._groups = []
        for group in groups:
            group.sort(key=lambda one: one.pmap.number)
            self._groups.append(([one.pmap.number for one in group], group))

    def to(self, pmap: Pmap) -> Iterator[Measurement]:
        """Yield what was measured under other contexts than one."""
        for numbers, group in self._groups:
            yield from reversed(group[: bisect_left(numbers, pmap.number)])
            yield from group[bisect_right(numbers, pmap.number) :]

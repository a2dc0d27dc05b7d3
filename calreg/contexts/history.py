"""How an offset moved from context to context: measured, predicted, and what else changed."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from calreg.contexts.prediction import CarryingOrder, Measurement, Predictor, measured_solutions
from calreg.contexts.zeropoints import ZeroPointKey
from calreg.db.queries.external import load_solutions
from calreg.db.queries.fitruns import load_residuals
from calreg.db.queries.sets import SetFilter, StoredSet, load_sets
from calreg.domain import Pmap, ReferenceKind, SetQuery, SetStatus, Status
from calreg.science.zeropoints import DeltaMag

if TYPE_CHECKING:
    from calreg.contexts.prediction import Prediction
    from calreg.db.engine import Connection
    from calreg.instruments import Instrument


@dataclass(frozen=True)
class ExternalOffset:
    """What others found under a context: m_A - m_B with its error [mag]."""

    source: str
    offset_ab_mag: float
    offset_ab_err_mag: float | None


@dataclass(frozen=True)
class HistoryRow:
    """One context in the history of a band and array id.

    What was measured is None where nothing was measured under this context.

    Attributes
    ----------
    photmjsr_a, photmjsr_b : float or None
        PHOTMJSR of the two arrays in full frames [MJy/sr per DN/s]; None where unknown or where
        sources disagree.
    offset_ab_mag, offset_ab_err_mag : float or None
        Measured m_A - m_B at d = 0 [mag].
    change_mag, change_err_mag, change_sigma : float or None
        Measured offset minus that of the previous measured context, its error with both errors
        taken as independent, and their ratio. The same exposures reduced twice share their noise,
        so the ratio is a lower limit to the significance.
    note : str
        Values of PHOTMJSR that disagree, and how values come to count that were recorded elsewhere.
    predicted_offset_ab_mag, predicted_err_mag : float or None
        The offset carried over from another context by PHOTMJSR [mag]: the nearest earlier measured
        one, else the nearest later one, else an external solution.
    prediction_status : Status or None
        None where nothing was measured under any other context.
    prediction_basis, prediction_reason : str
        What the prediction rests on; why there is none.
    residual_mag, residual_sigma : float or None
        Measured minus predicted [mag], and over both errors as independent.
    candidates : tuple of str
        What else may have changed, where the residual was beyond 3 sigma when it was fitted.
    photom_a, photom_b, flat_a, flat_b, area_a, area_b : str
        Reference files of the two arrays; empty where unknown.
    references_changed : tuple of str
        Those that differ from the previous context of this list: ``photom A``.
    references_unknown : tuple of str
        Those of which that cannot be told. What is in neither list is the same file.
    external : tuple of ExternalOffset
        What others found under this context.
    """

    pmap: str
    band: str
    array_id: str
    photmjsr_a: float | None
    photmjsr_b: float | None
    offset_ab_mag: float | None = None
    offset_ab_err_mag: float | None = None
    slope_mag_arcmin: float | None = None
    slope_err_mag_arcmin: float | None = None
    change_mag: float | None = None
    change_err_mag: float | None = None
    change_sigma: float | None = None
    n_pairs: int | None = None
    version: int | None = None
    set_id: str | None = None
    field: str | None = None
    image_kind: str | None = None
    flux_kind: str | None = None
    note: str = ""
    predicted_offset_ab_mag: float | None = None
    predicted_err_mag: float | None = None
    predicted_from: str | None = None
    prediction_status: Status | None = None
    prediction_basis: str = ""
    prediction_reason: str = ""
    residual_mag: float | None = None
    residual_sigma: float | None = None
    candidates: tuple[str, ...] = ()
    photom_a: str = ""
    photom_b: str = ""
    flat_a: str = ""
    flat_b: str = ""
    area_a: str = ""
    area_b: str = ""
    references_changed: tuple[str, ...] = ()
    references_unknown: tuple[str, ...] = ()
    external: tuple[ExternalOffset, ...] = ()


Series = dict[Pmap, StoredSet]
"""The sets of one field, image and flux by context."""

_series = attrgetter("field", "image_kind", "flux_kind", "aperture")


def load_history(
    connection: Connection, wanted: SetFilter, instrument: Instrument
) -> list[HistoryRow]:
    """Return one row per context in integer order, for every series of sets that there is."""
    writer = _HistoryWriter(connection, wanted, instrument)
    return [row for sets in writer.series() for row in writer.rows(sets)]


class _HistoryWriter:
    """What all rows of an answer share."""

    def __init__(self, connection: Connection, wanted: SetFilter, instrument: Instrument) -> None:
        self.connection = connection
        self.wanted = wanted
        query = wanted.query
        self.band = instrument.band_named(query.band or "")
        self.array_id = query.array_id or ""
        self.arrays = {
            array.module: array.name
            for array in instrument.arrays.values()
            if array.array_id == self.array_id
        }
        of_key = SetQuery(band=self.band.name, array_id=self.array_id, as_of_utc=query.as_of_utc)
        self.solutions = load_solutions(connection, of_key)
        self.predictor = Predictor(connection, instrument, of_key)

    def series(self) -> list[Series]:
        """Return the sets of every field, image and flux; one empty series if there is no set."""
        found: dict[object, Series] = defaultdict(dict)
        # A candidate was measured too: it is shown where no other version is current.
        everywhere = replace(self.wanted, pmap_from=None, pmap_to=None, with_candidates=True)
        for stored in load_sets(self.connection, everywhere):
            sets = found[_series(stored)]
            if stored.pmap not in sets or stored.status == SetStatus.CURRENT:
                sets[stored.pmap] = stored
        return [sets for sets in found.values() if any(map(self._is_within, sets))] or [{}]

    def rows(self, sets: Series) -> list[HistoryRow]:
        """Return the rows of one series; predictions may rest on contexts outside the range."""
        zero_points = self.predictor.zero_points
        pmaps = {*zero_points.pmaps(), *sets, *(theirs.pmap for theirs in self.solutions)}
        pmaps |= {pmap for pmap in zero_points.references.pmaps() if self._has_photmjsr(pmap)}
        residuals = load_residuals(self.connection, [stored.pk for stored in sets.values()])
        measured: list[Measurement] = [*sets.values(), *measured_solutions(self.solutions)]
        self.predictor.prepare(measured)
        order = CarryingOrder(measured)
        rows: list[HistoryRow] = []
        previous: StoredSet | None = None
        for pmap in sorted(pmap for pmap in pmaps if self._is_within(pmap)):
            values = self._known(pmap)
            if rows:
                values |= self._file_changes(values, rows[-1])
            stored = sets.get(pmap)
            if stored is not None:
                values |= _measured(stored, previous)
                previous = stored
            found = self._prediction(pmap, order)
            if found is not None:
                values |= _predicted(found, stored)
            if stored is not None and stored.pk in residuals:
                values["candidates"] = residuals[stored.pk].candidates
            rows.append(HistoryRow(**values))
        return rows

    def _is_within(self, pmap: Pmap) -> bool:
        """Whether a context lies in the requested range."""
        first, last = self.wanted.pmap_from, self.wanted.pmap_to
        return (first is None or first <= pmap) and (last is None or pmap <= last)

    def _key(self, module: str) -> ZeroPointKey:
        """Return the key of PHOTMJSR of an array in full frames."""
        return ZeroPointKey(self.arrays[module], self.band.filter, self.band.pupil)

    def _has_photmjsr(self, pmap: Pmap) -> bool:
        """Whether PHOTMJSR of either array is known under a context."""
        find = self.predictor.zero_points.find
        return any(find(pmap, self._key(module)).photmjsr for module in self.arrays)

    def _known(self, pmap: Pmap) -> dict[str, Any]:
        """Collect what is known of a context besides sets, by field of the row."""
        known = {
            module: self.predictor.zero_points.find(pmap, self._key(module))
            for module in self.arrays
        }
        values = {
            module: None if one.photmjsr is None else one.photmjsr.value
            for module, one in known.items()
        }
        notes = [one.reason for one in known.values() if one.status is Status.CONFLICT]
        notes += [f"{self.arrays[module]}: {one.via}" for module, one in known.items() if one.via]
        external = [
            ExternalOffset(theirs.source, theirs.offset_ab_mag, theirs.offset_ab_err_mag)
            for theirs in self.solutions
            if theirs.pmap == pmap
        ]
        files = {
            f"{kind}_{module.lower()}": self._file(pmap, module, kind)
            for kind in ReferenceKind
            for module in self.arrays
        }
        return files | {
            "pmap": pmap.name,
            "band": self.band.name,
            "array_id": self.array_id,
            "photmjsr_a": values["A"],
            "photmjsr_b": values["B"],
            "note": "; ".join(notes),
            "external": tuple(external),
        }

    def _file(self, pmap: Pmap, module: str, kind: ReferenceKind) -> str:
        """Return the name of a reference file, empty where it is unknown."""
        references = self.predictor.zero_points.references
        return references.find(pmap, kind, self._key(module)).file_name

    def _file_changes(self, values: dict[str, Any], previous: HistoryRow) -> dict[str, Any]:
        """List the reference files that differ from the previous row's."""
        changed, unknown = [], []
        for kind in ReferenceKind:
            for module in self.arrays:
                name = f"{kind}_{module.lower()}"
                before, after = getattr(previous, name), values[name]
                if not before or not after:
                    unknown.append(f"{kind} {module}")
                elif before != after:
                    changed.append(f"{kind} {module}")
        return {"references_changed": tuple(changed), "references_unknown": tuple(unknown)}

    def _prediction(self, pmap: Pmap, order: CarryingOrder) -> Prediction | None:
        """Return the first prediction that is a number, else the first; None without others."""
        others = order.to(pmap)
        first = next(others, None)
        if first is None:
            return None
        prediction = self.predictor.predict(first, pmap)
        if prediction.status is not Status.OK and self._can_be_reached(pmap):
            found = (self.predictor.predict(other, pmap) for other in others)
            return next((one for one in found if one.status is Status.OK), prediction)
        return prediction

    def _can_be_reached(self, pmap: Pmap) -> bool:
        """Whether any prediction for a context can be a number."""
        zero_points = self.predictor.zero_points
        return all(
            zero_points.find(pmap, key).photmjsr is not None
            or zero_points.photom_file(pmap, key).status is Status.OK
            or zero_points.has_equals(pmap)
            for key in map(self._key, self.arrays)
        )


_OF_SETS = ("n_pairs", "version", "set_id", "field", "image_kind", "flux_kind")


def _offset(stored: StoredSet) -> DeltaMag:
    """Return the offset of a set with its error."""
    return DeltaMag(stored.value("offset_ab"), stored.err("offset_ab"))


def _measured(stored: StoredSet, previous: StoredSet | None) -> dict[str, Any]:
    """Lay out the measurement under a context, and the change since the previous one."""
    offset = _offset(stored)
    values = {
        "offset_ab_mag": offset.mag,
        "offset_ab_err_mag": offset.err_mag,
        "slope_mag_arcmin": stored.value("slope"),
        "slope_err_mag_arcmin": stored.err("slope"),
        **{name: getattr(stored, name) for name in _OF_SETS},
    }
    if previous is not None:
        change = _difference(offset, _offset(previous))
        values |= {
            "change_mag": change.mag,
            "change_err_mag": change.err_mag,
            "change_sigma": _sigma(change),
        }
    return values


def _predicted(found: Prediction, stored: StoredSet | None) -> dict[str, Any]:
    """Lay out the prediction from another context, and the residual of the measured offset."""
    predicted, err = found.predicted_offset_ab_mag, found.predicted_err_mag
    values = {
        "predicted_offset_ab_mag": predicted,
        "predicted_err_mag": err,
        "predicted_from": found.from_pmap,
        "prediction_status": found.status,
        "prediction_basis": found.basis,
        "prediction_reason": found.reason,
    }
    if stored is not None and predicted is not None:
        residual = _difference(_offset(stored), DeltaMag(predicted, err or 0.0))
        values |= {
            "residual_mag": residual.mag,
            "residual_sigma": None if err is None else _sigma(residual),
        }
    return values


def _difference(ours: DeltaMag, theirs: DeltaMag) -> DeltaMag:
    """Subtract two offsets, with errors as independent."""
    return DeltaMag(ours.mag - theirs.mag, math.hypot(ours.err_mag, theirs.err_mag))


def _sigma(difference: DeltaMag) -> float | None:
    """Return the significance; None without any error."""
    return difference.mag / difference.err_mag if difference.err_mag > 0.0 else None

"""After a fit: the measured offset beside the one that is carried from another context.

Where they disagree, something other than photom changed between the two contexts: what is known of
flats, areas and software says what that may be.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from typing import TYPE_CHECKING

from calreg.contexts.prediction import (
    CarryingOrder,
    Measurement,
    Predictor,
    measured_solutions,
    require_ok,
)
from calreg.contexts.zeropoints import References, ZeroPointKey
from calreg.db.queries.contexts import load_references, load_set_software
from calreg.db.queries.external import load_solutions
from calreg.db.queries.fitruns import StoredResidual, insert_residual, load_residuals
from calreg.db.queries.sets import SetFilter, StoredSet, load_sets
from calreg.domain import ReferenceKind, SetQuery, Status
from calreg.science.zeropoints import is_beyond

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from calreg.db.engine import Connection
    from calreg.instruments import Instrument

_series = attrgetter("field", "array_id", "image_kind", "flux_kind", "aperture", "model")
"""What sets must share to be compared across contexts."""

UNKNOWN_CAUSE = "unknown: nothing else is known to have changed"


@dataclass(frozen=True)
class PredictionResidual:
    """A fitted offset beside the one carried from another context.

    Attributes
    ----------
    residual_mag, residual_err_mag, residual_sigma : float
        Measured minus predicted [mag]; the error has both, as independent. The same exposures
        reduced twice share their noise, so that sigma is a lower limit then.
    is_significant : bool
        Beyond 3 sigma: something other than photom changed.
    """

    pmap: str
    band: str
    array_id: str
    field: str
    set_id: str
    from_pmap: str
    offset_ab_mag: float
    predicted_offset_ab_mag: float
    residual_mag: float
    residual_err_mag: float
    residual_sigma: float
    is_significant: bool
    candidates: tuple[str, ...]
    basis: str


def residual_row(stored: StoredSet, residual: StoredResidual) -> PredictionResidual:
    """Join a stored residual with the set it belongs to."""
    return PredictionResidual(
        pmap=stored.pmap.name,
        band=stored.band,
        array_id=stored.array_id,
        field=stored.field,
        set_id=stored.set_id,
        from_pmap=residual.from_pmap.name,
        offset_ab_mag=stored.value("offset_ab"),
        predicted_offset_ab_mag=residual.predicted_offset_ab_mag,
        residual_mag=residual.residual_mag,
        residual_err_mag=residual.residual_err_mag,
        residual_sigma=residual.sigma,
        is_significant=is_beyond(residual.residual_mag, residual.residual_err_mag),
        candidates=residual.candidates,
        basis=residual.basis,
    )


def store_residuals(
    connection: Connection, set_ids: Collection[str], bands: Sequence[str], instrument: Instrument
) -> list[PredictionResidual]:
    """Test sets that were just fitted against predictions from other contexts; store the residuals.

    A set that no prediction leads to has none.

    Notes
    -----
    The prediction is from the nearest earlier context, else the nearest later one; from sets of the
    same series (field, images, fluxes) before external solutions. Two contexts that are fitted
    together are compared once, by the later one.
    """
    rows = []
    for band in bands:
        query = SetQuery(band=band)
        sets = load_sets(connection, SetFilter(query, with_candidates=True))
        solutions = measured_solutions(load_solutions(connection, query))
        new = [stored for stored in sets if stored.set_id in set_ids]
        if len({stored.pmap for stored in sets} | {theirs.pmap for theirs in solutions}) < 2:
            continue
        predictor = Predictor(connection, instrument, query)
        for stored in sorted(new, key=lambda one: (one.array_id, one.pmap)):
            others: list[Measurement] = [
                other
                for other in sets
                if _series(other) == _series(stored)
                and other.pmap != stored.pmap
                and not (other.set_id in set_ids and other.pmap > stored.pmap)
            ]
            others += [
                other
                for other in solutions
                if other.array_id == stored.array_id and other.pmap != stored.pmap
            ]
            residual = _residual(predictor, stored, others)
            if residual is not None:
                insert_residual(connection, residual)
                rows.append(residual_row(stored, residual))
    return rows


def load_residual_rows(connection: Connection, wanted: SetQuery) -> list[PredictionResidual]:
    """Return the residuals of the sets that are asked for."""
    sets = {stored.pk: stored for stored in load_sets(connection, SetFilter(wanted))}
    found = load_residuals(connection, list(sets))
    return [residual_row(stored, found[pk]) for pk, stored in sets.items() if pk in found]


def _residual(
    predictor: Predictor, stored: StoredSet, others: Iterable[Measurement]
) -> StoredResidual | None:
    """Compare a set with the first prediction that is a number: sets, earlier and nearest first."""
    for other in CarryingOrder(others).to(stored.pmap):
        prediction = predictor.predict(other, stored.pmap)
        if prediction.status is Status.OK and prediction.predicted_err_mag is not None:
            break
    else:
        return None
    offset = require_ok(prediction)
    residual_mag = stored.value("offset_ab") - offset.mag
    residual_err_mag = math.hypot(stored.err("offset_ab"), offset.err_mag)
    candidates: tuple[str, ...] = ()
    if is_beyond(residual_mag, residual_err_mag):
        candidates = _candidates(predictor.connection, stored, other, predictor.instrument)
    return StoredResidual(
        set_pk=stored.pk,
        from_pmap=other.pmap,
        from_set_pk=other.pk if isinstance(other, StoredSet) else None,
        from_solution_id=None if isinstance(other, StoredSet) else other.id,
        predicted_offset_ab_mag=offset.mag,
        predicted_err_mag=offset.err_mag,
        residual_mag=residual_mag,
        residual_err_mag=residual_err_mag,
        basis=prediction.basis,
        candidates=candidates,
        created_utc=datetime.now(UTC),
    )


def _candidates(
    connection: Connection, stored: StoredSet, other: Measurement, instrument: Instrument
) -> tuple[str, ...]:
    """List what may have changed besides photom: first what did, then what is not recorded."""
    arrays = [a.name for a in instrument.arrays.values() if a.array_id == stored.array_id]
    references = References(load_references(connection, arrays=arrays))
    changed, unrecorded = [], []
    for kind in (ReferenceKind.FLAT, ReferenceKind.AREA):
        for array in arrays:
            before, after = (
                references.find(pmap, kind, ZeroPointKey(array, stored.filter, stored.pupil))
                for pmap in (other.pmap, stored.pmap)
            )
            if before.file_name and after.file_name:
                if before.file_name != after.file_name:
                    names = f"{before.file_name} -> {after.file_name}"
                    changed.append(f"{kind} of {array} changed: {names}")
            else:
                unrecorded += [known.reason for known in (before, after) if known.reason]
    software = _software(connection, stored)
    if isinstance(other, StoredSet):
        before_text = _software(connection, other)
        if before_text != software:
            changed.append(f"software changed: jwst {before_text} -> {software}")
    else:
        unrecorded.append(f"software of {other.source!r} is not recorded")
    return tuple(changed or [UNKNOWN_CAUSE]) + tuple(unrecorded)


def _software(connection: Connection, stored: StoredSet) -> str:
    """Return the versions of the pipeline behind a set."""
    return ", ".join(sorted(load_set_software(connection, stored.pk))) or "of no stated version"

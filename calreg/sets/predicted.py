"""Corrections for a context under which nothing was measured, carried over by PHOTMJSR."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from calreg.contexts.prediction import PredictionQuery, nearest_prediction, require_ok
from calreg.db.queries.sets import SetFilter, load_sets
from calreg.domain import SetQuery
from calreg.errors import NoCalibrationError
from calreg.sets.corrections import (
    CarriedOffset,
    CorrectionQuery,
    SetCorrection,
    correction_of,
    load_corrections,
)
from calreg.sets.current import one_set_per_key

if TYPE_CHECKING:
    from calreg.db.engine import Connection
    from calreg.domain import Pmap
    from calreg.instruments import Instrument


def predicted_correction(
    connection: Connection,
    query: CorrectionQuery,
    band: str,
    array_id: str,
    instrument: Instrument,
    *,
    from_pmap: Pmap | None = None,
) -> SetCorrection:
    """Carry the offset of a set over to the context that is asked for.

    Parameters
    ----------
    from_pmap : Pmap, optional
        Context of the measurement; the nearest one by default.

    Returns
    -------
    SetCorrection
        Marked as carried; its gradient is that of the set.

    Raises
    ------
    NoCalibrationError
        If nothing was measured, PHOTMJSR of one of the contexts is not known, or an external
        solution is all there is, which says nothing of detectors.
    InvalidValueError
        If there are several measurements under the nearest context.
    """
    asked = PredictionQuery(
        to_pmap=query.pmap,
        from_pmap=from_pmap,
        band=band,
        array_id=array_id,
        field=query.field,
        flux_kind=query.flux_kind,
        as_of_utc=query.as_of_utc,
    )
    prediction = nearest_prediction(connection, asked, instrument)
    offset = require_ok(prediction)
    measured = SetQuery(band=band, array_id=array_id, as_of_utc=query.as_of_utc)
    sets = load_sets(connection, SetFilter(measured))
    stored = next((one for one in sets if one.pk == prediction.set_pk), None)
    if stored is None:
        msg = (
            f"{band} array {array_id}: {query.pmap} can be predicted from {prediction.basis} only, "
            "which says nothing of detectors: a coefficient set is needed; run calreg refit after "
            "ingesting two epochs"
        )
        raise NoCalibrationError(msg)
    return correction_of(
        connection,
        stored,
        query.gradient_datum,
        instrument,
        carried=CarriedOffset(query.pmap, offset.mag, offset.err_mag),
    )


def choose_corrections(
    connection: Connection, query: CorrectionQuery, instrument: Instrument, *, predict: bool
) -> tuple[list[SetCorrection], list[str]]:
    """Return the corrections of a context, predicted where none was measured and that is asked for.

    Returns
    -------
    corrections : list of SetCorrection
        Those measured under the context; with `predict`, for every band and array id that was
        measured under any context and can be carried over.
    notes : list of str
        Which are predicted and from what, and which are left out, and why.

    Raises
    ------
    NoCalibrationError
        If there is none at all.
    InvalidValueError
        If a key has several measurements.
    """
    if not predict:
        return load_corrections(connection, query, instrument), []
    known = load_sets(connection, SetFilter(replace(query.sets, pmap=None)))
    found, notes, reasons = [], [], []
    for band, array_id in sorted({(one.band, one.array_id) for one in known}):
        wanted = replace(query.sets, band=band, array_id=array_id)
        try:
            (stored,) = one_set_per_key(connection, wanted, instrument)
            found.append(correction_of(connection, stored, query.gradient_datum, instrument))
            continue
        except NoCalibrationError:
            pass  # Nothing measured that may be used: the reason for a prediction.
        try:
            carried = predicted_correction(connection, query, band, array_id, instrument)
        except NoCalibrationError as error:
            reasons.append(f"left as it is: {error}")
            continue
        found.append(carried)
        notes.append(
            f"PREDICTED, not measured: {band} array {array_id}, m_A - m_B "
            f"{carried.offset_ab_mag:+.5f} mag, from {carried.stored.pmap}"
        )
    if not found:
        msg = f"nothing to predict {query.pmap} from: {'; '.join(reasons) or 'no coefficient set'}"
        raise NoCalibrationError(msg)
    return found, notes + reasons

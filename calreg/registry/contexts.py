"""Methods about contexts: what differs between two, what an offset will be, which are equal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from calreg.registry.base import RegistryBase, optional_pmap, pmap_of

if TYPE_CHECKING:
    from datetime import datetime

    from calreg.contexts.diff import DiffRow
    from calreg.contexts.pmaps import EqualityRow, PmapRow
    from calreg.contexts.prediction import Prediction
    from calreg.contexts.residuals import ResidualRow
    from calreg.domain import Pmap


class ContextMethods(RegistryBase):
    """Diff, predictions, equal contexts."""

    def diff(
        self,
        pmap_1: str | Pmap,
        pmap_2: str | Pmap,
        *,
        band: str | None = None,
        array: str | None = None,
        as_of_utc: datetime | None = None,
    ) -> list[DiffRow]:
        """Compare PHOTMJSR and reference files of two contexts.

        Parameters
        ----------
        band, array : str, optional
            Only this band; only this detector.
        as_of_utc : datetime, optional
            Answer as the registry would have at this time (aware).

        Returns
        -------
        list of DiffRow
            Every array and band, those that are not known too; a positive change is fainter under
            `pmap_2`.

        Raises
        ------
        InvalidValueError, UnknownKeyError
            If a key cannot be one.
        """
        from calreg.contexts.diff import diff_contexts

        with self._database.read() as connection:
            return diff_contexts(
                connection,
                pmap_of(pmap_1),
                pmap_of(pmap_2),
                self._instrument,
                band=self._band(band),
                array=None if array is None else self._instrument.array(array).name,
                as_of_utc=as_of_utc,
            )

    def predict(
        self,
        pmap_to: str | Pmap,
        *,
        pmap_from: str | Pmap,
        band: str | None = None,
        array_id: str | None = None,
        field: str | None = None,
        source: str | None = None,
        subarray: str | None = None,
        as_of_utc: datetime | None = None,
    ) -> list[Prediction]:
        """Carry the offsets that were measured under one context to another.

        Parameters
        ----------
        band, array_id, field : str, optional
            Only this band, array id, field.
        source : str, optional
            Only this external solution.
        subarray : str, optional
            Of the exposures that are asked for; that of the measurement if not given.
        as_of_utc : datetime, optional
            Answer as the registry would have at this time (aware).

        Returns
        -------
        list of Prediction
            Of coefficient sets and external solutions; with status ``unknown`` or ``conflict`` and
            None for numbers that do not follow.

        Raises
        ------
        NoCalibrationError
            If nothing was measured under `pmap_from`.
        InvalidValueError, UnknownKeyError
            If a key cannot be one.
        """
        from calreg.contexts.prediction import PredictionQuery, load_predictions

        query = PredictionQuery(
            to_pmap=pmap_of(pmap_to),
            from_pmap=pmap_of(pmap_from),
            band=self._band(band),
            array_id=self._array_id(array_id),
            field=field,
            source=source,
            as_of_utc=as_of_utc,
            subarray=subarray,
        )
        with self._database.read() as connection:
            return load_predictions(connection, query, self._instrument)

    def predict_nearest(
        self,
        pmap_to: str | Pmap,
        band: str,
        array_id: str,
        *,
        pmap_from: str | Pmap | None = None,
        field: str | None = None,
        flux_kind: str | None = None,
        source: str | None = None,
        as_of_utc: datetime | None = None,
    ) -> Prediction:
        """Carry one offset from the nearest context that it was measured under.

        Parameters
        ----------
        pmap_from : str or Pmap, optional
            From this context, instead of the nearest.
        field, flux_kind, source : str, optional
            Which measurement, where there are several.
        as_of_utc : datetime, optional
            Answer as the registry would have at this time (aware).

        Returns
        -------
        Prediction
            From a coefficient set where one leads to a number, else from an external solution.

        Raises
        ------
        NoCalibrationError
            If nothing was measured.
        InvalidValueError
            If there are several measurements under the nearest context.
        """
        from calreg.contexts.prediction import PredictionQuery, nearest_prediction

        query = PredictionQuery(
            to_pmap=pmap_of(pmap_to),
            from_pmap=optional_pmap(pmap_from),
            band=self._band(band),
            array_id=self._array_id(array_id),
            field=field,
            flux_kind=flux_kind,
            source=source,
            as_of_utc=as_of_utc,
        )
        with self._database.read() as connection:
            return nearest_prediction(connection, query, self._instrument)

    def residuals(
        self,
        *,
        pmap: str | Pmap | None = None,
        band: str | None = None,
        array_id: str | None = None,
        field: str | None = None,
        as_of_utc: datetime | None = None,
    ) -> list[ResidualRow]:
        """Return the current sets beside what was predicted for them when they were fitted.

        Parameters
        ----------
        pmap, band, array_id, field : str, optional
            Which sets; all if not given.
        as_of_utc : datetime, optional
            Answer as the registry would have at this time (aware).

        Returns
        -------
        list of ResidualRow
            Those that there was a prediction for.

        Raises
        ------
        InvalidValueError, UnknownKeyError
            If a key cannot be one.
        """
        from calreg.contexts.residuals import load_residual_rows
        from calreg.domain import SetQuery

        wanted = SetQuery(
            pmap=optional_pmap(pmap),
            band=self._band(band),
            array_id=self._array_id(array_id),
            field=field,
            as_of_utc=as_of_utc,
        )
        with self._database.read() as connection:
            return load_residual_rows(connection, wanted)

    def pmaps(self) -> list[PmapRow]:
        """Return every context that the registry or the shipped table knows, in integer order."""
        from calreg.contexts.pmaps import list_pmaps

        with self._database.read() as connection:
            return list_pmaps(connection, self._instrument)

    def equalities(self, *, include_withdrawn: bool = False) -> list[EqualityRow]:
        """Return which contexts were declared equal, in the order of the declarations."""
        from calreg.contexts.pmaps import list_equalities

        with self._database.read() as connection:
            return list_equalities(connection, include_withdrawn=include_withdrawn)

    def declare_equal(self, pmap_1: str | Pmap, pmap_2: str | Pmap, *, reason: str) -> EqualityRow:
        """Declare that two contexts have the same PHOTMJSR.

        Parameters
        ----------
        reason : str
            Why that is believed; it is shown wherever a number rests on it.

        Raises
        ------
        InvalidValueError
            If the contexts are one, or the reason is empty.
        ConflictError
            If recorded values disagree, or another declaration holds for the two.
        """
        from calreg.contexts.pmaps import declare_equal

        return declare_equal(self._database, pmap_of(pmap_1), pmap_of(pmap_2), reason=reason)

    def withdraw_equal(self, pmap_1: str | Pmap, pmap_2: str | Pmap, *, reason: str) -> EqualityRow:
        """Withdraw such a declaration; it stays on record.

        Raises
        ------
        UnknownKeyError
            If no such declaration holds.
        InvalidValueError
            If the reason is empty.
        """
        from calreg.contexts.pmaps import withdraw_equal

        return withdraw_equal(self._database, pmap_of(pmap_1), pmap_of(pmap_2), reason=reason)

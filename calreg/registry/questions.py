"""Methods that answer questions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from calreg.registry.base import RegistryBase, optional_pmap

if TYPE_CHECKING:
    from datetime import datetime

    from calreg.contexts.history import HistoryRow
    from calreg.db.bulk import Columns
    from calreg.domain import Pmap
    from calreg.refit import patches
    from calreg.science.model.settings import FitSettings
    from calreg.sets.coefficients import CoefficientsRow


class QuestionMethods(RegistryBase):
    """Detections, offsets, coefficients, history."""

    def detections(
        self, *, pmap: str | Pmap | None = None, band: str | None = None, array: str | None = None
    ) -> Columns:
        """Read detections into arrays, by catalog and number; NaN where there is no value."""
        from calreg.db.queries.catalogs import read_detections

        return read_detections(
            self._database,
            pmap=optional_pmap(pmap),
            band=self._band(band),
            array=None if array is None else self._instrument.array(array).name,
        )

    def offsets(
        self,
        *,
        pmap: str | Pmap | None = None,
        band: str | None = None,
        array_id: str | None = None,
        field: str | None = None,
        settings: FitSettings | None = None,
    ) -> list[patches.OffsetRow]:
        """Measure medians and MADs of every patch, and Eq. 7 and 8 of the paper.

        Parameters
        ----------
        pmap, band, array_id, field : str, optional
            Which patches; all if not given.
        settings : FitSettings, optional
            Limits and search radius; defaults as in the paper.

        Returns
        -------
        list of OffsetRow
            One row per patch and pair of epochs.

        Raises
        ------
        InvalidValueError, UnknownKeyError
            If a key cannot be one.
        """
        from calreg.refit import patches
        from calreg.science.model.settings import FitSettings

        with self._database.read() as connection:
            return patches.measure_offsets(
                connection,
                settings or FitSettings(),
                self._instrument,
                pmap=optional_pmap(pmap),
                band=self._band(band),
                array_id=self._array_id(array_id),
                field=field,
            )

    def coefficients(
        self,
        *,
        pmap: str | Pmap | None = None,
        band: str | None = None,
        array_id: str | None = None,
        field: str | None = None,
        as_of_utc: datetime | None = None,
        all_versions: bool = False,
    ) -> list[CoefficientsRow]:
        """Return the fitted numbers: the current version of each key, or all.

        Parameters
        ----------
        pmap, band, array_id, field : str, optional
            Which keys; all if not given.
        as_of_utc : datetime, optional
            Answer as the registry would have at this time (aware).
        all_versions : bool
            Return superseded and withdrawn versions and candidates too.

        Returns
        -------
        list of CoefficientsRow
            Empty if no set answers to that.

        Raises
        ------
        InvalidValueError, UnknownKeyError
            If a key cannot be one.
        """
        from calreg.db.queries.sets import SetFilter
        from calreg.domain import SetQuery
        from calreg.sets import coefficients as history

        query = SetQuery(
            pmap=optional_pmap(pmap),
            band=self._band(band),
            array_id=self._array_id(array_id),
            field=field,
            as_of_utc=as_of_utc,
        )
        wanted = SetFilter(query, all_versions=all_versions)
        with self._database.read() as connection:
            return history.load_coefficients(connection, wanted)

    def history(
        self,
        band: str,
        array_id: str,
        *,
        pmap_from: str | Pmap | None = None,
        pmap_to: str | Pmap | None = None,
        field: str | None = None,
        as_of_utc: datetime | None = None,
    ) -> list[HistoryRow]:
        """Return how an offset moved from context to context, in integer order.

        Parameters
        ----------
        band, array_id : str
            ``F356W``, ``long``.
        pmap_from, pmap_to : str or Pmap, optional
            First and last context, both included.
        field : str, optional
            Only this field.
        as_of_utc : datetime, optional
            Answer as the registry would have at this time (aware).

        Returns
        -------
        list of HistoryRow
            One row per context that anything is known of: what was measured, what other contexts
            predict, PHOTMJSR, reference files and external solutions; None where there is nothing.

        Raises
        ------
        InvalidValueError, UnknownKeyError
            If a key cannot be one.
        """
        from calreg.contexts.history import load_history
        from calreg.db.queries.sets import SetFilter
        from calreg.domain import SetQuery

        query = SetQuery(
            band=self._band(band),
            array_id=self._array_id(array_id),
            field=field,
            as_of_utc=as_of_utc,
        )
        wanted = SetFilter(query, optional_pmap(pmap_from), optional_pmap(pmap_to))
        with self._database.read() as connection:
            return load_history(connection, wanted, self._instrument)

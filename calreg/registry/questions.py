"""Methods about offsets and coefficient sets: values, where they hold, which are accepted."""

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
    from calreg.sets.acceptance import SetReport, ValidityReport
    from calreg.sets.coefficients import CoefficientsRow


class QuestionMethods(RegistryBase):
    """Detections, offsets, coefficients, history; validity, promotion and withdrawal of sets."""

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
                self._set_query(pmap, band, array_id, field),
                settings or FitSettings(),
                self._instrument,
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
        from calreg.sets.coefficients import load_coefficients

        query = self._set_query(pmap, band, array_id, field, as_of_utc=as_of_utc)
        wanted = SetFilter(query, all_versions=all_versions)
        with self._database.read() as connection:
            return load_coefficients(connection, wanted)

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

        query = self._set_query(None, band, array_id, field, as_of_utc=as_of_utc)
        wanted = SetFilter(query, optional_pmap(pmap_from), optional_pmap(pmap_to))
        with self._database.read() as connection:
            return load_history(connection, wanted, self._instrument)

    def validity(self, set_id: str, *, as_of_utc: datetime | None = None) -> ValidityReport:
        """Find the contexts that a set may be used for, and why.

        Parameters
        ----------
        set_id : str
            The set's id, or its first characters.
        as_of_utc : datetime, optional
            Answer as the registry would have at this time (aware).

        Returns
        -------
        ValidityReport
            The range over which PHOTMJSR are known to be equal, what ends it at either side, and
            what the registry knows of every context.

        Raises
        ------
        UnknownKeyError
            If there is no such set.
        InvalidValueError
            If the id is too short, or the start of several.
        """
        from calreg.sets import acceptance

        with self._database.read() as connection:
            return acceptance.explain(connection, set_id, self._instrument, as_of_utc)

    def promote(
        self,
        set_id: str,
        *,
        reason: str,
        pmap_from: str | Pmap | None = None,
        pmap_to: str | Pmap | None = None,
        is_open: bool = False,
        replace: bool = False,
        reinstate: bool = False,
    ) -> SetReport:
        """Accept a set for a range of contexts, from now on.

        Parameters
        ----------
        set_id : str
            The set's id, or its first characters.
        reason : str
            For those who ask later.
        pmap_from, pmap_to : str or Pmap, optional
            First and last context; the set's own where not given.
        is_open : bool
            Accept it for later contexts too, as far as they come.
        replace : bool
            End the acceptance of other sets for any of the contexts.
        reinstate : bool
            Take a withdrawal of the set back.

        Raises
        ------
        UnknownKeyError
            If there is no such set.
        InvalidValueError
            If PHOTMJSR are not known to be equal over the range, or the range lacks the set's own
            context, or there is no reason.
        ConflictError
            If another set is accepted for one of the contexts, or the set is withdrawn.
        """
        from calreg.sets import acceptance

        wanted = acceptance.Promotion(
            reason=reason,
            pmap_from=optional_pmap(pmap_from),
            pmap_to=optional_pmap(pmap_to),
            is_open=is_open,
            replace=replace,
            reinstate=reinstate,
        )
        return acceptance.promote(self._database, set_id, wanted, self._instrument)

    def withdraw(self, set_id: str, *, reason: str) -> SetReport:
        """Take a set out of use, from now on; nothing takes its place by itself.

        Parameters
        ----------
        set_id : str
            The set's id, or its first characters.
        reason : str
            For those who ask later.

        Raises
        ------
        UnknownKeyError
            If there is no such set.
        InvalidValueError
            If there is no reason.
        ConflictError
            If it was withdrawn before, for another reason.
        """
        from calreg.sets import acceptance

        return acceptance.withdraw(self._database, set_id, reason)

"""Methods about contexts: what differs, what an offset will be, what others found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from calreg.domain import Pmap
from calreg.registry.base import PathLike, RegistryBase, optional_pmap, word_of
from calreg.science.external import Method, Sense

if TYPE_CHECKING:
    from datetime import datetime

    from calreg.contexts.comparison import CompareRow, CompareSummary
    from calreg.contexts.diff import DiffRow
    from calreg.contexts.pmaps import ContextSummary, EqualityRow
    from calreg.contexts.prediction import Prediction
    from calreg.contexts.residuals import PredictionResidual
    from calreg.ingest import external


class ContextMethods(RegistryBase):
    """Diff, predictions, equal contexts; external solutions and how they compare."""

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
        from calreg.contexts.diff import DiffQuery, diff_contexts

        query = DiffQuery(
            Pmap.of(pmap_1),
            Pmap.of(pmap_2),
            band=self._band(band),
            array=None if array is None else self._instrument.array(array).name,
            as_of_utc=as_of_utc,
        )
        with self._database.read() as connection:
            return diff_contexts(connection, query, self._instrument)

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

        measured = self._set_query(pmap_from, band, array_id, field, as_of_utc=as_of_utc)
        query = PredictionQuery(Pmap.of(pmap_to), measured, source, subarray)
        with self._database.read() as connection:
            return load_predictions(connection, query, self._instrument)

    def residuals(
        self,
        *,
        pmap: str | Pmap | None = None,
        band: str | None = None,
        array_id: str | None = None,
        field: str | None = None,
        as_of_utc: datetime | None = None,
    ) -> list[PredictionResidual]:
        """Return the current sets beside what was predicted for them when they were fitted.

        Parameters
        ----------
        pmap, band, array_id, field : str, optional
            Which sets; all if not given.
        as_of_utc : datetime, optional
            Answer as the registry would have at this time (aware).

        Returns
        -------
        list of PredictionResidual
            Those that there was a prediction for.

        Raises
        ------
        InvalidValueError, UnknownKeyError
            If a key cannot be one.
        """
        from calreg.contexts.residuals import load_residual_rows

        wanted = self._set_query(pmap, band, array_id, field, as_of_utc=as_of_utc)
        with self._database.read() as connection:
            return load_residual_rows(connection, wanted)

    def pmaps(self) -> list[ContextSummary]:
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

        return declare_equal(self._database, Pmap.of(pmap_1), Pmap.of(pmap_2), reason=reason)

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

        return withdraw_equal(self._database, Pmap.of(pmap_1), Pmap.of(pmap_2), reason=reason)

    # --- the offsets of others --------------------------------------------------------------------

    def import_recipe(
        self, path: PathLike, *, pmap: str | Pmap, source: str
    ) -> external.ImportReport:
        """Import a published table of offsets as an external solution.

        Parameters
        ----------
        path : path
            ECSV table with the published columns.
        pmap : str or Pmap
            Context that the table corrects.
        source : str
            Citation that tells the solution from others.

        Raises
        ------
        FileFormatError
            If the table cannot be read.
        ConflictError
            If the same source already gave other numbers for the context.
        InvalidValueError
            If `source` is empty or `pmap` is no numbered context.
        """
        from calreg.ingest import external

        return external.import_recipe(
            self._database, Path(path), self._instrument, Pmap.of(pmap), source
        )

    def import_grizli(
        self,
        path: PathLike,
        *,
        source: str,
        sense: str,
        method: str,
        datum: str = "B",
        pmap: str | Pmap | None = None,
        with_commented: bool = False,
    ) -> external.ImportReport:
        """Import a table of grizli's: each number by array, and the differences A - B.

        Parameters
        ----------
        path : path
            ``jwst_zeropoints.yml``, ``photom_correction.yml`` or a table of that form.
        source : str
            Citation that tells the solution from others.
        sense : str
            ``multiply`` or ``divide``: what the numbers do to flux. The tables of 2022 and 2023
            divide, that of 2024 multiplies.
        method : str
            ``star`` or ``sky``: fluxes of sources, or surface brightness, which knows no PIXAR_SR.
        datum : str
            ``B`` or ``A``: the module that is held at zero in the stored shares; ``given``: as in
            the table.
        pmap : str or Pmap, optional
            Only entries of this context; the context of those that state none.
        with_commented : bool
            Take entries that are commented out too; needs `pmap`.

        Raises
        ------
        FileFormatError
            If the table cannot be read, or has no entries.
        ConflictError
            If the same source already gave other numbers.
        InvalidValueError
            If `source` is empty, a word is not one of those above, or the file says that its
            numbers divide and `sense` does not.
        """
        from calreg.ingest import external

        options = _import_options(source, sense, method, datum, pmap, with_commented=with_commented)
        return external.import_grizli(self._database, Path(path), options, self._instrument)

    def import_csv(
        self,
        path: PathLike,
        *,
        source: str,
        sense: str,
        method: str,
        datum: str = "B",
        pmap: str | Pmap | None = None,
    ) -> external.ImportReport:
        """Import a CSV table: columns pmap, band, array, offset (or factor), error.

        Parameters
        ----------
        source : str
            Citation that tells the solution from others.
        sense : str
            ``multiply``: flux is multiplied by 10^(+0.4 offset), or by the factor, which is
            calreg's own sign; ``divide``: it is divided by that.
        method, datum : str
            As in `import_grizli`.
        pmap : str or Pmap, optional
            Only rows of this context; the context of all where there is no such column.

        Raises
        ------
        FileFormatError
            If the table cannot be read, or has no rows; the message names line and column.
        ConflictError
            If the same source already gave other numbers.
        InvalidValueError
            If `source` is empty, or a word is not one of those above.
        """
        from calreg.ingest import external

        options = _import_options(source, sense, method, datum, pmap)
        return external.import_csv(self._database, Path(path), options, self._instrument)

    def compare(
        self,
        *,
        pmap: str | Pmap | None = None,
        band: str | None = None,
        array_id: str | None = None,
        source: str | None = None,
        against: str | None = None,
        floor_mag: float | None = None,
        is_across: bool = False,
        as_of_utc: datetime | None = None,
    ) -> list[CompareRow]:
        """Compare external solutions with our current sets, or with each other, in sigma.

        Parameters
        ----------
        pmap, band, array_id : str, optional
            Which keys; all if not given.
        source : str, optional
            Only this external solution.
        against : str, optional
            Compare with this external solution instead of our sets.
        floor_mag : float, optional
            Systematic floor of a difference [mag]; `calreg.contexts.comparison.FLOOR_MAG` if not
            given.
        is_across : bool
            Compare solutions of different contexts too.
        as_of_utc : datetime, optional
            Answer as the registry would have at this time (aware).

        Raises
        ------
        InvalidValueError, UnknownKeyError
            If a key cannot be one, or there is no such source.
        """
        from calreg.contexts import comparison

        query = comparison.CompareQuery(
            wanted=self._set_query(pmap, band, array_id, as_of_utc=as_of_utc),
            source=source,
            against=against,
            floor_mag=comparison.FLOOR_MAG if floor_mag is None else floor_mag,
            is_across=is_across,
        )
        with self._database.read() as connection:
            return comparison.compare_solutions(connection, query, self._instrument)

    @staticmethod
    def summarise(rows: list[CompareRow]) -> list[CompareSummary]:
        """Summarise rows of `compare`: rms and sign agreement by source and band."""
        from calreg.contexts import comparison

        return comparison.summarise(rows)


def _import_options(
    source: str,
    sense: str,
    method: str,
    datum: str,
    pmap: str | Pmap | None,
    *,
    with_commented: bool = False,
) -> external.ImportOptions:
    """Read the words that say what no table says by itself."""
    from calreg.ingest import external

    return external.ImportOptions(
        source=source,
        sense=word_of(Sense, sense, "sense"),
        method=word_of(Method, method, "method"),
        datum=word_of(external.Datum, datum, "datum"),
        pmap=optional_pmap(pmap),
        with_commented=with_commented,
    )

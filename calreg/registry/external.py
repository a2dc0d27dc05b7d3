"""Methods that bring the offsets of others in, and hold them against ours and each other's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from calreg.registry.base import PathLike, RegistryBase, optional_pmap, word_of
from calreg.science.external import Method, Sense

if TYPE_CHECKING:
    from datetime import datetime

    from calreg.contexts.comparison import CompareRow, CompareSummary
    from calreg.domain import Pmap
    from calreg.ingest import external


class ExternalMethods(RegistryBase):
    """Import of external solutions, and comparison."""

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
        """Bring a table of grizli's in: each number by array, and the differences A - B.

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
        """Bring a CSV table in: columns pmap, band, array, offset (or factor), error.

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
        """Set external solutions beside our current sets, or beside each other, in sigma.

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
            given. is_across : bool
            Compare solutions of different contexts too.
        as_of_utc : datetime, optional
            Answer as the registry would have at this time (aware).

        Raises
        ------
        InvalidValueError, UnknownKeyError
            If a key cannot be one, or there is no such source.
        """
        from calreg.contexts import comparison
        from calreg.domain import SetQuery

        query = comparison.CompareQuery(
            wanted=SetQuery(
                pmap=optional_pmap(pmap),
                band=self._band(band),
                array_id=self._array_id(array_id),
                as_of_utc=as_of_utc,
            ),
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

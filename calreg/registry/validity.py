"""Methods that say for which contexts a set may be used, and that accept and withdraw sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from calreg.registry.base import RegistryBase, optional_pmap

if TYPE_CHECKING:
    from datetime import datetime

    from calreg.domain import Pmap
    from calreg.sets.acceptance import SetReport, ValidityReport


class ValidityMethods(RegistryBase):
    """Validity, promotion and withdrawal of coefficient sets."""

    def validity(self, set_id: str, *, as_of_utc: datetime | None = None) -> ValidityReport:
        """Say for which contexts a set may be used, and why.

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
        from calreg.sets import acceptance as validity

        with self._database.read() as connection:
            return validity.explain(connection, set_id, self._instrument, as_of_utc)

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
        from calreg.sets import acceptance as validity

        wanted = validity.Promotion(
            reason=reason,
            pmap_from=optional_pmap(pmap_from),
            pmap_to=optional_pmap(pmap_to),
            is_open=is_open,
            replace=replace,
            reinstate=reinstate,
        )
        return validity.promote(self._database, set_id, wanted, self._instrument)

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
        from calreg.sets import acceptance as validity

        return validity.withdraw(self._database, set_id, reason)

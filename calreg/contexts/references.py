"""Which photom, flat and area file a context has for an array, and what differs between two."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from calreg.domain import ReferenceChoice, ReferenceKind, Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from calreg.db.queries.zeropoints import StoredZeroPoint
    from calreg.domain import Pmap


@dataclass(frozen=True)
class KnownReference:
    """What is known of one reference file.

    Attributes
    ----------
    file_name : str
        Empty where unknown or in conflict.
    reason : str
        Why there is no name.
    """

    status: Status
    file_name: str = ""
    reason: str = ""


class References:
    """The reference files of contexts.

    Parameters
    ----------
    points : iterable of StoredZeroPoint
        They name photom files too.
    """

    def __init__(
        self, stored: Iterable[ReferenceChoice], points: Iterable[StoredZeroPoint] = ()
    ) -> None:
        self._stored: dict[tuple[Pmap, str, ReferenceKind], list[ReferenceChoice]] = defaultdict(
            list
        )
        self._found: dict[tuple[Pmap, str, ReferenceKind, str, str], KnownReference] = {}
        of_points = (
            ReferenceChoice(
                p.pmap, p.array, ReferenceKind.PHOTOM, p.filter, p.pupil, "", p.r_photom, p.source
            )
            for p in points
            if p.r_photom
        )
        for reference in (*stored, *of_points):
            self._stored[reference.pmap, reference.array, reference.kind].append(reference)

    def pmaps(self) -> set[Pmap]:
        """Return the contexts that files are known of."""
        return {pmap for pmap, _, _ in self._stored}

    def find(
        self, pmap: Pmap, array: str, kind: ReferenceKind, filter_name: str, pupil: str
    ) -> KnownReference:
        """Return the file of a context for an array and band.

        Returns
        -------
        KnownReference
            Where a mapping has several by the date of exposures, the last; a conflict where two
            sources name different files.
        """
        key = (pmap, array, kind, filter_name, pupil)
        if key not in self._found:
            self._found[key] = self._find(*key)
        return self._found[key]

    def _find(
        self, pmap: Pmap, array: str, kind: ReferenceKind, filter_name: str, pupil: str
    ) -> KnownReference:
        """Work out what is known."""
        fitting = [
            reference
            for reference in self._stored.get((pmap, array, kind), ())
            if reference.filter in ("", filter_name) and reference.pupil in ("", pupil)
        ]
        latest: dict[str, str] = {}
        for reference in fitting:
            latest[reference.source] = max(latest.get(reference.source, ""), reference.useafter)
        names = {
            reference.file_name: reference.source
            for reference in fitting
            if reference.useafter == latest[reference.source]
        }
        if not names:
            reason = f"{kind} file of {array} {filter_name} under {pmap} is not recorded"
            return KnownReference(Status.UNKNOWN, reason=reason)
        if len(names) > 1:
            told = ", ".join(f"{name} ({source})" for name, source in sorted(names.items()))
            reason = f"{array} {filter_name} under {pmap}: {kind} files disagree: {told}"
            return KnownReference(Status.CONFLICT, reason=reason)
        return KnownReference(Status.OK, next(iter(names)))

    def is_changed(
        self,
        pmap_1: Pmap,
        pmap_2: Pmap,
        array: str,
        kind: ReferenceKind,
        band: tuple[str, str],
    ) -> bool | None:
        """Tell whether two contexts have different files; None where that is not known."""
        first, second = (self.find(pmap, array, kind, *band) for pmap in (pmap_1, pmap_2))
        if first.status is not Status.OK or second.status is not Status.OK:
            return None
        return first.file_name != second.file_name

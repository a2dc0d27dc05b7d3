"""What ingest does with files about contexts: photom files, mappings, tables of PHOTMJSR."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from calreg.contexts.zeropoints import FULL, ZeroPointKey, ZeroPoints
from calreg.db.queries.contexts import insert_new_references, load_references
from calreg.db.queries.exposures import ensure_pmaps
from calreg.db.queries.zeropoints import insert_new_zero_points
from calreg.domain import Pmap, ReferenceChoice, ReferenceKind, Status, ZeroPointKind
from calreg.errors import FileFormatError, InvalidValueError
from calreg.files.readguard import refuse_damaged
from calreg.files.recognise import FileKind
from calreg.files.references.contexttables import (
    NOT_IMAGING,
    ContextFacts,
    FoundZeroPoint,
    read_context_table,
)
from calreg.files.references.crdscache import (
    DETECTOR,
    EXPOSURE_TYPE,
    FILTER,
    PUPIL,
    CrdsCache,
    read_context_mapping,
    references_of,
)
from calreg.files.references.photom import has_time_dependence, photom_rows, read_photom_parent
from calreg.science.zeropoints import Rounded, single_precision

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from calreg.db.engine import Connection
    from calreg.instruments import Array, Band, Instrument

PHOTOM_FILE = "photom file"
"""What a photom reference file is called in reports."""

NOT_POSITIVE = "PHOTMJSR not positive"

_SUBARRAY = "META.SUBARRAY.NAME"
_MODULE = "META.INSTRUMENT.MODULE"
_CHANNEL = "META.INSTRUMENT.CHANNEL"


@dataclass
class ContextEntry:
    """What was read from a file, with remarks for the reader.

    Attributes
    ----------
    warnings : list of str
        Without the name of the file.
    n_new : int
        Rows that the registry did not have.
    """

    facts: ContextFacts
    warnings: list[str] = field(default_factory=list)
    n_new: int = 0

    @property
    def summary(self) -> str:
        """What the file says, in a few words."""
        points, references = self.facts.zero_points, self.facts.references
        pmaps = sorted({point.pmap for point in points} | {choice.pmap for choice in references})
        where = pmaps[0].name if len(pmaps) == 1 else f"{len(pmaps)} contexts"
        words = []
        if points:
            words.append(f"{len(points)} PHOTMJSR")
        if references:
            words.append(f"{len(references)} reference files")
        return f"{', '.join(words)} under {where} ({self.n_new} new)"


class ContextIngest:
    """Reads files about contexts and writes what is new.

    Parameters
    ----------
    connection : Connection
        Inside a write transaction.
    pmap : Pmap or None
        Context of photom files, imaps and rmaps, which do not say it themselves.
    """

    def __init__(self, connection: Connection, instrument: Instrument, pmap: Pmap | None) -> None:
        self.connection = connection
        self.instrument = instrument
        self.pmap = pmap

    def read(self, path: Path, kind: FileKind) -> ContextEntry:
        """Read a file.

        Raises
        ------
        CalregError
            If it cannot be used; the message names the file.
        """
        with refuse_damaged(path):
            if kind is FileKind.MAPPING:
                entry = self._read_mapping(path)
            elif kind is FileKind.REFERENCE_FILE:
                entry = self._read_photom(path)
            else:
                entry = ContextEntry(read_context_table(path, kind, self.instrument))
        left_out = sorted(entry.facts.n_left_out.items())
        entry.warnings += [f"{n} rows left out: {reason}" for reason, n in left_out]
        if not entry.facts.zero_points and not entry.facts.references:
            told = ", ".join(f"{n} {reason}" for reason, n in left_out) or "no rows"
            msg = f"{path}: nothing to take: {told}"
            raise FileFormatError(msg)
        return entry

    def write(self, entry: ContextEntry, file_name: str, ingest_id: Callable[[], int]) -> None:
        """Write what is new of a file, and warn of what disagrees with other sources.

        Parameters
        ----------
        ingest_id : callable
            Returns the id of the call; called only if there is something to write.
        """
        points = entry.facts.zero_points
        pmap_ids = ensure_pmaps(self.connection, [point.pmap for point in points])
        rows = [_row(point, pmap_ids, file_name) for point in points]
        entry.n_new = insert_new_zero_points(
            self.connection, rows, set(pmap_ids.values()), ingest_id
        )
        entry.n_new += insert_new_references(self.connection, entry.facts.references, ingest_id)
        entry.warnings += self._conflicts(points)

    def _conflicts(self, points: list[FoundZeroPoint]) -> list[str]:
        """Return where the values of a file disagree with those of others."""
        zero_points = ZeroPoints.load(self.connection)
        reasons: dict[str, None] = {}
        for point in points:
            subarray = point.subarray or FULL
            band = point.band
            key = ZeroPointKey(point.array.name, band.filter, band.pupil, subarray)
            known = zero_points.find(point.pmap, key)
            if known.status is Status.CONFLICT:
                reasons[known.reason] = None
        return [f"conflict: {reason}" for reason in reasons]

    # --- photom files ---------------------------------------------------------------------------

    def _read_photom(self, path: Path) -> ContextEntry:
        """Read a photom file under the context that is given, or those whose mappings name it."""
        pmaps = [self.pmap] if self.pmap else self._contexts_of(path.name)
        array, points, n_left_out = self._photom_values(path, pmaps)
        if not pmaps:
            msg = (
                f"{path}: a photom file does not say which context uses it: name it with --pmap, "
                "or ingest the context's pmap of a CRDS cache as well"
            )
            raise InvalidValueError(msg)
        entry = ContextEntry(ContextFacts(zero_points=points, n_left_out=n_left_out))
        if self.pmap is not None:
            named = ReferenceChoice(
                self.pmap, array.name, ReferenceKind.PHOTOM, "", "", "", path.name, "--pmap"
            )
            entry.facts.references.append(named)
        return entry

    def _photom_values(
        self, path: Path, pmaps: list[Pmap]
    ) -> tuple[Array, list[FoundZeroPoint], Counter[str]]:
        """Read the rows of a photom file for some contexts."""
        parent = read_photom_parent(path, self.instrument)
        kind = ZeroPointKind.TIMED if has_time_dependence(parent) else ZeroPointKind.TABLE
        area = parent.headers.primary.get("PIXAR_SR")
        pixar_sr = single_precision(float(area)) if isinstance(area, int | float) else None
        found: list[FoundZeroPoint] = []
        n_left_out: Counter[str] = Counter()
        keyword = self.instrument.keywords["photmjsr"]
        for row in photom_rows(parent):
            band = self._band(row.filter, row.pupil)
            if band is None or band.channel != parent.array.channel:
                n_left_out[NOT_IMAGING] += 1
            elif not (math.isfinite(row.photmjsr) and row.photmjsr > 0.0):
                n_left_out[NOT_POSITIVE] += 1
            elif not keyword.holds(row.photmjsr):
                n_left_out[f"PHOTMJSR not {keyword.bounds}"] += 1
            else:
                found += [
                    FoundZeroPoint(
                        pmap=pmap,
                        array=parent.array,
                        band=band,
                        subarray=row.subarray,
                        photmjsr=single_precision(row.photmjsr),
                        pixar_sr=pixar_sr,
                        r_photom=path.name,
                        source=PHOTOM_FILE,
                        kind=kind,
                    )
                    for pmap in pmaps
                ]
        return parent.array, found, n_left_out

    def _band(self, filter_name: str, pupil: str) -> Band | None:
        """Return the imaging band of a row, None for what is none."""
        try:
            return self.instrument.band(filter_name, pupil)
        except InvalidValueError:
            return None

    def _contexts_of(self, file_name: str) -> list[Pmap]:
        """Return the contexts that are known to use a file."""
        known = load_references(self.connection)
        return sorted({reference.pmap for reference in known if reference.file_name == file_name})

    # --- mappings -------------------------------------------------------------------------------

    def _read_mapping(self, path: Path) -> ContextEntry:
        """Read which files a context has, and the values of photom files that are in the cache."""
        mapping = read_context_mapping(path, [str(kind) for kind in ReferenceKind], self.instrument)
        pmap = Pmap.parse(mapping.name) if mapping.is_context else self.pmap
        if pmap is None:
            msg = (
                f"{path}: this mapping does not say which context it belongs to: name it with "
                "--pmap, or give the pmap"
            )
            raise InvalidValueError(msg)
        entry = ContextEntry(ContextFacts())
        for kind in ReferenceKind:
            if str(kind) in mapping.rmaps:
                entry.facts.references += self._choices(pmap, kind, mapping.rmaps[kind], entry)
        self._add_cached_values(path, pmap, entry)
        return entry

    def _choices(
        self, pmap: Pmap, kind: ReferenceKind, rmap: Path, entry: ContextEntry
    ) -> list[ReferenceChoice]:
        """Return an rmap's entries for every array and band."""
        keys = [
            (array, band)
            for array in self.instrument.arrays.values()
            for band in self.instrument.bands.values()
            if band.channel == array.channel
        ]
        found = references_of(rmap, [self._matching(array, band) for array, band in keys])
        by_array: dict[str, list[tuple[Array, Band, dict[str, str]]]] = defaultdict(list)
        for (array, band), names in zip(keys, found, strict=True):
            by_array[array.name].append((array, band, names))
        references = []
        for choices in by_array.values():
            # Photom is chosen by detector alone: one row stands for all bands then.
            is_one = all(names == choices[0][2] for _, _, names in choices)
            for array, band, names in choices[:1] if is_one else choices:
                references += [
                    ReferenceChoice(
                        pmap=pmap,
                        array=array.name,
                        kind=kind,
                        filter="" if is_one else band.filter,
                        pupil="" if is_one else band.pupil,
                        useafter=useafter,
                        file_name=name,
                        source=rmap.name,
                    )
                    for useafter, name in names.items()
                ]
        dates = {(choice.array, choice.useafter) for choice in references}
        if kind is ReferenceKind.PHOTOM and len(dates) > len({array for array, _ in dates}):
            entry.warnings.append(
                f"{rmap.name}: some arrays have several photom files by the date of the exposure "
                "(USEAFTER); the last one counts"
            )
        return references

    def _matching(self, array: Array, band: Band) -> Mapping[str, str]:
        """Return the parameters that a mapping may choose by, for full frames of imaging."""
        return {
            DETECTOR: array.detector,
            FILTER: band.filter,
            PUPIL: band.pupil,
            EXPOSURE_TYPE: self.instrument.imaging_exposure_types[0],
            _SUBARRAY: FULL,
            _MODULE: array.module,
            _CHANNEL: self.instrument.channel_card(array),
        }

    def _add_cached_values(self, path: Path, pmap: Pmap, entry: ContextEntry) -> None:
        """Read the photom files that the same cache has."""
        latest: dict[str, ReferenceChoice] = {}
        for reference in entry.facts.references:
            known = latest.get(reference.array)
            is_later = known is None or reference.useafter > known.useafter
            if reference.kind is ReferenceKind.PHOTOM and is_later:
                latest[reference.array] = reference
        cache = CrdsCache(path.resolve().parent.parent.parent)
        n_missing = 0
        for reference in latest.values():
            file = cache.file_of(reference.file_name, self.instrument)
            if file is None:
                n_missing += 1
                continue
            with refuse_damaged(file):
                _, points, n_left_out = self._photom_values(file, [pmap])
            entry.facts.zero_points += points
            entry.facts.n_left_out += n_left_out
        if n_missing:
            entry.warnings.append(
                f"{n_missing} of {len(latest)} photom files are not in the cache: their PHOTMJSR "
                "are taken from where else they are known, or stay unknown"
            )


def _row(point: FoundZeroPoint, pmap_ids: Mapping[int, int], file_name: str) -> dict[str, object]:
    """Return a zero point as a row."""
    area: Rounded | None = point.pixar_sr
    return {
        "pmap_id": pmap_ids[point.pmap.number],
        "array": point.array.name,
        "filter": point.band.filter,
        "pupil": point.band.pupil,
        "band": point.band.name,
        "subarray": point.subarray,
        "photmjsr": point.photmjsr.value,
        "photmjsr_half_width": point.photmjsr.half_width,
        "pixar_sr": None if area is None else area.value,
        "pixar_half_width_sr": None if area is None else area.half_width,
        "r_photom": point.r_photom,
        "source": point.source,
        "kind": str(point.kind),
        "file_name": file_name,
    }

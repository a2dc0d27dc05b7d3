"""Export a CRDS context: the stock pipeline takes our reference files with no override at all."""

from __future__ import annotations

import secrets
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from calreg.errors import InvalidValueError, OutputError
from calreg.export.deliveries import Delivery, record_delivery
from calreg.export.flat import FlatJob, flat_jobs, gradient_notes, stage_flat
from calreg.export.photom import PhotomJob, photom_jobs, photom_parents, stage_photom
from calreg.export.references import (
    StagedFile,
    Staging,
    matching_keys,
    one_reference_name,
    utc_of_mjd,
)
from calreg.files.atomic import TEMPORARY_PREFIX
from calreg.files.references import flat as flatfile
from calreg.files.references import photom as photomfile
from calreg.files.references.crdscache import DETECTOR, CrdsCache
from calreg.files.references.crdsoverlay import (
    OverlayNames,
    best_references,
    check_overlay_name,
    link_cache,
    overlay_names,
    require_cache,
    require_crds,
    write_mappings,
)
from calreg.sets.corrections import choose_corrections

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from calreg.db.engine import Database
    from calreg.domain import Pmap
    from calreg.export.references import ReferenceOptions
    from calreg.files.references.parents import Parent
    from calreg.instruments import Array, Instrument
    from calreg.sets.corrections import SetCorrection

KIND = "context"


@dataclass(frozen=True)
class ContextReport:
    """What an export of a context did.

    Attributes
    ----------
    deliveries : list of Delivery
        Reference files and mappings.
    n_verified : int
        Answers of CRDS that were as they should be; zero where it was not asked.
    """

    crds_path: Path
    crds_context: str
    deliveries: list[Delivery]
    checkers: list[str]
    n_verified: int
    notes: list[str]


@dataclass(frozen=True)
class _Plan:
    """Everything that goes into an overlay."""

    pmap: Pmap
    name: str
    cache: CrdsCache
    corrections: list[SetCorrection]
    photoms: list[PhotomJob]
    flats: list[FlatJob]
    instrument: Instrument

    @property
    def set_pks(self) -> list[int]:
        """All sets."""
        return [correction.stored.pk for correction in self.corrections]


def export_context(
    database: Database,
    options: ReferenceOptions,
    instrument: Instrument,
    name: str,
    cache: CrdsCache,
    *,
    verify: bool = False,
) -> ContextReport:
    """Make a CRDS cache with our files in a context of its own; see `Registry.export_context`."""
    query, out = options.query, options.out
    check_overlay_name(name)
    require_crds()
    require_cache(cache, query.pmap)
    created_utc = datetime.now(UTC)
    with database.read() as connection:
        corrections, predicted = choose_corrections(
            connection, query, instrument, predict=options.predict
        )
        plan = _Plan(
            query.pmap,
            name,
            cache,
            corrections,
            photom_jobs(connection, query.pmap, corrections, created_utc, all_arrays=False),
            flat_jobs(connection, query.pmap, corrections, created_utc),
            instrument,
        )
    reftypes = [photomfile.REFTYPE] + ([flatfile.REFTYPE] if plan.flats else [])
    names = overlay_names(cache, query.pmap, name, reftypes, instrument)
    with _new_folder(out) as overlay:
        files, mappings, checkers = _fill(overlay, names, plan)
        n_verified = _verify(overlay, names, plan, files) if verify else 0
        staged = files + [StagedFile(one, one, KIND, tuple(plan.set_pks)) for one in mappings]
        with database.write() as connection:
            deliveries = [
                record_delivery(
                    connection,
                    one.kind,
                    out / one.path.relative_to(overlay),
                    one.set_pks,
                    created_utc,
                    content=one.path,
                )
                for one in staged
            ]
            _give_name(overlay, out)
    return ContextReport(
        crds_path=out.resolve(),
        crds_context=names.context,
        deliveries=deliveries,
        checkers=checkers,
        n_verified=n_verified,
        notes=predicted + gradient_notes(plan.flats),
    )


def _fill(
    overlay: Path, names: OverlayNames, plan: _Plan
) -> tuple[list[StagedFile], list[Path], list[str]]:
    """Make links, reference files and mappings, and check them; return what passed the files."""
    folder = link_cache(plan.cache, overlay, plan.instrument)
    with Staging(folder) as staging:
        _stage_all(staging, plan)
        checkers = staging.check()
        files = staging.release()
    by_type = {
        reftype: [one.path for one in files if one.kind == reftype.lower()]
        for reftype in names.new
        if reftype not in {"pmap", "imap"}
    }
    mappings = write_mappings(overlay, names, by_type)
    _read_back(overlay, names, plan, files)
    return files, mappings, checkers


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Yield a hidden folder beside the one to make; it is removed on any error."""
    if out.exists() or out.is_symlink():
        msg = f"cannot make {out}: it exists; remove it, or give another --out"
        raise OutputError(msg)
    hidden = out.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        hidden.mkdir()
    except OSError as error:
        msg = f"cannot make {out}: {error.strerror or error}"
        raise OutputError(msg) from error
    try:
        yield hidden
    except BaseException:
        # It has its name by now where the registry could not record it.
        shutil.rmtree(hidden if hidden.exists() else out, ignore_errors=True)
        raise


def _give_name(overlay: Path, out: Path) -> None:
    """Rename the finished overlay."""
    try:
        overlay.rename(out)
    except OSError as error:
        msg = f"cannot make {out}: {error.strerror or error}"
        raise OutputError(msg) from error


def _stage_all(staging: Staging, plan: _Plan) -> None:
    """Make all reference files from the parents in the cache."""
    parents, _ = photom_parents(plan.photoms, (), plan.cache, plan.instrument)
    for job in plan.photoms:
        stage_photom(staging, job, parents[job.array.name], plan.name, plan.instrument)
    for flat in plan.flats:
        stage_flat(staging, flat, _flat_parent(flat, plan), plan.name, plan.instrument)


def _flat_parent(job: FlatJob, plan: _Plan) -> Parent:
    """Return the flat that the context takes for an array and band."""
    keys = matching_keys(job.array, plan.instrument, job.band)
    name = one_reference_name(
        plan.cache, plan.pmap, flatfile.REFTYPE, keys, [job.correction], plan.instrument
    )
    if job.used_names and job.used_names != {name}:
        msg = (
            f"{job.name}: {plan.pmap.name} in {plan.cache.path} has {name}, but the exposures were "
            f"calibrated with {', '.join(sorted(job.used_names))}"
        )
        raise InvalidValueError(msg)
    path = plan.cache.file_of(name, plan.instrument)
    if path is None:
        msg = (
            f"{job.name}: {plan.pmap.name} has {name}, which is not in {plan.cache.path}: sync it "
            f"(crds sync --files {name})"
        )
        raise InvalidValueError(msg)
    return flatfile.read_flat_parent(path, plan.instrument)


# --- what the context takes -----------------------------------------------------------------------


class _Use(NamedTuple):
    """What a reference file is taken for."""

    reftype: str
    array: str
    band: str


def _ours(plan: _Plan, files: Sequence[StagedFile]) -> dict[_Use, str]:
    """Return our files by what they are for."""
    names = [file.path.name for file in files]
    n_photoms = len(plan.photoms)
    found = {}
    for photom, name in zip(plan.photoms, names[:n_photoms], strict=True):
        for correction in photom.corrections:
            use = _Use(photomfile.REFTYPE, photom.array.name, correction.band.name)
            found[use] = name
    for flat, name in zip(plan.flats, names[n_photoms:], strict=True):
        found[_Use(flatfile.REFTYPE, flat.array.name, flat.band.name)] = name
    return found


def _read_back(
    overlay: Path, names: OverlayNames, plan: _Plan, files: Sequence[StagedFile]
) -> None:
    """Refuse mappings that do not choose our files for the data behind the corrections."""
    ours = _ours(plan, files)
    cache = CrdsCache(overlay)
    for correction in plan.corrections:
        for array in correction.arrays.values():
            for reftype, band in (
                (photomfile.REFTYPE, None),
                (flatfile.REFTYPE, correction.band),
            ):
                keys = matching_keys(array, plan.instrument, band)
                own = ours.get(_Use(reftype, array.name, correction.band.name))
                if own is None:
                    continue
                found = one_reference_name(
                    cache, names.context, reftype, keys, [correction], plan.instrument
                )
                _require_same(f"{array.name} {correction.band.name}", reftype, found, own)


def _verify(overlay: Path, names: OverlayNames, plan: _Plan, files: Sequence[StagedFile]) -> int:
    """Ask CRDS for every array and band; return how many answers were as they should be."""
    ours = _ours(plan, files)
    corrected: list[tuple[str, str, str]] = []
    others: list[dict[str, Any]] = []
    requests: list[dict[str, Any]] = []
    for correction in plan.corrections:
        for array in correction.arrays.values():
            parameters = _parameters(array, correction, plan.instrument)
            for reftype in (photomfile.REFTYPE, flatfile.REFTYPE):
                request: dict[str, Any] = {
                    "parameters": parameters,
                    "reftypes": [reftype.lower()],
                }
                own = ours.get(_Use(reftype, array.name, correction.band.name))
                if own is not None:
                    requests.append(request)
                    corrected.append((f"{array.name} {correction.band.name}", reftype, own))
                elif reftype in names.new:
                    others.append(request)
    answers = best_references(overlay, names.context, requests)
    for (what, reftype, own), answer in zip(corrected, answers, strict=True):
        _require_same(what, reftype, answer.get(reftype.lower(), "none"), own)
    before = best_references(overlay, names.old["pmap"], others, only_names=True)
    after = best_references(overlay, names.context, others, only_names=True)
    for request, old, new in zip(others, before, after, strict=True):
        (reftype,) = request["reftypes"]
        what = request["parameters"][DETECTOR]
        _require_same(what, reftype, new.get(reftype, "none"), old.get(reftype, "none"))
    return len(answers) + len(after)


def _require_same(what: str, reftype: str, found: str, expected: str) -> None:
    """Refuse a context that takes another file than it should."""
    if found != expected:
        msg = (
            f"{what}: the context made takes {found} as {reftype.lower()}, expected {expected}: "
            "the parent's mappings match by other cards than the file has; nothing was written"
        )
        raise OutputError(msg)


def _parameters(array: Array, correction: SetCorrection, instrument: Instrument) -> dict[str, str]:
    """Return the parameters of an exposure behind a correction, as CRDS wants them."""
    begin = utc_of_mjd(correction.last_mjd_utc)
    return {
        "META.INSTRUMENT.NAME": instrument.name,
        **matching_keys(array, instrument, correction.band),
        "META.SUBARRAY.NAME": flatfile.FULL,
        "META.OBSERVATION.DATE": f"{begin:%Y-%m-%d}",
        "META.OBSERVATION.TIME": f"{begin:%H:%M:%S}",
    }

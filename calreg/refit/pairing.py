"""Match new catalogs against the other epochs of their field, and store what was found."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from calreg.db.queries.pairs import (
    fetch_detections,
    has_errors,
    insert_groups,
    insert_pairs,
    insert_sources,
    insert_variable_sources,
    load_sources,
)
from calreg.domain import RollRelation, SetKey
from calreg.errors import CalregError, FitRefusedError
from calreg.flags import PairFlag
from calreg.refit.astrometry import (
    ASTROMETRY_MAG_LIMIT,
    BandEpochs,
    OffsetSample,
    measure_astrometry,
    raw_offsets,
)
from calreg.science.model.variability import find_variables, measure_residuals
from calreg.science.sky.geometry import roll_relation
from calreg.science.sky.matching import MATCH_VERSION, assign_sources, match_many_epochs
from calreg.science.statistics import mad_by_group, median_by_group
from calreg.units import MAG_PER_RELATIVE_FLUX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy.typing as npt

    from calreg.db.engine import Connection
    from calreg.db.queries.pairs import (
        CatalogImage,
        StoredGroup,
    )
    from calreg.domain import BoolArray, IntArray, Progress
    from calreg.refit.astrometry import (
        AstrometryRow,
    )
    from calreg.science.model.settings import FitSettings
    from calreg.science.sky.matching import EpochMatch
    from calreg.units import FloatArray

Columns = dict[str, "npt.NDArray[Any]"]

_VARIABILITY_MAG_ERR = MAG_PER_RELATIVE_FLUX / 30.0
"""Pairs with S/N below 30 are not judged: their scatter hides what is worth a flag [mag]."""

_VARIABILITY_MIN_PAIRS = 8
"""Smaller groups have no scatter to hold a source against."""

FAILED = "the fit failed: "
"""How a refusal begins whose cause was not foreseen."""

_MAX_REASON = 300
"""Longest text of a cause that is stored [characters]."""


@dataclass
class PairingReport:
    """What matching did.

    Attributes
    ----------
    notes : list of str
        Epoch pairs that the pair model cannot use.
    astrometry : list of AstrometryRow
        Of the epochs matched just now.
    """

    n_groups: int = 0
    n_pairs: int = 0
    n_ambiguous: int = 0
    n_variable: int = 0
    notes: list[str] = field(default_factory=list)
    astrometry: list[AstrometryRow] = field(default_factory=list)


@dataclass(frozen=True)
class _NewGroup:
    """Two catalogs that were matched just now, with their pairs as columns.

    The last three are of all stored pairs, shape (n_pairs,) or (2, n_pairs).
    """

    image_i: CatalogImage
    image_j: CatalogImage
    relation: RollRelation
    match: EpochMatch
    pairs: Columns
    n_matched: int
    n_ambiguous: int
    is_astrometric: BoolArray
    offsets_mas: FloatArray
    is_known_size: BoolArray


def _key_of(image: CatalogImage) -> SetKey:
    """Return the key that an image's catalog is fitted under."""
    return SetKey(*(getattr(image, name) for name in SetKey._fields))


def group_by_key(images: Iterable[CatalogImage]) -> dict[SetKey, list[CatalogImage]]:
    """Gather catalogs by fit key, in the order of time that they come in."""
    by_key: dict[SetKey, list[CatalogImage]] = defaultdict(list)
    for image in images:
        by_key[_key_of(image)].append(image)
    return dict(by_key)


def failure_reason(error: Exception) -> str:
    """Word why a key has no set; what was not foreseen begins with `FAILED`."""
    if isinstance(error, FitRefusedError):
        return str(error)
    kind = "" if isinstance(error, CalregError) else f"{type(error).__name__}: "
    text = " ".join(str(error).split())[:_MAX_REASON]
    return f"{FAILED}{kind}{text}; every refit tries this key again"


def is_in_use(group: StoredGroup, settings: FitSettings) -> bool:
    """Tell whether a group was matched as the settings ask for."""
    return (
        group.max_sep_arcsec == settings.max_sep_arcsec
        and group.min_snr == settings.stored_snr
        and group.match_version == MATCH_VERSION
    )


@dataclass(frozen=True)
class MatchPlan:
    """Which catalogs are to be matched.

    Attributes
    ----------
    wanted : dict of SetKey to list of (CatalogImage, CatalogImage, RollRelation)
        Pairs of catalogs that were not matched yet, earlier one first; no key without any.
    notes : list of str
        Epochs whose rolls the pair model cannot use, matched or not.
    """

    wanted: dict[SetKey, list[tuple[CatalogImage, CatalogImage, RollRelation]]]
    notes: list[str]


def plan_matching(
    by_key: dict[SetKey, list[CatalogImage]], groups: Sequence[StoredGroup], settings: FitSettings
) -> MatchPlan:
    """Find the pairs of catalogs to match.

    Patches are matched that the pair model can use: opposite modules at opposite rolls (the
    measurement), the same array at equal rolls (the check on the time term).

    Parameters
    ----------
    groups : sequence of StoredGroup
        What was matched before.
    """
    known = {
        (group.catalog_i_id, group.catalog_j_id) for group in groups if is_in_use(group, settings)
    }
    notes: dict[str, None] = {}
    wanted = {key: _wanted(images, known, notes) for key, images in by_key.items()}
    return MatchPlan({key: pairs for key, pairs in wanted.items() if pairs}, list(notes))


def match_new_catalogs(
    connection: Connection,
    plan: MatchPlan,
    *,
    settings: FitSettings,
    epoch_names: dict[int, str],
    fit_run_id: Callable[[], int],
    failed: dict[SetKey, str],
    progress: Progress,
) -> PairingReport:
    """Match what is planned; store groups, pairs and sources.

    Parameters
    ----------
    failed : dict of SetKey to str
        Is given the keys that could not be matched, with the reason.
    """
    report = PairingReport(notes=plan.notes)
    by_field: dict[int, list[_NewGroup]] = defaultdict(list)
    for n_done, (key, pairs) in enumerate(sorted(plan.wanted.items())):
        progress("matching", n_done, len(plan.wanted))
        catalog_ids = {image.catalog_id for pair in pairs for image in pair[:2]}
        detections = fetch_detections(connection, catalog_ids)
        try:
            found = _match(pairs, detections, settings)
        except Exception as error:
            failed[key] = failure_reason(error)
        else:
            by_field[key.field_id] += found
    for field_id, new in sorted(by_field.items()):
        source_ids = _store(connection, field_id, new, settings, fit_run_id(), report)
        report.astrometry += _astrometry(new, source_ids, epoch_names)
    progress("matching", len(plan.wanted), len(plan.wanted))
    return report


def _wanted(
    images: list[CatalogImage], known: set[tuple[int, int]], notes: dict[str, None]
) -> list[tuple[CatalogImage, CatalogImage, RollRelation]]:
    """List the pairs of catalogs of one key to match; note rolls that the pair model cannot use."""
    wanted: list[tuple[CatalogImage, CatalogImage, RollRelation]] = []
    for n_i, image_i in enumerate(images):
        for image_j in images[n_i + 1 :]:
            if image_i.epoch_id == image_j.epoch_id:
                continue
            relation = roll_relation(image_i.roll_deg, image_j.roll_deg)
            if relation is RollRelation.OTHER:
                notes[
                    f"field {image_i.field_name}: rolls {image_i.roll_deg:.0f} and "
                    f"{image_j.roll_deg:.0f} deg are neither equal nor opposite; the pair model "
                    "leaves these epochs apart"
                ] = None
                continue
            is_same_module = image_i.module == image_j.module
            if is_same_module != (relation is RollRelation.EQUAL):
                continue
            if (image_i.catalog_id, image_j.catalog_id) not in known:
                wanted.append((image_i, image_j, relation))
    return wanted


def _match(
    pairs: Sequence[tuple[CatalogImage, CatalogImage, RollRelation]],
    detections: dict[int, Columns],
    settings: FitSettings,
) -> list[_NewGroup]:
    """Match pairs of catalogs, all in one go, and lay out what is found as columns."""
    place = {catalog_id: n for n, catalog_id in enumerate(detections)}
    catalogs = [
        (side["ra_deg"], side["dec_deg"], side["mag_ab"] < ASTROMETRY_MAG_LIMIT)
        for side in detections.values()
    ]
    matches = match_many_epochs(
        catalogs,
        [(place[image_i.catalog_id], place[image_j.catalog_id]) for image_i, image_j, _ in pairs],
        settings.max_sep_arcsec,
    )
    return [
        _new_group((image_i, image_j, relation), match, detections, settings.stored_snr)
        for (image_i, image_j, relation), match in zip(pairs, matches, strict=True)
    ]


def _new_group(
    matched: tuple[CatalogImage, CatalogImage, RollRelation],
    match: EpochMatch,
    detections: dict[int, Columns],
    min_snr: float,
) -> _NewGroup:
    """Lay the pairs of two catalogs out as columns, without those below a mean S/N."""
    image_i, image_j, relation = matched
    side_i, side_j = detections[image_i.catalog_id], detections[image_j.catalog_id]
    row_i, row_j = match.match.index_1, match.match.index_2
    flags = np.where(match.match.is_ambiguous, int(PairFlag.AMBIGUOUS), 0)
    is_unclean = (side_i["flags"][row_i] != 0) | (side_j["flags"][row_j] != 0)
    flags = flags | np.where(is_unclean, int(PairFlag.UNCLEAN), 0)
    ra_deg, dec_deg = _mean_position(
        side_i["ra_deg"][row_i],
        side_i["dec_deg"][row_i],
        side_j["ra_deg"][row_j],
        side_j["dec_deg"][row_j],
    )
    pairs: Columns = {
        "number_i": side_i["number"][row_i],
        "number_j": side_j["number"][row_j],
        "ra_deg": ra_deg,
        "dec_deg": dec_deg,
        "sep_mas": match.match.sep_arcsec * 1000.0,
        "mag_i": side_i["mag_ab"][row_i],
        "mag_err_i": side_i["mag_err"][row_i],
        "mag_j": side_j["mag_ab"][row_j],
        "mag_err_j": side_j["mag_err"][row_j],
        "flags": flags,
    }
    magnitudes = [pairs[name] for name in ("mag_i", "mag_err_i", "mag_j", "mag_err_j")]
    is_measured = np.isfinite(np.vstack(magnitudes)).all(axis=0)
    is_ambiguous = (flags & int(PairFlag.AMBIGUOUS)) != 0
    is_stored = is_measured & (
        pairs["mag_err_i"] + pairs["mag_err_j"] <= 2.0 * MAG_PER_RELATIVE_FLUX / min_snr
    )
    is_bright, offsets_mas, is_known_size = raw_offsets(
        side_i, side_j, row_i[is_stored], row_j[is_stored]
    )
    return _NewGroup(
        image_i,
        image_j,
        relation,
        match,
        pairs={name: values[is_stored] for name, values in pairs.items()},
        n_matched=int(is_measured.sum()),
        n_ambiguous=int((is_measured & is_ambiguous).sum()),
        is_astrometric=is_bright & (flags[is_stored] == 0),
        offsets_mas=offsets_mas,
        is_known_size=is_known_size,
    )


def _mean_position(
    ra_1: FloatArray, dec_1: FloatArray, ra_2: FloatArray, dec_2: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the middle of pairs of close positions [deg], right across RA = 0."""
    ra_step = (ra_2 - ra_1 + 180.0) % 360.0 - 180.0
    return (ra_1 + 0.5 * ra_step) % 360.0, 0.5 * (dec_1 + dec_2)


def _selected(pairs: Columns, settings: FitSettings) -> npt.NDArray[np.bool_]:
    """Mark the clean pairs within the run's limits, by the means over the two epochs."""
    mag_err_limit = MAG_PER_RELATIVE_FLUX / settings.snr
    return np.asarray(
        (pairs["flags"] == 0)
        & has_errors(pairs)
        & (pairs["mag_i"] + pairs["mag_j"] < 2.0 * settings.mag_limit)
        & (pairs["mag_err_i"] + pairs["mag_err_j"] <= 2.0 * mag_err_limit)
    )


def _store(
    connection: Connection,
    field_id: int,
    new: list[_NewGroup],
    settings: FitSettings,
    fit_run_id: int,
    report: PairingReport,
) -> list[IntArray]:
    """Write the new groups of one field with all that belongs to them; return their sources."""
    counts = [group.pairs["ra_deg"].size for group in new]
    of_group = np.repeat(np.arange(len(new)), counts)
    joined: Columns = {
        name: np.concatenate([group.pairs[name] for group in new]) for name in new[0].pairs
    }
    patches = _patch_columns(joined, of_group, len(new), settings)
    rows = [_group_row(group, settings, fit_run_id) for group in new]
    group_ids = insert_groups(
        connection, [row | patch for row, patch in zip(rows, patches, strict=True)]
    )
    joined["group_id"] = np.array(group_ids, dtype=np.int64)[of_group]
    joined["source_id"] = _source_ids(connection, field_id, joined, settings.max_sep_arcsec)
    insert_pairs(connection, joined)
    variable = _variable_sources(joined)
    if variable["source_id"].size:
        insert_variable_sources(connection, variable)
    report.n_groups += len(new)
    report.n_pairs += sum(group.n_matched for group in new)
    report.n_ambiguous += sum(group.n_ambiguous for group in new)
    report.n_variable += int(np.unique(variable["source_id"]).size)
    return np.split(joined["source_id"], np.cumsum(counts)[:-1])


def _patch_columns(
    pairs: Columns, of_group: IntArray, n_groups: int, settings: FitSettings
) -> list[dict[str, object]]:
    """Lay out number, median and MAD of the pairs of every group under the run's limits."""
    is_selected = _selected(pairs, settings)
    dmag = (pairs["mag_j"] - pairs["mag_i"])[is_selected]
    of_group = of_group[is_selected]
    n_selected = np.bincount(of_group, minlength=n_groups)
    median_mag = median_by_group(dmag, of_group, n_groups)
    mad_mag = mad_by_group(dmag, of_group, median_mag, n_groups)
    return [
        {
            "n_selected": int(n),
            "median_mag": float(median) if n else None,
            "mad_mag": float(mad) if n else None,
        }
        for n, median, mad in zip(n_selected, median_mag, mad_mag, strict=True)
    ]


def _variable_sources(pairs: Columns) -> Columns:
    """Find the sources that left the rest of their group, group by group.

    Each group is judged by itself and with a fixed selection, so that the answer does not depend on
    what else is in the registry or on the run's settings.
    """
    variance = pairs["mag_err_i"] ** 2 + pairs["mag_err_j"] ** 2
    is_usable = (
        (pairs["flags"] == 0) & has_errors(pairs) & (variance <= 2.0 * _VARIABILITY_MAG_ERR**2)
    )
    index = np.flatnonzero(is_usable)
    residual_mag, z = np.zeros(index.size), np.zeros(index.size)
    dmag = (pairs["mag_j"] - pairs["mag_i"])[index]
    for rows in np.split(
        np.arange(index.size), np.flatnonzero(np.diff(pairs["group_id"][index])) + 1
    ):
        if rows.size < _VARIABILITY_MIN_PAIRS:
            continue
        found = measure_residuals(dmag[rows], variance[index][rows])
        residual_mag[rows], z[rows] = found.residual_mag, found.z
    group_id = pairs["group_id"][index]
    variable = find_variables(
        pairs["source_id"][index], group_id, np.zeros_like(group_id), z, residual_mag
    )
    return {
        "source_id": variable.source_id,
        "group_id": variable.epoch_pair,
        "chi2": variable.chi2,
        "residual_mag": variable.max_residual_mag,
    }


def _source_ids(
    connection: Connection, field_id: int, pairs: Columns, max_sep_arcsec: float
) -> IntArray:
    """Return the source of every pair, inserting the sources that are new."""
    known_ids, known_ra, known_dec = load_sources(connection, field_id)
    assigned = assign_sources(
        pairs["ra_deg"], pairs["dec_deg"], known_ra, known_dec, max_sep_arcsec=max_sep_arcsec
    )
    new_ids = insert_sources(connection, field_id, assigned.new_ra_deg, assigned.new_dec_deg)
    return np.concatenate([known_ids, new_ids])[assigned.index]


def _group_row(group: _NewGroup, settings: FitSettings, fit_run_id: int) -> dict[str, object]:
    """Lay out the row of one group, but for the statistics of its pairs' magnitudes."""
    image_i, image_j, match = group.image_i, group.image_j, group.match
    has_offset = match.n_astrometry > 0
    return {
        "fit_run_id": fit_run_id,
        "field_id": image_i.field_id,
        "pmap_id": image_i.pmap_id,
        "band": image_i.band,
        "array_id": image_i.array_id,
        "image_kind": image_i.image_kind,
        "flux_kind": image_i.flux_kind,
        "aperture": image_i.aperture,
        "catalog_i_id": image_i.catalog_id,
        "catalog_j_id": image_j.catalog_id,
        "epoch_i_id": image_i.epoch_id,
        "epoch_j_id": image_j.epoch_id,
        "array_i": image_i.array,
        "array_j": image_j.array,
        "relation": str(group.relation),
        "roll_i_deg": image_i.roll_deg,
        "max_sep_arcsec": settings.max_sep_arcsec,
        "min_snr": settings.stored_snr,
        "match_version": MATCH_VERSION,
        "n_matched": group.n_matched,
        "n_ambiguous": group.n_ambiguous,
        "ra_median_mas": match.ra_median_mas if has_offset else None,
        "ra_mad_mas": match.ra_mad_mas if has_offset else None,
        "dec_median_mas": match.dec_median_mas if has_offset else None,
        "dec_mad_mas": match.dec_mad_mas if has_offset else None,
    }


def _astrometry(
    groups: list[_NewGroup], source_ids: list[IntArray], epoch_names: dict[int, str]
) -> list[AstrometryRow]:
    """Gather the offsets of all patches of a band and epoch pair."""
    gathered: dict[BandEpochs, list[OffsetSample]] = defaultdict(list)
    for group, source_id in zip(groups, source_ids, strict=True):
        image_i, image_j = group.image_i, group.image_j
        key = BandEpochs(
            image_i.field_name,
            image_i.pmap.name,
            image_i.band,
            epoch_names[image_i.epoch_id],
            epoch_names[image_j.epoch_id],
            image_i.image_kind,
            (image_i.flux_kind, image_i.aperture),
        )
        is_used = group.is_astrometric
        gathered[key].append(
            OffsetSample(
                source_id[is_used], group.offsets_mas[:, is_used], group.is_known_size[is_used]
            )
        )
    return [row for row, _ in measure_astrometry(gathered)]

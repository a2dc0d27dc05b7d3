"""Offsets by medians: every patch in every pair of epochs, and Eq. 7 and 8 of the paper."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calreg.db.queries.exposures import count_raw_exposures, load_epochs_by_id
from calreg.db.queries.pairs import (
    fetch_pairs,
    has_errors,
    load_patch_groups,
    load_variable_pairs,
    mark_variable,
)
from calreg.domain import Pmap, RollRelation
from calreg.science.model.offsets import measure_offset, patch_statistics
from calreg.science.sky.matching import MATCH_VERSION
from calreg.units import MAG_PER_RELATIVE_FLUX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from calreg.db.engine import Connection
    from calreg.db.queries.pairs import PatchGroup
    from calreg.domain import IntArray, SetQuery
    from calreg.instruments import Instrument
    from calreg.science.model.settings import FitSettings
    from calreg.units import FloatArray

_NOTHING = np.empty(0)


@dataclass(frozen=True)
class OffsetRow:
    """One patch in one pair of epochs, and what its two patches say together.

    Attributes
    ----------
    relation : str
        ``opposite`` rolls measure the offset between modules; ``equal`` rolls check the time term.
    array_i, array_j : str
        Which array saw the patch first, and which later.
    n_raw_i, n_raw_j : int
        Raw exposures behind each side (Ma et al., Table 2).
    n : int
        Sources within the selection (Table 2).
    median_mag, mad_mag : float or None
        Of later - earlier [mag].
    offset_ab_mag, offset_ab_err_mag : float or None
        Delta_AB = (Delta_p - Delta_q) / 2 (Eq. 7) [mag]; None for equal rolls or a missing patch.
    time_mag, time_err_mag : float or None
        Delta_T = (Delta_p + Delta_q) / 2 (Eq. 8) [mag]; for equal rolls the patch's own median.
    ra_median_mas, ra_mad_mas, dec_median_mas, dec_mad_mas : float or None
        Position offset that matching removed (Table 1) [mas]; None where several catalogs share a
        patch.
    """

    field: str
    pmap: str
    band: str
    array_id: str
    epoch_i: str
    epoch_j: str
    relation: str
    array_i: str
    array_j: str
    n_raw_i: int
    n_raw_j: int
    n: int
    median_mag: float | None
    mad_mag: float | None
    offset_ab_mag: float | None
    offset_ab_err_mag: float | None
    time_mag: float | None
    time_err_mag: float | None
    ra_median_mas: float | None
    ra_mad_mas: float | None
    dec_median_mas: float | None
    dec_mad_mas: float | None
    image_kind: str
    flux_kind: str


def measure_offsets(
    connection: Connection, wanted: SetQuery, settings: FitSettings, instrument: Instrument
) -> list[OffsetRow]:
    """Measure the medians of every patch and the offsets that follow (Eq. 7 and 8)."""
    groups = load_patch_groups(
        connection,
        wanted,
        max_sep_arcsec=settings.max_sep_arcsec,
        min_snr=settings.stored_snr,
        match_version=MATCH_VERSION,
    )
    by_epochs: dict[tuple[object, ...], list[PatchGroup]] = defaultdict(list)
    for group in groups:
        by_epochs[_epoch_pair(group)].append(group)
    epochs = load_epochs_by_id(connection)
    n_raw = {
        (count.epoch_id, count.pmap, count.band, count.array): count.n_raw
        for count in count_raw_exposures(connection)
    }
    dmag = _differences(connection, groups, settings)
    names = {epoch_id: epoch.name for epoch_id, epoch in epochs.items()}
    rows = []
    for patches in by_epochs.values():
        rows += _offset_rows(patches, dmag, n_raw, names, instrument)
    starts = {(epoch.field_name, epoch.name): epoch.start_mjd_utc for epoch in epochs.values()}
    return sorted(
        rows,
        key=lambda row: (
            row.field,
            Pmap.parse(row.pmap),
            row.band,
            row.array_id,
            starts[row.field, row.epoch_i],
            starts[row.field, row.epoch_j],
            row.array_i,
            row.image_kind,
            row.flux_kind,
        ),
    )


def _epoch_pair(group: PatchGroup) -> tuple[object, ...]:
    """Return the key shared by the patches of one epoch pair."""
    return (
        group.field,
        group.pmap,
        group.band,
        group.array_id,
        group.image_kind,
        group.flux_kind,
        group.aperture,
        group.epoch_i_id,
        group.epoch_j_id,
    )


def _differences(
    connection: Connection, groups: Sequence[PatchGroup], settings: FitSettings
) -> dict[int, tuple[IntArray, FloatArray]]:
    """Return (source ids, later - earlier magnitude) of the selected pairs, by group."""
    if not groups:
        return {}
    columns = fetch_pairs(
        connection,
        [group.group_id for group in groups],
        mag_limit=settings.mag_limit,
        mag_err_limit=MAG_PER_RELATIVE_FLUX / settings.snr,
    )
    is_steady = has_errors(columns) & ~mark_variable(columns, load_variable_pairs(connection))
    group_id = columns["group_id"][is_steady]
    mag_i = np.asarray(columns["mag_i"], dtype=np.float64)
    mag_j = np.asarray(columns["mag_j"], dtype=np.float64)
    dmag = (mag_j - mag_i)[is_steady]
    source_id = np.asarray(columns["source_id"], dtype=np.int64)[is_steady]
    ids = np.array([group.group_id for group in groups], dtype=np.int64)
    starts = np.searchsorted(group_id, ids, side="left")
    ends = np.searchsorted(group_id, ids, side="right")
    return {
        int(key): (source_id[start:end], dmag[start:end])
        for key, start, end in zip(ids, starts, ends, strict=True)
    }


def _offset_rows(
    groups: list[PatchGroup],
    dmag: dict[int, tuple[IntArray, FloatArray]],
    n_raw: dict[tuple[int, Pmap, str, str], int],
    epoch_names: dict[int, str],
    instrument: Instrument,
) -> list[OffsetRow]:
    """Lay out the patches of one epoch pair with what they say together."""
    patches: dict[tuple[str, str], list[PatchGroup]] = defaultdict(list)
    for group in groups:
        patches[group.array_i, group.array_j].append(group)
    measured = {
        arrays: _per_source([dmag[group.group_id] for group in members])
        for arrays, members in patches.items()
    }
    first = groups[0]
    is_opposite = first.relation == RollRelation.OPPOSITE
    by_module = {
        instrument.array(array_i).module: values for (array_i, _), values in measured.items()
    }
    offset = None
    if is_opposite and all(by_module.get(module, _NOTHING).size for module in ("A", "B")):
        offset = measure_offset(by_module["B"], by_module["A"])
    rows = []
    for (array_i, array_j), members in sorted(patches.items()):
        patch = patch_statistics(measured[array_i, array_j])
        alone = members[0] if len(members) == 1 else None
        time = (None, None) if is_opposite else (patch.median_mag, patch.median_err_mag)
        if offset is not None:
            time = (offset.time_mag, offset.time_err_mag)
        rows.append(
            OffsetRow(
                field=first.field,
                pmap=first.pmap.name,
                band=first.band,
                array_id=first.array_id,
                epoch_i=epoch_names[first.epoch_i_id],
                epoch_j=epoch_names[first.epoch_j_id],
                relation=first.relation,
                array_i=array_i,
                array_j=array_j,
                n_raw_i=n_raw[first.epoch_i_id, first.pmap, first.band, array_i],
                n_raw_j=n_raw[first.epoch_j_id, first.pmap, first.band, array_j],
                n=patch.n,
                median_mag=_finite(patch.median_mag),
                mad_mag=_finite(patch.mad_mag),
                offset_ab_mag=None if offset is None else offset.offset_ab_mag,
                offset_ab_err_mag=None if offset is None else _finite(offset.offset_ab_err_mag),
                time_mag=_finite(time[0]),
                time_err_mag=_finite(time[1]),
                ra_median_mas=None if alone is None else alone.ra_median_mas,
                ra_mad_mas=None if alone is None else alone.ra_mad_mas,
                dec_median_mas=None if alone is None else alone.dec_median_mas,
                dec_mad_mas=None if alone is None else alone.dec_mad_mas,
                image_kind=first.image_kind,
                flux_kind=first.flux_kind,
            )
        )
    return rows


def _per_source(parts: list[tuple[IntArray, FloatArray]]) -> FloatArray:
    """Return one difference per source: the mean where several catalogs saw it."""
    if len(parts) == 1:
        return parts[0][1]
    source_id = np.concatenate([part[0] for part in parts])
    dmag = np.concatenate([part[1] for part in parts])
    _, index = np.unique(source_id, return_inverse=True)
    return np.asarray(np.bincount(index, dmag) / np.bincount(index))


def _finite(value: float | None) -> float | None:
    """Return None for NaN."""
    return None if value is None or math.isnan(value) else value

"""The question of astrometry: position offsets of all epoch pairs, and what is not matched yet."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from calreg.db.queries.exposures import load_epochs_by_id
from calreg.db.queries.pairs import (
    PatchGroup,
    load_catalog_images,
    load_groups,
    load_measured_images,
    load_patch_groups,
)
from calreg.refit.astrometry import (
    ASTROMETRY_MAG_LIMIT,
    ASTROMETRY_WARNING_MAS,
    AstrometryRow,
    BandEpochs,
    ImageAlignment,
    OffsetSample,
    Sizes,
    measure_astrometry,
    stored_offsets,
)
from calreg.refit.pairing import group_by_key, plan_matching
from calreg.science.imaging.alignment import describe_alignment
from calreg.science.model.settings import FitSettings
from calreg.science.sky.matching import MATCH_VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from calreg.db.engine import Connection
    from calreg.db.queries.exposures import StoredEpoch
    from calreg.domain import SetQuery
    from calreg.units import FloatArray


@dataclass(frozen=True)
class AstrometryReport:
    """Position offsets between epochs.

    Attributes
    ----------
    rows : list of AstrometryRow
        In the order of field, pmap, band and epochs.
    notes : list of str
        What is not matched yet, and what the numbers do not say.
    warnings : list of str
        Medians that are too large, with the remedy.
    """

    rows: list[AstrometryRow]
    offsets_mas: list[FloatArray] = field(repr=False)
    notes: list[str]
    warnings: list[str]


@dataclass(frozen=True)
class AstrometryQuery:
    """Which position offsets are asked for.

    Attributes
    ----------
    mag_limit : float
        Sources are brighter than this in both epochs [mag AB].
    sizes : Sizes
        Which sources count, by what is known of their size.
    settings : FitSettings
        Its search radius and S/N tell which of the stored pairs are meant.
    """

    wanted: SetQuery
    mag_limit: float = ASTROMETRY_MAG_LIMIT
    sizes: Sizes = Sizes.NOT_EXTENDED
    settings: FitSettings = field(default_factory=FitSettings)


def report_astrometry(connection: Connection, query: AstrometryQuery) -> AstrometryReport:
    """Measure number, median and MAD of the offsets of epoch pairs; see `Registry.astrometry`."""
    settings, sizes = query.settings, query.sizes
    groups = load_patch_groups(
        connection,
        query.wanted,
        max_sep_arcsec=settings.max_sep_arcsec,
        min_snr=settings.stored_snr,
        match_version=MATCH_VERSION,
    )
    epochs = load_epochs_by_id(connection)
    by_key: dict[BandEpochs, list[PatchGroup]] = defaultdict(list)
    for group in sorted(groups, key=lambda group: _order(group, epochs)):
        by_key[_band_epochs(group, epochs)].append(group)
    found = stored_offsets(
        connection, [group.group_id for group in groups], mag_limit=query.mag_limit, sizes=sizes
    )
    samples: dict[BandEpochs, list[OffsetSample]] = {}
    for key, members in by_key.items():
        parts = [found[group.group_id] for group in members if group.group_id in found]
        if parts:
            samples[key] = parts
    measured = measure_astrometry(samples)
    alignments = _alignments(connection, by_key, epochs)
    rows = [
        replace(row, alignments=found.images, is_aligned=found.is_complete)
        for row, _ in measured
        for found in (alignments[_key_of(row)],)
    ]
    return AstrometryReport(
        rows=rows,
        offsets_mas=[offsets for _, offsets in measured],
        notes=[
            *_unmatched(connection, query, epochs),
            *_unjudged(rows, sizes),
            *_aligned(rows),
        ],
        warnings=[_warning(row) for row in rows if row.is_large and not row.is_aligned],
    )


def _band_epochs(group: PatchGroup, epochs: Mapping[int, StoredEpoch]) -> BandEpochs:
    """Return the key that a group shares with the other patches of its band and epochs."""
    return BandEpochs(
        group.field,
        group.pmap.name,
        group.band,
        epochs[group.epoch_i_id].name,
        epochs[group.epoch_j_id].name,
        group.image_kind,
        (group.flux_kind, group.aperture),
    )


def _order(
    group: PatchGroup, epochs: Mapping[int, StoredEpoch]
) -> tuple[str, int, str, float, float, str]:
    """Order of rows: field, pmap by its integer, band, time."""
    start_i, start_j = (
        epochs[epoch_id].start_mjd_utc for epoch_id in (group.epoch_i_id, group.epoch_j_id)
    )
    return (group.field, group.pmap.number, group.band, start_i, start_j, group.image_kind)


class _Alignments(NamedTuple):
    """The aligned images of a band and epoch pair; whether every patch has one."""

    images: tuple[ImageAlignment, ...]
    is_complete: bool


def _key_of(row: AstrometryRow) -> tuple[str, ...]:
    """Return the key that tells a row from others."""
    epochs = (row.epoch_i, row.epoch_j)
    return (row.field, row.pmap, row.band, *epochs, row.image_kind, row.flux_kind)


def _alignments(
    connection: Connection,
    by_key: Mapping[BandEpochs, Sequence[PatchGroup]],
    epochs: Mapping[int, StoredEpoch],
) -> dict[tuple[str, ...], _Alignments]:
    """Return the images of every row that were aligned before they were measured."""
    epoch_of = {
        catalog_id: epoch_id
        for groups in by_key.values()
        for group in groups
        for catalog_id, epoch_id in (
            (group.catalog_i_id, group.epoch_i_id),
            (group.catalog_j_id, group.epoch_j_id),
        )
    }
    aligned = {
        catalog_id: ImageAlignment(epochs[epoch_of[catalog_id]].name, image.file_name, text)
        for catalog_id, image in load_measured_images(connection, epoch_of).items()
        if (text := describe_alignment(image.settings))
    }
    found: dict[tuple[str, ...], _Alignments] = {}
    for key, groups in by_key.items():
        pairs = [{group.catalog_i_id, group.catalog_j_id} for group in groups]
        images = (aligned[n] for n in sorted(set().union(*pairs)) if n in aligned)
        # Two apertures of one image are one image.
        found[(*key[:-1], key.flux[0])] = _Alignments(
            tuple(dict.fromkeys(images)), all(pair & aligned.keys() for pair in pairs)
        )
    return found


def _aligned(rows: Sequence[AstrometryRow]) -> list[str]:
    """Report which images were aligned before they were measured, each once."""
    images = {(row.band, image): None for row in rows for image in row.alignments}
    return [
        f"{band} {image.epoch}: {image.file_name} was aligned before it was measured "
        f"({image.text}); positions and offsets are those of the image as it is"
        for band, image in images
    ]


def _unmatched(
    connection: Connection, query: AstrometryQuery, epochs: Mapping[int, StoredEpoch]
) -> list[str]:
    """Word which epochs are not matched yet, and which rolls the pair model leaves apart."""
    wanted, settings = query.wanted, query.settings
    images = [
        image
        for image in load_catalog_images(connection)
        if wanted.pmap in (None, image.pmap)
        and wanted.band in (None, image.band)
        and wanted.field in (None, image.field_name)
    ]
    plan = plan_matching(group_by_key(images), load_groups(connection), settings)
    missing: dict[tuple[str, str, str], dict[tuple[str, str], None]] = defaultdict(dict)
    for pairs in plan.wanted.values():
        for image_i, image_j, _ in pairs:
            names = (epochs[image_i.epoch_id].name, epochs[image_j.epoch_id].name)
            missing[image_i.field_name, image_i.pmap.name, image_i.band][names] = None
    default = FitSettings()
    option = (
        ""
        if settings.max_sep_arcsec == default.max_sep_arcsec
        else (f" --max-sep {settings.max_sep_arcsec:g}")
    )
    return [
        f"{' '.join(key)}: not matched yet: "
        f"{', '.join(f'{first} -> {second}' for first, second in pairs)}; run calreg refit{option}"
        for key, pairs in sorted(missing.items())
    ] + plan.notes


def _unjudged(rows: Sequence[AstrometryRow], sizes: Sizes) -> list[str]:
    """Report that sizes are not known, where sources were taken in spite of that."""
    n_unknown = sum(row.n_unknown_size for row in rows)
    if not n_unknown or sizes is Sizes.ALL:
        return []
    n_all = sum(row.n_sources for row in rows)
    note = (
        f"{n_unknown} of {n_all} offsets are of sources whose catalogs do not say whether they are "
        "compact, and count as if they were: --compact leaves them out, calreg measure finds out"
    )
    return [note]


def _warning(row: AstrometryRow) -> str:
    """Report that two epochs are too far apart, and what helps."""
    return (
        f"{row.field} {row.pmap} {row.band} {row.epoch_i} -> {row.epoch_j}: the images are "
        f"{row.ra_median_mas:+.1f}, {row.dec_median_mas:+.1f} mas apart (dRA cosDec, dDec), more "
        f"than {ASTROMETRY_WARNING_MAS:g}: isophotes of one epoch miss sources of the other; "
        "measure again with calreg measure --align shift (or linear)"
    )

"""Pair groups, pairs, sources and variable sources: what refit uses besides the sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from calreg.db.bulk import fetch_columns, insert_columns, insert_rows, integer_list
from calreg.db.engines.types import stored_json
from calreg.db.queries.catalogs import is_current, superseded_catalogs
from calreg.db.queries.exposures import require_field
from calreg.db.queries.rows import columns_of, fill
from calreg.db.schema import (
    CatalogRow,
    DetectionRow,
    EpochRow,
    ExposureRow,
    FieldRow,
    PairGroupRow,
    PairRow,
    PmapRow,
    SourceRow,
    VariableSourceRow,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from calreg.domain import IntArray, Pmap, SetQuery
    from calreg.units import FloatArray


@dataclass(frozen=True)
class CatalogImage:
    """A catalog with what refit needs to know of its image."""

    catalog_id: int
    file_sha256: str
    flux_kind: str
    aperture: str
    image_kind: str
    cal_ver: str
    field_id: int
    field_name: str
    epoch_id: int
    pmap: Pmap
    pmap_id: int
    filter: str
    pupil: str
    band: str
    array: str
    array_id: str
    module: str
    roll_deg: float
    expmid_mjd_utc: float
    s_region: str
    file_name: str
    subarray: str
    photmjsr: float | None
    r_photom: str


@dataclass(frozen=True)
class MeasuredImage:
    """An image of a catalog, and how that was measured.

    `settings` are those of the catalog, as text by name.
    """

    file_name: str
    settings: dict[str, str]


@dataclass(frozen=True)
class StoredGroup:
    """A pair group as refit and the offsets table use it."""

    id: int
    catalog_i_id: int
    catalog_j_id: int
    epoch_i_id: int
    epoch_j_id: int
    array_i: str
    array_j: str
    relation: str
    roll_i_deg: float
    max_sep_arcsec: float
    min_snr: float
    match_version: int
    n_matched: int


def load_catalog_images(connection: sa.Connection) -> list[CatalogImage]:
    """Return every current catalog with its image, ordered by time and digest."""
    statement = (
        sa.select(
            *columns_of(
                CatalogImage,
                CatalogRow,
                ExposureRow,
                EpochRow,
                catalog_id=CatalogRow.id,
                image_kind=ExposureRow.kind,
                file_name=ExposureRow.file_name,
                field_name=FieldRow.name,
                pmap=PmapRow.number,
            )
        )
        .join(ExposureRow, ExposureRow.id == CatalogRow.exposure_id)
        .join(PmapRow, PmapRow.id == ExposureRow.pmap_id)
        .join(EpochRow, EpochRow.id == ExposureRow.epoch_id)
        .join(FieldRow, FieldRow.id == EpochRow.field_id)
        .where(is_current())
        .order_by(ExposureRow.expmid_mjd_utc, CatalogRow.file_sha256, CatalogRow.id)
    )
    return fill(CatalogImage, connection.execute(statement))


def load_groups(connection: sa.Connection) -> list[StoredGroup]:
    """Return every pair group of current catalogs."""
    statement = sa.select(*columns_of(StoredGroup, PairGroupRow)).where(
        *_of_current_catalogs(),
    )
    return fill(StoredGroup, connection.execute(statement))


def _of_current_catalogs() -> tuple[sa.ColumnElement[bool], ...]:
    """Return the conditions that no later version replaced a catalog of a pair group."""
    columns = (PairGroupRow.catalog_i_id, PairGroupRow.catalog_j_id)
    return tuple(column.not_in(superseded_catalogs()) for column in columns)


def fetch_detections(
    connection: sa.Connection, catalog_ids: Iterable[int]
) -> dict[int, dict[str, NDArray[np.generic]]]:
    """Read the detections of a few catalogs, by catalog, in the order of their numbers."""
    wanted = sorted(catalog_ids)
    columns = (
        DetectionRow.catalog_id,
        DetectionRow.number,
        DetectionRow.ra_deg,
        DetectionRow.dec_deg,
        DetectionRow.mag_ab,
        DetectionRow.mag_err,
        DetectionRow.flags,
        DetectionRow.compactness,
    )
    statement = (
        sa.select(*columns)
        .where(DetectionRow.catalog_id.in_(integer_list(connection, wanted)))
        .order_by(DetectionRow.catalog_id, DetectionRow.number)
    )
    table = fetch_columns(connection, statement)
    ids = table["catalog_id"]
    starts = np.searchsorted(ids, wanted, side="left")
    ends = np.searchsorted(ids, wanted, side="right")
    return {
        catalog_id: {name: values[start:end] for name, values in table.items()}
        for catalog_id, start, end in zip(wanted, starts, ends, strict=True)
    }


def load_measured_images(
    connection: sa.Connection, catalog_ids: Iterable[int]
) -> dict[int, MeasuredImage]:
    """Return, by catalog, its image and its settings."""
    statement = (
        sa.select(CatalogRow.id, ExposureRow.file_name, CatalogRow.settings)
        .join(ExposureRow, ExposureRow.id == CatalogRow.exposure_id)
        .where(CatalogRow.id.in_(integer_list(connection, sorted(set(catalog_ids)))))
    )
    return {
        row.id: MeasuredImage(row.file_name, stored_json(row.settings))
        for row in connection.execute(statement)
    }


def load_sources(
    connection: sa.Connection, field_id: int
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Return ids and positions [deg] of a field's sources."""
    statement = (
        sa.select(SourceRow.id, SourceRow.ra_deg, SourceRow.dec_deg)
        .where(SourceRow.field_id == field_id)
        .order_by(SourceRow.id)
    )
    table = fetch_columns(connection, statement)
    return table["id"], table["ra_deg"], table["dec_deg"]


def insert_sources(
    connection: sa.Connection, field_id: int, ra_deg: FloatArray, dec_deg: FloatArray
) -> IntArray:
    """Insert sources and return their ids in order."""
    next_id = (connection.scalar(sa.select(sa.func.max(SourceRow.id))) or 0) + 1
    ids = np.arange(next_id, next_id + ra_deg.size, dtype=np.int64)
    insert_columns(
        connection,
        SourceRow.__table__,
        {"id": ids, "field_id": field_id, "ra_deg": ra_deg, "dec_deg": dec_deg},
    )
    return ids


def insert_groups(connection: sa.Connection, rows: Sequence[dict[str, object]]) -> list[int]:
    """Insert pair groups and return their ids in order."""
    return insert_rows(connection, PairGroupRow.__table__, list(rows))


def insert_pairs(connection: sa.Connection, columns: dict[str, NDArray[np.generic]]) -> None:
    """Insert pairs."""
    insert_columns(connection, PairRow.__table__, columns)


def insert_variable_sources(
    connection: sa.Connection, columns: dict[str, NDArray[np.generic]]
) -> None:
    """Insert variable sources."""
    insert_columns(connection, VariableSourceRow.__table__, columns)


def load_variable_pairs(connection: sa.Connection) -> dict[int, list[tuple[int, int]]]:
    """Return, by group, the (number_i, number_j) of pairs whose source is known as variable."""
    # What was found in a catalog that a later version replaced does not count.
    variable = (
        sa.select(VariableSourceRow.source_id)
        .join(PairGroupRow, PairGroupRow.id == VariableSourceRow.group_id)
        .where(
            *_of_current_catalogs(),
        )
        .distinct()
        .subquery()
    )
    statement = (
        sa.select(PairRow.group_id, PairRow.number_i, PairRow.number_j)
        .join(variable, variable.c.source_id == PairRow.source_id)
        .order_by(PairRow.group_id, PairRow.number_i, PairRow.number_j)
    )
    columns = fetch_columns(connection, statement)
    found: dict[int, list[tuple[int, int]]] = {}
    for group_id, number_i, number_j in zip(*(c.tolist() for c in columns.values()), strict=True):
        found.setdefault(group_id, []).append((number_i, number_j))
    return found


def mark_variable(
    columns: dict[str, NDArray[Any]], variable: dict[int, list[tuple[int, int]]]
) -> NDArray[np.bool_]:
    """Mark the pairs that `load_variable_pairs` names."""
    known = {
        (group_id, *numbers)
        for group_id in np.unique(columns["group_id"]).tolist()
        for numbers in variable.get(group_id, ())
    }
    if not known:
        return np.zeros(columns["group_id"].size, dtype=np.bool_)
    keys = zip(columns["group_id"], columns["number_i"], columns["number_j"], strict=True)
    return np.array([key in known for key in keys], dtype=np.bool_)


def has_errors(pairs: dict[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Mark the pairs whose two errors are above 0; others have no weight, and enter no fit."""
    return np.asarray((pairs["mag_err_i"] > 0.0) & (pairs["mag_err_j"] > 0.0))


def fetch_pairs(
    connection: sa.Connection,
    group_ids: Sequence[int],
    *,
    mag_limit: float,
    mag_err_limit: float,
) -> dict[str, NDArray[np.generic]]:
    """Read the clean pairs of some groups whose mean magnitude and mean error are within limits.

    The means are symmetric in the two epochs, so that the selection does not favour either.

    Parameters
    ----------
    mag_limit, mag_err_limit : float
        Faintest mean magnitude and largest mean error of a pair [mag].

    Returns
    -------
    dict of str to ndarray, shape (n_pairs,)
        Columns of the table pairs.
    """
    statement = (
        sa.select(
            PairRow.group_id,
            PairRow.number_i,
            PairRow.number_j,
            PairRow.source_id,
            PairRow.ra_deg,
            PairRow.dec_deg,
            PairRow.mag_i,
            PairRow.mag_err_i,
            PairRow.mag_j,
            PairRow.mag_err_j,
        )
        .where(
            PairRow.group_id.in_(integer_list(connection, group_ids)),
            PairRow.flags == 0,
            PairRow.mag_i + PairRow.mag_j < 2.0 * mag_limit,
            PairRow.mag_err_i + PairRow.mag_err_j <= 2.0 * mag_err_limit,
        )
        .order_by(PairRow.group_id, PairRow.number_i, PairRow.number_j)
    )
    return fetch_columns(connection, statement)


def fetch_offset_pairs(
    connection: sa.Connection,
    group_ids: Sequence[int],
    *,
    mag_limit: float,
    compactness: Sequence[int],
) -> dict[str, NDArray[Any]]:
    """Read the positions in both epochs of the bright clean pairs of some groups.

    Parameters
    ----------
    mag_limit : float
        Faintest magnitude in either epoch [mag].
    compactness : sequence of int
        What may be known of a source's size in either epoch: 1 compact, 0 extended, -1 unknown.

    Returns
    -------
    dict of str to ndarray, shape (n_pairs,)
        Columns group_id, source_id, and of either epoch ra_i_deg, dec_i_deg, compactness_i and so
        on, in the order of groups.
    """
    side_i, side_j = DetectionRow.__table__.alias(), DetectionRow.__table__.alias()
    statement = (
        sa.select(
            PairRow.group_id,
            PairRow.source_id,
            side_i.c.ra_deg.label("ra_i_deg"),
            side_i.c.dec_deg.label("dec_i_deg"),
            side_i.c.compactness.label("compactness_i"),
            side_j.c.ra_deg.label("ra_j_deg"),
            side_j.c.dec_deg.label("dec_j_deg"),
            side_j.c.compactness.label("compactness_j"),
        )
        .join(PairGroupRow, PairGroupRow.id == PairRow.group_id)
        .join(
            side_i,
            (side_i.c.catalog_id == PairGroupRow.catalog_i_id)
            & (side_i.c.number == PairRow.number_i),
        )
        .join(
            side_j,
            (side_j.c.catalog_id == PairGroupRow.catalog_j_id)
            & (side_j.c.number == PairRow.number_j),
        )
        .where(
            PairRow.group_id.in_(integer_list(connection, group_ids)),
            PairRow.flags == 0,
            PairRow.mag_i < mag_limit,
            PairRow.mag_j < mag_limit,
            side_i.c.compactness.in_(list(compactness)),
            side_j.c.compactness.in_(list(compactness)),
        )
        .order_by(PairRow.group_id, PairRow.number_i, PairRow.number_j)
    )
    return fetch_columns(connection, statement)


@dataclass(frozen=True)
class PatchGroup:
    """A pair group as the offsets table shows it."""

    group_id: int
    field: str
    pmap: Pmap
    band: str
    array_id: str
    image_kind: str
    flux_kind: str
    aperture: str
    catalog_i_id: int
    catalog_j_id: int
    epoch_i_id: int
    epoch_j_id: int
    array_i: str
    array_j: str
    relation: str
    n_matched: int
    n_ambiguous: int
    ra_median_mas: float | None
    ra_mad_mas: float | None
    dec_median_mas: float | None
    dec_mad_mas: float | None


def load_patch_groups(
    connection: sa.Connection,
    wanted: SetQuery,
    *,
    max_sep_arcsec: float,
    min_snr: float,
    match_version: int,
) -> list[PatchGroup]:
    """Return the pair groups of one search radius, in the order of the offsets table."""
    statement = (
        sa.select(
            *columns_of(
                PatchGroup,
                PairGroupRow,
                group_id=PairGroupRow.id,
                field=FieldRow.name,
                pmap=PmapRow.number,
            )
        )
        .join(FieldRow, FieldRow.id == PairGroupRow.field_id)
        .join(PmapRow, PmapRow.id == PairGroupRow.pmap_id)
        .where(
            PairGroupRow.max_sep_arcsec == max_sep_arcsec,
            PairGroupRow.min_snr == min_snr,
            PairGroupRow.match_version == match_version,
            *_of_current_catalogs(),
        )
        .order_by(
            FieldRow.name, PmapRow.number, PairGroupRow.band, PairGroupRow.array_id, PairGroupRow.id
        )
    )
    if wanted.pmap is not None:
        statement = statement.where(PmapRow.number == wanted.pmap.number)
    if wanted.band is not None:
        statement = statement.where(PairGroupRow.band == wanted.band)
    if wanted.array_id is not None:
        statement = statement.where(PairGroupRow.array_id == wanted.array_id)
    if wanted.field is not None:
        require_field(connection, wanted.field)
        statement = statement.where(FieldRow.name == wanted.field)
    return fill(PatchGroup, connection.execute(statement))

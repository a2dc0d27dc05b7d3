"""What reference files are made from: the images behind a set, and the files that they name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from calreg.db.bulk import fetch_columns, integer_list
from calreg.db.schema import (
    CatalogRow,
    DetectionRow,
    ExposureRow,
    PairGroupRow,
    PmapRow,
    SetInputRow,
    ZeroPointRow,
)
from calreg.domain import ZeroPointKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from calreg.domain import Pmap


@dataclass(frozen=True)
class SetImage:
    """An image that a set was measured on, with its catalog.

    `ra_ref_deg`, `dec_ref_deg` and `roll_ref_deg` are those of the first member for a mosaic.
    """

    catalog_id: int
    epoch_id: int
    array: str
    kind: str
    roll_deg: float
    ra_ref_deg: float | None
    dec_ref_deg: float | None
    roll_ref_deg: float | None
    s_region: str
    expstart_mjd_utc: float
    expend_mjd_utc: float


def load_set_images(connection: sa.Connection, set_pk: int) -> list[SetImage]:
    """Return the images of all pair groups that a set was fitted from, in the order of time."""
    groups = sa.select(SetInputRow.group_id).where(SetInputRow.set_pk == set_pk)
    catalogs = sa.union(
        *(
            sa.select(column).where(PairGroupRow.id.in_(groups))
            for column in (PairGroupRow.catalog_i_id, PairGroupRow.catalog_j_id)
        )
    )
    statement = (
        sa.select(
            CatalogRow.id,
            ExposureRow.epoch_id,
            ExposureRow.array,
            ExposureRow.kind,
            ExposureRow.roll_deg,
            ExposureRow.ra_ref_deg,
            ExposureRow.dec_ref_deg,
            ExposureRow.roll_ref_deg,
            ExposureRow.s_region,
            ExposureRow.expstart_mjd_utc,
            ExposureRow.expend_mjd_utc,
        )
        .join(ExposureRow, ExposureRow.id == CatalogRow.exposure_id)
        .where(CatalogRow.id.in_(catalogs))
        .order_by(ExposureRow.expstart_mjd_utc, CatalogRow.id)
    )
    rows: Sequence[Any] = connection.execute(statement).all()
    return [SetImage(*row) for row in rows]


def fetch_detector_positions(
    connection: sa.Connection, catalog_ids: Iterable[int], *, mag_limit: float
) -> dict[str, NDArray[Any]]:
    """Read where on the detectors the brighter sources of some catalogs were seen.

    Parameters
    ----------
    connection : sqlalchemy.Connection
    catalog_ids : iterable of int
    mag_limit : float
        Faintest magnitude [mag AB].

    Returns
    -------
    dict of str to ndarray, shape (n_detections,)
        Columns catalog_id, ra_deg, dec_deg, x_det and y_det of those that are known.
    """
    statement = (
        sa.select(
            DetectionRow.catalog_id,
            DetectionRow.ra_deg,
            DetectionRow.dec_deg,
            DetectionRow.x_det,
            DetectionRow.y_det,
        )
        .where(
            DetectionRow.catalog_id.in_(integer_list(connection, sorted(catalog_ids))),
            DetectionRow.mag_ab < mag_limit,
            DetectionRow.x_det.is_not(None),
            DetectionRow.y_det.is_not(None),
        )
        .order_by(DetectionRow.catalog_id, DetectionRow.number)
    )
    return fetch_columns(connection, statement)


@dataclass(frozen=True)
class UsedReferences:
    """The photom and flat files that exposures of one array and band name; empty if they do not."""

    array: str
    band: str
    r_photom: str
    r_flat: str


def load_used_references(connection: sa.Connection, pmap: Pmap) -> list[UsedReferences]:
    """Return the distinct reference files of all exposures under a context."""
    columns = (ExposureRow.array, ExposureRow.band, ExposureRow.r_photom, ExposureRow.r_flat)
    statement = (
        sa.select(*columns)
        .join(PmapRow, PmapRow.id == ExposureRow.pmap_id)
        .where(PmapRow.number == pmap.number)
        .distinct()
        .order_by(*columns)
    )
    return [UsedReferences(*row) for row in connection.execute(statement)]


def first_exposure_mjd(connection: sa.Connection, pmap: Pmap) -> float | None:
    """Return when the first exposure under a context began [MJD UTC], None if there is none."""
    statement = (
        sa.select(sa.func.min(ExposureRow.expstart_mjd_utc))
        .join(PmapRow, PmapRow.id == ExposureRow.pmap_id)
        .where(PmapRow.number == pmap.number)
    )
    return connection.scalar(statement)


@dataclass(frozen=True)
class SeenZeroPoint:
    """A PHOTMJSR in the headers of exposures or mosaics; `pixar_sr` is None from mosaics."""

    filter: str
    pupil: str
    band: str
    subarray: str
    photmjsr: float
    pixar_sr: float | None
    source: str


def load_seen_zero_points(connection: sa.Connection, pmap: Pmap, array: str) -> list[SeenZeroPoint]:
    """Return what the headers of an array's images say under a context, all bands."""
    columns = (
        ZeroPointRow.filter,
        ZeroPointRow.pupil,
        ZeroPointRow.band,
        ZeroPointRow.subarray,
        ZeroPointRow.photmjsr,
        ZeroPointRow.pixar_sr,
        ZeroPointRow.source,
    )
    statement = (
        sa.select(*columns)
        .join(PmapRow, PmapRow.id == ZeroPointRow.pmap_id)
        .where(
            PmapRow.number == pmap.number,
            ZeroPointRow.array == array,
            ZeroPointRow.kind == str(ZeroPointKind.HEADER),
        )
        .order_by(*columns[:5])
    )
    return [SeenZeroPoint(*row) for row in connection.execute(statement)]

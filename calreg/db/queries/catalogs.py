"""Catalogs and their detections."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from calreg.db.bulk import fetch_columns_fast, insert_columns, insert_rows
from calreg.db.queries.rows import columns_of, fill
from calreg.db.schema import CatalogRow, DetectionRow, ExposureRow, PmapRow

if TYPE_CHECKING:
    from calreg.db.bulk import Columns
    from calreg.db.engine import Database
    from calreg.domain import Catalog, Detections, Pmap


@dataclass(frozen=True)
class StoredCatalog:
    """A catalog in the registry, as far as a new file is held against it."""

    id: int
    exposure_id: int
    flux_kind: str
    aperture: str
    file_name: str
    file_sha256: str
    image_name: str
    origin: str
    version: int
    settings: dict[str, str]


def find_catalogs_by_digest(connection: sa.Connection, file_sha256: str) -> list[StoredCatalog]:
    """Return the catalogs that were read from a file with this content."""
    return _find(connection, CatalogRow.file_sha256 == file_sha256)


def find_catalogs_of_image(connection: sa.Connection, exposure_id: int) -> list[StoredCatalog]:
    """Return the current catalogs of one image, one for each kind of flux and aperture."""
    return _find(connection, sa.and_(CatalogRow.exposure_id == exposure_id, is_current()))


def is_current() -> sa.ColumnElement[bool]:
    """Return the condition that no later version of a catalog exists."""
    later = CatalogRow.__table__.alias().c
    return ~sa.exists().where(
        later.exposure_id == CatalogRow.exposure_id,
        later.flux_kind == CatalogRow.flux_kind,
        later.aperture == CatalogRow.aperture,
        later.version > CatalogRow.version,
    )


def superseded_catalogs() -> sa.Select[int]:
    """Return a SELECT of the ids of catalogs that a later version replaced."""
    return sa.select(CatalogRow.id).where(~is_current())


def _find(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> list[StoredCatalog]:
    """Return the catalogs that fulfil a condition."""
    statement = (
        sa.select(*columns_of(StoredCatalog, CatalogRow, image_name=ExposureRow.file_name))
        .join(ExposureRow, ExposureRow.id == CatalogRow.exposure_id)
        .where(condition)
        .order_by(CatalogRow.id)
    )
    return fill(StoredCatalog, connection.execute(statement))


def insert_catalog(
    connection: sa.Connection,
    catalog: Catalog,
    detections: Detections,
    *,
    exposure_id: int,
    ingest_id: int,
    mag_origin: str,
    mag_disagreement: float | None,
    version: int,
) -> int:
    """Insert a catalog with all its detections; return its id."""
    catalog_id = insert_rows(
        connection,
        CatalogRow.__table__,
        [
            {
                "exposure_id": exposure_id,
                "ingest_id": ingest_id,
                "flux_kind": str(catalog.flux_kind),
                "aperture": catalog.aperture,
                "software": catalog.software,
                "detection_image": catalog.detection_image_name,
                "mag_origin": mag_origin,
                "mag_disagreement": mag_disagreement,
                "settings": json.dumps(catalog.settings, sort_keys=True),
                "n_rows": int(detections.number.size),
                "n_dropped_nonfinite": catalog.n_dropped_nonfinite,
                "n_dropped_error": catalog.n_dropped_error,
                "n_negative_flux": catalog.n_negative_flux,
                "file_name": catalog.file_name,
                "directory": catalog.directory,
                "file_size_bytes": catalog.file_size_bytes,
                "file_sha256": catalog.file_sha256,
                "origin": str(catalog.origin),
                "version": version,
            }
        ],
    )[0]
    insert_columns(
        connection,
        DetectionRow.__table__,
        {"catalog_id": catalog_id, **vars(detections)},
    )
    return catalog_id


def read_detections(
    database: Database,
    *,
    pmap: Pmap | None = None,
    band: str | None = None,
    array: str | None = None,
) -> Columns:
    """Read committed detections of current catalogs, by catalog and number, all columns."""
    statement = (
        sa.select(DetectionRow.__table__)
        .join(CatalogRow, CatalogRow.id == DetectionRow.catalog_id)
        .join(ExposureRow, ExposureRow.id == CatalogRow.exposure_id)
        .join(PmapRow, PmapRow.id == ExposureRow.pmap_id)
        .where(is_current())
        .order_by(DetectionRow.catalog_id, DetectionRow.number)
    )
    if pmap is not None:
        statement = statement.where(PmapRow.number == pmap.number)
    if band is not None:
        statement = statement.where(ExposureRow.band == band)
    if array is not None:
        statement = statement.where(ExposureRow.array == array)
    return fetch_columns_fast(database, statement)

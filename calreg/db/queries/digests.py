"""Digests that were recorded of files."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from calreg.db.schema import CatalogRow, DeliveryRow, ExposureRow
from calreg.domain import CatalogOrigin


@dataclass(frozen=True)
class RecordedFile:
    """A file and the digest that was recorded of it.

    Attributes
    ----------
    table : str
        Where it is recorded.
    directory, file_name : str
    sha256 : str
    is_header_digest : bool
        Over the header blocks and the size, not the whole file.
    """

    table: str
    directory: str
    file_name: str
    sha256: str
    is_header_digest: bool


def load_ingested_files(connection: sa.Connection) -> list[RecordedFile]:
    """Return the files of exposures and catalogs."""
    exposures = sa.select(ExposureRow.directory, ExposureRow.file_name, ExposureRow.header_sha256)
    # A catalog measured from pixels has no file; that of its image is among the exposures.
    catalogs = sa.select(CatalogRow.directory, CatalogRow.file_name, CatalogRow.file_sha256).where(
        CatalogRow.origin == CatalogOrigin.FILE
    )
    return [
        RecordedFile("exposures", *row, is_header_digest=True)
        for row in connection.execute(exposures.order_by(ExposureRow.id))
    ] + [
        RecordedFile("catalogs", *row, is_header_digest=False)
        for row in connection.execute(catalogs.order_by(CatalogRow.id))
    ]


def load_delivered_files(connection: sa.Connection) -> list[RecordedFile]:
    """Return the delivered files, the last delivery of each path."""
    latest = sa.select(sa.func.max(DeliveryRow.id)).group_by(
        DeliveryRow.directory, DeliveryRow.file_name
    )
    statement = (
        sa.select(DeliveryRow.directory, DeliveryRow.file_name, DeliveryRow.file_sha256)
        .where(DeliveryRow.id.in_(latest))
        .order_by(DeliveryRow.id)
    )
    return [
        RecordedFile("deliveries", *row, is_header_digest=False)
        for row in connection.execute(statement)
    ]

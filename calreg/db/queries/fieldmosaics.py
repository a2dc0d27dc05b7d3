"""The mosaics of one field, as far as sources are detected on them."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from calreg.db.schema import EpochRow, ExposureRow, PmapRow
from calreg.domain import ExposureKind, Pmap


@dataclass(frozen=True)
class FieldMosaic:
    """A mosaic in the registry.

    Attributes
    ----------
    id, epoch_id : int
    array, file_name, directory, header_sha256, s_region : str
    expstart_mjd_utc : float
    """

    id: int
    epoch_id: int
    array: str
    file_name: str
    directory: str
    header_sha256: str
    s_region: str
    expstart_mjd_utc: float


def load_first_mosaics(
    connection: sa.Connection, field_id: int, band: str, pmap: Pmap
) -> list[FieldMosaic]:
    """Return the mosaics of a field's first epoch in a band and context, the newest entry first."""
    statement = (
        sa.select(
            ExposureRow.id,
            ExposureRow.epoch_id,
            ExposureRow.array,
            ExposureRow.file_name,
            ExposureRow.directory,
            ExposureRow.header_sha256,
            ExposureRow.s_region,
            ExposureRow.expstart_mjd_utc,
        )
        .join(EpochRow, EpochRow.id == ExposureRow.epoch_id)
        .join(PmapRow, PmapRow.id == ExposureRow.pmap_id)
        .where(
            EpochRow.field_id == field_id,
            ExposureRow.band == band,
            PmapRow.number == pmap.number,
            ExposureRow.kind == ExposureKind.I2D,
        )
        .order_by(ExposureRow.id.desc())
    )
    found = [FieldMosaic(*row) for row in connection.execute(statement)]
    if not found:
        return []
    first = min(found, key=lambda mosaic: (mosaic.expstart_mjd_utc, mosaic.id))
    return [mosaic for mosaic in found if mosaic.epoch_id == first.epoch_id]

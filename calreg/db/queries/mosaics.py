"""The mosaics of an epoch, as far as their pixels are read again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from calreg.db.schema import ExposureRow, PmapRow
from calreg.domain import ExposureKind, Pmap

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class StoredMosaic:
    """A mosaic with what is needed to find, check and correct its pixels.

    `ra_ref_deg`, `dec_ref_deg` and `roll_ref_deg` are those of its first member.
    """

    id: int
    epoch_id: int
    pmap: Pmap
    kind: str
    array: str
    array_id: str
    module: str
    band: str
    cal_ver: str
    expstart_mjd_utc: float
    roll_deg: float
    ra_ref_deg: float | None
    dec_ref_deg: float | None
    roll_ref_deg: float | None
    s_region: str
    bunit: str
    file_name: str
    directory: str
    header_sha256: str
    file_sha256: str | None


def load_mosaics(connection: sa.Connection, epoch_ids: Iterable[int]) -> list[StoredMosaic]:
    """Return the mosaics of some epochs, in the order of band, array and time."""
    columns = [
        ExposureRow.__table__.c[name]
        for name in StoredMosaic.__dataclass_fields__
        if name != "pmap"
    ]
    statement = (
        sa.select(*columns, PmapRow.number.label("pmap_number"))
        .join(PmapRow, PmapRow.id == ExposureRow.pmap_id)
        .where(
            ExposureRow.epoch_id.in_(sorted(epoch_ids)),
            ExposureRow.kind == ExposureKind.I2D,
        )
        .order_by(ExposureRow.band, ExposureRow.array, ExposureRow.expstart_mjd_utc, ExposureRow.id)
    )
    found = []
    for row in connection.execute(statement):
        values = row._asdict()
        found.append(StoredMosaic(pmap=Pmap(values.pop("pmap_number")), **values))
    return found

"""Measure mosaics in tests, and look at what the registry has afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import sqlalchemy as sa

from calreg import Registry
from calreg.db.engine import open_database
from calreg.db.schema import CatalogRow, DetectionRow, ExposureRow
from calreg.pixels.measure.options import MeasureOptions

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.pixels.measure.measure import MeasureReport


def measure(url: str, paths: list[Path], **options: object) -> MeasureReport:
    """Measure mosaics."""
    with Registry(url) as registry:
        return registry.measure(paths, MeasureOptions(**options))  # type: ignore[arg-type]


def detections(url: str, path: Path, kind: str = "iso", version: int = 1) -> dict[str, np.ndarray]:
    """Return the stored detections of a mosaic as float arrays, by number."""
    statement = (
        sa.select(DetectionRow.__table__)
        .join(CatalogRow, CatalogRow.id == DetectionRow.catalog_id)
        .join(ExposureRow, ExposureRow.id == CatalogRow.exposure_id)
        .where(
            ExposureRow.file_name == path.name,
            CatalogRow.flux_kind == kind,
            CatalogRow.version == version,
        )
        .order_by(DetectionRow.number)
    )
    with open_database(url, read_only=True) as database, database.read() as connection:
        rows = connection.execute(statement).mappings().all()
    names = [
        column.name for column in DetectionRow.__table__.columns if column.name != "catalog_id"
    ]
    return {
        name: np.array([np.nan if row[name] is None else row[name] for row in rows])
        for name in names
    }


def catalog_rows(url: str) -> list[sa.Row[tuple[object, ...]]]:
    """Return every catalog with the name of its image, in the order of entry."""
    with open_database(url, read_only=True) as database, database.read() as connection:
        statement = (
            sa.select(CatalogRow.__table__, ExposureRow.file_name.label("image"))
            .join(ExposureRow, ExposureRow.id == CatalogRow.exposure_id)
            .order_by(CatalogRow.id)
        )
        return list(connection.execute(statement))


def row_counts(url: str) -> dict[str, int]:
    """Return the rows of every table but the one that names the instrument."""
    with Registry(url) as registry:
        rows = registry.stats().n_rows
    return {table: n for table, n in rows.items() if table != "instrument"}


def matched(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of the same sources in two catalogs, within 0.1 arcsec."""
    cos_dec = np.cos(np.radians(a["dec_deg"][0]))
    dx = (a["ra_deg"][:, None] - b["ra_deg"]) * cos_dec * 3600.0
    dy = (a["dec_deg"][:, None] - b["dec_deg"]) * 3600.0
    i, j = np.nonzero(np.hypot(dx, dy) < 0.1)
    return i, j

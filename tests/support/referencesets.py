"""Parents for the sets of a registry: photom files and flats with the values of its exposures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from calreg.db.engine import open_database
from calreg.db.schema import ExposureRow, PmapRow
from calreg.domain import Pmap
from support.crdsfiles import NIRCAM, CacheMaker, write_photom_parent

if TYPE_CHECKING:
    from pathlib import Path

EXTRA_ROWS = {"SW": {("F070W", "CLEAR"): 3.5}, "LW": {("F444W", "F470N"): 3.75}}
"""Rows of every parent that no exposure knows."""


@dataclass(frozen=True)
class Used:
    """What the exposures of one array say about a context."""

    values: dict[tuple[str, str], float]
    r_photom: str
    r_flat: dict[str, str]


def used_references(url: str, pmap: str) -> dict[str, Used]:
    """Return the zero points and reference files of a context by array."""
    statement = (
        sa.select(
            ExposureRow.array,
            ExposureRow.band,
            ExposureRow.filter,
            ExposureRow.pupil,
            ExposureRow.photmjsr,
            ExposureRow.r_photom,
            ExposureRow.r_flat,
        )
        .join(PmapRow, PmapRow.id == ExposureRow.pmap_id)
        .where(PmapRow.number == Pmap.parse(pmap).number)
        .distinct()
    )
    found: dict[str, Used] = {}
    with open_database(url, read_only=True) as database, database.read() as connection:
        for row in connection.execute(statement):
            used = found.setdefault(row.array, Used({}, row.r_photom, {}))
            assert used.r_photom == row.r_photom
            used.values[row.filter, row.pupil] = row.photmjsr
            used.r_flat[row.band] = row.r_flat
    return found


def write_parents(url: str, pmap: str, folder: Path, **options: Any) -> dict[str, Path]:
    """Write the photom file of every array of a context; return them by array."""
    folder.mkdir(exist_ok=True)
    return {
        name: write_photom_parent(
            folder / used.r_photom,
            NIRCAM.arrays[name],
            used.values | EXTRA_ROWS[NIRCAM.arrays[name].channel],
            **options,
        )
        for name, used in used_references(url, pmap).items()
    }


def write_cache(
    url: str, pmap: str, folder: Path, *, flats: bool = False, **options: Any
) -> CacheMaker:
    """Make a CRDS cache with the photom files, and the flats where asked, of a context."""
    maker = CacheMaker(folder, pmap)
    for name, used in used_references(url, pmap).items():
        array = NIRCAM.arrays[name]
        values = used.values | EXTRA_ROWS[array.channel]
        maker.add_photom(array, values, name=used.r_photom, **options)
        if flats:
            for band, r_flat in used.r_flat.items():
                maker.add_flat(array, band, name=r_flat)
    maker.write_mappings()
    return maker

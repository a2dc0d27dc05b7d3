"""Small programmes written as real-format files, and what a registry holds, free of ids and clock.

A plugin of the root conftest: its fixtures serve services and commands.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import sqlalchemy as sa

from calreg.db.bulk import fetch_columns
from calreg.db.engine import init_database, open_database
from calreg.db.health import table_counts
from calreg.db.schema import (
    CatalogRow,
    DetectionRow,
    EpochRow,
    ExposureRow,
    FieldRow,
    PmapRow,
    ZeroPointRow,
)
from calreg.ingest.load import ingest
from calreg.ingest.options import IngestOptions
from calreg.instruments import load_instrument
from calreg.simulation.files import write_programme
from calreg.simulation.simulate import simulate_jwidf

if TYPE_CHECKING:
    from collections.abc import Iterable

    from calreg.ingest.options import IngestReport
    from calreg.simulation.simulate import Programme

PMAPS = ("jwst_1039", "jwst_1130")
EPOCHS = (1, 2, 3)
N_FILES = 36
"""Per context and epoch two arrays, each an exposure, a mosaic and a catalog."""

_KEYS = frozenset({"id", "epoch_id", "pmap_id", "ingest_id", "exposure_id", "catalog_id"})


@dataclass(frozen=True)
class Contents:
    """What ingest wrote, comparable between registries and engines.

    Attributes
    ----------
    counts : dict of str to int
        Rows of every table; the number of calls of ingest is left out.
    exposures, zero_points, catalogs : list of str
        All columns but keys; contexts by name, images by path, detections as a digest.
    places : dict of str to frozenset
        Per field its epochs: label and files.
    """

    counts: dict[str, int]
    exposures: list[str]
    zero_points: list[str]
    catalogs: list[str]
    places: dict[str, frozenset[tuple[str | None, frozenset[str]]]]

    @property
    def membership(self) -> frozenset[frozenset[frozenset[str]]]:
        """The files of the epochs of the fields, whatever these are called."""
        return frozenset(
            frozenset(files for _, files in epochs) for epochs in self.places.values() if epochs
        )


@pytest.fixture(scope="session")
def programme() -> Programme:
    """Return three epochs of one band in two contexts: 12 mosaics of about 110 sources."""
    return simulate_jwidf(1, bands=("F444W",), n_dithers=1, faint_per_patch=20)


@pytest.fixture(scope="session")
def programme_folder(programme: Programme, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the programme's files, ``<pmap>/epoch<N>/``; not to be changed."""
    folder = tmp_path_factory.mktemp("programme")
    paths = write_programme(programme, folder)
    assert len(paths) == N_FILES
    return folder


@pytest.fixture(scope="session")
def programme_contents(
    programme_folder: Path, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Contents:
    """Return what a registry holds after all files were ingested by one call, on SQLite."""
    url = copied_registry(sqlite_template, tmp_path_factory.mktemp("whole"))
    ingest_all(url, [programme_folder])
    return contents(url)


def copied_registry(template: Path, folder: Path) -> str:
    """Return the URL of a new, empty SQLite registry."""
    path = folder / "registry.sqlite"
    shutil.copyfile(template, path)
    init_database(f"sqlite:///{path}")
    return f"sqlite:///{path}"


def ingest_all(
    url: str, paths: Iterable[Path], options: IngestOptions | None = None
) -> IngestReport:
    """Ingest by one call into the registry of a URL."""
    with open_database(url) as database:
        return ingest(database, list(paths), options or IngestOptions(), load_instrument())


def catalogs_of(folder: Path) -> list[Path]:
    """Return the catalogs below a folder."""
    return sorted(folder.rglob("*.cat"))


def mosaics_of(folder: Path) -> list[Path]:
    """Return the mosaics below a folder."""
    return sorted(folder.rglob("*_i2d.fits"))


def exposures_of(folder: Path) -> list[Path]:
    """Return the exposures below a folder."""
    return sorted(folder.rglob("*_cal.fits"))


def contents(url: str) -> Contents:
    """Read what ingest wrote."""
    with open_database(url) as database, database.read() as connection:
        counts = table_counts(connection)
        del counts["ingests"]
        pmaps = {row.id: row.name for row in connection.execute(sa.select(PmapRow.__table__))}
        exposures, files, in_epochs = [], {}, dict[int, set[str]]()
        for row in connection.execute(sa.select(ExposureRow.__table__)).mappings():
            files[row["id"]] = str(Path(row["directory"]) / row["file_name"])
            in_epochs.setdefault(row["epoch_id"], set()).add(files[row["id"]])
            exposures.append(f"{pmaps[row['pmap_id']]} {_plain(row)}")
        zero_points = [
            f"{pmaps[row['pmap_id']]} {_plain(row)}"
            for row in connection.execute(sa.select(ZeroPointRow.__table__)).mappings()
        ]
        catalogs = [
            f"{files[row['exposure_id']]} {_plain(row)} {_detections(connection, row['id'])}"
            for row in connection.execute(sa.select(CatalogRow.__table__)).mappings()
        ]
        names = {row.id: row.name for row in connection.execute(sa.select(FieldRow.__table__))}
        places = dict[str, set[tuple[str | None, frozenset[str]]]]()
        for name in names.values():
            places[name] = set()
        for row in connection.execute(sa.select(EpochRow.__table__)).mappings():
            members = frozenset(in_epochs.get(row["id"], ()))
            places[names[row["field_id"]]].add((row["label"], members))
    return Contents(
        counts,
        sorted(exposures),
        sorted(zero_points),
        sorted(catalogs),
        {name: frozenset(epochs) for name, epochs in places.items()},
    )


def _plain(row: sa.RowMapping) -> str:
    """Return a row as text, without keys."""
    return repr({name: value for name, value in row.items() if name not in _KEYS})


def _detections(connection: sa.Connection, catalog_id: int) -> str:
    """Digest the detections of a catalog; NaN stands for NULL on either engine."""
    table = DetectionRow.__table__
    statement = sa.select(*(column for column in table.c if column.name != "catalog_id"))
    statement = statement.where(table.c.catalog_id == catalog_id).order_by(table.c.number)
    digest = hashlib.sha256()
    for name, values in fetch_columns(connection, statement).items():
        digest.update(name.encode())
        digest.update(np.where(np.isnan(values), np.nan, values).tobytes())
    return digest.hexdigest()


def exposure_rows(url: str) -> list[dict[str, object]]:
    """Return the rows of exposures by file name, with the context's name as `pmap`."""
    statement = (
        sa.select(ExposureRow.__table__, PmapRow.name.label("pmap"))
        .join(PmapRow, PmapRow.id == ExposureRow.pmap_id)
        .order_by(ExposureRow.file_name, PmapRow.number)
    )
    with open_database(url) as database, database.read() as connection:
        return [dict(row) for row in connection.execute(statement).mappings()]


def catalog_rows(url: str) -> list[dict[str, object]]:
    """Return the rows of catalogs, with their image's name and context."""
    statement = (
        sa.select(
            CatalogRow.__table__,
            ExposureRow.file_name.label("image"),
            ExposureRow.directory.label("image_directory"),
            PmapRow.name.label("pmap"),
        )
        .join(ExposureRow, ExposureRow.id == CatalogRow.exposure_id)
        .join(PmapRow, PmapRow.id == ExposureRow.pmap_id)
        .order_by(ExposureRow.file_name, PmapRow.number, CatalogRow.flux_kind)
    )
    with open_database(url) as database, database.read() as connection:
        return [dict(row) for row in connection.execute(statement).mappings()]


def detections_of(url: str, catalog_id: object) -> dict[str, np.ndarray]:
    """Return the detections of a catalog as columns."""
    statement = (
        sa.select(DetectionRow.__table__)
        .where(DetectionRow.catalog_id == catalog_id)
        .order_by(DetectionRow.number)
    )
    with open_database(url) as database, database.read() as connection:
        return fetch_columns(connection, statement)

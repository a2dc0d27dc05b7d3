"""Registries of simulated fields with pixels, and what tests of difference images share.

A plugin of the root conftest: its fixtures serve services and commands.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from calreg import Registry
from calreg.db.engine import open_database
from calreg.db.schema import ExposureRow
from calreg.files.fits.headers import read_headers
from calreg.pixels.difference.plan import DifferenceOptions
from support.dbfixtures import ENGINES
from support.differenceworld import Truth, World, make_world
from support.programmes import Files, Prepared, _new_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from calreg.pixels.difference.difference import DifferenceReport
    from calreg.science.imaging.differencing import ResidualRow

E1, E2, E3 = "2022-07-08", "2023-01-06", "2023-07-06"
"""Names of the epochs."""

LONG = Truth({"long": 0.03}, slope_mag_arcmin=0.0043)
SHORT = Truth({"1": 0.03, "2": -0.043, "3": 0.022, "4": -0.05})


# --- registries -----------------------------------------------------------------------------------


def _prepared(
    world: World, request: pytest.FixtureRequest, factory: pytest.TempPathFactory, engine: str
) -> Iterator[Prepared]:
    """Yield a registry with a world's mosaics, fitted."""
    with _new_url(engine, request, factory) as url:
        with Registry(url) as registry:
            report = registry.ingest(list(world.paths))
            assert report.refused == []
            registry.refit()
        files = Files(world.programme, world.paths[0].parent, world.paths)
        yield Prepared(url, files, request)


@pytest.fixture(scope="session")
def long_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("long"), LONG, n_epochs=3)


@pytest.fixture(scope="session")
def short_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("short"), SHORT, band="F200W")


@pytest.fixture(scope="session", params=ENGINES)
def long_registry(
    long_world: World, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prepared]:
    yield from _prepared(long_world, request, tmp_path_factory, request.param)


@pytest.fixture(scope="session", params=ENGINES)
def short_registry(
    short_world: World, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prepared]:
    yield from _prepared(short_world, request, tmp_path_factory, request.param)


@pytest.fixture(scope="session")
def on_sqlite(
    long_world: World, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prepared]:
    """Yield a registry for what does not depend on the engine."""
    yield from _prepared(long_world, request, tmp_path_factory, "sqlite")


# --- difference images ----------------------------------------------------------------------------


def make(url: str, out: Path, *epochs: str, **options: Any) -> DifferenceReport:
    """Make difference images."""
    first, second = epochs or (E1, E2)
    with Registry(url, read_only=True) as registry:
        return registry.difference(DifferenceOptions(first, second, out, **options))


def halves(report: DifferenceReport) -> dict[str, ResidualRow]:
    """Return the rows of whole halves by the modules that saw them."""
    return {row.half: row for row in report.rows if not row.array_a}


def assert_within(value: float | None, err: float | None, truth: float) -> None:
    """Hold a median against the truth at 3 sigma."""
    assert value is not None
    assert err is not None
    assert 0.0 < err < 0.01
    assert value == pytest.approx(truth, abs=3.0 * err)


# --- mosaics to change ----------------------------------------------------------------------------


@pytest.fixture
def copied(on_sqlite: Prepared, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Yield a registry and a folder of mosaics to change."""
    folder = tmp_path / "mosaics"
    folder.mkdir()
    with on_sqlite.copy(tmp_path) as url:
        for path in on_sqlite.files.select(suffix=".fits"):
            shutil.copyfile(path, folder / path.name)
        set_columns(url, directory=str(folder))
        yield url, folder


def set_columns(url: str, where: Any = None, **values: Any) -> None:
    """Change columns of exposures."""
    with open_database(url) as database, database.write() as connection:
        statement = sa.update(ExposureRow).values(**values)
        connection.execute(statement if where is None else statement.where(where))


def one_mosaic(folder: Path) -> Path:
    """Return a mosaic of the second epoch."""
    return next(folder.glob("*o242*nrcblong_i2d.fits"))


def replaced(url: str, path: Path) -> None:
    """Let the registry have a file as it is now."""
    set_columns(url, ExposureRow.file_name == path.name, header_sha256=read_headers(path).sha256)

"""Simulated programmes as files, and registries that were filled from them once per session.

`small` is JWIDF in two bands and one context, quick to ingest; `jwidf` is the whole programme with
two contexts. Only mosaics and their catalogs are used: exposures add nothing to a fit.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import pytest

from calreg import Registry
from calreg.db.engine import open_database
from calreg.db.queries.sets import SetFilter, load_covariance, load_sets
from calreg.simulation.files import write_programme
from calreg.simulation.simulate import Programme, simulate_jwidf
from support.dbfixtures import ENGINES, _postgres_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from calreg.db.health import DatabaseDescription
    from calreg.domain import IntArray, Pmap
    from calreg.simulation.simulate import SimulatedMosaic
    from calreg.simulation.sources import SimulatedDetections

_SERIAL = count(1)

PMAP = "jwst_1130.pmap"
OLD_PMAP = "jwst_1039.pmap"


@dataclass(frozen=True)
class Files:
    """A programme with the mosaics and catalogs that were written for it."""

    programme: Programme
    directory: Path
    paths: tuple[Path, ...]

    def select(
        self,
        *,
        epoch: int | None = None,
        pmap: str | None = None,
        band: str | None = None,
        array: str | None = None,
        suffix: str | None = None,
    ) -> list[Path]:
        """Return the files of an epoch, context, band, array, or with a suffix, in stable order."""
        return [
            path
            for path in self.paths
            if (epoch is None or path.parent.name == f"epoch{epoch}")
            and (pmap is None or path.parent.parent.name == pmap.removesuffix(".pmap"))
            and (band is None or f"-{band.lower()}_" in path.name)
            and (array is None or f"_{array}_" in path.name)
            and (suffix is None or path.suffix == suffix)
        ]


def write_files(programme: Programme, directory: Path) -> Files:
    """Write a programme; keep its mosaics and catalogs."""
    paths = tuple(path for path in write_programme(programme, directory) if "_i2d." in path.name)
    return Files(programme, directory, paths)


def small_programme(seed: int = 11, **options: object) -> Programme:
    """Simulate three epochs of F200W and F444W under one context, unless told otherwise."""
    chosen = {"bands": ("F200W", "F444W"), "pmaps": (PMAP,), "n_dithers": 1, "faint_per_patch": 40}
    return simulate_jwidf(seed, **(chosen | options))  # type: ignore[arg-type]


# --- plants ---------------------------------------------------------------------------------------


def planted(
    programme: Programme, change: Callable[[SimulatedMosaic], SimulatedDetections]
) -> Programme:
    """Return a programme whose catalogs are changed."""
    mosaics = tuple(replace(mosaic, detections=change(mosaic)) for mosaic in programme.mosaics)
    return replace(programme, mosaics=mosaics)


def moved(
    detections: SimulatedDetections, rows: IntArray, east_arcsec: float
) -> SimulatedDetections:
    """Shift rows to the east."""
    changed = {}
    for name in ("ra_deg", "ra_win_deg"):
        values = getattr(detections, name).copy()
        dec_deg = getattr(detections, name.replace("ra", "dec", 1))[rows]
        values[rows] += east_arcsec / 3600.0 / np.cos(np.radians(dec_deg))
        changed[name] = values
    return replace(detections, **changed)


def dimmed(detections: SimulatedDetections, rows: IntArray, dmag: float) -> SimulatedDetections:
    """Make rows fainter by `dmag` in all columns."""
    changed = {}
    for name in ("flux_iso", "flux_iso_err", "flux_auto", "flux_auto_err", "mag_iso", "mag_auto"):
        values = getattr(detections, name).copy()
        if name.startswith("flux"):
            values[rows] *= 10.0 ** (-0.4 * dmag)
        else:
            values[rows] += dmag
        changed[name] = values
    return replace(detections, **changed)


def with_copies(
    detections: SimulatedDetections, rows: IntArray, *, east_arcsec: float, dmag: float
) -> SimulatedDetections:
    """Append copies of rows, shifted and dimmed, as new detections."""
    n_rows = detections.number.size
    last = int(detections.number.max())
    columns = {
        entry.name: np.concatenate([values, values[rows]])
        for entry in fields(detections)
        for values in [getattr(detections, entry.name)]
    }
    columns["number"][n_rows:] = last + 1 + np.arange(rows.size)
    copies = np.arange(n_rows, n_rows + rows.size)
    joined = replace(detections, **columns)
    return dimmed(moved(joined, copies, east_arcsec), copies, dmag)


# --- what a registry answers ----------------------------------------------------------------------

_NUMBERS = (
    "axis_pa_deg",
    "origin_ra_deg",
    "origin_dec_deg",
    "n_epochs",
    "n_pairs",
    "n_sources",
    "n_clipped",
    "floor_mag",
    "scatter_mag",
    "chi2",
    "n_dof",
    "corr_offset_slope",
    "pivot_arcmin",
    "offset_pivot_mag",
    "offset_pivot_err_mag",
    "offset_bootstrap_err_mag",
    "check_time_mag",
    "check_time_err_mag",
)

Key = tuple[str, "Pmap", str, str, str, str]


def numbers(url: str) -> dict[Key, dict[str, float]]:
    """Return every fitted number of every current set, covariances included, by key."""
    found: dict[Key, dict[str, float]] = {}
    with open_database(url, read_only=True) as database, database.read() as connection:
        for stored in load_sets(connection, SetFilter()):
            values: dict[str, float] = {}
            for name, (value, err) in stored.coefficients.items():
                values[name], values[f"{name} err"] = value, err
            for names, value in load_covariance(connection, stored.pk).items():
                values[f"cov {names}"] = value
            for name in _NUMBERS:
                value = getattr(stored, name)
                if value is not None:
                    values[name] = value
            key = (
                stored.field,
                stored.pmap,
                stored.band,
                stored.array_id,
                stored.image_kind,
                stored.flux_kind,
            )
            assert key not in found
            found[key] = values
    return found


def largest_difference(
    first: dict[Key, dict[str, float]], second: dict[Key, dict[str, float]]
) -> float:
    """Return the largest difference of any number; keys and names must be the same."""
    assert first.keys() == second.keys()
    for key, values in first.items():
        assert values.keys() == second[key].keys(), key
    return max(
        abs(value - second[key][name])
        for key, values in first.items()
        for name, value in values.items()
    )


def row_counts(registry: Registry) -> dict[str, int]:
    """Return the rows of every table."""
    described: DatabaseDescription = registry.stats()
    return described.n_rows


# --- registries -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prepared:
    """A registry that is filled once per session and engine: read it, or work on a copy."""

    url: str
    files: Files
    request: pytest.FixtureRequest

    @contextmanager
    def copy(self, folder: Path) -> Iterator[str]:
        """Yield the URL of a copy."""
        if self.url.startswith("sqlite"):
            path = folder / f"copy{next(_SERIAL)}.sqlite"
            shutil.copyfile(self.url.removeprefix("sqlite:///"), path)
            yield f"sqlite:///{path}"
            return
        name = self.url.rsplit("/", 1)[1].split("?")[0]
        executor = self.request.getfixturevalue("postgres_template")
        with _postgres_database(executor, name) as url:
            yield url


@contextmanager
def _new_url(
    engine: str, request: pytest.FixtureRequest, factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Yield the URL of an empty registry that lasts as long as its fixture."""
    if engine == "sqlite":
        path = factory.mktemp("registry") / "calreg.sqlite"
        shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
    else:
        executor = request.getfixturevalue("postgres_template")
        with _postgres_database(executor, executor.template_dbname) as url:
            yield url


@pytest.fixture(scope="session")
def small_files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Write three epochs of F200W and F444W under one context."""
    return write_files(small_programme(), tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def jwidf_files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Write the whole of JWIDF: three epochs, four bands, two contexts."""
    return write_files(simulate_jwidf(1), tmp_path_factory.mktemp("jwidf"))


@pytest.fixture(scope="session", params=ENGINES)
def small(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    small_files: Files,
) -> Iterator[Prepared]:
    """Yield a registry with all of `small_files`, ingested and fitted in one go."""
    with _new_url(request.param, request, tmp_path_factory) as url:
        with Registry(url) as registry:
            registry.ingest(list(small_files.paths))
            registry.refit()
        yield Prepared(url, small_files, request)


@pytest.fixture(scope="session", params=ENGINES)
def jwidf(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    jwidf_files: Files,
) -> Iterator[Prepared]:
    """Yield a registry with JWIDF: epochs 1 and 2 ingested and fitted, then epoch 3."""
    with _new_url(request.param, request, tmp_path_factory) as url:
        with Registry(url) as registry:
            registry.ingest(jwidf_files.select(epoch=1) + jwidf_files.select(epoch=2))
            registry.refit()
            registry.ingest(jwidf_files.select(epoch=3))
            registry.refit()
        yield Prepared(url, jwidf_files, request)


@pytest.fixture
def small_url(small: Prepared, tmp_path: Path) -> Iterator[str]:
    """Yield the URL of a copy of `small` to change."""
    with small.copy(tmp_path) as url:
        yield url


@pytest.fixture
def jwidf_url(jwidf: Prepared, tmp_path: Path) -> Iterator[str]:
    """Yield the URL of a copy of `jwidf` to change."""
    with jwidf.copy(tmp_path) as url:
        yield url

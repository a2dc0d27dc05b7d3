"""Any order of ingest and refit gives what one go gives, on both engines."""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from calreg import Registry
from calreg.science.model.settings import FitSettings
from support.programmes import (
    Files,
    Key,
    Prepared,
    largest_difference,
    moved,
    numbers,
    planted,
    small_programme,
    with_copies,
    write_files,
)

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.simulation.simulate import SimulatedMosaic
    from calreg.simulation.sources import SimulatedDetections

TOLERANCE = 1e-9
"""What the registry promises [mag]; only the order of sums may differ."""


BETWEEN_ENGINES = 1e-12
"""The same, for the same calls on two engines [mag]."""


@pytest.fixture(scope="session")
def from_scratch(
    small_files: Files, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[Key, dict[str, float]]:
    path = tmp_path_factory.mktemp("scratch") / "calreg.sqlite"
    shutil.copyfile(sqlite_template, path)
    with Registry(str(path)) as registry:
        registry.ingest(list(small_files.paths))
        assert len(registry.refit().fitted) == 5
    return numbers(str(path))


def chunks(paths: list[Path], size: int) -> list[list[Path]]:
    return [paths[start : start + size] for start in range(0, len(paths), size)]


def with_catalogs(mosaics: list[Path]) -> list[Path]:
    return [path for mosaic in mosaics for path in (mosaic, mosaic.with_suffix(".cat"))]


def steps_of(order: str, files: Files) -> list[list[Path]]:
    """Return the files of each ingest; a refit follows each."""
    epochs = {number: files.select(epoch=number) for number in (1, 2, 3)}
    if order.isdigit():
        return [epochs[int(number)] for number in order]
    if order == "early catalog late":
        late = files.select(epoch=1, array="nrca2", suffix=".cat")
        late += files.select(epoch=1, array="nrcblong", suffix=".cat")
        return [[path for path in files.paths if path not in late], late]
    seed = int(order.rsplit(maxsplit=1)[1])
    rng = random.Random(seed)  # noqa: S311 - shuffles test files
    if order.startswith("catalogs"):
        catalogs = files.select(suffix=".cat")
        rng.shuffle(catalogs)
        return [files.select(suffix=".fits"), *chunks(catalogs, 7)]
    mosaics = files.select(suffix=".fits")
    rng.shuffle(mosaics)
    return [with_catalogs(chunk) for chunk in chunks(mosaics, 5)]


@pytest.mark.parametrize(
    "order",
    [
        "213",
        "321",
        "early catalog late",
        "catalogs shuffled 2",
        "images shuffled 3",
    ],
)
def test_a_refit_after_each_step_equals_one_go(
    order: str, db_url: str, small_files: Files, from_scratch: dict[Key, dict[str, float]]
) -> None:
    with Registry(db_url) as registry:
        for step in steps_of(order, small_files):
            report = registry.ingest(step)
            assert report.refused == []
            registry.refit()
    assert largest_difference(numbers(db_url), from_scratch) < TOLERANCE


def test_one_refit_at_the_end_equals_one_go(
    db_url: str, small_files: Files, from_scratch: dict[Key, dict[str, float]]
) -> None:
    with Registry(db_url) as registry:
        for epoch in (2, 3, 1):
            registry.ingest(small_files.select(epoch=epoch))
        registry.refit()
    assert largest_difference(numbers(db_url), from_scratch) < TOLERANCE


def test_both_engines_give_the_same(
    small: Prepared, from_scratch: dict[Key, dict[str, float]]
) -> None:
    assert largest_difference(numbers(small.url), from_scratch) < BETWEEN_ENGINES


def test_settings_there_and_back_leave_the_same_answer(
    small_url: str, from_scratch: dict[Key, dict[str, float]]
) -> None:
    with Registry(small_url) as registry:
        registry.refit(FitSettings(mag_limit=21.0, max_sep_arcsec=0.05))
        assert largest_difference(numbers(small_url), from_scratch) > TOLERANCE
        registry.refit()
    assert largest_difference(numbers(small_url), from_scratch) < TOLERANCE


def crowded(mosaic: SimulatedMosaic) -> SimulatedDetections:
    """Split the bright stars of F200W into two, 0.16 arcsec apart; F444W sees one between them."""
    detections = mosaic.detections
    if mosaic.band.name == "F444W":
        return detections
    rows = np.flatnonzero(detections.mag_iso < 21.0)
    pairs = with_copies(detections, rows, east_arcsec=0.08, dmag=0.3)
    return moved(pairs, rows, -0.08)


def test_stars_that_only_another_band_links_stay_apart(db_url: str, tmp_path: Path) -> None:
    files = write_files(planted(small_programme(n_epochs=2), crowded), tmp_path / "files")
    scratch = tmp_path / "scratch.sqlite"
    with Registry.create(str(scratch)) as registry:
        registry.ingest(list(files.paths))
        registry.refit()
    with Registry(db_url) as registry:
        for band in ("F200W", "F444W"):
            registry.ingest(files.select(band=band))
            registry.refit()
    assert largest_difference(numbers(db_url), numbers(str(scratch))) < TOLERANCE

"""Any order of ingest and refit gives what one go gives, on both engines."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from programmes import Files, Prepared, largest_difference, numbers

from calreg import Registry

if TYPE_CHECKING:
    from pathlib import Path

TOLERANCE = 1e-9
"""What the registry promises [mag]; only the order of sums may differ."""


@pytest.fixture(scope="session")
def from_scratch(small: Prepared) -> dict[object, dict[str, float]]:
    return numbers(small.url)  # type: ignore[return-value]


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
        "123",
        "132",
        "213",
        "231",
        "312",
        "321",
        "early catalog late",
        "catalogs shuffled 1",
        "catalogs shuffled 2",
        "images shuffled 3",
        "images shuffled 4",
    ],
)
def test_a_refit_after_each_step_equals_one_go(
    order: str, db_url: str, small: Prepared, from_scratch: dict[object, dict[str, float]]
) -> None:
    with Registry(db_url) as registry:
        for step in steps_of(order, small.files):
            report = registry.ingest(step)
            assert report.refused == []
            registry.refit()
    assert largest_difference(numbers(db_url), from_scratch) < TOLERANCE

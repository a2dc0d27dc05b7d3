"""Ingest killed at random moments leaves the registry as before or as after, on both engines."""

from __future__ import annotations

import random
import signal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from calreg import Registry
from calreg.db.engine import open_database
from support import ingestworkers
from support.catalogfiles import sextractor_columns, write_ldac_catalog
from support.fitsimages import write_image
from support.synthetic import EPOCHS, PMAPS, Contents, contents, copied_registry, ingest_all

if TYPE_CHECKING:
    from pathlib import Path

KILLED = -signal.SIGKILL
N_KILLS = 12


def settled_contents(url: str) -> Contents:
    """Return the contents once no transaction of a killed process is left on the server."""
    with open_database(url) as database, database.write():
        pass
    return contents(url)


def problems(url: str) -> list[object]:
    with Registry(url) as registry:
        return list(registry.check())


def steps_of(url: str, folder: Path) -> list[ingestworkers.Step]:
    """Ingest a folder in this process; return its statements and commits."""
    steps: list[ingestworkers.Step] = []
    stop = ingestworkers.on_each_step(steps.append)
    try:
        assert ingest_all(url, [folder]).refused == []
    finally:
        stop()
    return steps


def test_killed_before_any_statement_or_commit(
    db_url: str, programme_folder: Path, sqlite_template: Path, tmp_path: Path
) -> None:
    """Two kills in each of four calls, the last one of each just before it commits."""
    serial = copied_registry(sqlite_template, tmp_path)
    generator = random.Random(20)  # noqa: S311 - seeded moments
    n_killed = 0
    for folder in (
        programme_folder / pmap / f"epoch{epoch}" for epoch in EPOCHS[:2] for pmap in PMAPS
    ):
        before = contents(serial)
        steps = steps_of(serial, folder)
        # The last commit is that of the one transaction; PostgreSQL has a few statements more.
        assert steps[-1][0] == "commit"
        for step in (generator.choice(steps[:-1]), steps[-1]):
            worker = ingestworkers.start(db_url, [folder], ingestworkers.barrier(1), kill_at=step)
            n_killed += worker.finish() == KILLED
            assert settled_contents(db_url) == before
        assert problems(db_url) == []
        assert ingest_all(db_url, [folder]).refused == []
        assert contents(db_url) == contents(serial)
    assert n_killed == 8


@pytest.mark.slow
def test_killed_at_random_moments(db_url: str, sqlite_template: Path, tmp_path: Path) -> None:
    """Kills come from outside, anywhere between the start and just after the end."""
    n_rows = 4000
    generator = random.Random(21)  # noqa: S311 - seeded moments
    rng = np.random.default_rng(22)
    columns: dict[str, Any] = dict.fromkeys(sextractor_columns(), np.ones(n_rows))
    columns |= {
        "NUMBER": np.arange(1, n_rows + 1),
        "ALPHA_J2000": rng.uniform(265.1, 265.12, n_rows),
        "DELTA_J2000": rng.uniform(65.8, 65.82, n_rows),
    }
    folders = []
    for number in range(N_KILLS + 1):
        folder = tmp_path / f"{number:02d}"
        folder.mkdir()
        name = f"x{number}_cal.fits"
        write_image(folder / name, primary={"EXPOSURE": str(number)})
        write_ldac_catalog(folder / "x.cat", name, **columns)
        folders.append(folder)
    serial = copied_registry(sqlite_template, tmp_path)
    ingest_all(serial, folders[:1])
    duration_s = ingestworkers.time_worker(db_url, folders[:1])
    assert contents(db_url) == contents(serial)
    outcomes = []
    for number, folder in enumerate(folders[1:]):
        before = contents(serial)
        ingest_all(serial, [folder])
        after = contents(serial)
        worker = ingestworkers.start(db_url, [folder], ingestworkers.barrier(2))
        # One kill in each eighth of the run, and on beyond its end.
        fraction = 1.5 * (number + generator.random()) / N_KILLS
        worker.kill_after(fraction * duration_s)
        found = settled_contents(db_url)
        assert found in (before, after)
        assert problems(db_url) == []
        outcomes.append(found == after)
        assert ingest_all(db_url, [folder]).refused == []
        assert contents(db_url) == after
    # Kills that all came too late would prove nothing.
    assert not all(outcomes)

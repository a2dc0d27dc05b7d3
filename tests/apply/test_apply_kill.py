"""Apply and undo killed at any moment: every file is as before or as after; again, they finish."""

from __future__ import annotations

import random
import signal
from typing import TYPE_CHECKING

import numpy as np
import pytest
import sqlalchemy as sa

from calreg.db.engine import open_database
from calreg.db.schema import ApplicationRow
from calreg.files.fits.headers import read_headers
from calreg.files.images.calibration import read_record
from support import applyworkers
from support.correctedfiles import SCALED, pixels_of, raw_headers, ulps, write_exposure

if TYPE_CHECKING:
    from pathlib import Path

    from support.applyworkers import Moment

KILLED = -signal.SIGKILL
N_FILES = 3
N_WRITES = 4
"""Kills between two writes of a file, of many that are alike."""


def exposures(folder: Path) -> list[Path]:
    """Write exposures that differ."""
    return [
        write_exposure(
            folder / f"{number}_cal.fits",
            primary={"DETECTOR": "NRCA1", "FILTER": "F200W", "EXPOSURE": str(number)},
        )
        for number in range(N_FILES)
    ]


def moments_of(url: str, paths: list[Path], work: applyworkers.Work) -> list[Moment]:
    """Work in this process; return its moments."""
    found: list[Moment] = []
    stop = applyworkers.watch(found.append)
    try:
        work(url, paths)
    finally:
        stop()
    return found


def chosen(moments: list[Moment], generator: random.Random) -> list[Moment]:
    """Return some writes, and the first and last of every other kind."""
    by_kind: dict[str, list[Moment]] = {}
    for moment in moments:
        by_kind.setdefault(moment[0], []).append(moment)
    found = generator.sample(by_kind.pop("write"), N_WRITES)
    for alike in by_kind.values():
        found += dict.fromkeys((alike[0], alike[-1]))
    return sorted(found)


def kinds(url: str) -> list[tuple[str, str]]:
    """Return what is recorded, once no transaction of a killed process is left on the server."""
    table = ApplicationRow.__table__
    with open_database(url) as database:
        with database.write():
            pass
        with database.read() as connection:
            rows = connection.execute(sa.select(table).order_by(table.c.id))
            return [(row.kind, row.file_name) for row in rows]


def forget(url: str) -> None:
    """Take all records away."""
    with open_database(url) as database, database.write() as connection:
        connection.execute(sa.delete(ApplicationRow))


def assert_either(path: Path, before: bytes, after: dict[str, np.ndarray]) -> bool:
    """Assert that a file is as before or as after; return whether it is as after."""
    if path.read_bytes() == before:
        return False
    found = pixels_of(path)
    assert found.keys() == after.keys()
    for name, pixels in after.items():
        np.testing.assert_array_equal(found[name], pixels)
    return True


@pytest.mark.slow
def test_apply_killed_at_any_moment(small_url: str, tmp_path: Path) -> None:
    paths = exposures(tmp_path)
    before = [path.read_bytes() for path in paths]
    moments = moments_of(small_url, paths, applyworkers.correct)
    after = [pixels_of(path) for path in paths]
    assert all(read_record(read_headers(path)) for path in paths)
    forget(small_url)
    n_mixed = 0
    for moment in chosen(moments, random.Random(31)):  # noqa: S311 - seeded moments
        for path, content in zip(paths, before, strict=True):
            path.write_bytes(content)
        assert applyworkers.run_killed(small_url, paths, moment, applyworkers.correct) == KILLED
        done = [
            assert_either(path, old, new)
            for path, old, new in zip(paths, before, after, strict=True)
        ]
        assert done == sorted(done, reverse=True), "one after the other"
        n_mixed += 0 < sum(done) < N_FILES
        assert kinds(small_url) == []
        # The same command again: every file is corrected once, and recorded once.
        applyworkers.correct(small_url, paths)
        assert all(
            assert_either(path, old, new)
            for path, old, new in zip(paths, before, after, strict=True)
        )
        assert kinds(small_url) == [("apply", path.name) for path in paths]
        forget(small_url)
        for leftover in tmp_path.glob(".calreg-*.tmp"):
            leftover.unlink()
        assert sorted(tmp_path.glob("*cal.fits")) == paths
    assert n_mixed > 0


@pytest.mark.slow
def test_undo_killed_at_any_moment(small_url: str, tmp_path: Path) -> None:
    paths = exposures(tmp_path)
    headers = [raw_headers(path) for path in paths]
    original = [pixels_of(path) for path in paths]
    applyworkers.correct(small_url, paths)
    before = [path.read_bytes() for path in paths]
    moments = moments_of(small_url, paths, applyworkers.restore)
    after = [pixels_of(path) for path in paths]
    forget(small_url)
    for moment in chosen(moments, random.Random(32)):  # noqa: S311 - seeded moments
        for path, content in zip(paths, before, strict=True):
            path.write_bytes(content)
        applyworkers.correct(small_url, paths)  # recognised, and recorded
        assert applyworkers.run_killed(small_url, paths, moment, applyworkers.restore) == KILLED
        for path, old, new in zip(paths, before, after, strict=True):
            assert_either(path, old, new)
        assert kinds(small_url) == [("apply", path.name) for path in paths]
        applyworkers.restore(small_url, paths)
        assert [raw_headers(path) for path in paths] == headers
        assert sorted(kinds(small_url)) == sorted(
            (kind, path.name) for kind in ("apply", "undo") for path in paths
        )
        forget(small_url)
    for path, pixels in zip(paths, original, strict=True):
        found = pixels_of(path)
        for name in SCALED:
            finite = np.isfinite(pixels[name])
            assert ulps(found[name][finite], pixels[name][finite]) <= 1

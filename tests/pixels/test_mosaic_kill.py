"""Mosaics killed at any step: the registry is as before, files are whole, the next call completes.

The moments are those that matter: while plans are made, while pixels are written, between two
names, and between the last name and the commit.
"""

from __future__ import annotations

import importlib
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from calreg import Registry
from calreg.db.engine import open_database
from calreg.files.atomic import NamedFiles
from calreg.pixels.mosaic.plan import MosaicOptions
from support import ingestworkers
from support.mosaicexposures import Scene, write_exposure
from support.synthetic import Contents, contents, copied_registry

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.files.atomic import PendingFile

KILLED = -signal.SIGKILL


def make(url: str, paths: list[Path]) -> None:
    """Make mosaics of the first path's files in the second one's folder."""
    folder, out = paths
    with Registry(url) as registry:
        registry.mosaic([folder], MosaicOptions(out=out))


def make_and_die_between_names(url: str, paths: list[Path]) -> None:
    """Die when the first of the files has its name."""
    give = NamedFiles.give

    def give_and_die(self: NamedFiles, pending: PendingFile) -> None:
        give(self, pending)
        os.kill(os.getpid(), signal.SIGKILL)

    NamedFiles.give = give_and_die  # type: ignore[method-assign]
    make(url, paths)


def make_and_die_with_one_written(url: str, paths: list[Path]) -> None:
    """Die when the second of the files is being written."""
    jobs: Any = importlib.import_module("calreg.pixels.mosaic.job")
    write = jobs.write_mosaic
    n_written = 0

    def write_or_die(pending: PendingFile, *rest: Any, **options: Any) -> None:
        nonlocal n_written
        n_written += 1
        if n_written == 2:
            pending.temporary.write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        write(pending, *rest, **options)

    jobs.write_mosaic = write_or_die
    make(url, paths)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two exposures of each of two arrays."""
    made = tmp_path_factory.mktemp("exposures")
    for array in ("nrcalong", "nrcblong"):
        for n in range(2):
            write_exposure(made, n, Scene(noise=0.002), array=array)
    return made


def visible(out: Path) -> dict[str, bytes]:
    """Return the files that are not hidden."""
    if not out.is_dir():
        return {}
    return {path.name: path.read_bytes() for path in out.iterdir() if not path.name.startswith(".")}


def settled(url: str) -> Contents:
    """Return the contents once no transaction of a killed process is left on the server."""
    with open_database(url) as database, database.write():
        pass
    return contents(url)


def test_killed_at_every_step(
    db_url: str, folder: Path, sqlite_template: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    before = contents(db_url)
    serial = copied_registry(sqlite_template, tmp_path)
    steps: list[ingestworkers.Step] = []
    stop = ingestworkers.on_each_step(steps.append)
    try:
        make(serial, [folder, out])
    finally:
        stop()
    whole = visible(out)
    expected = contents(serial)
    assert len(whole) == 2
    assert steps[-1][0] == "commit"
    for name in whole:
        (out / name).unlink()
    middle = steps[len(steps) // 2]
    kills = [
        (middle, make, 0),
        (None, make_and_die_with_one_written, 0),
        (None, make_and_die_between_names, 1),
        (steps[-1], make, 2),
    ]
    for kill_at, work, n_named in kills:
        worker = ingestworkers.start(
            db_url, [folder, out], ingestworkers.barrier(1), kill_at=kill_at, work=work
        )
        assert worker.finish() == KILLED
        assert settled(db_url) == before
        found = visible(out)
        assert len(found) == n_named
        # What has its name is whole.
        assert all(content == whole[name] for name, content in found.items())
    # Both files have their names; the next call enters them, and makes nothing.
    with Registry(db_url) as registry:
        report = registry.mosaic([folder], MosaicOptions(out=out))
        assert [row.status for row in report.rows] == ["unchanged"] * 2
        assert registry.check() == []
    assert contents(db_url) == expected
    assert visible(out) == whole

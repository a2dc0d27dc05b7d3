"""Two processes that ingest at once lose nothing, on both engines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from calreg import Registry
from calreg.db.engine import open_database
from support import ingestworkers
from support.synthetic import Contents, contents, ingest_all

if TYPE_CHECKING:
    from pathlib import Path


def test_different_halves_at_once(
    db_url: str, programme_folder: Path, programme_contents: Contents
) -> None:
    at = ingestworkers.barrier(2)
    halves = [programme_folder / "jwst_1039", programme_folder / "jwst_1130"]
    workers = [ingestworkers.start(db_url, [half], at) for half in halves]
    assert [worker.finish() for worker in workers] == [0, 0]
    assert contents(db_url) == programme_contents
    with Registry(db_url) as registry:
        assert registry.check() == []
        assert registry.stats().n_rows["ingests"] == 2


def test_the_same_files_at_once(
    db_url: str, programme_folder: Path, programme_contents: Contents
) -> None:
    at = ingestworkers.barrier(2)
    workers = [ingestworkers.start(db_url, [programme_folder], at) for _ in range(2)]
    assert [worker.finish() for worker in workers] == [0, 0]
    assert contents(db_url) == programme_contents
    with Registry(db_url) as registry:
        # The second one found everything unchanged, and wrote nothing.
        assert registry.stats().n_rows["ingests"] == 1


def test_one_waits_for_the_other(
    db_url: str, programme_folder: Path, programme_contents: Contents
) -> None:
    folder = programme_folder / "jwst_1039"
    with open_database(db_url) as database:
        with database.write():
            worker = ingestworkers.start(db_url, [folder], ingestworkers.barrier(2))
            worker.barrier.wait(ingestworkers.PATIENCE_S)
            # It cannot end while the lock is held, however long that takes.
            worker.process.join(0.5)
            assert worker.process.is_alive()
        assert worker.finish() == 0
    assert ingest_all(db_url, [programme_folder / "jwst_1130"]).refused == []
    assert contents(db_url) == programme_contents

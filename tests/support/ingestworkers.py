"""Ingest, or other work, in processes of its own, to be killed or run side by side.

They are forked from a server that has imported calreg already, so that many of them cost little.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from calreg.db.engine import open_database
from calreg.ingest.load import ingest
from calreg.ingest.options import IngestOptions
from calreg.instruments import load_instrument

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.context import ForkServerProcess
    from multiprocessing.synchronize import Barrier

PATIENCE_S = 120.0
"""Longest that a worker may take on a busy machine [s]; nothing waits that long otherwise."""

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["support.ingestworkers", "calreg.db.engines.sqlite", "calreg.db.engines.postgresql"]
)

_TESTS = Path(__file__).resolve().parent.parent

Step = tuple[str, int]
"""A moment of a run: ``statement`` or ``commit``, counted from 1 each."""


@dataclass(frozen=True)
class Worker:
    """A process that begins to ingest when all parties are at the barrier."""

    process: ForkServerProcess
    barrier: Barrier

    def finish(self) -> int | None:
        """Wait for the end; return the exit status, minus the signal's number if killed."""
        self.process.join(PATIENCE_S)
        return self.process.exitcode

    def kill_after(self, delay_s: float) -> int | None:
        """Kill the process so long after its start, unless it has ended by itself."""
        self.barrier.wait(PATIENCE_S)
        self.process.join(delay_s)
        self.process.kill()
        return self.finish()


def barrier(n_parties: int) -> Barrier:
    """Return a barrier for processes."""
    return _CONTEXT.Barrier(n_parties)


def ingest_files(url: str, paths: list[Path]) -> None:
    """Ingest; leave with status 3 if a file was refused."""
    with open_database(url) as database:
        report = ingest(database, paths, IngestOptions(), load_instrument())
    if report.refused:
        raise SystemExit(3)


def start(
    url: str,
    paths: Sequence[Path],
    at: Barrier,
    *,
    kill_at: Step | None = None,
    work: Callable[[str, list[Path]], None] = ingest_files,
) -> Worker:
    """Start a worker; with `kill_at` it kills itself before that statement or commit."""
    return Worker(start_process(_work, (url, list(paths), at, kill_at, work)), at)


def start_process(work: Callable[..., None], arguments: tuple[object, ...]) -> ForkServerProcess:
    """Start a process that does anything."""
    _ensure_server()
    process = _CONTEXT.Process(target=work, args=arguments)
    process.start()
    return process


def _ensure_server() -> None:
    """Start the server where it finds what it is to import: it does not take over sys.path."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(_TESTS), str(_TESTS.parent), before or ""])
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _work(
    url: str,
    paths: list[Path],
    at: Barrier,
    kill_at: Step | None,
    work: Callable[[str, list[Path]], None],
) -> None:
    """Wait for the others, and work."""
    at.wait(PATIENCE_S)
    if kill_at is not None:

        def stop_here(step: Step) -> None:
            if step == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

        on_each_step(stop_here)
    work(url, paths)


def on_each_step(act: Callable[[Step], None]) -> Callable[[], None]:
    """Call `act` before every statement and commit; return what ends that."""
    counts = {"statement": 0, "commit": 0}

    def step(kind: str) -> None:
        counts[kind] += 1
        act((kind, counts[kind]))

    def on_statement(*_: object) -> None:
        step("statement")

    def on_commit(*_: object) -> None:
        step("commit")

    listeners = (("before_cursor_execute", on_statement), ("commit", on_commit))
    for name, listener in listeners:
        sa.event.listen(sa.Engine, name, listener)

    def stop() -> None:
        for name, listener in listeners:
            sa.event.remove(sa.Engine, name, listener)

    return stop


def time_worker(url: str, paths: Sequence[Path]) -> float:
    """Return how long a worker takes that is left alone [s]."""
    worker = start(url, paths, barrier(2))
    worker.barrier.wait(PATIENCE_S)
    started = time.perf_counter()
    assert worker.finish() == 0
    return time.perf_counter() - started

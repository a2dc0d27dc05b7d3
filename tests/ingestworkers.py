"""Ingest in processes of its own, to be killed or run side by side.

They are forked from a server that has imported calreg already, so that many of them cost little.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from calreg.db.engine import open_database
from calreg.ingest import ingest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.context import ForkServerProcess
    from multiprocessing.synchronize import Barrier
    from pathlib import Path

PATIENCE_S = 120.0
"""Longest that a worker may take on a busy machine [s]; nothing waits that long otherwise."""

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["ingestworkers"])


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


def start(
    url: str, paths: Sequence[Path], at: Barrier, *, kill_at_step: int | None = None
) -> Worker:
    """Start a worker; `kill_at_step` makes it kill itself before that statement or commit."""
    process = _CONTEXT.Process(target=_work, args=(url, list(paths), at, kill_at_step))
    process.start()
    return Worker(process, at)


def _work(url: str, paths: list[Path], at: Barrier, kill_at_step: int | None) -> None:
    """Ingest; leave with status 3 if a file was refused."""
    at.wait(PATIENCE_S)
    if kill_at_step is not None:

        def count(step: int) -> None:
            if step == kill_at_step:
                os.kill(os.getpid(), signal.SIGKILL)

        on_each_step(count)
    with open_database(url) as database:
        report = ingest(database, paths)
    if report.refused:
        raise SystemExit(3)


def on_each_step(act: Callable[[int], None]) -> Callable[[], None]:
    """Call `act` with 1, 2, ... before every statement and commit; return what ends that."""
    n_steps = 0

    def step(*_: object) -> None:
        nonlocal n_steps
        n_steps += 1
        act(n_steps)

    names = ("before_cursor_execute", "commit")
    for name in names:
        sa.event.listen(sa.Engine, name, step)

    def stop() -> None:
        for name in names:
            sa.event.remove(sa.Engine, name, step)

    return stop


def time_worker(url: str, paths: Sequence[Path]) -> float:
    """Return how long a worker takes that is left alone [s]."""
    worker = start(url, paths, barrier(2))
    worker.barrier.wait(PATIENCE_S)
    started = time.perf_counter()
    assert worker.finish() == 0
    return time.perf_counter() - started

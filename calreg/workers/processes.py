"""Share work between processes: the same results for any number, an end when it is asked for."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from calreg.errors import WorkerError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.sharedctypes import Synchronized
    from multiprocessing.synchronize import Event

    Step = Callable[[], None]

Job = TypeVar("Job")
Result = TypeVar("Result")

_LOOK_S = 0.2
"""How often the steps of other processes are looked at [s]."""


class _Shared(NamedTuple):
    """What a process shares with the one that started it."""

    stop: Event
    n_steps: Synchronized[int]


_SHARED: list[_Shared] = []
"""In a process that shares the work, what it was given when it began."""


class _StoppedError(Exception):
    """Ends the work of a process whose result nobody waits for."""


def run_all(
    work: Callable[[Job, Step], Result],
    jobs: Sequence[Job],
    n_processes: int,
    on_step: Callable[[int], None],
) -> list[Result]:
    """Do all jobs, in this process or in several.

    Parameters
    ----------
    work : callable
        ``work(job, step)`` returns a result; it calls ``step()`` as it goes on. With several
        processes it is a function of a module, and jobs and results can be pickled.
    n_processes : int
        1 or more; no more are used than there are jobs.
    on_step : callable
        Given the number of steps of all jobs until now.

    Returns
    -------
    list
        Results in the order of `jobs`.

    Raises
    ------
    WorkerError
        If a process was ended from outside.

    Notes
    -----
    What a job raises is raised here, and the others end at their next step; so on Ctrl-C.
    """
    if min(n_processes, len(jobs)) <= 1:
        n_done = 0

        def step() -> None:
            nonlocal n_done
            n_done += 1
            on_step(n_done)

        return [work(job, step) for job in jobs]
    # Here, as most calls need but one process.
    import multiprocessing
    from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
    from concurrent.futures.process import BrokenProcessPool

    # Forked processes would share the database's connections, and the threads of BLAS.
    context = multiprocessing.get_context("spawn")
    shared = _Shared(context.Event(), context.Value("q", 0))
    with ProcessPoolExecutor(
        min(n_processes, len(jobs)), context, initializer=_begin, initargs=(shared,)
    ) as pool:
        try:
            # Processes begin with Ctrl-C blocked; they end when they are told to.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                futures = [pool.submit(_work, work, job) for job in jobs]
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            pending = set(futures)
            while pending:
                done, pending = wait(pending, _LOOK_S, FIRST_COMPLETED)
                for future in done:
                    future.result()
                on_step(shared.n_steps.value)
            return [future.result() for future in futures]
        except BrokenProcessPool as error:
            msg = (
                "a process that shared the work was ended from outside, probably for want of "
                "memory: run it again with --jobs 1"
            )
            raise WorkerError(msg) from error
        finally:
            shared.stop.set()
            pool.shutdown(cancel_futures=True)


def _begin(shared: _Shared) -> None:
    """Prepare a process."""
    _SHARED.append(shared)


def _work(work: Callable[[Job, Step], Result], job: Job) -> Result:
    """Do a job in a process of its own."""
    return work(job, _step)


def _step() -> None:
    """Count a step; end the job if nobody waits for it any more."""
    (shared,) = _SHARED
    with shared.n_steps.get_lock():
        shared.n_steps.value += 1
    if shared.stop.is_set():
        raise _StoppedError

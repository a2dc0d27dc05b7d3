"""Work for processes that tests start."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

from calreg.errors import InvalidValueError
from calreg.workers.processes import run_all

if TYPE_CHECKING:
    from collections.abc import Callable

ENDLESS = 50_000_000
"""Steps that would take minutes; a test that waits for all of them has failed."""


def square(job: int, step: Callable[[], None]) -> int:
    for _ in range(job):
        step()
    return job * job


def fail_or_go_on(job: int, step: Callable[[], None]) -> int:
    """Fail at once, or work on until somebody else has failed."""
    if job == 0:
        msg = "no job"
        raise InvalidValueError(msg)
    for _ in range(ENDLESS):
        step()
    return job


def die(job: int, step: Callable[[], None]) -> None:
    del job, step
    signal.raise_signal(signal.SIGKILL)


def main() -> None:
    """Work on until Ctrl-C; say when both processes are at it."""

    def tell(n_done: int) -> None:
        if n_done > 1:
            sys.stdout.write("at work\n")
            sys.stdout.flush()

    try:
        run_all(fail_or_go_on, [1, 2], 2, tell)
    except KeyboardInterrupt:
        sys.stdout.write("interrupted\n")


if __name__ == "__main__":
    main()

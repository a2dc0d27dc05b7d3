from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from calreg.errors import InvalidValueError, WorkerError
from calreg.workers.processes import run_all
from support import sharedwork

PATIENCE_S = 120.0
ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize("n_processes", [1, 2, 5])
def test_results_come_in_order(n_processes: int) -> None:
    steps: list[int] = []
    assert run_all(sharedwork.square, [3, 1, 2], n_processes, steps.append) == [9, 1, 4]
    assert steps == sorted(steps)
    assert steps[-1] == 6


def test_no_jobs() -> None:
    assert run_all(sharedwork.square, [], 2, lambda _: None) == []


def test_an_error_ends_the_others() -> None:
    steps = [0]
    with pytest.raises(InvalidValueError, match="no job"):
        run_all(sharedwork.fail_or_go_on, [1, 0], 2, steps.append)
    assert steps[-1] < sharedwork.ENDLESS


def test_a_process_that_is_killed() -> None:
    with pytest.raises(WorkerError, match=r"ended from outside, probably .* run it again with --j"):
        run_all(sharedwork.die, [1, 2], 2, lambda _: None)


def test_ctrl_c_ends_all_without_a_traceback() -> None:
    """The terminal sends it to the processes that share the work, too."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    with subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "support" / "sharedwork.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": path},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_S)
    assert out.splitlines()[-1] == "interrupted"
    assert err == ""
    assert process.returncode == 0

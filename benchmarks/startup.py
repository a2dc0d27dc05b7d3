"""How long a user waits for the first word."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from benchmarks.harness import Contender, Result, alternate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.harness import Setting

_LIMIT_S = 0.3
_N_CALLS = 10
_HEAVY = ("astropy", "sqlalchemy", "scipy", "matplotlib", "numpy")
_PROGRAM = "from calreg.commands.main import main; main()"


def run(setting: Setting) -> Iterator[Result]:
    """Time `calreg --help` as a whole process, and name what it imports."""
    del setting
    command = [sys.executable, "-c", _PROGRAM, "--help"]
    bare = Contender("bare Python", lambda: _call([sys.executable, "-c", "pass"]))
    ours = Contender("calreg --help", lambda: _call(command))
    alternate([ours, bare], _N_CALLS)
    yield Result(
        "calreg --help, whole process",
        f"{ours.median_s:.3f} s",
        f"{bare.median_s:.3f} s bare Python",
        target=f"< {_LIMIT_S} s",
        is_reached=ours.median_s < _LIMIT_S,
    )
    listed = subprocess.run(  # noqa: S603  # our own interpreter
        [sys.executable, "-X", "importtime", "-c", _PROGRAM, "--help"],
        check=True,
        capture_output=True,
        text=True,
    ).stderr
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in listed.splitlines()}
    heavy = sorted(imported & set(_HEAVY))
    yield Result(
        "  heavy packages that it imports",
        ", ".join(heavy) or "none",
        target="no astropy, no sqlalchemy",
        is_reached=not {"astropy", "sqlalchemy"} & set(heavy),
    )


def _call(command: list[str]) -> None:
    """Run a program to its end, its output thrown away."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603  # our own

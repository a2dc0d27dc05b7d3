"""Run benchmarks and print one table: ``python -m benchmarks [--quick] [NAME ...]``."""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.databases import Databases
from benchmarks.harness import Result, Setting

_NAMES = (
    "writing",
    "reading",
    "matching",
    "headers",
    "files",
    "refits",
    "questions",
    "startup",
    "photometry",
)
_WIDTH_PIPED = 200


def main() -> int:
    """Run what was asked for; the status is 1 if a target was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(_NAMES)}")
    parser.add_argument("--quick", action="store_true", help="a tenth of the size")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(_NAMES))
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; expected {', '.join(_NAMES)}")
    results: list[Result] = []
    for name in arguments.names or _NAMES:
        started = time.monotonic()
        module = importlib.import_module(f"benchmarks.{name}")
        with (
            tempfile.TemporaryDirectory(prefix="calreg-bench-") as folder,
            Databases(Path(folder)) as databases,
        ):
            for result in module.run(Setting(Path(folder), databases, arguments.quick)):
                results.append(result)
                _log(f"{name}: {result.what}: {result.ours}")
        _log(f"{name}: {time.monotonic() - started:.0f} s")
    _print_table(results)
    return int(any(result.is_reached is False for result in results))


def _log(text: str) -> None:
    """Say on stderr how far we are."""
    sys.stderr.write(f"{text}\n")


def _print_table(results: list[Result]) -> None:
    """Print all results."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for header in ("what", "ours", "peer", "ratio", "target", ""):
        table.add_column(header, justify="right" if header == "ratio" else "left")
    for result in results:
        verdict = {True: "ok", False: "MISS", None: ""}[result.is_reached]
        ratio = "" if result.ratio is None else f"{result.ratio:.2f}"
        table.add_row(result.what, result.ours, result.peer, ratio, result.target, verdict)
    console = Console() if sys.stdout.isatty() else Console(width=_WIDTH_PIPED)
    console.print(table, markup=False)


if __name__ == "__main__":
    sys.exit(main())

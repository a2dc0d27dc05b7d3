"""How things are timed and what a row of the table says."""

from __future__ import annotations

import gc
import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmarks.databases import Databases


@dataclass(frozen=True)
class Result:
    """One row of the table.

    Attributes
    ----------
    what : str
    ours, peer : str
        As measured, with unit.
    ratio : float or None
        As the target states it.
    target : str
        Empty where there is none.
    is_reached : bool or None
        None where there is no target.
    """

    what: str
    ours: str
    peer: str = ""
    ratio: float | None = None
    target: str = ""
    is_reached: bool | None = None


@dataclass(frozen=True)
class Setting:
    """What a benchmark is given.

    Attributes
    ----------
    folder : Path
        Empty, for files.
    databases : Databases
    is_quick : bool
        Whether sizes are smaller and rounds fewer.
    """

    folder: Path
    databases: Databases
    is_quick: bool

    @property
    def n_rows(self) -> int:
        """Rows of detections, and sources of catalogs."""
        return 100_000 if self.is_quick else 1_000_000

    @property
    def n_rounds(self) -> int:
        """Rounds that medians are taken over."""
        return 3


@dataclass
class Contender:
    """One of several ways to do the same thing.

    Attributes
    ----------
    name : str
    run : callable
        Timed.
    prepare : callable
        Called before each `run`, not timed.
    seconds : list of float
        One per round.
    """

    name: str
    run: Callable[[], object]
    prepare: Callable[[], object] = lambda: None
    seconds: list[float] = field(default_factory=list)

    @property
    def median_s(self) -> float:
        """Median over the rounds [s]."""
        return statistics.median(self.seconds)


def alternate(contenders: Sequence[Contender], n_rounds: int) -> None:
    """Time contenders in turn (A B A B ...), after a round that warms up and does not count."""
    for n_round in range(n_rounds + 1):
        for contender in contenders:
            contender.prepare()
            gc.collect()
            started = time.perf_counter()
            contender.run()
            elapsed_s = time.perf_counter() - started
            if n_round:
                contender.seconds.append(elapsed_s)


def median_call_s(call: Callable[[], object], n_calls: int) -> float:
    """Return the median time of a call [s], after one that warms up."""
    contender = Contender("call", call)
    alternate([contender], n_calls)
    return contender.median_s


def rate(n: int, seconds: float, unit: str) -> str:
    """Write a rate in thousands per second."""
    return f"{n / seconds / 1000:.0f} k{unit}/s"


def speed_result(
    what: str, ours: Contender, peer: Contender, *, n: int, unit: str, at_least: float
) -> Result:
    """Compare two rates; the target is a least ratio ours / peer."""
    ratio = peer.median_s / ours.median_s
    return Result(
        what,
        rate(n, ours.median_s, unit),
        f"{rate(n, peer.median_s, unit)} {peer.name}",
        ratio,
        f">= {at_least:g} x",
        ratio >= at_least,
    )

"""Correct or restore files in a process that kills itself at a given moment."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

from calreg import Registry
from calreg.apply.options import ApplyOptions
from calreg.files import atomic
from calreg.files.corrected import rewrite as calfits
from support import ingestworkers

Work = Callable[[str, list[Path]], None]

Moment = tuple[str, int]
"""``write``, ``flush``, ``rename``, ``renamed``, ``statement`` or ``commit``, counted from 1."""


def correct(url: str, paths: list[Path]) -> None:
    """Correct files in their place."""
    with Registry(url) as registry:
        registry.apply(paths, ApplyOptions(is_in_place=True))


def restore(url: str, paths: list[Path]) -> None:
    """Restore files in their place."""
    with Registry(url) as registry:
        registry.undo(paths)


def killed_at(moment: Moment, work: Work, url: str, paths: list[Path]) -> None:
    """Work until a moment, and no further."""

    def act(now: Moment) -> None:
        if now == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    watch(act)
    work(url, paths)


def run_killed(url: str, paths: list[Path], moment: Moment, work: Work) -> int | None:
    """Run work in a process that is killed at a moment; return its exit status."""
    worker = ingestworkers.start(
        url, paths, ingestworkers.barrier(1), work=partial(killed_at, moment, work)
    )
    return worker.finish()


def watch(act: Callable[[Moment], None]) -> Callable[[], None]:
    """Call `act` before every write, flush and rename of a file, after it, and as SQL goes on."""
    counts: dict[str, int] = {}

    def step(kind: str) -> None:
        counts[kind] = counts.get(kind, 0) + 1
        act((kind, counts[kind]))

    originals = (calfits._write_all, atomic._flush, Path.replace)  # noqa: SLF001

    def write_all(*arguments: object) -> None:
        step("write")
        originals[0](*arguments)  # type: ignore[arg-type]

    def flush(path: Path) -> None:
        step("flush")
        originals[1](path)

    def rename(path: Path, target: Path) -> Path:
        step("rename")
        done = originals[2](path, target)
        step("renamed")
        return done

    calfits._write_all = write_all  # type: ignore[assignment]  # noqa: SLF001
    atomic._flush = flush  # noqa: SLF001
    Path.replace = rename  # type: ignore[method-assign, assignment]
    stop_sql = ingestworkers.on_each_step(act)

    def stop() -> None:
        calfits._write_all, atomic._flush, Path.replace = originals  # type: ignore[method-assign]  # noqa: SLF001
        stop_sql()

    return stop

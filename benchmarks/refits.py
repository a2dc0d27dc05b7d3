"""Refit after one more epoch: it should not matter much how many there were."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

import sqlalchemy as sa

from benchmarks.databases import ENGINES
from benchmarks.harness import Contender, Result, alternate
from calreg import Registry
from calreg.db.bulk import fetch_columns
from calreg.db.queries import pairs
from calreg.simulation.files import write_programme
from calreg.simulation.simulate import simulate_jwidf

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.harness import Setting

_FEW, _MANY = 2, 10
_LIMIT = 1.5
_PROGRAM = "from calreg.commands.main import main; main()"


class _Case:
    """A registry with some epochs fitted and one more ingested, to refit copies of."""

    def __init__(self, setting: Setting, engine: str, epochs: list[list[Path]], n_old: int) -> None:
        self._databases = setting.databases
        self._original = setting.databases.make(engine)
        self._url = ""
        self.n_old = n_old
        with Registry(self._original) as registry:
            registry.ingest([path for epoch in epochs[:n_old] for path in epoch])
            registry.refit()
            registry.ingest(epochs[n_old])

    def copy(self) -> None:
        """Take a fresh copy."""
        self._url = self._databases.copy(self._original)

    def command(self) -> None:
        """Run ``calreg refit`` on the copy, as a process."""
        words = [sys.executable, "-c", _PROGRAM, "--db", self._url, "refit"]
        subprocess.run(words, check=True, capture_output=True)  # noqa: S603  # our own program

    def refit(self) -> None:
        """Refit the copy in this process."""
        with Registry(self._url) as registry:
            report = registry.refit()
        if report.refused or report.waiting or not report.fitted:
            msg = f"refit after {self.n_old} + 1 epochs did not fit every key: {report}"
            raise RuntimeError(msg)

    def count(self) -> str:
        """Refit a copy and say what was written and how many rows its SELECTs returned."""
        self.copy()
        with Registry(self._url) as registry, _rows_read() as rows:
            report = registry.refit()
        return (
            f"{report.pairing.n_groups} groups matched, {len(report.fitted)} keys fitted, "
            f"{rows['detections']} detections and {rows['pairs']} pairs read"
        )


@contextmanager
def _rows_read() -> Iterator[Counter[str]]:
    """Count the rows of detections and pairs that are read as columns, by table."""
    rows: Counter[str] = Counter()

    def counting(
        connection: sa.Connection, statement: sa.Select[*tuple[object, ...]]
    ) -> dict[str, NDArray[Any]]:
        columns = fetch_columns(connection, statement)
        tables = {
            table.name for table in statement.get_final_froms() if isinstance(table, sa.Table)
        }
        rows.update(dict.fromkeys(tables, len(next(iter(columns.values())))))
        return columns

    with mock.patch.object(pairs, "fetch_columns", counting):
        yield rows


def run(setting: Setting) -> Iterator[Result]:
    """Time refit after adding an epoch to ten, and to two, of the simulated JWIDF."""
    programme = simulate_jwidf(n_epochs=_MANY + 1, pmaps=("jwst_1130.pmap",))
    paths = write_programme(programme, setting.folder / "data")
    epochs = [
        [path for path in paths if path.parent.name == f"epoch{n}" and "_i2d" in path.name]
        for n in range(1, _MANY + 2)
    ]
    for engine in ENGINES:
        few, many = (_Case(setting, engine, epochs, n_old) for n_old in (_FEW, _MANY))
        whole = [Contender(f"{c.n_old} + 1 epochs", c.command, c.copy) for c in (few, many)]
        inside = [Contender(f"{c.n_old} + 1 epochs", c.refit, c.copy) for c in (few, many)]
        alternate(whole, setting.n_rounds)
        alternate(inside, setting.n_rounds)
        yield _compare(f"calreg refit, whole command, {engine}", *whole, limit=_LIMIT)
        yield _compare(f"  of that in process, without start and imports, {engine}", *inside)
        for case in (few, many):
            yield Result(f"  read and done after {case.n_old} + 1 epochs, {engine}", case.count())


def _compare(what: str, few: Contender, many: Contender, *, limit: float | None = None) -> Result:
    """Set the time after many epochs beside that after few."""
    ratio = many.median_s / few.median_s
    return Result(
        what,
        f"{many.median_s:.2f} s after {many.name}",
        f"{few.median_s:.2f} s after {few.name}",
        ratio,
        "" if limit is None else f"<= {limit:g} x",
        None if limit is None else ratio <= limit,
    )

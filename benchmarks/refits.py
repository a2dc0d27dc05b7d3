"""Refit after one more epoch: it should not matter much how many there were."""

from __future__ import annotations

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
from calreg.files.simulated import write_programme
from calreg.science.simulate import simulate_jwidf

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.harness import Setting

_FEW, _MANY = 2, 10
_LIMIT = 1.5


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

    def refit(self) -> None:
        """Refit the copy, opening the registry included."""
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
        contenders = [
            Contender(f"{case.n_old} + 1 epochs", case.refit, prepare=case.copy)
            for case in (few, many)
        ]
        alternate(contenders, setting.n_rounds)
        after_few, after_many = contenders
        ratio = after_many.median_s / after_few.median_s
        yield Result(
            f"refit after {after_many.name}, {engine}",
            f"{after_many.median_s:.2f} s",
            f"{after_few.median_s:.2f} s after {after_few.name}",
            ratio,
            f"<= {_LIMIT} x",
            ratio <= _LIMIT,
        )
        for case in (few, many):
            yield Result(f"  read and done after {case.n_old} + 1 epochs, {engine}", case.count())

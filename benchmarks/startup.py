"""How long a user waits for a command that has little to do: mostly for imports."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from benchmarks.harness import Contender, Result, alternate
from calreg import Registry
from calreg.simulation.files import write_programme
from calreg.simulation.simulate import simulate_jwidf

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.harness import Setting

_N_CALLS = 5
_PROGRAM = "from calreg.commands.main import main; main()"
_FLOOR = """
import sqlalchemy as sa, typer

def count(url: str) -> None:
    exposures = sa.table("exposures")
    with sa.create_engine(url).connect() as connection:
        statement = sa.select(sa.func.count()).select_from(exposures)
        typer.echo(connection.execute(statement).scalar_one())

app = typer.Typer(add_completion=False, rich_markup_mode=None)
app.command()(count)
app()
"""
"""The thinnest command that asks a registry something."""

_KEY = ("--band", "F444W", "--array", "long")
_QUESTION, _REFIT, _HELP, _MISSING = 1.4, 1.8, 0.6, 1.0
_COMMANDS: tuple[tuple[tuple[str, ...], float], ...] = (
    (("coefficients",), _QUESTION),
    (("history", *_KEY), _QUESTION),
    (("offsets",), _QUESTION),
    (("predict", "--from", "jwst_1039", "--to", "jwst_1130"), _QUESTION),
    (("pmap", "list"), _QUESTION),
    (("db", "stats"), _QUESTION),
    (("db", "check"), _QUESTION),
    (("refit",), _REFIT),
    (("--help",), _HELP),
)


def run(setting: Setting) -> Iterator[Result]:
    """Time whole processes beside the thinnest command of that kind; the best of five counts."""
    url = setting.databases.make("SQLite")
    files = write_programme(
        simulate_jwidf(1, bands=("F444W",), n_dithers=1, faint_per_patch=20),
        setting.folder / "programme",
    )
    with Registry(url) as registry:
        registry.ingest(files)
        registry.refit()
    floor = Contender("Typer and one SELECT", lambda: _call([sys.executable, "-c", _FLOOR, url]))
    missing = ["--db", f"{url}.none", "coefficients"]
    contenders = [
        *(_command(["--db", url, *words]) for words, _ in _COMMANDS),
        _command(missing, status=1),
    ]
    limits = [*(limit for _, limit in _COMMANDS), _MISSING]
    names = [*(" ".join(words) for words, _ in _COMMANDS), "coefficients, registry missing"]
    alternate([floor, *contenders], _N_CALLS)
    floor_s = min(floor.seconds)
    for name, contender, limit in zip(names, contenders, limits, strict=True):
        best_s = min(contender.seconds)
        yield Result(
            f"calreg {name}, whole process",
            f"{best_s:.3f} s",
            f"{floor_s:.3f} s {floor.name}",
            best_s / floor_s,
            f"<= {limit:g} x",
            best_s <= limit * floor_s,
        )


def _command(words: Sequence[str], status: int = 0) -> Contender:
    """Return a command of calreg to be timed."""
    command = [sys.executable, "-c", _PROGRAM, *words]
    return Contender(" ".join(words), lambda: _call(command, status))


def _call(command: Sequence[str], status: int = 0) -> None:
    """Run a program to its end, its output thrown away."""
    ended = subprocess.run(command, check=False, capture_output=True)  # noqa: S603  # our own
    if ended.returncode != status:
        msg = f"{command}: status {ended.returncode}: {ended.stderr.decode()}"
        raise RuntimeError(msg)

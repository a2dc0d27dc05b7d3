"""``calreg demo``: a simulated programme through the commands that a user would type."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calreg.commands.common import (
    GlobalOptions,
    OutputFormat,
    log,
    open_registry,
    options_of,
)
from calreg.commands.output import Column, print_rows

if TYPE_CHECKING:
    from calreg.registry import Registry
    from calreg.science.simulate import Programme

_PMAP = "jwst_1130.pmap"


@dataclass(frozen=True)
class TruthRow:
    """What was injected beside what came back."""

    pmap: str
    band: str
    array_id: str
    true_offset_ab_mag: float
    offset_ab_mag: float
    offset_ab_err_mag: float
    pull: float
    true_slope_mag_arcmin: float
    slope_mag_arcmin: float
    slope_err_mag_arcmin: float
    slope_pull: float | None


_COLUMNS = [
    Column("pmap", "pmap"),
    Column("band", "band"),
    Column("array_id", "array"),
    Column("true_offset_ab_mag", "true offset A-B [mag]", "+.5f"),
    Column("offset_ab_mag", "fitted", "+.5f"),
    Column("offset_ab_err_mag", "error", ".5f"),
    Column("pull", "pull", "+.2f"),
    Column("true_slope_mag_arcmin", "true slope [mag/arcmin]", "+.5f", is_fixed_at_zero=True),
    Column("slope_mag_arcmin", "fitted", "+.5f", is_fixed_at_zero=True),
    Column("slope_err_mag_arcmin", "error", ".5f", is_fixed_at_zero=True),
    Column("slope_pull", "pull", "+.2f"),
]


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(demo)


def demo(
    context: typer.Context,
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="New folder for files and database.")
    ] = Path("calreg-demo"),
    seed: Annotated[int, typer.Option("--seed", help="Seed of the simulation.")] = 1,
    db: Annotated[
        str | None,
        typer.Option("--db", metavar="URL", help="Database, instead of a new one in DIR."),
    ] = None,
) -> None:
    """Simulate JWIDF and run a session on it.

    It ends with the injected truth beside what came back.

    Takes about a minute; every number that it prints comes from simulated data.

    Example: calreg demo jwidf-demo
    """
    started = time.monotonic()
    from calreg.errors import OutputError
    from calreg.files.simulated import write_programme
    from calreg.science.simulate import simulate_jwidf

    if directory.exists() and any(directory.iterdir()):
        msg = f"{directory} is not empty: name a new folder, such as calreg demo {directory}-2"
        raise OutputError(msg)
    given = options_of(context, db, None).db
    url = given or str(directory / "calreg.sqlite")
    log("simulating JWIDF: 3 epochs, 4 bands, 10 arrays, 2 contexts (all data are SIMULATED)")
    programme = simulate_jwidf(seed)
    directory.mkdir(parents=True, exist_ok=True)
    paths = write_programme(programme, directory / "data")
    log(f"wrote {len(paths)} files to {directory / 'data'} ({time.monotonic() - started:.1f} s)")
    session = _Session(context, url)
    epochs = [
        sorted(str(path) for path in (directory / "data").glob(f"*/epoch{n}")) for n in (1, 2, 3)
    ]
    session.run("db", "init")
    session.run("ingest", *epochs[0], *epochs[1])
    session.run("refit")
    session.run("ingest", *epochs[2])
    session.run("refit")
    session.run("refit")
    session.run("history", "--band", "F356W", "--array", "long")
    session.run("coefficients", "--pmap", _PMAP)
    session.run("export", "recipe", str(directory / "recipe_1130.ecsv"), "--pmap", _PMAP)
    session.run("export", "grizli", str(directory / "grizli_1130.yml"), "--pmap", _PMAP)
    with open_registry(GlobalOptions(url), read_only=True) as registry:
        rows = truth_rows(registry, programme)
    print_rows(rows, _COLUMNS, OutputFormat.TABLE, title="\nInjected truth beside the result")
    pulls = [row.pull for row in rows] + [row.slope_pull for row in rows if row.slope_pull]
    rms = (sum(pull**2 for pull in pulls) / len(pulls)) ** 0.5
    log(
        "truth: jwst_1130 is Table 3 of Ma et al. (2024), jwst_1039 is made up; "
        "both contexts reduce the same simulated photons, so their pulls agree"
    )
    log(f"rms of {len(pulls)} pulls: {rms:.2f}; whole demo {time.monotonic() - started:.1f} s")
    log(f"ask it more: calreg --db {shlex.quote(url)} --help")


class _Session:
    """Runs commands as a user would, and shows what was typed."""

    def __init__(self, context: typer.Context, url: str) -> None:
        self._command = context.find_root().command
        self._url = url

    def run(self, *words: str) -> None:
        """Show and run one command line."""
        shown = " ".join(shlex.quote(word) for word in words)
        log(f"\n$ calreg {shown}")
        status = self._command.main(["--db", self._url, *words], standalone_mode=False)
        if status:
            raise typer.Exit(status)


def truth_rows(registry: Registry, programme: Programme) -> list[TruthRow]:
    """Set the current sets beside what was injected."""
    truth = {(true.pmap, true.band, true.array_id): true for true in programme.truth}
    rows = []
    for found in registry.coefficients():
        true = truth[found.pmap, found.band, found.array_id]
        slope_difference = found.slope_mag_arcmin - true.slope_mag_arcmin
        has_slope = found.slope_err_mag_arcmin > 0.0
        rows.append(
            TruthRow(
                pmap=found.pmap,
                band=found.band,
                array_id=found.array_id,
                true_offset_ab_mag=true.offset_ab_mag,
                offset_ab_mag=found.offset_ab_mag,
                offset_ab_err_mag=found.offset_ab_err_mag,
                pull=(found.offset_ab_mag - true.offset_ab_mag) / found.offset_ab_err_mag,
                true_slope_mag_arcmin=true.slope_mag_arcmin,
                slope_mag_arcmin=found.slope_mag_arcmin,
                slope_err_mag_arcmin=found.slope_err_mag_arcmin,
                slope_pull=slope_difference / found.slope_err_mag_arcmin if has_slope else None,
            )
        )
    return rows

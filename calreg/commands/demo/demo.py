"""``calreg demo``: a simulated programme through the commands that a user would type."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Annotated

import typer

from calreg.commands.common import GlobalOptions, log, open_registry, options_of
from calreg.commands.demo.session import Session, print_truth, require_new_folder, truth_rows

_PMAP = "jwst_1130.pmap"

_Pixels = Annotated[
    bool,
    typer.Option(
        "--pixels",
        help="Begin with simulated exposures and go through mosaic, measure, astrometry and "
        "difference: 13 minutes of CPU, 12 GB of disk (extra pixels).",
    ),
]
_KeepExposures = Annotated[
    bool,
    typer.Option(
        "--keep-exposures",
        help="Keep the exposures of --pixels, 21 GB in all, when their mosaics are made.",
    ),
]
_Size = Annotated[
    str, typer.Option("--size", hidden=True, metavar="full|small", help="How much --pixels makes.")
]
_Contexts = Annotated[
    bool,
    typer.Option(
        "--contexts",
        help="Instead, carry the published offsets to today's contexts: real numbers, seconds.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(demo)


def demo(
    context: typer.Context,
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="New folder for files and database.")
    ] = Path("calreg-demo"),
    *,
    pixels: _Pixels = False,
    contexts: _Contexts = False,
    keep_exposures: _KeepExposures = False,
    size: _Size = "full",
    seed: Annotated[int, typer.Option("--seed", help="Seed of the simulation.")] = 1,
    jobs: Annotated[
        int, typer.Option("--jobs", metavar="N", help="Processes of --pixels at a time.")
    ] = 2,
    db: Annotated[
        str | None,
        typer.Option("--db", metavar="URL", help="Database, instead of a new one in DIR."),
    ] = None,
) -> None:
    """Simulate JWIDF and run a session on it.

    It ends with the injected truth beside what came back.

    Takes about a minute; every number that it prints comes from simulated data, but with
    --contexts from publications.

    Example: calreg demo jwidf-demo
    """
    if pixels and contexts:
        msg = "--pixels and --contexts are two sessions: give one of them"
        raise typer.BadParameter(msg)
    started = time.monotonic()
    require_new_folder(directory)
    given = options_of(context, db, None).db
    url = given or str(directory / "calreg.sqlite")
    session = Session(context, url)
    if contexts:
        from calreg.commands.demo.contexts import run_contexts

        run_contexts(session, url, directory)
        log(f"ask it more: calreg --db {shlex.quote(url)} --help")
        return
    if pixels:
        from calreg.commands.demo.pixels import SIZES, run_from_pixels

        if size not in SIZES:
            msg = f"--size {size}: expected one of {', '.join(SIZES)}"
            raise typer.BadParameter(msg)
        run_from_pixels(
            session, url, directory, SIZES[size], seed, jobs, keep_exposures=keep_exposures
        )
    else:
        _run_from_catalogs(session, url, directory, seed)
    log(f"whole demo {time.monotonic() - started:.1f} s; every number above is SIMULATED")
    log(f"ask it more: calreg --db {shlex.quote(url)} --help")


def _run_from_catalogs(session: Session, url: str, directory: Path, seed: int) -> None:
    """Run the session that begins with catalogs."""
    from calreg.simulation.files import write_programme
    from calreg.simulation.simulate import simulate_jwidf

    started = time.monotonic()
    log("simulating JWIDF: 3 epochs, 4 bands, 10 arrays, 2 contexts (all data are SIMULATED)")
    programme = simulate_jwidf(seed)
    directory.mkdir(parents=True, exist_ok=True)
    paths = write_programme(programme, directory / "data")
    log(f"wrote {len(paths)} files to {directory / 'data'} ({time.monotonic() - started:.1f} s)")
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
        print_truth(truth_rows(registry, programme))
    log(
        "truth: jwst_1130 is Table 3 of Ma et al. (2024), jwst_1039 is made up; "
        "both contexts reduce the same simulated photons, so their pulls agree"
    )

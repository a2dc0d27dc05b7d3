"""``calreg check``, ``apply``, ``undo`` and ``affected``: a reduction's own files."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calreg.commands.common import (
    Db,
    Format,
    GlobalOptions,
    OutputFormat,
    log,
    open_registry,
    options_of,
    progress_bar,
)
from calreg.commands.output import Column, plain, print_json, print_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from calreg.registry import Registry

_Files = Annotated[
    list[Path], typer.Argument(metavar="FILES", help="Calibrated exposures (cal, crf).")
]

_CHECK_COLUMNS = (
    Column("array", "array"),
    Column("band", "band"),
    Column("subarray", "subarray"),
    Column("kind", "kind"),
    Column("n_files", "files", "d"),
    Column("pmap", "CRDS_CTX"),
    Column("cal_ver", "CAL_VER"),
    Column("r_photom", "R_PHOTOM"),
    Column("photmjsr", "PHOTMJSR", ".7g"),
    Column("pixar_sr", "PIXAR_SR", ".4g"),
    Column("correction", "correction"),
)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(check)


def check(
    context: typer.Context,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILES", help="Exposures and mosaics: cal, crf, i2d.")
    ],
    *,
    db: Db = None,
    output_format: Format = None,
) -> None:
    """Check how files are calibrated, and whether they are corrected.

    Exit status 1, with the reasons on stderr, where contexts, PHOTMJSR or PIXAR_SR are mixed, a
    PHOTMJSR is not the registry's for its context, photom did nothing though S_PHOTOM says
    COMPLETE, or a correction exists and is not applied. Only headers are read. Without a registry
    the files are compared with each other.

    Example: calreg check reduction/*_cal.fits
    """
    from calreg.inspection import check_files
    from calreg.instruments import load_instrument

    options = options_of(context, db, output_format)
    with _registry_if_any(options, read_only=True) as registry, progress_bar() as progress:
        if registry is None:
            log("PHOTMJSR and corrections are not compared with a registry")
            report = check_files(files, None, load_instrument(), progress=progress)
        else:
            report = registry.check_files(files, progress=progress)
    if options.output_format is OutputFormat.JSON:
        print_json(plain(report))
    else:
        print_rows(
            report.rows, _CHECK_COLUMNS, options.output_format, empty="no file could be read"
        )
    for note in report.notes:
        log(f"note: {note}")
    for problem in report.problems:
        log(f"{problem.kind}: {problem.message}")
    if report.problems:
        raise typer.Exit(1)


@contextmanager
def _registry_if_any(
    options: GlobalOptions, *, read_only: bool = False
) -> Iterator[Registry | None]:
    """Open the registry; None where nobody named one and the default one is not there."""
    from calreg.errors import SchemaUninitialisedError

    is_named = options.db is not None or bool(os.environ.get("CALREG_DB"))
    with ExitStack() as stack:
        registry = None
        try:
            registry = stack.enter_context(open_registry(options, read_only=read_only))
        except SchemaUninitialisedError as error:
            if is_named:
                raise
            log(f"no registry: {error}")
        yield registry

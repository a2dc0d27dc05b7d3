"""``calreg check``, ``apply``, ``undo`` and ``affected``: a reduction's own files."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calreg.commands.common import (
    FieldOption,
    FluxOption,
    GlobalOptions,
    OutputFormat,
    PmapOption,
    check_pmap,
    log,
    open_registry,
    progress_bar,
    shared_options,
    usage_errors,
)
from calreg.commands.output import Column, plain, print_json, print_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from calreg.apply.files import CorrectedFile
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
    app.command()(apply)
    app.command()(undo)
    app.command()(affected)


@shared_options
def check(
    options: GlobalOptions,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILES", help="Exposures and mosaics: cal, crf, i2d.")
    ],
) -> None:
    """Check how files are calibrated, and whether they are corrected.

    Exit status 1, with the reasons on stderr, where contexts, PHOTMJSR or PIXAR_SR are mixed, a
    PHOTMJSR is not the registry's for its context, photom did nothing though S_PHOTOM says
    COMPLETE, or a correction exists and is not applied. Only headers are read. Without a registry
    the files are compared with each other.

    Example: calreg check reduction/*_cal.fits
    """
    from calreg.apply.check import check_files
    from calreg.instruments import load_instrument

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


_OUTCOME_COLUMNS = (
    Column("target", "file"),
    Column("action", "done"),
    Column("array", "array"),
    Column("band", "band"),
    Column("subarray", "subarray"),
    Column("pmap", "CRDS_CTX"),
    Column("photom_factor", "PHOTMJSR x", ".7f"),
    Column("origin", "origin"),
    Column("set_id", "set"),
)


_Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Write here, and leave the files as they are."),
]
_ApplyPmap = Annotated[
    str | None,
    typer.Option(
        "--pmap",
        metavar="PMAP",
        help="Refuse files of another context; with --predict, the context to carry over from.",
        callback=check_pmap,
    ),
]
_InPlace = Annotated[
    bool, typer.Option("--in-place", help="Replace the files; calreg undo restores them.")
]
_Predict = Annotated[
    bool,
    typer.Option("--predict", help="Without a set, carry one over by PHOTMJSR, and mark it."),
]
_AllowIdentity = Annotated[
    bool,
    typer.Option(
        "--allow-identity", help="Without a set, mark the file and leave its pixels alone."
    ),
]
_Replace = Annotated[bool, typer.Option("--replace", help="Take a former correction back first.")]
_GradientDatum = Annotated[
    str,
    typer.Option(
        "--gradient-datum",
        metavar="symmetric|B",
        help="Share a gradient between the modules, or keep B as it is.",
    ),
]


@shared_options
def apply(
    options: GlobalOptions,
    files: _Files,
    *,
    pmap: _ApplyPmap = None,
    out: _Out = None,
    in_place: _InPlace = False,
    predict: _Predict = False,
    allow_identity: _AllowIdentity = False,
    replace: _Replace = False,
    gradient_datum: _GradientDatum = "symmetric",
    field: FieldOption = None,
    flux: FluxOption = None,
) -> None:
    """Correct finished exposures; their own CRDS_CTX selects the set.

    SCI and ERR are multiplied by s(x, y), variances by its square, PHOTMJSR and PHOTUJA2 by the
    part of s that is constant over the array. All files are checked before any is written; one
    that has been corrected before is refused.

    Example: calreg apply reduction/*_cal.fits --out corrected/
    """
    from calreg.apply.options import ApplyOptions
    from calreg.domain import Pmap
    from calreg.science.model.gradient import GradientDatum

    if gradient_datum not in set(GradientDatum):
        msg = f"{gradient_datum!r}: expected {' or '.join(GradientDatum)}"
        raise typer.BadParameter(msg, param_hint="--gradient-datum")
    with usage_errors():
        how = ApplyOptions(
            pmap=None if pmap is None else Pmap.parse(pmap),
            field=field,
            flux_kind=flux,
            out=out,
            is_in_place=in_place,
            is_predicted=predict,
            allows_identity=allow_identity,
            replaces=replace,
            gradient_datum=GradientDatum(gradient_datum),
        )
    with open_registry(options) as registry, progress_bar() as progress:
        outcomes = registry.apply(files, how, progress=progress)
    _tell(outcomes, options)


@shared_options
def undo(
    options: GlobalOptions,
    files: Annotated[list[Path], typer.Argument(metavar="FILES", help="Corrected exposures.")],
    *,
    out: _Out = None,
) -> None:
    """Restore exposures as they were before calreg apply, in their place unless told otherwise.

    Headers come back to the letter, pixels to the last digit of single precision. No registry is
    needed; where there is one it remembers.

    Example: calreg undo corrected/*_cal.fits
    """
    from calreg.apply.undo import undo_files
    from calreg.instruments import load_instrument

    with _registry_if_any(options) as registry, progress_bar() as progress:
        if registry is None:
            log("what is restored is not recorded")
            outcomes = undo_files(None, files, load_instrument(), out=out, progress=progress)
        else:
            outcomes = registry.undo(files, out=out, progress=progress)
    _tell(outcomes, options)


def _tell(outcomes: list[CorrectedFile], options: GlobalOptions) -> None:
    """Report what was done."""
    print_rows(outcomes, _OUTCOME_COLUMNS, options.output_format)
    for note, n_files in Counter(one.note for one in outcomes if one.note).items():
        log(f"note: {note} ({n_files} files)")
    left_alone = sorted({name for one in outcomes for name in one.left_alone})
    if left_alone:
        log(f"note: extensions left as they were: {', '.join(left_alone)}")
    counts = Counter(one.action for one in outcomes)
    log(", ".join(f"{n_files} {action}" for action, n_files in counts.items()))


_AFFECTED_COLUMNS = (
    Column("path", "file"),
    Column("kind", "kind"),
    Column("pmap", "pmap"),
    Column("band", "band"),
    Column("array_id", "array"),
    Column("set_id", "set"),
    Column("status", "status"),
    Column("current_set_id", "current set"),
    Column("created_utc", "written"),
    Column("state", "file is"),
)


@shared_options
def affected(
    options: GlobalOptions,
    *,
    pmap: PmapOption = None,
) -> None:
    """List files whose coefficient set has been superseded or withdrawn since.

    Corrected exposures that were not restored, and exported files.

    Example: calreg affected --pmap jwst_1130.pmap
    """
    with open_registry(options, read_only=True) as registry:
        rows = registry.affected(pmap=pmap)
    print_rows(
        rows,
        _AFFECTED_COLUMNS,
        options.output_format,
        empty="no file is affected: all sets that were applied or exported are current",
    )


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

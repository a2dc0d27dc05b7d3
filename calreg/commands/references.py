"""``calreg export photom``, ``flat`` and ``context``: reference files for the JWST pipeline."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calreg.commands.common import (
    AsOfOption,
    FieldOption,
    FluxOption,
    GlobalOptions,
    OutputFormat,
    OverwriteOption,
    RequiredPmap,
    log,
    open_registry,
    shared_options,
    usage_errors,
)
from calreg.commands.exports import tell
from calreg.commands.output import plain, print_json

if TYPE_CHECKING:
    from calreg.export.deliveries import Delivery
    from calreg.export.references import ReferenceReport


def _check_datum(value: str) -> str:
    """Refuse what is no choice of datum."""
    from calreg.science.model.gradient import parse_gradient_datum

    with usage_errors():
        return str(parse_gradient_datum(value))


def _check_name(value: str) -> str:
    """Refuse what looks like an official context."""
    from calreg.files.references.crdsoverlay import check_overlay_name

    with usage_errors():
        return check_overlay_name(value)


OutOption = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Folder to write to; made where needed.")
]
PredictOption = Annotated[
    bool,
    typer.Option(
        "--predict",
        help="Carry what was not measured under this context over from the nearest, by PHOTMJSR.",
    ),
]
DatumOption = Annotated[
    str,
    typer.Option(
        "--gradient-datum",
        metavar="symmetric|B",
        help="How a gradient is shared between modules: half each, or B has none.",
        callback=_check_datum,
    ),
]


NameOption = Annotated[
    str,
    typer.Option(
        "--name",
        metavar="WORD",
        help="Private word in the names of context and files, such as idfcal1.",
        callback=_check_name,
    ),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="PARENT",
        help="Synced CRDS cache to lay it over; it stays as it is [default: $CRDS_PATH].",
        show_default=False,
    ),
]
OverlayOption = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="DIR", help="New folder [default: crds_WORD].", show_default=False
    ),
]
VerifyOption = Annotated[
    bool, typer.Option("--verify", help="Ask CRDS for every array and band which files it takes.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(photom)
    app.command()(flat)
    app.command()(context)


@shared_options
def photom(
    options: GlobalOptions,
    *,
    pmap: RequiredPmap,
    out: OutOption,
    parent: Annotated[
        list[Path] | None,
        typer.Option(
            "--parent",
            metavar="DIR|FILE",
            help="Photom file to copy, or a folder of them; repeat it. [default: from the cache "
            "at $CRDS_PATH, else made from PHOTMJSR of the exposures]",
        ),
    ] = None,
    all_arrays: Annotated[
        bool, typer.Option("--all-arrays", help="Also copies for arrays that are the datum.")
    ] = False,
    predict: PredictOption = False,
    gradient_datum: DatumOption = "symmetric",
    field: FieldOption = None,
    flux: FluxOption = None,
    as_of_utc: AsOfOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write photom reference files: PHOTMJSR times 10^(+0.4 offset), one per corrected array.

    Example: calreg export photom --pmap 1130 --parent jwst_nircam_photom_0153.fits --out refs/
    """
    with open_registry(options) as registry:
        report = registry.export_photom(
            out,
            pmap=pmap,
            parents=parent or (),
            cache=os.environ.get("CRDS_PATH") or None,
            all_arrays=all_arrays,
            predict=predict,
            gradient_datum=gradient_datum,
            field=field,
            flux_kind=flux,
            as_of_utc=as_of_utc,
            overwrite=overwrite,
        )
    _tell(report, options.output_format)


@shared_options
def flat(
    options: GlobalOptions,
    *,
    pmap: RequiredPmap,
    out: OutOption,
    parent: Annotated[
        list[Path] | None,
        typer.Option(
            "--parent",
            metavar="DIR|FILE",
            help="Flat to multiply, or a folder of them; repeat it. Without it: delta flats.",
        ),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(
            "--like",
            metavar="FILE",
            help="Cut delta flats to the subarray of this exposure [default: the whole array].",
            show_default=False,
        ),
    ] = None,
    predict: PredictOption = False,
    gradient_datum: DatumOption = "symmetric",
    field: FieldOption = None,
    flux: FluxOption = None,
    as_of_utc: AsOfOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write flats for gradients, DIVIDED into data: 10^(-0.4 G(x, y)), one per array and band.

    Example: calreg export flat --pmap 1130 --parent jwst_nircam_flat_0612.fits --out refs/
    """
    with open_registry(options) as registry:
        report = registry.export_flat(
            out,
            pmap=pmap,
            parents=parent or (),
            like=like,
            predict=predict,
            gradient_datum=gradient_datum,
            field=field,
            flux_kind=flux,
            as_of_utc=as_of_utc,
            overwrite=overwrite,
        )
    _tell(report, options.output_format)


@shared_options
def context(
    options: GlobalOptions,
    *,
    pmap: RequiredPmap,
    name: NameOption,
    cache: CacheOption = None,
    out: OverlayOption = None,
    verify: VerifyOption = False,
    predict: PredictOption = False,
    gradient_datum: DatumOption = "symmetric",
    field: FieldOption = None,
    flux: FluxOption = None,
    as_of_utc: AsOfOption = None,
) -> None:
    """Make a CRDS cache and context with which the stock pipeline corrects by itself.

    Prints the two lines to set it up. Needs the extra validate.

    Example: calreg export context --pmap 1130 --cache crds_cache/ --name idfcal1 --verify
    """
    parent = str(cache) if cache is not None else os.environ.get("CRDS_PATH")
    if not parent:
        msg = "expected a synced CRDS cache: give --cache, or set CRDS_PATH"
        raise typer.BadParameter(msg, param_hint="--cache")
    with open_registry(options) as registry:
        report = registry.export_context(
            out or Path(f"crds_{name}"),
            pmap=pmap,
            cache=parent,
            name=name,
            predict=predict,
            verify=verify,
            gradient_datum=gradient_datum,
            field=field,
            flux_kind=flux,
            as_of_utc=as_of_utc,
        )
    if options.output_format is OutputFormat.JSON:
        print_json(plain(report))
        return
    _tell_checks(report.deliveries, report.checkers, report.notes)
    if verify:
        log(f"verified: {report.n_verified} answers of CRDS are as they should be")
    typer.echo(f"export CRDS_PATH={shlex.quote(str(report.crds_path))}")
    typer.echo(f"export CRDS_CONTEXT={report.crds_context}")


def _tell(report: ReferenceReport, output_format: OutputFormat) -> None:
    """Say what was written, how it was checked, and what to mind."""
    if output_format is OutputFormat.JSON:
        print_json(plain(report))
        return
    _tell_checks(report.deliveries, report.checkers, report.notes)


def _tell_checks(deliveries: list[Delivery], checkers: list[str], notes: list[str]) -> None:
    """Say it on stderr."""
    tell(deliveries, OutputFormat.TABLE)
    log(f"checked by {', '.join(['calreg', *checkers])}")
    if not checkers:
        log("stdatamodels and crds are not installed (extra validate): they did not check")
    for note in notes:
        log(f"note: {note}")

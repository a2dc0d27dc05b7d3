"""``calreg export``: tables for other programs, reference files for the JWST pipeline."""

from __future__ import annotations

import inspect
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from calreg.commands.output import plain, print_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from calreg.export.context import ContextReport
    from calreg.export.deliveries import Delivery
    from calreg.export.references import ReferenceReport

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Write corrections for reductions, and the tables.",
)


def register(main: typer.Typer) -> None:
    """Add the commands of this module."""
    main.add_typer(app, name="export")


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


LeaveOutOption = Annotated[
    bool,
    typer.Option(
        "--leave-out",
        help="Leave out arrays whose sets were withdrawn or are not accepted, instead of failing.",
    ),
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
OutOption = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Folder to write to; made where needed.")
]

# What the exports share, by the keyword that the registry takes it as.
_SETS = {
    "field": (FieldOption, None),
    "flux_kind": (FluxOption, None),
    "as_of_utc": (AsOfOption, None),
}
_OVERWRITE = {"overwrite": (OverwriteOption, False)}
_TABLE = _SETS | {"leave_out": (LeaveOutOption, False)} | _OVERWRITE
_CORRECTIONS = {
    "predict": (PredictOption, False),
    "gradient_datum": (DatumOption, "symmetric"),
} | _SETS


def _taking(
    shared: Mapping[str, tuple[Any, object]],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command shared options in place of its ``**given``, to be handed on as they are."""

    def give(function: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(function, eval_str=True)
        own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
        added = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=kind)
            for name, (kind, value) in shared.items()
        ]
        function.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*own, *added]
        )
        return function

    return give


@app.command()
@shared_options
@_taking(_TABLE)
def recipe(
    options: GlobalOptions,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="ECSV file to write.")],
    *,
    pmap: RequiredPmap,
    **given: Any,
) -> None:
    """Write the published table's columns: a positive dmag brightens the array.

    Example: calreg export recipe idf_1130.ecsv --pmap jwst_1130.pmap
    """
    with open_registry(options) as registry:
        delivery = registry.export_recipe(file, pmap=pmap, **given)
    _tell([delivery], options.output_format)


@app.command()
@shared_options
@_taking(_TABLE)
def grizli(
    options: GlobalOptions,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML file to write.")],
    *,
    pmap: RequiredPmap,
    **given: Any,
) -> None:
    """Write grizli's table: images are DIVIDED by its values.

    Example: calreg export grizli idf_1130.yml --pmap jwst_1130.pmap
    """
    with open_registry(options) as registry:
        delivery = registry.export_grizli(file, pmap=pmap, **given)
    _tell([delivery], options.output_format)


@app.command()
@shared_options
def parquet(
    options: GlobalOptions,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to.")],
    *,
    overwrite: OverwriteOption = False,
) -> None:
    """Write every table of the registry as Parquet, one file each.

    Example: calreg export parquet registry_tables/
    """
    with open_registry(options) as registry:
        deliveries = registry.export_parquet(directory, overwrite=overwrite)
    _tell(deliveries, options.output_format)


@app.command()
@shared_options
@_taking(_CORRECTIONS | _OVERWRITE)
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
    **given: Any,
) -> None:
    """Write photom reference files: PHOTMJSR times 10^(+0.4 offset), one per corrected array.

    Example: calreg export photom --pmap 1130 --parent jwst_nircam_photom_0153.fits --out refs/
    """
    cache = os.environ.get("CRDS_PATH") or None
    with open_registry(options) as registry:
        report = registry.export_photom(
            out, pmap=pmap, parents=parent or (), cache=cache, all_arrays=all_arrays, **given
        )
    _tell_checked(report, options.output_format)


@app.command()
@shared_options
@_taking(_CORRECTIONS | _OVERWRITE)
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
    **given: Any,
) -> None:
    """Write flats for gradients, DIVIDED into data: 10^(-0.4 G(x, y)), one per array and band.

    Example: calreg export flat --pmap 1130 --parent jwst_nircam_flat_0612.fits --out refs/
    """
    with open_registry(options) as registry:
        report = registry.export_flat(out, pmap=pmap, parents=parent or (), like=like, **given)
    _tell_checked(report, options.output_format)


@app.command()
@shared_options
@_taking(_CORRECTIONS)
def context(
    options: GlobalOptions,
    *,
    pmap: RequiredPmap,
    name: Annotated[
        str,
        typer.Option(
            "--name",
            metavar="WORD",
            help="Private word in the names of context and files, such as idfcal1.",
            callback=_check_name,
        ),
    ],
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache",
            metavar="PARENT",
            help="Synced CRDS cache to lay it over; it stays as it is [default: $CRDS_PATH].",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="New folder [default: crds_WORD].", show_default=False
        ),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Ask CRDS for every array and band which files it takes."),
    ] = False,
    **given: Any,
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
            out or Path(f"crds_{name}"), pmap=pmap, cache=parent, name=name, verify=verify, **given
        )
    if options.output_format is OutputFormat.JSON:
        print_json(plain(report))
        return
    _tell_checked(report, options.output_format)
    if verify:
        log(f"verified: {report.n_verified} answers of CRDS are as they should be")
    typer.echo(f"export CRDS_PATH={shlex.quote(str(report.crds_path))}")
    typer.echo(f"export CRDS_CONTEXT={report.crds_context}")


def _tell(deliveries: list[Delivery], output_format: OutputFormat) -> None:
    """Report what was written."""
    if output_format is OutputFormat.JSON:
        print_json(plain(deliveries))
        return
    for delivery in deliveries:
        for reason in delivery.left_out:
            log(f"left out: {reason}")
        log(
            f"wrote {delivery.path} ({delivery.n_sets} sets, sha256 {delivery.file_sha256[:16]}...)"
        )


def _tell_checked(report: ReferenceReport | ContextReport, output_format: OutputFormat) -> None:
    """Report what was written, how it was checked, and what to mind."""
    if output_format is OutputFormat.JSON:
        print_json(plain(report))
        return
    _tell(report.deliveries, output_format)
    log(f"checked by {', '.join(['calreg', *report.checkers])}")
    if not report.checkers:
        log("stdatamodels and crds are not installed (extra validate): they did not check")
    for note in report.notes:
        log(f"note: {note}")

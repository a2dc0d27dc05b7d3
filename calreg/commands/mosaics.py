"""``calreg mosaic``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calreg.commands.common import (
    GlobalOptions,
    check_pmap,
    log,
    open_registry,
    progress_bar,
    shared_options,
    usage_errors,
)
from calreg.commands.output import Column, print_rows

if TYPE_CHECKING:
    from calreg.pixels.mosaic.mosaic import MosaicReport

_COLUMNS = (
    Column("file", "file"),
    Column("field", "field"),
    Column("epoch", "epoch"),
    Column("array", "array"),
    Column("band", "band"),
    Column("pmap", "pmap"),
    Column("n_members", "exposures", "d"),
    Column("exposure_time_s", "time [s]", ".0f"),
    Column("coverage_arcmin2", "coverage [arcmin2]", ".3f"),
    Column("median_noise", "noise [MJy/sr]", ".5f"),
    Column("noise_correlation", "correlation", ".2f"),
    Column("background", "background [MJy/sr]", ".4f"),
    Column("status", "status"),
)

_Paths = Annotated[
    list[Path], typer.Argument(metavar="CAL", help="cal or crf files, and folders of them.")
]
_Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the mosaics.")]
_Scale = Annotated[float, typer.Option("--scale", help="Side of a pixel [arcsec].")]
_PixFrac = Annotated[
    float, typer.Option("--pixfrac", help="Side of the drops, in input pixels: above 0, up to 1.")
]
_Kernel = Annotated[
    str, typer.Option("--kernel", metavar="square|turbo|point", help="Kernel of drizzle.")
]
_Background = Annotated[
    bool,
    typer.Option(
        "--background/--no-background",
        help="Subtract the background in blocks of 128 x 128 pixels, sources masked, and the "
        "median level of short-wavelength exposures.",
    ),
]
_Stripes = Annotated[
    bool, typer.Option("--stripes", help="Subtract row and column medians per amplifier (1/f).")
]
_ForceContext = Annotated[
    str | None,
    typer.Option(
        "--force-context",
        metavar="PMAP",
        help="Rescale all exposures to this context, by the ratio of PHOTMJSR.",
        callback=check_pmap,
    ),
]
_FieldName = Annotated[
    str | None,
    typer.Option(
        "--field", metavar="NAME", help="Field of new exposures, instead of the one found."
    ),
]
_EpochName = Annotated[
    str | None,
    typer.Option(
        "--epoch", metavar="NAME", help="Epoch of new exposures, instead of the one found."
    ),
]
_Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files of other content.")]
_NoStore = Annotated[
    bool, typer.Option("--no-store", help="Write files only, nothing into the registry.")
]
_Jobs = Annotated[int, typer.Option("--jobs", metavar="N", help="How many mosaics at a time.")]


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(mosaic)


@shared_options
def mosaic(
    options: GlobalOptions,
    paths: _Paths,
    *,
    out: _Out = Path(),
    scale: _Scale = 0.06,
    pixfrac: _PixFrac = 1.0,
    kernel: _Kernel = "square",
    background: _Background = True,
    stripes: _Stripes = False,
    force_context: _ForceContext = None,
    field: _FieldName = None,
    epoch: _EpochName = None,
    overwrite: _Overwrite = False,
    no_store: _NoStore = False,
    jobs: _Jobs = 1,
) -> None:
    """Drizzle exposures into one mosaic per epoch, band and array.

    All mosaics of a field in one band share one pixel grid. Exposures and mosaics enter the
    registry; if any exposure is refused, nothing is written (exit status 1).

    Example: calreg mosaic epoch1/*_cal.fits --out mosaics --jobs 2
    """
    from calreg.domain import Pmap
    from calreg.errors import RefusedFilesError
    from calreg.pixels.mosaic.plan import MosaicOptions

    with usage_errors():
        mosaic_options = MosaicOptions(
            out=out,
            scale_arcsec=scale,
            pixfrac=pixfrac,
            kernel=kernel,
            background=background,
            stripes=stripes,
            force_pmap=None if force_context is None else Pmap.parse(force_context),
            field_name=field,
            epoch_label=epoch,
            overwrite=overwrite,
            is_stored=not no_store,
            n_jobs=jobs,
        )
    try:
        with open_registry(options) as registry, progress_bar() as progress:
            report = registry.mosaic(paths, mosaic_options, progress=progress)
    except RefusedFilesError as error:
        for reason in error.reasons:
            log(f"refused: {reason}")
        log("nothing was made: leave the refused files out, or mend them")
        raise typer.Exit(1) from None
    _tell(report)
    print_rows(report.rows, _COLUMNS, options.output_format)


def _tell(report: MosaicReport) -> None:
    """Report what was made."""
    for warning in report.warnings:
        log(f"warning: {warning}")
    n_made = sum(row.status == "made" for row in report.rows)
    n_unchanged = len(report.rows) - n_made
    words = [f"made {n_made} mosaics; {n_unchanged} unchanged (same exposures and settings)"]
    if report.skipped:
        words.append(f"{len(report.skipped)} passed over (neither cal nor crf)")
    if report.is_stored:
        words.append(f"{report.n_exposures_loaded} exposures new to the registry")
    else:
        words.append("the registry was left as it is")
    log("; ".join(words))

"""``calreg measure``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calreg.commands.common import (
    GlobalOptions,
    NewEpochOption,
    NewFieldOption,
    OverwriteOption,
    log,
    open_registry,
    progress_bar,
    shared_options,
    usage_errors,
)
from calreg.commands.output import Column, print_rows

if TYPE_CHECKING:
    from calreg.pixels.measure.measure import MeasureReport
    from calreg.science.imaging.alignment import AlignKind
    from calreg.science.photometry.settings import DetectionSettings

_COLUMNS = (
    Column("file", "mosaic"),
    Column("epoch", "epoch"),
    Column("band", "band"),
    Column("array", "array"),
    Column("state", "state"),
    Column("n_sources", "sources", "d"),
    Column("n_compact", "compact", "d"),
    Column("n_flagged", "flagged", "d"),
    Column("depth_mag", "depth [mag AB]", ".2f"),
    Column("median_snr", "median S/N", ".1f"),
    Column("version", "version", "d", is_optional=True),
    Column("detected_on", "detected on"),
    Column("outside_percent", "outside [%]", ".1f"),
    Column("align", "aligned", is_optional=True),
    Column("out", "written", is_optional=True),
)

_Detect = Annotated[
    str | None,
    typer.Option(
        "--detect",
        metavar="FILE|stack",
        help="Image to detect sources on, or the mean of the mosaics of each patch "
        "[default: the field's first epoch].",
        show_default=False,
    ),
]
_Reproject = Annotated[
    bool,
    typer.Option(
        "--reproject",
        help="Bring mosaics on other pixels to those of the detection image (extra reproject).",
    ),
]
_Align = Annotated[
    str,
    typer.Option(
        "--align",
        metavar="none|shift|linear",
        help="Fit each mosaic to its detection image by stars, and move it before it is measured.",
    ),
]
_Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="Write the catalog too: .ecsv, .fits or .parquet; {} stands for the mosaic's name.",
    ),
]
_NoStore = Annotated[
    bool, typer.Option("--no-store", help="Only write --out; leave the registry as it is.")
]
_Replace = Annotated[
    bool,
    typer.Option(
        "--replace", help="Enter other numbers of a known mosaic, as the next version of them."
    ),
]
_NoWeights = Annotated[
    bool,
    typer.Option(
        "--no-weights",
        help="Take errors from the noise of each image's background, not from ERR, VAR or WHT.",
    ),
]
_Gain = Annotated[
    float | None,
    typer.Option(
        "--gain",
        help="Electrons per MJy/sr, for Poisson noise where there is no ERR or VAR (GAIN).",
    ),
]
_Jobs = Annotated[
    int, typer.Option("--jobs", metavar="N", help="Patches that are measured at a time.")
]
_Threshold = Annotated[
    float, typer.Option("--threshold", help="Of a source's pixels, in sigma (DETECT_THRESH).")
]
_MinArea = Annotated[
    int, typer.Option("--min-area", help="Fewest pixels of a source (DETECT_MINAREA).")
]
_Deblend = Annotated[
    str,
    typer.Option(
        "--deblend",
        metavar="LEVELS,CONTRAST",
        help="How blended sources are split (DEBLEND_NTHRESH, DEBLEND_MINCONT); contrast 1: not.",
    ),
]
_Clean = Annotated[
    float, typer.Option("--clean", help="Cleaning of spurious ones, 0 for none (CLEAN_PARAM).")
]
_Background = Annotated[
    str,
    typer.Option(
        "--background",
        metavar="BOX,BOXES",
        help="Side of the background's boxes [pixel], and how many of them its filter spans "
        "(BACK_SIZE, BACK_FILTERSIZE).",
    ),
]
_Aperture = Annotated[
    float, typer.Option("--aperture", help="Radius of the fixed aperture [arcsec].")
]
_Kron = Annotated[
    str,
    typer.Option(
        "--kron",
        metavar="FACTOR,LEAST",
        help="Kron radii of AUTO, and its least radius (PHOT_AUTOPARAMS).",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(measure)


@shared_options
def measure(
    options: GlobalOptions,
    mosaics: Annotated[
        list[Path], typer.Argument(metavar="MOSAIC", help="Mosaics of one array each, any mix.")
    ],
    *,
    detect: _Detect = None,
    reproject: _Reproject = False,
    align: _Align = "none",
    out: _Out = None,
    overwrite: OverwriteOption = False,
    no_store: _NoStore = False,
    replace: _Replace = False,
    no_weights: _NoWeights = False,
    gain: _Gain = None,
    jobs: _Jobs = 1,
    field: NewFieldOption = None,
    epoch: NewEpochOption = None,
    threshold: _Threshold = 1.5,
    min_area: _MinArea = 5,
    deblend: _Deblend = "32,0.005",
    clean: _Clean = 1.0,
    background: _Background = "64,3",
    aperture: _Aperture = 0.3,
    kron: _Kron = "2.5,3.5",
) -> None:
    """Measure mosaics inside matched isophotes, as SExtractor does in dual-image mode.

    Sources are detected on the field's first epoch. ISO, AUTO and fixed-aperture fluxes enter the
    registry as catalogs. The same image with the same settings is not measured twice.

    Example: calreg measure epoch1/*_i2d.fits epoch2/*_i2d.fits --jobs 2
    """
    from calreg.pixels.measure.options import MeasureOptions

    with usage_errors():
        settings = _settings(threshold, min_area, deblend, clean, background, aperture, kron)
        measure_options = MeasureOptions(
            settings=settings,
            detect=detect,
            is_reprojected=reproject,
            align=_align_kind(align),
            has_weights=not no_weights,
            gain=gain,
            field_name=field,
            epoch_label=epoch,
            out=out,
            overwrites=overwrite,
            stores=not no_store,
            replaces=replace,
            n_processes=jobs,
        )
    with open_registry(options) as registry, progress_bar() as progress:
        report = registry.measure(mosaics, measure_options, progress=progress)
    _tell(report)
    print_rows(report.rows, _COLUMNS, options.output_format)


def _settings(
    threshold: float,
    min_area: int,
    deblend: str,
    clean: float,
    background: str,
    aperture: float,
    kron: str,
) -> DetectionSettings:
    """Read the settings of detection and photometry."""
    from calreg.science.photometry.settings import DetectionSettings

    levels, contrast = _pair("--deblend", deblend)
    box, boxes = _pair("--background", background)
    factor, least = _pair("--kron", kron)
    return DetectionSettings(
        threshold_sigma=threshold,
        min_area_pixels=min_area,
        deblend_levels=_whole("--deblend", levels),
        deblend_contrast=contrast,
        clean=clean,
        background_box_pixels=_whole("--background", box),
        background_filter_boxes=_whole("--background", boxes),
        aperture_radius_arcsec=aperture,
        kron_factor=factor,
        kron_min_radius=least,
    )


def _pair(option: str, text: str) -> tuple[float, float]:
    """Read two numbers with a comma between them."""
    try:
        first, second = (float(part) for part in text.split(","))
    except ValueError:
        msg = f"{text!r}: expected two numbers with a comma between them"
        raise typer.BadParameter(msg, param_hint=option) from None
    return first, second


def _whole(option: str, number: float) -> int:
    """Return a whole number."""
    if not number.is_integer():
        msg = f"{number:g}: expected a whole number"
        raise typer.BadParameter(msg, param_hint=option)
    return int(number)


def _align_kind(text: str) -> AlignKind | None:
    """Read ``--align``."""
    from calreg.science.imaging.alignment import AlignKind

    if text not in ("none", *AlignKind):
        msg = f"{text!r}: expected none, {' or '.join(AlignKind)}"
        raise typer.BadParameter(msg, param_hint="--align")
    return None if text == "none" else AlignKind(text)


def _tell(report: MeasureReport) -> None:
    """Report what was measured."""
    for warning in report.warnings:
        log(f"warning: {warning}")
    n_known = sum(row.state == "known" for row in report.rows)
    n_measured = len(report.rows) - n_known
    stored = "" if report.is_committed else ", nothing stored"
    n_sources = sum(row.n_sources or 0 for row in report.rows)
    words = [f"measured {n_measured} mosaics ({n_sources} sources){stored}"]
    if n_known:
        words.append(f"{n_known} known with the same settings, not measured again")
    log("; ".join(words))

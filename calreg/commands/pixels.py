"""``calreg astrometry`` and ``calreg difference``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calreg.commands.common import (
    BandOption,
    FieldOption,
    FluxOption,
    GlobalOptions,
    MaxSepOption,
    OverwriteOption,
    PmapOption,
    log,
    open_registry,
    progress_bar,
    shared_options,
    usage_errors,
)
from calreg.commands.exports import DatumOption
from calreg.commands.output import Column, print_rows


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(astrometry)
    app.command()(difference)


_MagLimit = Annotated[
    float, typer.Option("--mag-limit", help="Faintest magnitude in either epoch [mag AB].")
]
_IsCompact = Annotated[
    bool | None,
    typer.Option(
        "--compact/--all",
        help="Only sources known to be compact, or extended ones too. "
        "[default: leave out those known to be extended]",
        show_default=False,
    ),
]
_Plot = Annotated[
    Path | None,
    typer.Option(
        "--plot", metavar="FILE", help="Draw the offsets too: PNG, PDF or SVG by its name."
    ),
]
_ASTROMETRY_COLUMNS = [
    Column("field", "field"),
    Column("pmap", "pmap"),
    Column("band", "band"),
    Column("epoch_i", "earlier"),
    Column("epoch_j", "later"),
    Column("n_sources", "sources", "d"),
    Column("ra_median_mas", "dRA cosDec [mas]", "+.2f"),
    Column("ra_mad_mas", "MAD", ".2f"),
    Column("dec_median_mas", "dDec [mas]", "+.2f"),
    Column("dec_mad_mas", "MAD", ".2f"),
    Column("aligned", "aligned", is_optional=True),
]


@shared_options
def astrometry(
    options: GlobalOptions,
    *,
    pmap: PmapOption = None,
    band: BandOption = None,
    field: FieldOption = None,
    mag_limit: _MagLimit = 22.0,
    is_compact: _IsCompact = None,
    max_sep: MaxSepOption = 0.1,
    plot: _Plot = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Show position offsets between epochs (paper: Table 1, Figure 3).

    Later - earlier, of bright, compact, unsaturated sources; above 5 mas there is a warning.

    Example: calreg astrometry --pmap jwst_1130.pmap --plot offsets.png
    """
    from calreg.science.model.settings import FitSettings

    with usage_errors():
        FitSettings.parse(mag_limit=mag_limit, max_sep_arcsec=max_sep)
        if plot is not None:
            from calreg.plots.style import require_format

            require_format(plot)
    sizes = {None: "not extended", True: "compact", False: "all"}[is_compact]
    with open_registry(options, read_only=True) as registry:
        report = registry.astrometry(
            pmap=pmap,
            band=band,
            field=field,
            mag_limit=mag_limit,
            sizes=sizes,
            max_sep_arcsec=max_sep,
        )
        if plot is not None and report.rows:
            registry.plot_astrometry(report, plot, overwrite=overwrite)
            log(f"wrote {plot}")
    for note in report.notes:
        log(f"note: {note}")
    for warning in report.warnings:
        log(f"warning: {warning}")
    print_rows(
        report.rows,
        _ASTROMETRY_COLUMNS,
        options.output_format,
        empty="no position offsets answer to that: they are there after calreg refit, "
        "for two epochs with equal or opposite rolls",
    )
    if not report.rows:
        raise typer.Exit(1)


_DIFFERENCE_COLUMNS = [
    Column("field", "field"),
    Column("pmap", "pmap"),
    Column("band", "band"),
    Column("half", "seen by"),
    Column("array_a", "array A", is_optional=True),
    Column("array_b", "array B", is_optional=True),
    Column("pa_deg", "PA [deg]", ".0f"),
    Column("n_sources", "sources", "d"),
    Column("before_median", "before", "+.4f"),
    Column("before_err", "error", ".4f"),
    Column("after_median", "after", "+.4f", is_optional=True),
    Column("after_err", "error", ".4f", is_optional=True),
]
_EpochA = Annotated[str, typer.Argument(metavar="EPOCH_A", help="Epoch that is subtracted.")]
_EpochB = Annotated[str, typer.Argument(metavar="EPOCH_B", help="Epoch that it is taken from.")]
_Out = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Folder to write to; made where needed.")
]
_CalVer = Annotated[
    str | None,
    typer.Option("--cal-ver", metavar="VERSION", help="Only this reduction, by CAL_VER."),
]
_NoCorrection = Annotated[
    bool, typer.Option("--no-correction", help="The difference as it is, and nothing after it.")
]
_Reproject = Annotated[
    bool,
    typer.Option(
        "--reproject", help="Bring mosaics of other pixels onto the first one's (reproject)."
    ),
]
_Snr = Annotated[float, typer.Option("--snr", help="Smallest S/N of a source in both epochs.")]


@shared_options
def difference(
    options: GlobalOptions,
    epoch_a: _EpochA,
    epoch_b: _EpochB,
    *,
    out: _Out,
    band: BandOption = None,
    pmap: PmapOption = None,
    field: FieldOption = None,
    flux: FluxOption = None,
    cal_ver: _CalVer = None,
    gradient_datum: DatumOption = "symmetric",
    no_correction: _NoCorrection = False,
    reproject: _Reproject = False,
    snr: _Snr = 100.0,
    overwrite: OverwriteOption = False,
) -> None:
    """Subtract mosaics of two epochs, before and after the correction (paper: Figures 2, 7).

    EPOCH_B minus EPOCH_A, per band, as FITS and PNG. Answers with the median fractional residual
    of bright sources in either half of the field, 2 (f_B - f_A) / (f_B + f_A): positive where
    EPOCH_A is under-subtracted, negative where it is over-subtracted.

    Example: calreg difference 2022-07-08 2023-01-06 --band F444W --out differences/
    """
    from calreg.domain import Pmap
    from calreg.pixels.difference.plan import DifferenceOptions
    from calreg.science.model.gradient import GradientDatum

    with usage_errors():
        wanted = DifferenceOptions(
            epoch_a=epoch_a,
            epoch_b=epoch_b,
            out=out,
            band=band,
            field=field,
            pmap=None if pmap is None else Pmap.parse(pmap),
            flux_kind=flux,
            cal_ver=cal_ver,
            gradient_datum=GradientDatum(gradient_datum),
            is_corrected=not no_correction,
            is_reprojected=reproject,
            min_snr=snr,
            overwrite=overwrite,
        )
    with open_registry(options, read_only=True) as registry, progress_bar() as progress:
        report = registry.difference(wanted, progress=progress)
    for file in report.files:
        log(f"wrote {file}")
    for warning in report.warnings:
        log(f"warning: {warning}")
    print_rows(report.rows, _DIFFERENCE_COLUMNS, options.output_format)

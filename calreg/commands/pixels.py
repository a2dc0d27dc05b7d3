"""``calreg astrometry`` and ``calreg difference``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calreg.commands.common import (
    BandOption,
    Db,
    FieldOption,
    Format,
    MaxSepOption,
    OverwriteOption,
    PmapOption,
    log,
    open_registry,
    options_of,
    usage_errors,
)
from calreg.commands.output import Column, print_rows


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(astrometry)


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


def astrometry(
    context: typer.Context,
    *,
    pmap: PmapOption = None,
    band: BandOption = None,
    field: FieldOption = None,
    mag_limit: _MagLimit = 22.0,
    is_compact: _IsCompact = None,
    max_sep: MaxSepOption = 0.1,
    plot: _Plot = None,
    overwrite: OverwriteOption = False,
    db: Db = None,
    output_format: Format = None,
) -> None:
    """Show position offsets between epochs (paper: Table 1, Figure 3).

    Later - earlier, of bright, compact, unsaturated sources; above 5 mas there is a warning.

    Example: calreg astrometry --pmap jwst_1130.pmap --plot offsets.png
    """
    from calreg.science.settings import FitSettings

    options = options_of(context, db, output_format)
    with usage_errors():
        FitSettings.parse(mag_limit=mag_limit, max_sep_arcsec=max_sep)
        if plot is not None:
            from calreg.report.style import require_format

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

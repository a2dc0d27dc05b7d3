"""The questions: offsets and coefficients."""

from __future__ import annotations

from typing import Annotated

import typer

from calreg.commands.common import (
    ArrayOption,
    AsOfOption,
    BandOption,
    Db,
    FieldOption,
    Format,
    MagLimitOption,
    MaxSepOption,
    PmapOption,
    SnrOption,
    open_registry,
    options_of,
    parse_time,
    usage_errors,
)
from calreg.commands.output import Column, print_rows


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(offsets)
    app.command()(coefficients)


_OFFSET_COLUMNS = [
    Column("field", "field"),
    Column("pmap", "pmap"),
    Column("band", "band"),
    Column("array_id", "array"),
    Column("flux_kind", "flux", is_distinguishing=True),
    Column("epoch_i", "earlier"),
    Column("epoch_j", "later"),
    Column("array_i", "seen 1st by"),
    Column("array_j", "2nd by"),
    Column("n_raw_i", "exp. 1st", "d"),
    Column("n_raw_j", "exp. 2nd", "d"),
    Column("n", "sources", "d"),
    Column("median_mag", "median [mag]", "+.4f"),
    Column("mad_mag", "MAD", ".4f"),
    Column("offset_ab_mag", "offset A-B [mag]", "+.4f"),
    Column("offset_ab_err_mag", "error", ".4f"),
    Column("time_mag", "time [mag]", "+.4f"),
    Column("time_err_mag", "error", ".4f"),
]


def offsets(
    context: typer.Context,
    *,
    pmap: PmapOption = None,
    band: BandOption = None,
    array: ArrayOption = None,
    field: FieldOption = None,
    mag_limit: MagLimitOption = 22.0,
    snr: SnrOption = 100.0,
    max_sep: MaxSepOption = 0.1,
    db: Db = None,
    output_format: Format = None,
) -> None:
    """Show medians per patch and what they say.

    Offsets and time terms are those of the paper, Eq. 7 and 8.

    offset A-B > 0: module A reads too faint.

    Example: calreg offsets --pmap jwst_1130.pmap --band F356W
    """
    from calreg.science.model.settings import FitSettings

    options = options_of(context, db, output_format)
    with usage_errors():
        settings = FitSettings.parse(mag_limit=mag_limit, snr=snr, max_sep_arcsec=max_sep)
    with open_registry(options, read_only=True) as registry:
        rows = registry.offsets(
            pmap=pmap, band=band, array_id=array, field=field, settings=settings
        )
    print_rows(
        rows,
        _OFFSET_COLUMNS,
        options.output_format,
        empty="no patch answers to that: they are there after calreg refit, "
        "for two epochs with equal or opposite rolls",
    )


_COEFFICIENT_COLUMNS = [
    Column("field", "field"),
    Column("pmap", "pmap"),
    Column("band", "band"),
    Column("array_id", "array"),
    Column("flux_kind", "flux", is_distinguishing=True),
    Column("offset_ab_mag", "offset A-B [mag]", "+.5f"),
    Column("offset_ab_err_mag", "error", ".5f"),
    Column("slope_mag_arcmin", "slope [mag/arcmin]", "+.5f", is_fixed_at_zero=True),
    Column("slope_err_mag_arcmin", "error", ".5f", is_fixed_at_zero=True),
    Column("corr_offset_slope", "corr", "+.2f", is_optional=True),
    Column("pivot_arcmin", "pivot [arcmin]", ".2f", is_optional=True),
    Column("offset_pivot_mag", "offset there", "+.5f", is_optional=True),
    Column("offset_pivot_err_mag", "error", ".5f", is_optional=True),
    Column("time_mag", "time [mag]", "+.5f", is_fixed_at_zero=True, is_optional=True),
    Column("time_err_mag", "error", ".5f", is_fixed_at_zero=True, is_optional=True),
    Column("floor_mag", "floor [mag]", ".4f"),
    Column("n_pairs", "pairs", "d"),
    Column("n_clipped", "variable", "d"),
    Column("version", "version", "d"),
    Column("status", "status"),
    Column("accepted_for", "accepted for", is_optional=True),
    Column("withdrawal_reason", "withdrawn because", is_optional=True),
]


def coefficients(
    context: typer.Context,
    *,
    pmap: PmapOption = None,
    band: BandOption = None,
    array: ArrayOption = None,
    field: FieldOption = None,
    as_of: AsOfOption = None,
    all_versions: Annotated[
        bool,
        typer.Option(
            "--all-versions", help="Show superseded and withdrawn versions and candidates too."
        ),
    ] = False,
    db: Db = None,
    output_format: Format = None,
) -> None:
    """Show fitted offsets and gradients (paper: Table 3).

    offset A-B > 0: module A reads too faint.

    Example: calreg coefficients --pmap jwst_1130.pmap --format json
    """
    options = options_of(context, db, output_format)
    as_of_utc = parse_time(as_of)
    with open_registry(options, read_only=True) as registry:
        rows = registry.coefficients(
            pmap=pmap,
            band=band,
            array_id=array,
            field=field,
            as_of_utc=as_of_utc,
            all_versions=all_versions,
        )
    print_rows(
        rows,
        _COEFFICIENT_COLUMNS,
        options.output_format,
        empty="no coefficient set answers to that: calreg coefficients --all-versions lists all, "
        "withdrawn ones too; calreg refit makes them",
    )
    if not rows:
        raise typer.Exit(1)

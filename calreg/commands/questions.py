"""``calreg offsets``, ``coefficients`` and ``history``: the questions."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated

import typer

from calreg.commands.common import (
    ArrayOption,
    AsOfOption,
    BandOption,
    FieldOption,
    GlobalOptions,
    MagLimitOption,
    MaxSepOption,
    OutputFormat,
    OverwriteOption,
    PmapOption,
    SnrOption,
    check_array_id,
    check_band,
    log,
    open_registry,
    pmap_option,
    shared_options,
    usage_errors,
)
from calreg.commands.output import Column, Notes, print_rows

if TYPE_CHECKING:
    from calreg.contexts.history import ExternalOffset, HistoryRow


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(offsets)
    app.command()(coefficients)
    app.command()(history)


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


@shared_options
def offsets(
    options: GlobalOptions,
    *,
    pmap: PmapOption = None,
    band: BandOption = None,
    array: ArrayOption = None,
    field: FieldOption = None,
    mag_limit: MagLimitOption = 22.0,
    snr: SnrOption = 100.0,
    max_sep: MaxSepOption = 0.1,
) -> None:
    """Show medians per patch and what they say.

    Offsets and time terms are those of the paper, Eq. 7 and 8.

    offset A-B > 0: module A reads too faint.

    Example: calreg offsets --pmap jwst_1130.pmap --band F356W
    """
    from calreg.science.model.settings import FitSettings

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


@shared_options
def coefficients(
    options: GlobalOptions,
    *,
    pmap: PmapOption = None,
    band: BandOption = None,
    array: ArrayOption = None,
    field: FieldOption = None,
    as_of_utc: AsOfOption = None,
    all_versions: Annotated[
        bool,
        typer.Option(
            "--all-versions", help="Show superseded and withdrawn versions and candidates too."
        ),
    ] = False,
) -> None:
    """Show fitted offsets and gradients (paper: Table 3).

    offset A-B > 0: module A reads too faint.

    Example: calreg coefficients --pmap jwst_1130.pmap --format json
    """
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


_HISTORY_COLUMNS = [
    Column("pmap", "pmap"),
    Column("flux_kind", "flux", is_distinguishing=True),
    Column("offset_ab_mag", "offset A-B [mag]", "+.5f"),
    Column("offset_ab_err_mag", "error", ".5f"),
    Column("slope_mag_arcmin", "slope [mag/arcmin]", "+.5f", is_fixed_at_zero=True),
    Column("slope_err_mag_arcmin", "error", ".5f", is_fixed_at_zero=True),
    Column("photmjsr_a", "PHOTMJSR A", ".5f"),
    Column("photmjsr_b", "PHOTMJSR B", ".5f"),
    Column("change_mag", "change [mag]", "+.5f"),
    Column("change_err_mag", "error", ".5f"),
    Column("change_sigma", "sigma", "+.1f"),
    Column("predicted_offset_ab_mag", "predicted [mag]", "+.5f", is_optional=True),
    Column("predicted_err_mag", "error", ".5f", is_optional=True),
    Column("predicted_from", "from", is_optional=True),
    Column("residual_sigma", "sigma off", "+.1f", is_optional=True),
    Column("changed", "other files", is_optional=True),
    Column("unknown", "not known", is_optional=True),
    Column("external_text", "external [mag]", is_optional=True),
    Column("field", "field"),
    Column("marks", "notes", is_optional=True),
]


_Band = Annotated[
    str,
    typer.Option("--band", metavar="BAND", help="Band, such as F356W.", callback=check_band),
]
_Array = Annotated[
    str,
    typer.Option(
        "--array",
        metavar="ID",
        help="Array id, shared by A and B: 1, 2, 3, 4 or long.",
        callback=check_array_id,
    ),
]
_From = Annotated[str | None, pmap_option("--from", "First context, such as 1039.")]
_To = Annotated[str | None, pmap_option("--to", "Last context, itself included.")]
_Plot = Annotated[
    Path | None,
    typer.Option("--plot", metavar="FILE", help="Draw it too: PNG, PDF or SVG, by the ending."),
]


@shared_options
def history(
    options: GlobalOptions,
    *,
    band: _Band,
    array: _Array,
    pmap_from: _From = None,
    pmap_to: _To = None,
    field: FieldOption = None,
    plot: _Plot = None,
    overwrite: OverwriteOption = False,
    as_of_utc: AsOfOption = None,
) -> None:
    """Show how an offset moved across contexts, and why.

    Beside what was measured stand PHOTMJSR of both arrays, what other contexts predict, which
    reference files changed since the line above, and the offsets of others.

    Example: calreg history --band F356W --array long --plot f356w.png
    """
    with open_registry(options, read_only=True) as registry:
        rows = registry.history(
            band, array, pmap_from=pmap_from, pmap_to=pmap_to, field=field, as_of_utc=as_of_utc
        )
    if plot is not None and rows:
        from calreg.plots.history import plot_history

        plot_history(rows, plot, overwrite=overwrite)
    notes = Notes()
    is_table = options.output_format is OutputFormat.TABLE
    print_rows(
        [_shown(row, notes) for row in rows] if is_table else rows,
        _HISTORY_COLUMNS,
        options.output_format,
        title=f"{band.upper()} array {array.lower()}",
        empty=f"nothing is known of {band.upper()} array {array.lower()}",
    )
    if is_table:
        notes.print()
    if plot is not None and rows:
        log(f"wrote {plot}")
    if not rows:
        raise typer.Exit(1)


def _shown(row: HistoryRow, notes: Notes) -> SimpleNamespace:
    """Return a row as the table shows it; long texts go below the table."""
    texts = [*row.note.split("; "), *row.candidates]
    if row.offset_ab_mag is None or row.residual_mag is not None:
        texts += [*row.prediction_basis.split("; "), *row.prediction_reason.split("; ")]
    return SimpleNamespace(
        **vars(row)
        | {
            "changed": _grouped(row.references_changed),
            "unknown": _grouped(row.references_unknown),
            "external_text": "; ".join(map(_external_text, row.external)),
            "marks": notes.mark(*texts),
        }
    )


def _grouped(files: tuple[str, ...]) -> str:
    """Name files by kind, ``photom A B; flat A``."""
    modules: dict[str, list[str]] = {}
    for name in files:
        kind, module = name.split()
        modules.setdefault(kind, []).append(module)
    return "; ".join(f"{kind} {' '.join(names)}" for kind, names in modules.items())


def _external_text(external: ExternalOffset) -> str:
    """Return an offset of others in a few words."""
    err = external.offset_ab_err_mag
    error = "" if err is None else f" +- {err:.4f}"
    return f"{external.offset_ab_mag:+.4f}{error} {external.source}"

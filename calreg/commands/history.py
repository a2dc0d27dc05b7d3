"""``calreg history``: one band and array id across contexts, as a table and as a figure."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated

import typer

from calreg.commands.common import (
    AsOfOption,
    Db,
    FieldOption,
    Format,
    OutputFormat,
    OverwriteOption,
    check_array,
    check_band,
    check_pmap,
    log,
    open_registry,
    options_of,
    parse_time,
)
from calreg.commands.output import Column, Notes, print_rows

if TYPE_CHECKING:
    from calreg.contexts.history import ExternalOffset, HistoryRow


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(history)


_COLUMNS = [
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
        callback=check_array,
    ),
]
_From = Annotated[
    str | None,
    typer.Option(
        "--from", metavar="PMAP", help="First context, such as 1039.", callback=check_pmap
    ),
]
_To = Annotated[
    str | None,
    typer.Option(
        "--to", metavar="PMAP", help="Last context, itself included.", callback=check_pmap
    ),
]
_Plot = Annotated[
    Path | None,
    typer.Option("--plot", metavar="FILE", help="Draw it too: PNG, PDF or SVG, by the ending."),
]


def history(
    context: typer.Context,
    *,
    band: _Band,
    array: _Array,
    pmap_from: _From = None,
    pmap_to: _To = None,
    field: FieldOption = None,
    plot: _Plot = None,
    overwrite: OverwriteOption = False,
    as_of: AsOfOption = None,
    db: Db = None,
    output_format: Format = None,
) -> None:
    """Show how an offset moved across contexts, and why.

    Beside what was measured stand PHOTMJSR of both arrays, what other contexts predict, which
    reference files changed since the line above, and the offsets of others.

    Example: calreg history --band F356W --array long --plot f356w.png
    """
    options = options_of(context, db, output_format)
    as_of_utc = parse_time(as_of)
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
        _COLUMNS,
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

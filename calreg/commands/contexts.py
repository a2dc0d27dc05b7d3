"""``calreg diff``, ``calreg predict`` and ``calreg pmap``: what moves between contexts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from calreg.commands.common import (
    ArrayOption,
    AsOfOption,
    BandOption,
    FieldOption,
    GlobalOptions,
    OutputFormat,
    check_detector,
    check_pmap,
    log,
    open_registry,
    pmap_option,
    shared_options,
)
from calreg.commands.output import Column, Notes, plain, print_json, print_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from calreg.contexts.diff import DiffRow
    from calreg.contexts.pmaps import EqualityRow
    from calreg.contexts.prediction import Prediction

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Contexts: what is known of each, and which are declared equal.",
)

_SIGNIFICANT_SIGMA = 3.0


def register(main: typer.Typer) -> None:
    """Add the commands of this module that stand by themselves."""
    main.command()(diff)
    main.command()(predict)
    main.add_typer(app, name="pmap")


_FirstPmap = Annotated[
    str,
    typer.Argument(metavar="P1", help="Context: jwst_1130.pmap, or 1130.", callback=check_pmap),
]
_SecondPmap = Annotated[
    str, typer.Argument(metavar="P2", help="The other context.", callback=check_pmap)
]


# --- diff ---------------------------------------------------------------------------------------

_DIFF_COLUMNS = [
    Column("array", "array"),
    Column("band", "band"),
    Column("subarray", "subarray"),
    Column("status", "status"),
    Column("change_mag", "change [mag]", "+.4f"),
    Column("change_err_mag", "error", ".5f"),
    Column("photmjsr_1", "PHOTMJSR 1", ".5g"),
    Column("photmjsr_2", "PHOTMJSR 2", ".5g"),
    Column("photmjsr_change_percent", "[%]", "+.2f"),
    Column("photom_1", "photom 1", is_optional=True),
    Column("photom_2", "photom 2", is_optional=True),
    Column("flat_changed", "flat changed", is_optional=True),
    Column("area_changed", "area changed", is_optional=True),
    Column("pixar_change_mag", "PIXAR_SR [mag]", "+.4f", is_optional=True),
    Column("basis", "notes", is_optional=True),
]


@shared_options
def diff(
    options: GlobalOptions,
    pmap_1: _FirstPmap,
    pmap_2: _SecondPmap,
    *,
    band: BandOption = None,
    detector: Annotated[
        str | None,
        typer.Option(
            "--detector",
            metavar="NAME",
            help="Only this detector, such as nrcb1.",
            callback=check_detector,
        ),
    ] = None,
    show_all: Annotated[
        bool, typer.Option("--all", help="Show those of which nothing is recorded, too.")
    ] = False,
    as_of_utc: AsOfOption = None,
) -> None:
    """Compare PHOTMJSR and reference files of two contexts.

    A positive change means fainter under P2. What is not recorded is unknown, never unchanged.

    Example: calreg diff 1298 1568 --band F200W
    """
    with open_registry(options, read_only=True) as registry:
        rows = registry.diff(pmap_1, pmap_2, band=band, array=detector, as_of_utc=as_of_utc)
    shown, notes = rows, Notes()
    if options.output_format is OutputFormat.TABLE:
        shown = [
            replace(row, basis=notes.mark(*row.basis.split("; "), *row.reason.split("; ")))
            for row in rows
            if row.is_recorded or show_all
        ]
    print_rows(shown, _DIFF_COLUMNS, options.output_format, empty="nothing is recorded of them")
    notes.print()
    _tell_diff(rows, len(rows) - len(shown))
    if not any(row.is_recorded for row in rows):
        raise typer.Exit(1)


def _tell_diff(rows: Sequence[DiffRow], n_hidden: int) -> None:
    """Count what became of the arrays and bands; say where the values are from."""
    counts = Counter(str(row.status) for row in rows)
    told = ", ".join(f"{counts[name]} {name}" for name in ("changed", "equal", "unknown"))
    if counts["conflict"]:
        told += f", {counts['conflict']} in conflict"
    log(f"{told}{f' ({n_hidden} of which nothing is recorded: --all)' if n_hidden else ''}")
    sources = {row.source_1 for row in rows} | {row.source_2 for row in rows}
    for source in sorted(sources - {""}):
        log(f"source: {source}")


# --- predict ------------------------------------------------------------------------------------

_PREDICTION_COLUMNS = [
    Column("band", "band"),
    Column("array_id", "array"),
    Column("subarray", "subarray"),
    Column("offset_ab_mag", "measured A-B [mag]", "+.4f"),
    Column("offset_ab_err_mag", "error", ".4f"),
    Column("change_ab_mag", "change", "+.4f"),
    Column("predicted_offset_ab_mag", "remains", "+.4f"),
    Column("predicted_err_mag", "error", ".4f"),
    Column("old_correction_error_percent", "old correction errs by [%]", "+.1f"),
    Column("pixar_change_a_mag", "PIXAR_SR A [mag]", "+.4f", is_optional=True),
    Column("pixar_change_b_mag", "PIXAR_SR B [mag]", "+.4f", is_optional=True),
    Column("status", "status"),
    Column("basis", "notes"),
]


@shared_options
def predict(
    options: GlobalOptions,
    *,
    pmap_from: Annotated[
        str,
        pmap_option("--from", "Context of the measurement."),
    ],
    pmap_to: Annotated[
        str,
        pmap_option("--to", "Context that is asked for."),
    ],
    band: BandOption = None,
    array: ArrayOption = None,
    field: FieldOption = None,
    source: Annotated[
        str | None, typer.Option("--source", metavar="TEXT", help="Only this external solution.")
    ] = None,
    subarray: Annotated[
        str | None,
        typer.Option("--subarray", metavar="NAME", help="Of the data [default: as measured]."),
    ] = None,
    as_of_utc: AsOfOption = None,
) -> None:
    """Carry offsets from one context to another by PHOTMJSR.

    Shows what remains of each under the other context, what is unknown and why, and what the old
    correction would do wrong there. Slopes do not depend on PHOTMJSR.

    Example: calreg predict --from 1130 --to 1568 --band F200W
    """
    with open_registry(options, read_only=True) as registry:
        rows = registry.predict(
            pmap_to,
            pmap_from=pmap_from,
            band=band,
            array_id=array,
            field=field,
            source=source,
            subarray=None if subarray is None else subarray.upper(),
            as_of_utc=as_of_utc,
        )
    title = f"m_A - m_B measured under {rows[0].from_pmap}, carried to {rows[0].to_pmap}"
    shown, notes = rows, Notes()
    if options.output_format is OutputFormat.TABLE:
        shown = [
            replace(row, basis=notes.mark(*row.basis.split("; "), *row.reason.split("; ")))
            for row in rows
        ]
    print_rows(shown, _PREDICTION_COLUMNS, options.output_format, title=title)
    notes.print()
    for line in prediction_summary(rows):
        log(line)
    if any(row.status == "unknown" for row in rows):
        log(
            "to know more: ingest exposures, photom files or a pmap of these contexts, or declare "
            "one equal to another that is recorded (calreg pmap equal)"
        )


def prediction_summary(rows: Sequence[Prediction]) -> list[str]:
    """Summarise how much of the measured offsets remains under another context."""
    from calreg.science.zeropoints import absorption

    counts = Counter(str(row.status) for row in rows)
    lines = [
        ", ".join(
            (
                f"{counts['ok']} of {len(rows)} predicted",
                f"{counts['unknown']} unknown",
                f"{counts['conflict']} in conflict",
            )
        )
    ]
    known = [row for row in rows if row.change_ab_mag is not None]
    changes = [row.change_ab_mag or 0.0 for row in known]
    if not known:
        return lines
    found = absorption([row.offset_ab_mag for row in known], changes)
    if found.correlation is not None:
        lines.append(
            f"the change runs against the measured offset with r = {found.correlation:+.2f} in "
            f"{found.n_keys} keys; scatter about their mean "
            f"{1e3 * found.scatter_before_mag:.0f} -> {1e3 * found.scatter_after_mag:.0f} mmag, "
            f"rms about zero {1e3 * found.rms_before_mag:.0f} -> "
            f"{1e3 * found.rms_after_mag:.0f} mmag"
        )
    worst = max(known, key=lambda row: abs(row.change_ab_mag or 0.0))
    change, err = abs(worst.change_ab_mag or 0.0), worst.change_err_mag or 0.0
    if change > _SIGNIFICANT_SIGMA * err:
        percent = abs(worst.old_correction_error_percent or 0.0)
        lines.append(
            f"whoever still applies the offsets of {worst.from_pmap} to data of {worst.to_pmap} "
            f"puts an error of up to {percent:.1f} % in ({worst.band} array {worst.array_id}: "
            f"{change:.3f} mag)"
        )
    return lines


# --- pmap ---------------------------------------------------------------------------------------

_PMAP_COLUMNS = [
    Column("pmap", "pmap"),
    Column("date", "date"),
    Column("what", "what is on record"),
    Column("confidence", "confidence"),
    Column("source", "source"),
    Column("equal_to", "declared equal to", is_optional=True),
    Column("n_exposures", "images", "d"),
    Column("n_zero_points", "PHOTMJSR", "d"),
    Column("n_references", "ref. files", "d"),
    Column("n_sets", "sets", "d"),
    Column("n_solutions", "external", "d"),
]


@app.command("list")
@shared_options
def list_(
    options: GlobalOptions,
) -> None:
    """Show contexts: what public sources say of each, and what the registry has.

    A context without a line of its own may have changed all the same.

    Example: calreg pmap list
    """
    with open_registry(options, read_only=True) as registry:
        rows = registry.pmaps()
    print_rows(rows, _PMAP_COLUMNS, options.output_format)


@app.command()
@shared_options
def equal(
    options: GlobalOptions,
    pmap_1: _FirstPmap,
    pmap_2: _SecondPmap,
    *,
    reason: Annotated[
        str,
        typer.Option(
            "--reason",
            metavar="TEXT",
            help="Why: shown wherever a number rests on it.",
        ),
    ],
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="They are not, after all; the record stays.")
    ] = False,
) -> None:
    """Declare that two contexts have the same PHOTMJSR.

    For contexts whose values are not recorded. Recorded values that disagree refuse it.

    Example: calreg pmap equal 1130 1298 --reason "no photom delivery between them"
    """
    with open_registry(options) as registry:
        if withdraw:
            row = registry.withdraw_equal(pmap_1, pmap_2, reason=reason)
        else:
            row = registry.declare_equal(pmap_1, pmap_2, reason=reason)
    if options.output_format is OutputFormat.TABLE:
        log(_equality_text(row))
    elif options.output_format is OutputFormat.JSON:
        print_json(plain([row]))
    else:
        print_rows([row], [], options.output_format)


def _equality_text(row: EqualityRow) -> str:
    """Describe the declaration that holds now."""
    names = f"{row.pmap_1} = {row.pmap_2}"
    if row.withdrawn_utc is not None:
        return f"withdrawn: {names} ({row.withdrawn_reason})"
    return f"declared equal: {names} ({row.reason}){'' if row.is_new else ': was known'}"

"""``calreg import`` and ``calreg compare``: the offsets of others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calreg.commands.common import (
    ArrayOption,
    AsOfOption,
    BandOption,
    GlobalOptions,
    OutputFormat,
    PmapOption,
    RequiredPmap,
    log,
    open_registry,
    pmap_option,
    shared_options,
)
from calreg.commands.output import Column, plain, print_json, print_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from calreg.contexts.comparison import CompareRow, CompareSummary
    from calreg.ingest.external import ImportReport

import_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Bring in the offsets of others."
)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(import_app, name="import")
    app.command()(compare)


def _check_source(value: str) -> str:
    """Refuse an empty citation."""
    if not value.strip():
        msg = "expected a citation that tells this solution from others"
        raise typer.BadParameter(msg)
    return value


def _one_of(*words: str) -> Callable[[str], str]:
    """Return a callback that refuses what is none of a few words."""

    def check(value: str) -> str:
        for word in words:
            if value.lower() == word.lower():
                return word
        msg = f"{value!r}: expected one of {', '.join(words)}"
        raise typer.BadParameter(msg)

    return check


SourceOption = Annotated[
    str,
    typer.Option(
        "--source",
        metavar="TEXT",
        help="Whose numbers they are: a citation, one per table.",
        callback=_check_source,
    ),
]
SenseOption = Annotated[
    str,
    typer.Option(
        "--sense",
        metavar="multiply|divide",
        callback=_one_of("multiply", "divide"),
        help="What the numbers do to flux. Grizli's of 2022 and 2023 divide, of 2024 multiply.",
    ),
]
MethodOption = Annotated[
    str,
    typer.Option(
        "--method",
        metavar="star|sky",
        callback=_one_of("star", "sky"),
        help="Measured on fluxes of sources (star) or on levels of the sky (sky): they differ by "
        "the ratio of PIXAR_SR.",
    ),
]
DatumOption = Annotated[
    str,
    typer.Option(
        "--datum",
        metavar="B|A|given",
        callback=_one_of("B", "A", "given"),
        help="Module held at zero in the stored shares; given: as in the table.",
    ),
]
ImportPmapOption = Annotated[
    str | None,
    pmap_option("--pmap", "Only this context, and that of entries that state none."),
]


@import_app.command("recipe")
@shared_options
def import_recipe(
    options: GlobalOptions,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="ECSV table with the published columns.")
    ],
    *,
    pmap: RequiredPmap,
    source: SourceOption,
) -> None:
    """Bring a published table in as an external solution.

    Example: calreg import recipe idf_zpcor.ecsv --pmap 1130 --source "Ma et al. 2024"
    """
    with open_registry(options) as registry:
        report = registry.import_recipe(file, pmap=pmap, source=source)
    _tell(report, source, options)


@import_app.command("grizli")
@shared_options
def import_grizli(
    options: GlobalOptions,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML table of grizli's.")],
    *,
    source: SourceOption,
    sense: SenseOption,
    method: MethodOption,
    datum: DatumOption = "B",
    pmap: ImportPmapOption = None,
    commented: Annotated[
        bool,
        typer.Option("--commented", help="Take entries that are commented out too (with --pmap)."),
    ] = False,
) -> None:
    """Bring grizli's factors per detector in, and the differences A - B.

    Example: calreg import grizli jwst_zeropoints.yml --sense multiply --method sky --source "DJA"
    """
    with open_registry(options) as registry:
        report = registry.import_grizli(
            file,
            source=source,
            sense=sense,
            method=method,
            datum=datum,
            pmap=pmap,
            with_commented=commented,
        )
    _tell(report, source, options)


@import_app.command("csv")
@shared_options
def import_csv(
    options: GlobalOptions,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="CSV with the columns pmap, band, array, offset [mag] (or factor), error; array "
            "is a detector, or an array id where the number is A - B.",
        ),
    ],
    *,
    source: SourceOption,
    sense: SenseOption,
    method: MethodOption,
    datum: DatumOption = "B",
    pmap: ImportPmapOption = None,
) -> None:
    """Bring a CSV table in: multiply means that a positive offset brightens the array.

    Example: calreg import csv ours.csv --sense multiply --method star --source "Doe, priv. comm."
    """
    with open_registry(options) as registry:
        report = registry.import_csv(
            file, source=source, sense=sense, method=method, datum=datum, pmap=pmap
        )
    _tell(report, source, options)


def _tell(report: ImportReport, source: str, options: GlobalOptions) -> None:
    """Report what was imported, and what was left out."""
    if options.output_format is OutputFormat.JSON:
        print_json(plain(report))
        return
    for reason, n_entries in report.left_out.items():
        log(f"left out {n_entries}: {reason}")
    if report.is_new:
        values = f", {report.n_values} numbers by array" if report.n_values else ""
        log(f"imported {report.n_solutions} solutions{values} from {source!r}: see calreg compare")
    else:
        log(f"unchanged: {source!r} was imported before with the same content")


_COMPARE_COLUMNS = [
    Column("pmap", "pmap"),
    Column("band", "band"),
    Column("array_id", "array"),
    Column("offset_ab_mag", "ours [mag]", "+.5f"),
    Column("offset_ab_err_mag", "error", ".5f"),
    Column("their_offset_ab_mag", "theirs [mag]", "+.5f"),
    Column("their_offset_ab_err_mag", "error", ".5f"),
    Column("difference_mag", "difference", "+.5f"),
    Column("difference_sigma", "sigma", "+.2f"),
    Column("difference_floor_sigma", "with floor", "+.2f"),
    Column("slope_difference_sigma", "slope sigma", "+.2f", is_optional=True),
    Column("source", "source"),
    Column("note", "note", is_optional=True),
]

_AGAINST_COLUMNS = [
    replace(column, header=column.header.replace("ours", "against")) for column in _COMPARE_COLUMNS
]

_SUMMARY_COLUMNS = [
    Column("source", "source"),
    Column("against", "against"),
    Column("band", "band"),
    Column("n_keys", "keys", "d"),
    Column("n_same_sign", "same sign", "d"),
    Column("n_signed", "of", "d"),
    Column("mean_mag", "mean [mag]", "+.4f"),
    Column("rms_mag", "rms [mag]", ".4f"),
    Column("weighted_rms_mag", "weighted rms", ".4f"),
    Column("reduced_chi2", "chi2 / n", ".2f"),
    Column("max_abs_mag", "largest", ".4f"),
]


@shared_options
def compare(
    options: GlobalOptions,
    *,
    pmap: PmapOption = None,
    band: BandOption = None,
    array: ArrayOption = None,
    source: Annotated[
        str | None,
        typer.Option("--source", metavar="TEXT", help="Only this external solution."),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="TEXT",
            help="Compare with this external solution instead of our sets.",
        ),
    ] = None,
    across: Annotated[
        bool, typer.Option("--across", help="Compare solutions of different contexts too.")
    ] = False,
    floor: Annotated[
        float,
        typer.Option(
            "--floor",
            help="Systematic floor of a difference [mag]: star-based solutions scatter by 6 to 14 "
            "mmag per detector.",
        ),
    ] = 0.010,
    summary: Annotated[
        bool, typer.Option("--summary", help="Show rms and sign agreement per source and band.")
    ] = False,
    as_of_utc: AsOfOption = None,
) -> None:
    """Show imported solutions beside ours, or beside each other, in sigma.

    Differences are ours (or those of --against) minus theirs.

    Example: calreg compare --pmap jwst_1130.pmap
    """
    with open_registry(options, read_only=True) as registry:
        rows = registry.compare(
            pmap=pmap,
            band=band,
            array_id=array,
            source=source,
            against=against,
            floor_mag=floor,
            is_across=across,
            as_of_utc=as_of_utc,
        )
        summaries = registry.summarise(rows)
    if summary:
        print_rows(
            summaries, _SUMMARY_COLUMNS, options.output_format, empty="nothing to compare with"
        )
    else:
        _print_comparisons(rows, summaries, options, is_ours=against is None)
    if not (summaries if summary else rows):
        raise typer.Exit(1)


def _print_comparisons(
    rows: list[CompareRow],
    summaries: list[CompareSummary],
    options: GlobalOptions,
    *,
    is_ours: bool,
) -> None:
    """Print rows; below a table, how well each source agrees."""
    print_rows(
        rows,
        _COMPARE_COLUMNS if is_ours else _AGAINST_COLUMNS,
        options.output_format,
        empty="no external solution answers to that: calreg import recipe, grizli or csv brings "
        "one in; those of other contexts are compared with --across",
    )
    if options.output_format is OutputFormat.TABLE:
        for one in summaries:
            if one.band == "all":
                log(_in_words(one))


def _in_words(one: CompareSummary) -> str:
    """Describe how well two solutions agree."""
    return (
        f"{one.source} against {one.against}: {one.n_keys} keys, {one.n_same_sign} of "
        f"{one.n_signed} signs agree, rms {one.rms_mag:.4f} mag with equal weights, "
        f"{one.weighted_rms_mag:.4f} mag with weights 1 / (err1^2 + err2^2 + floor^2), "
        f"floor {one.floor_mag:.4f} mag"
    )

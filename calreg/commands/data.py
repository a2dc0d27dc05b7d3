"""``calreg ingest`` and ``calreg refit``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calreg.commands.common import (
    GlobalOptions,
    MagLimitOption,
    MaxSepOption,
    NewEpochOption,
    NewFieldOption,
    OutputFormat,
    SnrOption,
    check_pmap,
    log,
    open_registry,
    progress_bar,
    shared_options,
    usage_errors,
)
from calreg.commands.output import Column, plain, print_json, print_rows

if TYPE_CHECKING:
    from calreg.contexts.residuals import PredictionResidual
    from calreg.ingest.options import FileOutcome, IngestOptions, IngestReport
    from calreg.refit.refit import KeyOutcome, RefitReport

_MANY = 8

_ROW_COUNTS = {
    "n_dropped_nonfinite": "rows dropped (NaN or infinite)",
    "n_dropped_error": "rows dropped (error of 0 or less)",
    "n_negative_flux": "rows without magnitude (flux <= 0)",
}
"""Counts of a catalog's outcome, in words."""

_OF_PMAP = ("photom file", "CRDS mapping")
"""Files that --pmap is for."""

_EPOCH_COLUMNS = (
    Column("field_name", "field"),
    Column("name", "epoch"),
    Column("start_mjd_utc", "start [MJD]", ".3f"),
    Column("end_mjd_utc", "end [MJD]", ".3f"),
    Column("rolls_text", "roll [deg]"),
    Column("n_exposures", "images", "d"),
)

_Image = Annotated[
    Path | None,
    typer.Option(
        "--image",
        metavar="FILE",
        help="Image that the catalogs were measured on, when they do not say.",
    ),
]
_Flux = Annotated[
    str | None,
    typer.Option(
        "--flux",
        metavar="KIND",
        help="Flux to read from catalogs: iso, auto, aper, aper:2 (the second), psf "
        "[default: iso for SExtractor].",
    ),
]
_Columns = Annotated[
    str,
    typer.Option(
        "--columns",
        metavar="NAME=COLUMN,...",
        help="What a catalog's own column names mean: ra=RAJ2000,dec=DEJ2000,...",
        show_default=False,
    ),
]
_Strict = Annotated[bool, typer.Option("--strict", help="Load nothing if any file is refused.")]
_HashMode = Annotated[
    str,
    typer.Option(
        "--hash",
        metavar="headers|full",
        help="Tell images apart by their headers (fast) or by the whole file.",
    ),
]


_ContextName = Annotated[
    str | None,
    typer.Option(
        "--pmap",
        metavar="PMAP",
        help="Context of photom files and rmaps, which do not say it; images say it themselves.",
        callback=check_pmap,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(ingest)
    app.command()(refit)


@shared_options
def ingest(
    options: GlobalOptions,
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH", help="Files and folders, in any mix.")
    ],
    *,
    field: NewFieldOption = None,
    epoch: NewEpochOption = None,
    image: _Image = None,
    flux: _Flux = None,
    columns: _Columns = "",
    pmap: _ContextName = None,
    strict: _Strict = False,
    hash_mode: _HashMode = "headers",
) -> None:
    """Load images, catalogs and what is known of contexts, recognised by content.

    Of contexts: photom files, pmaps and rmaps of a CRDS cache, tables of PHOTMJSR or of reference
    files (CSV, ECSV), grizli's jwst_zeropoints.yml.

    Bad files are refused, one line each, and the good ones still load (exit status 1). Files that
    are known already change nothing.

    Example: calreg ingest epoch1/ epoch2/*_i2d.fits catalogs/
    """
    with usage_errors():
        ingest_options = _ingest_options(
            field, epoch, image, flux, columns, pmap, strict=strict, hash_mode=hash_mode
        )
    with open_registry(options) as registry, progress_bar() as progress:
        report = registry.ingest(paths, ingest_options, progress=progress)
    _tell_ingest(report, is_strict=strict)
    if pmap is not None and not any(
        o.kind in _OF_PMAP for o in [*report.loaded, *report.unchanged]
    ):
        log("note: --pmap was not used: images and tables say their contexts themselves")
    if options.output_format is OutputFormat.JSON:
        print_json(plain(report))
    elif report.epochs:
        print_rows(report.epochs, _EPOCH_COLUMNS, options.output_format)
    if report.refused:
        raise typer.Exit(1)


def _ingest_options(
    field: str | None,
    epoch: str | None,
    image: Path | None,
    flux: str | None,
    columns: str,
    pmap: str | None,
    *,
    strict: bool,
    hash_mode: str,
) -> IngestOptions:
    """Read the options of ingest."""
    from calreg.domain import FluxKind, Pmap
    from calreg.errors import InvalidValueError
    from calreg.ingest.options import IngestOptions, parse_columns

    kind, _, aperture = (flux or "").lower().partition(":")
    if kind and kind not in set(FluxKind):
        msg = f"--flux {flux!r}: expected one of {', '.join(FluxKind)} (aper:2 for the second)"
        raise InvalidValueError(msg)
    if hash_mode not in ("headers", "full"):
        msg = f"--hash {hash_mode!r}: expected headers or full"
        raise InvalidValueError(msg)
    return IngestOptions(
        field_name=field,
        epoch_label=epoch,
        image=image,
        flux=FluxKind(kind) if kind else None,
        aperture=aperture,
        columns=parse_columns(columns),
        is_strict=strict,
        full_hash=hash_mode == "full",
        pmap=None if pmap is None else Pmap.parse(pmap),
    )


def _tell_ingest(report: IngestReport, *, is_strict: bool) -> None:
    """Report what became of the files."""
    outcomes = [*report.loaded, *report.unchanged]
    _tell_warnings(outcomes)
    _tell_rows([outcome for outcome in report.loaded if outcome.kind == "catalog"])
    for outcome in report.loaded:
        if outcome.kind not in ("catalog", "cal", "crf", "i2d"):
            log(f"{outcome.path.name}: {outcome.message}")
    for outcome in report.refused:
        log(f"refused: {outcome.message}")
    counts = sorted(Counter(outcome.kind for outcome in report.loaded).items())
    loaded = ", ".join(f"{n} {_plural(kind, n)}" for kind, n in counts) or "nothing"
    words = [f"loaded {loaded}", f"{len(report.unchanged)} unchanged (same content)"]
    if report.skipped:
        words.append(f"{len(report.skipped)} passed over (neither images nor catalogs)")
    words.append(f"{len(report.refused)} refused")
    log("; ".join(words))
    if not (outcomes or report.refused or report.skipped):
        log("there are no files: check the names of the folders")
    if is_strict and report.refused:
        log("nothing was written, because of --strict: leave the refused files out, or mend them")


def _plural(kind: str, number: int) -> str:
    """Return the word for so many files of a kind."""
    return "catalogs" if kind == "catalog" and number > 1 else kind


def _tell_warnings(outcomes: list[FileOutcome]) -> None:
    """Print the first warnings, each once with the files it is of, and how many there are more."""
    files: dict[str, list[str]] = {}
    for outcome in outcomes:
        for text in outcome.warnings:
            files.setdefault(text, []).append(outcome.path.name)
    warnings = [
        f"{names[0]}{f' and {len(names) - 1} more files' if len(names) > 1 else ''}: {text}"
        for text, names in files.items()
    ]
    for warning in warnings[:_MANY]:
        log(f"warning: {warning}")
    if len(warnings) > _MANY:
        log(f"warning: {len(warnings) - _MANY} more like these (--format json has all)")


def _tell_rows(catalogs: list[FileOutcome]) -> None:
    """Count detections, and rows that were left out: per catalog if there are few."""
    if len(catalogs) <= _MANY:
        for outcome in catalogs:
            counts = ((words, getattr(outcome, name)) for name, words in _ROW_COUNTS.items())
            left_out = "".join(f"; {words}: {number}" for words, number in counts if number)
            log(f"{outcome.path.name}: {outcome.message}{left_out}")
        return
    for name, words in _ROW_COUNTS.items():
        numbers = [getattr(outcome, name) for outcome in catalogs]
        n_catalogs = sum(number > 0 for number in numbers)
        if n_catalogs:
            log(f"{words}: {sum(numbers)} in {n_catalogs} of {len(catalogs)} catalogs")


MixedSoftwareOption = Annotated[
    bool,
    typer.Option(
        "--allow-mixed-software",
        help="Fit images of pipeline versions together that read differently; the set says so.",
    ),
]


@shared_options
def refit(
    options: GlobalOptions,
    *,
    mag_limit: MagLimitOption = 22.0,
    snr: SnrOption = 100.0,
    max_sep: MaxSepOption = 0.1,
    floor: Annotated[
        str,
        typer.Option(
            "--floor", metavar="auto|MAG", help="Noise floor per pair: fitted, or given [mag]."
        ),
    ] = "auto",
    slope: Annotated[
        str,
        typer.Option(
            "--slope",
            metavar="auto|none|fit",
            help="Gradient along the field: in LW bands only, nowhere, or everywhere. In dithered "
            "mosaics one that is fixed to the detector looks about a third shallower.",
        ),
    ] = "auto",
    time: Annotated[
        str,
        typer.Option(
            "--time", metavar="fix|fit", help="Change between epochs: fixed at zero, or fitted."
        ),
    ] = "fix",
    axis: Annotated[
        str,
        typer.Option(
            "--axis",
            metavar="auto|PA",
            help="Direction of the gradient: the field's long axis, or a PA [deg, N over E].",
        ),
    ] = "auto",
    allow_mixed_software: MixedSoftwareOption = False,
) -> None:
    """Match what is new, and fit exactly what is stale.

    Earlier results stay, as earlier versions. Run again, it changes nothing. The exit status is 1
    where a key is refused that was not before.

    Example: calreg refit --mag-limit 22 --snr 100
    """
    from calreg.science.model.settings import FitSettings

    with usage_errors():
        settings = FitSettings.parse(
            mag_limit=mag_limit,
            snr=snr,
            max_sep_arcsec=max_sep,
            floor=floor,
            slope=slope,
            time=time,
            axis=axis,
            allow_mixed_software=allow_mixed_software,
        )
    with open_registry(options) as registry, progress_bar() as progress:
        report = registry.refit(settings, progress=progress)
    if options.output_format is OutputFormat.JSON:
        print_json(plain(report))
    else:
        _tell_refit(report, options.output_format)
    if any(outcome.is_new for outcome in report.refused):
        raise typer.Exit(1)


def _tell_refit(report: RefitReport, output_format: OutputFormat) -> None:
    """Report what was matched, fitted, left alone and refused."""
    pairing = report.pairing
    for note in pairing.notes:
        log(f"note: {note}")
    for warning in report.warnings:
        log(f"warning: {warning}")
    for row in pairing.astrometry:
        log(
            f"astrometry {row.pmap} {row.band} {row.epoch_i} -> {row.epoch_j}: "
            f"{row.n_sources} sources, dRA {row.ra_median_mas:+.1f} +- {row.ra_mad_mas:.1f} mas, "
            f"dDec {row.dec_median_mas:+.1f} +- {row.dec_mad_mas:.1f} mas (median +- MAD, removed)"
        )
        if row.is_large:
            log(
                "warning: the images are more than 5 mas apart: measure again with calreg measure "
                "--align shift (or linear)"
            )
    if pairing.n_groups:
        log(
            f"matched {pairing.n_groups} new patches: {pairing.n_pairs} pairs, "
            f"{pairing.n_ambiguous} ambiguous, {pairing.n_variable} sources variable"
        )
    else:
        log("nothing new to match")
    columns = [
        Column("field", "field"),
        Column("pmap", "pmap"),
        Column("band", "band"),
        Column("array_id", "array"),
        Column("flux_kind", "flux", is_distinguishing=True),
        Column("version", "version", "d"),
        Column("offset_ab_mag", "offset A-B [mag]", "+.5f"),
        Column("offset_ab_err_mag", "error", ".5f"),
        Column("slope_mag_arcmin", "slope [mag/arcmin]", "+.5f", is_fixed_at_zero=True),
        Column("slope_err_mag_arcmin", "error", ".5f", is_fixed_at_zero=True),
        Column("n_pairs", "pairs", "d"),
        Column("reason", "why"),
    ]
    if report.fitted:
        print_rows(report.fitted, columns, output_format)
    n_candidates = sum(outcome.status == "candidate" for outcome in report.fitted)
    if n_candidates:
        log(
            f"{n_candidates} of the new sets are candidates: others are accepted for their "
            "contexts until calreg promote accepts these"
        )
    for outcome in report.refused:
        log(f"not fitted: {_key_text(outcome)}: {outcome.reason}")
    for outcome in report.waiting:
        log(f"waiting: {_key_text(outcome)}: {outcome.reason}")
    if report.unchanged:
        reasons = dict.fromkeys(outcome.reason for outcome in report.unchanged)
        log(f"left alone: {len(report.unchanged)} keys, {' / '.join(reasons)}")
    _tell_residuals(report.residuals)
    log(
        f"fitted {len(report.fitted)}, left alone {len(report.unchanged)}, "
        f"not fitted {len(report.refused)}, waiting {len(report.waiting)}"
    )


def _tell_residuals(rows: list[PredictionResidual]) -> None:
    """Report whether new sets agree with what other contexts predict; name those that do not."""
    beyond = [row for row in rows if row.is_significant]
    if rows:
        log(
            f"predictions from other contexts: {len(rows) - len(beyond)} of {len(rows)} new sets "
            "agree within 3 sigma"
        )
    for row in beyond:
        log(
            f"warning: {row.field} {row.pmap} {row.band} array {row.array_id}: measured "
            f"{row.offset_ab_mag:+.5f}, predicted from {row.from_pmap} "
            f"{row.predicted_offset_ab_mag:+.5f} mag ({row.residual_sigma:+.1f} sigma): something "
            f"other than photom changed: {'; '.join(row.candidates)}"
        )


def _key_text(outcome: KeyOutcome) -> str:
    """Name a key in one line."""
    return f"{outcome.field} {outcome.pmap} {outcome.band} array {outcome.array_id}"

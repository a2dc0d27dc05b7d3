"""``calreg ingest`` and ``calreg refit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calreg.commands.common import (
    Db,
    Format,
    OutputFormat,
    log,
    open_registry,
    options_of,
    progress_bar,
    usage_errors,
)
from calreg.commands.output import Column, plain, print_json, print_rows

if TYPE_CHECKING:
    from calreg.ingest import IngestReport
    from calreg.refit import KeyOutcome, RefitReport

_MANY = 8


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(ingest)
    app.command()(refit)


def ingest(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(help="Files and folders, in any order and mix.")],
    *,
    field: Annotated[
        str | None, typer.Option("--field", help="Put the exposures into this field.")
    ] = None,
    epoch: Annotated[
        str | None, typer.Option("--epoch", help="Put the exposures into this epoch.")
    ] = None,
    image: Annotated[
        Path | None, typer.Option("--image", help="Image that the catalogs were measured on.")
    ] = None,
    flux: Annotated[
        str | None,
        typer.Option(
            "--flux", help="Flux of catalogs: iso, auto, aper, aper:2, psf (default iso)."
        ),
    ] = None,
    columns: Annotated[
        str, typer.Option("--columns", help="Columns of catalogs: ra=RAJ2000,dec=DEJ2000,...")
    ] = "",
    strict: Annotated[
        bool, typer.Option("--strict", help="Load nothing if any file is refused.")
    ] = False,
    hash_mode: Annotated[
        str, typer.Option("--hash", help="Digest of images: headers, or full for whole files.")
    ] = "headers",
    db: Db = None,
    output_format: Format = None,
) -> None:
    """Load exposures, mosaics and catalogs, recognised by content.

    Bad files are refused, one line each, and the good ones still load (exit status 1).

    Example: calreg ingest epoch1/ epoch2/*_i2d.fits catalogs/
    """
    options = options_of(context, db, output_format)
    with usage_errors():
        ingest_options = _ingest_options(
            field, epoch, image, flux, columns, strict=strict, hash_mode=hash_mode
        )
    with open_registry(options) as registry, progress_bar() as progress:
        report = registry.ingest(paths, ingest_options, progress=progress)
    if options.output_format is OutputFormat.JSON:
        print_json(plain(report))
    else:
        _tell_ingest(report, options.output_format, is_strict=strict)
    if report.refused:
        raise typer.Exit(1)


def _ingest_options(
    field: str | None,
    epoch: str | None,
    image: Path | None,
    flux: str | None,
    columns: str,
    *,
    strict: bool,
    hash_mode: str,
) -> object:
    """Read the options of ingest."""
    from calreg.domain import FluxKind
    from calreg.errors import InvalidValueError
    from calreg.ingest import IngestOptions, parse_columns

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
    )


def _tell_ingest(report: IngestReport, output_format: OutputFormat, *, is_strict: bool) -> None:
    """Say what became of the files."""
    counts: dict[str, int] = {}
    for outcome in report.loaded:
        counts[outcome.kind] = counts.get(outcome.kind, 0) + 1
        for warning in outcome.warnings:
            log(f"warning: {warning}")
        if outcome.kind == "catalog" and (len(report.loaded) <= _MANY or ";" in outcome.message):
            log(f"{outcome.path.name}: {outcome.message}")
    for outcome in report.refused:
        log(f"refused: {outcome.message}")
    loaded = ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items())) or "nothing"
    words = [f"loaded {loaded}", f"{len(report.unchanged)} unchanged (same content)"]
    if report.skipped:
        words.append(f"{len(report.skipped)} other files of folders passed over")
    words.append(f"{len(report.refused)} refused")
    log("; ".join(words))
    if is_strict and report.refused:
        log("nothing was written: --strict")
    columns = [
        Column("field_name", "field"),
        Column("name", "epoch"),
        Column("start_mjd_utc", "start [MJD]", ".3f"),
        Column("end_mjd_utc", "end [MJD]", ".3f"),
        Column("rolls_text", "roll [deg]"),
        Column("n_exposures", "images", "d"),
    ]
    if report.epochs:
        print_rows(report.epochs, columns, output_format)


def refit(
    context: typer.Context,
    *,
    mag_limit: Annotated[
        float, typer.Option("--mag-limit", help=r"Faintest mean magnitude of a pair \[mag AB].")
    ] = 22.0,
    snr: Annotated[float, typer.Option("--snr", help="Smallest S/N of a pair.")] = 100.0,
    max_sep: Annotated[
        float, typer.Option("--max-sep", help=r"Search radius of matching \[arcsec].")
    ] = 0.1,
    floor: Annotated[
        str, typer.Option("--floor", help=r"Noise floor per pair \[mag], or auto to fit it.")
    ] = "auto",
    slope: Annotated[
        str, typer.Option("--slope", help="Gradient: auto (LW only), none, fit.")
    ] = "auto",
    time: Annotated[str, typer.Option("--time", help="Time term: fix (zero) or fit.")] = "fix",
    axis: Annotated[
        str, typer.Option("--axis", help=r"Position angle of the field's axis \[deg], or auto.")
    ] = "auto",
    db: Db = None,
    output_format: Format = None,
) -> None:
    """Match what is new, and fit exactly what is stale.

    Example: calreg refit --mag-limit 22 --snr 100
    """
    from calreg.science.settings import FitSettings

    options = options_of(context, db, output_format)
    with usage_errors():
        settings = FitSettings.parse(
            mag_limit=mag_limit,
            snr=snr,
            max_sep_arcsec=max_sep,
            floor=floor,
            slope=slope,
            time=time,
            axis=axis,
        )
    with open_registry(options) as registry, progress_bar() as progress:
        report = registry.refit(settings, progress=progress)
    if options.output_format is OutputFormat.JSON:
        print_json(plain(report))
        return
    _tell_refit(report, options.output_format)


def _tell_refit(report: RefitReport, output_format: OutputFormat) -> None:
    """Say what was matched, fitted, left alone and refused."""
    pairing = report.pairing
    for note in pairing.notes:
        log(f"note: {note}")
    for row in pairing.astrometry:
        log(
            f"astrometry {row.pmap} {row.band} {row.epoch_i} -> {row.epoch_j}: "
            f"{row.n_sources} sources, dRA {row.ra_median_mas:+.1f} +- {row.ra_mad_mas:.1f} mas, "
            f"dDec {row.dec_median_mas:+.1f} +- {row.dec_mad_mas:.1f} mas (median +- MAD, removed)"
        )
        if row.is_large:
            log("warning: the images are more than 5 mas apart: align them before photometry")
    log(
        f"matched {pairing.n_groups} new patches: {pairing.n_pairs} pairs, "
        f"{pairing.n_ambiguous} ambiguous, {pairing.n_variable} sources variable"
    )
    columns = [
        Column("field", "field"),
        Column("pmap", "pmap"),
        Column("band", "band"),
        Column("array_id", "array"),
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
    for outcome in report.refused:
        log(f"not fitted: {_key_text(outcome)}: {outcome.reason}")
    for outcome in report.waiting:
        log(f"waiting: {_key_text(outcome)}: {outcome.reason}")
    if report.unchanged:
        log(f"left alone: {len(report.unchanged)} keys, {report.unchanged[0].reason}")
    log(
        f"fitted {len(report.fitted)}, left alone {len(report.unchanged)}, "
        f"not fitted {len(report.refused)}, waiting {len(report.waiting)}"
    )


def _key_text(outcome: KeyOutcome) -> str:
    """Name a key in one line."""
    return f"{outcome.field} {outcome.pmap} {outcome.band} array {outcome.array_id}"

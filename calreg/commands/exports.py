"""``calreg export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calreg.commands.common import (
    AsOfOption,
    Db,
    FieldOption,
    Format,
    OutputFormat,
    OverwriteOption,
    RequiredPmap,
    log,
    open_registry,
    options_of,
    parse_time,
)
from calreg.commands.output import plain, print_json

if TYPE_CHECKING:
    from calreg.export.deliveries import Delivery

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Write corrections for reductions, and the tables.",
)


def _check_flux(value: str | None) -> str | None:
    """Refuse what is no kind of flux."""
    if value is not None:
        from calreg.domain import FluxKind

        if value.lower() not in set(FluxKind):
            msg = f"{value!r}: expected one of {', '.join(FluxKind)}"
            raise typer.BadParameter(msg)
        return value.lower()
    return value


FluxOption = Annotated[
    str | None,
    typer.Option(
        "--flux",
        metavar="KIND",
        help="Only this flux, where there are several: iso, auto, ...",
        callback=_check_flux,
    ),
]
LeaveOutOption = Annotated[
    bool,
    typer.Option(
        "--leave-out",
        help="Leave out arrays whose sets were withdrawn or are not accepted, instead of failing.",
    ),
]


@app.command()
def recipe(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="ECSV file to write.")],
    *,
    pmap: RequiredPmap,
    field: FieldOption = None,
    flux: FluxOption = None,
    as_of: AsOfOption = None,
    leave_out: LeaveOutOption = False,
    overwrite: OverwriteOption = False,
    db: Db = None,
    output_format: Format = None,
) -> None:
    """Write the published table's columns: a positive dmag brightens the array.

    Example: calreg export recipe idf_1130.ecsv --pmap jwst_1130.pmap
    """
    options = options_of(context, db, output_format)
    as_of_utc = parse_time(as_of)
    with open_registry(options) as registry:
        delivery = registry.export_recipe(
            file,
            pmap=pmap,
            field=field,
            flux_kind=flux,
            as_of_utc=as_of_utc,
            leave_out=leave_out,
            overwrite=overwrite,
        )
    tell([delivery], options.output_format)


@app.command()
def grizli(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML file to write.")],
    *,
    pmap: RequiredPmap,
    field: FieldOption = None,
    flux: FluxOption = None,
    as_of: AsOfOption = None,
    leave_out: LeaveOutOption = False,
    overwrite: OverwriteOption = False,
    db: Db = None,
    output_format: Format = None,
) -> None:
    """Write grizli's table: images are DIVIDED by its values.

    Example: calreg export grizli idf_1130.yml --pmap jwst_1130.pmap
    """
    options = options_of(context, db, output_format)
    as_of_utc = parse_time(as_of)
    with open_registry(options) as registry:
        delivery = registry.export_grizli(
            file,
            pmap=pmap,
            field=field,
            flux_kind=flux,
            as_of_utc=as_of_utc,
            leave_out=leave_out,
            overwrite=overwrite,
        )
    tell([delivery], options.output_format)


@app.command()
def parquet(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to.")],
    *,
    overwrite: OverwriteOption = False,
    db: Db = None,
    output_format: Format = None,
) -> None:
    """Write every table of the registry as Parquet, one file each.

    Example: calreg export parquet registry_tables/
    """
    options = options_of(context, db, output_format)
    with open_registry(options) as registry:
        deliveries = registry.export_parquet(directory, overwrite=overwrite)
    tell(deliveries, options.output_format)


def tell(deliveries: list[Delivery], output_format: OutputFormat) -> None:
    """Say what was written."""
    if output_format is OutputFormat.JSON:
        print_json(plain(deliveries))
        return
    for delivery in deliveries:
        for reason in delivery.left_out:
            log(f"left out: {reason}")
        log(
            f"wrote {delivery.path} ({delivery.n_sets} sets, sha256 {delivery.file_sha256[:16]}...)"
        )

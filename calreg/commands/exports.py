"""``calreg export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calreg.commands.common import (
    AsOfOption,
    FieldOption,
    FluxOption,
    GlobalOptions,
    OutputFormat,
    OverwriteOption,
    RequiredPmap,
    log,
    open_registry,
    shared_options,
)
from calreg.commands.output import plain, print_json

if TYPE_CHECKING:
    from calreg.export.deliveries import Delivery

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Write corrections for reductions, and the tables.",
)


LeaveOutOption = Annotated[
    bool,
    typer.Option(
        "--leave-out",
        help="Leave out arrays whose sets were withdrawn or are not accepted, instead of failing.",
    ),
]


@app.command()
@shared_options
def recipe(
    options: GlobalOptions,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="ECSV file to write.")],
    *,
    pmap: RequiredPmap,
    field: FieldOption = None,
    flux: FluxOption = None,
    as_of_utc: AsOfOption = None,
    leave_out: LeaveOutOption = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Write the published table's columns: a positive dmag brightens the array.

    Example: calreg export recipe idf_1130.ecsv --pmap jwst_1130.pmap
    """
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
@shared_options
def grizli(
    options: GlobalOptions,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML file to write.")],
    *,
    pmap: RequiredPmap,
    field: FieldOption = None,
    flux: FluxOption = None,
    as_of_utc: AsOfOption = None,
    leave_out: LeaveOutOption = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Write grizli's table: images are DIVIDED by its values.

    Example: calreg export grizli idf_1130.yml --pmap jwst_1130.pmap
    """
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
@shared_options
def parquet(
    options: GlobalOptions,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to.")],
    *,
    overwrite: OverwriteOption = False,
) -> None:
    """Write every table of the registry as Parquet, one file each.

    Example: calreg export parquet registry_tables/
    """
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

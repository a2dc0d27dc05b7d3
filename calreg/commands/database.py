"""``calreg db``: make, upgrade, check and describe the database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from calreg.commands.common import GlobalOptions, OutputFormat, log, open_registry, shared_options
from calreg.commands.output import Column, plain, print_json, print_rows


@dataclass(frozen=True)
class _TableSize:
    """Rows of one table."""

    table: str
    n_rows: int


app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Make, upgrade, check and describe the database.",
)


def register(main: typer.Typer) -> None:
    """Add the commands of this module."""
    main.add_typer(app, name="db")


@app.command()
@shared_options
def init(
    options: GlobalOptions,
    instrument: Annotated[
        str | None,
        typer.Option(
            help="Whose data it will hold: nircam, a TOML file, or an entry point.",
            show_default="nircam",
        ),
    ] = None,
) -> None:
    """Make the tables; a database that has them stays as it is.

    Example: calreg --db idf.sqlite db init
    """
    from calreg.registry import Registry

    outcome = Registry.init(options.db, instrument=instrument)
    if options.output_format is not OutputFormat.TABLE:
        print_rows([outcome], [], options.output_format)
    elif outcome.created:
        log(f"made the tables (schema revision {outcome.revision})")
    else:
        log(f"nothing to do: the tables are there (schema revision {outcome.revision})")


@app.command()
@shared_options
def upgrade(options: GlobalOptions) -> None:
    """Bring the tables of an older calreg to this version; data stay.

    Example: calreg --db idf.sqlite db upgrade
    """
    from calreg.registry import Registry

    outcome = Registry.upgrade(options.db)
    if options.output_format is not OutputFormat.TABLE:
        print_rows([outcome], [], options.output_format)
    elif outcome.before == outcome.after:
        log(f"nothing to do: the schema is at revision {outcome.after}")
    else:
        log(f"upgraded the schema from revision {outcome.before} to {outcome.after}")


@app.command()
@shared_options
def check(options: GlobalOptions) -> None:
    """Check schema, keys, dangling rows and digests.

    Exit status 1 if anything is wrong.

    Example: calreg db check
    """
    with open_registry(options, read_only=True) as registry:
        problems = registry.check()
    columns = [Column("kind", "kind"), Column("table", "table"), Column("message", "problem")]
    print_rows(problems, columns, options.output_format, empty="no problems found")
    if problems:
        raise typer.Exit(1)


@app.command()
@shared_options
def stats(options: GlobalOptions) -> None:
    """Describe the database: engine, revision, size, rows per table.

    Example: calreg db stats --format json
    """
    with open_registry(options, read_only=True) as registry:
        description = registry.stats()
    if options.output_format is OutputFormat.JSON:
        print_json(plain(description))
        return
    if options.output_format is OutputFormat.TABLE:
        log(
            f"{description.engine}, schema revision {description.revision}, "
            f"{description.size_bytes / 1e6:.1f} MB"
        )
    rows = [_TableSize(name, n_rows) for name, n_rows in description.n_rows.items()]
    columns = [Column("table", "table"), Column("n_rows", "rows", ",d")]
    print_rows(rows, columns, options.output_format)

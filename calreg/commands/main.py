"""The program ``calreg``: its global options and its families of commands."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from calreg import __version__
from calreg.errors import CalregError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
database_app = typer.Typer(no_args_is_help=True, help="Make, upgrade and check the database.")
app.add_typer(database_app, name="db")


def _print_version(is_asked: bool) -> None:
    """Print the version and leave."""
    if is_asked:
        typer.echo(f"calreg {__version__}")
        raise typer.Exit


@app.callback()
def set_global_options(
    context: typer.Context,
    *,
    db: Annotated[
        str, typer.Option(envvar="CALREG_DB", help="Database URL, or the path of an SQLite file.")
    ] = "",
    version: Annotated[
        bool, typer.Option(callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Keep NIRCam's photometric offsets: ingest epochs, refit what changed, ask, export."""
    del version
    context.obj = db


@database_app.command("init")
def initialise(context: typer.Context) -> None:
    """Make the tables, or say that they are there.

    Example: calreg --db sqlite:///calreg.sqlite db init
    """
    from calreg.db.engine import default_url, init_database

    outcome = init_database(context.obj or default_url())
    typer.echo(str(outcome))


def main() -> None:
    """Run the program; an error that is the user's to see is one line and exit status 1."""
    try:
        app()
    except CalregError as error:
        typer.echo(f"calreg: {error}", err=True)
        sys.exit(1)

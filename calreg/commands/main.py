"""The command line: ``calreg COMMAND``."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from calreg._version import __version__
from calreg.commands import (
    contexts,
    data,
    database,
    exports,
    external,
    files,
    measure,
    mosaics,
    pixels,
    questions,
    validity,
)
from calreg.commands.common import Format, GlobalOptions, OutputFormat, collect_seldom
from calreg.commands.demo import (
    demo,
)
from calreg.errors import CalregError

app = typer.Typer(
    name="calreg",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # its imports are half the time of --help
    pretty_exceptions_enable=False,
    help="Registry of photometric offsets between NIRCam detectors, across CRDS contexts.",
    epilog="A session: calreg db init; calreg ingest epoch1/ epoch2/; calreg refit; "
    "calreg coefficients; calreg export recipe out.ecsv --pmap jwst_1130.pmap",
)
app.add_typer(database.app, name="db")
app.add_typer(exports.app, name="export")
app.add_typer(contexts.app, name="pmap")
data.register(app)
questions.register(app)
files.register(app)
mosaics.register(app)
measure.register(app)
pixels.register(app)
validity.register(app)
external.register(app)
contexts.register(app)
demo.register(app)


def _print_version(is_wanted: bool) -> None:
    """Print the version and leave."""
    if is_wanted:
        typer.echo(f"calreg {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    db: Annotated[
        str | None,
        typer.Option("--db", metavar="URL", help="Database; also accepted after the command."),
    ] = None,
    output_format: Format = None,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Keep the options that stand before the command's name."""
    del version
    context.obj = GlobalOptions(db, output_format or OutputFormat.TABLE)


def main() -> None:
    """Run calreg; every error is one line on stderr: exit 1 failed, 2 usage."""
    collect_seldom()
    try:
        app()
    except CalregError as error:
        _leave(f"calreg: {error}")
    except KeyboardInterrupt:
        _leave("calreg: interrupted; the registry is as it was before the command", 130)
    except BrokenPipeError:
        # The reader of our output has gone; a second error at exit would only confuse.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if os.environ.get("CALREG_TRACEBACK"):
            raise
        _leave(
            f"calreg: internal error: {type(error).__name__}: {' '.join(str(error).split())} "
            "(nothing was written; please report it with the output of CALREG_TRACEBACK=1)"
        )


def _leave(message: str, status: int = 1) -> None:
    """Print one line on stderr and leave."""
    sys.stderr.write(message + "\n")
    sys.exit(status)

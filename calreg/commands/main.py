"""The command line: ``calreg COMMAND``."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from calreg._version import __version__
from calreg.commands.common import Format, GlobalOptions, OutputFormat, collect_seldom
from calreg.errors import CalregError

# Which module has a command, in the order of the help: a question imports one of them.
_MODULES = {
    name: module
    for module, names in {
        "data": "ingest refit",
        "questions": "offsets coefficients history",
        "files": "check apply undo affected",
        "mosaics": "mosaic",
        "measure": "measure",
        "pixels": "astrometry difference",
        "validity": "validity promote withdraw",
        "external": "compare",
        "contexts": "diff predict",
        "demo.demo": "demo",
    }.items()
    for name in names.split()
} | {"db": "database", "export": "exports", "pmap": "contexts", "import": "external"}


class _Commands(Mapping[str, Any]):
    """The commands by name; the module of one is imported when it is asked for."""

    def __getitem__(self, name: str) -> Any:
        module = import_module(f"calreg.commands.{_MODULES[name]}")
        part = typer.Typer(add_completion=False, rich_markup_mode=None)
        module.register(part)
        return typer.main.get_group(part).commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


class _LazyGroup(TyperGroup):
    """The group of all commands."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        commands: Any = _Commands()
        self.commands = commands

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names, which imports nothing."""
        del ctx
        return list(_MODULES)


app = typer.Typer(
    name="calreg",
    cls=_LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # its imports are half the time of --help
    pretty_exceptions_enable=False,
    help="Registry of photometric offsets between NIRCam detectors, across CRDS contexts.",
    epilog="A session: calreg db init; calreg ingest epoch1/ epoch2/; calreg refit; "
    "calreg coefficients; calreg export recipe out.ecsv --pmap jwst_1130.pmap",
)


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
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names of files may hold any byte.
        sys.stdout.reconfigure(errors="backslashreplace")
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
            "(please report it with the output of CALREG_TRACEBACK=1)"
        )


def _leave(message: str, status: int = 1) -> None:
    """Print one line on stderr and leave."""
    sys.stderr.write(message + "\n")
    sys.exit(status)

"""What commands share: the options, the registry that they open, progress bars."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from calreg.errors import CalregError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from calreg.domain import Progress
    from calreg.registry import Registry


class OutputFormat(StrEnum):
    """How answers are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


@dataclass
class GlobalOptions:
    """Options given before the command's name."""

    db: str | None = None
    output_format: OutputFormat = OutputFormat.TABLE


@contextmanager
def usage_errors() -> Iterator[None]:
    """Turn errors about the values of options into usage errors (exit status 2)."""
    try:
        yield
    except CalregError as error:
        raise typer.BadParameter(str(error)) from None


def check_pmap(value: str | None) -> str | None:
    """Refuse what cannot be a context."""
    if value is not None:
        from calreg.domain import Pmap

        with usage_errors():
            Pmap.parse(value)
    return value


def check_band(value: str | None) -> str | None:
    """Refuse what is no band of the instrument."""
    if value is not None:
        from calreg.instruments import load_instrument

        with usage_errors():
            load_instrument().band_named(value)
    return value


def check_array(value: str | None) -> str | None:
    """Refuse what is no array id of the instrument."""
    if value is not None:
        from calreg.instruments import load_instrument

        with usage_errors():
            load_instrument().array_id_named(value)
    return value


Db = Annotated[
    str | None,
    typer.Option(
        "--db",
        metavar="URL",
        help="Database: a SQLite file or postgresql://... "
        "[default: $CALREG_DB, else sqlite:///calreg.sqlite]",
        show_default=False,
    ),
]
Format = Annotated[
    OutputFormat | None,
    typer.Option("--format", help="How to print the answer [default: table].", show_default=False),
]
PmapOption = Annotated[
    str | None,
    typer.Option(
        "--pmap",
        metavar="PMAP",
        help="Only this context: jwst_1130.pmap, or 1130.",
        callback=check_pmap,
    ),
]
RequiredPmap = Annotated[
    str,
    typer.Option(
        "--pmap",
        metavar="PMAP",
        help="Context: jwst_1130.pmap, or 1130.",
        callback=check_pmap,
    ),
]
BandOption = Annotated[
    str | None,
    typer.Option(
        "--band", metavar="BAND", help="Only this band, such as F356W.", callback=check_band
    ),
]
ArrayOption = Annotated[
    str | None,
    typer.Option(
        "--array",
        metavar="ID",
        help="Only this array id, shared by A and B: 1, 2, 3, 4 or long.",
        callback=check_array,
    ),
]
FieldOption = Annotated[
    str | None,
    typer.Option("--field", metavar="NAME", help="Only this field, where there are several."),
]
AsOfOption = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        metavar="TIME",
        help="Answer as at this time: 2024-05-01T12:00 (UTC), or 2024-05-01 for its 0h.",
    ),
]
MagLimitOption = Annotated[
    float, typer.Option("--mag-limit", help="Faintest mean magnitude of a pair [mag AB].")
]
SnrOption = Annotated[
    float, typer.Option("--snr", help="Smallest S/N of a pair (mean error of its magnitudes).")
]
MaxSepOption = Annotated[
    float, typer.Option("--max-sep", help="Search radius of the matching [arcsec].")
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace the file if it exists.")
]


def options_of(
    context: typer.Context, db: str | None, output_format: OutputFormat | None
) -> GlobalOptions:
    """Return the options in force: those after the command's name win."""
    given = context.ensure_object(GlobalOptions)
    return GlobalOptions(db or given.db, output_format or given.output_format)


@contextmanager
def open_registry(options: GlobalOptions, *, read_only: bool = False) -> Iterator[Registry]:
    """Open the registry of a command."""
    from calreg.registry import Registry

    with Registry(options.db, read_only=read_only) as registry:
        yield registry


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Draw progress on stderr when that is a terminal."""
    import sys

    from calreg.domain import no_progress

    if not sys.stderr.isatty():
        yield no_progress
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, int] = {}

        def show(task: str, n_done: int, n_all: int) -> None:
            if n_all == 0:
                return
            if task not in tasks:
                tasks[task] = bars.add_task(task, total=n_all)
            bars.update(tasks[task], completed=n_done, total=n_all)  # type: ignore[arg-type]

        yield show


def parse_time(text: str | None) -> datetime | None:
    """Read ``--as-of``: ISO 8601, UTC unless it says otherwise; a date means its first moment."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        msg = f"{text!r} is not a time: expected ISO 8601 such as 2023-09-15T12:00:00Z"
        raise typer.BadParameter(msg, param_hint="--as-of") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def log(message: str) -> None:
    """Print a line for the reader on stderr."""
    typer.echo(message, err=True)

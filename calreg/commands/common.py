"""What commands share: the options, the registry that they open, progress bars."""

from __future__ import annotations

import functools
import gc
import inspect
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calreg.errors import CalregError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from calreg.domain import Progress
    from calreg.instruments import Instrument
    from calreg.registry import Registry


class OutputFormat(StrEnum):
    """How answers are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


@dataclass
class GlobalOptions:
    """Options that every command has, before or after its name.

    Attributes
    ----------
    checks : list of callable
        Checks of other options that wait for the registry's instrument.
    """

    db: str | None = None
    output_format: OutputFormat = OutputFormat.TABLE
    checks: list[Callable[[Instrument], None]] = field(default_factory=list)


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


def check_with(look_up: Callable[[Instrument, str], object]) -> Callable[..., str | None]:
    """Return a callback that refuses a name once the registry is open: its instrument decides."""

    def keep(context: typer.Context, param: typer.CallbackParam, value: str | None) -> str | None:
        def check(instrument: Instrument) -> None:
            try:
                look_up(instrument, value or "")
            except CalregError as error:
                raise typer.BadParameter(str(error), ctx=context, param_hint=param.opts) from None

        if value is not None:
            context.ensure_object(GlobalOptions).checks.append(check)
        return value

    return keep


check_band = check_with(lambda instrument, name: instrument.band_named(name))
check_array_id = check_with(lambda instrument, name: instrument.array_id_named(name))
check_detector = check_with(lambda instrument, name: instrument.array(name))


def check_flux(value: str | None) -> str | None:
    """Refuse what is no kind of flux."""
    if value is not None:
        from calreg.domain import FluxKind

        if value.lower() not in set(FluxKind):
            msg = f"{value!r}: expected one of {', '.join(FluxKind)}"
            raise typer.BadParameter(msg)
        return value.lower()
    return value


def parse_time(text: str) -> datetime:
    """Read ``--as-of``: ISO 8601, UTC unless it says otherwise; a date means its first moment."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        msg = f"{text!r} is not a time: expected ISO 8601 such as 2023-09-15T12:00:00Z"
        raise typer.BadParameter(msg, param_hint="--as-of") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def pmap_option(name: str, help_text: str) -> Any:
    """Declare an option that takes a context."""
    return typer.Option(name, metavar="PMAP", help=help_text, callback=check_pmap)


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
    str | None, pmap_option("--pmap", "Only this context: jwst_1130.pmap, or 1130.")
]
RequiredPmap = Annotated[str, pmap_option("--pmap", "Context: jwst_1130.pmap, or 1130.")]
BandOption = Annotated[
    str | None,
    typer.Option(
        "--band",
        metavar="BAND",
        help="Only this band, such as F356W.",
        callback=check_band,
    ),
]
ArrayOption = Annotated[
    str | None,
    typer.Option(
        "--array",
        metavar="ID",
        help="Only this array id, shared by A and B: 1, 2, 3, 4 or long.",
        callback=check_array_id,
    ),
]
FieldOption = Annotated[
    str | None,
    typer.Option("--field", metavar="NAME", help="Only this field, where there are several."),
]
NewFieldOption = Annotated[
    str | None,
    typer.Option("--field", metavar="NAME", help="Field of new images, instead of the one found."),
]
NewEpochOption = Annotated[
    str | None,
    typer.Option("--epoch", metavar="NAME", help="Epoch of new images, instead of the one found."),
]
FluxOption = Annotated[
    str | None,
    typer.Option(
        "--flux",
        metavar="KIND",
        help="Only this flux, where there are several: iso, auto, ...",
        callback=check_flux,
    ),
]
AsOfOption = Annotated[
    datetime | None,
    typer.Option(
        "--as-of",
        parser=parse_time,
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
    return GlobalOptions(db or given.db, output_format or given.output_format, given.checks)


def shared_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command ``--db`` and ``--format``; its parameter `options` has what holds of both."""

    @functools.wraps(function)
    def run(context: typer.Context, **given: Any) -> None:
        options = options_of(context, given.pop("db"), given.pop("output_format"))
        function(options=options, **given)

    keyword = inspect.Parameter.KEYWORD_ONLY
    signature = inspect.signature(function, eval_str=True)
    parameters = [
        inspect.Parameter(
            "context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context
        ),
        *(one for one in signature.parameters.values() if one.name != "options"),
        inspect.Parameter("db", keyword, default=None, annotation=Db),
        inspect.Parameter("output_format", keyword, default=None, annotation=Format),
    ]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


_USUAL_THRESHOLD = gc.get_threshold()
_STARTING_THRESHOLD = 100_000
"""Imports make no garbage, but looking for it is a fifth of the time that a question takes."""


def collect_seldom() -> None:
    """Look for garbage seldom while a command starts."""
    gc.set_threshold(_STARTING_THRESHOLD, *_USUAL_THRESHOLD[1:])


def collect_as_usual() -> None:
    """Look for garbage as Python does once a command has started, but not in what is imported."""
    if gc.get_threshold()[0] == _STARTING_THRESHOLD:
        gc.freeze()
        gc.set_threshold(*_USUAL_THRESHOLD)


@contextmanager
def open_registry(options: GlobalOptions, *, read_only: bool = False) -> Iterator[Registry]:
    """Open the registry of a command, and check the options that name parts of its instrument."""
    from calreg.registry import Registry

    try:
        registry = Registry(options.db, read_only=read_only)
    except CalregError:
        # Usage errors come first: without a registry the default instrument decides.
        if options.checks:
            from calreg.instruments import load_instrument

            _check(options, load_instrument())
        raise
    collect_as_usual()
    with registry:
        _check(options, registry.instrument)
        yield registry


def _check(options: GlobalOptions, instrument: Instrument) -> None:
    """Refuse options that name what the instrument does not have."""
    for check in options.checks:
        check(instrument)


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


def log(message: str) -> None:
    """Print a line for the reader on stderr."""
    typer.echo(message, err=True)

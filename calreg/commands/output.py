"""Print answers as a table, JSON or CSV: data on stdout, nothing else."""

from __future__ import annotations

import csv
import json
import math
import sys
from dataclasses import asdict, dataclass, fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calreg.commands.common import OutputFormat

if TYPE_CHECKING:
    from collections.abc import Sequence


_MISSING = "-"

_UNLIMITED_WIDTH = 1000
"""Width of tables that are piped or redirected [characters]: never cut off."""


@dataclass(frozen=True)
class Column:
    """A column of a printed table.

    Attributes
    ----------
    header : str
        With the unit, where there is one.
    form : str
        Format of numbers, such as ``+.5f``.
    is_fixed_at_zero : bool
        Show an exact zero as a dash: the model held the number fixed.
    is_optional : bool
        Leave the column out when no row has a value for it.
    is_distinguishing : bool
        Leave the column out when all rows have the same value.
    """

    name: str
    header: str
    form: str = ""
    is_fixed_at_zero: bool = False
    is_optional: bool = False
    is_distinguishing: bool = False


def print_rows(
    rows: Sequence[Any],
    columns: Sequence[Column],
    output_format: OutputFormat,
    *,
    title: str = "",
    empty: str = "nothing found",
) -> None:
    """Print rows of one dataclass; JSON and CSV have all fields, the table the chosen ones."""
    if output_format is OutputFormat.JSON:
        print_json([plain(row) for row in rows])
    elif output_format is OutputFormat.CSV:
        _print_csv(rows)
    elif rows:
        _print_table(rows, columns, title)
    else:
        sys.stderr.write(f"{empty}\n")


class Notes:
    """Long texts of a table's rows: numbered in the table, in full below it, each once."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def mark(self, *texts: str) -> str:
        """Return the numbers of some texts, ``1, 3``; empty texts have none."""
        given = dict.fromkeys(text for text in texts if text)
        numbers = [self._numbers.setdefault(text, len(self._numbers) + 1) for text in given]
        return ", ".join(str(number) for number in numbers)

    def print(self) -> None:
        """Print the texts on stderr: the table alone is data."""
        for text, number in self._numbers.items():
            sys.stderr.write(f"[{number}] {text}\n")


def print_json(value: object) -> None:
    """Print a value as JSON; NaN and infinity become null."""
    sys.stdout.write(json.dumps(value, indent=1, allow_nan=False) + "\n")


def plain(value: object) -> Any:
    """Turn a value into what JSON knows."""
    if is_dataclass(value) and not isinstance(value, type):
        return {key: plain(inner) for key, inner in asdict(value).items()}
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value


def format_time(moment: datetime) -> str:
    """Return a time as ISO 8601 in UTC with Z."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _print_csv(rows: Sequence[Any]) -> None:
    """Print all fields as CSV."""
    if not rows:
        return
    names = [entry.name for entry in fields(rows[0])]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        values = plain(row)
        writer.writerow(
            [
                json.dumps(values[name], sort_keys=True)
                if isinstance(values[name], dict | list)
                else values[name]
                for name in names
            ]
        )


def _print_table(rows: Sequence[Any], columns: Sequence[Column], title: str) -> None:
    """Print the chosen fields as a table, never cut off when stdout is no terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console() if sys.stdout.isatty() else Console(width=_UNLIMITED_WIDTH)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    shown = []
    for column in columns:
        cells = [_cell(getattr(row, column.name), column) for row in rows]
        if column.is_optional and set(cells) == {_MISSING}:
            continue
        if column.is_distinguishing and len(set(cells)) == 1:
            continue
        is_number = bool(column.form)
        table.add_column(
            Text(column.header), justify="right" if is_number else "left", no_wrap=is_number
        )
        shown.append(cells)
    for cells_of_row in zip(*shown, strict=True):
        table.add_row(*map(Text, cells_of_row))
    with console.capture() as captured:
        console.print(table)
    if title:
        sys.stdout.write(f"{title}\n")
    for line in captured.get().splitlines():
        sys.stdout.write(f"{line.rstrip()}\n")


def _cell(value: object, column: Column) -> str:
    """Format one cell; a missing or fixed value is a dash."""
    if value is None or value == "" or (column.is_fixed_at_zero and value == 0.0):
        return _MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(sep=" ", timespec="seconds").replace("+00:00", "Z")
    is_number = column.form and isinstance(value, int | float)
    return format(value, column.form) if is_number else str(value)

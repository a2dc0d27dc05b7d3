"""Where the rows of a text table are in its file, for messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def line_of_row(path: Path, row: int, *, n_header_lines: int = 0) -> int:
    """Return the line of a row of a text table.

    Parameters
    ----------
    path : pathlib.Path
    row : int
        Row of the data, counted from 1.
    n_header_lines : int
        Lines of names between the comments and the data.

    Returns
    -------
    int
        Line of the file, counted from 1; 0 if the file has fewer rows.
    """
    left = row + n_header_lines
    with path.open(encoding="latin-1") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip() and not line.startswith("#"):
                left -= 1
                if left == 0:
                    return number
    return 0


def first_data_line(path: Path) -> str:
    """Return the first line that is neither empty nor a comment; in CSV and ECSV, the names.

    Parameters
    ----------
    path : pathlib.Path

    Returns
    -------
    str
        Without line end and byte-order mark; empty if there is none.
    """
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        return next((line.strip() for line in lines if line.strip() and line[0] != "#"), "")

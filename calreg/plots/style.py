"""What all figures share: matplotlib on request, colours, how a figure becomes a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from calreg.errors import InvalidValueError, MissingExtraError
from calreg.files.atomic import fill_pending, replace_file

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from calreg.files.atomic import PendingFile

BLUE = "#0072B2"
VERMILION = "#D55E00"
INK = "#222222"
GREY = "#8A8A8A"
BOX = "#E4E4E4"
"""Okabe & Ito's colours, which the colour-blind can tell apart, and greys."""

DIVERGING = "RdBu_r"
"""From ColorBrewer: zero is white, and the ends differ for the colour-blind too."""

FORMATS = (".png", ".pdf", ".svg")
_DPI = 150
_METADATA: dict[str, dict[str, Any]] = {
    ".png": {"Software": "calreg"},
    ".pdf": {"Creator": "calreg", "CreationDate": None},
    ".svg": {"Creator": "calreg", "Date": None},
}
"""Without dates: the same figure gives the same bytes."""


def require_matplotlib() -> None:
    """Refuse to draw without matplotlib.

    Raises
    ------
    MissingExtraError
        With the command that installs it.
    """
    try:
        import matplotlib as mpl  # noqa: F401 - only whether it is there
    except ImportError as error:
        msg = "figures need matplotlib, which is not installed; run: pip install 'calreg[plots]'"
        raise MissingExtraError(msg) from error


def require_format(path: Path) -> None:
    """Refuse a name that does not say PNG, PDF or SVG.

    Raises
    ------
    InvalidValueError
        If its ending is another one.
    """
    if path.suffix.lower() not in FORMATS:
        msg = f"figure {path.name}: expected a name ending in {', '.join(FORMATS)}"
        raise InvalidValueError(msg)


def new_figure(width_inch: float, height_inch: float) -> Figure:
    """Return an empty figure, which needs no display and no global state."""
    require_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width_inch, height_inch), layout="constrained", facecolor="white")


def save_figure(figure: Figure, path: Path, *, overwrite: bool = False) -> None:
    """Write a figure as a whole, or not at all."""
    require_format(path)
    with replace_file(path, overwrite=overwrite) as temporary:
        _draw(figure, temporary, path.suffix.lower())


def fill_figure(figure: Figure, pending: PendingFile) -> None:
    """Write a figure under its hidden name."""
    require_format(pending.path)
    with fill_pending(pending) as temporary:
        _draw(figure, temporary, pending.path.suffix.lower())


def _draw(figure: Figure, path: Path, suffix: str) -> None:
    """Draw a figure in the format of an ending."""
    figure.savefig(path, format=suffix[1:], dpi=_DPI, metadata=_METADATA[suffix])

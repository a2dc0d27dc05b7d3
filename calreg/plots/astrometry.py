"""Position offsets between epochs, per band and epoch pair (Ma et al., Figure 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from calreg.errors import InvalidValueError
from calreg.plots.style import (
    BLUE,
    BOX,
    GREY,
    INK,
    VERMILION,
    new_figure,
    require_format,
    require_matplotlib,
    save_figure,
)
from calreg.refit.astrometry import ASTROMETRY_WARNING_MAS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

    from calreg.refit.astrometry import AstrometryRow
    from calreg.units import FloatArray

_PANEL_INCH = 3.7
_N_BINS = 30
_MARGIN_SHARE = 0.22
"""Height of the histograms over that of the scatter."""

_SIGMA_SHOWN = 4.0
_SIGMA_PER_MAD = 1.4826
_MIN_HALF_WIDTH_MAS = 1.6 * ASTROMETRY_WARNING_MAS


def plot_astrometry(
    rows: Sequence[AstrometryRow],
    offsets_mas: Sequence[FloatArray],
    path: Path,
    *,
    overwrite: bool = False,
) -> None:
    """Draw the position offsets of every band and epoch pair.

    Parameters
    ----------
    offsets_mas : sequence of ndarray of float64, shape (2, n_sources)
        Offsets dRA cosDec and dDec that each row is of [mas].
    """
    require_format(path)
    require_matplotlib()
    if not rows:
        msg = f"{path.name}: there are no position offsets to draw"
        raise InvalidValueError(msg)
    lines = list(dict.fromkeys((row.field, row.pmap, row.band, row.image_kind) for row in rows))
    columns = list(dict.fromkeys((row.epoch_i, row.epoch_j) for row in rows))
    figure = new_figure(_PANEL_INCH * len(columns), _PANEL_INCH * len(lines))
    panels = figure.subfigures(len(lines), len(columns), squeeze=False)
    half_width = _half_width_mas(rows)
    for row, offsets in zip(rows, offsets_mas, strict=True):
        line = lines.index((row.field, row.pmap, row.band, row.image_kind))
        column = columns.index((row.epoch_i, row.epoch_j))
        _draw(panels[line, column], row, offsets, half_width)
    save_figure(figure, path, overwrite=overwrite)


def _half_width_mas(rows: Sequence[AstrometryRow]) -> float:
    """Return the range of all panels [mas]: one range, so that they can be compared."""
    reach = [
        abs(median) + _SIGMA_SHOWN * _SIGMA_PER_MAD * mad
        for row in rows
        for median, mad in (
            (row.ra_median_mas, row.ra_mad_mas),
            (row.dec_median_mas, row.dec_mad_mas),
        )
    ]
    return max(_MIN_HALF_WIDTH_MAS, *reach)


def _draw(panel: SubFigure, row: AstrometryRow, offsets: FloatArray, half_width: float) -> None:
    """Draw one band and epoch pair: the scatter, and its histograms above and beside."""
    scatter = panel.subplots()
    top = scatter.inset_axes((0.0, 1.03, 1.0, _MARGIN_SHARE))
    side = scatter.inset_axes((1.03, 0.0, _MARGIN_SHARE, 1.0))
    inside = np.abs(offsets).max(axis=0) <= half_width
    _draw_scatter(scatter, row, offsets[:, inside], half_width)
    bins = np.linspace(-half_width, half_width, _N_BINS + 1).tolist()
    top.hist(offsets[0], bins=bins, color=VERMILION)
    side.hist(offsets[1], bins=bins, color=BLUE, orientation="horizontal")
    top.axvline(row.ra_median_mas, color=INK, lw=1.0)
    side.axhline(row.dec_median_mas, color=INK, lw=1.0)
    top.set_xlim(-half_width, half_width)
    side.set_ylim(-half_width, half_width)
    for axis in (top, side):
        axis.set_axis_off()
    n_outside = int(np.count_nonzero(~inside))
    beyond = f" ({n_outside} outside)" if n_outside else ""
    aligned = ", aligned" if row.alignments else ""
    panel.suptitle(
        f"{row.band}  {row.epoch_i} → {row.epoch_j}\n"
        f"{row.pmap}{aligned}: {row.n_sources} sources{beyond}",
        fontsize=9,
        color=INK,
    )


def _draw_scatter(axis: Axes, row: AstrometryRow, offsets: FloatArray, half_width: float) -> None:
    """Draw the offsets in the plane of the sky, medians and MADs as a cross."""
    limit = ASTROMETRY_WARNING_MAS
    axis.fill_between([-limit, limit], -limit, limit, color=BOX, lw=0, zorder=0.5)
    for draw_line in (axis.axhline, axis.axvline):
        draw_line(0.0, color=GREY, lw=0.6, ls=(0, (4, 3)), zorder=1)
    axis.plot(*offsets, ls="none", marker="o", ms=3.2, mew=0, color=GREY, alpha=0.7, zorder=2)
    centre = (row.ra_median_mas, row.dec_median_mas)
    axis.errorbar(*centre, xerr=row.ra_mad_mas, color=VERMILION, lw=2.2, capsize=3, zorder=4)
    axis.errorbar(*centre, yerr=row.dec_mad_mas, color=BLUE, lw=2.2, capsize=3, zorder=4)
    axis.set_xlim(-half_width, half_width)
    axis.set_ylim(-half_width, half_width)
    axis.set_aspect("equal")
    axis.set_xlabel(
        f"ΔRA cos δ [mas]   {_plain(row.ra_median_mas)} ± {row.ra_mad_mas:.1f}",
        color=VERMILION,
        fontsize=9,
    )
    axis.set_ylabel(
        f"ΔDec [mas]   {_plain(row.dec_median_mas)} ± {row.dec_mad_mas:.1f}",
        color=BLUE,
        fontsize=9,
    )
    axis.tick_params(labelsize=8, colors=INK)


def _plain(value_mas: float) -> str:
    """Return a number with its sign, and zero without."""
    text = f"{value_mas:+.1f}"
    return "0.0" if float(text) == 0.0 else text

"""One band and array id across contexts: offsets, PHOTMJSR, and which files changed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from calreg.plots.style import (
    BLUE,
    BOX,
    GREY,
    INK,
    VERMILION,
    new_figure,
    require_format,
    save_figure,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from calreg.contexts.history import HistoryRow

_MMAG_PER_MAG = 1000.0
_HEIGHT_INCH = 6.4
_MIN_WIDTH_INCH = 6.0
_CONTEXT_INCH = 0.55
_HEIGHT_RATIOS = (3.0, 2.0, 1.4)
_FILES = ("photom A", "photom B", "flat A", "flat B", "area A", "area B")
_EXTERNAL_SHIFT = 0.18
_PREDICTED_SHIFT = -0.18
_DODGE = 0.06
"""Of markers beside each other [contexts]."""

Point = tuple[float, float | None, float | None]
"""Place, offset and error [mag]."""


def plot_history(rows: Sequence[HistoryRow], path: Path, *, overwrite: bool = False) -> None:
    """Draw how an offset moved across contexts."""
    require_format(path)
    pmaps = sorted({row.pmap for row in rows}, key=_number)
    places = {pmap: place for place, pmap in enumerate(pmaps)}
    width_inch = max(_MIN_WIDTH_INCH, 2.2 + _CONTEXT_INCH * len(pmaps))
    figure = new_figure(width_inch, _HEIGHT_INCH)
    offsets, values, files = figure.subplots(
        3, 1, sharex=True, gridspec_kw={"height_ratios": _HEIGHT_RATIOS}
    )
    _draw_offsets(offsets, rows, places)
    _draw_photmjsr(values, rows, places)
    _draw_files(files, rows, places)
    files.set_xticks(range(len(pmaps)), [str(_number(pmap)) for pmap in pmaps], rotation=45)
    files.set_xlim(-0.6, len(pmaps) - 0.4)
    files.set_xlabel("CRDS context jwst_NNNN.pmap (in order, not to scale)")
    figure.align_ylabels()
    figure.suptitle(f"{rows[0].band}, array {rows[0].array_id}", color=INK)
    save_figure(figure, path, overwrite=overwrite)


def _number(pmap: str) -> int:
    """Return the integer of a context."""
    return int(pmap.removeprefix("jwst_").removesuffix(".pmap"))


def _draw_offsets(axes: Axes, rows: Sequence[HistoryRow], places: dict[str, int]) -> None:
    """Draw measured, predicted and external offsets with their errors."""
    axes.axhline(0.0, color=GREY, linewidth=0.8)
    measured = {(places[row.pmap], row.offset_ab_mag, row.offset_ab_err_mag) for row in rows}
    predicted = {
        (places[row.pmap] + _PREDICTED_SHIFT, row.predicted_offset_ab_mag, row.predicted_err_mag)
        for row in rows
    }
    external = {
        (places[row.pmap] + _EXTERNAL_SHIFT, one.offset_ab_mag, one.offset_ab_err_mag)
        for row in rows
        for one in row.external
    }
    _errorbars(axes, measured, "measured", "o", BLUE, BLUE)
    _errorbars(axes, predicted, "predicted by PHOTMJSR", "D", VERMILION, "white")
    _errorbars(axes, external, "external", "s", INK, INK)
    known = {
        row.pmap
        for row in rows
        if row.external or row.offset_ab_mag is not None or row.predicted_offset_ab_mag is not None
    }
    for pmap in sorted(set(places) - known):
        place = places[pmap]
        axes.axvspan(place - 0.4, place + 0.4, color=BOX, zorder=0)
        axes.text(
            place,
            0.5,
            "unknown",
            color=GREY,
            fontsize=8,
            rotation=90,
            ha="center",
            va="center",
            transform=axes.get_xaxis_transform(),
        )
    axes.set_ylabel("$m_A - m_B$ [mmag]\n> 0: A too faint")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            fontsize=8, frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0)
        )


def _errorbars(
    axes: Axes, points: Iterable[Point], label: str, marker: str, color: str, face: str
) -> None:
    """Draw what is known of some offsets."""
    known = sorted((x, mag, err or 0.0) for x, mag, err in points if mag is not None)
    if not known:
        return
    x, mags, errs = zip(*known, strict=True)
    axes.errorbar(
        x,
        [_MMAG_PER_MAG * mag for mag in mags],
        yerr=[_MMAG_PER_MAG * err for err in errs],
        label=label,
        linestyle="none",
        capsize=2,
        marker=marker,
        markersize=5,
        color=color,
        markerfacecolor=face,
    )


def _draw_photmjsr(axes: Axes, rows: Sequence[HistoryRow], places: dict[str, int]) -> None:
    """Draw PHOTMJSR of both arrays as the change of magnitudes since their first known value."""
    axes.axhline(0.0, color=GREY, linewidth=0.8)
    for module, color, marker, shift in (("A", BLUE, "o", -_DODGE), ("B", VERMILION, "s", _DODGE)):
        known = {
            places[row.pmap]: value
            for row in rows
            if (value := getattr(row, f"photmjsr_{module.lower()}")) is not None
        }
        if not known:
            continue
        first = known[min(known)]
        axes.plot(
            [place + shift for place in places.values()],
            [
                -2.5 * _MMAG_PER_MAG * math.log10(known[place] / first)
                if place in known
                else math.nan
                for place in places.values()
            ],
            color=color,
            marker=marker,
            markersize=4,
            linewidth=1.0,
            drawstyle="steps-mid",
            label=f"array {module} (first: {first:.5g})",
        )
    axes.set_ylabel("by PHOTMJSR\n[mmag], + fainter")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, frameon=False, ncols=2)


def _draw_files(axes: Axes, rows: Sequence[HistoryRow], places: dict[str, int]) -> None:
    """Mark which files changed since the context before, and of which that is not known."""
    for line, name in enumerate(_FILES):
        changed = sorted({places[row.pmap] for row in rows if name in row.references_changed})
        unknown = sorted({places[row.pmap] for row in rows if name in row.references_unknown})
        axes.scatter(changed, [line] * len(changed), marker="s", s=34, color=VERMILION)
        for place in unknown:
            axes.text(place, line, "?", color=GREY, fontsize=8, ha="center", va="center")
    axes.set_yticks(range(len(_FILES)), _FILES, fontsize=7)
    axes.set_ylim(len(_FILES) - 0.4, -0.6)
    axes.set_ylabel("file changed\n(? not known)")

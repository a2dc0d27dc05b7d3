"""Difference images before and after a correction, side by side (Ma et al., Figures 2 and 7)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from calreg.plots.style import DIVERGING, GREY, INK, fill_figure, new_figure
from calreg.units import ARCMIN_PER_DEG, ARCSEC_PER_DEG

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from numpy.typing import NDArray

    from calreg.files.atomic import PendingFile
    from calreg.science.imaging.differencing import ResidualRow, SourceResiduals
    from calreg.science.sky.grids import Grid

_MAX_PIXELS = 1400
"""Longest side of a panel; larger images are averaged in blocks."""

_PANEL_INCH = 8.0
_STRETCH_SIGMA = 4.0
_SIGMA_PER_MAD = 1.4826
_MIN_CLIP = 1e-12
_MIN_RING_LIMIT = 0.05
"""Smallest end of the colour scale of rings, as a fraction."""

_RING_POINTS2 = 60.0
_MIN_RING_POINTS2 = 16.0
_ROOMY = 150
"""So many rings have room at their full size [points^2]; more are smaller."""

_COMPASS_ARM = 0.42
_HALF_STYLES = ("-", (0, (5, 2)), (0, (1, 1.5)), "-.")
_ARCMIN_PER_ARCSEC = ARCMIN_PER_DEG / ARCSEC_PER_DEG


@dataclass(frozen=True)
class DifferenceFigure:
    """What the figure shows; planes have shape (ny, nx).

    Attributes
    ----------
    grid : Grid
        Pixels of the planes.
    before, after : ndarray of float32
        Smoothed difference images; `after` is None where nothing was corrected.
    half : ndarray of uint8
        Which half a pixel is in, 0 for none.
    rows : sequence of ResidualRow
        One per half, in the order of their numbers.
    sources : SourceResiduals
        Bright sources, with their fractional residuals.
    """

    title: str
    unit: str
    grid: Grid
    before: NDArray[np.float32] = field(repr=False)
    after: NDArray[np.float32] | None = field(repr=False)
    half: NDArray[np.uint8] = field(repr=False)
    rows: Sequence[ResidualRow] = field(repr=False)
    sources: SourceResiduals = field(repr=False)


def plot_difference(content: DifferenceFigure, pending: PendingFile) -> None:
    """Draw a difference image before and after its correction, with one stretch."""
    planes = [("before", content.before)]
    if content.after is not None:
        planes.append(("after", content.after))
    figure, axes = _panels(content, len(planes))
    limit = _stretch(content.before)
    for axis, (name, plane) in zip(axes, planes, strict=True):
        image = _draw_plane(axis, plane, content.grid, limit)
        rings = _ring_sources(axis, content, is_after=name == "after")
        _mark_halves(axis, content, is_after=name == "after")
        axis.set_title(f"{name} correction", fontsize=10, color=INK, loc="left")
    _draw_compass(axes[0], content.grid)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.015, extend="both")
    bar.set_label(f"{content.title.rsplit(': ', 1)[-1]}, smoothed [{content.unit}]", fontsize=9)
    below = figure.colorbar(rings, ax=axes, location="bottom", shrink=0.6, aspect=45, extend="both")
    below.set_label("rings: fractional residual of bright sources [%]", fontsize=9)
    for one in (bar, below):
        one.ax.tick_params(labelsize=8)
    figure.suptitle(content.title, fontsize=11, color=INK)
    fill_figure(figure, pending)


def _panels(content: DifferenceFigure, n_panels: int) -> tuple[Figure, list[Axes]]:
    """Return a figure whose panels lie above each other for a wide field, else beside."""
    ny, nx = content.before.shape
    is_wide = nx > 1.2 * ny
    n_lines, n_columns = (n_panels, 1) if is_wide else (1, n_panels)
    side = _PANEL_INCH if is_wide else 0.75 * _PANEL_INCH
    width = side * n_columns + 1.4
    height = (side * ny / nx + 0.3) * n_lines + 1.5
    figure = new_figure(width, height)
    axes = figure.subplots(n_lines, n_columns, squeeze=False, sharex=True, sharey=True)
    for axis in axes[-1]:
        axis.set_xlabel(_axis_label(content.grid, -90.0), fontsize=9)
    for axis in axes[:, 0]:
        axis.set_ylabel(_axis_label(content.grid, 0.0), fontsize=9)
    return figure, axes.ravel().tolist()


def _axis_label(grid: Grid, turn_deg: float) -> str:
    """Return the label of an axis of the grid."""
    pa_deg = round((grid.y_pa_deg + turn_deg) % 360.0, 1) % 360.0
    return f"offset towards PA {pa_deg:g}° [arcmin]"


def _stretch(before: NDArray[np.float32]) -> float:
    """Return the end of the colour scale: a few times the noise of the smoothed image."""
    values = before[np.isfinite(before)]
    if values.size == 0:
        return 1.0
    sigma = _SIGMA_PER_MAD * float(np.median(np.abs(values - np.median(values))))
    return max(_STRETCH_SIGMA * sigma, _MIN_CLIP)


def _draw_plane(axis: Axes, plane: NDArray[np.float32], grid: Grid, limit: float) -> AxesImage:
    """Draw a plane, arcminutes from the middle of the grid on both axes."""
    step = max(1, -(-max(plane.shape) // _MAX_PIXELS))
    half_x, half_y = (0.5 * n * grid.scale_arcsec * _ARCMIN_PER_ARCSEC for n in (grid.nx, grid.ny))
    image = axis.imshow(
        _binned(plane, step),
        origin="lower",
        extent=(-half_x, half_x, -half_y, half_y),
        cmap=DIVERGING,
        vmin=-limit,
        vmax=limit,
        interpolation="nearest",
    )
    axis.set_facecolor("#D9D9D9")
    axis.tick_params(labelsize=8, colors=INK)
    return image


def _binned(plane: NDArray[np.float32], step: int) -> NDArray[np.float64]:
    """Return means over blocks; NaN where a block has no data."""
    ny, nx = (-(-n // step) * step for n in plane.shape)
    padded = np.full((ny, nx), np.nan)
    padded[: plane.shape[0], : plane.shape[1]] = plane
    blocks = padded.reshape(ny // step, step, nx // step, step)
    count = np.isfinite(blocks).sum(axis=(1, 3))
    total = np.nansum(blocks, axis=(1, 3))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _ring_sources(axis: Axes, content: DifferenceFigure, *, is_after: bool) -> ScalarMappable:
    """Draw rings around bright sources, coloured by what is left of them [%]."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    medians = [abs(row.before_median) for row in content.rows if row.before_median is not None]
    limit = 100.0 * max(_MIN_RING_LIMIT, 1.25 * max(medians, default=0.0))
    colours = ScalarMappable(Normalize(-limit, limit), DIVERGING)
    sources, grid = content.sources, content.grid
    fraction = sources.after if is_after and sources.after is not None else sources.before
    x, y = (
        (pixels - 0.5 * (n - 1)) * grid.scale_arcsec * _ARCMIN_PER_ARCSEC
        for pixels, n in ((sources.x, grid.nx), (sources.y, grid.ny))
    )
    inner = colours.to_rgba(100.0 * fraction).tolist()
    area = max(_MIN_RING_POINTS2, _RING_POINTS2 * min(1.0, _ROOMY / max(x.size, 1)))
    scale = np.sqrt(area / _RING_POINTS2)
    for edges, width in (([GREY] * x.size, 2.4 * scale), (inner, 1.6 * scale)):
        axis.scatter(x, y, s=area, facecolors="none", edgecolors=edges, linewidths=width)
    return colours


def _mark_halves(axis: Axes, content: DifferenceFigure, *, is_after: bool) -> None:
    """Outline the halves and write what is left of their sources."""
    grid = content.grid
    step = max(1, max(content.half.shape) // 400)
    marks = content.half[::step, ::step]
    x, y = (
        (np.arange(n) * step - 0.5 * (whole - 1)) * grid.scale_arcsec * _ARCMIN_PER_ARCSEC
        for n, whole in ((marks.shape[1], grid.nx), (marks.shape[0], grid.ny))
    )
    for number, row in enumerate(content.rows, start=1):
        is_in = marks == number
        if not is_in.any():
            continue
        padded = np.pad(is_in.astype(float), 1)
        axis.contour(
            np.concatenate([[2 * x[0] - x[1]], x, [2 * x[-1] - x[-2]]]),
            np.concatenate([[2 * y[0] - y[1]], y, [2 * y[-1] - y[-2]]]),
            padded,
            levels=[0.5],
            colors=INK,
            linewidths=1.1,
            linestyles=[_HALF_STYLES[(number - 1) % len(_HALF_STYLES)]],
        )
        rows, columns = np.nonzero(is_in)
        axis.text(
            float(x[columns].mean()),
            float(y[rows].max()) - 0.04 * float(y[-1] - y[0]),
            _label(row, is_after=is_after),
            ha="center",
            va="top",
            fontsize=8.5,
            color=INK,
            bbox={"boxstyle": "round,pad=0.3", "fc": "white", "ec": INK, "lw": 0.6, "alpha": 0.9},
        )


def _label(row: ResidualRow, *, is_after: bool) -> str:
    """Return the label of a half: its modules and the residual of its sources."""
    median, err = (
        (row.after_median, row.after_err) if is_after else (row.before_median, row.before_err)
    )
    number = "no bright source" if median is None else f"{100.0 * median:+.2f}"
    if median is not None:
        number += " %" if err is None else f" ± {100.0 * err:.2f} %"
    return f"{row.half}: {number} ({row.n_sources} sources)"


def _draw_compass(axis: Axes, grid: Grid) -> None:
    """Draw where north and east are, on a plate of its own in a corner."""
    pa = np.radians(grid.y_pa_deg)
    north, east = np.array([np.sin(pa), np.cos(pa)]), np.array([-np.cos(pa), np.sin(pa)])
    width_to_height = grid.nx / grid.ny
    side = 0.17 / max(width_to_height, 1.0)
    plate = axis.inset_axes((0.99 - side, 0.02, side, side * width_to_height), zorder=6)
    plate.set(xticks=[], yticks=[], xlim=(0.0, 1.0), ylim=(0.0, 1.0), facecolor="white")
    plate.patch.set_alpha(0.9)
    for spine in plate.spines.values():
        spine.set_linewidth(0.6)
    # The arms of both directions, centred.
    origin = 0.5 - 0.5 * _COMPASS_ARM * (north + east)
    for name, arm in (("N", north), ("E", east)):
        plate.annotate(
            "",
            xy=tuple(origin + _COMPASS_ARM * arm),
            xytext=tuple(origin),
            arrowprops={"arrowstyle": "->", "color": INK, "lw": 1.0, "shrinkA": 0, "shrinkB": 0},
        )
        x, y = (origin + (_COMPASS_ARM + 0.15) * arm).tolist()
        plate.text(x, y, name, ha="center", va="center", fontsize=8, color=INK)

"""Difference images of two epochs, before and after the registry's correction (Figures 2 and 7)."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from calreg._version import __version__
from calreg.domain import no_progress
from calreg.errors import DegenerateImageError
from calreg.files.atomic import NamedFiles, make_folder, pending_file, remove_pending
from calreg.files.images.difference import DifferenceFile, write_difference
from calreg.files.images.members import read_members
from calreg.files.images.planes import read_planes, read_weights
from calreg.pixels.difference.plan import plan_differences
from calreg.plots.difference import DifferenceFigure, plot_difference
from calreg.plots.style import require_matplotlib
from calreg.science.imaging.differencing import (
    _MIN_SHARE,
    ISOPHOTES,
    RESIDUAL_LIMIT,
    SMOOTHING_RADIUS_PX,
    EpochStack,
    Layer,
    ResidualRow,
    half_map,
    measure_residuals,
    median_residual,
    smooth,
    subtract,
)
from calreg.science.imaging.mosaicfactors import mosaic_factors
from calreg.science.imaging.reprojection import reproject_planes
from calreg.science.photometry.image import ImagePlanes, measure_background, unusable_pixels
from calreg.science.sky.coverage import CoveringExposure, LinearDetector
from calreg.science.sky.geometry import tangent_plane
from calreg.science.sky.pointing import boresight
from calreg.sets.corrections import mean_pointing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from calreg.db.engine import Database
    from calreg.domain import BoolArray, Progress
    from calreg.files.atomic import PendingFile
    from calreg.files.fits.cards import Value
    from calreg.instruments import Instrument
    from calreg.pixels.difference.plan import DifferenceOptions, DifferencePlan, PlacedMosaic
    from calreg.science.imaging.differencing import Difference, EpochImage, SourceResiduals

_MIN_ARRAY_SOURCES = 10
"""Fewer sources that two arrays alone saw are no number for them: the corners of dithers."""

_PLANE_COMMENTS = (
    "EPOCH_B minus EPOCH_A. Positive: EPOCH_B reads brighter, EPOCH_A is",
    "under-subtracted; negative: over-subtracted. BEFORE: as the mosaics",
    "are, the background of each subtracted. AFTER: each multiplied by",
    "10^(+0.4 offset(x, y)) of the sets in INPUTS. ERR: one sigma of BEFORE,",
    "pixels taken as independent. SMOOTHED: means over a circle. HALF: which",
    "half of the field a pixel is in, 0 where both modules contribute.",
    "RESIDUALS: medians of 2 (f_B - f_A) / (f_B + f_A) of bright sources in",
    "the isophotes of the mean of both epochs, before any correction.",
)


@dataclass
class DifferenceReport:
    """What was made.

    Attributes
    ----------
    rows : list of ResidualRow
        By band and half; a half first, then the pairs of arrays in it that alone saw ten sources or
        more, where there are several.
    """

    rows: list[ResidualRow] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def make_differences(
    database: Database,
    options: DifferenceOptions,
    instrument: Instrument,
    progress: Progress = no_progress,
) -> DifferenceReport:
    """Subtract two epochs, band by band, and write what is found."""
    require_matplotlib()
    with database.read() as connection:
        plans = plan_differences(connection, options, instrument)
    make_folder(options.out)
    report = DifferenceReport()
    pairs = [
        tuple(
            pending_file(path, overwrite=options.overwrite)
            for path in (plan.fits_path, plan.png_path)
        )
        for plan in plans
    ]
    files = [file for pair in pairs for file in pair]
    try:
        for plan, pair in zip(plans, pairs, strict=True):
            _make(plan, pair, options, instrument, progress, report)
        with NamedFiles() as names:
            for file in files:
                names.give(file)
    finally:
        for file in files:
            remove_pending(file)
    report.files = [str(file.path) for file in files]
    return report


def _make(
    plan: DifferencePlan,
    files: tuple[PendingFile, ...],
    options: DifferenceOptions,
    instrument: Instrument,
    progress: Progress,
    report: DifferenceReport,
) -> None:
    """Make, measure and write one difference image."""
    n_all = sum(map(len, plan.mosaics))
    done = Counter[str]()

    def tell() -> None:
        done[plan.band] += 1
        progress(f"subtracting {plan.band}", done[plan.band], n_all)

    first, second = (stack_epoch(plan, own, instrument, tell) for own in plan.mosaics)
    halves = _halves(plan, instrument, first, second)
    residuals = measure_residuals(
        first, second, min_snr=options.min_snr, noise_correlation=_noise_correlation(plan)
    )
    rows = _rows(plan, halves, residuals, instrument)
    half = half_map(first, second, [found.bits for found in halves])
    difference = subtract(first, second)
    del first, second
    smoothed = {
        name: smooth(plane)
        for name, plane in (("BEFORE", difference.before), ("AFTER", difference.after))
        if plane is not None
    }
    content = _content(plan, options, difference, smoothed, (half, halves), rows)
    write_difference(files[0], content)
    epoch_a, epoch_b = (epoch.name for epoch in plan.epochs)
    figure = DifferenceFigure(
        title=f"{plan.field} {plan.band} {plan.pmap}: {epoch_b} minus {epoch_a}",
        grid=plan.grid,
        unit=plan.bunit,
        before=smoothed["BEFORE"],
        after=smoothed.get("AFTER"),
        half=half,
        rows=[row for row in rows if not row.array_a],
        sources=residuals,
    )
    plot_difference(figure, files[1])
    report.rows += rows
    report.warnings += [_warning(row) for row in rows if row.is_left and not row.array_a]
    report.warnings += [
        f"{plan.band}: no bright source in the half that saw {row.half}: there is no number for it"
        for row in rows
        if row.n_sources == 0 and not row.array_a
    ]


def _noise_correlation(plan: DifferencePlan) -> float:
    """Return the largest NOISCORR of the mosaics, one where they do not say."""
    cards = [
        mosaic.image.headers.primary.get("NOISCORR")
        for mosaics in plan.mosaics
        for mosaic in mosaics
    ]
    return max((float(card) for card in cards if isinstance(card, int | float)), default=1.0)


# --- numbers ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Half:
    """A half of the field: module letters, bits of their arrays, and its direction [deg]."""

    modules: tuple[str, str]
    bits: tuple[int, int]
    pa_deg: float

    @property
    def name(self) -> str:
        return " then ".join(self.modules)


def _halves(
    plan: DifferencePlan, instrument: Instrument, first: EpochImage, second: EpochImage
) -> list[_Half]:
    """Return the parts of the field that one module saw in either epoch."""
    bits = {
        module: sum(
            1 << place
            for place, array in enumerate(instrument.arrays.values())
            if array.module == module
        )
        for module in instrument.modules
    }
    pairs = [(one, other) for one in instrument.modules for other in instrument.modules]
    marks = half_map(first, second, [(bits[one], bits[other]) for one, other in pairs])
    n_common = int(np.count_nonzero(~(first.is_bad | second.is_bad)))
    found = []
    for number, (one, other) in enumerate(pairs, start=1):
        is_in = marks == number
        if np.count_nonzero(is_in) >= max(1.0, _MIN_SHARE * n_common):
            pa_deg = _direction_deg(plan, is_in, ~(first.is_bad | second.is_bad))
            found.append(_Half((one, other), (bits[one], bits[other]), pa_deg))
    return found


def _direction_deg(plan: DifferencePlan, is_in: BoolArray, is_common: BoolArray) -> float:
    """Return the position angle of a part's middle from the middle of all [deg]."""
    (ra0, dec0), (ra, dec) = (plan.grid.sky_of(*_middle(mask)) for mask in (is_common, is_in))
    xi, eta = tangent_plane(ra, dec, float(ra0), float(dec0))
    return math.degrees(math.atan2(float(xi), float(eta))) % 360.0


def _middle(mask: BoolArray) -> tuple[float, float]:
    """Return the mean (x, y) of some pixels."""
    by_column, by_row = mask.sum(axis=0), mask.sum(axis=1)
    return (
        float(np.average(np.arange(by_column.size), weights=by_column)),
        float(np.average(np.arange(by_row.size), weights=by_row)),
    )


def _rows(
    plan: DifferencePlan,
    halves: Sequence[_Half],
    residuals: SourceResiduals,
    instrument: Instrument,
) -> list[ResidualRow]:
    """Measure every half, and the pairs of arrays in it where there are several."""
    rows = []
    place = {name: place for place, name in enumerate(instrument.arrays)}
    for half in halves:
        names = [
            sorted({mosaic.stored.array for mosaic in mosaics if mosaic.stored.module == module})
            for mosaics, module in zip(plan.mosaics, half.modules, strict=True)
        ]
        rows.append(_row(plan, half, ("", ""), residuals.seen_by(*half.bits), residuals))
        pairs = [(one, other) for one in names[0] for other in names[1]]
        for one, other in pairs if len(pairs) > 1 else ():
            is_seen = residuals.seen_by(1 << place[one], 1 << place[other])
            if np.count_nonzero(is_seen) >= _MIN_ARRAY_SOURCES:
                rows.append(_row(plan, half, (one, other), is_seen, residuals))
    return rows


def _row(
    plan: DifferencePlan,
    half: _Half,
    arrays: tuple[str, str],
    is_in: BoolArray,
    residuals: SourceResiduals,
) -> ResidualRow:
    """Measure one part of the field."""
    before = median_residual(residuals.before[is_in])
    after = None if residuals.after is None else median_residual(residuals.after[is_in])
    return ResidualRow(
        field=plan.field,
        pmap=plan.pmap.name,
        band=plan.band,
        epoch_a=plan.epochs[0].name,
        epoch_b=plan.epochs[1].name,
        half=half.name,
        array_a=arrays[0],
        array_b=arrays[1],
        pa_deg=round(half.pa_deg, 1) % 360.0,
        n_sources=before.n,
        before_median=_known(before.median),
        before_err=_known(before.err),
        before_mad=_known(before.mad),
        after_median=None if after is None else _known(after.median),
        after_err=None if after is None else _known(after.err),
        after_mad=None if after is None else _known(after.mad),
        file=plan.fits_path.name,
    )


def _known(value: float) -> float | None:
    """Return None for NaN."""
    return None if math.isnan(value) else value


def _warning(row: ResidualRow) -> str:
    """Return the warning that a correction left too much."""
    return (
        f"{row.band}, the half that saw {row.half}: {row.after_median:+.4f} +- {row.after_err:.4f} "
        f"is left after the correction, more than {RESIDUAL_LIMIT:g}: are these mosaics what the "
        "sets were fitted to?"
    )


# --- the file -----------------------------------------------------------------------------------


def _content(
    plan: DifferencePlan,
    options: DifferenceOptions,
    difference: Difference,
    smoothed: dict[str, NDArray[np.float32]],
    marks: tuple[NDArray[np.uint8], Sequence[_Half]],
    rows: Sequence[ResidualRow],
) -> DifferenceFile:
    """Lay out the FITS file."""
    half, halves = marks
    planes: dict[str, NDArray[Any]] = {"BEFORE": difference.before}
    if difference.after is not None:
        planes["AFTER"] = difference.after
    if difference.err is not None:
        planes["ERR"] = difference.err
    planes |= {f"{name}_SMOOTHED": plane for name, plane in smoothed.items()}
    planes["HALF"] = half
    cards: list[tuple[str, Value, str]] = [
        ("ORIGIN", f"calreg {__version__}", "program"),
        ("FIELD", plan.field, "field"),
        ("BAND", plan.band, "band"),
        ("CRDS_CTX", plan.pmap.name, "CRDS context of the mosaics"),
        ("EPOCH_A", plan.epochs[0].name, "first epoch"),
        ("EPOCH_B", plan.epochs[1].name, "second epoch"),
        ("DIRECTN", "EPOCH_B - EPOCH_A", "sense of the difference"),
        ("SMOOTHPX", SMOOTHING_RADIUS_PX, "[pixel] radius of the circle of SMOOTHED"),
        ("CORRECTD", options.is_corrected, "AFTER is there"),
        ("GRADDATM", str(options.gradient_datum), "how gradients are shared between modules"),
        ("MINSNR", options.min_snr, "smallest S/N of sources in RESIDUALS"),
        *((f"HALF{n}", found.name, f"HALF = {n}") for n, found in enumerate(halves, start=1)),
    ]
    return DifferenceFile(
        grid=plan.grid,
        bunit=plan.bunit,
        cards=cards,
        comments=_PLANE_COMMENTS,
        planes=planes,
        tables={"INPUTS": _inputs(plan), "RESIDUALS": _residual_columns(rows)},
    )


def _inputs(plan: DifferencePlan) -> dict[str, tuple[list[Any], str]]:
    """Return the table of mosaics, their digests and sets."""
    columns: dict[str, tuple[list[Any], str]] = {}
    for epoch, mosaics in zip(plan.epochs, plan.mosaics, strict=True):
        for mosaic in mosaics:
            for name, (value, unit) in _input(epoch.name, mosaic).items():
                columns.setdefault(name, ([], unit))[0].append(value)
    return columns


def _input(epoch: str, mosaic: PlacedMosaic) -> dict[str, tuple[Any, str]]:
    """Return the row of one mosaic."""
    stored, found = mosaic.stored, mosaic.correction
    correction = None if found is None else found.corrections[stored.module]
    gradient = None if correction is None else correction.gradient
    return {
        "EPOCH": (epoch, ""),
        "FILENAME": (stored.file_name, ""),
        "DETECTOR": (stored.array.upper(), ""),
        "CAL_VER": (stored.cal_ver, ""),
        "DIGEST": (stored.header_sha256, ""),
        "REPROJECTED": (int(mosaic.is_moved), ""),
        "SET_ID": ("" if found is None else found.stored.set_id, ""),
        "SET_CONTEXT": ("" if found is None else found.stored.pmap.name, ""),
        "SET_VERSION": (0 if found is None else found.stored.version, ""),
        "DATUM": ("" if found is None else found.stored.datum, ""),
        "FACTOR": (None if correction is None else correction.photom_factor, ""),
        "GRADIENT_X": (None if gradient is None else gradient.per_x, "mag / pix"),
        "GRADIENT_Y": (None if gradient is None else gradient.per_y, "mag / pix"),
    }


def _residual_columns(rows: Sequence[ResidualRow]) -> dict[str, tuple[list[Any], str]]:
    """Return the table of residuals."""
    units = {"pa_deg": "deg"}
    names = [name for name in ResidualRow.__dataclass_fields__ if name not in _SAID]
    return {
        name.upper(): ([getattr(row, name) for row in rows], units.get(name, "")) for name in names
    }


_SAID = frozenset({"field", "pmap", "band", "epoch_a", "epoch_b", "file"})
"""What the primary header says already."""


# --- pixels -------------------------------------------------------------------------------------


def stack_epoch(
    plan: DifferencePlan,
    mosaics: Sequence[PlacedMosaic],
    instrument: Instrument,
    tell: Callable[[], None],
) -> EpochImage:
    """Average the mosaics of one epoch, as they are and corrected.

    Notes
    -----
    Where mosaics of several arrays overlap, they are weighted by WHT, if all of the epoch have it,
    else equally: weights from ERR would favour what fluctuated low.
    """
    has_weights = all(mosaic.image.headers.find("WHT") is not None for mosaic in mosaics)
    stack = EpochStack(
        plan.grid.shape, is_corrected=all(mosaic.correction is not None for mosaic in mosaics)
    )
    for mosaic in mosaics:
        stack.add(_read_layer(mosaic, instrument, has_weights=has_weights))
        tell()
    return stack.finish()


def _read_layer(mosaic: PlacedMosaic, instrument: Instrument, *, has_weights: bool) -> Layer:
    """Read a mosaic, subtract its background, and work out its factors."""
    planes = read_planes(mosaic.image, needs_noise=False)
    weight = read_weights(mosaic.image) if has_weights else None
    if mosaic.is_moved:
        weight = None if weight is None else _moved_weight(mosaic, planes, weight)
        planes = _moved(mosaic, planes)
    try:
        is_bad = unusable_pixels(planes)
        sky = measure_background(planes, ISOPHOTES, is_bad)
    except DegenerateImageError as error:
        msg = f"{mosaic.image.path}: {error}"
        raise DegenerateImageError(msg) from error
    pixels = sky.subtracted(planes, is_bad)
    return Layer(
        planes=replace(planes, sci=pixels, is_bad=is_bad),
        weight=1.0 if weight is None else weight,
        factor=_factors(mosaic, instrument),
        x0=mosaic.offset[0],
        y0=mosaic.offset[1],
        place=list(instrument.arrays).index(mosaic.stored.array),
    )


def _moved(mosaic: PlacedMosaic, planes: ImagePlanes) -> ImagePlanes:
    """Resample planes onto the common pixels."""
    target = mosaic.target
    return reproject_planes(planes, mosaic.image.wcs, target.wcs(), target.shape)


def _moved_weight(
    mosaic: PlacedMosaic, planes: ImagePlanes, weight: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Resample weights onto the common pixels; none where there are no data."""
    moved = _moved(mosaic, ImagePlanes(sci=weight, is_bad=planes.is_bad))
    return np.where(moved.is_bad, np.float32(0.0), np.maximum(moved.sci, np.float32(0.0)))


def _factors(mosaic: PlacedMosaic, instrument: Instrument) -> NDArray[np.float32] | float | None:
    """Return the factors of a mosaic's pixels; None where nothing is corrected."""
    if mosaic.correction is None:
        return None
    array = instrument.array(mosaic.stored.array)
    correction = mosaic.correction.corrections[array.module]
    if correction.gradient is None:
        return correction.photom_factor
    members = read_members(mosaic.image.headers, array, instrument)
    if members is None:
        # One exposure that looks at the middle; the gradient is then that of the sky, as fitted.
        point = mean_pointing(mosaic.stored, array)
        pointing = boresight(array.v2_ref_arcsec, array.v3_ref_arcsec, *point)
        middle = CoveringExposure(LinearDetector(array, pointing), array.n_pixels, pointing)
        exposures: tuple[CoveringExposure, ...] = (middle,)
        scale = 1.0 / (mosaic.correction.gradient_scale or 1.0)
        correction = replace(correction, gradient=correction.gradient.scaled(scale))
        context = None
    else:
        exposures, context = members.exposures, members.context
    return mosaic_factors(
        correction,
        mosaic.target,
        exposures,
        None if mosaic.is_moved else context,
        detector_scale_arcsec=array.x_scale_arcsec,
    )

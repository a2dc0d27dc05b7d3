"""Detection, deblending and segmentation, as SExtractor does them; `sep` is the engine.

With equal settings the sources and their isophotes are those of SExtractor (Bertin & Arnouts 1996,
A&AS 117, 393), but for pixels that blended sources dispute: SExtractor hands them out at random.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from calreg.errors import DegenerateImageError, InvalidValueError
from calreg.flags import DetectionFlag
from calreg.science.photometry.apertures import kron_radii
from calreg.science.photometry.image import (
    ImagePlanes,
    SkyBackground,
    measure_background,
    require_sep,
    unusable_pixels,
)
from calreg.science.photometry.isophotes import count_above, relabel, touching_flags
from calreg.science.photometry.neighbours import (
    Ellipses,
    MirroredPixels,
    mirror_in_circles,
    mirror_in_ellipses,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from calreg.domain import BoolArray, IntArray
    from calreg.science.photometry.settings import DetectionSettings
    from calreg.units import FloatArray

_KERNEL = np.array([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]], dtype=np.float32)
"""SExtractor's default.conv, applied before the threshold."""

_OPEN_PIXELS = 300_000
"""Pixels of objects that are open at a time, at first (SExtractor's MEMORY_PIXSTACK)."""

_SUB_OBJECTS = 1024
"""Branches of one object while it is deblended, at first."""

_MAX_DOUBLINGS = 10


@dataclass(frozen=True)
class DetectedSources:
    """Sources of a detection image; all columns have shape (n,), and row i is number i + 1.

    Attributes
    ----------
    segmentation : ndarray of int32, shape (ny, nx)
        Number of the source that owns a pixel, 0 for the sky.
    ellipses : Ellipses
        Isophotal centroids [0-based pixels], rms extents [pixels] and angles [rad].
    n_pixels : ndarray of int64
        Pixels of the isophote, above the threshold after filtering (ISOAREAF_IMAGE).
    peak : ndarray of float64
        Highest pixel above the background [unit of the detection image].
    kron_radius : ndarray of float64
        Radius of the AUTO aperture in units of a and b (KRON_RADIUS), at least its minimum.
    flags : ndarray of int64
        Bits of `DetectionFlag` that the detection image sets.
    mirrored : MirroredPixels
        What stands for neighbours' pixels in the AUTO apertures.
    mirrored_in_circles : dict of float to MirroredPixels
        The same in circles by radius [pixels], as far as any was asked for.
    sky : SkyBackground
        Of the detection image.
    """

    segmentation: NDArray[np.int32] = field(repr=False)
    ellipses: Ellipses = field(repr=False)
    n_pixels: IntArray = field(repr=False)
    peak: FloatArray = field(repr=False)
    kron_radius: FloatArray = field(repr=False)
    flags: IntArray = field(repr=False)
    mirrored: MirroredPixels = field(repr=False)
    sky: SkyBackground
    mirrored_in_circles: dict[float, MirroredPixels] = field(
        repr=False, compare=False, default_factory=dict
    )

    def circles(self, radius_px: float) -> MirroredPixels:
        """Return the substitutes of neighbours' pixels in circles, found once for all images."""
        if radius_px not in self.mirrored_in_circles:
            found = mirror_in_circles(self.segmentation, self.ellipses, radius_px)
            self.mirrored_in_circles[radius_px] = found
        return self.mirrored_in_circles[radius_px]

    @property
    def n_sources(self) -> int:
        """How many there are."""
        return int(self.n_pixels.size)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns of the detection image."""
        return self.segmentation.shape[0], self.segmentation.shape[1]


def detect_sources(planes: ImagePlanes, settings: DetectionSettings) -> DetectedSources:
    """Detect and deblend the sources of an image.

    Parameters
    ----------
    planes : ImagePlanes
        The detection image; its errors say which pixels to use, and do not set the threshold.

    Returns
    -------
    DetectedSources
        In SExtractor's order. Bad pixels enter neither the background nor a source.

    Raises
    ------
    DegenerateImageError
        If there is no usable pixel, no noise, or no source.

    Notes
    -----
    The threshold is a multiple of the global rms of the background. In a drizzled mosaic the noise
    of neighbouring pixels is correlated; the rms of single pixels is then too small for sums over
    many, and the threshold lower than its number says (Casertano et al. 2000, AJ 120, 2747).
    """
    is_bad = unusable_pixels(planes)
    sky = measure_background(planes, settings, is_bad)
    pixels = sky.subtracted(planes, is_bad)
    objects, segmentation = _extract(pixels, is_bad, sky.rms, settings)
    if len(objects) == 0:
        msg = (
            f"no source of at least {settings.min_area_pixels} connected pixels above "
            f"{settings.threshold_sigma:g} sigma ({settings.threshold_sigma * sky.rms:.4g}): lower "
            "the threshold, or name another detection image"
        )
        raise DegenerateImageError(msg)
    ellipses = Ellipses.from_objects(objects)
    kron, is_cut = kron_radii(pixels, segmentation, ellipses)
    kron_radius = np.maximum(settings.kron_factor * kron, settings.kron_min_radius)
    flags = _object_flags(objects["flag"])
    flags |= touching_flags(segmentation, planes, is_bad, ellipses.n_sources)
    mirrored, is_crowded = mirror_in_ellipses(segmentation, ellipses, kron_radius)
    flags[is_crowded] |= int(DetectionFlag.NEIGHBOUR)
    flags[is_cut] |= int(DetectionFlag.APERTURE_INCOMPLETE)
    return DetectedSources(
        segmentation=segmentation,
        ellipses=ellipses,
        n_pixels=count_above(segmentation, pixels, np.full(ellipses.n_sources, -np.inf)),
        peak=objects["peak"].astype(np.float64),
        kron_radius=kron_radius,
        flags=flags,
        mirrored=mirrored,
        sky=sky,
    )


def stack_planes(images: Iterable[ImagePlanes], settings: DetectionSettings) -> ImagePlanes:
    """Average images of one pixel grid, weighted by the inverse variance, to detect on.

    Parameters
    ----------
    images : iterable of ImagePlanes
        One at a time is held; all have shape (ny, nx).
    settings : DetectionSettings
        How the background of each is measured; it is subtracted, so that no step remains where
        an image ends.

    Returns
    -------
    ImagePlanes
        Mean and its error, bad where no image has data, saturated where one is. An image without
        errors counts with the noise of its background.

    Raises
    ------
    DegenerateImageError
        If an image has no usable pixel or no noise.
    InvalidValueError
        If there is no image, or the shapes differ.
    """
    total: NDArray[np.float32] | None = None
    for planes in images:
        if total is None:
            total = np.zeros(planes.shape, dtype=np.float32)
            weights = np.zeros_like(total)
            is_saturated = np.zeros(planes.shape, dtype=np.bool_)
        elif planes.shape != total.shape:
            msg = f"an image has shape {planes.shape}, the first {total.shape}: expected the same"
            raise InvalidValueError(msg)
        is_bad = unusable_pixels(planes)
        sky = measure_background(planes, settings, is_bad)
        pixels = sky.subtracted(planes, is_bad)
        weight = _inverse_variance(planes, is_bad, sky.rms)
        pixels *= weight
        total += pixels
        weights += weight
        if planes.is_saturated is not None:
            is_saturated |= planes.is_saturated
        # Not to be there still while the next image is read.
        del planes, is_bad, sky, pixels, weight
    if total is None:
        msg = "there is no image to stack"
        raise InvalidValueError(msg)
    is_empty = weights == 0.0
    weights[is_empty] = np.nan
    total /= weights
    np.sqrt(weights, out=weights)
    np.divide(1.0, weights, out=weights)
    return ImagePlanes(sci=total, is_bad=is_empty, err=weights, is_saturated=is_saturated)


def _inverse_variance(planes: ImagePlanes, is_bad: BoolArray, rms: float) -> NDArray[np.float32]:
    """Return the weight of each pixel, zero where there is no data."""
    if planes.err is None:
        weight = np.full(planes.shape, 1.0 / rms**2, dtype=np.float32)
    else:
        weight = np.zeros(planes.shape, dtype=np.float32)
        np.divide(1.0, planes.err, out=weight, where=~is_bad)
        np.square(weight, out=weight)
    weight[is_bad] = 0.0
    return weight


def _extract(
    pixels: NDArray[np.float32], is_bad: BoolArray, rms: float, settings: DetectionSettings
) -> tuple[Any, NDArray[np.int32]]:
    """Detect and deblend, and merge what is spurious."""
    objects, segmentation = _run_engine(pixels, is_bad, rms, settings)
    if settings.clean > 0.0 and len(objects) > 1:
        # Once more: the engine drops the pixels of what it cleans away, and they are needed.
        cleaned, _ = _run_engine(pixels, is_bad, rms, settings, is_cleaned=True)
        is_spurious = ~np.isin(_places(objects), _places(cleaned))
        if bool(is_spurious.any()):
            objects = merge_spurious(objects, is_spurious, segmentation, pixels, settings.clean)
    return objects, segmentation


def _places(objects: Any) -> NDArray[np.complex128]:
    """Return centroids, by which a detection is the same in two runs."""
    return np.asarray(objects["x"] + 1j * objects["y"], dtype=np.complex128)


def _run_engine(
    pixels: NDArray[np.float32],
    is_bad: BoolArray,
    rms: float,
    settings: DetectionSettings,
    *,
    is_cleaned: bool = False,
) -> tuple[Any, NDArray[np.int32]]:
    """Run the engine; give it more memory while it asks for it."""
    sep = require_sep()
    for doubling in range(_MAX_DOUBLINGS + 1):
        sep.set_extract_pixstack(_OPEN_PIXELS << doubling)
        sep.set_sub_object_limit(_SUB_OBJECTS << doubling)
        try:
            objects, segmentation = sep.extract(
                pixels,
                settings.threshold_sigma,
                err=rms,
                mask=is_bad if bool(is_bad.any()) else None,
                minarea=settings.min_area_pixels,
                filter_kernel=_KERNEL,
                deblend_nthresh=settings.deblend_levels,
                deblend_cont=settings.deblend_contrast,
                clean=is_cleaned,
                clean_param=settings.clean,
                segmentation_map=True,
            )
        except Exception as error:  # sep raises the base class
            if "pixel buffer" not in str(error) and "overflow" not in str(error):
                raise
        else:
            return objects, segmentation
    msg = (
        f"too many pixels are above {settings.threshold_sigma:g} sigma ({rms:.4g} each) to make "
        "sources of them: raise the threshold, or look whether the image is one"
    )
    raise DegenerateImageError(msg)


def _object_flags(engine_flags: IntArray) -> IntArray:
    """Translate the engine's bits into SExtractor's."""
    sep = require_sep()
    flags = np.zeros(engine_flags.shape, dtype=np.int64)
    for bit, flag in (
        (sep.OBJ_MERGED, DetectionFlag.BLENDED),
        (sep.OBJ_TRUNC, DetectionFlag.TRUNCATED),
        (sep.OBJ_DOVERFLOW, DetectionFlag.DEBLEND_OVERFLOW),
    ):
        flags[(engine_flags & bit) != 0] |= int(flag)
    return flags


# --- wings of brighter sources (SExtractor's CLEAN) ---------------------------------------------
# `sep` tells which detections are wings and drops their pixels; SExtractor gives the pixels to the
# brighter source, and so does this.

_FLATTEST = 0.99
_FARTHEST = 1e10


def merge_spurious(
    objects: NDArray[np.void],
    is_spurious: BoolArray,
    segmentation: NDArray[np.int32],
    pixels: NDArray[np.float32],
    beta: float,
) -> NDArray[np.void]:
    """Merge spurious detections into the sources whose wings they are.

    Parameters
    ----------
    objects : structured ndarray, shape (n,)
        The engine's table of all detections.
    is_spurious : ndarray of bool, shape (n,)
        Those that the engine's cleaning drops.
    segmentation : ndarray of int32, shape (ny, nx)
        Their numbers, 1 to n; changed in place to those of the sources that remain.
    pixels : ndarray of float32, shape (ny, nx)
        Detection image without background.
    beta : float
        Exponent of the profile of the wings (CLEAN_PARAM).

    Returns
    -------
    structured ndarray, shape (m,)
        The sources that remain, in the same order, with area, peak and edge bits of what they took.

    Notes
    -----
    A spurious detection goes to the one of the brighter detections whose profile
    ``A (1 + alpha r^2)^-beta`` is highest at its place (SExtractor 2.25, clean.c), and with that
    one to another, where that one is spurious too.
    """
    wings = _Wings.of(objects, count_above(segmentation, pixels, _half_height(objects)), beta)
    taker = np.arange(len(objects))
    for victim in np.flatnonzero(is_spurious).tolist():
        heights = wings.heights_at(victim)
        taker[victim] = int(np.argmax(heights)) if heights.max() > 0.0 else victim
    # Every step leads to a brighter one, so that all chains end.
    while not np.array_equal(taker, taker[taker]):
        taker = taker[taker]
    return _merged(objects, segmentation, taker)


@dataclass(frozen=True)
class _Wings:
    """Profiles of detections."""

    x: FloatArray
    y: FloatArray
    forms: tuple[FloatArray, FloatArray, FloatArray]
    flux: FloatArray
    amplitude: FloatArray
    alpha: FloatArray
    beta: float

    @classmethod
    def of(cls, objects: NDArray[np.void], n_high: IntArray, beta: float) -> _Wings:
        """Make them from the engine's table and from how many pixels are above half height."""
        a, b, threshold, flux = (_double(objects, name) for name in ("a", "b", "thresh", "cflux"))
        half = _half_height(objects)
        fewer = (n_high - objects["tnpix"]).astype(np.float64)
        fewer[fewer >= 0.0] = -1.0
        flatness = np.where(half > threshold, threshold / half, _FLATTEST)
        ellipse = np.pi * a * b
        concentration = np.minimum(
            fewer / (2.0 * np.log(np.minimum(flatness, _FLATTEST)) * ellipse), 1.0
        )
        amplitude = flux / (2.0 * ellipse * concentration)
        slope = (amplitude / threshold) ** (1.0 / beta) - 1.0
        xx, yy, xy = (_double(objects, name) for name in ("cxx", "cyy", "cxy"))
        return cls(
            x=_double(objects, "x"),
            y=_double(objects, "y"),
            forms=(xx, yy, xy),
            flux=flux,
            amplitude=amplitude,
            alpha=slope * ellipse / objects["npix"],
            beta=beta,
        )

    def heights_at(self, victim: int) -> FloatArray:
        """Return all profiles at the place of a detection, zero for those that are fainter."""
        dx, dy = self.x[victim] - self.x, self.y[victim] - self.y
        xx, yy, xy = self.forms
        value = 1.0 + self.alpha * (xx * dx * dx + yy * dy * dy + xy * dx * dy)
        is_wing = (value > 1.0) & (value < _FARTHEST) & (self.flux > self.flux[victim])
        heights = np.zeros(value.size)
        heights[is_wing] = self.amplitude[is_wing] * value[is_wing] ** -self.beta
        return heights


def _half_height(objects: NDArray[np.void]) -> FloatArray:
    """Return the level half way between threshold and peak."""
    return 0.5 * (_double(objects, "thresh") + _double(objects, "peak"))


def _merged(
    objects: NDArray[np.void], segmentation: NDArray[np.int32], taker: IntArray
) -> NDArray[np.void]:
    """Return the table of what remains, and renumber the segmentation."""
    is_kept = taker == np.arange(taker.size)
    merged = objects.copy()
    for victim in np.flatnonzero(~is_kept).tolist():
        eater = taker[victim]
        merged["npix"][eater] += objects["npix"][victim]
        merged["tnpix"][eater] += objects["tnpix"][victim]
        merged["peak"][eater] = max(merged["peak"][eater], objects["peak"][victim])
        merged["flag"][eater] |= objects["flag"][victim] & ~require_sep().OBJ_MERGED
    number = np.zeros(taker.size + 1, dtype=np.int32)
    number[1:] = np.cumsum(is_kept)[taker]
    relabel(segmentation, number)
    kept: NDArray[np.void] = merged[is_kept]
    return kept


def _double(objects: NDArray[np.void], name: str) -> FloatArray:
    """Return a column in double precision."""
    return np.asarray(objects[name], dtype=np.float64)

"""Read mosaics as layers of a difference image: pixels, weights, and what corrects them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from calreg.errors import DegenerateImageError
from calreg.files.images.members import read_members
from calreg.files.images.planes import read_planes, read_weights
from calreg.science.imaging.differenceresiduals import ISOPHOTES
from calreg.science.imaging.differencing import EpochStack, Layer
from calreg.science.imaging.mosaicfactors import mosaic_factors
from calreg.science.imaging.reprojection import reproject_planes
from calreg.science.photometry.background import measure_background, unusable_pixels
from calreg.science.photometry.planes import ImagePlanes
from calreg.science.sky.coverage import CoveringExposure, LinearDetector
from calreg.science.sky.pointing import boresight
from calreg.sets.corrections import mean_pointing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from calreg.instruments import Instrument
    from calreg.pixels.difference.plan import DifferencePlan, PlacedMosaic
    from calreg.science.imaging.differencing import EpochImage


def stack_epoch(
    plan: DifferencePlan,
    mosaics: Sequence[PlacedMosaic],
    instrument: Instrument,
    tell: Callable[[], None],
) -> EpochImage:
    """Average the mosaics of one epoch, as they are and corrected.

    Parameters
    ----------
    mosaics : sequence of PlacedMosaic
        Of one epoch.
    tell : callable
        Called after every mosaic.

    Raises
    ------
    FileFormatError
        If a file is damaged.
    UnsupportedDataError, DegenerateImageError
        If a mosaic has no data, or no noise.
    MissingExtraError
        If `sep` is not installed, or `reproject` where it is needed.

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
    """Bring planes onto the common pixels."""
    target = mosaic.target
    return reproject_planes(planes, mosaic.image.wcs, target.wcs(), target.shape)


def _moved_weight(
    mosaic: PlacedMosaic, planes: ImagePlanes, weight: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Bring weights onto the common pixels; none where there are no data."""
    moved = _moved(mosaic, ImagePlanes(sci=weight, is_bad=planes.is_bad))
    return np.where(moved.is_bad, np.float32(0.0), np.maximum(moved.sci, np.float32(0.0)))


def _factors(mosaic: PlacedMosaic, instrument: Instrument) -> NDArray[np.float32] | float | None:
    """Return what a mosaic's pixels are to be multiplied by; None where nothing is corrected."""
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

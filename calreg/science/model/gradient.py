r"""Turn an offset and a gradient measured along a field into corrections of detector pixels.

A pair fit knows Delta_AB = m_A - m_B at d = 0 and a gradient k along the field's axis
(`calreg.science.model.pairmodel`). At epoch e a source at d reads, besides its magnitude,
+1/2 Delta_AB - 1/2 o_e k d in module A and -1/2 Delta_AB - 1/2 o_e k d in module B, where o_e = +1
when module B lies towards +d, else -1. The folded coordinate w = o_e d turns with the telescope: it
grows from A towards B at either roll, so that it is a function of the pixel of either array.

What pairs of opposite rolls measure is G_A(-d) - G_B(d) = k d and nothing else. The share s_A + s_B
= 1 of the gradient is a choice of datum::

    G_A(w) = -s_A k w        G_B(w) = -s_B k w
    symmetric: s_A = s_B = 1/2            B: s_A = 1, s_B = 0

A constant common to both modules is not measured either. It is chosen so that the mean of array B
stays as it is; then, with w_A and w_B the means of w over the two arrays (w_A < 0 < w_B)::

    Z_B = 0                  Z_A = Delta_AB - s_A k w_A + s_B k w_B
    g_X(x, y) = -s_X k (w_X(x, y) - w_X)

Z is the photom reference file's part, 10**(+0.4 Z) on PHOTMJSR; g is the delta flat's, divided into
the data as 10**(-0.4 g) and normalised to mean one over the array. `decompose` returns both from
one place, so that their product is kept whatever the datum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from calreg.errors import InvalidValueError
from calreg.science.sky.geometry import along_axis
from calreg.science.sky.pointing import detector_to_sky
from calreg.units import flux_divisor, flux_factor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from calreg.instruments import Array
    from calreg.science.sky.geometry import FieldAxis
    from calreg.science.sky.pointing import ReferencePoint
    from calreg.units import FloatArray

_RELATIVE_FLUX_PER_MAG = 0.4 * math.log(10.0)


class GradientDatum(StrEnum):
    """How the gradient is shared between modules A and B."""

    SYMMETRIC = "symmetric"
    B = "B"

    @property
    def shares(self) -> dict[str, float]:
        """The share of each module; they add up to one."""
        if self is GradientDatum.SYMMETRIC:
            return {"A": 0.5, "B": 0.5}
        return {"A": 1.0, "B": 0.0}


def parse_gradient_datum(text: str) -> GradientDatum:
    """Read a choice of datum, in any case."""
    for datum in GradientDatum:
        if datum.lower() == text.strip().lower():
            return datum
    msg = f"gradient datum {text!r}: expected one of {', '.join(GradientDatum)}"
    raise InvalidValueError(msg)


class View(NamedTuple):
    """One image of an array, as far as the geometry needs it.

    Attributes
    ----------
    roll_sign : int
        +1 when module B lies towards +d, else -1.
    point : ReferencePoint
        Where the array's reference point looked, on average over the image's dithers.
    """

    epoch_id: int
    roll_sign: int
    point: ReferencePoint


@dataclass(frozen=True)
class PixelPlane:
    """A linear function of the pixels of one array.

    Attributes
    ----------
    mean : float
        Value at the middle of the array, which is its mean over the whole array.
    per_x, per_y : float
        Change per pixel along x and y of the science orientation.
    """

    mean: float
    per_x: float
    per_y: float

    def at(self, x: FloatArray, y: FloatArray, n_pixels: int) -> FloatArray:
        """Return the values at pixels, 0-based, of an array with `n_pixels` on a side."""
        middle = 0.5 * (n_pixels - 1)
        return self.mean + self.per_x * (x - middle) + self.per_y * (y - middle)

    def scaled(self, factor: float) -> PixelPlane:
        """Return the plane times a factor."""
        return PixelPlane(factor * self.mean, factor * self.per_x, factor * self.per_y)

    def stretched(self, factor: float) -> PixelPlane:
        """Return the plane with its gradient times a factor, and its mean as it is."""
        return PixelPlane(self.mean, factor * self.per_x, factor * self.per_y)


@dataclass(frozen=True)
class PairOffset:
    """What a pair fit found for two arrays.

    Attributes
    ----------
    offset_ab_mag, offset_ab_err_mag : float
        m_A - m_B at d = 0 [mag].
    slope_mag_arcmin, slope_err_mag_arcmin : float
        Gradient k [mag / arcmin]; zero where held fixed.
    covariance_mag2_arcmin : float
        Covariance of both [mag2 / arcmin].
    """

    offset_ab_mag: float
    offset_ab_err_mag: float
    slope_mag_arcmin: float = 0.0
    slope_err_mag_arcmin: float = 0.0
    covariance_mag2_arcmin: float = 0.0


@dataclass(frozen=True)
class ArrayCorrection:
    """The correction of one array: a factor for photom, a flat for the rest.

    Attributes
    ----------
    photom_factor : float
        PHOTMJSR is multiplied by it; exactly one for the datum.
    photom_err_mag : float
        Standard error of the factor [mag].
    gradient : PixelPlane or None
        g [mag], mean zero: positive where pixels read too faint; None without a gradient.
    gradient_relative_err : float
        Standard error of the gradient over the gradient.
    n_pixels : int
        Pixels on a side of the array.
    """

    photom_factor: float
    photom_err_mag: float
    gradient: PixelPlane | None = field(default=None)
    gradient_relative_err: float = 0.0
    n_pixels: int = 2048

    def flat_factors(self) -> tuple[FloatArray, FloatArray]:
        """Return the delta flat of the full array as a product, flat = along_y along_x.

        Returns
        -------
        along_y, along_x : ndarray of float64, shape (n_pixels,)
            Each with a mean of one; ones without a gradient.
        """
        if self.gradient is None:
            return np.ones(self.n_pixels), np.ones(self.n_pixels)
        along_x, along_y = _factors(self.gradient, self.n_pixels)
        return along_y / along_y.mean(), along_x / along_x.mean()

    def delta_flat(self) -> tuple[FloatArray, FloatArray]:
        """Return the delta flat of the full array.

        Returns
        -------
        flat, err : ndarray of float64, shape (n_pixels, n_pixels)
            The data are divided by `flat`; its mean is one. `err` is its standard error, from that
            of the gradient. Ones and zeros without a gradient.
        """
        size = (self.n_pixels, self.n_pixels)
        if self.gradient is None:
            return np.ones(size), np.zeros(size)
        flat = np.outer(*self.flat_factors())
        steps = np.arange(self.n_pixels, dtype=np.float64) - 0.5 * (self.n_pixels - 1)
        gradient_mag = self.gradient.per_y * steps[:, None] + self.gradient.per_x * steps
        err_mag = self.gradient_relative_err * np.abs(gradient_mag)
        return flat, _RELATIVE_FLUX_PER_MAG * flat * err_mag

    def flat_at(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Return the delta flat at some pixels of the detector, and beyond its edges.

        Parameters
        ----------
        x, y : ndarray of float64, shape (...)
            Pixels in science orientation, 0-based.

        Returns
        -------
        ndarray of float64, shape (...)
            What data are divided by; its mean over the array is one.
        """
        if self.gradient is None:
            return np.ones(np.broadcast(x, y).shape)
        divisor = flux_divisor(self.gradient.at(x, y, self.n_pixels))
        return divisor / _mean_divisor(self.gradient, self.n_pixels)


def folded_axis(array: Array, views: Sequence[View], axis: FieldAxis) -> PixelPlane:
    """Return the folded coordinate w = o d of an array's pixels.

    Parameters
    ----------
    views : sequence of View
        Images of the array, in epochs of both rolls.

    Returns
    -------
    PixelPlane
        [arcmin], increasing from module A towards module B.

    Raises
    ------
    InvalidValueError
        If there are no images of one of the two rolls.

    Notes
    -----
    Images count equally within an epoch, epochs within a roll, and both rolls equally. With the
    last, pointings that differ from roll to roll leave the correction exact for either datum: with
    the middle between the modules at d_i and d_j, the fit of the datum B contains
    -1/2 k (d_j - d_i), and the mean of w contains +1/2 (d_i - d_j). Scale, rotation and parity of
    the SIAF are used, without distortion, which moves corners by 20 pixels at most.
    """
    planes: dict[int, dict[int, list[PixelPlane]]] = {+1: {}, -1: {}}
    for view in views:
        planes[view.roll_sign].setdefault(view.epoch_id, []).append(
            _folded_plane(array, view, axis)
        )
    for sign, epochs in planes.items():
        if not epochs:
            msg = (
                f"{array.name}: no image with module B towards {'+' if sign > 0 else '-'}d of the "
                "field's axis: expected epochs of both rolls"
            )
            raise InvalidValueError(msg)
    rolls = [
        _mean_plane([_mean_plane(images) for images in epochs.values()])
        for epochs in planes.values()
    ]
    return _mean_plane(rolls)


def decompose(
    offset: PairOffset,
    planes: dict[str, PixelPlane],
    datum: GradientDatum = GradientDatum.SYMMETRIC,
    *,
    n_pixels: int,
) -> dict[str, ArrayCorrection]:
    """Split an offset with a gradient into photom factors and flats, by module.

    Parameters
    ----------
    planes : dict of str to PixelPlane
        From `folded_axis`: w of the arrays of modules A and B [arcmin]; not used, and may be empty,
        without a gradient.
    datum : GradientDatum
        How the gradient is shared.

    Notes
    -----
    ``photom_factor / delta_flat`` of A over that of B is 10**(0.4 (Z_A + g_A - g_B)) to rounding:
    the second-order difference between the mean of 10**(-0.4 g) and 10 to the mean goes into the
    factor of A, because that of B, the datum, is one.
    """
    if offset.slope_mag_arcmin == 0.0:
        factor = flux_factor(offset.offset_ab_mag)
        return {
            "A": ArrayCorrection(factor, offset.offset_ab_err_mag, n_pixels=n_pixels),
            "B": ArrayCorrection(1.0, 0.0, n_pixels=n_pixels),
        }
    share = datum.shares
    lever_arcmin = -share["A"] * planes["A"].mean + share["B"] * planes["B"].mean
    mean_mag = offset.offset_ab_mag + offset.slope_mag_arcmin * lever_arcmin
    variance = (
        offset.offset_ab_err_mag**2
        + (lever_arcmin * offset.slope_err_mag_arcmin) ** 2
        + 2.0 * lever_arcmin * offset.covariance_mag2_arcmin
    )
    gradients = {
        module: None
        if share[module] == 0.0
        else replace(plane.scaled(-share[module] * offset.slope_mag_arcmin), mean=0.0)
        for module, plane in planes.items()
    }
    norm = {module: _mean_divisor(plane, n_pixels) for module, plane in gradients.items()}
    photom = {
        "A": (flux_factor(mean_mag) * norm["B"] / norm["A"], math.sqrt(max(variance, 0.0))),
        "B": (1.0, 0.0),
    }
    relative_err = abs(offset.slope_err_mag_arcmin / offset.slope_mag_arcmin)
    return {
        module: ArrayCorrection(*photom[module], gradients[module], relative_err, n_pixels)
        for module in ("A", "B")
    }


def dilution(images: Sequence[tuple[FloatArray, FloatArray]]) -> float:
    """Return how much shallower a gradient of the detector looks along the field of mosaics.

    Only some exposures of a dithered mosaic reach the outer part of an array, so that the mean
    detector position of a source moves by less than the source does.

    Parameters
    ----------
    images : sequence of (ndarray of float64, ndarray of float64), each of shape (n,)
        For every mosaic, the folded coordinate w of its sources on the sky, and the same of the
        mean detector pixel of the exposures that cover each source [arcmin].

    Returns
    -------
    float
        Slope of the second on the first within mosaics, one for single pointings: a fit along d
        finds this times the gradient of the detector.

    Raises
    ------
    InvalidValueError
        If the slope is not within 0.2 to 1.2, which dithers of one array do not give.
    """
    covariance = variance = 0.0
    for sky_arcmin, detector_arcmin in images:
        sky = sky_arcmin - sky_arcmin.mean()
        variance += float(sky @ sky)
        covariance += float(sky @ (detector_arcmin - detector_arcmin.mean()))
    slope = covariance / variance if variance > 0.0 else math.nan
    if not 0.2 <= slope <= 1.2:
        msg = (
            f"mean detector positions move by {slope:.3g} per step along the field's axis: "
            "expected 0.2 to 1.2; were the positions made with another pointing?"
        )
        raise InvalidValueError(msg)
    return slope


def _folded_plane(array: Array, view: View, axis: FieldAxis) -> PixelPlane:
    """Return w of an array's pixels in one image, the plane through four points half way out."""
    middle, step = 0.5 * (array.n_pixels - 1), 0.25 * array.n_pixels
    x = middle + step * np.array([-1.0, 1.0, 0.0, 0.0])
    y = middle + step * np.array([0.0, 0.0, -1.0, 1.0])
    d = view.roll_sign * along_axis(*detector_to_sky(x, y, array, *view.point), axis)
    return PixelPlane(
        float(d.mean()), float(d[1] - d[0]) / (2.0 * step), float(d[3] - d[2]) / (2.0 * step)
    )


def _mean_plane(planes: Sequence[PixelPlane]) -> PixelPlane:
    """Return the mean of planes."""
    values = np.mean([(plane.mean, plane.per_x, plane.per_y) for plane in planes], axis=0)
    return PixelPlane(*(float(value) for value in values))


def _factors(gradient: PixelPlane, n_pixels: int) -> tuple[FloatArray, FloatArray]:
    """Return 10**(-0.4 g) along x and along y; their outer product is the flat before its norm."""
    steps = np.arange(n_pixels, dtype=np.float64) - 0.5 * (n_pixels - 1)
    return flux_divisor(gradient.per_x * steps), flux_divisor(gradient.per_y * steps)


def _mean_divisor(gradient: PixelPlane | None, n_pixels: int) -> float:
    """Return the mean of 10**(-0.4 g) over the array."""
    if gradient is None:
        return 1.0
    along_x, along_y = _factors(gradient, n_pixels)
    return float(along_x.mean() * along_y.mean())

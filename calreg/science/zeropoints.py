"""Offsets carried from one CRDS context to another by the ratios of PHOTMJSR.

A source's magnitude on an array is -2.5 log10(counts S) + constant, S = PHOTMJSR. Under another
context the counts are the same as long as nothing but the photom file changed, so that the
magnitude moves by -2.5 log10(S2 / S1), positive where the array reads fainter under the second.
The offset between the modules moves by the difference of their two changes::

    Delta_AB(P2) = Delta_AB(P1) - 2.5 log10[(S_A(P2) / S_A(P1)) / (S_B(P2) / S_B(P1))]

Published values are rounded. A number that is given to half a unit h of its last digit lies
anywhere within [S - h, S + h], with a standard deviation of h / sqrt(3).
"""

from __future__ import annotations

import math
import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from calreg.errors import InvalidValueError
from calreg.units import MAG_PER_RELATIVE_FLUX, flux_factor

if TYPE_CHECKING:
    from collections.abc import Sequence

SINGLE_PRECISION = 2.0**-24
"""Half a unit of the last binary digit of a 32-bit float, relative to the number, at most."""

SIGNIFICANT_SIGMA = 3.0
"""A measured offset that is further than this from the prediction disagrees with it."""

_MIN_CORRELATED = 3
"""Keys; two points always lie on a line."""

_SMALL = 1e-4
"""Numbers below are written with an exponent."""

_NUMBER = re.compile(r"[+-]?(\d*)\.?(\d*)(?:[eE]([+-]?\d+))?")


@dataclass(frozen=True)
class Rounded:
    """A positive number as it was written down; its text has the digits that are known.

    Attributes
    ----------
    half_width : float
        Half a unit of its last digit, in the unit of `value`.
    """

    value: float
    half_width: float

    @property
    def err(self) -> float:
        """Standard deviation of the rounding, in the unit of `value`."""
        return self.half_width / math.sqrt(3.0)

    @property
    def err_mag(self) -> float:
        """Standard deviation of the rounding [mag]."""
        return MAG_PER_RELATIVE_FLUX * self.err / self.value

    def __str__(self) -> str:
        """Return the number with the digits that are known, seven at most."""
        if self.half_width < 1e-7 * self.value or self.value < _SMALL:
            return f"{self.value:.7g}"
        n_decimals = max(0, -math.floor(math.log10(2.0 * self.half_width) + 1e-9))
        return f"{self.value:.{n_decimals}f}"


@dataclass(frozen=True)
class DeltaMag:
    """A difference of magnitudes."""

    mag: float
    err_mag: float


NO_CHANGE = DeltaMag(0.0, 0.0)
"""Of an array that has the same photom file in both contexts."""


def rounded(text: str, n_significant: int | None = None) -> Rounded:
    """Read a number with the precision that it is written to.

    Parameters
    ----------
    text : str
        ``2.0560`` is known to 0.00005.
    n_significant : int, optional
        Significant digits, where they are stated; ``2.78`` of four digits is known to 0.0005.

    Raises
    ------
    InvalidValueError
        If the text is no positive number.

    Examples
    --------
    >>> rounded("2.0560")
    Rounded(value=2.056, half_width=5e-05)
    >>> rounded("2.78", 4)
    Rounded(value=2.78, half_width=0.0005)
    """
    found = _NUMBER.fullmatch(text.strip())
    digits = "" if found is None else found[1] + found[2]
    value = float(text) if digits else 0.0
    if found is None or not value > 0.0 or not math.isfinite(value):
        msg = f"{text.strip()!r} is not a positive number"
        raise InvalidValueError(msg)
    exponent = int(found[3] or 0) - len(found[2])
    if n_significant is not None:
        exponent = math.floor(math.log10(value)) + 1 - n_significant
    # A number with more digits than a 64-bit float is still no better than a photom table's.
    half_width = max(0.5 * 10.0**exponent, SINGLE_PRECISION * value)
    return Rounded(value, float(f"{half_width:.6g}"))


def single_precision(value: float) -> Rounded:
    """Return a number of a photom table, or of a header that was written from one."""
    return Rounded(value, SINGLE_PRECISION * value)


def agree(values: Sequence[Rounded]) -> bool:
    """Check whether several rounded numbers can stand for one.

    Returns
    -------
    bool
        Whether their intervals have a point in common.
    """
    # Bounds are compared with the slack of double precision: 2.0565 rounds to 2.056 and to 2.057.
    low = max(value.value - value.half_width * (1.0 + 1e-9) for value in values)
    high = min(value.value + value.half_width * (1.0 + 1e-9) for value in values)
    return low <= high + 1e-12 * abs(high)


def most_precise(values: Sequence[Rounded]) -> Rounded:
    """Return the best known of values that agree; the smaller of equally known ones."""
    return min(values, key=lambda value: (value.half_width, value.value))


def magnitude_change(first: Rounded, second: Rounded) -> DeltaMag:
    """Return how the magnitudes on an array move with its PHOTMJSR or PIXAR_SR.

    Parameters
    ----------
    first, second : Rounded
        Under the first and the second context.

    Returns
    -------
    DeltaMag
        ``-2.5 log10(second / first)``, positive where sources are fainter under the second; the
        error is that of both roundings.
    """
    return DeltaMag(
        -2.5 * math.log10(second.value / first.value),
        math.hypot(first.err_mag, second.err_mag),
    )


def carried_offset(offset_ab: DeltaMag, change_a: DeltaMag, change_b: DeltaMag) -> DeltaMag:
    """Return the offset between the modules under another context.

    Parameters
    ----------
    offset_ab : DeltaMag
        Offset m_A - m_B under the first context, with its standard error.
    change_a, change_b : DeltaMag
        Of the two arrays, second context minus first.

    Returns
    -------
    DeltaMag
        Offset m_A - m_B under the second context. Errors add in quadrature: of the measurement, and
        of the rounding of every PHOTMJSR. A gradient along the field is not touched by PHOTMJSR.

    Examples
    --------
    PHOTMJSR of A grows by 1 %: A reads brighter, the offset falls.

    >>> change = magnitude_change(Rounded(2.0, 0.0), Rounded(2.02, 0.0))
    >>> round(carried_offset(DeltaMag(0.013, 0.001), change, NO_CHANGE).mag, 4)
    0.0022
    """
    return DeltaMag(
        offset_ab.mag + change_a.mag - change_b.mag,
        math.hypot(offset_ab.err_mag, change_a.err_mag, change_b.err_mag),
    )


def is_beyond(difference_mag: float, err_mag: float) -> bool:
    """Check whether a measured offset disagrees with the predicted one."""
    return abs(difference_mag) > SIGNIFICANT_SIGMA * err_mag


def flux_error_percent(change_ab: float) -> float:
    """Return the error of the first context's correction under the second [%].

    Parameters
    ----------
    change_ab : float
        Change of m_A - m_B from the first context to the second [mag].

    Returns
    -------
    float
        Flux of module A over what it should be, less one. What was too faint by an offset that
        has since shrunk is made too bright.
    """
    return 100.0 * (flux_factor(-change_ab) - 1.0)


@dataclass(frozen=True)
class Absorption:
    """How far a change of context has taken measured offsets up.

    Attributes
    ----------
    correlation : float or None
        Of change and offset; -1 where every offset was taken up by the same share. None for fewer
        than three keys, or without scatter.
    scatter_before_mag, scatter_after_mag : float
        Standard deviation about the mean [mag], of the offsets and of what remains.
    rms_before_mag, rms_after_mag : float
        About zero [mag].
    """

    n_keys: int
    correlation: float | None
    scatter_before_mag: float
    scatter_after_mag: float
    rms_before_mag: float
    rms_after_mag: float


def absorption(offset_ab_mag: Sequence[float], change_ab_mag: Sequence[float]) -> Absorption:
    """Compare offsets with their change from one context to another.

    Parameters
    ----------
    offset_ab_mag, change_ab_mag : sequence of float, shape (n_keys,)
        Measured under the first context, and second minus first [mag].

    Raises
    ------
    InvalidValueError
        Without any key.
    """
    before, change = list(offset_ab_mag), list(change_ab_mag)
    if not before or len(before) != len(change):
        msg = f"{len(before)} offsets and {len(change)} changes; expected as many, one at least"
        raise InvalidValueError(msg)
    after = [offset + by for offset, by in zip(before, change, strict=True)]
    correlation = None
    has_scatter = min(before) < max(before) and min(change) < max(change)
    if len(before) >= _MIN_CORRELATED and has_scatter:
        correlation = _covariance(before, change) / (_scatter(before) * _scatter(change))
    return Absorption(
        n_keys=len(before),
        correlation=correlation,
        scatter_before_mag=_scatter(before),
        scatter_after_mag=_scatter(after),
        rms_before_mag=math.sqrt(_mean_product(before, before)),
        rms_after_mag=math.sqrt(_mean_product(after, after)),
    )


def _mean_product(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the mean of the products."""
    return math.fsum(map(operator.mul, first, second)) / len(first)


def _covariance(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the mean product of the distances from the two means."""
    centred = []
    for values in (first, second):
        mean = math.fsum(values) / len(values)
        centred.append([value - mean for value in values])
    return _mean_product(*centred)


def _scatter(values: Sequence[float]) -> float:
    """Return the standard deviation about the mean."""
    return math.sqrt(_covariance(values, values))

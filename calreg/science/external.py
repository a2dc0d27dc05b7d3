"""Numbers of others: what they are, and what they mean in our sign.

A table of corrections holds factors of flux or magnitudes. Whether flux is multiplied or divided by
them is said beside the table or nowhere. In our sign an offset is positive where the array reads
too faint, so that its flux is multiplied by ``10**(+0.4 * offset)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from calreg.units import MAG_PER_RELATIVE_FLUX, factor_offset_mag

if TYPE_CHECKING:
    from calreg.domain import Pmap


class Sense(StrEnum):
    """What is done with the numbers of others, which no file of numbers tells by itself."""

    MULTIPLY = "multiply"
    """Flux is multiplied by the factor, or by 10**(+0.4 * offset): calreg's own sign."""
    DIVIDE = "divide"
    """Flux is divided by it."""


class Method(StrEnum):
    """What the numbers of others were measured on."""

    STAR = "star"
    """Fluxes of sources."""
    SKY = "sky"
    """Levels of the sky: surface brightness, which knows nothing of PIXAR_SR."""


class ValueState(StrEnum):
    """What a number of others is worth."""

    MEASURED = "measured"
    DATUM = "datum"
    """Held fixed: the others are relative to it."""
    INTERPOLATED = "interpolated"
    """Not measured in its band."""
    NONE = "none"
    """A placeholder where there are no data."""


@dataclass(frozen=True)
class ExternalValue:
    """One number of a table of others, as it stands there.

    Attributes
    ----------
    pmap : Pmap
        Context that it corrects.
    array : str
        Detector, ``nrca1``; empty where the number is the difference A - B of an array id.
    value, err : float, float or None
        As given: a factor, or an offset [mag] where `is_mag`. The error is None where none is
        stated.
    photmjsr, pixar_sr : float or None
        What the table gives beside it [MJy/sr per DN/s], [sr].
    line : int
        Of the file, counted from 1.
    """

    pmap: Pmap
    array: str
    array_id: str
    band: str
    value: float
    err: float | None
    is_mag: bool
    state: ValueState
    photmjsr: float | None
    pixar_sr: float | None
    line: int
    text: str


def offset_of(value: ExternalValue, sense: Sense) -> tuple[float, float | None]:
    """Return a number and its error in our sign.

    Returns
    -------
    offset_mag : float
        ``+2.5 log10(factor)``, or the magnitudes as given, where flux is multiplied; the opposite
        where it is divided [mag].
    err_mag : float or None
        ``1.0857 err / factor``, or as given [mag]; zero for a datum, None where none is stated.

    Examples
    --------
    An image is divided by 1.0618: it read too bright.

    >>> from calreg.domain import Pmap
    >>> value = ExternalValue(
    ...     Pmap(995), "nrcalong", "long", "F277W", 1.0618, None, False, ValueState.MEASURED, None,
    ...     None, 1, ""
    ... )
    >>> offset_of(value, Sense.DIVIDE)
    (-0.0651..., None)
    """
    offset_mag = value.value if value.is_mag else factor_offset_mag(value.value)
    err_mag = value.err
    if err_mag is not None and not value.is_mag:
        err_mag *= MAG_PER_RELATIVE_FLUX / value.value
    if value.state is ValueState.DATUM and err_mag is None:
        err_mag = 0.0
    # 0.0 - x, so that no datum becomes -0.0.
    return offset_mag if sense is Sense.MULTIPLY else 0.0 - offset_mag, err_mag


def pixel_area_offset_mag(pixar_a_sr: float, pixar_b_sr: float) -> float:
    """Return by how much the offset A - B of point sources differs from that of sky levels.

    Returns
    -------
    float
        ``-2.5 log10(pixar_a_sr / pixar_b_sr)`` [mag]: flux is surface brightness times PIXAR_SR.
    """
    return 0.0 - factor_offset_mag(pixar_a_sr / pixar_b_sr)

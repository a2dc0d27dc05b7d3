"""A seeded sky for simulated programmes: positions, magnitudes, variables, blends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calreg.errors import InvalidValueError

if TYPE_CHECKING:
    from calreg.domain import BoolArray
    from calreg.units import FloatArray

BRIGHT_LIMIT_MAG = 22.0
"""Sources on either side of the limit keep `LIMIT_MARGIN_MAG` from it in every band, so that
offsets of 0.05 mag and noise do not move them across: counts of bright sources are exact."""

LIMIT_MARGIN_MAG = 0.16

_CELL_ARCMIN = 1.2 / 60.0
_CELL_JITTER = 0.35
"""Each source has a cell of its own and stays this fraction of it from the middle: no two are
closer than 0.36 arcsec."""

_SATURATION_MAG = 18.0
_BRIGHT_SLOPE_DEX = 0.25
_FAINT_LIMIT_MAG = 26.0
_FAINT_SLOPE_DEX = 0.25
_COLOUR_SCATTER_MAG = 0.25
_RED_RANGE_MAG = 1.0
_OVERLAP_ACCEPTANCE = 0.35
"""Fraction of bright candidates in several patches of a channel that is taken: sums over patches
then exceed the number of sources about as the paper's Table 2 exceeds its Table 1."""

_VARIABLE_FRACTION = 0.01
_MIN_BRIGHT_VARIABLES = 3
_VARIABLE_AMPLITUDE_MAG = (0.35, 0.6)
_N_BLENDS = 4
_BLEND_SEP_ARCMIN = 0.09 / 60.0
_BLEND_FAINTER_MAG = 1.0


@dataclass(frozen=True)
class Rectangle:
    """A rectangle in the tangent plane of the field.

    Attributes
    ----------
    angle_rad : float
        From east to the first side, towards north.
    low, high : tuple of float
        Bounds along both sides [arcmin].
    """

    angle_rad: float
    low: tuple[float, float]
    high: tuple[float, float]

    @classmethod
    def around(cls, xi_arcmin: FloatArray, eta_arcmin: FloatArray, angle_rad: float) -> Rectangle:
        """Return the smallest rectangle at an angle around points."""
        u, v = _rotated(xi_arcmin, eta_arcmin, angle_rad)
        return cls(angle_rad, (float(u.min()), float(v.min())), (float(u.max()), float(v.max())))

    def contains(
        self, xi_arcmin: FloatArray, eta_arcmin: FloatArray, margin_arcmin: float = 0.0
    ) -> BoolArray:
        """Mark the points that lie inside by more than a margin (outside by less, if negative)."""
        u, v = _rotated(xi_arcmin, eta_arcmin, self.angle_rad)
        return np.asarray(
            (u > self.low[0] + margin_arcmin)
            & (u < self.high[0] - margin_arcmin)
            & (v > self.low[1] + margin_arcmin)
            & (v < self.high[1] - margin_arcmin)
        )

    def corners(self) -> tuple[FloatArray, FloatArray]:
        """Return (xi, eta) of the corners in order [arcmin]."""
        u = np.array([self.low[0], self.high[0], self.high[0], self.low[0]])
        v = np.array([self.low[1], self.low[1], self.high[1], self.high[1]])
        return self.points(u, v)

    def points(self, u: FloatArray, v: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return (xi, eta) of points given along the sides [arcmin]."""
        return _rotated(u, v, -self.angle_rad)

    @property
    def area_arcmin2(self) -> float:
        """Area [arcmin^2]."""
        return (self.high[0] - self.low[0]) * (self.high[1] - self.low[1])


def _rotated(x: FloatArray, y: FloatArray, angle_rad: float) -> tuple[FloatArray, FloatArray]:
    """Return coordinates along axes turned by an angle."""
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    return x * cosine + y * sine, y * cosine - x * sine


@dataclass(frozen=True)
class Patch:
    """The sky that one array saw in the first epoch, and its partner at the opposite roll.

    Attributes
    ----------
    outlines : tuple of Rectangle
        Mosaic of `array` at the first roll, mosaic of its partner at the opposite one.
    """

    array: str
    channel: str
    outlines: tuple[Rectangle, Rectangle]


@dataclass(frozen=True)
class Sky:
    """True sources; arrays have shape (n_sources,) unless stated.

    Attributes
    ----------
    xi_arcmin, eta_arcmin : ndarray of float64
        Tangent-plane position about the field centre, east and north [arcmin].
    mag : ndarray of float64, shape (n_sources, n_bands)
        True AB magnitudes.
    variability_mag : ndarray of float64
        Amplitude; a variable source changes by at least 0.35 mag between any two of three epochs in
        a row; 0 for constant sources.
    is_blended : ndarray of bool
        Flagged as blended in every catalog.
    """

    xi_arcmin: FloatArray
    eta_arcmin: FloatArray
    mag: FloatArray
    variability_mag: FloatArray
    is_blended: BoolArray

    @property
    def is_variable(self) -> BoolArray:
        """True for variable sources."""
        return np.asarray(self.variability_mag > 0.0)


def draw_sky(
    rng: np.random.Generator,
    patches: tuple[Patch, ...],
    counts: tuple[dict[str, int], ...],
    *,
    axis_angle_rad: float,
    faint_per_patch: int,
    edge_margin_arcmin: float = 2.0 / 60.0,
) -> Sky:
    """Draw a sky with given numbers of bright sources in every patch.

    Parameters
    ----------
    counts : tuple of dict
        For each band, the wanted number of constant, unblended sources brighter than
        `BRIGHT_LIMIT_MAG` in the patch of each array (arrays of the band's channel only).
    axis_angle_rad : float
        Direction of the long side of the field, from east towards north.
    faint_per_patch : int
        Mean number of fainter sources in a patch of the smallest channel.
    edge_margin_arcmin : float
        Distance that bright sources keep from the edges of patches [arcmin].

    Raises
    ------
    InvalidValueError
        If the field has no room for so many sources.
    """
    xi, eta = _candidates(rng, patches, axis_angle_rad)
    inside, is_clear = _membership(xi, eta, patches, edge_margin_arcmin)
    usable = np.flatnonzero(is_clear & inside.any(axis=1))
    chosen, is_bright = _choose_bright(rng, inside[usable], patches, counts)
    bright = usable[chosen]
    n_extra = max(_MIN_BRIGHT_VARIABLES, round(_VARIABLE_FRACTION * bright.size)) + _N_BLENDS
    spare = np.setdiff1d(usable, bright, assume_unique=True)
    smallest = min(patch.outlines[0].area_arcmin2 for patch in patches)
    n_faint = round(faint_per_patch * xi.size * _CELL_ARCMIN**2 / smallest)
    if spare.size < n_extra + n_faint:
        msg = f"the field has room for {spare.size - n_extra} faint sources, asked for {n_faint}"
        raise InvalidValueError(msg)
    extra = rng.choice(spare, n_extra, replace=False)
    rest = np.setdiff1d(np.arange(xi.size), np.concatenate([bright, extra]), assume_unique=True)
    faint = rng.choice(rest, n_faint, replace=False)
    return _with_magnitudes(rng, (xi, eta), (bright, extra, faint), is_bright, n_blends=_N_BLENDS)


def _candidates(
    rng: np.random.Generator, patches: tuple[Patch, ...], angle_rad: float
) -> tuple[FloatArray, FloatArray]:
    """Return one position in every cell of a grid over the field, in random order."""
    corners = [outline.corners() for patch in patches for outline in patch.outlines]
    field = Rectangle.around(
        np.concatenate([corner[0] for corner in corners]),
        np.concatenate([corner[1] for corner in corners]),
        angle_rad,
    )
    n_u, n_v = (
        int((high - low) / _CELL_ARCMIN) for low, high in zip(field.low, field.high, strict=True)
    )
    cells = rng.permutation(n_u * n_v)
    jitter = rng.uniform(0.5 - _CELL_JITTER, 0.5 + _CELL_JITTER, size=(2, cells.size))
    u = field.low[0] + _CELL_ARCMIN * (cells % n_u + jitter[0])
    v = field.low[1] + _CELL_ARCMIN * (cells // n_u + jitter[1])
    return _rotated(u, v, -angle_rad)


def _membership(
    xi: FloatArray, eta: FloatArray, patches: tuple[Patch, ...], margin_arcmin: float
) -> tuple[BoolArray, BoolArray]:
    """Return which patches hold each point, and which points are clear of all edges."""
    inside = np.empty((xi.size, len(patches)), dtype=bool)
    is_clear = np.ones(xi.size, dtype=bool)
    for column, patch in enumerate(patches):
        well_inside = [outline.contains(xi, eta, margin_arcmin) for outline in patch.outlines]
        near = [outline.contains(xi, eta, -margin_arcmin) for outline in patch.outlines]
        inside[:, column] = well_inside[0] & well_inside[1]
        is_clear &= inside[:, column] == (near[0] | near[1])
    return inside, is_clear


def _choose_bright(
    rng: np.random.Generator,
    inside: BoolArray,
    patches: tuple[Patch, ...],
    counts: tuple[dict[str, int], ...],
) -> tuple[list[int], BoolArray]:
    """Take candidates in order wherever all patches that hold them still want bright sources.

    Returns the rows taken and, for each, the bands in which it is bright.
    """
    columns = {patch.array: column for column, patch in enumerate(patches)}
    wanted = [{columns[array]: number for array, number in band.items()} for band in counts]
    n_missing = sum(sum(band.values()) for band in wanted)
    luck = rng.uniform(size=len(inside))
    chosen: list[int] = []
    bands_bright: list[list[bool]] = []
    for row in range(len(inside)):
        if n_missing == 0:
            break
        holders = set(np.flatnonzero(inside[row]).tolist())
        flags = []
        for band in wanted:
            hit = holders & band.keys()
            is_taken = bool(hit) and all(band[column] > 0 for column in hit)
            flags.append(is_taken and (len(hit) == 1 or luck[row] < _OVERLAP_ACCEPTANCE))
        if not any(flags):
            continue
        for band, flag in zip(wanted, flags, strict=True):
            for column in holders & band.keys() if flag else ():
                band[column] -= 1
                n_missing -= 1
        chosen.append(row)
        bands_bright.append(flags)
    if n_missing:
        msg = f"the field has no room for {n_missing} more bright sources away from patch edges"
        raise InvalidValueError(msg)
    return chosen, np.array(bands_bright, dtype=bool).reshape(len(chosen), len(counts))


def _with_magnitudes(
    rng: np.random.Generator,
    positions: tuple[FloatArray, FloatArray],
    groups: tuple[np.ndarray, np.ndarray, np.ndarray],
    is_bright: BoolArray,
    *,
    n_blends: int,
) -> Sky:
    """Draw magnitudes of bright, extra (variables, blends) and faint sources; add companions."""
    bright, extra, faint = groups
    n_bands = is_bright.shape[1]
    n_variable = extra.size - n_blends
    limit, margin = BRIGHT_LIMIT_MAG, LIMIT_MARGIN_MAG
    colour = _COLOUR_SCATTER_MAG * rng.standard_normal((bright.size + extra.size, n_bands))
    base = _number_counts(rng, len(colour), _SATURATION_MAG, limit - margin, _BRIGHT_SLOPE_DEX)
    mag_bright = np.clip(base[:, np.newaxis] + colour, _SATURATION_MAG, limit - margin)
    red = limit + margin + rng.uniform(0.0, _RED_RANGE_MAG, size=is_bright.shape)
    mag_bright[: bright.size] = np.where(is_bright, mag_bright[: bright.size], red)
    # Bright variables stay bright through their whole range.
    variables = slice(bright.size, bright.size + n_variable)
    mag_bright[variables] = np.minimum(mag_bright[variables], limit - 1.5)
    base = _number_counts(rng, faint.size, limit + margin, _FAINT_LIMIT_MAG, _FAINT_SLOPE_DEX)
    colour = _COLOUR_SCATTER_MAG * rng.standard_normal((faint.size, n_bands))
    mag_faint = np.maximum(base[:, np.newaxis] + colour, limit + margin)
    blends = extra[n_variable:]
    turn = rng.uniform(0.0, 2.0 * np.pi, size=n_blends)
    rows = np.concatenate([bright, extra, faint])
    xi = np.concatenate(
        [positions[0][rows], positions[0][blends] + _BLEND_SEP_ARCMIN * np.cos(turn)]
    )
    eta = np.concatenate(
        [positions[1][rows], positions[1][blends] + _BLEND_SEP_ARCMIN * np.sin(turn)]
    )
    companions = mag_bright[bright.size + n_variable :] + _BLEND_FAINTER_MAG
    variability = np.zeros(xi.size)
    is_variable = np.zeros(xi.size, dtype=bool)
    is_variable[variables] = True
    first_faint = bright.size + extra.size
    is_variable[first_faint : first_faint + faint.size] = (
        rng.uniform(size=faint.size) < _VARIABLE_FRACTION
    )
    variability[is_variable] = rng.uniform(
        *_VARIABLE_AMPLITUDE_MAG, size=int(np.count_nonzero(is_variable))
    )
    is_blended = np.zeros(xi.size, dtype=bool)
    is_blended[bright.size + n_variable : first_faint] = True
    is_blended[first_faint + faint.size :] = True
    return Sky(
        xi, eta, np.concatenate([mag_bright, mag_faint, companions]), variability, is_blended
    )


def _number_counts(
    rng: np.random.Generator, n: int, bright_mag: float, faint_mag: float, slope_dex: float
) -> FloatArray:
    """Draw magnitudes whose density grows as ``10**(slope_dex * mag)``."""
    low, high = 10.0 ** (slope_dex * bright_mag), 10.0 ** (slope_dex * faint_mag)
    return np.asarray(np.log10(rng.uniform(low, high, size=n)) / slope_dex)

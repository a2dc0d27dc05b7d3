"""Matching of two catalogs on the sky: nearest within a radius, mutual, ambiguous ones flagged.

Notes
-----
All pairs within the radius are found first, by a sort-join: space is cut into cubes, the sources of
the second catalog near a face also enter the cube behind it, and equal cubes are joined. Nearest,
mutual and ambiguous follow from the counts. Cubes know neither poles nor right ascension zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from calreg.errors import InvalidValueError
from calreg.science.geometry import unit_vectors
from calreg.units import ARCSEC_PER_DEG, MAS_PER_DEG, FloatArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from calreg.domain import BoolArray, IntArray

MATCH_VERSION = 1
"""Version of the matching; pairs of another version are stale."""

MAX_SEP_LIMIT_ARCSEC = 60.0
"""Largest search radius; beyond it nearest neighbours mean nothing and memory is the limit."""

MIN_ASTROMETRY_PAIRS = 3
"""Fewest pairs that an astrometric offset is taken from; fewer give one source's error."""

_MAX_PASSES = 4
_CONVERGED_MAS = 0.1

_RADII_PER_CUBE = 16.0
"""Edge of a cube in search radii: wide enough for few copies, narrow enough for few candidates."""
_BITS_PER_AXIS = 21
"""Three axes of 21 bits fill an int64 key."""
_CANDIDATES_PER_BATCH = 1 << 18


@dataclass(frozen=True)
class Match:
    """The pairs of two catalogs, in order of `index_1`; all arrays have shape (n_pairs,).

    Attributes
    ----------
    index_1, index_2 : ndarray of int64
        Rows of the first and of the second catalog, each at most once.
    sep_arcsec : ndarray of float64
        Separation [arcsec].
    is_ambiguous : ndarray of bool
        Whether either member has another source of the other catalog within the radius.
    """

    index_1: IntArray = field(repr=False)
    index_2: IntArray = field(repr=False)
    sep_arcsec: FloatArray = field(repr=False)
    is_ambiguous: BoolArray = field(repr=False)

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.index_1)


@dataclass(frozen=True)
class EpochMatch:
    """The pairs of two epochs after their median astrometric offset is removed.

    Attributes
    ----------
    match : Match
        Separations are those that remain after the offset is removed.
    ra_median_mas, dec_median_mas : float
        The removed offset, later minus earlier, in right ascension times cos(dec) and in
        declination [mas]; NaN when there were too few pairs to find one, and nothing was removed.
    ra_mad_mas, dec_mad_mas : float
        Median absolute deviation of the same offsets, not scaled to a standard deviation [mas]; NaN
        with the median.
    n_astrometry : int
        Bright unambiguous pairs that the offset was found from.
    """

    match: Match
    ra_median_mas: float
    dec_median_mas: float
    ra_mad_mas: float
    dec_mad_mas: float
    n_astrometry: int


def match_sources(
    ra_1_deg: ArrayLike,
    dec_1_deg: ArrayLike,
    ra_2_deg: ArrayLike,
    dec_2_deg: ArrayLike,
    max_sep_arcsec: float,
) -> Match:
    """Match two catalogs: each source with its nearest, where that is mutual.

    Parameters
    ----------
    ra_1_deg, dec_1_deg : array_like of float64, shape (n_1,)
        First catalog, ICRS [deg].
    ra_2_deg, dec_2_deg : array_like of float64, shape (n_2,)
        Second catalog, ICRS [deg].
    max_sep_arcsec : float
        Search radius [arcsec], inclusive.

    Returns
    -------
    Match
        Of equally near sources the one with the smaller row is taken, and the pair is ambiguous.

    Raises
    ------
    InvalidValueError
        If a position is not finite, a declination is out of range, the lengths differ, or the
        radius is not within (0, `MAX_SEP_LIMIT_ARCSEC`].
    """
    _require_radius(max_sep_arcsec)
    first = _vectors(ra_1_deg, dec_1_deg, "first")
    return _match_vectors(first, _vectors(ra_2_deg, dec_2_deg, "second"), max_sep_arcsec)


def match_groups(
    catalogs: Sequence[tuple[FloatArray, FloatArray]],
    pairs: Sequence[tuple[int, int]],
    max_sep_arcsec: float,
) -> list[Match]:
    """Match many pairs of catalogs, preparing each catalog once.

    Parameters
    ----------
    catalogs : sequence of (ra_deg, dec_deg)
        Arrays of float64, ICRS [deg].
    pairs : sequence of (int, int)
        Indices of the first and of the second catalog of each match.
    max_sep_arcsec : float
        Search radius [arcsec], inclusive.

    Returns
    -------
    list of Match
        One per pair, each as from `match_sources`.

    Raises
    ------
    InvalidValueError
        As `match_sources`.
    """
    _require_radius(max_sep_arcsec)
    vectors = [_vectors(ra, dec, f"number {i}") for i, (ra, dec) in enumerate(catalogs)]
    return [_match_vectors(vectors[i], vectors[j], max_sep_arcsec) for i, j in pairs]


def match_epochs(
    ra_1_deg: ArrayLike,
    dec_1_deg: ArrayLike,
    ra_2_deg: ArrayLike,
    dec_2_deg: ArrayLike,
    max_sep_arcsec: float,
    *,
    is_bright_1: BoolArray | None = None,
    is_bright_2: BoolArray | None = None,
) -> EpochMatch:
    """Match an earlier and a later catalog, with the median astrometric offset removed.

    Parameters
    ----------
    ra_1_deg, dec_1_deg : array_like of float64, shape (n_1,)
        Earlier catalog, ICRS [deg].
    ra_2_deg, dec_2_deg : array_like of float64, shape (n_2,)
        Later catalog, ICRS [deg].
    max_sep_arcsec : float
        Search radius [arcsec], inclusive; the offset itself must be smaller.
    is_bright_1, is_bright_2 : ndarray of bool, shape (n_1,) and (n_2,), optional
        Sources that the offset may be taken from; all by default.

    Returns
    -------
    EpochMatch

    Raises
    ------
    InvalidValueError
        As `match_sources`.

    Notes
    -----
    Match, take the median offset (in right ascension times cos(dec), in declination) of bright
    unambiguous pairs, shift the later catalog, match again; repeated, at most four passes in all,
    while the remaining median exceeds 0.1 mas, as it does when the radius cut the first pass.

    References
    ----------
    Ma et al. 2024 (arXiv 2311.13754), section 3 and Table 1.
    """
    _require_radius(max_sep_arcsec)
    first = _vectors(ra_1_deg, dec_1_deg, "first")
    second = _vectors(ra_2_deg, dec_2_deg, "second")
    removed = np.zeros(2)
    for n_pass in range(1, _MAX_PASSES + 1):
        match = _match_vectors(first, _shifted(second, -removed), max_sep_arcsec)
        is_used = ~match.is_ambiguous
        if is_bright_1 is not None:
            is_used &= is_bright_1[match.index_1]
        if is_bright_2 is not None:
            is_used &= is_bright_2[match.index_2]
        n_used = int(np.count_nonzero(is_used))
        if n_used < MIN_ASTROMETRY_PAIRS:
            if not removed.any():
                return EpochMatch(match, np.nan, np.nan, np.nan, np.nan, n_used)
            break
        offsets = _offsets_mas(first[:, match.index_1[is_used]], second[:, match.index_2[is_used]])
        median = np.median(offsets, axis=1)
        is_converged = bool((np.abs(median - removed) <= _CONVERGED_MAS).all())
        if n_pass == _MAX_PASSES or (n_pass > 1 and is_converged):
            break
        removed = median
    mad = np.median(np.abs(offsets - removed[:, np.newaxis]), axis=1)
    return EpochMatch(
        match, float(removed[0]), float(removed[1]), float(mad[0]), float(mad[1]), offsets.shape[1]
    )


# --- positions ----------------------------------------------------------------------------------


def _require_radius(max_sep_arcsec: float) -> None:
    """Refuse a search radius that is not positive or is beyond the limit."""
    if not 0.0 < max_sep_arcsec <= MAX_SEP_LIMIT_ARCSEC:
        msg = (
            f"search radius {max_sep_arcsec} arcsec: expected more than 0 and at most "
            f"{MAX_SEP_LIMIT_ARCSEC:g} arcsec"
        )
        raise InvalidValueError(msg)


def _vectors(ra_deg: ArrayLike, dec_deg: ArrayLike, which: str) -> FloatArray:
    """Return unit vectors (3, n) of a catalog whose positions are all usable."""
    ra, dec = np.asarray(ra_deg, dtype=np.float64), np.asarray(dec_deg, dtype=np.float64)
    if ra.ndim != 1 or ra.shape != dec.shape:
        msg = (
            f"{which} catalog: right ascensions have shape {ra.shape}, declinations {dec.shape}: "
            "expected one value each per source"
        )
        raise InvalidValueError(msg)
    is_usable = np.isfinite(ra) & (np.abs(dec) <= 90.0)
    if not is_usable.all():
        row = int(np.flatnonzero(~is_usable)[0])
        msg = (
            f"{which} catalog: {int(np.count_nonzero(~is_usable))} positions are not usable, "
            f"the first in row {row} is ({ra[row]}, {dec[row]}): expected finite ICRS degrees"
        )
        raise InvalidValueError(msg)
    return np.ascontiguousarray(unit_vectors(ra, dec).T)


def _local_axes(vectors: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return unit vectors (3, n) to the east and to the north at positions (3, n)."""
    x, y, z = vectors
    cos_dec = np.hypot(x, y)
    is_pole = cos_dec == 0.0
    safe = np.where(is_pole, 1.0, cos_dec)
    cos_ra, sin_ra = np.where(is_pole, 1.0, x / safe), y / safe
    return np.stack([-sin_ra, cos_ra, np.zeros_like(x)]), np.stack(
        [-z * cos_ra, -z * sin_ra, cos_dec]
    )


def _offsets_mas(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return offsets (2, n), second - first, to the east and to the north [mas]."""
    east, north = _local_axes(first)
    difference = second - first
    radians = np.stack([(difference * east).sum(axis=0), (difference * north).sum(axis=0)])
    return np.asarray(np.degrees(radians) * MAS_PER_DEG)


def _shifted(vectors: FloatArray, shift_mas: FloatArray) -> FloatArray:
    """Return positions (3, n) moved by one small offset to the east and to the north [mas]."""
    if not shift_mas.any():
        return vectors
    east, north = _local_axes(vectors)
    step = np.radians(shift_mas / MAS_PER_DEG)
    moved = vectors + step[0] * east + step[1] * north
    return np.asarray(moved / np.sqrt((moved * moved).sum(axis=0)))


# --- the join -----------------------------------------------------------------------------------


class _Nearest:
    """The nearest partner and the number of partners of each source of one catalog."""

    def __init__(self, n_sources: int) -> None:
        self.partner = np.full(n_sources, -1, dtype=np.int64)
        self.chord2 = np.full(n_sources, np.inf)
        self.n_partners = np.zeros(n_sources, dtype=np.int64)

    def update(self, source: IntArray, partner: IntArray, chord2: FloatArray) -> None:
        """Take more pairs into account; the smaller partner wins a tie."""
        np.add.at(self.n_partners, source, 1)
        before = np.take(self.chord2, source)
        np.minimum.at(self.chord2, source, chord2)
        nearest = np.take(self.chord2, source)
        self.partner[source[nearest < before]] = np.iinfo(np.int64).max
        is_nearest = chord2 == nearest
        np.minimum.at(self.partner, source[is_nearest], partner[is_nearest])

    def in_order(self, rows: IntArray) -> _Nearest:
        """Return the same with source i moved to place ``rows[i]``."""
        moved = _Nearest(0)
        for name in ("partner", "chord2", "n_partners"):
            values = getattr(self, name)
            placed = np.empty_like(values)
            placed[rows] = values
            setattr(moved, name, placed)
        return moved


@dataclass(frozen=True)
class _Cubes:
    """A catalog in the order of its cubes; `rows` leads back to the catalog's own order."""

    vectors: FloatArray
    keys: IntArray
    rows: IntArray

    @classmethod
    def of(cls, vectors: FloatArray, cube: float) -> _Cubes:
        """Sort positions (3, n) by the key of their cube."""
        # 1.125 keeps cubes, and those next to them, positive for coordinates in [-1, 1]
        x, y, z = ((vectors + 1.125) / cube).astype(np.int64)
        keys = (((x << _BITS_PER_AXIS) | y) << _BITS_PER_AXIS) | z
        rows = np.argsort(keys)
        return cls(np.take(vectors, rows, axis=1), np.take(keys, rows), rows)

    def keys_within(self, radius: float, cube: float) -> tuple[IntArray, IntArray]:
        """Return the keys of all cubes within a radius of each source, and its place."""
        inside, _ = np.modf((self.vectors + 1.125) / cube)
        margin = 1.01 * radius / cube
        keys, places = self.keys, np.arange(len(self.keys))
        for axis in range(3):
            step = 1 << (_BITS_PER_AXIS * (2 - axis))
            depth = inside[axis] if axis == 0 else np.take(inside[axis], places)
            below, above = np.flatnonzero(depth < margin), np.flatnonzero(depth > 1.0 - margin)
            keys = np.concatenate([keys, keys[below] - step, keys[above] + step])
            places = np.concatenate([places, places[below], places[above]])
        return keys, places


def _match_vectors(first: FloatArray, second: FloatArray, max_sep_arcsec: float) -> Match:
    """Match positions (3, n_1) and (3, n_2)."""
    if not first.size or not second.size:
        none = np.empty(0, dtype=np.int64)
        return Match(none, none.copy(), np.empty(0), np.empty(0, dtype=np.bool_))
    radius = 2.0 * float(np.sin(0.5 * np.radians(max_sep_arcsec / ARCSEC_PER_DEG)))
    of_first, of_second = _join(first, second, radius)
    index_1 = np.flatnonzero(of_first.n_partners)
    index_2 = of_first.partner[index_1]
    is_mutual = of_second.partner[index_2] == index_1
    index_1, index_2 = index_1[is_mutual], index_2[is_mutual]
    chord = np.sqrt(of_first.chord2[index_1])
    return Match(
        index_1=index_1,
        index_2=index_2,
        sep_arcsec=np.asarray(ARCSEC_PER_DEG * np.degrees(2.0 * np.arcsin(0.5 * chord))),
        is_ambiguous=(of_first.n_partners[index_1] > 1) | (of_second.n_partners[index_2] > 1),
    )


def _join(first: FloatArray, second: FloatArray, radius: float) -> tuple[_Nearest, _Nearest]:
    """Find all pairs of positions (3, n) within a chord, and the nearest partner on both sides."""
    cube = max(_RADII_PER_CUBE * radius, 2.5 / (1 << _BITS_PER_AXIS))
    cubes_1, cubes_2 = _Cubes.of(first, cube), _Cubes.of(second, cube)
    keys, places = cubes_1.keys_within(radius, cube)
    start, counts = _equal_runs(keys, cubes_2.keys)
    is_found = np.flatnonzero(counts)
    places, start, counts = places[is_found], start[is_found], counts[is_found]
    ends = np.cumsum(counts)
    of_first, of_second = _Nearest(first.shape[1]), _Nearest(second.shape[1])
    n_candidates = int(ends[-1]) if len(ends) else 0
    steps = np.arange(0, n_candidates, _CANDIDATES_PER_BATCH)
    cuts = [*np.unique(np.searchsorted(ends, steps, side="right")).tolist(), len(ends)]
    for low, high in pairwise(cuts):
        n = counts[low:high]
        left = np.repeat(places[low:high], n)
        before = ends[low:high] - n - (ends[low] - counts[low])
        right = np.arange(len(left)) + np.repeat(start[low:high] - before, n)
        difference = np.take(cubes_1.vectors, left, axis=1)
        difference -= np.take(cubes_2.vectors, right, axis=1)
        difference *= difference
        chord2 = difference[0] + difference[1] + difference[2]
        near = np.flatnonzero(chord2 <= radius * radius)
        left, right, chord2 = left[near], right[near], chord2[near]
        of_first.update(left, cubes_2.rows[right], chord2)
        of_second.update(right, cubes_1.rows[left], chord2)
    return of_first.in_order(cubes_1.rows), of_second.in_order(cubes_2.rows)


def _equal_runs(keys: IntArray, sorted_keys: IntArray) -> tuple[IntArray, IntArray]:
    """Return where the run equal to each key begins in `sorted_keys`, and its length."""
    start = np.searchsorted(sorted_keys, keys)
    run_starts = np.flatnonzero(np.diff(sorted_keys, prepend=sorted_keys[0] - 1))
    run_lengths = np.zeros(len(sorted_keys) + 1, dtype=np.int64)
    run_lengths[run_starts] = np.diff(run_starts, append=len(sorted_keys))
    is_equal = np.append(sorted_keys, -1)[start] == keys
    return start, np.where(is_equal, run_lengths[start], 0)

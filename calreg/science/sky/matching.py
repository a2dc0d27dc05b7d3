"""Matching of catalogs on the sky: nearest within a radius, mutual, ambiguous ones flagged.

Pairs are then assigned to sources. Positions are ICRS [deg], of shape (n,) for each catalog; search
radii are inclusive.

Notes
-----
`calreg.science.sky.spatialjoin` finds all pairs within the radius; nearest, mutual and ambiguous
follow from the counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from calreg.errors import InvalidValueError
from calreg.science.sky.geometry import sky_position, unit_vectors
from calreg.science.sky.spatialjoin import CubeGrid, join
from calreg.science.statistics import mad_by_group, median_by_group
from calreg.units import ARCSEC_PER_DEG, MAS_PER_DEG

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike

    from calreg.domain import BoolArray, IntArray
    from calreg.units import FloatArray

MATCH_VERSION = 1
"""Version of the matching; pairs of another version are stale."""

MAX_SEP_LIMIT_ARCSEC = 60.0
"""Largest search radius; beyond it nearest neighbours mean nothing and memory is the limit."""

MIN_ASTROMETRY_PAIRS = 3
"""Fewest pairs that an astrometric offset is taken from; fewer give one source's error."""

_MAX_PASSES = 4
_CONVERGED_MAS = 0.1

_SOURCES_PER_BATCH = 1 << 18
"""Catalogs are matched together up to so many sources, to bound the memory."""


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


def match_many_epochs(
    catalogs: Sequence[tuple[FloatArray, FloatArray, BoolArray]],
    pairs: Sequence[tuple[int, int]],
    max_sep_arcsec: float,
) -> list[EpochMatch]:
    """Match pairs of an earlier and a later catalog, small ones together.

    Parameters
    ----------
    catalogs : sequence of (ra_deg, dec_deg, is_bright)
        Arrays of float64, ICRS [deg], and of bool.
    pairs : sequence of (int, int)
        Indices of the earlier and of the later catalog of each match.

    Returns
    -------
    list of EpochMatch
        One per pair, with the median astrometric offset removed.

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
    sides = [_Side.of(*catalog, f"number {n}") for n, catalog in enumerate(catalogs)]
    sided = [(sides[earlier], sides[later]) for earlier, later in pairs]
    return [match for batch in _batches(sided) for match in _Batch(batch, max_sep_arcsec).match()]


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
    """Return positions (3, n) moved by small offsets (2, n) to the east and to the north [mas]."""
    is_moved = shift_mas.any(axis=0)
    if not is_moved.any():
        return vectors
    east, north = _local_axes(vectors)
    step = np.radians(shift_mas / MAS_PER_DEG)
    moved = vectors + step[0] * east + step[1] * north
    return np.where(is_moved, moved / np.sqrt((moved * moved).sum(axis=0)), vectors)


# --- matches ------------------------------------------------------------------------------------


def _match_vectors(
    first: FloatArray,
    second: FloatArray,
    max_sep_arcsec: float,
    groups: tuple[IntArray, IntArray] | None = None,
    n_groups: int = 1,
) -> Match:
    """Match positions (3, n_1) and (3, n_2), group by group."""
    if not first.size or not second.size:
        none = np.empty(0, dtype=np.int64)
        return Match(none, none.copy(), np.empty(0), np.empty(0, dtype=np.bool_))
    radius = 2.0 * float(np.sin(0.5 * np.radians(max_sep_arcsec / ARCSEC_PER_DEG)))
    grid = CubeGrid.around(first, second, radius, n_groups)
    of_first, of_second = join(first, second, radius, grid, groups)
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


@dataclass(frozen=True)
class _Side:
    """A catalog: positions (3, n) and what is bright enough for astrometry."""

    vectors: FloatArray
    is_bright: BoolArray

    @classmethod
    def of(cls, ra_deg: FloatArray, dec_deg: FloatArray, is_bright: BoolArray, which: str) -> _Side:
        """Check a catalog."""
        return cls(_vectors(ra_deg, dec_deg, which), is_bright)

    @property
    def n_sources(self) -> int:
        """Number of sources."""
        return len(self.is_bright)


def _batches(pairs: Sequence[tuple[_Side, _Side]]) -> Iterator[list[tuple[_Side, _Side]]]:
    """Cut pairs of catalogs into batches of a bounded number of sources."""
    batch: list[tuple[_Side, _Side]] = []
    n_sources = 0
    for first, second in pairs:
        n_sources += first.n_sources + second.n_sources
        if batch and n_sources > _SOURCES_PER_BATCH:
            yield batch
            batch, n_sources = [], first.n_sources + second.n_sources
        batch.append((first, second))
    if batch:
        yield batch


class _Batch:
    """Pairs of catalogs that are matched together, each pair a group."""

    def __init__(self, pairs: list[tuple[_Side, _Side]], max_sep_arcsec: float) -> None:
        self._pairs = pairs
        self._max_sep_arcsec = max_sep_arcsec
        self._removed_mas = np.zeros((2, len(pairs)))
        self._mad_mas = np.full((2, len(pairs)), np.nan)
        self._n_astrometry = np.zeros(len(pairs), dtype=np.int64)
        self._found: dict[int, EpochMatch] = {}

    def match(self) -> list[EpochMatch]:
        """Match all pairs, those that have not converged again and again."""
        for n_pass in range(1, _MAX_PASSES + 1):
            active = [n for n in range(len(self._pairs)) if n not in self._found]
            if active:
                self._pass(np.array(active), n_pass)
        return [self._found[n] for n in range(len(self._pairs))]

    def _pass(self, active: IntArray, n_pass: int) -> None:
        """Match the active pairs once, and take down those that are finished."""
        sides_1 = [self._pairs[n][0] for n in active]
        sides_2 = [self._pairs[n][1] for n in active]
        first, group_1 = _joined(sides_1)
        second, group_2 = _joined(sides_2)
        removed = self._removed_mas[:, active]
        match = _match_vectors(
            first,
            _shifted(second, -removed[:, group_2]),
            self._max_sep_arcsec,
            (group_1, group_2),
            len(active),
        )
        is_used = (
            ~match.is_ambiguous
            & np.concatenate([side.is_bright for side in sides_1])[match.index_1]
            & np.concatenate([side.is_bright for side in sides_2])[match.index_2]
        )
        group = group_1[match.index_1[is_used]]
        n_used = np.bincount(group, minlength=len(active))
        offsets = _offsets_mas(first[:, match.index_1[is_used]], second[:, match.index_2[is_used]])
        median, mad, mad_removed = (np.empty_like(removed) for _ in range(3))
        for axis in (0, 1):
            median[axis] = median_by_group(offsets[axis], group, len(active))
            mad[axis] = mad_by_group(offsets[axis], group, median[axis], len(active))
            mad_removed[axis] = mad_by_group(offsets[axis], group, removed[axis], len(active))
        is_enough = n_used >= MIN_ASTROMETRY_PAIRS
        is_converged = (n_pass > 1) & (np.abs(median - removed) <= _CONVERGED_MAS).all(axis=0)
        is_last = ~is_enough | is_converged | (n_pass == _MAX_PASSES)
        # Too few pairs after a shift: what was removed, its spread and number stay as they were.
        is_known = is_enough | np.isnan(self._mad_mas[0, active])
        self._n_astrometry[active[is_known]] = n_used[is_known]
        is_measured = is_enough & is_last
        self._mad_mas[:, active[is_measured]] = mad_removed[:, is_measured]
        is_moved = is_enough & ~is_last
        self._removed_mas[:, active[is_moved]] = median[:, is_moved]
        self._mad_mas[:, active[is_moved]] = mad[:, is_moved]
        parts = _split(match, group_1, sides_1, sides_2)
        for n in np.flatnonzero(is_last):
            self._found[int(active[n])] = self._finish(int(active[n]), parts[n])

    def _finish(self, n: int, match: Match) -> EpochMatch:
        """Put the match of one pair beside its offset."""
        mad_mas = self._mad_mas[:, n]
        removed_mas = np.where(np.isnan(mad_mas), np.nan, self._removed_mas[:, n])
        return EpochMatch(
            match,
            ra_median_mas=float(removed_mas[0]),
            dec_median_mas=float(removed_mas[1]),
            ra_mad_mas=float(mad_mas[0]),
            dec_mad_mas=float(mad_mas[1]),
            n_astrometry=int(self._n_astrometry[n]),
        )


def _joined(sides: Sequence[_Side]) -> tuple[FloatArray, IntArray]:
    """Return the positions (3, n) of catalogs one after the other, and the group of each."""
    sizes = [side.n_sources for side in sides]
    return np.concatenate([side.vectors for side in sides], axis=1), np.repeat(
        np.arange(len(sides)), sizes
    )


def _split(
    match: Match, group_1: IntArray, sides_1: Sequence[_Side], sides_2: Sequence[_Side]
) -> list[Match]:
    """Cut a match of catalogs that were put one after the other into one match each."""
    ends = np.searchsorted(group_1[match.index_1], np.arange(len(sides_1)), side="right").tolist()
    parts = []
    low = begin_1 = begin_2 = 0
    for high, side_1, side_2 in zip(ends, sides_1, sides_2, strict=True):
        parts.append(
            Match(
                match.index_1[low:high] - begin_1,
                match.index_2[low:high] - begin_2,
                match.sep_arcsec[low:high],
                match.is_ambiguous[low:high],
            )
        )
        low, begin_1, begin_2 = high, begin_1 + side_1.n_sources, begin_2 + side_2.n_sources
    return parts


# --- sources ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Assignment:
    """The source of each position.

    Attributes
    ----------
    index : ndarray of int64, shape (n_positions,)
        Into the known sources followed by the new ones.
    new_ra_deg, new_dec_deg : ndarray of float64, shape (n_new,)
        Mean positions of the new sources [deg, ICRS].
    """

    index: IntArray
    new_ra_deg: FloatArray
    new_dec_deg: FloatArray


def assign_sources(
    ra_deg: FloatArray,
    dec_deg: FloatArray,
    known_ra_deg: FloatArray,
    known_dec_deg: FloatArray,
    *,
    max_sep_arcsec: float,
) -> Assignment:
    """Assign positions to known sources, and gather the rest into new ones.

    Parameters
    ----------
    ra_deg, dec_deg : ndarray of float64, shape (n_positions,)
        Positions of pairs [deg, ICRS], finite.
    known_ra_deg, known_dec_deg : ndarray of float64, shape (n_known,)
        Sources that exist.
    max_sep_arcsec : float
        Positions within this radius belong together [arcsec].

    Notes
    -----
    A position goes to the nearest known source within the radius. The others form a source for each
    set of positions that are connected by steps within the radius.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    radius = 2.0 * np.sin(0.5 * np.radians(max_sep_arcsec / ARCSEC_PER_DEG))
    vectors = unit_vectors(ra_deg, dec_deg)
    index = np.full(ra_deg.size, -1, dtype=np.int64)
    if known_ra_deg.size and ra_deg.size:
        tree = cKDTree(unit_vectors(known_ra_deg, known_dec_deg))
        nearest = np.asarray(tree.query(vectors, distance_upper_bound=radius)[1], dtype=np.int64)
        is_found = nearest < known_ra_deg.size
        index[is_found] = nearest[is_found]
    is_new = index < 0
    n_positions = int(is_new.sum())
    if n_positions == 0:
        return Assignment(index, np.empty(0), np.empty(0))
    links = cKDTree(vectors[is_new]).query_pairs(radius, output_type="ndarray")
    graph = coo_array(
        (np.ones(len(links), dtype=np.int8), (links[:, 0], links[:, 1])),
        shape=(n_positions, n_positions),
    )
    n_new, label = connected_components(graph, directed=False)
    index[is_new] = known_ra_deg.size + label
    sums = [np.bincount(label, vectors[is_new, axis], minlength=n_new) for axis in range(3)]
    new_ra_deg, new_dec_deg = sky_position(np.column_stack(sums).astype(np.float64, copy=False))
    return Assignment(index, new_ra_deg, new_dec_deg)

"""All pairs of positions within a radius, by a sort-join over cubes of space.

Space is cut into cubes, the sources of the first catalog near a face also look into the cube behind
it, and equal cubes are joined. Cubes know neither poles nor right ascension zero. Many catalogs are
joined in one go, each with its own partner: the group is part of a cube's key.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from calreg.domain import IntArray
    from calreg.units import FloatArray

_RADII_PER_CUBE = 16.0
"""Edge of a cube in search radii: wide enough for few copies, narrow enough for few candidates."""

_MAX_KEYS = 1 << 62
"""Keys of all cubes of all groups fit into an int64."""

_CANDIDATES_PER_BATCH = 1 << 18


class Nearest:
    """The nearest partner and the number of partners of each source of one catalog.

    Attributes
    ----------
    partner : ndarray of int64, shape (n_sources,)
        Row in the other catalog, -1 for none; of equally near ones the smallest.
    chord2 : ndarray of float64, shape (n_sources,)
        Squared chord to it on the unit sphere.
    n_partners : ndarray of int64, shape (n_sources,)
        Sources of the other catalog within the radius.
    """

    def __init__(self, n_sources: int) -> None:
        self.partner = np.full(n_sources, -1, dtype=np.int64)
        self.chord2 = np.full(n_sources, np.inf)
        self.n_partners = np.zeros(n_sources, dtype=np.int64)

    def update(self, source: IntArray, partner: IntArray, chord2: FloatArray) -> None:
        """Add pairs; the smaller partner wins a tie."""
        np.add.at(self.n_partners, source, 1)
        before = np.take(self.chord2, source)
        np.minimum.at(self.chord2, source, chord2)
        nearest = np.take(self.chord2, source)
        self.partner[source[nearest < before]] = np.iinfo(np.int64).max
        is_nearest = chord2 == nearest
        np.minimum.at(self.partner, source[is_nearest], partner[is_nearest])

    def in_order(self, rows: IntArray) -> Nearest:
        """Return the same with source i moved to place ``rows[i]``."""
        moved = Nearest(0)
        for name in ("partner", "chord2", "n_partners"):
            values = getattr(self, name)
            placed = np.empty_like(values)
            placed[rows] = values
            setattr(moved, name, placed)
        return moved


@dataclass(frozen=True)
class CubeGrid:
    """Cubes of space that hold two catalogs, numbered group by group.

    Attributes
    ----------
    edge : float
        Edge of a cube [chord].
    low : ndarray of float64, shape (3, 1)
        Corner of the first cube; one cube is left free all around.
    steps : tuple of int
        What one cube along x, y, z adds to a key, and one group.
    """

    edge: float
    low: FloatArray
    steps: tuple[int, int, int, int]

    @classmethod
    def around(
        cls, first: FloatArray, second: FloatArray, radius: float, n_groups: int
    ) -> CubeGrid:
        """Return the grid for positions (3, n_1) and (3, n_2) and a search radius [chord]."""
        low = np.minimum(first.min(axis=1), second.min(axis=1))
        high = np.maximum(first.max(axis=1), second.max(axis=1))
        edge = _RADII_PER_CUBE * radius
        while True:
            # A cube and a half more on either side, so that no source looks out of the grid.
            n_x, n_y, n_z = (int(n) + 4 for n in (high - low) / edge)
            if n_x * n_y * n_z * n_groups < _MAX_KEYS:
                break
            edge *= 2.0  # Many groups that are spread over the sky.
        steps = (n_y * n_z, n_z, 1, n_x * n_y * n_z)
        return cls(edge, (low - 1.5 * edge)[:, np.newaxis], steps)


@dataclass(frozen=True)
class _Cubes:
    """A catalog in the order of its cubes; `rows` leads back to the catalog's own order."""

    grid: CubeGrid
    vectors: FloatArray
    keys: IntArray
    rows: IntArray

    @classmethod
    def of(cls, vectors: FloatArray, group: IntArray | None, grid: CubeGrid) -> _Cubes:
        """Sort positions (3, n) by the key of their cube."""
        step_x, step_y, _, step_group = grid.steps
        x, y, z = ((vectors - grid.low) / grid.edge).astype(np.int64)
        keys = x * step_x + y * step_y + z
        if group is not None:
            keys += group * step_group
        rows = np.argsort(keys)
        return cls(grid, np.take(vectors, rows, axis=1), np.take(keys, rows), rows)

    def keys_within(self, radius: float) -> tuple[IntArray, IntArray]:
        """Return the keys of all cubes within a radius of each source, and its place."""
        inside, _ = np.modf((self.vectors - self.grid.low) / self.grid.edge)
        margin = 1.01 * radius / self.grid.edge
        keys, places = self.keys, np.arange(len(self.keys))
        for axis in range(3):
            step = self.grid.steps[axis]
            depth = inside[axis] if axis == 0 else np.take(inside[axis], places)
            below, above = np.flatnonzero(depth < margin), np.flatnonzero(depth > 1.0 - margin)
            keys = np.concatenate([keys, keys[below] - step, keys[above] + step])
            places = np.concatenate([places, places[below], places[above]])
        return keys, places


def join(
    first: FloatArray,
    second: FloatArray,
    radius: float,
    grid: CubeGrid,
    groups: tuple[IntArray, IntArray] | None = None,
) -> tuple[Nearest, Nearest]:
    """Find all pairs of positions within a chord, and the nearest partner on both sides.

    Parameters
    ----------
    first, second : ndarray of float64, shape (3, n_1) and (3, n_2)
        Unit vectors, at least one each.
    radius : float
        Largest chord, inclusive.
    groups : (ndarray of int64, ndarray of int64), optional
        Group of each source, shape (n_1,) and (n_2,): only sources of one group are partners.

    Returns
    -------
    Nearest, Nearest
        Of the first and of the second catalog.
    """
    group_1, group_2 = groups or (None, None)
    cubes_1, cubes_2 = _Cubes.of(first, group_1, grid), _Cubes.of(second, group_2, grid)
    keys, places = cubes_1.keys_within(radius)
    start, counts = _equal_runs(keys, cubes_2.keys)
    is_found = np.flatnonzero(counts)
    places, start, counts = places[is_found], start[is_found], counts[is_found]
    ends = np.cumsum(counts)
    of_first, of_second = Nearest(first.shape[1]), Nearest(second.shape[1])
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

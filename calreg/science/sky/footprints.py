"""Overlap of footprints on the sky.

A footprint is an array (n_vertices, 2) of ICRS (ra, dec) [deg]: a convex polygon of great-circle
arcs, smaller than a hemisphere; or a tuple of those, their union. Of a polygon that is not convex
only those edges separate that lie on its convex hull, so that an overlap is never missed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from calreg.errors import InvalidValueError
from calreg.science.sky.geometry import unit_vectors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from calreg.domain import BoolArray, IntArray
    from calreg.units import FloatArray

Footprint: TypeAlias = "FloatArray | tuple[FloatArray, ...]"

_TOUCH_RAD = 1e-11
"""Footprints that share less than this, 2 microarcsec, touch and do not overlap."""

_MIN_EDGE_RAD = 1e-12
_NO_EDGE_DEPTH = 0.999999
_PAIRS_PER_BATCH = 65536
_FEW_PAIRS = 4096
"""So many are all looked at, without a tree and the fifth of a second of its import."""


@dataclass(frozen=True)
class FootprintSet:
    """Polygons of footprints prepared for overlap tests.

    Attributes
    ----------
    owner : ndarray of int64, shape (n,)
        Number of the footprint that a polygon is of.
    n_footprints : int
    vertices : ndarray of float64, shape (n, n_vertices, 3)
        Unit vectors, the last one repeated up to the longest polygon.
    normals : ndarray of float64, shape (n, n_vertices, 3)
        Unit normals of the edges' great circles, towards the inside.
    centres : ndarray of float64, shape (n, 3)
        Mean unit vectors.
    radii : ndarray of float64, shape (n,)
        Largest chord from centre to vertex.
    inner_radii : ndarray of float64, shape (n,)
        Sine of the radius of the largest circle around the centre that lies inside.
    """

    owner: IntArray
    n_footprints: int
    vertices: FloatArray
    normals: FloatArray
    centres: FloatArray
    radii: FloatArray
    inner_radii: FloatArray

    @classmethod
    def of(cls, footprints: Sequence[Footprint]) -> FootprintSet:
        """Prepare footprints.

        Parameters
        ----------
        footprints : sequence of ndarray of float64, shape (n_vertices, 2), or of tuples of them
            ICRS (ra, dec) [deg]; orientation and a repeated first vertex do not matter.

        Raises
        ------
        InvalidValueError
            If one has fewer than three vertices or a non-finite coordinate.
        """
        if not footprints:
            empty = np.empty((0, 3, 3))
            none = np.empty(0, dtype=np.int64)
            return cls(none, 0, empty, empty.copy(), np.empty((0, 3)), np.empty(0), np.empty(0))
        unions = [one if isinstance(one, tuple) else (one,) for one in footprints]
        owner = np.repeat(np.arange(len(unions)), [len(union) for union in unions])
        polygons = [polygon for union in unions for polygon in union]
        counts = np.array([len(polygon) for polygon in polygons])
        vertices = unit_vectors(*np.concatenate(polygons).astype(np.float64).T)
        if counts.min() < 3 or not np.isfinite(vertices).all():
            msg = (
                f"one of {len(footprints)} footprints has fewer than three vertices or a "
                "non-finite coordinate: expected polygons in ICRS degrees"
            )
            raise InvalidValueError(msg)
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        columns = np.minimum(np.arange(counts.max()), counts[:, np.newaxis] - 1)
        padded = vertices[starts[:, np.newaxis] + columns]
        centres = np.add.reduceat(vertices, starts, axis=0)
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
        radii = np.linalg.norm(padded - centres[:, np.newaxis], axis=2).max(axis=1)
        normals = _inward_normals(padded, centres)
        # sine of the distance to each edge: circles with d < sin(r_1) + sin(r_2) do overlap
        depth = np.einsum("nvk,nk->nv", normals, centres)
        inner_radii = np.where(depth < _NO_EDGE_DEPTH, depth, np.inf).min(axis=1)
        inner_radii[np.isinf(inner_radii)] = 0.0
        return cls(owner, len(unions), padded, normals, centres, radii, inner_radii)

    def __len__(self) -> int:
        """Return the number of polygons."""
        return len(self.radii)


def _inward_normals(vertices: FloatArray, centres: FloatArray) -> FloatArray:
    """Return edge normals (n, n_vertices, 3); edges that cannot separate get the centre instead."""
    # The chord, not the next vertex, in the product: short edges keep their direction.
    normals = np.cross(vertices, np.roll(vertices, -1, axis=1) - vertices)
    turn = np.sign(np.einsum("nvk,nk->n", normals, centres))
    normals *= turn[:, np.newaxis, np.newaxis]
    lengths = np.linalg.norm(normals, axis=2, keepdims=True)
    normals /= np.maximum(lengths, _MIN_EDGE_RAD)
    depth = np.matmul(normals, vertices.transpose(0, 2, 1)).min(axis=2)
    is_support = (lengths[..., 0] > _MIN_EDGE_RAD) & (depth >= -_TOUCH_RAD)
    return np.where(is_support[..., np.newaxis], normals, centres[:, np.newaxis])


def pairs_overlap(first: FootprintSet, second: FootprintSet, pairs: IntArray) -> BoolArray:
    """Test pairs of polygons by separating great circles.

    Parameters
    ----------
    pairs : ndarray of int64, shape (k, 2)
        Indices into `first` and `second`, of polygons on one hemisphere.

    Notes
    -----
    Two convex polygons are apart exactly if all vertices of one lie outside one edge of the other.
    """
    i, j = pairs.T
    chord = np.linalg.norm(first.centres[i] - second.centres[j], axis=1)
    result: BoolArray = chord < first.inner_radii[i] + second.inner_radii[j]
    unsettled = np.flatnonzero(~result)
    for start in range(0, len(unsettled), _PAIRS_PER_BATCH):
        batch = unsettled[start : start + _PAIRS_PER_BATCH]
        is_apart = _has_separating_edge(first.normals[i[batch]], second.vertices[j[batch]])
        is_apart |= _has_separating_edge(second.normals[j[batch]], first.vertices[i[batch]])
        result[batch] = ~is_apart
    return result


def _has_separating_edge(normals: FloatArray, vertices: FloatArray) -> BoolArray:
    """Check for pairs (k, n_edges, 3), (k, n_vertices, 3) if all vertices lie outside one edge."""
    edges, points = np.ascontiguousarray(normals.T), np.ascontiguousarray(vertices.T)
    is_apart = np.zeros(len(normals), dtype=np.bool_)
    for edge_x, edge_y, edge_z in zip(*edges, strict=True):
        is_outside = np.ones(len(normals), dtype=np.bool_)
        for x, y, z in zip(*points, strict=True):
            is_outside &= edge_x * x + edge_y * y + edge_z * z <= _TOUCH_RAD
        is_apart |= is_outside
    return is_apart


def near_pairs(first: FootprintSet, second: FootprintSet) -> IntArray:
    """Find the pairs of polygons whose bounding circles meet.

    Returns
    -------
    ndarray of int64, shape (k, 2)
        Indices into `first` and `second`, sorted.
    """
    if not len(first) or not len(second):
        return np.empty((0, 2), dtype=np.int64)
    if len(first) * len(second) <= _FEW_PAIRS:
        chords = np.linalg.norm(first.centres[:, np.newaxis] - second.centres, axis=2)
        return np.argwhere(chords <= first.radii[:, np.newaxis] + second.radii)
    from scipy.spatial import cKDTree

    limit = float(first.radii.max() + second.radii.max())
    found = cKDTree(first.centres).sparse_distance_matrix(
        cKDTree(second.centres), limit, output_type="ndarray"
    )
    found = found[found["v"] <= first.radii[found["i"]] + second.radii[found["j"]]]
    order = np.argsort(found["i"] * len(second) + found["j"])
    return np.column_stack([found["i"], found["j"]]).astype(np.int64)[order]


def near_pairs_within(footprints: FootprintSet) -> IntArray:
    """Find the pairs within one set whose bounding circles meet, each once.

    Returns
    -------
    ndarray of int64, shape (k, 2)
        Indices, the smaller first.
    """
    if len(footprints) < 2:
        return np.empty((0, 2), dtype=np.int64)
    if len(footprints) ** 2 <= _FEW_PAIRS:
        pairs = near_pairs(footprints, footprints)
        return pairs[pairs[:, 0] < pairs[:, 1]]
    from scipy.spatial import cKDTree

    limit = 2.0 * float(footprints.radii.max())
    i, j = cKDTree(footprints.centres).query_pairs(limit, output_type="ndarray").T
    chord = np.linalg.norm(footprints.centres[i] - footprints.centres[j], axis=1)
    is_near = chord <= footprints.radii[i] + footprints.radii[j]
    return np.column_stack([i[is_near], j[is_near]]).astype(np.int64)


def overlapping_pairs(footprints: Sequence[Footprint], against: Sequence[Footprint]) -> IntArray:
    """Find all pairs of overlapping footprints of two lists.

    Returns
    -------
    ndarray of int64, shape (k, 2)
        Indices into `footprints` and `against`, sorted.

    Raises
    ------
    InvalidValueError
        If a footprint has fewer than three vertices or a non-finite coordinate.
    """
    return pairs_between(FootprintSet.of(footprints), FootprintSet.of(against))


def pairs_between(first: FootprintSet, second: FootprintSet) -> IntArray:
    """Find the overlapping footprints of two sets, as `overlapping_pairs` returns them."""
    return _of_owners(first, second, near_pairs(first, second))


def pairs_within(footprints: FootprintSet) -> IntArray:
    """Find the overlapping footprints of one set, each pair once, the smaller index first."""
    pairs = _of_owners(footprints, footprints, near_pairs_within(footprints))
    is_pair: BoolArray = pairs[:, 0] != pairs[:, 1]
    return pairs[is_pair]


def _of_owners(first: FootprintSet, second: FootprintSet, near: IntArray) -> IntArray:
    """Return the footprints of those pairs of polygons that overlap."""
    pairs = near[pairs_overlap(first, second, near)]
    if len(first) == first.n_footprints and len(second) == second.n_footprints:
        return pairs
    owners = np.column_stack([first.owner[pairs[:, 0]], second.owner[pairs[:, 1]]])
    unique: IntArray = np.unique(owners, axis=0)
    return unique


def footprints_overlap(footprint_1: Footprint, footprint_2: Footprint) -> bool:
    """Check whether two footprints overlap; touching edges do not count.

    Raises
    ------
    InvalidValueError
        If a footprint has fewer than three vertices or a non-finite coordinate.
    """
    return len(overlapping_pairs([footprint_1], [footprint_2])) == 1

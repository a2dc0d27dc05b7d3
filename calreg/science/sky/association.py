"""Which pairs belong to one source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from calreg.science.sky.geometry import sky_position, unit_vectors
from calreg.units import ARCSEC_PER_DEG, FloatArray

if TYPE_CHECKING:
    from calreg.domain import IntArray


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

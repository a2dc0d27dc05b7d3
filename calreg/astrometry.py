"""Position offsets between epochs, per band (Ma et al., Table 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from calreg.db.queries.pairs import fetch_offset_pairs
from calreg.units import MAS_PER_DEG, FloatArray

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from calreg.db.engine import Connection
    from calreg.domain import IntArray

    Columns = dict[str, npt.NDArray[Any]]

ASTROMETRY_WARNING_MAS = 5.0
"""A median offset between epochs above this is worth a warning [mas]."""

ASTROMETRY_MAG_LIMIT = 22.0
"""Sources brighter than this give the median offset (Ma et al., Table 1) [mag AB]. Not the run's
limit: pairs are stored once, and must not depend on the settings of the run that came first."""


@dataclass(frozen=True)
class AstrometryRow:
    """Position offsets, later - earlier, of bright clean sources in one band and epoch pair.

    Attributes
    ----------
    field, pmap, band : str
    epoch_i, epoch_j : str
        Names of the epochs.
    n_sources : int
    ra_median_mas, ra_mad_mas, dec_median_mas, dec_mad_mas : float
        Median and median absolute deviation of dRA cosDec and dDec [mas], before their removal
        (Ma et al., Table 1).
    """

    field: str
    pmap: str
    band: str
    epoch_i: str
    epoch_j: str
    n_sources: int
    ra_median_mas: float
    ra_mad_mas: float
    dec_median_mas: float
    dec_mad_mas: float

    @property
    def is_large(self) -> bool:
        """Whether the images should be aligned better before matched-aperture photometry."""
        return max(abs(self.ra_median_mas), abs(self.dec_median_mas)) > ASTROMETRY_WARNING_MAS


def raw_offsets_mas(
    side_i: Columns, side_j: Columns, row_i: IntArray, row_j: IntArray
) -> FloatArray:
    """Return the offsets of bright sources between two catalogs, as they are stored.

    Parameters
    ----------
    side_i, side_j : dict of str to ndarray
        Detections of the earlier and of the later catalog.
    row_i, row_j : ndarray of int64, shape (n_pairs,)
        Their rows in clean, unambiguous pairs.

    Returns
    -------
    ndarray of float64, shape (2, n)
        Offsets dRA cosDec and dDec, later - earlier [mas], of the pairs that are brighter than
        `ASTROMETRY_MAG_LIMIT` on both sides, and on neither known to be extended.
    """
    is_good = (
        (side_i["mag_ab"][row_i] < ASTROMETRY_MAG_LIMIT)
        & (side_j["mag_ab"][row_j] < ASTROMETRY_MAG_LIMIT)
        & (side_i["compactness"][row_i] != 0)
        & (side_j["compactness"][row_j] != 0)
    )
    row_i, row_j = row_i[is_good], row_j[is_good]
    return _offsets_mas(
        side_i["ra_deg"][row_i],
        side_i["dec_deg"][row_i],
        side_j["ra_deg"][row_j],
        side_j["dec_deg"][row_j],
    )


def stored_offsets_mas(
    connection: Connection,
    group_ids: Sequence[int],
    *,
    mag_limit: float = ASTROMETRY_MAG_LIMIT,
    compact_only: bool = False,
) -> dict[int, FloatArray]:
    """Return the offsets of bright sources in pair groups that a refit stored.

    Parameters
    ----------
    connection : Connection
    group_ids : sequence of int
    mag_limit : float
        Sources are brighter than this in both epochs [mag AB].
    compact_only : bool
        Take only sources that are known to be compact in both epochs, not those of which nothing is
        known.

    Returns
    -------
    dict of int to ndarray of float64, shape (2, n)
        By group: dRA cosDec and dDec, later - earlier [mas], of clean, unambiguous pairs that are
        on neither side known to be extended; groups without any are left out.
    """
    pairs = fetch_offset_pairs(
        connection, group_ids, mag_limit=mag_limit, compact_only=compact_only
    )
    offsets = _offsets_mas(
        pairs["ra_i_deg"], pairs["dec_i_deg"], pairs["ra_j_deg"], pairs["dec_j_deg"]
    )
    ids, starts = np.unique(pairs["group_id"], return_index=True)
    parts = np.split(offsets, starts[1:], axis=1)
    return dict(zip(ids.tolist(), parts, strict=False))


def _offsets_mas(
    ra_i: FloatArray, dec_i: FloatArray, ra_j: FloatArray, dec_j: FloatArray
) -> FloatArray:
    """Return (dRA cosDec, dDec) [mas], shape (2, n), of positions [deg], right across RA = 0."""
    ra_step = (ra_j - ra_i + 180.0) % 360.0 - 180.0
    step = np.vstack([ra_step * np.cos(np.radians(dec_i)), dec_j - dec_i])
    return np.asarray(step * MAS_PER_DEG)


BandEpochs = tuple[str, str, str, str, str]
"""(field, pmap, band, earlier epoch, later epoch)."""


def measure_astrometry(
    offsets_mas: Mapping[BandEpochs, Sequence[FloatArray]],
) -> list[AstrometryRow]:
    """Measure the offsets of all patches of a band and epoch pair together."""
    rows = []
    for (field_name, pmap, band, epoch_i, epoch_j), parts in offsets_mas.items():
        offsets = np.concatenate(parts, axis=1)
        if offsets.shape[1] == 0:
            continue
        median = np.median(offsets, axis=1)
        mad = np.median(np.abs(offsets - median[:, None]), axis=1)
        rows.append(
            AstrometryRow(
                field=field_name,
                pmap=pmap,
                band=band,
                epoch_i=epoch_i,
                epoch_j=epoch_j,
                n_sources=offsets.shape[1],
                ra_median_mas=float(median[0]),
                ra_mad_mas=float(mad[0]),
                dec_median_mas=float(median[1]),
                dec_mad_mas=float(mad[1]),
            )
        )
    return rows

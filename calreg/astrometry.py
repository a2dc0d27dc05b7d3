"""Position offsets between epochs, per band (Ma et al., Table 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from calreg.units import MAS_PER_DEG, FloatArray

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from calreg.science.matching import EpochMatch

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


def raw_offsets_mas(side_i: Columns, side_j: Columns, match: EpochMatch) -> FloatArray:
    """Return (dRA cosDec, dDec) [mas], shape (2, n), of the bright, clean, unambiguous pairs."""
    row_i, row_j = match.match.index_1, match.match.index_2
    is_good = (
        ~match.match.is_ambiguous
        & (side_i["flags"][row_i] == 0)
        & (side_j["flags"][row_j] == 0)
        & (side_i["mag_ab"][row_i] < ASTROMETRY_MAG_LIMIT)
        & (side_j["mag_ab"][row_j] < ASTROMETRY_MAG_LIMIT)
    )
    row_i, row_j = row_i[is_good], row_j[is_good]
    ra_step = (side_j["ra_deg"][row_j] - side_i["ra_deg"][row_i] + 180.0) % 360.0 - 180.0
    dec_step = side_j["dec_deg"][row_j] - side_i["dec_deg"][row_i]
    cos_dec = np.cos(np.radians(side_i["dec_deg"][row_i]))
    return np.asarray(np.vstack([ra_step * cos_dec, dec_step]) * MAS_PER_DEG)


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

"""Position offsets between epochs, per band (Ma et al., Table 1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from calreg.db.queries.pairs import fetch_offset_pairs
from calreg.science.model.offsets import MEDIAN_ERR_PER_MEAN_ERR, ROBUST_SCATTER_PER_MAD
from calreg.units import MAS_PER_DEG

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

    from calreg.db.engine import Connection
    from calreg.domain import BoolArray, IntArray
    from calreg.units import FloatArray

    Columns = dict[str, npt.NDArray[Any]]

ASTROMETRY_WARNING_MAS = 5.0
"""A median offset between epochs above this is worth a warning [mas]."""

ASTROMETRY_MAG_LIMIT = 22.0
"""Sources brighter than this give the median offset (Ma et al., Table 1) [mag AB]. Not the run's
limit: pairs are stored once, and must not depend on the settings of the run that came first."""


FLUX_ORDER = ("iso", "auto", "aper", "psf")
"""Of several fluxes of the same sources, the first of these gives the positions: a source counts
once, however often its flux was measured."""


class Sizes(StrEnum):
    """Which sources give the median offset, by what is known of their size."""

    NOT_EXTENDED = "not extended"
    COMPACT = "compact"
    ALL = "all"


@dataclass(frozen=True)
class ImageAlignment:
    """An image that was aligned before it was measured.

    Attributes
    ----------
    text : str
        What was fitted, and how far apart the stars were before and after.
    """

    epoch: str
    file_name: str
    text: str


@dataclass(frozen=True)
class AstrometryRow:
    """Position offsets, later - earlier, of bright clean sources in one band and epoch pair.

    Attributes
    ----------
    n_sources : int
        A source that several arrays saw counts once, with the mean of its offsets.
    ra_median_mas, ra_mad_mas, dec_median_mas, dec_mad_mas : float
        Median and median absolute deviation of dRA cosDec and dDec [mas], before their removal
        (Ma et al., Table 1).
    ra_median_err_mas, dec_median_err_mas : float or None
        Standard errors of the medians, ``1.2533 * 1.4826 * MAD / sqrt(n)`` [mas]; None for one
        source.
    n_unknown_size : int
        Sources of which the catalogs do not say whether they are compact.
    alignments : tuple of ImageAlignment
        Images that were aligned before they were measured. Positions are those of the images as
        they are, and so are the offsets.
    is_aligned : bool
        Whether every patch has such an image, so that isophotes fit in spite of an offset.
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
    ra_median_err_mas: float | None
    dec_median_err_mas: float | None
    image_kind: str
    flux_kind: str
    n_unknown_size: int
    alignments: tuple[ImageAlignment, ...] = ()
    is_aligned: bool = False

    @property
    def is_large(self) -> bool:
        """Whether the images should be aligned better before matched-aperture photometry."""
        return max(abs(self.ra_median_mas), abs(self.dec_median_mas)) > ASTROMETRY_WARNING_MAS

    @property
    def aligned(self) -> str:
        """How many images were aligned, for a table; empty if none was."""
        n_images = len(self.alignments)
        return f"{n_images} image{'s' if n_images > 1 else ''}" if n_images else ""


@dataclass(frozen=True)
class OffsetSample:
    """Offsets of the sources in some pairs of catalogs.

    Attributes
    ----------
    source_id : ndarray of int64, shape (n,)
    offsets_mas : ndarray of float64, shape (2, n)
        dRA cosDec and dDec, later - earlier [mas].
    is_known_size : ndarray of bool, shape (n,)
        Whether both catalogs say if the source is compact.
    """

    source_id: IntArray = field(repr=False)
    offsets_mas: FloatArray = field(repr=False)
    is_known_size: BoolArray = field(repr=False)

    @classmethod
    def joined(cls, parts: Sequence[OffsetSample]) -> OffsetSample:
        """Return one sample of several, the mean of its offsets for each source."""
        source_id, index = np.unique(
            np.concatenate([part.source_id for part in parts]), return_inverse=True
        )
        offsets = np.concatenate([part.offsets_mas for part in parts], axis=1)
        is_known = np.concatenate([part.is_known_size for part in parts])
        count = np.bincount(index, minlength=source_id.size)
        sums = [np.bincount(index, axis, minlength=source_id.size) for axis in offsets]
        n_known = np.bincount(index, is_known, minlength=source_id.size)
        return cls(source_id, np.vstack(sums) / count, n_known == count)


def raw_offsets(
    side_i: Columns, side_j: Columns, row_i: IntArray, row_j: IntArray
) -> tuple[BoolArray, FloatArray, BoolArray]:
    """Return the offsets of bright sources between two catalogs, as they are stored.

    Parameters
    ----------
    side_i, side_j : dict of str to ndarray
        Detections of the earlier and of the later catalog.
    row_i, row_j : ndarray of int64, shape (n_pairs,)
        Their rows in pairs.

    Returns
    -------
    is_bright : ndarray of bool, shape (n_pairs,)
        Pairs that are brighter than `ASTROMETRY_MAG_LIMIT` on both sides, and on neither known to
        be extended.
    offsets_mas : ndarray of float64, shape (2, n_pairs)
        Offsets dRA cosDec and dDec of all, later - earlier [mas].
    is_known_size : ndarray of bool, shape (n_pairs,)
        Pairs of which both sides say whether the source is compact.
    """
    sizes = np.vstack([side_i["compactness"][row_i], side_j["compactness"][row_j]])
    is_bright = (
        (side_i["mag_ab"][row_i] < ASTROMETRY_MAG_LIMIT)
        & (side_j["mag_ab"][row_j] < ASTROMETRY_MAG_LIMIT)
        & (sizes != 0).all(axis=0)
    )
    offsets = _offsets_mas(
        side_i["ra_deg"][row_i],
        side_i["dec_deg"][row_i],
        side_j["ra_deg"][row_j],
        side_j["dec_deg"][row_j],
    )
    return is_bright, offsets, np.asarray((sizes >= 0).all(axis=0))


def stored_offsets(
    connection: Connection,
    group_ids: Sequence[int],
    *,
    mag_limit: float = ASTROMETRY_MAG_LIMIT,
    sizes: Sizes = Sizes.NOT_EXTENDED,
) -> dict[int, OffsetSample]:
    """Return the offsets of bright sources in pair groups that a refit stored.

    Parameters
    ----------
    mag_limit : float
        Sources are brighter than this in both epochs [mag AB].
    sizes : Sizes
        Leave out what is known to be extended in an epoch, or what is not known to be compact in
        both, or nothing.

    Returns
    -------
    dict of int to OffsetSample
        By group: clean, unambiguous pairs; groups without any are left out.
    """
    extended = {Sizes.NOT_EXTENDED: (-1, 1), Sizes.COMPACT: (1,), Sizes.ALL: (-1, 0, 1)}
    pairs = fetch_offset_pairs(
        connection, group_ids, mag_limit=mag_limit, compactness=extended[sizes]
    )
    offsets = _offsets_mas(
        pairs["ra_i_deg"], pairs["dec_i_deg"], pairs["ra_j_deg"], pairs["dec_j_deg"]
    )
    is_known = (pairs["compactness_i"] >= 0) & (pairs["compactness_j"] >= 0)
    ids, starts = np.unique(pairs["group_id"], return_index=True)
    ends = np.append(starts, is_known.size)[1:]
    return {
        group_id: OffsetSample(
            pairs["source_id"][start:end], offsets[:, start:end], is_known[start:end]
        )
        for group_id, start, end in zip(ids.tolist(), starts, ends, strict=True)
    }


def _offsets_mas(
    ra_i: FloatArray, dec_i: FloatArray, ra_j: FloatArray, dec_j: FloatArray
) -> FloatArray:
    """Return (dRA cosDec, dDec) [mas], shape (2, n), of positions [deg], right across RA = 0."""
    ra_step = (ra_j - ra_i + 180.0) % 360.0 - 180.0
    step = np.vstack([ra_step * np.cos(np.radians(dec_i)), dec_j - dec_i])
    return np.asarray(step * MAS_PER_DEG)


class BandEpochs(NamedTuple):
    """What the patches of a band and epoch pair share; `flux` is the kind and the aperture."""

    field: str
    pmap: str
    band: str
    epoch_i: str
    epoch_j: str
    image_kind: str
    flux: tuple[str, str]


def preferred(keys: Iterable[BandEpochs]) -> list[BandEpochs]:
    """Return one flux for each band, epoch pair and kind of image, in the order given."""
    best: dict[BandEpochs, BandEpochs] = {}
    for key in keys:
        plain = key._replace(flux=("", ""))
        best[plain] = min(best.get(plain, key), key, key=_flux_rank)
    return list(best.values())


def _flux_rank(key: BandEpochs) -> tuple[int, str]:
    """Return the place of a flux in the order of preference."""
    kind, aperture = key.flux
    return (FLUX_ORDER.index(kind) if kind in FLUX_ORDER else len(FLUX_ORDER), aperture)


def measure_astrometry(
    samples: Mapping[BandEpochs, Sequence[OffsetSample]],
) -> list[tuple[AstrometryRow, FloatArray]]:
    """Measure the offsets of all patches of a band and epoch pair together.

    Returns
    -------
    list of (AstrometryRow, ndarray of float64, shape (2, n_sources))
        With the offsets that the row is of [mas]; nothing for a key without sources.
    """
    measured = []
    for key in preferred(samples):
        sample = OffsetSample.joined(samples[key])
        offsets = sample.offsets_mas
        n_sources = offsets.shape[1]
        if n_sources == 0:
            continue
        median = np.median(offsets, axis=1)
        mad = np.median(np.abs(offsets - median[:, None]), axis=1)
        err = MEDIAN_ERR_PER_MEAN_ERR * ROBUST_SCATTER_PER_MAD * mad / np.sqrt(n_sources)
        row = AstrometryRow(
            field=key.field,
            pmap=key.pmap,
            band=key.band,
            epoch_i=key.epoch_i,
            epoch_j=key.epoch_j,
            n_sources=n_sources,
            ra_median_mas=float(median[0]),
            ra_mad_mas=float(mad[0]),
            dec_median_mas=float(median[1]),
            dec_mad_mas=float(mad[1]),
            ra_median_err_mas=float(err[0]) if n_sources > 1 else None,
            dec_median_err_mas=float(err[1]) if n_sources > 1 else None,
            image_kind=key.image_kind,
            flux_kind=key.flux[0],
            n_unknown_size=int(np.count_nonzero(~sample.is_known_size)),
        )
        measured.append((row, offsets))
    return measured

"""Sources of one image, measured inside the isophotes of one or several detection images."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from calreg.flags import DetectionFlag
from calreg.science.photometry.compactness import COMPACT, compact_sources
from calreg.science.photometry.measure import SourceFluxes
from calreg.science.sky.geometry import tangent_plane
from calreg.units import ARCMIN_PER_DEG, ARCSEC_PER_DEG

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from calreg.domain import BoolArray, IntArray
    from calreg.science.photometry.detection import DetectedSources
    from calreg.science.sky.grids import Grid
    from calreg.units import FloatArray

SAME_SOURCE_ARCSEC = 0.2
"""Two detection images of one epoch show a source within this distance: their noise moves it by a
fraction of a pixel, and neighbours closer than that are not deblended."""

_ISOPHOTE_EXTENT = 3.0
"""Isophotal limit in units of a and b (SExtractor manual, position and shape)."""

_MIN_STAR_SNR = 20.0
_ARCSEC_PER_ARCMIN = ARCSEC_PER_DEG / ARCMIN_PER_DEG


@dataclass(frozen=True, kw_only=True)
class PatchSources(SourceFluxes):
    """Measurements of an image inside the isophotes of one detection image; shape (n,) each.

    Attributes
    ----------
    ra_iso_deg, dec_iso_deg : ndarray of float64
        Isophotal centroid on the detection image [deg, ICRS].
    ra_win_deg, dec_win_deg : ndarray of float64
        Windowed centroid on the measured image [deg, ICRS], the isophotal one where that failed.
    a_px, b_px, theta_rad : ndarray of float64
        Rms extents [pixels] and the angle of `a_px` from +x towards +y [rad].
    """

    ra_iso_deg: FloatArray = field(repr=False)
    dec_iso_deg: FloatArray = field(repr=False)
    ra_win_deg: FloatArray = field(repr=False)
    dec_win_deg: FloatArray = field(repr=False)
    a_px: FloatArray = field(repr=False)
    b_px: FloatArray = field(repr=False)
    theta_rad: FloatArray = field(repr=False)
    n_pixels: IntArray = field(repr=False)
    kron_radius: FloatArray = field(repr=False)

    @classmethod
    def of(cls, detected: DetectedSources, measured: SourceFluxes, grid: Grid) -> Self:
        """Gather what was found on the pixels of a grid."""
        ellipses = detected.ellipses
        ra_iso_deg, dec_iso_deg = grid.sky_of(ellipses.x, ellipses.y)
        ra_win_deg, dec_win_deg = grid.sky_of(measured.x_win, measured.y_win)
        return cls(
            ra_iso_deg=ra_iso_deg,
            dec_iso_deg=dec_iso_deg,
            ra_win_deg=ra_win_deg,
            dec_win_deg=dec_win_deg,
            a_px=ellipses.a,
            b_px=ellipses.b,
            theta_rad=ellipses.theta_rad,
            n_pixels=detected.n_pixels,
            kron_radius=detected.kron_radius,
            **{column.name: getattr(measured, column.name) for column in fields(SourceFluxes)},
        )

    @classmethod
    def joined(cls, parts: Sequence[PatchSources]) -> Self:
        """Return the sources of all parts, one after the other."""
        return cls(
            **{
                column.name: np.concatenate([getattr(part, column.name) for part in parts])
                for column in fields(cls)
            }
        )

    def select(self, rows: BoolArray | IntArray) -> Self:
        """Return some of the sources."""
        return type(self)(
            **{column.name: getattr(self, column.name)[rows] for column in fields(self)}
        )

    def scaled(self, factor: float, noise_factor: float) -> Self:
        """Return the sources with fluxes and errors times one factor, errors times another too."""
        err_factor = factor * noise_factor
        return replace(
            self,
            flux_iso=self.flux_iso * factor,
            flux_err_iso=self.flux_err_iso * err_factor,
            flux_auto=self.flux_auto * factor,
            flux_err_auto=self.flux_err_auto * err_factor,
            flux_aper=self.flux_aper * factor,
            flux_err_aper=self.flux_err_aper * err_factor,
            snr=self.snr / noise_factor,
        )


def merge_patches(parts: Sequence[PatchSources], scale_arcsec: float) -> PatchSources:
    """Put together what was measured inside the isophotes of several detection images.

    Parameters
    ----------
    parts : sequence of PatchSources
        Of one measured image; of two that agree, the source of the earlier part stays.

    Returns
    -------
    PatchSources
        Each source once, and only those that the image has data for.

    Notes
    -----
    Neighbouring detection images overlap. A source is the same one in two of them when their
    isophotal centroids are mutual nearest neighbours within `SAME_SOURCE_ARCSEC`; the one that is
    whole stays, where the other is truncated by the edge of its detection image. What an edge cut
    off is no source of its own where another image shows the whole.
    """
    merged = parts[0].select(np.isfinite(parts[0].snr))
    for part in parts[1:]:
        new = part.select(np.isfinite(part.snr))
        old_is_kept, new_is_kept = _kept(merged, new, scale_arcsec)
        merged = type(merged).joined([merged.select(old_is_kept), new.select(new_is_kept)])
    return merged


def _kept(old: PatchSources, new: PatchSources, scale_arcsec: float) -> tuple[BoolArray, BoolArray]:
    """Return which sources of two overlapping parts stay."""
    old_is_kept = np.ones(old.n_sources, dtype=np.bool_)
    new_is_kept = np.ones(new.n_sources, dtype=np.bool_)
    if old.n_sources == 0 or new.n_sources == 0:
        return old_is_kept, new_is_kept
    from scipy.spatial import cKDTree

    origin = float(old.ra_iso_deg[0]), float(old.dec_iso_deg[0])
    old_xy, new_xy = (_plane_arcsec(part, origin) for part in (old, new))
    distance, found = cKDTree(old_xy).query(new_xy)
    nearest = np.asarray(found, dtype=np.int64)
    back = np.asarray(cKDTree(new_xy).query(old_xy)[1], dtype=np.int64)
    is_same = (distance <= SAME_SOURCE_ARCSEC) & (back[nearest] == np.arange(new.n_sources))
    i, j = nearest[is_same], np.flatnonzero(is_same)
    old_is_cut, new_is_cut = (
        (part.flags & int(DetectionFlag.TRUNCATED)) != 0 for part in (old, new)
    )
    new_is_better = old_is_cut[i] & ~new_is_cut[j]
    old_is_kept[i[new_is_better]] = False
    new_is_kept[j[~new_is_better]] = False
    within = _within_isophotes(new_xy[new_is_cut], old, old_xy, ~old_is_cut, scale_arcsec)
    new_is_kept[new_is_cut] &= ~within
    within = _within_isophotes(old_xy[old_is_cut], new, new_xy, ~new_is_cut, scale_arcsec)
    old_is_kept[old_is_cut] &= ~within
    return old_is_kept, new_is_kept


def _within_isophotes(
    points: FloatArray,
    whole: PatchSources,
    whole_xy: FloatArray,
    is_whole: BoolArray,
    scale_arcsec: float,
) -> BoolArray:
    """Mark points that lie within the largest extent of a source that is whole."""
    is_within = np.zeros(len(points), dtype=np.bool_)
    if not is_whole.any() or not len(points):
        return is_within
    from scipy.spatial import cKDTree

    reach = _ISOPHOTE_EXTENT * whole.a_px[is_whole] * scale_arcsec
    near = cKDTree(points).query_ball_point(whole_xy[is_whole], reach)
    for rows in near:
        is_within[rows] = True
    return is_within


def _plane_arcsec(part: PatchSources, origin: tuple[float, float]) -> FloatArray:
    """Return isophotal centroids on a tangent plane [arcsec], shape (n, 2)."""
    xi, eta = tangent_plane(part.ra_iso_deg, part.dec_iso_deg, *origin)
    return np.column_stack([xi, eta]) * _ARCSEC_PER_ARCMIN


def common_stars(
    detection: PatchSources, measured: PatchSources, scale_arcsec: float
) -> tuple[FloatArray, FloatArray]:
    """Find the stars that two images can be aligned by.

    Parameters
    ----------
    detection, measured : PatchSources
        The detection image and another one, row by row inside the same isophotes.

    Returns
    -------
    measured, reference : ndarray of float64, shape (n_stars, 2)
        Windowed centroids (x, y) of compact, clean sources with a S/N of 20 or more on both images
        [pixels of the detection image, 0-based].
    """
    is_star = np.ones(detection.n_sources, dtype=np.bool_)
    for part in (detection, measured):
        is_star &= part.is_windowed & (part.flags == 0) & (part.snr >= _MIN_STAR_SNR)
    with np.errstate(divide="ignore", invalid="ignore"):
        mag = np.where(detection.flux_auto > 0.0, -2.5 * np.log10(detection.flux_auto), np.nan)
    found = compact_sources(detection.r_half_px * scale_arcsec, mag, detection.flags)
    if found.n_stars:
        is_star &= found.compactness == COMPACT
    return (
        np.column_stack([measured.x_win, measured.y_win])[is_star],
        np.column_stack([detection.x_win, detection.y_win])[is_star],
    )

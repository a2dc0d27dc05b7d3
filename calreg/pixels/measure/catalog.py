"""From measured patches to the catalogs of a mosaic, one per kind of flux, and to a table."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from calreg._version import __version__
from calreg.domain import Catalog, CatalogOrigin, FluxKind
from calreg.errors import InvalidValueError, UnsupportedDataError
from calreg.files.atomic import sha256_of_json
from calreg.files.catalogs.write import CatalogTable
from calreg.pixels.measure.options import OUT_PLACEHOLDER
from calreg.science.photometry.compactness import (
    COMPACT,
    Compactness,
    compact_sources,
    expected_fwhm_arcsec,
)
from calreg.science.photometry.patchsources import PatchSources, merge_patches
from calreg.science.sky.grids import offset_between
from calreg.units import MAG_PER_RELATIVE_FLUX, ab_mag, surface_brightness_to_ujy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from calreg.pixels.measure.options import MeasureOptions
    from calreg.pixels.measure.patches import PatchImage, PatchJob
    from calreg.pixels.measure.plan import MosaicToMeasure
    from calreg.science.imaging.alignment import Alignment
    from calreg.science.sky.coverage import DetectorPositions
    from calreg.units import FloatArray

KINDS = (FluxKind.ISO, FluxKind.AUTO, FluxKind.APER)
"""Fluxes that are entered, one catalog each."""

_DEPTH_SIGMA = 5.0


@dataclass(frozen=True)
class MeasuredMosaic:
    """The sources of one mosaic.

    Attributes
    ----------
    sources : PatchSources
        Each source once; `x_win`, `y_win` are pixels of the mosaic's file, 0-based.
    x_iso, y_iso : ndarray of float64, shape (n,)
        Isophotal centroids in pixels of the file, 0-based.
    scale_arcsec : float
        Side of the pixels that it was measured on [arcsec].
    outside : float
        Part of its pixels with data that no detection image has data for.
    alignment : Alignment or None
        Applied before it was measured, in pixels of its main detection image.
    """

    planned: MosaicToMeasure
    sources: PatchSources = field(repr=False)
    x_iso: FloatArray = field(repr=False)
    y_iso: FloatArray = field(repr=False)
    compact: Compactness = field(repr=False)
    scale_arcsec: float
    outside: float
    noise_from: str
    alignment: Alignment | None = None

    @property
    def flux_scale_ujy(self) -> float:
        """Microjansky per unit of the fluxes."""
        pixar_sr = self.planned.stored.pixar_sr
        return float("nan") if pixar_sr is None else surface_brightness_to_ujy(pixar_sr)

    def flux(self, kind: FluxKind) -> tuple[FloatArray, FloatArray]:
        """Return fluxes and their errors [image unit times pixels]; NaN where there are no data."""
        flux, flux_err = (getattr(self.sources, f"{name}_{kind}") for name in ("flux", "flux_err"))
        has_data = flux_err > 0.0
        return np.where(has_data, flux, np.nan), np.where(has_data, flux_err, np.nan)

    def mag(self, kind: FluxKind) -> tuple[FloatArray, FloatArray]:
        """Return AB magnitudes of one kind and their errors [mag]; NaN for no positive flux."""
        flux, flux_err = self.flux(kind)
        mag = ab_mag(flux * self.flux_scale_ujy)
        mag_err = np.full(mag.shape, np.nan)
        is_known = np.isfinite(mag)
        np.divide(MAG_PER_RELATIVE_FLUX * flux_err, flux, out=mag_err, where=is_known)
        return mag, mag_err

    @property
    def n_compact(self) -> int:
        """How many sources are compact."""
        return int(np.count_nonzero(self.compact.compactness == COMPACT))

    @property
    def depth_mag(self) -> float:
        """Magnitude of five median errors in the fixed aperture [mag AB]; NaN if unknown."""
        _, flux_err = self.flux(FluxKind.APER)
        is_known = np.isfinite(flux_err)
        if not is_known.any():
            return float("nan")
        limit = _DEPTH_SIGMA * float(np.median(flux_err[is_known])) * self.flux_scale_ujy
        return float(ab_mag(np.array([limit]))[0])


def catalog_head(planned: MosaicToMeasure, options: MeasureOptions, kind: FluxKind) -> Catalog:
    """Return a catalog without sources: what it will be made of, and the digest of that."""
    exposure = planned.mosaic.exposure
    names = " ".join(detection.name for detection in planned.detections)
    chosen = options.to_text()
    if planned.is_detection_image:
        # It stays where it is, and is on its own pixels.
        chosen |= {"align": "none", "reproject": "no"}
    settings = {**chosen, "detection_images": names}
    radius = options.settings.aperture_radius_arcsec
    aperture = f"r={radius:g} arcsec" if kind is FluxKind.APER else ""
    content = {
        **chosen,
        "flux": f"{kind} {aperture}".strip(),
        "image": exposure.header_sha256,
        "detection": [list(detection.digests) for detection in planned.detections],
    }
    nothing = np.empty(0)
    return Catalog(
        file_name=exposure.file_name,
        directory=exposure.directory,
        file_sha256=sha256_of_json(content),
        file_size_bytes=exposure.file_size_bytes,
        image_name=exposure.file_name,
        detection_image_name=names,
        software=software(),
        flux_kind=kind,
        aperture=aperture,
        settings=settings,
        number=np.empty(0, dtype=np.int64),
        ra_deg=nothing,
        dec_deg=nothing,
        x=nothing,
        y=nothing,
        flux=nothing,
        flux_err=nothing,
        flux_unit="image",
        mag=nothing,
        mag_err=nothing,
        origin=CatalogOrigin.PIXELS,
    )


@cache
def software() -> str:
    """Return the software and its versions."""
    return f"calreg {__version__}, sep {version('sep')}"


def catalog_of(
    measured: MeasuredMosaic,
    options: MeasureOptions,
    kind: FluxKind,
    positions: DetectorPositions | None = None,
) -> Catalog:
    """Return the catalog of one kind of flux."""
    head = catalog_head(measured.planned, options, kind)
    flux, flux_err = measured.flux(kind)
    good = np.isfinite(flux)
    sources = measured.sources
    nothing = np.full(int(good.sum()), np.nan)
    return replace(
        head,
        settings=head.settings | _outcome_text(measured),
        number=np.arange(1, sources.n_sources + 1, dtype=np.int64)[good],
        ra_deg=sources.ra_win_deg[good],
        dec_deg=sources.dec_win_deg[good],
        x=sources.x_win[good],
        y=sources.y_win[good],
        flux=flux[good],
        flux_err=flux_err[good],
        mag=nothing,
        mag_err=nothing.copy(),
        flags=sources.flags[good],
        n_dropped_nonfinite=int(np.count_nonzero(~good)),
        n_negative_flux=int(np.count_nonzero(flux[good] <= 0.0)),
        r_half_arcsec=(sources.r_half_px * measured.scale_arcsec)[good],
        compactness=measured.compact.compactness[good],
        x_det=None if positions is None else positions.x_det[good],
        y_det=None if positions is None else positions.y_det[good],
        v2_arcsec=None if positions is None else positions.v2_arcsec[good],
        v3_arcsec=None if positions is None else positions.v3_arcsec[good],
    )


def _outcome_text(measured: MeasuredMosaic) -> dict[str, str]:
    """Return the by-products of the measurement as text."""
    found = {
        "noise_from": measured.noise_from,
        "noise_correlation": f"{measured.planned.mosaic.image.noise_correlation:.6g}",
        "star_r_half_arcsec": f"{measured.compact.star_arcsec:.5g}",
        "star_n": str(measured.compact.n_stars),
    }
    if measured.alignment is not None:
        found |= measured.alignment.to_text(measured.scale_arcsec)
    return found


def assemble(
    planned: MosaicToMeasure, parts: Sequence[tuple[PatchJob, PatchImage]]
) -> MeasuredMosaic:
    """Put together what was measured on one mosaic inside the isophotes of its detection images."""
    used = [(job, image) for job, image in parts if image.sources is not None]
    used.sort(key=lambda part: -part[1].n_shared)
    scale_arcsec = parts[0][0].frame.scale_arcsec
    placed = [_placed(planned, job, image) for job, image in used]
    merged = merge_patches(placed, scale_arcsec) if placed else None
    if merged is None or merged.n_sources == 0:
        names = ", ".join(str(path) for job, _ in parts for path in job.detection)
        msg = (
            f"{planned.path}: shares no pixel with data, or no source, with the image to detect on "
            f"({names}): name another with --detect"
        )
        raise UnsupportedDataError(msg)
    x_iso, y_iso = _file_pixels(planned, merged.ra_iso_deg, merged.dec_iso_deg)
    found = MeasuredMosaic(
        planned=planned,
        sources=merged,
        x_iso=x_iso,
        y_iso=y_iso,
        compact=Compactness(np.empty(0, dtype=np.int64), float("nan"), float("nan"), 0),
        scale_arcsec=scale_arcsec,
        outside=1.0 - _covered(planned, used) / max(parts[0][1].n_good, 1),
        noise_from=used[0][1].noise_from,
        alignment=used[0][0].alignments.get(planned.path),
    )
    compact = compact_sources(
        merged.r_half_px * scale_arcsec,
        found.mag(FluxKind.AUTO)[0],
        merged.flags,
        psf_fwhm_arcsec=expected_fwhm_arcsec(planned.stored.band),
    )
    return replace(found, compact=compact)


def _placed(planned: MosaicToMeasure, job: PatchJob, image: PatchImage) -> PatchSources:
    """Return a part with positions in the file's pixels, fluxes in its unit, and whole errors.

    In a drizzled mosaic neighbours share noise: a sum is NOISCORR times less certain than its
    pixels add up to.
    """
    sources = image.sources
    if sources is None:
        msg = f"{planned.path}: nothing was measured inside {job.detection[0].name}"
        raise UnsupportedDataError(msg)
    x, y = sources.x_win, sources.y_win
    alignment = job.alignments.get(planned.path)
    if alignment is not None:
        x, y = alignment.backward(x, y)
    x_win, y_win = _file_pixels(planned, *job.frame.sky_of(x, y))
    placed = replace(sources, x_win=x_win, y_win=y_win)
    pixar_sr = planned.stored.pixar_sr
    is_resampled = not _has_pixels_of(planned, job) and pixar_sr is not None
    factor = job.frame.pixel_sr / pixar_sr if is_resampled and pixar_sr else 1.0
    return placed.scaled(factor, planned.mosaic.image.noise_correlation)


def _has_pixels_of(planned: MosaicToMeasure, job: PatchJob) -> bool:
    """Check whether a mosaic lies on the pixels of a job's frame, so that it was not resampled."""
    grid = planned.mosaic.image.grid
    return grid is not None and offset_between(job.frame, grid) is not None


def _file_pixels(
    planned: MosaicToMeasure, ra_deg: FloatArray, dec_deg: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return positions in pixels of the mosaic's file, 0-based."""
    image = planned.mosaic.image
    if image.grid is not None:
        return image.grid.pixels_of(ra_deg, dec_deg)
    x, y = image.wcs.all_world2pix(ra_deg, dec_deg, 0, quiet=True)
    return np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)


def _covered(planned: MosaicToMeasure, used: Sequence[tuple[PatchJob, PatchImage]]) -> int:
    """Count the pixels of a mosaic that any detection image has data for."""
    grid = planned.mosaic.image.grid
    n_good = used[0][1].n_good
    if grid is None or not all(_has_pixels_of(planned, job) for job, _ in used):
        return min(sum(image.n_shared for _, image in used), n_good)
    is_covered = np.zeros(grid.shape, dtype=np.bool_)
    for job, image in used:
        offset = offset_between(grid, job.frame)
        if offset is None:
            continue
        shape = job.frame.shape
        shared = np.unpackbits(image.shared, count=shape[0] * shape[1]).reshape(shape)
        x0, y0 = offset
        rows = slice(max(y0, 0), min(y0 + shape[0], grid.ny))
        columns = slice(max(x0, 0), min(x0 + shape[1], grid.nx))
        is_covered[rows, columns] |= shared[
            rows.start - y0 : rows.stop - y0, columns.start - x0 : columns.stop - x0
        ].view(np.bool_)
    return min(int(np.count_nonzero(is_covered)), n_good)


# --- the table that --out writes: SExtractor's columns, with units ------------------------------

_FIRST_FITS_PIXEL = 1.0

_UNITS = {
    **dict.fromkeys(("X_IMAGE", "Y_IMAGE", "XWIN_IMAGE", "YWIN_IMAGE"), "pix"),
    **dict.fromkeys(("A_IMAGE", "B_IMAGE", "FLUX_RADIUS"), "pix"),
    **dict.fromkeys(("ALPHA_J2000", "DELTA_J2000"), "deg"),
    **dict.fromkeys(("ALPHAWIN_J2000", "DELTAWIN_J2000", "THETA_IMAGE"), "deg"),
    "ISOAREAF_IMAGE": "pix2",
}

_DESCRIPTIONS = {
    "NUMBER": "row identifier, the same for all fluxes",
    "X_IMAGE": "isophotal centroid on the detection image, in pixels of the image, first is 1",
    "Y_IMAGE": "isophotal centroid on the detection image, in pixels of the image, first is 1",
    "XWIN_IMAGE": "windowed centroid on the image, first pixel is 1",
    "YWIN_IMAGE": "windowed centroid on the image, first pixel is 1",
    "ALPHA_J2000": "right ascension of the isophotal centroid, ICRS",
    "DELTA_J2000": "declination of the isophotal centroid, ICRS",
    "ALPHAWIN_J2000": "right ascension of the windowed centroid, ICRS",
    "DELTAWIN_J2000": "declination of the windowed centroid, ICRS",
    "FLUX_ISO": "flux inside the isophote of the detection image",
    "FLUX_AUTO": "flux in the Kron ellipse of the detection image",
    "FLUX_APER": "flux in the fixed aperture",
    "SNR_ISO": "FLUX_ISO over FLUXERR_ISO",
    "FLUX_RADIUS": "radius of half of FLUX_AUTO",
    "KRON_RADIUS": "radius of the Kron ellipse in units of A_IMAGE and B_IMAGE",
    "A_IMAGE": "rms extent along the major axis",
    "B_IMAGE": "rms extent along the minor axis",
    "THETA_IMAGE": "angle of A_IMAGE from +x towards +y",
    "ISOAREAF_IMAGE": "pixels of the isophote",
    "IS_COMPACT": "1 compact, 0 extended, -1 unknown",
    "FLAGS": "SExtractor's bits",
}


def catalog_table(measured: MeasuredMosaic, options: MeasureOptions) -> CatalogTable:
    """Return the table of a mosaic."""
    sources = measured.sources
    columns: dict[str, NDArray[np.generic]] = {
        "NUMBER": np.arange(1, sources.n_sources + 1, dtype=np.int32),
        "X_IMAGE": measured.x_iso + _FIRST_FITS_PIXEL,
        "Y_IMAGE": measured.y_iso + _FIRST_FITS_PIXEL,
        "XWIN_IMAGE": sources.x_win + _FIRST_FITS_PIXEL,
        "YWIN_IMAGE": sources.y_win + _FIRST_FITS_PIXEL,
        "ALPHA_J2000": sources.ra_iso_deg,
        "DELTA_J2000": sources.dec_iso_deg,
        "ALPHAWIN_J2000": sources.ra_win_deg,
        "DELTAWIN_J2000": sources.dec_win_deg,
    }
    units = dict(_UNITS)
    for kind in KINDS:
        suffix = kind.upper()
        flux, flux_err = measured.flux(kind)
        columns[f"FLUX_{suffix}"] = flux * measured.flux_scale_ujy
        columns[f"FLUXERR_{suffix}"] = flux_err * measured.flux_scale_ujy
        columns[f"MAG_{suffix}"], columns[f"MAGERR_{suffix}"] = measured.mag(kind)
        units |= {f"{name}_{suffix}": "uJy" for name in ("FLUX", "FLUXERR")}
        units |= {f"{name}_{suffix}": "mag" for name in ("MAG", "MAGERR")}
    columns |= {
        "SNR_ISO": sources.snr,
        "FLUX_RADIUS": sources.r_half_px,
        "KRON_RADIUS": sources.kron_radius,
        "A_IMAGE": sources.a_px,
        "B_IMAGE": sources.b_px,
        "THETA_IMAGE": np.degrees(sources.theta_rad),
        "ISOAREAF_IMAGE": sources.n_pixels.astype(np.int32),
        "IS_COMPACT": measured.compact.compactness.astype(np.int16),
        "FLAGS": sources.flags.astype(np.int16),
    }
    head = catalog_of(measured, options, FluxKind.ISO)
    return CatalogTable(
        columns=columns,
        units=units,
        descriptions=_DESCRIPTIONS,
        image_name=head.image_name,
        detection_image_name=head.detection_image_name,
        software=head.software,
        settings=head.settings,
    )


def out_paths(out: Path, mosaics: Sequence[Path]) -> dict[Path, Path]:
    """Return the file that is written for each mosaic."""
    found = {
        mosaic: Path(str(out).replace(OUT_PLACEHOLDER, mosaic.name.removesuffix(mosaic.suffix)))
        for mosaic in mosaics
    }
    if len(set(found.values())) < len(found):
        example = out.with_name(f"{OUT_PLACEHOLDER}{out.suffix or '.ecsv'}")
        msg = (
            f"--out {out}: {len(found)} mosaics would go to one file: put {OUT_PLACEHOLDER} where "
            f"the name of each is to stand, such as {example}"
        )
        raise InvalidValueError(msg)
    return found

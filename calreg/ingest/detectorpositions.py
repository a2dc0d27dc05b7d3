"""Where on the detectors the sources of an image were seen, from the files that are at hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from calreg.domain import Catalog, ExposureKind
from calreg.files.fits.headers import read_headers
from calreg.files.images.members import read_first_pixel, read_members
from calreg.science.sky.coverage import DetectorPositions, focal_plane, mean_positions, pointing_of

if TYPE_CHECKING:
    from calreg.db.queries.exposures import StoredExposure
    from calreg.domain import Exposure
    from calreg.files.fits.headers import FitsHeaders
    from calreg.instruments import Instrument
    from calreg.units import FloatArray

_FULL_SUBARRAY = "FULL"


def detector_positions(
    image: Exposure | StoredExposure,
    pixels: tuple[FloatArray, FloatArray],
    sky: tuple[FloatArray, FloatArray],
    instrument: Instrument,
) -> DetectorPositions | None:
    """Find the mean detector and focal-plane positions of an image's sources.

    Parameters
    ----------
    pixels : tuple of ndarray of float64, shape (n,)
        0-based (x, y) in the image; only used where it is a single exposure.
    sky : tuple of ndarray of float64, shape (n,)
        ICRS (ra, dec) [deg].

    Returns
    -------
    DetectorPositions or None
        None for a mosaic whose file is not at hand, is not the one that was ingested, or does not
        list its exposures.

    Raises
    ------
    FileFormatError
        If the mosaic's table of exposures cannot be read.
    """
    if image.kind != ExposureKind.I2D:
        return _of_exposure(image, pixels, sky)
    headers = _headers_at_hand(image)
    if headers is None:
        return None
    members = read_members(headers, instrument.array(image.array), instrument)
    if members is None:
        return None
    return mean_positions(*sky, members.exposures, members.covering(*sky))


def with_detector_positions(
    catalog: Catalog, image: Exposure | StoredExposure, instrument: Instrument
) -> Catalog:
    """Fill in the detector and focal-plane positions of a catalog that does not give them.

    Parameters
    ----------
    image : Exposure or StoredExposure
        That it was measured on.

    Returns
    -------
    Catalog
        The same one where they are given, or are not known.

    Raises
    ------
    FileFormatError
        If the mosaic's table of exposures cannot be read.
    """
    if catalog.x_det is not None or catalog.v2_arcsec is not None:
        return catalog
    found = detector_positions(
        image, (catalog.x, catalog.y), (catalog.ra_deg, catalog.dec_deg), instrument
    )
    if found is None:
        return catalog
    return replace(
        catalog,
        x_det=found.x_det,
        y_det=found.y_det,
        v2_arcsec=found.v2_arcsec,
        v3_arcsec=found.v3_arcsec,
    )


def _of_exposure(
    image: Exposure | StoredExposure,
    pixels: tuple[FloatArray, FloatArray],
    sky: tuple[FloatArray, FloatArray],
) -> DetectorPositions:
    """Return the positions in a single exposure: its pixels, and its pointing."""
    first = _first_pixel(image)
    x_det, y_det = (pixels[axis] + first[axis] for axis in (0, 1))
    cards = (
        image.v2_ref_arcsec,
        image.v3_ref_arcsec,
        image.ra_ref_deg,
        image.dec_ref_deg,
        image.roll_ref_deg,
    )
    pointing = pointing_of(*(np.nan if card is None else card for card in cards))
    v2, v3 = np.full((2, x_det.size), np.nan)
    if pointing is not None:
        v2, v3 = focal_plane(*sky, pointing)
    return DetectorPositions(x_det, y_det, v2, v3, np.ones(x_det.size, dtype=np.int64))


def _first_pixel(image: Exposure | StoredExposure) -> tuple[float, float]:
    """Return the detector pixel of an exposure's first pixel, 0-based; NaN where unknown."""
    if image.subarray == _FULL_SUBARRAY:
        return 0.0, 0.0
    headers = _headers_at_hand(image)
    first = None if headers is None else read_first_pixel(headers)
    return (np.nan, np.nan) if first is None else first


def _headers_at_hand(image: Exposure | StoredExposure) -> FitsHeaders | None:
    """Return the headers of an image's file, if it is there and as it was when ingested."""
    path = Path(image.directory) / image.file_name
    if not path.is_file():
        return None
    headers = read_headers(path)
    return headers if headers.sha256 == image.header_sha256 else None

"""Whether a catalog lies on the image that it is given to: its sky, and its pixels."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from calreg.db.queries.exposures import find_images
from calreg.errors import CatalogColumnError, UnknownImageError
from calreg.files.fits.headers import read_headers
from calreg.files.images.members import science_wcs
from calreg.science.sky.footprints import is_inside
from calreg.science.sky.geometry import s_region_polygons

if TYPE_CHECKING:
    from calreg.db.engine import Connection
    from calreg.db.queries.exposures import StoredExposure
    from calreg.domain import Catalog, Exposure
    from calreg.files.fits.headers import FitsHeaders
    from calreg.units import FloatArray

_REFUSED_BELOW, _WARNED_BELOW = 0.5, 0.95
"""Least parts of a catalog inside the footprint of its image."""

_CLEARLY_MORE = 0.02
"""A part inside that is larger by this is no matter of a few sources at the edge."""

_PIXEL_TOLERANCE = 64.0
"""Pixels of a linear WCS, distortion aside, agree with a catalog's to this; a flip or another
module moves them by hundreds."""

_MAX_SOURCES = 1000
"""So many tell where a catalog lies."""

_HOURS = 24.0


class CatalogPlace:
    """Where the sources of a catalog lie, beside images of the registry."""

    def __init__(self, connection: Connection, path: Path, catalog: Catalog) -> None:
        self.connection = connection
        self.path = path
        step = 1 + catalog.number.size // _MAX_SOURCES
        self.ra_deg, self.dec_deg = catalog.ra_deg[::step], catalog.dec_deg[::step]
        self.x, self.y = catalog.x[::step], catalog.y[::step]
        self.n_sources = catalog.number.size

    def check(self, image: StoredExposure) -> tuple[str, ...]:
        """Hold positions and pixels against the image; return what is worth a warning.

        Raises
        ------
        CatalogColumnError
            If most sources lie outside, and would lie inside with other coordinates.
        UnknownImageError
            If most lie outside, or another image fits better.
        """
        inside = self.part_inside(image)
        if inside < _WARNED_BELOW:
            others = self._others(image)
            best = max(others, key=self.part_inside, default=None)
            if inside < _REFUSED_BELOW:
                self._refuse_frame(image)
                self._refuse(image, inside, best)
            rivals = [one for one in others if _is_sibling(one, image)]
            rival = max(rivals, key=self.part_inside, default=None)
            if rival is not None and self.part_inside(rival) > inside + _CLEARLY_MORE:
                self._refuse(image, inside, rival)
        shift = self.pixel_shift(image)
        if shift is not None and shift > _PIXEL_TOLERANCE:
            for other in self._others(image):
                if other.band == image.band and self.part_inside(other) >= _REFUSED_BELOW:
                    there = self.pixel_shift(other)
                    if there is not None and there <= _PIXEL_TOLERANCE:
                        msg = (
                            f"{self.path}: x and y lie {shift:.0f} pixels from where the WCS of "
                            f"{image.file_name} has the positions, and {there:.0f} from that of "
                            f"{other.file_name}: name that image with --image"
                        )
                        raise UnknownImageError(msg)
        return self._warnings(image, inside, shift)

    def part_inside(self, image: StoredExposure) -> float:
        """Return which part of the sources is inside an image's footprint."""
        return self._part_of(image, self.ra_deg, self.dec_deg)

    def pixel_shift(self, image: StoredExposure) -> float | None:
        """Return the median distance of x and y from the WCS [pixel]; None where one is missing."""
        is_known = np.isfinite(self.x) & np.isfinite(self.y)
        headers = headers_at_hand(image) if is_known.any() else None
        wcs = None if headers is None else science_wcs(headers)
        if wcs is None:
            return None
        x, y = wcs.wcs_world2pix(self.ra_deg[is_known], self.dec_deg[is_known], 0)
        shift = np.hypot(x - self.x[is_known], y - self.y[is_known])
        return float(np.median(shift)) if np.isfinite(shift).all() else None

    @staticmethod
    def _part_of(image: StoredExposure, ra_deg: FloatArray, dec_deg: FloatArray) -> float:
        return float(is_inside(ra_deg, dec_deg, s_region_polygons(image.s_region)).mean())

    @cached_property
    def _all(self) -> list[StoredExposure]:
        return find_images(self.connection)

    def _others(self, image: StoredExposure) -> list[StoredExposure]:
        """Return the other images that a catalog of this one may be of."""
        return [one for one in self._all if one.kind == image.kind and one.id != image.id]

    def _refuse_frame(self, image: StoredExposure) -> None:
        """Refuse galactic coordinates, and hours, that were taken for ICRS degrees."""
        from astropy.coordinates import SkyCoord

        if self.ra_deg.max() <= _HOURS:
            part = self._part_of(image, self.ra_deg * 360.0 / _HOURS, self.dec_deg)
            if part >= _REFUSED_BELOW:
                msg = (
                    f"{self.path}: right ascensions are all in 0 to 24, and lie on "
                    f"{image.file_name} as hours: state the unit (hourangle), or give degrees"
                )
                raise CatalogColumnError(msg)
        icrs = SkyCoord(self.ra_deg, self.dec_deg, unit="deg", frame="galactic").icrs
        if self._part_of(image, icrs.ra.deg, icrs.dec.deg) >= _REFUSED_BELOW:
            msg = (
                f"{self.path}: the positions lie on {image.file_name} as galactic l, b and not as "
                "right ascension, declination: give ICRS, or map other columns with --columns"
            )
            raise CatalogColumnError(msg)

    def _refuse(self, image: StoredExposure, inside: float, best: StoredExposure | None) -> None:
        """Refuse an image that the sources do not lie on, and name one that they do."""
        hint = "name the image that it was measured on with --image"
        if best is not None and self.part_inside(best) > max(
            inside + _CLEARLY_MORE, _REFUSED_BELOW
        ):
            hint = f"{self.part_inside(best):.0%} of them lie on {best.file_name}: {hint}"
        msg = (
            f"{self.path}: {inside:.0%} of its {self.n_sources} sources lie inside the footprint "
            f"of {image.file_name}; expected all; {hint}"
        )
        raise UnknownImageError(msg)

    @staticmethod
    def _warnings(image: StoredExposure, inside: float, shift: float | None) -> tuple[str, ...]:
        """Word what is odd and no reason to refuse."""
        found = []
        if inside < _WARNED_BELOW:
            found.append(
                f"{inside:.0%} of the sources lie inside the footprint of {image.file_name}; "
                "expected all: was it measured on this image?"
            )
        if shift is not None and shift > _PIXEL_TOLERANCE:
            found.append(
                f"x and y lie {shift:.0f} pixels (median) from where the WCS of {image.file_name} "
                "has the positions: was it measured on this image?"
            )
        return tuple(found)


def _is_sibling(other: StoredExposure, image: StoredExposure) -> bool:
    """Tell whether an image shows another array in the same epoch, band and context."""
    return (other.epoch_id, other.band, other.pmap) == (
        image.epoch_id,
        image.band,
        image.pmap,
    ) and other.array != image.array


def headers_at_hand(image: Exposure | StoredExposure) -> FitsHeaders | None:
    """Return the headers of an image's file, if it is there and as it was when ingested."""
    path = Path(image.directory) / image.file_name
    if not path.is_file():
        return None
    headers = read_headers(path)
    return headers if headers.sha256 == image.header_sha256 else None

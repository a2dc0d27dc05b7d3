"""How a catalog enters: find its image, calibrate, compare with what is stored, write."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from calreg.db.queries.catalogs import (
    StoredCatalog,
    find_catalogs_by_digest,
    find_catalogs_of_image,
    insert_catalog,
)
from calreg.db.queries.exposures import (
    StoredExposure,
    find_identities,
    find_images,
    identity_of,
)
from calreg.domain import CatalogOrigin, Detections, ExposureKind
from calreg.errors import (
    CatalogColumnError,
    ConflictError,
    FileFormatError,
    UnknownImageError,
)
from calreg.files.catalogs.read import image_name_candidates, read_catalog
from calreg.files.fits.headers import read_headers
from calreg.files.images.cards import FULL_SUBARRAY, read_first_pixel
from calreg.files.images.exposures import read_exposure
from calreg.files.images.members import read_members
from calreg.files.readguard import refuse_damaged
from calreg.science.photometry.calibrate import (
    MAG_DISAGREEMENT_LIMIT,
    CalibratedCatalog,
    calibrate_catalog,
)
from calreg.science.sky.coverage import DetectorPositions, focal_plane, mean_positions, pointing_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from calreg.db.engine import Connection
    from calreg.domain import Catalog, Exposure, IntArray
    from calreg.files.fits.headers import FitsHeaders
    from calreg.files.recognise import FileKind
    from calreg.ingest.options import IngestOptions
    from calreg.instruments import Instrument
    from calreg.units import FloatArray

_INTEGER_BOUND = 2**31
"""Row identifiers and flags are stored in four bytes."""

_PHOTMJSR_RELATIVE_TOLERANCE = 1e-6
"""A copied header may have lost digits; contexts differ by 1e-4 and more."""


@dataclass(frozen=True)
class CatalogEntry:
    """A catalog that is ready to be written.

    Attributes
    ----------
    known_as : str or None
        The catalog that has the same content already.
    version : int
        1, or one more than that of the catalog that it replaces.
    """

    catalog: Catalog
    image: StoredExposure
    calibrated: CalibratedCatalog
    known_as: str | None
    version: int = 1

    @property
    def summary(self) -> str:
        """What is loaded, in a few words; rows that were dropped are counted apart."""
        n_rows = self.calibrated.detections.number.size
        return (
            f"{n_rows} detections ({self.catalog.flux_kind.upper()}) of "
            f"{self.image.array} {self.image.band} {self.image.pmap}"
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was overlooked, and a line when stated and computed magnitudes disagree."""
        disagreement = self.calibrated.mag_disagreement
        if disagreement is None or not self.calibrated.n_disagreeing:
            return self.catalog.notes
        message = (
            f"{self.calibrated.n_disagreeing} of {self.catalog.number.size} magnitudes differ by "
            f"more than {MAG_DISAGREEMENT_LIMIT} mag from -2.5 log10(flux * PIXAR_SR * 1e6) + 8.90 "
            f"(computed - stated: median {disagreement:+.4f} mag); the computed ones are stored; "
            "check MAG_ZEROPOINT"
        )
        return (*self.catalog.notes, message)


class CatalogIngest:
    """Reads and writes the catalogs of one call of ingest.

    Parameters
    ----------
    refused_images : collection of str
        File names of images of the call that were not taken, for messages.
    """

    def __init__(
        self,
        connection: Connection,
        options: IngestOptions,
        instrument: Instrument,
        refused_images: Collection[str] = (),
    ) -> None:
        self.connection = connection
        self.options = options
        self.instrument = instrument
        self.refused_images = refused_images

    def read(self, path: Path, kind: FileKind) -> CatalogEntry:
        """Read a catalog, find its image and calibrate it.

        Raises
        ------
        CalregError
            If the file is bad, the image unknown, or the image has another catalog of this kind.
        """
        with refuse_damaged(path):
            catalog = read_catalog(
                path,
                kind,
                flux=self.options.flux,
                aperture=self.options.aperture,
                columns=self.options.columns,
            )
        _require_storable(path, "number", catalog.number)
        _require_storable(path, "flags", catalog.flags)
        return self.enter(path, catalog, self._find_image(path, catalog))

    def enter(
        self, path: Path, catalog: Catalog, image: StoredExposure, *, replace: bool = False
    ) -> CatalogEntry:
        """Calibrate a catalog whose image is known, and compare it with what is stored.

        Parameters
        ----------
        path : Path
            The catalog, or the image that it was measured on, for messages.
        replace : bool
            Let it stand as the next version where the image has other fluxes of this kind.

        Raises
        ------
        CatalogColumnError
            If it has neither fluxes with a known unit nor magnitudes.
        ConflictError
            If the image has another catalog of this kind, without `replace`.
        FileFormatError
            If the image is a mosaic at hand whose table of exposures cannot be read.
        """
        known = self.compare_with_stored(path, catalog, image, replace=replace)
        is_same = known is not None and known.file_sha256 == catalog.file_sha256
        if not is_same:
            try:
                catalog = _with_detector_positions(catalog, image, self.instrument)
            except FileFormatError as error:
                msg = f"{path}: its image cannot be used: {error}"
                raise FileFormatError(msg) from error
        try:
            calibrated = calibrate_catalog(catalog, bunit=image.bunit, pixar_sr=image.pixar_sr)
        except CatalogColumnError as error:
            msg = f"{path}: {error}"
            raise CatalogColumnError(msg) from error
        catalog, calibrated = _without_bad_errors(path, catalog, calibrated)
        if known is None:
            return CatalogEntry(catalog, image, calibrated, None)
        if is_same:
            return CatalogEntry(catalog, image, calibrated, f"{known.file_name} in the registry")
        return CatalogEntry(catalog, image, calibrated, None, known.version + 1)

    def compare_with_stored(
        self, path: Path, catalog: Catalog, image: StoredExposure, *, replace: bool = False
    ) -> StoredCatalog | None:
        """Find the image's current catalog of this kind: the same, or one that will be replaced.

        Parameters
        ----------
        catalog : Catalog
            Only its digest matters, not its rows.

        Raises
        ------
        ConflictError
            If the image has another catalog of this kind, without `replace`.
        """
        kind = (catalog.flux_kind, catalog.aperture)
        stored = find_catalogs_of_image(self.connection, image.id)
        known = next((one for one in stored if (one.flux_kind, one.aperture) == kind), None)
        if known is not None and known.file_sha256 != catalog.file_sha256 and not replace:
            raise ConflictError(_conflict_message(path, catalog, image, known))
        return known

    def write(self, entry: CatalogEntry, ingest_id: int) -> None:
        """Write a catalog with its detections."""
        insert_catalog(
            self.connection,
            entry.catalog,
            entry.calibrated.detections,
            exposure_id=entry.image.id,
            ingest_id=ingest_id,
            mag_origin=entry.calibrated.mag_origin,
            mag_disagreement=entry.calibrated.mag_disagreement,
            version=entry.version,
        )

    def _find_image(self, path: Path, catalog: Catalog) -> StoredExposure:
        """Return the image that a catalog was measured on."""
        if self.options.image is not None:
            return self._named_image(path, self.options.image)
        names = [catalog.image_name] if catalog.image_name else image_name_candidates(path.name)
        found = _most_likely(names, find_images(self.connection, names))
        if not found:
            raise UnknownImageError(self._unknown(path, catalog, names))
        alike = [image for image in found if _has_stated_photmjsr(catalog, image)]
        if not alike:
            stated = ", ".join(f"{image.photmjsr} under {image.pmap}" for image in found)
            msg = (
                f"{path}: its header states PHOTMJSR {catalog.settings['PHOTMJSR']}, but "
                f"{found[0].file_name} in the registry has {stated}: the catalog was measured on "
                "another reduction; ingest that image, or name the right one with --image"
            )
            raise UnknownImageError(msg)
        if len(alike) > 1:
            folder = path.resolve().parent
            beside = [image for image in alike if Path(image.directory).resolve() == folder]
            alike = beside or alike
        if len(alike) > 1:
            places = " and ".join(f"{image.directory} ({image.pmap})" for image in alike)
            msg = (
                f"{path}: {len(alike)} images are called {alike[0].file_name}, in {places}; put "
                "the catalog beside its image, or name the image with --image"
            )
            raise UnknownImageError(msg)
        return alike[0]

    def _unknown(self, path: Path, catalog: Catalog, names: Sequence[str]) -> str:
        """Report that an image is unknown, and what the reason may be."""
        refused = next((name for name in names if name in self.refused_images), None)
        if refused is not None:
            return f"{path}: its image {refused} was refused; mend that first"
        same = find_catalogs_by_digest(self.connection, catalog.file_sha256)
        hint = f" (known with the same content for {same[0].image_name})" if same else ""
        return (
            f"{path}: its image {' or '.join(names)} is neither in the registry nor in this call"
            f"{hint}; ingest the image too, or name it with --image"
        )

    def _named_image(self, path: Path, image: Path) -> StoredExposure:
        """Return the image that ``--image`` names: a file, or a file name in the registry."""
        if image.is_file():
            exposure = read_exposure(image, instrument=self.instrument)
            stored = find_identities(self.connection, [exposure]).get(identity_of(exposure))
            if stored is not None and stored.header_sha256 == exposure.header_sha256:
                return stored
        else:
            found = find_images(self.connection, [image.name])
            if len(found) == 1:
                return found[0]
            if found:
                places = " and ".join(f"{other.directory} ({other.pmap})" for other in found)
                msg = (
                    f"{path}: --image {image}: {len(found)} images have this name, in {places}; "
                    "give the path of the file"
                )
                raise UnknownImageError(msg)
        msg = f"{path}: --image {image} is not in the registry; ingest it first or in the same call"
        raise UnknownImageError(msg)


def _without_bad_errors(
    path: Path, catalog: Catalog, calibrated: CalibratedCatalog
) -> tuple[Catalog, CalibratedCatalog]:
    """Leave out what calibration shows to have an error of 0 or less, and count it."""
    detections = calibrated.detections
    has_mag = np.isfinite(detections.mag_ab)
    is_bad = (detections.flux_err_ujy < 0.0) | (detections.mag_err < 0.0)
    is_bad |= has_mag & ((detections.flux_err_ujy == 0.0) | (detections.mag_err == 0.0))
    if not is_bad.any():
        return catalog, calibrated
    if is_bad.all():
        msg = f"{path}: holds no sources: all {is_bad.size} rows have an error of 0 or less"
        raise FileFormatError(msg)
    kept = Detections(**{name: values[~is_bad] for name, values in vars(detections).items()})
    n_dropped = catalog.n_dropped_error + int(np.count_nonzero(is_bad))
    return (
        dataclasses.replace(catalog, n_dropped_error=n_dropped),
        dataclasses.replace(calibrated, detections=kept),
    )


def _conflict_message(
    path: Path, catalog: Catalog, image: StoredExposure, known: StoredCatalog
) -> str:
    """Report that an image has other fluxes of this kind, and what differs."""
    has = f"{path}: {image.file_name} under {image.pmap} has {catalog.flux_kind.upper()} fluxes"
    if catalog.origin is CatalogOrigin.PIXELS and known.origin == CatalogOrigin.PIXELS:
        # What is stored besides was found while measuring, and was not chosen.
        differing = [
            f"{name} {known.settings.get(name, 'unset')} -> {value}"
            for name, value in sorted(catalog.settings.items())
            if known.settings.get(name) != value
        ]
        return (
            f"{has} already, measured with other settings "
            f"({'; '.join(differing) or 'or images'}); nothing of this image was stored: give the "
            "settings of before, or --replace, which keeps the old numbers as an earlier version"
        )
    source = "measured pixels" if known.origin == CatalogOrigin.PIXELS else known.file_name
    remedy = (
        "--replace keeps them as an earlier version"
        if catalog.origin is CatalogOrigin.PIXELS
        else "choose another flux with --flux, or use a new registry"
    )
    return (
        f"{has} already, from catalog {source} with other content; nothing of this file was "
        f"loaded: {remedy}"
    )


def _most_likely(names: Sequence[str], found: Sequence[StoredExposure]) -> list[StoredExposure]:
    """Return the images with the first name that any image has."""
    for name in names:
        images = [image for image in found if image.file_name == name]
        if images:
            return images
    return []


def _has_stated_photmjsr(catalog: Catalog, image: StoredExposure) -> bool:
    """Tell whether an image has the PHOTMJSR of the catalog's header, where that states one.

    SExtractor copies the header of the measured extension, and so tells contexts apart.
    """
    try:
        stated = float(catalog.settings["PHOTMJSR"])
    except (KeyError, ValueError):
        return True
    return image.photmjsr is None or math.isclose(
        stated, image.photmjsr, rel_tol=_PHOTMJSR_RELATIVE_TOLERANCE
    )


def _require_storable(path: Path, name: str, values: IntArray) -> None:
    """Refuse integers that the registry cannot hold."""
    if values.min() < -_INTEGER_BOUND or values.max() >= _INTEGER_BOUND:
        extreme = values.min() if values.min() < -_INTEGER_BOUND else values.max()
        msg = (
            f"{path}: column {name}: found {extreme}, expected whole numbers of 32 bits; name "
            f"another column with --columns {name}=..."
        )
        raise CatalogColumnError(msg)


# --- where on the detectors the sources were seen -------------------------------------------------


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
        return _positions_in_exposure(image, pixels, sky)
    headers = _headers_at_hand(image)
    if headers is None:
        return None
    members = read_members(headers, instrument.array(image.array), instrument)
    if members is None:
        return None
    return mean_positions(*sky, members.exposures, members.covering(*sky))


def _with_detector_positions(
    catalog: Catalog, image: StoredExposure, instrument: Instrument
) -> Catalog:
    """Fill in the detector and focal-plane positions of a catalog that does not give them."""
    if catalog.x_det is not None or catalog.v2_arcsec is not None:
        return catalog
    found = detector_positions(
        image, (catalog.x, catalog.y), (catalog.ra_deg, catalog.dec_deg), instrument
    )
    if found is None:
        return catalog
    return dataclasses.replace(
        catalog,
        x_det=found.x_det,
        y_det=found.y_det,
        v2_arcsec=found.v2_arcsec,
        v3_arcsec=found.v3_arcsec,
    )


def _positions_in_exposure(
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
    if image.subarray == FULL_SUBARRAY:
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

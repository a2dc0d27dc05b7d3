"""The door for catalogs: find the image, calibrate, hold against what is known, write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from calreg.db.queries.catalogs import (
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
from calreg.errors import ConflictError, UnknownImageError
from calreg.files.catalogs import read_catalog
from calreg.files.exposures import read_exposure
from calreg.files.imagenames import image_name_candidates
from calreg.science.photometry import (
    MAG_DISAGREEMENT_LIMIT,
    CalibratedCatalog,
    calibrate_catalog,
)

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.db.engine import Connection
    from calreg.domain import Catalog
    from calreg.files.recognise import FileKind
    from calreg.ingest import IngestOptions
    from calreg.instruments import Instrument


@dataclass(frozen=True)
class CatalogEntry:
    """A catalog that is ready to be written.

    Attributes
    ----------
    catalog : Catalog
    image : StoredExposure
    calibrated : CalibratedCatalog
    known_as : str or None
        File name under which the same content is in the registry.
    """

    catalog: Catalog
    image: StoredExposure
    calibrated: CalibratedCatalog
    known_as: str | None

    @property
    def summary(self) -> str:
        """What is loaded, in one line."""
        catalog = self.catalog
        words = [
            f"{catalog.number.size} detections ({catalog.flux_kind.upper()}) of "
            f"{self.image.array} {self.image.band} {self.image.pmap}"
        ]
        if catalog.n_dropped_nonfinite:
            words.append(f"{catalog.n_dropped_nonfinite} rows dropped for NaN or infinity")
        if catalog.n_negative_flux:
            words.append(f"{catalog.n_negative_flux} without magnitude (flux not positive)")
        return "; ".join(words)

    @property
    def warnings(self) -> tuple[str, ...]:
        """A line when stated and computed magnitudes disagree."""
        disagreement = self.calibrated.mag_disagreement
        if disagreement is None or not self.calibrated.n_disagreeing:
            return ()
        return (
            f"{self.catalog.file_name}: {self.calibrated.n_disagreeing} magnitudes differ from "
            f"-2.5 log10(flux * PIXAR_SR * 1e6) + 8.90 by more than {MAG_DISAGREEMENT_LIMIT} mag "
            f"(median {disagreement:+.4f}); the computed ones are stored: check MAG_ZEROPOINT",
        )


class CatalogDoor:
    """Reads and writes the catalogs of one call of ingest.

    Parameters
    ----------
    connection : Connection
    options : IngestOptions
    instrument : Instrument
    """

    def __init__(
        self, connection: Connection, options: IngestOptions, instrument: Instrument
    ) -> None:
        self.connection = connection
        self.options = options
        self.instrument = instrument

    def read(self, path: Path, kind: FileKind) -> CatalogEntry:
        """Read a catalog, find its image and calibrate it.

        Raises
        ------
        CalregError
            If the file is bad, the image unknown, or the image has another catalog of this kind.
        """
        catalog = read_catalog(
            path,
            kind,
            flux=self.options.flux,
            aperture=self.options.aperture,
            columns=self.options.columns,
        )
        image = self._find_image(path, catalog)
        calibrated = calibrate_catalog(catalog, bunit=image.bunit, pixar_sr=image.pixar_sr)
        return CatalogEntry(catalog, image, calibrated, self._known_as(path, catalog, image))

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
        )

    def _known_as(self, path: Path, catalog: Catalog, image: StoredExposure) -> str | None:
        """Return the name of the same content; refuse other content for the same image."""
        for known in find_catalogs_of_image(self.connection, image.id):
            if (known.flux_kind, known.aperture) != (catalog.flux_kind, catalog.aperture):
                continue
            if known.file_sha256 == catalog.file_sha256:
                return known.file_name
            msg = (
                f"{path}: {image.file_name} already has a {catalog.flux_kind.upper()} catalog, "
                f"{known.file_name}, with other content; choose another flux with --flux, or use a "
                "new registry for the new settings"
            )
            raise ConflictError(msg)
        return None

    def _find_image(self, path: Path, catalog: Catalog) -> StoredExposure:
        """Return the image that a catalog was measured on."""
        if self.options.image is not None:
            return self._named_image(path, self.options.image)
        names = [catalog.image_name] if catalog.image_name else image_name_candidates(path.name)
        found = find_images(self.connection, names)
        if not found:
            same = find_catalogs_by_digest(self.connection, catalog.file_sha256)
            hint = f" (the same content is known as the catalog of {same[0].image_name})" if same else ""
            msg = (
                f"{path}: its image {' or '.join(names)} is neither in the registry nor in this call"
                f"{hint}; ingest the image first or name it with --image"
            )
            raise UnknownImageError(msg)
        if len(found) > 1:
            beside = [image for image in found if image.directory == catalog.directory]
            found = beside or found
        if len(found) > 1:
            places = ", ".join(f"{image.directory} ({image.pmap})" for image in found)
            msg = (
                f"{path}: {len(found)} images are called {found[0].file_name}: {places}; put the "
                "catalog beside its image or name the image with --image"
            )
            raise UnknownImageError(msg)
        return found[0]

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
        msg = f"{path}: --image {image} is not in the registry; ingest it first or in the same call"
        raise UnknownImageError(msg)

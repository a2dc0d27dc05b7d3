"""Read from its headers how an image is calibrated, and whether it was corrected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from calreg.domain import ExposureKind
from calreg.errors import HeaderValueError
from calreg.files.fits.headers import read_headers
from calreg.files.images.cards import ImageCards
from calreg.files.images.correctionrecord import CorrectionRecord, read_record
from calreg.files.images.key import ImageKey, read_image_key, reference_name, require_calibrated

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.instruments import Instrument


@dataclass(frozen=True)
class PhotometricState:
    """How an image is calibrated.

    Attributes
    ----------
    cal_ver : str
        Version of the jwst pipeline.
    r_photom : str
        The photom reference file, without ``crds://``.
    photmjsr, pixar_sr : float or None
        As in the header [MJy/sr per DN/s], [sr]; None where missing.
    correction : CorrectionRecord or None
        None if it carries no correction.
    problem : str
        Why it does not count as calibrated though S_PHOTOM says COMPLETE; empty if it does.
    """

    path: Path
    key: ImageKey
    cal_ver: str
    r_photom: str
    photmjsr: float | None
    pixar_sr: float | None
    correction: CorrectionRecord | None
    problem: str

    @property
    def is_mosaic(self) -> bool:
        """Whether it is a mosaic, whose header does not tell if its exposures were corrected."""
        return self.key.kind is ExposureKind.I2D

    @property
    def pipeline_photmjsr(self) -> float | None:
        """PHOTMJSR as the pipeline wrote it, before any correction."""
        if self.photmjsr is None or self.correction is None:
            return self.photmjsr
        return self.photmjsr / self.correction.photom_factor


def read_photometric_state(path: Path, instrument: Instrument) -> PhotometricState:
    """Read how an image is calibrated.

    Parameters
    ----------
    path : Path
        A `cal`, `crf` or `i2d` file; only its headers are read.

    Raises
    ------
    FileFormatError
        If the file is not FITS, or is truncated.
    UnsupportedDataError
        If it is no calibrated image of one array.
    MissingKeywordError, HeaderValueError
        If a card that says which array, band, subarray or context is missing or cannot be used.
    """
    headers = read_headers(path)
    cards = ImageCards.of(headers, instrument)
    problem = ""
    try:
        require_calibrated(cards, headers, instrument)
    except HeaderValueError as error:  # photom said COMPLETE and did nothing
        problem = str(error)
    key = read_image_key(cards, headers, instrument)
    return PhotometricState(
        path=path,
        key=key,
        cal_ver=cards.text("cal_ver"),
        r_photom=reference_name(cards, "r_photom"),
        photmjsr=cards.positive("photmjsr"),
        pixar_sr=cards.positive("pixar_sr"),
        correction=read_record(headers),
        problem=problem,
    )

"""How an image is calibrated, and the cards of the correction that it got, if any."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from calreg.domain import ExposureKind, Pmap
from calreg.errors import HeaderValueError
from calreg.files.fits.cards import format_card
from calreg.files.fits.headers import read_headers
from calreg.files.images.cards import (
    ImageCards,
    ImageKey,
    read_image_key,
    reference_name,
    require_calibrated,
)
from calreg.science.model.gradient import PixelPlane

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.files.fits.headers import CardValue, FitsHeaders
    from calreg.instruments import Instrument

CARD_PREFIX = "CALREG"
"""All cards that calreg adds begin so, but for HISTORY."""

DIGEST_CARD = "CALREGBF"
"""SHA-256 of the file before."""

IDENTITY_SET = "identity"
"""CALREGID of a file that no set was found for, and that was let through by request."""

_SET_ID = "CALREGID"


class CorrectionOrigin(StrEnum):
    """Where a correction comes from."""

    MEASURED = "measured"
    PREDICTED = "predicted"
    IDENTITY = "identity"


@dataclass(frozen=True)
class CorrectionRecord:
    """What the cards of a corrected exposure say.

    Attributes
    ----------
    set_id : str
        Of the coefficient set, or ``identity``.
    datum : str
        Which module the set holds at zero.
    code_version : str
        Version of calreg.
    application_id : str
        Unique; the registry's row has the same.
    set_pmap : Pmap
        Context of the set: the file's own, unless the correction was predicted.
    gradient_datum : str
        How the gradient is shared between the modules.
    photom_factor : float
        PHOTMJSR was multiplied by it.
    gradient : PixelPlane or None
        g [mag] over the pixels of the full array, mean zero; None without a gradient.
    n_pixels : int
        Pixels on a side of the full array.
    sha256_before : str
        SHA-256 of the file as it was.
    created_utc : str
        ISO 8601.
    """

    set_id: str
    datum: str
    code_version: str
    application_id: str
    origin: CorrectionOrigin
    set_pmap: Pmap
    gradient_datum: str
    photom_factor: float
    gradient: PixelPlane | None
    n_pixels: int
    sha256_before: str
    created_utc: str

    def cards(self) -> list[bytes]:
        """Return the cards of the primary header."""
        plane = self.gradient or PixelPlane(0.0, 0.0, 0.0)
        table: list[tuple[str, str | float | int, str]] = [
            (_SET_ID, self.set_id, "coefficient set"),
            ("CALREGDM", self.datum, "datum of the set"),
            ("CALREGVR", self.code_version, "version of calreg"),
            ("CALREGOR", str(self.origin), "measured, predicted or identity"),
            ("CALREGCX", str(self.set_pmap), "context of the set"),
            ("CALREGGD", self.gradient_datum, "how the gradient is shared between modules"),
            ("CALREGPF", self.photom_factor, "PHOTMJSR was multiplied by it"),
            ("CALREGGX", plane.per_x, "[mag/pixel] gradient along x, > 0: too faint"),
            ("CALREGGY", plane.per_y, "[mag/pixel] gradient along y, > 0: too faint"),
            ("CALREGNP", self.n_pixels, "[pixel] side of the full array"),
            ("CALREGAP", self.application_id, "this correction"),
            ("CALREGUT", self.created_utc, "UTC of the correction"),
            (DIGEST_CARD, self.sha256_before, ""),
        ]
        return [format_card(keyword, value, comment) for keyword, value, comment in table]


def is_corrected(headers: FitsHeaders) -> bool:
    """Return whether a file carries the cards of a correction."""
    return headers.primary.get(_SET_ID) is not None


def read_record(headers: FitsHeaders) -> CorrectionRecord | None:
    """Read which correction a file has got.

    Returns
    -------
    CorrectionRecord or None
        None if the file was never corrected, or the correction was undone.

    Raises
    ------
    HeaderValueError
        If some of the cards are there and others are missing or damaged.
    """
    if not is_corrected(headers):
        return None
    cards = _Cards(headers)
    per_x, per_y = cards.number("CALREGGX"), cards.number("CALREGGY")
    has_gradient = per_x != 0.0 or per_y != 0.0
    try:
        set_pmap = Pmap.parse(cards.text("CALREGCX"))
        origin = CorrectionOrigin(cards.text("CALREGOR"))
        datetime.fromisoformat(cards.text("CALREGUT"))
    except ValueError as error:
        msg = (
            f"{headers.path}: was corrected by calreg (CALREGID), but of its cards CALREGCX, "
            f"CALREGOR and CALREGUT one cannot be used: {error}; make the file again with the jwst "
            "pipeline"
        )
        raise HeaderValueError(msg) from error
    return CorrectionRecord(
        set_id=cards.text(_SET_ID),
        datum=cards.text("CALREGDM"),
        code_version=cards.text("CALREGVR"),
        application_id=cards.text("CALREGAP"),
        origin=origin,
        set_pmap=set_pmap,
        gradient_datum=cards.text("CALREGGD"),
        photom_factor=cards.positive("CALREGPF"),
        gradient=PixelPlane(0.0, per_x, per_y) if has_gradient else None,
        n_pixels=int(cards.positive("CALREGNP")),
        sha256_before=cards.text(DIGEST_CARD),
        created_utc=cards.text("CALREGUT"),
    )


class _Cards:
    """The cards of a correction, none of which may be missing."""

    def __init__(self, headers: FitsHeaders) -> None:
        self._headers = headers

    def text(self, card: str) -> str:
        """Return a text."""
        value = self._headers.primary.get(card)
        if not isinstance(value, str):
            raise self._damaged(card, value, "a text")
        return value.strip()

    def number(self, card: str) -> float:
        """Return a number."""
        value = self._headers.primary.get(card)
        if type(value) not in (int, float):
            raise self._damaged(card, value, "a number")
        return float(value)  # type: ignore[arg-type]

    def positive(self, card: str) -> float:
        """Return a number above zero."""
        number = self.number(card)
        if number <= 0.0:
            raise self._damaged(card, number, "a number above 0")
        return number

    def _damaged(self, card: str, found: CardValue, expected: str) -> HeaderValueError:
        """Report that a card of the correction cannot be used."""
        shown = "nothing" if found is None else repr(found)
        return HeaderValueError(
            f"{self._headers.path}: was corrected by calreg (CALREGID), but card {card}: found "
            f"{shown}, expected {expected}; its correction cannot be told any more: make the file "
            "again with the jwst pipeline"
        )


# --- how an image is calibrated -------------------------------------------------------------------


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

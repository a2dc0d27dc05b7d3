"""The words of calreg as types: contexts, kinds, and the records that files and tables share."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from calreg.errors import InvalidValueError

if TYPE_CHECKING:
    from datetime import datetime

    import numpy as np
    from numpy.typing import NDArray

    from calreg.units import FloatArray

    IntArray = NDArray[np.int64]
    BoolArray = NDArray[np.bool_]

_PMAP_PATTERN = re.compile(r"(?:jwst_)?(\d{1,6})(?:\.pmap)?", re.IGNORECASE)


@dataclass(frozen=True, order=True)
class Pmap:
    """A CRDS context, ordered by its integer.

    Attributes
    ----------
    number : int
        1130 for ``jwst_1130.pmap``.
    """

    number: int

    @classmethod
    def of(cls, pmap: str | Pmap) -> Pmap:
        """Return a context that is given as such, or as text; see `parse`."""
        return pmap if isinstance(pmap, Pmap) else cls.parse(pmap)

    @classmethod
    def parse(cls, text: str) -> Pmap:
        """Read ``jwst_1130.pmap``, ``jwst_1130`` or ``1130``.

        Parameters
        ----------
        text : str
            In any case; blanks around it do not matter.

        Raises
        ------
        InvalidValueError
            For anything else: ``latest``, ``build`` and ``jwst-edit`` move, and private names do
            not order.
        """
        matched = _PMAP_PATTERN.fullmatch(text.strip())
        if matched is None:
            msg = (
                f"context {text!r} cannot be a key: expected a numbered context such as "
                "jwst_1130.pmap (labels such as latest, build and jwst-edit move with time)"
            )
            raise InvalidValueError(msg)
        return cls(int(matched[1]))

    @property
    def name(self) -> str:
        """The context's file name, ``jwst_1130.pmap``."""
        return f"jwst_{self.number:04d}.pmap"

    def __str__(self) -> str:
        """Return `name`."""
        return self.name


class ExposureKind(StrEnum):
    """What sort of image a header describes."""

    CAL = "cal"
    CRF = "crf"
    I2D = "i2d"


class CatalogOrigin(StrEnum):
    """Where the numbers of a catalog come from."""

    FILE = "file"
    PIXELS = "pixels"


class FluxKind(StrEnum):
    """How the flux of a detection was summed; never mixed within a pair."""

    ISO = "iso"
    AUTO = "auto"
    APER = "aper"
    PSF = "psf"


class SetStatus(StrEnum):
    """What a coefficient set is worth at a time."""

    CURRENT = "current"
    """Used: accepted, or the newest of its key where nothing was ever accepted."""
    CANDIDATE = "candidate"
    """The newest of its key, where another was accepted; not used until it is promoted."""
    SUPERSEDED = "superseded"
    """An older version, or one of a field that was merged into another."""
    WITHDRAWN = "withdrawn"
    """Taken out of use, with a reason."""


class ZeroPointKind(StrEnum):
    """What a stored PHOTMJSR is."""

    HEADER = "header"
    """Of an exposure: the table's value over the correction for its time."""
    TABLE = "table"
    """Row of a photom file."""
    TIMED = "timed"
    """Row of a photom file with TIMECOEFF: no exposure has this value but by chance."""
    PUBLISHED = "published"
    """As others wrote it down."""


class Status(StrEnum):
    """What is known of a number or a name."""

    OK = "ok"
    UNKNOWN = "unknown"
    """A value is missing; that is never zero, and never "no change"."""
    CONFLICT = "conflict"
    """Sources disagree beyond their precision; they are never averaged."""


class ReferenceKind(StrEnum):
    """What sort of reference file may move magnitudes."""

    PHOTOM = "photom"
    FLAT = "flat"
    AREA = "area"


@dataclass(frozen=True)
class ReferenceChoice:
    """A reference file that a context has for an array.

    Attributes
    ----------
    array : str
        Detector in lower case.
    filter, pupil : str
        Empty for every one.
    useafter : str
        From which date of exposures on, as in the mapping; empty where not stated.
    source : str
        The mapping, ``header``, or a citation.
    """

    pmap: Pmap
    array: str
    kind: ReferenceKind
    filter: str
    pupil: str
    useafter: str
    file_name: str
    source: str


class SetSeries(NamedTuple):
    """What the coefficient sets of one key share under all contexts."""

    field_id: int
    band: str
    array_id: str
    image_kind: str
    flux_kind: str
    aperture: str
    model: str


class SetKey(NamedTuple):
    """What is fitted together: one field, context, band, array id and way of measuring."""

    field_id: int
    pmap_id: int
    band: str
    array_id: str
    image_kind: str
    flux_kind: str
    aperture: str

    def series(self, model: str) -> SetSeries:
        """Drop the context and add the model."""
        return SetSeries(
            self.field_id,
            self.band,
            self.array_id,
            self.image_kind,
            self.flux_kind,
            self.aperture,
            model,
        )


@dataclass(frozen=True)
class SetQuery:
    """Which coefficient sets a question is about; None means any.

    Attributes
    ----------
    as_of_utc : datetime or None
        Answer as at this time (aware), None for now.

    Raises
    ------
    InvalidValueError
        If `as_of_utc` has no time zone.
    """

    pmap: Pmap | None = None
    band: str | None = None
    array_id: str | None = None
    field: str | None = None
    flux_kind: str | None = None
    as_of_utc: datetime | None = None

    def __post_init__(self) -> None:
        """Refuse a time that could be meant in any zone."""
        if self.as_of_utc is not None and self.as_of_utc.tzinfo is None:
            msg = (
                f"as_of_utc {self.as_of_utc.isoformat()} has no time zone: expected an aware time, "
                "such as datetime(2024, 5, 1, tzinfo=UTC)"
            )
            raise InvalidValueError(msg)

    @property
    def required_pmap(self) -> Pmap:
        """The context, where a question cannot do without one."""
        if self.pmap is None:
            msg = "a context is needed, such as jwst_1130.pmap"
            raise InvalidValueError(msg)
        return self.pmap


class RollRelation(StrEnum):
    """How the rolls of two epochs compare."""

    EQUAL = "equal"
    OPPOSITE = "opposite"
    OTHER = "other"


@dataclass(frozen=True)
class Exposure:
    """One detector image with a header: a `cal` or `crf` exposure, or one array's `i2d` mosaic.

    Text is empty, and numbers are None, where the header does not say. Times are MJD UTC, angles
    degrees, sky ICRS.

    Attributes
    ----------
    program, observation, visit, visit_group, sequence, activity, exposure : str
        The JWST identifiers as in the header (``01176``, ``241``, ``001``, ``02``, ``1``, ``01``,
        ``1``). Empty from `visit` on for mosaics.
    filter, pupil, band : str
        Upper case; `band` is what shapes the passband.
    n_members : int
        Raw exposures in the image, one for an exposure.
    roll_deg : float
        PA_V3, or ROLL_REF where PA_V3 is missing: the roll that epochs are told apart by.
    s_region : str
        As in the header.
    footprint : ndarray of float64, shape (n_vertices, 2)
        ICRS (ra, dec) [deg] of `s_region`.
    photmjsr, pixar_sr : float or None
        Conversion [MJy/sr per DN/s] and pixel area [sr].
    r_photom, r_flat, r_area : str
        Reference files without ``crds://``.
    target : str
        Proposer's name of the target (TARGPROP).
    file_name, directory : str
        Where the file was when it was ingested.
    header_sha256 : str
        SHA-256 over all header blocks and the file's size.
    file_sha256 : str or None
        SHA-256 of the whole file, with ``--hash full``.
    """

    kind: ExposureKind
    program: str
    observation: str
    visit: str
    visit_group: str
    sequence: str
    activity: str
    exposure: str
    array: str
    pmap: Pmap
    cal_ver: str
    filter: str
    pupil: str
    band: str
    subarray: str
    expstart_mjd_utc: float
    expmid_mjd_utc: float
    expend_mjd_utc: float
    exposure_time_s: float | None
    n_members: int
    ra_v1_deg: float | None
    dec_v1_deg: float | None
    pa_v3_deg: float | None
    ra_ref_deg: float | None
    dec_ref_deg: float | None
    roll_ref_deg: float | None
    v2_ref_arcsec: float | None
    v3_ref_arcsec: float | None
    roll_deg: float
    s_region: str
    footprint: FloatArray
    bunit: str
    photmjsr: float | None
    pixar_sr: float | None
    r_photom: str
    r_flat: str
    r_area: str
    target: str
    file_name: str
    directory: str
    file_size_bytes: int
    header_sha256: str
    file_sha256: str | None = None


def _no_values(dtype: type = float) -> NDArray[Any]:
    """Return an empty array; NumPy is imported by those who make one."""
    import numpy as np

    return np.empty(0, dtype=dtype)


@dataclass(frozen=True)
class Catalog:
    """One catalog as read from its file, before its image is known.

    Rows with a non-finite position, or a non-finite magnitude beside a positive flux, are already
    dropped and counted. All arrays have shape (n_rows,).

    Attributes
    ----------
    file_sha256 : str
        SHA-256 of the whole file.
    image_name : str
        Name of the measured image that the file states or its own name implies; empty if neither.
    detection_image_name : str
        Name of the detection image where stated, else empty.
    software : str
        ``SExtractor 2.25.0``, ``jwst 1.12.0``, or empty.
    aperture : str
        Which aperture, for `FluxKind.APER` (``2`` for MAG_APER_2, ``r=0.1 arcsec``), else empty.
    number : ndarray of int64
        Row identifier, unique in the file.
    ra_deg, dec_deg : ndarray of float64
        ICRS [deg].
    x, y : ndarray of float64
        0-based pixel position in the measured image; NaN where not given.
    flux, flux_err : ndarray of float64
        In `flux_unit`; NaN where the catalog has magnitudes only.
    flux_unit : str
        ``image`` (sum of pixel values), ``uJy``, or empty when there is no flux.
    mag, mag_err : ndarray of float64
        Magnitudes as the catalog states them (AB where the catalog's zero point is); NaN where not
        given.
    flags : ndarray of int64
        `calreg.flags.DetectionFlag` bits.
    n_dropped_nonfinite : int
        Rows dropped for NaN, infinite or null position, flux or magnitude.
    n_dropped_error : int
        Rows dropped for an error of 0 or less.
    n_negative_flux : int
        Rows kept without magnitude because their flux is not positive.
    notes : tuple of str
        What the reader had to overlook.
    x_det, y_det : ndarray of float64, or None
        0-based pixel of the detector, mean over the exposures that cover the position; None where
        the catalog does not say.
    v2_arcsec, v3_arcsec : ndarray of float64, or None
        Mean focal-plane position over these exposures [arcsec].
    r_half_arcsec : ndarray of float64, or None
        Half-light radius [arcsec].
    r_half_pixels : ndarray of float64, or None
        The same in pixels of the measured image, where the catalog gives it so.
    compactness : ndarray of int64, or None
        1 compact, 0 extended, -1 unknown.
    origin : CatalogOrigin
        For `CatalogOrigin.PIXELS`, `file_name`, `directory` and `file_size_bytes` are those of the
        measured image, and `file_sha256` is the digest of settings and images.
    """

    file_name: str
    directory: str
    file_sha256: str
    file_size_bytes: int
    image_name: str
    detection_image_name: str
    software: str
    flux_kind: FluxKind
    aperture: str
    settings: dict[str, str] = field(repr=False)
    number: IntArray = field(repr=False)
    ra_deg: FloatArray = field(repr=False)
    dec_deg: FloatArray = field(repr=False)
    x: FloatArray = field(repr=False)
    y: FloatArray = field(repr=False)
    flux: FloatArray = field(repr=False)
    flux_err: FloatArray = field(repr=False)
    flux_unit: str = ""
    mag: FloatArray = field(repr=False, default_factory=_no_values)
    mag_err: FloatArray = field(repr=False, default_factory=_no_values)
    flags: IntArray = field(repr=False, default_factory=lambda: _no_values(int))
    n_dropped_nonfinite: int = 0
    n_dropped_error: int = 0
    n_negative_flux: int = 0
    notes: tuple[str, ...] = ()
    x_det: FloatArray | None = field(repr=False, default=None)
    y_det: FloatArray | None = field(repr=False, default=None)
    v2_arcsec: FloatArray | None = field(repr=False, default=None)
    v3_arcsec: FloatArray | None = field(repr=False, default=None)
    r_half_arcsec: FloatArray | None = field(repr=False, default=None)
    r_half_pixels: FloatArray | None = field(repr=False, default=None)
    compactness: IntArray | None = field(repr=False, default=None)
    origin: CatalogOrigin = CatalogOrigin.FILE


@dataclass(frozen=True)
class Detections:
    """Measurements of one catalog in calreg's units; all arrays have shape (n_rows,).

    Columns of the same name are as in `Catalog`, NaN where unknown.

    Attributes
    ----------
    flux_ujy, flux_err_ujy : ndarray of float64
        Flux density [uJy]; NaN where unknown.
    mag_ab, mag_err : ndarray of float64
        AB magnitude and error [mag]; NaN where the flux is not positive.
    """

    number: IntArray
    ra_deg: FloatArray
    dec_deg: FloatArray
    x: FloatArray
    y: FloatArray
    flux_ujy: FloatArray
    flux_err_ujy: FloatArray
    mag_ab: FloatArray
    mag_err: FloatArray
    flags: IntArray
    x_det: FloatArray
    y_det: FloatArray
    v2_arcsec: FloatArray
    v3_arcsec: FloatArray
    r_half_arcsec: FloatArray
    compactness: IntArray


@dataclass(frozen=True)
class RecipeRow:
    """One line of a table of published or exported corrections, in calreg's sign.

    Attributes
    ----------
    band : str
        Upper case.
    array_id : str
        ``1`` ... ``4`` or ``long``.
    offset_ab_mag, offset_ab_err_mag : float
        m_A - m_B [mag].
    offset_a_mag, offset_b_mag : float
        How the offset is shared between the modules (the datum).
    slope_mag_arcmin, slope_err_mag_arcmin : float
        Gradient k along the field's axis [mag / arcmin].
    """

    band: str
    array_id: str
    offset_ab_mag: float
    offset_ab_err_mag: float
    offset_a_mag: float
    offset_b_mag: float
    slope_mag_arcmin: float
    slope_err_mag_arcmin: float


class Progress(Protocol):
    """Called as long work goes on; commands draw a bar from it."""

    def __call__(self, task: str, n_done: int, n_all: int) -> None:
        """Report that `n_done` of `n_all` steps of `task` are done."""


def no_progress(task: str, n_done: int, n_all: int) -> None:
    """Report nothing; the default of library calls."""
    del task, n_done, n_all

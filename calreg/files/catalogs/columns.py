"""Names that catalogs give to what calreg needs, as one declarative table.

Names are compared exactly first and then without regard to case, because TOPCAT, databases and
VOTable services change it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from calreg.domain import FluxKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

CANONICAL_NAMES = (
    "number",
    "ra",
    "dec",
    "x",
    "y",
    "flux",
    "flux_err",
    "mag",
    "mag_err",
    "flags",
)
"""What ``--columns`` can map."""


@dataclass(frozen=True)
class SourceColumn:
    """One column as a file gives it.

    Attributes
    ----------
    values : ndarray, shape (n_rows,)
        Masked floats are NaN; other masked values make a masked array.
    unit : str
        As the file spells it; empty if it does not say.
    """

    values: NDArray[Any]
    unit: str = ""


@dataclass(frozen=True)
class SourceTable:
    """A catalog as its file gives it, before names and units are understood.

    Attributes
    ----------
    columns : dict of str to SourceColumn
        Vector columns are spread as ``NAME``, ``NAME_1``, ``NAME_2`` (the names that
        `astropy.io.ascii` and ldactoasc give them).
    image_name, detection_image_name, software : str
        Empty where the file does not say.
    notes : tuple of str
        What the reader had to overlook.
    is_sextractor : bool
        SExtractor wrote the file, so ISO is what it is read for by default.
    is_text : bool
        The file has lines with one row each after one line of names.
    """

    columns: dict[str, SourceColumn]
    n_rows: int
    image_name: str = ""
    detection_image_name: str = ""
    software: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    is_sextractor: bool = False
    is_text: bool = False
    notes: tuple[str, ...] = ()

    def find(self, *names: str) -> str | None:
        """Return the file's spelling of the first of `names` that it has."""
        for name in names:
            if name in self.columns:
                return name
        by_lower = {column.lower(): column for column in reversed(self.columns)}
        return next((by_lower[name.lower()] for name in names if name.lower() in by_lower), None)


@dataclass(frozen=True)
class SkyColumns:
    """A pair of sky columns, with the pair that fills its non-finite rows."""

    ra: str
    dec: str
    fallback: tuple[str, str] | None = None


@dataclass(frozen=True)
class PixelColumns:
    """A pair of pixel columns and the number of their first pixel."""

    x: str
    y: str
    first_pixel: int
    fallback: tuple[str, str] | None = None


@dataclass(frozen=True)
class FluxFamily:
    """Names of one kind of flux; alternatives are spellings of different versions.

    Attributes
    ----------
    flux, flux_err, mag, mag_err : tuple of str
        With a ``{}`` where an aperture is numbered or named.
    is_pixel_sum : bool
        A flux without unit is a sum of pixel values (SExtractor, photutils).
    is_generic : bool
        The name does not say which kind of flux it is.
    """

    kind: FluxKind
    flux: tuple[str, ...]
    flux_err: tuple[str, ...]
    mag: tuple[str, ...] = ()
    mag_err: tuple[str, ...] = ()
    is_pixel_sum: bool = True
    is_generic: bool = False


def _sextractor(kind: FluxKind, suffix: str) -> FluxFamily:
    """Name SExtractor's four columns of one kind (SExtractor manual, table of measurements)."""
    return FluxFamily(
        kind,
        (f"FLUX_{suffix}",),
        (f"FLUXERR_{suffix}",),
        (f"MAG_{suffix}",),
        (f"MAGERR_{suffix}",),
    )


NUMBER_NAMES = ("NUMBER", "label", "id", "source_id")
FLAGS_NAMES = ("FLAGS", "flag")
HALF_LIGHT_NAMES = ("FLUX_RADIUS",)
COMPACT_NAMES = ("IS_COMPACT",)

# In dual-image mode ALPHA_J2000 is measured on the detection image, and so is the same in every
# epoch; the windowed position comes from the measured image.
SKY_COLUMNS = (
    SkyColumns("ALPHAWIN_J2000", "DELTAWIN_J2000", ("ALPHA_J2000", "DELTA_J2000")),
    SkyColumns("ALPHA_J2000", "DELTA_J2000"),
    SkyColumns("ALPHAWIN_SKY", "DELTAWIN_SKY", ("ALPHA_SKY", "DELTA_SKY")),
    SkyColumns("ALPHA_SKY", "DELTA_SKY"),
    SkyColumns("sky_centroid.ra", "sky_centroid.dec"),
    SkyColumns("sky_centroid_ra", "sky_centroid_dec"),
    SkyColumns("ra", "dec"),
    SkyColumns("ra_deg", "dec_deg"),
    SkyColumns("RAJ2000", "DEJ2000"),
    SkyColumns("RA_ICRS", "DE_ICRS"),
)

# First pixel: SExtractor counts from 1, photutils and the jwst pipeline from 0.
PIXEL_COLUMNS = (
    PixelColumns("XWIN_IMAGE", "YWIN_IMAGE", 1, ("X_IMAGE", "Y_IMAGE")),
    PixelColumns("X_IMAGE", "Y_IMAGE", 1),
    PixelColumns("x_centroid", "y_centroid", 0),
    PixelColumns("xcentroid", "ycentroid", 0),
    PixelColumns("x_fit", "y_fit", 0),
    PixelColumns("x_center", "y_center", 0),
    PixelColumns("xcenter", "ycenter", 0),
    PixelColumns("x_fits", "y_fits", 1),
    PixelColumns("x", "y", 0),
)

# jwst: isophotal_* and aper<EE>_* since 0.16.1, source_sum before; photutils 3.0 (2026) renamed
# xcentroid, segment_fluxerr and kron_fluxerr to x_centroid, segment_flux_err and kron_flux_err.
FLUX_FAMILIES = (
    _sextractor(FluxKind.ISO, "ISO"),
    FluxFamily(
        FluxKind.ISO,
        ("isophotal_flux",),
        ("isophotal_flux_err",),
        ("isophotal_abmag",),
        ("isophotal_abmag_err",),
        is_pixel_sum=False,
    ),
    FluxFamily(FluxKind.ISO, ("segment_flux",), ("segment_flux_err", "segment_fluxerr")),
    FluxFamily(FluxKind.ISO, ("source_sum",), ("source_sum_err",)),
    _sextractor(FluxKind.AUTO, "AUTO"),
    FluxFamily(FluxKind.AUTO, ("kron_flux",), ("kron_flux_err", "kron_fluxerr")),
    _sextractor(FluxKind.PSF, "PSF"),
    FluxFamily(FluxKind.PSF, ("flux_fit",), ("flux_err", "flux_unc")),
)

APERTURE_FAMILIES = (
    _sextractor(FluxKind.APER, "APER{}"),
    FluxFamily(FluxKind.APER, ("aperture_sum{}",), ("aperture_sum_err{}",)),
    FluxFamily(
        FluxKind.APER,
        ("aper{}_flux",),
        ("aper{}_flux_err",),
        ("aper{}_abmag",),
        ("aper{}_abmag_err",),
        is_pixel_sum=False,
    ),
)

GENERIC_FAMILY = FluxFamily(
    FluxKind.ISO,
    ("flux",),
    ("flux_err", "fluxerr", "e_flux", "flux_error", "flux_unc", "dflux"),
    ("mag", "mag_ab", "abmag"),
    ("mag_err", "magerr", "e_mag", "mag_error", "mag_ab_err", "abmag_err", "dmag"),
    is_pixel_sum=False,
    is_generic=True,
)


def _known_scalars() -> frozenset[str]:
    """Collect every name above that cannot be a vector."""
    names = {*NUMBER_NAMES, *FLAGS_NAMES, *COMPACT_NAMES}
    for sky in SKY_COLUMNS:
        names.update((sky.ra, sky.dec))
    for pixel in PIXEL_COLUMNS:
        names.update((pixel.x, pixel.y))
    for family in (*FLUX_FAMILIES, GENERIC_FAMILY):
        names.update((*family.flux, *family.flux_err, *family.mag, *family.mag_err))
    return frozenset(names)


SCALAR_NAMES = _known_scalars()
_VECTOR_NAMES = frozenset(
    name.format("")
    for family in APERTURE_FAMILIES[:2]
    for name in (*family.flux, *family.flux_err, *family.mag, *family.mag_err)
)
_KNOWN_LOWER = frozenset(name.lower() for name in SCALAR_NAMES | _VECTOR_NAMES)


def run_together(name: str, *, min_length: int = 4) -> tuple[str, str] | None:
    """Split a header name that is two known names glued to each other.

    Parameters
    ----------
    name : str
        A column name, such as ``ALPHA_J2000DELTA_J2000`` or ``NUMBER ALPHA_J2000``.
    min_length : int
        Shortest part that counts: below 4, `radec` would be read as two columns.

    Returns
    -------
    tuple of str or None
        The two names, or None when `name` is itself known or does not split.
    """
    if name.strip().lower() in _KNOWN_LOWER:
        return None
    for cut in range(1, len(name)):
        left, right = name[:cut].strip(), name[cut:].strip()
        if min(len(left), len(right)) < min_length:
            continue
        if left.lower() in _KNOWN_LOWER and right.lower() in _KNOWN_LOWER:
            return left, right
    return None


def first_run_together(
    names: Iterable[str], *, min_length: int = 4
) -> tuple[str, tuple[str, str]] | None:
    """Return the first name that `run_together` splits, with its two parts."""
    for name in names:
        parts = run_together(name, min_length=min_length)
        if parts is not None:
            return name, parts
    return None


def aperture_labels(family: FluxFamily, columns: Mapping[str, SourceColumn]) -> dict[str, str]:
    """List the apertures that a table has columns for.

    Parameters
    ----------
    family : FluxFamily
        One of `APERTURE_FAMILIES`.

    Returns
    -------
    dict of str to str
        Label -> what fills the ``{}``, first aperture first. Labels are ``1``, ``2`` ... for
        numbered apertures, whichever number the file starts at, and ``ee30``, ``ee50``, ``total``
        for the encircled energies of the jwst pipeline.
    """
    found: list[str] = []
    for pattern in (*family.flux, *family.mag):
        head, tail = (re.escape(part) for part in pattern.split("{}"))
        wanted = re.compile(rf"{head}(|_?\d+|_total){tail}", re.IGNORECASE)
        for name in columns:
            matched = wanted.fullmatch(name)
            if matched is not None and matched[1] not in found:
                found.append(matched[1])
    if family is APERTURE_FAMILIES[-1]:
        return {f"ee{text}" if text.isdigit() else "total": text for text in found if text}
    numbered = sorted((int(text.lstrip("_") or "0"), text) for text in found if text != "_total")
    return {str(label): text for label, (_, text) in enumerate(numbered, start=1)}


def line_of_row(path: Path, row: int, *, n_header_lines: int = 0) -> int:
    """Return the line of a row of a text table.

    Parameters
    ----------
    row : int
        Row of the data, counted from 1.
    n_header_lines : int
        Lines of names between the comments and the data.

    Returns
    -------
    int
        Line of the file, counted from 1; 0 if the file has fewer rows.
    """
    left = row + n_header_lines
    with path.open(encoding="latin-1") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip() and not line.startswith("#"):
                left -= 1
                if left == 0:
                    return number
    return 0


def first_data_line(path: Path) -> str:
    """Return the first line that is neither empty nor a comment; in CSV and ECSV, the names.

    Returns
    -------
    str
        Without line end and byte-order mark; empty if there is none.
    """
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        return next((line.strip() for line in lines if line.strip() and line[0] != "#"), "")


def image_base_name(text: str) -> str:
    """Return the bare file name of a stated image, without folder and extension number.

    Parameters
    ----------
    text : str
        Such as ``/data/jw01176-o241_t001_nircam_clear-f444w_nrcalong_i2d.fits[1]``.
    """
    return PurePosixPath(re.sub(r"\[[^\]]*\]\s*$", "", text.strip())).name

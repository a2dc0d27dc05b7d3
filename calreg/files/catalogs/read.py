"""Read source catalogs of any known format into one `calreg.domain.Catalog`."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from calreg.domain import Catalog, FluxKind
from calreg.errors import CatalogColumnError, FileFormatError
from calreg.files.atomic import sha256_of
from calreg.files.catalogs.columns import (
    COMPACT_NAMES,
    FLAGS_NAMES,
    HALF_LIGHT_NAMES,
    NUMBER_NAMES,
    PIXEL_COLUMNS,
    SKY_COLUMNS,
    PixelColumns,
    line_of_row,
)
from calreg.files.catalogs.fluxes import FluxColumns, check_mapping, choose_flux, missing_columns
from calreg.files.catalogs.sextractor import read_sextractor_ascii, read_sextractor_fits
from calreg.files.catalogs.tables import read_table
from calreg.files.recognise import FileKind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from calreg.domain import BoolArray, IntArray
    from calreg.files.catalogs.columns import SourceTable
    from calreg.units import FloatArray

_TABLE_SUFFIXES = frozenset(
    (
        ".cat",
        ".csv",
        ".dat",
        ".ecsv",
        ".fit",
        ".fits",
        ".ldac",
        ".parquet",
        ".sex",
        ".txt",
        ".vot",
        ".votable",
        ".xml",
    )
)
_CATALOG_ENDING = re.compile(r"[_-](?:cat|catalog|catalogue|ldac|phot|sex|sexcat)$", re.IGNORECASE)
_IMAGE_ENDINGS = ("_i2d", "_cal", "_crf")

_NO_MAGNITUDE = 99.0
"""SExtractor's MAG and MAGERR where the flux is not positive."""

_DEG_PER_HOUR = 15.0
_PIXEL_UNITS = frozenset(("", "pix", "pixel"))
_MAGNITUDE_UNITS = frozenset(("", "mag", "mag(ab)", "abmag", "magnitude"))


def read_catalog(
    path: Path,
    kind: FileKind,
    *,
    flux: FluxKind | None = None,
    aperture: str = "",
    columns: Mapping[str, str] | None = None,
) -> Catalog:
    """Read a catalog of sources.

    Parameters
    ----------
    flux : FluxKind, optional
        Which flux to read. By default ISO, or the only kind of a table that has no ISO.
    aperture : str
        Which aperture of `FluxKind.APER`: ``1``, ``2`` ..., or ``30``, ``50``, ``total`` for the
        jwst pipeline's catalogs; the first by default.
    columns : mapping of str to str, optional
        Canonical name (number ra dec x y flux flux_err mag mag_err flags) -> name in the file.

    Returns
    -------
    Catalog
        Positions are the windowed ones of SExtractor (measured on the image itself; ALPHA_J2000
        comes from the detection image) where they are present and finite. Pixel positions count
        from 0. Rows with a non-finite position, flux, flux error or, where that is all there is,
        magnitude are dropped and counted, and so, by themselves, are rows with an error of 0 or
        less; rows whose flux is not positive stay without magnitude. ``settings["columns"]`` lists
        the columns that were read.

    Raises
    ------
    CatalogColumnError
        Columns are missing, run together, not numbers, without unit, or out of range; or the same
        number occurs twice.
    FileFormatError
        The file is damaged or holds no sources.
    UnsupportedDataError
        It holds sources of several images.
    MissingExtraError
        Parquet without pyarrow.
    """
    table = _read_source_table(path, kind)
    if table.n_rows == 0:
        msg = f"{path}: holds no sources (0 rows); leave it out or make it again"
        raise FileFormatError(msg)
    mapping = check_mapping(path, table, columns or {})
    chosen = choose_flux(path, table, flux=flux, aperture=aperture, columns=mapping)
    return _Reading(path, table, mapping, chosen).catalog()


def _read_source_table(path: Path, kind: FileKind) -> SourceTable:
    """Read a file as it is."""
    if not path.is_file():
        msg = f"{path}: there is no such file"
        raise FileFormatError(msg)
    if kind in {FileKind.SEXTRACTOR_LDAC, FileKind.SEXTRACTOR_FITS}:
        return read_sextractor_fits(path)
    if kind is FileKind.SEXTRACTOR_ASCII:
        return read_sextractor_ascii(path)
    if kind.is_catalog:
        return read_table(path, kind)
    msg = f"{path}: is a {kind}, not a catalog"
    raise FileFormatError(msg)


class _Reading:
    """One catalog on its way from names and units of a file to those of calreg."""

    def __init__(
        self, path: Path, table: SourceTable, mapping: dict[str, str], chosen: FluxColumns
    ) -> None:
        self.path = path
        self.table = table
        self.mapping = mapping
        self.chosen = chosen
        self.used: dict[str, str] = dict(chosen.names)

    def catalog(self) -> Catalog:
        """Return the catalog with unusable rows dropped and counted."""
        ra_deg, dec_deg = self._sky()
        x, y = self._pixels()
        flux, flux_err, flux_unit = self._flux()
        mag, mag_err = self._magnitude()
        number, flags = self._number(), self._flags()
        r_half_pixels, compactness = self._r_half_pixels(), self._compactness()
        is_sentinel = np.abs(mag) == _NO_MAGNITUDE
        if flux_unit:
            is_negative = flux <= 0.0
            is_bad, error = ~np.isfinite(flux) | ~np.isfinite(flux_err), flux_err
            if self.chosen.mag is not None:
                is_bad |= ~is_negative & ~np.isfinite(mag)
        else:
            is_negative = is_sentinel
            is_bad = ~is_sentinel & ~(np.isfinite(mag) & np.isfinite(mag_err))
            error = np.where(is_sentinel, 1.0, mag_err)
        is_bad |= ~np.isfinite(ra_deg) | ~np.isfinite(dec_deg)
        has_no_mag = is_negative | is_sentinel
        mag[has_no_mag] = np.nan
        mag_err[has_no_mag] = np.nan

        no_error = (error < 0.0) | ((error == 0.0) & ~is_negative)  # 0 +- 0: no data
        has_no_error = ~is_bad & no_error
        good = ~is_bad & ~has_no_error
        self._require_sources(good)
        ra_deg, dec_deg = self._checked_sky(ra_deg, dec_deg, good)
        columns = " ".join(f"{key}={name}" for key, name in self.used.items())
        settings = {**self.table.settings, "columns": columns}
        if self.chosen.is_assumed:
            settings["flux_kind"] = "assumed"
        return Catalog(
            file_name=self.path.name,
            directory=str(self.path.resolve().parent),
            file_sha256=sha256_of(self.path),
            file_size_bytes=self.path.stat().st_size,
            image_name=self.table.image_name,
            detection_image_name=self.table.detection_image_name,
            software=self.table.software,
            flux_kind=self.chosen.kind,
            aperture=self.chosen.aperture,
            settings=settings,
            number=number[good],
            ra_deg=ra_deg,
            dec_deg=dec_deg,
            x=x[good],
            y=y[good],
            flux=flux[good],
            flux_err=flux_err[good],
            flux_unit=flux_unit,
            mag=mag[good],
            mag_err=mag_err[good],
            flags=flags[good],
            r_half_pixels=None if r_half_pixels is None else r_half_pixels[good],
            compactness=None if compactness is None else compactness[good],
            n_dropped_nonfinite=int(np.count_nonzero(is_bad)),
            n_dropped_error=int(np.count_nonzero(has_no_error)),
            n_negative_flux=int(np.count_nonzero(is_negative & good)),
            notes=self.table.notes,
        )

    def _require_sources(self, good: BoolArray) -> None:
        """Refuse a catalog of which no row is left."""
        if not good.any():
            msg = (
                f"{self.path}: holds no sources: all {good.size} rows have a non-finite position, "
                f"flux, magnitude or error, or an error of 0 or less (columns "
                f"{' '.join(self.used.values())})"
            )
            raise FileFormatError(msg)

    def _sky(self) -> tuple[FloatArray, FloatArray]:
        """Return positions [deg], from the first pair of columns that the table has."""
        mapped = [key for key in ("ra", "dec") if key in self.mapping]
        if len(mapped) == 1:
            msg = f"{self.path}: --columns maps {mapped[0]} alone; map both ra and dec"
            raise CatalogColumnError(msg)
        if mapped:
            return self._sky_pair(self.mapping["ra"], self.mapping["dec"])
        for pair in SKY_COLUMNS:
            ra_name, dec_name = self.table.find(pair.ra), self.table.find(pair.dec)
            if ra_name is None or dec_name is None:
                continue
            ra_deg, dec_deg = self._sky_pair(ra_name, dec_name)
            is_bad = ~(np.isfinite(ra_deg) & np.isfinite(dec_deg))
            names = [self.table.find(name) for name in pair.fallback or ()]
            if is_bad.any() and names and names[0] is not None and names[1] is not None:
                ra_other, dec_other = self._angle(names[0]), self._angle(names[1])
                ra_deg[is_bad], dec_deg[is_bad] = ra_other[is_bad], dec_other[is_bad]
            return ra_deg, dec_deg
        pairs = ", ".join(f"{pair.ra}/{pair.dec}" for pair in SKY_COLUMNS)
        raise CatalogColumnError(
            missing_columns(self.path, self.table, f"sky position (known: {pairs})")
        )

    def _sky_pair(self, ra_name: str, dec_name: str) -> tuple[FloatArray, FloatArray]:
        """Return two columns of angles [deg]."""
        self.used["ra"], self.used["dec"] = ra_name, dec_name
        return self._angle(ra_name), self._angle(dec_name)

    def _angle(self, name: str) -> FloatArray:
        """Return a column of angles [deg]; without unit they are degrees."""
        from astropy import units as u

        values = self._floats(name)
        text = self.table.columns[name].unit
        if text in {"", "deg"}:
            return values
        unit = u.Unit(text, parse_strict="silent")
        if unit == u.hour:
            return values * _DEG_PER_HOUR
        if not unit.is_equivalent(u.deg):
            msg = (
                f"{self.path}: column {name!r} has unit {text!r}; expected an angle such as deg or "
                "hourangle"
            )
            raise CatalogColumnError(msg)
        return values * float(unit.to(u.deg))

    def _checked_sky(
        self, ra_deg: FloatArray, dec_deg: FloatArray, good: BoolArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return the positions of good rows, right ascension in [0, 360)."""
        is_outside = (ra_deg < -180.0) | (ra_deg > 360.0) | (np.abs(dec_deg) > 90.0)
        is_outside &= good
        if is_outside.any():
            row = int(np.argmax(is_outside))
            msg = (
                f"{self.path}: {self._where(row)}: position {ra_deg[row]:g} {dec_deg[row]:g} deg "
                f"is not on the sky (columns {self.used['ra']}, {self.used['dec']}); expected "
                "right ascension -180 to 360 and declination -90 to 90: check units and columns"
            )
            raise CatalogColumnError(msg)
        ra_deg = np.mod(ra_deg[good], 360.0)
        # The remainder of a tiny negative number rounds up to 360.
        ra_deg[ra_deg == 360.0] = 0.0
        return ra_deg, dec_deg[good]

    def _pixels(self) -> tuple[FloatArray, FloatArray]:
        """Return 0-based pixel positions, NaN where the table has none."""
        mapped = {key: self.mapping[key] for key in ("x", "y") if key in self.mapping}
        if len(mapped) == 1:
            msg = f"{self.path}: --columns maps {next(iter(mapped))} alone; map both x and y"
            raise CatalogColumnError(msg)
        for pair in PIXEL_COLUMNS:
            x_name, y_name = self.table.find(pair.x), self.table.find(pair.y)
            if x_name is None or y_name is None:
                continue
            if not mapped:
                return self._pixel_pair(x_name, y_name, pair)
            if (x_name, y_name) == (mapped["x"], mapped["y"]):
                return self._pixel_pair(x_name, y_name, PixelColumns("", "", pair.first_pixel))
        if mapped:
            return self._pixel_pair(mapped["x"], mapped["y"], PixelColumns("", "", 0))
        nowhere = np.full(self.table.n_rows, np.nan)
        return nowhere, nowhere.copy()

    def _pixel_pair(
        self, x_name: str, y_name: str, pair: PixelColumns
    ) -> tuple[FloatArray, FloatArray]:
        """Return two pixel columns, 0-based."""
        self.used["x"], self.used["y"] = x_name, y_name
        x, y = self._floats(x_name), self._floats(y_name)
        is_bad = ~(np.isfinite(x) & np.isfinite(y))
        names = [self.table.find(name) for name in pair.fallback or ()]
        if is_bad.any() and names and names[0] is not None and names[1] is not None:
            x_other, y_other = self._floats(names[0]), self._floats(names[1])
            x[is_bad], y[is_bad] = x_other[is_bad], y_other[is_bad]
        return x - pair.first_pixel, y - pair.first_pixel

    def _flux(self) -> tuple[FloatArray, FloatArray, str]:
        """Return flux, error and the unit: ``image``, ``uJy``, or empty if there is no usable flux.

        A flux of unknown unit is left out where magnitudes can stand for it.
        """
        nothing = np.full(self.table.n_rows, np.nan)
        names = self.chosen.flux, self.chosen.flux_err
        if names[0] is None or names[1] is None:
            return nothing, nothing.copy(), ""
        factor, unit = self._flux_unit(names[0], self.table.columns[names[0]].unit)
        if not unit:
            if self.chosen.mag is None:
                msg = (
                    f"{self.path}: flux column {names[0]!r} has no unit; name it in the file (Jy, "
                    "uJy or nJy in ECSV or VOTable), or map magnitudes with "
                    "--columns mag=...,mag_err=..."
                )
                raise CatalogColumnError(msg)
            del self.used["flux"], self.used["flux_err"]
            return nothing, nothing.copy(), ""
        text_err = self.table.columns[names[1]].unit
        factor_err, unit_err = self._flux_unit(names[1], text_err) if text_err else (factor, unit)
        if unit_err != unit:
            msg = (
                f"{self.path}: {names[0]!r} is in {self.table.columns[names[0]].unit!r} but "
                f"{names[1]!r} in {text_err!r}; expected the same sort of unit"
            )
            raise CatalogColumnError(msg)
        return self._floats(names[0]) * factor, self._floats(names[1]) * factor_err, unit

    def _flux_unit(self, name: str, text: str) -> tuple[float, str]:
        """Return the factor to calreg's unit, and that unit."""
        from astropy import units as u

        if not text:
            return 1.0, "image" if self.chosen.is_pixel_sum else ""
        unit = u.Unit(text, parse_strict="silent")
        if unit.is_equivalent(u.uJy):
            return float(unit.to(u.uJy)), "uJy"
        counts = (u.count, u.adu, u.electron, u.DN)
        is_unknown = isinstance(unit, u.UnrecognizedUnit) or unit == u.dimensionless_unscaled
        if (
            unit == u.MJy / u.sr
            or (is_unknown and self.chosen.is_pixel_sum)
            or any(unit.is_equivalent(known) for known in (*counts, *(one / u.s for one in counts)))
        ):
            return 1.0, "image"
        what = ""
        if unit.is_equivalent(u.MJy / u.sr):
            what = f"; it is a surface brightness, {unit.to(u.MJy / u.sr):.6g} MJy/sr"
        elif not is_unknown:
            what = f"; it is a unit of {unit.physical_type}"
        msg = (
            f"{self.path}: flux column {name!r} has unit {text!r}; expected Jy, mJy, uJy or nJy, "
            f"or the unit of the image (MJy/sr, DN/s){what}: convert it, or map other columns "
            "with --columns"
        )
        raise CatalogColumnError(msg)

    def _magnitude(self) -> tuple[FloatArray, FloatArray]:
        """Return magnitudes and errors as the catalog states them."""
        mag, mag_err = self.chosen.mag, self.chosen.mag_err
        if mag is None or mag_err is None:
            nothing = np.full(self.table.n_rows, np.nan)
            return nothing, nothing.copy()
        for name in (mag, mag_err):
            unit = self.table.columns[name].unit
            if unit.replace(" ", "").lower() not in _MAGNITUDE_UNITS:
                msg = f"{self.path}: column {name!r} has unit {unit!r}; expected AB mag"
                raise CatalogColumnError(msg)
        return self._floats(mag), self._floats(mag_err)

    def _number(self) -> IntArray:
        """Return row identifiers: the catalog's where it has whole numbers, else 1 to n."""
        name = self.mapping.get("number") or self.table.find(*NUMBER_NAMES)
        is_text = name is not None and self.table.columns[name].values.dtype.kind not in "iuf"
        if name is None or (is_text and "number" not in self.mapping):
            return np.arange(1, self.table.n_rows + 1, dtype=np.int64)
        self.used["number"] = name
        number = self._integers(name)
        values, counts = np.unique(number, return_counts=True)
        if values.size != number.size:
            twice = int(np.argmax(counts > 1))
            rows = np.flatnonzero(number == values[twice])[:2]
            msg = (
                f"{self.path}: number {values[twice]} occurs {counts[twice]} times in column "
                f"{name!r} (rows {rows[0] + 1} and {rows[1] + 1}); expected each once"
            )
            raise CatalogColumnError(msg)
        return number

    def _flags(self) -> IntArray:
        """Return flags, 0 where the table has none."""
        name = self.mapping.get("flags") or self.table.find(*FLAGS_NAMES)
        if name is None:
            return np.zeros(self.table.n_rows, dtype=np.int64)
        self.used["flags"] = name
        return self._integers(name, fill=0)

    def _r_half_pixels(self) -> FloatArray | None:
        """Return half-light radii, NaN where they are not positive; None if the table has none.

        One FLUX_RADIUS is that of half the light, SExtractor's default; of several, none is known.
        """
        name = self.table.find(*HALF_LIGHT_NAMES)
        if name is None or self.table.find(*(f"{known}_1" for known in HALF_LIGHT_NAMES)):
            return None
        column = self.table.columns[name]
        if column.values.dtype.kind not in "iuf" or column.unit not in _PIXEL_UNITS:
            return None
        self.used["r_half"] = name
        radius = self._floats(name)
        return np.where(radius > 0.0, radius, np.nan)

    def _compactness(self) -> IntArray | None:
        """Return 1 for compact sources, 0 for extended and -1 for unknown ones."""
        name = self.table.find(*COMPACT_NAMES)
        if name is None or self.table.columns[name].values.dtype.kind not in "iub":
            return None
        self.used["is_compact"] = name
        values = np.ma.filled(self.table.columns[name].values.astype(np.int64), -1)
        return np.clip(np.asarray(values, dtype=np.int64), -1, 1)

    def _integers(self, name: str, *, fill: int | None = None) -> IntArray:
        """Return a column of whole numbers."""
        values = self.table.columns[name].values
        if isinstance(values, np.ma.MaskedArray) and fill is not None:
            values = values.filled(fill)
        if values.dtype.kind in "iub" and not isinstance(values, np.ma.MaskedArray):
            return values.astype(np.int64)
        floats = self._floats(name)
        if fill is not None:
            floats[np.isnan(floats)] = fill
        is_bad = ~np.isfinite(floats) | (floats != np.trunc(floats)) | (np.abs(floats) > 2.0**53)
        if is_bad.any():
            row = int(np.argmax(is_bad))
            msg = (
                f"{self.path}: {self._where(row)}: {values[row]} in column {name!r}; expected a "
                "whole number"
            )
            raise CatalogColumnError(msg)
        return floats.astype(np.int64)

    def _floats(self, name: str) -> FloatArray:
        """Return a copy of a column as float64; masked is NaN."""
        values: Any = self.table.columns[name].values
        try:
            if isinstance(values, np.ma.MaskedArray):
                is_masked = np.ma.getmaskarray(values)
                floats = np.full(values.shape, np.nan)
                floats[~is_masked] = np.ma.getdata(values)[~is_masked].astype(np.float64)
                return floats
            return np.array(values, dtype=np.float64)
        except (ValueError, TypeError) as error:
            row = next((i for i, value in enumerate(values) if not _is_number(value)), 0)
            msg = (
                f"{self.path}: {self._where(row)}: {str(values[row])!r} in column {name!r}; "
                "expected a number"
            )
            raise CatalogColumnError(msg) from error

    def _where(self, row: int) -> str:
        """Name a row by its line in text files."""
        if self.table.is_text:
            return f"line {line_of_row(self.path, row + 1, n_header_lines=1)}"
        return f"row {row + 1}"


def _is_number(value: object) -> bool:
    """Return whether NumPy makes a float of a cell."""
    if np.ma.is_masked(value):
        return True
    try:
        float(value.decode("latin-1") if isinstance(value, bytes) else str(value))
    except ValueError:
        return False
    return True


def image_name_candidates(catalog_file_name: str) -> list[str]:
    """Return the names that a catalog's image may have by JWST file naming.

    Parameters
    ----------
    catalog_file_name : str
        Without folder, such as ``X_cat.ecsv`` or ``X_i2d.cat``.

    Returns
    -------
    list of str
        Most likely first: ``X_i2d.fits``, ``X_cal.fits``, ``X_crf.fits``, ``X.fits``; just
        ``X_i2d.fits`` where the catalog's name has that ending itself.
    """
    stem = catalog_file_name
    while PurePosixPath(stem).suffix.lower() in _TABLE_SUFFIXES:
        stem = PurePosixPath(stem).stem
    stem = _CATALOG_ENDING.sub("", stem)
    if stem.endswith(_IMAGE_ENDINGS):
        return [f"{stem}.fits"]
    return [*(f"{stem}{ending}.fits" for ending in _IMAGE_ENDINGS), f"{stem}.fits"]

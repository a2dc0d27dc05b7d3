"""Write a difference image as FITS: planes, where they come from, and what was measured in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits

from calreg.errors import FileFormatError
from calreg.files.atomic import fill_pending
from calreg.files.readguard import refuse_damaged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from calreg.files.atomic import PendingFile
    from calreg.files.fits.cards import Value
    from calreg.science.sky.grids import Grid


@dataclass(frozen=True)
class DifferenceFile:
    """What a file of a difference image holds.

    Attributes
    ----------
    grid : Grid
        Of all planes.
    bunit : str
        Unit of the planes that are not counts or marks.
    cards : sequence of (str, value, str)
        Of the primary header: keyword, value, comment.
    comments : sequence of str
        Lines of COMMENT there.
    planes : mapping of str to ndarray, shape (ny, nx)
        By EXTNAME, in order.
    tables : mapping of str to mapping of str to (sequence, str)
        By EXTNAME: columns by name, with their unit.
    """

    grid: Grid
    bunit: str
    cards: Sequence[tuple[str, Value, str]] = field(repr=False)
    comments: Sequence[str] = field(repr=False)
    planes: Mapping[str, NDArray[Any]] = field(repr=False)
    tables: Mapping[str, Mapping[str, tuple[Sequence[Any], str]]] = field(repr=False)


def write_difference(pending: PendingFile, content: DifferenceFile) -> None:
    """Write a difference image under its hidden name.

    Parameters
    ----------
    pending : PendingFile
        It gets its name afterwards, by `calreg.files.atomic.NamedFiles`.

    Raises
    ------
    OutputError
        If the file cannot be written; it is removed then.

    Notes
    -----
    The same input gives the same bytes.
    """
    primary = fits.Header()
    for keyword, value, comment in content.cards:
        primary[keyword] = (value, comment)
    for line in content.comments:
        primary.add_comment(line)
    wcs_cards = content.grid.wcs().to_header()
    hdus: list[Any] = [fits.PrimaryHDU(header=primary)]
    for name, plane in content.planes.items():
        header = fits.Header(wcs_cards, copy=True)
        if plane.dtype.kind == "f":
            header["BUNIT"] = (content.bunit, "physical units of the array values")
        hdus.append(fits.ImageHDU(plane, header, name=name))
    for name, columns in content.tables.items():
        table = fits.BinTableHDU.from_columns([_column(*item) for item in columns.items()])
        table.name = name
        hdus.append(table)
    with fill_pending(pending) as temporary, temporary.open("wb") as stream:
        fits.HDUList(hdus).writeto(stream)


def _column(name: str, content: tuple[Sequence[Any], str]) -> fits.Column:
    """Return a column of text, whole numbers or numbers; NaN where there is no number."""
    values, unit = content
    if all(isinstance(value, str) for value in values):
        width = max((len(value) for value in values), default=1) or 1
        return fits.Column(name, f"{width}A", array=np.array(values, dtype=f"U{width}"))
    if all(isinstance(value, int) for value in values):
        return fits.Column(name, "K", array=np.array(values, dtype=np.int64), unit=unit or None)
    numbers = [np.nan if value is None else float(value) for value in values]
    return fits.Column(name, "D", array=np.array(numbers), unit=unit or None)


@dataclass(frozen=True)
class HalfResidual:
    """What a correction leaves of the sources in one half of the field.

    Attributes
    ----------
    half : str
        Modules that saw it in either epoch.
    after_median, after_err : float
        Median fractional residual and its standard error; NaN where there is none.
    """

    band: str
    half: str
    n_sources: int
    after_median: float
    after_err: float


def read_half_residuals(path: Path) -> list[HalfResidual]:
    """Read what a difference image says of either half of the field.

    Raises
    ------
    FileFormatError
        If the file is damaged, or is no difference image.
    """
    with refuse_damaged(path), fits.open(path) as hdus:
        if "RESIDUALS" not in hdus:
            msg = f"{path}: has no table RESIDUALS: expected a file of calreg difference"
            raise FileFormatError(msg)
        rows = hdus["RESIDUALS"].data
        return [
            HalfResidual(
                band=str(hdus[0].header["BAND"]),
                half=str(row["HALF"]),
                n_sources=int(row["N_SOURCES"]),
                after_median=float(row["AFTER_MEDIAN"]),
                after_err=float(row["AFTER_ERR"]),
            )
            for row in rows
            if not str(row["ARRAY_A"])
        ]

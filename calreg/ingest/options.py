"""What an ingest is asked to do, and what it reports."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from calreg.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from calreg.db.queries.exposures import (
        StoredEpoch,
    )
    from calreg.domain import FluxKind, Pmap


@dataclass(frozen=True)
class IngestOptions:
    """How files are read.

    Attributes
    ----------
    field_name, epoch_label : str or None
        Put the exposures into this field and epoch instead of finding them.
    image : Path or None
        The image that the catalogs of the call were measured on.
    flux : FluxKind or None
        Which flux; None is ISO for SExtractor, and the only one elsewhere.
    aperture : str
        Which aperture for `FluxKind.APER`; empty is the first.
    columns : mapping of str to str
        Canonical name -> column of the catalogs.
    is_strict : bool
        Load nothing if any file is refused.
    full_hash : bool
        Digest whole files, not headers only.
    pmap : Pmap or None
        Context of photom files, and of mappings that do not say it; images say it themselves.
    """

    field_name: str | None = None
    epoch_label: str | None = None
    image: Path | None = None
    flux: FluxKind | None = None
    aperture: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    is_strict: bool = False
    full_hash: bool = False
    pmap: Pmap | None = None


@dataclass(frozen=True)
class FileOutcome:
    """What became of one file.

    Attributes
    ----------
    kind : str
        ``cal``, ``crf``, ``i2d``, ``catalog``, what a file about contexts is, or empty when refused
        early.
    message : str
        What was loaded, or why not.
    warnings : tuple of str
        Without the name of the file.
    n_dropped_nonfinite : int
        Rows of a catalog that were dropped for NaN or infinity.
    n_dropped_error : int
        Rows of a catalog that were dropped for an error of 0 or less.
    n_negative_flux : int
        Rows of a catalog that were stored without magnitude, as their flux is not positive.
    """

    path: Path
    kind: str
    message: str
    warnings: tuple[str, ...] = ()
    n_dropped_nonfinite: int = 0
    n_dropped_error: int = 0
    n_negative_flux: int = 0


@dataclass
class IngestReport:
    """What an ingest did.

    Attributes
    ----------
    loaded, unchanged, refused : list of FileOutcome
        Written; known before with the same content; not taken, with the reason.
    skipped : list of Path
        Files of folders that are no data.
    epochs : list of StoredEpoch
        Epochs that gained exposures.
    is_committed : bool
        False when nothing was written: nothing new, or refused under ``--strict``.
    """

    loaded: list[FileOutcome] = field(default_factory=list)
    unchanged: list[FileOutcome] = field(default_factory=list)
    refused: list[FileOutcome] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    epochs: list[StoredEpoch] = field(default_factory=list)
    is_committed: bool = False


def parse_columns(text: str) -> dict[str, str]:
    """Read ``--columns ra=RAJ2000,dec=DEJ2000``.

    Returns
    -------
    dict of str to str
        Canonical name -> column.

    Raises
    ------
    InvalidValueError
        If an entry is not of the form canonical=column.
    """
    columns: dict[str, str] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        canonical, equals, column = entry.partition("=")
        if not equals or not canonical.strip() or not column.strip():
            msg = f"--columns {entry!r}: expected NAME=COLUMN, such as ra=RAJ2000"
            raise InvalidValueError(msg)
        columns[canonical.strip()] = column.strip()
    return columns

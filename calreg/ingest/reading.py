"""Which files an ingest reads, and what kind each of them is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from calreg.errors import CalregError
from calreg.files.images.exposures import read_exposure
from calreg.files.readguard import refuse_damaged
from calreg.files.recognise import FileKind, inspect
from calreg.files.references.parents import is_reference
from calreg.files.references.photom import REFTYPE as PHOTOM
from calreg.ingest.options import FileOutcome, IngestOptions, IngestReport

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from calreg.domain import Exposure, Progress
    from calreg.files.recognise import RecognisedFile
    from calreg.instruments import Instrument

_DATA_SUFFIXES = frozenset(
    {".fits", ".fit", ".cat", ".ldac", ".ecsv", ".csv", ".xml", ".vot", ".votable", ".parquet"}
)
"""In a folder, an unrecognised file is refused with one of these endings, else passed over."""


def expand_paths(paths: Iterable[Path], report: IngestReport) -> list[tuple[Path, bool]]:
    """List files, folders opened; the flag tells what was named outright."""
    files: dict[Path, bool] = {}
    for path in paths:
        if path.is_dir():
            for inner in sorted(path.rglob("*")):
                is_hidden = any(part.startswith(".") for part in inner.relative_to(path).parts)
                if inner.is_file() and not is_hidden:
                    files.setdefault(inner, False)
        elif path.is_file():
            files[path] = True
        else:
            what = "neither a file nor a folder" if path.exists() else "no such file or folder"
            message = f"{path}: {what}: check the name"
            report.refused.append(FileOutcome(path, "", message))
    return list(files.items())


def read_images(
    files: list[tuple[Path, bool]],
    options: IngestOptions,
    instrument: Instrument,
    report: IngestReport,
    progress: Progress,
) -> tuple[list[tuple[Path, Exposure]], list[tuple[Path, FileKind]]]:
    """Recognise every file; read the headers of images; refuse what cannot be read.

    Parameters
    ----------
    files : list of (Path, bool)
        The flag tells what was named outright.
    report : IngestReport
        Takes up what is refused and what is passed over.

    Returns
    -------
    list of (Path, Exposure), list of (Path, FileKind)
        Images, and what is to be read later: catalogs, and files about contexts.
    """
    exposures: list[tuple[Path, Exposure]] = []
    others: list[tuple[Path, FileKind]] = []
    for n_done, (path, is_named) in enumerate(files):
        progress("reading headers", n_done, len(files))
        try:
            with refuse_damaged(path):
                recognised = inspect(path)
        except CalregError as error:
            if is_named or path.suffix.lower() in _DATA_SUFFIXES:
                report.refused.append(FileOutcome(path, "", str(error)))
            else:
                report.skipped.append(path)
            continue
        if recognised.kind is FileKind.MAPPING and not is_named and path.suffix != ".pmap":
            report.skipped.append(path)  # A folder of mappings: the pmaps lead to the others.
            continue
        if recognised.kind.is_catalog or _is_of_contexts(recognised, instrument):
            others.append((path, recognised.kind))
            continue
        try:
            with refuse_damaged(path):
                exposure = read_exposure(
                    path,
                    instrument=instrument,
                    full_hash=options.full_hash,
                    headers=recognised.headers,
                )
        except CalregError as error:
            report.refused.append(FileOutcome(path, "", str(error)))
        else:
            exposures.append((path, exposure))
    progress("reading headers", len(files), len(files))
    return exposures, others


def _is_of_contexts(recognised: RecognisedFile, instrument: Instrument) -> bool:
    """Tell whether a file says what contexts are made of: a table, a mapping, a photom file."""
    if recognised.kind is FileKind.REFERENCE_FILE and recognised.headers is not None:
        return is_reference(recognised.headers, PHOTOM, instrument)
    return recognised.kind.is_of_contexts

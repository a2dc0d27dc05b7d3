"""What photom, flat and context exports share: options, parents, what a file says, handing over."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Self

from calreg._version import __version__
from calreg.errors import FileFormatError, InvalidValueError, UnsupportedDataError
from calreg.export.deliveries import Delivery, record_delivery
from calreg.files.atomic import NamedFiles, make_folder, replace_file
from calreg.files.fits.headers import read_headers
from calreg.files.references.certify import check_with_packages
from calreg.files.references.crdscache import (
    CHANNEL,
    DETECTOR,
    EXPOSURE_TYPE,
    FILTER,
    MODULE,
    PUPIL,
)
from calreg.files.references.parents import Parent, ReferenceMeta, is_reference
from calreg.units import MJD_ZERO_UTC

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path
    from types import TracebackType

    from calreg.db.engine import Database
    from calreg.domain import Pmap
    from calreg.files.references.crdscache import CrdsCache
    from calreg.instruments import Array, Band, Instrument
    from calreg.sets.corrections import CorrectionQuery, SetCorrection

    ParentReader = Callable[[Path, Instrument], Parent]

_FITS_NAMES = ("*.fits", "*.fits.gz")


@dataclass(frozen=True)
class ReferenceOptions:
    """Which reference files to write and where to; see `Registry.export_photom`.

    Attributes
    ----------
    parents : tuple of Path
        Reference files, or folders of them, that the user named.
    """

    out: Path
    query: CorrectionQuery
    parents: tuple[Path, ...] = ()
    cache: CrdsCache | None = None
    predict: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class ReferenceReport:
    """What an export of reference files did.

    Attributes
    ----------
    checkers : list of str
        Packages that passed the files besides our own checks, with versions.
    """

    deliveries: list[Delivery]
    checkers: list[str]
    notes: list[str]


def utc_of_mjd(mjd_utc: float) -> datetime:
    """Return the time of an MJD (UTC)."""
    return MJD_ZERO_UTC + timedelta(days=mjd_utc)


def file_label(pmap: Pmap, corrections: Sequence[SetCorrection]) -> str:
    """Return the label of our files: ``calreg1130``, ``calreg1200predicted``."""
    is_predicted = any(correction.carried is not None for correction in corrections)
    return f"calreg{pmap.number:04d}{'predicted' if is_predicted else ''}"


def meta_of(
    pmap: Pmap,
    corrections: Sequence[SetCorrection],
    history: Sequence[str],
    created_utc: datetime,
    earliest_mjd_utc: float | None,
) -> ReferenceMeta:
    """Describe the making of a reference file.

    PEDIGREE spans the exposures behind all corrections; USEAFTER, of a file without parent, is the
    day of the first exposure under the context, `earliest_mjd_utc` where one was seen.
    """
    first_mjd = min(correction.first_mjd_utc for correction in corrections)
    useafter_utc = utc_of_mjd(
        first_mjd if earliest_mjd_utc is None else min(earliest_mjd_utc, first_mjd)
    )
    return ReferenceMeta(
        pmap=pmap,
        code_version=__version__,
        created_utc=created_utc,
        first_utc=utc_of_mjd(first_mjd),
        last_utc=utc_of_mjd(max(correction.last_mjd_utc for correction in corrections)),
        useafter_utc=useafter_utc.replace(hour=0, minute=0, second=0, microsecond=0),
        history=tuple(history),
        is_predicted=any(correction.carried is not None for correction in corrections),
    )


def matching_keys(array: Array, instrument: Instrument, band: Band | None = None) -> dict[str, str]:
    """Return the parameters that CRDS matches by; with a band for files of one band, as flats."""
    of_band = {} if band is None else {FILTER: band.filter, PUPIL: band.pupil}
    return {
        DETECTOR: array.detector,
        **of_band,
        EXPOSURE_TYPE: instrument.imaging_exposure_types[0],
        CHANNEL: instrument.channel_card(array),
        MODULE: array.module,
    }


def one_reference_name(
    cache: CrdsCache,
    context: Pmap | str,
    reftype: str,
    keys: dict[str, str],
    corrections: Sequence[SetCorrection],
    instrument: Instrument,
) -> str:
    """Return the file that a context takes for all the data behind some corrections.

    A private context is named by text. Raises InvalidValueError if the first and the last exposure
    have different files.
    """
    moments = (
        utc_of_mjd(min(correction.first_mjd_utc for correction in corrections)),
        utc_of_mjd(max(correction.last_mjd_utc for correction in corrections)),
    )
    names = [cache.reference_name(context, reftype, keys, at, instrument) for at in moments]
    if names[0] != names[1]:
        msg = (
            f"{' '.join(keys.values())}: {context} has {names[0]} at the begin of the data and "
            f"{names[1]} at their end; one offset cannot correct both: name one with --parent"
        )
        raise InvalidValueError(msg)
    return names[0]


# --- parents --------------------------------------------------------------------------------------


@dataclass
class ParentFiles:
    """Parents that the user named.

    Attributes
    ----------
    passed_over : list of str
        Why other reference files of a folder cannot be parents.
    is_named : set of Path
        Those that were named one by one, and must be used.
    """

    found: list[Parent] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    is_named: set[Path] = field(default_factory=set)

    def choose(self, what: str, candidates: Sequence[Parent], used_names: set[str]) -> Parent:
        """Return the one parent of those that fit; files that headers name decide between several.

        Raises
        ------
        InvalidValueError
            If there is none, or several are left.
        """
        if not candidates:
            reasons = f" (passed over: {'; '.join(self.passed_over)})" if self.passed_over else ""
            named = f"; the exposures name {', '.join(sorted(used_names))}" if used_names else ""
            msg = f"no parent for {what} among the files of --parent{reasons}{named}"
            raise InvalidValueError(msg)
        chosen = [one for one in candidates if one.path.name in used_names] or list(candidates)
        if len(chosen) > 1:
            names = ", ".join(one.path.name for one in chosen)
            msg = (
                f"{len(chosen)} parents for {what}: {names}; expected one: name the file that the "
                "exposures were calibrated with"
            )
            raise InvalidValueError(msg)
        return chosen[0]

    def refuse_unused(self, used: Sequence[Parent], expected: str) -> None:
        """Refuse a parent that was named and is not for anything that is corrected."""
        paths = {one.path for one in used}
        for parent in self.found:
            if parent.path in self.is_named and parent.path not in paths:
                band = " ".join(filter(None, (parent.get("FILTER"), parent.get("PUPIL"))))
                msg = (
                    f"{parent.path}: is for {' '.join(filter(None, (parent.array.detector, band)))}"
                    f", which is not corrected; expected one for {expected}"
                )
                raise InvalidValueError(msg)


def read_parents(
    paths: Sequence[Path], reftype: str, reader: ParentReader, instrument: Instrument
) -> ParentFiles:
    """Read the parents that the user named, files and folders.

    A file that was named must be usable; in a folder, files that are not are passed over.
    """
    files = ParentFiles()
    for path in paths:
        if not path.is_dir():
            files.found.append(reader(path, instrument))
            files.is_named.add(path)
            continue
        for inner in sorted({file for names in _FITS_NAMES for file in path.glob(names)}):
            try:
                if is_reference(read_headers(inner), reftype, instrument):
                    files.found.append(reader(inner, instrument))
            except (FileFormatError, UnsupportedDataError) as error:
                files.passed_over.append(str(error))
    return files


# --- handing over ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class StagedFile:
    """A file that is to be delivered.

    Attributes
    ----------
    path : Path
        The name that it will have.
    content : Path
        Where it is as long as it does not.
    """

    path: Path
    content: Path
    kind: str
    set_pks: tuple[int, ...]


class Staging:
    """Files that get their names together, once all are checked.

    They keep them where the block ends well: an error, also of the registry, takes them back.
    """

    def __init__(self, folder: Path, *, overwrite: bool = False) -> None:
        self._folder = folder
        self._overwrite = overwrite
        self._stack = ExitStack()
        self._names = self._stack.enter_context(NamedFiles())
        self._pending = self._stack.enter_context(ExitStack())
        self._staged: list[StagedFile] = []
        self._models: dict[str, str] = {}
        self._is_new_folder = not folder.exists()
        make_folder(folder)

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove what did not get its name."""
        try:
            self._stack.__exit__(kind, error, traceback)
        finally:
            if error is not None and self._is_new_folder and not any(self._folder.iterdir()):
                self._folder.rmdir()

    def add(self, name: str, content: bytes, kind: str, model: str, set_pks: Sequence[int]) -> Path:
        """Write a file that opens as a data model under a temporary name; return that."""
        target = self._folder / name
        temporary = self._pending.enter_context(
            replace_file(target, overwrite=self._overwrite, names=self._names)
        )
        temporary.write_bytes(content)
        self._staged.append(StagedFile(target, temporary, kind, tuple(set_pks)))
        self._models[name] = model
        return temporary

    def check(self) -> list[str]:
        """Have the packages that are installed check all files; return their names and versions.

        Raises
        ------
        OutputError
            If one objects to a file.
        """
        contents = {staged.path.name: staged.content for staged in self._staged}
        return check_with_packages(contents, self._models)

    def release(self) -> list[StagedFile]:
        """Give all files their names, and return them."""
        self._pending.close()
        return list(self._staged)

    def deliver(
        self, database: Database, created_utc: datetime
    ) -> tuple[list[Delivery], list[str]]:
        """Have the packages check all files, then name and record them in one transaction."""
        checkers = self.check()
        with database.write() as connection:
            deliveries = [
                record_delivery(
                    connection,
                    staged.kind,
                    staged.path,
                    staged.set_pks,
                    created_utc,
                    content=staged.content,
                )
                for staged in self._staged
            ]
            self.release()
        return deliveries, checkers

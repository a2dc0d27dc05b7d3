"""What exports of reference files share: their parents, what a file says, checks, handing over."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from calreg._version import __version__
from calreg.db.queries.zeropoints import first_exposure_mjd
from calreg.errors import FileFormatError, InvalidValueError, UnsupportedDataError
from calreg.files.fits.headers import read_headers
from calreg.files.references.crdscache import (
    CHANNEL,
    DETECTOR,
    EXPOSURE_TYPE,
    FILTER,
    MODULE,
    PUPIL,
)
from calreg.files.references.parents import Parent, ReferenceMeta, is_reference

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from calreg.db.engine import Connection
    from calreg.domain import Pmap
    from calreg.files.references.crdscache import CrdsCache
    from calreg.instruments import Array, Band, Instrument
    from calreg.sets.corrections import SetCorrection

    ParentReader = Callable[[Path, Instrument], Parent]

_MJD_EPOCH = datetime(1858, 11, 17, tzinfo=UTC)
_FITS_NAMES = ("*.fits", "*.fits.gz")


def utc_of_mjd(mjd_utc: float) -> datetime:
    """Return the time of an MJD (UTC)."""
    return _MJD_EPOCH + timedelta(days=mjd_utc)


def file_label(pmap: Pmap, corrections: Sequence[SetCorrection]) -> str:
    """Return what tells our files from official ones: ``calreg1130``, ``calreg1200predicted``."""
    is_predicted = any(correction.carried is not None for correction in corrections)
    return f"calreg{pmap.number:04d}{'predicted' if is_predicted else ''}"


def meta_of(
    connection: Connection,
    pmap: Pmap,
    corrections: Sequence[SetCorrection],
    history: Sequence[str],
    created_utc: datetime,
) -> ReferenceMeta:
    """Return what a reference file says about its making.

    Parameters
    ----------
    pmap : Pmap
        Context that it corrects.
    corrections : sequence of SetCorrection
        That it holds, or that its partner array is the datum of; one at least.

    Returns
    -------
    ReferenceMeta
        PEDIGREE spans the exposures behind all corrections; USEAFTER, of a file without parent, is
        the day of the first exposure under the context.
    """
    first_mjd = min(correction.first_mjd_utc for correction in corrections)
    earliest_mjd = first_exposure_mjd(connection, pmap)
    useafter_utc = utc_of_mjd(first_mjd if earliest_mjd is None else min(earliest_mjd, first_mjd))
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
    """Return what a CRDS context may choose reference files by.

    Parameters
    ----------
    band : Band, optional
        For files of one band, such as flats.

    Returns
    -------
    dict of str to str
        Values by matching parameter.
    """
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

    Parameters
    ----------
    context : Pmap or str
        A private name as it is.
    keys : dict of str to str
        Matching parameters.

    Raises
    ------
    InvalidValueError
        If the first and the last exposure have different files.
    FileFormatError, UnknownKeyError
        If the cache does not tell.
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
        """Return the one parent for something.

        Parameters
        ----------
        what : str
            For messages, such as ``nrca1``.
        candidates : sequence of Parent
            That fit it.
        used_names : set of str
            Files that the exposures name in their headers: they decide between several.

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
        """Refuse a parent that was named and is not for anything that is corrected.

        Parameters
        ----------
        expected : str
            What is corrected, for the message.

        Raises
        ------
        InvalidValueError
            If there is one.
        """
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
    paths: Sequence[Path],
    reftype: str,
    reader: ParentReader,
    instrument: Instrument,
) -> ParentFiles:
    """Read the parents that the user named, files and folders.

    Parameters
    ----------
    reftype : str
        ``PHOTOM`` or ``FLAT``.
    reader : callable
        Reads a parent, or refuses it.

    Returns
    -------
    ParentFiles
        A file that was named must be usable; in a folder, files that are not are passed over.

    Raises
    ------
    FileFormatError
        If there is no such file, or it is not FITS.
    HeaderValueError, UnsupportedDataError
        If a file that was named cannot be a parent.
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

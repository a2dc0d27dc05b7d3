"""Errors that calreg raises, with one common base.

Every message names the file or key, what was found, what was expected and what to do next. Classes
that describe a bad value also inherit the matching builtin, so that callers can catch either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class CalregError(Exception):
    """Base of all errors that are the user's to see, printed as one line."""

    def __str__(self) -> str:
        """Return the message as given (`KeyError` would quote it)."""
        return str(self.args[0]) if self.args else self.__class__.__name__


# --- values -------------------------------------------------------------------------------------


class InvalidValueError(CalregError, ValueError):
    """A value is outside what its meaning allows."""


class UnknownKeyError(CalregError, LookupError):
    """A name (array, band, field, epoch, pmap) is not known."""


# --- files --------------------------------------------------------------------------------------


class FileFormatError(CalregError, ValueError):
    """A file is not what it claims to be, is truncated, or cannot be recognised."""


class MissingKeywordError(CalregError, KeyError):
    """A header card that is needed is missing or empty."""


class HeaderValueError(CalregError, ValueError):
    """A header card has a value that cannot be used."""


class CatalogColumnError(CalregError, ValueError):
    """A catalog lacks a column, or its columns cannot be told apart."""


class UnsupportedDataError(CalregError, ValueError):
    """A readable file holds data that calreg does not take (grism, uncal, mixed contexts)."""


class DegenerateImageError(CalregError, ValueError):
    """An image in which nothing can be detected or measured."""


class UnknownImageError(CalregError, LookupError):
    """A catalog's image is neither in the registry nor in the same call."""


class OutputError(CalregError, OSError):
    """A file could not be written."""


class FilesRefusedError(CalregError, ValueError):
    """Files of a call were refused, and none was written.

    Parameters
    ----------
    refusals : sequence of str
        One line per file.
    """

    def __init__(self, refusals: Sequence[str]) -> None:
        super().__init__("\n".join([*refusals, "nothing was written"]))
        self.refusals = tuple(refusals)


class MissingExtraError(CalregError, ImportError):
    """An optional dependency is not installed."""


class RefusedFilesError(CalregError, ValueError):
    """Files that were to be used together cannot be; `reasons` has one line for each."""

    def __init__(self, message: str, reasons: tuple[str, ...]) -> None:
        super().__init__(message)
        self.reasons = reasons


class WorkerError(CalregError, RuntimeError):
    """A process that shared the work was ended from outside."""


# --- registry -----------------------------------------------------------------------------------


class ConflictError(CalregError):
    """The same identity is in the registry with other content."""


class EpochConflictError(ConflictError):
    """A file would join two epochs that already exist."""


class NoCalibrationError(CalregError, LookupError):
    """There is no coefficient set for a key; never answered by "no correction"."""


class DatabaseError(CalregError):
    """Base of the errors that concern the database itself."""


class DatabaseUnreachableError(DatabaseError):
    """The database cannot be opened."""


class DatabaseBusyError(DatabaseError):
    """Another process holds the write lock for longer than we wait."""


class SchemaUninitialisedError(DatabaseError):
    """The database has no calreg tables yet."""


class SchemaOutdatedError(DatabaseError):
    """The database was made by an older calreg."""


class SchemaNewerError(DatabaseError):
    """The database was made by a newer calreg."""


class SchemaForeignError(DatabaseError):
    """The database belongs to another program."""


# --- fits ---------------------------------------------------------------------------------------


class FitRefusedError(CalregError, ValueError):
    """A fit cannot be made from the data at hand; the reason is the message."""


class NotEnoughPairsError(FitRefusedError):
    """Fewer pairs than the model needs."""


class MissingPatchError(FitRefusedError):
    """One of the two patches (B then A, A then B) has no pairs."""


class DegenerateFitError(FitRefusedError):
    """The normal equations are singular; the message names the degenerate combination."""

"""What every writer needs: replace a file as a whole, its digest, a time stamp."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Self

from calreg.errors import CalregError, FileFormatError, InvalidValueError, OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

TEMPORARY_PREFIX = ".calreg-"
"""Temporary files are hidden: a folder with one that a killed process left reads as before."""


@dataclass(frozen=True)
class PendingFile:
    """A file that has a hidden name until it is complete.

    Attributes
    ----------
    path : Path
        The name that it is to get, as given.
    target : Path
        The same with symbolic links followed.
    temporary : Path
        The name that it has until then, in the same folder.
    overwrite : bool
        Whether an existing file may be replaced; its permissions are kept.
    """

    path: Path
    target: Path
    temporary: Path
    overwrite: bool


def pending_file(path: Path, *, overwrite: bool = False) -> PendingFile:
    """Choose a hidden name for a file; nothing is written yet.

    Raises
    ------
    OutputError
        If the target exists and `overwrite` is false, is not a regular file, or has no folder.
    """
    target = Path(os.path.realpath(path))
    _require_free(target, path, overwrite=overwrite)
    return PendingFile(path, target, _hidden_name(target), overwrite)


@contextmanager
def fill_pending(pending: PendingFile) -> Iterator[Path]:
    """Write a file under its hidden name.

    On any exception the file is removed.

    Yields
    ------
    Path
        Empty file for the caller to fill and close; it is flushed to disk afterwards.

    Raises
    ------
    OutputError
        If the system refuses (permission, full disk).
    """
    try:
        # 0o666 less the umask, as any new file; tempfile would make it private to its owner.
        os.close(os.open(pending.temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield pending.temporary
        _flush(pending.temporary)
    except BaseException as error:
        remove_pending(pending)
        if isinstance(error, OSError) and not isinstance(error, CalregError):
            raise _output_error(error, pending) from error
        raise


def remove_pending(pending: PendingFile) -> None:
    """Remove a file that has not got its name; nothing happens if it has, or was never written."""
    with suppress(OSError):
        pending.temporary.unlink(missing_ok=True)


class NamedFiles:
    """Give files their names, for good when the block ends, and take all back when it raises.

    A target either keeps its former content or has all of the new one. A killed process leaves the
    names that were given until then, each of a complete file, and hidden files.
    """

    def __init__(self) -> None:
        self._given: list[tuple[PendingFile, Path | None]] = []

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *raised: object) -> None:
        """Remove what is left of former files, or put them back."""
        for pending, former in reversed(self._given):
            with suppress(OSError):
                if kind is None:
                    if former is not None:
                        former.unlink()
                elif former is not None:
                    former.replace(pending.target)
                else:
                    pending.target.unlink()

    def give(self, pending: PendingFile) -> None:
        """Give a file that was filled its name.

        Raises
        ------
        OutputError
            If the name is taken, without ``overwrite``, or the system refuses.

        Notes
        -----
        The folder is flushed to disk. Without ``overwrite`` the name is given by a hard link,
        which fails if another process took it meanwhile.
        """
        former = None
        try:
            if pending.overwrite:
                if pending.target.exists():
                    shutil.copymode(pending.target, pending.temporary)
                    former = _kept_aside(pending.target)
                pending.temporary.replace(pending.target)
            else:
                _take_name(pending.temporary, pending.target, pending.path)
            self._given.append((pending, former))
            _flush_folder(pending.target.parent)
        except CalregError:
            raise
        except OSError as error:
            if former is not None:
                former.unlink(missing_ok=True)
            raise _output_error(error, pending) from error
        finally:
            remove_pending(pending)


@contextmanager
def replace_file(
    path: Path, *, overwrite: bool = False, names: NamedFiles | None = None
) -> Iterator[Path]:
    """Write a file under a temporary name in its own folder, then give it its name.

    The target either keeps its former content or has all of the new one; a killed process leaves at
    most hidden files. On any exception the temporary file is removed.

    Parameters
    ----------
    path : Path
        Target. A symbolic link is followed.
    overwrite : bool
        Whether an existing file may be replaced; its permissions are kept.
    names : NamedFiles, optional
        Takes the name back where its block raises later.

    Yields
    ------
    Path
        Empty file for the caller to fill and close.

    Raises
    ------
    OutputError
        If the target exists and `overwrite` is false, is not a regular file, or the system refuses
        (missing folder, permission, full disk).
    """
    pending = pending_file(path, overwrite=overwrite)
    with fill_pending(pending) as temporary:
        yield temporary
    with nullcontext(names) if names is not None else NamedFiles() as given:
        given.give(pending)


def make_folder(folder: Path, *, instead: str = "another one") -> None:
    """Make a folder and its parents, where they are missing.

    Parameters
    ----------
    instead : str
        What the message asks for.

    Raises
    ------
    OutputError
        If the system refuses, or a file has the name.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"cannot make the folder {folder}: {error.strerror or error}; give {instead}"
        raise OutputError(msg) from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content.

    Raises
    ------
    FileFormatError
        If the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        msg = f"cannot read {path}: {error.strerror or error}"
        raise FileFormatError(msg) from error


def sha256_of_json(content: object) -> str:
    """Return the SHA-256 of what something is made from, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def format_utc(moment: datetime) -> str:
    """Return a time as ISO 8601 in UTC, ``2026-11-22T11:35:00Z``.

    Parameters
    ----------
    moment : datetime
        Aware time in any zone.

    Returns
    -------
    str
        With microseconds where they are not zero.

    Raises
    ------
    InvalidValueError
        If the time has no zone.
    """
    if moment.tzinfo is None:
        msg = f"time {moment.isoformat()} has no zone: expected an aware time, for instance in UTC"
        raise InvalidValueError(msg)
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def _require_free(target: Path, path: Path, *, overwrite: bool) -> None:
    """Refuse a target that exists, unless it is a file that may be replaced."""
    try:
        if not target.parent.is_dir():
            msg = f"cannot write {path}: there is no folder {target.parent}; make it first"
            raise OutputError(msg)
        exists, is_file = target.exists(), target.is_file()
    except OSError as error:
        if isinstance(error, CalregError):
            raise
        msg = f"cannot write {path}: {_reason(error, target)}"
        raise OutputError(msg) from error
    if exists and not is_file:
        msg = f"cannot write {path}: it is not a regular file; give another name"
        raise OutputError(msg)
    if exists and not overwrite:
        raise OutputError(_exists_message(path))


def _hidden_name(target: Path) -> Path:
    """Return a name that no file has, beside a target."""
    return target.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}.tmp")


def _kept_aside(target: Path) -> Path:
    """Give a file a second, hidden name; return that."""
    hidden = _hidden_name(target)
    try:
        os.link(target, hidden)
    except OSError:
        # FAT, exFAT and some network file systems have no hard links.
        shutil.copy2(target, hidden)
    return hidden


def _output_error(error: OSError, pending: PendingFile) -> OutputError:
    """Report that a file could not be written, and why."""
    return OutputError(f"cannot write {pending.path}: {_reason(error, pending.target)}")


def _take_name(temporary: Path, target: Path, path: Path) -> None:
    """Give the file its name without replacing another."""
    try:
        os.link(temporary, target)
    except FileExistsError as error:
        raise OutputError(_exists_message(path)) from error
    except OSError:
        # FAT, exFAT and some network file systems have no hard links.
        if target.exists():
            raise OutputError(_exists_message(path)) from None
        temporary.replace(target)


def _exists_message(path: Path) -> str:
    """Report that a target exists and what to do."""
    return f"cannot write {path}: it exists; give another name or --overwrite"


def _reason(error: OSError, target: Path) -> str:
    """Return the system's reason in one line, with the folder that it concerns."""
    reason = error.strerror or (str(error).splitlines() or [type(error).__name__])[0]
    return f"{reason} (in {target.parent})"


def _flush(path: Path) -> None:
    """Have the system write a file's content to disk."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_folder(folder: Path) -> None:
    """Have the system write a folder's entries to disk where it can."""
    # Windows cannot open a folder and some network file systems refuse fsync on one; the file has
    # its name and content by now, so that is no failure.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

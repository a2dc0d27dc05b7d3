"""Reference files under construction: none gets its name before all are complete."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from calreg.errors import OutputError
from calreg.export.deliveries import Delivery, record_delivery
from calreg.files.atomic import replace_file
from calreg.files.references.certify import check_with_packages

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path
    from types import TracebackType

    from calreg.db.engine import Database
    from calreg.files.references.parents import Parent
    from calreg.instruments import Instrument

    ParentReader = Callable[[Path, Instrument], Parent]


@dataclass(frozen=True)
class ReferenceReport:
    """What an export of reference files did.

    Attributes
    ----------
    checkers : list of str
        Packages that passed the files besides our own checks, with versions.
    notes : list of str
        What the user should know.
    """

    deliveries: list[Delivery]
    checkers: list[str]
    notes: list[str]


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

    Parameters
    ----------
    folder : Path
        Made where there is none.
    overwrite : bool
        Whether existing files may be replaced.

    Raises
    ------
    OutputError
        If the folder cannot be made.
    """

    def __init__(self, folder: Path, *, overwrite: bool = False) -> None:
        self._folder = folder
        self._overwrite = overwrite
        self._stack = ExitStack()
        self._staged: list[StagedFile] = []
        self._models: dict[str, str] = {}
        self._is_new_folder = not folder.exists()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            msg = f"cannot make the folder {folder}: {error.strerror or error}"
            raise OutputError(msg) from error

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
        """Write a file under a temporary name.

        Parameters
        ----------
        name : str
            That it will have.
        kind : str
            Of the delivery.
        model : str
            The data model that it must open as.

        Returns
        -------
        Path
            Where it is now.

        Raises
        ------
        OutputError
            If the name is taken, or the file cannot be written.
        """
        target = self._folder / name
        temporary = self._stack.enter_context(replace_file(target, overwrite=self._overwrite))
        temporary.write_bytes(content)
        self._staged.append(StagedFile(target, temporary, kind, tuple(set_pks)))
        self._models[name] = model
        return temporary

    def check(self) -> list[str]:
        """Have the packages that are installed check all files.

        Returns
        -------
        list of str
            These packages, with versions.

        Raises
        ------
        OutputError
            If one objects to a file.
        """
        contents = {staged.path.name: staged.content for staged in self._staged}
        return check_with_packages(contents, self._models)

    def release(self) -> list[StagedFile]:
        """Give all files their names, and return them."""
        self._stack.close()
        return list(self._staged)

    def deliver(
        self, database: Database, created_utc: datetime
    ) -> tuple[list[Delivery], list[str]]:
        """Have the packages check all files, then name and record them in one transaction.

        Raises
        ------
        OutputError
            If a package objects to a file; then none is left.
        """
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

"""Methods for a reduction's own files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from calreg.domain import no_progress
from calreg.registry.base import PathLike, RegistryBase, optional_pmap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from calreg.apply import (
        affected,
    )
    from calreg.apply import (
        check as inspection,
    )
    from calreg.apply import (
        files as reductionfiles,
    )
    from calreg.apply.options import ApplyOptions
    from calreg.domain import Pmap, Progress


class FileMethods(RegistryBase):
    """Check, correct and restore files."""

    def check_files(
        self, paths: PathLike | Sequence[PathLike], *, progress: Progress = no_progress
    ) -> inspection.CheckReport:
        """Check how files are calibrated, with each other and with the registry.

        Parameters
        ----------
        paths : path or sequence of paths
            `cal`, `crf` and `i2d` files; only their headers are read.
        progress : Progress
            Called as work goes on.

        Returns
        -------
        CheckReport
            A row per array, band, subarray and calibration, and everything that is wrong: mixed
            contexts, PHOTMJSR or PIXAR_SR, a PHOTMJSR that is not the context's, photom without
            effect, a correction that exists and is not applied.
        """
        from calreg.apply import check as inspection

        return inspection.check_files(
            as_paths(paths), self._database, self._instrument, progress=progress
        )

    def apply(
        self,
        paths: PathLike | Sequence[PathLike],
        options: ApplyOptions,
        *,
        progress: Progress = no_progress,
    ) -> list[reductionfiles.CorrectedFile]:
        """Correct finished exposures with the current sets of their contexts.

        Parameters
        ----------
        paths : path or sequence of paths
            `cal` and `crf` files.
        options : ApplyOptions
            Where to write, and what to do without a set.
        progress : Progress
            Called as work goes on.

        Raises
        ------
        FilesRefusedError
            If any file cannot be corrected; nothing was written then.
        OutputError
            If a file cannot be written; those before it are written and recorded.
        """
        from calreg.apply import apply as correcting

        return correcting.apply_files(
            self._database, as_paths(paths), options, self._instrument, progress=progress
        )

    def undo(
        self,
        paths: PathLike | Sequence[PathLike],
        *,
        out: PathLike | None = None,
        progress: Progress = no_progress,
    ) -> list[reductionfiles.CorrectedFile]:
        """Restore exposures as they were before they were corrected.

        Parameters
        ----------
        paths : path or sequence of paths
            Corrected files.
        out : path, optional
            Folder to write to; without one, the files themselves are replaced.
        progress : Progress
            Called as work goes on.

        Raises
        ------
        FilesRefusedError
            If any file cannot be restored; nothing was written then.
        OutputError
            If a file cannot be written; those before it are written and recorded.
        """
        from calreg.apply import undo as restoring

        return restoring.undo_files(
            self._database,
            as_paths(paths),
            self._instrument,
            out=None if out is None else Path(out),
            progress=progress,
        )

    def affected(self, *, pmap: str | Pmap | None = None) -> list[affected.AffectedFile]:
        """Return files whose set has been superseded or withdrawn since.

        Parameters
        ----------
        pmap : str or Pmap, optional
            Only of this context.

        Returns
        -------
        list of AffectedFile
            Corrected files that were not restored, and exported ones, oldest first.

        Raises
        ------
        InvalidValueError
            If `pmap` is no numbered context.
        """
        from calreg.apply import affected

        return affected.affected_files(self._database, optional_pmap(pmap))


def as_paths(paths: PathLike | Sequence[PathLike]) -> list[Path]:
    """Return one or several paths as a list."""
    return [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]

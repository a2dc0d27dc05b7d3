"""Methods for a reduction's own files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from calreg.domain import no_progress
from calreg.registry.base import PathLike, RegistryBase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from calreg import inspection
    from calreg.domain import Progress


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
        from calreg import inspection

        return inspection.check_files(
            as_paths(paths), self._database, self._instrument, progress=progress
        )


def as_paths(paths: PathLike | Sequence[PathLike]) -> list[Path]:
    """Return one or several paths as a list."""
    return [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]

"""Methods that bring data in and fit them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from calreg.domain import no_progress
from calreg.registry.base import PathLike, RegistryBase, as_paths

if TYPE_CHECKING:
    from collections.abc import Sequence

    from calreg.domain import Progress
    from calreg.ingest.options import IngestOptions, IngestReport
    from calreg.refit.refit import RefitReport
    from calreg.science.model.settings import FitSettings


class DataMethods(RegistryBase):
    """Ingest and refit."""

    def ingest(
        self,
        paths: PathLike | Sequence[PathLike],
        options: IngestOptions | None = None,
        *,
        progress: Progress = no_progress,
    ) -> IngestReport:
        """Load exposures, mosaics and catalogs, recognised by content, in any order.

        Parameters
        ----------
        paths : path or sequence of paths
            Files and folders.
        options : IngestOptions, optional
            Overrides for field, epoch, image, flux and columns; strictness; digest of whole files.
        progress : Progress
            Called as work goes on.

        Returns
        -------
        IngestReport
            What was loaded, what was known before, and what was refused with the reason.
        """
        from calreg.ingest.load import ingest
        from calreg.ingest.options import IngestOptions

        return ingest(
            self._database, as_paths(paths), options or IngestOptions(), self._instrument, progress
        )

    def refit(
        self, settings: FitSettings | None = None, *, progress: Progress = no_progress
    ) -> RefitReport:
        """Match new catalogs and fit every key whose inputs, settings or model version changed.

        Parameters
        ----------
        settings : FitSettings, optional
            Selection and model; defaults as in the paper.
        progress : Progress
            Called as work goes on.

        Returns
        -------
        RefitReport
            What was fitted, left alone, refused, or waits for another epoch, each with the reason.
        """
        from calreg.refit.refit import refit
        from calreg.science.model.settings import FitSettings

        return refit(self._database, settings or FitSettings(), self._instrument, progress)

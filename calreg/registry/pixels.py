"""Methods that begin with pixels, or judge them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from calreg.domain import no_progress
from calreg.registry.base import PathLike, RegistryBase, as_paths

if TYPE_CHECKING:
    from collections.abc import Sequence

    from calreg.domain import Pmap, Progress
    from calreg.pixels.difference.difference import DifferenceReport
    from calreg.pixels.difference.plan import DifferenceOptions
    from calreg.pixels.measure.measure import MeasureReport
    from calreg.pixels.measure.options import MeasureOptions
    from calreg.pixels.mosaic import mosaic as mosaic_service
    from calreg.pixels.mosaic.plan import MosaicOptions
    from calreg.refit.astrometryreport import AstrometryReport


class PixelMethods(RegistryBase):
    """Mosaics, photometry, astrometry and difference images."""

    def mosaic(
        self,
        paths: PathLike | Sequence[PathLike],
        options: MosaicOptions | None = None,
        *,
        progress: Progress = no_progress,
    ) -> mosaic_service.MosaicReport:
        """Drizzle exposures into one mosaic per epoch, band and array (extra ``mosaic``).

        Parameters
        ----------
        paths : path or sequence of paths
            Files and folders with `cal` or `crf` exposures.
        options : MosaicOptions, optional
            Folder, pixel scale, what is subtracted, a forced context, number of processes.
        progress : Progress
            Called as work goes on.

        Raises
        ------
        RefusedFilesError
            If any exposure cannot be used, exposures of one mosaic are on different scales, or a
            file exists with other content; nothing is written then.
        ConflictError
            If the registry has a mosaic of the same identity with other content.
        InvalidValueError
            If an option is out of range.
        OutputError
            If a file cannot be written; nothing is left then.
        """
        from calreg.pixels.mosaic import mosaic as mosaic_service
        from calreg.pixels.mosaic.plan import MosaicOptions

        return mosaic_service.mosaic(
            self._database,
            as_paths(paths),
            options or MosaicOptions(),
            self._instrument,
            progress,
        )

    def measure(
        self,
        paths: PathLike | Sequence[PathLike],
        options: MeasureOptions | None = None,
        *,
        progress: Progress = no_progress,
    ) -> MeasureReport:
        """Measure mosaics inside the isophotes of their detection images, and enter the catalogs.

        Parameters
        ----------
        paths : path or sequence of paths
            Mosaics, of any fields, epochs, bands and arrays.
        options : MeasureOptions, optional
            Settings of detection and photometry, the image to detect on, files to write.
        progress : Progress
            Called as work goes on.

        Returns
        -------
        MeasureReport
            One row per mosaic. What was measured before with the same settings is not again.

        Raises
        ------
        CalregError
            If any mosaic cannot be used; then nothing is written.
        """
        from calreg.pixels.measure.measure import measure
        from calreg.pixels.measure.options import MeasureOptions

        return measure(
            self._database,
            as_paths(paths),
            options or MeasureOptions(),
            self._instrument,
            progress,
        )

    def astrometry(
        self,
        *,
        pmap: str | Pmap | None = None,
        band: str | None = None,
        field: str | None = None,
        mag_limit: float = 22.0,
        sizes: str = "not extended",
        max_sep_arcsec: float = 0.1,
    ) -> AstrometryReport:
        """Measure position offsets between epochs (the paper's Table 1).

        Parameters
        ----------
        pmap, band, field : str, optional
            Which epoch pairs; all if not given.
        mag_limit : float
            Sources are brighter than this in both epochs [mag AB].
        sizes : str
            ``not extended`` leaves out what is known to be, ``compact`` what is not known to be
            compact, ``all`` nothing.
        max_sep_arcsec : float
            Search radius of the refit whose pairs are meant [arcsec].

        Returns
        -------
        AstrometryReport
            One row per band and epoch pair, and what is not matched yet.

        Raises
        ------
        InvalidValueError, UnknownKeyError
            If a key cannot be one.
        """
        from calreg.refit.astrometry import Sizes
        from calreg.refit.astrometryreport import AstrometryQuery, report_astrometry
        from calreg.science.model.settings import FitSettings

        query = AstrometryQuery(
            wanted=self._set_query(pmap, band, field=field),
            mag_limit=mag_limit,
            sizes=Sizes(sizes),
            settings=FitSettings(max_sep_arcsec=max_sep_arcsec),
        )
        with self._database.read() as connection:
            return report_astrometry(connection, query)

    def difference(
        self, options: DifferenceOptions, *, progress: Progress = no_progress
    ) -> DifferenceReport:
        """Subtract the mosaics of two epochs, before and after correction (Figures 2 and 7).

        Parameters
        ----------
        options : DifferenceOptions
            Epochs, folder, band, context, sets.
        progress : Progress
            Called as work goes on.

        Returns
        -------
        DifferenceReport
            Median fractional residuals of sources in either half, and the files.

        Raises
        ------
        UnknownKeyError
            If there is no such epoch or field, or no mosaics.
        InvalidValueError
            If several contexts, reductions or sets answer, or the grids differ.
        NoCalibrationError
            If an array has no set.
        ConflictError
            If a mosaic is not where it was, or not what it was.
        OutputError
            If a file exists or cannot be written; none is written then.
        MissingExtraError
            Without matplotlib or sep.
        """
        from calreg.pixels.difference.difference import make_differences

        wanted = replace(options, band=self._band(options.band))
        return make_differences(self._database, wanted, self._instrument, progress)

    @staticmethod
    def plot_astrometry(
        report: AstrometryReport, path: PathLike, *, overwrite: bool = False
    ) -> None:
        """Draw the position offsets of a report as PNG, PDF or SVG (extra ``plots``)."""
        from calreg.plots.astrometry import plot_astrometry

        plot_astrometry(report.rows, report.offsets_mas, Path(path), overwrite=overwrite)

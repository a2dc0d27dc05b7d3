"""Methods that write files for others, and those that correct and restore exposures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from calreg.domain import Pmap, SetQuery, no_progress
from calreg.registry.base import PathLike, RegistryBase, as_paths, optional_pmap

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from calreg.apply import affected
    from calreg.apply import check as inspection
    from calreg.apply import files as reductionfiles
    from calreg.apply.options import ApplyOptions
    from calreg.domain import Progress
    from calreg.export.context import ContextReport
    from calreg.export.deliveries import Delivery
    from calreg.export.references import ReferenceReport


class OutputMethods(RegistryBase):
    """Exports, each with its delivery row; a reduction's own files checked, corrected, restored."""

    # --- tables -----------------------------------------------------------------------------------

    def export_recipe(
        self,
        path: PathLike,
        *,
        pmap: str | Pmap,
        field: str | None = None,
        flux_kind: str | None = None,
        as_of_utc: datetime | None = None,
        leave_out: bool = False,
        overwrite: bool = False,
    ) -> Delivery:
        """Write the current sets of a context in the form of the published table.

        Parameters
        ----------
        path : path
            ECSV file to write.
        pmap : str or Pmap
            Context whose sets are written.
        field, flux_kind : str, optional
            Which sets, where a key has several.
        as_of_utc : datetime, optional
            Write the sets that were current at this time (aware).
        leave_out : bool
            Leave out arrays whose sets were withdrawn or are not accepted, instead of failing.
        overwrite : bool
            Replace the file if it exists.

        Raises
        ------
        NoCalibrationError
            If there is no set for the context, or one was withdrawn or is not accepted.
        InvalidValueError
            If a key has several sets, from different fields or fluxes, none of them accepted.
        OutputError
            If the file exists (without `overwrite`) or cannot be written.
        """
        from calreg.export.deliveries import ExportOptions
        from calreg.export.tables import export_recipe

        wanted = SetQuery(pmap=Pmap.of(pmap), field=field, flux_kind=flux_kind, as_of_utc=as_of_utc)
        options = ExportOptions(Path(path), wanted, leave_out, overwrite)
        return export_recipe(self._database, options, self._instrument)

    def export_grizli(
        self,
        path: PathLike,
        *,
        pmap: str | Pmap,
        field: str | None = None,
        flux_kind: str | None = None,
        as_of_utc: datetime | None = None,
        leave_out: bool = False,
        overwrite: bool = False,
    ) -> Delivery:
        """Write a context's current sets as grizli's divisors; the rest as in `export_recipe`."""
        from calreg.export.deliveries import ExportOptions
        from calreg.export.tables import export_grizli

        wanted = SetQuery(pmap=Pmap.of(pmap), field=field, flux_kind=flux_kind, as_of_utc=as_of_utc)
        options = ExportOptions(Path(path), wanted, leave_out, overwrite)
        return export_grizli(self._database, options, self._instrument)

    def export_parquet(self, directory: PathLike, *, overwrite: bool = False) -> list[Delivery]:
        """Write every table as Parquet, one file each (extra ``arrow``)."""
        from calreg.export.tables import export_parquet

        return export_parquet(self._database, Path(directory), overwrite=overwrite)

    # --- reference files --------------------------------------------------------------------------

    def export_photom(
        self,
        directory: PathLike,
        *,
        pmap: str | Pmap,
        parents: Sequence[PathLike] = (),
        cache: PathLike | None = None,
        all_arrays: bool = False,
        predict: bool = False,
        gradient_datum: str = "symmetric",
        field: str | None = None,
        flux_kind: str | None = None,
        as_of_utc: datetime | None = None,
        overwrite: bool = False,
    ) -> ReferenceReport:
        """Write one photom file per corrected array: PHOTMJSR times 10**(+0.4 offset).

        Parameters
        ----------
        directory : path
            Folder to write to.
        pmap : str or Pmap
            Context whose data are corrected.
        parents : sequence of path
            Photom files to copy, or folders of them; one for every array.
        cache : path, optional
            CRDS cache to take parents from where none are named. Without any parent, files are
            made from PHOTMJSR of the exposures.
        all_arrays : bool
            Write identical copies for the arrays that are the datum too.
        predict : bool
            Carry what was not measured under the context over from others by PHOTMJSR; files and
            report say so.
        gradient_datum : str
            How gradients are shared between modules: ``symmetric`` or ``B``.
        field, flux_kind : str, optional
            Which sets, where a key has several.
        as_of_utc : datetime, optional
            Write the sets that were current at this time (aware).
        overwrite : bool
            Replace files that exist.

        Raises
        ------
        CalregError
            If there is no correction, a parent is missing or cannot be used, or a file failed its
            check; then no file is left behind.
        """
        from calreg.export.photom import export_photom
        from calreg.export.references import ReferenceOptions
        from calreg.files.references.crdscache import CrdsCache
        from calreg.science.model.gradient import parse_gradient_datum
        from calreg.sets.corrections import CorrectionQuery

        wanted = SetQuery(pmap=Pmap.of(pmap), field=field, flux_kind=flux_kind, as_of_utc=as_of_utc)
        options = ReferenceOptions(
            Path(directory),
            CorrectionQuery(wanted, parse_gradient_datum(gradient_datum)),
            parents=tuple(map(Path, parents)),
            cache=None if cache is None else CrdsCache(Path(cache)),
            predict=predict,
            overwrite=overwrite,
        )
        return export_photom(self._database, options, self._instrument, all_arrays=all_arrays)

    def export_flat(
        self,
        directory: PathLike,
        *,
        pmap: str | Pmap,
        parents: Sequence[PathLike] = (),
        like: PathLike | None = None,
        predict: bool = False,
        gradient_datum: str = "symmetric",
        field: str | None = None,
        flux_kind: str | None = None,
        as_of_utc: datetime | None = None,
        overwrite: bool = False,
    ) -> ReferenceReport:
        """Write one flat per array and band with a gradient; the rest as in `export_photom`.

        Parameters
        ----------
        parents : sequence of path
            Flats to multiply, or folders of them; without them delta flats are written, with mean
            one over the array.
        like : path, optional
            Exposure whose subarray the delta flats shall have; the whole array otherwise.

        Raises
        ------
        CalregError
            If there is no gradient, a parent is missing or cannot be used, or a file failed its
            check; then no file is left behind.
        """
        from calreg.export.flat import export_flat
        from calreg.export.references import ReferenceOptions
        from calreg.science.model.gradient import parse_gradient_datum
        from calreg.sets.corrections import CorrectionQuery

        wanted = SetQuery(pmap=Pmap.of(pmap), field=field, flux_kind=flux_kind, as_of_utc=as_of_utc)
        options = ReferenceOptions(
            Path(directory),
            CorrectionQuery(wanted, parse_gradient_datum(gradient_datum)),
            parents=tuple(map(Path, parents)),
            predict=predict,
            overwrite=overwrite,
        )
        subarray_of = None if like is None else Path(like)
        return export_flat(self._database, options, self._instrument, like=subarray_of)

    def export_context(
        self,
        directory: PathLike,
        *,
        pmap: str | Pmap,
        cache: PathLike,
        name: str,
        predict: bool = False,
        verify: bool = False,
        gradient_datum: str = "symmetric",
        field: str | None = None,
        flux_kind: str | None = None,
        as_of_utc: datetime | None = None,
    ) -> ContextReport:
        """Lay a CRDS cache over another, with our files in a context of its own.

        The rest is as in `export_photom`.

        Parameters
        ----------
        directory : path
            New folder.
        cache : path
            Synced CRDS cache, which stays as it is.
        name : str
            Private word in the names of context and files, such as ``idfcal1``.
        verify : bool
            Ask CRDS for every array and band which files it takes.

        Raises
        ------
        MissingExtraError
            If crds is not installed (extra ``validate``).
        CalregError
            If the name or the cache cannot be used, there is no correction, a parent is missing, a
            file failed its check, or CRDS does not choose it; then nothing is left behind.
        """
        from calreg.export.context import export_context
        from calreg.export.references import ReferenceOptions
        from calreg.files.references.crdscache import CrdsCache
        from calreg.science.model.gradient import parse_gradient_datum
        from calreg.sets.corrections import CorrectionQuery

        wanted = SetQuery(pmap=Pmap.of(pmap), field=field, flux_kind=flux_kind, as_of_utc=as_of_utc)
        options = ReferenceOptions(
            Path(directory),
            CorrectionQuery(wanted, parse_gradient_datum(gradient_datum)),
            predict=predict,
        )
        parent = CrdsCache(Path(cache))
        return export_context(
            self._database, options, self._instrument, name, parent, verify=verify
        )

    # --- a reduction's files ----------------------------------------------------------------------

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

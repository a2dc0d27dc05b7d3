"""Methods that write reference files for the JWST pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from calreg.registry.base import PathLike, RegistryBase, pmap_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from calreg.domain import Pmap
    from calreg.export.context import ContextReport
    from calreg.export.staging import ReferenceReport
    from calreg.sets.corrections import CorrectionQuery


class ReferenceMethods(RegistryBase):
    """Reference files, checked before they are handed over, each with its delivery row."""

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
            Carry offsets that were not measured under the context over from others by PHOTMJSR;
            files and report say so.
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
        from calreg.files.references.crdscache import CrdsCache

        return export_photom(
            self._database,
            Path(directory),
            _query(pmap, gradient_datum, field, flux_kind, as_of_utc),
            instrument=self._instrument,
            parents=[Path(path) for path in parents],
            cache=None if cache is None else CrdsCache(Path(cache)),
            all_arrays=all_arrays,
            predict=predict,
            overwrite=overwrite,
        )

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
        """Write one flat per array and band with a gradient, mean one over the array.

        Parameters
        ----------
        directory : path
            Folder to write to.
        pmap : str or Pmap
            Context whose data are corrected.
        parents : sequence of path
            Flats to multiply, or folders of them; without them delta flats are written.
        like : path, optional
            Exposure whose subarray the delta flats shall have; the whole array otherwise.
        predict : bool
            Take gradients that were not measured under the context from others; files and report
            say so.
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
            If there is no gradient, a parent is missing or cannot be used, or a file failed its
            check; then no file is left behind.
        """
        from calreg.export.flat import export_flat

        return export_flat(
            self._database,
            Path(directory),
            _query(pmap, gradient_datum, field, flux_kind, as_of_utc),
            instrument=self._instrument,
            parents=[Path(path) for path in parents],
            like=None if like is None else Path(like),
            predict=predict,
            overwrite=overwrite,
        )

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

        Parameters
        ----------
        directory : path
            New folder.
        pmap : str or Pmap
            Context whose data are corrected.
        cache : path
            Synced CRDS cache, which stays as it is.
        name : str
            Private word in the names of context and files, such as ``idfcal1``.
        predict : bool
            Carry what was not measured under the context over from others; files and report say so.
        verify : bool
            Ask CRDS for every array and band which files it takes.
        gradient_datum : str
            How gradients are shared between modules: ``symmetric`` or ``B``.
        field, flux_kind : str, optional
            Which sets, where a key has several.
        as_of_utc : datetime, optional
            The sets that were current at this time (aware).

        Raises
        ------
        MissingExtraError
            If crds is not installed (extra ``validate``).
        CalregError
            If the name or the cache cannot be used, there is no correction, a parent is missing, a
            file failed its check, or CRDS does not choose it; then nothing is left behind.
        """
        from calreg.export.context import export_context
        from calreg.files.references.crdscache import CrdsCache

        return export_context(
            self._database,
            Path(directory),
            _query(pmap, gradient_datum, field, flux_kind, as_of_utc),
            name,
            cache=CrdsCache(Path(cache)),
            instrument=self._instrument,
            predict=predict,
            verify=verify,
        )


def _query(
    pmap: str | Pmap,
    gradient_datum: str,
    field: str | None,
    flux_kind: str | None,
    as_of_utc: datetime | None,
) -> CorrectionQuery:
    """Return which corrections are asked for."""
    from calreg.science.model.gradient import parse_gradient_datum
    from calreg.sets.corrections import CorrectionQuery

    return CorrectionQuery(
        pmap_of(pmap), field, flux_kind, as_of_utc, parse_gradient_datum(gradient_datum)
    )

"""Methods that write files for others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from calreg.registry.base import PathLike, RegistryBase, pmap_of

if TYPE_CHECKING:
    from datetime import datetime

    from calreg.domain import Pmap
    from calreg.export.deliveries import Delivery


class ExportMethods(RegistryBase):
    """Exports, each with its delivery row."""

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
        from calreg.export import tables as deliver

        return deliver.export_recipe(
            self._database,
            Path(path),
            instrument=self._instrument,
            pmap=pmap_of(pmap),
            field=field,
            flux_kind=flux_kind,
            as_of_utc=as_of_utc,
            leave_out=leave_out,
            overwrite=overwrite,
        )

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
        from calreg.export import tables as deliver

        return deliver.export_grizli(
            self._database,
            Path(path),
            instrument=self._instrument,
            pmap=pmap_of(pmap),
            field=field,
            flux_kind=flux_kind,
            as_of_utc=as_of_utc,
            leave_out=leave_out,
            overwrite=overwrite,
        )

    def export_parquet(self, directory: PathLike, *, overwrite: bool = False) -> list[Delivery]:
        """Write every table as Parquet, one file each (extra ``arrow``)."""
        from calreg.export import tables as deliver

        return deliver.export_parquet(self._database, Path(directory), overwrite=overwrite)

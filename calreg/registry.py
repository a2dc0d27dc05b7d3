"""The registry: one public class, with a method for everything that the commands do.

Services are imported by the methods that need them, so that a question does not wait for the
imports of a fit.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

from calreg.db.engine import Database, default_url, init_database, open_database, upgrade_database
from calreg.domain import Pmap, no_progress
from calreg.instruments import Instrument, load_instrument

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from types import TracebackType

    from calreg import deliver, patches
    from calreg import ingest as ingest_service
    from calreg import refit as refit_service
    from calreg.db.bulk import Columns
    from calreg.db.engine import InitOutcome, UpgradeOutcome
    from calreg.db.health import DatabaseDescription, Problem
    from calreg.domain import Progress
    from calreg.history import CoefficientsRow, CompareRow, HistoryRow
    from calreg.science.settings import FitSettings

PathLike = str | Path


class Registry:
    """An open registry of photometric offsets between detectors.

    Parameters
    ----------
    url : str, optional
        Path of a SQLite file, ``sqlite:///FILE`` or ``postgresql://...``; ``$CALREG_DB``, else
        ``sqlite:///calreg.sqlite`` if not given.
    instrument : str
        Name of the instrument's table.
    read_only : bool
        Whether to refuse to write.

    Raises
    ------
    DatabaseError
        If the database cannot be opened, or its schema is not this version's; the message names the
        command that helps.

    Examples
    --------
    >>> import tempfile
    >>> from calreg import Registry
    >>> url = f"sqlite:///{tempfile.mkdtemp()}/calreg.sqlite"
    >>> with Registry.create(url) as registry:
    ...     registry.coefficients()
    []
    """

    def __init__(
        self, url: str | None = None, *, instrument: str = "nircam", read_only: bool = False
    ) -> None:
        self._instrument: Instrument = load_instrument(instrument)
        self._database: Database = open_database(url or default_url(), read_only=read_only)

    @classmethod
    def create(cls, url: str | None = None, *, instrument: str = "nircam") -> Self:
        """Make the tables where there are none, and open the registry."""
        cls.init(url)
        return cls(url, instrument=instrument)

    @staticmethod
    def init(url: str | None = None) -> InitOutcome:
        """Make the tables; a database that has them stays as it is."""
        return init_database(url or default_url())

    @staticmethod
    def upgrade(url: str | None = None) -> UpgradeOutcome:
        """Bring the tables of an older calreg to this version; data stay."""
        return upgrade_database(url or default_url())

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._database.close()

    @property
    def url(self) -> str:
        """The database, without password."""
        return self._database.url

    @property
    def instrument(self) -> Instrument:
        """The instrument's arrays, bands and keywords."""
        return self._instrument

    # --- data in ------------------------------------------------------------------------------

    def ingest(
        self,
        paths: PathLike | Sequence[PathLike],
        options: ingest_service.IngestOptions | None = None,
        *,
        progress: Progress = no_progress,
    ) -> ingest_service.IngestReport:
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
        from calreg import ingest as ingest_service

        given = [paths] if isinstance(paths, str | Path) else paths
        return ingest_service.ingest(
            self._database,
            [Path(path) for path in given],
            options,
            instrument=self._instrument,
            progress=progress,
        )

    def import_recipe(
        self, path: PathLike, *, pmap: str | Pmap, source: str
    ) -> deliver.ImportReport:
        """Bring a published table of offsets in as an external solution.

        Parameters
        ----------
        path : path
            ECSV table with the published columns.
        pmap : str or Pmap
            Context that the table corrects.
        source : str
            Citation that tells the solution from others.

        Returns
        -------
        ImportReport

        Raises
        ------
        FileFormatError
            If the table cannot be read.
        ConflictError
            If the same source already gave other numbers for the context.
        InvalidValueError
            If `source` is empty or `pmap` is no numbered context.
        """
        from calreg import deliver

        return deliver.import_recipe(self._database, Path(path), pmap=_pmap(pmap), source=source)

    # --- fits ---------------------------------------------------------------------------------

    def refit(
        self, settings: FitSettings | None = None, *, progress: Progress = no_progress
    ) -> refit_service.RefitReport:
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
        from calreg import refit as refit_service

        return refit_service.refit(
            self._database, settings, instrument=self._instrument, progress=progress
        )

    # --- questions ----------------------------------------------------------------------------

    def detections(
        self, *, pmap: str | Pmap | None = None, band: str | None = None, array: str | None = None
    ) -> Columns:
        """Read detections into arrays, by catalog and number; NaN where there is no value."""
        from calreg.db.queries.catalogs import read_detections

        return read_detections(
            self._database,
            pmap=_optional_pmap(pmap),
            band=self._band(band),
            array=None if array is None else self._instrument.array(array).name,
        )

    def offsets(
        self,
        *,
        pmap: str | Pmap | None = None,
        band: str | None = None,
        array_id: str | None = None,
        field: str | None = None,
        settings: FitSettings | None = None,
    ) -> list[patches.OffsetRow]:
        """Measure medians and MADs of every patch, and Eq. 7 and 8 of the paper.

        Parameters
        ----------
        pmap, band, array_id, field : str, optional
            Which patches; all if not given.
        settings : FitSettings, optional
            Limits and search radius; defaults as in the paper.

        Returns
        -------
        list of OffsetRow
            One row per patch and pair of epochs.

        Raises
        ------
        InvalidValueError, UnknownKeyError
            If a key cannot be one.
        """
        from calreg import patches
        from calreg.science.settings import FitSettings

        with self._database.read() as connection:
            return patches.measure_offsets(
                connection,
                settings or FitSettings(),
                self._instrument,
                pmap=_optional_pmap(pmap),
                band=self._band(band),
                array_id=self._array_id(array_id),
                field=field,
            )

    def coefficients(
        self,
        *,
        pmap: str | Pmap | None = None,
        band: str | None = None,
        array_id: str | None = None,
        field: str | None = None,
        as_of_utc: datetime | None = None,
        all_versions: bool = False,
    ) -> list[CoefficientsRow]:
        """Return the fitted numbers: the current version of each key, or all.

        Parameters
        ----------
        pmap, band, array_id, field : str, optional
            Which keys; all if not given.
        as_of_utc : datetime, optional
            Answer as the registry would have at this time (aware).
        all_versions : bool
            Return superseded versions too.

        Returns
        -------
        list of CoefficientsRow
            Empty if no set answers to that.

        Raises
        ------
        InvalidValueError, UnknownKeyError
            If a key cannot be one.
        """
        from calreg import history
        from calreg.db.queries.sets import SetFilter

        wanted = SetFilter(
            pmap=_optional_pmap(pmap),
            band=self._band(band),
            array_id=self._array_id(array_id),
            field=field,
            as_of_utc=as_of_utc,
            all_versions=all_versions,
        )
        with self._database.read() as connection:
            return history.load_coefficients(connection, wanted)

    def history(
        self,
        band: str,
        array_id: str,
        *,
        pmap_from: str | Pmap | None = None,
        pmap_to: str | Pmap | None = None,
        field: str | None = None,
        as_of_utc: datetime | None = None,
    ) -> list[HistoryRow]:
        """Return how an offset moved from context to context, in integer order.

        Parameters
        ----------
        band, array_id : str
            ``F356W``, ``long``.
        pmap_from, pmap_to : str or Pmap, optional
            First and last context, both included.
        field : str, optional
            Only this field.
        as_of_utc : datetime, optional
            Answer as the registry would have at this time (aware).

        Returns
        -------
        list of HistoryRow
            One row per context; contexts with PHOTMJSR only have None for what was not measured.

        Raises
        ------
        InvalidValueError, UnknownKeyError
            If a key cannot be one.
        """
        from calreg import history
        from calreg.db.queries.sets import SetFilter

        wanted = SetFilter(
            pmap_from=_optional_pmap(pmap_from),
            pmap_to=_optional_pmap(pmap_to),
            band=self._band(band),
            array_id=self._array_id(array_id),
            field=field,
            as_of_utc=as_of_utc,
        )
        with self._database.read() as connection:
            return history.load_history(connection, wanted, self._instrument)

    def compare(
        self,
        *,
        pmap: str | Pmap | None = None,
        band: str | None = None,
        array_id: str | None = None,
        source: str | None = None,
    ) -> list[CompareRow]:
        """Set external solutions beside our current sets, with the difference in sigma."""
        from calreg import history
        from calreg.db.queries.sets import SetFilter

        wanted = SetFilter(
            pmap=_optional_pmap(pmap), band=self._band(band), array_id=self._array_id(array_id)
        )
        with self._database.read() as connection:
            return history.compare_solutions(connection, wanted, source)

    # --- data out -----------------------------------------------------------------------------

    def export_recipe(
        self,
        path: PathLike,
        *,
        pmap: str | Pmap,
        field: str | None = None,
        flux_kind: str | None = None,
        as_of_utc: datetime | None = None,
        overwrite: bool = False,
    ) -> deliver.Delivery:
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
        overwrite : bool
            Replace the file if it exists.

        Returns
        -------
        Delivery

        Raises
        ------
        NoCalibrationError
            If there is no set for the context.
        InvalidValueError
            If a key has several sets, from different fields or fluxes.
        OutputError
            If the file exists (without `overwrite`) or cannot be written.
        """
        from calreg import deliver

        return deliver.export_recipe(
            self._database,
            Path(path),
            pmap=_pmap(pmap),
            field=field,
            flux_kind=flux_kind,
            as_of_utc=as_of_utc,
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
        overwrite: bool = False,
    ) -> deliver.Delivery:
        """Write a context's current sets as grizli's divisors; the rest as in `export_recipe`."""
        from calreg import deliver

        return deliver.export_grizli(
            self._database,
            Path(path),
            instrument=self._instrument,
            pmap=_pmap(pmap),
            field=field,
            flux_kind=flux_kind,
            as_of_utc=as_of_utc,
            overwrite=overwrite,
        )

    def export_parquet(
        self, directory: PathLike, *, overwrite: bool = False
    ) -> list[deliver.Delivery]:
        """Write every table as Parquet, one file each (extra ``arrow``)."""
        from calreg import deliver

        return deliver.export_parquet(self._database, Path(directory), overwrite=overwrite)

    # --- the database -------------------------------------------------------------------------

    def check(self) -> list[Problem]:
        """Check schema, foreign keys, dangling rows and digests; return what is wrong.

        Returns
        -------
        list of Problem
            Digests are the ids of coefficient sets, and those of files that were ingested or
            delivered, where they are still in their place.
        """
        from calreg.db.health import check_database
        from calreg.digests import check_files, check_sets

        with self._database.read() as connection:
            problems = check_database(connection)
            if not problems:
                problems += check_sets(connection)
                problems += check_files(connection)
            return problems

    def stats(self) -> DatabaseDescription:
        """Describe the database: engine, revision, size, rows per table."""
        from calreg.db.health import describe_database

        with self._database.read() as connection:
            return describe_database(connection)

    def _band(self, band: str | None) -> str | None:
        """Return the band's name as it is stored."""
        return None if band is None else self._instrument.band_named(band).name

    def _array_id(self, array_id: str | None) -> str | None:
        """Return the array id as it is stored; a detector's name stands for its id."""
        return None if array_id is None else self._instrument.array_id_named(array_id)


def _pmap(pmap: str | Pmap) -> Pmap:
    """Return a context."""
    return pmap if isinstance(pmap, Pmap) else Pmap.parse(pmap)


def _optional_pmap(pmap: str | Pmap | None) -> Pmap | None:
    """Return a context, or None."""
    return None if pmap is None else _pmap(pmap)

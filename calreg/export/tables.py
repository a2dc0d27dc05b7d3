"""Deliveries: export the current sets, record what was handed out; bring published offsets in."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from calreg._version import __version__
from calreg.db.queries.contents import dump_table, table_names
from calreg.db.queries.sets import SetFilter, StoredSet, load_sets
from calreg.domain import Pmap, RecipeRow, SetQuery
from calreg.export.deliveries import Delivery, record_delivery
from calreg.files.exchange.grizli import GrizliEntry, GrizliGradient, write_grizli
from calreg.files.exchange.parquet import ParquetTable, write_parquet
from calreg.files.exchange.recipe import (
    RecipeMeta,
    RecipeProvenance,
    provenance_key,
    write_recipe,
)
from calreg.sets.current import one_set_per_key

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.db.engine import Connection, Database
    from calreg.instruments import Instrument


def export_recipe(
    database: Database,
    path: Path,
    *,
    instrument: Instrument,
    pmap: Pmap,
    field: str | None = None,
    flux_kind: str | None = None,
    as_of_utc: datetime | None = None,
    leave_out: bool = False,
    overwrite: bool = False,
) -> Delivery:
    """Write the published table's form: columns, sense, with units and provenance."""
    left_out: list[str] = []
    with database.write() as connection:
        sets = one_set_per_key(
            connection,
            SetQuery(pmap=pmap, field=field, flux_kind=flux_kind, as_of_utc=as_of_utc),
            instrument,
            left_out if leave_out else None,
        )
        created_utc = datetime.now(UTC)
        meta = RecipeMeta(
            pmap=pmap,
            code_version=__version__,
            created_utc=created_utc,
            provenance={
                provenance_key(stored.array_id, stored.band): _provenance(stored) for stored in sets
            },
            left_out=tuple(left_out),
        )
        rows = [recipe_row(stored) for stored in sets]
        paths = write_recipe(path, rows, meta, overwrite=overwrite)
        (delivery,) = _record(connection, "recipe", paths, sets, created_utc)
        return replace(delivery, left_out=tuple(left_out))


def recipe_row(stored: StoredSet) -> RecipeRow:
    """Lay a set out as a line of the recipe: module B is the datum (Ma et al., Eq. 11 and 12)."""
    offset_mag = stored.value("offset_ab")
    return RecipeRow(
        band=stored.band,
        array_id=stored.array_id,
        offset_ab_mag=offset_mag,
        offset_ab_err_mag=stored.err("offset_ab"),
        offset_a_mag=offset_mag,
        offset_b_mag=0.0,
        slope_mag_arcmin=stored.value("slope"),
        slope_err_mag_arcmin=stored.err("slope"),
    )


def _provenance(stored: StoredSet) -> RecipeProvenance:
    """Say where a line of the recipe comes from."""
    plain = [name for name in RecipeProvenance.__dataclass_fields__ if name != "pmap"]
    shared = {name: getattr(stored, name) for name in plain}
    return RecipeProvenance(**shared, pmap=stored.pmap.name)


def export_grizli(
    database: Database,
    path: Path,
    *,
    instrument: Instrument,
    pmap: Pmap,
    field: str | None = None,
    flux_kind: str | None = None,
    as_of_utc: datetime | None = None,
    leave_out: bool = False,
    overwrite: bool = False,
) -> Delivery:
    """Write grizli's table of divisors, one number per detector and band.

    Parameters
    ----------
    path : Path
        YAML file to write.
    instrument : Instrument
        Says which detectors have the array ids of the sets.
    pmap : Pmap
        Context whose sets are written.
    field, flux_kind : str, optional
        Which sets, where a key has several.
    as_of_utc : datetime, optional
        Write the sets that were current at this time (aware).
    leave_out : bool
        Whether to leave out arrays whose sets may not be used, instead of failing.
    overwrite : bool
        Whether to replace the file if it exists.

    Raises
    ------
    NoCalibrationError
        If there is no set for the context.
    InvalidValueError
        If a key has several sets, from different fields or fluxes.
    OutputError
        If the file exists (without `overwrite`) or cannot be written.

    Notes
    -----
    A band with a gradient gets the offset at the pivot, which is what a single number per detector
    should take out; the file says so beside the number, with the offset at d = 0.
    """
    left_out: list[str] = []
    with database.write() as connection:
        sets = one_set_per_key(
            connection,
            SetQuery(pmap=pmap, field=field, flux_kind=flux_kind, as_of_utc=as_of_utc),
            instrument,
            left_out if leave_out else None,
        )
        created_utc = datetime.now(UTC)
        entries = [entry for stored in sets for entry in _grizli_entries(stored, instrument, pmap)]
        paths = write_grizli(
            path,
            entries,
            pmap=pmap,
            code_version=__version__,
            created_utc=created_utc,
            left_out=left_out,
            overwrite=overwrite,
        )
        (delivery,) = _record(connection, "grizli", paths, sets, created_utc)
        return replace(delivery, left_out=tuple(left_out))


def _grizli_entries(stored: StoredSet, instrument: Instrument, pmap: Pmap) -> list[GrizliEntry]:
    """Return the entries of both modules; B is the datum."""
    offset_mag, offset_err_mag = stored.value("offset_ab"), stored.err("offset_ab")
    gradient = None
    if stored.offset_pivot_mag is not None:
        gradient = GrizliGradient(
            offset_origin_mag=offset_mag,
            slope_mag_arcmin=stored.value("slope"),
            pivot_arcmin=stored.pivot_arcmin or 0.0,
        )
        offset_mag, offset_err_mag = stored.offset_pivot_mag, stored.offset_pivot_err_mag or 0.0
    detectors = {
        array.module: array.detector
        for array in instrument.arrays.values()
        if array.array_id == stored.array_id
    }
    datum = GrizliEntry(
        detector=detectors["B"],
        filter=stored.filter,
        pupil=stored.pupil,
        offset_mag=0.0,
        offset_err_mag=0.0,
        set_id=stored.set_id,
        datum=stored.datum,
        note="" if stored.pmap == pmap else f"measured under {stored.pmap}, accepted for {pmap}",
    )
    corrected = replace(
        datum,
        detector=detectors["A"],
        offset_mag=offset_mag,
        offset_err_mag=offset_err_mag,
        gradient=gradient,
    )
    return [corrected, datum]


def export_parquet(
    database: Database, directory: Path, *, overwrite: bool = False
) -> list[Delivery]:
    """Write the registry's tables as Parquet, one file a table."""
    with database.write() as connection:
        created_utc = datetime.now(UTC)
        tables: dict[str, ParquetTable] = registry_tables(connection)
        paths = write_parquet(
            directory,
            tables,
            code_version=__version__,
            created_utc=created_utc,
            overwrite=overwrite,
        )
        sets = load_sets(connection, SetFilter(all_versions=True))
        return _record(connection, "parquet", paths, sets, created_utc)


def _record(
    connection: Connection,
    kind: str,
    paths: list[Path],
    sets: list[StoredSet],
    created_utc: datetime,
) -> list[Delivery]:
    """Write a delivery row for every file."""
    set_pks = [stored.pk for stored in sets]
    return [record_delivery(connection, kind, path, set_pks, created_utc) for path in paths]


def registry_tables(connection: Connection) -> dict[str, ParquetTable]:
    """Return every table with its columns, units and meanings."""
    tables = {}
    for name in table_names():
        dumped = dump_table(connection, name)
        tables[name] = ParquetTable(
            columns=dumped.columns,
            units=dumped.units,
            descriptions=dumped.descriptions,
            description=dumped.description,
        )
    return tables

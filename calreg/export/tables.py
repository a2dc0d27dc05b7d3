"""Tables for others: the published form, grizli's divisors, everything as Parquet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from calreg._version import __version__
from calreg.db.queries.contents import dump_table, table_names
from calreg.db.queries.sets import SetFilter, StoredSet, load_sets
from calreg.domain import RecipeRow
from calreg.export.deliveries import Delivery, record_delivery
from calreg.files.atomic import NamedFiles
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
    from collections.abc import Callable
    from pathlib import Path

    from calreg.db.engine import Database
    from calreg.domain import Pmap
    from calreg.export.deliveries import ExportOptions
    from calreg.instruments import Instrument


def export_recipe(database: Database, options: ExportOptions, instrument: Instrument) -> Delivery:
    """Write the published table's form; see `Registry.export_recipe`."""

    def write(sets: list[StoredSet], by: _Making) -> None:
        meta = RecipeMeta(
            pmap=by.pmap,
            code_version=__version__,
            created_utc=by.created_utc,
            provenance={
                provenance_key(stored.array_id, stored.band): _provenance(stored) for stored in sets
            },
            left_out=tuple(by.left_out),
        )
        rows = [recipe_row(stored) for stored in sets]
        write_recipe(
            options.out, rows, meta, instrument, overwrite=options.overwrite, names=by.names
        )

    return _export(database, "recipe", options, instrument, write)


@dataclass(frozen=True)
class _Making:
    """What a table says of its making, and who gives it its name."""

    pmap: Pmap
    created_utc: datetime
    left_out: list[str]
    names: NamedFiles


def _export(
    database: Database,
    kind: str,
    options: ExportOptions,
    instrument: Instrument,
    write: Callable[[list[StoredSet], _Making], None],
) -> Delivery:
    """Have the sets of a context written, and record the file; without its row it is taken back."""
    left_out: list[str] = []
    with NamedFiles() as names, database.write() as connection:
        sets = one_set_per_key(
            connection, options.sets, instrument, left_out if options.leave_out else None
        )
        making = _Making(options.sets.required_pmap, datetime.now(UTC), left_out, names)
        write(sets, making)
        set_pks = [stored.pk for stored in sets]
        delivery = record_delivery(connection, kind, options.out, set_pks, making.created_utc)
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
    """Return the provenance of a line of the recipe."""
    plain = [name for name in RecipeProvenance.__dataclass_fields__ if name != "pmap"]
    shared = {name: getattr(stored, name) for name in plain}
    return RecipeProvenance(**shared, pmap=stored.pmap.name)


def export_grizli(database: Database, options: ExportOptions, instrument: Instrument) -> Delivery:
    """Write grizli's table of divisors, one number per detector and band.

    A band with a gradient gets the offset at the pivot, which is what a single number per detector
    should take out; the file says so beside the number, with the offset at d = 0.
    """

    def write(sets: list[StoredSet], by: _Making) -> None:
        write_grizli(
            options.out,
            [entry for stored in sets for entry in _grizli_entries(stored, instrument, by.pmap)],
            instrument,
            pmap=by.pmap,
            code_version=__version__,
            created_utc=by.created_utc,
            left_out=by.left_out,
            overwrite=options.overwrite,
            names=by.names,
        )

    return _export(database, "grizli", options, instrument, write)


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
    with NamedFiles() as names, database.write() as connection:
        created_utc = datetime.now(UTC)
        paths = write_parquet(
            directory,
            {name: ParquetTable(**vars(dump_table(connection, name))) for name in table_names()},
            code_version=__version__,
            created_utc=created_utc,
            overwrite=overwrite,
            names=names,
        )
        set_pks = [stored.pk for stored in load_sets(connection, SetFilter(all_versions=True))]
        return [
            record_delivery(connection, "parquet", path, set_pks, created_utc) for path in paths
        ]

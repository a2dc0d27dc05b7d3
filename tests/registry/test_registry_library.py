"""A session in a notebook: everything that the commands do, as methods and tables."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pytest
from astropy.table import Table

from calreg import Registry
from calreg.db.engine import open_database
from calreg.errors import (
    CalregError,
    InvalidValueError,
    SchemaUninitialisedError,
    UnknownKeyError,
)
from calreg.tables import to_table
from support.programmes import PMAP, Files, Prepared

if TYPE_CHECKING:
    from pathlib import Path


def test_a_session(empty_db_url: str, small_files: Files, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []

    def watch(task: str, n_done: int, n_all: int) -> None:
        seen.append((task, n_done, n_all))

    with pytest.raises(SchemaUninitialisedError, match="db init"):
        Registry(empty_db_url)
    with Registry.create(empty_db_url) as registry:
        loaded = registry.ingest(small_files.directory, progress=watch)
        assert loaded.refused == []
        fitted = registry.refit(progress=watch)
        assert len(fitted.fitted) == 5
        assert {task for task, _, _ in seen} >= {"matching", "fitting"}
        assert all(n_done <= n_all for _, n_done, n_all in seen)
        table = to_table(registry.coefficients())
        bright = table[np.abs(table["offset_ab_mag"]) > 0.04]
        assert list(bright["array_id"]) == ["2"]
        history = registry.history("F444W", "long")
        assert [row.pmap for row in history] == [PMAP]
        delivery = registry.export_recipe(tmp_path / "recipe.ecsv", pmap="1130")
        assert delivery.path.exists()
        assert registry.check() == []
        assert registry.stats().n_rows["coefficient_sets"] == 5
    with Registry(empty_db_url, read_only=True) as again:
        assert len(again.coefficients()) == 5
        with pytest.raises(CalregError):
            again.refit()
        assert again.url.split(":")[0] in ("sqlite", "postgresql")
        assert again.instrument.name.lower() == "nircam"


def test_names_are_taken_as_people_write_them(small: Prepared) -> None:
    with Registry(small.url, read_only=True) as registry:
        (row,) = registry.coefficients(band="f444w", array_id="NRCALONG", pmap="jwst_1130")
        assert registry.coefficients(band="F444W", array_id="long", pmap="1130") == [row]
        for given, error in (
            ({"pmap": "latest"}, InvalidValueError),
            ({"pmap": "jwst-edit"}, InvalidValueError),
            ({"band": "F445W"}, UnknownKeyError),
            ({"array_id": "5"}, UnknownKeyError),
        ):
            with pytest.raises(error):
                registry.coefficients(**given)  # type: ignore[arg-type]
        with pytest.raises(InvalidValueError, match="has no time zone"):
            registry.coefficients(as_of_utc=datetime(2024, 1, 1))
        assert registry.coefficients(as_of_utc=datetime(2020, 1, 1, tzinfo=UTC)) == []


def test_rows_are_frozen_dataclasses(small: Prepared) -> None:
    with Registry(small.url, read_only=True) as registry:
        for rows in (
            registry.coefficients(),
            registry.offsets(),
            registry.history("F444W", "long"),
        ):
            assert dataclasses.is_dataclass(rows[0])
            with pytest.raises(dataclasses.FrozenInstanceError):
                rows[0].band = "F070W"  # type: ignore[misc]


# --- tables ---------------------------------------------------------------------------------------


def test_tables_have_units_and_masks(small: Prepared) -> None:
    with Registry(small.url, read_only=True) as registry:
        rows = registry.coefficients()
        table = to_table(rows)
        patches = to_table(registry.offsets())
    assert isinstance(table, Table)
    assert len(table) == 5
    assert table.colnames[0] == "pmap"
    units = {name: str(table[name].unit) for name in table.colnames if table[name].unit}
    assert units["offset_ab_mag"] == units["offset_ab_err_mag"] == units["floor_mag"] == "mag"
    assert units["slope_mag_arcmin"] == units["slope_err_mag_arcmin"] == "mag / arcmin"
    assert units["pivot_arcmin"] == "arcmin"
    assert units["axis_pa_deg"] == units["origin_ra_deg"] == "deg"
    assert "n_pairs" not in units
    assert list(table["pivot_arcmin"].mask) == [row.pivot_arcmin is None for row in rows]
    assert table["offset_ab_mag"].tolist() == [row.offset_ab_mag for row in rows]
    assert str(patches["ra_median_mas"].unit) == "mas"
    is_equal = patches["relation"] == "equal"
    assert patches["offset_ab_mag"].mask[is_equal].all()
    assert not patches["offset_ab_mag"].mask[~is_equal].any()


def test_a_table_can_be_written_and_read(small: Prepared, tmp_path: Path) -> None:
    with Registry(small.url, read_only=True) as registry:
        table = to_table(registry.coefficients())
    table.write(tmp_path / "table.ecsv")
    read = Table.read(tmp_path / "table.ecsv")
    assert read.colnames == table.colnames
    assert read["offset_ab_mag"].tolist() == table["offset_ab_mag"].tolist()
    assert str(read["slope_mag_arcmin"].unit) == "mag / arcmin"


def test_a_table_of_nothing_is_empty() -> None:
    assert len(to_table([])) == 0


# --- db check -------------------------------------------------------------------------------------


def test_a_filled_registry_is_sound(jwidf: Prepared) -> None:
    with Registry(jwidf.url, read_only=True) as registry:
        assert registry.check() == []


def change(url: str, *statements: str) -> None:
    with open_database(url) as database, database.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
        connection.commit()


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE coefficient_sets SET version = 7 WHERE version = 1", "does not fit its input"),
        (
            "UPDATE coefficient_sets SET input_digest = file_sha256 FROM catalogs",
            "does not fit its input",
        ),
        ("UPDATE coefficients SET err = 2 * err", "does not fit its variance"),
        (
            "UPDATE catalogs SET file_sha256 = substr(file_sha256, 1, 62) || '00'",
            "content changed",
        ),
    ],
)
def test_altered_rows_are_found(statement: str, message: str, small_url: str) -> None:
    change(small_url, statement)
    with Registry(small_url, read_only=True) as registry:
        problems = registry.check()
    assert problems
    assert all(message in problem.message for problem in problems)


def test_a_dangling_row_is_found(small_url: str) -> None:
    if small_url.startswith("sqlite"):
        around = ("PRAGMA foreign_keys=OFF", "PRAGMA foreign_keys=ON")
    else:
        around = (
            "SET session_replication_role = replica",
            "SET session_replication_role = DEFAULT",
        )
    change(small_url, around[0], "DELETE FROM sources WHERE id = 1", around[1])
    with Registry(small_url, read_only=True) as registry:
        problems = registry.check()
    assert {problem.kind for problem in problems} == {"dangling"}
    assert {problem.table for problem in problems} >= {"pairs"}
    assert "sources that do not exist" in problems[0].message


def test_a_digest_of_another_length_cannot_be_stored(small_url: str) -> None:
    with pytest.raises(CalregError, match="ck_catalogs_file_sha256"):
        change(small_url, "UPDATE catalogs SET file_sha256 = 'short'")


def test_detections_come_as_arrays(jwidf: Prepared) -> None:
    with Registry(jwidf.url, read_only=True) as registry:
        everything = registry.detections()
        some = registry.detections(pmap="1130", band="f356w", array="NRCALONG")
        n_rows = registry.stats().n_rows["detections"]
        with pytest.raises(UnknownKeyError, match="nrcc1"):
            registry.detections(array="nrcc1")
    assert {values.size for values in everything.values()} == {n_rows}
    order = np.lexsort((everything["number"], everything["catalog_id"]))
    assert np.array_equal(order, np.arange(n_rows))
    is_chosen = np.isin(everything["catalog_id"], np.unique(some["catalog_id"]))
    assert np.unique(some["catalog_id"]).size == 3  # one mosaic an epoch
    for name, values in some.items():
        assert np.array_equal(values, everything[name][is_chosen], equal_nan=True), name
    # No magnitude exactly where the flux is not positive.
    mag_ab, flux_ujy = (np.asarray(everything[n], dtype=float) for n in ("mag_ab", "flux_ujy"))
    assert np.array_equal(np.isnan(mag_ab), flux_ujy <= 0.0)
    assert np.isnan(mag_ab).any()

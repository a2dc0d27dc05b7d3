"""Exported files say what the registry says, and the registry remembers them."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
import yaml
from astropy.table import Table
from pyarrow import parquet

from calreg import Registry, __version__
from calreg.db.engine import open_database
from calreg.db.schema import PairRow
from calreg.domain import FluxKind
from calreg.errors import InvalidValueError, NoCalibrationError, OutputError, UnknownKeyError
from calreg.files.exchange.recipe import provenance_key, read_recipe
from calreg.ingest.options import IngestOptions
from calreg.instruments import load_instrument
from calreg.science.model.settings import FitSettings
from support.programmes import OLD_PMAP, PMAP, Files, small_programme, write_files
from support.registryrows import deliveries

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.sets.coefficients import CoefficientsRow


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- recipe ---------------------------------------------------------------------------------------


def test_a_recipe_says_what_coefficients_say(jwidf_url: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.ecsv"
    with Registry(jwidf_url) as registry:
        delivery = registry.export_recipe(path, pmap="1130")
        sets = {(row.array_id, row.band): row for row in registry.coefficients(pmap=PMAP)}
    assert (delivery.path, delivery.n_sets) == (path, 10)
    read = read_recipe(path, load_instrument())
    assert {(row.array_id, row.band) for row in read.rows} == set(sets)
    for row in read.rows:
        found = sets[row.array_id, row.band]
        assert row.offset_ab_mag == row.offset_a_mag == found.offset_ab_mag
        assert row.offset_b_mag == 0.0
        assert row.offset_ab_err_mag == found.offset_ab_err_mag
        assert row.slope_mag_arcmin == found.slope_mag_arcmin
        assert row.slope_err_mag_arcmin == found.slope_err_mag_arcmin


def test_the_published_script_reads_a_recipe(jwidf_url: str, tmp_path: Path) -> None:
    """It reads the columns det, filt (lower case), dmag_a, dmag_b of a plain astropy table."""
    path = tmp_path / "recipe.ecsv"
    with Registry(jwidf_url) as registry:
        registry.export_recipe(path, pmap=PMAP)
        sets = {(row.array_id, row.band): row for row in registry.coefficients(pmap=PMAP)}
    table = Table.read(path, format="ascii.ecsv")
    assert table.colnames == [
        "det",
        "filt",
        "dmag_ab",
        "dmag_ab_err",
        "dmag_a",
        "dmag_b",
        "slope",
        "slope_err",
    ]
    assert len(table) == 10
    assert {str(table[name].unit) for name in table.colnames[2:6]} == {"mag"}
    assert {str(table[name].unit) for name in table.colnames[6:]} == {"mag / arcmin"}
    for row in table:
        assert row["filt"] == row["filt"].lower()
        found = sets[str(row["det"]), row["filt"].upper()]
        assert row["dmag_a"] == row["dmag_ab"] == found.offset_ab_mag
        assert row["slope"] == found.slope_mag_arcmin


def test_a_recipe_knows_where_it_comes_from(jwidf_url: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.ecsv"
    with Registry(jwidf_url) as registry:
        registry.export_recipe(path, pmap=PMAP)
        rows = registry.coefficients(pmap=PMAP)
    meta = Table.read(path, format="ascii.ecsv").meta
    text = str(meta)
    assert PMAP in text
    assert __version__ in text
    provenance = next(
        value for value in meta.values() if isinstance(value, dict) and len(value) == 10
    )
    for row in rows:
        entry = provenance[provenance_key(row.array_id, row.band)]
        for name in (
            "set_id",
            "version",
            "datum",
            "axis_pa_deg",
            "origin_ra_deg",
            "origin_dec_deg",
            "model",
            "model_version",
            "n_pairs",
            "field",
            "flux_kind",
            "image_kind",
        ):
            assert entry[name] == getattr(row, name)


def test_a_recipe_is_recorded_with_digest_and_sets(jwidf_url: str, tmp_path: Path) -> None:
    with Registry(jwidf_url) as registry:
        delivery = registry.export_recipe(tmp_path / "a.ecsv", pmap=PMAP)
        registry.export_grizli(tmp_path / "b.yml", pmap=OLD_PMAP)
        ids = {
            pmap: {row.set_id for row in registry.coefficients(pmap=pmap)}
            for pmap in (PMAP, OLD_PMAP)
        }
        assert registry.check() == []
    assert delivery.file_sha256 == sha256(tmp_path / "a.ecsv")
    assert deliveries(jwidf_url) == [
        ("recipe", str(tmp_path), "a.ecsv", sha256(tmp_path / "a.ecsv"), ids[PMAP]),
        ("grizli", str(tmp_path), "b.yml", sha256(tmp_path / "b.yml"), ids[OLD_PMAP]),
    ]


@pytest.mark.parametrize("kind", ["recipe", "grizli"])
def test_an_existing_file_is_kept_unless_told(kind: str, jwidf_url: str, tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("mine")
    with Registry(jwidf_url) as registry:
        export = {"recipe": registry.export_recipe, "grizli": registry.export_grizli}[kind]
        with pytest.raises(OutputError, match="--overwrite"):
            export(path, pmap=PMAP)
        assert path.read_text() == "mine"
        assert deliveries(jwidf_url) == []
        export(path, pmap=PMAP, overwrite=True)
    assert path.read_text() != "mine"
    assert len(deliveries(jwidf_url)) == 1
    assert [entry.name for entry in tmp_path.iterdir() if not entry.name.startswith("copy")] == [
        "out"
    ]


@pytest.mark.parametrize("kind", ["recipe", "grizli"])
def test_no_set_no_file(kind: str, jwidf_url: str, tmp_path: Path) -> None:
    path = tmp_path / "out"
    with Registry(jwidf_url) as registry:
        export = {"recipe": registry.export_recipe, "grizli": registry.export_grizli}[kind]
        with pytest.raises(
            NoCalibrationError, match=r"jwst_1200\.pmap: there are sets for jwst_1039"
        ):
            export(path, pmap="1200")
        with pytest.raises(
            UnknownKeyError, match="unknown field 'COSMOS': the registry has 'JWIDF'"
        ):
            export(path, pmap=PMAP, field="COSMOS")
        with pytest.raises(InvalidValueError, match="latest"):
            export(path, pmap="latest")
        with pytest.raises(NoCalibrationError):
            export(path, pmap=PMAP, as_of_utc=datetime(2020, 1, 1, tzinfo=UTC))
    assert not path.exists()
    assert deliveries(jwidf_url) == []


def test_an_export_as_of_an_earlier_time_has_the_earlier_sets(
    small_url: str, tmp_path: Path
) -> None:
    with Registry(small_url) as registry:
        moment = datetime.now(UTC)
        before = {row.band + row.array_id: row for row in registry.coefficients()}
        registry.refit(FitSettings(mag_limit=21.0))
        registry.export_recipe(tmp_path / "then.ecsv", pmap=PMAP, as_of_utc=moment)
        registry.export_recipe(tmp_path / "now.ecsv", pmap=PMAP)
    then, now = (
        read_recipe(tmp_path / name, load_instrument()).rows for name in ("then.ecsv", "now.ecsv")
    )
    for row in then:
        assert row.offset_ab_mag == before[row.band + row.array_id].offset_ab_mag
    assert {row.offset_ab_mag for row in then} != {row.offset_ab_mag for row in now}


# --- several sets of one key ----------------------------------------------------------------------


def test_two_fluxes_of_one_key_must_be_told_apart(db_url: str, tmp_path: Path) -> None:
    files = write_files(small_programme(bands=("F444W",), n_epochs=2), tmp_path / "files")
    with Registry(db_url) as registry:
        registry.ingest(list(files.paths))
        registry.ingest(files.select(suffix=".cat"), IngestOptions(flux=FluxKind.AUTO))
        registry.refit()
        rows = {row.flux_kind: row for row in registry.coefficients()}
        assert set(rows) == {"iso", "auto"}
        with pytest.raises(InvalidValueError, match=r"two current sets.*--flux"):
            registry.export_recipe(tmp_path / "out.ecsv", pmap=PMAP)
        assert not (tmp_path / "out.ecsv").exists()
        registry.export_recipe(tmp_path / "out.ecsv", pmap=PMAP, flux_kind="auto")
        # Fluxes are never mixed within a pair.
        patches = registry.offsets()
        assert {(row.flux_kind, row.array_i) for row in patches} == {
            (flux, array) for flux in ("iso", "auto") for array in ("nrcalong", "nrcblong")
        }
    (row,) = read_recipe(tmp_path / "out.ecsv", load_instrument()).rows
    assert row.offset_ab_mag == rows["auto"].offset_ab_mag != rows["iso"].offset_ab_mag


def test_two_fields_must_be_told_apart(db_url: str, tmp_path: Path) -> None:
    first = write_files(small_programme(bands=("F444W",), n_epochs=2), tmp_path / "first")
    other = write_files(small_programme(12, bands=("F444W",), n_epochs=2), tmp_path / "other")
    shifted = as_another_observation(other, tmp_path / "shifted")
    with Registry(db_url) as registry:
        registry.ingest(list(first.paths), IngestOptions(field_name="North"))
        report = registry.ingest(shifted, IngestOptions(field_name="South"))
        assert report.refused == []
        registry.refit()
        rows = {row.field: row for row in registry.coefficients()}
        assert set(rows) == {"North", "South"}
        assert [row.offset_ab_mag for row in registry.coefficients(field="South")] == [
            rows["South"].offset_ab_mag
        ]
        assert {row.field for row in registry.history("F444W", "long")} == {"North", "South"}
        assert {row.field for row in registry.history("F444W", "long", field="North")} == {"North"}
        with pytest.raises(InvalidValueError, match=r"'North'.*'South'.*--field"):
            registry.export_grizli(tmp_path / "out.yml", pmap=PMAP)
        registry.export_recipe(tmp_path / "out.ecsv", pmap=PMAP, field="South")
    (row,) = read_recipe(tmp_path / "out.ecsv", load_instrument()).rows
    assert row.offset_ab_mag == rows["South"].offset_ab_mag


def as_another_observation(files: Files, folder: Path) -> list[Path]:
    """Copy mosaics and catalogs as those of another programme."""
    folder.mkdir()
    copies = []
    for path in files.paths:
        content = path.read_bytes().replace(b"01176", b"02738")
        copies.append(folder / path.name.replace("01176", "02738"))
        copies[-1].write_bytes(content)
    return copies


# --- grizli ---------------------------------------------------------------------------------------


def expected_divisor(row: CoefficientsRow) -> float:
    offset = row.offset_ab_mag if row.offset_pivot_mag is None else row.offset_pivot_mag
    return float(10.0 ** (-0.4 * offset))


def test_a_grizli_table_divides(jwidf_url: str, tmp_path: Path) -> None:
    path = tmp_path / "table.yml"
    with Registry(jwidf_url) as registry:
        registry.export_grizli(path, pmap=PMAP)
        rows = registry.coefficients(pmap=PMAP)
    read = yaml.safe_load(path.read_text())
    assert (read.pop("CRDS_CTX"), read.pop("CRDS_CTX_MAX")) == (PMAP, PMAP)
    assert len(read) == 20
    for row in rows:
        number = {"long": "LONG"}.get(row.array_id, row.array_id)
        assert read[f"NRCA{number}-{row.band}-CLEAR"] == pytest.approx(
            expected_divisor(row), rel=1e-12
        )
        assert read[f"NRCB{number}-{row.band}-CLEAR"] == 1.0
    # Table 3: A2 reads too bright in F200W (-0.05 mag), A1 too faint.
    assert read["NRCA2-F200W-CLEAR"] > 1.03
    assert read["NRCA1-F200W-CLEAR"] < 1.0
    text = path.read_text()
    assert re.search(r"^# Direction: \*divide\* the images", text, re.MULTILINE)
    assert all(row.set_id in text for row in rows)


# --- parquet --------------------------------------------------------------------------------------


def test_parquet_holds_the_tables(small_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    with Registry(small_url) as registry:
        written = registry.export_parquet(folder)
        n_rows = registry.stats().n_rows
        rows = registry.coefficients(all_versions=True)
        with pytest.raises(OutputError, match="--overwrite"):
            registry.export_parquet(folder)
    assert {delivery.path.stem for delivery in written} == set(n_rows)
    assert {entry.name for entry in folder.iterdir()} == {f"{name}.parquet" for name in n_rows}
    unchanged = set(n_rows) - {"deliveries", "delivery_sets"}
    read = {name: parquet.read_table(folder / f"{name}.parquet") for name in unchanged}
    assert {name: table.num_rows for name, table in read.items()} == {
        name: n_rows[name] for name in unchanged
    }
    sets = read["coefficient_sets"]
    ids = dict(zip(sets["id"].to_pylist(), sets["set_id"].to_pylist(), strict=True))
    coefficients = read["coefficients"].to_pylist()
    values = {
        ids[row["set_pk"]]: (row["value"], row["err"])
        for row in coefficients
        if row["name"] == "offset_ab"
    }
    assert values == {row.set_id: (row.offset_ab_mag, row.offset_ab_err_mag) for row in rows}
    with open_database(small_url, read_only=True) as database, database.read() as connection:
        total = connection.scalar(sa.select(sa.func.sum(PairRow.mag_i)))
    assert sum(read["pairs"]["mag_i"].to_pylist()) == pytest.approx(total, rel=1e-12)
    assert b"mag" in read["pairs"].schema.field("mag_i").metadata[b"unit"]


def test_parquet_of_an_empty_registry(db_url: str, tmp_path: Path) -> None:
    with Registry(db_url) as registry:
        registry.export_parquet(tmp_path / "tables")
        assert registry.check() == []
    pairs = parquet.read_table(tmp_path / "tables" / "pairs.parquet")
    assert pairs.num_rows == 0
    runs = parquet.read_table(tmp_path / "tables" / "fit_runs.parquet")
    # Types are the columns', not what happens to be in them.
    assert str(runs.schema.field("started_utc").type) == "timestamp[us, tz=UTC]"
    assert str(pairs.schema.field("mag_i").type) == "double"

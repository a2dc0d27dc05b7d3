"""Published offsets come in as they are, and stand beside ours."""

from __future__ import annotations

import json
import math
import shutil
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from astropy.table import Table

from calreg import Registry
from calreg.db.engine import open_database
from calreg.db.schema import ExternalSolutionRow
from calreg.errors import ConflictError, FileFormatError, InvalidValueError
from support.programmes import OLD_PMAP, PMAP, row_counts

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = "Ma et al. 2024"
COLUMNS = ("dmag_ab", "dmag_ab_err", "dmag_a", "dmag_b", "slope", "slope_err")


def write_table(path: Path, shift_mag: float = 0.0) -> Path:
    """Write a table as published: no units, lower-case bands."""
    table = Table(
        {
            "det": ["2", "long"],
            "filt": ["f200w", "f444w"],
            "dmag_ab": [-0.052666449546806056 + shift_mag, -0.016536067144048285],
            "dmag_ab_err": [0.0011681122407041578, 0.0012841082895386005],
            "dmag_a": [-0.052666449546806056 + shift_mag, -0.016536067144048285],
            "dmag_b": [0.0, 0.0],
            "slope": [0.0, 0.004329215118203972],
            "slope_err": [0.0, 0.0008965250763888643],
        }
    )
    table.write(path, format="ascii.ecsv")
    return path


def stored(url: str) -> list[sa.Row[tuple[object, ...]]]:
    statement = sa.select(ExternalSolutionRow.__table__).order_by(ExternalSolutionRow.id)
    with open_database(url, read_only=True) as database, database.read() as connection:
        return list(connection.execute(statement))


def test_numbers_come_in_to_the_last_digit(db_url: str, tmp_path: Path) -> None:
    path = write_table(tmp_path / "published.ecsv")
    with Registry(db_url) as registry:
        report = registry.import_recipe(path, pmap="1130", source=SOURCE)
        rows = registry.compare()
    assert (report.n_solutions, report.is_new) == (2, True)
    sw, lw = stored(db_url)
    assert (sw.band, sw.array_id, lw.band, lw.array_id) == ("F200W", "2", "F444W", "long")
    assert sw.offset_ab_mag == sw.offset_a_mag == -0.052666449546806056
    assert (lw.slope_mag_arcmin, lw.slope_err_mag_arcmin) == (
        0.004329215118203972,
        0.0008965250763888643,
    )
    assert json.loads(sw.as_given)["filt"] == "f200w"
    assert sw.file_name == "published.ecsv"
    # Ours is missing, and said to be.
    assert [(row.offset_ab_mag, row.difference_sigma, row.set_id) for row in rows] == [
        (None, None, None)
    ] * 2
    assert rows[0].their_offset_ab_mag == -0.052666449546806056


def test_the_published_table_comes_in_whole(db_url: str, shared_data: Path) -> None:
    path = shared_data / "idf_zpcor_1130_pmap.ecsv"
    with Registry(db_url) as registry:
        report = registry.import_recipe(path, pmap=PMAP, source=SOURCE)
    assert report.n_solutions == 10
    table = Table.read(path, format="ascii.ecsv")
    found = stored(db_url)
    assert len(found) == len(table) == 10
    names = dict(
        zip(
            COLUMNS,
            (
                "offset_ab_mag",
                "offset_ab_err_mag",
                "offset_a_mag",
                "offset_b_mag",
                "slope_mag_arcmin",
                "slope_err_mag_arcmin",
            ),
            strict=True,
        )
    )
    for row, given in zip(found, table, strict=True):
        assert (row.array_id, row.band) == (str(given["det"]), str(given["filt"]).upper())
        for column, name in names.items():
            assert getattr(row, name) == float(given[column])


def test_the_same_content_again_changes_nothing(db_url: str, tmp_path: Path) -> None:
    path = write_table(tmp_path / "published.ecsv")
    shutil.copyfile(path, tmp_path / "renamed.ecsv")
    with Registry(db_url) as registry:
        registry.import_recipe(path, pmap=PMAP, source=SOURCE)
        before = row_counts(registry)
        for again in (path, tmp_path / "renamed.ecsv"):
            assert not registry.import_recipe(again, pmap=PMAP, source=SOURCE).is_new
        assert row_counts(registry) == before


def test_other_content_from_the_same_source_is_a_conflict(db_url: str, tmp_path: Path) -> None:
    path = write_table(tmp_path / "published.ecsv")
    other = write_table(tmp_path / "other.ecsv", shift_mag=0.001)
    with Registry(db_url) as registry:
        registry.import_recipe(path, pmap=PMAP, source=SOURCE)
        before = row_counts(registry)
        with pytest.raises(ConflictError, match=f"other.ecsv: source {SOURCE!r} already has F200W"):
            registry.import_recipe(other, pmap=PMAP, source=SOURCE)
        assert row_counts(registry) == before
        # Another context, or another name, is another solution.
        assert registry.import_recipe(other, pmap=OLD_PMAP, source=SOURCE).is_new
        assert registry.import_recipe(other, pmap=PMAP, source="erratum").is_new
        assert len(registry.compare()) == 6
        assert {row.source for row in registry.compare(source="erratum")} == {"erratum"}


def test_what_cannot_come_in(db_url: str, tmp_path: Path) -> None:
    path = write_table(tmp_path / "published.ecsv")
    bad = tmp_path / "bad.ecsv"
    bad.write_text("det filt\n1 f150w\n")
    with Registry(db_url) as registry:
        before = row_counts(registry)
        with pytest.raises(InvalidValueError, match="--source"):
            registry.import_recipe(path, pmap=PMAP, source="  ")
        with pytest.raises(InvalidValueError, match="latest"):
            registry.import_recipe(path, pmap="latest", source=SOURCE)
        with pytest.raises(FileFormatError, match=r"bad\.ecsv"):
            registry.import_recipe(bad, pmap=PMAP, source=SOURCE)
        with pytest.raises(FileFormatError, match=r"missing\.ecsv"):
            registry.import_recipe(tmp_path / "missing.ecsv", pmap=PMAP, source=SOURCE)
        assert row_counts(registry) == before


def test_import_then_export_gives_the_same_numbers_back(jwidf_url: str, tmp_path: Path) -> None:
    """What we export, somebody else imports: the round trip loses no digit."""
    with Registry(jwidf_url) as registry:
        registry.export_recipe(tmp_path / "ours.ecsv", pmap=PMAP)
        registry.import_recipe(tmp_path / "ours.ecsv", pmap=PMAP, source="round trip")
        rows = registry.compare(source="round trip")
    assert len(rows) == 10
    for row in rows:
        assert row.their_offset_ab_mag == row.offset_ab_mag
        assert row.difference_mag == 0.0
        assert row.difference_sigma == 0.0
        if row.array_id != "long":
            # Held at zero on both sides: no error, no significance.
            assert row.slope_difference_sigma is None


def test_comparison_is_the_difference_in_sigma(jwidf_url: str, tmp_path: Path) -> None:
    path = write_table(tmp_path / "published.ecsv")
    with Registry(jwidf_url) as registry:
        registry.import_recipe(path, pmap=PMAP, source=SOURCE)
        rows = registry.compare(pmap=PMAP)
        ours = {(row.band, row.array_id): row for row in registry.coefficients(pmap=PMAP)}
        assert [row.band for row in registry.compare(band="F444W")] == ["F444W"]
        assert registry.compare(pmap=OLD_PMAP) == []
    assert len(rows) == 2
    for row in rows:
        own = ours[row.band, row.array_id]
        assert (row.offset_ab_mag, row.set_id) == (own.offset_ab_mag, own.set_id)
        difference = own.offset_ab_mag - row.their_offset_ab_mag
        assert row.their_offset_ab_err_mag is not None
        err = math.hypot(own.offset_ab_err_mag, row.their_offset_ab_err_mag)
        assert row.difference_mag == pytest.approx(difference, abs=1e-15)
        assert row.difference_err_mag == pytest.approx(err, rel=1e-12)
        assert row.difference_sigma == pytest.approx(difference / err, rel=1e-12)
        # The simulation injects exactly the published numbers.
        assert abs(difference) < 4.0 * own.offset_ab_err_mag
    lw = rows[1]
    own = ours["F444W", "long"]
    assert lw.slope_difference_sigma == pytest.approx(
        (own.slope_mag_arcmin - 0.004329215118203972)
        / math.hypot(own.slope_err_mag_arcmin, 0.0008965250763888643),
        rel=1e-12,
    )

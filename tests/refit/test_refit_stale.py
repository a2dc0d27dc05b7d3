"""Refit touches exactly what is stale, adds and never changes, and does nothing twice."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from calreg import Registry
from calreg.db.engine import open_database
from calreg.db.schema import Base
from calreg.science.model.settings import FitSettings
from support.programmes import (
    OLD_PMAP,
    PMAP,
    Files,
    Prepared,
    row_counts,
    small_programme,
    write_files,
)

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.refit.refit import KeyOutcome, RefitReport
    from calreg.sets.coefficients import CoefficientsRow


def keys(outcomes: list[KeyOutcome]) -> list[tuple[str, str, str]]:
    return [(outcome.pmap, outcome.band, outcome.array_id) for outcome in outcomes]


def reasons(report: RefitReport) -> set[str]:
    return {outcome.reason for outcome in report.fitted}


def versions(registry: Registry) -> dict[tuple[str, str, str], int]:
    return {(row.pmap, row.band, row.array_id): row.version for row in registry.coefficients()}


# --- what is stale --------------------------------------------------------------------------------


def test_catalogs_of_one_array_refit_that_key_only(db_url: str, small_files: Files) -> None:
    late = small_files.select(epoch=3, band="F200W", array="nrca2", suffix=".cat")
    late += small_files.select(epoch=3, band="F200W", array="nrcb2", suffix=".cat")
    with Registry(db_url) as registry:
        registry.ingest([path for path in small_files.paths if path not in late])
        assert reasons(registry.refit()) == {"first fit"}
        before = versions(registry)
        registry.ingest(late)
        report = registry.refit()
        after = versions(registry)
    assert keys(report.fitted) == [(PMAP, "F200W", "2")]
    assert report.fitted[0].reason == "new data"
    assert report.fitted[0].version == 2
    assert len(report.unchanged) == 4
    assert after == before | {(PMAP, "F200W", "2"): 2}


@pytest.mark.parametrize("part", ["band", "pmap"])
def test_a_new_band_or_context_leaves_the_others_alone(
    part: str, db_url: str, tmp_path: Path
) -> None:
    if part == "band":
        programme = small_programme(bands=("F356W", "F444W"), n_epochs=2)
    else:
        programme = small_programme(bands=("F444W",), pmaps=(OLD_PMAP, PMAP), n_epochs=2)
    files = write_files(programme, tmp_path / "files")
    chosen = {"band": {"band": "F356W"}, "pmap": {"pmap": OLD_PMAP}}[part]
    first = files.select(**chosen)  # type: ignore[arg-type]
    with Registry(db_url) as registry:
        registry.ingest(first)
        assert len(registry.refit().fitted) == 1
        (before,) = registry.coefficients()
        registry.ingest([path for path in files.paths if path not in first])
        report = registry.refit()
        after = registry.coefficients()
    assert keys(report.fitted) == [(PMAP, "F444W", "long")]
    assert keys(report.unchanged) == [(before.pmap, before.band, "long")]
    assert before in after
    assert len(after) == 2


def test_a_late_exposure_without_catalog_changes_nothing(db_url: str, small_files: Files) -> None:
    mosaics = small_files.select(epoch=3, suffix=".fits")
    with Registry(db_url) as registry:
        registry.ingest(small_files.select(epoch=1) + small_files.select(epoch=2))
        registry.refit()
        registry.ingest(mosaics)
        before = row_counts(registry)
        report = registry.refit()
        assert row_counts(registry) == before
    assert report.fitted == []
    assert len(report.unchanged) == 5


def test_other_settings_refit_with_that_reason(small_url: str) -> None:
    with Registry(small_url) as registry:
        report = registry.refit(FitSettings(mag_limit=21.0))
        assert reasons(report) == {"settings changed"}
        assert len(report.fitted) == 5
        assert set(versions(registry).values()) == {2}
        again = registry.refit(FitSettings(mag_limit=21.0))
    assert report.pairing.n_groups == 0
    assert (again.fitted, len(again.unchanged)) == ([], 5)


def test_another_model_version_refits_with_that_reason(
    small_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Registry(small_url) as registry:
        (old,) = {row.model_version for row in registry.coefficients()}
        for module in ("refit.refit", "refit.keyfit"):
            monkeypatch.setattr(f"calreg.{module}.MODEL_VERSION", old + 1)
        report = registry.refit()
        rows = registry.coefficients()
    assert reasons(report) == {f"model version {old} -> {old + 1}"}
    assert {(row.version, row.model_version) for row in rows} == {(2, old + 1)}


# --- nothing to do --------------------------------------------------------------------------------


def test_a_second_refit_adds_no_row(jwidf_url: str) -> None:
    with Registry(jwidf_url) as registry:
        before = row_counts(registry)
        report = registry.refit()
        assert row_counts(registry) == before
    assert before["coefficient_sets"] == 40
    assert (report.fitted, report.refused, report.waiting) == ([], [], [])
    assert len(report.unchanged) == 20
    assert {outcome.reason for outcome in report.unchanged} == {
        "inputs, settings and model unchanged"
    }
    assert {outcome.version for outcome in report.unchanged} == {2}
    assert (report.pairing.n_groups, report.pairing.n_pairs) == (0, 0)


def test_an_empty_registry_has_nothing_to_refit(db_url: str) -> None:
    with Registry(db_url) as registry:
        before = row_counts(registry)
        report = registry.refit()
        assert row_counts(registry) == before
    assert (report.fitted, report.unchanged, report.refused, report.waiting) == ([], [], [], [])


def test_one_epoch_waits_for_another(db_url: str, small_files: Files) -> None:
    with Registry(db_url) as registry:
        registry.ingest(small_files.select(epoch=1))
        before = row_counts(registry)
        report = registry.refit()
        assert row_counts(registry) == before
        assert registry.coefficients() == []
    assert len(report.waiting) == 5
    assert {outcome.reason for outcome in report.waiting} == {
        "no two epochs with opposite rolls yet"
    }


def test_equal_rolls_alone_wait_too(db_url: str, small_files: Files) -> None:
    with Registry(db_url) as registry:
        registry.ingest(small_files.select(epoch=1) + small_files.select(epoch=3))
        report = registry.refit()
        assert registry.coefficients() == []
    assert len(report.waiting) == 5
    assert report.pairing.n_groups == 10


# --- append-only ----------------------------------------------------------------------------------


def contents(url: str) -> dict[str, dict[tuple[object, ...], tuple[object, ...]]]:
    """Return all rows of all tables by primary key."""
    found: dict[str, dict[tuple[object, ...], tuple[object, ...]]] = {}
    with open_database(url, read_only=True) as database, database.read() as connection:
        for table in Base.metadata.sorted_tables:
            names = [column.name for column in table.primary_key.columns]
            found[table.name] = {
                tuple(row[name] for name in names): tuple(row.values())
                for row in connection.execute(sa.select(table)).mappings()
            }
    return found


def test_refits_add_rows_and_change_none(small_url: str) -> None:
    before = contents(small_url)
    with Registry(small_url) as registry:
        registry.refit(FitSettings(snr=50.0))
        registry.refit(FitSettings(max_sep_arcsec=0.08))
    after = contents(small_url)
    assert len(after["coefficient_sets"]) == 15
    assert len(after["pair_groups"]) > len(before["pair_groups"])
    for table, rows in before.items():
        kept = {key: after[table][key] for key in rows}
        assert kept == rows, table


def test_earlier_versions_keep_their_numbers(db_url: str, small_files: Files) -> None:
    with Registry(db_url) as registry:
        registry.ingest(small_files.select(epoch=1) + small_files.select(epoch=2))
        registry.refit()
        first = {row.set_id: row for row in registry.coefficients()}
        registry.ingest(small_files.select(epoch=3))
        registry.refit()
        second = {row.set_id: row for row in registry.coefficients()}
        everything = registry.coefficients(all_versions=True)
    assert not first.keys() & second.keys()
    assert {row.status for row in (first | second).values()} == {"current"}
    assert len(everything) == 10
    for row in everything:
        if row.set_id in first:
            assert row.status == "superseded"
            assert asdict(row) == asdict(first[row.set_id]) | {"status": "superseded"}
        else:
            assert row == second[row.set_id]
            assert row.version == 2


def test_as_of_answers_what_was_answered_then(small_url: str) -> None:
    with Registry(small_url) as registry:
        answers: list[tuple[datetime, list[CoefficientsRow]]] = []
        for settings in (FitSettings(mag_limit=21.0), FitSettings(mag_limit=21.5)):
            answers.append((datetime.now(UTC), registry.coefficients()))
            registry.refit(settings)
        answers.append((datetime.now(UTC), registry.coefficients()))
        for moment, rows in answers:
            assert registry.coefficients(as_of_utc=moment) == rows
        earliest = min(row.created_utc for row in registry.coefficients(all_versions=True))
        assert registry.coefficients(as_of_utc=earliest - timedelta(microseconds=1)) == []
        middle = answers[1]
        both = registry.coefficients(as_of_utc=middle[0], all_versions=True)
        history = registry.history("F444W", "long", as_of_utc=middle[0])
    assert [row.version for row in both] == [1, 2] * 5
    assert {(row.version, row.status) for row in both} == {(1, "superseded"), (2, "current")}
    (then,) = [row for row in middle[1] if row.band == "F444W"]
    assert [row.set_id for row in history] == [then.set_id]
    assert len({row.set_id for _, rows in answers for row in rows}) == 15


def test_set_ids_are_the_same_in_any_registry(small: Prepared, db_url: str) -> None:
    with Registry(db_url) as registry:
        registry.ingest(list(reversed(small.files.paths)))
        registry.refit()
        ours = {row.set_id for row in registry.coefficients()}
    with Registry(small.url, read_only=True) as registry:
        assert {row.set_id for row in registry.coefficients()} == ours

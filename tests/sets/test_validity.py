"""Acceptance and withdrawal: what is used, what is refused, what was the answer then."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from calreg import Registry
from calreg.db.engine import open_database
from calreg.db.schema import AcceptanceRow, CoefficientSetRow, FieldRow, WithdrawalRow
from calreg.errors import (
    ConflictError,
    InvalidValueError,
    NoCalibrationError,
    UnknownKeyError,
)
from calreg.files.exchange.recipe import read_recipe
from calreg.instruments import load_instrument
from support.registryrows import MOMENT, add
from support.setrows import SetRows, exported_offset

if TYPE_CHECKING:
    from pathlib import Path


WHY = "all three epochs agree"


def statuses(registry: Registry, as_of_utc: datetime | None = None) -> dict[str, str]:
    """Return the status of every set by context and version."""
    rows = registry.coefficients(all_versions=True, as_of_utc=as_of_utc)
    return {f"{row.pmap[5:9]} v{row.version}": row.status for row in rows}


# --- status ---------------------------------------------------------------------------------------


def test_without_any_promotion_the_newest_is_current(db_url: str, rows_of: dict[str, str]) -> None:
    with Registry(db_url, read_only=True) as registry:
        assert statuses(registry) == {
            "1130 v1": "superseded",
            "1130 v2": "current",
            "1298 v1": "current",
        }
        assert [row.set_id for row in registry.coefficients()] == [rows_of["v2"], rows_of["later"]]


def test_a_promoted_set_wins_over_a_newer_one(
    db_url: str, rows_of: dict[str, str], tmp_path: Path
) -> None:
    with Registry(db_url) as registry:
        report = registry.promote(rows_of["v1"], reason=WHY)
        assert (report.outcome, report.accepted_from, report.accepted_to) == (
            "accepted",
            "jwst_1130.pmap",
            "jwst_1130.pmap",
        )
        assert statuses(registry) == {
            "1130 v1": "current",
            "1130 v2": "candidate",
            "1298 v1": "current",
        }
        assert exported_offset(registry, tmp_path / "out.ecsv", "1130") == 0.010
        (row,) = registry.coefficients(pmap="1130")
        assert (row.set_id, row.accepted_for, row.acceptance_reason) == (
            rows_of["v1"],
            "jwst_1130.pmap",
            WHY,
        )
        # Again: nothing happens, and it says so.
        again = registry.promote(rows_of["v1"][:8], reason="once more")
        assert (again.outcome, again.moment_utc) == ("unchanged", report.moment_utc)


def test_a_promoted_set_is_used_over_its_whole_range(
    db_url: str, rows_of: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "out.ecsv"
    with Registry(db_url) as registry:
        with pytest.raises(NoCalibrationError, match=r"no coefficient set for jwst_1253\.pmap"):
            registry.export_recipe(path, pmap="1253")
        registry.promote(rows_of["v2"], reason=WHY, pmap_to="1298")
        assert statuses(registry) == {
            "1130 v1": "superseded",
            "1130 v2": "current",
            "1298 v1": "candidate",
        }
        for pmap in ("1130", "1200", "1253", "1298"):
            assert exported_offset(registry, path, pmap) == 0.020
        with pytest.raises(NoCalibrationError, match=r"no coefficient set for jwst_1400\.pmap"):
            registry.export_recipe(path, pmap="1400", overwrite=True)


def test_a_withdrawn_set_is_replaced_by_nothing(
    db_url: str, rows_of: dict[str, str], tmp_path: Path
) -> None:
    with Registry(db_url) as registry:
        report = registry.withdraw(rows_of["v2"], reason="scattered light in epoch 2")
        assert report.outcome == "withdrawn"
        assert statuses(registry) == {
            "1130 v1": "superseded",
            "1130 v2": "withdrawn",
            "1298 v1": "current",
        }
        assert registry.coefficients(pmap="1130") == []
        with pytest.raises(NoCalibrationError) as refused:
            registry.export_recipe(tmp_path / "out.ecsv", pmap="1130")
        for words in ("F150W array 1", rows_of["v2"], "withdrawn", "scattered light in epoch 2"):
            assert words in str(refused.value)
        assert not (tmp_path / "out.ecsv").exists()
        withdrawn = next(r for r in registry.coefficients(all_versions=True) if r.withdrawn_utc)
        assert withdrawn.withdrawal_reason == "scattered light in epoch 2"
        assert withdrawn.withdrawn_utc == report.moment_utc
        # An older version takes its place when somebody says so.
        registry.promote(rows_of["v1"], reason="not touched by the scattered light")
        assert exported_offset(registry, tmp_path / "out.ecsv", "1130") == 0.010


def test_withdrawing_an_accepted_set_leaves_the_newer_one_a_candidate(
    db_url: str, rows_of: dict[str, str], tmp_path: Path
) -> None:
    with Registry(db_url) as registry:
        registry.promote(rows_of["v1"], reason=WHY)
        registry.withdraw(rows_of["v1"], reason="wrong flat")
        assert statuses(registry)["1130 v2"] == "candidate"
        with pytest.raises(NoCalibrationError, match=r"candidate only; set .* withdrawn: wrong"):
            registry.export_recipe(tmp_path / "out.ecsv", pmap="1130")
        registry.promote(rows_of["v2"], reason="fitted with the right flat")
        assert exported_offset(registry, tmp_path / "out.ecsv", "1130") == 0.020


def test_withdrawals_are_idempotent_and_can_be_taken_back(
    db_url: str, rows_of: dict[str, str]
) -> None:
    with Registry(db_url) as registry:
        first = registry.withdraw(rows_of["v2"], reason="wrong flat")
        again = registry.withdraw(rows_of["v2"], reason="wrong flat")
        assert (again.outcome, again.moment_utc) == ("unchanged", first.moment_utc)
        with pytest.raises(ConflictError, match="already: wrong flat"):
            registry.withdraw(rows_of["v2"], reason="something else")
        with pytest.raises(ConflictError, match=r"withdrawn .*wrong flat.*--reinstate"):
            registry.promote(rows_of["v2"], reason=WHY)
        registry.promote(rows_of["v2"], reason=WHY, reinstate=True)
        assert statuses(registry)["1130 v2"] == "current"
        # And withdrawn once more: both withdrawals stay on record.
        registry.withdraw(rows_of["v2"], reason="wrong after all")
    with open_database(db_url) as database, database.read() as connection:
        stored = connection.execute(
            sa.select(WithdrawalRow.reason, WithdrawalRow.end_reason).order_by(WithdrawalRow.id)
        ).all()
    assert [tuple(row) for row in stored] == [
        ("wrong flat", f"it was accepted: {WHY}"),
        ("wrong after all", None),
    ]


def test_barred_arrays_can_be_left_out_by_request(db_url: str, tmp_path: Path) -> None:
    with open_database(db_url) as database, database.write() as connection:
        rows = SetRows(connection)
        bad = rows.add_set(1130)
        good = rows.add_set(1130, array_id="2", offset_mag=0.020)
    with Registry(db_url) as registry:
        registry.withdraw(bad, reason="wrong flat")
        for name, export in (("r.ecsv", registry.export_recipe), ("g.yml", registry.export_grizli)):
            path = tmp_path / name
            with pytest.raises(NoCalibrationError, match="wrong flat"):
                export(path, pmap="1130")
            delivery = export(path, pmap="1130", leave_out=True)
            (reason,) = delivery.left_out
            assert reason.startswith(f"F150W array 1: set {bad} (version 1) was withdrawn")
            assert delivery.n_sets == 1
            # The file itself says so.
            text = path.read_text()
            assert good in text
            assert "wrong flat" in text
        # Nothing at all is never a file.
        registry.withdraw(good, reason="wrong flat too")
        with pytest.raises(NoCalibrationError, match="wrong flat too"):
            registry.export_recipe(tmp_path / "none.ecsv", pmap="1130", leave_out=True)


def test_exports_name_the_context_of_the_measurement(
    db_url: str, rows_of: dict[str, str], tmp_path: Path
) -> None:
    with Registry(db_url) as registry:
        registry.promote(rows_of["v2"], reason=WHY, pmap_to="1298")
        registry.export_recipe(tmp_path / "r.ecsv", pmap="1298")
        registry.export_grizli(tmp_path / "g.yml", pmap="1298")
    meta = read_recipe(tmp_path / "r.ecsv", load_instrument()).meta
    assert meta["pmap"] == "jwst_1298.pmap"
    assert meta["provenance"]["1 f150w"]["pmap"] == "jwst_1130.pmap"  # type: ignore[index]
    text = (tmp_path / "g.yml").read_text()
    assert "CRDS_CTX: jwst_1298.pmap" in text
    assert "measured under jwst_1130.pmap, accepted for jwst_1298.pmap" in text


def test_history_shows_what_was_measured(db_url: str, rows_of: dict[str, str]) -> None:
    with Registry(db_url) as registry:
        registry.promote(rows_of["v1"], reason=WHY, pmap_to="1298")
        measured = {
            row.pmap[5:9]: row.offset_ab_mag
            for row in registry.history("F150W", "1")
            if row.set_id is not None
        }
        # The accepted one under 1130, the candidate of 1298 itself.
        assert measured == {"1130": 0.010, "1298": 0.030}
        registry.withdraw(rows_of["later"], reason="wrong flat")
        measured = {row.pmap[5:9]: row.offset_ab_mag for row in registry.history("F150W", "1")}
        assert measured["1298"] is None


# --- as of ----------------------------------------------------------------------------------------


def test_every_earlier_answer_can_be_had(
    db_url: str, rows_of: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "out.ecsv"
    with Registry(db_url) as registry:
        accepted = registry.promote(rows_of["v1"], reason=WHY).moment_utc
        withdrawn = registry.withdraw(rows_of["v1"], reason="wrong flat").moment_utc
        just = timedelta(microseconds=1)
        assert accepted < withdrawn
        # Half-open: in force at its first moment, over at its last.
        for moment, expected in (
            (accepted - just, {"1130 v1": "superseded", "1130 v2": "current"}),
            (accepted, {"1130 v1": "current", "1130 v2": "candidate"}),
            (withdrawn - just, {"1130 v1": "current", "1130 v2": "candidate"}),
            (withdrawn, {"1130 v1": "withdrawn", "1130 v2": "candidate"}),
        ):
            found = statuses(registry, moment)
            assert {name: found[name] for name in expected} == expected, moment
        before = exported_offset(registry, path, "1130", as_of_utc=accepted - just)
        then = exported_offset(registry, path, "1130", as_of_utc=accepted)
        assert (before, then) == (0.020, 0.010)
        report = registry.validity(rows_of["v1"], as_of_utc=accepted)
        assert (report.status, report.accepted_for) == ("current", "jwst_1130.pmap")
        now = registry.validity(rows_of["v1"])
        assert (now.status, now.accepted_for, now.withdrawal_reason) == (
            "withdrawn",
            None,
            "wrong flat",
        )
        with pytest.raises(UnknownKeyError, match="after the time"):
            registry.validity(rows_of["v1"], as_of_utc=datetime(2023, 1, 1, tzinfo=UTC))


# --- one accepted set for a key -------------------------------------------------------------------


def test_accepted_ranges_do_not_overlap(db_url: str, rows_of: dict[str, str]) -> None:
    with Registry(db_url) as registry:
        registry.promote(rows_of["v1"], reason=WHY, pmap_to="1253")
        with pytest.raises(ConflictError) as refused:
            registry.promote(rows_of["later"], reason=WHY, pmap_from="1200")
        for words in (rows_of["v1"], "jwst_1130.pmap to jwst_1253.pmap", WHY, "--replace"):
            assert words in str(refused.value)
        # Side by side they may stand.
        registry.promote(rows_of["later"], reason=WHY)
        assert statuses(registry) == {
            "1130 v1": "current",
            "1130 v2": "candidate",
            "1298 v1": "current",
        }
        report = registry.promote(rows_of["v2"], reason="better", pmap_to="1298", replace=True)
        assert sorted(report.replaced) == sorted(
            [
                f"{rows_of['v1']} (jwst_1130.pmap to jwst_1253.pmap)",
                f"{rows_of['later']} (jwst_1298.pmap)",
            ]
        )
        assert statuses(registry) == {
            "1130 v1": "superseded",
            "1130 v2": "current",
            "1298 v1": "candidate",
        }


def test_a_new_range_of_the_same_set_takes_the_place_of_the_old(
    db_url: str, rows_of: dict[str, str]
) -> None:
    with Registry(db_url) as registry:
        registry.promote(rows_of["v1"], reason=WHY, pmap_to="1298")
        registry.promote(rows_of["v1"], reason="shorter", pmap_to="1253")
        (row,) = registry.coefficients(pmap="1130")
        assert (row.accepted_from, row.accepted_to) == ("jwst_1130.pmap", "jwst_1253.pmap")
        # The newest of 1298 was a candidate for a while; it stays one until it is promoted.
        assert statuses(registry)["1298 v1"] == "candidate"
        assert registry.stats().n_rows["acceptances"] == 2


def test_the_accepted_one_of_two_fields_is_taken(db_url: str, tmp_path: Path) -> None:
    with open_database(db_url) as database, database.write() as connection:
        rows = SetRows(connection)
        north = rows.add_set(1130, offset_mag=0.010, field="North")
        rows.add_set(1130, offset_mag=0.020, field="South")
    path = tmp_path / "out.ecsv"
    with Registry(db_url) as registry:
        with pytest.raises(InvalidValueError, match=r"two current sets.*calreg promote"):
            exported_offset(registry, path, "1130")
        registry.promote(north, reason=WHY)
        assert exported_offset(registry, path, "1130") == 0.010
        # Whoever asks for the other field gets it.
        assert exported_offset(registry, path, "1130", field="South") == 0.020


def test_what_a_promotion_rested_on_is_kept(db_url: str, rows_of: dict[str, str]) -> None:
    with Registry(db_url) as registry:
        registry.promote(rows_of["v1"], reason=WHY, pmap_to="1253")
    with open_database(db_url) as database, database.read() as connection:
        basis = json.loads(connection.scalar(sa.select(AcceptanceRow.basis)) or "")
    assert [(row["pmap"], row["status"], row["photmjsr_b"]) for row in basis] == [
        ("jwst_1130.pmap", "own", 2.447),
        ("jwst_1200.pmap", "between", None),
        ("jwst_1253.pmap", "equal", 2.447),
    ]


# --- names of sets, clocks ------------------------------------------------------------------------


def test_sets_are_named_by_id_or_its_beginning(db_url: str) -> None:
    with open_database(db_url) as database, database.write() as connection:
        rows = SetRows(connection)
        one = rows.add_set(set_id="abcd1111-0000-5000-8000-000000000000")
        rows.add_set(version=2, set_id="abcd2222-0000-5000-8000-000000000000")
    with Registry(db_url, read_only=True) as registry:
        assert registry.validity("ABCD1").set_id == one
        with pytest.raises(InvalidValueError, match=r"start of several.*abcd1111.*abcd2222"):
            registry.validity("abcd")
        for text in ("abc", "", "F150W", "abcd%"):
            with pytest.raises(InvalidValueError, match="no set id"):
                registry.validity(text)
        with pytest.raises(UnknownKeyError, match="there is no set 9999"):
            registry.validity("9999")


def test_times_never_run_backwards(db_url: str, rows_of: dict[str, str]) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=20)
    with open_database(db_url) as database, database.write() as connection:
        set_pk = connection.scalar(sa.select(sa.func.max(CoefficientSetRow.id)))
        add(connection, WithdrawalRow, set_pk=set_pk, reason=WHY, withdrawn_utc=soon)
    with Registry(db_url) as registry:
        report = registry.promote(rows_of["v1"], reason=WHY)
        assert report.moment_utc == soon + timedelta(microseconds=1)
    with open_database(db_url) as database, database.write() as connection:
        far = {"ended_utc": datetime.now(UTC) + timedelta(hours=2)}
        connection.execute(sa.update(WithdrawalRow).values(**far))
    with Registry(db_url) as registry, pytest.raises(InvalidValueError, match="set the clock"):
        registry.withdraw(rows_of["v1"], reason="wrong flat")


@pytest.mark.usefixtures("rows_of")
def test_a_merged_field_is_superseded_as_before(db_url: str) -> None:
    with open_database(db_url) as database, database.write() as connection:
        kept = add(connection, FieldRow, name="North")
        merged = {"merged_into_id": kept, "merged_utc": MOMENT}
        connection.execute(sa.update(FieldRow).where(FieldRow.id != kept).values(**merged))
    with Registry(db_url, read_only=True) as registry:
        assert set(statuses(registry).values()) == {"superseded"}
        assert statuses(registry, MOMENT - timedelta(seconds=1))["1130 v2"] == "current"

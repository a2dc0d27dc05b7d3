"""For which contexts a set may be used: what PHOTMJSR say, and what a promotion may ask for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from calreg import Registry
from calreg.db.engine import open_database
from calreg.db.schema import CoefficientSetRow, ExposureRow, SetInputRow
from calreg.errors import InvalidValueError, NoCalibrationError
from support.contextrows import ContextRows
from support.registryrows import add_pairs
from support.setrows import SetRows, exported_offset

if TYPE_CHECKING:
    from pathlib import Path

WHY = "all three epochs agree"


def test_the_range_ends_before_what_differs(db_url: str, rows_of: dict[str, str]) -> None:
    with Registry(db_url, read_only=True) as registry:
        report = registry.validity(rows_of["v1"])
    assert (report.pmap_from, report.pmap_to) == ("jwst_1130.pmap", "jwst_1298.pmap")
    assert [(row.number, row.status) for row in report.contexts] == [
        (1126, "differs"),
        (1130, "own"),
        (1200, "between"),
        (1253, "equal"),
        (1298, "equal"),
        (1400, "differs"),
    ]
    assert "jwst_1126.pmap differs: A +0.0054 mag, B +0.0031 mag" in report.why_from
    # B has 2.450 instead of 2.447: brighter by 1.33 mmag.
    assert "jwst_1400.pmap differs: A -0.0000 mag, B -0.0013 mag" in report.why_to
    between = report.contexts[2]
    assert (between.photmjsr_a, between.photmjsr_b) == (2.412, None)
    assert "nrcb1" in between.basis
    assert "not recorded" in between.basis


def test_a_context_that_is_not_recorded_ends_the_range(db_url: str) -> None:
    with open_database(db_url) as database, database.write() as connection:
        rows = SetRows(connection)
        set_id = rows.add_set(1130)
        rows.add_zero_points(1130, 2.412, 2.447)
        rows.add_zero_points(1200, 2.412, None)
        unknown = rows.add_set(9999, band="F150W", array_id="1")
        rows.add_zero_points(10000, 2.412, 2.447)
    with Registry(db_url) as registry:
        # 10000 comes after 1200, as an integer.
        report = registry.validity(set_id)
        assert (report.pmap_from, report.pmap_to) == ("jwst_1130.pmap", "jwst_10000.pmap")
        assert report.why_from == "no earlier context is recorded"
        assert report.why_to == "no later context is recorded"
        # A set whose own PHOTMJSR are not recorded is good for its own context only.
        report = registry.validity(unknown)
        assert (report.pmap_from, report.pmap_to) == ("jwst_9999.pmap", "jwst_9999.pmap")
        assert "jwst_9999.pmap is not recorded" in report.why_to
        with pytest.raises(InvalidValueError, match=r"as far as jwst_9999\.pmap only"):
            registry.promote(unknown, reason=WHY, pmap_to="10000")
        registry.promote(unknown, reason=WHY)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"pmap_to": "1400"}, r"cannot be accepted for jwst_1400.*as far as jwst_1298.*differs"),
        ({"pmap_from": "1126"}, r"cannot be accepted for jwst_1126.*as far as jwst_1130"),
        ({"pmap_to": "1310"}, r"cannot be accepted for jwst_1310"),
        ({"pmap_from": "1200", "pmap_to": "1253"}, r"the range must hold that context"),
        ({"is_open": True}, r"open end.*jwst_1400\.pmap differs.*--to jwst_1298\.pmap"),
        ({"is_open": True, "pmap_to": "1298"}, r"both open and"),
        ({"reason": "  "}, "a reason is needed"),
    ],
)
def test_ranges_that_are_refused(
    db_url: str, rows_of: dict[str, str], options: dict[str, object], match: str
) -> None:
    with Registry(db_url) as registry:
        with pytest.raises(InvalidValueError, match=match):
            registry.promote(rows_of["v1"], **({"reason": WHY} | options))  # type: ignore[arg-type]
        assert registry.stats().n_rows["acceptances"] == 0


def test_an_open_end_is_taken_on_trust_until_a_value_differs(db_url: str, tmp_path: Path) -> None:
    with open_database(db_url) as database, database.write() as connection:
        rows = SetRows(connection)
        set_id = rows.add_set(1130, offset_mag=0.010)
        rows.add_zero_points(1130, 2.412, 2.447)
        rows.add_zero_points(1200, 2.412, None)
    path = tmp_path / "out.ecsv"
    with Registry(db_url) as registry:
        report = registry.promote(set_id, reason=WHY, is_open=True)
        (warning,) = report.warnings
        assert "jwst_1200.pmap is newer and was seen" in warning
        assert (report.accepted_from, report.accepted_to) == ("jwst_1130.pmap", None)
        assert exported_offset(registry, path, "1200") == 0.010
        assert exported_offset(registry, path, "10000") == 0.010
    with open_database(db_url) as database, database.write() as connection:
        SetRows(connection).add_zero_points(1200, 2.500, 2.447)
    with Registry(db_url) as registry:
        with pytest.raises(NoCalibrationError, match=r"1200\.pmap conflict.*PHOTMJSR disagree"):
            exported_offset(registry, path, "1200")
        with pytest.raises(NoCalibrationError, match=r"no longer known to be equal"):
            exported_offset(registry, path, "10000")
        assert exported_offset(registry, path, "1130") == 0.010


def test_declared_equalities_count_and_are_named(db_url: str, tmp_path: Path) -> None:
    with open_database(db_url) as database, database.write() as connection:
        rows = SetRows(connection)
        set_id = rows.add_set(1130, offset_mag=0.010)
        rows.add_zero_points(1298, 2.412, 2.447)
        rows.add_zero_points(1300, 2.412, 2.447)
        contexts = ContextRows(connection)
    with Registry(db_url) as registry:
        alone = registry.validity(set_id)
        assert (alone.pmap_from, alone.pmap_to) == ("jwst_1130.pmap", "jwst_1130.pmap")
        assert "PHOTMJSR of nrca1 F150W under jwst_1130.pmap is not recorded" in alone.why_to
    with open_database(db_url) as database, database.write() as connection:
        contexts = ContextRows(connection)
        contexts.equality("1130", "1298", "no delivery between them")
    path = tmp_path / "out.ecsv"
    with Registry(db_url) as registry:
        report = registry.validity(set_id)
        assert (report.pmap_to, report.why_to) == (
            "jwst_1300.pmap",
            "no later context is recorded",
        )
        assert [row.status for row in report.contexts] == ["own", "equal", "equal"]
        for row in report.contexts[1:]:
            assert "declared equal: jwst_1130.pmap = jwst_1298.pmap" in row.basis
            assert "no delivery between them" in row.basis
        registry.promote(set_id, reason=WHY, pmap_to="1300")
        assert exported_offset(registry, path, "1300") == 0.010
    # Without the declaration the range has nothing to stand on, and the set is not used there.
    with open_database(db_url) as database, database.write() as connection:
        connection.exec_driver_sql(
            "UPDATE pmap_equalities SET withdrawn_utc = declared_utc, withdrawn_reason = 'wrong'"
        )
    with Registry(db_url) as registry:
        with pytest.raises(NoCalibrationError, match=r"no longer known.*1130\.pmap is not"):
            exported_offset(registry, path, "1300")
        assert exported_offset(registry, path, "1130") == 0.010


def test_values_agree_to_their_precision(db_url: str) -> None:
    with open_database(db_url) as database, database.write() as connection:
        contexts = ContextRows(connection)
        set_id = SetRows(connection).add_set(1130, band="F200W", filter="F200W")
        digits = {"kind": "published", "filter": "F200W", "band": "F200W"}
        for array in ("nrca1", "nrcb1"):
            contexts.photmjsr("1130", array, 2.0563, photmjsr_half_width=0.00005, **digits)
            # Four digits: 2.056 may be 2.0563; 2.057 may not.
            contexts.photmjsr("1298", array, 2.056, photmjsr_half_width=0.0005, **digits)
            contexts.photmjsr("1400", array, 2.057, photmjsr_half_width=0.0005, **digits)
    with Registry(db_url, read_only=True) as registry:
        report = registry.validity(set_id)
    assert [row.status for row in report.contexts] == ["own", "equal", "differs"]
    assert report.pmap_to == "jwst_1298.pmap"


@pytest.mark.parametrize(("subarray", "last"), [("FULL", 1298), ("SUB160", 1130)])
def test_the_subarray_of_the_measurement_counts(db_url: str, subarray: str, last: int) -> None:
    """Under 1298 only SUB160 has another PHOTMJSR: sets of full frames hold, those of it do not."""
    with open_database(db_url) as database, database.write() as connection:
        group_id = add_pairs(connection, 2)
        connection.execute(sa.update(ExposureRow).values(subarray=subarray))
        set_id = SetRows(connection).add_set(1130, field="Subarrays")
        set_pk = connection.scalar(sa.select(CoefficientSetRow.id))
        link = {"set_pk": set_pk, "group_id": group_id, "n_used": 2}
        connection.execute(sa.insert(SetInputRow).values(**link))
        contexts = ContextRows(connection)
        of_band = {"filter": "F150W", "band": "F150W"}
        for array in ("nrca1", "nrcb1"):
            for pmap, name, value in (
                ("1130", "FULL", 2.412),
                ("1298", "FULL", 2.412),
                ("1130", "SUB160", 2.500),
                ("1298", "SUB160", 2.510),
            ):
                contexts.photmjsr(pmap, array, value, subarray=name, **of_band)
    with Registry(db_url, read_only=True) as registry:
        report = registry.validity(set_id)
    assert report.pmap_to == f"jwst_{last}.pmap"
    later = report.contexts[-1]
    assert (later.number, later.status) == (1298, "equal" if last == 1298 else "differs")
    expected = 0.0 if last == 1298 else -2.5 * math.log10(2.510 / 2.500)
    assert later.change_a_mag == pytest.approx(expected, abs=1e-12)


# --- real values ----------------------------------------------------------------------------------


def test_the_paper_is_not_good_for_later_contexts(db_url: str, shared_data: Path) -> None:
    """With 1130 = 1298 declared, sets of 1130 hold to 1298 and end before 1568 and 1595."""
    with open_database(db_url) as database, database.write() as connection:
        rows = SetRows(connection)
        ids = {band: rows.add_set(1130, band=band, filter=band) for band in ("F150W", "F200W")}
        ContextRows(connection).equality("1130", "1298", "no NIRCam photom delivery is known")
    with Registry(db_url) as registry:
        registry.ingest(shared_data / "photmjsr_history.csv")
        f150w, f200w = (registry.validity(set_id) for set_id in ids.values())
    # B1 F200W: 2.0223 under 0989, 2.056 under 1126: brighter by 17.9 mmag.
    rows_by_pmap = {row.number: row for row in f200w.contexts}
    assert rows_by_pmap[989].status == "differs"
    assert rows_by_pmap[989].change_b_mag == pytest.approx(0.0179, abs=1e-4)
    assert f200w.pmap_to == "jwst_1298.pmap"
    assert f200w.why_to.startswith("jwst_1568.pmap differs: A ")
    assert f150w.pmap_to == "jwst_1298.pmap"
    assert "differs: A " in f150w.why_to
    assert "declared equal: jwst_1130.pmap = jwst_1298.pmap" in rows_by_pmap[1298].basis

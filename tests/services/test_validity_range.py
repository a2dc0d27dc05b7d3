"""For which contexts a set may be used: what PHOTMJSR say, and what a promotion may ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from calreg import Registry
from calreg.db.engine import open_database
from calreg.errors import InvalidValueError, NoCalibrationError
from setrows import SetRows, exported_offset

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

"""The published offsets of jwst_1130 under the contexts of 2026, from the numbers that we ship."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import pytest

from calreg import Registry
from calreg.domain import Status
from calreg.facts.published import copy_facts
from calreg.files.exchange.recipe import read_recipe
from calreg.instruments import load_instrument
from calreg.science.zeropoints import absorption

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.contexts.prediction import Prediction

REASON = "NRCB1 F200W is 2.0560 under both"

# (band, array id): published, change since, what remains, its error [mag]; worked out by hand from
# Table 3 of the paper and PHOTMJSR of four digits.
EXPECTED = {
    ("F200W", "1"): (0.01534, -0.01042, 0.00492, 0.00116),
    ("F200W", "2"): (-0.05267, 0.04883, -0.00384, 0.00121),
    ("F200W", "3"): (0.01397, -0.01862, -0.00465, 0.00118),
    ("F200W", "4"): (-0.03045, 0.02099, -0.00947, 0.00162),
    ("F150W", "1"): (0.01296, -0.01430, -0.00134, 0.00158),
    ("F150W", "2"): (-0.04342, 0.03475, -0.00867, 0.00151),
    ("F150W", "3"): (0.02193, -0.01675, 0.00518, 0.00230),
    ("F150W", "4"): (-0.05013, 0.02198, -0.02815, 0.00233),
}


@pytest.fixture
def carried(db_url: str, tmp_path: Path) -> list[Prediction]:
    offsets, photmjsr, references = copy_facts(tmp_path)
    with Registry(db_url) as registry:
        registry.import_recipe(offsets, pmap="1130", source="Ma et al. 2024")
        report = registry.ingest([photmjsr, references])
        assert report.refused == []
        assert [outcome.warnings for outcome in report.loaded] == [(), ()]
        before = registry.predict("1568", pmap_from="1130", band="F200W")
        assert {row.status for row in before} == {Status.UNKNOWN}, "1130 itself is not recorded"
        registry.declare_equal("1130", "1298", reason=REASON)
        return [
            row
            for band, pmap in (("F200W", 1568), ("F150W", 1595), ("F356W", 1581), ("F444W", 1581))
            for row in registry.predict(str(pmap), pmap_from="1130", band=band)
        ]


def test_what_remains_of_every_key(carried: list[Prediction]) -> None:
    found = {(row.band, row.array_id): row for row in carried}
    for key, (published, change, remains, err) in EXPECTED.items():
        row = found.pop(key)
        assert row.status is Status.OK
        assert row.offset_ab_mag == pytest.approx(published, abs=6e-6)
        assert row.change_ab_mag == pytest.approx(change, abs=6e-6)
        assert row.predicted_offset_ab_mag == pytest.approx(remains, abs=6e-6)
        assert row.predicted_err_mag == pytest.approx(err, abs=6e-6)
        assert f"declared equal: jwst_1130.pmap = jwst_1298.pmap ({REASON})" in row.basis
    assert set(found) == {("F356W", "long"), ("F444W", "long")}
    for row in found.values():
        assert row.status is Status.UNKNOWN
        assert row.predicted_offset_ab_mag is None
        assert row.old_correction_error_percent is None
        assert "PHOTMJSR of nrcblong" in row.reason


def test_todays_contexts_have_taken_the_offsets_up(carried: list[Prediction]) -> None:
    known = [row for row in carried if row.change_ab_mag is not None]
    found = absorption(
        [row.offset_ab_mag for row in known], [row.change_ab_mag or 0.0 for row in known]
    )
    assert found.n_keys == 8
    assert found.correlation == pytest.approx(-0.960, abs=5e-4)
    # About their mean 31 mmag become 10; about zero it is 34 and 11.
    assert found.scatter_before_mag == pytest.approx(0.0308, abs=5e-5)
    assert found.scatter_after_mag == pytest.approx(0.0099, abs=5e-5)
    assert found.rms_before_mag == pytest.approx(0.0339, abs=5e-5)
    assert found.rms_after_mag == pytest.approx(0.0114, abs=5e-5)


def test_the_old_correction_puts_an_error_back_in(carried: list[Prediction]) -> None:
    errors = {
        (row.band, row.array_id): row.old_correction_error_percent
        for row in carried
        if row.old_correction_error_percent is not None
    }
    worst = max(errors, key=lambda key: abs(errors[key]))
    assert worst == ("F200W", "2")
    # A was too bright by 0.053 mag and is by 0.004: dimmed by 0.053 it is 0.049 mag too faint.
    assert errors[worst] == pytest.approx(100.0 * (10.0 ** (-0.4 * 0.04883) - 1.0), abs=1e-3)
    assert errors[worst] == pytest.approx(-4.4, abs=0.01)
    # Arrays 1 and 2 err in opposite senses: 5.4 % between them.
    assert errors["F200W", "1"] - errors["F200W", "2"] == pytest.approx(5.36, abs=0.01)


def test_shipped_numbers_are_those_of_the_sources(shared_data: Path, tmp_path: Path) -> None:
    offsets, photmjsr, references = copy_facts(tmp_path)
    published = read_recipe(shared_data / "idf_zpcor_1130_pmap.ecsv", load_instrument())
    assert read_recipe(offsets, load_instrument()).rows == published.rows
    for ours, theirs in (
        (photmjsr, "photmjsr_history.csv"),
        (references, "nircam_bestrefs_4contexts.csv"),
    ):
        rows, known = _rows(ours), _rows(shared_data / theirs)
        names = (set(rows[0]) & set(known[0])) - {"pixar_sr"}
        facts = {tuple(row[name] for name in sorted(names)) for row in known}
        assert {tuple(row[name] for name in sorted(names)) for row in rows} <= facts


def _rows(path: Path) -> list[dict[str, str]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))

"""What was injected comes back, with its sign, its error, and what goes beside it."""

from __future__ import annotations

import functools
import json
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import sqlalchemy as sa

from calreg import Registry
from calreg.db.engine import open_database
from calreg.db.schema import PairRow, SourceRow, VariableSourceRow
from calreg.domain import Pmap
from calreg.files.exchange.recipe import read_recipe
from calreg.instruments import load_instrument
from calreg.science.model.settings import FitSettings
from calreg.simulation.programme import TrueCoefficients
from support.programmes import (
    OLD_PMAP,
    PMAP,
    Prepared,
    dimmed,
    numbers,
    planted,
    small_programme,
    write_files,
)

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.sets.coefficients import CoefficientsRow
    from calreg.simulation.simulate import Programme, SimulatedMosaic
    from calreg.simulation.sources import SimulatedDetections

MAX_PULL = 4.0
"""A pull beyond four sigma in a dozen has odds of one in a thousand; the seeds are fixed."""


def answers(url: str, **wanted: str) -> list[CoefficientsRow]:
    with Registry(url, read_only=True) as registry:
        return registry.coefficients(**wanted)  # type: ignore[arg-type]


def test_all_keys_of_both_contexts_come_back_within_their_errors(jwidf: Prepared) -> None:
    rows = answers(jwidf.url)
    assert len(rows) == 20
    offset_pulls, slope_pulls = [], []
    for row in rows:
        truth = jwidf.files.programme.true_coefficients(row.pmap, row.band, row.array_id)
        offset_pulls.append((row.offset_ab_mag - truth.offset_ab_mag) / row.offset_ab_err_mag)
        if row.array_id == "long":
            slope = row.slope_mag_arcmin - truth.slope_mag_arcmin
            slope_pulls.append(slope / row.slope_err_mag_arcmin)
    assert {row.pmap for row in rows} == {OLD_PMAP, PMAP}
    pulls = np.array(offset_pulls + slope_pulls)
    assert np.abs(pulls).max() < MAX_PULL
    # Ten independent offsets and two slopes: an rms outside 0.5 ... 1.6 has odds below 1 in 100.
    assert 0.5 < math.sqrt(np.mean(np.array(offset_pulls) ** 2)) < 1.6
    assert len(slope_pulls) == 4


def test_slopes_are_fitted_in_the_long_channel_only(jwidf: Prepared) -> None:
    for row in answers(jwidf.url):
        if row.array_id == "long":
            assert row.slope_err_mag_arcmin > 0.0
            assert row.corr_offset_slope is not None
            # DESIGN: about 0.9 in size. Sources lie at |d| of 0.3 to 2.5 arcmin.
            assert -0.95 < row.corr_offset_slope < -0.75
            assert row.pivot_arcmin is not None
            assert 0.8 < row.pivot_arcmin < 2.0
            assert row.offset_pivot_mag == pytest.approx(
                row.offset_ab_mag + row.slope_mag_arcmin * row.pivot_arcmin, abs=1e-12
            )
            assert row.offset_pivot_err_mag is not None
            assert row.offset_pivot_err_mag < 0.7 * row.offset_ab_err_mag
        else:
            assert row.slope_mag_arcmin == 0.0
            assert row.slope_err_mag_arcmin == 0.0
            assert (row.corr_offset_slope, row.pivot_arcmin, row.offset_pivot_mag) == (None,) * 3


def test_errors_agree_with_the_bootstrap_and_the_covariance(jwidf: Prepared) -> None:
    for row in answers(jwidf.url):
        # The bootstrap has 2 x 19 or more sources to draw from: it knows an error to about 25 %.
        assert row.offset_bootstrap_err_mag == pytest.approx(row.offset_ab_err_mag, rel=0.5)
        assert 0.002 < row.floor_mag < 0.02
        assert row.scatter_mag > row.floor_mag / 1.5
    for key, values in numbers(jwidf.url).items():
        variance = values["cov ('offset_ab', 'offset_ab')"]
        assert values["offset_ab err"] == pytest.approx(math.sqrt(variance), rel=1e-12)
        if key[3] == "long":
            corr = values["cov ('offset_ab', 'slope')"] / (
                values["offset_ab err"] * values["slope err"]
            )
            assert corr == pytest.approx(values["corr_offset_slope"], abs=1e-9)


def test_the_floor_of_pairs_is_what_was_injected(jwidf: Prepared) -> None:
    """sqrt(2) times 4.5 mmag per measurement in F200W and 3.5 in F356W."""
    for band, expected in (("F200W", 0.00636), ("F356W", 0.00495)):
        floors = [row.floor_mag for row in answers(jwidf.url, band=band, pmap=PMAP)]
        assert np.mean(floors) == pytest.approx(expected, rel=0.3)


BIG_MAG = 0.2


def big_truth() -> tuple[TrueCoefficients, ...]:
    return (
        TrueCoefficients(PMAP, "F444W", "long", BIG_MAG, 0.01),
        TrueCoefficients(OLD_PMAP, "F444W", "long", 0.0, -0.01),
    )


def test_an_array_that_reads_too_faint_has_a_positive_offset(db_url: str, tmp_path: Path) -> None:
    programme = small_programme(
        5, bands=("F444W",), pmaps=(OLD_PMAP, PMAP), truth=big_truth(), n_epochs=2
    )
    files = write_files(programme, tmp_path / "files")
    with Registry(db_url) as registry:
        registry.ingest(list(files.paths))
        registry.refit()
        old, new = registry.coefficients()
        registry.export_recipe(tmp_path / "recipe.ecsv", pmap=PMAP)
        registry.export_grizli(tmp_path / "table.yml", pmap=PMAP)
        patches = registry.offsets(pmap=PMAP)
    assert new.offset_ab_mag == pytest.approx(BIG_MAG, abs=MAX_PULL * new.offset_ab_err_mag)
    assert new.slope_mag_arcmin == pytest.approx(0.01, abs=MAX_PULL * new.slope_err_mag_arcmin)
    assert new.slope_mag_arcmin > 3.0 * new.slope_err_mag_arcmin
    assert old.slope_mag_arcmin < -3.0 * old.slope_err_mag_arcmin
    (row,) = read_recipe(tmp_path / "recipe.ecsv", load_instrument()).rows
    assert row.offset_a_mag == new.offset_ab_mag > 0.19
    assert row.offset_b_mag == 0.0
    values = {
        line.split(":")[0].strip(): float(line.split(":")[1].split("#")[0])
        for line in (tmp_path / "table.yml").read_text().splitlines()
        if line.startswith("NRC")
    }
    assert new.offset_pivot_mag is not None
    # grizli divides: an array that reads too faint is divided by less than one.
    assert values["NRCALONG-F444W-CLEAR"] == pytest.approx(
        10.0 ** (-0.4 * new.offset_pivot_mag), abs=1e-5
    )
    assert values["NRCALONG-F444W-CLEAR"] < 0.85
    assert values["NRCBLONG-F444W-CLEAR"] == 1.0
    # Later minus earlier: B then A comes out faint, A then B bright.
    medians = {patch.array_i: patch.median_mag for patch in patches}
    assert medians["nrcblong"] is not None
    assert medians["nrcalong"] is not None
    assert medians["nrcblong"] > 0.15
    assert medians["nrcalong"] < -0.15


# --- three epochs ---------------------------------------------------------------------------------


def test_detections_shared_between_pairs_are_not_independent(jwidf: Prepared) -> None:
    """Epoch 2 is in both pairs: the error falls by sqrt(3) / 2, not by 1 / sqrt(2)."""
    with Registry(jwidf.url, read_only=True) as registry:
        versions = registry.coefficients(pmap=PMAP, all_versions=True)
    ratios = []
    for key in {(row.band, row.array_id) for row in versions}:
        two, three = [row for row in versions if (row.band, row.array_id) == key]
        assert (two.version, two.n_epochs) == (1, 2)
        assert (three.version, three.n_epochs) == (2, 3)
        assert 1.7 < three.n_pairs / two.n_pairs < 2.3
        ratios.append(three.offset_ab_err_mag / two.offset_ab_err_mag)
    # Floors are estimated anew, so a single ratio scatters by 15 %; their mean by 5 %.
    assert len(ratios) == 10
    assert np.mean(ratios) == pytest.approx(math.sqrt(3.0) / 2.0, abs=0.1)
    assert np.mean(ratios) > 0.76


def test_equal_rolls_check_the_time_term(jwidf: Prepared) -> None:
    for row in answers(jwidf.url):
        assert row.check_time_mag is not None
        assert row.check_time_err_mag is not None
        assert abs(row.check_time_mag) < MAX_PULL * row.check_time_err_mag
        assert row.check_time_err_mag < 0.004


def with_time_terms(*time_mag: float) -> tuple[TrueCoefficients, ...]:
    return (TrueCoefficients(PMAP, "F444W", "long", 0.02, 0.004, time_mag),)


def test_time_terms_are_fitted_on_request(db_url: str, tmp_path: Path) -> None:
    programme = small_programme(
        6, bands=("F444W",), truth=with_time_terms(0.0, 0.03, -0.02), n_epochs=3
    )
    files = write_files(programme, tmp_path / "files")
    with Registry(db_url) as registry:
        registry.ingest(list(files.paths))
        registry.refit()
        (fixed,) = registry.coefficients()
        registry.refit(FitSettings(time="fit"))
        (row,) = registry.coefficients()
        equal = [patch for patch in registry.offsets() if patch.relation == "equal"]
    assert (fixed.time_mag, fixed.time_err_mag, fixed.time_by_epoch_mag) == (0.0, 0.0, {})
    assert fixed.check_time_err_mag is not None
    # The check sees epoch 3 against 1, free of arrays, although the fit held time at zero.
    assert fixed.check_time_mag == pytest.approx(-0.02, abs=MAX_PULL * fixed.check_time_err_mag)
    assert list(row.time_by_epoch_mag) == ["2023-01-06", "2023-07-06"]
    values = numbers(db_url)["JWIDF", Pmap.parse(PMAP), "F444W", "long", "i2d", "iso"]
    for epoch, truth in (("2023-01-06", 0.03), ("2023-07-06", -0.02)):
        err = values[f"time:{epoch} err"]
        assert 0.0 < err < 0.003
        assert row.time_by_epoch_mag[epoch] == pytest.approx(truth, abs=MAX_PULL * err)
    assert row.time_mag == row.time_by_epoch_mag["2023-07-06"]
    assert row.time_err_mag == values["time:2023-07-06 err"]
    assert row.offset_ab_mag == pytest.approx(0.02, abs=MAX_PULL * row.offset_ab_err_mag)
    assert len(equal) == 2
    for patch in equal:
        assert patch.offset_ab_mag is None
        assert patch.time_mag == patch.median_mag == pytest.approx(-0.02, abs=0.004)


# --- variable sources -----------------------------------------------------------------------------


def varied(star: int, mosaic: SimulatedMosaic) -> SimulatedDetections:
    """Dim one star by 0.5 mag in epoch 3 of F444W; F200W sees no change."""
    detections = mosaic.detections
    if mosaic.band.name != "F444W" or mosaic.epoch.number != 3:
        return detections
    return dimmed(detections, np.flatnonzero(detections.source == star), 0.5)


def steady_star(programme: Programme) -> int:
    """Return a bright star that all epochs of the patch of A1 see in both bands."""
    seen: set[int] | None = None
    for mosaic in programme.mosaics:
        if mosaic.patch not in ("nrca1", "nrcalong"):
            continue
        found = mosaic.detections
        is_good = (found.flags == 0) & (found.source >= 0) & (found.mag_iso < 20.8)
        is_good &= programme.sky.variability_mag[found.source] == 0.0
        stars = {int(source) for source in found.source[is_good]}
        seen = stars if seen is None else seen & stars
    assert seen
    return min(seen)


def variable_places(url: str) -> set[tuple[float, float]]:
    with open_database(url, read_only=True) as database, database.read() as connection:
        statement = (
            sa.select(SourceRow.ra_deg, SourceRow.dec_deg)
            .join(VariableSourceRow, VariableSourceRow.source_id == SourceRow.id)
            .distinct()
        )
        return {(row.ra_deg, row.dec_deg) for row in connection.execute(statement)}


def test_variables_of_the_sky_are_found_and_left_out(jwidf: Prepared) -> None:
    sky, programme = jwidf.files.programme.sky, jwidf.files.programme
    bright: set[int] = set()
    for mosaic in programme.mosaics:
        detections = mosaic.detections
        is_good = (detections.flags == 0) & (detections.source >= 0) & (detections.mag_iso < 22.4)
        bright |= {int(source) for source in detections.source[is_good]}
    expected = {source for source in bright if sky.variability_mag[source] > 0.0}
    found = variable_places(jwidf.url)
    with Registry(jwidf.url, read_only=True) as registry:
        rows = registry.coefficients()
    assert len(expected) >= 3
    assert len(found) >= len(expected)
    places = [
        (m.detections.source, m.detections.ra_deg, m.detections.dec_deg) for m in programme.mosaics
    ]
    for source in expected:
        ra_deg, dec_deg = next(
            (float(ra[numbers_ == source][0]), float(dec[numbers_ == source][0]))
            for numbers_, ra, dec in places
            if (numbers_ == source).any()
        )
        sep = min(math.hypot((ra - ra_deg) * 0.36, dec - dec_deg) for ra, dec in found)
        assert sep * 3600.0 < 0.1
    assert sum(row.n_clipped for row in rows) >= 2 * 2 * len(expected)


def test_a_variable_of_one_band_and_epoch_is_left_out_of_all(db_url: str, tmp_path: Path) -> None:
    programme = small_programme()
    change = functools.partial(varied, steady_star(programme))
    files = write_files(planted(programme, change), tmp_path / "files")
    with Registry(db_url) as registry:
        registry.ingest(files.select(epoch=1) + files.select(epoch=2))
        before = registry.refit()
        first = {row.band + row.array_id: row for row in registry.coefficients()}
        registry.ingest(files.select(epoch=3, band="F444W"))
        report = registry.refit()
        second = {row.band + row.array_id: row for row in registry.coefficients()}
    assert before.pairing.n_variable > 0
    refitted = {(outcome.band, outcome.array_id): outcome.reason for outcome in report.fitted}
    # F200W got no new data: array 1 is fitted again because one of its sources proved variable.
    assert ("F200W", "1") in refitted
    assert refitted["F200W", "1"] == "sources found variable since"
    assert ("F200W", "3") not in refitted
    assert second["F200W1"].n_clipped > first["F200W1"].n_clipped
    assert second["F200W1"].n_pairs == first["F200W1"].n_pairs - 1
    with open_database(db_url, read_only=True) as database, database.read() as connection:
        statement = (
            sa.select(sa.func.count())
            .select_from(PairRow)
            .join(VariableSourceRow, VariableSourceRow.source_id == PairRow.source_id)
        )
        # They stay in the database.
        assert connection.execute(statement).scalar_one() > 0


def test_settings_travel_with_the_set(jwidf: Prepared) -> None:
    for row in answers(jwidf.url):
        assert json.loads(row.settings) == {
            "axis_pa_deg": "auto",
            "floor": "auto",
            "mag_limit": 22.0,
            "max_sep_arcsec": 0.1,
            "slope": "auto",
            "snr": 100.0,
            "time": "fix",
        }
        assert FitSettings(**json.loads(row.settings)) == FitSettings()

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from calreg.errors import InvalidValueError
from calreg.science.model.variability import find_variables, measure_residuals

if TYPE_CHECKING:
    from calreg.domain import IntArray
    from calreg.units import FloatArray


def _group(seed: int, n_pairs: int, floor_mag: float = 0.008) -> tuple[FloatArray, FloatArray]:
    """Return differences with a local offset of 0.03 and their photon variances."""
    rng = np.random.default_rng(seed)
    variance = rng.uniform(0.001, 0.008, n_pairs) ** 2
    dmag = 0.03 + np.sqrt(variance + floor_mag**2) * rng.standard_normal(n_pairs)
    return dmag, variance


def test_residuals_have_unit_width() -> None:
    z = np.concatenate([measure_residuals(*_group(seed, 40)).z for seed in range(100)])
    # 4000 values give the width to 1.1 %; the floor from a MAD of 40 adds 1 %.
    assert z.std() == pytest.approx(1.0, abs=0.04)
    assert abs(z.mean()) < 0.06


def test_floor_is_the_scatter_beyond_the_errors() -> None:
    floors = [measure_residuals(*_group(seed, 200, 0.012)).floor_mag for seed in range(40)]
    assert np.mean(floors) == pytest.approx(0.012, rel=0.05)


def test_floor_is_zero_when_errors_are_too_large() -> None:
    dmag, variance = _group(1, 40)
    assert measure_residuals(dmag, 100.0 * variance + 0.01).floor_mag == 0.0


def test_line_follows_a_gradient_that_a_median_cannot() -> None:
    dmag, variance = _group(2, 60, 0.004)
    d_arcmin = np.linspace(0.3, 2.4, 60)
    tilted = dmag + 0.03 * (d_arcmin - 1.35)
    tilted[7] += 0.5
    flat = measure_residuals(tilted, variance)
    line = measure_residuals(tilted, variance, d_arcmin)
    assert line.is_line
    assert not flat.is_line
    assert line.floor_mag < 0.007 < flat.floor_mag
    assert line.residual_mag[7] == pytest.approx(0.5, abs=0.02)
    ordinary = np.arange(60) != 7
    slope = np.polyfit(d_arcmin[ordinary], line.residual_mag[ordinary], 1)[0]
    assert abs(slope) < 0.004


def test_line_does_not_depend_on_order() -> None:
    dmag, variance = _group(3, 30)
    d_arcmin = np.random.default_rng(5).uniform(0.3, 2.4, 30)
    order = np.random.default_rng(6).permutation(30)
    whole = measure_residuals(dmag, variance, d_arcmin)
    shuffled = measure_residuals(dmag[order], variance[order], d_arcmin[order])
    np.testing.assert_array_equal(shuffled.z, whole.z[order])


@pytest.mark.parametrize(("n_pairs", "is_line"), [(11, False), (12, True)])
def test_line_needs_twelve_pairs(n_pairs: int, is_line: bool) -> None:
    dmag, variance = _group(4, n_pairs)
    assert measure_residuals(dmag, variance, np.arange(float(n_pairs))).is_line is is_line


def test_one_place_gives_the_median() -> None:
    dmag, variance = _group(4, 20)
    assert not measure_residuals(dmag, variance, np.full(20, 1.5)).is_line


@pytest.mark.parametrize("n_pairs", [0, 1, 4])
def test_small_groups_are_not_judged(n_pairs: int) -> None:
    found = measure_residuals(*_group(5, n_pairs))
    assert found.z.shape == (n_pairs,)
    assert np.all(np.isnan(found.z))
    assert np.all(np.isnan(found.residual_mag))


def test_identical_pairs_without_errors_do_not_divide_by_zero() -> None:
    found = measure_residuals(np.full(6, 0.02), np.zeros(6))
    np.testing.assert_array_equal(found.z, np.zeros(6))
    line = measure_residuals(np.full(14, 0.02), np.zeros(14), np.arange(14.0))
    np.testing.assert_array_equal(line.z, np.zeros(14))


def test_broken_pairs_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="expected finite dmag, variance and d"):
        measure_residuals(np.array([0.0, np.nan]), np.zeros(2))
    with pytest.raises(InvalidValueError, match="of one length, 2"):
        measure_residuals(np.zeros(2), np.zeros(3))


def _judge(
    seed: int, n_sources: int, change_mag: FloatArray
) -> tuple[IntArray, IntArray, IntArray, FloatArray, FloatArray]:
    """Return source, epoch pair, band, z and residual of four bands of one epoch pair."""
    residuals = [
        measure_residuals(dmag + change_mag, variance)
        for dmag, variance in (_group(10 * seed + band, n_sources) for band in range(4))
    ]
    source = np.tile(np.arange(n_sources), 4)
    return (
        source,
        np.zeros_like(source),
        np.repeat(np.arange(4), n_sources),
        np.concatenate([found.z for found in residuals]),
        np.concatenate([found.residual_mag for found in residuals]),
    )


def test_constant_sources_are_left_alone() -> None:
    n_found = 0
    for seed in range(150):
        n_found += find_variables(*_judge(seed, 25, np.zeros(25))).source_id.size
    # 3750 sources at a probability of 1e-6: the noise taken from 25 pairs makes the tail heavier,
    # the limit of 0.05 mag (five times the noise) cuts it.
    assert n_found <= 1


def test_a_variable_of_a_third_of_a_magnitude_is_found_alone() -> None:
    change = np.zeros(25)
    change[4] = 0.3
    for seed in range(40):
        found = find_variables(*_judge(seed, 25, change))
        assert found.source_id.tolist() == [4]
        assert found.n_bands.tolist() == [4]
        assert found.max_residual_mag[0] == pytest.approx(0.3, abs=0.06)
        assert found.chi2[0] > 400.0


def test_a_small_change_is_not_flagged_however_significant() -> None:
    source = np.array([1, 2])
    found = find_variables(
        source, np.zeros(2, int), np.zeros(2, int), np.array([20.0, 20.0]), np.array([0.049, 0.051])
    )
    assert found.source_id.tolist() == [2]


def test_bands_add_and_pairs_within_a_band_are_averaged() -> None:
    source = np.array([7, 7, 7, 7])
    band = np.array([0, 0, 1, 2])
    z = np.array([5.0, 7.0, -4.0, np.nan])
    residual = np.array([0.06, 0.08, -0.09, np.nan])
    found = find_variables(source, np.zeros(4, int), band, z, residual)
    assert found.chi2.tolist() == [52.0]
    assert found.n_bands.tolist() == [2]
    assert found.max_residual_mag.tolist() == [0.09]


def test_epoch_pairs_are_judged_apart() -> None:
    source = np.array([1, 1, 2])
    pair = np.array([12, 23, 12])
    found = find_variables(
        source, pair, np.zeros(3, int), np.array([9.0, 0.3, 8.0]), np.array([0.1, 0.003, -0.2])
    )
    assert list(zip(found.source_id.tolist(), found.epoch_pair.tolist(), strict=True)) == [
        (1, 12),
        (2, 12),
    ]


def test_order_changes_no_bit() -> None:
    source, pair, band, z, residual = _judge(3, 25, np.linspace(0.0, 0.3, 25))
    order = np.random.default_rng(1).permutation(source.size)
    first = find_variables(source, pair, band, z, residual)
    second = find_variables(source[order], pair[order], band[order], z[order], residual[order])
    for name in ("source_id", "epoch_pair", "chi2", "n_bands", "max_residual_mag"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_nothing_to_judge() -> None:
    none = np.empty(0, dtype=np.int64)
    found = find_variables(none, none, none, np.empty(0), np.empty(0))
    assert found.source_id.size == 0
    assert found.chi2.size == 0

from __future__ import annotations

import math

import numpy as np
import pytest

from calreg.errors import InvalidValueError, MissingPatchError
from calreg.science.model.offsets import measure_offset, measure_time_check, patch_statistics


def test_patch_statistics_by_hand() -> None:
    patch = patch_statistics(np.array([0.01, 0.02, 0.05, 0.03]))
    # Median of four: 0.025; deviations 0.015 0.005 0.025 0.005, their median 0.010.
    assert patch.n == 4
    assert patch.median_mag == pytest.approx(0.025, abs=1e-15)
    assert patch.mad_mag == pytest.approx(0.010, abs=1e-15)
    assert patch.median_err_mag == pytest.approx(1.2533141 * 1.4826022 * 0.010 / 2.0, rel=1e-7)


def test_empty_patch_has_no_median() -> None:
    patch = patch_statistics(np.empty(0))
    assert patch.n == 0
    assert math.isnan(patch.median_mag)
    assert math.isnan(patch.mad_mag)
    assert math.isnan(patch.median_err_mag)


def test_one_pair_has_no_error() -> None:
    patch = patch_statistics(np.array([0.03]))
    assert (patch.n, patch.median_mag, patch.mad_mag) == (1, 0.03, 0.0)
    assert math.isnan(patch.median_err_mag)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(InvalidValueError, match="1 of 3 magnitude differences"):
        patch_statistics(np.array([0.0, bad, 0.1]))


def test_equations_7_and_8() -> None:
    result = measure_offset(np.full(7, 0.05), np.full(9, -0.03))
    assert result.offset_ab_mag == pytest.approx(0.04, abs=1e-15)
    assert result.time_mag == pytest.approx(0.01, abs=1e-15)
    assert (result.b_first.n, result.a_first.n) == (7, 9)


def test_sign_is_a_minus_b() -> None:
    # Module A reads too faint by 0.02: seen by B then A, a source grows fainter.
    assert measure_offset(np.full(5, 0.02), np.full(5, -0.02)).offset_ab_mag > 0.0


@pytest.mark.parametrize(("n_p", "n_q", "name"), [(0, 3, "B then A"), (3, 0, "A then B")])
def test_missing_patch_is_named(n_p: int, n_q: int, name: str) -> None:
    with pytest.raises(MissingPatchError, match=name):
        measure_offset(np.zeros(n_p), np.zeros(n_q))


def test_errors_match_scatter() -> None:
    rng = np.random.default_rng(3)
    results = [
        measure_offset(rng.normal(0.03, 0.01, 30), rng.normal(-0.01, 0.02, 25)) for _ in range(600)
    ]
    for name, truth in (("offset_ab", 0.02), ("time", 0.01)):
        values = np.array([getattr(result, f"{name}_mag") for result in results])
        errs = np.array([getattr(result, f"{name}_err_mag") for result in results])
        # 600 repeats give the ratio to 3 %; the error of a median is asymptotic, 5 % at n = 25.
        assert values.std() / errs.mean() == pytest.approx(1.0, abs=0.12)
        assert values.mean() == pytest.approx(truth, abs=4.0 * values.std() / math.sqrt(600.0))


def test_time_check_measures_the_epoch_term() -> None:
    rng = np.random.default_rng(4)
    check = measure_time_check(rng.normal(0.004, 0.01, 400))
    assert abs(check.median_mag - 0.004) < 3.0 * check.median_err_mag
    assert check.median_err_mag == pytest.approx(1.2533 * 0.01 / 20.0, rel=0.15)

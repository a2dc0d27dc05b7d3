from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import optimize, stats

from calreg.errors import DegenerateFitError
from calreg.science.model.solve import (
    BlockSystem,
    describe_combination,
    huber_threshold,
    huber_variance,
    solve_blocks,
    solve_huber,
)

if TYPE_CHECKING:
    from calreg.units import FloatArray


def _pairs(
    seed: int, n_pairs: int, noise_mag: FloatArray | float, names: tuple[str, ...] = ("a", "b")
) -> tuple[BlockSystem, FloatArray]:
    """Return blocks of two rows with known coefficients 0.3 and -0.2, and the row errors."""
    rng = np.random.default_rng(seed)
    design = rng.uniform(-2.0, 2.0, (2 * n_pairs, 2))
    sigma = rng.uniform(0.004, 0.02, 2 * n_pairs)
    values = design @ [0.3, -0.2] + np.repeat(rng.uniform(18.0, 22.0, n_pairs), 2)
    values += np.hypot(sigma, noise_mag) * rng.standard_normal(2 * n_pairs)
    starts = np.arange(0, 2 * n_pairs, 2)
    return BlockSystem(names, design[:, : len(names)], values, sigma**2, starts), sigma


def test_threshold_of_one_is_hubers() -> None:
    assert huber_threshold(1) == pytest.approx(1.345, abs=1e-12)


@pytest.mark.parametrize("n_dof", [1, 2, 3, 7])
def test_thresholds_share_their_tail(n_dof: int) -> None:
    tail = 2.0 * stats.norm.sf(1.345)
    assert stats.chi2.sf(huber_threshold(n_dof) ** 2, n_dof) == pytest.approx(tail, rel=1e-10)


@pytest.mark.parametrize("n_dof", [1, 2, 5])
def test_huber_variance_is_the_mean_of_clipped_squares(n_dof: int) -> None:
    c2 = huber_threshold(n_dof) ** 2
    x = np.linspace(0.0, c2, 400_001)[1:]
    # The density of chi2(1) is infinite at 0, x times it is not; midpoints would gain nothing.
    inside = float(np.trapezoid(x * stats.chi2.pdf(x, n_dof), x))
    expected = (inside + c2 * stats.chi2.sf(c2, n_dof)) / n_dof
    assert huber_variance(n_dof) == pytest.approx(expected, abs=2e-6)


def test_two_row_blocks_are_the_weighted_pair_fit() -> None:
    system, _ = _pairs(1, 40, 0.005)
    floor = 0.007
    solution = solve_blocks(system, floor_mag=floor, seed=1)
    diff = system.values[1::2] - system.values[::2]
    columns = system.design[1::2] - system.design[::2]
    noise = np.sqrt(system.variance[1::2] + system.variance[::2] + floor**2)

    def gradient(coefficients: FloatArray) -> FloatArray:
        x = (diff - columns @ coefficients) / noise
        return np.asarray((np.clip(x, -1.345, 1.345) / noise) @ columns)

    # Eq. 9 and 10 as a fit of pairs, solved by another method to rounding.
    expected = optimize.root(gradient, [0.3, -0.2], tol=1e-15).x
    np.testing.assert_allclose(solution.coefficients, expected, rtol=0.0, atol=1e-12)
    x = (diff - columns @ expected) / noise
    weights = np.minimum(1.0, 1.345 / np.abs(x))
    np.testing.assert_allclose(solution.block_weights, weights, rtol=0.0, atol=1e-10)
    assert solution.chi2 == pytest.approx(float(x @ x), rel=1e-10)
    assert solution.n_dof == 38
    # Huber's covariance of the pair fit, with the variance of Student's t for 38 degrees.
    share = float(np.mean(np.abs(x) <= 1.345))
    scatter2 = float(np.sum(np.clip(x, -1.345, 1.345) ** 2)) / 38.0
    inflation = 1.0 + 2.0 / 40.0 * (1.0 - share) / share
    scaled = columns / noise[:, None]
    huber = inflation**2 * scatter2 / share**2 * np.linalg.inv(scaled.T @ scaled)
    covariance = huber * 38.0 / 36.0
    np.testing.assert_allclose(solution.covariance, covariance, rtol=1e-9)


def test_blocks_of_three_minimise_the_convex_loss() -> None:
    rng = np.random.default_rng(5)
    design = rng.uniform(-1.0, 1.0, (90, 2))
    values = design @ [0.1, 0.2] + np.repeat(rng.uniform(18.0, 22.0, 30), 3)
    values += 0.01 * rng.standard_normal(90)
    values[[4, 40]] += [0.3, -0.5]
    system = BlockSystem(("a", "b"), design, values, np.full(90, 1e-4), np.arange(0, 90, 3))
    solution = solve_blocks(system, floor_mag=0.0, seed=1)
    c = huber_threshold(2)

    def loss(coefficients: FloatArray) -> float:
        rows = (values - design @ coefficients).reshape(30, 3)
        distance = np.sqrt(((rows - rows.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)) / 0.01
        inner = np.minimum(distance, c)
        return float((inner * (distance - 0.5 * inner)).sum())

    best = loss(solution.coefficients)
    for step in (1e-4, 1e-6):
        for direction in ([1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0], [0.7, -0.7]):
            assert loss(solution.coefficients + step * np.array(direction)) > best
    assert solution.block_weights[1] < 0.1
    assert solution.block_weights[13] < 0.1


def test_floor_recovers_the_extra_noise() -> None:
    floors = [
        solve_blocks(_pairs(seed, 60, 0.015)[0], floor_mag=None, seed=1).floor_mag
        for seed in range(60)
    ]
    # Row noise 0.015 is a pair floor of 0.015 sqrt(2); one floor is good to 10 %, the mean of 60
    # to 1.4 %.
    assert np.mean(floors) == pytest.approx(0.015 * math.sqrt(2.0), rel=0.045)


def test_floor_is_zero_where_errors_explain_the_scatter() -> None:
    system, sigma = _pairs(2, 80, 0.0)
    overestimated = BlockSystem(
        system.names, system.design, system.values, (2.0 * sigma) ** 2, system.starts
    )
    solution = solve_blocks(overestimated, floor_mag=None, seed=1)
    assert solution.floor_mag == 0.0
    assert 0.0 < solution.floor_err_mag < 0.02


def test_floor_solves_its_equation() -> None:
    system, _ = _pairs(9, 50, 0.01)
    solution = solve_blocks(system, floor_mag=None, seed=1)
    diff = solution.residuals[1::2] - solution.residuals[::2]
    variance = system.variance[1::2] + system.variance[::2] + solution.floor_mag**2
    clipped = np.minimum(diff**2 / variance, 1.345**2)
    expected = huber_variance(1) * (1.0 - 2.0 / 50.0)
    # Huber's Proposal 2 with the weights of the likelihood.
    assert float(np.sum((clipped - expected) / variance)) == pytest.approx(
        0.0, abs=1e-8 * float(np.sum(expected / variance))
    )


def test_huge_outliers_do_not_move_the_fit() -> None:
    system, _ = _pairs(3, 60, 0.01)
    values = system.values.copy()
    values[[0, 21, 42]] += [1.0, -2.0, 5.0]
    spoiled = BlockSystem(system.names, system.design, values, system.variance, system.starts)
    clean = solve_blocks(system, floor_mag=None, seed=1)
    robust = solve_blocks(spoiled, floor_mag=None, seed=1)
    shift = np.abs(robust.coefficients - clean.coefficients)
    # Three of 60 pairs at their full influence c sigma move a fit by at most 1.345 * 3 / 60 / 0.82
    # pair errors, 0.08 * sqrt(60) = 0.64 errors of the mean when all pull the same way.
    assert np.all(shift < 0.7 * clean.errs)
    assert robust.block_weights[[0, 10, 21]].max() < 0.05


def test_solution_survives_a_floor_far_below_the_scatter() -> None:
    # All blocks are clipped: the loss is nearly that of absolute deviations.
    system, _ = _pairs(4, 30, 0.02)
    tiny = BlockSystem(
        system.names, system.design, system.values, np.full(60, 1e-14), system.starts
    )
    solution = solve_blocks(tiny, floor_mag=0.0, seed=1)
    np.testing.assert_allclose(solution.coefficients, [0.3, -0.2], atol=0.02)
    assert np.all(np.isfinite(solution.covariance))


def test_newton_and_reweighting_share_the_minimum() -> None:
    rng = np.random.default_rng(8)
    x = np.column_stack([np.ones(50), rng.uniform(-1.0, 1.0, 50)])
    y = x @ [1.0, 2.0] + stats.t(df=2).rvs(50, random_state=rng)
    columns = np.vstack([x.T, y])
    gram = columns[:, None, :] * columns[None, :, :]
    solution = solve_huber(gram, np.full(50, 1.345), np.zeros(2))
    beta = np.zeros(2)
    for _ in range(400):
        weights = np.minimum(1.0, 1.345 / np.abs(y - x @ beta))
        beta = np.linalg.solve((x.T * weights) @ x, (x.T * weights) @ y)
    np.testing.assert_allclose(solution.coefficients, beta, rtol=0.0, atol=1e-11)


def test_bootstrap_depends_on_the_seed_alone() -> None:
    system, _ = _pairs(6, 40, 0.01)
    first = solve_blocks(system, floor_mag=None, seed=11).bootstrap_errs
    np.testing.assert_array_equal(
        first, solve_blocks(system, floor_mag=None, seed=11).bootstrap_errs
    )
    assert not np.array_equal(first, solve_blocks(system, floor_mag=None, seed=12).bootstrap_errs)


def test_degenerate_combination_is_named() -> None:
    system, _ = _pairs(7, 20, 0.01)
    design = system.design.copy()
    design[:, 1] = -3.0 * design[:, 0]
    twin = BlockSystem(("slope", "time:2"), design, system.values, system.variance, system.starts)
    with pytest.raises(DegenerateFitError, match=r"0\.71 slope \+ 0\.71 time:2"):
        solve_blocks(twin, floor_mag=None, seed=1)


def test_column_that_is_constant_in_blocks_is_named() -> None:
    system, _ = _pairs(7, 20, 0.01)
    design = system.design.copy()
    design[:, 1] = np.repeat(np.arange(20.0), 2)
    lost = BlockSystem(("a", "time:2"), design, system.values, system.variance, system.starts)
    with pytest.raises(DegenerateFitError, match="do not constrain time:2"):
        solve_blocks(lost, floor_mag=None, seed=1)
    design[:, 1] = 0.0
    with pytest.raises(DegenerateFitError, match="do not constrain time:2"):
        solve_blocks(lost, floor_mag=None, seed=1)


def test_combination_in_words() -> None:
    names = ("offset_ab", "slope", "time:3")
    assert describe_combination(np.array([-0.6, 0.0, 0.8]), names) == "0.60 offset_ab - 0.80 time:3"
    assert describe_combination(np.array([0.01, 1.0, 0.0]), names) == "1.00 slope"

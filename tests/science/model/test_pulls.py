"""The errors of a fit against its scatter over simulated repeats."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest

from calreg.science.model.pairmodel import FitSettings, PairFit, fit_pair_model
from support.simulated_nodes import Truth, simulate_nodes

if TYPE_CHECKING:
    from calreg.units import FloatArray

N_SEEDS = 200
NORMAL_95 = 1.959964


@dataclass(frozen=True)
class Key:
    """One simulated key: what is injected and how many sources its patches have."""

    truth: Truth
    n_per_patch: int

    @property
    def fit_slope(self) -> bool:
        return self.truth.slope_mag_arcmin != 0.0

    @property
    def expected(self) -> FloatArray:
        values = [self.truth.offset_ab_mag]
        if self.fit_slope:
            values.append(self.truth.slope_mag_arcmin)
        return np.array(values)


def _keys(n_epochs: int, outlier_share: float) -> tuple[Key, ...]:
    """Return the sizes of the paper's Table 2: the smallest and the largest SW array, and LW."""
    time = (0.0,) * n_epochs
    return (
        Key(Truth(0.01296, 0.0, time, 0.009, outlier_share), 19),
        Key(Truth(-0.03045, 0.0, time, 0.012, outlier_share), 33),
        Key(Truth(-0.01654, 0.00433, time, 0.010, outlier_share), 83),
    )


@cache
def _fits(n_epochs: int, outlier_share: float) -> tuple[tuple[Key, tuple[PairFit, ...]], ...]:
    """Fit every key for every seed."""
    return tuple(
        (
            key,
            tuple(
                fit_pair_model(
                    simulate_nodes(1000 * number + seed, key.truth, n_per_patch=key.n_per_patch),
                    FitSettings(),
                    fit_slope=key.fit_slope,
                    seed=seed,
                )
                for seed in range(N_SEEDS)
            ),
        )
        for number, key in enumerate(_keys(n_epochs, outlier_share))
    )


def _pulls(key: Key, fits: tuple[PairFit, ...]) -> FloatArray:
    return np.array([(fit.values - key.expected) / fit.errs for fit in fits])


CASES = [(2, 0.0), (3, 0.0), (3, 0.05)]


@pytest.mark.parametrize(("n_epochs", "outlier_share"), CASES)
def test_pulls_have_unit_width_and_no_bias(n_epochs: int, outlier_share: float) -> None:
    for key, fits in _fits(n_epochs, outlier_share):
        pulls = _pulls(key, fits)
        # 200 repeats give a width to 1 / sqrt(400) = 5 %; the floor and Huber's small-sample terms
        # add a few per cent at 38 pairs.
        np.testing.assert_array_less(np.abs(pulls.std(axis=0) - 1.0), 0.15)
        # The mean of 200 pulls scatters by 0.07.
        np.testing.assert_array_less(np.abs(pulls.mean(axis=0)), 0.25)


@pytest.mark.parametrize(("n_epochs", "outlier_share"), CASES)
def test_pooled_pull_width(n_epochs: int, outlier_share: float) -> None:
    pulls = np.concatenate([_pulls(*entry)[:, 0] for entry in _fits(n_epochs, outlier_share)])
    # 600 repeats: 3 % of scatter.
    assert pulls.std() == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(("n_epochs", "outlier_share"), CASES)
def test_interval_of_95_percent_covers(n_epochs: int, outlier_share: float) -> None:
    pulls = np.concatenate([_pulls(*entry).ravel() for entry in _fits(n_epochs, outlier_share)])
    coverage = float(np.mean(np.abs(pulls) < NORMAL_95))
    assert 0.93 <= coverage <= 0.97


def test_outliers_do_not_bias_the_offset() -> None:
    for key, fits in _fits(3, 0.05):
        pulls = _pulls(key, fits)
        np.testing.assert_array_less(np.abs(pulls.mean(axis=0)), 0.3)


@pytest.mark.parametrize("n_epochs", [2, 3])
def test_floor_is_unbiased(n_epochs: int) -> None:
    for key, fits in _fits(n_epochs, 0.0):
        floors = np.array([fit.floor_mag for fit in fits])
        # The mean of 200 floors is good to 1.2 % at 38 pairs; a root of an unbiased square is low
        # by an eighth of its relative variance, 1 %.
        assert floors.mean() == pytest.approx(key.truth.floor_mag, rel=0.04)


def test_floor_error_matches_its_scatter() -> None:
    for _, fits in _fits(3, 0.0):
        floors = np.array([fit.floor_mag for fit in fits])
        errs = np.array([fit.floor_err_mag for fit in fits])
        # Both are good to 5 %.
        assert errs.mean() == pytest.approx(floors.std(), rel=0.2)


def test_outliers_feed_the_floor_little() -> None:
    for (key, fits), (_, clean) in zip(_fits(3, 0.05), _fits(3, 0.0), strict=True):
        with_outliers = np.mean([fit.floor_mag for fit in fits])
        without = np.mean([fit.floor_mag for fit in clean])
        # 5 % of blocks at the clipping limit instead of their expected 0.71 of it, over the tail.
        assert 1.0 < with_outliers / without < 1.15
        assert with_outliers < 1.15 * key.truth.floor_mag


def test_scatter_is_the_pairs_noise() -> None:
    for key, fits in _fits(2, 0.0):
        floor2 = key.truth.floor_mag**2
        scatter = float(np.mean([fit.scatter_mag for fit in fits]))
        # Photon errors are 0.5 ... 8 mmag per detection, 2 x 16 mmag^2 on average at most.
        assert key.truth.floor_mag * 0.95 < scatter < np.sqrt(floor2 + 2.0 * 0.005**2)


@pytest.mark.parametrize(("n_epochs", "outlier_share"), CASES)
def test_bootstrap_agrees_with_the_covariance(n_epochs: int, outlier_share: float) -> None:
    for _, fits in _fits(n_epochs, outlier_share):
        ratios = np.array([fit.bootstrap_errs / fit.errs for fit in fits])
        np.testing.assert_array_less(np.abs(np.median(ratios, axis=0) - 1.0), 0.1)
        # One bootstrap error is good to 3.5 % by its 400 resamples and by the number of its blocks,
        # 1 / sqrt(2 * 38) = 11 % for the smallest key: 25 % is two of these.
        assert np.mean(np.abs(ratios - 1.0) < 0.25) > 0.9


def test_middle_epoch_shared_by_two_pairs_is_not_counted_twice() -> None:
    # Pairs 1-2 and 2-3 taken as independent would promise 1 / sqrt(2) of the error of 1-2; the
    # shared middle detection leaves sqrt(3) / 2 where all detections are equally noisy.
    for (_, two), (_, three) in zip(_fits(2, 0.0), _fits(3, 0.0), strict=True):
        ratio = np.mean([fit.offset_ab_err_mag for fit in three]) / np.mean(
            [fit.offset_ab_err_mag for fit in two]
        )
        assert ratio == pytest.approx(np.sqrt(3.0) / 2.0, rel=0.03)

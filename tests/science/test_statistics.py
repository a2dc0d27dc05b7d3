"""Medians of many groups at once: bit for bit those of numpy.median."""

from __future__ import annotations

import numpy as np
import pytest

from calreg.science.statistics import mad_by_group, median_by_group


@pytest.mark.parametrize("seed", range(5))
def test_medians_are_those_of_numpy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_groups = 40
    group = rng.integers(0, n_groups - 1, 200)  # the last group stays empty
    values = rng.normal(size=200).round(1)  # ties
    median = median_by_group(values, group, n_groups)
    mad = mad_by_group(values, group, median, n_groups)
    for n in range(n_groups):
        mine = values[group == n]
        if not mine.size:
            assert np.isnan(median[n])
            assert np.isnan(mad[n])
            continue
        assert median[n] == np.median(mine)
        assert mad[n] == np.median(np.abs(mine - np.median(mine)))
    assert np.isnan(median[-1])


def test_no_values_are_no_medians() -> None:
    nothing = np.empty(0)
    assert np.isnan(median_by_group(nothing, nothing.astype(np.int64), 3)).all()

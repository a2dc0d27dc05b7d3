"""FlatFieldStep of the real pipeline takes products and delta flats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from astropy.io import fits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Exported = Any


def flattened(rate: Any, path: Path) -> Any:
    """Run FlatFieldStep with a file."""
    from jwst.flatfield import FlatFieldStep

    done = FlatFieldStep.call(
        rate,
        override_flat=str(path),
        override_fflat="N/A",
        override_sflat="N/A",
        override_dflat="N/A",
    )
    assert done.meta.cal_step.flat_field == "COMPLETE"
    return done


WINDOWS = [("FULL", (1, 1), (2048, 2048)), ("SUB160", (1201, 601), (160, 160))]


@pytest.mark.parametrize(("subarray", "start", "shape"), WINDOWS)
@pytest.mark.parametrize("name", ["nrcalong", "nrcblong"])
def test_a_product_is_the_parent_and_then_the_delta_flat(
    name: str,
    subarray: str,
    start: tuple[int, int],
    shape: tuple[int, int],
    exported: Exported,
    make_rate: Callable[..., Any],
) -> None:
    rate = make_rate(name, "F444W", subarray=subarray, start=start, shape=shape)
    before = {plane: rate[plane].astype(np.float64) for plane in ("data", "err", "var_poisson")}
    theirs = flattened(rate.copy(), exported.flat_parents[name])
    ours = flattened(rate, exported.flat[name])
    window = np.s_[start[1] - 1 : start[1] - 1 + shape[0], start[0] - 1 : start[0] - 1 + shape[1]]
    parent = fits.getdata(exported.flat_parents[name], "SCI")[window].astype(np.float64)
    delta = fits.getdata(exported.delta[name], "SCI")[window].astype(np.float64)
    assert np.ptp(delta) > 1e-4
    is_good = np.isfinite(parent)
    np.testing.assert_array_equal(ours.dq, theirs.dq)
    np.testing.assert_array_equal((ours.dq & 1) > 0, ~is_good)
    # Parent, delta and quotient are rounded to single precision.
    for plane, power in (("data", 1), ("var_poisson", 2)):
        expected = before[plane] / (parent * delta) ** power
        np.testing.assert_allclose(ours[plane][is_good], expected[is_good], rtol=1e-6)
    scale = ours.data[is_good] / theirs.data[is_good]
    np.testing.assert_allclose(scale * delta[is_good], 1.0, rtol=1e-6)
    # The flat's relative error stays: its contribution to the variance goes with SCI.
    np.testing.assert_allclose(
        ours.var_flat[is_good], theirs.var_flat[is_good] * scale**2, rtol=3e-6
    )
    assert ours.meta.ref_file.flat.name == str(exported.flat[name])


def test_a_delta_flat_takes_the_gradient_out_of_flattened_data(
    exported: Exported, make_rate: Callable[..., Any]
) -> None:
    """A finished exposure divided by the delta flat is the one that the product makes."""
    name = "nrcalong"
    rate = make_rate(name, "F444W", shape=(2048, 2048))
    once = flattened(rate.copy(), exported.flat[name])
    twice = flattened(flattened(rate, exported.flat_parents[name]), exported.delta[name])
    is_good = np.isfinite(once.data)
    np.testing.assert_allclose(twice.data[is_good], once.data[is_good], rtol=1e-6)

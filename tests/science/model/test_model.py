from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from calreg.errors import (
    DegenerateFitError,
    InvalidValueError,
    MissingPatchError,
    NotEnoughPairsError,
)
from calreg.science.model.offsets import measure_offset
from calreg.science.model.pairmodel import TERMS, FitSettings, Nodes, PairFit, Term, fit_pair_model
from calreg.science.model.solve import BlockSystem, solve_blocks
from support.simulated_nodes import Truth, simulate_nodes

if TYPE_CHECKING:
    from calreg.units import FloatArray

AUTO = FitSettings()
LONG = Truth(offset_ab_mag=-0.0165, slope_mag_arcmin=0.0043, time_mag=(0.0, 0.0, 0.0))


def _fit(nodes: Nodes, settings: FitSettings = AUTO, *, fit_slope: bool = False) -> PairFit:
    return fit_pair_model(nodes, settings, fit_slope=fit_slope, seed=1)


def _noiseless(truth: Truth, n_per_patch: int = 8) -> Nodes:
    return simulate_nodes(5, replace(truth, floor_mag=1e-9), n_per_patch=n_per_patch)


def _select(nodes: Nodes, is_kept: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Nodes:
    return nodes.take(np.flatnonzero(is_kept))


# --- model --------------------------------------------------------------------------------------


def test_model_is_the_papers_equations_9_and_10() -> None:
    # One source per patch at d = +2 and -1; magnitudes written down from the paper's equations.
    offset, slope, time = 0.03, 0.005, 0.002
    b_then_a = slope * 2.0 + offset + time
    a_then_b = slope * -1.0 - offset + time
    n = 6
    d = np.concatenate([np.linspace(1.0, 2.0, n), np.linspace(-0.5, -1.5, n)])
    later = np.where(d > 0.0, slope * d + offset + time, slope * d - offset + time)
    assert later[n - 1] == pytest.approx(b_then_a)
    assert later[n + n // 2 - 1] == pytest.approx(slope * d[n + n // 2 - 1] - offset + time)
    assert a_then_b == pytest.approx(-0.033)
    is_p = d > 0.0
    nodes = Nodes(
        source_id=np.tile(np.arange(2 * n), 2),
        is_patch_p=np.tile(is_p, 2),
        epoch=np.repeat([0, 1], 2 * n),
        is_module_a=np.concatenate([~is_p, is_p]),
        mag=np.concatenate([np.full(2 * n, 20.0), 20.0 + later]),
        mag_err=np.full(4 * n, 0.001),
        d_arcmin=np.tile(d, 2),
        epoch_labels=("first", "second"),
    )
    fit = _fit(nodes, FitSettings(time="fit", floor=0.0), fit_slope=True)
    assert fit.names == ("offset_ab", "slope", "time:second")
    assert fit.units == ("mag", "mag / arcmin", "mag")
    np.testing.assert_allclose(fit.values, [offset, slope, time], rtol=0.0, atol=1e-13)


@pytest.mark.parametrize("n_epochs", [2, 3, 5])
def test_truth_is_recovered_without_noise(n_epochs: int) -> None:
    time = tuple(0.003 * number for number in range(n_epochs))
    truth = Truth(offset_ab_mag=-0.05, slope_mag_arcmin=0.004, time_mag=time)
    nodes = _noiseless(truth)
    quiet = replace(nodes, mag=_exact_mag(nodes, truth))
    fit = _fit(quiet, FitSettings(time="fit", floor=0.0), fit_slope=True)
    assert fit.offset_ab_mag == pytest.approx(-0.05, abs=1e-12)
    assert fit.slope_mag_arcmin == pytest.approx(0.004, abs=1e-12)
    for number in range(1, n_epochs):
        assert fit.value(f"time:{number + 1}") == pytest.approx(time[number], abs=1e-12)
    assert (fit.n_epochs, fit.n_sources, fit.n_nodes) == (n_epochs, 16, 16 * n_epochs)


def _exact_mag(nodes: Nodes, truth: Truth) -> FloatArray:
    mag = 18.0 + 0.2 * nodes.source_id
    mag = mag + np.where(nodes.is_module_a, 0.5, -0.5) * truth.offset_ab_mag
    mag = mag - 0.5 * nodes.roll_sign * truth.slope_mag_arcmin * nodes.d_arcmin
    return np.asarray(mag + np.array(truth.time_mag)[nodes.epoch])


def test_data_without_noise_have_no_floor_and_still_a_covariance() -> None:
    truth = replace(LONG, offset_ab_mag=0.25, slope_mag_arcmin=0.0)
    nodes = _noiseless(truth)
    # Quarters are exact in binary: not even rounding is left.
    exact = nodes.source_id.astype(np.float64) + np.where(nodes.is_module_a, 0.125, -0.125)
    fit = _fit(replace(nodes, mag=exact, mag_err=np.full(exact.size, 0.01)), fit_slope=True)
    np.testing.assert_allclose(fit.values, [0.25, 0.0], rtol=0.0, atol=1e-15)
    assert fit.floor_mag == 0.0
    assert fit.corr_offset_slope == pytest.approx(-0.9, abs=0.1)
    assert np.all(fit.errs < 1e-10)


def test_offset_agrees_with_the_medians() -> None:
    nodes = simulate_nodes(2, Truth(offset_ab_mag=-0.0434), n_per_patch=30)
    fit = _fit(nodes)
    dmag = nodes.mag[1::2] - nodes.mag[::2]
    medians = measure_offset(dmag[nodes.is_patch_p[::2]], dmag[~nodes.is_patch_p[::2]])
    assert abs(fit.offset_ab_mag - medians.offset_ab_mag) < 2.0 * medians.offset_ab_err_mag
    assert fit.offset_ab_err_mag < medians.offset_ab_err_mag


def test_time_held_at_zero_is_reported_as_zero() -> None:
    fit = _fit(simulate_nodes(1, Truth()))
    assert fit.names == ("offset_ab",)
    assert (fit.value("time:2"), fit.err("time:2")) == (0.0, 0.0)
    assert (fit.slope_mag_arcmin, fit.slope_err_mag_arcmin) == (0.0, 0.0)
    assert fit.corr_offset_slope is None
    assert fit.pivot_arcmin is None


def test_injected_time_terms_are_recovered() -> None:
    truth = Truth(offset_ab_mag=0.02, time_mag=(0.0, 0.015, -0.010))
    fit = _fit(simulate_nodes(3, truth, n_per_patch=40), FitSettings(time="fit"))
    assert fit.names == ("offset_ab", "time:2", "time:3")
    for name, expected in zip(fit.names, (0.02, 0.015, -0.010), strict=True):
        assert abs(fit.value(name) - expected) < 3.0 * fit.err(name)
        assert 0.0005 < fit.err(name) < 0.003


def test_two_patches_of_one_source_are_two_blocks() -> None:
    nodes = simulate_nodes(4, Truth(), n_per_patch=10)
    shared = replace(nodes, source_id=nodes.source_id % 10)
    fit = _fit(shared)
    assert (fit.n_sources, fit.n_blocks_p, fit.n_blocks_q) == (10, 10, 10)
    np.testing.assert_array_equal(fit.values, _fit(nodes).values)


def test_pairs_are_counted_by_opposite_rolls() -> None:
    nodes = simulate_nodes(4, replace(LONG, slope_mag_arcmin=0.0), n_per_patch=10)
    # 20 sources, epochs 1-2 and 2-3 (1-3 see the same arrays).
    assert _fit(nodes).n_pairs == 40
    four = simulate_nodes(4, Truth(time_mag=(0.0,) * 4), n_per_patch=10)
    assert _fit(four).n_pairs == 80


def test_dithers_are_nodes_of_one_cell() -> None:
    nodes = simulate_nodes(4, Truth(), n_per_patch=10)
    rows = np.arange(nodes.mag.size)
    twice = nodes.take(np.concatenate([rows, rows[nodes.epoch == 0]]))
    rng = np.random.default_rng(1)
    twice = replace(twice, mag=twice.mag + 0.002 * rng.standard_normal(twice.mag.size))
    fit = _fit(twice)
    assert (fit.n_nodes, fit.n_pairs, fit.n_dof) == (60, 20, 39)


def test_lonely_detections_are_left_out_and_weigh_nothing() -> None:
    nodes = simulate_nodes(4, Truth(), n_per_patch=10)
    is_kept = ~((nodes.epoch == 1) & np.isin(nodes.source_id, [2, 15]))
    fit = _fit(_select(nodes, is_kept))
    assert (fit.n_nodes, fit.n_sources) == (36, 18)
    lonely = np.isin(_select(nodes, is_kept).source_id, [2, 15])
    assert np.all(fit.weights[lonely] == 0.0)
    assert np.all(fit.weights[~lonely] > 0.0)
    without = _fit(_select(nodes, ~np.isin(nodes.source_id, [2, 15])))
    np.testing.assert_array_equal(fit.values, without.values)


def test_equal_rolls_alone_do_not_touch_the_offset() -> None:
    nodes = simulate_nodes(4, Truth(time_mag=(0.0, 0.0, 0.0)), n_per_patch=10)
    is_extra = np.isin(nodes.source_id, [3, 12])
    kept = _select(nodes, ~is_extra | (nodes.epoch != 1))
    given = FitSettings(floor=0.01)
    with_extra = _fit(kept, given)
    without = _fit(_select(nodes, ~is_extra), given)
    assert with_extra.offset_ab_mag == pytest.approx(without.offset_ab_mag, abs=1e-14)
    assert (with_extra.n_pairs, without.n_pairs) == (36, 36)
    assert (with_extra.n_blocks_p, with_extra.n_blocks_q) == (9, 9)
    assert with_extra.n_dof == without.n_dof + 2


# --- order and numbering ------------------------------------------------------------------------


@pytest.mark.parametrize("fit_slope", [False, True])
def test_order_and_numbering_change_no_bit(fit_slope: bool) -> None:
    nodes = simulate_nodes(6, replace(LONG, outlier_share=0.1), n_per_patch=25)
    reference = _fit(nodes, fit_slope=fit_slope)
    rng = np.random.default_rng(7)
    for _ in range(5):
        order = rng.permutation(nodes.mag.size)
        numbers = rng.permutation(1000)[:50]
        shuffled = nodes.take(order)
        shuffled = replace(shuffled, source_id=numbers[shuffled.source_id])
        fit = _fit(shuffled, fit_slope=fit_slope)
        for name in ("values", "errs", "bootstrap_errs", "covariance"):
            np.testing.assert_array_equal(getattr(fit, name), getattr(reference, name))
        assert fit.floor_mag == reference.floor_mag
        assert fit.scatter_mag == reference.scatter_mag
        assert fit.chi2 == reference.chi2
        np.testing.assert_array_equal(fit.weights, reference.weights[order])


# --- slope, pivot, correlation ------------------------------------------------------------------


def test_offset_and_slope_are_correlated_as_the_fields_geometry_says() -> None:
    fit = _fit(simulate_nodes(8, LONG, n_per_patch=85), fit_slope=True)
    assert fit.corr_offset_slope is not None
    # d uniform in 0.3 ... 2.4: -mean / rms = -1.35 / 1.48 = -0.912; folded d is always positive.
    assert fit.corr_offset_slope == pytest.approx(-0.912, abs=0.02)
    without_gap = _fit(
        simulate_nodes(8, LONG, n_per_patch=85, d_range_arcmin=(0.0, 2.2)), fit_slope=True
    )
    # Without a gap, -sqrt(3) / 2.
    assert without_gap.corr_offset_slope == pytest.approx(-0.866, abs=0.03)


def test_pivot_is_where_the_offset_is_known_best() -> None:
    fit = _fit(simulate_nodes(8, LONG, n_per_patch=85), fit_slope=True)
    assert fit.pivot_arcmin is not None
    assert fit.offset_pivot_mag is not None
    assert fit.offset_pivot_err_mag is not None
    assert fit.pivot_arcmin == pytest.approx(1.35, abs=0.1)
    assert fit.offset_pivot_mag == pytest.approx(
        fit.offset_ab_mag + fit.slope_mag_arcmin * fit.pivot_arcmin, abs=1e-15
    )
    # sqrt(1 - corr^2) of the error at the origin.
    assert fit.offset_pivot_err_mag == pytest.approx(
        fit.offset_ab_err_mag * np.sqrt(1.0 - float(fit.corr_offset_slope or 0.0) ** 2), rel=1e-9
    )
    assert fit.offset_pivot_err_mag < 0.5 * fit.offset_ab_err_mag


def test_moving_the_origin_moves_the_offset_not_the_pivot() -> None:
    # With equal numbers at both sides, moving d by x on p and -x on q moves Delta_AB by -k x.
    nodes = simulate_nodes(8, LONG, n_per_patch=30)
    moved = replace(nodes, d_arcmin=nodes.d_arcmin + np.where(nodes.is_patch_p, 0.4, -0.4))
    here, there = _fit(nodes, fit_slope=True), _fit(moved, fit_slope=True)
    assert there.slope_mag_arcmin == pytest.approx(here.slope_mag_arcmin, abs=1e-12)
    expected = here.offset_ab_mag - 0.4 * here.slope_mag_arcmin
    assert there.offset_ab_mag == pytest.approx(expected, abs=1e-12)
    assert there.offset_pivot_mag == pytest.approx(here.offset_pivot_mag, abs=1e-12)


def test_origin_and_time_trade_places() -> None:
    # k d0 enters both patches with one sign, as Delta_T does.
    nodes = simulate_nodes(9, LONG, n_per_patch=30)
    settings = FitSettings(time="fit")
    moved = replace(nodes, d_arcmin=nodes.d_arcmin + 0.5)
    here, there = _fit(nodes, settings, fit_slope=True), _fit(moved, settings, fit_slope=True)
    shift = 0.5 * here.slope_mag_arcmin
    assert there.value("time:2") == pytest.approx(here.value("time:2") - shift, abs=1e-12)
    assert there.value("time:3") == pytest.approx(here.value("time:3"), abs=1e-12)
    assert there.offset_ab_mag == pytest.approx(here.offset_ab_mag, abs=1e-12)


# --- refusals -----------------------------------------------------------------------------------


def test_too_few_pairs_are_counted() -> None:
    nodes = simulate_nodes(1, Truth(), n_per_patch=6)
    is_kept = nodes.is_patch_p | (nodes.source_id < 10)
    with pytest.raises(NotEnoughPairsError, match="6 on patch p, 4 on patch q, expected 5 on each"):
        _fit(_select(nodes, is_kept))


def test_many_coefficients_need_more_sources() -> None:
    nodes = simulate_nodes(1, Truth(time_mag=(0.0,) * 9), n_per_patch=5)
    with pytest.raises(NotEnoughPairsError, match="more than 11 in all for 9 coefficients"):
        _fit(nodes, FitSettings(time="fit"))


@pytest.mark.parametrize(("is_p_kept", "missing"), [(True, "patch q"), (False, "patch p")])
def test_missing_patch_is_named(is_p_kept: bool, missing: str) -> None:
    nodes = simulate_nodes(1, Truth(), n_per_patch=9)
    with pytest.raises(MissingPatchError, match=f"{missing} has no sources"):
        _fit(_select(nodes, nodes.is_patch_p == is_p_kept))


def test_nothing_and_one_epoch_have_no_pairs() -> None:
    nodes = simulate_nodes(1, Truth(), n_per_patch=9)
    with pytest.raises(NotEnoughPairsError, match="0 pairs in 18 detections"):
        _fit(_select(nodes, nodes.epoch == 0))
    with pytest.raises(NotEnoughPairsError, match="0 pairs in 0 detections"):
        _fit(_select(nodes, nodes.epoch < 0))


def test_equal_rolls_alone_are_not_enough() -> None:
    nodes = simulate_nodes(1, Truth(time_mag=(0.0, 0.0, 0.0)), n_per_patch=9)
    with pytest.raises(NotEnoughPairsError, match="0 on patch p, 0 on patch q"):
        _fit(_select(nodes, nodes.epoch != 1))


def test_one_place_cannot_tell_origin_from_time() -> None:
    nodes = simulate_nodes(1, Truth(), n_per_patch=9)
    flat = replace(nodes, d_arcmin=np.full(nodes.mag.size, 1.5))
    with pytest.raises(DegenerateFitError, match=r"0\.71 slope - 0\.71 time:2"):
        _fit(flat, FitSettings(time="fit"), fit_slope=True)


def test_one_distance_cannot_tell_slope_from_offset() -> None:
    nodes = simulate_nodes(1, Truth(), n_per_patch=9)
    folded = replace(nodes, d_arcmin=np.where(nodes.is_patch_p, 1.5, -1.5))
    with pytest.raises(DegenerateFitError, match=r"0\.71 offset_ab - 0\.71 slope"):
        _fit(folded, fit_slope=True)


@pytest.mark.parametrize("name", ["mag", "mag_err", "d_arcmin"])
def test_numbers_that_are_not_finite_are_refused(name: str) -> None:
    nodes = simulate_nodes(1, Truth(), n_per_patch=9)
    values = getattr(nodes, name).copy()
    values[3] = np.nan
    with pytest.raises(InvalidValueError, match=f"1 of 36 values of {name}"):
        replace(nodes, **{name: values})


def test_broken_nodes_are_refused() -> None:
    nodes = simulate_nodes(1, Truth(), n_per_patch=9)
    with pytest.raises(InvalidValueError, match="2 of 36 magnitude errors are not positive"):
        replace(nodes, mag_err=np.where(np.arange(36) < 2, 0.0, nodes.mag_err))
    with pytest.raises(InvalidValueError, match="epoch indices"):
        replace(nodes, epoch=nodes.epoch + 1)
    with pytest.raises(InvalidValueError, match=r"mag has shape \(35,\)"):
        replace(nodes, mag=nodes.mag[1:])
    with pytest.raises(InvalidValueError, match="two sides of the field in epoch 1"):
        replace(nodes, is_module_a=nodes.is_module_a ^ (np.arange(36) == 0))


# --- terms --------------------------------------------------------------------------------------


def test_every_term_has_a_column_per_name() -> None:
    nodes = simulate_nodes(1, Truth(time_mag=(0.0, 0.0, 0.0)), n_per_patch=5)
    for term in TERMS.values():
        assert term.columns(nodes).shape == (nodes.mag.size, len(term.names(nodes)))


def test_a_new_term_is_one_entry() -> None:
    # A trend with magnitude, as a detector that is not linear would show.
    nodes = simulate_nodes(1, Truth(), n_per_patch=40)
    term = Term(
        unit="mag / mag",
        names=lambda _: ("trend",),
        columns=lambda nodes: (
            np.where(nodes.is_module_a, 0.5, -0.5) * (np.round(nodes.mag) - 20.0)
        )[:, None],
    )
    chosen = (TERMS["offset_ab"], term)
    order = np.lexsort((nodes.epoch, nodes.source_id))
    nodes = nodes.take(order)
    rounded = replace(nodes, mag=np.repeat(nodes.mag[::2], 2))
    design = np.hstack([entry.columns(rounded) for entry in chosen])
    mag = nodes.mag + design @ [0.0, 0.004]
    system = BlockSystem(
        ("offset_ab", "trend"), design, mag, nodes.mag_err**2, np.arange(0, mag.size, 2)
    )
    solution = solve_blocks(system, floor_mag=None, seed=1)
    np.testing.assert_array_less(np.abs(solution.coefficients - [0.02, 0.004]), 3.0 * solution.errs)

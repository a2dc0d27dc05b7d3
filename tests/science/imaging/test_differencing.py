"""Stacks, differences, smoothing, and what is left of sources."""

from __future__ import annotations

import numpy as np
import pytest

from calreg.errors import DegenerateImageError, InvalidValueError
from calreg.science.imaging.differencing import (
    EpochImage,
    EpochStack,
    Layer,
    half_map,
    measure_residuals,
    median_residual,
    smooth,
    subtract,
)
from calreg.science.photometry.image import ImagePlanes
from support.skyimages import NOISE, SKY, star_field

SHAPE = (200, 240)


def layer(
    value: float | np.ndarray,
    *,
    weight: float = 1.0,
    factor: float | None = None,
    x0: int = 0,
    y0: int = 0,
    place: int = 0,
    shape: tuple[int, int] = (4, 6),
    err: float | None = 1.0,
) -> Layer:
    """Return a mosaic; a number stands for all pixels."""
    sci = value if isinstance(value, np.ndarray) else np.full(shape, value, dtype=np.float32)
    is_bad = ~np.isfinite(sci)
    sci = np.where(is_bad, np.float32(0.0), sci).astype(np.float32)
    noise = None if err is None else np.full(sci.shape, err, dtype=np.float32)
    return Layer(ImagePlanes(sci, is_bad, noise), weight, factor, x0, y0, place)


def test_stack_is_the_weighted_mean_before_and_after() -> None:
    stack = EpochStack((4, 6), is_corrected=True)
    stack.add(layer(2.0, weight=3.0, factor=1.1, err=0.1))
    stack.add(layer(4.0, weight=1.0, factor=0.9, err=0.3, x0=3, place=4))
    found = stack.finish()
    assert found.after is not None
    assert found.err is not None
    np.testing.assert_allclose(found.before[:, :3], 2.0)
    np.testing.assert_allclose(found.before[:, 3:], 2.5)
    np.testing.assert_allclose(found.after[:, :3], 2.2, rtol=1e-6)
    np.testing.assert_allclose(found.after[:, 3:], (3 * 2.2 + 3.6) / 4, rtol=1e-6)
    np.testing.assert_allclose(found.err[:, 3:], np.hypot(0.3, 0.3) / 4, rtol=1e-6)
    assert set(np.unique(found.arrays[:, :3])) == {1}
    assert set(np.unique(found.arrays[:, 3:])) == {1 | 1 << 4}
    assert not found.is_bad.any()


def test_bad_pixels_and_pixels_outside_do_not_count() -> None:
    values = np.ones((4, 6), dtype=np.float32)
    values[1, 2] = np.nan
    stack = EpochStack((5, 5), is_corrected=False)
    stack.add(layer(values, x0=-2, y0=2))
    stack.add(layer(7.0, x0=9))
    found = stack.finish()
    assert found.after is None
    is_data = np.zeros((5, 5), dtype=bool)
    is_data[2:5, 0:4] = True
    is_data[3, 0] = False
    np.testing.assert_array_equal(~found.is_bad, is_data)
    np.testing.assert_array_equal(found.arrays != 0, is_data)


def test_errors_are_unknown_where_one_mosaic_has_none() -> None:
    stack = EpochStack((4, 6), is_corrected=False)
    stack.add(layer(1.0))
    stack.add(layer(1.0, err=None))
    assert stack.finish().err is None


def test_a_mosaic_without_factor_is_refused_where_others_have_one() -> None:
    stack = EpochStack((4, 6), is_corrected=True)
    with pytest.raises(InvalidValueError, match="no factor"):
        stack.add(layer(1.0))


def test_smoothing_is_the_mean_of_what_is_within_the_circle() -> None:
    rng = np.random.default_rng(3)
    image = rng.standard_normal((60, 50)).astype(np.float32)
    image[20:24, 10:15] = np.nan
    found = smooth(image, 6)
    y, x = np.indices(image.shape)
    for row, column in ((0, 0), (30, 25), (19, 12), (59, 49), (24, 16)):
        within = (y - row) ** 2 + (x - column) ** 2 <= 36
        assert found[row, column] == pytest.approx(np.nanmean(image[within]), abs=1e-6)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(image))


def test_smoothing_in_blocks_leaves_no_seam() -> None:
    rng = np.random.default_rng(4)
    image = rng.standard_normal((1100, 30)).astype(np.float32)
    found = smooth(image, 6)
    for row in (511, 512, 1023, 1024):
        np.testing.assert_allclose(found[row], smooth(image[row - 20 : row + 21], 6)[20], atol=1e-6)


# --- residuals ------------------------------------------------------------------------------------

LEFT, RIGHT = 1, 2
FACTORS = {"left": 1.03, "right": 0.98}


def epoch(seed: int, left: float, right: float, *, place: int, hole: bool = False) -> Layer:
    """Return an image whose halves read stars too bright by factors."""
    rng = np.random.default_rng(11)
    stars = [
        (12.0 + 18.0 * column + rng.uniform(-2, 2), 12.0 + 18.0 * row + rng.uniform(-2, 2), 60.0)
        for row in range(10)
        for column in range(13)
    ]
    clean = star_field(stars, shape=SHAPE, seed=1) - star_field([], shape=SHAPE, seed=1)
    clean[:, :120] *= left
    clean[:, 120:] *= right
    noise = star_field([], shape=SHAPE, seed=seed) - SKY
    sci = (clean + noise).astype(np.float32)
    if hole:
        sci[12:15, 10:14] = np.nan
    is_bad = ~np.isfinite(sci)
    planes = ImagePlanes(
        np.where(is_bad, np.float32(0.0), sci), is_bad, np.full(SHAPE, NOISE, dtype=np.float32)
    )
    factor = np.where(np.arange(SHAPE[1]) < 120, 1.0 / left, 1.0 / right).astype(np.float32)
    return Layer(planes, 1.0, np.broadcast_to(factor, SHAPE).copy(), 0, 0, place)


def stacked(single: Layer) -> EpochImage:
    """Return the epoch of one mosaic."""
    stack = EpochStack(SHAPE, is_corrected=True)
    stack.add(single)
    return stack.finish()


def test_residuals_have_the_sign_and_size_of_what_was_injected() -> None:
    first = stacked(epoch(2, 1.0, 1.0, place=LEFT))
    second = stacked(epoch(3, FACTORS["left"], FACTORS["right"], place=RIGHT))
    found = measure_residuals(first, second)
    assert found.after is not None
    assert found.before.size == 130
    for is_in, factor in (
        (found.x < 120, FACTORS["left"]),
        (found.x >= 120, FACTORS["right"]),
    ):
        truth = 2.0 * (factor - 1.0) / (factor + 1.0)
        before, after = median_residual(found.before[is_in]), median_residual(found.after[is_in])
        assert 0.0 < before.err < 0.001
        assert before.median == pytest.approx(truth, abs=3 * before.err)
        assert after.median == pytest.approx(0.0, abs=3 * after.err)
    # Exchanged epochs exchange the sign, on the same isophotes.
    turned = measure_residuals(second, first)
    np.testing.assert_array_equal(turned.before, -found.before)
    assert found.seen_by(1 << LEFT, 1 << RIGHT).all()
    assert not found.seen_by(1 << RIGHT, 1 << LEFT).any()


def test_noise_alone_leaves_nothing_and_errors_match_the_scatter() -> None:
    """Medians over seeds scatter as their errors say."""
    pulls = []
    for seed in range(20, 50):
        found = measure_residuals(
            stacked(epoch(seed, 1.0, 1.0, place=0)),
            stacked(epoch(seed + 100, 1.0, 1.0, place=0)),
        )
        median = median_residual(found.before)
        pulls.append(median.median / median.err)
    # Thirty pulls: their scatter is uncertain by 13 per cent, their mean by 0.18.
    assert np.mean(pulls) == pytest.approx(0.0, abs=0.6)
    assert np.std(pulls) == pytest.approx(1.0, abs=0.4)


def test_sources_at_holes_and_faint_ones_are_left_out() -> None:
    first = stacked(epoch(2, 1.0, 1.0, place=0, hole=True))
    second = stacked(epoch(3, 1.0, 1.0, place=0))
    found = measure_residuals(first, second)
    assert found.before.size == 129
    # S/N is 60 over the noise of some 80 pixels, 0.01 each and less for the mean of two.
    assert measure_residuals(first, second, noise_correlation=3.0).before.size == 129
    assert measure_residuals(first, second, noise_correlation=30.0).before.size == 0
    with_more = measure_residuals(first, second, min_snr=1e4)
    assert with_more.before.size == 0


def test_no_common_pixel_is_refused() -> None:
    empty = EpochStack(SHAPE, is_corrected=False).finish()
    with pytest.raises(DegenerateImageError):
        measure_residuals(empty, empty)


def test_halves_are_where_one_module_alone_contributes() -> None:
    images = []
    for places in ((0, 4), (4, 0)):
        stack = EpochStack((4, 10), is_corrected=False)
        stack.add(layer(1.0, place=places[0]))
        stack.add(layer(1.0, place=places[1], x0=5, shape=(4, 5)))
        images.append(stack.finish())
    first, second = images
    marks = half_map(first, second, [(1, 1 << 4), (1 << 4, 1)])
    assert (marks[:, :5] == 1).all()
    assert (marks[:, 5] == 0).all()
    assert (marks[:, 6:] == 2).all()


def test_difference_is_second_minus_first_with_its_error() -> None:
    images = []
    for value in (1.0, 1.5):
        stack = EpochStack((4, 6), is_corrected=False)
        stack.add(layer(value, err=0.3 if value == 1.0 else 0.4, shape=(4, 5)))
        images.append(stack.finish())
    found = subtract(*images)
    assert found.after is None
    assert found.err is not None
    np.testing.assert_allclose(found.before[:, :5], 0.5)
    np.testing.assert_allclose(found.err[:, :5], 0.5)
    assert np.isnan(found.before[:, 5]).all()

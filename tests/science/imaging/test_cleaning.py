from __future__ import annotations

import numpy as np
import pytest

from calreg.science.imaging.cleaning import CleaningSettings, clean_exposure

NOISE = 0.01
SHAPE = (256, 2048)
LEVEL = 0.3


def exposure() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    sci = LEVEL + 0.02 * np.linspace(-1.0, 1.0, SHAPE[1]) + NOISE * rng.standard_normal(SHAPE)
    for start in range(0, SHAPE[1], 512):
        sci[:, start : start + 512] += NOISE * rng.standard_normal((SHAPE[0], 1))
    sci[100:110, 1000:1010] += 1.0
    err = np.full(SHAPE, NOISE, dtype=np.float32)
    return sci.astype(np.float32), err, np.zeros(SHAPE, dtype=np.uint32)


def row_scatter(sci: np.ndarray) -> float:
    """Return the scatter of the rows' medians within amplifiers."""
    return float(np.median(sci.reshape(SHAPE[0], 4, 512), axis=2).std())


def test_nothing_is_subtracted_unless_asked() -> None:
    sci, err, dq = exposure()
    cleaned = clean_exposure(sci, err, dq, CleaningSettings(background=False))
    np.testing.assert_array_equal(cleaned.sci, sci)
    assert cleaned.background == 0.0
    assert cleaned.mask[100:110, 1000:1010].all()


def test_level_only() -> None:
    sci, err, dq = exposure()
    cleaned = clean_exposure(sci, err, dq, CleaningSettings(level=True, background=False))
    assert cleaned.background == pytest.approx(LEVEL, abs=0.2 * NOISE)
    np.testing.assert_allclose(sci - cleaned.sci, cleaned.background, atol=1e-6)


def test_background() -> None:
    sci, err, dq = exposure()
    before = sci.copy()
    cleaned = clean_exposure(sci, err, dq, CleaningSettings(level=True))
    np.testing.assert_array_equal(sci, before)
    assert cleaned.sci.dtype == np.float32
    assert cleaned.background == pytest.approx(LEVEL, abs=0.2 * NOISE)
    halves = [np.median(cleaned.sci[:, :1024]), np.median(cleaned.sci[:, 1024:])]
    assert halves == pytest.approx([0.0, 0.0], abs=0.1 * NOISE)
    assert row_scatter(cleaned.sci) > 0.9 * NOISE


def test_stripes() -> None:
    sci, err, dq = exposure()
    cleaned = clean_exposure(sci, err, dq, CleaningSettings(stripes=True))
    # the medians of columns, of 256 pixels here, disturb those of rows again by a little
    assert row_scatter(cleaned.sci) < 0.1 * NOISE
    assert np.median(cleaned.sci[100:110, 1000:1010]) == pytest.approx(1.0, abs=NOISE)
    kept = clean_exposure(sci, err, dq, CleaningSettings(stripes=True, background=False))
    assert kept.background == pytest.approx(0.0, abs=0.1 * NOISE)
    assert row_scatter(kept.sci) < 1.3 * NOISE  # the slope along x is still there


def test_strong_stripes_are_no_sources() -> None:
    """Wide stripes of half the noise of a pixel stand out of averages as bright sources do."""
    sci, err, dq = exposure()
    sci[60:76, 512:1024] += 0.5 * NOISE
    sci[150:170, 1024:1536] -= NOISE
    cleaned = clean_exposure(sci, err, dq, CleaningSettings(stripes=True))
    assert row_scatter(cleaned.sci) < 0.1 * NOISE
    for rows, columns in ((slice(60, 76), slice(512, 1024)), (slice(150, 170), slice(1024, 1536))):
        left = np.median(cleaned.sci[rows, columns], axis=1)
        # The error of the median of 512 pixels is 0.055 of their noise.
        assert np.abs(left).max() < 0.25 * NOISE
        assert cleaned.mask[rows, columns].mean() < 0.2


def test_subarray_has_one_amplifier() -> None:
    sci, err, dq = (plane[:, 500:820] for plane in exposure())
    cleaned = clean_exposure(sci, err, dq, CleaningSettings(stripes=True))
    # the step between two amplifiers is not the subarray's to remove
    assert np.median(cleaned.sci, axis=1).std() < 0.1 * NOISE

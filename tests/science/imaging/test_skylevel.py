from __future__ import annotations

import sys

import numpy as np
import pytest

from calreg.errors import InvalidValueError, MissingExtraError
from calreg.flags import DO_NOT_USE, SATURATED
from calreg.science.imaging.cleaning import (
    median_level,
    source_mask,
    subtract_background,
    usable_pixels,
)

NOISE = 0.01
N_PIXELS = 512


def sky(n_pixels: int = N_PIXELS) -> np.ndarray:
    """Return a corner of a background with a slope and a bend over a whole detector."""
    y, x = np.mgrid[:n_pixels, :n_pixels] / 2048.0
    return np.asarray(0.2 + 0.02 * x + 0.01 * y**2)


def exposure(
    n_sources: int = 100, seed: int = 1, n_pixels: int = N_PIXELS
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return signal, error, quality, and the sources alone."""
    rng = np.random.default_rng(seed)
    sources = np.zeros((n_pixels, n_pixels))
    y, x = np.mgrid[:n_pixels, :n_pixels]
    for _ in range(n_sources):
        x0, y0 = rng.uniform(0, n_pixels, 2)
        flux = 10.0 ** rng.uniform(-1.5, 1.5)
        radius2 = ((x - x0) ** 2 + (y - y0) ** 2) / 1.5**2
        sources += flux * 1.5 / np.pi / 1.5**2 * (1.0 + radius2) ** -2.5
    err = np.sqrt(NOISE**2 + 0.002 * sources)
    sci = sky(n_pixels) + sources + err * rng.standard_normal(sources.shape)
    dq = np.zeros(sources.shape, dtype=np.uint32)
    return sci.astype(np.float32), err.astype(np.float32), dq, sources


def test_background_of_a_field_with_sources() -> None:
    sci, err, dq, _ = exposure()
    background, mask = subtract_background(sci, err, dq)
    assert background.dtype == np.float32
    assert background.shape == sci.shape
    difference = background - sky()
    # a level off by 0.03 of the noise of a pixel shifts a star of 100 pixels by 0.3 of its error
    assert abs(difference.mean()) < 0.03 * NOISE
    assert difference.std() < 0.1 * NOISE
    assert 0.05 < mask.mean() < 0.5


def test_background_without_sources_is_not_biased_by_the_mask() -> None:
    sci, err, dq, _ = exposure(n_sources=0)
    background, mask = subtract_background(sci, err, dq)
    # the mask takes peaks of noise with their surroundings: the median moves by 0.01 of the noise
    assert abs((background - sky()).mean()) < 0.03 * NOISE
    assert mask.mean() < 0.1


def test_sources_are_masked() -> None:
    sci, err, dq, sources = exposure()
    mask = source_mask(sci, err, dq)
    assert mask[sources > 3.0 * NOISE].mean() > 0.99
    # wings far below the noise of a pixel are sky
    assert mask[sources < 0.02 * NOISE].mean() < 0.15


def test_bad_pixels_do_not_reach_the_background() -> None:
    sci, err, dq, _ = exposure()
    expected, _ = subtract_background(sci, err, dq)
    rng = np.random.default_rng(5)
    for value, flag in ((np.nan, 0), (np.inf, 0), (1e6, DO_NOT_USE), (-1e6, SATURATED)):
        y, x = rng.integers(0, N_PIXELS, (2, 800))
        sci[y, x] = value
        dq[y, x] |= flag
    sci[:, :4] = np.nan
    background, mask = subtract_background(sci, err, dq)
    assert np.isfinite(background).all()
    assert mask[~np.isfinite(sci)].all()
    assert mask[dq > 0].all()
    assert np.abs(background - expected).max() < 0.6 * NOISE


def test_masked_blocks_take_their_level_from_neighbours() -> None:
    sci, err, dq, _ = exposure(n_sources=20)
    dq[128:256, 128:256] = DO_NOT_USE
    sci[128:256, 128:256] = 50.0
    dq[384:, 384:] = DO_NOT_USE
    background, _ = subtract_background(sci, err, dq)
    assert np.abs(background - sky()).max() < 1.0 * NOISE


@pytest.mark.parametrize("n_pixels", [64, 129, 300])
def test_images_that_blocks_do_not_divide(n_pixels: int) -> None:
    sci, err, dq, _ = exposure(n_sources=0, n_pixels=n_pixels)
    background, mask = subtract_background(sci, err, dq)
    assert background.shape == mask.shape == (n_pixels, n_pixels)
    assert np.abs(background - sky(n_pixels)).max() < 2.0 * NOISE


def test_usable_pixels() -> None:
    sci = np.array([[1.0, np.nan, 1.0, 1.0, 1.0, 1.0, 1.0]], dtype=np.float32)
    err = np.array([[1.0, 1.0, np.nan, 0.0, 1.0, 1.0, 1.0]], dtype=np.float32)
    dq = np.array([[4, 0, 0, 0, DO_NOT_USE | 512, SATURATED, 0]], dtype=np.uint32)
    expected = [[True, False, False, False, False, False, True]]
    assert usable_pixels(sci, err, dq).tolist() == expected


def test_median_level() -> None:
    sci = np.array([[1.0, 2.0, 9.0, np.nan]], dtype=np.float32)
    mask = np.array([[False, False, False, True]])
    assert median_level(sci, mask) == 2.0
    with pytest.raises(InvalidValueError, match="no level: all 4 pixels"):
        median_level(sci, np.ones_like(mask))


def test_no_pixel_with_data() -> None:
    sci, err, dq, _ = exposure(n_sources=0, n_pixels=64)
    with pytest.raises(InvalidValueError, match="no pixel holds data"):
        source_mask(np.full_like(sci, np.nan), err, dq)
    with pytest.raises(InvalidValueError, match="no pixel holds data"):
        subtract_background(sci, err, np.full_like(dq, SATURATED))


def test_too_little_sky() -> None:
    sci, err, dq, _ = exposure(n_sources=0, n_pixels=256)
    dq[:] = DO_NOT_USE
    dq[::5, ::5] = 0
    with pytest.raises(InvalidValueError, match=r"no background: .* \(--no-background\)"):
        subtract_background(sci, err, dq)


def test_without_photutils(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "photutils.background", None)
    sci, err, dq, _ = exposure(n_sources=0, n_pixels=64)
    with pytest.raises(MissingExtraError, match=r"pip install 'calreg\[mosaic\]'"):
        subtract_background(sci, err, dq)

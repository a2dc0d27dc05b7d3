from __future__ import annotations

import numpy as np
import pytest

from calreg.errors import InvalidValueError
from calreg.science.imaging.cleaning import remove_stripes

NOISE = 0.01
SHAPE = (512, 1024)
COLUMNS = 256


def striped(seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return noise on a level, and stripes along rows and columns of four amplifiers."""
    rng = np.random.default_rng(seed)
    sky = 0.2 + NOISE * rng.standard_normal(SHAPE)
    stripes = np.zeros(SHAPE)
    for start in range(0, SHAPE[1], COLUMNS):
        amplifier = stripes[:, start : start + COLUMNS]
        amplifier += NOISE * rng.standard_normal((SHAPE[0], 1))
        amplifier += 0.5 * NOISE * rng.standard_normal((1, COLUMNS))
    return sky.astype(np.float32), stripes.astype(np.float32)


def test_stripes_are_removed_and_the_level_kept() -> None:
    sky, stripes = striped()
    mask = np.zeros(SHAPE, dtype=bool)
    cleaned = remove_stripes(sky + stripes, mask, amplifier_columns=COLUMNS)
    assert cleaned.dtype == np.float32
    # medians of 256 and of 512 pixels have errors of 1.25 NOISE / sqrt(n): 0.078 and 0.055 NOISE
    assert (cleaned - sky).std() < 0.11 * NOISE
    assert np.median(cleaned) == pytest.approx(np.median(sky + stripes), abs=0.01 * NOISE)


def test_sources_do_not_make_stripes() -> None:
    sky, stripes = striped()
    mask = np.zeros(SHAPE, dtype=bool)
    mask[100:140, 300:420] = True
    signal = sky + stripes
    signal[mask] += 5.0
    cleaned = remove_stripes(signal, mask, amplifier_columns=COLUMNS)
    assert (cleaned - sky)[~mask].std() < 0.12 * NOISE
    assert (cleaned - sky)[mask] == pytest.approx(5.0, abs=0.5 * NOISE)


def test_masked_row_of_an_amplifier_follows_the_whole_row() -> None:
    sky, _ = striped()
    rows = np.zeros(SHAPE, dtype=np.float32)
    rows[200:220] = 5.0 * NOISE
    mask = np.zeros(SHAPE, dtype=bool)
    mask[200:220, :COLUMNS] = True
    cleaned = remove_stripes(sky + rows, mask, amplifier_columns=COLUMNS)
    assert (cleaned - sky)[mask] == pytest.approx(0.0, abs=0.5 * NOISE)
    mask[200:220] = True
    untouched = remove_stripes(sky + rows, mask, amplifier_columns=COLUMNS)
    assert (untouched - sky)[mask] == pytest.approx(5.0 * NOISE, abs=0.5 * NOISE)


def test_background_is_no_stripe() -> None:
    sky, stripes = striped()
    rising = np.linspace(0.0, 0.1, SHAPE[0])[:, np.newaxis]
    slope = np.broadcast_to(rising, SHAPE).astype(np.float32)
    mask = np.zeros(SHAPE, dtype=bool)
    cleaned = remove_stripes(
        sky + stripes + slope, mask, background=slope, amplifier_columns=COLUMNS
    )
    assert (cleaned - sky - slope).std() < 0.11 * NOISE


def test_nan_stays_and_does_not_spread() -> None:
    sky, stripes = striped()
    signal = sky + stripes
    mask = np.zeros(SHAPE, dtype=bool)
    signal[7, :] = np.nan
    signal[:, 9] = np.nan
    mask[7, :] = True
    mask[:, 9] = True
    cleaned = remove_stripes(signal, mask, amplifier_columns=COLUMNS)
    assert (np.isnan(cleaned) == mask).all()


def test_refusals() -> None:
    sky, _ = striped()
    with pytest.raises(InvalidValueError, match="no stripes: all 524288 pixels"):
        remove_stripes(sky, np.ones(SHAPE, dtype=bool))
    with pytest.raises(InvalidValueError, match="amplifiers of 0 columns"):
        remove_stripes(sky, np.zeros(SHAPE, dtype=bool), amplifier_columns=0)

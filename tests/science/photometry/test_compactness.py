"""The locus of stars, and what is as compact as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from calreg.flags import DetectionFlag
from calreg.science.photometry.compactness import (
    COMPACT,
    EXTENDED,
    LIMIT_FACTOR,
    MIN_STARS,
    R_HALF_PER_FWHM,
    UNKNOWN,
    compact_sources,
)

if TYPE_CHECKING:
    from calreg.domain import BoolArray, IntArray
    from calreg.units import FloatArray

STAR_ARCSEC = 0.085


def _sample(
    n_stars: int, n_galaxies: int, seed: int = 3
) -> tuple[FloatArray, FloatArray, IntArray, BoolArray]:
    """Return radii, magnitudes, flags and which are stars; faint radii scatter more."""
    rng = np.random.default_rng(seed)
    mag = rng.uniform(18.0, 27.0, n_stars + n_galaxies)
    is_star = np.arange(mag.size) < n_stars
    radius = np.where(is_star, STAR_ARCSEC, STAR_ARCSEC * (1.0 + rng.lognormal(0.2, 0.6, mag.size)))
    radius *= 1.0 + rng.standard_normal(mag.size) * 0.01 * 10.0 ** (0.15 * (mag - 20.0))
    return radius, mag, np.zeros(mag.size, dtype=np.int64), is_star


@pytest.mark.parametrize("n_galaxies", [50, 600])
def test_locus_of_stars_is_found_among_galaxies(n_galaxies: int) -> None:
    radius, mag, flags, is_star = _sample(150, n_galaxies)
    found = compact_sources(radius, mag, flags)
    assert found.star_arcsec == pytest.approx(STAR_ARCSEC, rel=0.02)
    assert found.limit_arcsec == pytest.approx(LIMIT_FACTOR * found.star_arcsec)
    assert found.n_stars >= MIN_STARS
    is_bright = mag < 22.0
    is_compact = found.compactness == COMPACT
    assert is_compact[is_star & is_bright].mean() > 0.97
    assert is_compact[~is_star & is_bright].mean() < 0.03


def test_saturated_and_blended_stars_do_not_make_the_locus() -> None:
    radius, mag, flags, _ = _sample(150, 300)
    spoiled = np.full(200, 1.6 * STAR_ARCSEC)
    for flag in (DetectionFlag.SATURATED, DetectionFlag.BLENDED, DetectionFlag.TRUNCATED):
        found = compact_sources(
            np.concatenate([radius, spoiled]),
            np.concatenate([mag, np.full(200, 15.0)]),
            np.concatenate([flags, np.full(200, int(flag))]),
        )
        assert found.star_arcsec == pytest.approx(STAR_ARCSEC, rel=0.02)
        assert (found.compactness[-200:] == EXTENDED).all()


def test_hot_pixels_are_not_compact_sources() -> None:
    radius, mag, flags, _ = _sample(150, 300)
    radius[0] = 0.5 * STAR_ARCSEC
    assert compact_sources(radius, mag, flags).compactness[0] == EXTENDED


def test_unknown_radius_is_unknown() -> None:
    radius, mag, flags, _ = _sample(150, 300)
    radius[:20] = np.nan
    mag[20:40] = np.nan
    codes = compact_sources(radius, mag, flags).compactness
    assert (codes[:20] == UNKNOWN).all()
    assert (codes[20:] != UNKNOWN).all()


def test_width_of_the_psf_stands_in_for_few_stars() -> None:
    radius = np.array([0.07, 0.08, 0.2])
    mag, flags = np.array([20.0, 21.0, 22.0]), np.zeros(3, dtype=np.int64)
    found = compact_sources(radius, mag, flags, psf_fwhm_arcsec=0.116)
    assert found.n_stars == 0
    assert found.star_arcsec == pytest.approx(R_HALF_PER_FWHM * 0.116)
    assert found.compactness.tolist() == [COMPACT, COMPACT, EXTENDED]
    unknown = compact_sources(radius, mag, flags)
    assert unknown.compactness.tolist() == [UNKNOWN] * 3
    assert np.isnan(unknown.limit_arcsec)


def test_no_source_at_all() -> None:
    empty = np.empty(0)
    found = compact_sources(empty, empty, np.empty(0, dtype=np.int64))
    assert (found.compactness.size, found.n_stars) == (0, 0)

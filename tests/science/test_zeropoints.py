"""Offsets carried across contexts: signs, rounding, errors."""

from __future__ import annotations

import math

import numpy as np
import pytest

from calreg.errors import InvalidValueError
from calreg.science.zeropoints import (
    NO_CHANGE,
    DeltaMag,
    Rounded,
    agree,
    carried_offset,
    is_beyond,
    magnitude_change,
    most_precise,
    rounded,
    single_precision,
)


@pytest.mark.parametrize(
    ("text", "digits", "value", "half_width"),
    [
        ("2.0560", None, 2.056, 5e-5),
        ("0.421", None, 0.421, 5e-4),
        ("2.78", 4, 2.78, 5e-4),
        ("48.251", None, 48.251, 5e-4),
        ("0.421", 4, 0.421, 5e-5),
        ("2.24e-14", None, 2.24e-14, 5e-17),
        ("12", None, 12.0, 0.5),
        # A 32-bit number printed in full is known to its last bit, not to its last digit.
        ("0.3925000131130219", None, 0.3925000131130219, 0.3925 * 2.0**-24),
    ],
)
def test_precision_is_that_of_the_text(
    text: str, digits: int | None, value: float, half_width: float
) -> None:
    found = rounded(text, digits)
    assert found.value == value
    assert found.half_width == pytest.approx(half_width, rel=1e-4)


@pytest.mark.parametrize("text", ["", "-2.0", "0.0", "nan", "inf", "2.0 MJy", "."])
def test_what_is_no_positive_number_is_refused(text: str) -> None:
    with pytest.raises(InvalidValueError, match="is not a positive number"):
        rounded(text)


def test_text_has_the_digits_that_are_known() -> None:
    assert str(rounded("2.0560")) == "2.0560"
    assert str(rounded("2.78", 4)) == "2.780"
    assert str(single_precision(0.3925000131130219)) == "0.3925"
    assert str(rounded("2.24e-14")) == "2.24e-14"


def test_rounding_error_is_that_of_a_uniform_distribution() -> None:
    rng = np.random.default_rng(5)
    true = rng.uniform(2.0, 2.2, 20_000)
    written = np.round(true, 3)
    # 20 000 draws give a standard deviation to 0.5 %; 2 % is four of its errors.
    assert np.std(written - true) == pytest.approx(rounded("2.100").err, rel=0.02)
    mags = -2.5 * np.log10(written / true)
    assert np.std(mags) == pytest.approx(rounded("2.100").err_mag, rel=0.04)


def test_sources_agree_within_their_precision_only() -> None:
    assert agree([rounded("2.0560"), rounded("2.056", 4), single_precision(2.0559999943)])
    assert not agree([rounded("2.0560"), rounded("2.0550")])
    assert agree([rounded("2.056"), rounded("2.057")]), "2.0565 may be written either way"
    assert not agree([rounded("2.0560"), rounded("2.0562")])
    # Three of which two pairs agree and the third pair does not.
    assert not agree([rounded("2.1"), rounded("2.06"), rounded("2.14")])
    assert most_precise([rounded("2.1"), rounded("2.06")]) == rounded("2.06")


def test_larger_photmjsr_makes_an_array_brighter() -> None:
    brighter = magnitude_change(Rounded(2.0, 0.0), Rounded(2.02, 0.0))
    assert brighter.mag == pytest.approx(-2.5 * math.log10(1.01))
    # A reads too faint by 0.013 and its PHOTMJSR grows by 1 %: less remains. B's growth adds.
    offset = DeltaMag(0.013, 0.001)
    assert carried_offset(offset, brighter, NO_CHANGE).mag == pytest.approx(
        0.013 - 0.010803, abs=1e-6
    )
    assert carried_offset(offset, NO_CHANGE, brighter).mag == pytest.approx(
        0.013 + 0.010803, abs=1e-6
    )
    assert carried_offset(offset, brighter, brighter).mag == pytest.approx(0.013)


def test_design_equation_with_errors() -> None:
    values = {"a1": "2.412", "a2": "2.355", "b1": "2.338", "b2": "2.357"}
    s = {name: rounded(text) for name, text in values.items()}
    found = carried_offset(
        DeltaMag(-0.04342, 0.00148),
        magnitude_change(s["a1"], s["a2"]),
        magnitude_change(s["b1"], s["b2"]),
    )
    expected = -0.04342 - 2.5 * math.log10((2.355 / 2.412) / (2.357 / 2.338))
    assert found.mag == pytest.approx(expected, abs=1e-12)
    rounding = [1.0857362 * 0.0005 / math.sqrt(3.0) / value.value for value in s.values()]
    assert found.err_mag == pytest.approx(math.hypot(0.00148, *rounding), rel=1e-6)


def test_errors_cover_what_rounding_hides() -> None:
    """The predicted error is the scatter over true values that are written alike."""
    rng = np.random.default_rng(8)
    true = rng.uniform(0.37, 0.43, (4, 4000))
    written = np.round(true, 3)
    expected = -2.5 * np.log10((true[1] / true[0]) / (true[3] / true[2]))
    pulls = []
    for index in range(true.shape[1]):
        a1, a2, b1, b2 = (rounded(f"{value:.3f}") for value in written[:, index])
        found = carried_offset(
            DeltaMag(0.0, 0.0), magnitude_change(a1, a2), magnitude_change(b1, b2)
        )
        pulls.append((found.mag - expected[index]) / found.err_mag)
    # 4000 pulls: their standard deviation is known to 1.2 %.
    assert np.std(pulls) == pytest.approx(1.0, abs=0.05)
    assert np.mean(pulls) == pytest.approx(0.0, abs=0.06)


def test_three_sigma() -> None:
    assert not is_beyond(0.0029, 0.001)
    assert is_beyond(-0.0031, 0.001)

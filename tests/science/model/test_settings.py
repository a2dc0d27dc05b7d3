from __future__ import annotations

import json
import math

import pytest

from calreg.errors import InvalidValueError
from calreg.science.model.settings import FitSettings


def test_defaults_are_the_papers() -> None:
    assert json.loads(FitSettings().canonical_json()) == {
        "mag_limit": 22.0,
        "snr": 100.0,
        "max_sep_arcsec": 0.1,
        "floor": "auto",
        "slope": "auto",
        "time": "fix",
        "axis_pa_deg": "auto",
    }


def test_same_settings_have_one_json() -> None:
    typed = FitSettings.parse(mag_limit=22, floor="0.01", slope=" FIT ", axis="-288")
    assert typed == FitSettings(floor=0.01, slope="fit", axis_pa_deg=72.0)
    assert (
        typed.canonical_json()
        == FitSettings(floor=0.01, slope="fit", axis_pa_deg=72).canonical_json()
    )


def test_json_returns_the_settings() -> None:
    settings = FitSettings(mag_limit=21.5, floor=0.0, time="fit", axis_pa_deg=-10.0)
    assert FitSettings(**json.loads(settings.canonical_json())) == settings
    assert settings.floor_mag == 0.0
    assert FitSettings().floor_mag is None


@pytest.mark.parametrize(
    ("slope", "channel", "is_fitted"),
    [
        ("auto", "LW", True),
        ("auto", "SW", False),
        ("none", "LW", False),
        ("fit", "SW", True),
    ],
)
def test_slope_by_channel(slope: str, channel: str, is_fitted: bool) -> None:
    assert FitSettings.parse(slope=slope).slope_is_fitted(channel) is is_fitted


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("mag_limit", math.nan, "--mag-limit nan"),
        ("mag_limit", 99.0, "--mag-limit 99"),
        ("snr", -1.0, "--snr -1"),
        ("max_sep_arcsec", 0.0, "--max-sep 0"),
        ("floor", -0.01, "--floor -0.01"),
        ("floor", "some", "--floor 'some'"),
        ("slope", "maybe", "--slope 'maybe'"),
        ("time", "auto", "--time 'auto'"),
        ("axis", "north", "--axis 'north'"),
        ("axis", math.inf, "--axis inf"),
    ],
)
def test_values_without_meaning_are_refused(name: str, value: object, found: str) -> None:
    with pytest.raises(InvalidValueError, match=found):
        FitSettings.parse(**{name: value})  # type: ignore[arg-type]

"""Eras of the pipeline: versions in order, and what the table says of them."""

from __future__ import annotations

import pytest

from calreg.instruments import load_instrument
from calreg.instruments.software import EraAction, era_of, load_software_eras, version_key

NIRCAM = load_instrument()
ERAS = load_software_eras(NIRCAM.name)


def test_versions_are_ordered_as_numbers() -> None:
    texts = [
        "1.9.4",
        "1.11.4",
        "1.20.0.dev12+g1a2b",
        "1.20.0rc1",
        "1.20.0",
        "1.20.1",
        "2.0",
        "3.0.0",
    ]
    keys = [version_key(text) for text in texts]
    known = [key for key in keys if key is not None]
    assert len(known) == len(texts)
    assert known == sorted(known)
    assert version_key("1.20") == version_key("1.20.0") == version_key(" v1.20.0+local ")
    assert version_key("calreg 0.1.0") is version_key("") is None


@pytest.mark.parametrize(
    ("version", "is_refused"),
    [("1.19.1", False), ("1.20.0", True), ("1.20.0.dev1", False), ("1.20.1", False), ("", False)],
)
def test_catalogs_of_one_version_are_refused(version: str, *, is_refused: bool) -> None:
    era = era_of(ERAS, EraAction.REFUSE, "cat", version)
    assert (era is not None) is is_refused
    assert era_of(ERAS, EraAction.REFUSE, "i2d", version) is None


def test_mosaics_of_the_old_resampling_are_faint() -> None:
    era = era_of(ERAS, EraAction.SEPARATE, "i2d", "1.14.0")
    assert era is not None
    faint = {name: era.faint_mag(array) for name, array in NIRCAM.arrays.items()}
    assert faint["nrcalong"] == pytest.approx(0.0052)
    assert faint["nrcblong"] == pytest.approx(0.0056)
    assert faint["nrca1"] == faint["nrcb4"] == pytest.approx(0.00085)
    assert era_of(ERAS, EraAction.SEPARATE, "i2d", "1.20.0") is None
    assert era_of(ERAS, EraAction.SEPARATE, "cal", "1.14.0") is None


def test_every_era_has_a_source_and_a_remedy() -> None:
    assert len(ERAS) == 3
    assert all(era.source and era.remedy and era.what for era in ERAS)
    assert load_software_eras("othercam") == ()

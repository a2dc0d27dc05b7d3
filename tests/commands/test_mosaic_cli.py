"""``calreg mosaic`` as it is typed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.mosaicexposures import Scene, write_epoch, write_exposure

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.commandline import Result

FILE = "jwidf_2022-07-08_nrcalong_f444w_jwst_1130_i2d.fits"


def test_made_and_unchanged(calreg: Callable[..., Result], db_url: str, tmp_path: Path) -> None:
    folder, out = tmp_path / "epoch1", tmp_path / "out"
    write_epoch(folder, Scene(noise=0.002))
    (folder / "notes.txt").write_text("not data")
    words = ("--db", db_url, "mosaic", folder, "--out", out)
    result = calreg(*words)
    assert result.status == 0
    assert result.err == (
        "made 1 mosaics; 0 unchanged (same exposures and settings); 1 passed over (neither cal nor "
        "crf); 4 exposures new to the registry\n"
    )
    header, _, row = result.out.splitlines()
    assert header.split()[:6] == ["file", "field", "epoch", "array", "band", "pmap"]
    assert row.split()[:8] == [
        *(str(out / FILE), "JWIDF", "2022-07-08", "nrcalong", "F444W", "jwst_1130.pmap"),
        *("4", "2000"),
    ]
    again = calreg(*words, "--format", "csv")
    assert (again.status, len(again.csv)) == (0, 1)
    assert (again.csv[0]["file"], again.csv[0]["status"]) == (str(out / FILE), "unchanged")
    assert float(again.csv[0]["background"]) == pytest.approx(0.2, abs=5e-4)
    assert again.err.startswith("made 0 mosaics; 1 unchanged (same exposures and settings); ")
    rows = calreg(*words, "--no-store", "--format", "json")
    assert rows.json[0]["n_members"] == 4
    assert rows.err.rstrip().endswith("the registry was left as it is")


def test_field_and_epoch_are_given(
    calreg: Callable[..., Result], db_url: str, tmp_path: Path
) -> None:
    path = write_exposure(tmp_path, 0, primary={"CAL_VER": "1.12.5"})
    other = write_exposure(tmp_path, 1, primary={"CAL_VER": "1.13.0"})
    name = "Deep field / " + "long " * 60
    result = calreg(
        *("--db", db_url, "mosaic", path, other, "--out", tmp_path / "out"),
        *("--field", name, "--epoch", "first", "--format", "json"),
    )
    assert result.status == 0, result.err
    assert (result.json[0]["field"], result.json[0]["epoch"]) == (name, "first")
    (made,) = (tmp_path / "out").iterdir()
    assert made.name.startswith("deep-field-long-long-")
    assert made.name.endswith("-long_first_nrcalong_f444w_jwst_1130_i2d.fits")
    assert "nrcalong F444W: mixed CAL_VER: 1.12.5, 1.13.0" in result.err

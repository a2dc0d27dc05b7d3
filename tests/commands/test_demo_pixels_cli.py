"""``calreg demo --pixels``: from exposures to truth beside result, at a reduced size."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, NamedTuple

import pytest
from astropy.io import fits
from astropy.table import Table

from calreg import Registry
from calreg.errors import FileFormatError
from calreg.files.images.difference import read_half_residuals

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.commandline import Result

    Run = Callable[..., Result]


class Usage(NamedTuple):
    """What shutil.disk_usage returns."""

    total: int
    used: int
    free: int


def _require_small_residuals(folder: Path, result: Result) -> None:
    """The correction takes out of the difference image what the offset had put in."""
    (difference,) = folder.glob("*.fits")
    halves = read_half_residuals(difference)
    assert [(half.band, half.half) for half in halves] == [
        ("F444W", "A then B"),
        ("F444W", "B then A"),
    ]
    for half in halves:
        assert half.n_sources > 50
        assert abs(half.after_median) < 0.005
        assert half.after_err < 0.002
    with fits.open(difference) as hdus:
        before = hdus["RESIDUALS"].data["BEFORE_MEDIAN"]
    # Offset and slope at the middle of a half, 1.3 arcmin from the centre: 0.0109 mag.
    assert before.tolist() == pytest.approx([-0.010, 0.010], abs=0.003)
    worst = max(halves, key=lambda half: abs(half.after_median))
    told = f"2 halves of the field differ by {worst.after_median:+.4f} +- {worst.after_err:.4f}"
    assert told in result.err


@pytest.mark.slow
def test_from_pixels_to_the_injected_truth(calreg: Run, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    result = calreg("demo", "--pixels", "--size", "small", "--jobs", 1, folder)
    assert result.status == 0, result.err
    typed = re.findall(r"^\$ calreg (.*)$", result.err, re.MULTILINE)
    assert [line.split()[0] for line in typed] == [
        "db",
        "mosaic",
        "mosaic",
        "measure",
        "refit",
        "astrometry",
        "coefficients",
        "export",
        "difference",
    ]
    assert "SIMULATED" in result.err.splitlines()[0]
    assert re.search(r"whole demo [\d.]+ s; every number above is SIMULATED", result.err)

    row = result.out.split("Injected truth beside the result")[1].splitlines()[3].split()
    assert row[:3] == ["jwst_1130.pmap", "F444W", "long"]
    true_offset, offset, error, pull = map(float, row[3:7])
    true_slope, slope, slope_error, slope_pull = map(float, row[7:])
    # Table 3 of the paper, as published.
    assert (true_offset, true_slope) == (-0.01654, 0.00433)
    # Printed to 5 decimals, so the ratio is known to a percent or two.
    assert (offset - true_offset) / error == pytest.approx(pull, abs=0.05)
    assert (slope - true_slope) / slope_error == pytest.approx(slope_pull, abs=0.05)
    assert abs(pull) < 3.0
    assert abs(slope_pull) < 3.0
    assert error < 0.002
    assert len(Table.read(folder / "recipe_1130.ecsv")) == 1

    _require_small_residuals(folder / "differences", result)

    # Exposures are gone, mosaics are there.
    assert not list((folder / "exposures").glob("*/*"))
    mosaics = sorted((folder / "mosaics").glob("*_i2d.fits"))
    assert len(mosaics) == 4
    with fits.open(mosaics[0]) as hdus:
        assert len(hdus["HDRTAB"].data) == 2
    with Registry(str(folder / "calreg.sqlite"), read_only=True) as registry:
        assert registry.check() == []
        detections = registry.detections(pmap="jwst_1130.pmap", band="F444W")
        assert {row.n_raw_i for row in registry.offsets()} == {2}
    assert len(detections["x_det"]) > 1000


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--contexts"], 2, "--pixels and --contexts are two sessions: give one of them"),
        (["--size", "huge"], 2, "--size huge: expected one of full, small"),
        ([], 1, "GB free, the demo needs 11.3 GB: choose a folder on another disk"),
        (["--keep-exposures"], 1, "GB free, the demo needs 25.4 GB"),
    ],
)
def test_refusals(
    calreg: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    status: int,
    message: str,
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 10**12 - 10**9, 10**9))
    folder = tmp_path / "demo"
    result = calreg("demo", "--pixels", *words, folder)
    assert (result.status, result.out) == (status, "")
    assert message in " ".join(result.err.split())
    assert not folder.exists() or not list(folder.iterdir())


def test_residuals_of_another_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x_i2d.fits"
    fits.PrimaryHDU().writeto(path)
    with pytest.raises(FileFormatError, match="has no table RESIDUALS: expected a file of calreg"):
        read_half_residuals(path)

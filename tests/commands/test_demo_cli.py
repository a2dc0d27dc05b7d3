"""``calreg demo``: the whole session, once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from astropy.table import Table

from calreg import Registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.commandline import Result

    Run = Callable[..., Result]


@pytest.mark.slow
def test_the_demo_runs_and_its_pulls_are_sane(calreg: Run, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    result = calreg("demo", folder)
    assert result.status == 0
    typed = re.findall(r"^\$ calreg (.*)$", result.err, re.MULTILINE)
    assert [line.split()[0] for line in typed] == [
        "db",
        "ingest",
        "refit",
        "ingest",
        "refit",
        "refit",
        "history",
        "coefficients",
        "export",
        "export",
    ]
    assert "left alone: 20 keys" in result.err
    assert "SIMULATED" in result.err
    # The last table: truth beside result.
    lines = result.out.split("Injected truth beside the result")[1].splitlines()[3:]
    rows = [line.split() for line in lines]
    assert len(rows) == 20
    pulls = [float(row[6]) for row in rows]
    for row in rows:
        truth, fitted, error, pull = map(float, row[3:7])
        # Printed to 5 decimals, so the ratio is known to a percent or two.
        assert (fitted - truth) / error == pytest.approx(pull, abs=0.03)
    assert max(map(abs, pulls)) < 4.0
    found = re.search(r"rms of (\d+) pulls: ([0-9.]+)", result.err)
    assert found is not None
    assert int(found[1]) == 24
    assert 0.5 < float(found[2]) < 1.5
    assert len(Table.read(folder / "recipe_1130.ecsv")) == 10
    assert (folder / "grizli_1130.yml").exists()
    with Registry(str(folder / "calreg.sqlite"), read_only=True) as registry:
        assert registry.check() == []
        assert len(registry.coefficients(all_versions=True)) == 40
        # Exposures were ingested here: six per mosaic.
        assert {row.n_raw_i for row in registry.offsets()} == {6}


def test_a_folder_in_use_is_refused(calreg: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    result = calreg("demo", tmp_path)
    assert (result.status, result.out) == (1, "")
    assert "is not empty" in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]

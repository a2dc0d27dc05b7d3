"""``calreg demo --contexts``: published offsets carried to later contexts, as typed commands."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.commandline import Result

    Run = Callable[..., Result]


def test_the_demo_says_what_remains(calreg: Run, empty_db_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "contexts"
    result = calreg("demo", "--contexts", folder, "--db", empty_db_url)
    assert result.status == 0
    typed = re.findall(r"^\$ calreg (.*)$", result.err, re.MULTILINE)
    assert [line.split()[0] for line in typed] == [
        "db", "import", "ingest", "diff", "predict", "pmap", *["predict"] * 4, "history",
    ]  # fmt: skip
    assert "SIMULATED" not in result.err + result.out
    lines = result.out.splitlines()
    [module_b] = [line.split() for line in lines if line.startswith("nrcb1   F200W")]
    assert module_b[3:9] == ["changed", "-0.0179", "0.00002", "2.0223", "2.056", "+1.67"]
    summary = lines[lines.index(next(line for line in lines if "what is left of them" in line)) :]
    found = {tuple(line.split()[:2]): line.split()[2:] for line in summary[3:]}
    assert len(found) == 10
    assert found["F150W", "4"] == [
        "jwst_1595.pmap", "-0.0501", "+0.0220", "-0.0281", "0.0023", "-2.0", "ok",
    ]  # fmt: skip
    assert found["F444W", "long"][-1] == "unknown"
    assert "8 of 10 predicted, 2 unknown, 0 in conflict" in result.err
    assert (
        "r = -0.96 in 8 keys; scatter about their mean 31 -> 10 mmag, rms about zero 34 -> 11 mmag"
    ) in result.err
    assert "puts an error of up to 4.4 % in (F200W array 2: 0.049 mag)" in result.err
    assert "unknown: F356W array long: PHOTMJSR of nrcalong F356W" in result.err
    assert (folder / "history_f150w_array4.png").read_bytes().startswith(b"\x89PNG")
    again = calreg("demo", "--contexts", folder)
    assert again.status == 1
    assert "is not empty" in again.err

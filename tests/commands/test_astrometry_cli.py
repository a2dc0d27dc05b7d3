"""``calreg astrometry`` on the command line."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.commandline import Result
    from support.programmes import Prepared

    Run = Callable[..., Result]


def test_answers_in_three_forms(calreg: Run, small: Prepared) -> None:
    table = calreg("astrometry", "--db", small.url)
    as_json = calreg("astrometry", "--db", small.url, "--format", "json")
    as_csv = calreg("astrometry", "--db", small.url, "--format", "csv")
    assert (table.status, as_json.status, as_csv.status) == (0, 0, 0)
    assert len(as_json.json) == len(as_csv.csv) == 6
    assert len(table.out.splitlines()) == 2 + 6
    assert "dRA cosDec [mas]" in table.out
    for row, text in zip(as_json.json, as_csv.csv, strict=True):
        assert list(row) == list(text)
        assert float(text["ra_median_mas"]) == row["ra_median_mas"]
        assert row["alignments"] == []
    assert "do not say whether they are compact" in table.err


def test_figure_and_its_refusals(calreg: Run, small: Prepared, tmp_path: Path) -> None:
    words = ("astrometry", "--db", small.url, "--band", "F444W", "--plot")
    first = calreg(*words, tmp_path / "offsets.png")
    assert first.status == 0
    assert f"wrote {tmp_path / 'offsets.png'}" in first.err
    again = calreg(*words, tmp_path / "offsets.png")
    assert again.status == 1
    assert "it exists; give another name or --overwrite" in again.err
    assert calreg(*words, tmp_path / "offsets.png", "--overwrite").status == 0
    other = calreg(*words, tmp_path / "offsets.doc")
    assert other.status == 2
    assert "expected a name ending in .png, .pdf, .svg" in " ".join(other.err.split())
    assert [path.name for path in tmp_path.iterdir()] == ["offsets.png"]


def test_without_matplotlib_one_line_says_what_to_install(
    calreg: Run, small: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    words = ("astrometry", "--db", small.url)
    assert calreg(*words).status == 0
    refused = calreg(*words, "--plot", tmp_path / "offsets.png")
    assert refused.status == 1
    assert "pip install 'calreg[plots]'" in refused.err
    assert len(refused.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [("--mag-limit", "99"), ("--max-sep", "0"), ("--band", "F999W")])
def test_impossible_options_are_usage_errors(
    calreg: Run, small: Prepared, words: tuple[str, ...]
) -> None:
    assert calreg("astrometry", "--db", small.url, *words).status == 2


def test_nothing_found_is_a_failure(calreg: Run, small: Prepared) -> None:
    result = calreg("astrometry", "--db", small.url, "--pmap", "1039")
    assert result.status == 1
    assert result.out == ""
    assert "calreg refit" in result.err

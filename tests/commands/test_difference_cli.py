"""``calreg difference`` on the command line."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from calreg import Registry
from support.differenceworld import Truth, World, make_world

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.commandline import Result

    Run = Callable[..., Result]

EPOCHS = ("2022-07-08", "2023-01-06")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"), Truth({"long": 0.03}))


@pytest.fixture(scope="module")
def url(world: World, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a registry with a world's mosaics, fitted."""
    found = f"sqlite:///{tmp_path_factory.mktemp('registry')}/registry.sqlite"
    with Registry.create(found) as registry:
        registry.ingest(list(world.paths))
        registry.refit()
    return found


def test_answers_in_three_forms(calreg: Run, url: str, tmp_path: Path) -> None:
    words = ("difference", *EPOCHS, "--db", url, "--out", tmp_path / "new" / "folder")
    table = calreg(*words)
    as_json = calreg(*words, "--overwrite", "--format", "json")
    as_csv = calreg(*words, "--overwrite", "--format", "csv")
    assert (table.status, as_json.status, as_csv.status) == (0, 0, 0)
    lines = table.out.splitlines()
    assert len(lines) == 2 + 2
    # One array per module: there is nothing to say of arrays.
    assert "array A" not in lines[0]
    assert [line.split()[3:6] for line in lines[2:]] == [["A", "then", "B"], ["B", "then", "A"]]
    assert table.err.count("wrote ") == 2
    assert "_diff.png" in table.err
    assert len(as_json.json) == 2
    for row, text in zip(as_json.json, as_csv.csv, strict=True):
        assert list(row) == list(text)
        assert float(text["before_median"]) == row["before_median"]
        sign = 1.0 if row["half"] == "A then B" else -1.0
        # A reads too faint by 0.03 mag, 2.8 per cent.
        assert row["before_median"] == pytest.approx(sign * 0.0276, abs=0.004)
        assert abs(row["after_median"]) < 0.005


def test_without_correction(calreg: Run, url: str, tmp_path: Path) -> None:
    result = calreg("difference", *EPOCHS, "--db", url, "--out", tmp_path, "--no-correction")
    assert result.status == 0
    assert "after" not in result.out.splitlines()[0]


@pytest.mark.parametrize("extra", ["matplotlib", "sep"])
def test_without_an_extra_one_line_says_what_to_install(
    calreg: Run, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, extra, None)
    result = calreg("difference", *EPOCHS, "--db", url, "--out", tmp_path / "out")
    assert result.status == 1
    assert result.err.count("\n") == 1
    assert "pip install 'calreg[" in result.err
    assert not list(tmp_path.rglob("*diff*"))


@pytest.mark.parametrize(
    "words",
    [
        ("--snr", "0"),
        ("--gradient-datum", "C"),
        ("--pmap", "latest"),
        ("--band", "F999W"),
        ("--flux", "petrosian"),
    ],
)
def test_impossible_options_are_usage_errors(
    calreg: Run, url: str, tmp_path: Path, words: tuple[str, ...]
) -> None:
    result = calreg("difference", *EPOCHS, "--db", url, "--out", tmp_path / "out", *words)
    assert result.status == 2
    assert not (tmp_path / "out").exists()


def test_refusals_are_one_line(calreg: Run, url: str, tmp_path: Path) -> None:
    for words, part in (
        (("2022-07-08", "2024-01-01"), "the registry has JWIDF: 2022-07-08, 2023-01-06"),
        ((*EPOCHS, "--band", "F150W"), "no mosaics (i2d) of both epochs in F150W"),
    ):
        result = calreg("difference", *words, "--db", url, "--out", tmp_path / "out")
        assert result.status == 1
        assert result.out == ""
        assert result.err.count("\n") == 1
        assert part in result.err
    occupied = tmp_path / "file"
    occupied.write_text("precious")
    result = calreg("difference", *EPOCHS, "--db", url, "--out", occupied)
    assert result.status == 1
    assert result.err.count("\n") == 1
    assert occupied.read_text() == "precious"

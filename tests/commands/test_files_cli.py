"""``calreg check``, ``apply``, ``undo`` and ``affected`` on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.correctedfiles import write_exposure
from support.fitsimages import write_image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from support.commandline import Result

    Run = Callable[..., Result]


def test_check_in_every_format(calreg: Run, db_url: str, tmp_path: Path) -> None:
    path = write_image(tmp_path / "a_cal.fits")
    table = calreg("check", path, "--db", db_url)
    assert table.status == 0
    assert "nrca1" in table.out
    assert "2.333" in table.out
    report = calreg("check", path, "--db", db_url, "--format", "json").json
    assert report["rows"][0]["photmjsr"] == 2.333
    assert report["problems"] == []
    rows = calreg("check", path, "--db", db_url, "--format", "csv").csv
    assert (rows[0]["correction"], rows[0]["n_files"]) == ("none", "1")


def test_check_fails_with_the_reasons(calreg: Run, db_url: str, tmp_path: Path) -> None:
    paths = [
        write_image(tmp_path / "a_cal.fits"),
        write_image(tmp_path / "b_cal.fits", science={"PHOTMJSR": 2.4}),
    ]
    found = calreg("check", *paths, "--db", db_url)
    assert found.status == 1
    assert "mixed PHOTMJSR: nrca1 F150W FULL: PHOTMJSR is mixed" in found.err
    assert "b_cal.fits" in found.err


def test_check_without_a_registry(
    calreg: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default registry may be absent, and is not made; one that was named may not be."""
    path = write_image(tmp_path / "a_cal.fits")
    monkeypatch.chdir(tmp_path)
    found = calreg("check", path)
    assert found.status == 0
    assert "no registry: there is no database" in found.err
    assert not (tmp_path / "calreg.sqlite").exists()
    named = calreg("check", path, "--db", tmp_path / "other.sqlite")
    assert named.status == 1
    assert "there is no database" in named.err
    monkeypatch.setenv("CALREG_DB", str(tmp_path / "third.sqlite"))
    assert calreg("check", path).status == 1


def corrected_by_hand(folder: Path, name: str = "a_cal.fits", **cards: str) -> Path:
    """Write an exposure that the small programme has a set for."""
    primary = {"DETECTOR": "NRCA1", "FILTER": "F200W", "SUBARRAY": "FULL", **cards}
    return write_exposure(folder / name, primary=dict(primary), science={"PHOTMJSR": 1.964})


def test_apply_undo_and_affected(calreg: Run, small_url: str, tmp_path: Path) -> None:
    path = corrected_by_hand(tmp_path)
    out = tmp_path / "out"
    done = calreg("apply", path, "--out", out, "--db", small_url)
    assert done.status == 0
    assert "corrected" in done.out
    assert "1 corrected" in done.err
    target = out / path.name
    found = calreg("check", target, "--db", small_url, "--format", "json")
    assert found.status == 0
    assert found.json["rows"][0]["correction"] == "applied"
    twice = calreg("apply", target, "--in-place", "--db", small_url)
    assert twice.status == 1
    assert f"{target}: was corrected with set" in twice.err
    assert twice.err.endswith("nothing was written\n")
    none = calreg("affected", "--db", small_url)
    assert (none.status, none.out) == (0, "")
    assert "no file is affected" in none.err
    assert calreg("affected", "--db", small_url, "--format", "json").json == []
    undone = calreg("undo", target, "--db", small_url, "--format", "json")
    assert undone.status == 0
    assert undone.json[0]["action"] == "restored"


def test_apply_needs_a_place_to_write(calreg: Run, small_url: str, tmp_path: Path) -> None:
    path = corrected_by_hand(tmp_path)
    content = path.read_bytes()
    for words in ((), ("--in-place", "--out", tmp_path)):
        found = calreg("apply", path, *words, "--db", small_url)
        assert found.status == 2
        assert "--in-place" in found.err
    assert calreg("apply", path, "--in-place", "--gradient-datum", "A").status == 2
    assert calreg("apply", path, "--in-place", "--pmap", "latest").status == 2
    assert path.read_bytes() == content


def test_apply_without_a_set_says_what_helps(calreg: Run, db_url: str, tmp_path: Path) -> None:
    path = corrected_by_hand(tmp_path)
    found = calreg("apply", path, "--in-place", "--db", db_url)
    assert found.status == 1
    assert f"{path}: no coefficient set for jwst_1130.pmap F200W" in found.err
    assert calreg("apply", path, "--in-place", "--allow-identity", "--db", db_url).status == 0


def test_undo_without_a_registry(
    calreg: Run, db_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = corrected_by_hand(tmp_path)
    content = path.read_bytes()
    assert calreg("apply", path, "--in-place", "--allow-identity", "--db", db_url).status == 0
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    found = calreg("undo", path)
    assert found.status == 0
    assert "what is restored is not recorded" in found.err
    assert path.read_bytes() == content
    assert calreg("undo", path).status == 1

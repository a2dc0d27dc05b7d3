"""``calreg check`` on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fitsimages import write_image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from commandline import Result

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

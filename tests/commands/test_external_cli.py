"""``calreg import`` and ``calreg compare`` as a user types them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from calreg.db.engine import open_database
from support.externaltables import CSV, MULTIPLIERS, write
from support.setrows import SetRows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.commandline import Result

    Run = Callable[..., Result]

SKY = ("--sense", "multiply", "--method", "sky", "--source", "DJA")
STAR = ("--sense", "multiply", "--method", "star", "--source", "stars")


def test_import_says_what_came_in_and_what_did_not(
    calreg: Run, db_url: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "z.yml", MULTIPLIERS)
    first = calreg("--db", db_url, "import", "grizli", path, *SKY)
    assert (first.status, first.out) == (0, "")
    assert first.err.splitlines() == [
        "left out 1: commented out; --commented reads them",
        "left out 2: no context stated; name it with --pmap",
        "left out 1: no data, or both arrays held fixed",
        "left out 1: without the other module's array",
        "imported 3 solutions, 9 numbers by array from 'DJA': see calreg compare",
    ]
    again = calreg("--db", db_url, "import", "grizli", path, *SKY, "--format", "json")
    assert (again.json["is_new"], again.json["n_solutions"]) == (False, 3)
    assert again.json["pmaps"] == ["jwst_1293.pmap"]


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (("grizli", "FILE", "--method", "sky", "--source", "x"), 2, "--sense"),
        (("grizli", "FILE", "--sense", "multiply", "--source", "x"), 2, "--method"),
        (("grizli", "FILE", "--sense", "add", "--method", "sky", "--source", "x"), 2, "divide"),
        (("grizli", "FILE", "--sense", "divide", "--method", "psf", "--source", "x"), 2, "star"),
        (("grizli", "FILE", *SKY, "--datum", "C"), 2, "given"),
        (("grizli", "FILE", *SKY, "--pmap", "latest"), 2, "latest"),
        (("grizli", "FILE", *SKY, "--commented"), 1, "need --pmap"),
        (("grizli", "nowhere.yml", *SKY), 1, "nowhere.yml"),
        (("csv", "FILE", *STAR), 1, "line 5: 5 cells"),
    ],
)
def test_what_import_refuses(
    calreg: Run, db_url: str, tmp_path: Path, words: tuple[str, ...], status: int, told: str
) -> None:
    path = write(tmp_path / "z.yml", "band,array,pmap,offset\n\n\n\n" + "a,b,c,d,e\n")
    if words[0] == "grizli":
        path = write(tmp_path / "z.yml", MULTIPLIERS)
    given = [str(path) if word == "FILE" else word for word in words]
    result = calreg("--db", db_url, "import", *given)
    assert (result.status, result.out) == (status, "")
    assert told in result.err
    if status == 1:
        assert len(result.err.splitlines()) == 1


def test_compare_shows_sigma_with_floor_and_a_summary(
    calreg: Run, db_url: str, tmp_path: Path
) -> None:
    with open_database(db_url) as database, database.write() as connection:
        SetRows(connection).add_set(1130, offset_mag=0.033, band="F200W", filter="F200W")
    path = write(tmp_path / "t.csv", CSV)
    assert calreg("--db", db_url, "import", "csv", path, *STAR).status == 0
    shown = calreg("--db", db_url, "compare")
    assert shown.status == 0
    assert "with floor" in shown.out
    (told,) = shown.err.splitlines()
    assert told.startswith("stars against registry: 1 keys, 1 of 1 signs agree, rms 0.0030 mag")
    assert "weights 1 / (err1^2 + err2^2 + floor^2), floor 0.0100 mag" in told
    summary = calreg("--db", db_url, "compare", "--summary", "--floor", "0.02", "--format", "json")
    assert [(row["band"], row["n_keys"], row["floor_mag"]) for row in summary.json] == [
        ("F200W", 1, 0.02),
        ("all", 1, 0.02),
    ]
    assert len(calreg("--db", db_url, "compare", "--summary").out.splitlines()) == 4
    rows = calreg("--db", db_url, "compare", "--format", "csv").csv
    assert [row["note"] for row in rows] == ["", ""]
    sky = write(tmp_path / "z.yml", MULTIPLIERS)
    assert calreg("--db", db_url, "import", "grizli", sky, *SKY).status == 0
    words = ("--db", db_url, "compare", "--source", "DJA", "--against", "stars")
    apart = calreg(*words)
    assert (apart.status, apart.out) == (1, "")
    assert "--across" in apart.err
    across = calreg(*words, "--across")
    assert across.status == 0
    assert "against [mag]" in across.out
    assert "against jwst_1130.pmap: change of PHOTMJSR A - B since unknown" in across.out
    before = calreg("--db", db_url, "compare", "--as-of", "2024-01-01")
    assert (before.status, before.out) == (1, "")

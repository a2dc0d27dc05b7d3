"""``calreg ingest`` as it is typed: what it prints, where, and its exit status."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from calreg.db.engine import open_database
from calreg.db.health import table_counts
from support.catalogfiles import NUMBER, ZERO_POINT_MAG, write_csv, write_ldac_catalog
from support.fitsimages import write_image
from support.synthetic import N_FILES, catalog_rows, contents, exposure_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.commandline import Result

    Run = Callable[..., tuple[int, str, list[str]]]

ROOT = Path(__file__).resolve().parent.parent.parent
STEM = "jw01176-o241_t001_nircam_clear-f150w_nrca1"
IMAGE = f"{STEM}_i2d.fits"


@pytest.fixture
def run(db_url: str, calreg: Callable[..., Result]) -> Run:
    """Return a function that runs ``calreg ingest``: exit status, stdout, lines of stderr."""

    def run_ingest(*words: object) -> tuple[int, str, list[str]]:
        result = calreg("ingest", *words, "--db", db_url)
        assert "Traceback" not in result.err
        return result.status, result.out, result.err.splitlines()

    return run_ingest


def all_counts(url: str) -> dict[str, int]:
    with open_database(url) as database, database.read() as connection:
        return table_counts(connection)


def test_a_programme(run: Run, programme_folder: Path) -> None:
    status, out, err = run(programme_folder)
    assert status == 0
    # Twelve catalogs are too many for a line each.
    assert err[-1] == "loaded 12 cal, 12 catalogs, 12 i2d; 0 unchanged (same content); 0 refused"
    assert len(err) <= 2
    lines = [line.split() for line in out.splitlines()]
    assert lines[0][:2] == ["field", "epoch"]
    assert [line[:2] for line in lines[2:]] == [
        ["JWIDF", "2022-07-08"],
        ["JWIDF", "2023-01-06"],
        ["JWIDF", "2023-07-06"],
    ]
    assert [line[-1] for line in lines[2:]] == ["8", "8", "8"]


def test_the_same_again_changes_nothing_and_says_so(
    run: Run, db_url: str, programme_folder: Path
) -> None:
    run(programme_folder)
    before, counts = contents(db_url), all_counts(db_url)
    status, out, err = run(programme_folder)
    assert (status, out) == (0, "")
    assert err == [f"loaded nothing; {N_FILES} unchanged (same content); 0 refused"]
    assert contents(db_url) == before
    # All tables, the record of calls included.
    assert all_counts(db_url) == counts


def test_bad_files_have_a_line_each_and_status_1(
    run: Run, db_url: str, programme_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    shutil.copytree(programme_folder / "jwst_1130" / "epoch1", folder)
    (folder / "a_cal.fits").write_bytes(b"SIMPLE  = nonsense")
    (folder / "notes.txt").write_text("nothing")
    write_image(folder / "b_cal.fits", primary={"FILTER": None})
    status, out, err = run(folder)
    assert status == 1
    refused = [line for line in err if line.startswith("refused: ")]
    assert [line.split(": ")[1] for line in refused] == [
        str(folder / "a_cal.fits"),
        str(folder / "b_cal.fits"),
    ]
    assert "card FILTER is missing or empty" in refused[1]
    assert err[-1] == (
        "loaded 2 cal, 2 catalogs, 2 i2d; 0 unchanged (same content); "
        "1 passed over (neither images nor catalogs); 2 refused"
    )
    assert "2022-07-08" in out
    assert len(exposure_rows(db_url)) == 4


def test_strict_loads_nothing(run: Run, db_url: str, tmp_path: Path) -> None:
    write_image(tmp_path / "a_cal.fits")
    bad = write_image(tmp_path / "b_cal.fits", primary={"DETECTOR": None})
    before = all_counts(db_url)
    status, out, err = run("--strict", tmp_path / "a_cal.fits", bad)
    assert (status, out) == (1, "")
    assert [line.partition(": ")[0] for line in err[:1]] == ["refused"]
    assert err[1:] == [
        "loaded nothing; 0 unchanged (same content); 1 refused",
        "nothing was written, because of --strict: leave the refused files out, or mend them",
    ]
    assert all_counts(db_url) == before


def test_a_conflict_has_status_1_and_changes_nothing(run: Run, db_url: str, tmp_path: Path) -> None:
    write_image(tmp_path / "a_cal.fits")
    assert run(tmp_path / "a_cal.fits")[0] == 0
    before = all_counts(db_url)
    other = write_image(tmp_path / "b_cal.fits", science={"PHOTMJSR": 9.0})
    status, _, err = run(other)
    assert status == 1
    assert f"known with other content from {tmp_path / 'a_cal.fits'}" in err[0]
    assert all_counts(db_url) == before


def test_few_catalogs_are_told_one_by_one(run: Run, tmp_path: Path) -> None:
    image = write_image(tmp_path / IMAGE)
    catalog = write_ldac_catalog(
        tmp_path / "s.cat",
        IMAGE,
        zero_point_mag=ZERO_POINT_MAG + 0.01,
        FLUX_ISO=np.array([812.5, np.nan, 10.5, -2.0]),
    )
    status, _, err = run(image, catalog)
    assert status == 0
    assert err[0].startswith("warning: s.cat: 2 of 3 magnitudes differ by more than 0.001 mag")
    assert err[1] == (
        "s.cat: 3 detections (ISO) of nrca1 F150W jwst_1130.pmap; "
        "rows dropped (NaN or infinite): 1; rows without magnitude (flux <= 0): 1"
    )
    assert err[2] == "loaded 1 catalog, 1 i2d; 0 unchanged (same content); 0 refused"


def test_many_catalogs_are_counted_together(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(10):
        name = f"x{number}_cal.fits"
        write_image(folder / name, primary={"EXPOSURE": str(number)})
        write_ldac_catalog(
            folder / f"x{number}.cat",
            name,
            zero_point_mag=ZERO_POINT_MAG + 1.0,
            FLUX_ISO=np.where(NUMBER == 1, -1.0, 5.0 if number else np.nan),
        )
    status, _, err = run(folder)
    assert status == 0
    assert err[0].startswith("warning: x1.cat and 8 more files: ")  # one text, said once
    assert err[1:] == [
        "rows dropped (NaN or infinite): 3 in 1 of 10 catalogs",
        "rows without magnitude (flux <= 0): 10 in 10 of 10 catalogs",
        "loaded 10 cal, 10 catalogs; 0 unchanged (same content); 0 refused",
    ]


def test_options_reach_the_registry(run: Run, db_url: str, tmp_path: Path) -> None:
    image = write_image(tmp_path / IMAGE)
    assert run(image, "--field", "Mine", "--epoch", "first", "--hash", "full")[0] == 0
    catalog = tmp_path / "s.csv"
    write_csv(catalog)
    text = catalog.read_text().replace("id,ra,dec,mag,mag_err", "id,RA_B,DE_B,m,dm")
    catalog.write_text(text)
    columns = "ra=RA_B,dec=DE_B,mag=m,mag_err=dm"
    assert run(catalog, "--image", image, "--columns", columns)[0] == 0
    ldac = write_ldac_catalog(tmp_path / "s.cat", IMAGE)
    assert run(ldac, "--flux", "auto")[0] == 0
    assert [(row["flux_kind"], row["file_name"]) for row in catalog_rows(db_url)] == [
        ("auto", "s.cat"),
        ("iso", "s.csv"),
    ]
    assert {name: [label for label, _ in e] for name, e in contents(db_url).places.items()} == {
        "Mine": ["first"]
    }
    assert exposure_rows(db_url)[0]["file_sha256"] is not None


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--flux", "petro"), "--flux 'petro': expected one of iso, auto, aper, psf"),
        (("--hash", "md5"), "--hash 'md5': expected headers or full"),
        (("--columns", "ra"), "--columns 'ra': expected NAME=COLUMN"),
    ],
)
def test_bad_options_are_usage_errors(
    run: Run, tmp_path: Path, words: tuple[str, ...], expected: str
) -> None:
    status, _, err = run(tmp_path, *words)
    assert status == 2
    # The text is wrapped in a box.
    assert expected in " ".join(" ".join(err).replace("│", " ").split())


def test_json_has_every_file(run: Run, tmp_path: Path) -> None:
    image = write_image(tmp_path / IMAGE)
    bad = write_image(tmp_path / "b_cal.fits", primary={"DETECTOR": None})
    status, out, err = run("--format", "json", image, bad, image)
    assert status == 1
    assert err[0].startswith(f"refused: {bad}: card DETECTOR is missing")
    report = json.loads(out)
    assert [entry["path"] for entry in report["loaded"]] == [str(image)]
    assert [entry["path"] for entry in report["refused"]] == [str(bad)]
    assert [entry["field_name"] for entry in report["epochs"]] == ["JWIDF"]
    assert report["is_committed"] is True


def test_an_empty_folder(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    status, out, err = run(folder)
    assert (status, out) == (0, "")
    assert err == [
        "loaded nothing; 0 unchanged (same content); 0 refused",
        "there are no files: check the names of the folders",
    ]


def test_an_uninitialised_database_names_the_command(tmp_path: Path) -> None:
    image = write_image(tmp_path / IMAGE)
    url = f"sqlite:///{tmp_path / 'none.sqlite'}"
    done = subprocess.run(
        [sys.executable, ROOT / "cli.py", "--db", url, "ingest", image],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert f"calreg --db {url} db init" in done.stderr
    assert not (tmp_path / "none.sqlite").exists()

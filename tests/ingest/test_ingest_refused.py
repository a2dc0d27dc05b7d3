"""Every bad input: one clear line, the good files still load, nothing is half written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import sqlalchemy as sa

from calreg import Registry
from calreg.db.engine import open_database
from calreg.ingest.options import IngestOptions
from support.catalogfiles import (
    DEC_DEG,
    FLUX,
    NUMBER,
    write_ascii_catalog,
    write_csv,
    write_ldac_catalog,
)
from support.fitsimages import write_image
from support.synthetic import catalog_rows, contents, detections_of, exposure_rows, ingest_all

if TYPE_CHECKING:
    from collections.abc import Callable

STEM = "jw01176-o241_t001_nircam_clear-f150w_nrca1"
IMAGE = f"{STEM}_i2d.fits"
SCIENCE = ("BUNIT", "PHOTMJSR", "S_REGION")


@dataclass(frozen=True)
class Bad:
    """A file that is refused, and the words that its line must have."""

    name: str
    write: Callable[[Path], object]
    words: tuple[str, ...]


def image(*words: str, name: str = "bad_cal.fits", **cards: str | float | None) -> Bad:
    """Describe an image with other cards; None leaves a card out."""

    def write(path: Path) -> None:
        science = {key: cards[key] for key in SCIENCE if key in cards}
        primary = {key: cards[key] for key in cards if key not in SCIENCE}
        write_image(path, primary=primary, science=science)

    return Bad(name, write, words)


def truncate(path: Path) -> None:
    write_image(path, pixels=np.zeros((64, 64), dtype=np.float32))
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size - 3000)


def truncate_in_header(path: Path) -> None:
    write_image(path)
    with path.open("r+b") as stream:
        stream.truncate(2000)


def run_columns_together(path: Path) -> None:
    write_ascii_catalog(path)
    text = path.read_text()
    path.write_text(
        text.replace("ALPHA_J2000            column\n#   5 DELTA_J2000", "ALPHA_J2000DELTA_J2000")
    )


def run_csv_names_together(path: Path) -> None:
    write_csv(path)
    path.write_text(path.read_text().replace("id,ra,dec,mag,mag_err", "id,ra,dec,mag mag_err"))


def no_rows(path: Path) -> None:
    path.write_text("id,ra,dec,mag,mag_err\n")


def ldac(image_name: str, **changes: Any) -> Callable[[Path], object]:
    return lambda path: write_ldac_catalog(path, image_name, **changes)


def mosaic(*contexts: str) -> Callable[[Path], object]:
    return lambda path: write_image(
        path, primary={"OBSERVTN": "999"}, member_contexts=list(contexts)
    )


IMAGES = {
    "truncated": Bad("bad_cal.fits", truncate, ("truncated", "ends at byte", "the file has")),
    "truncated header": Bad("bad_cal.fits", truncate_in_header, ("truncated", "header of HDU 0")),
    "not FITS": Bad("bad_cal.fits", lambda p: p.write_bytes(b"GIF89a\x00"), ("not FITS", "GIF89a")),
    "empty file": Bad("bad_cal.fits", lambda p: p.write_bytes(b""), ("empty", "0 bytes")),
    "no DETECTOR": image("DETECTOR is missing", "NRCA1", DETECTOR=None),
    "blank DETECTOR": image("DETECTOR is missing or empty", DETECTOR=" "),
    "no FILTER": image("FILTER is missing", "F444W", FILTER=None),
    "no CRDS_CTX": image("CRDS_CTX is missing", "jwst_1130.pmap", CRDS_CTX=None),
    "moving CRDS_CTX": image("CRDS_CTX", "'latest'", "numbered", CRDS_CTX="latest"),
    "no EXPSTART": image("EXPSTART is missing", "MJD", EXPSTART=None),
    "EXPSTART as text": image("EXPSTART", "'2022-07-08'", "a number", EXPSTART="2022-07-08"),
    "uncal": image(
        *("is uncal without CRDS_CTX", "S_PHOTOM=missing", "calwebb_image2"),
        name="bad_uncal.fits",
        CRDS_CTX=None,
        S_PHOTOM=None,
        DATAMODL="Level1bModel",
        BUNIT="DN",
        PHOTMJSR=None,
    ),
    "unknown detector": image("DETECTOR", "'NRCA9'", "NRCA1, NRCA2", DETECTOR="NRCA9"),
    "mosaic of arrays": image("DETECTOR=MULTIPLE", "per array", DETECTOR="MULTIPLE"),
    "grism": image("grism", "EXP_TYPE=NRC_WFSS", "NRC_IMAGE", EXP_TYPE="NRC_WFSS", PUPIL="GRISMR"),
    "other instrument": image("INSTRUME", "'MIRI'", "'NIRCAM'", INSTRUME="MIRI"),
    "no S_REGION": image("S_REGION is missing", "POLYGON", S_REGION=None),
    "broken S_REGION": image("S_REGION", "CIRCLE", "POLYGON", S_REGION="CIRCLE ICRS 1 2 3"),
    "reference file": image("REFTYPE=area", "cal, crf or i2d", REFTYPE="area"),
    "two contexts": Bad(
        "bad_i2d.fits",
        mosaic("jwst_1130.pmap", "jwst_1039.pmap"),
        ("found jwst_1039.pmap, jwst_1130.pmap", "column CRDS_CTX", "expected one"),
    ),
    "context of the inputs": Bad(
        "bad_i2d.fits", mosaic("jwst_1039.pmap"), ("CRDS_CTX=jwst_1130.pmap", "jwst_1039.pmap")
    ),
}

NAN, INFINITY = np.full(NUMBER.size, np.nan), np.full(NUMBER.size, np.inf)

CATALOGS = {
    "columns run together": Bad(
        f"{STEM}_i2d.cat", run_columns_together, ("ALPHA_J2000", "DELTA_J2000", "together")
    ),
    "names run together": Bad(
        f"{STEM}_i2d.csv", run_csv_names_together, ("'mag mag_err'", "together")
    ),
    "unknown image": Bad(
        "s.cat", ldac("elsewhere.fits"), ("elsewhere.fits", "neither in the registry nor in this")
    ),
    "no image by name": Bad("s.csv", write_csv, ("s_i2d.fits or s_cal.fits", "--image")),
    "empty": Bad(f"{STEM}_i2d.csv", no_rows, ("no sources", "0 rows")),
    "all NaN": Bad("s.cat", ldac(IMAGE, FLUX_ISO=NAN), ("no sources: all 4 rows", "FLUX_ISO")),
    "all infinite": Bad(
        "s.cat", ldac(IMAGE, ALPHA_J2000=INFINITY), ("no sources: all 4 rows", "ALPHA_J2000")
    ),
    "not on the sky": Bad(
        "s.cat", ldac(IMAGE, DELTA_J2000=DEC_DEG * 60), ("row 1", "not on the sky", "DELTA_J2000")
    ),
    "numbers twice": Bad(
        "s.cat", ldac(IMAGE, NUMBER=np.array([1, 1, 2, 3])), ("number 1 occurs 2 times", "NUMBER")
    ),
    "numbers of 64 bits": Bad(
        f"{STEM}_i2d.csv",
        lambda p: write_csv(p, f"{2**31},265.1,65.8,20.0,0.01\n"),
        ("column number: found 2147483648", "32 bits", "--columns number="),
    ),
    "text for a number": Bad(
        f"{STEM}_i2d.csv",
        lambda p: write_csv(p, "1,265.1,65.8,20.0,0.01\n2,265.1,65.8,faint,0.01\n"),
        ("line 3", "'faint'", "'mag'"),
    ),
    "truncated": Bad(
        "s.cat",
        lambda p: p.write_bytes(write_ldac_catalog(p, IMAGE).read_bytes()[:-2880]),
        ("truncated",),
    ),
}

ALL_BAD = {**IMAGES, **{f"catalog: {name}": bad for name, bad in CATALOGS.items()}}


def write_good(folder: Path) -> list[Path]:
    """Write an image with its catalog."""
    folder.mkdir()
    return [
        write_image(folder / IMAGE),
        write_ldac_catalog(folder / "good.cat", IMAGE, FLAGS=np.zeros(NUMBER.size, dtype=np.int64)),
    ]


@pytest.mark.parametrize("name", ALL_BAD)
def test_one_clear_line_and_the_good_files_load(db_url: str, tmp_path: Path, name: str) -> None:
    bad = ALL_BAD[name]
    folder = tmp_path / "data"
    good = write_good(folder)
    path = folder / bad.name
    bad.write(path)
    before = contents(db_url)
    # Strict first: nothing may be left that the second call would find.
    strict = ingest_all(db_url, [folder], IngestOptions(is_strict=True))
    assert (strict.loaded, strict.epochs, strict.is_committed) == ([], [], False)
    assert [outcome.path for outcome in strict.refused] == [path]
    assert contents(db_url) == before

    report = ingest_all(db_url, [path, *good])
    (outcome,) = report.refused
    assert outcome.path == path
    assert outcome.message.startswith(f"{path}: ")
    assert "\n" not in outcome.message
    assert [word for word in bad.words if word not in outcome.message] == []
    assert [outcome.path for outcome in report.loaded] == good
    assert [row["file_name"] for row in exposure_rows(db_url)] == [IMAGE]
    assert [row["file_name"] for row in catalog_rows(db_url)] == ["good.cat"]


def test_all_bad_files_at_once(db_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    good = write_good(folder)
    for number, bad in enumerate(ALL_BAD.values()):
        inner = folder / f"{number:02d}"
        inner.mkdir()
        bad.write(inner / bad.name)
    report = ingest_all(db_url, [folder])
    assert [outcome.path for outcome in report.loaded] == good
    assert len(report.refused) == len(ALL_BAD)
    assert len({outcome.message for outcome in report.refused}) == len(ALL_BAD)


def test_rows_without_position_or_magnitude_are_dropped_and_counted(
    db_url: str, tmp_path: Path
) -> None:
    catalog = write_ldac_catalog(
        tmp_path / "s.cat",
        IMAGE,
        ALPHA_J2000=np.array([np.nan, 265.1, 265.11, 265.12]),
        FLUX_ISO=np.array([1.0, np.inf, -0.5, 2.0]),
        MAG_ISO=np.array([20.0, 20.0, 99.0, 27.5]),
        X_IMAGE=np.array([1.0, 1.0, 1.0, np.inf]),
    )
    report = ingest_all(db_url, [write_image(tmp_path / IMAGE), catalog])
    outcome = report.loaded[1]
    assert (outcome.n_dropped_nonfinite, outcome.n_negative_flux) == (2, 1)
    (row,) = catalog_rows(db_url)
    found = [row[name] for name in ("n_rows", "n_dropped_nonfinite", "n_negative_flux")]
    assert found == [2, 2, 1]
    detections = detections_of(db_url, row["id"])
    assert detections["number"].tolist() == NUMBER[2:].tolist()
    # The negative flux is kept as a flux, and out of the magnitudes.
    assert np.isnan(detections["mag_ab"]).tolist() == [True, False]
    assert np.isnan(detections["mag_err"]).tolist() == [True, False]
    assert detections["flux_ujy"][0] < 0.0
    assert np.isnan(detections["x"]).tolist() == [False, True]


def test_nan_magnitudes_of_catalogs_without_flux_are_dropped(db_url: str, tmp_path: Path) -> None:
    rows = (
        "1,265.1,65.8,nan,0.01\n2,265.1,65.81,inf,0.01\n3,nan,65.8,20,0.01\n4,265.1,65.82,20,0.01\n"
    )
    catalog = write_csv(tmp_path / f"{STEM}_i2d.csv", rows)
    report = ingest_all(db_url, [write_image(tmp_path / IMAGE), catalog])
    assert report.loaded[1].n_dropped_nonfinite == 3
    (row,) = catalog_rows(db_url)
    assert detections_of(db_url, row["id"])["number"].tolist() == [4]


def test_numbers_that_overflow_are_unknown(db_url: str, tmp_path: Path) -> None:
    rows = "1,265.1,65.8,-99999.0,0.01\n2,265.1,65.81,20.0,0.01\n"
    catalog = write_csv(tmp_path / f"{STEM}_i2d.csv", rows)
    assert ingest_all(db_url, [write_image(tmp_path / IMAGE), catalog]).refused == []
    (row,) = catalog_rows(db_url)
    assert np.isnan(detections_of(db_url, row["id"])["flux_ujy"]).tolist() == [True, False]


def test_a_catalog_whose_image_was_refused_says_so(db_url: str, tmp_path: Path) -> None:
    write_image(tmp_path / IMAGE, primary={"DETECTOR": None})
    catalog = write_ldac_catalog(tmp_path / "s.cat", IMAGE)
    report = ingest_all(db_url, [tmp_path / IMAGE, catalog])
    assert [outcome.message for outcome in report.refused if outcome.kind == "catalog"] == [
        f"{catalog}: its image {IMAGE} was refused; mend that first"
    ]


def test_a_conflict_changes_nothing(db_url: str, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    good = write_good(first)
    second.mkdir()
    image_path = write_image(second / IMAGE, science={"PHOTMJSR": 9.0})
    catalog = write_ldac_catalog(second / "good.cat", IMAGE, FLUX_ISO=FLUX * 2)
    ingest_all(db_url, good)
    before = contents(db_url)
    report = ingest_all(db_url, [image_path, catalog])
    assert (report.loaded, report.is_committed) == ([], False)
    by_path = {outcome.path: outcome.message for outcome in report.refused}
    assert f"known with other content from {first / IMAGE}" in by_path[image_path]
    assert "has ISO fluxes already, from catalog good.cat" in by_path[catalog]
    assert contents(db_url) == before


def test_a_conflict_within_one_call(db_url: str, tmp_path: Path) -> None:
    write_image(tmp_path / "a_cal.fits")
    write_image(tmp_path / "b_cal.fits", science={"PHOTMJSR": 9.0})
    write_image(tmp_path / "c_cal.fits")
    report = ingest_all(db_url, sorted(tmp_path.glob("*.fits")))
    assert [outcome.path.name for outcome in report.loaded] == ["a_cal.fits"]
    assert [outcome.path.name for outcome in report.refused] == ["b_cal.fits"]
    # Names of files are no content: the third has another name and the same headers.
    assert [outcome.message for outcome in report.unchanged] == [
        "same content as a_cal.fits of this call"
    ]


def test_an_interrupted_call_leaves_nothing(db_url: str, programme_folder: Path) -> None:
    before = contents(db_url)

    def interrupt(task: str, n_done: int, n_all: int) -> None:
        if task == "loading catalogs" and n_done == n_all - 1:
            raise KeyboardInterrupt

    with Registry(db_url) as registry, pytest.raises(KeyboardInterrupt):
        registry.ingest(programme_folder / "jwst_1130", progress=interrupt)
    assert contents(db_url) == before
    with open_database(db_url) as database, database.read() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM ingests")) == 0


# --- real files -----------------------------------------------------------------------------------


def test_the_real_cutout_loads_with_its_values(db_url: str, shared_data: Path) -> None:
    report = ingest_all(
        db_url, [shared_data / "jw01227002001_02105_00001_nrcalong_cutout_cal.fits"]
    )
    assert report.refused == []
    (row,) = exposure_rows(db_url)
    names = "kind program observation visit visit_group sequence activity exposure array band pmap"
    assert [row[name] for name in names.split()] == [
        *("cal", "01227", "002", "001", "02", "1", "05", "1"),
        *("nrcalong", "F444W", "jwst_1046.pmap"),
    ]
    # shared/data/INDEX.md gives PHOTMJSR to four digits.
    assert row["photmjsr"] == pytest.approx(0.3925, abs=5e-5)
    assert (row["bunit"], row["subarray"]) == ("MJy/sr", "FULL")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("jw01075001001_03105_00009_nrca2_uncal.fits", "is uncal without CRDS_CTX"),
        ("jw01075001001_03105_00009_nrca3_uncal.fits", "is uncal without CRDS_CTX"),
        ("jw01075001001_03105_00009_nrca4_uncal.fits", "is uncal without CRDS_CTX"),
        ("jwst_nircam_photom_0064.fits", "DATAMODL is 'NrcWfssPhotomModel'"),
    ],
)
def test_real_files_that_are_no_exposures(
    db_url: str, shared_data: Path, name: str, words: str
) -> None:
    report = ingest_all(db_url, [shared_data / name])
    assert [words in outcome.message for outcome in report.refused] == [True]
    assert exposure_rows(db_url) == []


def test_the_whole_folder_of_real_data(db_url: str, shared_data: Path) -> None:
    report = ingest_all(db_url, [shared_data])
    assert {outcome.path.name for outcome in report.loaded} == {
        "jw01227002001_02105_00001_nrcalong_cutout_cal.fits",
        "jwst_zeropoints.yml",
        "nircam_bestrefs_4contexts.csv",
        "photmjsr_history.csv",
    }
    refused = {outcome.path.name for outcome in report.refused}
    # Tables that are no catalogs of sources are refused by what they lack, not passed over.
    assert {"idf_zpcor_1130_pmap.ecsv", "ceers_exposure_footprints.csv"} <= refused
    assert all(
        Path(outcome.message.partition(": ")[0]).name == outcome.path.name
        for outcome in report.refused
    )


def test_a_mosaic_of_two_arrays_is_refused_at_ingest_and_by_check(
    db_url: str, tmp_path: Path
) -> None:
    members = {"FILENAME": ["a_cal.fits", "b_cal.fits"], "DETECTOR": ["NRCA1", "NRCB1"]}
    two = write_image(tmp_path / "two_i2d.fits", primary={"FILTER": "F150W"}, members=members)
    good = write_image(tmp_path / "good_cal.fits")
    report = ingest_all(db_url, [two, good])
    message = (
        f"{two}: is a mosaic whose inputs had different arrays: found NRCA1, NRCB1 in column "
        "DETECTOR of HDRTAB (NRCA1: a_cal.fits; NRCB1: b_cal.fits), expected one; resample each "
        "array's exposures by themselves"
    )
    assert [one.message for one in report.refused] == [message]
    assert [one.path for one in report.loaded] == [good]
    with Registry(db_url) as registry:
        checked = registry.check_files([two, good])
    assert [problem.message for problem in checked.problems] == [message]
    assert checked.n_files == 1

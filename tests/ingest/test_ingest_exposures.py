"""What ingest stores of exposures and mosaics, in any order and mix, on both engines."""

from __future__ import annotations

import hashlib
import random
import shutil
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from astropy.io import fits

from calreg import Registry
from calreg.db.engine import open_database
from calreg.db.schema import ZeroPointRow
from calreg.files.fits.headers import read_headers
from calreg.ingest.options import IngestOptions
from support.fitsimages import PRIMARY_CARDS, SCIENCE_CARDS, write_image
from support.synthetic import (
    N_FILES,
    Contents,
    catalogs_of,
    contents,
    exposure_rows,
    exposures_of,
    ingest_all,
    mosaics_of,
)

if TYPE_CHECKING:
    from pathlib import Path

KEYS = {"id", "epoch_id", "pmap_id", "ingest_id"}

STORED = {
    "kind": "cal",
    "program": "01176",
    "observation": "241",
    "visit": "001",
    "visit_group": "02",
    "sequence": "1",
    "activity": "01",
    "exposure": "1",
    "array": "nrca1",
    "array_id": "1",
    "module": "A",
    "pmap": "jwst_1130.pmap",
    "cal_ver": "1.20.1",
    "filter": "F150W2",
    "pupil": "F162M",
    "band": "F162M",
    "subarray": "SUB640",
    "expstart_mjd_utc": PRIMARY_CARDS["EXPSTART"],
    "expmid_mjd_utc": PRIMARY_CARDS["EXPMID"],
    "expend_mjd_utc": PRIMARY_CARDS["EXPEND"],
    "exposure_time_s": PRIMARY_CARDS["EFFEXPTM"],
    "n_members": 1,
    "ra_v1_deg": SCIENCE_CARDS["RA_V1"],
    "dec_v1_deg": SCIENCE_CARDS["DEC_V1"],
    "pa_v3_deg": SCIENCE_CARDS["PA_V3"],
    "ra_ref_deg": SCIENCE_CARDS["RA_REF"],
    "dec_ref_deg": SCIENCE_CARDS["DEC_REF"],
    "roll_ref_deg": SCIENCE_CARDS["ROLL_REF"],
    "v2_ref_arcsec": SCIENCE_CARDS["V2_REF"],
    "v3_ref_arcsec": SCIENCE_CARDS["V3_REF"],
    "roll_deg": SCIENCE_CARDS["PA_V3"],
    "s_region": SCIENCE_CARDS["S_REGION"],
    "bunit": "MJy/sr",
    "photmjsr": 3.25,
    "pixar_sr": SCIENCE_CARDS["PIXAR_SR"],
    "r_photom": "jwst_nircam_photom_0153.fits",
    "r_flat": "jwst_nircam_flat_0612.fits",
    "r_area": "",
    "target": "JWIDF",
    "file_name": "a_cal.fits",
    "file_sha256": None,
}
"""Columns of the exposure below, but for those that depend on its file."""


def header_digest(path: Path) -> str:
    """Digest header blocks and file size as documented, found by astropy."""
    digest = hashlib.sha256()
    raw = path.read_bytes()
    with fits.open(path) as hdus:
        for hdu in hdus:
            where = hdu.fileinfo()
            digest.update(raw[where["hdrLoc"] : where["datLoc"]])
    digest.update(len(raw).to_bytes(8, "big"))
    return digest.hexdigest()


def zero_points(url: str) -> list[tuple[object, ...]]:
    table = ZeroPointRow
    statement = sa.select(
        table.array,
        table.filter,
        table.pupil,
        table.band,
        table.subarray,
        table.photmjsr,
        table.pixar_sr,
        table.r_photom,
        table.source,
    ).order_by(table.subarray, table.photmjsr, table.source)
    with open_database(url) as database, database.read() as connection:
        return [tuple(row) for row in connection.execute(statement)]


def spoil_pixels(path: Path) -> None:
    """Replace everything but the headers by garbage, the size unchanged."""
    generator = random.Random(7)  # noqa: S311 - garbage
    with path.open("r+b") as stream:
        for unit in read_headers(path).units:
            stream.seek(unit.data_start)
            stream.write(generator.randbytes(unit.data_end - unit.data_start))


def test_every_column_of_an_exposure_is_stored(db_url: str, tmp_path: Path) -> None:
    primary = {"PUPIL": "F162M", "FILTER": "F150W2", "SUBARRAY": "SUB640", "CAL_VER": "1.20.1"}
    path = write_image(tmp_path / "a_cal.fits", primary=primary, science={"PHOTMJSR": 3.25})
    with Registry(db_url) as registry:
        report = registry.ingest(path)
    assert [outcome.message for outcome in report.loaded] == ["nrca1 F162M jwst_1130.pmap"]
    (row,) = exposure_rows(db_url)
    expected = {
        **STORED,
        "directory": str(tmp_path),
        "file_size_bytes": path.stat().st_size,
        "header_sha256": header_digest(path),
    }
    assert {name: value for name, value in row.items() if name not in KEYS} == expected
    assert zero_points(db_url) == [
        (
            "nrca1",
            "F150W2",
            "F162M",
            "F162M",
            "SUB640",
            3.25,
            SCIENCE_CARDS["PIXAR_SR"],
            "jwst_nircam_photom_0153.fits",
            "cal header",
        )
    ]


def test_a_mosaic_has_its_members_and_no_visit(db_url: str, tmp_path: Path) -> None:
    path = write_image(
        tmp_path / "m_i2d.fits", member_contexts=["jwst_1130.pmap", "1130", "jwst_1130.pmap"]
    )
    ingest_all(db_url, [path])
    (row,) = exposure_rows(db_url)
    found = [row[name] for name in ("kind", "n_members", "program", "observation", "visit")]
    assert found == ["i2d", 3, "01176", "241", ""]
    # The pixel area of a mosaic is that of its grid, not of the detector.
    assert [entry[5:] for entry in zero_points(db_url)] == [
        (2.333, None, "jwst_nircam_photom_0153.fits", "i2d header")
    ]


def test_zero_points_are_one_per_key_and_value(db_url: str, tmp_path: Path) -> None:
    def write(name: str, primary: dict[str, object], photmjsr: float) -> None:
        write_image(tmp_path / f"{name}_cal.fits", primary=primary, science={"PHOTMJSR": photmjsr})  # type: ignore[arg-type]

    write("first", {}, 2.333)
    write("dithered", {"EXPOSURE": "2"}, 2.333)
    write("subarray", {"EXPOSURE": "3", "SUBARRAY": "SUB160"}, 2.333)
    write("reprocessed", {"CAL_VER": "1.99.0"}, 2.4)
    ingest_all(db_url, [tmp_path])
    assert [(entry[4], entry[5]) for entry in zero_points(db_url)] == [
        ("FULL", 2.333),
        ("FULL", 2.4),
        ("SUB160", 2.333),
    ]
    write("later", {"EXPOSURE": "4"}, 2.333)
    report = ingest_all(db_url, [tmp_path])
    assert (len(report.loaded), len(report.unchanged)) == (1, 4)
    assert len(zero_points(db_url)) == 3


def test_contexts_are_ordered_by_their_integer(db_url: str, tmp_path: Path) -> None:
    for number in (1130, 987, 10023):
        name = f"jwst_{number:04d}.pmap"
        write_image(tmp_path / f"c{number}_cal.fits", primary={"CRDS_CTX": name})
    ingest_all(db_url, [tmp_path])
    with open_database(db_url) as database, database.read() as connection:
        rows = connection.execute(sa.text("SELECT name, number FROM pmaps ORDER BY number"))
        assert [tuple(row) for row in rows] == [
            ("jwst_0987.pmap", 987),
            ("jwst_1130.pmap", 1130),
            ("jwst_10023.pmap", 10023),
        ]


def test_pixels_are_not_read(db_url: str, programme_folder: Path, tmp_path: Path) -> None:
    kept = programme_folder / "jwst_1130" / "epoch1"
    copied = tmp_path / "epoch1"
    shutil.copytree(kept, copied)
    for path in exposures_of(copied):
        spoil_pixels(path)
    report = ingest_all(db_url, exposures_of(copied))
    assert (len(report.loaded), report.refused) == (2, [])
    # The originals have the same headers and size, so they are the same content.
    again = ingest_all(db_url, exposures_of(kept))
    assert (len(again.loaded), len(again.unchanged), again.refused) == (0, 2, [])
    digests = [row["header_sha256"] for row in exposure_rows(db_url)]
    assert digests == [header_digest(path) for path in exposures_of(kept)]


def test_full_hash_sees_pixels(db_url: str, tmp_path: Path) -> None:
    path = write_image(tmp_path / "a_cal.fits")
    whole = hashlib.sha256(path.read_bytes()).hexdigest()
    full = IngestOptions(full_hash=True)
    ingest_all(db_url, [path], full)
    assert [row["file_sha256"] for row in exposure_rows(db_url)] == [whole]
    spoil_pixels(path)
    report = ingest_all(db_url, [path], full)
    assert "with other content" in report.refused[0].message
    assert len(ingest_all(db_url, [path]).unchanged) == 1


@pytest.mark.parametrize("seed", [1, 2])
def test_any_order_and_mix_of_files_and_folders(
    db_url: str, programme_folder: Path, programme_contents: Contents, seed: int
) -> None:
    # Folders with all files in them, single files again, the same folder twice, catalogs first.
    shuffled = sorted(path for path in programme_folder.rglob("*") if path.is_file())
    random.Random(seed).shuffle(shuffled)  # noqa: S311 - an order, not a secret
    epoch_folder = programme_folder / "jwst_1039" / "epoch2"
    paths = [*shuffled, epoch_folder, epoch_folder]
    report = ingest_all(db_url, paths)
    assert (len(report.loaded), report.unchanged, report.refused) == (N_FILES, [], [])
    assert contents(db_url) == programme_contents


def test_calls_in_any_order_give_the_same_registry(
    db_url: str, programme_folder: Path, programme_contents: Contents
) -> None:
    for paths in (
        exposures_of(programme_folder / "jwst_1130"),
        mosaics_of(programme_folder),
        catalogs_of(programme_folder)[::-1],
        [programme_folder / "jwst_1039"],
    ):
        assert ingest_all(db_url, paths).refused == []
    assert contents(db_url) == programme_contents


def test_unknown_files_of_folders_are_passed_over_and_named_ones_refused(
    db_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    write_image(folder / "a_cal.fits")
    notes = folder / "notes.md"
    notes.write_text("# to do\n")
    (folder / ".hidden_cal.fits").write_bytes(b"not FITS")
    (folder / "broken.csv").write_bytes(b"\x00\x01\x02")
    report = ingest_all(db_url, [folder])
    assert [outcome.path.name for outcome in report.loaded] == ["a_cal.fits"]
    assert [outcome.path.name for outcome in report.refused] == ["broken.csv"]
    assert report.skipped == [notes]
    report = ingest_all(db_url, [notes, folder / "absent.fits"])
    assert sorted(outcome.message.partition(": ")[0] for outcome in report.refused) == [
        str(folder / "absent.fits"),
        str(notes),
    ]
